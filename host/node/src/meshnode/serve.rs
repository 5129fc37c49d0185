//! Serving one blob stream of a peer's: what it asks for, where that is permitted.
//!
//! Called by the loop for each stream; runs beside it.

use std::sync::Arc;

use sykli_core::id::NodeId;
use sykli_core::machine::Event;
use tokio::sync::mpsc;

use super::permits::Permits;
use super::{Done, STALL, Shared};
use crate::mesh::BlobStream;
use crate::transfer;

/// See the module. The transport bounds how many there are.
pub(super) fn spawn(
    shared: &Arc<Shared>,
    permits: Permits,
    peer: NodeId,
    stream: BlobStream,
    done: mpsc::UnboundedSender<Done>,
) {
    let shared = Arc::clone(shared);
    tokio::spawn(async move {
        let find = async |request: &transfer::Request| {
            permits.find(peer, &request.key, request.what).await
        };
        let served = transfer::serve(stream, find, &shared.fair, STALL);
        let Err(error) = served.await else {
            return;
        };
        tracing::debug!(%error, "a peer was not served to the end");
        if let Some(offence) = error.offence() {
            // Nobody listens only when the node has ended.
            let _ = done.send(Done::Core(Event::Offended { peer, offence }));
        }
    });
}
