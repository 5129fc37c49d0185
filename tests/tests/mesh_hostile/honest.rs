//! What honest members do meanwhile: a run whose every task only the attacked node can take, and what must come of it.

use std::fmt::Write as _;

use serde_json::Value;
use sykli_tests::Project;
use sykli_tests::mesh::{Machine, UNWILLING};

/// Tasks of one run.
pub(crate) const TASKS: usize = 8;
/// What the node under attack adds to its settings: a label that nobody else has, and a cap on what may flow.
pub(crate) const ATTACKED: &str =
    "max_artifact_mb = 1\nmax_concurrent = 2\n[node]\nlabels = [\"anvil\"]\n";

const PIPELINE: &str = r#"
schema = "sykli-wasm/1"

[pipeline]
name = "honest"

[task.work]
component = "copy.wasm"
foreach   = { glob = "data/*.txt" }
args      = ["/in/{item}", "/out/{item.name}"]
outputs   = ["*.txt"]
place     = { labels = ["anvil"] }
"#;

fn content(machine: &str, number: usize) -> String {
    let mut content = String::new();
    for line in 0..500 {
        let _ = writeln!(content, "{machine} {number} {line}");
    }
    content
}

/// A machine with work that it cannot do itself.
pub(crate) fn machine(name: &str) -> Machine {
    let project = Project::new();
    project.write("sykli.toml", PIPELINE).guest("copy");
    for number in 0..TASKS {
        project.write(&format!("data/{number}.txt"), content(name, number));
    }
    Machine::with(name, UNWILLING, project)
}

/// Has the work done once, and holds what came back against what was sent.
#[track_caller]
pub(crate) fn work(machine: &Machine) {
    for number in 0..TASKS {
        // None is left of the time before.
        let _ = std::fs::remove_file(machine.project().path().join(format!("{number}.txt")));
    }
    let run = machine.json(&["run", "--mesh", "--no-cache", "--json"]);
    assert_eq!(run["status"], "passed", "{run}");
    for number in 0..TASKS {
        let came = machine.project().read_text(&format!("{number}.txt"));
        assert_eq!(came, content(machine.name(), number));
    }
}

/// A counter of the attacked node.
pub(crate) fn counted(machine: &Machine, what: &str) -> u64 {
    status(machine)["counters"][what].as_u64().unwrap()
}

/// How the attacked node is.
pub(crate) fn status(machine: &Machine) -> Value {
    machine.json(&["node", "status", "--json"])
}

/// The most memory that a process ever had, in bytes.
pub(crate) fn most_memory(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1));
    kib.unwrap().parse::<u64>().unwrap() << 10
}
