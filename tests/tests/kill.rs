//! `kill -9` at every moment of a run, a build and an export, and two runs at once: what was told is kept, what comes out
//! is right, and no half-written file is ever seen. The moments are lines of the event stream, not points in time.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;
use sykli_tests::{Project, Ran};

const TEXTS: usize = 6;
/// Large enough to be a file of its own in the store, and to be written in more than one piece.
const SIZE: usize = 300_000;

const CHAIN: &str = r#"
schema = "sykli-wasm/1"
[task.first]
component = "copy.wasm"
foreach = { glob = "texts/*.txt" }
args = ["/in/{item}", "/out/first/{item.name}"]
outputs = ["first/*"]
[task.second]
component = "copy.wasm"
after = ["first"]
args = ["/in/first/first", "/out/second"]
outputs = ["second/*"]
[task.small]
component = "copy.wasm"
inputs = ["version"]
args = ["/in/version", "/out/small"]
outputs = ["small"]
"#;

fn content(version: usize, text: usize) -> String {
    let line = format!("text {text} of version {version}\n");
    line.repeat(SIZE / line.len())
}

/// New texts: nothing of an earlier version is of use.
fn set_version(project: &Project, version: usize) {
    for text in 0..TEXTS {
        project.write(&format!("texts/{text}.txt"), content(version, text));
    }
    project.write("version", version.to_string());
}

/// Every output that is there is whole, of this version or of the one before; where all have to be there, of this one.
#[track_caller]
fn check_outputs(project: &Project, version: usize, all: bool) {
    let check = |path: &str, expected: &dyn Fn(usize) -> String| {
        if !all && !project.exists(path) {
            return;
        }
        let is = project.read_text(path);
        let old = || !all && version > 0 && is == expected(version - 1);
        assert!(
            is == expected(version) || old(),
            "{path}: {} bytes",
            is.len()
        );
    };
    for text in 0..TEXTS {
        for folder in ["first", "second"] {
            check(&format!("{folder}/{text}.txt"), &|version| {
                content(version, text)
            });
        }
    }
    check("small", &|version| version.to_string());
}

fn chain() -> Project {
    let project = Project::new();
    project.guest("copy").write("sykli.toml", CHAIN);
    project
}

/// What a killed run had told.
struct Killed {
    /// Labels of the instances that it had reported as passed or cached.
    good: BTreeSet<String>,
    /// Whether it ended before it could be killed.
    ended: bool,
}

/// Kills the run after the `moment`-th line that `counts`, and reads what it had written until then to the end.
fn kill_at(command: &mut Command, moment: usize, counts: impl Fn(&Value) -> bool) -> Killed {
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut killed = Killed {
        good: BTreeSet::new(),
        ended: false,
    };
    let mut seen = 0;
    for line in BufReader::new(child.stdout.take().unwrap()).split(b'\n') {
        // The last line may be torn.
        let Ok(event) = serde_json::from_slice::<Value>(&line.unwrap()) else {
            break;
        };
        if event["event"] == "task_settled"
            && (event["state"] == "passed" || event["state"] == "cached")
        {
            killed
                .good
                .insert(event["label"].as_str().unwrap().to_owned());
        }
        killed.ended |= event["event"] == "finished";
        seen += usize::from(counts(&event));
        if seen == moment {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    killed
}

/// All but what comes by the clock.
fn is_step(event: &Value) -> bool {
    event["event"] != "progress"
}

fn document(ran: &Ran) -> Value {
    serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran:?}"))
}

/// Runs to the end: right, and nothing that was told runs again.
#[track_caller]
fn finish(project: &Project, version: usize, killed: &Killed) {
    let ran = project.run(&["run", "--json"]).expect(0);
    assert!(!ran.stderr.contains("panicked"), "{}", ran.stderr);
    let document = document(&ran);
    for label in &killed.good {
        let instances = document["instances"].as_array().unwrap();
        let instance = instances.iter().find(|one| one["label"] == label.as_str());
        assert_eq!(
            instance.unwrap()["state"],
            "cached",
            "{label} had been told"
        );
    }
    check_outputs(project, version, true);
}

/// How often a moment is tried again where the run was over before the kill reached it: which of the two is first is the
/// machine's business.
const TRIES: usize = 5;

#[test]
fn a_run_killed_after_any_event_goes_on_where_it_was() {
    let project = chain();
    // Planned, each of the eight instances started and settled, and the end.
    let steps = 1 + 2 * (TEXTS + 2) + 1;
    let mut version = 0;
    let mut hit = 0;
    for moment in 1..steps {
        for _ in 0..TRIES {
            version += 1;
            set_version(&project, version);
            let mut run = project.sykli();
            run.args(["run", "--jobs", "2", "--format", "ndjson"]);
            let killed = kill_at(&mut run, moment, is_step);
            check_outputs(&project, version, false);
            finish(&project, version, &killed);
            if !killed.ended {
                hit += 1;
                break;
            }
        }
    }
    // Lines are told many at once, so that the last ones may never be caught in time; the first ones are.
    assert!(hit > TEXTS / 2, "only {hit} moments of {steps}");
    no_litter(&project.path());
}

#[test]
fn an_export_that_is_killed_leaves_no_half_file() {
    let project = chain();
    let settled = |event: &Value| event["event"] == "task_settled";
    for version in 1..=12 {
        set_version(&project, version);
        let mut run = project.sykli();
        run.args(["run", "--format", "ndjson"]);
        let killed = kill_at(&mut run, TEXTS + 2, settled);
        assert_eq!(killed.good.len(), TEXTS + 2);
        check_outputs(&project, version, false);
        // What a kill in the middle of a file leaves, wherever this one struck: half of it under another name, and
        // nothing in its place.
        project.write("second/.sykli-1-left.tmp", "half");
        if project.exists("second/0.txt") {
            fs::remove_file(project.path().join("second/0.txt")).unwrap();
        }
        finish(&project, version, &killed);
    }
    no_litter(&project.path());
}

/// Temporary files of killed exports are gone after a run to the end.
#[track_caller]
fn no_litter(folder: &Path) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy();
        assert!(!name.ends_with(".tmp"), "{} is left over", path.display());
        if path.is_dir() {
            no_litter(&path);
        }
    }
}

