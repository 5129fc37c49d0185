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
use libp2p::{PeerId, Swarm, Transport, dns, noise, quic, relay, swarm, tcp, yamux};

use super::MeshConfig;
use super::behaviour::{Outer, behaviour};
use super::error::MeshError;
use super::limits::{NEGOTIATING, QUIC_CONNECTION_BYTES, QUIC_STREAM_BYTES, Timing};
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
    let direct = named(|| direct(config, timing, mux.clone()))?;
    let transport = relayed
        .or_transport(direct)
        .map(|either, _| either.into_inner());
    // A handshake, ours or an outsider's, that takes longer than this is given up.
    let transport = TransportTimeout::new(transport, timing.dial).boxed();
    let behaviour = behaviour(config, timing, shared, relay_client)?;
    let settings = swarm::Config::with_tokio_executor()
        .with_idle_connection_timeout(timing.idle)
        .with_max_negotiating_inbound_streams(NEGOTIATING)
        .with_notify_handler_buffer_size(NonZeroUsize::MIN.saturating_add(15))
        .with_per_connection_event_buffer_size(8);
    Ok(Swarm::new(transport, behaviour, own, settings))
}

fn direct(
    config: &MeshConfig,
    timing: Timing,
    mux: yamux::Config,
) -> Result<Connections, MeshError> {
    let tcp = tcp::tokio::Transport::new(tcp::Config::default().nodelay(true))
        .upgrade(Version::V1Lazy)
        .authenticate(noise(&config.identity)?)
        .multiplex(mux)
        .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)));
    let mut settings = quic::Config::new(&config.identity);
    settings.handshake_timeout = timing.dial;
    settings.max_idle_timeout = u32::try_from(timing.idle.as_millis()).unwrap_or(u32::MAX);
    settings.keep_alive_interval = timing.idle / 4;
    settings.max_concurrent_stream_limit = u32::try_from(config.limits.streams).unwrap_or(u32::MAX);
    settings.max_stream_data = QUIC_STREAM_BYTES;
    settings.max_connection_data = QUIC_CONNECTION_BYTES;
    let quic = quic::tokio::Transport::new(settings)
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
