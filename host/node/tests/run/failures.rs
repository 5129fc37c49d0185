//! How tasks fail, and what is said of it.

use crate::support::{Project, Ran, run};
use std::sync::Mutex;
use sykli_core::run::{RunOutcome, SettledKind};
use sykli_node::events::RunEvent;
use sykli_node::interrupt::Interrupt;
use sykli_node::node::NodeError;
use sykli_node::run::RunRequest;

#[test]
fn instances_that_disagree_on_a_file_are_named() {
    let project = Project::new();
    let ran = project.run(
        r#"
[task.t]
component = "tool.wasm"
foreach = { shards = 2 }
args = ["write=/out/same=1", "write=/out/x={index}"]
outputs = ["**"]
export = false
[task.all]
component = "tool.wasm"
after = ["t"]
"#,
    );
    assert_eq!(ran.report.status.outcome, RunOutcome::Failed);
    let failure = ran.settled("all").failure.as_ref().unwrap();
    assert_eq!(failure.code, "task::output-conflict");
    assert!(
        failure.message.contains("t[1/2]")
            && failure.message.contains("t[2/2]")
            && failure.message.contains("`x`"),
        "{failure:?}"
    );
}

const FAILING: &str = r#"
[task.bad]
component = "tool.wasm"
args = ["print=before", "eprint=oh no", "exit=1"]
[task.after-bad]
component = "tool.wasm"
after = ["bad"]
[task.good]
component = "tool.wasm"
args = ["print=fine"]
"#;

#[test]
fn a_failure_skips_what_depends_on_it_and_is_told_with_its_words() {
    let project = Project::new();
    let ran = run(
        &project.node(),
        RunRequest {
            keep_going: true,
            ..project.request(FAILING)
        },
    );
    assert_eq!(ran.report.status.outcome, RunOutcome::Failed);
    let states = ran.states();
    assert_eq!(states["after-bad"], SettledKind::Skipped);
    assert_eq!(states["good"], SettledKind::Passed);
    let failure = ran.settled("bad").failure.as_ref().unwrap();
    assert_eq!(
        (failure.code.as_str(), failure.exit_code),
        ("task::exit", Some(1))
    );
    assert_eq!(
        (failure.stdout_tail.as_str(), failure.stderr_tail.as_str()),
        ("before", "oh no")
    );
    let again = run(
        &project.node(),
        RunRequest {
            keep_going: true,
            ..project.request(FAILING)
        },
    );
    assert_eq!(
        again.states()["bad"],
        SettledKind::Failed,
        "a failure is never cached"
    );
    assert_eq!(again.states()["good"], SettledKind::Cached);
}

#[test]
fn traps_limits_and_refusals_say_what_would_help() {
    let project = Project::new();
    let ran = run(
        &project.node(),
        RunRequest {
            keep_going: true,
            ..project.request(
                r#"
[task.trap]
component = "tool.wasm"
args = ["panic=boom"]
[task.fuel]
component = "tool.wasm"
args = ["spin"]
limits = { fuel = "10M" }
[task.memory]
component = "tool.wasm"
args = ["grow=64"]
limits = { memory = "32MiB" }
[task.net]
component = "tool.wasm"
args = ["connect=192.0.2.1:443", "exit=1"]
[task.missing]
component = "tool.wasm"
args = ["write=/out/resutl.txt=x"]
outputs = ["result.txt"]
"#,
            )
        },
    );
    let failure = |label: &str| ran.settled(label).failure.clone().unwrap();
    assert_eq!(failure("trap").code, "task::trap");
    assert!(
        !failure("trap").backtrace.is_empty() && failure("trap").stderr_tail.contains("boom"),
        "{:?}",
        failure("trap")
    );
    assert_eq!(
        (failure("fuel").code.as_str(), failure("fuel").hints),
        (
            "task::fuel",
            vec!["under [task.fuel]: limits = { fuel = \"40M\" }".to_owned()]
        )
    );
    assert!(
        failure("memory").hints[0].starts_with("under [task.memory]: limits = { memory = "),
        "{:?}",
        failure("memory")
    );
    assert_eq!(
        failure("net").hints,
        ["under [task.net]: grants = { net = [\"192.0.2.1:443\"] }"]
    );
    assert_eq!(failure("missing").code, "task::output-missing");
    assert!(
        failure("missing").message.contains("`result.txt`")
            && failure("missing").message.contains("`resutl.txt`")
    );
}

#[test]
fn what_might_end_otherwise_is_tried_again_and_what_cannot_is_not() {
    let project = Project::new();
    let ran = run(
        &project.node(),
        RunRequest {
            keep_going: true,
            ..project.request(
                r#"
[task.late]
component = "tool.wasm"
args = ["spin"]
limits = { timeout = "50ms" }
retries = 2
[task.impure]
component = "tool.wasm"
args = ["exit=1"]
grants = { clock = true }
retries = 1
[task.pure]
component = "tool.wasm"
args = ["exit=1"]
retries = 5
"#,
            )
        },
    );
    assert_eq!(
        (
            ran.attempts("late"),
            ran.attempts("impure"),
            ran.attempts("pure")
        ),
        (3, 2, 1)
    );
    assert_eq!(
        ran.settled("late").failure.as_ref().unwrap().code,
        "task::timeout"
    );
    assert_eq!(ran.settled("late").attempts, 3);
}

#[test]
fn a_component_that_cannot_run_is_refused_before_anything_has() {
    let project = Project::new();
    let tasks = "[task.good]\ncomponent = \"tool.wasm\"\n[task.bad]\ncomponent = \"bad.wasm\"\n";
    let events = Mutex::new(Vec::new());
    let outcome = |request| {
        project.node().run(
            request,
            &|event| events.lock().unwrap().push(event),
            &Interrupt::new(),
        )
    };
    let error = outcome(project.request(tasks)).unwrap_err();
    assert_eq!(
        (error.code(), error.is_invalid_input()),
        ("component::missing", true),
        "{error}"
    );
    project.write("bad.wasm", "no wasm at all");
    let error = outcome(project.request(tasks)).unwrap_err();
    assert!(
        matches!(&error, NodeError::Component { task, .. } if task == "bad"),
        "{error:?}"
    );
    assert!(
        !events
            .lock()
            .unwrap()
            .iter()
            .any(|event| matches!(event, RunEvent::TaskStarted { .. }))
    );
}

#[test]
fn an_interrupt_ends_a_spinning_guest() {
    let project = Project::new();
    let tasks = "[task.spin]\ncomponent = \"tool.wasm\"\nargs = [\"spin\"]\nlimits = { fuel = \"9000000T\", timeout = \"10m\" }\n[task.after]\ncomponent = \"tool.wasm\"\nafter = [\"spin\"]\n";
    let interrupt = Interrupt::new();
    let events = Mutex::new(Vec::new());
    let note = |event: RunEvent| {
        if matches!(event, RunEvent::TaskStarted { .. }) {
            interrupt.raise();
        }
        events.lock().unwrap().push(event);
    };
    let report = project
        .node()
        .run(project.request(tasks), &note, &interrupt)
        .unwrap();
    let ran = Ran {
        report,
        events: events.into_inner().unwrap(),
    };
    assert_eq!(ran.report.status.outcome, RunOutcome::Interrupted);
    assert_eq!(ran.states()["spin"], SettledKind::Cancelled);
    assert!(matches!(ran.events.last(), Some(RunEvent::Finished { .. })));
}
