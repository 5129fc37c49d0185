//! The executor's reasons.

use super::*;
use crate::consent::Offer;
use crate::id::{Attempt, LeaseKey, RunId, TaskId};
use crate::profile::INLINE_BYTES;

/// A host and an offer that it takes, for a test to change one thing.
struct Hosting {
    profile: Profile,
    policy: Policy,
    labels: BTreeSet<Arc<str>>,
    memory_mb: u64,
    imports: BTreeSet<Arc<str>>,
    engine: &'static str,
    state: HostState,
    running: u32,
    owner: Option<Capabilities>,
    trusted: bool,
    needs: Requirements,
    offer_min_mb: u64,
    missing: u64,
}

fn accepting(change: impl FnOnce(&mut Hosting)) -> Result<Consent, Reason> {
    let mut it = Hosting {
        profile: Profile::of(ProfileKind::Lan),
        policy: Policy {
            mode: ConsentMode::Policy,
            grants: set(&["clock"]),
            ..Policy::default()
        },
        labels: set(&["linux", "gpu"]),
        memory_mb: 1_024,
        imports: set(&["wasi:cli/environment@0.2"]),
        engine: "e1",
        state: HostState::default(),
        running: 0,
        owner: Some(peer()),
        trusted: true,
        needs: needs(),
        offer_min_mb: 0,
        missing: 2_500,
    };
    change(&mut it);
    let host = Host {
        profile: &it.profile,
        policy: &it.policy,
        labels: &it.labels,
        memory_mb: it.memory_mb,
        imports: &it.imports,
        engine: it.engine,
        state: &it.state,
        running: it.running,
    };
    let owner = OwnerSide {
        capabilities: it.owner.as_ref(),
        trusted: it.trusted,
    };
    let offer = Offer {
        key: LeaseKey {
            run: RunId::new("r").unwrap(),
            task: TaskId(0),
            attempt: Attempt::FIRST,
        },
        nonce: 1,
        needs: Arc::new(it.needs),
        min_memory_mb: it.offer_min_mb,
        lease_ms: 120_000,
        mesh: None,
    };
    may_accept(&host, &owner, &offer, it.missing)
}

#[test]
fn what_fits_is_taken_at_once_or_after_asking() {
    assert_eq!(accepting(|_| ()), Ok(Consent::Now));
    let answer = accepting(|it| it.policy.mode = ConsentMode::Ask);
    assert_eq!(answer, Ok(Consent::AskUser));
}

#[test]
fn nobody_takes_anything_by_default() {
    let answer = accepting(|it| it.policy = Policy::default());
    assert_eq!(answer, Err(Reason::ConsentNever));
}

#[test]
fn a_draining_or_paused_host_takes_nothing() {
    assert_eq!(
        accepting(|it| it.state.draining = true),
        Err(Reason::Draining)
    );
    assert_eq!(accepting(|it| it.state.paused = true), Err(Reason::Paused));
}

#[test]
fn a_host_that_only_receives_accepts_and_a_disabled_one_does_not() {
    assert_eq!(
        accepting(|it| it.profile.stealing = Stealing::ReceiveOnly),
        Ok(Consent::Now)
    );
    assert_eq!(
        accepting(|it| it.profile.stealing = Stealing::Disabled),
        Err(Reason::StealingDisabled)
    );
}

#[test]
fn a_host_takes_no_more_tasks_at_once_than_its_policy_says() {
    assert_eq!(accepting(|it| it.running = 1), Ok(Consent::Now));
    assert_eq!(
        accepting(|it| it.running = 2),
        Err(Reason::MaxConcurrent { n: 2 })
    );
}

#[test]
fn a_host_on_battery_takes_tasks_only_where_that_is_allowed() {
    let on_battery = |state, allowed| {
        accepting(|it| {
            it.state.on_battery = state;
            it.policy.when.on_battery = allowed;
        })
    };
    assert_eq!(on_battery(Some(true), false), Err(Reason::OnBattery));
    assert_eq!(on_battery(Some(true), true), Ok(Consent::Now));
    assert_eq!(on_battery(Some(false), false), Ok(Consent::Now));
    assert_eq!(on_battery(None, false), Ok(Consent::Now));
}

#[test]
fn a_host_on_a_metered_connection_takes_tasks_only_where_that_is_allowed() {
    let metered = |state, allowed| {
        accepting(|it| {
            it.state.metered = state;
            it.policy.when.metered = allowed;
        })
    };
    assert_eq!(metered(Some(true), false), Err(Reason::Metered));
    assert_eq!(metered(Some(true), true), Ok(Consent::Now));
    assert_eq!(metered(Some(false), false), Ok(Consent::Now));
    assert_eq!(metered(None, false), Ok(Consent::Now));
}

#[test]
fn a_host_in_use_takes_nothing_until_it_was_left_alone_long_enough() {
    let touched = |untouched_ms, idle_for_ms| {
        accepting(|it| {
            it.state.untouched_ms = untouched_ms;
            it.policy.when.idle_for_ms = idle_for_ms;
        })
    };
    assert_eq!(touched(Some(999), 1_000), Err(Reason::UserInputActive));
    assert_eq!(touched(Some(1_000), 1_000), Ok(Consent::Now));
    assert_eq!(touched(Some(0), 0), Ok(Consent::Now));
    assert_eq!(touched(None, 1_000), Ok(Consent::Now));
}

