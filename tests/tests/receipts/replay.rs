//! Tasks that ran elsewhere, run again here from their receipts alone.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use sykli_core::id::Digest;
use sykli_core::receipt::Receipt;
use sykli_core::signed::Signed;
use sykli_node::identity::Identity;
use sykli_node::receipts as files;
use sykli_tests::guest;
use sykli_tests::mesh::Machine;

use super::{owner_and_executor, receipts};

/// A hundred tasks that pass, exit, trap and run out of fuel; with input files, the standard input, and random numbers.
const PIPELINE: &str = r#"
schema = "sykli-wasm/1"
[pipeline]
name = "hundred"
[task.copies]
component = "copy.wasm"
foreach = { glob = "files/*.txt" }
args = ["/in/{item}", "/out/{item.name}"]
outputs = ["*.txt"]
place = { labels = ["there"] }
[task.reads]
component = "echo-stdin.wasm"
foreach = { shards = 10 }
stdin = "files/1.txt"
place = { labels = ["there"] }
[task.draws]
component = "determinism.wasm"
foreach = { shards = 20 }
place = { labels = ["there"] }
[task.leaves]
component = "exit-code.wasm"
foreach = { shards = 20 }
args = ["{index}"]
place = { labels = ["there"] }
[task.traps]
component = "panic.wasm"
foreach = { shards = 20 }
args = ["{index}"]
place = { labels = ["there"] }
[task.spins]
component = "spin.wasm"
foreach = { shards = 10 }
args = ["{index}"]
limits = { fuel = "3M" }
place = { labels = ["there"] }
"#;

fn project(machine: &Machine) {
    let project = machine.project();
    for name in [
        "copy",
        "echo-stdin",
        "determinism",
        "exit-code",
        "panic",
        "spin",
    ] {
        project.write(&format!("{name}.wasm"), fs::read(guest(name)).unwrap());
    }
    for number in 0..20 {
        let text = format!("the file {number}\n").repeat(50 * number);
        project.write(&format!("files/{number}.txt"), text);
    }
    project.write("sykli.toml", PIPELINE);
}

/// Writes the receipts of the last run to files; where each is, by instance.
fn exported(owner: &Machine) -> BTreeMap<String, PathBuf> {
    let out = owner.project().path().join("receipts");
    let _ = owner
        .run(&["report", "--receipts", "--out", "receipts"])
        .expect(0);
    let entries = fs::read_dir(out)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let is_receipt = |path: &PathBuf| path.to_str().unwrap().ends_with(".receipt.json");
    entries
        .filter(is_receipt)
        .map(|path| {
            let document: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
            assert_eq!(document["schema"], "sykli.receipt/1");
            let instance = document["instance"].as_str().unwrap().to_owned();
            (instance, path)
        })
        .collect()
}

fn replay(machine: &Machine, receipt: &Path, code: i32) -> Value {
    let ran = machine.run(&["replay", receipt.to_str().unwrap(), "--json"]);
    let ran = ran.expect(code);
    serde_json::from_str(&ran.stdout).unwrap()
}

#[test]
fn a_hundred_tasks_that_ran_elsewhere_come_out_the_same_here() {
    let [mut owner, executor] = owner_and_executor();
    project(&owner);
    let _ = owner.run(&["run", "--mesh", "--keep-going"]).expect(1);
    let document = receipts(&owner);
    let all = document["receipts"].as_array().unwrap();
    assert_eq!(all.len(), 100);
    for receipt in all {
        assert_eq!(receipt["executor"], executor.peer());
        assert_eq!(receipt["holds"], true, "{receipt}");
        let passed = receipt["came"]["passed"] == true;
        assert_eq!(receipt["provenance"].is_object(), passed, "{receipt}");
    }
    assert_eq!(document["proofs"].as_array().unwrap().len(), 0);

    let files = exported(&owner);
    assert_eq!(files.len(), 100);
    // From here on the owner has its cache and its project alone.
    drop(executor);
    owner.kill();
    let mut codes = BTreeMap::<String, u32>::new();
    for (instance, file) in &files {
        let task = instance.split('[').next().unwrap();
        let index: u32 = number_of(all, instance);
        let fails = match task {
            "leaves" => index != 0,
            "traps" | "spins" => true,
            _ => false,
        };
        let document = replay(&owner, file, i32::from(fails));
        assert_eq!(document["reproduced"], true, "{instance}: {document}");
        assert_eq!(document["there"], document["here"], "{instance}");
        let failure = &document["failure"];
        assert_eq!(failure.is_object(), fails, "{instance}: {document}");
        if task == "traps" {
            let backtrace = failure["backtrace"].as_array().unwrap();
            assert!(!backtrace.is_empty(), "{instance}: {document}");
        }
        let code = document["here"]["code"].as_str().unwrap_or("passed");
        *codes.entry(code.to_owned()).or_default() += 1;
    }
    let expected = [
        ("passed", 51),
        ("task::exit", 19),
        ("task::fuel", 10),
        ("task::trap", 20),
    ];
    assert_eq!(codes, expected.map(|(code, n)| (code.to_owned(), n)).into());
    refusals(&owner, &files);
}

/// The place of an instance among those of its task: the last part of `leaves[4/20]`, counted from 0.
fn number_of(all: &[Value], instance: &str) -> u32 {
    let mut of_task: Vec<(u64, &str)> = all
        .iter()
        .filter(|one| instance.starts_with(&format!("{}[", one["task"].as_str().unwrap())))
        .map(|one| {
            let number = one["number"].as_u64().unwrap();
            (number, one["instance"].as_str().unwrap())
        })
        .collect();
    of_task.sort_unstable();
    let place = of_task.iter().position(|(_, name)| *name == instance);
    u32::try_from(place.unwrap()).unwrap()
}

