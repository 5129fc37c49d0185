//! The protocols of a connection, in two layers: who may connect at all, and what admitted peers speak.
//!
//! Put together here and nowhere else; decides nothing. Called by [`super::swarm`].

use std::time::Duration;

use libp2p::swarm::NetworkBehaviour;
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::{autonat, dcutr, identify, mdns, memory_connection_limits, ping, relay};

use sykli_core::profile::Discovery;

use super::MeshConfig;
use super::admission::Admission;
use super::doors::Doors;
use super::error::MeshError;
use super::gossip::{self, Gossipsub};
use super::limits::{CIRCUIT_BYTES, CIRCUIT_LASTS, Timing};
use super::streams::Streams;

/// What `identify` says that this is.
const PROTOCOL: &str = "/sykli/1";

/// In front of the wall: asked before and when a connection is made.
#[derive(NetworkBehaviour)]
#[behaviour(prelude = "libp2p::swarm::derive_prelude")]
pub(super) struct Outer {
    doors: Doors,
    memory: memory_connection_limits::Behaviour,
    mdns: Toggle<mdns::tokio::Behaviour>,
    pub(super) admission: Admission<Inner>,
}

/// Behind the wall: with admitted peers only.
#[derive(NetworkBehaviour)]
#[behaviour(prelude = "libp2p::swarm::derive_prelude")]
pub(super) struct Inner {
    pub(super) streams: Streams,
    pub(super) gossip: Gossipsub,
    ping: ping::Behaviour,
    identify: identify::Behaviour,
    relay_client: relay::client::Behaviour,
    relay_server: Toggle<relay::Behaviour>,
    dcutr: Toggle<dcutr::Behaviour>,
    autonat_client: Toggle<autonat::v2::client::Behaviour>,
    autonat_server: Toggle<autonat::v2::server::Behaviour>,
}

/// All of it.
///
/// # Errors
/// When gossip or multicast cannot be set up.
pub(super) fn behaviour(
    config: &MeshConfig,
    timing: Timing,
    doors: Doors,
    relay_client: relay::client::Behaviour,
) -> Result<Outer, MeshError> {
    let limits = &config.limits;
    let memory = match limits.memory_bytes {
        Some(bytes) => memory_connection_limits::Behaviour::with_max_bytes(bytes),
        None => memory_connection_limits::Behaviour::with_max_percentage(0.5),
    };
    let inner = inner(config, timing, relay_client)?;
    Ok(Outer {
        doors,
        memory,
        mdns: mdns(config)?.into(),
        admission: Admission::new(
            inner,
            (timing.hello, timing.longest.hello),
            limits.ungreeted,
        ),
    })
}

fn inner(
    config: &MeshConfig,
    timing: Timing,
    relay_client: relay::client::Behaviour,
) -> Result<Inner, MeshError> {
    let keypair = &config.identity;
    let own = keypair.public().to_peer_id();
    let hidden = config.profile.is_hidden();
    let identify = identify::Config::new(PROTOCOL.to_owned(), keypair.public())
        .with_agent_version(format!("sykli/{}", env!("CARGO_PKG_VERSION")))
        .with_push_listen_addr_updates(!hidden)
        .with_hide_listen_addrs(hidden)
        .with_cache_size(0);
    // An answer is waited for as long as the slowest peer may take: it is the loop that minds how long a peer is silent.
    let ping = ping::Config::new()
        .with_interval(timing.idle / 4)
        .with_timeout(timing.longest.idle / 8 * 3);
    let open = |on: bool| on.then_some(());
    Ok(Inner {
        streams: Streams::new(timing.longest.dial),
        gossip: gossip::behaviour(keypair, &gossip::topic(&config.mesh), &config.profile)?,
        ping: ping::Behaviour::new(ping),
        identify: identify::Behaviour::new(identify),
        relay_client,
        relay_server: open(config.relay_server && !hidden)
            .map(|()| relay::Behaviour::new(own, relay_limits()))
            .into(),
        dcutr: open(!hidden).map(|()| dcutr::Behaviour::new(own)).into(),
        // On a network of one's own there is nothing to find out.
        autonat_client: open(config.profile.discovery == Discovery::Known)
            .map(|()| autonat::v2::client::Behaviour::default())
            .into(),
        autonat_server: open(!hidden)
            .map(|()| autonat::v2::server::Behaviour::default())
            .into(),
    })
}

/// Members only come this far; a circuit carries what two of them need to meet, not their bundles.
fn relay_limits() -> relay::Config {
    relay::Config {
        max_circuit_bytes: CIRCUIT_BYTES,
        max_circuit_duration: CIRCUIT_LASTS,
        reservation_duration: Duration::from_secs(3600),
        ..relay::Config::default()
    }
}

fn mdns(config: &MeshConfig) -> Result<Option<mdns::tokio::Behaviour>, MeshError> {
    if !config.mdns || config.profile.is_hidden() {
        return Ok(None);
    }
    let own = config.identity.public().to_peer_id();
    mdns::tokio::Behaviour::new(mdns::Config::default(), own)
        .map(Some)
        .map_err(|error| MeshError::Transport {
            message: format!("multicast: {error}"),
        })
}
