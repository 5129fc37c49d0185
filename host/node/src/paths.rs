//! Where a node keeps what on this machine: the XDG folders, resolved once and made private to their owner.
//!
//! It never reads the environment by itself (the caller hands in the look-up) and never removes anything. Called by the
//! command line when it starts, by `node` when it opens the folders, and by the store for folders of its own.

use std::ffi::OsString;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The folder name used below each XDG base.
const NAME: &str = "sykli";

/// What can be wrong with a node's folders.
#[derive(Debug, thiserror::Error)]
pub enum PathsError {
    /// Neither an XDG variable nor `HOME` says where files go.
    #[error("no home folder: neither HOME nor {variable} is set to an absolute path")]
    NoHome {
        /// The variable that would have answered.
        variable: &'static str,
    },
    /// A folder could not be made or used.
    #[error("cannot use the folder {}: {source}", path.display())]
    Unusable {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// A node's folders. Every one of them is this user's alone (0700).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dirs {
    /// The user's configuration.
    pub config: PathBuf,
    /// Identity and memberships.
    pub data: PathBuf,
    /// Blobs, results, compiled code: safe to delete at any time.
    pub cache: PathBuf,
    /// The journal of runs.
    pub state: PathBuf,
    /// Sockets and spooled files of running processes.
    pub runtime: PathBuf,
}

impl Dirs {
    /// Resolves the folders from `variable`, a look-up of environment variables. A relative value counts as unset, as
    /// the XDG specification asks. `SYKLI_HOME` puts all of them below one folder: a node of its own.
    ///
    /// # Errors
    /// [`PathsError::NoHome`] where a folder has neither its variable nor `HOME` to stand on.
    pub fn resolve(variable: impl Fn(&str) -> Option<OsString>) -> Result<Dirs, PathsError> {
        let absolute = |name: &str| {
            variable(name)
                .map(PathBuf::from)
                .filter(|path| path.is_absolute())
        };
        if let Some(root) = absolute("SYKLI_HOME") {
            return Ok(Dirs::under(&root));
        }
        let home = absolute("HOME");
        let base = |name: &'static str, below_home: &str| {
            absolute(name)
                .or_else(|| home.as_ref().map(|home| home.join(below_home)))
                .map(|base| base.join(NAME))
                .ok_or(PathsError::NoHome { variable: name })
        };
        let state = base("XDG_STATE_HOME", ".local/state")?;
        Ok(Dirs {
            config: base("XDG_CONFIG_HOME", ".config")?,
            data: base("XDG_DATA_HOME", ".local/share")?,
            cache: base("XDG_CACHE_HOME", ".cache")?,
            runtime: absolute("XDG_RUNTIME_DIR")
                .map_or_else(|| state.join("run"), |base| base.join(NAME)),
            state,
        })
    }

    /// All folders below one: for tests, and for several nodes of one user.
    pub fn under(root: &Path) -> Dirs {
        Dirs {
            config: root.join("config"),
            data: root.join("data"),
            cache: root.join("cache"),
            state: root.join("state"),
            runtime: root.join("run"),
        }
    }

    /// Makes the folders that a run writes to (cache, state, runtime), private to this user.
    ///
    /// # Errors
    /// [`PathsError::Unusable`] names the folder and what the system said.
    pub fn create(&self) -> Result<(), PathsError> {
        [&self.cache, &self.state, &self.runtime]
            .into_iter()
            .try_for_each(|dir| create_private(dir))
    }
}

/// Makes `dir` and its missing parents, all 0700, and sees to it that `dir` itself is this user's and closed to others.
///
/// # Errors
/// [`PathsError::Unusable`] when it cannot be made, is no folder, or belongs to somebody else.
pub fn create_private(dir: &Path) -> Result<(), PathsError> {
    private(dir).map_err(|source| PathsError::Unusable {
        path: dir.to_owned(),
        source,
    })
}

fn private(dir: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)?;
    let found = std::fs::metadata(dir)?;
    let me = rustix::process::geteuid().as_raw();
    if found.uid() != me {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!("it belongs to user {}, not to this one ({me})", found.uid()),
        ));
    }
    // A folder that was there before may be open to others: what is cached is trusted only because nobody else writes.
    if found.mode() & 0o077 != 0 {
        std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o700))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;

    fn resolve(vars: &[(&str, &str)]) -> Result<Dirs, PathsError> {
        Dirs::resolve(|name| {
            vars.iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| OsString::from(value))
        })
    }

    #[test]
    fn variables_win_over_home_and_relative_ones_do_not_count() {
        let dirs = resolve(&[
            ("HOME", "/h"),
            ("XDG_CACHE_HOME", "/c"),
            ("XDG_STATE_HOME", "rel"),
        ])
        .unwrap();
        assert_eq!(dirs.cache, Path::new("/c/sykli"));
        assert_eq!(dirs.state, Path::new("/h/.local/state/sykli"));
        assert_eq!(dirs.runtime, Path::new("/h/.local/state/sykli/run"));
        assert_eq!(dirs.config, Path::new("/h/.config/sykli"));
        assert!(matches!(
            resolve(&[("XDG_CACHE_HOME", "/c")]),
            Err(PathsError::NoHome {
                variable: "XDG_STATE_HOME"
            })
        ));
    }

    #[test]
    fn folders_are_made_private_even_where_they_were_open() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("a/b");
        create_private(&dir).unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!((mode(&dir), mode(dir.parent().unwrap())), (0o700, 0o700));
        std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o777)).unwrap();
        create_private(&dir).unwrap();
        assert_eq!(mode(&dir), 0o700);
    }

    #[test]
    fn a_file_in_the_way_is_named() {
        let temp = tempfile::tempdir().unwrap();
        let file = temp.path().join("file");
        std::fs::write(&file, "").unwrap();
        let error = create_private(&file.join("below")).unwrap_err().to_string();
        assert!(error.contains("file/below"), "{error}");
    }
}
