//! What a mesh tells its node.

use libp2p::Multiaddr;
use sykli_core::consent::{Beacon, Capabilities, Message, Offence};
use sykli_core::id::NodeId;
use sykli_core::profile::Link;

use super::blob::BlobStream;

/// Something happened. Those of one peer come in order: `Up`, then whatever it says, then `Down`.
#[derive(Debug)]
pub enum MeshEvent {
    /// A peer was greeted and can be spoken to.
    Up {
        /// Who.
        peer: NodeId,
        /// What it says of itself.
        capabilities: Box<Capabilities>,
        /// What its link is like, as far as it was measured.
        link: Link,
        /// It is a member, or listed in the configuration.
        trusted: bool,
        /// Where it is.
        address: Multiaddr,
        /// Through another node: for greetings and messages, too narrow for bundles.
        relayed: bool,
    },
    /// It can no longer be spoken to. What was sent to it and not answered may be lost. Followed by another `Up` at once
    /// where a second connection takes over.
    Down {
        /// Who.
        peer: NodeId,
    },
    /// Its link was measured: it changed by more than a fifth, or ten seconds have passed.
    Measured {
        /// Whose.
        peer: NodeId,
        /// What it is like.
        link: Link,
    },
    /// It said something.
    Message {
        /// Who.
        peer: NodeId,
        /// What.
        message: Message,
    },
    /// A node's beacon came by gossip. The node that it is about signed it; it may be one that is not connected.
    Gossip(Beacon),
    /// A peer did what no honest node does. Its `Down` follows.
    Offended {
        /// Who.
        peer: NodeId,
        /// What.
        offence: Offence,
    },
    /// A peer opened a bulk stream.
    Blob {
        /// Who.
        peer: NodeId,
        /// The stream.
        stream: BlobStream,
    },
    /// Somebody was not let in, or did not let this node in.
    Refused {
        /// Who.
        peer: NodeId,
        /// Why, for the log.
        why: String,
    },
    /// The mesh listens there.
    Listening {
        /// Where.
        address: Multiaddr,
    },
}
