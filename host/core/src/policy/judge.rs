//! The two judges: [`may_offer`] at the owner, [`may_accept`] at the executor.
//!
//! Each checks in a fixed, documented order and answers with the first reason against, so that the same facts always give
//! the same answer. Neither has state or knows of the other's policy; what the other end says of itself is believed, for a
//! lie costs only the liar's time. Called by the two consent machines, and by nobody else.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::moving::{Sizes, artifact_check};
use super::{ConsentMode, HostState, Policy, Reason, Requirements};
use crate::consent::{Capabilities, Offer};
use crate::profile::{ArtifactLimit, Profile, Stealing};

/// The owner, as it judges whether to offer.
#[derive(Clone, Copy, Debug)]
pub struct OwnSide<'a> {
    /// Its profile.
    pub profile: &'a Profile,
    /// Its user's policy.
    pub policy: &'a Policy,
}

/// The peer that an owner thinks of.
#[derive(Clone, Copy, Debug)]
pub struct PeerSide<'a> {
    /// What it says of itself.
    pub capabilities: &'a Capabilities,
    /// A member whom the owner trusts; a stranger otherwise.
    pub trusted: bool,
    /// Offers and leases of this owner's that it has.
    pub outstanding: u32,
    /// How many it may have.
    pub may_hold: u32,
}

/// What would move, and on whose initiative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moving {
    /// What the peer lacks of the bundle, in compressed bytes.
    pub missing_bytes: u64,
    /// What the outputs are expected to be, in compressed bytes.
    pub output_bytes: u64,
    /// The peer asked for work; otherwise it is offered unasked.
    pub asked: bool,
}

/// Whether an owner may offer a task to a peer.
///
/// In this order: what the task says of itself (secret, then to stay, or not to be taken by who asks); which way work flows
/// at either end (only a `Full` owner gives any away; a peer must be `Full`, or `ReceiveOnly` where it did not ask);
/// trust (a stranger gets only pure tasks without grants); how many leases it has earned; the peer's labels, for the task
/// and then for the owner's policy; its memory, the larger of what the task needs and what the owner's policy asks for; the
/// bytes that would flow ([`artifact_check`] with both profiles' limits and the owner's cap); the engine class.
///
/// # Errors
/// The first reason against.
pub fn may_offer(
    own: &OwnSide<'_>,
    peer: &PeerSide<'_>,
    needs: &Requirements,
    moving: Moving,
) -> Result<(), Reason> {
    let there = peer.capabilities;
    leaves(needs, moving.asked)?;
    let takes = match there.stealing {
        Stealing::Full => true,
        Stealing::ReceiveOnly => !moving.asked,
        Stealing::Disabled => false,
    };
    ensure(own.profile.stealing == Stealing::Full && takes, || {
        Reason::StealingDisabled
    })?;
    trust(peer.trusted, needs)?;
    ensure(peer.outstanding < peer.may_hold, || Reason::LeaseCap {
        n: peer.may_hold,
    })?;
    let wanted = needs.labels.iter().chain(&own.policy.require_labels);
    labels_present(wanted, &there.labels)?;
    let need_mb = needs.memory_mb.max(own.policy.min_memory_mb);
    memory(need_mb, there.memory_mb)?;
    let limits = [own.profile.artifacts, there.artifacts];
    let sizes = Sizes {
        component: needs.component_bytes,
        inputs: needs.input_bytes,
        outputs: moving.output_bytes,
        missing: moving.missing_bytes,
    };
    artifact_check(limits, own.policy.max_artifact_bytes, sizes)?;
    engine(needs, &there.engine)
}

/// The executor, as it judges an offer.
#[derive(Clone, Copy, Debug)]
pub struct Host<'a> {
    /// Its profile.
    pub profile: &'a Profile,
    /// Its user's policy.
    pub policy: &'a Policy,
    /// Its labels.
    pub labels: &'a BTreeSet<Arc<str>>,
    /// Memory for tasks, in MB.
    pub memory_mb: u64,
    /// What its sandbox provides; empty where that is not known, and then any import will do.
    pub imports: &'a BTreeSet<Arc<str>>,
    /// Its engine class.
    pub engine: &'a str,
    /// What the machine says of itself.
    pub state: &'a HostState,
    /// Foreign tasks that it has now.
    pub running: u32,
}

/// The owner that made an offer.
#[derive(Clone, Copy, Debug)]
pub struct OwnerSide<'a> {
    /// What it says of itself; without that, its artifact limit is taken to be none, for it judges by that itself.
    pub capabilities: Option<&'a Capabilities>,
    /// A member whom the executor trusts; a stranger otherwise.
    pub trusted: bool,
}

/// How an offer that nothing speaks against is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Consent {
    /// Yes.
    Now,
    /// A person has to say so.
    AskUser,
}

