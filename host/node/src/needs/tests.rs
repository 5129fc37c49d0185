//! What tasks ask for, what their bundles cost and hold.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::collections::BTreeSet;
use std::fs;

use sykli_core::id::Digest;
use sykli_core::policy::Requirements;
use sykli_core::wire::v1::MAX_GRANTS;

use super::*;
use crate::foreign::{engine_class, host_imports};
use crate::two_nodes::TwoNodes;

fn texts(list: &[std::sync::Arc<str>]) -> Vec<&str> {
    list.iter().map(|text| &**text).collect()
}

fn needs_of(task: &str) -> Requirements {
    let nodes = TwoNodes::new();
    nodes.guests(&["noop"]);
    let task = format!("[task.t]\ncomponent = \"noop.wasm\"\n{task}");
    nodes.open(&task).needs("t")
}

#[test]
fn what_a_task_declares_is_what_it_asks_for() {
    let needs = needs_of(
        r#"
limits = { fuel = "5G", memory = "1GiB", timeout = "5m" }
grants = { net = ["Example.org:443", "b.org"], clock = true, random = true }
place  = { labels = ["gpu", "linux"], steal = false }
"#,
    );
    assert_eq!(&*needs.label, "t");
    assert_eq!(texts(&needs.labels), ["gpu", "linux"]);
    let bounds = (needs.fuel, needs.memory_mb, needs.timeout_ms);
    assert_eq!(bounds, (5_000_000_000, 1074, 300_000));
    let grants = ["clock", "net:b.org", "net:example.org:443", "random"];
    assert_eq!(texts(&needs.grants), grants);
    let host = host_imports();
    assert!(!needs.imports.is_empty());
    assert!(needs.imports.iter().all(|name| host.contains(name)));
    assert!(!needs.pure && needs.mesh && !needs.steal && !needs.secret);
    assert_eq!((needs.estimate_ms, needs.output_bytes), (0, 0));
    let plain = needs_of("");
    assert!(plain.pure && plain.mesh && plain.steal && plain.grants.is_empty());
    assert!(plain.component_bytes > 0 && plain.blobs.len() == 2);
    let stays = needs_of("place = { mesh = false }");
    assert!(!stays.mesh && stays.bundle_bytes() == 0 && stays.blobs.is_empty());
}

#[test]
fn one_engine_will_do_only_where_results_are_always_compared_and_may_differ() {
    for (task, wanted) in [
        ("", false),
        ("place = { verify = \"audit\" }", false),
        ("place = { verify = \"none\" }", false),
        ("place = { verify = \"local\" }", true),
        ("place = { verify = \"quorum:2\" }", true),
        (
            "place = { verify = \"local\" }\nfloats = \"portable\"",
            false,
        ),
        (
            "place = { verify = \"local\" }\ngrants = { clock = true }",
            false,
        ),
    ] {
        let engine = wanted.then(engine_class);
        assert_eq!(needs_of(task).engine, engine, "{task}");
    }
}

#[test]
fn a_value_of_the_users_own_is_a_secret_and_one_of_the_pipeline_is_none() {
    // What every environment of a test has; cargo and the shell set them.
    for (task, secret) in [
        ("grants = { env = [\"PATH\"] }", true),
        ("grants = { env = [\"SYKLI_TEST_THAT_IS_NOT_SET\"] }", false),
        ("env = { PATH = \"/bin\" }", false),
        ("grants = { env = [\"LANG\", \"LC_ALL\", \"TERM\"] }", false),
    ] {
        assert_eq!(needs_of(task).secret, secret, "{task}");
    }
}

#[test]
fn what_no_offer_can_say_stays_here() {
    let many = |n| {
        let hosts: Vec<String> = (0..n).map(|n| format!("\"h{n}.org\"")).collect();
        needs_of(&format!("grants = {{ net = [{}] }}", hosts.join(", ")))
    };
    assert!(many(MAX_GRANTS).mesh);
    assert!(!many(MAX_GRANTS + 1).mesh);
    let outputs: Vec<String> = (0..=MAX_PATTERNS).map(|n| format!("\"o{n}\"")).collect();
    assert!(!needs_of(&format!("outputs = [{}]", outputs.join(", "))).mesh);
    let long: Arc<str> = "é".repeat(200).into();
    assert!(name(&long).len() <= MAX_NAME_BYTES && name(&long).ends_with("é…"));
    assert_eq!(name(&Arc::from("t[1/2]")), Arc::from("t[1/2]"));
}

/// A tree of many files, one of it read as standard input too, an item beside them, and what an earlier task left.
fn project() -> (TwoNodes, &'static str) {
    let nodes = TwoNodes::new();
    nodes.guests(&["copy", "echo-stdin", "hello"]);
    for n in 0..100 {
        nodes.write(&format!("many/{n}.txt"), format!("file {n}").repeat(n * 3));
    }
    nodes.write("items/a.txt", "item a");
    nodes.write("items/b.txt", "item b");
    nodes.write("secret.txt", "no task asks for this");
    let tasks = r#"
[task.first]
component = "copy.wasm"
inputs    = ["many/1.txt"]
args      = ["/in/many/1.txt", "/out/1.txt"]
outputs   = ["1.txt"]
export    = false
[task.second]
component = "echo-stdin.wasm"
inputs    = ["many/*.txt"]
foreach   = { glob = "items/*.txt" }
after     = ["first"]
stdin     = "first/1.txt"
[task.other]
component = "hello.wasm"
inputs    = ["secret.txt"]
"#;
    nodes.run(tasks);
    (nodes, tasks)
}

