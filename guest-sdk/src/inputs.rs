//! Reading what the pipeline gave the task: the workspace inputs at their relative paths, and the outputs of the tasks in
//! `after`. Plain `std::fs` below `/in`, with errors that name the file; nothing is cached, nothing is written.
//!
//! ```
//! use sykli_guest::{inputs, testing::Fake};
//!
//! let _host = Fake::new()
//!     .input("photos/a.txt", "a")
//!     .input("photos/old/b.txt", "b")
//!     .input_from("list", "index.json", r#"["a", "b"]"#)
//!     .enter();
//! assert_eq!(inputs::list("photos/").unwrap(), ["photos/a.txt", "photos/old/b.txt"]);
//! assert_eq!(inputs::read("photos/a.txt").unwrap(), b"a");
//! let index: Vec<String> = inputs::from_task("list").json("index.json").unwrap();
//! assert_eq!(index, ["a", "b"]);
//! ```

use std::fs::{self, File};
use std::io::{self, BufReader};
use std::path::{Component, Path, PathBuf};

use serde::de::DeserializeOwned;

use crate::{Error, Result, host};

/// A folder of inputs: the workspace's, or one task's.
#[derive(Debug, Clone)]
pub struct Inputs {
    root: PathBuf,
}

/// The workspace inputs. The free functions of this module are short for its methods.
#[must_use]
pub fn workspace() -> Inputs {
    Inputs {
        root: host::input_root(),
    }
}

/// What the task of this name, one of `after`, left as outputs.
#[must_use]
pub fn from_task(name: &str) -> Inputs {
    Inputs {
        root: host::input_root().join(name),
    }
}

/// A whole workspace file. Errors as [`Inputs::read`].
pub fn read(path: impl AsRef<str>) -> Result<Vec<u8>> {
    workspace().read(path)
}

/// A whole workspace file as text. Errors as [`Inputs::read_string`].
pub fn read_string(path: impl AsRef<str>) -> Result<String> {
    workspace().read_string(path)
}

/// A workspace file, opened for buffered reading. Errors as [`Inputs::open`].
pub fn open(path: impl AsRef<str>) -> Result<BufReader<File>> {
    workspace().open(path)
}

/// A workspace file of JSON. Errors as [`Inputs::json`].
pub fn json<T: DeserializeOwned>(path: impl AsRef<str>) -> Result<T> {
    workspace().json(path)
}

/// Every workspace file in a folder and below. Errors as [`Inputs::list`].
pub fn list(folder: impl AsRef<str>) -> Result<Vec<String>> {
    workspace().list(folder)
}

impl Inputs {
    /// The files of a folder outside the sandbox, for the fake.
    #[cfg(not(all(target_os = "wasi", target_env = "p2")))]
    pub(crate) fn at(root: PathBuf) -> Inputs {
        Inputs { root }
    }

    /// Where this file is for `std::fs` and for libraries that take a path.
    ///
    /// # Errors
    /// [`Error::Path`] where it is absolute or climbs out with `..`.
    pub fn path(&self, path: impl AsRef<str>) -> Result<PathBuf> {
        below(&self.root, path.as_ref())
    }

    /// Whether there is such a file or folder.
    #[must_use]
    pub fn exists(&self, path: impl AsRef<str>) -> bool {
        self.path(path).is_ok_and(|path| path.exists())
    }

    /// A whole file.
    ///
    /// # Errors
    /// [`Error::Io`] naming the file, [`Error::Path`].
    pub fn read(&self, path: impl AsRef<str>) -> Result<Vec<u8>> {
        let path = self.path(path)?;
        fs::read(&path).map_err(io_error("read", &path))
    }

    /// A whole file as text.
    ///
    /// # Errors
    /// As [`Inputs::read`]; also where it is not UTF-8.
    pub fn read_string(&self, path: impl AsRef<str>) -> Result<String> {
        let path = self.path(path)?;
        fs::read_to_string(&path).map_err(io_error("read", &path))
    }

