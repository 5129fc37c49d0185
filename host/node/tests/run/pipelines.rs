//! What runs, what comes from the cache, and what `plan` and `why` say of it.

use crate::support::{CHAIN, Project, run};
use sykli_core::run::{RunOutcome, SettledKind};
use sykli_node::events::{RunEvent, Stream};
use sykli_node::filter::Filter;
use sykli_node::node::NodeError;
use sykli_node::plan::PlanState;
use sykli_node::run::RunRequest;

#[test]
fn a_chain_runs_then_comes_from_the_cache_and_a_touched_input_reruns_what_it_reaches() {
    let project = Project::new();
    project.write("src/a.txt", "some text");
    let ran = project.run(CHAIN);
    assert_eq!(
        ran.report.status.outcome,
        RunOutcome::Passed,
        "{:?}",
        ran.report.failures
    );
    assert_eq!(project.read("result.txt"), "SOME TEXT");
    assert_eq!(ran.report.exported, ["a.up", "result.txt"]);
    assert!(
        ran.settled("second").warnings[0].contains("`extra`"),
        "{:?}",
        ran.settled("second").warnings
    );
    assert!(!project.path("extra").exists());
    let said = |event: &RunEvent| matches!(event, RunEvent::TaskOutput { stream: Stream::Stdout, bytes, .. } if bytes == b"hello\n");
    assert!(ran.events.iter().any(said));

    let again = project.run(CHAIN);
    assert_eq!(again.report.status.counts.cached, 2, "{:?}", again.states());
    assert_eq!(
        (again.report.exported.len(), again.report.unchanged),
        (0, 2)
    );
    assert_eq!(
        again.settled("second").warnings,
        ran.settled("second").warnings,
        "warnings are replayed"
    );
    assert_eq!(again.outputs(), ran.outputs());

    // Something else that nobody reads changes nothing; then an input that only the first task reads.
    project.write("other.txt", "x");
    project.write("src/unread.txt", "x");
    let touched = project.run(CHAIN);
    assert_eq!(touched.states()["first"], SettledKind::Passed);
    assert_eq!(
        touched.states()["second"],
        SettledKind::Cached,
        "the first task's output is the same"
    );

    let request = project.request(CHAIN);
    let why = project.node().why(&request, Some("first")).unwrap();
    assert!(why.instances[0].cached);
    assert!(
        why.instances[0]
            .reasons
            .iter()
            .any(|line| line.contains("src/unread.txt")),
        "{why:?}"
    );
}

#[test]
fn plan_says_what_would_run_and_why() {
    let project = Project::new();
    project.write("src/a.txt", "one");
    let request = project.request(CHAIN);
    let plan = project.node().plan(&request).unwrap();
    let state = |plan: &sykli_node::plan::PlanReport, label: &str| {
        plan.instances
            .iter()
            .find(|one| one.label == label)
            .unwrap()
            .state
            .clone()
    };
    assert_eq!(
        state(&plan, "first"),
        PlanState::Run {
            reasons: vec!["it has not run before".to_owned()]
        }
    );
    assert_eq!(
        state(&plan, "second"),
        PlanState::Unknown {
            waits_for: vec!["first".to_owned()]
        }
    );
    run(&project.node(), request.clone());
    let plan = project.node().plan(&request).unwrap();
    assert_eq!(
        (plan.tasks[0].cached, plan.tasks[1].cached),
        (1, 1),
        "{plan:?}"
    );
    project.write("src/a.txt", "two");
    let plan = project.node().plan(&request).unwrap();
    let PlanState::Run { reasons } = state(&plan, "first") else {
        panic!("{plan:?}")
    };
    assert_eq!(reasons, ["`src/a.txt` changed"]);
    assert!(
        matches!(project.node().why(&request, Some("frist")), Err(NodeError::UnknownTask { suggestion: Some(name), .. }) if name == "first")
    );
}

const FAN: &str = r#"
[task.each]
component = "tool.wasm"
foreach = { glob = "in/*.txt" }
args = ["upper=/in/{item}=/out/{item.stem}.up"]
outputs = ["*.up"]
export = false

[task.all]
component = "tool.wasm"
after = ["each"]
args = ["list=/out/list.txt"]
outputs = ["list.txt"]
"#;

