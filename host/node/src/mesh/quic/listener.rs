//! A socket that listens, as a task: who knocks there, and at which addresses it is reached.
//!
//! Each attempt is put to the [`Porch`] before anything is spent on it. What comes of it waits in a bounded queue for the
//! swarm; while that is full nobody is looked at, and quinn keeps only a few. Decides nothing. Made by the transport.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures::{FutureExt, StreamExt};
use if_watch::IfEvent;
use if_watch::tokio::IfWatcher;
use libp2p::core::transport::{ListenerId, TransportEvent};
use quinn::Incoming;
use tokio::sync::{mpsc, oneshot};

use super::connection::handshake;
use super::{Event, Expected, QuicError, address};
use crate::mesh::doors::{Knock, Porch};

/// See the module.
pub(super) struct Listener {
    pub(super) id: ListenerId,
    pub(super) at: SocketAddr,
    pub(super) endpoint: quinn::Endpoint,
    pub(super) porch: Porch,
    /// How long a handshake may take.
    pub(super) limit: Duration,
    pub(super) expected: Expected,
    pub(super) say: mpsc::Sender<Event>,
}

impl Listener {
    /// Until it is stopped, its socket fails, or nobody listens to it any more.
    pub(super) async fn serve(self, stopped: oneshot::Receiver<()>) {
        let reason = tokio::select! {
            ended = self.listen() => ended,
            _ = stopped => Ok(()),
        };
        self.endpoint.close(0_u32.into(), &[]);
        let listener_id = self.id;
        // Nobody is there only when the transport is gone.
        let _ = self
            .say
            .send(TransportEvent::ListenerClosed {
                listener_id,
                reason,
            })
            .await;
    }

    async fn listen(&self) -> Result<(), QuicError> {
        // On every address: those that there are, as they come and go.
        let mut interfaces = match self.at.ip().is_unspecified() {
            true => Some(IfWatcher::new()?),
            false => None,
        };
        if interfaces.is_none() && !self.tell(self.reached(self.at.ip(), true)).await {
            return Ok(());
        }
        loop {
            let event = tokio::select! {
                incoming = self.endpoint.accept() => match incoming {
                    Some(incoming) => self.judge(incoming),
                    None => return Ok(()),
                },
                change = changed(&mut interfaces) => self.moved(change),
            };
            if let Some(event) = event
                && !self.tell(event).await
            {
                return Ok(());
            }
        }
    }

    /// False where nobody listens to it any more.
    async fn tell(&self, event: Event) -> bool {
        self.say.send(event).await.is_ok()
    }

    fn reached(&self, ip: IpAddr, is_up: bool) -> Event {
        let listener_id = self.id;
        let listen_addr = address::format(SocketAddr::new(ip, self.at.port()));
        match is_up {
            true => TransportEvent::NewAddress {
                listener_id,
                listen_addr,
            },
            false => TransportEvent::AddressExpired {
                listener_id,
                listen_addr,
            },
        }
    }

    fn moved(&self, change: io::Result<IfEvent>) -> Option<Event> {
        let (ip, is_up) = match change {
            Ok(IfEvent::Up(net)) => (net.addr(), true),
            Ok(IfEvent::Down(net)) => (net.addr(), false),
            Err(error) => {
                return Some(TransportEvent::ListenerError {
                    listener_id: self.id,
                    error: error.into(),
                });
            }
        };
        let same_kind = ip.is_ipv4() == self.at.is_ipv4();
        same_kind.then(|| self.reached(ip, is_up))
    }

    /// Begins a handshake with whoever may have one.
    fn judge(&self, incoming: Incoming) -> Option<Event> {
        let from = incoming.remote_address();
        let waits = self.expected.take(from);
        if waits.is_none() {
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
        }
        let connecting = match incoming.accept() {
            Ok(connecting) => handshake(connecting, self.limit).boxed(),
            Err(error) => {
                // Anybody can send a datagram that is none.
                self.porch.failed();
                tracing::debug!(%from, %error, "a handshake that is none");
                return None;
            }
        };
        let upgrade = match waits {
            Some(waits) => waits.send(connecting).err()?,
            None => connecting,
        };
        Some(TransportEvent::Incoming {
            listener_id: self.id,
            upgrade,
            local_addr: address::format(self.at),
            send_back_addr: address::format(from),
        })
    }
}

/// The next change of an interface; never where none is watched.
async fn changed(interfaces: &mut Option<IfWatcher>) -> io::Result<IfEvent> {
    match interfaces {
        Some(interfaces) => match interfaces.next().await {
            Some(change) => change,
            None => std::future::pending().await,
        },
        None => std::future::pending().await,
    }
}
