//! Every wait ends: what follows when nobody answers, delivers or speaks.

use super::pair::{EXECUTOR, OWNER, Pair, Way, id, key, run_id};
use crate::consent::{Message, ToOwner};
use crate::id::TaskId;
use crate::machine::{Event, StepKind};
use crate::policy::ConsentMode;
use crate::profile::ProfileKind;
use crate::run::SettledKind;

fn holding(kind: &'static str) -> Pair {
    let mut pair = Pair::of([ProfileKind::Lan; 2], |_, _| {});
    pair.hold.insert(kind);
    pair.begin(Way::Dispatch);
    pair.pass(100);
    pair.lines();
    pair
}

/// The executor's guest begins, and does not end.
fn begin_guest(pair: &mut Pair) {
    let (owner, key) = (id(OWNER), key(1, 1));
    pair.event(EXECUTOR, Event::ForeignStarted { owner, key });
}

fn last_step(pair: &Pair) -> StepKind {
    let steps = pair.machines[OWNER].steps(&run_id(), TaskId(1));
    steps.last().unwrap().what.clone()
}

#[test]
fn an_offer_without_an_answer_is_withdrawn_and_a_late_yes_answered() {
    let mut pair = holding("deliver");
    pair.pass(2000);
    assert_eq!(pair.lines()[0], "owner → Withdraw r/1#1");
    assert_eq!(
        last_step(&pair),
        StepKind::Declined(crate::policy::Reason::NoAnswer)
    );
    pair.held.clear();
    let message = Message::ToOwner(ToOwner::Accept {
        key: key(1, 1),
        have: Vec::new(),
    });
    let peer = id(EXECUTOR);
    pair.event(OWNER, Event::Received { peer, message });
    assert_eq!(pair.lines(), ["owner → Withdraw r/1#1"]);
}

#[test]
fn a_person_who_says_nothing_has_said_no() {
    let mut pair = Pair::begun(Way::Dispatch, |setups, _| {
        setups[EXECUTOR].policy.mode = ConsentMode::Ask;
    });
    pair.pass(100);
    pair.lines();
    pair.pass(61_000);
    let lines = pair.lines();
    assert_eq!(
        lines[..2],
        [
            "executor: no longer asks",
            "executor → Decline r/1#1: user-declined"
        ]
    );
}

#[test]
fn a_bundle_that_never_arrives_is_given_up_by_both() {
    let mut pair = holding("bundle");
    pair.pass(121_000);
    let lines = pair.lines();
    let lost = lines
        .iter()
        .any(|line| line == "owner → Cancel r/1#1" || line == "executor → Lost r/1#1 Bundle");
    assert!(lost, "{lines:?}");
    assert!(matches!(last_step(&pair), StepKind::Lost { .. }));
    pair.release("local");
    assert_eq!(pair.settled[&TaskId(1)], SettledKind::Passed);
}

#[test]
fn a_running_guest_is_mentioned_so_that_its_lease_runs_on() {
    let mut pair = holding("guest");
    begin_guest(&mut pair);
    pair.lines();
    pair.pass(100_000);
    assert_eq!(pair.lines(), vec!["executor → Progress r/1#1 0"; 3]);
    assert_eq!(last_step(&pair), StepKind::Started);
}

#[test]
fn a_guest_that_is_mentioned_for_ever_ends_at_the_hard_end() {
    let mut pair = holding("guest");
    begin_guest(&mut pair);
    pair.lines();
    // Its time limit is a minute, the lease two: nothing moves the end beyond five.
    pair.pass(600_000);
    let lines = pair.lines();
    assert!(
        lines.contains(&"owner → Cancel r/1#1".to_owned()),
        "{lines:?}"
    );
    assert!(
        lines.contains(&"executor: drops it".to_owned()),
        "{lines:?}"
    );
}

#[test]
fn a_silent_peer_loses_its_lease_and_its_late_result_still_counts() {
    let mut pair = holding("guest");
    pair.cut();
    pair.lines();
    // Five seconds are the grace of a lan.
    pair.pass(6_000);
    let StepKind::Lost { why: None, .. } = last_step(&pair) else {
        panic!("{:?}", last_step(&pair));
    };
    pair.release("guest");
    pair.lines();
    pair.connect();
    let lines = pair.lines();
    assert_eq!(
        lines,
        [
            "executor → Completed r/1#1",
            "owner: fetches the outputs",
            "owner: persists Committed r/1#1",
            "owner → Acked r/1#1",
            "owner: 1 passed",
            "executor: drops it",
        ]
    );
}

