//! A socket that listens: who knocks there, and at which addresses it can be reached.
//!
//! Each attempt is put to the [`Porch`] before anything is spent on it. Adapted from libp2p-quic, © Parity Technologies,
//! MIT licence. Called by the transport.

use std::collections::HashSet;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{FutureExt, Stream, ready};
use if_watch::IfEvent;
use if_watch::tokio::IfWatcher;
use libp2p::core::transport::{ListenerId, TransportEvent};
use quinn::Incoming;

use super::connection::{Connecting, connect};
use super::{QuicError, address};
use crate::mesh::doors::{Knock, Porch};

/// Attempts that are looked at in one go, so that a flood of them leaves time for everything else.
const AT_ONCE: usize = 32;

type Event = TransportEvent<Connecting, QuicError>;

/// See the module.
pub(super) struct Listener {
    id: ListenerId,
    at: SocketAddr,
    endpoint: quinn::Endpoint,
    /// The same socket, to punch holes with.
    socket: UdpSocket,
    porch: Porch,
    handshake: Duration,
    /// The next attempt.
    accept: BoxFuture<'static, Option<Incoming>>,
    /// Where it listens on every address: which there are.
    interfaces: Option<IfWatcher>,
    addresses: HashSet<IpAddr>,
    /// Said before anything else.
    pending: Option<Event>,
    closed: bool,
    /// To say that it was closed.
    waker: Option<Waker>,
}

impl Listener {
    pub(super) fn new(
        id: ListenerId,
        socket: UdpSocket,
        endpoint: quinn::Endpoint,
        handshake: Duration,
        porch: Porch,
    ) -> io::Result<Listener> {
        let at = socket.local_addr()?;
        let everywhere = at.ip().is_unspecified();
        let interfaces = everywhere.then(IfWatcher::new).transpose()?;
        let pending = (!everywhere).then(|| TransportEvent::NewAddress {
            listener_id: id,
            listen_addr: address::format(at),
        });
        Ok(Listener {
            id,
            at,
            accept: next(&endpoint),
            endpoint,
            socket,
            porch,
            handshake,
            interfaces,
            addresses: (!everywhere).then_some(at.ip()).into_iter().collect(),
            pending,
            closed: false,
            waker: None,
        })
    }

    pub(super) fn id(&self) -> ListenerId {
        self.id
    }

    pub(super) fn endpoint(&self) -> quinn::Endpoint {
        self.endpoint.clone()
    }

    pub(super) fn socket(&self) -> io::Result<UdpSocket> {
        self.socket.try_clone()
    }

    /// Whether `remote` can be reached from its port.
    pub(super) fn reaches(&self, remote: IpAddr) -> bool {
        let near = |ip: &IpAddr| ip.is_loopback();
        !self.closed
            && self.at.is_ipv4() == remote.is_ipv4()
            && (!remote.is_loopback() || self.addresses.iter().any(near))
    }

    /// Listens no more, which is said next.
    pub(super) fn close(&mut self, reason: Result<(), QuicError>) {
        if self.closed {
            return;
        }
        self.endpoint.close(0_u32.into(), &[]);
        self.pending = Some(TransportEvent::ListenerClosed {
            listener_id: self.id,
            reason,
        });
        self.closed = true;
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// The next change of an address that it listens on.
    fn poll_interfaces(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        let Some(interfaces) = self.interfaces.as_mut() else {
            return Poll::Pending;
        };
        let listener_id = self.id;
        loop {
            let (ip, is_up) = match ready!(interfaces.poll_if_event(cx)) {
                Ok(IfEvent::Up(network)) => (network.addr(), true),
                Ok(IfEvent::Down(network)) => (network.addr(), false),
                Err(error) => {
                    let error = error.into();
                    return Poll::Ready(TransportEvent::ListenerError { listener_id, error });
                }
            };
            if ip.is_ipv4() != self.at.is_ipv4() {
                continue;
            }
            let listen_addr = address::format(SocketAddr::new(ip, self.at.port()));
            return Poll::Ready(match is_up {
                true => {
                    self.addresses.insert(ip);
                    TransportEvent::NewAddress {
                        listener_id,
                        listen_addr,
                    }
                }
                false => {
                    self.addresses.remove(&ip);
                    TransportEvent::AddressExpired {
                        listener_id,
                        listen_addr,
                    }
                }
            });
        }
    }

    /// Begins a handshake with whoever may have one.
    fn judge(&self, incoming: Incoming) -> Option<Event> {
        let from = incoming.remote_address();
        let proved = incoming.remote_address_validated() || !incoming.may_retry();
        match self.porch.judge(from.ip(), proved) {
            Knock::Begin => {}
            Knock::Prove => {
                // It fails only where the address is proved.
                let _sent = incoming.retry();
                return None;
            }
            Knock::Ignore => {
                incoming.ignore();
                return None;
            }
        }
        let connecting = match incoming.accept() {
            Ok(connecting) => connecting,
            Err(error) => {
                // Anybody can send a datagram that is none.
                self.porch.failed();
                tracing::debug!(%from, %error, "a handshake that is none");
                return None;
            }
        };
        Some(TransportEvent::Incoming {
            listener_id: self.id,
            upgrade: connect(connecting, self.handshake).boxed(),
            local_addr: address::format(self.at),
            send_back_addr: address::format(from),
        })
    }
}

fn next(endpoint: &quinn::Endpoint) -> BoxFuture<'static, Option<Incoming>> {
    let endpoint = endpoint.clone();
    async move { endpoint.accept().await }.boxed()
}

impl Stream for Listener {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        for _ in 0..AT_ONCE {
            if let Some(event) = self.pending.take() {
                return Poll::Ready(Some(event));
            }
            if self.closed {
                return Poll::Ready(None);
            }
            if let Poll::Ready(event) = self.poll_interfaces(cx) {
                return Poll::Ready(Some(event));
            }
            let Poll::Ready(incoming) = self.accept.poll_unpin(cx) else {
                self.waker = Some(cx.waker().clone());
                return Poll::Pending;
            };
            let Some(incoming) = incoming else {
                self.close(Ok(()));
                continue;
            };
            self.accept = next(&self.endpoint);
            if let Some(event) = self.judge(incoming) {
                return Poll::Ready(Some(event));
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
