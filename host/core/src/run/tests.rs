//! The machine, driven by a fake edge that must end empty: every action is expected, and nothing else comes.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod ahead;
mod edge;
mod sim;

use super::*;
use edge::{Edge, SLOTS, digest, failure, plan, task};

/// How long attempts run where it does not matter, in microseconds: too long to be handed out ahead.
const RAN: u64 = 1000;

/// `a` (3 instances) before `b`; `c` alone.
fn fan_in() -> Edge {
    Edge::of(&[task("a").shards(3), task("b").after(&["a"]), task("c")])
}

#[test]
fn a_chain_runs_in_order() {
    let mut edge = Edge::of(&[task("a"), task("b").after(&["a"])]);
    edge.begin();
    edge.expect(&["prepare a"]);
    edge.miss("a");
    edge.expect(&["execute a 1"]);
    edge.pass("a");
    edge.expect(&["a passed", "prepare b"]);
    edge.hit("b");
    edge.expect(&["b cached", "finish passed"]);
    let counts = edge.run.finished().unwrap().counts;
    assert_eq!(
        counts,
        Counts {
            passed: 1,
            cached: 1,
            ..Counts::default()
        }
    );
    assert_eq!(edge.run.next_timeout(), None);
}

#[test]
fn an_instance_waits_for_all_instances_of_what_it_comes_after() {
    let mut edge = fan_in();
    edge.begin();
    edge.expect(&[
        "prepare a[1/3]",
        "prepare a[2/3]",
        "prepare a[3/3]",
        "prepare c",
    ]);
    for label in ["a[1/3]", "a[3/3]", "c"] {
        edge.hit(label);
        edge.expect(&[&format!("{label} cached")]);
    }
    edge.miss("a[2/3]");
    edge.expect(&["execute a[2/3] 1"]);
    edge.pass("a[2/3]");
    edge.expect(&["a[2/3] passed", "prepare b"]);
    edge.hit("b");
    edge.expect(&["b cached", "finish passed"]);
}

#[test]
fn no_more_execute_than_slots_and_preparation_is_bounded() {
    let mut edge = Edge::of(&[task("a").shards(100)]);
    edge.begin();
    let ahead = SLOTS as usize * PREPARE_AHEAD;
    let prepared = edge.take();
    assert_eq!(prepared.len(), ahead);
    for (n, line) in prepared.iter().enumerate() {
        let label = line.strip_prefix("prepare ").unwrap();
        edge.miss(label);
        let expected = if n < SLOTS as usize {
            vec!["execute", "prepare"]
        } else {
            vec![]
        };
        let verbs: Vec<String> = edge
            .take()
            .iter()
            .map(|line| line.split(' ').next().unwrap().into())
            .collect();
        assert_eq!(
            verbs, expected,
            "while slots are free each makes room for one more"
        );
    }
    edge.pass("a[1/100]");
    assert_eq!(
        edge.take(),
        ["a[1/100] passed", "execute a[3/100] 1", "prepare a[11/100]"]
    );
}

#[test]
fn the_longest_way_to_the_end_starts_first() {
    let tasks = [
        task("short").ms(10),
        task("long").ms(50),
        task("head").ms(20),
        task("tail").after(&["head"]).ms(60),
    ];
    let mut edge = Edge::of_with(&tasks, |options| options.slots = 1);
    edge.begin();
    edge.expect(&["prepare head", "prepare long", "prepare short"]);
    edge.miss("short");
    edge.expect(&["execute short 1"]);
    edge.miss("long");
    edge.miss("head");
    edge.expect(&[]);
    edge.pass("short");
    edge.expect(&["short passed", "execute head 1"]);
    edge.pass("head");
    edge.expect(&["head passed", "execute long 1", "prepare tail"]);
}

