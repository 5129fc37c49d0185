//! Joining a mesh with a ticket, all but the connection: what to send to whom, and what to make of the answer.
//!
//! The secret goes to the issuer that the ticket names and to nobody else: proving that the other end is that node is
//! the transport's part. Called by `mesh join`.

use std::path::Path;
use std::sync::Arc;

use std::collections::BTreeSet;

use sykli_core::consent::Capabilities;
use sykli_core::id::NodeId;
use sykli_core::membership::Ticket;

use super::{Membership, MembershipError, MeshView, already};
use crate::identity::Identity;

/// What the transport is to do: reach the issuer, prove that it is the issuer, send one frame, hand back the answer.
#[derive(Clone, Debug)]
pub struct Rendezvous {
    /// As whom to connect.
    pub identity: Identity,
    /// Who must be at the other end.
    pub issuer: NodeId,
    /// Where it may be, best first; multiaddresses.
    pub addresses: Vec<Arc<str>>,
    /// The first frame of the greeting.
    pub frame: Vec<u8>,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    /// Who this node is, which may have been made for this.
    pub node: NodeId,
    /// Its membership.
    pub view: MeshView,
}

/// Joins the mesh that `ticket` leads into. `transport` carries the one frame there and its answer back.
///
/// # Errors
/// When this node belongs to a mesh already, the ticket has expired, the issuer cannot be reached or refuses, or what it
/// gives does not hold or cannot be kept.
pub async fn join<E: std::fmt::Display>(
    data: &Path,
    ticket: &Ticket,
    capabilities: Capabilities,
    transport: impl AsyncFnOnce(Rendezvous) -> Result<Vec<u8>, E>,
) -> Result<Joined, MembershipError> {
    let identity = Identity::open(data)?;
    let membership = Membership::open(data, &identity, BTreeSet::new())?;
    join_as(&membership, &identity, ticket, capabilities, transport).await
}

/// The same for a membership that is open.
pub(super) async fn join_as<E: std::fmt::Display>(
    membership: &Membership,
    identity: &Identity,
    ticket: &Ticket,
    capabilities: Capabilities,
    transport: impl AsyncFnOnce(Rendezvous) -> Result<Vec<u8>, E>,
) -> Result<Joined, MembershipError> {
    if let Some(mesh) = membership.mesh() {
        return Err(already(mesh));
    }
    if ticket.is_expired(membership.now()) {
        return Err(MembershipError::TicketExpired);
    }
    let gate = membership.gate(capabilities)?;
    let answer = transport(Rendezvous {
        identity: identity.clone(),
        issuer: ticket.issuer,
        addresses: ticket.addresses.clone(),
        frame: gate.join(ticket),
    });
    let answer = answer.await.map_err(|error| MembershipError::Unreached {
        message: error.to_string(),
    })?;
    gate.conclude_join(ticket.issuer, ticket, &answer)?;
    Ok(Joined {
        node: identity.node_id(),
        view: membership.view().ok_or(MembershipError::NotAMember)?,
    })
}
