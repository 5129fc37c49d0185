//! The protocol between two machines, said line by line: its way, each no, each wait that ends, each place where a
//! connection or a node can be lost.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod declines;
mod pair;
mod receipts;
mod reconnect;
mod waits;

use pair::{EXECUTOR, OWNER, Pair, Way, key, run_id};

use crate::consent::{Message, ToExecutor, ToOwner};
use crate::id::TaskId;
use crate::machine::{Event, StepKind};
use crate::policy::ConsentMode;
use crate::run::SettledKind;

/// The six messages of the diagram, with what is durable and done between them.
const ONE_TASKS_WAY: [&str; 13] = [
    "owner: persists Offered r/1#1",
    "owner → Offer r/1#1",
    "executor → Accept r/1#1 having []",
    "owner: sends the bundle, less []",
    "executor: runs it",
    "executor → Started r/1#1",
    "executor: persists Finished r/1#1",
    "executor → Completed r/1#1",
    "owner: fetches the outputs",
    "owner: persists Committed r/1#1",
    "owner → Acked r/1#1",
    "owner: 1 passed",
    "executor: drops it",
];

#[test]
fn a_stolen_task_goes_the_diagrams_way() {
    let mut pair = Pair::begun(Way::Steal, |_, _| {});
    pair.pass(1000);
    let mut expected = vec!["owner: runs 0#1 here", "executor → Idle 1"];
    expected.extend(&ONE_TASKS_WAY[..7]);
    // Its guest has ended: it asks for the next while this one's result is still under way.
    expected.extend([
        "executor → Idle 1",
        "executor → Completed r/1#1",
        "owner → NoWork",
    ]);
    expected.extend(&ONE_TASKS_WAY[8..]);
    assert_eq!(pair.lines(), expected);
    assert_eq!(pair.settled[&TaskId(1)], SettledKind::Passed);
}

#[test]
fn a_dispatched_task_goes_the_same_way_without_having_been_asked_for() {
    let mut pair = Pair::begun(Way::Dispatch, |_, _| {});
    pair.pass(1000);
    let mut expected = vec!["owner: runs 0#1 here"];
    expected.extend(ONE_TASKS_WAY);
    assert_eq!(pair.lines(), expected);
}

#[test]
fn the_run_ends_when_both_tasks_have() {
    let mut pair = Pair::begun(Way::Dispatch, |_, _| {});
    pair.pass(1000);
    pair.release("local");
    let status = pair.machines[OWNER].finished(&run_id()).unwrap();
    assert_eq!(status.counts.passed, 2);
}

#[test]
fn what_happened_to_a_task_is_kept_for_people() {
    let mut pair = Pair::begun(Way::Dispatch, |_, _| {});
    pair.pass(1000);
    let steps = pair.machines[OWNER].steps(&run_id(), TaskId(1));
    let kinds: Vec<&StepKind> = steps.iter().map(|step| &step.what).collect();
    let [
        StepKind::Offered { asked: false },
        StepKind::Accepted,
        StepKind::Started,
        StepKind::Ran { .. },
    ] = kinds[..]
    else {
        panic!("{kinds:?}");
    };
    let picture = pair.machines[OWNER].snapshot(&run_id(), pair.now).unwrap();
    assert_eq!(picture.journeys[&TaskId(1)], steps);
}

#[test]
fn nothing_leaves_a_run_that_stays_here() {
    let mut pair = Pair::of([crate::profile::ProfileKind::Lan; 2], |_, _| {});
    pair.mode = super::Mode::Solo;
    pair.connect();
    pair.submit(Vec::new());
    pair.pass(600_000);
    assert_eq!(pair.lines(), ["owner: runs 0#1 here"]);
}

#[test]
fn a_run_that_is_not_to_be_stolen_from_answers_that_there_is_no_work() {
    let mut pair = Pair::begun(Way::Dispatch, |setups, _| {
        setups[EXECUTOR].policy.mode = ConsentMode::Never;
    });
    pair.lines();
    let message = Message::ToOwner(ToOwner::Idle { free: 1 });
    let peer = pair::id(EXECUTOR);
    pair.event(OWNER, Event::Received { peer, message });
    assert_eq!(pair.lines(), ["owner → NoWork"]);
}