#[test]
fn retries_are_a_budget_of_failures_and_non_results_together() {
    let mut edge = Edge::of(&[task("a").retries(2)]);
    edge.begin();
    edge.miss("a");
    edge.expect(&["prepare a", "execute a 1"]);
    edge.fail("a");
    edge.expect(&["execute a 2"]);
    edge.verdict("a", 2, Verdict::NonResult { failure: failure() });
    edge.expect(&["execute a 3"]);
    edge.verdict("a", 3, Verdict::Cancelled);
    edge.expect(&["a failed", "finish failed"]);
    let snapshot = edge.run.snapshot(edge.now);
    assert_eq!(snapshot.tasks[0].retried, 2);
    assert_eq!(
        (
            snapshot.failures[0].attempts,
            snapshot.failures[0].failure.code
        ),
        (3, "task::cancelled")
    );
}

#[test]
fn what_would_fail_again_is_not_tried_again() {
    let mut edge = Edge::of(&[task("a").retries(9)]);
    edge.begin();
    edge.miss("a");
    edge.expect(&["prepare a", "execute a 1"]);
    edge.verdict(
        "a",
        1,
        Verdict::Failed {
            failure: failure(),
            retryable: false,
        },
    );
    edge.expect(&["a failed", "finish failed"]);
}

#[test]
fn replies_of_another_attempt_or_a_second_time_change_nothing() {
    let mut edge = Edge::of(&[task("a").retries(1), task("b").after(&["a"])]);
    edge.pass("a");
    edge.hit("a");
    edge.expect(&[]);
    edge.begin();
    edge.begin();
    edge.expect(&["prepare a"]);
    edge.pass("a");
    edge.hit("b");
    edge.expect(&[]);
    edge.miss("a");
    edge.hit("a");
    edge.expect(&["execute a 1"]);
    edge.fail("a");
    edge.expect(&["execute a 2"]);
    edge.fail("a");
    edge.pass("a");
    edge.verdict("a", 3, Verdict::Passed);
    edge.event(Event::Finished {
        task: TaskId(77),
        attempt: Attempt(1),
        verdict: Verdict::Passed,
        ran_us: RAN,
    });
    edge.event(Event::Prepared {
        task: TaskId(u32::MAX),
        digest: digest(),
        hit: true,
    });
    edge.expect(&[]);
    edge.verdict("a", 2, Verdict::Passed);
    edge.expect(&["a passed", "prepare b"]);
    edge.verdict("a", 2, Verdict::Passed);
    edge.expect(&[]);
}

#[test]
fn after_a_failure_nothing_starts_and_what_runs_may_end() {
    let tasks = [
        task("a"),
        task("b"),
        task("c"),
        task("after_a").after(&["a"]),
        task("later").after(&["after_a", "b"]),
    ];
    let mut edge = Edge::of(&tasks);
    edge.begin();
    edge.expect(&["prepare a", "prepare b", "prepare c"]);
    edge.miss("a");
    edge.miss("b");
    edge.expect(&["execute a 1", "execute b 1"]);
    edge.fail("a");
    edge.expect(&[
        "a failed",
        "after_a skipped",
        "later skipped",
        "c cancelled",
    ]);
    edge.hit("c");
    edge.expect(&[]);
    assert_eq!(
        edge.run.snapshot(edge.now).stopping,
        Some(StopReason::Failure)
    );
    edge.pass("b");
    edge.expect(&["b passed", "finish failed"]);
}

#[test]
fn while_stopping_a_failure_is_not_tried_again() {
    let mut edge = Edge::of(&[task("a"), task("b").retries(5)]);
    edge.begin();
    edge.miss("a");
    edge.miss("b");
    edge.take();
    edge.fail("a");
    edge.expect(&["a failed"]);
    edge.fail("b");
    edge.expect(&["b failed", "finish failed"]);
}

