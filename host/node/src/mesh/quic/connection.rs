//! A connection of QUIC's and its streams, in the shape that the swarm wants.
//!
//! quinn's futures are made when they are first asked for and dropped when they are done. Decides one thing: a
//! connection's window is small until this end opens a stream on it, which it does at once after the greeting and never
//! before. Made by the transport and its listeners.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{AsyncRead, AsyncWrite, FutureExt};
use libp2p::PeerId;
use libp2p::core::muxing::{StreamMuxer, StreamMuxerEvent};
use libp2p::tls::certificate;
use quinn::rustls::pki_types::CertificateDer;
use quinn::{ConnectionError, RecvStream, SendStream, VarInt};

use super::QuicError;
use crate::mesh::limits::QUIC_CONNECTION_BYTES;

/// Sees a handshake to its end, within `limit`.
pub(super) async fn handshake(
    connecting: quinn::Connecting,
    limit: Duration,
) -> Result<(PeerId, Connection), QuicError> {
    let done = tokio::time::timeout(limit, connecting).await;
    let quic = done.map_err(|_| QuicError::Slow)??;
    let peer = named(&quic).ok_or(QuicError::Nameless)?;
    let connection = Connection {
        quic,
        accepting: Pending(None),
        opening: Pending(None),
        is_wide: false,
    };
    Ok((peer, connection))
}

/// Whom the certificate names that the handshake has checked.
fn named(quic: &quinn::Connection) -> Option<PeerId> {
    let shown = quic.peer_identity()?;
    let chain = shown.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    let first = certificate::parse(chain.first()?).ok()?;
    Some(first.peer_id())
}

/// A future that begins when it is asked for.
struct Pending<T>(Option<BoxFuture<'static, T>>);

impl<T> Pending<T> {
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        begin: impl FnOnce() -> BoxFuture<'static, T>,
    ) -> Poll<T> {
        let mut future = self.0.take().unwrap_or_else(begin);
        let polled = future.poll_unpin(cx);
        if polled.is_pending() {
            self.0 = Some(future);
        }
        polled
    }
}

type Pair = Result<(SendStream, RecvStream), ConnectionError>;

/// A connection.
pub(in crate::mesh) struct Connection {
    quic: quinn::Connection,
    accepting: Pending<Pair>,
    opening: Pending<Pair>,
    /// The other end may send more than a greeting.
    is_wide: bool,
}

impl StreamMuxer for Connection {
    type Substream = Stream;
    type Error = QuicError;

    fn poll_inbound(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Stream, QuicError>> {
        let Connection {
            quic, accepting, ..
        } = self.get_mut();
        let begin = || {
            let quic = quic.clone();
            async move { quic.accept_bi().await }.boxed()
        };
        let pair = ready!(accepting.poll(cx, begin));
        Poll::Ready(pair.map(Stream::from).map_err(QuicError::from))
    }

    fn poll_outbound(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Stream, QuicError>> {
        let Connection {
            quic,
            opening,
            is_wide,
            ..
        } = self.get_mut();
        if !*is_wide {
            *is_wide = true;
            let wide = VarInt::from_u32(QUIC_CONNECTION_BYTES);
            quic.set_receive_window(wide);
        }
        let begin = || {
            let quic = quic.clone();
            async move { quic.open_bi().await }.boxed()
        };
        let pair = ready!(opening.poll(cx, begin));
        Poll::Ready(pair.map(Stream::from).map_err(QuicError::from))
    }

    fn poll(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Result<StreamMuxerEvent, QuicError>> {
        // Its one event is an address that has changed, and connections do not migrate.
        Poll::Pending
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), QuicError>> {
        // quinn tells the other end, and forgets the connection when that has died away.
        self.quic.close(0_u32.into(), &[]);
        Poll::Ready(Ok(()))
    }
}

/// A stream, both ways.
pub(in crate::mesh) struct Stream {
    send: SendStream,
    recv: RecvStream,
    /// Nothing more is sent: to close it again is no error.
    is_closed: bool,
}

impl From<(SendStream, RecvStream)> for Stream {
    fn from((send, recv): (SendStream, RecvStream)) -> Stream {
        Stream {
            send,
            recv,
            is_closed: false,
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        room: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        AsyncRead::poll_read(Pin::new(&mut self.recv), cx, room)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        AsyncWrite::poll_write(Pin::new(&mut self.send), cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        AsyncWrite::poll_flush(Pin::new(&mut self.send), cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_closed {
            return Poll::Ready(Ok(()));
        }
        let closed = ready!(AsyncWrite::poll_close(Pin::new(&mut self.send), cx));
        self.is_closed = true;
        Poll::Ready(closed)
    }
}
