//! One file's content while a guest runs: the source it came from, until it is first written; then a private copy, in
//! memory while small, spooled when not.
//!
//! It never changes a source, never holds a big file whole in memory, and never takes a byte that the quota does not
//! have. Shared by the tree and the streams open on it; it lives as long as either does, so an unlinked open file works.

use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::changes::Content;
use super::error::{FsError, FsResult};
use super::quota::Ledger;
use super::source::Source;
use super::spool::{Place, Spool, SpooledFile};

/// Bytes of a spooled file's end kept back in memory, so that small writes become few big ones.
const TAIL_BYTES: usize = 64 * 1024;
/// Bytes copied or hashed at once.
const CHUNK_BYTES: usize = 256 * 1024;
/// The longest file there can be (the host's own offsets are signed).
const MAX_FILE_BYTES: u64 = i64::MAX as u64;

/// The content of one file; see the module.
pub struct FileCell {
    state: Mutex<State>,
    ledger: Arc<Ledger>,
    spool: Arc<Spool>,
}

struct State {
    body: Body,
    /// Names the file has.
    links: u64,
    /// Bytes counted for it.
    charged: u64,
    /// Bytes of it counted as memory.
    memory: u64,
}

enum Body {
    Base(Source),
    Memory(Vec<u8>),
    Spooled(Spooled),
}

/// `flushed` bytes in the file, then `tail`.
struct Spooled {
    path: Arc<Place>,
    flushed: u64,
    tail: Vec<u8>,
    /// Has seen exactly the flushed bytes; gone once they were written out of order.
    hasher: Option<Box<blake3::Hasher>>,
}

impl Body {
    fn len(&self) -> u64 {
        match self {
            Body::Base(source) => source.len(),
            Body::Memory(bytes) => bytes.len() as u64,
            Body::Spooled(spooled) => spooled.len(),
        }
    }
}

/// What a file counts for: its own content once for each name (each becomes a file in the end), a source's only for
/// the names beyond the first.
fn charge(own: bool, len: u64, links: u64) -> u64 {
    let copies = if own {
        links.max(1)
    } else {
        links.saturating_sub(1)
    };
    len.saturating_mul(copies)
}

impl FileCell {
    pub(crate) fn base(source: Source, ledger: &Arc<Ledger>, spool: &Arc<Spool>) -> Arc<FileCell> {
        FileCell::with(Body::Base(source), ledger, spool)
    }

    pub(crate) fn empty(ledger: &Arc<Ledger>, spool: &Arc<Spool>) -> Arc<FileCell> {
        FileCell::with(Body::Memory(Vec::new()), ledger, spool)
    }

