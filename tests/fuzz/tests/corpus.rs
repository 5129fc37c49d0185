//! Where the fuzzer begins: the committed corpus is what this says, and each file gets past the first checks, since a
//! fuzzer that begins with refused bytes does not come far. `SYKLI_BLESS=1` writes it.
//!
//! Greetings and frames of messages are written by core's own golden tests; records of a ledger are made of the latter.
#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use sykli_core::blob::{Ask, Encoding, Part, Reply, Request, Want, What};
use sykli_core::id::{Attempt, Digest, LeaseKey, RunId, TaskId};
use sykli_core::manifest::{Manifest, ManifestGrants, SEMANTICS_VERSION, Shard};
use sykli_core::pipeline::Floats;
use sykli_core::tree::{Tree, TreeEntry};

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Holds a file of the corpus against what it should be, or writes it.
fn begins(target: &str, name: &str, bytes: &[u8]) {
    let path = here("corpus").join(target).join(name);
    if std::env::var_os("SYKLI_BLESS").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
    }
    let found = fs::read(&path).unwrap_or_default();
    assert!(
        found == bytes,
        "{} is another: SYKLI_BLESS=1 writes it",
        path.display()
    );
}

/// The files of a folder with an ending, by their names without it.
fn files(folder: &str, ending: &str) -> BTreeMap<String, PathBuf> {
    let entries = fs::read_dir(here(folder)).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .filter_map(|path| {
            let name = path.file_name()?.to_str()?.strip_suffix(ending)?.to_owned();
            Some((name, path))
        })
        .collect()
}

/// A module that the adapter makes an invalid component of: found by this.
const OTHER_ENTRY: &str = r#"(module
    (import "wasi_snapshot_preview1" "proc_exit" (func (param i32)))
    (memory (export "memory") 1)
    (func (export "_start") (param i32)))"#;
/// The smallest module that is a command.
const COMMAND: &str = r#"(module (memory (export "memory") 1) (func (export "_start")))"#;

#[test]
fn components() {
    for (name, path) in files("../guests/wat", ".wat") {
        // What announces more than a fuzzer should try.
        if fs::metadata(&path).unwrap().len() < 8_192 {
            begins("component", &name, &wat::parse_file(&path).unwrap());
        }
    }
    begins("component", "command", &wat::parse_str(COMMAND).unwrap());
    let other_entry = wat::parse_str(OTHER_ENTRY).unwrap();
    begins("component", "other-entry", &other_entry);
}

#[test]
fn pipelines() {
    for example in ["ci", "gallery", "wordcount"] {
        let text = fs::read(here(&format!("../../examples/{example}/sykli.toml"))).unwrap();
        begins("pipeline", example, &text);
    }
    let json = br#"{"schema":"sykli-wasm/1","task":{"a":{"component":"a.wasm","inputs":["a.txt"]},"b":{"component":"b.wasm","after":["a"]}}}"#;
    begins("pipeline", "json", json);
}

fn tree() -> Tree {
    let entry = |path: &str, content: &[u8], executable| TreeEntry {
        path: path.to_owned(),
        digest: Digest::of(content),
        size: content.len() as u64,
        executable,
    };
    Tree::new(vec![
        entry("a", b"alpha", false),
        entry("b/c", b"gamma", true),
    ])
    .unwrap()
}

fn manifest() -> Manifest {
    Manifest {
        name: "task".to_owned(),
        component: Digest::of(&component()),
        args: vec!["-n".to_owned(), "3".to_owned()],
        env: BTreeMap::from([("LANG".to_owned(), "C".to_owned())]),
        params: r#"{"depth":3}"#.to_owned(),
        item: None,
        shard: Shard::default(),
        stdin: None,
        inputs: BTreeMap::from([(String::new(), tree().digest())]),
        outputs: ["out".to_owned()].into(),
        fuel: 1_000_000,
        memory_bytes: 16 << 20,
        output_bytes: 1 << 20,
        grants: ManifestGrants::default(),
        floats: Floats::Fast,
        semantics: SEMANTICS_VERSION,
    }
}

fn component() -> Vec<u8> {
    wat::parse_str(COMMAND).unwrap()
}

#[test]
fn manifests_and_trees() {
    begins("manifest", "manifest", &manifest().encode());
    begins("manifest", "tree", &tree().encode());
}

