//! QUIC: a UDP socket for each address that is listened on, TLS 1.3 with the node's own key.
//!
//! ```text
//! address.rs     what an address of QUIC's looks like
//! setup.rs       certificates, windows, deadlines
//! listener.rs    a task for each socket: who knocks there, at which addresses it is reached
//! connection.rs  a connection and its streams, as the swarm sees them
//! ```
//!
//! It is a transport of our own for one reason: who knocks is looked at *before* a handshake begins ([`Porch`]), and a
//! connection has a small window until it was greeted. A handshake costs two key exchanges and a signature, and leaves
//! dozens of KiB behind until its close has died away. Some thousand a second, which one outsider sends with ease and
//! under any sender's address, were hundreds of MB. Here an address that has had its share is not answered, and one that
//! may be made up has to answer first (QUIC's Retry, for which nothing is kept).
//!
//! Speaks QUIC version 1 as libp2p's nodes do; connections do not migrate. Never decides who has had its share. Called by
//! the swarm's set-up.

mod address;
mod connection;
mod listener;
mod setup;

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use libp2p::core::transport::{DialOpts, ListenerId, PortUse, TransportError, TransportEvent};
use libp2p::identity::Keypair;
use libp2p::{Multiaddr, PeerId, Transport};
use tokio::sync::{mpsc, oneshot};

use super::doors::Porch;
use super::error::MeshError;
use super::limits::Timing;
use crate::db::lock;
use connection::{Connection, handshake};
use setup::Setup;

/// What listeners have to say that the swarm has not taken yet; a full queue has them look at nobody new.
const EVENTS: usize = 64;
/// Pause between two datagrams that open a firewall.
const PUNCH_EVERY: Duration = Duration::from_millis(100);
/// What one of them says: nothing that is QUIC's.
const PUNCH: [u8; 16] = [0; 16];

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
    #[error("somebody is waited for from there already")]
    Expected,
}

/// A handshake under way.
type Connecting = BoxFuture<'static, Result<(PeerId, Connection), QuicError>>;
type Event = TransportEvent<Connecting, QuicError>;

/// A socket that listens.
struct Listening {
    at: SocketAddr,
    endpoint: quinn::Endpoint,
    /// The same socket, to open a firewall from.
    socket: Arc<UdpSocket>,
    /// Ends its task, as dropping it does.
    stop: oneshot::Sender<()>,
}

impl Listening {
    /// Whether `remote` can be reached from it: one that is bound to an address of this machine's reaches no other kind.
    fn reaches(&self, remote: IpAddr) -> bool {
        let here = self.at.ip();
        here.is_ipv4() == remote.is_ipv4()
            && (here.is_unspecified() || here.is_loopback() == remote.is_loopback())
    }
}

/// Who is to knock because both ends agreed on it, by where they come from.
#[derive(Clone, Default)]
struct Expected(Arc<Mutex<HashMap<SocketAddr, oneshot::Sender<Connecting>>>>);

impl Expected {
    fn wait(&self, from: SocketAddr) -> Result<oneshot::Receiver<Connecting>, QuicError> {
        let mut waiting = lock(&self.0);
        waiting.retain(|_, waits| !waits.is_closed());
        if waiting.contains_key(&from) {
            return Err(QuicError::Expected);
        }
        let (tells, waits) = oneshot::channel();
        waiting.insert(from, tells);
        Ok(waits)
    }

    fn take(&self, from: SocketAddr) -> Option<oneshot::Sender<Connecting>> {
        lock(&self.0).remove(&from)
    }
}

