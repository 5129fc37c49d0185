//! A pure task gives the same result whatever else goes on: the same pipeline on two fresh caches, one task at a time and
//! eight at once on a busy machine, leaves the same digests; and a guest that prints time, randomness and orders prints the
//! same. Also that a task which was granted the real clock and randomness does differ: that the comparison can see it.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use serde_json::Value;
use sykli_tests::{Project, guest, wat_guest};

/// Everything that usually makes two runs differ, alone and on its way through other tasks; the last task is impure.
const PIPELINE: &str = r#"
schema = "sykli-wasm/1"

[pipeline]
name = "determinism"

[task.look]
component = "determinism.wasm"
inputs    = ["data/**"]
outputs   = ["determinism.txt"]
export    = false

[task.look-portable]
component = "determinism.wasm"
inputs    = ["data/**"]
outputs   = ["determinism.txt"]
floats    = "portable"
export    = false

[task.parts]
component = "determinism.wasm"
foreach   = { shards = 12 }
after     = ["look"]
outputs   = ["**"]
export    = false

[task.each]
component = "copy.wasm"
foreach   = { glob = "data/**" }
args      = ["/in", "/out/{index}"]
outputs   = ["**"]
export    = false

[task.work]
component = "compute.wasm"
foreach   = { values = ["floats", "hash"] }
args      = ["{item}"]
export    = false

[task.work-portable]
component = "compute.wasm"
foreach   = { values = ["floats", "hash"] }
args      = ["{item}"]
floats    = "portable"
export    = false

[task.nan]
component = "nan.wasm"
floats    = "portable"

[task.many]
component = "big-output.wasm"
args      = ["3000000", "350"]
outputs   = ["**"]
export    = false

[task.told]
component = "progress.wasm"
foreach   = { matrix = { os = ["linux", "mac"], level = ["1", "2"] } }
params    = { b = 2, a = [1, { z = 1, y = "{os}" }] }

[task.gather]
component = "copy.wasm"
after     = ["each", "many", "told", "work"]
args      = ["/in", "/out/all"]
outputs   = ["all/**"]
export    = false

[task.impure]
component = "determinism.wasm"
inputs    = ["data/**"]
outputs   = ["determinism.txt"]
grants    = { clock = true, random = true }
export    = false
"#;

const IMPURE: &str = "impure";

fn project() -> Project {
    let project = Project::new();
    for name in ["determinism", "copy", "compute", "big-output", "progress"] {
        project.guest(name);
    }
    project.write("nan.wasm", wat_guest("nan"));
    for name in ["zebra", "Apple", "10", "9", "é", "deep/down/a", "deep/b"] {
        project.write(&format!("data/{name}.txt"), name.repeat(40));
    }
    project.write("sykli.toml", PIPELINE);
    project
}

/// What one run came to, by instance: its digests, its fuel, and the lines that it printed.
#[derive(Debug, Default, PartialEq)]
struct Told {
    state: String,
    digest: Option<String>,
    output: Option<String>,
    fuel: u64,
    lines: Vec<String>,
}

fn run(project: &Project, jobs: &str) -> BTreeMap<String, Told> {
    let args = ["run", "--jobs", jobs, "--verbose", "--format", "ndjson"];
    let ran = project.run(&args).expect(0);
    let mut told: BTreeMap<String, Told> = BTreeMap::new();
    for line in ran.stdout.lines() {
        let event: Value = serde_json::from_str(line).unwrap();
        let text = |key: &str| event[key].as_str().map(str::to_owned);
        let Some(label) = text("label") else { continue };
        let one = told.entry(label).or_default();
        match event["event"].as_str().unwrap() {
            "task_output" => one.lines.push(text("line").unwrap()),
            "task_settled" => {
                one.state = text("state").unwrap();
                one.digest = text("digest");
                one.output = text("output");
                one.fuel = event["fuel"].as_u64().unwrap();
            }
            _ => {}
        }
    }
    told
}

/// Does `work` while more threads than there are cores have nothing better to do than to be in its way.
fn under_load<T>(work: impl FnOnce() -> T) -> T {
    let done = AtomicBool::new(false);
    let cores = thread::available_parallelism().map_or(2, usize::from);
    thread::scope(|scope| {
        for _ in 0..cores * 2 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    black_box((0..10_000u64).sum::<u64>());
                }
            });
        }
        // Also where the work panics: the scope waits for the threads.
        let finished = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        done.store(true, Ordering::Relaxed);
        finished.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

#[test]
fn pure_tasks_come_to_the_same_one_at_a_time_and_eight_at_once_under_load() {
    let (one, other) = (project(), project());
    let mut alone = run(&one, "1");
    let mut crowded = under_load(|| run(&other, "8"));

    let impure = (
        alone.remove(IMPURE).unwrap(),
        crowded.remove(IMPURE).unwrap(),
    );
    assert_eq!(impure.0.state, "passed");
    assert_ne!(
        impure.0.output, impure.1.output,
        "real time and randomness differ"
    );
    assert_ne!(impure.0.lines, impure.1.lines);

    assert_eq!(alone.len(), 32, "{:?}", alone.keys());
    for (label, told) in &alone {
        assert_eq!(told.state, "passed", "{label}");
        assert!(told.output.is_some() && told.digest.is_some(), "{label}");
        assert_eq!(Some(told), crowded.get(label), "{label}");
    }
    assert_eq!(alone.len(), crowded.len());

    // What is compared is not nothing.
    assert!(alone["look"].lines.len() > 15, "{:?}", alone["look"].lines);
    assert!(
        alone["parts[1/12]"].lines != alone["parts[2/12]"].lines,
        "each has its own seed"
    );
    let gathered = one.run(&["cache", "stats", "--json"]).expect(0);
    let stats: Value = serde_json::from_str(&gathered.stdout).unwrap();
    assert_eq!(stats["results"], 32);
}

#[test]
fn exec_without_grants_prints_the_same_every_time_and_with_them_does_not() {
    let print = |project: &Project, grants: &[&str]| {
        let mut command = project.sykli();
        command.arg("exec").args(grants).arg(guest("determinism"));
        let output = command.output().unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    };
    let (one, other) = (Project::new(), Project::new());
    let first = print(&one, &[]);
    assert_eq!(first, under_load(|| print(&other, &[])));
    assert_eq!(
        first,
        print(&one, &[]),
        "also from the cache of compiled code"
    );
    assert!(first.starts_with("wall 946684800"), "2000-01-01: {first}");
    assert!(first.contains("slept true"), "{first}");

    let random = ["--random"];
    assert_ne!(print(&one, &random), print(&one, &random));
    let wall = |text: String| text.lines().next().unwrap().to_owned();
    let clock = ["--clock"];
    assert_ne!(wall(print(&one, &clock)), wall(print(&one, &clock)));
}
