//! Every reason of both judges, each a single step away from what they agree to: here the owner's, and what all share.
#![allow(clippy::unwrap_used)]

mod accept;
mod rest;

use super::*;
use crate::consent::Capabilities;
use crate::profile::{ArtifactLimit, Profile, ProfileKind, Stealing};

fn names(list: &[&str]) -> Vec<Arc<str>> {
    list.iter().map(|name| Arc::from(*name)).collect()
}

fn set(list: &[&str]) -> BTreeSet<Arc<str>> {
    names(list).into_iter().collect()
}

fn needs() -> Requirements {
    Requirements {
        digest: Digest([1; 32]),
        label: "build".into(),
        labels: names(&["linux"]),
        memory_mb: 512,
        fuel: 1_000_000,
        timeout_ms: 60_000,
        estimate_ms: 10_000,
        component_bytes: 1_000,
        input_bytes: 2_000,
        output_bytes: 3_000,
        blobs: Vec::new(),
        imports: names(&["wasi:cli/environment@0.2"]),
        grants: names(&["clock"]),
        engine: Some("e1".into()),
        pure: true,
        secret: false,
        mesh: true,
        steal: true,
    }
}

/// An owner and a peer that agree, for a test to change one thing.
struct Owning {
    profile: Profile,
    policy: Policy,
    peer: Capabilities,
    trusted: bool,
    outstanding: u32,
    may_hold: u32,
    needs: Requirements,
    moving: Moving,
}

fn peer() -> Capabilities {
    Capabilities {
        name: "peer".into(),
        profile: ProfileKind::Lan,
        tick_ms: 60_000,
        stealing: Stealing::Full,
        artifacts: ArtifactLimit::Unlimited,
        hidden: false,
        labels: set(&["linux", "gpu"]),
        memory_mb: 1_024,
        engine: "e1".into(),
    }
}

fn offering(change: impl FnOnce(&mut Owning)) -> Result<(), Reason> {
    let mut it = Owning {
        profile: Profile::of(ProfileKind::Lan),
        policy: Policy::default(),
        peer: peer(),
        trusted: true,
        outstanding: 0,
        may_hold: 1,
        needs: needs(),
        moving: Moving {
            missing_bytes: 2_500,
            output_bytes: 3_000,
            asked: false,
        },
    };
    change(&mut it);
    let own = OwnSide {
        profile: &it.profile,
        policy: &it.policy,
    };
    let peer = PeerSide {
        capabilities: &it.peer,
        trusted: it.trusted,
        outstanding: it.outstanding,
        may_hold: it.may_hold,
    };
    may_offer(&own, &peer, &it.needs, it.moving)
}

fn label(label: &str) -> Reason {
    Reason::LabelMissing {
        label: label.into(),
    }
}

fn below<T>(need: u64, have: u64) -> Result<T, Reason> {
    Err(Reason::MemoryBelow { need, have })
}

fn over<T>(bytes: u64, cap: u64) -> Result<T, Reason> {
    Err(Reason::ArtifactOverCap { bytes, cap })
}

#[test]
fn what_fits_is_offered_unasked_and_asked() {
    assert_eq!(offering(|_| ()), Ok(()));
    assert_eq!(offering(|it| it.moving.asked = true), Ok(()));
}

#[test]
fn a_task_with_a_secret_is_never_offered() {
    let answer = offering(|it| it.needs.secret = true);
    assert_eq!(answer, Err(Reason::SecretsStay));
}

#[test]
fn a_task_that_stays_is_not_offered() {
    let answer = offering(|it| it.needs.mesh = false);
    assert_eq!(answer, Err(Reason::StaysHere));
}

#[test]
fn a_task_that_is_not_to_be_stolen_is_offered_only_unasked() {
    assert_eq!(offering(|it| it.needs.steal = false), Ok(()));
    let answer = offering(|it| {
        it.needs.steal = false;
        it.moving.asked = true;
    });
    assert_eq!(answer, Err(Reason::StealingDisabled));
}

#[test]
fn only_an_owner_with_full_stealing_gives_work_away() {
    for stealing in [Stealing::ReceiveOnly, Stealing::Disabled] {
        let answer = offering(|it| it.profile.stealing = stealing);
        assert_eq!(answer, Err(Reason::StealingDisabled));
    }
}

