//! One connection's side of the wall: only the greeting until it passed, only the protocols behind it from then on.
//!
//! Three stages. **Greeting**: the dialler asks for one stream, the listener takes one; a timer runs. **Open**: the inner
//! handler is there and answers what the peer asks, but asks nothing itself, since the peer may not have opened its own
//! door yet and would refuse for good (ping and gossip never ask twice). **Released**: it asks too.
//!
//! Never reads or judges a greeting: its stream is handed out. Called by the swarm, commanded by the behaviour.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use libp2p::swarm::handler::{
    ConnectionEvent, ConnectionHandler, ConnectionHandlerEvent, DialUpgradeError,
    FullyNegotiatedInbound, FullyNegotiatedOutbound, ListenUpgradeError,
};
use libp2p::swarm::{Stream, StreamUpgradeError, SubstreamProtocol};
use tokio::time::Sleep;

use super::door::{Door, Passed};

/// What the behaviour tells a connection.
pub(in crate::mesh) enum Command<H: ConnectionHandler> {
    /// The greeting passed on this side: here is what is behind it.
    Open(Box<H>),
    /// It passed on both: ask away.
    Release,
    /// For what is behind it.
    Inner(H::FromBehaviour),
}

/// What a connection tells the behaviour.
pub(in crate::mesh) enum Told<T> {
    /// The greeting's stream.
    Hello(Stream),
    /// A second greeting, or one from the wrong side: dropped.
    Stray,
    /// The peer refused to greet.
    NoHello(String),
    /// Nothing was open in time.
    Overdue,
    /// What was commanded with [`Command::Open`] is in effect.
    Opened,
    /// From what is behind it.
    Inner(T),
}

impl<H: ConnectionHandler> fmt::Debug for Command<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Command::Open(_) => f.write_str("Open"),
            Command::Release => f.write_str("Release"),
            Command::Inner(inner) => f.debug_tuple("Inner").field(inner).finish(),
        }
    }
}

impl<T: fmt::Debug> fmt::Debug for Told<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Told::Hello(_) => f.write_str("Hello"),
            Told::Stray => f.write_str("Stray"),
            Told::NoHello(why) => f.debug_tuple("NoHello").field(why).finish(),
            Told::Overdue => f.write_str("Overdue"),
            Told::Opened => f.write_str("Opened"),
            Told::Inner(inner) => f.debug_tuple("Inner").field(inner).finish(),
        }
    }
}

/// What a stream was asked for.
pub(in crate::mesh) enum Purpose<I> {
    Hello,
    Inner(I),
}

type Request<H> = SubstreamProtocol<
    Door<<H as ConnectionHandler>::OutboundProtocol>,
    Purpose<<H as ConnectionHandler>::OutboundOpenInfo>,
>;

enum Stage<H: ConnectionHandler> {
    Greeting {
        dialler: bool,
        /// The dialler asked for its stream.
        asked: bool,
        /// The stream was handed out.
        taken: bool,
        /// None once it rang.
        deadline: Option<Pin<Box<Sleep>>>,
    },
    Open {
        inner: Box<H>,
        /// None once released; what the inner handler asked for before that.
        held: Option<VecDeque<Request<H>>>,
    },
}

/// The handler. Keeps its connection alive until the inner handler decides about that.
pub(in crate::mesh) struct Handler<H: ConnectionHandler> {
    stage: Stage<H>,
    /// Before what the inner handler says; at most a few.
    told: VecDeque<Told<H::ToBehaviour>>,
    /// Requests that were held, on their way out.
    asking: VecDeque<Request<H>>,
    timeout: Duration,
}

impl<H: ConnectionHandler> Handler<H> {
    /// One for a new connection that has `timeout` for its greeting.
    pub(super) fn new(dialler: bool, timeout: Duration) -> Handler<H> {
        Handler {
            stage: Stage::Greeting {
                dialler,
                asked: false,
                taken: false,
                deadline: Some(Box::pin(tokio::time::sleep(timeout))),
            },
            told: VecDeque::new(),
            asking: VecDeque::new(),
            timeout,
        }
    }

    fn inner(&mut self) -> Option<&mut H> {
        match &mut self.stage {
            Stage::Open { inner, .. } => Some(inner),
            Stage::Greeting { .. } => None,
        }
    }