    fn with(body: Body, ledger: &Arc<Ledger>, spool: &Arc<Spool>) -> Arc<FileCell> {
        let state = Mutex::new(State {
            body,
            links: 1,
            charged: 0,
            memory: 0,
        });
        Arc::new(FileCell {
            state,
            ledger: ledger.clone(),
            spool: spool.clone(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The length in bytes.
    pub fn len(&self) -> u64 {
        self.lock().body.len()
    }

    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether it was written since it came from its source, or has none.
    pub(crate) fn is_own(&self) -> bool {
        !matches!(self.lock().body, Body::Base(_))
    }

    pub(crate) fn add_link(&self) -> FsResult<()> {
        let state = &mut *self.lock();
        self.recharge(state.own(), state.body.len(), state.links + 1, state)?;
        state.links += 1;
        Ok(())
    }

    pub(crate) fn remove_link(&self) {
        let state = &mut *self.lock();
        let links = state.links.saturating_sub(1);
        // Fewer names never count for more, so this is not refused.
        let _shrinks = self.recharge(state.own(), state.body.len(), links, state);
        state.links = links;
    }

    fn recharge(&self, own: bool, len: u64, links: u64, state: &mut State) -> FsResult<()> {
        let new = charge(own, len, links);
        self.ledger.change_bytes(state.charged, new)?;
        state.charged = new;
        Ok(())
    }

    /// Up to `max` bytes from `offset`, as many as come at once; empty only at the end or for a `max` of 0.
    ///
    /// # Errors
    /// [`FsError::Io`] or [`FsError::Access`] when the host cannot read.
    pub fn read(&self, offset: u64, max: usize) -> FsResult<Bytes> {
        let state = &mut *self.lock();
        let rest = usize::try_from(state.body.len().saturating_sub(offset)).unwrap_or(usize::MAX);
        let want = rest.min(max);
        if want == 0 {
            return Ok(Bytes::new());
        }
        match &mut state.body {
            Body::Base(source) => self.read_source(source, offset, want),
            Body::Memory(bytes) => Ok(copy_range(bytes, offset, want)),
            Body::Spooled(spooled) if offset >= spooled.flushed => {
                Ok(copy_range(&spooled.tail, offset - spooled.flushed, want))
            }
            Body::Spooled(spooled) => {
                let before_tail = usize::try_from(spooled.flushed - offset).unwrap_or(usize::MAX);
                let mut buf = vec![0; want.min(before_tail)];
                let file = self
                    .spool
                    .open(&spooled.path)
                    .map_err(|e| self.ledger.spool_failed(&e))?;
                file.read_exact_at(&mut buf, offset)
                    .map_err(|e| self.ledger.spool_failed(&e))?;
                Ok(buf.into())
            }
        }
    }

    fn read_source(&self, source: &Source, offset: u64, want: usize) -> FsResult<Bytes> {
        if let Some(bytes) = source.as_bytes() {
            let start = usize::try_from(offset)
                .unwrap_or(usize::MAX)
                .min(bytes.len());
            return Ok(bytes.slice(start..start.saturating_add(want).min(bytes.len())));
        }
        self.spool.touch(source);
        let mut buf = Vec::new();
        loop {
            match source.read_onto(&mut buf, want, offset) {
                Ok(0) => {
                    return Err(self
                        .ledger
                        .read_failed(&io::ErrorKind::UnexpectedEof.into()));
                }
                Ok(_) => return Ok(buf.into()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.ledger.read_failed(&error)),
            }
        }
    }

    /// Writes all of `data` at `offset` (at the end when there is none); answers where the write ended. A write beyond
    /// the end fills the gap with zeros.
    ///
    /// # Errors
    /// [`FsError::InsufficientSpace`] beyond the quota (nothing is written then), [`FsError::FileTooLarge`],
    /// [`FsError::Io`] when the host cannot write.
    pub fn write(&self, offset: Option<u64>, data: &[u8]) -> FsResult<u64> {
        let state = &mut *self.lock();
        let len = state.body.len();
        let offset = offset.unwrap_or(len);
        if data.is_empty() {
            return Ok(offset);
        }
        let end = offset
            .checked_add(data.len() as u64)
            .filter(|end| *end <= MAX_FILE_BYTES);
        let end = end.ok_or(FsError::FileTooLarge)?;
        let new_len = end.max(len);
        self.recharge(true, new_len, state.links, state)?;
        self.make_own(state, len)?;
        if let Body::Memory(bytes) = &mut state.body {
            if fits(&self.ledger, &mut state.memory, new_len) {
                write_memory(bytes, offset, data);
                return Ok(end);
            }
            self.spill(state)?;
        }
        self.write_spooled(state, offset, data)
            .map_err(|e| self.ledger.spool_failed(&e))?;
        Ok(end)
    }

    /// Cuts the file to `size` bytes or extends it with zeros.
    ///
    /// # Errors
    /// As for [`FileCell::write`].
    pub fn set_size(&self, size: u64) -> FsResult<()> {
        let state = &mut *self.lock();
        if size > MAX_FILE_BYTES {
            self.ledger.refuse_bytes();
            return Err(FsError::InsufficientSpace);
        }
        let len = state.body.len();
        if size == len {
            return Ok(());
        }
        self.recharge(true, size, state.links, state)?;
        if size == 0 {
            self.discard(state);
            return Ok(());
        }
        self.make_own(state, size.min(len))?;
        if let Body::Memory(bytes) = &mut state.body {
            if fits(&self.ledger, &mut state.memory, size) {
                bytes.resize(usize::try_from(size).unwrap_or(0), 0);
                return Ok(());
            }
            self.spill(state)?;
        }
        self.resize_spooled(state, size)
            .map_err(|e| self.ledger.spool_failed(&e))
    }

    /// Leaves an empty file of its own.
    fn discard(&self, state: &mut State) {
        match std::mem::replace(&mut state.body, Body::Memory(Vec::new())) {
            Body::Base(source) => self.spool.release(&source),
            Body::Memory(_) => {}
            Body::Spooled(spooled) => self.spool.forget(&spooled.path),
        }
        self.ledger.change_memory(state.memory, 0);
        state.memory = 0;
    }

    /// Copies the first `keep` bytes of the source, unless the content is the run's own already.
    fn make_own(&self, state: &mut State, keep: u64) -> FsResult<()> {
        let Body::Base(source) = &state.body else {
            return Ok(());
        };
        let source = source.clone();
        let body = match usize::try_from(keep) {
            Ok(keep) if fits(&self.ledger, &mut state.memory, keep as u64) => {
                let mut bytes = vec![0; keep];
                source
                    .read_exact_at(&mut bytes, 0)
                    .map_err(|e| self.ledger.read_failed(&e))?;
                Body::Memory(bytes)
            }
            _ => Body::Spooled(self.copy_to_spool(&source, keep)?),
        };
        state.body = body;
        self.spool.release(&source);
        Ok(())
    }

    fn copy_to_spool(&self, source: &Source, keep: u64) -> FsResult<Spooled> {
        let spool_failed = |e: io::Error| self.ledger.spool_failed(&e);
        let path = self.spool.create().map_err(spool_failed)?;
        let file = self.spool.open(&path).map_err(spool_failed)?;
        let mut buf = vec![0; CHUNK_BYTES];
        let mut at = 0;
        while at < keep {
            let want = usize::try_from(keep - at)
                .unwrap_or(usize::MAX)
                .min(buf.len());
            let part = buf.get_mut(..want).unwrap_or_default();
            source
                .read_exact_at(part, at)
                .map_err(|e| self.ledger.read_failed(&e))?;
            file.write_all_at(part, at).map_err(spool_failed)?;
            at += want as u64;
        }
        Ok(Spooled {
            path,
            flushed: keep,
            tail: Vec::new(),
            hasher: None,
        })
    }

    /// Moves the content from memory to a temporary file.
    fn spill(&self, state: &mut State) -> FsResult<()> {
        let Body::Memory(bytes) = &mut state.body else {
            return Ok(());
        };
        let spool_failed = |e: io::Error| self.ledger.spool_failed(&e);
        let path = self.spool.create().map_err(spool_failed)?;
        let mut hasher = Box::new(blake3::Hasher::new());
        if !bytes.is_empty() {
            hasher.update(bytes);
            self.spool
                .open(&path)
                .and_then(|file| file.write_all_at(bytes, 0))
                .map_err(spool_failed)?;
        }
        let flushed = bytes.len() as u64;
        state.body = Body::Spooled(Spooled {
            path,
            flushed,
            tail: Vec::new(),
            hasher: Some(hasher),
        });
        self.ledger.change_memory(state.memory, 0);
        state.memory = 0;
        Ok(())
    }

    fn write_spooled(&self, state: &mut State, offset: u64, data: &[u8]) -> io::Result<()> {
        let Body::Spooled(spooled) = &mut state.body else {
            return Ok(());
        };
        if offset == spooled.len() {
            if spooled.tail.len() + data.len() > TAIL_BYTES {
                self.flush(spooled, &mut state.memory)?;
            }
            let tail = (spooled.tail.len() + data.len()) as u64;
            if tail <= TAIL_BYTES as u64 && self.ledger.change_memory(state.memory, tail) {
                state.memory = tail;
                spooled.tail.extend_from_slice(data);
                return Ok(());
            }
            self.flush(spooled, &mut state.memory)?;
            return spooled.append(&self.spool, data);
        }
        self.flush(spooled, &mut state.memory)?;
        spooled.hasher = None;
        self.spool.open(&spooled.path)?.write_all_at(data, offset)?;
        spooled.flushed = spooled.flushed.max(offset + data.len() as u64);
        Ok(())
    }

    fn resize_spooled(&self, state: &mut State, size: u64) -> io::Result<()> {
        let Body::Spooled(spooled) = &mut state.body else {
            return Ok(());
        };
        self.flush(spooled, &mut state.memory)?;
        spooled.hasher = None;
        self.spool.open(&spooled.path)?.set_len(size)?;
        spooled.flushed = size;
        Ok(())
    }

    fn flush(&self, spooled: &mut Spooled, memory: &mut u64) -> io::Result<()> {
        let tail = std::mem::take(&mut spooled.tail);
        self.ledger.change_memory(*memory, 0);
        *memory = 0;
        spooled.append(&self.spool, &tail)
    }

    /// The content as it is at the end of a run.
    pub(crate) fn content(&self) -> io::Result<Content> {
        let state = &mut *self.lock();
        match &mut state.body {
            Body::Base(source) => Ok(Content::Unchanged(source.clone())),
            Body::Memory(bytes) => Ok(Content::Bytes(std::mem::take(bytes).into())),
            Body::Spooled(spooled) => {
                self.flush(spooled, &mut state.memory)?;
                let hash = match &spooled.hasher {
                    Some(hasher) => hasher.finalize(),
                    None => hash_file(&*self.spool.open(&spooled.path)?, spooled.flushed)?,
                };
                self.spool.forget(&spooled.path);
                Ok(Content::Spooled(SpooledFile::new(
                    spooled.path.clone(),
                    spooled.flushed,
                    hash.into(),
                )))
            }
        }
    }
}

impl State {
    fn own(&self) -> bool {
        !matches!(self.body, Body::Base(_))
    }
}

impl Drop for FileCell {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        match &state.body {
            Body::Base(source) => self.spool.release(source),
            Body::Memory(_) => {}
            Body::Spooled(spooled) => self.spool.forget(&spooled.path),
        }
        self.ledger.change_memory(state.memory, 0);
        let _shrinks = self.ledger.change_bytes(state.charged, 0);
    }
}

impl Spooled {
    fn len(&self) -> u64 {
        self.flushed + self.tail.len() as u64
    }

    fn append(&mut self, spool: &Spool, data: &[u8]) -> io::Result<()> {
        if data.is_empty() {
            return Ok(());
        }
        spool.open(&self.path)?.write_all_at(data, self.flushed)?;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(data);
        }
        self.flushed += data.len() as u64;
        Ok(())
    }
}

/// Whether a file of `len` bytes may lie in memory; if so it is counted there.
fn fits(ledger: &Ledger, memory: &mut u64, len: u64) -> bool {
    let fits = ledger.is_small(len) && ledger.change_memory(*memory, len);
    if fits {
        *memory = len;
    }
    fits
}

fn write_memory(bytes: &mut Vec<u8>, offset: u64, data: &[u8]) {
    let start = usize::try_from(offset).unwrap_or(usize::MAX);
    if start == bytes.len() {
        bytes.extend_from_slice(data);
        return;
    }
    let end = start.saturating_add(data.len());
    if end > bytes.len() {
        bytes.resize(end, 0);
    }
    if let Some(part) = bytes.get_mut(start..end) {
        part.copy_from_slice(data);
    }
}

fn copy_range(bytes: &[u8], offset: u64, want: usize) -> Bytes {
    let start = usize::try_from(offset)
        .unwrap_or(usize::MAX)
        .min(bytes.len());
    let end = start.saturating_add(want).min(bytes.len());
    Bytes::copy_from_slice(bytes.get(start..end).unwrap_or_default())
}

pub(super) fn hash_file(file: &std::fs::File, len: u64) -> io::Result<blake3::Hash> {
    let mut hasher = blake3::Hasher::new();
    let mut buf = vec![0; CHUNK_BYTES];
    let mut at = 0;
    while at < len {
        let want = usize::try_from(len - at)
            .unwrap_or(usize::MAX)
            .min(buf.len());
        let part = buf.get_mut(..want).unwrap_or_default();
        file.read_exact_at(part, at)?;
        hasher.update(part);
        at += want as u64;
    }
    Ok(hasher.finalize())
}
