//! Signatures of a world without keys: who signs is told, not proved. As good as real ones where nobody makes another's.
//!
//! Called by guests and liars, which sign, and by machines and checks, which look. Tests of the machine use them too.

use crate::consent::Claim;
use crate::id::{Digest, LeaseKey, NodeId};
use crate::receipt::{Receipt, SignedClaim};
use crate::signed::{SIGNATURE_BYTES, signing_input};

/// The mesh that all nodes belong to.
pub(crate) const MESH: NodeId = NodeId([0xee; 32]);

/// What `signer` signs.
pub(crate) fn signature(signer: NodeId, domain: &[u8], bytes: &[u8]) -> [u8; SIGNATURE_BYTES] {
    let input = signing_input(domain, bytes);
    let half = Digest::of(&[signer.0.as_slice(), &input].concat()).0;
    let mut whole = [0; SIGNATURE_BYTES];
    whole[..32].copy_from_slice(&half);
    whole[32..].copy_from_slice(&half);
    whole
}

/// Whether `signer` signed that.
pub(crate) fn verify(signer: NodeId, domain: &[u8], bytes: &[u8], given: &[u8]) -> bool {
    signature(signer, domain, bytes) == given
}

/// A claim of a lease, sealed by `signer` for that mesh.
pub(crate) fn sealed_in(
    mesh: Option<NodeId>,
    signer: NodeId,
    key: &LeaseKey,
    claim: Claim,
) -> Box<SignedClaim> {
    let receipt = Receipt {
        mesh,
        key: key.clone(),
        claim,
        engine: super::cast::ENGINE.into(),
        at_s: 1_800_000_000,
    };
    let sign = |domain: &[u8], bytes: &[u8]| signature(signer, domain, bytes);
    Box::new(SignedClaim::seal(receipt, sign))
}

/// A claim of a lease, sealed by `signer`.
pub(crate) fn sealed_by(signer: NodeId, key: &LeaseKey, claim: Claim) -> Box<SignedClaim> {
    sealed_in(Some(MESH), signer, key, claim)
}

/// A claim of a lease, sealed by its executor.
pub(crate) fn sealed(key: &LeaseKey, claim: Claim) -> Box<SignedClaim> {
    sealed_by(claim.executor, key, claim)
}
