//! One connection's consent and bulk streams.
//!
//! Keeps the connection alive: who greeted stays connected until one side closes. Bounds nothing itself: the muxer bounds
//! the streams, the connection's event buffer how many are handed out. Called by the swarm.

use std::collections::VecDeque;
use std::future::{Ready, ready};
use std::task::{Context, Poll};
use std::time::Duration;

use libp2p::core::upgrade::{InboundUpgrade, OutboundUpgrade, UpgradeInfo};
use libp2p::swarm::handler::{
    ConnectionEvent, ConnectionHandler, ConnectionHandlerEvent, DialUpgradeError,
    FullyNegotiatedInbound, FullyNegotiatedOutbound,
};
use libp2p::swarm::{Stream, StreamUpgradeError, SubstreamProtocol};
use std::convert::Infallible;

use super::{Kind, OpenError, Opened};

/// Open this.
#[derive(Debug)]
pub(in crate::mesh) struct Request {
    pub(super) kind: Kind,
    pub(super) opened: Opened,
}

/// The peer opened this.
#[derive(Debug)]
pub(in crate::mesh) struct Inbound {
    pub(super) kind: Kind,
    pub(super) stream: Stream,
}

/// A protocol's name that knows what it is for.
#[derive(Clone)]
pub(in crate::mesh) struct Named(Kind, libp2p::StreamProtocol);

impl Named {
    fn of(kind: Kind) -> Named {
        Named(kind, kind.protocol())
    }
}

impl AsRef<str> for Named {
    fn as_ref(&self) -> &str {
        self.1.as_ref()
    }
}

/// Either of the two, or one of them.
pub(in crate::mesh) struct Ours(Option<Kind>);

impl UpgradeInfo for Ours {
    type Info = Named;
    type InfoIter = Vec<Named>;

    fn protocol_info(&self) -> Vec<Named> {
        match self.0 {
            Some(kind) => vec![Named::of(kind)],
            None => Kind::ALL.map(Named::of).to_vec(),
        }
    }
}

impl InboundUpgrade<Stream> for Ours {
    type Output = (Kind, Stream);
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Infallible>>;

    fn upgrade_inbound(self, stream: Stream, Named(kind, _): Named) -> Self::Future {
        ready(Ok((kind, stream)))
    }
}

impl OutboundUpgrade<Stream> for Ours {
    type Output = Stream;
    type Error = Infallible;
    type Future = Ready<Result<Stream, Infallible>>;

    fn upgrade_outbound(self, stream: Stream, _: Named) -> Self::Future {
        ready(Ok(stream))
    }
}

/// The handler.
pub(in crate::mesh) struct Handler {
    timeout: Duration,
    requests: VecDeque<Request>,
    inbound: VecDeque<Inbound>,
}

impl Handler {
    pub(super) fn new(timeout: Duration) -> Handler {
        Handler {
            timeout,
            requests: VecDeque::new(),
            inbound: VecDeque::new(),
        }
    }
}

impl ConnectionHandler for Handler {
    type FromBehaviour = Request;
    type ToBehaviour = Inbound;
    type InboundProtocol = Ours;
    type OutboundProtocol = Ours;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = Opened;

    fn listen_protocol(&self) -> SubstreamProtocol<Ours> {
        SubstreamProtocol::new(Ours(None), ()).with_timeout(self.timeout)
    }

    fn connection_keep_alive(&self) -> bool {
        true
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ConnectionHandlerEvent<Ours, Opened, Inbound>> {
        if let Some(inbound) = self.inbound.pop_front() {
            return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(inbound));
        }
        if let Some(Request { kind, opened }) = self.requests.pop_front() {
            let protocol =
                SubstreamProtocol::new(Ours(Some(kind)), opened).with_timeout(self.timeout);
            return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol });
        }
        Poll::Pending
    }

    fn on_behaviour_event(&mut self, request: Request) {
        self.requests.push_back(request);
    }

    fn on_connection_event(&mut self, event: ConnectionEvent<'_, Ours, Ours, (), Opened>) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound {
                protocol: (kind, stream),
                ..
            }) => self.inbound.push_back(Inbound { kind, stream }),
            // Whoever asked may be gone: the stream is dropped then, which resets it.
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound {
                protocol,
                info,
            }) => drop(info.send(Ok(protocol))),
            ConnectionEvent::DialUpgradeError(DialUpgradeError { info, error }) => {
                let error = match error {
                    StreamUpgradeError::Timeout => OpenError::Timeout,
                    StreamUpgradeError::NegotiationFailed => OpenError::Unsupported,
                    StreamUpgradeError::Io(error) => OpenError::Io(error.to_string()),
                    StreamUpgradeError::Apply(never) => match never {},
                };
                drop(info.send(Err(error)));
            }
            _ => {}
        }
    }
}