#[test]
fn a_late_result_of_a_task_with_effects_is_answered_and_dropped() {
    let mut pair = Pair::of([ProfileKind::Lan; 2], |_, needs| needs.pure = false);
    pair.hold.insert("guest");
    pair.begin(Way::Dispatch);
    pair.pass(100);
    pair.cut();
    pair.pass(6_000);
    pair.release("guest");
    pair.lines();
    pair.connect();
    assert_eq!(
        pair.lines(),
        [
            "executor → Completed r/1#1",
            "owner → Settled r/1#1",
            "executor: drops it"
        ]
    );
}

#[test]
fn an_offer_whose_record_cannot_be_made_durable_is_not_said() {
    let mut pair = Pair::of([ProfileKind::Lan; 2], |_, _| {});
    pair.fail.insert("disk");
    pair.begin(Way::Dispatch);
    pair.pass(5_000);
    let lines = pair.lines();
    assert!(
        !lines.iter().any(|line| line.contains("Offer r")),
        "{lines:?}"
    );
    pair.release("local");
    assert_eq!(pair.settled.len(), 2);
}

#[test]
fn a_result_that_cannot_be_made_durable_here_waits_there() {
    let mut pair = holding("fetch");
    pair.fail.insert("disk");
    pair.release("fetch");
    let lines = pair.lines();
    assert!(
        !lines.iter().any(|line| line.contains("Acked")),
        "{lines:?}"
    );
    pair.fail.clear();
    pair.pass(6_000);
    let lines = pair.lines();
    assert_eq!(
        lines[..3],
        [
            "owner: persists Committed r/1#1",
            "owner → Acked r/1#1",
            "owner: 1 passed"
        ]
    );
}

#[test]
fn a_result_that_cannot_be_made_durable_there_is_no_result() {
    let mut pair = holding("guest");
    pair.fail.insert("disk");
    pair.release("guest");
    let lines = pair.lines();
    assert!(
        lines.contains(&"executor → Lost r/1#1 DiskFull".to_owned()),
        "{lines:?}"
    );
}

#[test]
fn a_straggler_gets_a_second_attempt_beside_it_and_the_first_result_counts() {
    let mut pair = holding("guest");
    begin_guest(&mut pair);
    // The other task took a millisecond here: twice that is long past when nothing else is to be done.
    pair.hold.insert("local");
    let (node, action) = pair.held.pop_front().unwrap();
    assert_eq!(node, OWNER);
    pair.hold.remove("local");
    pair.held.push_front((node, action));
    pair.release("local");
    pair.hold.insert("local");
    pair.lines();
    pair.pass(5_000);
    assert_eq!(pair.lines(), ["owner: runs 1#2 here"]);
    pair.release("local");
    assert_eq!(
        pair.lines(),
        [
            "owner: 1 passed",
            "owner → Cancel r/1#1",
            "executor: drops it"
        ]
    );
}

#[test]
fn a_task_that_fits_nobody_is_waited_for_and_then_fails() {
    let mut pair = Pair::begun(Way::Dispatch, |_, needs| {
        needs.labels.push(std::sync::Arc::from("gpu"));
    });
    pair.pass(29_000);
    assert!(pair.settled.is_empty());
    pair.pass(2_000);
    assert_eq!(pair.settled[&TaskId(0)], SettledKind::Failed);
}

#[test]
fn a_node_that_is_away_is_waited_for_as_its_profile_allows() {
    let profiles = [ProfileKind::Lan, ProfileKind::Hostile];
    let mut pair = Pair::of(profiles, |setups, needs| {
        needs.labels.push(std::sync::Arc::from("gpu"));
        let labels = &mut setups[EXECUTOR].capabilities.labels;
        labels.insert(std::sync::Arc::from("gpu"));
    });
    // It has one of the two tasks, and the other waits for it.
    pair.hold.insert("guest");
    pair.begin(Way::Dispatch);
    pair.pass(100);
    pair.cut();
    pair.pass(590_000);
    assert!(pair.settled.is_empty(), "{:?}", pair.settled);
    pair.pass(20_000);
    let failed: Vec<_> = pair.settled.values().collect();
    assert_eq!(failed, [&SettledKind::Failed]);
}

#[test]
fn progress_of_what_was_never_accepted_moves_no_deadline() {
    let mut pair = holding("deliver");
    let peer = id(EXECUTOR);
    for _ in 0..4 {
        let message = Message::ToOwner(ToOwner::Progress {
            key: key(1, 1),
            done: 1,
            total: 2,
            message: std::sync::Arc::from("soon"),
        });
        pair.event(OWNER, Event::Received { peer, message });
        pair.pass(500);
    }
    let lines = pair.lines();
    assert!(
        lines.contains(&"owner → Withdraw r/1#1".to_owned()),
        "{lines:?}"
    );
}
