//! Fetching, either way: a bundle from its owner, outputs from an executor.
//!
//! One attempt after another for as long as the connection stands. Without one it ends quietly: core asks for it again
//! when the peer is back, and what had arrived is kept. Decides nothing about leases. Called by the loop; runs beside it.

use std::time::Duration;

use sykli_core::consent::LostWhy;
use sykli_core::id::{LeaseKey, NodeId};
use sykli_core::machine::Event;

use super::hub::Hub;
use super::{Done, STALL, Shared};
use crate::transfer::{Bounds, Request, Root, Taken, TransferError, fetch};

/// Attempts over a connection that stands.
const TRIES: u32 = 5;
/// The pause after the first of them; it doubles.
const PAUSE: Duration = Duration::from_millis(50);

/// The most bytes that one transfer unpacks to.
const RAW_CAP: u64 = 64 << 30;

/// What is fetched, and from whom.
pub(super) struct Fetch {
    pub(super) peer: NodeId,
    pub(super) request: Request,
    pub(super) root: Root,
    pub(super) cap: u64,
    /// What came of it in messages, in the frames of a transfer.
    pub(super) inline: Vec<u8>,
}

/// How it ended.
enum Ended {
    Whole,
    /// The peer is away.
    Paused,
    Failed(LostWhy),
    /// The peer did what no honest one does.
    Offended(sykli_core::consent::Offence),
}

impl Hub {
    /// Fetches beside the loop. What was under way for the same lease is given up: it goes on where that stopped.
    pub(super) fn spawn_fetch(
        &mut self,
        what: Fetch,
        answer: impl FnOnce(Result<(), LostWhy>) -> Event + Send + 'static,
    ) {
        let (peer, key) = (what.peer, what.request.key.clone());
        self.stop_fetching(peer, &key);
        let (shared, done) = (self.shared.clone(), self.done.clone());
        let paused = key.clone();
        let task = tokio::spawn(async move {
            let ended = match attempts(&shared, what).await {
                Ended::Whole => Done::Core(answer(Ok(()))),
                Ended::Failed(why) => Done::Core(answer(Err(why))),
                Ended::Paused => Done::Paused(peer, paused),
                Ended::Offended(offence) => {
                    // The offence ends the lease; the answer only clears the table.
                    let _ = done.send(Done::Core(Event::Offended { peer, offence }));
                    Done::Core(answer(Err(LostWhy::Bundle)))
                }
            };
            // Nobody listens only when the node has ended.
            let _ = done.send(ended);
        });
        self.fetching.insert((peer, key), task.abort_handle());
    }

    pub(super) fn stop_fetching(&mut self, peer: NodeId, key: &LeaseKey) {
        if let Some(task) = self.fetching.remove(&(peer, key.clone())) {
            task.abort();
        }
    }
}

async fn attempts(shared: &Shared, mut what: Fetch) -> Ended {
    let inline = std::mem::take(&mut what.inline);
    if !inline.is_empty() {
        match super::inline::take_beside(shared, what.root, inline).await {
            Ok(Taken::Whole) => return Ended::Whole,
            Ok(Taken::Lacking | Taken::Unknown) => {}
            Err(error) => return ended(&error),
        }
    }
    let mut last = LostWhy::Bundle;
    let bounds = Bounds {
        cap: what.cap,
        raw_cap: RAW_CAP,
        stall: STALL,
    };
    for attempt in 0..TRIES {
        let Ok(stream) = shared.mesh.open_blob(what.peer).await else {
            return Ended::Paused;
        };
        let fetched = fetch(
            stream,
            what.request.clone(),
            what.root,
            &shared.store,
            bounds,
            &shared.fair,
            &|_| {},
        );
        let error = match fetched.await {
            Ok(_) => return Ended::Whole,
            Err(error) => error,
        };
        tracing::debug!(key = %what.request.key, %error, "a transfer ended early");
        if !error.is_resumable() {
            return ended(&error);
        }
        last = error.lost();
        tokio::time::sleep(PAUSE * 2u32.pow(attempt)).await;
    }
    Ended::Failed(last)
}

/// How it ends where another attempt would not help.
fn ended(error: &TransferError) -> Ended {
    match error.offence() {
        Some(offence) => Ended::Offended(offence),
        None => Ended::Failed(error.lost()),
    }
}