/// A bundle's file, as `sykli_node::bundle` describes it, of blobs that go as they are.
fn bundle(task: &Manifest, blobs: &[Vec<u8>]) -> Vec<u8> {
    let mut file = b"SYKLIBDL".to_vec();
    file.extend(1_u32.to_le_bytes());
    file.extend(task.digest().as_bytes());
    for blob in blobs {
        let size = blob.len();
        file.push(1);
        file.extend(Digest::of(blob).as_bytes());
        file.extend((size as u64).to_le_bytes());
        file.extend((size as u64 + 5).to_le_bytes());
        file.push(0);
        file.extend(u32::try_from(size).unwrap().to_le_bytes());
        file.extend(blob);
    }
    file.push(0);
    let sum = Digest::of(&file);
    file.extend(sum.as_bytes());
    file
}

#[test]
fn bundles() {
    let task = manifest();
    let blobs = [
        task.encode(),
        tree().encode(),
        component(),
        b"alpha".to_vec(),
        b"gamma".to_vec(),
    ];
    begins("bundle", "task", &bundle(&task, &blobs));
}

#[test]
fn frames_of_bulk() {
    let key = LeaseKey {
        run: RunId::new("r-7f3a").unwrap(),
        task: TaskId(24),
        attempt: Attempt(2),
    };
    let digest = Digest::of(b"alpha");
    let want = |from| Want { digest, from };
    let asks = [
        Ask::Request(Request {
            key,
            what: What::Bundle,
        }),
        Ask::Want(vec![want(0), want(16 << 20)]),
        Ask::End,
    ];
    for (ask, name) in asks.iter().zip(["request", "wants", "end"]) {
        let mut frame = Vec::new();
        ask.encode(&mut frame);
        begins("blob", name, &frame);
    }
    let part = Part {
        encoding: Encoding::Plain,
        len: 5,
        bytes: b"alpha",
    };
    let replies = [
        (Reply::Whole(part), "whole"),
        (Reply::Blob { size: 16 << 20 }, "large"),
        (Reply::Outline(&[7; 64]), "outline"),
        (Reply::Data(part), "data"),
        (Reply::Gone, "gone"),
        (Reply::Refused, "refused"),
        (Reply::Over, "over"),
    ];
    for (reply, name) in replies {
        let mut frame = Vec::new();
        reply.encode(&mut frame);
        begins("blob", name, &frame);
    }
}

#[test]
fn what_is_left_of_a_ledger() {
    let mut ledger = Vec::new();
    for (name, path) in files("corpus/frame", "") {
        if name.starts_with("record-") {
            let record = fs::read(path).unwrap();
            ledger.extend(u16::try_from(record.len()).unwrap().to_be_bytes());
            ledger.extend(record);
        }
    }
    begins("journal", "each-kind", &ledger);
}

/// A frame said to the machine: from peer 0, whose word it is.
fn said(frame: &str) -> Vec<u8> {
    let mut frame = fs::read(here("corpus/frame").join(frame)).unwrap();
    frame.resize(frame.len().next_multiple_of(4), 0);
    let mut words = vec![5, 0, u8::try_from(frame.len() / 4).unwrap()];
    words.extend(frame);
    words
}

#[test]
fn orders_of_events() {
    // A lan's swarm; peer 0 comes; the run's tasks are prepared, the first runs here; peer 0 asks and is offered one.
    let begin = [0, 0, 1, 0, 0, 8, 0, 0, 8, 0, 0, 8, 0, 0, 8, 0, 0];
    let stolen = [
        3, 0, 1, 0x10, 6, 0, 3, 0, 1, 1, 3, 0, 1, 4, 0, 0, 10, 3, 0, 1, 5,
    ];
    begins("events", "stolen", &[&begin[..], &stolen].concat());
    // Peer 0 offers one, which is taken, started, and lost.
    let foreign = [4, 0, 1, 0, 9, 0, 1, 9, 0, 0, 9, 0, 1, 6, 0, 4, 0, 1, 4];
    begins("events", "foreign", &[&begin[..], &foreign].concat());
    let cut = [2, 0, 0, 0, 17, 1, 0, 0, 4, 0, 1, 6, 14, 0];
    begins("events", "cut", &[&begin[..], &stolen, &cut].concat());
    let words = ["offer", "accept", "completed", "resume"]
        .map(said)
        .concat();
    begins("events", "frames", &[&begin[..], &words].concat());
}