/// The transport.
pub(super) struct Quic {
    setup: Setup,
    limit: Duration,
    porch: Porch,
    listeners: HashMap<ListenerId, Listening>,
    /// Sockets of dials for which nothing listens.
    v4: Option<quinn::Endpoint>,
    v6: Option<quinn::Endpoint>,
    expected: Expected,
    say: mpsc::Sender<Event>,
    said: mpsc::Receiver<Event>,
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
        let (say, said) = mpsc::channel(EVENTS);
        Ok(Quic {
            setup: Setup::new(keypair, timing, streams)?,
            // Whoever is there may be on the worst of links.
            limit: timing.longest.dial,
            porch,
            listeners: HashMap::new(),
            v4: None,
            v6: None,
            expected: Expected::default(),
            say,
            said,
        })
    }

    fn listen(&mut self, id: ListenerId, at: SocketAddr) -> io::Result<()> {
        let socket = setup::bind(at)?;
        let at = socket.local_addr()?;
        let twin = Arc::new(socket.try_clone()?);
        let endpoint = self.setup.endpoint(socket, true)?;
        let (stop, stopped) = oneshot::channel();
        let listener = listener::Listener {
            id,
            at,
            endpoint: endpoint.clone(),
            porch: self.porch.clone(),
            limit: self.limit,
            expected: self.expected.clone(),
            say: self.say.clone(),
        };
        tokio::spawn(listener.serve(stopped));
        let listening = Listening {
            at,
            endpoint,
            socket: twin,
            stop,
        };
        self.listeners.insert(id, listening);
        // From now on dials are made from its port.
        match at.is_ipv4() {
            true => self.v4 = None,
            false => self.v6 = None,
        }
        Ok(())
    }

    fn listener_near(&self, remote: SocketAddr) -> Option<&Listening> {
        let mut listeners = self.listeners.values();
        listeners.find(|listening| listening.reaches(remote.ip()))
    }

    /// What to dial from: a listener, so that the other end sees the port at which this node is reached.
    fn dialler(&mut self, remote: SocketAddr, port: PortUse) -> io::Result<quinn::Endpoint> {
        let (any, kept) = match remote.is_ipv4() {
            true => (IpAddr::V4(Ipv4Addr::UNSPECIFIED), &self.v4),
            false => (IpAddr::V6(Ipv6Addr::UNSPECIFIED), &self.v6),
        };
        let listening = self.listener_near(remote).map(|near| near.endpoint.clone());
        let reused = listening.or_else(|| kept.clone());
        if let Some(reused) = reused.filter(|_| port == PortUse::Reuse) {
            return Ok(reused);
        }
        let socket = UdpSocket::bind(SocketAddr::new(any, 0))?;
        let made = self.setup.endpoint(socket, false)?;
        if port == PortUse::Reuse {
            match remote.is_ipv4() {
                true => self.v4 = Some(made.clone()),
                false => self.v6 = Some(made.clone()),
            }
        }
        Ok(made)
    }

    /// Opens this side's firewall for `remote`, which dials meanwhile, and sees its handshake to the end.
    fn punch(&self, remote: SocketAddr) -> Result<Connecting, QuicError> {
        let near = self.listener_near(remote).ok_or(QuicError::NoListener)?;
        let socket = Arc::clone(&near.socket);
        let mut comes = self.expected.wait(remote)?;
        let opened = async move {
            let mut every = tokio::time::interval(PUNCH_EVERY);
            loop {
                tokio::select! {
                    came = &mut comes => return came.map_err(|_| QuicError::Slow),
                    _ = every.tick() => knock(&socket, remote)?,
                }
            }
        };
        let limit = self.limit;
        let punched = async move {
            let opened = tokio::time::timeout(limit, opened).await;
            opened.map_err(|_| QuicError::Slow)??.await
        };
        Ok(punched.boxed())
    }
}

/// One datagram; where the socket is busy the next one does.
fn knock(socket: &UdpSocket, remote: SocketAddr) -> io::Result<()> {
    match socket.send_to(&PUNCH, remote) {
        Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
        _ => Ok(()),
    }
}

impl Transport for Quic {
    type Output = (PeerId, Connection);
    type Error = QuicError;
    type ListenerUpgrade = Connecting;
    type Dial = Connecting;

    fn listen_on(
        &mut self,
        id: ListenerId,
        address: Multiaddr,
    ) -> Result<(), TransportError<QuicError>> {
        let Some((at, _)) = address::parse(&address) else {
            return Err(TransportError::MultiaddrNotSupported(address));
        };
        self.listen(id, at)
            .map_err(|error| TransportError::Other(error.into()))
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        let Some(listening) = self.listeners.remove(&id) else {
            return false;
        };
        // Its task says that it is closed; it may have ended by itself.
        let _ = listening.stop.send(());
        true
    }

    fn dial(
        &mut self,
        address: Multiaddr,
        how: DialOpts,
    ) -> Result<Connecting, TransportError<QuicError>> {
        let there = address::parse(&address)
            .filter(|(remote, _)| remote.port() != 0 && !remote.ip().is_unspecified());
        let Some((remote, peer)) = there else {
            return Err(TransportError::MultiaddrNotSupported(address));
        };
        // Both dial at once to get through their firewalls, and this end is the one that answers.
        if how.role.is_listener() && how.port_use == PortUse::New {
            return match peer {
                Some(_) => self.punch(remote).map_err(TransportError::Other),
                None => Err(TransportError::MultiaddrNotSupported(address)),
            };
        }
        let dialler = self.dialler(remote, how.port_use);
        let dialler = dialler.map_err(|error| TransportError::Other(error.into()))?;
        let client = self.setup.client.clone();
        let limit = self.limit;
        let dialling = async move {
            // Who is there is in its certificate: a name must be given, and means nothing.
            let connecting = dialler.connect_with(client, remote, "sykli")?;
            handshake(connecting, limit).await
        };
        Ok(dialling.boxed())
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Event> {
        match self.said.poll_recv(cx) {
            Poll::Ready(Some(event)) => {
                if let TransportEvent::ListenerClosed { listener_id, .. } = &event {
                    self.listeners.remove(listener_id);
                }
                Poll::Ready(event)
            }
            // This end holds a sender: the queue does not end.
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }
}
