//! What the tests share: guests built on demand, the `sykli` binary, a throw-away project with a home of its own, and
//! components that no compiler would write. Only tests and benchmarks call it; what cannot be set up ends the test with
//! the reason.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot be set up must end with the reason"
)]

pub mod bombs;
pub mod halt;
pub mod handshake;
pub mod link;
pub mod mesh;
mod peak;
mod project;

pub use peak::{children_peak, peak};
pub use project::{Project, Ran};

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{LazyLock, Mutex};

/// The repository.
#[must_use]
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("tests/ is in the repository")
}

/// The folder of the repository that cargo builds into: where the running test is, whatever `CARGO_TARGET_DIR` says.
#[must_use]
pub fn target_dir() -> PathBuf {
    profile_dir()
        .parent()
        .expect("profiles are in the target folder")
        .to_owned()
}

/// `target/<profile>` of the running test, which is in its `deps/`.
fn profile_dir() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own path");
    let deps = test.parent().expect("a test is in a folder");
    let is_deps = deps.file_name() == Some(OsStr::new("deps"));
    if is_deps {
        deps.parent().expect("deps/ is in a profile")
    } else {
        deps
    }
    .to_owned()
}

/// Names of all guests: the files of `tests/guests/src/bin`.
#[must_use]
pub fn guests() -> Vec<String> {
    let folder = root().join("tests/guests/src/bin");
    let entries = std::fs::read_dir(folder).expect("the guests' sources are there");
    let mut names: Vec<String> = entries
        .map(|entry| entry.expect("the folder can be listed").path())
        .filter(|path| path.extension() == Some(OsStr::new("rs")))
        .map(|path| {
            path.file_stem()
                .expect("it has a name")
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    names.sort();
    names
}

/// The component of the guest of this name. All guests are built by the first call in a process, in a moment where nothing
/// has changed.
#[must_use]
pub fn guest(name: &str) -> PathBuf {
    static BUILT: LazyLock<PathBuf> = LazyLock::new(|| {
        let target = target_dir().join("guests");
        build_guests(&target, Some("wasm32-wasip2"));
        target.join("wasm32-wasip2/release")
    });
    existing(BUILT.join(format!("{name}.wasm")))
}

/// The same guest built for this machine, to compare with.
#[must_use]
pub fn native_guest(name: &str) -> PathBuf {
    static BUILT: LazyLock<PathBuf> = LazyLock::new(|| {
        let target = target_dir().join("guests");
        build_guests(&target, None);
        target.join("release")
    });
    existing(BUILT.join(name))
}

fn build_guests(target: &Path, triple: Option<&str>) {
    let mut cargo = cargo();
    cargo.args(["build", "--release", "--locked", "--quiet"]);
    cargo
        .arg("--manifest-path")
        .arg(root().join("tests/guests/Cargo.toml"));
    cargo.arg("--target-dir").arg(target);
    if let Some(triple) = triple {
        cargo.args(["--target", triple]);
    }
    must_succeed(&mut cargo, "the guests are built");
}

/// The `sykli` binary, built in the profile of the running test where it is not up to date; or the one that
/// `SYKLI_TEST_BIN` names.
#[must_use]
pub fn sykli() -> PathBuf {
    static BUILT: LazyLock<PathBuf> = LazyLock::new(|| {
        if let Some(named) = std::env::var_os("SYKLI_TEST_BIN") {
            return existing(PathBuf::from(named));
        }
        let mut cargo = cargo();
        // The whole workspace's selection of features, so that nothing is compiled twice.
        cargo.args(["build", "--workspace", "--bin", "sykli", "--quiet"]);
        cargo.arg("--manifest-path").arg(root().join("Cargo.toml"));
        cargo.arg("--target-dir").arg(target_dir());
        let profile = profile_dir();
        if profile.file_name() == Some(OsStr::new("release")) {
            cargo.arg("--release");
        }
        must_succeed(&mut cargo, "sykli is built");
        existing(profile.join("sykli"))
    });
    BUILT.clone()
}

/// The component of a crate elsewhere in the repository (`examples/…`), by the folder of its workspace and its package.
#[must_use]
pub fn component(workspace: &str, package: &str) -> PathBuf {
    static BUILT: Mutex<BTreeMap<(String, String), PathBuf>> = Mutex::new(BTreeMap::new());
    let mut built = BUILT.lock().expect("no test panicked here");
    let key = (workspace.to_owned(), package.to_owned());
    built
        .entry(key)
        .or_insert_with(|| {
            let folder = root().join(workspace);
            let mut cargo = cargo();
            cargo.args([
                "build",
                "--release",
                "--quiet",
                "--target",
                "wasm32-wasip2",
                "--package",
                package,
            ]);
            cargo.arg("--manifest-path").arg(folder.join("Cargo.toml"));
            cargo.arg("--target-dir").arg(folder.join("target"));
            must_succeed(&mut cargo, "the component is built");
            existing(folder.join(format!("target/wasm32-wasip2/release/{package}.wasm")))
        })
        .clone()
}

/// A component in text form, from `tests/guests/wat/`, as bytes.
#[must_use]
pub fn wat_guest(name: &str) -> Vec<u8> {
    let path = root().join(format!("tests/guests/wat/{name}.wat"));
    wat::parse_file(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Cargo, of the toolchain that runs this test, without what the outer cargo set for its own build.
#[must_use]
pub fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for name in [
        "CARGO_TARGET_DIR",
        "CARGO_BUILD_TARGET",
        "RUSTFLAGS",
        "CARGO_ENCODED_RUSTFLAGS",
    ] {
        cargo.env_remove(name);
    }
    // Where the package that is tested stands is no business of the one that is built.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("CARGO_PKG_") || name == "CARGO_MANIFEST_DIR" {
            cargo.env_remove(name);
        }
    }
    cargo.stdin(Stdio::null());
    cargo
}

#[track_caller]
fn must_succeed(command: &mut Command, what: &str) {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(
        output.status.success(),
        "{what}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[track_caller]
fn existing(path: PathBuf) -> PathBuf {
    assert!(path.is_file(), "{} was not built", path.display());
    path
}
