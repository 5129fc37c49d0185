//! Reading and writing a stream with patience that ends: each 16 KiB must move within a given time.
//!
//! A deadline for a whole transfer would have to know the link, one for each byte would let a peer hold a stream for
//! ever at a byte a second. Called by both ends of transfers.

use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, Sleep, sleep};

use super::TransferError;
use sykli_core::blob::{Ask, FrameError, HEADER_BYTES, Header, MAX_WANTS, Side};

/// What must move within the time.
const STEP_BYTES: usize = 16 * 1024;
/// The longest frame of a requester: wants, or a request, whichever is longer.
const LONGEST_ASK: usize = HEADER_BYTES + 40 * MAX_WANTS;

/// How much patience is left.
pub(super) struct Pace {
    stall: Duration,
    sleep: Pin<Box<Sleep>>,
    moved: usize,
}

impl Pace {
    pub(super) fn new(stall: Duration) -> Pace {
        Pace {
            stall,
            sleep: Box::pin(sleep(stall)),
            moved: 0,
        }
    }

    /// Begins anew: what follows is waited for from now on.
    pub(super) fn restart(&mut self) {
        self.moved = 0;
        // Beyond what a clock can say, there is no end.
        if let Some(end) = Instant::now().checked_add(self.stall) {
            self.sleep.as_mut().reset(end);
        }
    }

    /// Notes that so many bytes moved.
    pub(super) fn moved(&mut self, bytes: usize) {
        self.moved += bytes;
        if self.moved >= STEP_BYTES {
            self.restart();
        }
    }

    /// Ready when patience has ended.
    pub(super) async fn ended(&mut self) -> TransferError {
        self.sleep.as_mut().await;
        TransferError::Stalled(self.stall)
    }

    fn poll_ended(&mut self, cx: &mut Context<'_>) -> Poll<TransferError> {
        self.sleep
            .as_mut()
            .poll(cx)
            .map(|()| TransferError::Stalled(self.stall))
    }

    /// Writes all of it, and has it sent.
    pub(super) async fn write<W: AsyncWrite + Unpin>(
        &mut self,
        writer: &mut W,
        mut bytes: &[u8],
    ) -> Result<(), TransferError> {
        self.restart();
        while !bytes.is_empty() {
            let wrote = std::future::poll_fn(|cx| match pin!(&mut *writer).poll_write(cx, bytes) {
                Poll::Ready(wrote) => Poll::Ready(wrote.map_err(TransferError::from)),
                Poll::Pending => self.poll_ended(cx).map(Err),
            })
            .await?;
            if wrote == 0 {
                return Err(io::Error::from(io::ErrorKind::WriteZero).into());
            }
            self.moved(wrote);
            bytes = bytes.get(wrote..).unwrap_or_default();
        }
        self.until(|cx| pin!(&mut *writer).poll_flush(cx)).await
    }

    /// Says that nothing more is written.
    pub(super) async fn close<W: AsyncWrite + Unpin>(
        &mut self,
        writer: &mut W,
    ) -> Result<(), TransferError> {
        self.restart();
        self.until(|cx| pin!(&mut *writer).poll_close(cx)).await
    }

    async fn until(
        &mut self,
        mut poll: impl FnMut(&mut Context<'_>) -> Poll<io::Result<()>>,
    ) -> Result<(), TransferError> {
        std::future::poll_fn(|cx| match poll(cx) {
            Poll::Ready(done) => Poll::Ready(done.map_err(TransferError::from)),
            Poll::Pending => self.poll_ended(cx).map(Err),
        })
        .await
    }
}

/// Reads what a requester asks, one frame after the other.
pub(super) struct Asks<R> {
    reader: R,
    room: Vec<u8>,
}

impl<R: AsyncRead + Unpin> Asks<R> {
    pub(super) fn new(reader: R) -> Asks<R> {
        Asks {
            reader,
            room: vec![0; LONGEST_ASK],
        }
    }

    /// The next frame. It waits as long as it takes: its caller knows whether one is due.
    pub(super) async fn next(&mut self) -> Result<Ask, TransferError> {
        use futures::io::AsyncReadExt;
        let mut header = [0; HEADER_BYTES];
        self.reader.read_exact(&mut header).await?;
        let header = Header::decode(Side::Requester, header)?;
        let body = self.room.get_mut(..header.body_bytes());
        let body = body.ok_or(FrameError::Body("an ask longer than any"))?;
        self.reader.read_exact(body).await?;
        Ok(header.ask(body)?)
    }
}
