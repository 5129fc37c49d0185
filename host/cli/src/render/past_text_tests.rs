//! How past and running runs look, without colours and with terminals that know ASCII only.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::render::past::{ExplainInstance, NodeDoc, RanOn, StepDoc, StepName, TimedStep};

fn node(name: &str) -> NodeDoc {
    NodeDoc {
        id: "12D3KooW".to_owned(),
        name: name.to_owned(),
    }
}

fn view(label: &str, standing: Standing, on: Option<&str>) -> TaskDocView {
    TaskDocView {
        run: "01jrun".to_owned(),
        task: label.to_owned(),
        label: label.to_owned(),
        standing,
        executor: on.map(node),
        address: None,
        stolen: false,
        owner: None,
        attempt: 1,
        progress_percent: None,
        message: None,
        wall_ms: 3200,
        fuel: 5_000_000,
        failure: None,
    }
}

fn run(elsewhere: Vec<RanOn>) -> PastRun {
    PastRun {
        run: "01jrun".to_owned(),
        pipeline: "ci".to_owned(),
        file: "/p/sykli.toml".to_owned(),
        standing: Standing::Passed,
        reach: Reach::Swarm,
        started_ms: 1_000_000,
        wall_ms: Some(12_000),
        instances: 3,
        counts: Counts {
            passed: 2,
            cached: 1,
            ..Counts::default()
        },
        elsewhere,
    }
}

fn on_dave() -> Vec<RanOn> {
    vec![RanOn {
        node: node("dave-macbook"),
        instances: 2,
    }]
}

#[test]
fn a_running_task_is_shown_as_the_design_has_it() {
    let mut build = view("build", Standing::Running, Some("dave-macbook"));
    build.address = Some("192.168.1.42".to_owned());
    build.stolen = true;
    build.owner = Some(node("sarah-laptop"));
    build.progress_percent = Some(45);
    let doc = TaskDoc {
        schema: "sykli.task/1",
        instances: vec![build],
    };
    assert_eq!(
        joined(task(&Term::plain(80), &doc)),
        "[Task: build] Status: Running\n  Executor: dave-macbook (192.168.1.42)\n  \
         Stolen: yes (from sarah-laptop)\n  Progress: 45%\n"
    );
}

#[test]
fn a_task_that_ended_says_where_and_how_long() {
    let mut failed = view("build", Standing::Failed, None);
    failed.failure = Some("exited with\u{1b}[2J code 3".to_owned());
    let waiting = view("deploy", Standing::Waiting, None);
    let doc = TaskDoc {
        schema: "sykli.task/1",
        instances: vec![failed, waiting],
    };
    assert_eq!(
        task(&Term::plain(80), &doc),
        [
            "[Task: build] Status: Failed",
            "  Executor: this machine",
            "  Stolen: no",
            "  Time: 3.2s, 5M fuel",
            "  Failure: exited with code 3",
            "[Task: deploy] Status: Waiting",
        ]
    );
}

#[test]
fn history_says_how_many_ran_where() {
    let doc = HistoryDoc {
        schema: "sykli.history/1",
        runs: vec![run(on_dave())],
    };
    assert_eq!(
        history(&Term::plain(100), &doc, 1_000_000 + 7_300_000),
        [
            "01jrun    2h ago  swarm  ci passed in 12.0s: 2 passed, 1 cached; elsewhere: 2 on dave-macbook"
        ]
    );
}

#[test]
fn a_report_has_a_line_a_task_with_why_it_ran_there() {
    let task = |view, why: Option<&str>, moves| ReportTask {
        view,
        why: why.map(str::to_owned),
        moves,
    };
    let moves = Moves {
        offered: 2,
        declined: 1,
        accepted: 1,
        lost: 0,
    };
    let doc = ReportDoc {
        schema: "sykli.report/1",
        of: run(on_dave()),
        nodes: vec![node("dave-macbook")],
        tasks: vec![
            task(view("lint", Standing::Cached, None), None, Moves::default()),
            task(
                view("build", Standing::Passed, Some("dave-macbook")),
                Some("dave-macbook took it"),
                moves,
            ),
        ],
    };
    assert_eq!(
        report(&Term::plain(100), &doc),
        [
            "ci passed in 12.0s: 2 passed, 1 cached; elsewhere: 2 on dave-macbook (swarm, 01jrun)",
            "○ lint   cache",
            "✓ build  dave-macbook         3.2s  dave-macbook took it; offered 2 times, declined 1 time",
        ]
    );
}

