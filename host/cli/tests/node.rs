//! `sykli node` where no node runs, where a dead one's socket lies about, and where its settings are wrong.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Home, answer, valid, write};

#[test]
fn where_no_node_runs_every_command_says_so() {
    let home = Home::new();
    for args in [
        &["node", "status"][..],
        &["node", "stop"],
        &["node", "pause"],
        &["node", "drain"],
        &["node", "asks"],
        &["node", "approve", "1"],
    ] {
        let none = home.run(args);
        assert_eq!((none.code, none.out.as_str()), (1, ""), "{args:?}");
        for text in ["[control::not-running]", "sykli node start"] {
            assert!(none.err.contains(text), "{args:?}: {}", none.err);
        }
    }
    let document = valid("error", &home.run(&["node", "status", "--json"]).out);
    assert_eq!(document["code"], "control::not-running");
}

#[test]
fn wrong_settings_are_said_before_a_daemon_is_made() {
    let home = Home::new();
    write(
        &home.user_config(),
        "[node]\nprofile = \"mobile\"\n[mesh]\nmdns = true\n",
    );
    let refused = home.run(&["node", "start", "--detach"]);
    assert_eq!(refused.code, 2);
    assert!(
        refused.err.contains("[settings::hidden]"),
        "{}",
        refused.err
    );
    assert!(!home.dir.path().join("state/sykli/node.log").exists());
    let doctor = valid("doctor", &home.run(&["doctor", "--json"]).out);
    let checks = doctor["checks"].as_array().unwrap();
    let mesh = checks.iter().find(|one| one["name"] == "mesh").unwrap();
    assert_eq!(mesh["state"], "failed");
}

#[test]
fn the_doctor_says_what_a_node_would_be_and_that_none_runs() {
    let home = Home::new();
    let told = answer(
        home.command(&["doctor", "--json"])
            .env("SYKLI_NODE_NAME", "dave")
            .env("SYKLI_MESH_LISTEN", "/ip4/127.0.0.1/tcp/0"),
    );
    let doctor = valid("doctor", &told.out);
    let message = |name: &str| {
        let checks = doctor["checks"].as_array().unwrap().iter();
        let check = checks.clone().find(|one| one["name"] == name);
        check.unwrap()["message"].as_str().unwrap().to_owned()
    };
    let mesh = message("mesh");
    for part in ["dave", "lan", "consent never", "/ip4/127.0.0.1/tcp/0"] {
        assert!(mesh.contains(part), "{mesh}");
    }
    assert!(message("node").contains("none runs here"));
    for name in ["user", "power", "network", "memory", "load"] {
        assert!(!message(name).is_empty());
    }
}

#[test]
fn a_node_looks_at_no_project() {
    let home = Home::new();
    home.write(".sykli/config.toml", "[node]\nname = \"evil\"\n");
    let status = home.run(&["node", "status"]);
    assert!(
        status.err.contains("[control::not-running]"),
        "{}",
        status.err
    );
    assert_eq!(
        home.run(&["run", "--steal"]).code,
        2,
        "--steal needs --mesh"
    );
}
