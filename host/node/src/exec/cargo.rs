//! Cargo's runner for `wasm32-wasip2`: what `cargo test` and `cargo run` expect a program to find.
//!
//! Cargo starts a test in its package's folder and says so in `CARGO_MANIFEST_DIR`; tests read their fixtures relative
//! to it, or through the absolute path that `env!` compiled in. So the folder is there at both places, as a private
//! snapshot. Who asks for folders by `--dir` gets those alone, the package's by both its names where it is among them.
//! Reads this process's environment, which is cargo's; passes on only what is named here. Called by `exec`.

use std::path::{Path, PathBuf};

use super::ExecDir;

/// What is passed on; those ending in `_` are prefixes.
const PASSED_ON: [&str; 4] = [
    "CARGO_MANIFEST_DIR",
    "CARGO_PKG_",
    "RUST_BACKTRACE",
    "RUST_TEST_",
];

/// What cargo's runner adds to a request.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Additions {
    /// Folders.
    pub(super) dirs: Vec<ExecDir>,
    /// Environment variables.
    pub(super) env: Vec<(String, String)>,
}

/// What to add to the folders that were asked for, where cargo started us: nothing where it did not.
pub(super) fn additions(
    asked: &[ExecDir],
    vars: impl IntoIterator<Item = (String, String)>,
) -> Additions {
    let passed = |name: &str| {
        PASSED_ON.iter().any(|known| {
            if known.ends_with('_') {
                name.starts_with(known)
            } else {
                name == *known
            }
        })
    };
    let mut env: Vec<_> = vars.into_iter().filter(|(name, _)| passed(name)).collect();
    env.sort_unstable();
    let folder = env
        .iter()
        .find(|(name, _)| name == "CARGO_MANIFEST_DIR")
        .map(|(_, value)| value.clone());
    match folder {
        Some(folder) => Additions {
            dirs: package(asked, folder),
            env,
        },
        None => Additions::default(),
    }
}

/// The package's folder at the names that it lacks, unless only other folders were asked for.
fn package(asked: &[ExecDir], folder: String) -> Vec<ExecDir> {
    let host = PathBuf::from(&folder);
    if !asked.is_empty() && !asked.iter().any(|dir| same(&dir.host, &host)) {
        return Vec::new();
    }
    let mut names = Vec::with_capacity(2);
    if asked.is_empty() {
        names.push(".".to_owned());
    }
    if host.is_absolute() && !asked.iter().any(|dir| dir.guest == folder) {
        names.push(folder);
    }
    names
        .into_iter()
        .map(|guest| ExecDir {
            host: host.clone(),
            guest,
        })
        .collect()
}

/// Whether both lead to one folder; one that is not there is nobody's.
fn same(one: &Path, other: &Path) -> bool {
    matches!((one.canonicalize(), other.canonicalize()), (Ok(one), Ok(other)) if one == other)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(texts: &[(&str, &str)]) -> Vec<(String, String)> {
        texts
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn the_package_folder_is_at_both_its_names() {
        let vars = [
            ("SECRET", "s"),
            ("CARGO_PKG_NAME", "demo"),
            ("CARGO_MANIFEST_DIR", "/w/demo"),
            ("CARGO", "/bin/cargo"),
        ];
        let added = additions(&[], pairs(&vars));
        let dir = |guest: &str| ExecDir {
            host: PathBuf::from("/w/demo"),
            guest: guest.to_owned(),
        };
        assert_eq!(added.dirs, [dir("."), dir("/w/demo")]);
        assert_eq!(
            added.env,
            pairs(&[
                ("CARGO_MANIFEST_DIR", "/w/demo"),
                ("CARGO_PKG_NAME", "demo")
            ])
        );
    }

    #[test]
    fn without_cargo_nothing_is_added() {
        assert_eq!(
            additions(
                &[],
                pairs(&[("RUST_BACKTRACE", "1"), ("CARGO_PKG_NAME", "x")])
            ),
            Additions::default()
        );
    }

    #[test]
    fn folders_that_were_asked_for_stay_the_only_ones() {
        let package = tempfile::tempdir().unwrap();
        let name = package.path().to_str().unwrap().to_owned();
        let vars = || pairs(&[("CARGO_MANIFEST_DIR", &name)]);
        let asked = |host: &Path, guest: &str| ExecDir {
            host: host.to_owned(),
            guest: guest.to_owned(),
        };
        let added = additions(&[asked(&package.path().join("."), ".")], vars());
        assert_eq!(added.dirs, [asked(package.path(), &name)]);
        let other = tempfile::tempdir().unwrap();
        let added = additions(&[asked(other.path(), ".")], vars());
        assert_eq!(added.dirs, []);
        assert_eq!(added.env, vars(), "cargo's variables are no folder");
    }
}