    /// A greeting's stream was negotiated, by whichever side.
    fn take_hello(&mut self, stream: Stream, outbound: bool) {
        match &mut self.stage {
            Stage::Greeting { dialler, taken, .. } if *dialler == outbound && !*taken => {
                *taken = true;
                self.told.push_back(Told::Hello(stream));
            }
            _ => {
                // A peer may open many; telling of one is enough, and keeps this queue short.
                if self.told.is_empty() {
                    self.told.push_back(Told::Stray);
                }
            }
        }
    }

    fn hello_failed(&mut self, why: String) {
        if matches!(self.stage, Stage::Greeting { .. }) {
            self.told.push_back(Told::NoHello(why));
        }
    }

    fn poll_greeting(&mut self, cx: &mut Context<'_>) -> Option<Event<H>> {
        let Stage::Greeting {
            dialler,
            asked,
            deadline,
            ..
        } = &mut self.stage
        else {
            return None;
        };
        if *dialler && !*asked {
            *asked = true;
            let protocol =
                SubstreamProtocol::new(Door::Hello, Purpose::Hello).with_timeout(self.timeout);
            return Some(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol });
        }
        let rang = deadline
            .as_mut()
            .is_some_and(|sleep| sleep.as_mut().poll(cx).is_ready());
        if rang {
            *deadline = None;
            return Some(ConnectionHandlerEvent::NotifyBehaviour(Told::Overdue));
        }
        None
    }

    fn poll_open(&mut self, cx: &mut Context<'_>) -> Option<Event<H>> {
        let Stage::Open { inner, held } = &mut self.stage else {
            return None;
        };
        while let Poll::Ready(event) = inner.poll(cx) {
            match event {
                ConnectionHandlerEvent::NotifyBehaviour(event) => {
                    return Some(ConnectionHandlerEvent::NotifyBehaviour(Told::Inner(event)));
                }
                ConnectionHandlerEvent::ReportRemoteProtocols(support) => {
                    return Some(ConnectionHandlerEvent::ReportRemoteProtocols(support));
                }
                ConnectionHandlerEvent::OutboundSubstreamRequest { protocol } => {
                    let protocol = protocol.map_upgrade(Door::Inner).map_info(Purpose::Inner);
                    match held {
                        None => {
                            return Some(ConnectionHandlerEvent::OutboundSubstreamRequest {
                                protocol,
                            });
                        }
                        // Bounded by what the inner protocols ask for unprompted: a stream each.
                        Some(held) => held.push_back(protocol),
                    }
                }
                // There is no other kind in this version of libp2p.
                _ => {}
            }
        }
        None
    }
}

type Event<H> = ConnectionHandlerEvent<
    Door<<H as ConnectionHandler>::OutboundProtocol>,
    Purpose<<H as ConnectionHandler>::OutboundOpenInfo>,
    Told<<H as ConnectionHandler>::ToBehaviour>,
>;

impl<H: ConnectionHandler> ConnectionHandler for Handler<H> {
    type FromBehaviour = Command<H>;
    type ToBehaviour = Told<H::ToBehaviour>;
    type InboundProtocol = Door<H::InboundProtocol>;
    type OutboundProtocol = Door<H::OutboundProtocol>;
    type InboundOpenInfo = Purpose<H::InboundOpenInfo>;
    type OutboundOpenInfo = Purpose<H::OutboundOpenInfo>;

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol, Self::InboundOpenInfo> {
        match &self.stage {
            Stage::Greeting { .. } => {
                SubstreamProtocol::new(Door::Hello, Purpose::Hello).with_timeout(self.timeout)
            }
            Stage::Open { inner, .. } => inner
                .listen_protocol()
                .map_upgrade(Door::Inner)
                .map_info(Purpose::Inner),
        }
    }

    fn connection_keep_alive(&self) -> bool {
        match &self.stage {
            Stage::Greeting { .. } => true,
            Stage::Open { inner, held } => held.is_some() || inner.connection_keep_alive(),
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Event<H>> {
        if let Some(told) = self.told.pop_front() {
            return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(told));
        }
        if let Some(protocol) = self.asking.pop_front() {
            return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol });
        }
        let event = self.poll_greeting(cx).or_else(|| self.poll_open(cx));
        event.map_or(Poll::Pending, Poll::Ready)
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<Option<Self::ToBehaviour>> {
        match self.inner() {
            Some(inner) => inner.poll_close(cx).map(|event| event.map(Told::Inner)),
            None => Poll::Ready(None),
        }
    }

