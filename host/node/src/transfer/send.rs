//! The provider's work, part by part: what was asked for → frames in a buffer.
//!
//! No I/O but reading the blobs; never called on an async thread. It never gives what the closure does not find, never
//! more than was agreed, and never content that is not what its name says: what it sends it has held against that. It
//! gives one blob after the other, in the order of the wants. Called by `serve`, once a turn.

use std::sync::Arc;
use std::time::Instant;

use sykli_core::blob::{
    Encoding, FrameError, HEADER_BYTES, MAX_OUTLINE, PART_BYTES, PART_HEAD_BYTES, Reply, Want,
    part_head,
};
use sykli_core::id::Digest;
use sykli_runtime::Source;

use super::fair::Tools;
use super::pays::Pays;
use super::{Closure, Serving, TransferError};
use crate::store::{GroupHasher, Outline, Tracer, group_bytes};

/// Room for a part with what precedes it, and for the frames around it.
const OUTBOX_BYTES: usize = PART_BYTES + 8 * 1024;
const _: () = assert!(
    2 * OUTBOX_BYTES < 1 << 20,
    "what a transfer holds is bounded"
);
/// What is read for an outline in one turn, in parts: it costs less than compressing one.
const TRACED_PARTS: usize = 8;
const OVERHEAD: usize = HEADER_BYTES + PART_HEAD_BYTES;

/// Frames on their way out. Its room is made once and used again.
pub(super) struct Outbox {
    room: Vec<u8>,
    len: usize,
}

impl Outbox {
    pub(super) fn new() -> Outbox {
        Outbox {
            room: vec![0; OUTBOX_BYTES],
            len: 0,
        }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.room.get(..self.len).unwrap_or_default()
    }

    pub(super) fn clear(&mut self) {
        self.len = 0;
    }

    fn left(&self) -> usize {
        self.room.len() - self.len
    }

    fn put(&mut self, bytes: &[u8]) {
        if let Some(room) = self.room.get_mut(self.len..self.len + bytes.len()) {
            room.copy_from_slice(bytes);
            self.len += bytes.len();
        }
    }

    fn reply(&mut self, reply: &Reply<'_>) {
        let mut frame = Vec::with_capacity(HEADER_BYTES + 8);
        reply.encode(&mut frame);
        self.put(&frame);
    }
}

/// What was asked for, and where it is.
struct Blob {
    digest: Digest,
    source: Source,
    /// What a large one's content is held against.
    proof: Option<(Arc<Outline>, Box<GroupHasher>)>,
}

impl Blob {
    /// Reads content in order; whether it is there and what its name says. A file may have changed since it was digested,
    /// and an honest node must not be taken for a liar.
    fn read(&mut self, at: u64, room: &mut [u8]) -> bool {
        if self.source.read_exact_at(room, at).is_err() {
            return false;
        }
        match &mut self.proof {
            None => Digest::of(room) == self.digest,
            Some((outline, hasher)) => hasher
                .update(room)
                .is_none_or(|(began, value)| outline.is_group(began, &value)),
        }
    }

    /// Its content from `at` on, where a group begins.
    fn data(mut self, outline: Arc<Outline>, at: u64) -> Current {
        let hasher = Box::new(GroupHasher::new(outline.size(), at));
        self.proof = Some((outline, hasher));
        Current::Data(self, at)
    }
}

/// What is being given.
enum Current {
    /// A blob of one part.
    Whole(Blob),
    /// A large one whose outline is being made; what is asked for begins there.
    Tracing(Blob, Box<Tracer>, u64),
    /// A large one whose outline is being given: so many bytes of it were.
    Outline(Blob, Arc<Outline>, usize),
    /// Its content, from here on.
    Data(Blob, u64),
}

/// Which part of a blob: where it begins, how long it is, and whether it is all of it.
#[derive(Clone, Copy)]
struct Span {
    at: u64,
    len: usize,
    whole: bool,
}

/// See the module.
pub(super) struct Sender {
    closure: Closure,
    level: i32,
    pays: Option<Pays>,
    left: u64,
    current: Option<Current>,
    /// Blobs that were asked for and not had.
    missing: Option<Digest>,
    over: bool,
}

