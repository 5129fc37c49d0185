//! The network is cut at every step that a task takes to another node and back, for a moment and for so long that both
//! sides notice: the run completes, what was finished elsewhere is not run again, and each task has exactly one result. A
//! node that finished while it was cut off delivers when it is back. Each pair of nodes is in two network namespaces of
//! its own; a step is a line of a node's log at which its process is held, not a point in time.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::VecDeque;
use std::sync::Mutex;

use sykli_tests::halt::Halting;
use sykli_tests::handshake::{
    GRACE, Place, Role, STEPS, Step, Told, ends, executor, know, owner, set_version, start_node,
    start_run, undelivered,
};
use sykli_tests::link::{self, Link, Quality};
use sykli_tests::mesh::{Machine, mesh};

/// Pairs of nodes at once: they mostly wait.
const AT_ONCE: usize = 9;
/// Nothing gets through.
const CUT: Quality = Quality {
    round_trip: std::time::Duration::ZERO,
    jitter: std::time::Duration::ZERO,
    lost_per_mille: 1000,
    gaps: None,
};

/// Two sides of a link: here the owner and a second executor, there the executor.
struct Scene {
    link: Link,
    owner: Machine,
    spare: Machine,
    executor: Machine,
    version: usize,
}

impl Scene {
    fn new(grace: &str) -> Scene {
        let link = Link::new(Quality::default(), 1).expect("root may have namespaces and links");
        let [here, there] = Link::ADDRESSES;
        let place = |ip, port| Place { ip, port };
        let [near, far] = link.ends();
        let owner = owner(place(here, 4001), grace).inside(&near.wrapper());
        let spare = executor("spare", place(here, 4002)).inside(&near.wrapper());
        know(&spare, place(here, 4002), &place(here, 4001).addresses());
        let executor = executor("executor", place(there, 4001)).inside(&far.wrapper());
        let [mut executor, owner, spare] = mesh([executor, owner, spare]);
        executor.kill();
        Scene {
            link,
            owner,
            spare,
            executor,
            version: 0,
        }
    }

    fn next(&mut self, long: bool) {
        self.version += 1;
        set_version(self.owner.project(), self.version, long);
    }

    /// Begins a run, and cuts the link at a step of it. Also how long both logs were by then.
    fn cut_at(&mut self, step: Step, executor: &Halting) -> (Halting, [usize; 2]) {
        self.next(step.long);
        let at = |by| (step.by == by).then_some(step.line);
        if let Some(line) = at(Role::Executor) {
            executor.halt_at(line);
        }
        let run = start_run(&self.owner, &[], at(Role::Owner));
        let held = match step.by {
            Role::Owner => &run,
            Role::Executor => executor,
        };
        held.halted();
        self.link.becomes(CUT);
        let logs = [&run, executor].map(|process| process.log().len());
        held.go_on();
        (run, logs)
    }
}

/// Where a step is among all of them.
fn index(line: &str) -> usize {
    STEPS.iter().position(|step| step.line == line).unwrap()
}

/// Whether the executor has what it needs to go on alone, and something to do.
fn goes_on_alone(step: Step) -> bool {
    (index("took bundle")..index("ran guest")).contains(&index(step.line))
}

/// Each task was run once in all, and has one result.
#[track_caller]
fn check(scene: &Scene, step: Step, run: &mut Halting, logs: [&[String]; 2]) -> Told {
    let status = run.ended();
    let whole = logs.concat();
    let text = format!("{step:?}\n{}\n\n{}", whole.join("\n"), run.text());
    assert!(status.success(), "{status}: {text}");
    let told = Told::of(&run.out());
    told.check(scene.owner.project(), scene.version, &Told::default());
    let ends = ends(&whole);
    let once = ends.len() == 2 && ends.values().all(|times| *times == 1);
    assert!(once, "{ends:?}: {text}");
    let by_executor = sykli_tests::handshake::ends(logs[0]).len();
    assert_eq!(told.ran_on("executor"), by_executor, "{text}");
    told
}

/// The link is back before anybody has missed it, but after what the executor could do alone is done.
fn a_short_cut(scene: &mut Scene, step: Step, executor: &Halting) {
    let from = executor.log().len();
    let (mut run, _) = scene.cut_at(step, executor);
    if goes_on_alone(step) {
        executor.logged(from, "ran guest");
    }
    scene.link.becomes(Quality::default());
    let _ended = run.ended();
    check(scene, step, &mut run, [&executor.log()[from..], &[]]);
}

/// Both sides have given the other up when the link is back. Meanwhile another executor is there.
fn a_long_cut(scene: &mut Scene, step: Step, executor: &Halting) {
    let from = executor.log().len();
    let (mut run, cut) = scene.cut_at(step, executor);
    let spare = start_node(&scene.spare, None);
    if goes_on_alone(step) {
        executor.logged(from, "ran guest");
    }
    executor.logged(cut[1], "a peer is down");
    run.logged_or_ended(cut[0], "a peer is down");
    scene.link.becomes(Quality::default());
    let _ended = run.ended();
    let log = executor.log().split_off(from);
    let told = check(scene, step, &mut run, [&log, &spare.log()]);
    if goes_on_alone(step) {
        assert_ne!(told.ran_on("executor"), 0, "{step:?}: {}", log.join("\n"));
    }
}

#[test]
fn a_run_whose_link_is_cut_at_any_step_completes() {
    if !link::possible() {
        return;
    }
    let steps = Mutex::new(VecDeque::from(STEPS));
    let work = || {
        loop {
            let Some(step) = steps.lock().unwrap().pop_front() else {
                return;
            };
            println!("{step:?}");
            let mut scene = Scene::new(GRACE);
            let executor = start_node(&scene.executor, None);
            for cut in [a_short_cut, a_long_cut] {
                cut(&mut scene, step, &executor);
                let _owner = start_node(&scene.owner, None);
                executor.log_is("rid of all results", |log| undelivered(log).is_empty());
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(work);
        }
    });
}

#[test]
fn a_node_that_is_cut_off_for_too_long_is_not_waited_for_and_delivers_in_vain() {
    if !link::possible() {
        return;
    }
    let mut scene = Scene::new("1s");
    let executor = start_node(&scene.executor, None);
    let step = STEPS[index("said started")];
    let (mut run, _) = scene.cut_at(step, &executor);
    let spare = start_node(&scene.spare, None);
    executor.logged(0, "ran guest");
    let status = run.ended();
    assert!(status.success(), "{}", run.text());
    let told = Told::of(&run.out());
    told.check(scene.owner.project(), scene.version, &Told::default());
    assert_eq!((told.ran_on("spare"), told.ran_on("executor")), (2, 0));
    assert_eq!(ends(&spare.log()).len(), 2);
    // The owner is there again, and so is the link.
    let _owner = start_node(&scene.owner, None);
    scene.link.becomes(Quality::default());
    executor.logged(0, "heard settled");
}
