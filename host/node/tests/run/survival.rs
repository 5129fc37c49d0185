//! Lost blobs and killed processes: nothing that was told is lost.

use crate::support::{CHAIN, Project, run};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use sykli_core::pipeline::{Format, parse};
use sykli_core::run::{RunOutcome, SettledKind};
use sykli_node::events::RunEvent;
use sykli_node::filter::Filter;
use sykli_node::interrupt::Interrupt;
use sykli_node::node::{Node, NodeSettings};
use sykli_node::paths::Dirs;
use sykli_node::run::RunRequest;

#[test]
fn a_lost_or_flipped_blob_of_an_earlier_result_is_made_anew() {
    let project = Project::new();
    let text = "x".repeat(100_000);
    project.write("src/a.txt", &text);
    let ran = project.run(CHAIN);
    assert_eq!(
        ran.report.status.outcome,
        RunOutcome::Passed,
        "{:?}",
        ran.report.failures
    );
    let blobs = project.temp.path().join("home");
    let mut flipped = 0;
    let mut open = vec![blobs];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.to_str().unwrap().contains("/blobs/") {
                let mut bytes = fs::read(&path).unwrap();
                bytes[7] ^= 1;
                fs::remove_file(&path).unwrap();
                fs::write(&path, bytes).unwrap();
                flipped += 1;
            }
        }
    }
    assert!(flipped > 0, "large outputs are files");
    fs::remove_file(project.path("result.txt")).unwrap();
    let changed = CHAIN.replace("result.txt", "renamed.txt");
    let again = project.run(&changed);
    assert_eq!(
        again.report.status.outcome,
        RunOutcome::Passed,
        "{:?} {:?}",
        again.report.failures,
        again.report.warnings
    );
    assert_eq!(project.read("renamed.txt"), text.to_uppercase());
}

const MANY: &str = r#"
[task.many]
component = "tool.wasm"
foreach = { shards = 30 }
args = ["write=/out/{index}=text {index}"]
outputs = ["*"]
export = false
[task.hold]
component = "tool.wasm"
after = ["many"]
args = ["spin"]
limits = { fuel = "9000000T", timeout = "10m" }
"#;

/// Not a test by itself: the process that the next test kills.
#[test]
fn killed_process() {
    let Some(folder) = std::env::var_os("SYKLI_TEST_KILLED") else {
        return;
    };
    let root = PathBuf::from(&folder).join("project");
    let text = fs::read_to_string(root.join("sykli.toml")).unwrap();
    let request = RunRequest::new(
        parse(&text, Format::Toml).unwrap(),
        root.join("sykli.toml"),
        root,
    );
    let dirs = Dirs::under(&PathBuf::from(folder).join("home"));
    let node = Node::open(NodeSettings {
        dirs,
        jobs: 2,
        offline: true,
    })
    .unwrap();
    let told = |event| match event {
        RunEvent::TaskSettled(settled) => eprintln!("SETTLED {}", settled.label),
        RunEvent::TaskStarted { label, .. } if &*label == "hold" => eprintln!("HOLD"),
        _ => {}
    };
    node.run(request, &told, &Interrupt::new()).unwrap();
}

#[test]
fn after_kill_9_what_was_told_is_in_the_cache() {
    let project = Project::new();
    drop(project.request(MANY));
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "survival::killed_process", "--nocapture"])
        .env("SYKLI_TEST_KILLED", project.temp.path())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut told = Vec::new();
    for line in BufReader::new(child.stderr.take().unwrap()).lines() {
        let line = line.unwrap();
        told.extend(line.strip_prefix("SETTLED ").map(str::to_owned));
        if told.len() >= 5 {
            break;
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(told.len() >= 5, "{told:?}");
    let filter = Some(Filter::parse("many").unwrap());
    let ran = run(
        &project.node(),
        RunRequest {
            filter,
            ..project.request(MANY)
        },
    );
    assert_eq!(ran.report.status.outcome, RunOutcome::Passed);
    for label in &told {
        assert_eq!(ran.states()[label.as_str()], SettledKind::Cached, "{label}");
    }
}
