//! The wall around every connection: nothing behind it is reached, or even knows of the peer, before the greeting passed.
//!
//! [`Admission`] wraps all other protocols that run on a connection. While a connection greets, the inner behaviour has
//! neither a handler on it nor heard of it: no subscription is sent, no ping answered, no address told. When its greeting
//! passed ([`Admission::open`]) the inner handler is made and handed to the connection, and the inner behaviour is told
//! of it as if it had just been established. A connection that ends before that never existed for the inner behaviour;
//! where that one had dialled, it hears that the dial failed.
//!
//! Decides that a greeting has a deadline and that few incoming connections may be without one, the oldest of which make
//! room. Never reads a greeting. Called by the swarm; its two commands by the hub.

mod door;
mod handler;

use std::collections::{HashMap, VecDeque};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use libp2p::core::transport::PortUse;
use libp2p::core::{ConnectedPoint, Endpoint};
use libp2p::swarm::behaviour::ConnectionEstablished;
use libp2p::swarm::{
    AddressChange, CloseConnection, ConnectionClosed, ConnectionDenied, ConnectionId, DialError,
    DialFailure, FromSwarm, NetworkBehaviour, NotifyHandler, Stream, THandler, THandlerInEvent,
    THandlerOutEvent, ToSwarm,
};
use libp2p::{Multiaddr, PeerId};

use handler::{Command, Handler, Told};

/// What the hub hears.
#[derive(Debug)]
pub(super) enum AdmissionEvent<E> {
    /// Greet on this stream: speak first where this side dialled.
    Hello {
        connection: ConnectionId,
        stream: Stream,
        dialler: bool,
    },
    /// [`Admission::open`] is in effect.
    Opened { connection: ConnectionId },
    /// The connection is being closed, for it did not greet.
    Dropped {
        peer: PeerId,
        dialler: bool,
        why: Dropped,
    },
    /// A stream that nobody should have opened.
    Stray,
    /// From behind the wall.
    Inner(E),
}

/// Why a connection was given up before its greeting passed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Dropped {
    #[error("it did not greet in time")]
    Overdue,
    #[error("newer connections needed its place")]
    Crowded,
    #[error("it could not be greeted: {0}")]
    NoHello(String),
}

/// How far a connection is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Greeting,
    Open,
}

struct Connection {
    peer: PeerId,
    /// Who greets first: the dialler, which a hole punch may reverse.
    dialler: bool,
    stage: Stage,
    /// Known from the moment that it is established.
    endpoint: Option<ConnectedPoint>,
}

type Action<B> = ToSwarm<AdmissionEvent<<B as NetworkBehaviour>::ToSwarm>, Command<THandler<B>>>;

/// A greeting may take so many times as long as the handshake before it, if that is longer than what it has anyway: each of
/// its five ways may lose a packet, and each loss is noticed after some round trips.
const HANDSHAKES: u32 = 30;

/// The wall.
pub(super) struct Admission<B: NetworkBehaviour> {
    inner: B,
    timeout: (Duration, Duration),
    most: usize,
    /// When handshakes began that go on.
    begun: HashMap<ConnectionId, Instant>,
    connections: HashMap<ConnectionId, Connection>,
    /// Incoming ones that still greet, the oldest first; may name ones that are gone.
    crowd: VecDeque<ConnectionId>,
    /// How many open connections a peer has.
    open: HashMap<PeerId, usize>,
    out: VecDeque<Action<B>>,
}

impl<B: NetworkBehaviour> Admission<B> {
    /// Around `inner`: a greeting has the first `timeout`, on a slow link up to the second; at most `most` incoming
    /// connections may be without one.
    pub(super) fn new(inner: B, timeout: (Duration, Duration), most: usize) -> Admission<B> {
        Admission {
            inner,
            timeout,
            most,
            begun: HashMap::new(),
            connections: HashMap::new(),
            crowd: VecDeque::new(),
            open: HashMap::new(),
            out: VecDeque::new(),
        }
    }

    /// What is behind it.
    pub(super) fn inner(&mut self) -> &mut B {
        &mut self.inner
    }

