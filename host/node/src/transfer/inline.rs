//! What is small goes in messages instead of over a stream of its own: the same frames as a provider would write, one after
//! the other, without a question before them.
//!
//! [`pack`] makes them of what a root reaches, all of it or nothing; [`take`] keeps what the receiver lacks of it. Nothing is
//! used before it is verified: content counts as the blob whose name its hash is, and only where that was reached. What is
//! not wanted is passed over, for the sender need not know what is here. What is lacking afterwards goes by a stream as
//! ever, so a blob that is left out, or is another one, costs time and nothing else.
//!
//! Bounded: bytes by the caller, what they unpack to by [`RAW_BYTES`], blobs that are looked at by [`MAX_LOOKED_AT`]. It never
//! decides what may go, nor to whom. Blocks where blobs are in files. Called by the mesh node.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use sykli_core::blob::{
    Encoding, FrameError, HEADER_BYTES, Header, PART_BYTES, Part, Reply, Side, part_head,
};
use sykli_core::id::Digest;
use sykli_core::manifest::Manifest;
use sykli_core::tree::Tree;

use super::pack::{Compressor, Unpacker};
use super::reach::{Item, Kind, Reach};
use super::{Closure, Root, TransferError};
use crate::store::Store;

/// The most content of all that goes in messages for one lease, one way, in bytes.
pub(crate) const RAW_BYTES: usize = 4 << 20;
/// Blobs that are looked at, at most: what reaches more goes by a stream.
const MAX_LOOKED_AT: usize = 4096;
/// The same where nothing may take long, and how large the trees among them may be in bytes.
const FEW: usize = 32;
const SMALL_TREE: u64 = 8 << 10;

/// What frames are read with.
#[derive(Default)]
pub(crate) struct Opener {
    unpacker: Unpacker,
    raw: Vec<u8>,
}

/// All that `root` reaches, but for what `there` says is at the other end already, in at most `most` bytes. `None` where it
/// is more than that, or cannot be had whole.
pub(crate) fn pack(
    root: Root,
    closure: &Closure,
    there: impl Fn(&Digest) -> bool,
    most: u64,
    (compressor, level): (&mut Compressor, i32),
) -> Option<Vec<u8>> {
    let mut reach = Reach::new(root);
    let mut seen = HashSet::new();
    let (mut frames, mut raw_left) = (Vec::new(), RAW_BYTES);
    while let Some(item) = reach.next() {
        if !seen.insert(item.digest) {
            continue;
        }
        if seen.len() > MAX_LOOKED_AT {
            return None;
        }
        let known = there(&item.digest);
        if known && item.kind == Kind::File {
            continue;
        }
        let content = read(closure, &item, raw_left)?;
        raw_left -= content.len();
        match item.kind {
            Kind::File => {}
            Kind::Manifest => reach.manifest(&Manifest::decode(&content).ok()?),
            Kind::Tree => reach.tree(Arc::new(Tree::decode(&content).ok()?)),
        }
        if !known {
            frame(&content, compressor, level, &mut frames);
        }
        if frames.len() as u64 > most {
            return None;
        }
    }
    Some(frames)
}

/// One blob that fits into a part, as a frame.
pub(crate) fn frame(content: &[u8], compressor: &mut Compressor, level: i32, out: &mut Vec<u8>) {
    let (encoding, bytes) = match compressor.pack(content, level) {
        Some(packed) => (Encoding::Zstd, packed),
        None => (Encoding::Plain, content),
    };
    let head = part_head(true, encoding, content.len() as u32, bytes.len() as u32);
    out.extend_from_slice(&head);
    out.extend_from_slice(bytes);
}

/// A blob, where it is what its name says and small enough.
fn read(closure: &Closure, item: &Item, most: usize) -> Option<Vec<u8>> {
    let most = most.min(PART_BYTES) as u64;
    if item.size.is_some_and(|size| size > most) {
        return None;
    }
    let source = closure(&item.digest).filter(|source| source.len() <= most)?;
    let mut content = vec![0; usize::try_from(source.len()).ok()?];
    source.read_exact_at(&mut content, 0).ok()?;
    (Digest::of(&content) == item.digest).then_some(content)
}

