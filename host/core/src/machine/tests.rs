//! The protocol between two machines, said line by line: its way, each no, each wait that ends, each place where a
//! connection or a node can be lost.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod declines;
mod pair;
mod receipts;
mod reconnect;
mod waits;

use pair::{EXECUTOR, OWNER, Pair, Way, key, run_id};

use crate::consent::{Message, Piece, ToExecutor, ToOwner};
use crate::id::TaskId;
use crate::machine::{Event, StepKind};
use crate::policy::ConsentMode;
use crate::run::SettledKind;
use crate::sim::sign;

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

#[test]
fn an_offer_with_a_reserved_number_is_said_at_once_and_its_bundle_waits_for_the_record() {
    let mut pair = Pair::of([crate::profile::ProfileKind::Lan; 2], |_, _| {});
    pair.hold.insert("persist");
    pair.begin(Way::Dispatch);
    pair.pass(100);
    let lines = pair.lines();
    assert_eq!(lines[1..], ONE_TASKS_WAY[..3], "nothing leaves yet");
    pair.release("persist");
    assert_eq!(pair.lines(), ONE_TASKS_WAY[3..]);
}

#[test]
fn an_offer_whose_number_is_not_reserved_waits_for_its_own_record() {
    let mut pair = Pair::of([crate::profile::ProfileKind::Lan; 2], |_, _| {});
    pair.hold.extend(["reserve", "persist"]);
    pair.begin(Way::Dispatch);
    pair.pass(100);
    assert_eq!(pair.lines()[1..], ONE_TASKS_WAY[..1]);
    pair.release("persist");
    assert_eq!(pair.lines(), ONE_TASKS_WAY[1..]);
}

#[test]
fn an_offer_that_was_said_and_cannot_be_recorded_is_taken_back_and_nobody_blamed() {
    let mut pair = Pair::of([crate::profile::ProfileKind::Lan; 2], |_, _| {});
    pair.hold.insert("persist");
    pair.begin(Way::Dispatch);
    pair.pass(100);
    pair.lines();
    pair.fail.insert("disk");
    pair.release("persist");
    assert_eq!(
        pair.lines(),
        ["owner → Cancel r/1#1", "executor: drops it"],
        "it had been accepted"
    );
    pair.release("local");
    assert_eq!(pair.settled.len(), 2);
}

#[test]
fn a_result_of_what_no_bundle_was_sent_of_is_an_offence() {
    let mut pair = Pair::of([crate::profile::ProfileKind::Lan; 2], |_, _| {});
    pair.hold.insert("persist");
    pair.hold.insert("deliver");
    pair.begin(Way::Dispatch);
    let offer = pair.held.iter().find_map(|(_, action)| match action {
        super::Action::Send {
            message: Message::ToExecutor(ToExecutor::Offer(offer)),
            ..
        } => Some(offer.clone()),
        _ => None,
    });
    pair.release("deliver");
    pair.lines();
    let (peer, offer) = (pair::id(EXECUTOR), offer.unwrap());
    let claim = sign::sealed_in(offer.mesh, peer, &offer.key, pair::claim(&offer));
    let message = Message::ToOwner(ToOwner::Completed {
        key: key(1, 1),
        claim,
        outputs: Piece::default(),
    });
    pair.event(OWNER, Event::Received { peer, message });
    assert_eq!(pair.lines(), ["owner: expels for NeverGranted"]);
}

/// A word about a bundle, with what it says of itself.
fn bundle(task: u32, (at, of, len): (u64, u64, usize)) -> Event {
    let bytes = vec![0; len];
    let message = Message::ToExecutor(ToExecutor::Bundle {
        key: key(task, 1),
        piece: Piece { at, of, bytes },
    });
    let peer = pair::id(OWNER);
    Event::Received { peer, message }
}

#[test]
fn a_bundle_of_a_lease_that_is_not_known_is_answered_and_one_that_was_heard_changes_nothing() {
    let mut pair = Pair::of([crate::profile::ProfileKind::Lan; 2], |_, _| {});
    pair.hold.insert("guest");
    pair.begin(Way::Dispatch);
    pair.pass(100);
    pair.lines();
    pair.event(EXECUTOR, bundle(1, (0, 0, 0)));
    assert_eq!(pair.lines(), [""; 0], "its guest runs");
    pair.event(EXECUTOR, bundle(7, (0, 3, 3)));
    assert_eq!(pair.lines()[0], "executor → Lost r/7#1 Unknown");
}

#[test]
fn a_piece_that_says_more_than_may_be_or_holds_more_than_it_says_is_an_offence() {
    let most = crate::consent::MAX_INLINE_BYTES;
    for said in [(0, most + 1, 0), (0, 2, 3), (u64::MAX, 9, 9), (9, 9, 1)] {
        let mut pair = Pair::of([crate::profile::ProfileKind::Lan; 2], |_, _| {});
        pair.hold.insert("bundle");
        pair.begin(Way::Dispatch);
        pair.pass(100);
        pair.lines();
        pair.event(EXECUTOR, bundle(1, said));
        let lines = pair.lines();
        assert_eq!(lines[0], "executor: expels for Oversize", "{said:?}");
    }
}

#[test]
fn what_goes_in_messages_is_one_message_and_all_of_it_where_an_end_takes_nothing_else() {
    use crate::profile::ArtifactLimit;
    for (limit, missing, inline) in [
        (ArtifactLimit::Unlimited, 49_152, 49_152),
        (ArtifactLimit::Unlimited, 49_153, 0),
        (ArtifactLimit::AtMost(20_000), 20_000, 20_000),
        (ArtifactLimit::Inline, 131_072, 131_072),
    ] {
        let mut pair = Pair::of([crate::profile::ProfileKind::Lan; 2], |setups, needs| {
            setups[EXECUTOR].capabilities.artifacts = limit;
            (needs.component_bytes, needs.input_bytes) = (missing / 2, missing - missing / 2);
            needs.blobs.clear();
        });
        pair.hold.insert("bundle");
        pair.begin(Way::Dispatch);
        pair.pass(100);
        let sent = pair.held.iter().find_map(|(_, action)| match action {
            super::Action::SendBundle { inline, .. } => Some(*inline),
            _ => None,
        });
        assert_eq!(sent, Some(inline), "{limit:?} {missing}");
    }
}
