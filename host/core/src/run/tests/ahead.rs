//! Instances of short tasks, handed out before a slot is free: who is, how they are shown, and how they are asked back.

use super::edge::{Edge, task};
use crate::run::{RunOptions, Verdict};
use crate::time::Tick;

fn ahead(slots: u32, hand_ahead: u32) -> impl FnOnce(&mut RunOptions) {
    move |options| {
        options.slots = slots;
        options.hand_ahead = hand_ahead;
    }
}

/// Four instances of `a`, prepared; the first one has run, in no time.
fn short_ones(keep_going: bool) -> Edge {
    let mut edge = Edge::of_with(&[task("a").shards(5), task("z").ms(0)], |options| {
        ahead(1, 2)(options);
        options.prepare_ahead = 10;
        options.keep_going = keep_going;
    });
    edge.begin();
    (1..=5).for_each(|n| edge.miss(&format!("a[{n}/5]")));
    edge.miss("z");
    assert!(edge.take().ends_with(&["execute a[1/5] 1".to_owned()]));
    edge.pass("a[1/5]");
    edge
}

#[test]
fn short_tasks_are_handed_out_ahead_and_shown_as_ready() {
    let mut edge = short_ones(false);
    edge.expect(&[
        "a[1/5] passed",
        "execute a[2/5] 1",
        "execute a[3/5] 1",
        "execute a[4/5] 1",
    ]);
    let snapshot = edge.run.snapshot(edge.now);
    assert_eq!((snapshot.counts.running, snapshot.counts.ready), (1, 4));
    assert_eq!(
        (
            snapshot.tasks[0].counts.running,
            snapshot.tasks[0].counts.ready
        ),
        (1, 3)
    );
    let running: Vec<&str> = snapshot.running.iter().map(|one| &*one.label).collect();
    assert_eq!(running, ["a[2/5]"]);
    edge.pass("a[2/5]");
    edge.expect(&["a[2/5] passed", "execute a[5/5] 1"]);
    let snapshot = edge.run.snapshot(edge.now);
    assert_eq!(snapshot.running[0].label, "a[3/5]");
    // `z` was never run: nobody knows whether it is short, so it waits until a slot is free.
    edge.pass("a[3/5]");
    edge.expect(&["a[3/5] passed"]);
    edge.pass("a[4/5]");
    edge.expect(&["a[4/5] passed"]);
    edge.pass("a[5/5]");
    edge.expect(&["a[5/5] passed", "execute z 1"]);
    edge.pass("z");
    edge.expect(&["z passed", "finish passed"]);
}

#[test]
fn long_tasks_are_not_handed_out_ahead() {
    let mut edge = Edge::of_with(&[task("a").shards(4)], ahead(1, 8));
    edge.begin();
    (1..=4).for_each(|n| edge.miss(&format!("a[{n}/4]")));
    edge.take();
    edge.now = Tick(1);
    edge.pass("a[1/4]");
    edge.expect(&["a[1/4] passed", "execute a[2/4] 1"]);
    // On average they are still long: 1,000 and 0 microseconds.
    edge.pass("a[2/4]");
    edge.expect(&["a[2/4] passed", "execute a[3/4] 1"]);
    edge.pass("a[3/4]");
    edge.expect(&["a[3/4] passed", "execute a[4/4] 1"]);
    edge.pass("a[4/4]");
    edge.expect(&["a[4/4] passed", "finish passed"]);
}

#[test]
fn after_a_failure_what_was_handed_out_ahead_is_asked_back() {
    let mut edge = short_ones(false);
    edge.take();
    edge.fail("a[2/5]");
    edge.expect(&[
        "a[2/5] failed",
        "recall a[4/5] 1",
        "a[5/5] cancelled",
        "z cancelled",
    ]);
    // The one in the slot may end; one that was asked back may have been quicker.
    edge.pass("a[3/5]");
    edge.expect(&["a[3/5] passed"]);
    edge.verdict("a[4/5]", 1, Verdict::Cancelled);
    edge.expect(&["a[4/5] cancelled", "finish failed"]);

    let mut edge = short_ones(true);
    edge.take();
    edge.fail("a[2/5]");
    edge.expect(&["a[2/5] failed", "execute a[5/5] 1"]);
    (3..=5).for_each(|n| edge.pass(&format!("a[{n}/5]")));
    edge.pass("z");
    assert_eq!(edge.take().last().unwrap(), "finish failed");
}