    /// A file, opened for buffered reading: for what is too large to hold at once.
    ///
    /// # Errors
    /// As [`Inputs::read`].
    pub fn open(&self, path: impl AsRef<str>) -> Result<BufReader<File>> {
        let path = self.path(path)?;
        File::open(&path)
            .map(BufReader::new)
            .map_err(io_error("open", &path))
    }

    /// A file of JSON.
    ///
    /// # Errors
    /// As [`Inputs::read`]; [`Error::Json`] with line and column where it does not fit the type.
    pub fn json<T: DeserializeOwned>(&self, path: impl AsRef<str>) -> Result<T> {
        let what = path.as_ref().to_owned();
        serde_json::from_slice(&self.read(path)?).map_err(|source| Error::Json { what, source })
    }

    /// Every file in `folder` and below, sorted, as paths that the other methods take; `""` for all of them. Symbolic
    /// links are not followed.
    ///
    /// # Errors
    /// [`Error::Io`] naming the folder, [`Error::Path`].
    pub fn list(&self, folder: impl AsRef<str>) -> Result<Vec<String>> {
        let folder = folder.as_ref().trim_end_matches('/');
        let mut found = Vec::new();
        // A list of folders still to visit instead of recursion: a guest's stack is small.
        let mut waiting = vec![folder.to_owned()];
        while let Some(folder) = waiting.pop() {
            let path = self.path(&folder)?;
            for entry in fs::read_dir(&path).map_err(io_error("list", &path))? {
                let entry = entry.map_err(io_error("list", &path))?;
                let name = entry.file_name().to_string_lossy().into_owned();
                let name = if folder.is_empty() {
                    name
                } else {
                    format!("{folder}/{name}")
                };
                match entry.file_type().map_err(io_error("list", &path))? {
                    kind if kind.is_dir() => waiting.push(name),
                    kind if kind.is_file() => found.push(name),
                    _ => {}
                }
            }
        }
        found.sort_unstable();
        Ok(found)
    }
}

/// `path` below `root`, where it is relative and stays there.
pub(crate) fn below(root: &Path, path: &str) -> Result<PathBuf> {
    let stays = Path::new(path)
        .components()
        .all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    if stays {
        Ok(root.join(path))
    } else {
        Err(Error::Path(path.to_owned()))
    }
}

/// Turns an `io::Error` into ours.
pub(crate) fn io_error(action: &'static str, path: &Path) -> impl Fn(io::Error) -> Error {
    move |source| Error::Io {
        action,
        path: path.display().to_string(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Fake;

    #[test]
    fn a_path_stays_inside() {
        let _host = Fake::new().input("a.txt", "a").enter();
        for bad in ["/etc/passwd", "../a.txt", "x/../../a.txt"] {
            assert!(matches!(read(bad), Err(Error::Path(_))), "{bad}");
        }
        assert_eq!(read("./a.txt").ok(), Some(b"a".to_vec()));
    }

    #[test]
    fn an_error_names_the_file() {
        let _host = Fake::new().input("bad.json", "{\n 1}").enter();
        let missing = read("no.txt").map_err(|error| error.to_string());
        assert!(
            missing.as_ref().is_err_and(|text| text.contains("no.txt")),
            "{missing:?}"
        );
        let bad = json::<Vec<u8>>("bad.json").map_err(|error| error.to_string());
        assert!(
            bad.as_ref()
                .is_err_and(|text| text.starts_with("bad.json: ")),
            "{bad:?}"
        );
    }

    #[test]
    fn a_list_is_sorted_whatever_order_files_were_made_in() {
        let _host = Fake::new()
            .input("z/1", "")
            .input("a", "")
            .input("m/n/o", "")
            .input("m/b", "")
            .enter();
        assert_eq!(
            list("").ok(),
            Some(["a", "m/b", "m/n/o", "z/1"].map(str::to_owned).to_vec())
        );
        assert_eq!(
            list("m/").ok(),
            Some(["m/b", "m/n/o"].map(str::to_owned).to_vec())
        );
    }
}
