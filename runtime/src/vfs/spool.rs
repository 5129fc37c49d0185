//! Where written files go that are too big for memory: temporary files of the host that remove themselves, and the
//! bound on how many files of the host one run keeps open.
//!
//! A guest can hold thousands of handles; the host holds at most `MAX_OPEN` descriptors of each kind for it and opens
//! again what it closed. Nothing is synced: a spooled file is worth no more than the run that writes it. A host that
//! dies leaves files behind in the spool folder; whoever owns the folder empties it. Used by `file.rs`.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use tempfile::TempPath;

use super::source::Source;

/// Descriptors kept open for spooled files, and as many for sources, by one run.
const MAX_OPEN: usize = 32;

/// A finished temporary file, removed when the last handle on it is dropped.
#[derive(Clone, Debug)]
pub struct SpooledFile {
    path: Arc<TempPath>,
    len: u64,
    blake3: [u8; 32],
}

impl SpooledFile {
    pub(crate) fn new(path: Arc<TempPath>, len: u64, blake3: [u8; 32]) -> SpooledFile {
        SpooledFile { path, len, blake3 }
    }

    /// The length in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The BLAKE3 of the content.
    pub fn blake3(&self) -> [u8; 32] {
        self.blake3
    }

    /// Where it lies. It may be renamed away from there; then nothing is left to remove.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens it for reading.
    ///
    /// # Errors
    /// What the host's storage says.
    pub fn reopen(&self) -> io::Result<File> {
        File::open(&*self.path)
    }
}

/// The temporary files of one run.
pub(crate) struct Spool {
    dir: Arc<Path>,
    files: Mutex<Vec<(Arc<TempPath>, Arc<File>)>>,
    sources: Mutex<Vec<Source>>,
}

impl Spool {
    pub(crate) fn new(dir: Arc<Path>) -> Arc<Spool> {
        Arc::new(Spool {
            dir,
            files: Mutex::default(),
            sources: Mutex::default(),
        })
    }

    /// A new, empty temporary file.
    pub(crate) fn create(&self) -> io::Result<Arc<TempPath>> {
        let (file, path) = tempfile::Builder::new()
            .prefix("spool-")
            .tempfile_in(&self.dir)?
            .into_parts();
        let path = Arc::new(path);
        self.remember(path.clone(), Arc::new(file));
        Ok(path)
    }

    fn remember(&self, path: Arc<TempPath>, file: Arc<File>) {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        files.truncate(MAX_OPEN - 1);
        files.insert(0, (path, file));
    }

    /// The open file of a temporary path, opened again where it had to be closed.
    pub(crate) fn open(&self, path: &Arc<TempPath>) -> io::Result<Arc<File>> {
        {
            let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(at) = files.iter().position(|(have, _)| Arc::ptr_eq(have, path)) {
                if let Some(part) = files.get_mut(..=at) {
                    part.rotate_right(1);
                }
                if let Some((_, file)) = files.first() {
                    return Ok(file.clone());
                }
            }
        }
        let file = Arc::new(OpenOptions::new().read(true).write(true).open(&**path)?);
        self.remember(path.clone(), file.clone());
        Ok(file)
    }

    /// Forgets a temporary file, so that dropping its path removes it and its descriptor is closed.
    pub(crate) fn forget(&self, path: &Arc<TempPath>) {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        files.retain(|(have, _)| !Arc::ptr_eq(have, path));
    }

    /// Notes that `source` is being read, and closes the one that was read longest ago when there are too many.
    pub(crate) fn touch(&self, source: &Source) {
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        match sources.iter().position(|have| have.same(source)) {
            Some(0) => {}
            Some(at) => {
                if let Some(part) = sources.get_mut(..=at) {
                    part.rotate_right(1);
                }
            }
            None => {
                if sources.len() >= MAX_OPEN
                    && let Some(last) = sources.pop()
                {
                    last.close();
                }
                sources.insert(0, source.clone());
            }
        }
    }

    /// Closes `source` if it is kept open here.
    pub(crate) fn release(&self, source: &Source) {
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = sources.iter().position(|have| have.same(source)) {
            sources.remove(at).close();
        }
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        for source in self
            .sources
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner)
        {
            source.close();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::os::unix::fs::FileExt as _;
    use std::sync::atomic::{AtomicI32, Ordering::SeqCst};

    #[test]
    fn many_files_share_few_descriptors_and_remove_themselves() {
        let dir = tempfile::tempdir().unwrap();
        let spool = Spool::new(dir.path().into());
        let paths: Vec<_> = (0..100).map(|_| spool.create().unwrap()).collect();
        for round in 0..3_u64 {
            for path in &paths {
                spool.open(path).unwrap().write_all_at(b"x", round).unwrap();
                assert!(spool.files.lock().unwrap().len() <= MAX_OPEN);
            }
        }
        assert!(
            paths
                .iter()
                .all(|path| std::fs::metadata(&***path).unwrap().len() == 3)
        );
        for path in &paths {
            spool.forget(path);
        }
        drop(paths);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    struct Counted(Arc<AtomicI32>);

    impl super::super::source::ReadAt for Counted {
        fn read_at(&self, _: &mut [u8], _: u64) -> io::Result<usize> {
            Ok(0)
        }
        fn len(&self) -> u64 {
            0
        }
        fn close(&self) {
            self.0.fetch_add(1, SeqCst);
        }
    }

    #[test]
    fn the_source_read_longest_ago_is_closed_first() {
        let closed: Vec<Arc<AtomicI32>> = (0..MAX_OPEN + 2).map(|_| Arc::default()).collect();
        let sources: Vec<Source> = closed
            .iter()
            .map(|n| Source::new(Arc::new(Counted(n.clone()))))
            .collect();
        let spool = Spool::new(Path::new("").into());
        for source in &sources[..MAX_OPEN] {
            spool.touch(source);
        }
        spool.touch(&sources[0]);
        spool.touch(&sources[MAX_OPEN]);
        let count = |at: usize| closed[at].load(SeqCst);
        assert_eq!((count(0), count(1), count(2)), (0, 1, 0));
        spool.release(&sources[0]);
        spool.release(&sources[1]);
        assert_eq!(
            (count(0), count(1)),
            (1, 1),
            "what is closed is not closed again"
        );
        drop(spool);
        assert_eq!((count(2), count(MAX_OPEN), count(MAX_OPEN + 1)), (1, 1, 0));
    }
}
