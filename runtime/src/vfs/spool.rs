//! Where written files go that are too big for memory: temporary files of the host that remove themselves, and the
//! bound on how many files of the host one run keeps open.
//!
//! A process that may open no file is lent them by one that may ([`Lender`]).
//!
//! A guest can hold thousands of handles; the host holds at most `MAX_OPEN` descriptors of each kind for it and opens
//! again what it closed. Nothing is synced: a spooled file is worth no more than the run that writes it. A host that
//! dies leaves files behind in the spool folder; whoever owns the folder empties it. Used by `file.rs`.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use tempfile::TempPath;

use super::source::Source;

/// Descriptors kept open for spooled files, and as many for sources, by one run.
const MAX_OPEN: usize = 32;

/// Lends files to a process that may open none itself. Each has a number.
pub trait Lender: Send + Sync {
    /// A new, empty file, open for reading and writing.
    ///
    /// # Errors
    /// What the lender's storage says.
    fn create(&self) -> io::Result<(u32, File)>;
    /// The same file, opened again.
    ///
    /// # Errors
    /// What the lender's storage says.
    fn open(&self, number: u32) -> io::Result<File>;
    /// It is not needed any more.
    fn remove(&self, number: u32);
}

/// Where temporary files are.
#[derive(Clone)]
pub enum SpoolPlace {
    /// In a folder of the host's.
    Folder(Arc<Path>),
    /// With a lender.
    Lent(Arc<dyn Lender>),
}

impl fmt::Debug for SpoolPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SpoolPlace::Folder(path) => write!(f, "Folder({})", path.display()),
            SpoolPlace::Lent(_) => f.write_str("Lent"),
        }
    }
}

/// One temporary file, gone when this is dropped.
pub(crate) enum Place {
    Path(TempPath),
    Lent(u32, Arc<dyn Lender>),
}

impl Place {
    fn open(&self) -> io::Result<File> {
        match self {
            Place::Path(path) => OpenOptions::new().read(true).write(true).open(path),
            Place::Lent(number, lender) => lender.open(*number),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Place::Lent(number, lender) = self {
            lender.remove(*number);
        }
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Path(path) => write!(f, "{}", path.display()),
            Place::Lent(number, _) => write!(f, "lent {number}"),
        }
    }
}

/// A finished temporary file, removed when the last handle on it is dropped.
#[derive(Clone, Debug)]
pub struct SpooledFile {
    place: Arc<Place>,
    len: u64,
    blake3: [u8; 32],
}

impl SpooledFile {
    pub(crate) fn new(place: Arc<Place>, len: u64, blake3: [u8; 32]) -> SpooledFile {
        SpooledFile { place, len, blake3 }
    }

    /// A temporary file that somebody else wrote and does not write to any more; it is read once, for its digest.
    ///
    /// # Errors
    /// What the host's storage says.
    pub fn adopt(path: TempPath) -> io::Result<SpooledFile> {
        let file = File::open(&path)?;
        let len = file.metadata()?.len();
        let blake3 = super::file::hash_file(&file, len)?.into();
        let place = Arc::new(Place::Path(path));
        Ok(SpooledFile { place, len, blake3 })
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

    /// Where it lies, unless it is lent. It may be renamed away from there; then nothing is left to remove.
    pub fn path(&self) -> Option<&Path> {
        match &*self.place {
            Place::Path(path) => Some(path),
            Place::Lent(..) => None,
        }
    }

    /// The lender's number of it, where it is lent.
    pub fn number(&self) -> Option<u32> {
        match &*self.place {
            Place::Path(_) => None,
            Place::Lent(number, _) => Some(*number),
        }
    }

    /// Opens it for reading.
    ///
    /// # Errors
    /// What the host's storage says.
    pub fn reopen(&self) -> io::Result<File> {
        self.place.open()
    }
}

/// The temporary files of one run.
pub(crate) struct Spool {
    to: SpoolPlace,
    files: Mutex<Vec<(Arc<Place>, Arc<File>)>>,
    sources: Mutex<Vec<Source>>,
}

impl Spool {
    pub(crate) fn new(to: SpoolPlace) -> Arc<Spool> {
        Arc::new(Spool {
            to,
            files: Mutex::default(),
            sources: Mutex::default(),
        })
    }

    /// A new, empty temporary file.
    pub(crate) fn create(&self) -> io::Result<Arc<Place>> {
        let (file, place) = match &self.to {
            SpoolPlace::Folder(dir) => {
                let made = tempfile::Builder::new().prefix("spool-").tempfile_in(dir)?;
                let (file, path) = made.into_parts();
                (file, Place::Path(path))
            }
            SpoolPlace::Lent(lender) => {
                let (number, file) = lender.create()?;
                (file, Place::Lent(number, Arc::clone(lender)))
            }
        };
        let place = Arc::new(place);
        self.remember(place.clone(), Arc::new(file));
        Ok(place)
    }

    fn remember(&self, path: Arc<Place>, file: Arc<File>) {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        files.truncate(MAX_OPEN - 1);
        files.insert(0, (path, file));
    }

    /// The open file of a temporary path, opened again where it had to be closed.
    pub(crate) fn open(&self, path: &Arc<Place>) -> io::Result<Arc<File>> {
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
        let file = Arc::new(path.open()?);
        self.remember(path.clone(), file.clone());
        Ok(file)
    }

    /// Forgets a temporary file, so that dropping its path removes it and its descriptor is closed.
    pub(crate) fn forget(&self, path: &Arc<Place>) {
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
        let spool = Spool::new(SpoolPlace::Folder(dir.path().into()));
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
                .all(|place| place.open().unwrap().metadata().unwrap().len() == 3)
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
        let spool = Spool::new(SpoolPlace::Folder(Path::new("").into()));
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