/// Whether an executor may take what it is offered. A person is asked only about what may be taken.
///
/// In this order: consent at all; draining; paused; which way work flows (`Full` or `ReceiveOnly`); foreign tasks at once;
/// battery, metered connection, somebody at the machine (what the machine cannot tell is no obstacle); trust (a stranger's
/// tasks must be pure and without grants); labels that the host lacks, then labels that its policy wants asked for;
/// memory; imports; grants; engine class; the bytes that would flow ([`artifact_check`] with both profiles' limits and the
/// executor's cap).
///
/// Memory: what there is, is the free memory but no more than the host has for tasks. The task must fit into it and still
/// leave the policy's `min_memory_mb` over for the machine's user; and it must be as much as the owner asks for
/// ([`Offer::min_memory_mb`]).
///
/// # Errors
/// The first reason against.
pub fn may_accept(
    host: &Host<'_>,
    owner: &OwnerSide<'_>,
    offer: &Offer,
    missing_bytes: u64,
) -> Result<Consent, Reason> {
    let needs = &*offer.needs;
    let policy = host.policy;
    welcome(host)?;
    trust(owner.trusted, needs)?;
    labels_present(&needs.labels, host.labels)?;
    labels_asked(&policy.require_labels, &needs.labels)?;
    let free_mb = host.state.free_memory_mb.unwrap_or(host.memory_mb);
    let beside_mb = needs.memory_mb.saturating_add(policy.min_memory_mb);
    memory(
        beside_mb.max(offer.min_memory_mb),
        free_mb.min(host.memory_mb),
    )?;
    if !host.imports.is_empty() {
        none_outside(&needs.imports, host.imports, |name| Reason::UnknownImport {
            name,
        })?;
    }
    none_outside(&needs.grants, &policy.grants, |grant| {
        Reason::GrantRefused { grant }
    })?;
    engine(needs, host.engine)?;
    let theirs = owner
        .capabilities
        .map_or(ArtifactLimit::Unlimited, |there| there.artifacts);
    let sizes = Sizes {
        component: needs.component_bytes,
        inputs: needs.input_bytes,
        outputs: needs.output_bytes,
        missing: missing_bytes,
    };
    let limits = [host.profile.artifacts, theirs];
    artifact_check(limits, policy.max_artifact_bytes, sizes)?;
    Ok(match policy.mode {
        ConsentMode::Policy => Consent::Now,
        ConsentMode::Ask | ConsentMode::Never => Consent::AskUser,
    })
}

/// Whether the host takes anything at all now.
fn welcome(host: &Host<'_>) -> Result<(), Reason> {
    let (policy, state, when) = (host.policy, host.state, host.policy.when);
    ensure(policy.mode != ConsentMode::Never, || Reason::ConsentNever)?;
    ensure(!state.draining, || Reason::Draining)?;
    ensure(!state.paused, || Reason::Paused)?;
    ensure(host.profile.stealing != Stealing::Disabled, || {
        Reason::StealingDisabled
    })?;
    ensure(host.running < policy.max_concurrent, || {
        Reason::MaxConcurrent {
            n: policy.max_concurrent,
        }
    })?;
    ensure(when.on_battery || state.on_battery != Some(true), || {
        Reason::OnBattery
    })?;
    ensure(when.metered || state.metered != Some(true), || {
        Reason::Metered
    })?;
    let untouched = state.untouched_ms.is_none_or(|ms| ms >= when.idle_for_ms);
    ensure(untouched, || Reason::UserInputActive)
}

/// What the task says of leaving its owner.
fn leaves(needs: &Requirements, asked: bool) -> Result<(), Reason> {
    ensure(!needs.secret, || Reason::SecretsStay)?;
    ensure(needs.mesh, || Reason::StaysHere)?;
    ensure(!asked || needs.steal, || Reason::StealingDisabled)
}

fn trust(trusted: bool, needs: &Requirements) -> Result<(), Reason> {
    let harmless = needs.pure && needs.grants.is_empty();
    ensure(trusted || harmless, || Reason::NotTrusted)
}

fn labels_present<'a>(
    wanted: impl IntoIterator<Item = &'a Arc<str>>,
    there: &BTreeSet<Arc<str>>,
) -> Result<(), Reason> {
    none_outside(wanted, there, |label| Reason::LabelMissing { label })
}

fn labels_asked(required: &BTreeSet<Arc<str>>, asked: &[Arc<str>]) -> Result<(), Reason> {
    match required.iter().find(|label| !asked.contains(label)) {
        Some(label) => Err(Reason::LabelNotAsked {
            label: Arc::clone(label),
        }),
        None => Ok(()),
    }
}

fn memory(need: u64, have: u64) -> Result<(), Reason> {
    ensure(need <= have, || Reason::MemoryBelow { need, have })
}

fn engine(needs: &Requirements, there: &str) -> Result<(), Reason> {
    let fits = needs.engine.as_deref().is_none_or(|class| class == there);
    ensure(fits, || Reason::EngineMismatch)
}

fn none_outside<'a>(
    wanted: impl IntoIterator<Item = &'a Arc<str>>,
    known: &BTreeSet<Arc<str>>,
    why: impl FnOnce(Arc<str>) -> Reason,
) -> Result<(), Reason> {
    match wanted.into_iter().find(|name| !known.contains(*name)) {
        Some(name) => Err(why(Arc::clone(name))),
        None => Ok(()),
    }
}

fn ensure(holds: bool, otherwise: impl FnOnce() -> Reason) -> Result<(), Reason> {
    if holds { Ok(()) } else { Err(otherwise()) }
}