#[test]
fn a_peer_that_takes_nothing_is_offered_nothing() {
    let answer = offering(|it| it.peer.stealing = Stealing::Disabled);
    assert_eq!(answer, Err(Reason::StealingDisabled));
}

#[test]
fn a_peer_that_only_receives_is_offered_work_but_may_not_ask() {
    assert_eq!(
        offering(|it| it.peer.stealing = Stealing::ReceiveOnly),
        Ok(())
    );
    let answer = offering(|it| {
        it.peer.stealing = Stealing::ReceiveOnly;
        it.moving.asked = true;
    });
    assert_eq!(answer, Err(Reason::StealingDisabled));
}

#[test]
fn a_stranger_is_offered_only_pure_tasks_without_grants() {
    let stranger = |pure, grants: &[&str]| {
        offering(|it| {
            it.trusted = false;
            it.needs.pure = pure;
            it.needs.grants = names(grants);
        })
    };
    assert_eq!(stranger(true, &[]), Ok(()));
    assert_eq!(stranger(false, &[]), Err(Reason::NotTrusted));
    assert_eq!(stranger(true, &["clock"]), Err(Reason::NotTrusted));
}

#[test]
fn a_peer_needs_the_labels_of_the_task_and_of_the_owners_policy() {
    assert_eq!(
        offering(|it| it.needs.labels = names(&["linux", "arm"])),
        Err(label("arm"))
    );
    assert_eq!(
        offering(|it| it.policy.require_labels = set(&["lab"])),
        Err(label("lab"))
    );
    assert_eq!(
        offering(|it| it.policy.require_labels = set(&["gpu"])),
        Ok(())
    );
}

#[test]
fn a_peer_needs_the_memory_of_the_task_and_of_the_owners_policy() {
    assert_eq!(offering(|it| it.peer.memory_mb = 512), Ok(()));
    assert_eq!(offering(|it| it.peer.memory_mb = 511), below(512, 511));
    assert_eq!(
        offering(|it| it.policy.min_memory_mb = 4_096),
        below(4_096, 1_024)
    );
}

#[test]
fn the_strictest_of_own_limit_peer_limit_and_own_cap_bounds_an_offer() {
    use ArtifactLimit::AtMost;
    let with = |own, peer, cap| {
        offering(|it| {
            it.profile.artifacts = own;
            it.peer.artifacts = peer;
            it.policy.max_artifact_bytes = cap;
        })
    };
    assert_eq!(with(AtMost(5_500), AtMost(5_500), 5_500), Ok(()));
    assert_eq!(
        with(AtMost(5_499), AtMost(9_000), 9_000),
        over(5_500, 5_499)
    );
    assert_eq!(
        with(AtMost(9_000), AtMost(5_498), 9_000),
        over(5_500, 5_498)
    );
    assert_eq!(
        with(AtMost(9_000), AtMost(9_000), 5_497),
        over(5_500, 5_497)
    );
}

#[test]
fn an_offer_counts_the_outputs_that_the_owner_expects() {
    let answer = offering(|it| {
        it.moving.output_bytes = u64::MAX;
        it.policy.max_artifact_bytes = 10_000;
    });
    assert_eq!(answer, over(u64::MAX, 10_000));
}

#[test]
fn a_peer_of_another_engine_class_is_offered_only_what_any_engine_may_run() {
    assert_eq!(
        offering(|it| it.peer.engine = "e2".into()),
        Err(Reason::EngineMismatch)
    );
    let answer = offering(|it| {
        it.peer.engine = "e2".into();
        it.needs.engine = None;
    });
    assert_eq!(answer, Ok(()));
}

#[test]
fn a_peer_is_offered_no_more_leases_than_it_has_earned() {
    let answer = offering(|it| it.outstanding = 1);
    assert_eq!(answer, Err(Reason::LeaseCap { n: 1 }));
    let answer = offering(|it| {
        it.outstanding = 1;
        it.may_hold = 2;
    });
    assert_eq!(answer, Ok(()));
}

#[test]
fn reasons_against_offering_come_in_the_documented_order() {
    let everything_at_once = offering(|it| {
        it.needs.secret = true;
        it.needs.mesh = false;
        it.profile.stealing = Stealing::Disabled;
        it.may_hold = 0;
    });
    assert_eq!(everything_at_once, Err(Reason::SecretsStay));
}
