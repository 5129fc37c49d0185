//! The requester's end: writes what the receiver wants, and reads what it is given.
//!
//! While one buffer is being worked on the next one is read. However a transfer ends, the work under way is waited for,
//! so that what it verified is kept before the next transfer looks for it. Called by the mesh node for each lease.

use std::future::Future;
use std::pin::Pin;

use futures::FutureExt;
use futures::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::task::spawn_blocking;

use super::fair::Fair;
use super::pace::Pace;
use super::receive::Receiver;
use super::{Bounds, Fetched, Request, Root, TransferError};
use crate::store::Store;
use sykli_core::blob::{Ask, HEADER_BYTES, Header, PART_BYTES, PART_HEAD_BYTES, Side};

/// Room for the longest frame, and for some small ones before it.
const INBOX_BYTES: usize = HEADER_BYTES + PART_HEAD_BYTES + PART_BYTES + 64 * 1024;
const _: () = assert!(
    2 * INBOX_BYTES < 1 << 20,
    "what a transfer holds is bounded"
);
/// What is read at once where it is not known what comes.
const PEEK_BYTES: usize = 16 * 1024;
/// Complete frames of so many bytes are worked on before more are read.
const ENOUGH_BYTES: usize = 64 * 1024;
/// What a provider may send beyond what was agreed: that it sends no more.
const LAST_WORD_BYTES: u64 = HEADER_BYTES as u64;

