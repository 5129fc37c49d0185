//! Who this node is: an Ed25519 key, and how its public half is named in the two worlds, ours and the transport's.
//!
//! Never writes a key anywhere and never prints one. Called by the mesh.

use libp2p::PeerId;
use libp2p::identity::{Keypair, PublicKey, ed25519};
use sykli_core::id::NodeId;

/// Why a node has no peer id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// The 32 bytes are no point of the curve.
    #[error("{node} is no Ed25519 public key")]
    NotAKey {
        /// What was given.
        node: NodeId,
    },
}

/// A key pair.
#[derive(Clone)]
pub struct Identity {
    keypair: Keypair,
    node: NodeId,
}

impl Identity {
    /// A new one, in memory.
    #[must_use]
    pub fn generated() -> Identity {
        let pair = ed25519::Keypair::generate();
        let node = NodeId(pair.public().to_bytes());
        Identity {
            keypair: Keypair::from(pair),
            node,
        }
    }

    /// What peers call it.
    #[must_use]
    pub fn node_id(&self) -> NodeId {
        self.node
    }

    /// What the transport proves itself with.
    #[must_use]
    pub fn keypair(&self) -> &Keypair {
        &self.keypair
    }
}

/// The transport's name of a node.
///
/// # Errors
/// When its bytes are no public key.
pub fn peer_id(node: NodeId) -> Result<PeerId, IdentityError> {
    let key =
        ed25519::PublicKey::try_from_bytes(&node.0).map_err(|_| IdentityError::NotAKey { node })?;
    Ok(PublicKey::from(key).to_peer_id())
}

/// The node that a transport's name means; none where its key is not an Ed25519 one.
#[must_use]
pub fn node_id(peer: &PeerId) -> Option<NodeId> {
    // An Ed25519 peer id is an identity multihash of the key's protobuf.
    let key = PublicKey::try_decode_protobuf(peer.as_ref().digest()).ok()?;
    let key = key.try_into_ed25519().ok()?;
    Some(NodeId(key.to_bytes()))
}
