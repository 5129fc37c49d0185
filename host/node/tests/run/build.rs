//! Task crates: built by cargo when something changed, and only then.

use std::fs::File;
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use crate::support::{Project, run};
use sykli_core::run::{RunOutcome, SettledKind};
use sykli_node::build::{BuildError, BuildRequest, TaskCrate};
use sykli_node::events::{BuildEvent, RunEvent};
use sykli_node::interrupt::Interrupt;
use sykli_node::node::NodeError;

const TASKS: &str = r#"
[task.made]
crate = "made"
outputs = ["said.txt"]
"#;

fn write_source(project: &Project, text: &str) {
    project.write(
        "made/src/main.rs",
        &format!("fn main() {{ std::fs::write(\"/out/said.txt\", {text:?}).unwrap(); }}"),
    );
}

fn write_crate(project: &Project, text: &str) {
    project.write(
        "made/Cargo.toml",
        "[package]\nname = \"made\"\nedition = \"2024\"\n[workspace]\n",
    );
    write_source(project, text);
    // As if written long ago: what is written in the moment of the build is looked at again by the next one.
    let past = SystemTime::now() - Duration::from_secs(3600);
    for name in ["made/Cargo.toml", "made/src/main.rs"] {
        File::options()
            .write(true)
            .open(project.path(name))
            .unwrap()
            .set_modified(past)
            .unwrap();
    }
}

fn built(events: &[RunEvent]) -> Vec<bool> {
    let built = |event: &RunEvent| match event {
        RunEvent::Build(BuildEvent::Finished { built, .. }) => Some(*built),
        _ => None,
    };
    events.iter().filter_map(built).collect()
}

#[test]
fn a_crate_is_built_when_it_changed_and_only_then() {
    let project = Project::new();
    write_crate(&project, "one");
    let ran = project.run(TASKS);
    assert_eq!(
        ran.report.status.outcome,
        RunOutcome::Passed,
        "{:?}",
        ran.report.failures
    );
    assert_eq!(
        (project.read("said.txt").as_str(), built(&ran.events)),
        ("one", vec![true])
    );
    let ran = project.run(TASKS);
    assert_eq!(
        (ran.states()["made"], built(&ran.events)),
        (SettledKind::Cached, vec![false])
    );
    write_source(&project, "other");
    let request = project.request(TASKS);
    let plan = project.node().plan(&request).unwrap();
    assert_eq!(
        plan.tasks[0].would_run, 1,
        "a look builds nothing: {plan:?}"
    );
    let ran = run(&project.node(), request);
    assert_eq!(
        (project.read("said.txt").as_str(), built(&ran.events)),
        ("other", vec![true])
    );
}

#[test]
fn a_crate_that_does_not_build_says_what_cargo_said() {
    let project = Project::new();
    let build = |crate_dir: &str| {
        let request = BuildRequest {
            root: project.root(),
            crates: vec![TaskCrate {
                crate_dir: crate_dir.to_owned(),
                tests: false,
            }],
            force: false,
        };
        let lines = Mutex::new(0);
        let count =
            |event| *lines.lock().unwrap() += usize::from(matches!(event, BuildEvent::Line { .. }));
        let error = project
            .node()
            .build(&request, &count, &Interrupt::new())
            .unwrap_err();
        (error, lines.into_inner().unwrap())
    };
    assert!(matches!(
        build("none").0,
        NodeError::Build(BuildError::NoManifest { .. })
    ));
    write_crate(&project, "x");
    project.write("made/src/main.rs", "fn main() { nonsense() }");
    let (error, lines) = build("made");
    let NodeError::Build(error) = error else {
        panic!("{error}")
    };
    assert!(
        error.stderr_tail().unwrap().contains("nonsense") && lines > 0,
        "{error:?}"
    );
}