impl Sender {
    pub(super) fn new(serving: Serving) -> Sender {
        let unbounded = serving.cap == u64::MAX;
        Sender {
            closure: serving.closure,
            level: serving.level,
            pays: unbounded.then(|| Pays::new(serving.level)),
            left: serving.cap,
            current: None,
            missing: None,
            over: false,
        }
    }

    /// Whether there is something to give without another want.
    pub(super) fn is_busy(&self) -> bool {
        self.current.is_some()
    }

    /// Notes how the link took what was given.
    pub(super) fn wrote(&mut self, bytes: usize, took: std::time::Duration) {
        if let Some(pays) = &mut self.pays {
            pays.wrote(bytes, took);
        }
    }

    /// How it ended, where it is to end now.
    pub(super) fn verdict(&self) -> Result<(), TransferError> {
        match (self.over, self.missing) {
            (true, _) => Err(TransferError::Capped),
            (false, Some(digest)) => Err(TransferError::Gone(digest)),
            (false, None) => Ok(()),
        }
    }

    /// Whether nothing more is given.
    pub(super) fn is_over(&self) -> bool {
        self.over
    }

    /// Fills the outbox with what comes next: at most about one part's work.
    pub(super) fn fill(
        &mut self,
        mut next: impl FnMut() -> Option<Want>,
        out: &mut Outbox,
        tools: &mut Tools,
    ) -> Result<(), TransferError> {
        let mut work = PART_BYTES;
        while work > 0 && !self.over {
            let (current, spent) = match self.current.take() {
                None => match next() {
                    Some(want) => (self.begin(want, out)?, 0),
                    None => break,
                },
                Some(Current::Whole(mut blob)) => {
                    let span = span(&blob, 0, true);
                    if OVERHEAD + span.len > out.left() {
                        self.current = Some(Current::Whole(blob));
                        break;
                    }
                    self.part(&mut blob, span, out, tools);
                    (None, span.len)
                }
                Some(Current::Tracing(blob, tracer, from)) => {
                    (self.trace(blob, tracer, from, out, tools), work)
                }
                Some(Current::Outline(blob, outline, at)) => {
                    (self.outline(blob, outline, at, out), PART_BYTES / 4)
                }
                Some(Current::Data(mut blob, at)) => {
                    let span = span(&blob, at, false);
                    if OVERHEAD + span.len > out.left() {
                        self.current = Some(Current::Data(blob, at));
                        break;
                    }
                    let given = self.part(&mut blob, span, out, tools);
                    let at = at + span.len as u64;
                    let more = given && at < blob.source.len();
                    (more.then_some(Current::Data(blob, at)), span.len)
                }
            };
            self.current = current;
            work = work.saturating_sub(spent);
        }
        Ok(())
    }

    fn begin(&mut self, want: Want, out: &mut Outbox) -> Result<Option<Current>, TransferError> {
        let found = (self.closure)(&want.digest).filter(|source| !source.is_empty());
        let Some(source) = found else {
            self.lacks(want.digest, out);
            return Ok(None);
        };
        let (size, digest) = (source.len(), want.digest);
        let blob = Blob {
            digest,
            source,
            proof: None,
        };
        if size <= PART_BYTES as u64 {
            return match want.from {
                0 => Ok(Some(Current::Whole(blob))),
                _ => Err(FrameError::Body("a want from within a small blob").into()),
            };
        }
        if want.from >= size || !want.from.is_multiple_of(group_bytes(size)) {
            return Err(FrameError::Body("a want from where no group begins").into());
        }
        match Outline::known(&digest).filter(|outline| outline.size() == size) {
            Some(outline) => Ok(self.announce(blob, outline, want.from, out)),
            None => {
                let tracer = Box::new(Tracer::new(blob.source.clone()));
                Ok(Some(Current::Tracing(blob, tracer, want.from)))
            }
        }
    }

    fn trace(
        &mut self,
        blob: Blob,
        mut tracer: Box<Tracer>,
        from: u64,
        out: &mut Outbox,
        tools: &mut Tools,
    ) -> Option<Current> {
        for _ in 0..TRACED_PARTS {
            match tracer.step(&mut tools.raw) {
                Ok(false) => {}
                Ok(true) => match tracer.finish(&blob.digest) {
                    Some(outline) => return self.announce(blob, outline, from, out),
                    None => {
                        self.lacks(blob.digest, out);
                        return None;
                    }
                },
                Err(_) => {
                    self.lacks(blob.digest, out);
                    return None;
                }
            }
        }
        Some(Current::Tracing(blob, tracer, from))
    }

