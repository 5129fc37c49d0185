//! Runs as a user and a program see them: lines, documents, exit codes. What tasks can do is the sandbox's tests' matter.
#![allow(clippy::unwrap_used)]

mod common;

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use common::{Home, answer, guest, valid, write};

const HEAD: &str = "schema = \"sykli-wasm/1\"\n[pipeline]\nname = \"demo\"\n";

/// `one → two → three`, whose components say their names and end with these codes.
fn chain(codes: [u8; 3]) -> Home {
    let home = Home::new();
    let mut text = HEAD.to_owned();
    for (index, (name, code)) in ["one", "two", "three"].into_iter().zip(codes).enumerate() {
        let said = format!("\u{1b}]52;c;aGk=\u{7}this is {name}\n");
        std::fs::write(
            home.project().join(format!("{name}.wasm")),
            guest::says(&said, code),
        )
        .unwrap();
        let after = ["", "after = [\"one\"]\n", "after = [\"two\"]\n"][index];
        text.push_str(&format!(
            "[task.{name}]\ncomponent = \"{name}.wasm\"\n{after}"
        ));
    }
    home.write("sykli.toml", &text);
    home
}

#[test]
fn a_run_ends_with_one_summary_and_a_second_one_with_the_cache() {
    let home = chain([0, 0, 0]);
    let first = home.run(&["run"]);
    assert_eq!((first.code, first.out.as_str()), (0, ""), "{}", first.err);
    assert_eq!(
        first.err.matches("one ✓ → two ✓ → three ✓").count(),
        1,
        "{}",
        first.err
    );
    assert!(first.err.contains("3 tasks: 3 passed in "), "{}", first.err);
    assert!(
        !first.err.contains("this is one"),
        "output of a task that passed is not shown: {}",
        first.err
    );

    let second = home.run(&["run"]);
    assert!(
        second.err.contains("one ○ → two ○ → three ○"),
        "{}",
        second.err
    );
    assert!(
        second
            .err
            .contains("3 tasks: everything came from the cache in "),
        "{}",
        second.err
    );

    let ascii = answer(home.command(&["run", "--no-cache"]).env("LC_ALL", "C"));
    assert!(
        ascii.err.contains("one ok -> two ok -> three ok"),
        "{}",
        ascii.err
    );
    assert!(ascii.err.is_ascii(), "{}", ascii.err);
    let verbose = home.run(&["run", "--no-cache", "--verbose"]);
    assert!(
        verbose.err.contains("one │ this is one\n"),
        "{}",
        verbose.err
    );
    assert!(!verbose.err.contains('\u{1b}'), "{:?}", verbose.err);
}

#[test]
fn documents_and_events_are_what_the_schemas_say() {
    let home = chain([0, 0, 0]);
    valid("plan", &home.run(&["plan", "--json"]).out);
    let events = home.run(&["run", "--format", "ndjson"]);
    assert_eq!((events.code, events.err.as_str()), (0, ""));
    let events: Vec<_> = events
        .out
        .lines()
        .map(|line| valid("event", line))
        .collect();
    assert!(events.iter().any(|event| event["event"] == "task_output"
        && event["line"].as_str().unwrap().contains("this is two")));
    let last = events.last().unwrap();
    assert_eq!(
        (last["event"].as_str(), last["counts"]["passed"].as_u64()),
        (Some("finished"), Some(3))
    );

    let run = valid("run", &home.run(&["run", "--json"]).out);
    assert_eq!(
        (run["status"].as_str(), run["counts"]["cached"].as_u64()),
        (Some("passed"), Some(3))
    );
    let plan = valid("plan", &home.run(&["plan", "--json"]).out);
    assert_eq!(plan["tasks"][0]["cached"], 1);
    let why = valid(
        "cache-why",
        &home.run(&["cache", "why", "two", "--json"]).out,
    );
    assert_eq!(
        (
            why["instances"][0]["label"].as_str(),
            why["instances"][0]["cached"].as_bool()
        ),
        (Some("two"), Some(true))
    );
    let stats = valid("cache-stats", &home.run(&["cache", "stats", "--json"]).out);
    assert_eq!(stats["results"], 3);
    let cleared = valid("cache-stats", &home.run(&["cache", "clear", "--json"]).out);
    assert_eq!(
        (
            cleared["removed"]["results"].as_u64(),
            cleared["results"].as_u64()
        ),
        (Some(3), Some(0))
    );
    assert!(home.run(&["run"]).err.contains("3 passed"), "cleared");
}

#[test]
fn a_failure_shows_what_the_task_said_and_skips_what_needs_it() {
    let home = chain([0, 1, 0]);
    let failed = home.run(&["run"]);
    assert_eq!(failed.code, 1, "{}", failed.err);
    assert!(failed.err.contains("✗ two failed"), "{}", failed.err);
    assert!(failed.err.contains("[task::exit]"), "{}", failed.err);
    assert!(
        failed.err.contains("stdout │ this is two"),
        "{}",
        failed.err
    );
    assert!(!failed.err.contains('\u{1b}'), "{:?}", failed.err);
    assert!(
        failed.err.contains("one ✓ → two ✗ → three ⊘"),
        "{}",
        failed.err
    );
    assert!(
        failed
            .err
            .contains("3 tasks: 1 passed, 1 failed, 1 skipped in "),
        "{}",
        failed.err
    );

    let document = home.run(&["run", "--json"]);
    let run = valid("run", &document.out);
    assert_eq!((document.code, run["exit_code"].as_i64()), (1, Some(1)));
    let two = run["instances"]
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["label"] == "two")
        .unwrap()
        .clone();
    assert_eq!(
        (two["state"].as_str(), two["failure"]["exit_code"].as_i64()),
        (Some("failed"), Some(1))
    );
}

