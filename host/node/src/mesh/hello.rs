//! The greeting: three frames on the first stream of every connection.
//!
//! ```text
//!   dialler                                 listener
//!     │ ─── gate.hello(to) ──────────────────▶ │   gate.answer: lets the dialler in or not
//!     │ ◀── its reply ──────────────────────── │   its protocols answer from here on
//!     │ gate.conclude: lets the listener in    │
//!     │ ─── an empty frame ──────────────────▶ │   both ask each other from here on
//! ```
//!
//! The third frame tells the listener that it was let in too. Each side opens its own door before it tells the other, so
//! nothing is asked of a side that is not ready. All of it has one deadline. Never judges: the [`Gate`] does, on a thread
//! that may wait for a disk. Called by the hub, once a connection.

use std::time::Duration;

use futures::{AsyncReadExt, AsyncWriteExt};
use libp2p::swarm::{ConnectionId, Stream};
use sykli_core::id::NodeId;
use sykli_core::wire::MAX_FRAME_BYTES;
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::frames::{FrameError, framed, read_frame, write_framed};
use super::hub::Note;
use super::join::Joining;
use crate::membership::{Admitted, Gate, Refusal};

/// How long a refused dialler has to read why.
const LINGER: Duration = Duration::from_secs(2);

/// What came of it.
#[derive(Debug)]
pub(super) enum Greeted {
    /// Each let the other in.
    Admitted,
    /// One of the two did not.
    Refused(Refusal),
    /// The other end was given its certificate, and greets anew with it.
    Joined,
    /// It did not end properly.
    Failed(String),
}

/// Why a greeting ended early.
enum Halt {
    Refused(Refusal),
    Joined,
    Failed(String),
}

impl From<FrameError> for Halt {
    fn from(error: FrameError) -> Halt {
        Halt::Failed(error.to_string())
    }
}

/// One greeting.
pub(super) struct Greeting {
    pub gate: Gate,
    /// Instead of greeting: asking to be let into a mesh.
    pub joining: Option<Joining>,
    pub peer: NodeId,
    pub connection: ConnectionId,
    pub timeout: Duration,
    /// The hub.
    pub notes: mpsc::Sender<Note>,
}

impl Greeting {
    /// Greets, speaking first where this side dialled.
    pub(super) async fn run(self, stream: Stream, dialler: bool) -> Greeted {
        let greet = async {
            match dialler {
                true => self.speak(stream).await,
                false => self.listen(stream).await,
            }
        };
        match timeout(self.timeout, greet).await {
            Ok(Ok(())) => Greeted::Admitted,
            Ok(Err(Halt::Refused(refusal))) => Greeted::Refused(refusal),
            Ok(Err(Halt::Joined)) => Greeted::Joined,
            Ok(Err(Halt::Failed(why))) => Greeted::Failed(why),
            Err(_) => Greeted::Failed("it took too long".to_owned()),
        }
    }

    async fn speak(&self, mut stream: Stream) -> Result<(), Halt> {
        if let Some(joining) = &self.joining {
            return self.ask_in(stream, joining).await;
        }
        let (gate, peer) = (self.gate.clone(), self.peer);
        let hello = off_thread(move || gate.hello(peer)).await?;
        write_framed(&mut stream, &framed(&hello), self.timeout).await?;
        let reply = self.read(&mut stream).await?;
        let gate = self.gate.clone();
        let admitted = off_thread(move || gate.conclude(peer, &reply))
            .await?
            .map_err(Halt::Refused)?;
        self.open(admitted, true).await?;
        write_framed(&mut stream, &framed(&[]), self.timeout).await?;
        // What is left is a courtesy: the listener has all that it needs.
        drop(stream.close().await);
        Ok(())
    }

    /// Asks the issuer of a ticket, and nobody else, for a certificate.
    async fn ask_in(&self, mut stream: Stream, joining: &Joining) -> Result<(), Halt> {
        if self.peer != joining.issuer {
            return Err(Halt::Failed(
                "it is not the issuer of the ticket".to_owned(),
            ));
        }
        write_framed(&mut stream, &framed(&joining.frame), self.timeout).await?;
        joining.answer(self.read(&mut stream).await?);
        drop(stream.close().await);
        Err(Halt::Joined)
    }

    async fn listen(&self, mut stream: Stream) -> Result<(), Halt> {
        let hello = self.read(&mut stream).await?;
        let (gate, peer) = (self.gate.clone(), self.peer);
        let answer = off_thread(move || gate.answer(peer, &hello)).await?;
        match answer.outcome {
            Ok(admitted) if admitted.joined => {
                self.part(stream, &answer.reply).await?;
                return Err(Halt::Joined);
            }
            Ok(admitted) => self.open(admitted, false).await?,
            Err(refusal) => {
                self.part(stream, &answer.reply).await?;
                return Err(Halt::Refused(refusal));
            }
        }
        write_framed(&mut stream, &framed(&answer.reply), self.timeout).await?;
        let concluded = self.read(&mut stream).await?;
        if !concluded.is_empty() {
            return Err(Halt::Refused(Refusal::Malformed));
        }
        drop(stream.close().await);
        Ok(())
    }

    /// Says the last word. The dialler reads it and goes; one that stays is disconnected.
    async fn part(&self, mut stream: Stream, reply: &[u8]) -> Result<(), Halt> {
        write_framed(&mut stream, &framed(reply), self.timeout).await?;
        drop(stream.close().await);
        let read = async { while stream.read(&mut [0; 64]).await.is_ok_and(|n| n > 0) {} };
        let _gone = timeout(LINGER, read).await;
        Ok(())
    }

    async fn read(&self, stream: &mut Stream) -> Result<Vec<u8>, Halt> {
        match read_frame(stream, MAX_FRAME_BYTES, self.timeout).await? {
            Some(frame) => Ok(frame),
            None => Err(Halt::Failed("it went away".to_owned())),
        }
    }

    /// Has this side's door opened, and waits until it is.
    async fn open(&self, admitted: Admitted, dialler: bool) -> Result<(), Halt> {
        let (opened, wait) = oneshot::channel();
        let note = Note::Admit {
            connection: self.connection,
            admitted: Box::new(admitted),
            dialler,
            opened,
        };
        let gone = || Halt::Failed("the connection is gone".to_owned());
        self.notes.send(note).await.map_err(|_| gone())?;
        wait.await.map_err(|_| gone())
    }
}

/// Runs what may wait for a disk where that holds nobody up.
async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Halt> {
    spawn_blocking(work)
        .await
        .map_err(|error| Halt::Failed(error.to_string()))
}
