//! The requester's work: frames → verified blobs in the store, and what to ask for next.
//!
//! No I/O but the store's; never called on an async thread. Nothing that a peer sends is used, kept or counted as here
//! before it was verified; each frame is held against what can come next. Called by `fetch`, once a turn.

use std::collections::{HashSet, VecDeque};

use bytes::Bytes;
use sykli_core::blob::{
    Ask, FrameError, HEADER_BYTES, Header, PART_BYTES, Part, Reply, Side, Want,
};
use sykli_core::id::Digest;

use super::fair::Tools;
use super::reach::{Item, Kind, Reach};
use super::{Root, TransferError};
use crate::store::{Arrival, GroupHasher, Outline, Store, group_count};

/// Most wants that are under way: enough that small blobs cost no round trip each.
const WINDOW: usize = 512;
/// Blobs that are looked for in the store before frames are looked at again.
const LOOKED_AT_ONCE: usize = 2048;

/// A blob that was asked for.
struct Expected {
    item: Item,
    /// Where a beginning of it is here already.
    beginning: Option<(Arrival, Outline)>,
}

/// A large blob that is arriving.
enum Incoming {
    /// Its outline: what there is of it.
    Outline(Item, u64, Vec<u8>),
    /// Its content.
    Data(Item, Arrival, Outline, Box<GroupHasher>),
}

impl Incoming {
    fn digest(&self) -> Digest {
        match self {
            Incoming::Outline(item, ..) | Incoming::Data(item, ..) => item.digest,
        }
    }
}

/// See the module.
pub(super) struct Receiver {
    store: Store,
    reach: Reach,
    expected: VecDeque<Expected>,
    /// The names of what is expected or incoming.
    asked: HashSet<Digest>,
    incoming: Option<Incoming>,
    /// What contents may still come to, in bytes.
    raw_left: u64,
}

impl Receiver {
    pub(super) fn new(store: Store, root: Root, raw_cap: u64) -> Receiver {
        Receiver {
            store,
            reach: Reach::new(root),
            expected: VecDeque::new(),
            asked: HashSet::new(),
            incoming: None,
            raw_left: raw_cap,
        }
    }

    /// Whether everything is here.
    pub(super) fn is_done(&self) -> bool {
        self.asked.is_empty() && self.reach.is_exhausted()
    }

    /// Whether there is something to look for or to ask for without another frame.
    pub(super) fn has_work(&self) -> bool {
        !self.reach.is_exhausted() && self.expected.len() <= WINDOW / 2
    }

    /// Appends the next wants: what is reached and not here.
    pub(super) fn ask(&mut self, out: &mut Vec<u8>) -> Result<(), TransferError> {
        if !self.has_work() {
            return Ok(());
        }
        let mut wants = Vec::new();
        for _ in 0..LOOKED_AT_ONCE {
            if self.expected.len() >= WINDOW {
                break;
            }
            let Some(item) = self.reach.next() else {
                break;
            };
            // A tree is reached before anything that may be the same blob.
            if self.asked.contains(&item.digest) || self.is_here(item)? {
                continue;
            }
            let beginning = self.store.resume(&item.digest);
            let from = beginning
                .as_ref()
                .map_or(0, |(arrival, _)| arrival.verified());
            wants.push(Want {
                digest: item.digest,
                from,
            });
            self.asked.insert(item.digest);
            self.expected.push_back(Expected { item, beginning });
        }
        if !wants.is_empty() {
            Ask::Want(wants).encode(out);
        }
        Ok(())
    }

    /// Whether the store has it; what it reaches is learnt.
    fn is_here(&mut self, item: Item) -> Result<bool, TransferError> {
        if !self.store.has(&item.digest) {
            return Ok(false);
        }
        if item.kind == Kind::File || self.reach.learn(&self.store, item) {
            return Ok(true);
        }
        // Broken blobs are dropped when they are read, and can be asked for; others are not what they are named for.
        if self.store.has(&item.digest) {
            return Err(TransferError::Wrong(item.digest));
        }
        Ok(false)
    }

    /// Takes complete frames, one after the other.
    pub(super) fn absorb(
        &mut self,
        mut frames: &[u8],
        tools: &mut Tools,
    ) -> Result<(), TransferError> {
        while let Some((header, rest)) = frames.split_first_chunk::<HEADER_BYTES>() {
            let header = Header::decode(Side::Provider, *header)?;
            let Some((body, rest)) = rest.split_at_checked(header.body_bytes()) else {
                break;
            };
            match header.reply(body)? {
                Reply::Whole(part) => self.whole(&part, tools)?,
                Reply::Blob { size } => self.blob(size)?,
                Reply::Outline(values) => self.outline(values)?,
                Reply::Data(part) => self.data(&part, tools)?,
                Reply::Gone => return Err(self.gone()),
                Reply::Refused => return Err(TransferError::Refused),
                Reply::Over => return Err(TransferError::Capped),
            }
            frames = rest;
        }
        Ok(())
    }