#[test]
fn keep_going_skips_exactly_what_depends_on_the_failure() {
    let tasks = [
        task("a").shards(2),
        task("b").after(&["a"]).shards(2),
        task("c").after(&["b"]),
        task("d"),
        task("e").after(&["d"]),
    ];
    let mut edge = Edge::of_with(&tasks, |options| options.keep_going = true);
    edge.begin();
    edge.expect(&["prepare a[1/2]", "prepare a[2/2]", "prepare d"]);
    edge.event(Event::PrepareFailed {
        task: edge.id("a[1/2]"),
        reason: failure(),
    });
    edge.expect(&[
        "a[1/2] failed",
        "b[1/2] skipped",
        "b[2/2] skipped",
        "c skipped",
    ]);
    edge.hit("d");
    edge.expect(&["d cached", "prepare e"]);
    edge.event(Event::PrepareFailed {
        task: edge.id("a[2/2]"),
        reason: failure(),
    });
    edge.expect(&["a[2/2] failed"]);
    edge.hit("e");
    edge.expect(&["e cached", "finish failed"]);
    let counts = Counts {
        cached: 2,
        failed: 2,
        skipped: 3,
        ..Counts::default()
    };
    assert_eq!(edge.run.finished().unwrap().counts, counts);
}

#[test]
fn an_interrupt_cancels_and_waits_for_what_runs() {
    let mut edge = fan_in();
    edge.begin();
    edge.miss("a[1/3]");
    edge.miss("a[2/3]");
    edge.take();
    edge.event(Event::Interrupt);
    edge.expect(&[
        "cancel a[1/3] 1",
        "cancel a[2/3] 1",
        "a[3/3] cancelled",
        "b cancelled",
        "c cancelled",
    ]);
    edge.pass("a[1/3]");
    edge.expect(&["a[1/3] passed"]);
    edge.verdict("a[2/3]", 1, Verdict::Cancelled);
    edge.expect(&["a[2/3] cancelled", "finish interrupted"]);
}

#[test]
fn a_second_interrupt_does_not_wait() {
    let mut edge = Edge::of(&[task("a")]);
    edge.begin();
    edge.miss("a");
    edge.take();
    edge.event(Event::Interrupt);
    edge.expect(&["cancel a 1"]);
    edge.event(Event::Interrupt);
    edge.expect(&["a cancelled", "finish interrupted"]);
    edge.verdict("a", 1, Verdict::Cancelled);
    edge.expect(&[]);
}

#[test]
fn those_that_do_not_answer_a_cancel_are_given_up() {
    let mut edge = Edge::of(&[task("a")]);
    edge.begin();
    edge.miss("a");
    edge.take();
    edge.event(Event::Interrupt);
    edge.expect(&["cancel a 1"]);
    let until = edge.run.next_timeout().unwrap();
    assert_eq!(until, edge.now.after_ms(CANCEL_GRACE_MS));
    edge.now = Tick(until.0 - 1);
    edge.event(Event::Timeout);
    edge.expect(&[]);
    edge.now = until;
    edge.event(Event::Timeout);
    edge.expect(&["a cancelled", "finish interrupted"]);
}

#[test]
fn the_time_limit_of_the_run_cancels_it() {
    let mut edge = Edge::of_with(&[task("a"), task("b").after(&["a"])], |options| {
        options.timeout_ms = Some(500)
    });
    assert_eq!(edge.run.next_timeout(), None);
    edge.now = Tick(1000);
    edge.begin();
    edge.miss("a");
    edge.expect(&["prepare a", "execute a 1"]);
    assert_eq!(edge.run.next_timeout(), Some(Tick(1500)));
    edge.now = Tick(1499);
    edge.event(Event::Timeout);
    edge.expect(&[]);
    edge.now = Tick(1500);
    edge.event(Event::Timeout);
    edge.expect(&["cancel a 1", "b cancelled"]);
    edge.verdict("a", 1, Verdict::NonResult { failure: failure() });
    edge.expect(&["a cancelled", "finish timed-out"]);
}

