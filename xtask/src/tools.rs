//! Foreign toolchains that the tests of "any component runs" want: clang with wasi-libc, componentize-py.
//!
//! Installs what it can without asking (as root, or into `target/tools`), and never fails: a test whose tool is missing
//! says so, and fails by itself where `CI` is set. Called by `cargo xtask test`.

use crate::process::{command, exists, output, root, run, say, succeeds_within};
use std::path::Path;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(600);

/// Brings the tools where they are missing and can be had.
pub fn prepare() {
    if !(exists("clang") && exists("wasm-ld") && libc_for_wasm()) && am_root() && exists("apt-get")
    {
        say("installing clang, lld and wasi-libc for the C guest");
        let _ = succeeds_within(command("apt-get").args(["-qq", "update"]), PATIENCE);
        apt_install(&["clang", "lld", "wasi-libc"]);
        // The compiler's own runtime for wasm32 is a package per clang version, and every C program links it.
        if let Ok(version) = output(command("clang").arg("-dumpversion")) {
            let major = version.split('.').next().unwrap_or_default();
            apt_install(&[&format!("libclang-rt-{major}-dev-wasm32")]);
        }
    }
    let venv = root().join("target/tools/python");
    if !venv.join("bin/componentize-py").exists() && exists("python3") {
        say("installing componentize-py for the Python guest");
        let made = run(command("python3").args(["-m", "venv"]).arg(&venv)).is_ok()
            && succeeds_within(
                command(venv.join("bin/pip")).args(["install", "--quiet", "componentize-py"]),
                PATIENCE,
            );
        if !made {
            say("componentize-py cannot be installed here: its test will say so");
        }
    }
}

/// Installs one of Debian's packages, where that can be done without asking.
pub fn install(package: &str) {
    if am_root() && exists("apt-get") {
        say(&format!("installing {package}"));
        let _ = succeeds_within(command("apt-get").args(["-qq", "update"]), PATIENCE);
        apt_install(&[package]);
    }
}

fn apt_install(packages: &[&str]) {
    let _ = succeeds_within(
        command("apt-get")
            .env("DEBIAN_FRONTEND", "noninteractive")
            .args(["-qq", "-y", "install"])
            .args(packages),
        PATIENCE,
    );
}

fn libc_for_wasm() -> bool {
    ["wasm32-wasi", "wasm32-wasip1"]
        .iter()
        .any(|target| Path::new("/usr/lib").join(target).join("libc.a").exists())
}

fn am_root() -> bool {
    output(command("id").arg("-u")).is_ok_and(|id| id.trim() == "0")
}
