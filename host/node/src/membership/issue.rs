//! Giving certificates: the first one for a ticket, and new ones for those that are running out.
//!
//! Decides how long each holds: as long as any may, but never longer than its issuer's own, which is shown beside it.
//! Never widens anything in renewing. Called by the membership and its gate.

use sykli_core::id::NodeId;
use sykli_core::membership::{
    Certificate, Chain, MAX_LIFE_S, Refusal, Secret, Signed, judge_chain,
};

use super::{Known, Membership, MembershipError, tickets};
use crate::durable::Lock;
use crate::identity::{self, Identity};

/// Where the mesh key is at hand, this node's own certificate is kept at most this old, in seconds: what it issues then
/// holds for nearly as long as anything may.
const OWN_AGE_S: u64 = 24 * 60 * 60;

/// `certificate`, signed by the mesh key.
pub(super) fn by_mesh_key(key: &Identity, certificate: Certificate) -> Chain {
    let leaf = Signed::new(certificate, |domain, bytes| key.signature(domain, bytes));
    Chain { leaf, issuer: None }
}

/// The same for a new while.
pub(super) fn renewed_by_mesh_key(
    key: &Identity,
    own: &Certificate,
    now: u64,
    epoch: u64,
) -> Chain {
    by_mesh_key(key, own.renewed(now, u64::MAX, epoch))
}

impl Membership {
    /// The key of that mesh.
    pub(super) fn mesh_key(&self, mesh: NodeId) -> Result<Identity, MembershipError> {
        let path = self.shared.folder.mesh_key_file();
        match self.shared.folder.mesh_key()? {
            None => Err(MembershipError::NoMeshKey { path }),
            Some(key) if key.node_id() != mesh => Err(MembershipError::ForeignMeshKey { path }),
            Some(key) => Ok(key),
        }
    }

    /// Renews this node's own certificate where the mesh key is here and it is a day old.
    pub(super) fn keep_own_fresh(&self) -> Result<(), MembershipError> {
        let old = |known: &Known| {
            let now = self.now();
            known.certificate().is_some_and(|own| {
                now.saturating_sub(own.issued) > OWN_AGE_S || own.epoch < known.epoch()
            })
        };
        let folder = &self.shared.folder;
        if !old(&self.known()) || !folder.mesh_key_file().exists() {
            return Ok(());
        }
        let lock = folder.lock()?;
        let known = self.fresh(&lock)?;
        let Some(own) = known.certificate().filter(|_| old(&known)) else {
            return Ok(());
        };
        let key = self.mesh_key(own.mesh)?;
        folder.store_chain(&renewed_by_mesh_key(&key, own, self.now(), known.epoch()))
    }

    /// What `peer` gets for a ticket's secret. The ticket is burnt, durably, before the certificate is made.
    pub(super) fn grant(&self, peer: NodeId, secret: &Secret) -> Result<Chain, Refusal> {
        self.keep_own_fresh().map_err(unavailable)?;
        let folder = &self.shared.folder;
        let lock = folder.lock().map_err(unavailable)?;
        let known = self.fresh(&lock).map_err(unavailable)?;
        let own = self.issuing(&known)?;
        let revoked = |list: &sykli_core::membership::Revocations| list.nodes.contains(&peer);
        if known.blocked.contains(&peer) {
            return Err(Refusal::Blocked);
        }
        if known.revocations().is_some_and(revoked) {
            return Err(Refusal::Revoked);
        }
        let now = self.now();
        // From here on the ticket is this peer's, whatever happens.
        let grant = tickets::burn(&folder.tickets_file(), secret.digest(), peer, now)?;
        let certificate = Certificate {
            mesh: own.mesh,
            peer,
            roles: grant.roles,
            ceiling: grant.ceiling.max(own.ceiling),
            issued: now,
            not_after: now.saturating_add(MAX_LIFE_S),
            epoch: known.epoch(),
        };
        self.sign(&known, &lock, certificate)
    }

    /// This node's own certificate, if it lets it issue others now.
    fn issuing<'a>(&self, known: &'a Known) -> Result<&'a Certificate, Refusal> {
        let chain = known.chain.as_ref().ok_or(Refusal::NotAnIssuer)?;
        let own = chain.claimed();
        if !own.roles.issuer {
            return Err(Refusal::NotAnIssuer);
        }
        let (list, now) = (known.revocations(), self.now());
        judge_chain(
            own.mesh,
            self.node_id(),
            chain,
            list,
            now,
            &identity::verify,
        )?;
        Ok(own)
    }

    /// New certificates for a member whose own are running out. Nothing where this node may not, or need not.
    pub(super) fn renew(&self, peer: NodeId, chain: &Chain) -> Option<Chain> {
        let (old, now) = (chain.claimed(), self.now());
        if !old.is_fading(now) || old.peer != peer {
            return None;
        }
        let known = self.known();
        let own = self.issuing(&known).ok()?;
        // Somebody else's mesh, or a certificate that does not hold, is not renewed.
        let judged = judge_chain(
            own.mesh,
            peer,
            chain,
            known.revocations(),
            now,
            &identity::verify,
        );
        if judged.is_err() {
            return None;
        }
        let lock = self.shared.folder.lock().ok()?;
        let certificate = old.renewed(now, u64::MAX, known.epoch());
        let renewed = self.sign(&known, &lock, certificate).ok()?;
        // An issuer that runs out itself has nothing longer to give.
        (renewed.claimed().not_after > old.not_after).then_some(renewed)
    }

    /// Signs a certificate: an issuer's with the mesh key, a member's with this node's own.
    fn sign(&self, known: &Known, _lock: &Lock, wanted: Certificate) -> Result<Chain, Refusal> {
        let chain = known.chain.as_ref().ok_or(Refusal::NotAnIssuer)?;
        let own = chain.claimed();
        if wanted.roles.issuer {
            let key = self.mesh_key(own.mesh);
            return Ok(by_mesh_key(&key.map_err(|_| Refusal::NotAnIssuer)?, wanted));
        }
        if chain.issuer.is_some() {
            return Err(Refusal::NotAnIssuer);
        }
        let wanted = Certificate {
            not_after: wanted.not_after.min(own.not_after),
            ..wanted
        };
        let identity = &self.shared.identity;
        let leaf = Signed::new(wanted, |domain, bytes| identity.signature(domain, bytes));
        Ok(Chain {
            leaf,
            issuer: Some(chain.leaf.clone()),
        })
    }

    /// Takes new certificates for this node in: the same place in the same mesh, for longer. Whether it did.
    pub(super) fn take_renewed(&self, offered: &Chain) -> Result<bool, MembershipError> {
        let longer = |known: &Known| {
            let new = offered.claimed();
            known.certificate().is_some_and(|own| {
                let same = (new.mesh, new.roles, new.ceiling) == (own.mesh, own.roles, own.ceiling);
                let judged = judge_chain(
                    own.mesh,
                    self.node_id(),
                    offered,
                    known.revocations(),
                    self.now(),
                    &identity::verify,
                );
                same && new.not_after > own.not_after && judged.is_ok()
            })
        };
        if !longer(&self.known()) {
            return Ok(false);
        }
        let folder = &self.shared.folder;
        let lock = folder.lock()?;
        if !longer(&self.fresh(&lock)?) {
            return Ok(false);
        }
        folder.store_chain(offered)?;
        Ok(true)
    }
}

/// What the other end is told of trouble with this node's disk; the user is told the rest.
fn unavailable(error: MembershipError) -> Refusal {
    tracing::warn!(%error, "no certificate can be given");
    Refusal::Unavailable
}
