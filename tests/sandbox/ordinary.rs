//! What an honest program finds: its arguments, environment, streams, exit code, the task interface; and that it gets
//! nothing else.

use std::sync::Arc;

use sykli_runtime::{Grant, Source, Status, TaskInfo};

use crate::common::{Recorder, case, stderr, stdout, succeeded};

#[test]
fn arguments_and_environment_are_those_that_were_given() {
    let mut hello = case("hello", &["two words", "ünï"]);
    hello.env = vec![
        ("B".to_owned(), "2".to_owned()),
        ("A".to_owned(), "1 1".to_owned()),
    ];
    let said = succeeded(&hello.run());
    assert_eq!(
        said,
        "hello\narg 0: hello\narg 1: two words\narg 2: ünï\nenv A=1 1\nenv B=2\n"
    );
}

#[test]
fn no_variable_comes_through_that_was_not_granted() {
    let said = succeeded(&case("uses-env", &["PATH", "HOME", "USER"]).run());
    assert_eq!(said, "PATH is not set\nHOME is not set\nUSER is not set\n");
}

#[test]
fn standard_input_is_read_to_its_end() {
    let text = "line\n".repeat(100_000);
    let mut echo = case("echo-stdin", &[]);
    echo.stdin = Source::bytes(text.clone().into_bytes());
    let outcome = echo.run();
    assert_eq!(succeeded(&outcome), text);
    assert_eq!(stderr(&outcome), "500000 bytes\n");
}

#[test]
fn an_end_is_passed_on_and_nothing_written_is_lost() {
    // What `std` calls in a component knows success and failure, no number.
    for (code, seen) in [(0, 0), (1, 1), (42, 1)] {
        let outcome = case("exit-code", &[&code.to_string()]).run();
        assert_eq!(outcome.status, Status::Exited(seen));
        assert_eq!(stdout(&outcome), format!("leaving with {code}\n"));
        assert_eq!(stderr(&outcome), "on standard error too\n");
    }
}

#[test]
fn a_task_reports_logs_and_learns_what_it_is() {
    let mut task = case("progress", &["3"]);
    task.task = TaskInfo {
        name: "resize".to_owned(),
        params_json: r#"{"width":320}"#.to_owned(),
        shard_index: 2,
        shard_count: 5,
        attempt: 4,
        item: Some("a.jpg".to_owned()),
    };
    let recorder = Arc::new(Recorder::default());
    task.observer = Arc::clone(&recorder);
    let said = succeeded(&task.run());
    assert_eq!(
        said,
        "name resize\nparams {\"width\":320}\nshard 2 of 5\nitem a.jpg\nattempt 4\n"
    );
    let events = recorder.events.lock().unwrap();
    // Reports in quick succession may be left out, the last one never.
    assert!(
        events.contains(&"progress 3/3 step 3".to_owned()),
        "{events:?}"
    );
    for level in ["Trace", "Debug", "Info", "Warn", "Error"] {
        let line = format!("{level} a line [(\"level\", \"{level}\"), (\"steps\", \"3\")]");
        assert!(events.contains(&line), "{line}: {events:?}");
    }
}

#[test]
fn an_attempt_is_what_the_caller_says() {
    let attempt = |attempt| {
        let mut task = case("fail-once", &[]);
        task.task.attempt = attempt;
        task.run().status
    };
    assert_eq!(attempt(1), Status::Exited(1));
    assert_eq!(attempt(2), Status::Exited(0));
}

#[test]
fn work_of_each_kind_gives_the_result_it_gives_natively() {
    for kind in ["integers", "floats", "hash", "dirty"] {
        let native = std::process::Command::new(sykli_tests::native_guest("compute"))
            .args([kind, "1"])
            .output();
        let native = String::from_utf8(native.unwrap().stdout).unwrap();
        assert_eq!(succeeded(&case("compute", &[kind, "1"]).run()), native);
    }
}

#[test]
fn what_is_read_through_the_file_system_is_what_is_there() {
    let text = "a line\n".repeat(20_000);
    let read = case("compute", &["read", "2", "/in"])
        .file("a", &text)
        .file("b", "x");
    let firsts: u32 = text.bytes().step_by(64 << 10).map(u32::from).sum();
    assert_eq!(
        succeeded(&read.run()),
        format!(
            "read {} bytes, {}\n",
            2 * (text.len() + 1),
            2 * (firsts + u32::from(b'x'))
        )
    );
}

#[test]
fn a_guest_that_does_nothing_uses_next_to_nothing() {
    let outcome = case("noop", &[]).run();
    succeeded(&outcome);
    assert!(outcome.usage.fuel < 100_000, "{:?}", outcome.usage);
    assert!(outcome.refusals.is_empty() && outcome.stdout.bytes.is_empty());
}

#[test]
fn granted_time_and_randomness_are_real() {
    let real = |clock, random| {
        let mut task = case("determinism", &[]);
        task.grant = Grant {
            clock,
            random,
            ..task.grant
        };
        succeeded(&task.run())
    };
    let line = |text: &str, start: &str| {
        text.lines()
            .find(|line| line.starts_with(start))
            .map(str::to_owned)
    };
    let frozen = real(false, false);
    assert!(frozen.starts_with("wall 946684800"), "{frozen}");
    let granted = real(true, true);
    assert!(!granted.starts_with("wall 946684800"), "{granted}");
    assert_ne!(line(&frozen, "random"), line(&granted, "random"));
}
