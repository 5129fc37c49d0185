//! A bulk stream, `/sykli/blob/1`, that counts as open until it is dropped.
//!
//! Knows nothing of what flows through it. Given out by the mesh, both to who opens one and to whom one was opened.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::{AsyncRead, AsyncWrite};
use libp2p::Stream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// One direction's places: a peer's and everybody's.
#[derive(Clone)]
pub(super) struct Places {
    all: Arc<Semaphore>,
    own: Arc<Semaphore>,
}

impl Places {
    /// A new peer's, `own` of the `all`.
    pub(super) fn new(all: &Arc<Semaphore>, own: usize) -> Places {
        Places {
            all: Arc::clone(all),
            own: Arc::new(Semaphore::new(own)),
        }
    }

    /// A place, if there is one.
    pub(super) fn take(&self) -> Option<Place> {
        let own = Arc::clone(&self.own).try_acquire_owned().ok()?;
        let all = Arc::clone(&self.all).try_acquire_owned().ok()?;
        Some(Place { _held: [own, all] })
    }
}

/// A place that is free again when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    _held: [OwnedSemaphorePermit; 2],
}

/// A bulk stream. Dropping it resets it, unless both sides closed it before.
#[derive(Debug)]
pub struct BlobStream {
    stream: Stream,
    _place: Place,
}

impl BlobStream {
    pub(super) fn new(stream: Stream, place: Place) -> BlobStream {
        BlobStream {
            stream,
            _place: place,
        }
    }
}

impl AsyncRead for BlobStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for BlobStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buffer)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(cx)
    }
}
