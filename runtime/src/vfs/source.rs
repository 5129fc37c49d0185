//! Where bytes that a guest reads come from: anything that can be read at an offset, behind one cheap handle.
//!
//! It never loads a file whole, never keeps more files open than it is told to (`close`), and never shows a path of
//! the host: a path is only used to open. Made by whoever prepares a task's inputs; read by `file.rs`.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

/// Bytes of a known length, readable at any offset, from any thread.
pub trait ReadAt: Send + Sync {
    /// Reads into `buf` from `offset` (bytes), as much as comes at once; 0 only at the end or for an empty `buf`.
    ///
    /// # Errors
    /// What the host's storage says. The run that meets it is no result, except for `PermissionDenied`, which the
    /// guest is shown as such.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;

    /// The same onto the end of `buf`, at most `most` bytes.
    ///
    /// # Errors
    /// As those of [`ReadAt::read_at`]; `buf` is as it was then.
    fn read_onto(&self, buf: &mut Vec<u8>, most: usize, offset: u64) -> io::Result<usize> {
        let before = buf.len();
        buf.resize(before.saturating_add(most), 0);
        let read = self.read_at(buf.get_mut(before..).unwrap_or_default(), offset);
        buf.truncate(before.saturating_add(*read.as_ref().unwrap_or(&0)));
        read
    }

    /// The length in bytes. It does not change.
    fn len(&self) -> u64;

    /// Whether there is nothing to read.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The whole content, where it lies in memory anyway: it is then handed out without a copy.
    fn as_bytes(&self) -> Option<&Bytes> {
        None
    }

    /// The BLAKE3 of the content, where it is known without reading it.
    fn blake3(&self) -> Option<[u8; 32]> {
        None
    }

    /// Lets go of what reading opened (a file descriptor). A later `read_at` opens it again.
    fn close(&self) {}
}

/// Reads at most `most` bytes of a file onto the end of `buf`, without clearing what they then fill.
///
/// # Errors
/// What the host's storage says; `buf` is as it was then.
pub fn read_file_onto(
    file: &File,
    buf: &mut Vec<u8>,
    most: usize,
    offset: u64,
) -> io::Result<usize> {
    if most == 0 {
        return Ok(0);
    }
    let before = buf.len();
    buf.reserve_exact(most);
    // What is reserved may be more than was asked for.
    let read = rustix::io::pread(file, rustix::buffer::spare_capacity(buf), offset)?.min(most);
    buf.truncate(before + read);
    Ok(read)
}

/// A shared handle on something readable; cloning it copies nothing.
#[derive(Clone)]
pub struct Source(Arc<dyn ReadAt>);

impl Source {
    /// Anything that implements [`ReadAt`].
    pub fn new(content: Arc<dyn ReadAt>) -> Source {
        Source(content)
    }

    /// Bytes in memory.
    pub fn bytes(content: impl Into<Bytes>) -> Source {
        Source(Arc::new(Memory(content.into())))
    }

    /// Nothing at all.
    pub fn empty() -> Source {
        Source::bytes(Bytes::new())
    }

    /// `len` bytes of the host's file at `path`, opened when first read. A file that turns out shorter is an error
    /// where it ends; what a longer one has more is not seen.
    pub fn file(path: impl Into<PathBuf>, len: u64) -> Source {
        Source(Arc::new(HostFile {
            path: path.into(),
            len,
            open: Mutex::new(None),
        }))
    }

    /// The length in bytes.
    pub fn len(&self) -> u64 {
        self.0.len()
    }

    /// Whether there is nothing to read.
    pub fn is_empty(&self) -> bool {
        self.0.len() == 0
    }

    /// Reads into `buf` from `offset`; see [`ReadAt::read_at`].
    ///
    /// # Errors
    /// What the host's storage says.
    pub fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buf, offset)
    }

    /// Reads onto the end of `buf`; see [`ReadAt::read_onto`].
    ///
    /// # Errors
    /// What the host's storage says.
    pub fn read_onto(&self, buf: &mut Vec<u8>, most: usize, offset: u64) -> io::Result<usize> {
        self.0.read_onto(buf, most, offset)
    }

    /// Fills `buf` from `offset`.
    ///
    /// # Errors
    /// `UnexpectedEof` when the content ends before `buf` is full, else what the host's storage says.
    pub fn read_exact_at(&self, mut buf: &mut [u8], mut offset: u64) -> io::Result<()> {
        while !buf.is_empty() {
            match self.0.read_at(buf, offset) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => {
                    offset += n as u64;
                    buf = buf.get_mut(n..).unwrap_or_default();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The content where it lies in memory.
    pub fn as_bytes(&self) -> Option<&Bytes> {
        self.0.as_bytes()
    }

    /// The BLAKE3 of the content: the known one, else by reading everything once.
    ///
    /// # Errors
    /// What the host's storage says.
    pub fn blake3(&self) -> io::Result<[u8; 32]> {
        if let Some(known) = self.0.blake3() {
            return Ok(known);
        }
        if let Some(bytes) = self.0.as_bytes() {
            return Ok(blake3::hash(bytes).into());
        }
        let mut hasher = blake3::Hasher::new();
        let mut buf = vec![0; 256 * 1024];
        let (mut offset, len) = (0, self.len());
        while offset < len {
            let want = usize::try_from(len - offset)
                .unwrap_or(usize::MAX)
                .min(buf.len());
            let part = buf.get_mut(..want).unwrap_or_default();
            self.read_exact_at(part, offset)?;
            hasher.update(part);
            offset += want as u64;
        }
        Ok(hasher.finalize().into())
    }

    /// Lets go of what reading opened.
    pub fn close(&self) {
        self.0.close();
    }

    /// Whether both are the same handle (not: the same bytes).
    pub fn same(&self, other: &Source) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Source({} bytes)", self.len())
    }
}

struct Memory(Bytes);

impl ReadAt for Memory {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let rest = usize::try_from(offset)
            .ok()
            .and_then(|start| self.0.get(start..))
            .unwrap_or_default();
        let n = rest.len().min(buf.len());
        if let (Some(to), Some(from)) = (buf.get_mut(..n), rest.get(..n)) {
            to.copy_from_slice(from);
        }
        Ok(n)
    }

    fn len(&self) -> u64 {
        self.0.len() as u64
    }

    fn as_bytes(&self) -> Option<&Bytes> {
        Some(&self.0)
    }
}

