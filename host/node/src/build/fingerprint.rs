//! Whether anything a crate's build depends on may have changed, from file stats alone.
//!
//! Covered: every file of the crate and of its path dependencies, cargo's manifests, lock and settings in the folders
//! above, which toolchain rustup would choose, and the environment that steers cargo. Not covered: files outside the
//! packages that a build script reads (`sykli build --force` is for those). It reads no file and spawns nothing.
//! Called by `build`.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

/// A crate with more files than this is always left to cargo.
const MAX_FILES: usize = 50_000;
/// Folders nested deeper are no sources.
const MAX_DEPTH: usize = 64;
/// Folders that hold what builds make, not what they are made from.
const SKIPPED: [&str; 4] = ["target", ".git", ".sykli", "node_modules"];
/// Looked for in the crate's folder and all above it.
const SETTINGS: [&str; 6] = [
    "Cargo.toml",
    "Cargo.lock",
    ".cargo/config.toml",
    ".cargo/config",
    "rust-toolchain.toml",
    "rust-toolchain",
];
/// Variables that change what cargo builds; those ending in `_` are prefixes.
const VARIABLES: [&str; 12] = [
    "CARGO",
    "CARGO_BUILD_",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_HOME",
    "CARGO_PROFILE_",
    "CARGO_TARGET_",
    "RUSTC",
    "RUSTC_",
    "RUSTFLAGS",
    "RUSTUP_HOME",
    "RUSTUP_TOOLCHAIN",
    "PATH",
];
/// File systems round times: a file written this shortly before cargo was asked may have been written after.
pub(super) const TIME_GRANULARITY: Duration = Duration::from_millis(20);

/// What tells a file from its changed self.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stat {
    size: u64,
    mtime: (i64, i64),
    ctime: (i64, i64),
    inode: u64,
}

impl Stat {
    fn from(meta: &std::fs::Metadata) -> Stat {
        Stat {
            size: meta.len(),
            mtime: (meta.mtime(), meta.mtime_nsec()),
            ctime: (meta.ctime(), meta.ctime_nsec()),
            inode: meta.ino(),
        }
    }

    fn hash(&self, into: &mut blake3::Hasher) {
        for number in [self.mtime.0, self.mtime.1, self.ctime.0, self.ctime.1] {
            into.update(&number.to_le_bytes());
        }
        into.update(&self.size.to_le_bytes());
        into.update(&self.inode.to_le_bytes());
    }
}

/// A file's stat; `None` where it is not there.
pub(super) fn stat(path: &Path) -> Option<Stat> {
    std::fs::metadata(path).ok().map(|meta| Stat::from(&meta))
}

/// One name for everything the build of `crate_dir` from `packages` depends on.
///
/// `None` where it cannot be told: too many files, an unreadable folder, or a source that is not older than
/// `before`.
pub(super) fn of(
    crate_dir: &Path,
    packages: &[PathBuf],
    before: Option<SystemTime>,
) -> Option<String> {
    let mut hasher = blake3::Hasher::new();
    let mut files = 0;
    for package in packages {
        hash_folder(package, 0, before, &mut files, &mut hasher)?;
    }
    hash_settings(crate_dir, packages, &mut hasher);
    hash_toolchain(&mut hasher);
    hash_environment(&mut hasher);
    Some(hasher.finalize().to_hex().to_string())
}

fn hash_path(path: &Path, into: &mut blake3::Hasher) {
    let bytes = path.as_os_str().as_encoded_bytes();
    into.update(&(bytes.len() as u64).to_le_bytes());
    into.update(bytes);
}

fn hash_folder(
    folder: &Path,
    depth: usize,
    limit: Option<SystemTime>,
    files: &mut usize,
    into: &mut blake3::Hasher,
) -> Option<()> {
    if depth > MAX_DEPTH {
        return None;
    }
    let mut entries: Vec<_> = std::fs::read_dir(folder)
        .ok()?
        .collect::<Result<_, _>>()
        .ok()?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        *files += 1;
        if *files > MAX_FILES {
            return None;
        }
        // Of the link itself, not of what it points to: cargo does not follow links out of a package either.
        let meta = entry.metadata().ok()?;
        let path = entry.path();
        if meta.is_dir() {
            if !SKIPPED.iter().any(|name| entry.file_name() == *name) {
                hash_folder(&path, depth + 1, limit, files, into)?;
            }
            continue;
        }
        // Cargo itself writes the lock file while it builds.
        let written_by_cargo = entry.file_name() == "Cargo.lock";
        if !written_by_cargo
            && limit.is_some_and(|limit| meta.modified().is_ok_and(|time| time >= limit))
        {
            return None;
        }
        hash_path(&path, into);
        Stat::from(&meta).hash(into);
    }
    Some(())
}

