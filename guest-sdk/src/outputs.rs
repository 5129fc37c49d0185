//! Writing the task's outputs: files below `/out`, folders made on the way. What no pattern of the pipeline's `outputs`
//! matches is dropped with a warning; nothing here can write anywhere else.
//!
//! ```
//! use sykli_guest::{outputs, testing::Fake};
//!
//! let host = Fake::new().enter();
//! outputs::write("thumbs/a.txt", "small").unwrap();
//! outputs::json("index.json", &["a"]).unwrap();
//! assert_eq!(host.outputs().unwrap(), ["index.json", "thumbs/a.txt"]);
//! ```

use std::fs::{self, File};
use std::io::BufWriter;
use std::path::PathBuf;

use serde::Serialize;

use crate::inputs::{below, io_error};
use crate::{Error, Result, host};

/// Writes a whole file, replacing one of that name.
///
/// # Errors
/// [`Error::Io`] naming the file (a full quota, `limits.output`, is one), [`Error::Path`].
pub fn write(path: impl AsRef<str>, content: impl AsRef<[u8]>) -> Result<()> {
    let path = self::path(path)?;
    fs::write(&path, content).map_err(io_error("write", &path))
}

/// Opens a new file for buffered writing. Call `flush` at its end: dropping it hides a failure.
///
/// # Errors
/// As [`write()`].
pub fn create(path: impl AsRef<str>) -> Result<BufWriter<File>> {
    let path = self::path(path)?;
    File::create(&path)
        .map(BufWriter::new)
        .map_err(io_error("create", &path))
}

/// Writes a value as indented JSON with a newline at its end. The same value gives the same bytes, as long as it holds no
/// `HashMap`.
///
/// # Errors
/// As [`write()`]; [`Error::Json`] where the value cannot be written as JSON.
pub fn json(path: impl AsRef<str>, value: &(impl Serialize + ?Sized)) -> Result<()> {
    let text = serde_json::to_string_pretty(value).map_err(|source| Error::Json {
        what: path.as_ref().to_owned(),
        source,
    })?;
    write(path, text + "\n")
}

/// Where this output is for `std::fs` and for libraries that take a path; its folder exists afterwards.
///
/// # Errors
/// [`Error::Io`] where the folder cannot be made, [`Error::Path`] where the path is absolute or climbs out with `..`.
pub fn path(path: impl AsRef<str>) -> Result<PathBuf> {
    let path = below(&host::output_root(), path.as_ref())?;
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(io_error("create", folder))?;
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::testing::Fake;

    #[test]
    fn writes_replace_and_make_folders() -> std::result::Result<(), Box<dyn std::error::Error>> {
        let host = Fake::new().enter();
        write("a/b/c.txt", "long text")?;
        write("a/b/c.txt", "short")?;
        let mut file = create("d.bin")?;
        file.write_all(&[1, 2])?;
        file.flush()?;
        assert_eq!(host.output("a/b/c.txt")?, b"short");
        assert_eq!(host.output("d.bin")?, [1, 2]);
        assert!(matches!(write("../x", ""), Err(Error::Path(_))));
        Ok(())
    }
}
