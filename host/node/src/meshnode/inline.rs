//! What goes in messages: bundles and outputs that are small, cut into pieces at one end and put together at the other.
//!
//! Core says when it may, and how much; what does not come to it, or is not whole, goes by a stream. What takes time (files,
//! more than a few kilobytes) is done beside the loop. Bounded: what waits here in all by [`KEPT_BYTES`] each way, what
//! waits for a peer by its queue, half of which is left to other messages. Decides nothing about leases. Called by the
//! loop.

use std::collections::BTreeMap;
use std::sync::Arc;

use sykli_core::consent::{
    Claim, LostWhy, MAX_PIECE_BYTES, Message, Offence, Piece, RemoteOutcome, ToExecutor, ToOwner,
};
use sykli_core::id::{Digest, LeaseKey, NodeId};
use sykli_core::machine::Event;
use sykli_core::receipt::SignedClaim;

use super::fetch::Fetch;
use super::hub::Hub;
use super::owner::Ready;
use super::{Done, Shared, trail};
use crate::db::lock;
use crate::transfer::{
    Closure, Compressor, Opener, Root, Serving, Taken, TransferError, What, announced, frame, pack,
    take,
};

/// Bytes that are kept for their messages, and of pieces whose others are still to come.
const KEPT_BYTES: usize = 8 << 20;
/// Frames up to so many bytes, of up to so much content, are looked at in the loop.
const SMALL_BYTES: usize = 1 << 10;
const SMALL_RAW_BYTES: usize = 8 << 10;

type Id = (NodeId, LeaseKey);

/// Frames by lease, of so many bytes in all.
#[derive(Default)]
pub(super) struct Kept {
    by: BTreeMap<Id, Vec<u8>>,
    bytes: usize,
}

impl Kept {
    /// Keeps frames, unless there is no room for them.
    pub(super) fn put(&mut self, id: Id, frames: Vec<u8>) {
        self.take(&id);
        if self.bytes + frames.len() <= KEPT_BYTES {
            self.bytes += frames.len();
            self.by.insert(id, frames);
        }
    }

    pub(super) fn take(&mut self, id: &Id) -> Option<Vec<u8>> {
        let frames = self.by.remove(id)?;
        self.bytes -= frames.len();
        Some(frames)
    }

    /// Takes a piece in. All of it, once the last one is here; `None` before, and where it does not go on where the last
    /// one ended.
    fn join(&mut self, id: &Id, piece: Piece) -> Option<Vec<u8>> {
        let before = self.take(id);
        let mut frames = match piece.at {
            0 => Vec::new(),
            at => before.filter(|before| before.len() as u64 == at)?,
        };
        frames.extend_from_slice(&piece.bytes);
        if frames.len() as u64 == piece.of {
            return Some(frames);
        }
        self.put(id.clone(), frames);
        None
    }
}

/// What the loop works on frames with.
#[derive(Default)]
pub(super) struct Tools {
    compressor: Compressor,
    opener: Opener,
}

/// Frames as pieces; one that says so where there are none.
fn pieces(frames: &[u8]) -> impl Iterator<Item = Piece> {
    let of = frames.len() as u64;
    let cut = (0u64..)
        .step_by(MAX_PIECE_BYTES)
        .zip(frames.chunks(MAX_PIECE_BYTES));
    let pieces = cut.map(move |(at, bytes)| Piece {
        at,
        of,
        bytes: bytes.to_vec(),
    });
    let none = frames.is_empty().then(Piece::default);
    none.into_iter().chain(pieces)
}