/// Present or absent, each candidate counts: a new `.cargo/config.toml` above the crate changes the build too.
fn hash_settings(crate_dir: &Path, packages: &[PathBuf], into: &mut blake3::Hasher) {
    let above = |path: &Path| path.ancestors().map(Path::to_owned).collect::<Vec<_>>();
    let mut folders = above(crate_dir);
    folders.extend(packages.iter().flat_map(|package| above(package)));
    folders.sort_unstable();
    folders.dedup();
    let mut paths: Vec<PathBuf> = folders
        .iter()
        .flat_map(|folder| SETTINGS.iter().map(|name| folder.join(name)))
        .collect();
    paths.extend(
        ["config.toml", "config"]
            .iter()
            .filter_map(|name| Some(home("CARGO_HOME", ".cargo")?.join(name))),
    );
    for path in paths {
        if let Some(stat) = stat(&path) {
            hash_path(&path, into);
            stat.hash(into);
        }
    }
}

/// `rustup default`, an override or an update rewrite one of these.
fn hash_toolchain(into: &mut blake3::Hasher) {
    let Some(rustup) = home("RUSTUP_HOME", ".rustup") else {
        return;
    };
    let mut paths = vec![rustup.join("settings.toml"), rustup.join("toolchains")];
    if let Ok(entries) = std::fs::read_dir(rustup.join("update-hashes")) {
        paths.extend(entries.flatten().map(|entry| entry.path()));
    }
    paths.sort_unstable();
    for path in paths {
        if let Some(stat) = stat(&path) {
            hash_path(&path, into);
            stat.hash(into);
        }
    }
}

fn hash_environment(into: &mut blake3::Hasher) {
    let steers = |name: &str| {
        VARIABLES.iter().any(|known| {
            if known.ends_with('_') {
                name.starts_with(known)
            } else {
                name == *known
            }
        })
    };
    let mut variables: Vec<_> = std::env::vars_os()
        .filter(|(name, _)| name.to_str().is_some_and(steers))
        .collect();
    variables.sort_unstable();
    for (name, value) in variables {
        hash_path(Path::new(&name), into);
        hash_path(Path::new(&value), into);
    }
}

fn home(variable: &str, fallback: &str) -> Option<PathBuf> {
    let set = std::env::var_os(variable)
        .filter(|value| !value.is_empty())
        .map(PathBuf::from);
    set.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(fallback)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn crate_in(folder: &Path) -> PathBuf {
        let dir = folder.join("task");
        std::fs::create_dir_all(dir.join("src")).unwrap();
        std::fs::create_dir_all(dir.join("target/debug")).unwrap();
        std::fs::write(dir.join("Cargo.toml"), "[package]").unwrap();
        std::fs::write(dir.join("src/main.rs"), "fn main() {}").unwrap();
        dir
    }

    #[test]
    fn sources_and_settings_count_and_build_results_do_not() {
        let temp = tempfile::tempdir().unwrap();
        let dir = crate_in(temp.path());
        let of_now = || of(&dir, std::slice::from_ref(&dir), None).unwrap();
        let first = of_now();
        std::fs::write(dir.join("target/debug/x"), "x").unwrap();
        assert_eq!(of_now(), first);
        std::fs::write(dir.join("src/main.rs"), "fn main() { }").unwrap();
        let second = of_now();
        assert_ne!(second, first);
        std::fs::create_dir(temp.path().join(".cargo")).unwrap();
        std::fs::write(temp.path().join(".cargo/config.toml"), "").unwrap();
        let third = of_now();
        assert_ne!(third, second);
        std::fs::remove_file(dir.join("src/main.rs")).unwrap();
        assert_ne!(of_now(), third);
    }

    #[test]
    fn a_source_touched_during_the_build_gives_no_fingerprint() {
        let temp = tempfile::tempdir().unwrap();
        let dir = crate_in(temp.path());
        let packages = [dir.clone()];
        assert!(
            of(
                &dir,
                &packages,
                Some(SystemTime::now() + Duration::from_secs(60))
            )
            .is_some()
        );
        assert!(
            of(
                &dir,
                &packages,
                Some(SystemTime::now() - Duration::from_secs(60))
            )
            .is_none()
        );
        std::fs::remove_dir_all(&dir).unwrap();
        assert!(of(&dir, &packages, None).is_none());
    }
}
