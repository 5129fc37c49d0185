//! Programs read stdout: with `--format json` it holds one document, with `ndjson` one event a line, each as the schemas of
//! `docs/schema/` say and nothing else, whether things go well, fail, come from the cache or cannot begin. People read
//! stderr: no document is ever there.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;

use serde_json::Value;
use sykli_tests::{Project, Ran, guest, root};

/// Panics where the document is not what the schema of this name says.
#[track_caller]
fn assert_valid(name: &str, document: &Value) {
    let path = root().join(format!("docs/schema/{name}.schema.json"));
    let schema: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let wrong: Vec<String> = validator
        .iter_errors(document)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(wrong.is_empty(), "{name}: {wrong:#?}\n{document:#}");
    let tag = document["schema"].as_str().unwrap();
    assert_eq!(tag, format!("sykli.{name}/1"));
}

/// No line of stderr is a document.
#[track_caller]
fn assert_for_people(ran: &Ran) {
    for line in ran.stderr.lines() {
        assert!(
            serde_json::from_str::<Value>(line).is_err(),
            "{}",
            ran.stderr
        );
        assert!(!line.contains("\"schema\":"), "{}", ran.stderr);
    }
}

/// Runs a command that writes one document: it, checked.
#[track_caller]
fn document(project: &Project, args: &[&str], schema: &str, code: i32) -> Value {
    let ran = project.run(args).expect(code);
    // Reading all of it as one value says that nothing stands before or after.
    let document: Value = serde_json::from_str(&ran.stdout)
        .unwrap_or_else(|error| panic!("{args:?}: {error}\n{}\n{}", ran.stdout, ran.stderr));
    assert!(ran.stdout.ends_with('\n'), "{args:?}");
    assert_valid(schema, &document);
    assert_for_people(&ran);
    document
}

/// Runs a pipeline as events: they, checked.
#[track_caller]
fn events(project: &Project, args: &[&str], code: i32) -> Vec<Value> {
    let ran = project.run(args).expect(code);
    assert_for_people(&ran);
    let events: Vec<Value> = ran
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    for event in &events {
        assert_valid("event", event);
    }
    assert_eq!(events.last().unwrap()["event"], "finished");
    assert_eq!(events.last().unwrap()["exit_code"], code);
    events
}

/// The labels of the settled, and their states.
fn settled(events: &[Value]) -> Vec<(String, String)> {
    let text = |event: &Value, key: &str| event[key].as_str().unwrap().to_owned();
    let settled = events
        .iter()
        .filter(|event| event["event"] == "task_settled");
    let mut settled: Vec<_> = settled
        .map(|event| (text(event, "label"), text(event, "state")))
        .collect();
    settled.sort();
    settled
}

/// Tasks of every kind that pass: with progress, logs, warnings, instances, terminal sequences.
fn passing() -> Project {
    let project = Project::new();
    for name in ["progress", "terminal-escapes", "copy", "hello"] {
        project.guest(name);
    }
    project.write("data/a b.txt", "a").write("data/ü.txt", "u");
    project.write(
        "sykli.toml",
        r#"
schema = "sykli-wasm/1"
[pipeline]
name = "passing"
[task.told]
component = "progress.wasm"
foreach   = { shards = 3 }
[task.colours]
component = "terminal-escapes.wasm"
[task.kept]
component = "copy.wasm"
foreach   = { glob = "data/*.txt" }
args      = ["/in/{item}", "/out/kept/{item.name}", "/in/{item}", "/out/dropped/{item.name}"]
outputs   = ["kept/*"]
[task.clock]
component = "hello.wasm"
after     = ["told", "kept"]
grants    = { clock = true }
"#,
    );
    project
}

/// One task that exits with 1, one that traps, one that is skipped, one that has nothing to do with them.
fn failing() -> Project {
    let project = Project::new();
    for name in ["exit-code", "panic", "noop"] {
        project.guest(name);
    }
    project.write(
        "sykli.toml",
        r#"
schema = "sykli-wasm/1"
[pipeline]
name = "failing"
[task.exits]
component = "exit-code.wasm"
args      = ["1"]
[task.traps]
component = "panic.wasm"
[task.waits]
component = "noop.wasm"
after     = ["exits"]
[task.alone]
component = "noop.wasm"
"#,
    );
    project
}

/// Tasks that cannot begin, and the code that is told.
const INVALID: [(&str, &str); 5] = [
    (
        "component = \"noop.wasm\"\nafter = [\"a\"]",
        "pipeline::cycle",
    ),
    (
        "component = \"noop.wasm\"\ninptus = []",
        "pipeline::unknown-key",
    ),
    (
        "component = \"noop.wasm\"\ninputs = [\"none/*\"]",
        "pipeline::empty-glob",
    ),
    ("component = \"noop.wasm", "pipeline::"),
    ("component = \"none.wasm\"", "component::missing"),
];