/// Fetches what `root` reaches and `store` lacks. `progress` is told how many bytes have flown, as they do.
///
/// # Errors
/// When not everything came; see [`TransferError`]. What was verified is kept either way.
pub async fn fetch<S: AsyncRead + AsyncWrite + Unpin + Send>(
    mut stream: S,
    request: Request,
    root: Root,
    store: &Store,
    bounds: Bounds,
    budget: &Fair,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Fetched, TransferError> {
    let mut pace = Pace::new(bounds.stall);
    let mut first = Vec::new();
    Ask::Request(request).encode(&mut first);
    let receiver = Receiver::new(store.clone(), root, bounds.raw_cap);
    let mut hands = Hands::new(receiver, budget.clone());
    let mut inbox = Inbox::new(bounds.cap);
    let pulled = async {
        // What is lacking is found out first, so that the request and the first wants are said in one breath.
        hands.work_on(&mut inbox);
        first.extend(hands.finish().await?);
        pace.write(&mut stream, &first).await?;
        pull(&mut stream, &mut pace, &mut hands, &mut inbox, progress).await
    };
    let outcome = pulled.await;
    // What the peer said last explains an end better than that the stream ended.
    match (outcome, hands.settle().await) {
        (Ok(()), _) => Ok(Fetched { bytes: inbox.flown }),
        (Err(TransferError::Broken(_)), Err(said)) => Err(said),
        (Err(error), _) => Err(error),
    }
}

async fn pull<S: AsyncRead + AsyncWrite + Unpin + Send>(
    stream: &mut S,
    pace: &mut Pace,
    hands: &mut Hands,
    inbox: &mut Inbox,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<(), TransferError> {
    loop {
        if hands.is_free() {
            if hands.is_done() {
                break;
            }
            if inbox.is_ready() || hands.has_work() {
                hands.work_on(inbox);
            }
        }
        let before = inbox.flown;
        tokio::select! {
            biased;
            done = hands.finish(), if !hands.is_free() => {
                let asks = done?;
                if !asks.is_empty() {
                    pace.write(stream, &asks).await?;
                }
                pace.restart();
            }
            filled = inbox.fill(stream), if !inbox.is_ready() => {
                filled?;
                pace.moved(usize::try_from(inbox.flown - before).unwrap_or(usize::MAX));
                progress(inbox.flown);
            }
            stalled = pace.ended(), if hands.is_free() => return Err(stalled),
        }
    }
    let mut frame = Vec::new();
    Ask::End.encode(&mut frame);
    pace.write(stream, &frame).await?;
    pace.close(stream).await
}

/// Frames on their way in.
struct Inbox {
    room: Vec<u8>,
    len: usize,
    /// How much of it is complete frames.
    complete: usize,
    /// Where the frame after them ends, once its header is here.
    end: Option<usize>,
    flown: u64,
    cap: u64,
}

impl Inbox {
    fn new(cap: u64) -> Inbox {
        Inbox {
            room: vec![0; INBOX_BYTES],
            len: 0,
            complete: 0,
            end: None,
            flown: 0,
            cap: cap.saturating_add(LAST_WORD_BYTES),
        }
    }

    fn is_ready(&self) -> bool {
        self.complete > 0
    }

    /// Reads once, and then what is there anyway. Nothing is lost where it is dropped while it waits.
    async fn fill<R: AsyncRead + Unpin>(&mut self, reader: &mut R) -> Result<(), TransferError> {
        let room = self.next_room();
        let mut read = reader.read(room).await?;
        loop {
            if read == 0 {
                let end = std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
                return Err(end.into());
            }
            self.took(read)?;
            if self.complete >= ENOUGH_BYTES || self.next_room().is_empty() {
                return Ok(());
            }
            let room = self.next_room();
            match reader.read(room).now_or_never() {
                None => return Ok(()),
                // Said again when there is nothing else left to do.
                Some(Ok(0) | Err(_)) if self.is_ready() => return Ok(()),
                Some(more) => read = more?,
            }
        }
    }

    /// Where the next bytes go: a long frame is read to its end and no further, so that nothing of it is moved.
    fn next_room(&mut self) -> &mut [u8] {
        let end = match self.end {
            Some(end) if end > self.room.len() => self.len,
            Some(end) if end - self.len > PEEK_BYTES => end,
            _ => self.len + PEEK_BYTES,
        };
        let end = end.min(self.room.len());
        self.room.get_mut(self.len..end).unwrap_or_default()
    }

    fn took(&mut self, bytes: usize) -> Result<(), TransferError> {
        self.len += bytes;
        self.flown += bytes as u64;
        loop {
            if self.end.is_none() {
                let rest = self.room.get(self.complete..self.len).unwrap_or_default();
                let Some(header) = rest.first_chunk::<HEADER_BYTES>() else {
                    break;
                };
                let body = Header::decode(Side::Provider, *header)?.body_bytes();
                self.end = Some(self.complete + HEADER_BYTES + body);
            }
            match self.end {
                Some(end) if end <= self.len => {
                    self.complete = end;
                    self.end = None;
                }
                _ => break,
            }
        }
        // What is announced counts as well as what is here.
        let announced = self.end.map_or(0, |end| (end - self.len) as u64);
        if self.flown.saturating_add(announced) > self.cap {
            return Err(TransferError::Oversize("more than was agreed"));
        }
        Ok(())
    }

    /// Hands out the complete frames and goes on in another room.
    fn swap(&mut self, mut other: Vec<u8>) -> (Vec<u8>, usize) {
        let rest = self.room.get(self.complete..self.len).unwrap_or_default();
        if let Some(room) = other.get_mut(..rest.len()) {
            room.copy_from_slice(rest);
        }
        let complete = std::mem::take(&mut self.complete);
        self.len -= complete;
        self.end = self.end.map(|end| end - complete);
        (std::mem::replace(&mut self.room, other), complete)
    }
}

type Done = Result<(Receiver, Vec<u8>, Vec<u8>), TransferError>;

/// The receiver, which works on a thread of its own or waits for something to do.
struct Hands {
    budget: Fair,
    /// With a room that is not filled.
    free: Option<(Receiver, Vec<u8>)>,
    busy: Option<Pin<Box<dyn Future<Output = Done> + Send>>>,
}

impl Hands {
    fn new(receiver: Receiver, budget: Fair) -> Hands {
        Hands {
            budget,
            free: Some((receiver, vec![0; INBOX_BYTES])),
            busy: None,
        }
    }

    fn is_free(&self) -> bool {
        self.busy.is_none()
    }

    fn is_done(&self) -> bool {
        self.free
            .as_ref()
            .is_some_and(|(receiver, _)| receiver.is_done())
    }

    fn has_work(&self) -> bool {
        self.free
            .as_ref()
            .is_some_and(|(receiver, _)| receiver.has_work())
    }

    fn work_on(&mut self, inbox: &mut Inbox) {
        let Some((mut receiver, room)) = self.free.take() else {
            return;
        };
        let (frames, len) = inbox.swap(room);
        let budget = self.budget.clone();
        self.busy = Some(Box::pin(async move {
            let mut turn = budget.turn().await;
            let work = spawn_blocking(move || {
                receiver.absorb(frames.get(..len).unwrap_or_default(), &mut turn.tools)?;
                let mut asks = Vec::new();
                receiver.ask(&mut asks)?;
                Ok((receiver, frames, asks))
            });
            work.await.unwrap_or(Err(TransferError::Host))
        }));
    }

    /// Waits for the work under way; the frames to send.
    async fn finish(&mut self) -> Result<Vec<u8>, TransferError> {
        let Some(busy) = &mut self.busy else {
            return Ok(Vec::new());
        };
        let done = busy.await;
        self.busy = None;
        let (receiver, room, asks) = done?;
        self.free = Some((receiver, room));
        Ok(asks)
    }

    /// Waits for the work under way, and lets go of everything.
    async fn settle(&mut self) -> Result<(), TransferError> {
        let finished = self.finish().await;
        if let Some((receiver, _)) = self.free.take()
            && !receiver.is_done()
        {
            // It may have files to shorten or to remove.
            let _ = spawn_blocking(move || drop(receiver)).await;
        }
        finished.map(|_| ())
    }
}
