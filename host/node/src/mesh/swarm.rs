//! The swarm: TCP with Noise and Yamux, QUIC, relayed connections and names, with the deadlines of the profile.
//!
//! Never listens or dials by itself. Called when a mesh starts.

use std::num::NonZeroUsize;
use std::sync::Arc;

use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::Boxed;
use libp2p::core::transport::timeout::TransportTimeout;
use libp2p::core::upgrade::Version;
use libp2p::identity::Keypair;
use libp2p::{PeerId, Swarm, Transport, dns, noise, relay, swarm, tcp, yamux};

use super::MeshConfig;
use super::behaviour::{Outer, behaviour};
use super::doors::{Doors, Porch};
use super::error::MeshError;
use super::leash::Leashes;
use super::limits::{NEGOTIATING, Timing};
use super::quic::Quic;
use super::shared::Shared;

type Connections = Boxed<(PeerId, StreamMuxerBox)>;

/// Builds it.
///
/// # Errors
/// When a transport or a protocol cannot be set up.
pub(super) fn build(
    config: &MeshConfig,
    timing: Timing,
    shared: &Arc<Shared>,
) -> Result<Swarm<Outer>, MeshError> {
    let own = config.identity.public().to_peer_id();
    let (relayed, relay_client) = relay::client::new(own);
    let mux = muxer(config.limits.streams);
    let relayed = relayed
        .upgrade(Version::V1Lazy)
        .authenticate(noise(&config.identity)?)
        .multiplex(mux.clone())
        .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)));
    let (doors, porch) = Doors::new(config.limits.clone(), Arc::clone(shared));
    let direct = named(|| direct(config, timing, mux.clone(), &porch))?;
    let transport = relayed
        .or_transport(direct)
        .map(|either, _| either.into_inner());
    // A handshake that takes longer is given up: an own one by the own profile; an outsider may have any.
    let transport = TransportTimeout::with_ingoing_timeout(transport, timing.longest.dial);
    let transport = TransportTimeout::with_outgoing_timeout(transport, timing.dial).boxed();
    let behaviour = behaviour(config, timing, doors, relay_client)?;
    let settings = swarm::Config::with_tokio_executor()
        .with_idle_connection_timeout(timing.idle)
        .with_max_negotiating_inbound_streams(NEGOTIATING)
        // Whoever opens a stream names its only protocol and goes on: no round trip before the first word.
        .with_substream_upgrade_protocol_override(Version::V1Lazy)
        .with_notify_handler_buffer_size(NonZeroUsize::MIN.saturating_add(15))
        .with_per_connection_event_buffer_size(8);
    Ok(Swarm::new(transport, behaviour, own, settings))
}

fn direct(
    config: &MeshConfig,
    timing: Timing,
    mux: yamux::Config,
    porch: &Porch,
) -> Result<Connections, MeshError> {
    let leashes = Leashes::default();
    let greeted = leashes.clone();
    let tcp = tcp::tokio::Transport::new(tcp::Config::default().nodelay(true))
        .map(move |stream, point| leashes.put(stream, &point))
        .upgrade(Version::V1Lazy)
        .authenticate(noise(&config.identity)?)
        .multiplex(mux)
        .map(move |(peer, muxer), point| {
            (peer, StreamMuxerBox::new(greeted.streams(muxer, &point)))
        });
    let quic = Quic::new(
        &config.identity,
        timing,
        config.limits.streams,
        porch.clone(),
    )?
    .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)));
    Ok(quic
        .or_transport(tcp)
        .map(|either, _| either.into_inner())
        .boxed())
}

/// The direct transports with names resolved as the system does; where it cannot say how, addresses have to do.
fn named(direct: impl Fn() -> Result<Connections, MeshError>) -> Result<Connections, MeshError> {
    match dns::tokio::Transport::system(direct()?) {
        Ok(named) => Ok(named.boxed()),
        Err(error) => {
            tracing::warn!(%error, "names of hosts cannot be resolved: only addresses can be dialled");
            direct()
        }
    }
}

fn noise(keypair: &Keypair) -> Result<noise::Config, MeshError> {
    noise::Config::new(keypair).map_err(|error| MeshError::Transport {
        message: format!("encryption: {error}"),
    })
}

fn muxer(streams: usize) -> yamux::Config {
    let mut config = yamux::Config::default();
    config.set_max_num_streams(streams);
    config
}
