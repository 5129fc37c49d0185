//! A connection of QUIC's as libp2p sees one: who is at its other end, and streams.
//!
//! Adapted from libp2p-quic, © Parity Technologies, MIT licence. Decides nothing. Called by the swarm.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{AsyncRead, AsyncWrite, FutureExt, ready};
use libp2p::PeerId;
use libp2p::core::muxing::{StreamMuxer, StreamMuxerEvent};
use libp2p::tls::certificate;
use quinn::rustls::pki_types::CertificateDer;
use quinn::{ConnectionError, RecvStream, SendStream, VarInt};
use tokio::time::timeout;

use super::QuicError;
use crate::mesh::limits::QUIC_CONNECTION_BYTES;

/// A handshake under way.
pub(in crate::mesh) type Connecting = BoxFuture<'static, Result<(PeerId, Connection), QuicError>>;

/// Sees a handshake to its end, within `limit`.
pub(super) async fn connect(
    connecting: quinn::Connecting,
    limit: Duration,
) -> Result<(PeerId, Connection), QuicError> {
    let connected = timeout(limit, connecting).await;
    let connection = connected.map_err(|_| QuicError::Slow)??;
    let peer = peer(&connection).ok_or(QuicError::Nameless)?;
    let connection = Connection {
        connection,
        incoming: None,
        outgoing: None,
        closing: None,
        greeted: false,
    };
    Ok((peer, connection))
}

/// Whom the certificate, which the handshake has checked, names.
fn peer(connection: &quinn::Connection) -> Option<PeerId> {
    let identity = connection.peer_identity()?;
    let chain = identity.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    let certificate = certificate::parse(chain.first()?).ok()?;
    Some(certificate.peer_id())
}

type Opening = BoxFuture<'static, Result<(SendStream, RecvStream), ConnectionError>>;

/// A connection.
pub(in crate::mesh) struct Connection {
    connection: quinn::Connection,
    /// The next stream that the other end opens.
    incoming: Option<Opening>,
    /// The next one that this end opens.
    outgoing: Option<Opening>,
    closing: Option<BoxFuture<'static, ConnectionError>>,
    /// This end opened a stream, which it does once the other one was greeted: it may send more than a greeting now.
    greeted: bool,
}

impl StreamMuxer for Connection {
    type Substream = Stream;
    type Error = QuicError;

    fn poll_inbound(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Stream, QuicError>> {
        let this = self.get_mut();
        let connection = &this.connection;
        let incoming = this.incoming.get_or_insert_with(|| {
            let connection = connection.clone();
            async move { connection.accept_bi().await }.boxed()
        });
        let (send, recv) = ready!(incoming.poll_unpin(cx))?;
        this.incoming = None;
        Poll::Ready(Ok(Stream::new(send, recv)))
    }

    fn poll_outbound(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Stream, QuicError>> {
        let this = self.get_mut();
        let connection = &this.connection;
        if !std::mem::replace(&mut this.greeted, true) {
            connection.set_receive_window(VarInt::from_u32(QUIC_CONNECTION_BYTES));
        }
        let outgoing = this.outgoing.get_or_insert_with(|| {
            let connection = connection.clone();
            async move { connection.open_bi().await }.boxed()
        });
        let (send, recv) = ready!(outgoing.poll_unpin(cx))?;
        this.outgoing = None;
        Poll::Ready(Ok(Stream::new(send, recv)))
    }

    fn poll(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Result<StreamMuxerEvent, QuicError>> {
        // The one event is a changed address, and connections do not migrate.
        Poll::Pending
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), QuicError>> {
        let this = self.get_mut();
        let connection = &this.connection;
        let closing = this.closing.get_or_insert_with(|| {
            connection.close(0_u32.into(), &[]);
            let connection = connection.clone();
            async move { connection.closed().await }.boxed()
        });
        match ready!(closing.poll_unpin(cx)) {
            ConnectionError::LocallyClosed => Poll::Ready(Ok(())),
            error => Poll::Ready(Err(error.into())),
        }
    }
}

/// A stream.
pub(in crate::mesh) struct Stream {
    send: SendStream,
    recv: RecvStream,
    /// How closing it ended, which may be asked for again.
    closed: Option<Result<(), io::ErrorKind>>,
}

impl Stream {
    fn new(send: SendStream, recv: RecvStream) -> Stream {
        Stream {
            send,
            recv,
            closed: None,
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        if matches!(self.closed, Some(Err(_))) {
            return Poll::Ready(Ok(0));
        }
        Pin::new(&mut self.recv).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        AsyncWrite::poll_write(Pin::new(&mut self.send), cx, buffer)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        AsyncWrite::poll_flush(Pin::new(&mut self.send), cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(closed) = self.closed {
            return Poll::Ready(closed.map_err(Into::into));
        }
        let closed = ready!(AsyncWrite::poll_close(Pin::new(&mut self.send), cx));
        self.closed = Some(closed.as_ref().map_err(io::Error::kind).copied());
        Poll::Ready(closed)
    }
}
