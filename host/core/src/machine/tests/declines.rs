//! Each reason that an executor can give, from the offer to what the owner does about it; and each that keeps an owner
//! from offering.

use super::pair::{EXECUTOR, OWNER, Pair, Way, id, run_id};
use crate::consent::{Message, ToOwner};
use crate::id::TaskId;
use crate::machine::{Event, Setup, StepKind};
use crate::policy::{ConsentMode, HostState, Reason, Requirements};
use crate::profile::{ArtifactLimit, ProfileKind, Stealing};
use std::sync::Arc;

/// What an owner and an executor say where the executor declines for this reason.
fn declined(code: &str, change: impl FnOnce(&mut [Setup], &mut Requirements), host: HostState) {
    let mut pair = Pair::of([ProfileKind::Lan; 2], change);
    pair.event(EXECUTOR, Event::Host(host));
    // The owner has heard that it is idle: only the offer brings out why not.
    pair.connect();
    let beacon = crate::consent::Beacon {
        node: id(EXECUTOR),
        sequence: 1000,
        free: 1,
        queued: 0,
        slots: 1,
        paused: false,
    };
    pair.event(OWNER, Event::Gossip(beacon));
    pair.mode = crate::machine::Mode::Mesh;
    pair.submit(Vec::new());
    assert_eq!(
        pair.lines(),
        [
            "owner: runs 0#1 here".to_owned(),
            "owner: persists Offered r/1#1".to_owned(),
            "owner → Offer r/1#1".to_owned(),
            format!("executor → Decline r/1#1: {code}"),
        ]
    );
    let steps = pair.machines[OWNER].steps(&run_id(), TaskId(1));
    let StepKind::Declined(reason) = &steps.last().unwrap().what else {
        panic!("{steps:?}");
    };
    assert_eq!(reason.code(), code);
    // It is not asked again while it cools down; then the task may go, under its next attempt, or is run here.
    pair.release("local");
    assert_eq!(pair.settled.len(), 2, "{:?}", pair.log);
}

macro_rules! declines {
    ($($name:ident: $code:literal, |$setups:ident, $needs:ident| $change:expr, $host:expr;)*) => {$(
        #[test]
        fn $name() {
            declined($code, |$setups, $needs| { let _ = (&$setups, &$needs); $change }, $host);
        }
    )*};
}

fn calm() -> HostState {
    HostState::default()
}

declines! {
    no_consent_at_all: "consent-never",
        |setups, needs| setups[EXECUTOR].policy.mode = ConsentMode::Never, calm();
    a_paused_node: "paused", |setups, needs| (), HostState { paused: true, ..calm() };
    a_draining_node: "draining", |setups, needs| (), HostState { draining: true, ..calm() };
    on_battery: "on-battery", |setups, needs| (), HostState { on_battery: Some(true), ..calm() };
    on_a_metered_connection: "metered", |setups, needs| (), HostState { metered: Some(true), ..calm() };
    while_somebody_uses_the_machine: "user-input-active",
        |setups, needs| setups[EXECUTOR].policy.when.idle_for_ms = 300_000,
        HostState { untouched_ms: Some(1000), ..calm() };
    as_many_as_it_takes: "max-concurrent",
        |setups, needs| setups[EXECUTOR].policy.max_concurrent = 0, calm();
    a_task_that_does_not_ask_for_its_label: "label-not-asked",
        |setups, needs| { setups[EXECUTOR].policy.require_labels.insert(Arc::from("gpu")); }, calm();
    less_memory_than_it_keeps_free: "memory-below",
        |setups, needs| (), HostState { free_memory_mb: Some(10), ..calm() };
    an_import_that_its_host_does_not_know: "unknown-import",
        |setups, needs| {
            setups[EXECUTOR].imports.insert(Arc::from("wasi:cli/stdout"));
            needs.imports.push(Arc::from("wasi:nn/graph"));
        }, calm();
    a_grant_that_its_user_does_not_give: "grant-refused",
        |setups, needs| needs.grants.push(Arc::from("net:example.org:443")), calm();
    more_than_its_policy_lets_flow: "artifact-over-cap",
        |setups, needs| setups[EXECUTOR].policy.max_artifact_bytes = 1499, calm();
}