#[test]
fn a_run_that_passes_and_one_from_the_cache() {
    let project = passing();
    let doc = document(&project, &["run", "--json"], "run", 0);
    assert_eq!(doc["status"], "passed");
    assert_eq!(doc["counts"]["passed"], 7);
    assert_eq!(doc["exported"].as_array().unwrap().len(), 2);

    let doc = document(&project, &["run", "--format", "json"], "run", 0);
    assert_eq!(doc["counts"]["cached"], 6, "all but the one with a clock");
    assert_eq!(
        (&doc["counts"]["passed"], &doc["unchanged"]),
        (&1.into(), &2.into())
    );

    let cached = events(&project, &["run", "--format", "ndjson"], 0);
    assert_eq!(settled(&cached).len(), 7);
}

#[test]
fn events_of_a_run_tell_all_of_it() {
    let project = passing();
    let args = ["run", "--format", "ndjson", "--no-cache", "--verbose"];
    let events = events(&project, &args, 0);
    for kind in [
        "planned",
        "task_started",
        "task_progress",
        "task_log",
        "task_output",
        "task_settled",
    ] {
        assert!(events.iter().any(|event| event["event"] == kind), "{kind}");
    }
    assert_eq!(events[0]["event"], "planned");
    let states = settled(&events);
    assert_eq!(states.len(), 7);
    assert!(
        states.iter().all(|(_, state)| state == "passed"),
        "{states:?}"
    );
    // Order: a task's start, then its end, and all before the end of the run.
    let at = |kind: &str, label: &str| {
        let is = |event: &Value| event["event"] == kind && event["label"] == label;
        events.iter().position(is).unwrap()
    };
    assert!(at("task_started", "clock") < at("task_settled", "clock"));
    let times: Vec<u64> = events
        .iter()
        .map(|event| event["at_ms"].as_u64().unwrap())
        .collect();
    assert!(times.is_sorted(), "{times:?}");
}

#[test]
fn a_run_that_fails() {
    let project = failing();
    let doc = document(&project, &["run", "--json", "--keep-going"], "run", 1);
    assert_eq!(
        (&doc["status"], &doc["exit_code"]),
        (&"failed".into(), &1.into())
    );
    let one = |label: &str| {
        let instances = doc["instances"].as_array().unwrap();
        let is = |one: &&Value| one["label"] == label;
        instances.iter().find(is).unwrap().clone()
    };
    let exits = one("exits");
    assert_eq!(exits["failure"]["exit_code"], 1);
    assert_eq!(exits["failure"]["stdout_tail"], "leaving with 1");
    assert_eq!(exits["failure"]["stderr_tail"], "on standard error too");
    let traps = one("traps");
    assert_eq!(traps["failure"]["code"], "task::trap");
    assert!(!traps["failure"]["backtrace"].as_array().unwrap().is_empty());
    assert_eq!(one("waits")["state"], "skipped");
    assert_eq!(one("alone")["state"], "passed");

    let events = events(&project, &["run", "--format", "ndjson", "--keep-going"], 1);
    let states = settled(&events);
    let expected = [
        ("alone", "cached"),
        ("exits", "failed"),
        ("traps", "failed"),
        ("waits", "skipped"),
    ];
    let expected = expected.map(|(label, state)| (label.to_owned(), state.to_owned()));
    assert_eq!(states, expected);
}

#[test]
fn plans_and_explanations() {
    let project = passing();
    let doc = document(&project, &["plan", "--json"], "plan", 0);
    assert_eq!(doc["instances"].as_array().unwrap().len(), 7);
    document(&project, &["plan", "--explain", "--json"], "plan", 0);
    let doc = document(
        &project,
        &["cache", "why", "kept", "--json"],
        "cache-why",
        0,
    );
    assert_eq!(doc["instances"][0]["cached"], false);

    project.run(&["run"]).expect(0);
    let doc = document(&project, &["plan", "--json"], "plan", 0);
    let state = |doc: &Value, at: usize| doc["instances"][at]["state"].clone();
    assert_eq!(state(&doc, 0), "cached");
    document(
        &project,
        &["cache", "why", "kept", "--json"],
        "cache-why",
        0,
    );

    project.write("data/ü.txt", "changed");
    let doc = document(&project, &["plan", "--explain", "--json"], "plan", 0);
    let text = doc.to_string();
    assert!(text.contains("data/ü.txt"), "{text}");
    let label = "kept[ü.txt]";
    let doc = document(&project, &["cache", "why", label, "--json"], "cache-why", 0);
    let instances = doc["instances"].as_array().unwrap();
    assert_eq!(instances.len(), 1);
    assert!(
        instances[0]["reasons"].to_string().contains("data/ü.txt"),
        "{doc:#}"
    );
    let doc = document(&project, &["cache", "why", "kpet", "--json"], "error", 2);
    assert!(doc["hints"].to_string().contains("kept"), "{doc:#}");
}