struct HostFile {
    path: PathBuf,
    len: u64,
    open: Mutex<Option<Arc<File>>>,
}

impl HostFile {
    fn opened(&self) -> io::Result<Arc<File>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = &*open {
            return Ok(file.clone());
        }
        let file = Arc::new(File::open(&self.path)?);
        *open = Some(file.clone());
        Ok(file)
    }
}

/// What was read before the end of a file's known length.
fn whole(read: usize) -> io::Result<usize> {
    match read {
        0 => Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "the file became shorter",
        )),
        n => Ok(n),
    }
}

impl ReadAt for HostFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let rest = usize::try_from(self.len.saturating_sub(offset)).unwrap_or(usize::MAX);
        let want = rest.min(buf.len());
        let Some(part) = buf.get_mut(..want).filter(|part| !part.is_empty()) else {
            return Ok(0);
        };
        whole(self.opened()?.read_at(part, offset)?)
    }

    fn read_onto(&self, buf: &mut Vec<u8>, most: usize, offset: u64) -> io::Result<usize> {
        let rest = usize::try_from(self.len.saturating_sub(offset)).unwrap_or(usize::MAX);
        match rest.min(most) {
            0 => Ok(0),
            want => {
                let file = self.opened()?;
                whole(read_file_onto(&file, buf, want, offset)?)
            }
        }
    }

    fn len(&self) -> u64 {
        self.len
    }

    fn close(&self) {
        *self.open.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_file_is_opened_when_first_read_and_again_after_close() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("late");
        let source = Source::file(&path, 5);
        assert!(
            source.read_at(&mut [0; 4], 0).is_err(),
            "nothing is there yet"
        );
        std::fs::write(&path, "hello, more").unwrap();
        let mut buf = [0; 8];
        assert_eq!(
            source.read_at(&mut buf, 3).unwrap(),
            2,
            "what is beyond the length is not seen"
        );
        assert_eq!(&buf[..2], b"lo");
        assert_eq!(source.read_at(&mut buf, 5).unwrap(), 0);
        source.close();
        std::fs::remove_file(&path).unwrap();
        assert!(
            source.read_at(&mut buf, 0).is_err(),
            "closed: it has to be opened again"
        );
    }

    #[test]
    fn a_file_that_became_shorter_is_an_error_and_not_an_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("short");
        std::fs::write(&path, "abc").unwrap();
        let source = Source::file(&path, 10);
        assert_eq!(
            source.read_at(&mut [0; 8], 3).unwrap_err().kind(),
            io::ErrorKind::UnexpectedEof
        );
        assert!(source.blake3().is_err());
    }

    #[test]
    fn what_is_read_onto_a_buffer_is_what_is_read_into_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("data");
        std::fs::write(&path, "0123456789, and more").unwrap();
        let memory = Source::bytes(&b"0123456789"[..]);
        for source in [Source::file(&path, 10), memory] {
            let mut buf = b"before".to_vec();
            for (most, offset, read) in [(4, 2, 4), (0, 0, 0), (9, 6, 4), (5, 10, 0)] {
                assert_eq!(source.read_onto(&mut buf, most, offset).unwrap(), read);
            }
            assert_eq!(buf, b"before23456789", "never beyond the length");
        }
        let gone = Source::file(dir.path().join("none"), 5);
        let short = Source::file(&path, 100);
        let mut buf = vec![1];
        assert!(gone.read_onto(&mut buf, 5, 0).is_err());
        assert!(short.read_onto(&mut buf, 5, 50).is_err(), "it is no end");
        assert_eq!(buf, [1]);
    }

    #[test]
    fn the_hash_is_of_the_content_wherever_it_lies() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("data");
        let data = vec![7; 700_000];
        std::fs::write(&path, &data).unwrap();
        let expected: [u8; 32] = blake3::hash(&data).into();
        assert_eq!(Source::file(&path, 700_000).blake3().unwrap(), expected);
        assert_eq!(Source::bytes(data).blake3().unwrap(), expected);
        assert!(Source::empty().is_empty());
    }
}