impl Hub {
    /// Says that a bundle may come, with what is lacking of it where that is small.
    pub(super) fn say_bundle(
        &mut self,
        (peer, key): (NodeId, LeaseKey),
        ready: &Ready,
        have: &[u8],
        (serving, inline): (Serving, u64),
    ) {
        if inline == 0 {
            return self.bundle_word(peer, &key, &[]);
        }
        let needs = &ready.needs;
        let named = have
            .iter()
            .filter_map(|at| needs.blobs.get(usize::from(*at)));
        let there: Vec<Digest> = named.map(|blob| blob.digest).collect();
        let missing = needs.missing_bytes(|at, _| have.contains(&at));
        let mut blobs = needs.blobs.iter();
        let manifest = blobs.find(|blob| blob.digest == needs.digest);
        // Tasks that differ in their arguments only: nothing else is looked at.
        if manifest.is_some_and(|manifest| manifest.bytes == missing) {
            let mut frames = Vec::new();
            let compressor = &mut self.tools.compressor;
            frame(
                &ready.prepared.encoded,
                compressor,
                serving.level,
                &mut frames,
            );
            return self.bundle_word(peer, &key, &frames);
        }
        let (shared, done) = (Arc::clone(&self.shared), self.done.clone());
        let root = Root::Manifest(needs.digest);
        tokio::task::spawn_blocking(move || {
            let there = |digest: &Digest| there.contains(digest);
            let frames = shared.packed(root, &serving.closure, there, inline);
            // Nobody listens only when the node has ended.
            let _ = done.send(Done::Packed(peer, key, frames));
        });
    }

    /// A bundle is packed; meanwhile its lease may have ended.
    pub(super) fn packed(&mut self, peer: NodeId, key: &LeaseKey, frames: &[u8]) {
        if self.permits.has(peer, key, What::Bundle) {
            self.bundle_word(peer, key, frames);
        }
    }

    pub(super) fn bundle_word(&mut self, peer: NodeId, key: &LeaseKey, frames: &[u8]) {
        for piece in pieces(self.as_room_is(peer, frames)) {
            let key = key.clone();
            self.tell(
                peer,
                &Message::ToExecutor(ToExecutor::Bundle { key, piece }),
            );
        }
    }

    /// The word that a task is done, with its outputs where they are small.
    pub(super) fn say_completed(&mut self, peer: NodeId, key: LeaseKey, claim: Box<SignedClaim>) {
        let frames = self.outgoing.take(&(peer, key.clone())).unwrap_or_default();
        let mut pieces = pieces(self.as_room_is(peer, &frames));
        let outputs = pieces.next().unwrap_or_default();
        let first = ToOwner::Completed {
            key: key.clone(),
            claim,
            outputs,
        };
        self.tell(peer, &Message::ToOwner(first));
        for piece in pieces {
            let key = key.clone();
            self.tell(peer, &Message::ToOwner(ToOwner::Outputs { key, piece }));
        }
    }

    /// The frames, or none where too much waits for the peer already.
    fn as_room_is<'a>(&self, peer: NodeId, frames: &'a [u8]) -> &'a [u8] {
        match self.shared.mesh.room(peer) / 2 >= frames.len() {
            true => frames,
            false => &[],
        }
    }

    pub(super) fn tell(&self, peer: NodeId, message: &Message) {
        trail::said(peer, message);
        // What cannot be said is said again when the peer is back; that it is gone is told by the transport.
        let _ = self.shared.mesh.send(peer, message);
    }

    /// A piece of what is to be fetched. With the last one it is: what is in the pieces, and by a stream what is not.
    pub(super) fn take_piece(
        &mut self,
        mut what: Fetch,
        piece: Piece,
        answer: impl FnOnce(Result<(), LostWhy>) -> Event + Send + 'static,
    ) {
        let id = (what.peer, what.request.key.clone());
        if piece.at == 0 {
            self.stop_fetching(id.0, &id.1);
        }
        let Some(frames) = self.arriving.join(&id, piece) else {
            return;
        };
        what.cap = what.cap.saturating_sub(frames.len() as u64);
        let small = frames.len() <= SMALL_BYTES
            && announced(&frames).is_some_and(|raw| raw <= SMALL_RAW_BYTES);
        if frames.is_empty() || !small {
            what.inline = frames;
            return self.spawn_fetch(what, answer);
        }
        let (store, opener) = (&self.shared.store, &mut self.tools.opener);
        match take(store, what.root, &frames, true, opener) {
            Ok(Taken::Whole) => self.soon.push_back(Done::Core(answer(Ok(())))),
            Ok(Taken::Lacking) => self.spawn_fetch(what, answer),
            Ok(Taken::Unknown) => {
                what.inline = frames;
                self.spawn_fetch(what, answer);
            }
            Err(error) => {
                tracing::debug!(key = %id.1, %error, "what came in a message is not taken");
                if let Some(offence) = error.offence() {
                    self.soon.push_back(offended(id.0, offence));
                }
                self.soon.push_back(Done::Core(answer(Err(error.lost()))));
            }
        }
    }
}

