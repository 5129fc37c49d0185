//! `cargo xtask setup`: makes `cargo build --target wasm32-wasip2` work for the toolchain that the project pins.
//!
//! rustup fetches the target where it can. Where it cannot (no route to its servers), the target's standard library is
//! built from Debian's source package of the very same rustc version and put where rustup would have put it. It never
//! changes the machine's apt: sources, lists and caches of its own live below `target/setup/`. Idempotent: a proof that
//! the target works is remembered per sysroot, and a run with nothing to do starts two programs.

use crate::process::{self, Result, command, exists, output, say, succeeds_within};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const TARGET: &str = "wasm32-wasip2";
/// Long enough for a slow line, short enough that a machine without one is not kept waiting.
const RUSTUP_PATIENCE: Duration = Duration::from_secs(120);
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Makes the target work, or says in one line why neither way does.
pub fn run() -> Result {
    let sysroot = PathBuf::from(output(command("rustc").args(["--print", "sysroot"]))?.trim());
    let version = output(command("rustc").arg("--version"))?.trim().to_owned();
    let work = process::root().join("target/setup");
    let mark = work.join("proved");
    let proof = format!("{version}\n{}\n", sysroot.display());
    let libraries = sysroot.join("lib/rustlib").join(TARGET).join("lib");
    if libraries.is_dir() && fs::read_to_string(&mark).is_ok_and(|old| old == proof) {
        return Ok(());
    }
    fs::create_dir_all(&work).map_err(|e| format!("cannot create {}: {e}", work.display()))?;
    if prove(&work).is_err() {
        install(&work, &sysroot, &version)?;
        prove(&work)
            .map_err(|e| format!("the {TARGET} target was installed but does not work: {e}"))?;
    }
    fs::write(&mark, proof).map_err(|e| format!("cannot write {}: {e}", mark.display()))?;
    say(&format!("{TARGET} works with {version}"));
    Ok(())
}

fn install(work: &Path, sysroot: &Path, version: &str) -> Result {
    if exists("rustup") {
        say(&format!("asking rustup for {TARGET}"));
        if succeeds_within(
            command("rustup").args(["target", "add", TARGET]),
            RUSTUP_PATIENCE,
        ) && prove(work).is_ok()
        {
            return Ok(());
        }
    }
    say(&format!(
        "rustup cannot fetch {TARGET}: building its standard library from Debian's source package"
    ));
    from_debian(work, sysroot, version).map_err(|problem| {
        format!(
            "no way to get the {TARGET} target: rustup could not fetch it, and Debian's source package did not do \
             either ({problem}). With network, run: rustup target add {TARGET}"
        )
    })
}

/// Builds a one-line guest. That it links shows that std, libc and the start files are where rustc looks.
fn prove(work: &Path) -> Result {
    let source = work.join("proof.rs");
    fs::write(&source, "fn main() { println!(\"proof\"); }\n").map_err(|e| e.to_string())?;
    let wasm = work.join("proof.wasm");
    output(
        command("rustc")
            .args(["--edition=2024", "-O", "--target", TARGET, "-o"])
            .arg(&wasm)
            .arg(&source),
    )?;
    let bytes = fs::read(&wasm).map_err(|e| e.to_string())?;
    // A component's preamble: magic, version 13, layer 1.
    if bytes.starts_with(b"\0asm\x0d\0\x01\0") {
        Ok(())
    } else {
        Err("rustc did not make a component".into())
    }
}

fn from_debian(work: &Path, sysroot: &Path, version: &str) -> Result {
    for program in ["apt-get", "dpkg"] {
        if !exists(program) {
            return Err(format!("{program} is not on this machine"));
        }
    }
    // "rustc 1.95.0 (59807616e 2026-04-14)" -> "1.95.0"
    let release = version.split(' ').nth(1).ok_or("rustc prints no version")?;
    let packages = download(work, release)?;
    let tree = work.join("packages");
    for package in &packages {
        process::run(command("dpkg").arg("-x").arg(package).arg(&tree))?;
    }
    let libc = tree.join("usr/lib").join(TARGET);
    let library = tree.join(format!("usr/src/rustc-{release}/library"));
    let build = work.join("std");
    process::run(
        command("cargo")
            .current_dir(&library)
            .env("RUSTC_BOOTSTRAP", "1")
            .env("CARGO_PROFILE_RELEASE_DEBUG", "0")
            .env("CARGO_TARGET_DIR", &build)
            .env(
                "RUSTFLAGS",
                format!(
                    "-Zforce-unstable-if-unmarked -Cembed-bitcode=yes -L native={}",
                    libc.display()
                ),
            )
            .args([
                "build",
                "--release",
                "--quiet",
                "--target",
                TARGET,
                "--manifest-path",
                "sysroot/Cargo.toml",
            ])
            .args(["--features", "panic-unwind compiler-builtins-mem"]),
    )?;
    place(
        &build.join(TARGET).join("release/deps"),
        &libc,
        &sysroot.join("lib/rustlib").join(TARGET).join("lib"),
    )
}