/// What keeps an owner from offering a task at all, as it is kept for people.
fn not_offered(expected: &Reason, change: impl FnOnce(&mut [Setup], &mut Requirements)) {
    let mut pair = Pair::begun(Way::Dispatch, change);
    pair.pass(1000);
    assert_eq!(pair.lines(), ["owner: runs 0#1 here"]);
    let steps = pair.machines[OWNER].steps(&run_id(), TaskId(1));
    let reasons: Vec<&StepKind> = steps.iter().map(|step| &step.what).collect();
    assert_eq!(reasons, [&StepKind::NotOffered(expected.clone())]);
    assert_eq!(steps[0].peer, id(EXECUTOR));
}

#[test]
fn a_task_with_a_secret_stays() {
    not_offered(&Reason::SecretsStay, |_, needs| needs.secret = true);
}

#[test]
fn a_task_that_says_so_stays() {
    not_offered(&Reason::StaysHere, |_, needs| needs.mesh = false);
}

#[test]
fn a_label_that_the_peer_lacks() {
    let label: Arc<str> = Arc::from("gpu");
    let expected = Reason::LabelMissing {
        label: label.clone(),
    };
    not_offered(&expected, |setups, needs| {
        needs.labels.push(label.clone());
        setups[OWNER].capabilities.labels.insert(label);
    });
}

#[test]
fn memory_that_the_peer_lacks() {
    let expected = Reason::MemoryBelow {
        need: 5000,
        have: 4096,
    };
    not_offered(&expected, |_, needs| needs.memory_mb = 5000);
}

#[test]
fn another_engine_than_the_task_needs() {
    not_offered(&Reason::EngineMismatch, |_, needs| {
        needs.engine = Some(Arc::from("e2"));
    });
}

#[test]
fn a_profile_that_gives_nothing_away() {
    not_offered(&Reason::StealingDisabled, |setups, _| {
        setups[OWNER].profile.stealing = Stealing::ReceiveOnly;
    });
}

#[test]
fn a_bundle_over_the_peers_cap() {
    let expected = Reason::ArtifactOverCap {
        bytes: 1500,
        cap: 1000,
    };
    not_offered(&expected, |setups, _| {
        setups[EXECUTOR].capabilities.artifacts = ArtifactLimit::AtMost(1000);
    });
}

#[test]
fn moving_that_costs_more_than_waiting() {
    not_offered(&Reason::NotWorthIt, |_, needs| {
        needs.estimate_ms = 1;
        needs.input_bytes = 1 << 40;
    });
}

/// What is kept for people of a task that has waited for a peer that is passed over.
fn passed_over(expected: &Reason, host: HostState, change: impl FnOnce(&mut [Setup])) {
    let mut pair = Pair::of([ProfileKind::Lan; 2], |setups, _| change(setups));
    pair.event(EXECUTOR, Event::Host(host));
    pair.begin(Way::Dispatch);
    pair.pass(1_000);
    let seen = |pair: &Pair| -> Vec<StepKind> {
        let steps = pair.machines[OWNER].steps(&run_id(), TaskId(1)).iter();
        steps.map(|step| step.what.clone()).collect()
    };
    assert_eq!(seen(&pair), [], "most have room again soon");
    pair.pass(60_000);
    assert_eq!(seen(&pair), [StepKind::NotOffered(expected.clone())]);
    assert_eq!(pair.lines(), ["owner: runs 0#1 here"]);
}

#[test]
fn a_peer_that_takes_nothing_is_told_of_once_a_task_has_waited() {
    passed_over(&Reason::NoRoom, calm(), |setups| {
        setups[EXECUTOR].policy.mode = ConsentMode::Never;
    });
}

