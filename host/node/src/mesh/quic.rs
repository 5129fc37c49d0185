//! QUIC: a UDP socket for each address that is listened on, TLS 1.3 with the node's own key, streams of its own.
//!
//! What libp2p-quic does, with one difference that it leaves no room for: who knocks is looked at *before* a handshake
//! begins ([`Porch`]). libp2p-quic begins each one that is asked for; it costs two key exchanges and a signature, and
//! dozens of KiB until its close has died away three seconds later, refused or not. Some thousand a second, which one
//! outsider sends with ease and under any sender's address, were hundreds of MB. Here an address that has had its share is
//! not answered, and one that may be made up has to answer first (QUIC's Retry, for which nothing is kept).
//!
//! Parts are adapted from libp2p-quic, © Parity Technologies, MIT licence. Speaks QUIC version 1, the same as libp2p's;
//! connections do not migrate. Never decides who has had its share. Called by the swarm's set-up.

mod address;
mod connection;
mod listener;
mod setup;

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures::channel::oneshot;
use futures::future::BoxFuture;
use futures::stream::SelectAll;
use futures::{FutureExt, StreamExt};
use libp2p::core::transport::{DialOpts, ListenerId, PortUse, TransportError, TransportEvent};
use libp2p::identity::Keypair;
use libp2p::{Multiaddr, PeerId, Transport};

use super::doors::Porch;
use super::error::MeshError;
use super::limits::Timing;
use connection::{Connecting, Connection, connect};
use listener::Listener;
use setup::Setup;

/// Pause between two datagrams that punch a hole.
const PUNCH_EVERY: Duration = Duration::from_millis(100);
/// What one holds: nothing that means anything.
const PUNCH_BYTES: usize = 64;

/// Why a connection did not come about, or ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum QuicError {
    #[error(transparent)]
    Connect(#[from] quinn::ConnectError),
    #[error(transparent)]
    Connection(#[from] quinn::ConnectionError),
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("the handshake took too long")]
    Slow,
    #[error("the other end does not say who it is")]
    Nameless,
    #[error("nothing listens that a hole could be punched for")]
    NoListener,
    #[error("a hole is being punched there already")]
    Punching,
}

type Dialling = BoxFuture<'static, Result<(PeerId, Connection), QuicError>>;

/// The transport.
pub(super) struct Quic {
    setup: Setup,
    handshake: Duration,
    porch: Porch,
    listeners: SelectAll<Listener>,
    /// Sockets of dials for which nothing listens, the one of IPv4 and that of IPv6.
    dialers: HashMap<bool, quinn::Endpoint>,
    /// To look at listeners that are new.
    waker: Option<Waker>,
    /// Who is expected to knock since a hole is being punched for it.
    punches: HashMap<SocketAddr, oneshot::Sender<Connecting>>,
}

impl Quic {
    /// For the node of `keypair`, whose connections have `streams` streams at most.
    ///
    /// # Errors
    /// When no certificate can be made of the key.
    pub(super) fn new(
        keypair: &Keypair,
        timing: Timing,
        streams: usize,
        porch: Porch,
    ) -> Result<Quic, MeshError> {
        Ok(Quic {
            setup: Setup::new(keypair, timing, streams)?,
            // Whoever is there may be on the worst of links.
            handshake: timing.longest.dial,
            porch,
            listeners: SelectAll::new(),
            dialers: HashMap::new(),
            waker: None,
            punches: HashMap::new(),
        })
    }

    fn endpoint(&self, socket: UdpSocket, listens: bool) -> io::Result<quinn::Endpoint> {
        let server = listens.then(|| self.setup.server.clone());
        let runtime = Arc::new(quinn::TokioRuntime);
        quinn::Endpoint::new(self.setup.endpoint.clone(), server, socket, runtime)
    }

    /// A listener from whose port `remote` can be reached.
    fn listener_for(&self, remote: SocketAddr) -> Option<&Listener> {
        self.listeners
            .iter()
            .find(|listener| listener.reaches(remote.ip()))
    }

    /// The socket to dial from: a listener's, so that the other end sees the port that this node can be reached at.
    fn dialer_for(&mut self, remote: SocketAddr, port: PortUse) -> io::Result<quinn::Endpoint> {
        if port == PortUse::New {
            return self.unbound(remote);
        }
        if let Some(listener) = self.listener_for(remote) {
            return Ok(listener.endpoint());
        }
        if let Some(dialer) = self.dialers.get(&remote.is_ipv4()) {
            return Ok(dialer.clone());
        }
        let dialer = self.unbound(remote)?;
        self.dialers.insert(remote.is_ipv4(), dialer.clone());
        Ok(dialer)
    }

