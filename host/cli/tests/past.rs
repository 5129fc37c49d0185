//! What is said of runs that were: by people's eyes and by schema, of runs that passed, failed, or were killed.
#![allow(clippy::unwrap_used)]

mod common;

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use common::{Home, guest, valid};

/// `one → two → three`; `two` fails with this code, and writes what drives terminals.
fn project(code: u8) -> Home {
    let home = Home::new();
    let mut text = "schema = \"sykli-wasm/1\"\n[pipeline]\nname = \"demo\"\n".to_owned();
    for (name, after, code) in [("one", "", 0), ("two", "one", code), ("three", "two", 0)] {
        let said = format!("\u{1b}]52;c;aGk=\u{7}this is {name}\nits end");
        let component = guest::says(&said, code);
        std::fs::write(home.project().join(format!("{name}.wasm")), component).unwrap();
        text.push_str(&format!("[task.{name}]\ncomponent = \"{name}.wasm\"\n"));
        if !after.is_empty() {
            text.push_str(&format!("after = [\"{after}\"]\n"));
        }
    }
    home.write("sykli.toml", &text);
    home
}

/// Each command about past runs, and the schema of its document.
const COMMANDS: [(&[&str], &str); 6] = [
    (&["history"], "history"),
    (&["report"], "report"),
    (&["status"], "status"),
    (&["task", "two"], "task"),
    (&["logs", "two"], "logs"),
    (&["explain", "two"], "explain"),
];

#[test]
fn each_document_is_what_its_schema_says_and_no_text_drives_a_terminal() {
    for code in [0, 3] {
        let home = project(code);
        assert_eq!(home.run(&["run"]).code, i32::from(code > 0));
        for (command, schema) in COMMANDS {
            let json = home.run(&[command, &["--json"]].concat());
            assert_eq!((json.code, json.err.as_str()), (0, ""), "{command:?}");
            let document = valid(schema, &json.out);
            assert_eq!(document["schema"], format!("sykli.{schema}/1"));
            let text = home.run(command);
            assert_eq!(text.code, 0, "{command:?} {}", text.err);
            assert!(!text.out.is_empty(), "{command:?}");
            let all = format!("{}{}", text.out, text.err);
            assert!(!all.contains(['\u{1b}', '\u{7}']), "{command:?} {all:?}");
        }
    }
}

#[test]
fn a_failed_run_is_told_task_by_task() {
    let home = project(3);
    home.run(&["run"]);
    let history = valid("history", &home.run(&["history", "--json"]).out);
    let run = &history["runs"][0];
    assert_eq!(
        (&run["standing"], &run["reach"]),
        (&"failed".into(), &"solo".into())
    );
    assert_eq!(
        (&run["counts"]["passed"], &run["counts"]["failed"]),
        (&1.into(), &1.into())
    );
    let name = run["run"].as_str().unwrap();

    let status = home.run(&["status"]);
    assert!(
        status.out.contains("one ✓ → two ✗ → three ⊘"),
        "{}",
        status.out
    );
    assert!(status.out.contains("demo failed in "), "{}", status.out);
    let ascii = common::answer(home.command(&["status"]).env("LC_ALL", "C"));
    assert!(
        ascii.out.contains("one ok -> two FAILED -> three skipped"),
        "{}",
        ascii.out
    );
    assert!(ascii.out.is_ascii(), "{}", ascii.out);

    let task = home.run(&["task", "two", &name[..10]]);
    assert!(
        task.out.starts_with("[Task: two] Status: Failed\n"),
        "{}",
        task.out
    );
    assert!(
        task.out.contains("Failure: exited with code 3"),
        "{}",
        task.out
    );
    let report = home.run(&["report", name]);
    assert!(report.out.contains("✗ two"), "{}", report.out);
    let explain = home.run(&["explain", "two"]);
    assert!(
        explain.out.contains("the run stayed on this machine"),
        "{}",
        explain.out
    );

    let logs = home.run(&["logs", "two"]);
    assert_eq!(logs.out, "this is two\nits end\n");
    assert!(logs.err.contains("only the end"), "{}", logs.err);
    let logs = home.run(&["logs", "one", "-f"]);
    assert_eq!(
        (logs.out.as_str(), logs.err.as_str()),
        ("this is one\nits end\n", "")
    );
    let logs = valid("logs", &home.run(&["logs", "one", "--json"]).out);
    assert_eq!(logs["instances"][0]["kept"], "whole");
}

#[test]
fn what_is_not_there_is_said_with_a_way_on() {
    let home = project(0);
    let none = home.run(&["report"]);
    assert_eq!((none.code, none.out.as_str()), (2, ""));
    assert!(none.err.contains("[history::no-run]"), "{}", none.err);
    assert!(
        home.run(&["history"])
            .out
            .contains("nothing has been run yet")
    );
    home.run(&["run"]);
    let unknown = home.run(&["task", "tow"]);
    assert!(
        unknown.err.contains("did you mean `two`?"),
        "{}",
        unknown.err
    );
    let unknown = home.run(&["logs", "one", "nosuchrun"]);
    assert!(unknown.err.contains("[history::no-run]"), "{}", unknown.err);
    home.run(&["run"]);
    let both = home.run(&["report", "0"]);
    assert!(both.err.contains("[history::ambiguous]"), "{}", both.err);
    assert_eq!(home.run(&["history", "-n", "1"]).out.lines().count(), 1);
    assert_eq!(home.run(&["history", "."]).out.lines().count(), 2);
}

#[test]
fn a_killed_run_is_interrupted_and_its_status_is_watched_to_the_end() {
    let home = project(0);
    std::fs::write(home.project().join("two.wasm"), guest::spins()).unwrap();
    let mut child = home
        .command(&["run", "--format", "ndjson"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    // What has passed is told once it is in the journal, which may be after the next task has begun.
    let (mut passed, mut began) = (false, false);
    for line in lines {
        let event = valid("event", &line.unwrap());
        passed |= event["event"] == "task_settled" && event["label"] == "one";
        began |= event["event"] == "task_started" && event["label"] == "two";
        if passed && began {
            break;
        }
    }
    let running = valid("status", &home.run(&["status", "--json"]).out);
    assert_eq!(running["standing"], "running");
    assert_eq!(running["tasks"][0]["standing"], "passed");
    let text = home.run(&["status"]);
    assert!(
        text.out.contains("one ✓ → two ⚡here → three ⏳"),
        "{}",
        text.out
    );
    let task = home.run(&["task", "two"]);
    assert!(
        task.out
            .starts_with("[Task: two] Status: Running\n  Executor: this machine\n"),
        "{}",
        task.out
    );
    let mut watch = home
        .command(&["status", "--watch", "--format", "ndjson"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut seen = BufReader::new(watch.stdout.take().unwrap()).lines();
    assert_eq!(
        valid("status", &seen.next().unwrap().unwrap())["standing"],
        "running"
    );
    child.kill().unwrap();
    child.wait().unwrap();
    let last = seen
        .map(|line| valid("status", &line.unwrap()))
        .last()
        .unwrap();
    assert_eq!(last["standing"], "interrupted");
    assert!(watch.wait().unwrap().success());
    let status = home.run(&["status"]);
    assert!(
        status.out.contains("one ✓ → two ⏳ → three ⏳"),
        "{}",
        status.out
    );
    assert!(
        home.run(&["history"])
            .out
            .contains("demo interrupted: 1 passed")
    );
}
