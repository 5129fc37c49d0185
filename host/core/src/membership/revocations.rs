//! Who belongs to a mesh no more, by the word of its mesh key. Lists are numbered, and only a greater number takes an
//! older list's place ([`super::supersedes`]). Called by the judge, and by the node that keeps the list.

use std::collections::BTreeSet;

use super::MAX_REVOKED;
use crate::dagcbor::{CodecError, Reader, Writer};
use crate::id::NodeId;
use crate::signed::{
    FormatError, Payload, SIGNATURE_BYTES, read_head, read_list, read_node, write_head,
};

/// A list of revocations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocations {
    /// Whose.
    pub mesh: NodeId,
    /// Rises with each list of that mesh; the first is 1.
    pub version: u64,
    /// The least epoch whose certificates still hold.
    pub epoch: u64,
    /// The nodes, at most [`MAX_REVOKED`].
    pub nodes: BTreeSet<NodeId>,
}

#[allow(private_interfaces)] // see the trait
impl Payload for Revocations {
    const DOMAIN: &'static [u8] = b"sykli/revocations/1";
    // A node takes 34 bytes, the rest less than 64.
    const MAX_BYTES: usize = MAX_REVOKED * 34 + SIGNATURE_BYTES + 64;

    fn write(&self, out: &mut Writer<'_>) {
        write_head(out, 4);
        out.bytes(&self.mesh.0);
        out.uint(self.version);
        out.uint(self.epoch);
        out.array(self.nodes.len());
        for node in &self.nodes {
            out.bytes(&node.0);
        }
    }

    fn read(input: &mut Reader<'_>) -> Result<Revocations, FormatError> {
        read_head(input, "a list of revocations", 4)?;
        let mesh = read_node(input)?;
        let version = input.uint()?;
        let epoch = input.uint()?;
        let mut nodes: BTreeSet<NodeId> = BTreeSet::new();
        for _ in 0..read_list(input, "revoked nodes", MAX_REVOKED)? {
            let at = input.at();
            let node = read_node(input)?;
            if nodes.last().is_some_and(|last| *last >= node) {
                let why = "nodes not sorted or not unique";
                return Err(CodecError::NotCanonical { at, why }.into());
            }
            nodes.insert(node);
        }
        Ok(Revocations {
            mesh,
            version,
            epoch,
            nodes,
        })
    }
}
