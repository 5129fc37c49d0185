//! The judgement on who greets: pure, of what was said, what this node knows, and the time. Decides who is let in and as
//! what; never remembers anything. Called by the node's gate for every greeting, and again when lists change.

use std::collections::BTreeSet;

use super::certificate::{Certificate, Chain};
use super::frame::Hello;
use super::refusal::Refusal;
use super::revocations::Revocations;
use super::{MAX_LIFE_S, SKEW_S};
use crate::consent::Capabilities;
use crate::id::NodeId;
use crate::profile::{Profile, ProfileKind};
use crate::signed::{Signed, Verify};

/// What the judging node knows.
#[derive(Clone, Copy, Debug)]
pub struct House<'a> {
    /// Its mesh, if it belongs to one.
    pub mesh: Option<NodeId>,
    /// That mesh's newest list, already checked.
    pub revocations: Option<&'a Revocations>,
    /// Nodes that its user trusts, members or not.
    pub trusted: &'a BTreeSet<NodeId>,
    /// Nodes that its user refuses, members or not.
    pub blocked: &'a BTreeSet<NodeId>,
    /// Whether strangers are let in, untrusted.
    pub open: bool,
}

/// As what a node is let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// A member, or listed by the user. Else a stranger in an open mesh.
    pub trusted: bool,
    /// Its certificate holds.
    pub member: bool,
    /// Others may be reached through it.
    pub relay: bool,
    /// The most generous profile that it may run under; `None` for one without a certificate.
    pub ceiling: Option<ProfileKind>,
    /// Until when it is let in, in seconds since 1970; `None` for as long as the lists say so.
    pub until: Option<u64>,
}

/// Judges a greeting of `from`, as whom the transport has proved the other end. `now` in seconds since 1970.
///
/// The user's own refusal comes first, the mesh's revocation second: neither is outweighed by a list of trust. A listed
/// node is let in whatever its certificates are; they then only decide whether it is more than listed.
///
/// # Errors
/// Why it is not let in.
pub fn admit(
    house: &House<'_>,
    from: NodeId,
    hello: &Hello,
    now: u64,
    verify: Verify<'_>,
) -> Result<Standing, Refusal> {
    if house.blocked.contains(&from) {
        return Err(Refusal::Blocked);
    }
    if house
        .revocations
        .is_some_and(|list| list.nodes.contains(&from))
    {
        return Err(Refusal::Revoked);
    }
    let listed = house.trusted.contains(&from);
    let shown = house.mesh.zip(hello.chain.as_ref()).map(|(mesh, chain)| {
        judge_chain(mesh, from, chain, house.revocations, now, verify).map(|()| chain.claimed())
    });
    match shown {
        Some(Ok(certificate)) => as_member(certificate, &hello.capabilities),
        _ if listed => Ok(Standing {
            trusted: true,
            ..STRANGER
        }),
        Some(Err(refusal)) => Err(refusal),
        None if house.open => Ok(STRANGER),
        None => Err(Refusal::Stranger),
    }
}

/// The lowest tier.
const STRANGER: Standing = Standing {
    trusted: false,
    member: false,
    relay: false,
    ceiling: None,
    until: None,
};

fn as_member(certificate: &Certificate, said: &Capabilities) -> Result<Standing, Refusal> {
    if !within_ceiling(certificate.ceiling, said) {
        return Err(Refusal::AboveCeiling);
    }
    Ok(Standing {
        trusted: true,
        member: true,
        relay: certificate.roles.relay,
        ceiling: Some(certificate.ceiling),
        until: Some(certificate.not_after.saturating_add(SKEW_S)),
    })
}

/// Whether what a node says of itself is no more generous than that profile: its row, its stealing, its artifacts.
#[must_use]
pub fn within_ceiling(ceiling: ProfileKind, said: &Capabilities) -> bool {
    let most = Profile::of(ceiling);
    said.profile >= ceiling
        && said.stealing >= most.stealing
        && said.artifacts.most_bytes() <= most.artifacts.most_bytes()
}

/// Judges whether `chain` makes `peer` a member of `mesh`, now.
///
/// # Errors
/// Why it does not.
pub fn judge_chain(
    mesh: NodeId,
    peer: NodeId,
    chain: &Chain,
    revocations: Option<&Revocations>,
    now: u64,
    verify: Verify<'_>,
) -> Result<(), Refusal> {
    let leaf = chain.claimed();
    if leaf.mesh != mesh {
        return Err(Refusal::WrongMesh);
    }
    if leaf.peer != peer {
        return Err(Refusal::Forged);
    }
    let signer = match &chain.issuer {
        None => mesh,
        Some(issuer) => {
            judge_issuer(mesh, leaf, issuer, verify)?;
            holds(issuer.claimed(), revocations, now)?;
            issuer.claimed().peer
        }
    };
    if !chain.leaf.is_by(signer, verify) {
        return Err(Refusal::Forged);
    }
    holds(leaf, revocations, now)?;
    if leaf.roles.member {
        Ok(())
    } else {
        Err(Refusal::Stranger)
    }
}

/// Whether `issuer` was made one by the mesh key, and `leaf` gives no more than it may.
fn judge_issuer(
    mesh: NodeId,
    leaf: &Certificate,
    issuer: &Signed<Certificate>,
    verify: Verify<'_>,
) -> Result<(), Refusal> {
    let own = issuer.claimed();
    if own.mesh != mesh {
        return Err(Refusal::WrongMesh);
    }
    // Only the mesh key makes issuers: a member's own certificate in this place ends here.
    if !issuer.is_by(mesh, verify) {
        return Err(Refusal::Forged);
    }
    if !own.roles.issuer || leaf.roles.issuer || leaf.ceiling < own.ceiling {
        return Err(Refusal::Escalated);
    }
    Ok(())
}

/// Whether a certificate holds now, whoever signed it.
fn holds(
    certificate: &Certificate,
    revocations: Option<&Revocations>,
    now: u64,
) -> Result<(), Refusal> {
    let revoked = revocations.is_some_and(|list| {
        list.nodes.contains(&certificate.peer) || certificate.epoch < list.epoch
    });
    if revoked {
        return Err(Refusal::Revoked);
    }
    if certificate.life_s() > MAX_LIFE_S {
        return Err(Refusal::TooLongLived);
    }
    if now.saturating_add(SKEW_S) < certificate.issued {
        return Err(Refusal::NotYetValid);
    }
    if now > certificate.not_after.saturating_add(SKEW_S) {
        return Err(Refusal::Expired);
    }
    Ok(())
}

/// Whether `offered` is to take the place of `current`: of this mesh, newer, never of an earlier epoch, and signed by the
/// mesh key. Signatures are looked at last: what is old costs nothing.
#[must_use]
pub fn supersedes(
    mesh: NodeId,
    current: Option<&Revocations>,
    offered: &Signed<Revocations>,
    verify: Verify<'_>,
) -> bool {
    let list = offered.claimed();
    let newer =
        current.is_none_or(|current| list.version > current.version && list.epoch >= current.epoch);
    list.mesh == mesh && newer && offered.is_by(mesh, verify)
}
