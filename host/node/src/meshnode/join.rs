//! Joining a mesh by a ticket: the membership's part and the transport's, put together.
//!
//! Decides nothing. Called by the command line.

use std::collections::BTreeSet;
use std::path::Path;

use libp2p::Multiaddr;

use super::{book, capabilities};
use crate::identity::Identity;
use crate::membership::{self, Joined, Membership, MembershipError, Rendezvous, Ticket};
use crate::mesh;
use crate::settings::MeshSettings;

/// Reaches the issuer of a ticket, joins, and remembers where it was.
///
/// # Errors
/// When the ticket does not hold, its issuer cannot be reached or refuses, or what it gave cannot be kept.
pub fn join(
    data: &Path,
    ticket: &Ticket,
    settings: &MeshSettings,
) -> Result<Joined, MembershipError> {
    let unreached = |message: String| MembershipError::Unreached { message };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(|error| unreached(error.to_string()))?;
    let said = capabilities(settings);
    let carry = async |rendezvous: Rendezvous| {
        let identity = Identity::open(data).map_err(|error| error.to_string())?;
        let gate = Membership::open(data, &identity, BTreeSet::new())
            .and_then(|membership| membership.gate(said.clone()))
            .map_err(|error| error.to_string())?;
        let answer = mesh::join(rendezvous, gate, settings.profile.clone()).await;
        answer.map_err(|error| error.to_string())
    };
    let joined = runtime.block_on(membership::join(data, ticket, said.clone(), carry))?;
    let addresses = ticket.addresses.iter();
    let addresses: Vec<Multiaddr> = addresses.filter_map(|text| text.parse().ok()).collect();
    book::remember(data, ticket.issuer, &addresses);
    Ok(joined)
}