/// What came of frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// Nothing is lacking now.
    Whole,
    /// Something is.
    Lacking,
    /// More is reached than was looked at.
    Unknown,
}

/// Puts what `frames` hold of what `root` reaches into the store. `quickly`: only where little is looked at.
///
/// # Errors
/// Where they are not what a node sends, or the store does not take them. What was verified before is kept.
pub(crate) fn take(
    store: &Store,
    root: Root,
    mut frames: &[u8],
    quickly: bool,
    opener: &mut Opener,
) -> Result<Taken, TransferError> {
    let mut wanted = Wanted {
        store,
        reach: Reach::new(root),
        open: HashMap::new(),
        left: if quickly { FEW } else { MAX_LOOKED_AT },
        quickly,
    };
    wanted.look();
    let mut raw_left = RAW_BYTES;
    while !frames.is_empty() {
        let (part, rest) = next(frames)?;
        frames = rest;
        let len = part.len as usize;
        let most = TransferError::Oversize("more content than goes in messages");
        raw_left = raw_left.checked_sub(len).ok_or(most)?;
        if opener.raw.len() < len {
            opener.raw.resize(len, 0);
        }
        let other = FrameError::Body("a part that is not what it announces");
        let content = opener.unpacker.unpack(&part, &mut opener.raw);
        wanted.keep(content.ok_or(other)?)?;
    }
    Ok(match (wanted.left, wanted.open.is_empty()) {
        (0, _) => Taken::Unknown,
        (_, true) => Taken::Whole,
        (_, false) => Taken::Lacking,
    })
}

/// How much content frames announce, at most; `None` where they are none.
pub(crate) fn announced(mut frames: &[u8]) -> Option<usize> {
    let mut sum = 0_usize;
    while !frames.is_empty() {
        let (part, rest) = next(frames).ok()?;
        sum = sum.saturating_add(part.len as usize);
        frames = rest;
    }
    Some(sum)
}

/// The first frame, which is a whole blob, and what follows it.
fn next(frames: &[u8]) -> Result<(Part<'_>, &[u8]), TransferError> {
    let cut = FrameError::Body("a frame that does not end");
    let (header, rest) = frames.split_first_chunk::<HEADER_BYTES>().ok_or(cut)?;
    let header = Header::decode(Side::Provider, *header)?;
    let (body, rest) = rest.split_at_checked(header.body_bytes()).ok_or(cut)?;
    match header.reply(body)? {
        Reply::Whole(part) => Ok((part, rest)),
        _ => Err(FrameError::Body("a frame that goes by streams only").into()),
    }
}

/// What is reached and not here.
struct Wanted<'a> {
    store: &'a Store,
    reach: Reach,
    open: HashMap<Digest, Item>,
    /// Blobs that are still looked at; none once there is one that would take long.
    left: usize,
    quickly: bool,
}

impl Wanted<'_> {
    /// Looks for all that is reached by now.
    fn look(&mut self) {
        while self.left > 0
            && let Some(item) = self.reach.next()
        {
            self.left -= 1;
            if self.quickly && item.kind == Kind::Tree && self.is_long(&item) {
                self.left = 0;
                return;
            }
            let here = self.store.has(&item.digest)
                && (item.kind == Kind::File || self.reach.learn(self.store, item));
            if !here {
                self.open.entry(item.digest).or_insert(item);
            }
        }
    }

    /// Whether it is a tree that is here and not small.
    fn is_long(&self, tree: &Item) -> bool {
        self.store.has(&tree.digest) && self.store.read(&tree.digest, SMALL_TREE).is_none()
    }

    fn keep(&mut self, content: &[u8]) -> Result<(), TransferError> {
        let digest = Digest::of(content);
        let Some(item) = self.open.get(&digest) else {
            return Ok(());
        };
        if !item.may_have(content.len() as u64) {
            return Err(TransferError::Wrong(digest));
        }
        let content = Bytes::copy_from_slice(content);
        self.store.put_verified(digest, content)?;
        if let Some(item) = self.open.remove(&digest)
            && !self.reach.learn(self.store, item)
        {
            return Err(TransferError::Wrong(digest));
        }
        self.look();
        Ok(())
    }
}
