//! A pair of nodes that is up: its consent stream, read and written until one of the two ends it.
//!
//! One task a pair, and every event about a peer comes from it, in order: `Up`, whatever it says, an offence, `Down`. The
//! next pair of the same peer begins when the one before has said `Down`. A receiver that does not keep up slows the peers
//! down, and the mesh itself never. Never decides who may speak (the hub did). Started by the hub.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::io::{ReadHalf, WriteHalf};
use futures::{AsyncReadExt, AsyncWriteExt};
use libp2p::swarm::Stream;
use sykli_core::consent::{Message, Offence};
use sykli_core::id::NodeId;
use sykli_core::profile::Link;
use sykli_core::wire::{self, MAX_FRAME_BYTES};
use tokio::sync::{mpsc, oneshot};

use super::blob::BlobStream;
use super::event::MeshEvent;
use super::frames::{FrameError, read_frame, write_framed};
use super::limits::{BATCH_BYTES, MeshLimits};
use super::meter::Bucket;
use super::queue::{Ended, Outgoing};
use super::shared::Shared;
use crate::membership::Gate;

/// What else there is to say about a peer that is up.
pub(super) enum PairNote {
    Measured(Link),
    Blob(BlobStream),
}

/// What a pair's task needs.
pub(super) struct Pair {
    pub peer: NodeId,
    /// Said first.
    pub up: MeshEvent,
    /// Rings when the pair of this peer before this one has said `Down`.
    pub before: Option<oneshot::Receiver<()>>,
    pub outgoing: Arc<Outgoing>,
    pub notes: mpsc::Receiver<PairNote>,
    pub events: mpsc::Sender<MeshEvent>,
    /// Whether it may be what it says of itself later.
    pub gate: Gate,
    pub shared: Arc<Shared>,
    pub limits: MeshLimits,
    /// A frame's deadline, read or written.
    pub deadline: Duration,
}

impl Pair {
    /// Runs until the pair is no more, and says why.
    pub(super) async fn run(mut self, stream: Stream) -> Ended {
        if let Some(before) = self.before.take() {
            // An error is as good: that task is gone.
            let _said = before.await;
        }
        let up = std::mem::replace(&mut self.up, MeshEvent::Down { peer: self.peer });
        if self.events.send(up).await.is_err() {
            return Ended::Stopped;
        }
        let ended = self.speak(stream).await;
        if let Ended::Offence(offence, _) = &ended {
            self.shared.count_offence(*offence);
            let (peer, offence) = (self.peer, *offence);
            let _sent = self
                .events
                .send(MeshEvent::Offended { peer, offence })
                .await;
        }
        if matches!(ended, Ended::Slow | Ended::TooSlow) {
            self.shared.count(|counters| counters.slow += 1);
        }
        let down = MeshEvent::Down { peer: self.peer };
        let _sent = self.events.send(down).await;
        ended
    }

    /// All that goes on while it is up. The stream is dropped with it, which resets what is left of it.
    async fn speak(&mut self, stream: Stream) -> Ended {
        let Pair {
            peer,
            outgoing,
            notes,
            events,
            gate,
            shared,
            limits,
            deadline,
            ..
        } = self;
        let (reader, writer) = stream.split();
        let reading = Reading {
            peer: *peer,
            events,
            gate,
            shared,
            limits,
            deadline: *deadline,
        };
        tokio::select! {
            // Why it was ended on purpose says more than the error that follows from it.
            biased;
            ended = write(writer, outgoing, *deadline) => ended,
            ended = reading.run(reader) => ended,
            ended = pass_on(*peer, notes, events) => ended,
        }
    }
}

struct Reading<'a> {
    peer: NodeId,
    events: &'a mpsc::Sender<MeshEvent>,
    gate: &'a Gate,
    shared: &'a Shared,
    limits: &'a MeshLimits,
    deadline: Duration,
}

impl Reading<'_> {
    async fn run(self, mut reader: ReadHalf<Stream>) -> Ended {
        let now = Instant::now();
        let (frames_per_s, bytes_per_s) = (self.limits.frames_per_s, self.limits.bytes_per_s);
        let mut frames = Bucket::full(frames_per_s.saturating_mul(2), frames_per_s, now);
        let mut bytes = Bucket::full(bytes_per_s.saturating_mul(2), bytes_per_s, now);
        loop {
            let frame = match read_frame(&mut reader, MAX_FRAME_BYTES, self.deadline).await {
                Ok(Some(frame)) => frame,
                Ok(None) => return Ended::Closed,
                Err(error) => return broken(error),
            };
            let now = Instant::now();
            let length = u32::try_from(frame.len()).unwrap_or(u32::MAX);
            let wait = frames.owe(1, now).max(bytes.owe(length, now));
            if !wait.is_zero() {
                // Read slower, not refused: how many messages are too many is the protocol's to say.
                tokio::time::sleep(wait).await;
            }
            if let Some(ended) = self.deliver(&frame).await {
                return ended;
            }
        }
    }

    async fn deliver(&self, frame: &[u8]) -> Option<Ended> {
        match wire::decode(frame) {
            Ok(message) => {
                self.shared.count(|counters| counters.messages_in += 1);
                let peer = self.peer;
                if let Message::Capabilities(said) = &message
                    && let Err(refusal) = self.gate.permits(peer, said)
                {
                    tracing::info!(%peer, %refusal, "a peer says what it may not be");
                    return Some(Ended::Disconnected);
                }
                let event = MeshEvent::Message { peer, message };
                let sent = self.events.send(event).await;
                sent.is_err().then_some(Ended::Stopped)
            }
            Err(error) if error.is_offence() => {
                Some(Ended::Offence(Offence::Malformed, error.to_string()))
            }
            Err(error) => {
                // A newer peer's: it does without an answer.
                self.shared.count(|counters| counters.unknown += 1);
                tracing::debug!(peer = %self.peer, %error, "a message that is not known here");
                None
            }
        }
    }
}

fn broken(error: FrameError) -> Ended {
    match error {
        FrameError::TooLong { .. } => Ended::Offence(Offence::Oversize, error.to_string()),
        FrameError::Slow => Ended::Slow,
        FrameError::Cut | FrameError::Io(_) => Ended::Broken(error.to_string()),
    }
}

async fn write(mut writer: WriteHalf<Stream>, outgoing: &Outgoing, deadline: Duration) -> Ended {
    loop {
        let batch = match outgoing.take(BATCH_BYTES).await {
            Ok(batch) => batch,
            Err(Ended::Stopped) => {
                // The last thing said; whether it is heard is not waited for.
                let _closed =
                    tokio::time::timeout(Duration::from_millis(200), writer.close()).await;
                return Ended::Stopped;
            }
            Err(ended) => return ended,
        };
        match write_framed(&mut writer, &batch, deadline).await {
            Ok(()) => {}
            Err(FrameError::Slow) => return Ended::TooSlow,
            Err(error) => return Ended::Broken(error.to_string()),
        }
    }
}

async fn pass_on(
    peer: NodeId,
    notes: &mut mpsc::Receiver<PairNote>,
    events: &mpsc::Sender<MeshEvent>,
) -> Ended {
    while let Some(note) = notes.recv().await {
        let event = match note {
            PairNote::Measured(link) => MeshEvent::Measured { peer, link },
            PairNote::Blob(stream) => MeshEvent::Blob { peer, stream },
        };
        if events.send(event).await.is_err() {
            return Ended::Stopped;
        }
    }
    Ended::Disconnected
}