/// What is no receipt, what is not signed, and what cannot be run again any more.
fn refusals(owner: &Machine, files: &BTreeMap<String, PathBuf>) {
    let (_, file) = files
        .iter()
        .find(|(name, _)| name.starts_with("copies["))
        .unwrap();
    let by_name = owner.run(&["replay", "copies", "--json"]).expect(2);
    assert!(by_name.stdout.contains("replay::several"), "{by_name:?}");
    let none = owner.run(&["replay", "nothing", "--json"]).expect(2);
    assert!(none.stdout.contains("run::unknown-task"), "{none:?}");

    // In an envelope it is the same receipt.
    let envelope = file
        .to_str()
        .unwrap()
        .replace(".receipt.json", ".intoto.jsonl");
    assert_eq!(replay(owner, Path::new(&envelope), 0)["reproduced"], true);

    // Somebody else's signature.
    let signed = files::read(file).unwrap();
    let changed = owner.project().path().join("changed.json");
    let write = |signed: &Signed<Receipt>| {
        let document = serde_json::json!({ "signed": files::text(signed) });
        fs::write(&changed, document.to_string()).unwrap();
    };
    let own = Identity::existing(&owner.data()).unwrap().unwrap();
    let sign = |receipt: Receipt| {
        Signed::new(receipt, |domain, bytes| {
            own.sign(domain, bytes).try_into().unwrap()
        })
    };
    write(&sign(signed.claimed().clone()));
    let code = |code: &str| {
        let refused = owner.run(&["replay", "changed.json", "--json"]).expect(2);
        assert!(refused.stdout.contains(code), "{refused:?}");
    };
    code("replay::unsigned");
    fs::write(&changed, "{}").unwrap();
    code("receipt::none");

    // Its own word for something else: a lie that is signed.
    let lie = |change: &dyn Fn(&mut Receipt)| {
        let mut receipt = signed.claimed().clone();
        receipt.claim.executor = own.node_id();
        change(&mut receipt);
        write(&sign(receipt));
        let document = replay(owner, &changed, 4);
        assert_eq!(document["reproduced"], false);
        document["differs"].clone()
    };
    let differs = |name: &str, differs: &Value| {
        let all: Vec<&str> = differs
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["what"].as_str().unwrap())
            .collect();
        assert_eq!(all, [name]);
    };
    differs("output", &lie(&|one| one.claim.output = Digest::of(b"?")));
    differs("stdout", &lie(&|one| one.claim.stdout = Digest::of(b"?")));
    differs("stderr", &lie(&|one| one.claim.stderr = Digest::of(b"?")));
    differs("fuel", &lie(&|one| one.claim.fuel += 1));
    let failed = |one: &mut Receipt| {
        one.claim.outcome = sykli_core::consent::RemoteOutcome::Failed {
            code: "task::exit".into(),
            message: "?".into(),
        };
    };
    differs("outcome", &lie(&failed));

    gone(owner, files);
}

/// The cache goes.
fn gone(owner: &Machine, files: &BTreeMap<String, PathBuf>) {
    let mut of_copies = files.iter().filter(|(name, _)| name.starts_with("copies["));
    let (_, copies) = of_copies.next().unwrap();
    let _ = owner.run(&["cache", "clear"]).expect(0);
    let refused = owner.run(&["replay", copies.to_str().unwrap(), "--json"]);
    let refused = refused.expect(2);
    assert!(refused.stdout.contains("replay::gone"), "{refused:?}");
}

/// Reads files and leaves none: only the project has their content.
const LOOKS: &str = r#"
schema = "sykli-wasm/1"
[task.looks]
component = "compute.wasm"
inputs = ["files/*.txt"]
args = ["read", "1", "/in/files"]
place = { labels = ["there"] }
"#;

fn replayed(owner: &Machine, code: i32) -> String {
    owner
        .run(&["replay", "looks", "--json"])
        .expect(code)
        .stdout
}

#[test]
fn inputs_that_have_changed_are_told_from_a_result_that_has() {
    let [mut owner, _executor] = owner_and_executor();
    let project = owner.project();
    project.write("compute.wasm", fs::read(guest("compute")).unwrap());
    project.write("files/a.txt", "one thing");
    project.write("files/b.txt", "another thing");
    project.write("sykli.toml", LOOKS);
    let _ = owner.run(&["run", "--mesh"]).expect(0);
    assert!(replayed(&owner, 0).contains("\"reproduced\": true"));

    // What was read is in the cache by now: without it there is only the project.
    let files = exported(&owner);
    owner.kill();
    let _ = owner.run(&["cache", "clear"]).expect(0);
    owner.start();
    owner.node().said("executor is there (");
    let _ = owner.run(&["run", "--mesh"]).expect(0);
    let project = owner.project();
    project.write("files/a.txt", "something else");
    let changed = replayed(&owner, 3);
    assert!(changed.contains("replay::changed"), "{changed}");
    assert!(changed.contains("files/a.txt"), "{changed}");
    fs::remove_file(project.path().join("files/a.txt")).unwrap();
    let gone = replayed(&owner, 2);
    assert!(gone.contains("replay::gone"), "{gone}");
    project.write("files/a.txt", "one thing");
    let file = files.values().next().unwrap();
    assert_eq!(replay(&owner, file, 0)["reproduced"], true);
}