#[test]
fn instances_fan_out_and_their_outputs_come_together() {
    let project = Project::new();
    for name in ["a", "b", "c"] {
        project.write(&format!("in/{name}.txt"), name);
    }
    let ran = project.run(FAN);
    assert_eq!(
        ran.report.status.outcome,
        RunOutcome::Passed,
        "{:?}",
        ran.report.failures
    );
    assert_eq!(
        project.read("list.txt"),
        "/in/each/a.up\n/in/each/b.up\n/in/each/c.up"
    );
    assert!(!project.path("a.up").exists(), "not exported");
    project.write("in/b.txt", "other");
    let states = project.run(FAN).states();
    let cached: Vec<&str> = states
        .iter()
        .filter(|(_, state)| **state == SettledKind::Cached)
        .map(|(label, _)| label.as_str())
        .collect();
    assert_eq!(cached, ["each[a.txt]", "each[c.txt]"], "{states:?}");

    // One more, in the middle: the others have moved, which is nothing to them.
    project.write("in/aa.txt", "one more");
    let states = project.run(FAN).states();
    let passed: Vec<&str> = states
        .iter()
        .filter(|(_, state)| **state == SettledKind::Passed)
        .map(|(label, _)| label.as_str())
        .collect();
    assert_eq!(passed, ["all", "each[aa.txt]"], "{states:?}");
}

#[test]
fn the_same_digests_come_out_whatever_the_number_of_jobs() {
    let outputs = |jobs| {
        let project = Project::new();
        for index in 0..20 {
            project.write(&format!("in/{index}.txt"), &format!("text {index}"));
        }
        let ran = run(
            &project.node(),
            RunRequest {
                jobs,
                ..project.request(FAN)
            },
        );
        assert_eq!(ran.report.status.outcome, RunOutcome::Passed);
        ran.outputs()
    };
    let one = outputs(1);
    assert_eq!(one.len(), 21);
    assert_eq!(one, outputs(8));
}

const READERS: &str = r#"
[task.read]
component = "tool.wasm"
inputs = ["in.txt"]
stdin = "in.txt"
args = ["stdin=/out/stdin.txt"]
outputs = ["stdin.txt"]
[task.next]
component = "tool.wasm"
after = ["read"]
stdin = "read/stdin.txt"
args = ["stdin=/out/next.txt", "env=CARGO_PKG_NAME=/out/name.txt", "env=PATH=/out/path.txt"]
outputs = ["next.txt", "name.txt", "path.txt"]
grants = { env = ["CARGO_PKG_NAME"] }
[task.other]
component = "tool.wasm"
args = ["write=/out/other=x"]
outputs = ["other"]
"#;

#[test]
fn stdin_params_of_the_environment_and_a_filter() {
    let project = Project::new();
    project.write("in.txt", "from a file");
    let filter = Some(Filter::parse("next").unwrap());
    let ran = run(
        &project.node(),
        RunRequest {
            filter,
            ..project.request(READERS)
        },
    );
    assert_eq!(
        ran.report.status.outcome,
        RunOutcome::Passed,
        "{:?}",
        ran.report.failures
    );
    assert_eq!(project.read("next.txt"), "from a file");
    assert_eq!(
        project.read("name.txt"),
        std::env::var("CARGO_PKG_NAME").unwrap()
    );
    assert_eq!(project.read("path.txt"), "", "not granted");
    assert_eq!(ran.states().keys().collect::<Vec<_>>(), ["next", "read"]);
    assert!(
        !project.path("stdin.txt").exists(),
        "only what was asked for is exported"
    );
    for (text, wanted) in [
        ("+next,!read", vec!["next"]),
        ("re*+", vec!["next", "read"]),
        ("!other", vec!["next", "read"]),
    ] {
        let request = RunRequest {
            filter: Some(Filter::parse(text).unwrap()),
            ..project.request(READERS)
        };
        let selected = project.node().plan(&request).unwrap();
        let labels: Vec<_> = selected
            .instances
            .iter()
            .map(|one| one.label.as_str())
            .collect();
        assert!(
            wanted.iter().all(|label| labels.contains(label)) && !labels.contains(&"other"),
            "{text}: {labels:?}"
        );
    }
    let request = RunRequest {
        filter: Some(Filter::parse("nxet").unwrap()),
        ..project.request(READERS)
    };
    assert!(matches!(
        project.node().plan(&request),
        Err(NodeError::Filter(_))
    ));
}