    fn unbound(&self, remote: SocketAddr) -> io::Result<quinn::Endpoint> {
        let any = match remote.is_ipv4() {
            true => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            false => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        let socket = UdpSocket::bind(SocketAddr::new(any, 0))?;
        self.endpoint(socket, false)
    }

    /// Has a hole punched through this side's firewall, and waits for the other end to come through it.
    fn punch(&mut self, remote: SocketAddr, peer: PeerId) -> Result<Dialling, QuicError> {
        let listener = self.listener_for(remote).ok_or(QuicError::NoListener)?;
        let socket = listener.socket()?;
        self.punches.retain(|_, waits| !waits.is_canceled());
        if self.punches.contains_key(&remote) {
            return Err(QuicError::Punching);
        }
        let (sender, comes) = oneshot::channel();
        self.punches.insert(remote, sender);
        let limit = self.handshake;
        let punching = async move {
            let connecting = tokio::select! {
                failed = punching(&socket, remote) => return Err(failed),
                comes = tokio::time::timeout(limit, comes) => {
                    comes.ok().and_then(Result::ok).ok_or(QuicError::Slow)?
                }
            };
            let (came, connection) = connecting.await?;
            if came != peer {
                tracing::debug!(%peer, %came, %remote, "another peer came through the hole");
            }
            Ok((came, connection))
        };
        Ok(punching.boxed())
    }
}

/// Sends what opens a firewall for the answer, until that fails.
async fn punching(socket: &UdpSocket, remote: SocketAddr) -> QuicError {
    loop {
        let mut content = [0; PUNCH_BYTES];
        if let Err(error) = getrandom::fill(&mut content) {
            return io::Error::other(error.to_string()).into();
        }
        match socket.send_to(&content, remote) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => return error.into(),
            _ => tokio::time::sleep(PUNCH_EVERY).await,
        }
    }
}

impl Transport for Quic {
    type Output = (PeerId, Connection);
    type Error = QuicError;
    type ListenerUpgrade = Connecting;
    type Dial = Dialling;

    fn listen_on(
        &mut self,
        id: ListenerId,
        address: Multiaddr,
    ) -> Result<(), TransportError<QuicError>> {
        let Some((at, _)) = address::parse(&address) else {
            return Err(TransportError::MultiaddrNotSupported(address));
        };
        let failed = |error: io::Error| TransportError::Other(error.into());
        let socket = setup::bind(at).map_err(failed)?;
        let twin = socket.try_clone().map_err(failed)?;
        let endpoint = self.endpoint(socket, true).map_err(failed)?;
        let porch = self.porch.clone();
        let listener = Listener::new(id, twin, endpoint, self.handshake, porch).map_err(failed)?;
        self.listeners.push(listener);
        // Dials are made from the listener's port from now on.
        self.dialers.remove(&at.is_ipv4());
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
        Ok(())
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        let mut listeners = self.listeners.iter_mut();
        let listener = listeners.find(|listener| listener.id() == id);
        listener.map(|listener| listener.close(Ok(()))).is_some()
    }

    fn dial(
        &mut self,
        address: Multiaddr,
        how: DialOpts,
    ) -> Result<Dialling, TransportError<QuicError>> {
        let there = address::parse(&address)
            .filter(|(remote, _)| remote.port() != 0 && !remote.ip().is_unspecified());
        let Some((remote, peer)) = there else {
            return Err(TransportError::MultiaddrNotSupported(address));
        };
        if how.role.is_listener() && how.port_use == PortUse::New {
            let Some(peer) = peer else {
                return Err(TransportError::MultiaddrNotSupported(address));
            };
            return self.punch(remote, peer).map_err(TransportError::Other);
        }
        let endpoint = self
            .dialer_for(remote, how.port_use)
            .map_err(|error| TransportError::Other(error.into()))?;
        let (client, limit) = (self.setup.client.clone(), self.handshake);
        let dialling = async move {
            // The name is not used, but must be one.
            let connecting = endpoint.connect_with(client, remote, "l")?;
            connect(connecting, limit).await
        };
        Ok(dialling.boxed())
    }

    fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<TransportEvent<Connecting, QuicError>> {
        while let Poll::Ready(Some(event)) = self.listeners.poll_next_unpin(cx) {
            let TransportEvent::Incoming {
                listener_id,
                mut upgrade,
                local_addr,
                send_back_addr,
            } = event
            else {
                return Poll::Ready(event);
            };
            let from = address::parse(&send_back_addr).map(|(from, _)| from);
            if let Some(waits) = from.and_then(|from| self.punches.remove(&from)) {
                match waits.send(upgrade) {
                    Ok(()) => continue,
                    Err(unwanted) => upgrade = unwanted,
                }
            }
            return Poll::Ready(TransportEvent::Incoming {
                listener_id,
                upgrade,
                local_addr,
                send_back_addr,
            });
        }
        self.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}