#[test]
fn a_pipeline_that_is_valid_and_those_that_are_not() {
    let project = passing();
    let doc = document(&project, &["validate", "--json"], "validate", 0);
    assert_eq!(
        (&doc["valid"], &doc["instances"]),
        (&true.into(), &7.into())
    );
    for (text, code) in INVALID {
        let project = Project::new();
        project.guest("noop");
        project.write(
            "sykli.toml",
            format!("schema = \"sykli-wasm/1\"\n[task.a]\n{text}\n"),
        );
        for command in ["run", "validate", "plan"] {
            for format in ["json", "ndjson"] {
                let doc = document(&project, &[command, "--format", format], "error", 2);
                let told = doc.to_string();
                // `validate` needs no engine and says it in its own words.
                let also = if command == "validate" && code == "component::missing" {
                    "pipeline::missing-program"
                } else {
                    code
                };
                assert!(told.contains(also), "{command} {code}: {doc:#}");
                assert!(!doc["message"].as_str().unwrap().is_empty());
                assert_eq!(doc["exit_code"], 2);
            }
        }
    }
    let nowhere = Project::new();
    document(&nowhere, &["run", "--json"], "error", 2);
    document(&nowhere, &["run", "--json", "--no-such-flag"], "error", 2);
    document(&nowhere, &["run", "--json", "--jobs", "many"], "error", 2);
}

#[test]
fn an_exec_that_ends_well_one_that_does_not_and_one_that_cannot_begin() {
    let project = Project::new();
    let exec = |name: &str, args: &[&str], schema: &str, code: i32| {
        let component = guest(name).display().to_string();
        let line = [&["exec", "--json", "--out", "left", &component, "--"], args].concat();
        document(&project, &line, schema, code)
    };
    let doc = exec("exit-code", &["0"], "exec", 0);
    assert_eq!(doc["stdout"], "leaving with 0\n");
    assert_eq!(doc["stderr"], "on standard error too\n");
    assert_eq!(doc["failure"], Value::Null);
    let doc = exec("exit-code", &["1"], "exec", 1);
    assert_eq!(
        (&doc["exit_code"], &doc["failure"]),
        (&1.into(), &Value::Null)
    );
    let doc = exec("panic", &[], "exec", 1);
    assert_eq!(doc["failure"]["code"], "task::trap");
    let doc = exec("big-output", &["10", "3"], "exec", 0);
    assert_eq!(doc["written"].as_array().unwrap().len(), 4);
    let doc = exec("terminal-escapes", &[], "exec", 0);
    assert!(doc["stdout"].as_str().unwrap().contains("clipboard"));

    project.write("text.wasm", "not wasm");
    for component in ["missing.wasm", "text.wasm"] {
        document(&project, &["exec", "--json", component], "error", 2);
    }
}

#[test]
fn everything_else_that_writes_a_document() {
    let project = passing();
    project.run(&["run"]).expect(0);
    let doc = document(&project, &["cache", "stats", "--json"], "cache-stats", 0);
    assert_eq!(doc["results"], 6);
    document(
        &project,
        &["cache", "gc", "--max", "1GB", "--json"],
        "cache-stats",
        0,
    );
    let doc = document(&project, &["cache", "clear", "--json"], "cache-stats", 0);
    assert_eq!(doc["results"], 0);
    let doc = document(&project, &["build", "--json"], "build", 0);
    assert_eq!(doc["crates"], Value::Array(Vec::new()));
    document(&project, &["config", "show", "--json"], "config", 0);
    document(
        &project,
        &["config", "show", "--origin", "--json"],
        "config",
        0,
    );
    document(&project, &["doctor", "--json"], "doctor", 0);
    document(&project, &["init", "fresh", "--json"], "created", 0);
    document(
        &project,
        &["new", "task", "made", "--plain", "--json"],
        "created",
        0,
    );
}

#[test]
fn text_is_for_people_and_leaves_stdout_alone() {
    let project = passing();
    let ran = project.run(&["run"]).expect(0);
    assert_eq!(ran.stdout, "");
    assert_for_people(&ran);
    let ran = failing().run(&["run", "--verbose"]).expect(1);
    assert_eq!(ran.stdout, "");
    assert!(ran.stderr.contains("exits"), "{}", ran.stderr);
}
