//! What can go wrong with a mesh, for the user who started it and for who asks it for something.

use libp2p::Multiaddr;
use sykli_core::id::NodeId;
use sykli_core::wire::WireError;

/// Why the mesh does not do what was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum MeshError {
    /// It cannot listen there.
    #[error("cannot listen on {address}: {message}")]
    Listen {
        /// Where.
        address: Multiaddr,
        /// What the system said.
        message: String,
    },
    /// The transport cannot be set up.
    #[error("cannot set up the mesh's transport: {message}")]
    Transport {
        /// What failed.
        message: String,
    },
    /// The peer is not connected.
    #[error("{peer} is not connected")]
    NotConnected {
        /// Which.
        peer: NodeId,
    },
    /// As many streams as may be are open.
    #[error("too many transfers with {peer} at once")]
    Busy {
        /// With whom.
        peer: NodeId,
    },
    /// A stream was not opened.
    #[error("cannot open a stream to {peer}: {message}")]
    Stream {
        /// To whom.
        peer: NodeId,
        /// Why not.
        message: String,
    },
    /// The message fits into no frame.
    #[error("the message cannot be sent: {0}")]
    Message(#[from] WireError),
    /// The peer took too little of what it was sent; it is disconnected.
    #[error("{peer} is too slow to take its messages")]
    TooSlow {
        /// Which.
        peer: NodeId,
    },
    /// Too much is asked at once.
    #[error("the mesh has too much to do")]
    Overloaded,
    /// The mesh was stopped.
    #[error("the mesh is stopped")]
    Stopped,
}

impl MeshError {
    /// The stable code of this error.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            MeshError::Listen { .. } => "mesh::listen",
            MeshError::Transport { .. } => "mesh::transport",
            MeshError::NotConnected { .. } => "mesh::not-connected",
            MeshError::Busy { .. } => "mesh::busy",
            MeshError::Stream { .. } => "mesh::stream",
            MeshError::Message(_) => "mesh::message",
            MeshError::TooSlow { .. } => "mesh::too-slow",
            MeshError::Overloaded => "mesh::overloaded",
            MeshError::Stopped => "mesh::stopped",
        }
    }

    /// What the user can do.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            MeshError::Listen { .. } => {
                "see that no other program uses the port, or set `[node] listen` to another address, such as \
                 /ip4/0.0.0.0/udp/0/quic-v1"
            }
            MeshError::Transport { .. } => "see that this machine's network is up",
            MeshError::NotConnected { .. } => {
                "see that the other node runs and that one of the two can reach the other's address"
            }
            MeshError::Busy { .. } | MeshError::Overloaded => "try again in a moment",
            MeshError::Stream { .. } => "see that both nodes run the same version of sykli",
            MeshError::Message(_) => "shorten the names and labels of the task",
            MeshError::TooSlow { .. } => "see how good the link to that node is",
            MeshError::Stopped => "start the node again",
        }
        .to_owned()
    }
}
