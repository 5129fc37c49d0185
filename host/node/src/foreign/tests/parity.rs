//! One task digest, one result: whoever runs it.

use std::collections::BTreeMap;

use sykli_core::consent::RemoteOutcome;
use sykli_core::run::SettledKind;

use crate::two_nodes::TwoNodes;

/// Guests of many kinds, with inputs of every kind: workspace files, items within and beside a task's own inputs, outputs of
/// earlier tasks, standard input from both, shards, values, parameters and an environment.
const GUESTS: &str = r#"
[task.look]
component = "determinism.wasm"
inputs    = ["data/**"]
outputs   = ["determinism.txt"]
[task.look-portable]
component = "determinism.wasm"
inputs    = ["data/**"]
outputs   = ["determinism.txt"]
floats    = "portable"
export    = false
[task.parts]
component = "determinism.wasm"
foreach   = { shards = 3 }
after     = ["look"]
outputs   = ["**"]
export    = false
[task.each]
component = "copy.wasm"
foreach   = { glob = "data/*.txt" }
args      = ["/in", "/out/{index}"]
outputs   = ["**"]
export    = false
[task.beside]
component = "copy.wasm"
inputs    = ["many/*.txt"]
foreach   = { glob = "data/sub/*.txt" }
args      = ["/in", "/out/{index}"]
outputs   = ["**"]
export    = false
[task.gather]
component = "copy.wasm"
inputs    = ["data/a.txt"]
after     = ["each", "told"]
args      = ["/in", "/out/all"]
outputs   = ["all/each/**", "all/data/**"]
export    = false
[task.tour]
component = "fs-tour.wasm"
[task.told]
component = "progress.wasm"
foreach   = { matrix = { os = ["linux", "mac"] } }
params    = { b = 2, a = [1, { z = 1, y = "{os}" }] }
env       = { GREETING = "hello" }
[task.hello]
component = "hello.wasm"
args      = ["one", "two words"]
env       = { GREETING = "hello" }
[task.read]
component = "echo-stdin.wasm"
stdin     = "data/a.txt"
[task.read-later]
component = "echo-stdin.wasm"
after     = ["look"]
stdin     = "look/determinism.txt"
[task.work]
component = "compute.wasm"
foreach   = { values = ["floats", "hash"] }
args      = ["{item}", "1"]
[task.many]
component = "big-output.wasm"
args      = ["100000", "20"]
outputs   = ["**"]
export    = false
"#;

/// Runs a pipeline here, and each of its instances there: the digests of everything must be the same.
fn compare(nodes: &TwoNodes, tasks: &str) {
    let report = nodes.run(tasks);
    let own: BTreeMap<&str, _> = report
        .instances
        .iter()
        .map(|one| (&*one.label, one))
        .collect();
    let offered = nodes.open(tasks);
    assert_eq!(offered.prepared.len(), own.len());
    let store = nodes.owner.store().unwrap();
    for (label, prepared) in &offered.prepared {
        let here = own[label.as_str()];
        assert_eq!(
            here.state,
            SettledKind::Passed,
            "{label}: {:?}",
            report.failures
        );
        nodes.carry(&offered, label);
        let needs = offered.needs(label);
        let there = nodes
            .run_there(needs)
            .unwrap_or_else(|error| panic!("{label}: {error}"));
        assert_eq!(there.outcome, RemoteOutcome::Passed, "{label}");
        assert_eq!(Some(there.output), here.output, "{label}");
        let record = store.results(&[prepared.digest]).remove(0).unwrap();
        let streams = (record.stdout, record.stderr, record.fuel);
        assert_eq!((there.stdout, there.stderr, there.fuel), streams, "{label}");
        assert!(nodes.store.complete(&record), "{label}: all of it is there");
    }
}