    /// The greeting passed on this side. Answered with [`AdmissionEvent::Opened`] when the peer may be told so; false
    /// where the connection is gone or was opened before.
    pub(super) fn open(&mut self, id: ConnectionId) -> bool {
        let Some(connection) = self.connections.get_mut(&id) else {
            return false;
        };
        let (Stage::Greeting, Some(endpoint)) = (connection.stage, &connection.endpoint) else {
            return false;
        };
        let peer = connection.peer;
        let Ok(handler) = make_handler(&mut self.inner, id, peer, endpoint) else {
            self.out.push_back(close(peer, id));
            return false;
        };
        let others = self.open.entry(peer).or_default();
        self.inner
            .on_swarm_event(FromSwarm::ConnectionEstablished(ConnectionEstablished {
                peer_id: peer,
                connection_id: id,
                endpoint,
                failed_addresses: &[],
                other_established: *others,
            }));
        *others += 1;
        connection.stage = Stage::Open;
        self.crowd.retain(|waiting| *waiting != id);
        self.command(peer, id, Command::Open(Box::new(handler)));
        true
    }

    /// The greeting passed on both sides.
    pub(super) fn release(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.get(&id) {
            self.command(connection.peer, id, Command::Release);
        }
    }

    fn command(&mut self, peer_id: PeerId, id: ConnectionId, event: Command<THandler<B>>) {
        let handler = NotifyHandler::One(id);
        self.out.push_back(ToSwarm::NotifyHandler {
            peer_id,
            handler,
            event,
        });
    }

    fn enter(&mut self, id: ConnectionId, peer: PeerId, dialler: bool) -> Handler<THandler<B>> {
        let connection = Connection {
            peer,
            dialler,
            stage: Stage::Greeting,
            endpoint: None,
        };
        self.connections.insert(id, connection);
        let (least, most) = self.timeout;
        let handshake = self.begun.remove(&id).map(|begun| begun.elapsed());
        let slow = handshake.unwrap_or_default().saturating_mul(HANDSHAKES);
        Handler::new(dialler, slow.clamp(least, most.max(least)))
    }

    /// Gives a connection up that still greets.
    fn give_up(&mut self, id: ConnectionId, why: Dropped) {
        let Some(connection) = self.connections.get(&id) else {
            return;
        };
        if connection.stage == Stage::Open {
            return;
        }
        let (peer, dialler) = (connection.peer, connection.dialler);
        self.out
            .push_back(ToSwarm::GenerateEvent(AdmissionEvent::Dropped {
                peer,
                dialler,
                why,
            }));
        self.out.push_back(close(peer, id));
    }

    fn established(&mut self, event: &ConnectionEstablished<'_>) {
        let Some(connection) = self.connections.get_mut(&event.connection_id) else {
            return;
        };
        connection.endpoint = Some(event.endpoint.clone());
        if connection.dialler {
            return;
        }
        self.crowd.push_back(event.connection_id);
        while self.crowd.len() > self.most {
            if let Some(oldest) = self.crowd.pop_front() {
                self.give_up(oldest, Dropped::Crowded);
            }
        }
    }

    fn closed(&mut self, event: &ConnectionClosed<'_>) {
        let ConnectionClosed {
            peer_id,
            connection_id,
            endpoint,
            cause,
            ..
        } = *event;
        let Some(connection) = self.connections.remove(&connection_id) else {
            return;
        };
        if connection.stage == Stage::Greeting {
            self.crowd.retain(|waiting| *waiting != connection_id);
            if endpoint.is_dialer() {
                self.inner
                    .on_swarm_event(FromSwarm::DialFailure(DialFailure {
                        peer_id: Some(peer_id),
                        error: &DialError::Aborted,
                        connection_id,
                    }));
            }
            return;
        }
        let left = self.open.entry(peer_id).or_default();
        *left = left.saturating_sub(1);
        let remaining_established = *left;
        if remaining_established == 0 {
            self.open.remove(&peer_id);
        }
        self.inner
            .on_swarm_event(FromSwarm::ConnectionClosed(ConnectionClosed {
                peer_id,
                connection_id,
                endpoint,
                cause,
                remaining_established,
            }));
    }

