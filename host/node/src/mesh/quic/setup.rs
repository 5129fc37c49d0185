//! How QUIC is set up: certificates of the node's key, windows, deadlines, and how much may wait to be looked at.
//!
//! Decides nothing later. Called by the transport.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;

use libp2p::identity::Keypair;
use libp2p::tls;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::crypto::{CryptoError, HmacKey};
use quinn::{
    ClientConfig, EndpointConfig, MtuDiscoveryConfig, ServerConfig, TransportConfig, VarInt,
};
use socket2::{Domain, Socket, Type};

use crate::mesh::error::MeshError;
use crate::mesh::limits::{
    QUIC_CONNECTION_BYTES, QUIC_DATAGRAM_BYTES, QUIC_STREAM_BYTES, Timing, UNGREETED_BYTES,
};

/// Attempts that wait to be looked at; more are not read. Each holds a datagram and a pair of keys, some 4 KiB.
const WAITING: usize = 256;
/// Bytes that may come for one of them meanwhile, and for all.
const WAITING_BYTES: u64 = 16 << 10;
const ALL_WAITING_BYTES: u64 = 1 << 20;
/// What the key of stateless resets is derived from.
const RESET_CONTEXT: &[u8] = b"sykli: QUIC, stateless reset";

/// See the module.
pub(super) struct Setup {
    pub(super) client: ClientConfig,
    server: ServerConfig,
    endpoint: EndpointConfig,
}

impl Setup {
    /// For connections of at most `streams` streams.
    ///
    /// # Errors
    /// When no certificate can be made of the key.
    pub(super) fn new(
        keypair: &Keypair,
        timing: Timing,
        streams: usize,
    ) -> Result<Setup, MeshError> {
        let client = tls::make_client_config(keypair, None).map_err(|error| failed(&error))?;
        let client = QuicClientConfig::try_from(client).map_err(|error| failed(&error))?;
        let server = tls::make_server_config(keypair).map_err(|error| failed(&error))?;
        let server = QuicServerConfig::try_from(server).map_err(|error| failed(&error))?;
        let mut client = ClientConfig::new(Arc::new(client));
        let own = transport(timing, streams, VarInt::from_u32(QUIC_CONNECTION_BYTES));
        client.transport_config(Arc::new(own));
        // Wider once it was greeted: see the connection.
        let window = u32::try_from(UNGREETED_BYTES).unwrap_or(QUIC_CONNECTION_BYTES);
        let theirs = transport(timing, streams, VarInt::from_u32(window));
        let mut server = ServerConfig::with_crypto(Arc::new(server));
        server
            .transport_config(Arc::new(theirs))
            .migration(false)
            .max_incoming(WAITING)
            .incoming_buffer_size(WAITING_BYTES)
            .incoming_buffer_size_total(ALL_WAITING_BYTES);
        // The same after a restart, so that peers of the process before learn of it at once.
        let mut endpoint = match keypair.derive_secret(RESET_CONTEXT) {
            Some(secret) => EndpointConfig::new(Arc::new(ResetKey(secret))),
            None => EndpointConfig::default(),
        };
        endpoint.supported_versions(vec![1]);
        endpoint
            .max_udp_payload_size(QUIC_DATAGRAM_BYTES)
            .map_err(|error| failed(&error))?;
        Ok(Setup {
            client,
            server,
            endpoint,
        })
    }

    /// An endpoint on a socket, which answers who knocks where it `listens`. To be called where tokio runs.
    pub(super) fn endpoint(&self, socket: UdpSocket, listens: bool) -> io::Result<quinn::Endpoint> {
        let server = listens.then(|| self.server.clone());
        let runtime = Arc::new(quinn::TokioRuntime);
        quinn::Endpoint::new(self.endpoint.clone(), server, socket, runtime)
    }
}

fn failed(error: &impl std::fmt::Display) -> MeshError {
    MeshError::Transport {
        message: format!("QUIC: {error}"),
    }
}

fn transport(timing: Timing, streams: usize, window: VarInt) -> TransportConfig {
    // Of the two ends' idle timeouts the shorter one holds: the loop minds what the profiles allow, once it knows them.
    let idle = u32::try_from(timing.longest.idle.as_millis()).unwrap_or(u32::MAX);
    let mut mtu = MtuDiscoveryConfig::default();
    mtu.upper_bound(QUIC_DATAGRAM_BYTES);
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .max_concurrent_bidi_streams(VarInt::from_u32(u32::try_from(streams).unwrap_or(u32::MAX)))
        .datagram_receive_buffer_size(None)
        .keep_alive_interval(Some(timing.idle / 4))
        .max_idle_timeout(Some(VarInt::from_u32(idle).into()))
        .allow_spin(false)
        .stream_receive_window(VarInt::from_u32(QUIC_STREAM_BYTES))
        .receive_window(window)
        .mtu_discovery_config(Some(mtu));
    transport
}

/// A socket that listens there; on IPv6 for IPv6 alone.
pub(super) fn bind(at: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(at), Type::DGRAM, None)?;
    if at.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&at.into())?;
    Ok(socket.into())
}

/// Makes the tokens by which a peer knows that this node has forgotten a connection.
struct ResetKey([u8; 32]);

impl ResetKey {
    fn tag(&self, data: &[u8]) -> [u8; 32] {
        *blake3::keyed_hash(&self.0, data).as_bytes()
    }
}

impl HmacKey for ResetKey {
    fn sign(&self, data: &[u8], out: &mut [u8]) {
        for (to, from) in out.iter_mut().zip(self.tag(data)) {
            *to = from;
        }
    }

    fn signature_len(&self) -> usize {
        32
    }

    fn verify(&self, data: &[u8], signature: &[u8]) -> Result<(), CryptoError> {
        // Compared in constant time.
        let theirs = <[u8; 32]>::try_from(signature).map_err(|_| CryptoError)?;
        match blake3::Hash::from_bytes(self.tag(data)) == blake3::Hash::from_bytes(theirs) {
            true => Ok(()),
            false => Err(CryptoError),
        }
    }
}