#[test]
fn an_explanation_gives_each_hint_once() {
    let step = |after_ms, message: &str| TimedStep {
        after_ms,
        step: StepDoc {
            attempt: 1,
            node: node("dave"),
            step: StepName::Declined,
            reason: Some("consent-never".to_owned()),
            message: message.to_owned(),
            hints: vec!["mode = \"policy\"".to_owned()],
        },
    };
    let doc = ExplainDoc {
        schema: "sykli.explain/1",
        run: "01jrun".to_owned(),
        reach: Reach::Mesh,
        instances: vec![ExplainInstance {
            label: "build".to_owned(),
            standing: Standing::Passed,
            executor: None,
            why: "dave declined".to_owned(),
            steps: vec![
                step(200, "dave declined: no"),
                step(900, "dave declined: no"),
            ],
        }],
        left_out: 0,
    };
    assert_eq!(
        explain(&Term::plain(80), &doc),
        [
            "build: passed: dave declined",
            "     200ms  dave declined: no",
            "            hint: mode = \"policy\"",
            "     900ms  dave declined: no",
        ]
    );
}

fn status_doc() -> StatusDoc {
    let task = |name: &str, after: &[&str], standing, on: &[&str]| StatusTask {
        name: name.to_owned(),
        after: after.iter().map(|name| (*name).to_owned()).collect(),
        standing,
        instances: 1,
        running: u32::from(standing == Standing::Running),
        counts: Counts {
            passed: u32::from(standing == Standing::Passed),
            ..Counts::default()
        },
        on: on.iter().map(|name| node(name)).collect(),
    };
    StatusDoc {
        schema: "sykli.status/1",
        run: "01jrun".to_owned(),
        pipeline: "ci".to_owned(),
        standing: Standing::Running,
        reach: Reach::Mesh,
        started_ms: 0,
        elapsed_ms: Some(4_000),
        tasks: vec![
            task("lint", &[], Standing::Passed, &[]),
            task("test", &["lint"], Standing::Passed, &[]),
            task("build", &["test"], Standing::Running, &["dave-macbook"]),
            task("deploy", &["build"], Standing::Waiting, &[]),
        ],
    }
}

#[test]
fn the_status_line_of_the_design_with_and_without_glyphs() {
    let lines = status(&Term::plain(80), &status_doc());
    assert_eq!(
        lines,
        [
            "lint ✓ → test ✓ → build ⚡dave-macbook → deploy ⏳",
            "ci running in 4.0s: 2/4 ended, 2 passed (mesh, 01jrun)",
        ]
    );
    let ascii = Term {
        unicode: false,
        ..Term::plain(80)
    };
    let lines = status(&ascii, &status_doc());
    assert_eq!(
        lines[0],
        "lint ok -> test ok -> build running@dave-macbook -> deploy waiting"
    );
    let mut dead = status_doc();
    dead.standing = Standing::Interrupted;
    let lines = status(&ascii, &dead);
    assert!(
        lines[0].ends_with("build waiting -> deploy waiting"),
        "{lines:?}"
    );
}

#[test]
fn output_in_pieces_becomes_lines_without_escapes() {
    let (term, label) = (Term::plain(80), Arc::<str>::from("build"));
    let mut lines = Lines::default();
    let mut push = |bytes: &[u8]| lines.push(&label, Stream::Stdout, bytes, &term);
    assert_eq!(push("caf\u{e9}".as_bytes().get(..4).unwrap()), "");
    assert_eq!(
        push(b"\xa9\nx\x1b]52;c;aGk=\x07y\nrest"),
        "build │ café\nbuild │ xy\n"
    );
    assert_eq!(
        lines.rest(&term),
        ("build │ rest\n".to_owned(), String::new())
    );
    assert_eq!(log(&term, None, "a\u{1b}[2Jb\nc"), "ab\nc\n");
}
