//! The two protocols of ours behind the wall: `/sykli/consent/1`, a stream a pair, and `/sykli/blob/1`, a stream a
//! transfer.
//!
//! Opens a stream on the connection that the hub names and hands out those that peers open, with the connection that
//! they came on: libp2p-stream knows neither, picks a connection at random, and lets one peer's flood crowd out another's
//! streams. Decides nothing. Called by the swarm; opened by the hub.

mod handler;

use std::collections::VecDeque;
use std::task::{Context, Poll};
use std::time::Duration;

use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, NotifyHandler, Stream, THandler,
    THandlerInEvent, THandlerOutEvent, ToSwarm,
};
use libp2p::{Multiaddr, PeerId, StreamProtocol};
use tokio::sync::oneshot;

use handler::{Handler, Inbound, Request};

/// What a stream is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Consent,
    Blob,
}

impl Kind {
    const ALL: [Kind; 2] = [Kind::Consent, Kind::Blob];

    /// Its protocol's name.
    pub(super) const fn protocol(self) -> StreamProtocol {
        match self {
            Kind::Consent => StreamProtocol::new("/sykli/consent/1"),
            Kind::Blob => StreamProtocol::new("/sykli/blob/1"),
        }
    }
}

/// Why a stream was not opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum OpenError {
    #[error("no answer in time")]
    Timeout,
    #[error("it does not speak this version of the protocol")]
    Unsupported,
    #[error("{0}")]
    Io(String),
}

/// Where an opened stream goes.
pub(super) type Opened = oneshot::Sender<Result<Stream, OpenError>>;

/// A stream that a peer opened.
#[derive(Debug)]
pub(super) struct InboundStream {
    pub connection: ConnectionId,
    pub kind: Kind,
    pub stream: Stream,
}

/// Opens and takes streams.
pub(super) struct Streams {
    timeout: Duration,
    out: VecDeque<ToSwarm<InboundStream, Request>>,
}

impl Streams {
    /// A stream's negotiation may take `timeout`.
    pub(super) fn new(timeout: Duration) -> Streams {
        Streams {
            timeout,
            out: VecDeque::new(),
        }
    }

    /// Opens one. `opened` is dropped unanswered where the connection is gone.
    pub(super) fn open(
        &mut self,
        peer_id: PeerId,
        connection: ConnectionId,
        kind: Kind,
        opened: Opened,
    ) {
        self.out.push_back(ToSwarm::NotifyHandler {
            peer_id,
            handler: NotifyHandler::One(connection),
            event: Request { kind, opened },
        });
    }
}

impl NetworkBehaviour for Streams {
    type ConnectionHandler = Handler;
    type ToSwarm = InboundStream;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(Handler::new(self.timeout))
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(Handler::new(self.timeout))
    }

    fn on_swarm_event(&mut self, _: FromSwarm) {}

    fn on_connection_handler_event(
        &mut self,
        _: PeerId,
        connection: ConnectionId,
        event: THandlerOutEvent<Self>,
    ) {
        let Inbound { kind, stream } = event;
        self.out.push_back(ToSwarm::GenerateEvent(InboundStream {
            connection,
            kind,
            stream,
        }));
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        match self.out.pop_front() {
            Some(action) => Poll::Ready(action),
            None => Poll::Pending,
        }
    }
}