#[test]
fn a_build_that_is_killed_is_done_again() {
    let project = Project::new();
    project.run(&["new", "task", "made", "--plain"]).expect(0);
    project.write("in.txt", "x").write(
        "sykli.toml",
        "schema = \"sykli-wasm/1\"\n[task.made]\ncrate = \"tasks/made\"\ninputs = [\"in.txt\"]\noutputs = [\"**\"]\nexport = false\n",
    );
    for (moment, kind) in [
        (1, "build_started"),
        (1, "build_output"),
        (1, "build_finished"),
    ] {
        // Another source: there is something to build each time.
        let main = project.read_text("tasks/made/src/main.rs");
        project.write("tasks/made/src/main.rs", format!("{main}// {kind}\n"));
        let mut run = project.sykli();
        run.args(["run", "--format", "ndjson"]);
        kill_at(&mut run, moment, |event| event["event"] == kind);
        let ran = project.run(&["run", "--json"]).expect(0);
        assert!(!ran.stderr.contains("panicked"), "{}", ran.stderr);
        assert_eq!(document(&ran)["counts"]["failed"], 0);
    }
    let again = project.run(&["run", "--json"]).expect(0);
    assert_eq!(document(&again)["counts"]["cached"], 1);
}

#[test]
fn two_runs_at_once_share_a_cache() {
    let project = chain();
    for version in 1..=5 {
        set_version(&project, version);
        let start = || {
            let mut run = project.sykli();
            run.args(["run", "--json", "--jobs", "2"])
                .stdout(Stdio::piped())
                .stderr(Stdio::piped());
            run.spawn().unwrap()
        };
        let both = [start(), start()];
        for child in both {
            let ran = Ran::from(child.wait_with_output().unwrap()).expect(0);
            assert_eq!(document(&ran)["status"], "passed");
        }
        check_outputs(&project, version, true);
        let again = project.run(&["run", "--json"]).expect(0);
        assert_eq!(document(&again)["counts"]["cached"], TEXTS + 2);
    }
}

#[test]
fn a_killed_run_does_not_disturb_the_one_beside_it() {
    let project = chain();
    for moment in 1..=12 {
        set_version(&project, moment);
        let mut other = project.sykli();
        other
            .args(["run", "--json"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let other = other.spawn().unwrap();
        let mut run = project.sykli();
        run.args(["run", "--format", "ndjson"]);
        let killed = kill_at(&mut run, moment, is_step);
        Ran::from(other.wait_with_output().unwrap()).expect(0);
        check_outputs(&project, moment, true);
        finish(&project, moment, &killed);
        project.run(&["cache", "gc"]).expect(0);
    }
}