    fn moved(&mut self, event: AddressChange<'_>) {
        let Some(connection) = self.connections.get_mut(&event.connection_id) else {
            return;
        };
        connection.endpoint = Some(event.new.clone());
        if connection.stage == Stage::Open {
            self.inner.on_swarm_event(FromSwarm::AddressChange(event));
        }
    }
}

/// Asks the inner behaviour for its handler, as the swarm would have when the connection was established.
fn make_handler<B: NetworkBehaviour>(
    inner: &mut B,
    id: ConnectionId,
    peer: PeerId,
    endpoint: &ConnectedPoint,
) -> Result<THandler<B>, ConnectionDenied> {
    match endpoint {
        ConnectedPoint::Dialer {
            address,
            role_override,
            port_use,
        } => inner.handle_established_outbound_connection(
            id,
            peer,
            address,
            *role_override,
            *port_use,
        ),
        ConnectedPoint::Listener {
            local_addr,
            send_back_addr,
        } => inner.handle_established_inbound_connection(id, peer, local_addr, send_back_addr),
    }
}

fn close<E, C>(peer_id: PeerId, id: ConnectionId) -> ToSwarm<E, C> {
    ToSwarm::CloseConnection {
        peer_id,
        connection: CloseConnection::One(id),
    }
}

impl<B: NetworkBehaviour> NetworkBehaviour for Admission<B> {
    type ConnectionHandler = Handler<THandler<B>>;
    type ToSwarm = AdmissionEvent<B::ToSwarm>;

    fn handle_pending_inbound_connection(
        &mut self,
        id: ConnectionId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        // Bounded by the doors, and taken off when it ends, either way.
        self.begun.insert(id, Instant::now());
        Ok(())
    }

    fn handle_established_inbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.enter(id, peer, false))
    }

    fn handle_pending_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: Option<PeerId>,
        addresses: &[Multiaddr],
        role: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        self.begun.insert(id, Instant::now());
        self.inner
            .handle_pending_outbound_connection(id, peer, addresses, role)
    }

    fn handle_established_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        role: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.enter(id, peer, role.is_dialer()))
    }

    fn on_swarm_event(&mut self, event: FromSwarm) {
        match event {
            FromSwarm::ConnectionEstablished(event) => self.established(&event),
            FromSwarm::ConnectionClosed(event) => self.closed(&event),
            FromSwarm::AddressChange(event) => self.moved(event),
            // An outsider's failed attempt; and of an own dial, another behaviour may have refused the connection after
            // this one let it in.
            FromSwarm::ListenFailure(event) => {
                self.begun.remove(&event.connection_id);
                self.connections.remove(&event.connection_id);
            }
            FromSwarm::DialFailure(event) => {
                self.begun.remove(&event.connection_id);
                self.connections.remove(&event.connection_id);
                self.inner.on_swarm_event(FromSwarm::DialFailure(event));
            }
            event => self.inner.on_swarm_event(event),
        }
    }

    fn on_connection_handler_event(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        event: THandlerOutEvent<Self>,
    ) {
        let event = match event {
            Told::Inner(event) => {
                let open = self
                    .connections
                    .get(&connection)
                    .is_some_and(|known| known.stage == Stage::Open);
                if open {
                    self.inner
                        .on_connection_handler_event(peer, connection, event);
                }
                return;
            }
            Told::Overdue => return self.give_up(connection, Dropped::Overdue),
            Told::NoHello(why) => return self.give_up(connection, Dropped::NoHello(why)),
            Told::Stray => AdmissionEvent::Stray,
            Told::Opened => AdmissionEvent::Opened { connection },
            Told::Hello(stream) => {
                let dialler = self
                    .connections
                    .get(&connection)
                    .is_some_and(|known| known.dialler);
                AdmissionEvent::Hello {
                    connection,
                    stream,
                    dialler,
                }
            }
        };
        self.out.push_back(ToSwarm::GenerateEvent(event));
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        if let Some(action) = self.out.pop_front() {
            return Poll::Ready(action);
        }
        self.inner
            .poll(cx)
            .map(|action| action.map_out(AdmissionEvent::Inner).map_in(Command::Inner))
    }
}