    /// Says how large it is. Whoever has its beginning has its outline too.
    fn announce(
        &mut self,
        blob: Blob,
        outline: Arc<Outline>,
        from: u64,
        out: &mut Outbox,
    ) -> Option<Current> {
        let size = outline.size();
        if !self.control(&Reply::Blob { size }, HEADER_BYTES + 8, out) {
            return None;
        }
        Some(match from {
            0 => Current::Outline(blob, outline, 0),
            from => blob.data(outline, from),
        })
    }

    fn outline(
        &mut self,
        blob: Blob,
        outline: Arc<Outline>,
        at: usize,
        out: &mut Outbox,
    ) -> Option<Current> {
        let bytes = outline.bytes();
        let end = bytes.len().min(at + 32 * MAX_OUTLINE);
        let values = bytes.get(at..end).unwrap_or_default();
        if HEADER_BYTES + values.len() > out.left() {
            return Some(Current::Outline(blob, outline, at));
        }
        if !self.control(&Reply::Outline(values), HEADER_BYTES + values.len(), out) {
            return None;
        }
        Some(if end < bytes.len() {
            Current::Outline(blob, outline, end)
        } else {
            blob.data(outline, 0)
        })
    }

    /// Gives one part; whether it could.
    fn part(&mut self, blob: &mut Blob, span: Span, out: &mut Outbox, tools: &mut Tools) -> bool {
        let pack = self.level != 0 && self.pays.as_mut().is_none_or(Pays::next);
        if !pack {
            return self.plain(blob, span, out);
        }
        let content = tools.raw.get_mut(..span.len).unwrap_or_default();
        if !blob.read(span.at, content) {
            self.lacks(blob.digest, out);
            return false;
        }
        let began = Instant::now();
        let packed = tools.compressor.pack(content, self.level);
        if let Some(pays) = &mut self.pays {
            pays.packed(span.len, began.elapsed());
        }
        let (encoding, bytes) = match packed {
            Some(packed) => (Encoding::Zstd, packed),
            None => (Encoding::Plain, &*content),
        };
        if !self.charge(OVERHEAD + bytes.len(), out) {
            return false;
        }
        out.put(&part_head(
            span.whole,
            encoding,
            span.len as u32,
            bytes.len() as u32,
        ));
        out.put(bytes);
        true
    }

    /// Gives one part as it is: read to where it is sent from.
    fn plain(&mut self, blob: &mut Blob, span: Span, out: &mut Outbox) -> bool {
        if !self.charge(OVERHEAD + span.len, out) {
            return false;
        }
        let (begin, len) = (out.len, span.len as u32);
        out.put(&part_head(span.whole, Encoding::Plain, len, len));
        let room = out.room.get_mut(out.len..out.len + span.len);
        if !blob.read(span.at, room.unwrap_or_default()) {
            out.len = begin;
            self.lacks(blob.digest, out);
            return false;
        }
        out.len += span.len;
        true
    }

    fn control(&mut self, reply: &Reply<'_>, bytes: usize, out: &mut Outbox) -> bool {
        let may = self.charge(bytes, out);
        if may {
            out.reply(reply);
        }
        may
    }

    /// Takes bytes off what may still flow; where there are not so many, says that it is over.
    fn charge(&mut self, bytes: usize, out: &mut Outbox) -> bool {
        match self.left.checked_sub(bytes as u64) {
            Some(left) => {
                self.left = left;
                true
            }
            None => {
                self.over = true;
                out.reply(&Reply::Over);
                false
            }
        }
    }

    fn lacks(&mut self, digest: Digest, out: &mut Outbox) {
        self.missing.get_or_insert(digest);
        out.reply(&Reply::Gone);
    }
}

/// The part of a blob that begins at `at`.
fn span(blob: &Blob, at: u64, whole: bool) -> Span {
    let left = usize::try_from(blob.source.len() - at).unwrap_or(PART_BYTES);
    Span {
        at,
        len: left.min(PART_BYTES),
        whole,
    }
}