#[test]
fn guests_give_elsewhere_what_they_give_here() {
    let nodes = TwoNodes::new();
    nodes.guests(&[
        "determinism",
        "copy",
        "fs-tour",
        "progress",
        "hello",
        "echo-stdin",
        "compute",
        "big-output",
    ]);
    nodes.write("data/a.txt", "a file\n");
    nodes.write("data/b.txt", "x".repeat(100_000));
    nodes.write("data/empty.txt", "");
    nodes.write("data/sub/c.txt", "deeper");
    nodes.write("data/sub/d.txt", "a file\n");
    // So many that an item beside them gets a tree of its own.
    (0..40).for_each(|n| nodes.write(&format!("many/{n}.txt"), format!("{n}")));
    compare(&nodes, GUESTS);
}

#[test]
fn the_examples_give_elsewhere_what_they_give_here() {
    let nodes = TwoNodes::new();
    for package in [
        "wordcount-map",
        "wordcount-reduce",
        "gallery-render",
        "gallery-thumbs",
        "gallery-sheet",
    ] {
        let component = sykli_tests::component("examples", package);
        std::fs::copy(component, nodes.path(&format!("{package}.wasm"))).unwrap();
    }
    nodes.write("texts/one.txt", "to be or not to be\n");
    nodes.write("texts/two.txt", "to see or not to see\n");
    nodes.write(
        "photos/red.ppm",
        "P3\n2 2\n255\n255 0 0 255 0 0 255 0 0 255 0 0\n",
    );
    let tasks = r#"
[task.map]
component = "wordcount-map.wasm"
foreach = { glob = "texts/**/*.txt" }
args    = ["{item}"]
outputs = ["counts/{item}.json"]
[task.reduce]
component = "wordcount-reduce.wasm"
after   = ["map"]
outputs = ["counts.json"]
params  = { top = 20, at_least = 2 }
[task.render]
component = "gallery-render.wasm"
foreach = { shards = 2 }
outputs = ["tiles/{index}.png", "tiles/{index}.json"]
params  = { width = 24, height = 12, samples = 2 }
[task.thumbs]
component = "gallery-thumbs.wasm"
foreach = { glob = "photos/*.ppm" }
outputs = ["thumbs/**"]
params  = { size = 26 }
[task.sheet]
component = "gallery-sheet.wasm"
after   = ["render", "thumbs"]
outputs = ["contact-sheet.png"]
params  = { title = "Seeds of light" }
"#;
    compare(&nodes, tasks);
}

#[test]
fn guests_fail_elsewhere_as_they_fail_here() {
    let nodes = TwoNodes::new();
    nodes.guests(&[
        "exit-code",
        "panic",
        "spin",
        "memory-bomb",
        "stack-bomb",
        "noop",
        "handle-flood",
    ]);
    let tasks = r#"
[task.code]
component = "exit-code.wasm"
args      = ["2"]
[task.panic]
component = "panic.wasm"
[task.fuel]
component = "spin.wasm"
limits    = { fuel = "10M" }
[task.memory]
component = "memory-bomb.wasm"
limits    = { fuel = "500M", memory = "64MB" }
[task.stack]
component = "stack-bomb.wasm"
limits    = { fuel = "500M" }
[task.handles]
component = "handle-flood.wasm"
limits    = { fuel = "500M" }
[task.nothing]
component = "noop.wasm"
outputs   = ["report.txt"]
"#;
    let report = nodes.run(tasks);
    let own: BTreeMap<_, _> = report.failures.into_iter().collect();
    let offered = nodes.open(tasks);
    let mut codes = Vec::new();
    for label in offered.prepared.keys() {
        nodes.carry(&offered, label);
        let there = nodes.run_there(offered.needs(label)).unwrap();
        let Some(here) = own.get(label.as_str()) else {
            assert_eq!(there.outcome, RemoteOutcome::Passed, "{label}");
            continue;
        };
        let code = here.code.as_str().into();
        let message = here.message.as_str().into();
        assert_eq!(
            there.outcome,
            RemoteOutcome::Failed { code, message },
            "{label}"
        );
        codes.push(here.code.as_str());
    }
    codes.sort();
    codes.dedup();
    for code in [
        "task::exit",
        "task::trap",
        "task::fuel",
        "task::output-missing",
    ] {
        assert!(codes.contains(&code), "{code} of {codes:?}");
    }
}
