//! What is not run: a bundle that is not what was agreed to, or not whole.

use sykli_core::consent::LostWhy;
use sykli_core::id::Digest;
use sykli_core::manifest::{Manifest, SEMANTICS_VERSION};
use sykli_core::pipeline::{MAX_MEMORY_BYTES, MAX_OUTPUT_BYTES};
use sykli_core::policy::Requirements;

use super::hello;
use crate::foreign::MAX_PATTERNS;
use crate::two_nodes::TwoNodes;

const GRANTED: &str = r#"
[task.t]
component = "hello.wasm"
grants    = { clock = true, random = true, net = ["Example.org:443"] }
"#;

/// What comes of a manifest that is like that of [`super::HELLO`] but for `change`, under the offer of the true one.
fn forged(change: impl FnOnce(&mut Manifest)) -> (LostWhy, &'static str) {
    let nodes = hello();
    let offered = nodes.open(super::HELLO);
    nodes.carry(&offered, "t");
    let needs = nodes.forged(&offered, "t", change);
    refused(&nodes, needs)
}

fn refused(nodes: &TwoNodes, needs: Requirements) -> (LostWhy, &'static str) {
    let error = nodes.run_there(needs).unwrap_err();
    (error.lost(), error.code())
}

#[test]
fn a_manifest_that_asks_beyond_the_offer_is_the_bundles_fault() {
    let beyond = (LostWhy::Bundle, "foreign::beyond");
    assert_eq!(forged(|one| one.fuel += 1), beyond);
    assert_eq!(forged(|one| one.memory_bytes += 1_000_000_000), beyond);
    assert_eq!(
        forged(|one| one.output_bytes = MAX_OUTPUT_BYTES + 1),
        beyond
    );
    let many = |one: &mut Manifest| {
        one.outputs = (0..=MAX_PATTERNS).map(|n| n.to_string()).collect();
    };
    assert_eq!(forged(many), beyond);
    let not_offered = (LostWhy::Bundle, "foreign::not-offered");
    assert_eq!(forged(|one| one.grants.clock = true), not_offered);
    assert_eq!(forged(|one| one.grants.random = true), not_offered);
    let connect = |one: &mut Manifest| one.grants.net = ["example.org".to_owned()].into();
    assert_eq!(forged(connect), not_offered);
    let newer = |one: &mut Manifest| one.semantics = SEMANTICS_VERSION + 1;
    assert_eq!(forged(newer), (LostWhy::Bundle, "foreign::semantics"));
    let unread = |one: &mut Manifest| one.outputs = ["[".to_owned()].into();
    assert_eq!(forged(unread), (LostWhy::Bundle, "foreign::pattern"));
}

#[test]
fn an_offer_cannot_agree_to_more_than_any_task_may_have() {
    let nodes = hello();
    let offered = nodes.open(super::HELLO);
    nodes.carry(&offered, "t");
    let needs = nodes.forged(&offered, "t", |one| one.memory_bytes = MAX_MEMORY_BYTES + 1);
    let generous = Requirements {
        memory_mb: u64::MAX,
        fuel: u64::MAX,
        timeout_ms: u64::MAX,
        ..needs
    };
    let beyond = (LostWhy::Bundle, "foreign::beyond");
    assert_eq!(refused(&nodes, generous.clone()), beyond);
    let digest = offered.needs("t").digest;
    assert!(nodes.run_there(Requirements { digest, ..generous }).is_ok());
}

#[test]
fn imports_that_the_offer_did_not_say_are_not_linked() {
    let nodes = hello();
    let offered = nodes.open(super::HELLO);
    nodes.carry(&offered, "t");
    let silent = Requirements {
        imports: Vec::new(),
        ..offered.needs("t")
    };
    let not_offered = (LostWhy::Bundle, "foreign::not-offered");
    assert_eq!(refused(&nodes, silent), not_offered);
}

#[test]
fn a_grant_is_given_where_it_is_offered_and_allowed() {
    let mut nodes = hello();
    let offered = nodes.open(GRANTED);
    nodes.carry(&offered, "t");
    let needs = || offered.needs("t");
    assert!(!needs().pure);
    nodes.policy.grants = ["clock".into(), "random".into()].into();
    // What was agreed to and is not allowed any more, its user has taken back.
    let not_allowed = (LostWhy::Drained, "foreign::not-allowed");
    assert_eq!(refused(&nodes, needs()), not_allowed);
    nodes.policy.grants.insert("net:example.org:443".into());
    assert!(nodes.run_there(needs()).is_ok());
    let pure = Requirements {
        pure: true,
        ..needs()
    };
    let not_offered = (LostWhy::Bundle, "foreign::not-offered");
    assert_eq!(refused(&nodes, pure), not_offered);
    let silent = Requirements {
        grants: vec!["clock".into()],
        ..needs()
    };
    assert_eq!(refused(&nodes, silent), not_offered);
}

#[test]
fn a_bundle_that_is_not_whole_is_not_run() {
    let nodes = TwoNodes::new();
    nodes.guests(&["copy", "echo-stdin"]);
    nodes.write("data/a.txt", "a file");
    let tasks = r#"
[task.copy]
component = "copy.wasm"
inputs    = ["data/*"]
args      = ["/in", "/out"]
outputs   = ["**"]
export    = false
[task.read]
component = "echo-stdin.wasm"
stdin     = "data/a.txt"
"#;
    let offered = nodes.open(tasks);
    let whole = |label: &str| {
        let there = TwoNodes::new();
        there.carry(&offered, label);
        there
    };
    for label in ["copy", "read"] {
        for digest in whole(label).carry(&offered, label) {
            let there = TwoNodes::new();
            there.carry_but(&offered, label, &digest);
            let (lost, code) = refused(&there, offered.needs(label));
            assert_eq!(lost, LostWhy::Bundle, "{label}: {digest}: {code}");
        }
        assert!(
            whole(label).run_there(offered.needs(label)).is_ok(),
            "{label}"
        );
    }
}

#[test]
fn what_is_no_component_is_the_bundles_fault() {
    let nodes = hello();
    let offered = nodes.open(super::HELLO);
    nodes.carry(&offered, "t");
    for bytes in [&b"not wasm"[..], b"\0asm\x01\0\0\0", b"\0asm\x0d\0\x01\0"] {
        let digest = nodes.store.put_bytes(bytes).unwrap();
        let needs = nodes.forged(&offered, "t", |one| one.component = digest);
        assert_eq!(
            refused(&nodes, needs),
            (LostWhy::Bundle, "foreign::component")
        );
    }
    let digest = nodes.store.put_bytes(&b"no manifest"[..]).unwrap();
    let needs = Requirements {
        digest,
        ..offered.needs("t")
    };
    assert_eq!(
        refused(&nodes, needs),
        (LostWhy::Bundle, "foreign::manifest")
    );
    let needs = Requirements {
        digest: Digest::of(b"never put"),
        ..offered.needs("t")
    };
    assert_eq!(
        refused(&nodes, needs),
        (LostWhy::Bundle, "foreign::missing")
    );
}
