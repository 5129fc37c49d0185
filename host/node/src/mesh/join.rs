//! Joining a mesh: a connection to the issuer of a ticket, on which a certificate is asked for instead of a greeting.
//!
//! The transport proves who the other end is before the frame is sent, for it holds the ticket's secret. It judges neither
//! the ticket nor the answer ([`crate::membership::join`] does). Called by the command line.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;
use sykli_core::id::NodeId;
use sykli_core::profile::Profile;
use tokio::sync::{mpsc, oneshot};

use super::{Mesh, MeshConfig, MeshError, MeshLimits};
use crate::db::lock;
use crate::identity;
use crate::membership::{Gate, Rendezvous};

/// Events that may wait; nobody reads them.
const EVENTS: usize = 64;
/// How often it is looked whether every way has failed.
const LOOK: Duration = Duration::from_millis(50);

/// What is asked, of whom, and where the answer goes.
#[derive(Clone)]
pub struct Joining {
    pub(super) issuer: NodeId,
    pub(super) frame: Arc<[u8]>,
    waits: Arc<Mutex<Option<oneshot::Sender<Vec<u8>>>>>,
}

impl Joining {
    pub(super) fn answer(&self, reply: Vec<u8>) {
        if let Some(waits) = lock(&self.waits).take() {
            // Nobody waits any more only when the time was up.
            let _sent = waits.send(reply);
        }
    }
}

/// Carries the frame of a rendezvous to its issuer, and brings the answer. Inside a runtime. `gate` lets nobody in.
///
/// # Errors
/// When the issuer cannot be reached, or does not answer in time.
pub async fn join(
    rendezvous: Rendezvous,
    gate: Gate,
    profile: Profile,
) -> Result<Vec<u8>, MeshError> {
    let issuer = rendezvous.issuer;
    let (waits, answer) = oneshot::channel();
    let joining = Joining {
        issuer,
        frame: rendezvous.frame.into(),
        waits: Arc::new(Mutex::new(Some(waits))),
    };
    let limit = Duration::from_millis(profile.dial_timeout_ms()) * 2;
    let (events, _unread) = mpsc::channel(EVENTS);
    let mesh = Mesh::start(
        MeshConfig {
            identity: rendezvous.identity.keypair().clone(),
            mesh: "joining".to_owned(),
            gate,
            joining: Some(joining),
            profile,
            listen: Vec::new(),
            known: Vec::new(),
            mdns: false,
            relay_server: false,
            limits: MeshLimits::default(),
        },
        events,
    )?;
    let unreached = MeshError::NotConnected { peer: issuer };
    let Ok(peer) = identity::peer_id(issuer) else {
        return Err(unreached);
    };
    let mut ways = 0;
    for address in &rendezvous.addresses {
        if let Ok(address) = address.parse::<Multiaddr>() {
            mesh.dial_address(address.with(Protocol::P2p(peer)));
            ways += 1;
        }
    }
    let failed = async {
        while mesh.counters().failed_outgoing < ways {
            tokio::time::sleep(LOOK).await;
        }
    };
    let answered = tokio::select! {
        answered = tokio::time::timeout(limit, answer) => answered.ok().and_then(Result::ok),
        () = failed => None,
    };
    mesh.stop().await;
    answered.ok_or(unreached)
}