#[test]
fn a_bundle_costs_what_its_blobs_cost_each_once() {
    let (nodes, tasks) = project();
    let offered = nodes.open(tasks);
    for label in ["first", "second[a.txt]", "other"] {
        let needs = offered.needs(label);
        let mut sizes = BTreeMap::new();
        for digest in nodes.carry(&offered, label) {
            let source = offered.find(label, &digest).unwrap();
            sizes.insert(digest, nodes.sizes.measure(&source).unwrap());
        }
        assert_eq!(needs.bundle_bytes(), sizes.values().sum::<u64>(), "{label}");
        let component = offered.prepared[label].manifest().unwrap().component;
        assert_eq!(needs.component_bytes, sizes[&component]);
        for blob in &needs.blobs {
            assert_eq!(blob.bytes, sizes[&blob.digest], "{label}");
        }
        assert_eq!(needs.blobs.len(), sizes.len().min(MAX_NAMED_BLOBS));
        let least = needs.blobs.last().unwrap().bytes;
        let larger = sizes.values().filter(|bytes| **bytes > least).count();
        assert!(larger < MAX_NAMED_BLOBS, "{label}: the largest are named");
        assert_eq!(offered.needs(label), needs, "the same again");
    }
}

#[test]
fn a_closure_finds_what_the_bundle_reaches_and_nothing_else() {
    let (nodes, tasks) = project();
    let offered = nodes.open(tasks);
    let reached =
        |label: &str| -> BTreeSet<Digest> { nodes.carry(&offered, label).into_iter().collect() };
    let (second, other) = (reached("second[a.txt]"), reached("other"));
    for digest in other.difference(&second) {
        assert!(offered.find("second[a.txt]", digest).is_none());
    }
    let item_b = Digest::of(b"item b");
    assert!(!second.contains(&item_b));
    assert!(offered.find("second[a.txt]", &item_b).is_none());
    assert!(offered.find("second[b.txt]", &item_b).is_some());
    assert!(second.contains(&Digest::of(b"item a")));
    assert!(other.contains(&Digest::of(b"no task asks for this")));
}

#[test]
fn a_file_that_has_changed_is_not_served_as_what_it_was() {
    let nodes = TwoNodes::new();
    nodes.guests(&["hello"]);
    nodes.write("data/a.txt", "as it was");
    let task = "[task.t]\ncomponent = \"hello.wasm\"\ninputs = [\"data/*\"]\n";
    // While it is so fresh that a change might not show, it is copied, and served as it was.
    let offered = loop {
        let offered = nodes.open(task);
        let files = &offered.bundles.context.files;
        if !files.digested(0).unwrap().stored {
            break offered;
        }
    };
    let digest = Digest::of(b"as it was");
    let read = || {
        let source = offered.find("t", &digest).unwrap();
        source.read_exact_at(&mut [0; 9], 0)
    };
    read().unwrap();
    nodes.write("data/a.txt", "as it is.");
    read().unwrap_err();
    let needs = offered.bundles.needs(&offered.prepared["t"], 0, u64::MAX);
    assert_eq!(needs.unwrap_err().code, "task::input-changed");
}

#[test]
fn a_component_that_is_built_anew_meanwhile_is_served_as_it_was() {
    let nodes = TwoNodes::new();
    nodes.guests(&["hello"]);
    let offered = nodes.open("[task.t]\ncomponent = \"hello.wasm\"\n");
    let needs = offered.needs("t");
    nodes.write("hello.wasm", "built anew");
    let component = offered.prepared["t"].manifest().unwrap().component;
    let source = offered.find("t", &component).unwrap();
    assert_eq!(Digest(source.blake3().unwrap()), component);
    assert_eq!(offered.needs("t"), needs);
}

#[test]
fn ten_thousand_instances_cost_one_look_at_what_they_share() {
    let nodes = TwoNodes::new();
    nodes.guests(&["noop"]);
    for n in 0..200 {
        nodes.write(&format!("many/{n}.txt"), format!("file {n}"));
    }
    let values: Vec<String> = (0..10_000).map(|n| format!("\"{n}\"")).collect();
    let task = format!(
        "[task.t]\ncomponent = \"noop.wasm\"\ninputs = [\"many/*\"]\nforeach = {{ values = [{}] }}\n",
        values.join(", ")
    );
    let offered = nodes.open(&task);
    assert_eq!(offered.prepared.len(), 10_000);
    let first = offered.needs("t[0]");
    // Nothing of the project is looked at again: it is not there any more.
    fs::remove_dir_all(nodes.path("many")).unwrap();
    fs::remove_file(nodes.path("noop.wasm")).unwrap();
    for label in offered.prepared.keys() {
        let needs = offered.needs(label);
        assert_eq!(needs.component_bytes, first.component_bytes);
        assert!(needs.input_bytes.abs_diff(first.input_bytes) < 64);
        assert_eq!(needs.blobs.len(), MAX_NAMED_BLOBS);
    }
}
