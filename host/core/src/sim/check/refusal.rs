//! What may not flow between two nodes, stated from the protocol's page and not from the policy's code.

use crate::consent::{Capabilities, Offer};
use crate::policy::{ConsentMode, Policy, Requirements};
use crate::profile::{ArtifactLimit, Stealing};
use crate::sim::cast::Part;

/// What fits into an inline message.
const INLINE: u64 = 65_536;

/// The most compressed bytes that may flow for a task, both directions together.
pub(super) fn most_bytes(owner: &Part, executor: &Part) -> u64 {
    let each = [owner, executor].into_iter();
    each.map(|part| {
        profile_bytes(part.setup.profile.artifacts).min(part.setup.policy.max_artifact_bytes)
    })
    .min()
    .unwrap_or(0)
}

fn profile_bytes(limit: ArtifactLimit) -> u64 {
    match limit {
        ArtifactLimit::Unlimited => u64::MAX,
        ArtifactLimit::AtMost(bytes) => bytes,
        ArtifactLimit::Inline => 3 * INLINE,
        ArtifactLimit::StatusOnly => 0,
    }
}

/// Why an owner may not give a task to a peer that says this of itself; nothing where it may.
pub(super) fn owner_may_not(
    owner: &Part,
    peer: &Capabilities,
    needs: &Requirements,
) -> Option<&'static str> {
    if needs.secret {
        return Some("it uses a secret");
    }
    if !needs.mesh {
        return Some("it stays");
    }
    if owner.setup.profile.stealing != Stealing::Full {
        return Some("its owner gives nothing away");
    }
    if peer.stealing == Stealing::Disabled {
        return Some("the peer takes nothing");
    }
    if !needs.labels.iter().all(|label| peer.labels.contains(label)) {
        return Some("the peer lacks a label");
    }
    if needs.memory_mb > peer.memory_mb {
        return Some("the peer lacks memory");
    }
    if needs
        .engine
        .as_ref()
        .is_some_and(|engine| *engine != peer.engine)
    {
        return Some("the peer's engine is another");
    }
    too_much(
        [owner.setup.profile.artifacts, peer.artifacts],
        &owner.setup.policy,
        needs,
    )
}

/// Why an executor may not take what it was offered; nothing where it may.
pub(super) fn executor_may_not(
    executor: &Part,
    owner: &Capabilities,
    offer: &Offer,
    approved: bool,
) -> Option<&'static str> {
    let (setup, needs) = (&executor.setup, &offer.needs);
    match setup.policy.mode {
        ConsentMode::Never => return Some("its user never consents"),
        ConsentMode::Ask if !approved => return Some("its user has not said yes"),
        ConsentMode::Ask | ConsentMode::Policy => {}
    }
    if setup.profile.stealing == Stealing::Disabled {
        return Some("it takes nothing");
    }
    if !needs
        .imports
        .iter()
        .all(|import| setup.imports.contains(import))
    {
        return Some("it lacks an import");
    }
    if !needs
        .grants
        .iter()
        .all(|grant| setup.policy.grants.contains(grant))
    {
        return Some("it does not grant that");
    }
    if needs.memory_mb > setup.capabilities.memory_mb {
        return Some("it lacks memory");
    }
    if needs
        .engine
        .as_ref()
        .is_some_and(|engine| *engine != setup.capabilities.engine)
    {
        return Some("its engine is another");
    }
    too_much(
        [setup.profile.artifacts, owner.artifacts],
        &setup.policy,
        needs,
    )
}

/// By announced sizes; what the executor has already is counted as not flowing, so this may be too kind.
fn too_much(
    limits: [ArtifactLimit; 2],
    policy: &Policy,
    needs: &Requirements,
) -> Option<&'static str> {
    if limits.contains(&ArtifactLimit::StatusOnly) {
        return Some("nothing flows there");
    }
    let parts = [needs.component_bytes, needs.input_bytes, needs.output_bytes];
    if limits.contains(&ArtifactLimit::Inline) && parts.iter().any(|bytes| *bytes > INLINE) {
        return Some("it does not fit inline");
    }
    let cap = limits
        .into_iter()
        .map(profile_bytes)
        .fold(policy.max_artifact_bytes, u64::min);
    let unknown = needs
        .blobs
        .iter()
        .fold(0, |sum: u64, blob| sum.saturating_add(blob.bytes));
    let flows = needs
        .component_bytes
        .saturating_add(needs.input_bytes)
        .saturating_sub(unknown);
    (flows.saturating_add(needs.output_bytes) > cap).then_some("it is too large")
}