#[test]
fn a_run_that_is_done_when_it_is_interrupted_has_passed() {
    let mut edge = Edge::of(&[task("a")]);
    edge.begin();
    edge.miss("a");
    edge.event(Event::Interrupt);
    edge.take();
    edge.pass("a");
    edge.expect(&["a passed", "finish passed"]);
}

#[test]
fn an_interrupt_before_the_beginning_ends_it() {
    let mut edge = fan_in();
    edge.event(Event::Interrupt);
    let labels = [
        "a[1/3] cancelled",
        "a[2/3] cancelled",
        "a[3/3] cancelled",
        "b cancelled",
        "c cancelled",
    ];
    edge.expect(&[&labels[..], &["finish interrupted"]].concat());
    edge.begin();
    edge.expect(&[]);
}

#[test]
fn a_selection_brings_what_it_depends_on_and_nothing_else() {
    let tasks = [
        task("a").shards(2),
        task("b").after(&["a"]).shards(2),
        task("c").after(&["b"]),
        task("d"),
    ];
    let select = |wanted: &[&str]| {
        let plan = plan(&tasks);
        let selected = plan
            .tasks
            .iter()
            .map(|instance| wanted.contains(&&*instance.label))
            .collect();
        Edge::of_with(&tasks, |options| options.selected = Some(selected))
    };
    let mut edge = select(&["b[2/2]"]);
    assert!(edge.run.includes(edge.id("a[1/2]")) && !edge.run.includes(edge.id("b[1/2]")));
    edge.begin();
    edge.expect(&["prepare a[1/2]", "prepare a[2/2]"]);
    edge.hit("a[1/2]");
    edge.hit("a[2/2]");
    edge.expect(&["a[1/2] cached", "a[2/2] cached", "prepare b[2/2]"]);
    let snapshot = edge.run.snapshot(edge.now);
    let names: Vec<&str> = snapshot
        .tasks
        .iter()
        .map(|task| task.name.as_str())
        .collect();
    assert_eq!((names, snapshot.counts.total), (vec!["a", "b"], 3));
    edge.hit("b[2/2]");
    edge.expect(&["b[2/2] cached", "finish passed"]);

    let mut edge = select(&[]);
    edge.begin();
    edge.expect(&["finish passed"]);
}

/// At tick 350, 250 after the beginning: one instance of `a` runs, one was cached, `c` is being prepared.
fn half_way() -> Edge {
    let mut edge = fan_in();
    edge.now = Tick(100);
    edge.begin();
    edge.miss("a[1/3]");
    edge.hit("a[3/3]");
    edge.take();
    edge.now = Tick(350);
    edge
}

fn progress(task: u32, attempt: u32, message: &str) -> Event {
    let (task, attempt, message) = (TaskId(task), Attempt(attempt), message.to_owned());
    Event::Progress {
        task,
        attempt,
        done: 3,
        total: 7,
        message,
    }
}

#[test]
fn a_snapshot_shows_what_runs() {
    use crate::snapshot::TaskState::{Running, Waiting};
    let mut edge = half_way();
    edge.event(progress(0, 1, &"é".repeat(5000)));
    edge.event(progress(0, 2, "another attempt"));
    edge.event(progress(2, 1, "not running"));
    let snapshot = edge.run.snapshot(Tick(400));
    assert_eq!(snapshot.elapsed_ms, 300);
    let states: Vec<_> = snapshot
        .tasks
        .iter()
        .map(|task| (task.name.as_str(), task.state))
        .collect();
    assert_eq!(states, [("a", Running), ("b", Waiting), ("c", Running)]);
    assert_eq!(snapshot.tasks[1].elapsed_ms, None);
    let [running] = &snapshot.running[..] else {
        panic!("one instance runs")
    };
    assert_eq!(
        (&*running.label, running.attempt, running.elapsed_ms),
        ("a[1/3]", Attempt(1), 300)
    );
    assert_eq!((running.done, running.total), (3, 7));
    assert_eq!(running.message, "é".repeat(MAX_MESSAGE_CHARS));
}