    fn gone(&mut self) -> TransferError {
        let next = self.expected.front().map(|one| one.item.digest);
        let digest = self.incoming.as_ref().map(Incoming::digest).or(next);
        match digest {
            Some(digest) => TransferError::Gone(digest),
            None => TransferError::Oversize("an answer to nothing"),
        }
    }

    /// The next blob that was asked for, of which `size` bytes are announced.
    fn next(&mut self, size: u64) -> Result<Expected, TransferError> {
        if self.incoming.is_some() {
            return Err(FrameError::Body("a blob within another").into());
        }
        let nothing = TransferError::Oversize("a blob that was not asked for");
        let expected = self.expected.pop_front().ok_or(nothing)?;
        if !expected.item.may_have(size) {
            return Err(match expected.item.size {
                Some(known) if size < known => TransferError::Wrong(expected.item.digest),
                _ => TransferError::Oversize("a blob that is larger than it may be"),
            });
        }
        self.raw_left = self
            .raw_left
            .checked_sub(size)
            .ok_or(TransferError::Capped)?;
        Ok(expected)
    }

    fn whole(&mut self, part: &Part<'_>, tools: &mut Tools) -> Result<(), TransferError> {
        let item = self.next(part.len.into())?.item;
        let wrong = TransferError::Wrong(item.digest);
        let Tools { unpacker, raw, .. } = tools;
        let content = unpacker.unpack(part, raw).ok_or(wrong.clone())?;
        if Digest::of(content) != item.digest {
            return Err(wrong);
        }
        let content = Bytes::copy_from_slice(content);
        self.store.put_verified(item.digest, content)?;
        self.arrived(item)
    }

    fn arrived(&mut self, item: Item) -> Result<(), TransferError> {
        self.asked.remove(&item.digest);
        if self.reach.learn(&self.store, item) {
            Ok(())
        } else {
            Err(TransferError::Wrong(item.digest))
        }
    }

    fn blob(&mut self, size: u64) -> Result<(), TransferError> {
        let Expected { item, beginning } = self.next(size)?;
        self.incoming = Some(match beginning {
            None => Incoming::Outline(item, size, Vec::new()),
            Some((mut arrival, outline)) => {
                // The size came from whoever sent the beginning, and may not be right: the last group tells.
                let Some(outline) = outline.resized(size) else {
                    arrival.verified_to(0);
                    let why = "what was left of a blob was of another size".to_owned();
                    return Err(TransferError::Broken(why));
                };
                let hasher = Box::new(GroupHasher::new(size, arrival.verified()));
                Incoming::Data(item, arrival, outline, hasher)
            }
        });
        Ok(())
    }

    fn outline(&mut self, values: &[u8]) -> Result<(), TransferError> {
        let Some(Incoming::Outline(item, size, mut list)) = self.incoming.take() else {
            return Err(FrameError::Body("an outline where none can stand").into());
        };
        let whole = usize::try_from(group_count(size) * 32).unwrap_or(0);
        if list.len() + values.len() > whole {
            return Err(TransferError::Oversize("an outline that is too long"));
        }
        list.extend_from_slice(values);
        if list.len() < whole {
            self.incoming = Some(Incoming::Outline(item, size, list));
            return Ok(());
        }
        let outline = Outline::of_bytes(&item.digest, size, &list);
        let outline = outline.ok_or(TransferError::Wrong(item.digest))?;
        let arrival = self.store.arrival(&outline, item.digest)?;
        let hasher = Box::new(GroupHasher::new(size, 0));
        self.incoming = Some(Incoming::Data(item, arrival, outline, hasher));
        Ok(())
    }

    fn data(&mut self, part: &Part<'_>, tools: &mut Tools) -> Result<(), TransferError> {
        let (item, arrival, outline, hasher) = match &mut self.incoming {
            Some(Incoming::Data(item, arrival, outline, hasher)) => {
                (item, arrival, outline, hasher)
            }
            Some(Incoming::Outline(..)) => {
                return Err(FrameError::Body("content before its outline").into());
            }
            None => return Err(TransferError::Oversize("more content than it announced")),
        };
        let at = hasher.at();
        // Every part but the last is full, so none goes beyond its group.
        if u64::from(part.len) != (outline.size() - at).min(PART_BYTES as u64) {
            return Err(FrameError::Body("a part of another length than is due").into());
        }
        let wrong = TransferError::Wrong(item.digest);
        let Tools { unpacker, raw, .. } = tools;
        let content = unpacker.unpack(part, raw).ok_or(wrong.clone())?;
        let group = hasher.update(content);
        if group.is_some_and(|(began, value)| !outline.is_group(began, &value)) {
            return Err(wrong);
        }
        arrival.write(content, at)?;
        if group.is_some() {
            arrival.verified_to(hasher.at());
        }
        if hasher.at() == outline.size()
            && let Some(Incoming::Data(item, arrival, ..)) = self.incoming.take()
        {
            arrival.keep()?;
            return self.arrived(item);
        }
        Ok(())
    }
}