/// Puts the built libraries where rustup would have put them.
fn place(built: &Path, libc: &Path, libraries: &Path) -> Result {
    let contained = libraries.join("self-contained");
    // Half an installation (an interrupted one, another rustc's) would leave two candidates for one crate.
    if libraries.is_dir() {
        fs::remove_dir_all(libraries)
            .map_err(|e| format!("cannot replace {}: {e}", libraries.display()))?;
    }
    fs::create_dir_all(&contained)
        .map_err(|e| format!("cannot create {}: {e}", contained.display()))?;
    let copy = |from: &Path, to: &Path| {
        fs::copy(from, to)
            .map(drop)
            .map_err(|e| format!("cannot copy {}: {e}", from.display()))
    };
    for entry in fs::read_dir(built).map_err(|e| e.to_string())? {
        let path = entry.map_err(|e| e.to_string())?.path();
        if let (Some("rlib"), Some(name)) =
            (path.extension().and_then(|e| e.to_str()), path.file_name())
        {
            copy(&path, &libraries.join(name))?;
        }
    }
    for name in ["crt1-command.o", "crt1-reactor.o", "libc.a"] {
        copy(&libc.join(name), &contained.join(name))?;
    }
    copy(&libc.join("libc.a"), &libraries.join("libc.a"))
}

/// Downloads `rust-src` of this very release and `wasi-libc` with an apt of its own; returns the two files.
fn download(work: &Path, release: &str) -> Result<Vec<PathBuf>> {
    let mirror = output(command("apt-get").args([
        "indextargets",
        "--format",
        "$(REPO_URI)",
        "Created-By: Packages",
    ]))?;
    let mirror = mirror
        .lines()
        .find(|line| !line.contains("security"))
        .ok_or("apt knows no mirror (run apt-get update once)")?
        .to_owned();
    let apt = work.join("apt");
    for folder in ["lists/partial", "cache/archives/partial", "download"] {
        fs::create_dir_all(apt.join(folder)).map_err(|e| e.to_string())?;
    }
    let suites = ["trixie-backports", "trixie"];
    let sources: String = suites
        .iter()
        .map(|suite| format!("deb [signed-by={KEYRING}] {mirror} {suite} main\n"))
        .collect();
    fs::write(apt.join("sources.list"), sources).map_err(|e| e.to_string())?;
    process::run(private(&apt, "apt-get").args(["-qq", "update"]))?;
    let listed = output(private(&apt, "apt-cache").args(["madison", "rust-src"]))?;
    let source = listed
        .lines()
        .filter_map(|line| line.split('|').nth(1))
        .map(str::trim)
        .find(|version| version.starts_with(&format!("{release}+")))
        .ok_or_else(|| format!("Debian has no rust-src {release}"))?
        .to_owned();
    let folder = apt.join("download");
    process::run(
        private(&apt, "apt-get")
            .current_dir(&folder)
            .args(["-qq", "download", "wasi-libc"])
            .arg(format!("rust-src={source}")),
    )?;
    let mut packages = Vec::new();
    for entry in fs::read_dir(&folder).map_err(|e| e.to_string())? {
        let path = entry.map_err(|e| e.to_string())?.path();
        if path.extension().is_some_and(|e| e == "deb") {
            packages.push(path);
        }
    }
    Ok(packages)
}

/// An apt program that sees only our one-file source list and writes only below `apt`.
fn private(apt: &Path, program: &str) -> Command {
    let mut command = command(program);
    let at = |name: &str| apt.join(name).display().to_string();
    for option in [
        format!("Dir::Etc::SourceList={}", at("sources.list")),
        "Dir::Etc::SourceParts=/dev/null".to_owned(),
        format!("Dir::State::Lists={}", at("lists")),
        format!("Dir::Cache={}", at("cache")),
        // The sandbox user of apt cannot write below a home folder; the download is verified by signature all the same.
        "APT::Sandbox::User=root".to_owned(),
    ] {
        command.arg("-o").arg(option);
    }
    command
}