#[test]
fn a_snapshot_shows_how_it_ended() {
    let mut edge = half_way();
    edge.now = Tick(500);
    edge.pass("a[1/3]");
    edge.hit("a[2/3]");
    edge.event(Event::PrepareFailed {
        task: edge.id("c"),
        reason: failure(),
    });
    edge.take();
    let snapshot = edge.run.snapshot(Tick(9000));
    assert_eq!(
        snapshot.elapsed_ms, 400,
        "a run that has ended stands still"
    );
    let told = serde_json::to_value(&snapshot).unwrap();
    let expected = serde_json::json!({
        "elapsed_ms": 400,
        "stopping": null,
        "status": {
            "outcome": "failed",
            "counts": {"passed": 1, "cached": 2, "failed": 1, "skipped": 0, "cancelled": 1},
        },
        "counts": {
            "total": 5, "waiting": 0, "preparing": 0, "ready": 0, "running": 0,
            "passed": 1, "cached": 2, "failed": 1, "skipped": 0, "cancelled": 1,
        },
        "tasks": told["tasks"],
        "running": [],
        "failures": [{"task": 4, "label": "c", "attempts": 0, "code": "task::exit", "message": "exit code 1"}],
    });
    assert_eq!(told, expected);
    let states: Vec<_> = snapshot
        .tasks
        .iter()
        .map(|task| (task.state, task.busy_ms, task.elapsed_ms))
        .collect();
    use crate::snapshot::TaskState::{Cancelled, Failed, Passed};
    assert_eq!(
        states,
        [
            (Passed, 400, Some(400)),
            (Cancelled, 0, Some(0)),
            (Failed, 0, Some(400))
        ]
    );
}

#[test]
fn failures_are_all_counted_and_the_first_remembered() {
    let mut edge = Edge::of_with(&[task("a").shards(250)], |options| {
        options.keep_going = true;
        options.slots = 100;
    });
    edge.begin();
    for id in 0..250 {
        edge.event(Event::PrepareFailed {
            task: TaskId(id),
            reason: failure(),
        });
    }
    let snapshot = edge.run.snapshot(edge.now);
    assert_eq!(
        (snapshot.failures.len(), snapshot.counts.settled.failed),
        (MAX_FAILURES, 250)
    );
    edge.take();
}

/// Answers every action until the run ends; how many events that took.
fn drive(run: &mut Run) -> u64 {
    let mut actions = run.handle(Tick(0), Event::Begin);
    let mut events = 1;
    while let Some(action) = actions.pop() {
        let event = match action {
            Action::Prepare { task } => Event::Prepared {
                task,
                digest: digest(),
                hit: false,
            },
            Action::Execute { task, attempt } => Event::Finished {
                task,
                attempt,
                verdict: Verdict::Passed,
                ran_us: RAN,
            },
            _ => continue,
        };
        run.handle_into(Tick(events), event, &mut actions);
        events += 1;
    }
    events
}

#[test]
fn a_thousand_after_a_thousand_costs_no_million_edges() {
    let mut run = Run::new(
        plan(&[task("a").shards(1000), task("b").after(&["a"]).shards(1000)]),
        options(64),
    );
    assert_eq!(drive(&mut run), 4001);
    run.sanity_check();
    assert_eq!(run.finished().unwrap().counts.passed, 2000);
}

#[test]
fn a_million_instances_fit() {
    let mut run = Run::new(
        plan(&[task("a").shards(1_000_000 - 1), task("b").after(&["a"])]),
        options(8),
    );
    assert!(
        size_of::<State>() + size_of::<Rank>() < 1024,
        "what a waiting instance takes"
    );
    assert_eq!(drive(&mut run), 2_000_001);
    run.sanity_check();
    assert_eq!(run.finished().unwrap().counts.passed, 1_000_000);
}

fn options(slots: u32) -> RunOptions {
    RunOptions {
        slots,
        ..RunOptions::default()
    }
}