#[test]
fn only_pure_tasks_without_grants_are_taken_from_strangers() {
    let stranger = |pure, grants: &[&str]| {
        accepting(|it| {
            it.trusted = false;
            it.needs.pure = pure;
            it.needs.grants = names(grants);
        })
    };
    assert_eq!(stranger(true, &[]), Ok(Consent::Now));
    assert_eq!(stranger(false, &[]), Err(Reason::NotTrusted));
    assert_eq!(stranger(true, &["clock"]), Err(Reason::NotTrusted));
}

#[test]
fn a_host_needs_the_labels_of_the_task() {
    let answer = accepting(|it| it.needs.labels = names(&["arm"]));
    assert_eq!(answer, Err(label("arm")));
}

#[test]
fn a_host_that_requires_a_label_takes_only_tasks_that_ask_for_it() {
    let answer = accepting(|it| it.policy.require_labels = set(&["gpu"]));
    assert_eq!(
        answer,
        Err(Reason::LabelNotAsked {
            label: "gpu".into()
        })
    );
    let answer = accepting(|it| {
        it.policy.require_labels = set(&["gpu"]);
        it.needs.labels = names(&["linux", "gpu"]);
    });
    assert_eq!(answer, Ok(Consent::Now));
}

#[test]
fn a_task_must_fit_into_free_memory_and_leave_what_the_user_wants_left() {
    assert_eq!(accepting(|it| it.memory_mb = 511), below(512, 511));
    assert_eq!(
        accepting(|it| it.state.free_memory_mb = Some(511)),
        below(512, 511)
    );
    assert_eq!(
        accepting(|it| {
            it.memory_mb = 511;
            it.state.free_memory_mb = Some(9_999);
        }),
        below(512, 511)
    );
    assert_eq!(
        accepting(|it| it.policy.min_memory_mb = 512),
        Ok(Consent::Now)
    );
    assert_eq!(
        accepting(|it| it.policy.min_memory_mb = 513),
        below(1_025, 1_024)
    );
}

#[test]
fn the_owners_condition_on_memory_binds_the_executor_too() {
    assert_eq!(accepting(|it| it.offer_min_mb = 1_024), Ok(Consent::Now));
    assert_eq!(accepting(|it| it.offer_min_mb = 1_025), below(1_025, 1_024));
}

#[test]
fn an_import_must_be_known_where_any_is() {
    let unknown = names(&["wasi:gpu/device@0.1"]);
    assert_eq!(
        accepting(|it| it.needs.imports = unknown.clone()),
        Err(Reason::UnknownImport {
            name: "wasi:gpu/device@0.1".into()
        })
    );
    let answer = accepting(|it| {
        it.needs.imports = unknown.clone();
        it.imports.clear();
    });
    assert_eq!(answer, Ok(Consent::Now));
}

#[test]
fn a_grant_must_be_in_the_policy() {
    let answer = accepting(|it| it.needs.grants = names(&["clock", "net:a.org:443"]));
    assert_eq!(
        answer,
        Err(Reason::GrantRefused {
            grant: "net:a.org:443".into()
        })
    );
}

#[test]
fn a_host_of_another_engine_class_declines() {
    assert_eq!(
        accepting(|it| it.engine = "e2"),
        Err(Reason::EngineMismatch)
    );
    let answer = accepting(|it| {
        it.engine = "e2";
        it.needs.engine = None;
    });
    assert_eq!(answer, Ok(Consent::Now));
}

#[test]
fn the_strictest_of_own_limit_owners_limit_and_own_cap_bounds_what_is_taken() {
    use ArtifactLimit::{AtMost, StatusOnly};
    let with = |own, owner, cap| {
        accepting(|it| {
            it.profile.artifacts = own;
            it.owner = Some(Capabilities {
                artifacts: owner,
                ..peer()
            });
            it.policy.max_artifact_bytes = cap;
        })
    };
    assert_eq!(with(AtMost(5_500), AtMost(5_500), 5_500), Ok(Consent::Now));
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
    assert_eq!(with(AtMost(9_000), StatusOnly, 9_000), over(5_500, 0));
    assert_eq!(accepting(|it| it.owner = None), Ok(Consent::Now));
}

#[test]
fn the_mobile_profile_takes_nothing_and_the_hostile_one_only_what_is_inline() {
    let as_profile = |kind, outputs| {
        accepting(|it| {
            it.profile = Profile::of(kind);
            it.needs.output_bytes = outputs;
        })
    };
    let mobile = as_profile(ProfileKind::Mobile, 0);
    assert_eq!(mobile, Err(Reason::StealingDisabled));
    let inline = as_profile(ProfileKind::Hostile, INLINE_BYTES);
    assert_eq!(inline, Ok(Consent::Now));
    let large = as_profile(ProfileKind::Hostile, INLINE_BYTES + 1);
    assert_eq!(large, over(INLINE_BYTES + 1, INLINE_BYTES));
}

#[test]
fn reasons_against_taking_come_in_the_documented_order() {
    let stranger_without_labels = accepting(|it| {
        it.trusted = false;
        it.needs.labels = names(&["arm"]);
        it.engine = "e2";
    });
    assert_eq!(stranger_without_labels, Err(Reason::NotTrusted));
    let engine_before_bytes = accepting(|it| {
        it.engine = "e2";
        it.policy.max_artifact_bytes = 0;
    });
    assert_eq!(engine_before_bytes, Err(Reason::EngineMismatch));
}
