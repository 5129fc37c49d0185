//! A task packed, looked into, damaged and run, as a user does it.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Home, guest, valid};

fn home() -> Home {
    let home = Home::new();
    std::fs::write(home.project().join("a.wasm"), guest::says("hello\n", 3)).unwrap();
    home.write("input.txt", "some input\n");
    home.write(
        "sykli.toml",
        "schema = \"sykli-wasm/1\"\n[pipeline]\nname = \"x\"\n\
         [task.one]\ncomponent = \"a.wasm\"\ninputs = [\"*.txt\"]\n\
         [task.two]\ncomponent = \"a.wasm\"\nafter = [\"one\"]\n\
         [task.many]\ncomponent = \"a.wasm\"\nforeach = { shards = 3 }\n\
         [task.clock]\ncomponent = \"a.wasm\"\ngrants = { clock = true }\n",
    );
    home
}

#[test]
fn a_task_is_packed_inspected_and_run_elsewhere() {
    let home = home();
    let packed = home.run(&["bundle", "pack", "one"]);
    assert_eq!(packed.code, 0, "{}", packed.err);
    assert!(
        packed.err.contains("packed one into one.bundle: 4 blobs"),
        "{}",
        packed.err
    );
    let first = std::fs::read(home.project().join("one.bundle")).unwrap();
    assert_eq!(home.run(&["bundle", "pack", "one", "-o", "again"]).code, 0);
    assert_eq!(first, std::fs::read(home.project().join("again")).unwrap());

    let elsewhere = Home::new();
    std::fs::write(elsewhere.project().join("x.bundle"), &first).unwrap();
    let whole = elsewhere.run(&["bundle", "verify", "x.bundle"]);
    assert!(
        whole.out.contains("x.bundle is whole"),
        "{}{}",
        whole.out,
        whole.err
    );
    let seen = elsewhere.run(&["bundle", "inspect", "x.bundle"]);
    assert!(
        seen.out.contains("grants    none: it is pure"),
        "{}",
        seen.out
    );
    let document = valid(
        "bundle",
        &elsewhere
            .run(&["bundle", "inspect", "x.bundle", "--json"])
            .out,
    );
    assert_eq!(document["task"]["name"], "one");
    assert_eq!(document["blobs"][0]["role"], "manifest");

    let ran = elsewhere.run(&["bundle", "run", "x.bundle", "--out", "result"]);
    assert_eq!((ran.code, ran.out.as_str()), (3, "hello\n"), "{}", ran.err);
    let document = valid(
        "exec",
        &elsewhere.run(&["bundle", "run", "x.bundle", "--json"]).out,
    );
    assert_eq!(
        (document["exit_code"].as_u64(), document["stdout"].as_str()),
        (Some(3), Some("hello\n"))
    );
}

#[test]
fn a_damaged_bundle_is_refused_and_not_run() {
    let home = home();
    assert_eq!(home.run(&["bundle", "pack", "one"]).code, 0);
    let path = home.project().join("one.bundle");
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    for command in ["inspect", "verify", "run"] {
        let answer = home.run(&["bundle", command, "one.bundle"]);
        assert_eq!((answer.code, answer.out.as_str()), (2, ""), "{command}");
        assert!(
            answer.err.contains("[bundle::") && answer.err.contains("hint:"),
            "{}",
            answer.err
        );
    }
    let answer = home.run(&["bundle", "verify", "sykli.toml"]);
    assert!(
        answer.err.contains("[bundle::not-a-bundle]"),
        "{}",
        answer.err
    );
    let answer = home.run(&["bundle", "verify", "none.bundle"]);
    assert!(
        answer.err.contains("[bundle::unreadable]"),
        "{}",
        answer.err
    );
}

#[test]
fn what_cannot_be_packed_is_told_with_a_way_out() {
    let home = home();
    for (task, code) in [
        ("two", "[bundle::not-ready]"),
        ("many", "[bundle::several]"),
        ("oen", "[run::unknown-task]"),
    ] {
        let answer = home.run(&["bundle", "pack", task]);
        assert_eq!(answer.code, 2, "{task}");
        assert!(
            answer.err.contains(code) && answer.err.contains("hint:"),
            "{}",
            answer.err
        );
    }
    let one = home.run(&["bundle", "pack", "many[2/3]"]);
    assert_eq!(one.code, 0, "{}", one.err);
    assert!(home.project().join("many-2-3.bundle").exists());
}

#[test]
fn a_bundle_gets_no_clock_unasked() {
    let home = home();
    assert_eq!(home.run(&["bundle", "pack", "clock"]).code, 0);
    let refused = home.run(&["bundle", "run", "clock.bundle"]);
    assert_eq!((refused.code, refused.out.as_str()), (2, ""));
    assert!(
        refused.err.contains("the clock") && refused.err.contains("--grant"),
        "{}",
        refused.err
    );
    assert_eq!(
        home.run(&["bundle", "run", "clock.bundle", "--grant"]).code,
        3
    );
}
