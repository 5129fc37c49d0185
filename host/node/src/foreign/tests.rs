//! A task that is run for its owner: the same result as at home, nothing beyond what was agreed, and no result that is
//! nobody's word.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

mod parity;
mod refusals;

use sykli_core::consent::{LostWhy, RemoteOutcome};
use sykli_core::id::Digest;
use sykli_core::policy::Requirements;
use sykli_core::tree::Tree;
use sykli_runtime::CancelToken;

use super::*;
use crate::two_nodes::TwoNodes;

const HELLO: &str = "[task.t]\ncomponent = \"hello.wasm\"\nargs = [\"a\"]\n";

fn hello() -> TwoNodes {
    let nodes = TwoNodes::new();
    nodes.guests(&["hello"]);
    nodes
}

#[test]
fn what_was_run_here_is_answered_from_the_cache_and_what_nobody_checked_is_not() {
    let nodes = hello();
    let offered = nodes.open(HELLO);
    nodes.carry(&offered, "t");
    let needs = || offered.needs("t");
    let first = nodes.run_there(needs()).unwrap();
    let task = needs().digest;
    let record = nodes.store.results(&[task]).remove(0).unwrap();
    assert_eq!((record.fuel, record.unverified), (first.fuel, false));
    // Another fuel shows where an answer comes from.
    let put = |fuel, unverified| {
        let record = Record {
            fuel,
            unverified,
            ..record.clone()
        };
        let new = NewResult {
            task,
            record,
            fresh: false,
        };
        nodes.store.put_results(vec![new]).unwrap().wait().unwrap();
    };
    put(7, false);
    let known = nodes.run_there(needs()).unwrap();
    assert!(first.isolation.is_some());
    let expected = ForeignResult {
        fuel: 7,
        isolation: None,
        ..first.clone()
    };
    assert_eq!(known, expected);
    put(7, true);
    assert_eq!(nodes.run_there(needs()).unwrap().fuel, first.fuel);
    // It has been run here now, so it is this node's word.
    assert!(!nodes.store.results(&[task])[0].as_ref().unwrap().unverified);
}

#[test]
fn a_guest_that_fails_leaves_its_streams_and_an_empty_tree() {
    let nodes = TwoNodes::new();
    nodes.guests(&["exit-code"]);
    let offered = nodes.open("[task.t]\ncomponent = \"exit-code.wasm\"\nargs = [\"3\"]\n");
    nodes.carry(&offered, "t");
    let result = nodes.run_there(offered.needs("t")).unwrap();
    let (code, message) = ("task::exit".into(), "exited with code 1".into());
    assert_eq!(result.outcome, RemoteOutcome::Failed { code, message });
    assert_eq!(result.output, Tree::default().digest());
    let read = |digest: &Digest| nodes.store.read(digest, 1 << 20).unwrap();
    assert_eq!(read(&result.stdout), "leaving with 3\n");
    assert_eq!(read(&result.stderr), "on standard error too\n");
    assert_eq!(read(&result.output), Tree::default().encode());
    // Only what passed is remembered.
    assert!(nodes.store.results(&[offered.needs("t").digest])[0].is_none());
}

#[test]
fn an_end_that_says_nothing_of_the_guest_is_no_result() {
    let nodes = TwoNodes::new();
    nodes.guests(&["spin"]);
    let task = "[task.t]\ncomponent = \"spin.wasm\"\nlimits = { fuel = \"1000T\" }\n";
    let offered = nodes.open(task);
    nodes.carry(&offered, "t");
    let late = Requirements {
        timeout_ms: 1,
        ..offered.needs("t")
    };
    let error = nodes.run_there(late).unwrap_err();
    assert_eq!(
        (error.lost(), error.code()),
        (LostWhy::TimedOut, "task::timeout")
    );
    let stopped = CancelToken::default();
    stopped.cancel();
    let error = nodes.run_as(offered.needs("t"), 1, &stopped).unwrap_err();
    assert_eq!(error.lost(), LostWhy::Drained);
    assert!(nodes.store.results(&[offered.needs("t").digest])[0].is_none());
}

#[test]
fn a_task_that_may_fill_more_than_the_disk_has_is_not_begun() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    assert!(terms::room(&store, 0).is_ok());
    let error = terms::room(&store, u64::MAX).unwrap_err();
    assert_eq!(error.lost(), LostWhy::DiskFull);
}

#[test]
fn only_a_task_with_effects_is_told_which_attempt_it_is() {
    let mut nodes = TwoNodes::new();
    nodes.guests(&["progress"]);
    nodes.policy.grants = ["clock".into()].into();
    let task = |more: &str| format!("[task.t]\ncomponent = \"progress.wasm\"\n{more}");
    let said = |more: &str| {
        let offered = nodes.open(&task(more));
        nodes.carry(&offered, "t");
        let result = nodes
            .run_as(offered.needs("t"), 3, &CancelToken::default())
            .unwrap();
        let stdout = nodes.store.read(&result.stdout, 1 << 20).unwrap();
        String::from_utf8(stdout.to_vec()).unwrap()
    };
    assert!(said("").contains("attempt 1"), "{}", said(""));
    let with_clock = said("grants = { clock = true }\n");
    assert!(with_clock.contains("attempt 3"), "{with_clock}");
}

#[test]
fn a_message_is_cut_to_what_a_claim_carries() {
    assert_eq!(&*shortened("short"), "short");
    let exact = "é".repeat(MAX_MESSAGE_CHARS);
    assert_eq!(*shortened(&exact), *exact);
    let cut = shortened(&format!("{exact}x"));
    assert_eq!(cut.chars().count(), MAX_MESSAGE_CHARS);
    assert!(cut.ends_with("é…"));
}

#[test]
fn this_node_provides_what_its_guests_import() {
    let provided = host_imports();
    assert!(provided.contains("wasi:cli/environment@0.2"));
    assert!(provided.contains("sykli:task/host@0.1.0"));
    assert!(engine_class().contains(std::env::consts::ARCH));
}