#[test]
fn a_person_who_says_yes_is_waited_for() {
    let mut pair = Pair::begun(Way::Dispatch, |setups, _| {
        setups[EXECUTOR].policy.mode = ConsentMode::Ask;
    });
    pair.pass(5000);
    let lines = pair.lines();
    assert_eq!(
        lines[1..],
        [
            "owner: persists Offered r/1#1",
            "owner → Offer r/1#1",
            "executor → Pending r/1#1",
            "executor: asks a person",
        ]
    );
    let owner = pair::id(OWNER);
    let key = key(1, 1);
    let yes = true;
    pair.event(EXECUTOR, Event::Decided { owner, key, yes });
    assert_eq!(pair.lines()[..11], ONE_TASKS_WAY[2..]);
}

#[test]
fn an_interrupt_tells_the_executor_and_waits_for_nobody_else() {
    let mut pair = Pair::of([crate::profile::ProfileKind::Lan; 2], |_, _| {});
    pair.hold.insert("guest");
    pair.begin(Way::Dispatch);
    pair.pass(100);
    pair.lines();
    pair.event(OWNER, Event::Interrupt { run: run_id() });
    assert_eq!(
        pair.lines(),
        [
            "owner: 1 cancelled",
            "owner → Cancel r/1#1",
            "executor: drops it"
        ]
    );
}

#[test]
fn an_expelled_peer_is_not_spoken_to_again() {
    let mut pair = Pair::of([crate::profile::ProfileKind::Lan; 2], |_, _| {});
    pair.hold.insert("guest");
    pair.begin(Way::Dispatch);
    pair.pass(100);
    pair.lines();
    let peer = pair::id(EXECUTOR);
    let forged = Message::ToOwner(ToOwner::Started { key: key(1, 9) });
    pair.event(
        OWNER,
        Event::Received {
            peer,
            message: forged,
        },
    );
    assert_eq!(pair.lines(), ["owner: expels for NeverGranted"]);
    pair.cut();
    pair.connect();
    pair.lines();
    pair.pass(300_000);
    let said = pair.lines();
    assert!(
        said.iter().all(|line| !line.starts_with("owner →")),
        "{said:?}"
    );
}

#[test]
fn an_offer_that_is_heard_twice_is_taken_once() {
    let mut pair = Pair::of([crate::profile::ProfileKind::Lan; 2], |_, _| {});
    pair.hold.insert("bundle");
    pair.hold.insert("deliver");
    pair.begin(Way::Dispatch);
    let offer = pair.held.iter().find_map(|(_, action)| match action {
        super::Action::Send {
            message: message @ Message::ToExecutor(ToExecutor::Offer(_)),
            ..
        } => Some(message.clone()),
        _ => None,
    });
    pair.release("deliver");
    pair.lines();
    let message = offer.unwrap();
    let peer = pair::id(OWNER);
    pair.event(EXECUTOR, Event::Received { peer, message });
    assert_eq!(
        pair.lines(),
        [
            "executor → Accept r/1#1 having []",
            "owner: sends the bundle, less []",
        ]
    );
    assert_eq!(pair.machines[EXECUTOR].executor.running(), 1);
}

#[test]
fn a_peer_that_asks_in_vain_without_end_is_expelled() {
    let mut pair = Pair::of([crate::profile::ProfileKind::Lan; 2], |_, _| {});
    pair.connect();
    let peer = pair::id(EXECUTOR);
    for _ in 0..601 {
        let message = Message::ToOwner(ToOwner::Idle { free: u32::MAX });
        pair.event(OWNER, Event::Received { peer, message });
    }
    let lines = pair.lines();
    assert_eq!(lines.last().unwrap(), "owner: expels for Flood");
    assert_eq!(lines.len(), 602, "a no for each question");
}