#[test]
fn a_filter_that_matches_nothing_is_wrong_usage() {
    let home = chain([0, 0, 0]);
    let wrong = home.run(&["run", "--filter", "tow"]);
    assert_eq!(wrong.code, 2, "{}", wrong.err);
    assert!(
        wrong.err.contains("[run::filter]") && wrong.err.contains("hint:"),
        "{}",
        wrong.err
    );
    let some = home.run(&["run", "--filter", "one"]);
    assert_eq!(some.code, 0, "{}", some.err);
    assert!(
        some.err.contains("1 passed") && !some.err.contains("three"),
        "{}",
        some.err
    );
}

#[test]
fn exec_is_the_guest_and_nothing_more() {
    let home = Home::new();
    std::fs::write(
        home.project().join("fails.wasm"),
        guest::says("to stdout\n", 1),
    )
    .unwrap();
    std::fs::write(home.project().join("trap.wasm"), guest::traps("before\n")).unwrap();
    let fails = home.run(&["exec", "fails.wasm", "--nocapture"]);
    assert_eq!(
        (fails.code, fails.out.as_str(), fails.err.as_str()),
        (1, "to stdout\n", "")
    );
    let document = valid("exec", &home.run(&["exec", "--json", "fails.wasm"]).out);
    assert_eq!(
        (document["exit_code"].as_i64(), document["stdout"].as_str()),
        (Some(1), Some("to stdout\n"))
    );
    let trap = home.run(&["exec", "trap.wasm"]);
    assert_eq!((trap.code, trap.out.as_str()), (1, "before\n"));
    assert!(
        trap.err.contains("[task::trap]") && trap.err.contains("unreachable"),
        "{}",
        trap.err
    );
}

/// Starts a run that never ends by itself, waits until its guest runs, sends `signals` to it one by one.
fn interrupted(signals: usize) -> (Option<i32>, Vec<String>) {
    let home = Home::new();
    std::fs::write(home.project().join("spin.wasm"), guest::spins()).unwrap();
    let limits = "limits = { fuel = \"9000T\", timeout = \"1h\" }\n";
    home.write(
        "sykli.toml",
        &format!("{HEAD}[task.spin]\ncomponent = \"spin.wasm\"\n{limits}"),
    );
    let mut child = home
        .command(&["run", "--format", "ndjson"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map(Result::unwrap);
    assert!(lines.any(|line| line.contains("task_started")));
    for _ in 0..signals {
        let pid = child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-INT", &pid])
                .status()
                .unwrap()
                .success()
        );
    }
    let rest: Vec<String> = lines.collect();
    (child.wait().unwrap().code(), rest)
}

#[test]
fn one_interrupt_ends_the_run_in_order() {
    let (code, lines) = interrupted(1);
    assert_eq!(code, Some(130), "{lines:?}");
    let last = valid("event", lines.last().unwrap());
    assert_eq!(
        (last["event"].as_str(), last["status"].as_str()),
        (Some("finished"), Some("interrupted"))
    );
}

#[test]
fn two_interrupts_end_the_process() {
    assert_eq!(interrupted(2).0, Some(130));
}

#[test]
fn what_init_writes_runs_at_once() {
    let home = Home::new();
    assert_eq!(home.run(&["init"]).code, 0);
    let first = home.run(&["run"]);
    assert_eq!(first.code, 0, "{}", first.err);
    assert!(
        first.err.contains("hello ✓") && first.err.contains("wrote hello.txt (13 B)"),
        "{}",
        first.err
    );
    assert_eq!(
        std::fs::read_to_string(home.project().join("hello.txt")).unwrap(),
        "hello, world\n"
    );
    let second = home.run(&["run"]);
    assert!(
        second.err.contains("everything came from the cache"),
        "{}",
        second.err
    );
    let built = valid("build", &home.run(&["build", "--json"]).out);
    assert_eq!(built["crates"][0]["crate_dir"], "tasks/hello");
}

#[test]
fn a_crate_that_does_not_compile_shows_what_cargo_said() {
    let home = Home::new();
    assert_eq!(home.run(&["init"]).code, 0);
    write(
        &home.project().join("tasks/hello/src/main.rs"),
        "fn main() { no_such_function() }\n",
    );
    let failed = home.run(&["run"]);
    assert_eq!(failed.code, 2, "{}", failed.err);
    assert!(
        failed.err.contains("no_such_function") && failed.err.contains("[build::failed]"),
        "{}",
        failed.err
    );
    valid("error", &home.run(&["run", "--json"]).out);
}
