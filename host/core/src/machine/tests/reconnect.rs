//! A connection that is lost, and a node that dies, at each step of one task's way: the task ends well all the same, and
//! finished work is not done twice.

use super::pair::{EXECUTOR, OWNER, Pair, Way, id};
use crate::consent::{Record, Spent};
use crate::id::{Attempt, TaskId};
use crate::profile::ProfileKind;
use crate::run::SettledKind;

/// The steps at which something can be stopped, in their order.
const STEPS: [&str; 5] = ["deliver", "bundle", "guest", "fetch", "persist"];

fn at(step: &'static str) -> Pair {
    held(&[step])
}

fn held(steps: &[&'static str]) -> Pair {
    let mut pair = Pair::of([ProfileKind::Lan; 2], |_, _| {});
    pair.hold.extend(steps);
    pair.begin(Way::Dispatch);
    pair.pass(100);
    pair.lines();
    pair
}

/// How often the guest ran.
fn guests(lines: &[String]) -> usize {
    lines
        .iter()
        .filter(|line| line.contains(": runs it"))
        .count()
}

#[test]
fn a_cut_before_the_offer_arrives_lets_the_task_stay() {
    let mut pair = at("deliver");
    pair.cut();
    assert_eq!(pair.lines(), ["--- cut"]);
    pair.release("deliver");
    pair.release("local");
    assert_eq!(pair.settled.len(), 2);
}

#[test]
fn a_cut_while_the_record_is_written_lets_the_task_stay() {
    let mut pair = held(&["reserve", "persist"]);
    pair.cut();
    pair.release("persist");
    assert_eq!(pair.lines(), ["--- cut"]);
    pair.release("local");
    assert_eq!(pair.settled.len(), 2);
}

#[test]
fn a_bundle_waits_for_its_record_and_for_a_peer_that_is_away() {
    let mut pair = at("persist");
    pair.cut();
    pair.release("persist");
    assert_eq!(pair.lines(), ["--- cut"], "it is away");
    pair.connect();
    assert_eq!(
        pair.lines()[..4],
        [
            "owner → Resume r/1#1",
            "executor → Accept r/1#1 having []",
            "owner: sends the bundle, less []",
            "executor: runs it",
        ]
    );
    assert_eq!(pair.settled[&TaskId(1)], SettledKind::Passed);
}

#[test]
fn a_number_that_was_said_and_not_recorded_is_never_used_again_after_a_restart() {
    let mut pair = at("persist");
    // What is on its way to the disk is lost.
    pair.crash(OWNER);
    pair.hold.remove("persist");
    let open = open(&pair);
    assert_eq!(open.len(), 0);
    pair.lines();
    pair.submit(open);
    pair.connect();
    // The executor still has what was offered before, and gives that up when its owner does not name it.
    pair.pass(120_000);
    let lines = pair.lines();
    let offers: Vec<&String> = lines
        .iter()
        .filter(|line| line.contains("Offer r"))
        .collect();
    assert!(
        offers.contains(&&"owner → Offer r/1#5".to_owned()),
        "{lines:#?}"
    );
    assert!(
        lines.contains(&"executor → Lost r/1#1 Bundle".to_owned()),
        "{lines:#?}"
    );
    assert_eq!(pair.settled[&TaskId(1)], SettledKind::Passed);
    assert!(!pair.machines[OWNER].roster().is_expelled(id(EXECUTOR)));
}

#[test]
fn a_cut_that_swallows_the_acceptance_occupies_the_executor_for_seconds_only() {
    let mut pair = at("accept");
    pair.cut();
    pair.connect();
    pair.pass(9_000);
    let given_up = "executor → Lost r/1#1 Bundle";
    assert!(!pair.lines().iter().any(|line| line == given_up));
    pair.pass(3_000);
    let lines = pair.lines();
    assert!(lines.iter().any(|line| line == given_up), "{lines:#?}");
    pair.release("local");
    assert_eq!(pair.settled.len(), 2);
}

#[test]
fn a_cut_while_the_bundle_flows_resumes_it() {
    let mut pair = at("bundle");
    pair.cut();
    pair.release("bundle");
    pair.connect();
    assert_eq!(
        pair.lines()[1..5],
        [
            "owner → Resume r/1#1",
            "executor → Accept r/1#1 having []",
            "owner: sends the bundle, less []",
            "executor: runs it",
        ]
    );
    assert_eq!(pair.settled[&TaskId(1)], SettledKind::Passed);
}

#[test]
fn a_cut_while_the_guest_runs_changes_nothing() {
    let mut pair = at("guest");
    pair.cut();
    pair.pass(3_000);
    pair.connect();
    pair.release("guest");
    let lines = pair.lines();
    assert_eq!(guests(&lines), 0, "it had been started before");
    assert_eq!(pair.settled[&TaskId(1)], SettledKind::Passed);
}

#[test]
fn a_guest_that_ends_while_cut_off_is_delivered_after() {
    let mut pair = at("guest");
    pair.cut();
    pair.release("guest");
    pair.lines();
    pair.connect();
    let lines = pair.lines();
    assert!(
        lines.contains(&"executor → Completed r/1#1".to_owned()),
        "{lines:?}"
    );
    assert_eq!(guests(&lines), 0);
    assert_eq!(pair.settled[&TaskId(1)], SettledKind::Passed);
}

#[test]
fn a_cut_while_outputs_are_fetched_fetches_them_again() {
    let mut pair = at("fetch");
    pair.cut();
    pair.held.clear();
    pair.hold.remove("fetch");
    pair.lines();
    pair.connect();
    let lines = pair.lines();
    assert!(
        lines.contains(&"owner: fetches the outputs".to_owned()),
        "{lines:?}"
    );
    assert_eq!(guests(&lines), 0);
    assert_eq!(pair.settled[&TaskId(1)], SettledKind::Passed);
}

#[test]
fn an_acknowledgement_that_was_lost_is_said_again() {
    let mut pair = at("fetch");
    // The owner's last words do not arrive.
    pair.hold.insert("deliver");
    pair.release("fetch");
    assert_eq!(pair.settled[&TaskId(1)], SettledKind::Passed);
    pair.cut();
    pair.release("deliver");
    pair.lines();
    pair.connect();
    assert_eq!(
        pair.lines()[..3],
        [
            "executor → Completed r/1#1",
            "owner → Settled r/1#1",
            "executor: drops it"
        ]
    );
}

#[test]
fn an_executor_that_dies_at_any_step_costs_the_task_nothing() {
    for step in STEPS {
        let mut pair = at(step);
        pair.crash(EXECUTOR);
        for step in STEPS {
            pair.release(step);
        }
        pair.connect();
        pair.pass(60_000);
        pair.release("local");
        pair.pass(60_000);
        pair.release("local");
        assert_eq!(pair.settled.len(), 2, "{step}: {:#?}", pair.log);
    }
}

#[test]
fn an_executor_that_dies_with_a_result_delivers_it_after() {
    let mut pair = at("fetch");
    pair.crash(EXECUTOR);
    pair.held.clear();
    pair.release("fetch");
    pair.lines();
    pair.connect();
    let lines = pair.lines();
    assert_eq!(guests(&lines), 0, "{lines:?}");
    assert_eq!(pair.settled[&TaskId(1)], SettledKind::Passed);
}

/// The leases of an owner's disk that no result ended.
fn open(pair: &Pair) -> Vec<Spent> {
    let records = pair.disks[OWNER].iter();
    records
        .filter_map(|record| match record {
            Record::Offered { key, peer, nonce } => Some(Spent {
                task: key.task,
                attempt: key.attempt,
                open: Some((*peer, *nonce)),
            }),
            _ => None,
        })
        .collect()
}

#[test]
fn an_owner_that_dies_while_the_guest_runs_takes_its_result_after() {
    let mut pair = at("guest");
    pair.crash(OWNER);
    pair.event(
        EXECUTOR,
        crate::machine::Event::Disconnected { peer: id(OWNER) },
    );
    let open = open(&pair);
    assert_eq!(open.len(), 1);
    assert_eq!((open[0].task, open[0].attempt), (TaskId(1), Attempt(1)));
    pair.release("guest");
    pair.lines();
    pair.submit(open);
    pair.connect();
    let lines = pair.lines();
    assert_eq!(guests(&lines), 0, "{lines:?}");
    assert_eq!(pair.settled[&TaskId(1)], SettledKind::Passed, "{lines:#?}");
}

#[test]
fn an_owner_that_comes_back_in_another_mesh_blames_nobody() {
    let mut pair = at("guest");
    pair.setups[OWNER].mesh = Some(crate::id::NodeId([8; 32]));
    pair.crash(OWNER);
    let gone = crate::machine::Event::Disconnected { peer: id(OWNER) };
    pair.event(EXECUTOR, gone);
    let open = open(&pair);
    pair.release("guest");
    pair.lines();
    pair.submit(open);
    pair.connect();
    let lines = pair.lines();
    // Signed for the mesh that it was granted in, which is not looked at any more: it is done again.
    assert!(
        lines.contains(&"owner → Settled r/1#1".to_owned()),
        "{lines:?}"
    );
    assert_eq!(guests(&lines), 1, "{lines:?}");
    assert_eq!(pair.settled[&TaskId(1)], SettledKind::Passed, "{lines:#?}");
}

#[test]
fn an_owner_that_dies_at_any_step_goes_on_when_it_is_resumed() {
    for step in STEPS {
        let mut pair = at(step);
        pair.crash(OWNER);
        for step in STEPS {
            pair.release(step);
        }
        let open = open(&pair);
        pair.submit(open);
        pair.connect();
        pair.pass(300_000);
        pair.release("local");
        pair.pass(300_000);
        pair.release("local");
        assert_eq!(pair.settled.len(), 2, "{step}: {:#?}", pair.log);
    }
}

#[test]
fn an_executor_that_knows_nothing_of_a_lease_says_so_at_once() {
    let mut pair = at("guest");
    pair.crash(EXECUTOR);
    pair.lines();
    pair.connect();
    assert_eq!(
        pair.lines()[..2],
        ["owner → Resume r/1#1", "executor → Lost r/1#1 Unknown"]
    );
}

/// An owner that dies at this step, and comes back knowing its open leases.
fn reborn(step: &'static str) -> (Pair, Vec<Spent>) {
    let mut pair = at(step);
    pair.crash(OWNER);
    for step in STEPS {
        pair.release(step);
    }
    pair.lines();
    let open = open(&pair);
    assert_eq!(open.len(), 1);
    (pair, open)
}

#[test]
fn an_offer_that_never_arrived_is_no_loss_of_the_peer_and_is_made_again_at_once() {
    let (mut pair, open) = reborn("deliver");
    pair.submit(open);
    pair.connect();
    let lines = pair.lines();
    assert!(
        lines.contains(&"executor → Lost r/1#1 Unknown".to_owned()),
        "{lines:#?}"
    );
    assert_eq!(guests(&lines), 1, "{lines:#?}");
    assert_eq!(pair.settled[&TaskId(1)], SettledKind::Passed);
}

#[test]
fn a_result_of_what_the_task_was_made_of_before_a_restart_is_dropped_and_nobody_blamed() {
    let (mut pair, open) = reborn("guest");
    pair.needs.digest = crate::id::Digest::of(b"other content");
    pair.submit(open);
    pair.connect();
    let lines = pair.lines();
    assert!(
        lines.contains(&"owner → Settled r/1#1".to_owned()),
        "{lines:#?}"
    );
    assert_eq!(guests(&lines), 1, "{lines:#?}");
    assert_eq!(pair.settled[&TaskId(1)], SettledKind::Passed);
    assert!(!pair.machines[OWNER].roster().is_expelled(id(EXECUTOR)));
}

#[test]
fn a_result_of_an_instance_that_is_no_more_after_a_restart_is_dropped_and_nobody_blamed() {
    let (mut pair, open) = reborn("guest");
    pair.tasks = 1;
    pair.submit(open);
    pair.connect();
    let lines = pair.lines();
    assert!(
        lines.contains(&"owner → Settled r/1#1".to_owned()),
        "{lines:#?}"
    );
    assert!(!pair.machines[OWNER].roster().is_expelled(id(EXECUTOR)));
}
