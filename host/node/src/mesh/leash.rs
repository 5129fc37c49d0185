//! How much a connection of TCP's may say before it was greeted: enough for the greeting, and then nothing.
//!
//! Yamux gives each of its streams a window that the other end may fill before anybody has read a byte: 16 MiB a connection,
//! which a crowd of strangers would have this node hold. QUIC has a window for the whole connection, which is small until
//! then. Whether a connection was greeted is seen by that this end opens a stream on it, which it does at once then and
//! never before. Decides nothing else. Called by the swarm's set-up.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use futures::{AsyncRead, AsyncWrite};
use libp2p::Multiaddr;
use libp2p::core::ConnectedPoint;
use libp2p::core::muxing::{StreamMuxer, StreamMuxerEvent};
use libp2p::multiaddr::Protocol;

use super::limits::UNGREETED_BYTES;
use crate::db::lock;

/// A connection's allowance.
#[derive(Debug, Default)]
struct Allowance {
    spent: AtomicUsize,
    greeted: AtomicBool,
}

/// The connections whose encryption is being set up, by where they come from.
#[derive(Clone, Default)]
pub(super) struct Leashes(Arc<Mutex<HashMap<SocketAddr, Arc<Allowance>>>>);

impl Leashes {
    /// Puts a connection that was just made on a leash, where another node made it.
    pub(super) fn put<S>(&self, stream: S, point: &ConnectedPoint) -> Leashed<S> {
        let from = source(point);
        let allowance = from.map(|from| {
            let allowance = Arc::new(Allowance::default());
            lock(&self.0).insert(from, Arc::clone(&allowance));
            allowance
        });
        Leashed {
            stream,
            allowance,
            pending: from.map(|from| (from, self.clone())),
        }
    }

    /// The same connection's streams, which take it off.
    pub(super) fn streams<M>(&self, muxer: M, point: &ConnectedPoint) -> Unleashing<M> {
        let from = source(point);
        Unleashing {
            muxer,
            allowance: from.and_then(|from| lock(&self.0).remove(&from)),
        }
    }
}

/// Where another node's connection comes from.
fn source(point: &ConnectedPoint) -> Option<SocketAddr> {
    let ConnectedPoint::Listener { send_back_addr, .. } = point else {
        return None;
    };
    address(send_back_addr)
}

fn address(of: &Multiaddr) -> Option<SocketAddr> {
    let mut parts = of.iter();
    let ip = match parts.next()? {
        Protocol::Ip4(ip) => ip.into(),
        Protocol::Ip6(ip) => ip.into(),
        _ => return None,
    };
    match parts.next()? {
        Protocol::Tcp(port) => Some(SocketAddr::new(ip, port)),
        _ => None,
    }
}

/// A connection that ends where it says too much.
pub(super) struct Leashed<S> {
    stream: S,
    allowance: Option<Arc<Allowance>>,
    /// Its entry, which goes with it where nobody took it.
    pending: Option<(SocketAddr, Leashes)>,
}

impl<S> Drop for Leashed<S> {
    fn drop(&mut self) {
        let Some((from, leashes)) = self.pending.take() else {
            return;
        };
        let mut pending = lock(&leashes.0);
        let own = |known: &Arc<Allowance>| {
            let allowance = self.allowance.as_ref();
            allowance.is_some_and(|allowance| Arc::ptr_eq(known, allowance))
        };
        if pending.get(&from).is_some_and(own) {
            pending.remove(&from);
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Leashed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if let (Poll::Ready(Ok(bytes)), Some(allowance)) = (&read, &self.allowance)
            && !allowance.greeted.load(Ordering::Relaxed)
            && allowance.spent.fetch_add(*bytes, Ordering::Relaxed) + bytes > UNGREETED_BYTES
        {
            let why = "it says too much before it is greeted";
            return Poll::Ready(Err(io::Error::other(why)));
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Leashed<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buffer)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, buffers)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(cx)
    }
}

/// Streams of a connection on a leash, until this end opens one.
pub(super) struct Unleashing<M> {
    muxer: M,
    allowance: Option<Arc<Allowance>>,
}

impl<M: StreamMuxer + Unpin> StreamMuxer for Unleashing<M> {
    type Substream = M::Substream;
    type Error = M::Error;

    fn poll_inbound(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<M::Substream, M::Error>> {
        Pin::new(&mut self.muxer).poll_inbound(cx)
    }

    fn poll_outbound(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<M::Substream, M::Error>> {
        if let Some(allowance) = self.allowance.take() {
            allowance.greeted.store(true, Ordering::Relaxed);
        }
        Pin::new(&mut self.muxer).poll_outbound(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), M::Error>> {
        Pin::new(&mut self.muxer).poll_close(cx)
    }

    fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<StreamMuxerEvent, M::Error>> {
        Pin::new(&mut self.muxer).poll(cx)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;
    use futures::AsyncReadExt;
    use futures::io::Cursor;

    fn listener(port: u16) -> ConnectedPoint {
        ConnectedPoint::Listener {
            local_addr: "/ip4/127.0.0.1/tcp/1".parse().unwrap(),
            send_back_addr: format!("/ip4/127.0.0.1/tcp/{port}").parse().unwrap(),
        }
    }

    #[tokio::test]
    async fn who_says_too_much_is_cut_off_unless_it_was_greeted() {
        let leashes = Leashes::default();
        let much = || Cursor::new(vec![0; 2 * UNGREETED_BYTES]);
        let mut cut = leashes.put(much(), &listener(1));
        let mut read = Vec::new();
        assert!(cut.read_to_end(&mut read).await.is_err());
        assert!(read.len() <= UNGREETED_BYTES);
        let mut greeted = leashes.put(much(), &listener(2));
        let streams = leashes.streams((), &listener(2));
        streams
            .allowance
            .unwrap()
            .greeted
            .store(true, Ordering::Relaxed);
        let read = greeted.read_to_end(&mut Vec::new()).await.unwrap();
        assert_eq!(read, 2 * UNGREETED_BYTES);
    }

    #[test]
    fn nothing_is_left_of_connections_that_came_to_nothing() {
        let leashes = Leashes::default();
        drop(leashes.put((), &listener(1)));
        let again = leashes.put((), &listener(2));
        let newer = leashes.put((), &listener(2));
        drop(again);
        assert_eq!(lock(&leashes.0).len(), 1, "the newer one's");
        assert!(leashes.streams((), &listener(2)).allowance.is_some());
        drop(newer);
        assert!(lock(&leashes.0).is_empty());
    }
}
