//! `kill -9` of the owner and of the executor at every step that a task takes to another node and back: the run completes
//! or is resumed, what was finished elsewhere is not run again, and each task has exactly one result. A step is a line of
//! a node's log at which its process is held, not a point in time.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;

use sykli_tests::halt::Halting;
use sykli_tests::handshake::{
    GRACE, Place, Role, STEPS, Step, Told, ends, executor, know, owner, set_version, solo,
    start_node, start_run, undelivered, untold,
};
use sykli_tests::mesh::{Machine, mesh};

/// Nodes that have met, and what they have done so far.
struct Scene {
    owner: Machine,
    executor: Machine,
    /// A second executor, for work that the first has lost.
    spare: Machine,
    version: usize,
}

impl Scene {
    fn new() -> Scene {
        let [mut executor, owner, spare] = mesh([
            executor("executor", Place::HERE),
            owner(Place::HERE, GRACE),
            executor("spare", Place::HERE),
        ]);
        executor.kill();
        // It is there again at the same ports in every run.
        let once = start_node(&owner, None);
        let status = owner.json(&["node", "status", "--json"]);
        drop(once);
        let listening = status["listening"].as_array().unwrap().iter();
        let known: Vec<String> = listening
            .map(|address| address.as_str().unwrap().to_owned())
            .collect();
        assert_eq!(known.len(), 2, "{status:#}");
        know(&spare, Place::HERE, &known);
        Scene {
            owner,
            executor,
            spare,
            version: 0,
        }
    }

    fn next(&mut self, long: bool) {
        self.version += 1;
        set_version(self.owner.project(), self.version, long);
    }

    /// A run to its end, which is good.
    #[track_caller]
    fn finish(&self, more: &[&str]) -> Told {
        let mut run = start_run(&self.owner, more, None);
        let status = run.ended();
        assert!(status.success(), "{status}:\n{}", run.text());
        Told::of(&run.out())
    }
}

/// Whose step it is.
fn held<'a>(step: Step, run: &'a Halting, executor: &'a Halting) -> &'a Halting {
    match step.by {
        Role::Owner => run,
        Role::Executor => executor,
    }
}

/// Every result that was told was delivered, or is once its owner is there again.
#[track_caller]
fn all_delivered(scene: &Scene, executor: &Halting, before: &[String]) {
    let _owner = start_node(&scene.owner, None);
    executor.log_is("rid of all results", |log| {
        let whole: Vec<String> = before.iter().chain(log).cloned().collect();
        undelivered(&whole).is_empty()
    });
}

#[test]
fn a_run_whose_owner_is_killed_at_any_step_is_resumed() {
    let mut scene = Scene::new();
    let executor = start_node(&scene.executor, None);
    let mut outputs = BTreeMap::new();
    for step in STEPS {
        println!("{step:?}");
        scene.next(step.long);
        let from = executor.log().len();
        let at = |by| (step.by == by).then_some(step.line);
        if let Some(line) = at(Role::Executor) {
            executor.halt_at(line);
        }
        let mut run = start_run(&scene.owner, &[], at(Role::Owner));
        held(step, &run, &executor).halted();
        run.kill();
        executor.go_on();
        let before = Told::of(&run.out());
        let told = scene.finish(&["--resume"]);
        told.check(scene.owner.project(), scene.version, &before);
        outputs = told.outputs();
        // The executor was there all the time: each task was run once, whatever its owner knew of it.
        let log = executor.log().split_off(from);
        let (ends, log) = (ends(&log), log.join("\n"));
        let once = ends.len() == 2 && ends.values().all(|times| *times == 1);
        assert!(once, "{step:?}: {ends:?}\n{log}");
    }
    assert_eq!(outputs, solo(scene.version));
    all_delivered(&scene, &executor, &[]);
}

#[test]
fn a_run_whose_executor_is_killed_at_any_step_completes() {
    let mut scene = Scene::new();
    let (mut outputs, mut logs) = (BTreeMap::new(), Vec::new());
    for step in STEPS {
        println!("{step:?}");
        scene.next(step.long);
        let at = |by| (step.by == by).then_some(step.line);
        let mut killed = start_node(&scene.executor, at(Role::Executor));
        let mut run = start_run(&scene.owner, &[], at(Role::Owner));
        held(step, &run, &killed).halted();
        killed.kill();
        run.go_on();
        // Whatever was told is waited for, though another node is there that would run it.
        let spare = start_node(&scene.spare, None);
        let again = start_node(&scene.executor, None);
        let status = run.ended();
        let log = [killed.log(), again.log()].concat();
        let whole = [&log[..], &spare.log()].concat();
        let text = format!("{}\n\n{}", whole.join("\n"), run.text());
        assert!(status.success(), "{step:?}: {status}\n{text}");
        let told = Told::of(&run.out());
        told.check(scene.owner.project(), scene.version, &Told::default());
        outputs = told.outputs();
        // A guest that had ended when its node was killed, and of which nothing was told, is run again. Nothing else is.
        let (ends, untold) = (ends(&whole), untold(&killed.log()));
        let most = |task| if untold.contains(task) { 2 } else { 1 };
        let once = ends.len() == 2 && ends.iter().all(|(task, times)| *times <= most(task));
        assert!(once, "{step:?}: {ends:?}, untold {untold:?}\n{text}");
        logs.extend(log);
    }
    assert_eq!(outputs, solo(scene.version));
    let executor = start_node(&scene.executor, None);
    all_delivered(&scene, &executor, &logs);
}

#[test]
fn a_run_whose_owner_is_a_node_that_is_killed_is_resumed_by_the_next_one() {
    let mut scene = Scene::new();
    let executor = start_node(&scene.executor, None);
    let own = STEPS.into_iter().filter(|step| step.by == Role::Owner);
    for step in own.filter(|step| !step.long) {
        println!("{step:?}");
        scene.next(false);
        let from = executor.log().len();
        let mut node = start_node(&scene.owner, Some(step.line));
        // It is handed to the node that is there, and shown from what that tells.
        let mut run = start_run(&scene.owner, &[], None);
        node.halted();
        node.kill();
        let status = run.ended();
        assert!(!status.success(), "{step:?}: {}", run.text());
        let before = Told::of(&run.out());
        let _next = start_node(&scene.owner, None);
        let told = scene.finish(&["--resume"]);
        told.check(scene.owner.project(), scene.version, &before);
        let log = executor.log().split_off(from);
        let (ends, log) = (ends(&log), log.join("\n"));
        let once = ends.len() == 2 && ends.values().all(|times| *times == 1);
        assert!(once, "{step:?}: {ends:?}\n{log}");
    }
    all_delivered(&scene, &executor, &[]);
}