#[test]
fn so_is_one_that_is_paused() {
    let paused = HostState {
        paused: true,
        ..calm()
    };
    passed_over(&Reason::Paused, paused, |_| {});
}

#[test]
fn what_would_keep_a_task_from_a_peer_in_any_case_is_told_instead() {
    passed_over(&Reason::StealingDisabled, calm(), |setups| {
        setups[EXECUTOR].profile.stealing = Stealing::Disabled;
        setups[EXECUTOR].capabilities.stealing = Stealing::Disabled;
    });
}

#[test]
fn a_stranger_gets_no_task_with_grants() {
    let mut pair = Pair::of([ProfileKind::Lan; 2], |_, needs| {
        needs.grants.push(Arc::from("clock"));
    });
    pair.trusted = false;
    pair.begin(Way::Dispatch);
    pair.pass(1000);
    assert_eq!(pair.lines(), ["owner: runs 0#1 here"]);
    let steps = pair.machines[OWNER].steps(&run_id(), TaskId(1));
    assert_eq!(steps[0].what, StepKind::NotOffered(Reason::NotTrusted));
}

#[test]
fn a_peer_that_has_earned_one_lease_gets_one() {
    let mut pair = Pair::of([ProfileKind::Lan; 2], |setups, _| {
        setups[EXECUTOR].slots = 4;
        setups[EXECUTOR].policy.max_concurrent = 4;
    });
    pair.tasks = 6;
    pair.hold.insert("guest");
    pair.begin(Way::Dispatch);
    let offers = |pair: &mut Pair| {
        let lines = pair.lines();
        lines.iter().filter(|line| line.contains("→ Offer")).count()
    };
    assert_eq!(offers(&mut pair), 1);
    // A promise kept earns one more.
    pair.release("guest");
    pair.hold.insert("guest");
    assert!(offers(&mut pair) >= 2);
}

#[test]
fn a_peer_is_offered_no_more_than_it_has_room_for_however_much_it_has_earned() {
    let mut pair = Pair::of([ProfileKind::Lan; 2], |_, _| {});
    pair.tasks = 40;
    pair.begin(Way::Dispatch);
    pair.release("local");
    assert_eq!(pair.settled.len(), 40, "{:?}", pair.log);
    let lines = pair.lines();
    assert!(
        !lines.iter().any(|line| line.contains("Decline")),
        "{lines:?}"
    );
}

/// The executor says that it lost the task's current attempt.
fn lose(pair: &mut Pair, attempt: u32) {
    let message = Message::ToOwner(ToOwner::Lost {
        key: super::pair::key(1, attempt),
        why: crate::consent::LostWhy::Unknown,
    });
    let peer = id(EXECUTOR);
    pair.event(OWNER, Event::Received { peer, message });
}

#[test]
fn a_task_that_was_lost_cools_down_and_stays_after_the_second_time() {
    let mut pair = Pair::of([ProfileKind::Lan; 2], |setups, _| {
        setups[EXECUTOR].slots = 2;
    });
    pair.hold.insert("guest");
    pair.begin(Way::Dispatch);
    lose(&mut pair, 1);
    pair.lines();
    pair.pass(25_000);
    let lines = pair.lines();
    assert!(
        !lines.iter().any(|line| line.contains("Offer")),
        "{lines:?}"
    );
    pair.pass(20_000);
    let lines = pair.lines();
    assert!(
        lines.contains(&"owner → Offer r/1#2".to_owned()),
        "{lines:?}"
    );
    lose(&mut pair, 2);
    pair.lines();
    pair.pass(600_000);
    let lines = pair.lines();
    assert!(
        !lines.iter().any(|line| line.contains("Offer")),
        "{lines:?}"
    );
    let steps = pair.machines[OWNER].steps(&run_id(), TaskId(1));
    let last = &steps.last().unwrap().what;
    assert_eq!(*last, StepKind::NotOffered(Reason::MovedTooOften));
}