    fn on_behaviour_event(&mut self, command: Command<H>) {
        match command {
            Command::Open(inner) => {
                if matches!(self.stage, Stage::Greeting { .. }) {
                    let held = Some(VecDeque::new());
                    self.stage = Stage::Open { inner, held };
                    self.told.push_back(Told::Opened);
                }
            }
            Command::Release => {
                if let Stage::Open { held, .. } = &mut self.stage {
                    self.asking.extend(held.take().into_iter().flatten());
                }
            }
            Command::Inner(event) => {
                if let Some(inner) = self.inner() {
                    inner.on_behaviour_event(event);
                }
            }
        }
    }

    fn on_connection_event(
        &mut self,
        event: ConnectionEvent<
            Self::InboundProtocol,
            Self::OutboundProtocol,
            Self::InboundOpenInfo,
            Self::OutboundOpenInfo,
        >,
    ) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(negotiated) => self.negotiated_in(negotiated),
            ConnectionEvent::FullyNegotiatedOutbound(negotiated) => self.negotiated_out(negotiated),
            ConnectionEvent::DialUpgradeError(DialUpgradeError { info, error }) => match info {
                Purpose::Hello => self.hello_failed(why(&error)),
                Purpose::Inner(info) => {
                    self.pass(ConnectionEvent::DialUpgradeError(DialUpgradeError {
                        info,
                        error,
                    }))
                }
            },
            ConnectionEvent::ListenUpgradeError(ListenUpgradeError {
                info: Purpose::Inner(info),
                error,
            }) => {
                self.pass(ConnectionEvent::ListenUpgradeError(ListenUpgradeError {
                    info,
                    error,
                }));
            }
            // A greeting that did not come about: the behaviour's deadline ends the connection.
            ConnectionEvent::ListenUpgradeError(_) => {}
            ConnectionEvent::AddressChange(change) => {
                self.pass(ConnectionEvent::AddressChange(change));
            }
            ConnectionEvent::LocalProtocolsChange(change) => {
                self.pass(ConnectionEvent::LocalProtocolsChange(change));
            }
            ConnectionEvent::RemoteProtocolsChange(change) => {
                self.pass(ConnectionEvent::RemoteProtocolsChange(change));
            }
            _ => {}
        }
    }
}

/// An inner handler's own kind of event.
type InnerEvent<'a, H> = ConnectionEvent<
    'a,
    <H as ConnectionHandler>::InboundProtocol,
    <H as ConnectionHandler>::OutboundProtocol,
    <H as ConnectionHandler>::InboundOpenInfo,
    <H as ConnectionHandler>::OutboundOpenInfo,
>;

impl<H: ConnectionHandler> Handler<H> {
    fn pass(&mut self, event: InnerEvent<'_, H>) {
        if let Some(inner) = self.inner() {
            inner.on_connection_event(event);
        }
    }

    fn negotiated_in(
        &mut self,
        negotiated: FullyNegotiatedInbound<Door<H::InboundProtocol>, Purpose<H::InboundOpenInfo>>,
    ) {
        let FullyNegotiatedInbound { protocol, info } = negotiated;
        match (protocol, info) {
            (Passed::Hello(stream), _) => self.take_hello(stream, false),
            (Passed::Inner(protocol), Purpose::Inner(info)) => {
                self.pass(ConnectionEvent::FullyNegotiatedInbound(
                    FullyNegotiatedInbound { protocol, info },
                ));
            }
            (Passed::Inner(_), Purpose::Hello) => {}
        }
    }

    fn negotiated_out(
        &mut self,
        negotiated: FullyNegotiatedOutbound<
            Door<H::OutboundProtocol>,
            Purpose<H::OutboundOpenInfo>,
        >,
    ) {
        let FullyNegotiatedOutbound { protocol, info } = negotiated;
        match (protocol, info) {
            (Passed::Hello(stream), _) => self.take_hello(stream, true),
            (Passed::Inner(protocol), Purpose::Inner(info)) => {
                self.pass(ConnectionEvent::FullyNegotiatedOutbound(
                    FullyNegotiatedOutbound { protocol, info },
                ));
            }
            (Passed::Inner(_), Purpose::Hello) => {}
        }
    }
}

/// Why a greeting's stream was not to be had, for the log.
fn why<E>(error: &StreamUpgradeError<E>) -> String {
    match error {
        StreamUpgradeError::Timeout => "no answer in time".to_owned(),
        StreamUpgradeError::NegotiationFailed => {
            "it does not speak this version of the protocol".to_owned()
        }
        StreamUpgradeError::Apply(_) => "the stream failed".to_owned(),
        StreamUpgradeError::Io(error) => error.to_string(),
    }
}