fn offended(peer: NodeId, offence: Offence) -> Done {
    Done::Core(Event::Offended { peer, offence })
}

/// As [`take`], beside the loop.
pub(super) async fn take_beside(
    shared: &Shared,
    root: Root,
    frames: Vec<u8>,
) -> Result<Taken, TransferError> {
    let store = shared.store.clone();
    let work = move || take(&store, root, &frames, false, &mut Opener::default());
    let taken = tokio::task::spawn_blocking(work).await;
    taken.unwrap_or(Err(TransferError::Host))
}

/// What an owner fetches of a result.
pub(super) fn outputs_of(claim: &Claim) -> Root {
    Root::Result {
        tree: (claim.outcome == RemoteOutcome::Passed).then_some(claim.output),
        streams: [claim.stdout, claim.stderr],
    }
}

impl Shared {
    /// Frames of what `root` reaches, or none where it is more than `most` bytes.
    pub(super) fn packed(
        &self,
        root: Root,
        closure: &Closure,
        there: impl Fn(&Digest) -> bool,
        most: u64,
    ) -> Vec<u8> {
        let mut compressor = lock(&self.compressor);
        let packed = pack(root, closure, there, most, (&mut compressor, self.level));
        packed.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;
    use sykli_core::id::{Attempt, RunId, TaskId};

    fn id(task: u32) -> Id {
        let key = LeaseKey {
            run: RunId::new("r").unwrap(),
            task: TaskId(task),
            attempt: Attempt(1),
        };
        (NodeId([1; 32]), key)
    }

    #[test]
    fn pieces_put_together_are_what_was_cut() {
        for len in [
            0,
            1,
            MAX_PIECE_BYTES,
            MAX_PIECE_BYTES + 1,
            3 * MAX_PIECE_BYTES,
        ] {
            let frames: Vec<u8> = (0..len).map(|n| (n % 251) as u8).collect();
            let mut kept = Kept::default();
            let mut joined = pieces(&frames).map(|piece| kept.join(&id(0), piece));
            let last = joined.by_ref().find_map(|joined| joined);
            assert_eq!(last.as_deref(), Some(&*frames));
            assert_eq!(joined.count(), 0, "it was the last");
            assert_eq!(kept.bytes, 0);
        }
    }

    #[test]
    fn a_piece_that_does_not_follow_ends_it_and_a_first_one_begins_anew() {
        let (frames, mut kept) = (vec![7; 2 * MAX_PIECE_BYTES], Kept::default());
        let [first, second] = [0, 1].map(|n| pieces(&frames).nth(n).unwrap());
        assert_eq!(kept.join(&id(0), second.clone()), None, "nothing before it");
        assert_eq!(kept.join(&id(0), first.clone()), None);
        assert_eq!(kept.join(&id(0), first), None, "said again");
        assert_eq!(kept.join(&id(1), second.clone()), None, "another's");
        assert_eq!(kept.join(&id(0), second), Some(frames));
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut kept = Kept::default();
        for task in 0..200 {
            kept.put(id(task), vec![0; 64 << 10]);
        }
        assert_eq!(kept.bytes, KEPT_BYTES);
        assert!(kept.take(&id(0)).is_some() && kept.take(&id(199)).is_none());
        kept.put(id(1), Vec::new());
        assert_eq!(kept.bytes, KEPT_BYTES - (128 << 10));
    }
}
