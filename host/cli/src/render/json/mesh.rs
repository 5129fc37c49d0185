//! The documents of `id`, `mesh` and `peers`. Part of [`super`]; peers are written as their ids, times as seconds since
//! 1970.

use schemars::JsonSchema;
use serde::Serialize;

/// Who this node is: `sykli.id/1`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct IdDoc {
    /// Which document this is.
    #[schemars(extend("const" = "sykli.id/1"))]
    pub(crate) schema: &'static str,
    /// Its peer id.
    pub(crate) peer: String,
    /// The mesh that it belongs to.
    pub(crate) mesh: Option<String>,
}

/// This node's membership: `sykli.mesh/1`. What `mesh show`, `create`, `join`, `leave` and `revoke` write.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct MeshDoc {
    /// Which document this is.
    #[schemars(extend("const" = "sykli.mesh/1"))]
    pub(crate) schema: &'static str,
    /// This node; none where it has no identity yet.
    pub(crate) peer: Option<String>,
    /// None where it belongs to no mesh.
    pub(crate) membership: Option<MembershipDoc>,
}

/// A membership.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct MembershipDoc {
    /// The mesh: the id of its key.
    pub(crate) mesh: String,
    /// `member`, `issuer`, `relay`.
    pub(crate) roles: Vec<String>,
    /// The most generous profile that this node may run under.
    pub(crate) ceiling: String,
    pub(crate) issued_unix_s: u64,
    pub(crate) not_after_unix_s: u64,
    /// Certificates of an earlier epoch than the mesh's are void.
    pub(crate) epoch: u64,
    /// The peer that signed the certificate; none where the mesh key did.
    pub(crate) issuer: Option<String>,
    /// Why others would refuse this node now: the code.
    pub(crate) refused: Option<String>,
    /// Whether the mesh key is on this machine.
    pub(crate) holds_mesh_key: bool,
    /// The number of the newest list of revocations; 0 where there is none.
    pub(crate) revocations_version: u64,
    /// The peers on it.
    pub(crate) revoked: Vec<String>,
    /// Tickets that were given out here and can still be used.
    pub(crate) open_tickets: u64,
}

/// An invitation: `sykli.invite/1`. It holds the ticket's secret.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct InviteDoc {
    /// Which document this is.
    #[schemars(extend("const" = "sykli.invite/1"))]
    pub(crate) schema: &'static str,
    /// The line to hand on.
    pub(crate) ticket: String,
    pub(crate) mesh: String,
    /// The peer that takes it: this node.
    pub(crate) issuer: String,
    pub(crate) expires_unix_s: u64,
    /// Where the issuer can be reached.
    pub(crate) addresses: Vec<String>,
    /// What the new node will be.
    pub(crate) roles: Vec<String>,
    /// The most generous profile that it may run under.
    pub(crate) ceiling: String,
}

/// Whom this user trusts and blocks: `sykli.peer-lists/1`. What `peers trust` and `peers block` write.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct PeerListsDoc {
    /// Which document this is.
    #[schemars(extend("const" = "sykli.peer-lists/1"))]
    pub(crate) schema: &'static str,
    /// The peer that the command was about.
    pub(crate) peer: String,
    /// Whether the command changed anything.
    pub(crate) changed: bool,
    pub(crate) trusted: Vec<String>,
    pub(crate) blocked: Vec<String>,
}
