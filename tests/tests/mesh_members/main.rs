//! Who belongs and who does not, between real nodes over loopback: strangers, revoked and expired members, cloned
//! identities, and what a node that nobody set up otherwise takes from anybody: nothing. Beside them the promise of a run
//! that stays here, that it opens no socket (`solo`).
//!
//! A stranger here is a real node. One that asks for every protocol by itself is in `mesh_hostile`.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

mod solo;

use std::fs;
use std::process::Command;

use sykli_tests::mesh::{Machine, UNWILLING, WILLING, mesh};
use sykli_tests::{Project, Ran};

/// A few tasks that any node could take.
fn project() -> Project {
    let project = Project::new();
    let task = "[task.job]\ncomponent = \"noop.wasm\"\nforeach = { shards = 6 }\n";
    let pipeline = format!("schema = \"sykli-wasm/1\"\n{task}");
    project.guest("noop").write("sykli.toml", pipeline);
    project
}

/// Whether a node is connected to that peer.
fn is_connected(machine: &Machine, peer: &str) -> bool {
    let peers = machine.json(&["peers", "--json"]);
    let mut peers = peers["peers"].as_array().unwrap().iter();
    peers.any(|one| one["id"] == peer && one["connected"] == true)
}

/// Runs all of it here, for nobody takes anything.
#[track_caller]
fn runs_alone(machine: &Machine, reach: &[&str]) {
    let args = [&["run", "--no-cache", "--json"], reach].concat();
    let ran = machine.json(&args);
    assert_eq!(ran["counts"]["passed"], 6, "{ran}");
    for instance in ran["instances"].as_array().unwrap() {
        assert!(instance["node"].is_null(), "{instance}");
    }
}

#[test]
fn a_node_takes_nothing_unless_its_user_says_so() {
    let olga = Machine::with("olga", UNWILLING, project());
    let [mut ben, mut olga] = mesh([Machine::new("ben", UNWILLING), olga]);
    olga.start();
    olga.node().said("ben is there (");
    for reach in [&["--mesh"][..], &["--mesh", "--steal"]] {
        runs_alone(&olga, reach);
    }
    assert!(is_connected(&olga, &ben.peer()));
    let status = ben.json(&["node", "status", "--json"]);
    assert_eq!(status["consent"], "never");
    assert_eq!(status["counters"]["accepted"], 0, "{status}");
    let said = ben.node().lines();
    assert!(!said.iter().any(|line| line.contains("job")), "{said:?}");
}

#[test]
fn a_project_that_would_widen_what_its_user_allows_is_refused_with_the_line() {
    let olga = Machine::with("olga", UNWILLING, project());
    let [_ben, mut olga] = mesh([Machine::new("ben", WILLING), olga]);
    for wide in [
        "[consent]\nmode = \"policy\"",
        "[consent.when]\non_battery = true",
        "[node]\nprofile = \"lan\"",
        "[node]\nlabels = [\"gpu\"]",
        "[mesh]\ntrust = []",
        "[mesh]\nlisten = [\"/ip4/0.0.0.0/tcp/4001\"]",
    ] {
        let file = olga.project();
        file.write(".sykli/config.toml", format!("jobs = 1\n{wide}\n"));
        for command in [&["run"][..], &["run", "--mesh"], &["config", "check"]] {
            let refused = olga.run(command).expect(2);
            for part in ["[config::project-widens]", "config.toml:3", "on line 3"] {
                assert!(refused.stderr.contains(part), "{wide}: {refused:?}");
            }
        }
    }
    // A node serves all projects: where it was started decides nothing, and a run that it is handed is refused as well.
    let policy = "\n[consent]\nmode = \"policy\"\n";
    olga.project().write(".sykli/config.toml", policy);
    olga.start();
    let status = olga.json(&["node", "status", "--json"]);
    assert_eq!(status["consent"], "never");
    let refused = olga.run(&["run", "--mesh"]).expect(2);
    assert!(refused.stderr.contains("on line 3"), "{refused:?}");
    // To narrow is a project's right.
    let narrow = "[consent]\nmode = \"never\"\nmax_concurrent = 1\n";
    olga.project().write(".sykli/config.toml", narrow);
    let _ = olga.run(&["run", "--mesh"]).expect(0);
}

#[test]
fn a_stranger_is_refused_and_told_why() {
    let [mut anna] = mesh([Machine::new("anna", WILLING)]);
    let status = anna.json(&["node", "status", "--json"]);
    let address = status["listening"][0].as_str().unwrap();
    let known = format!("mdns = false\nknown = [\"{address}\"]\n");
    let settings = UNWILLING.replace("mdns = false\n", &known);
    let mut eve = Machine::with("eve", &settings, project());
    let (anna_id, eve_id) = (anna.peer(), eve.peer());
    let why = "it is not a member, and not listed as trusted";
    eve.start();
    anna.node().said(&format!("refused {eve_id}: {why}"));
    eve.node().said(&format!(
        "refused {anna_id}: it refused this node: hello::stranger ({why})"
    ));
    assert!(!is_connected(&anna, &eve_id) && !is_connected(&eve, &anna_id));
    // Nor does a mesh of its own help.
    eve.kill();
    let _ = eve.run(&["mesh", "create"]).expect(0);
    eve.start();
    let other = "it belongs to another mesh";
    anna.node().said(&format!("refused {eve_id}: {other}"));
    eve.node().said(&format!(
        "refused {anna_id}: it refused this node: hello::wrong-mesh ({other})"
    ));
    eve.kill();
    runs_alone(&eve, &["--mesh"]);
    let status = anna.json(&["node", "status", "--json"]);
    assert!(
        status["counters"]["refused"].as_u64().unwrap() >= 2,
        "{status}"
    );
    assert_eq!(status["counters"]["accepted"], 0);
}

#[test]
fn a_revoked_member_is_cut_off_wherever_the_news_has_come() {
    let machines = ["anna", "ben"].map(|name| Machine::new(name, WILLING));
    let [anna, ben] = machines;
    let cleo = Machine::with("cleo", WILLING, project());
    let [mut anna, mut ben, mut cleo] = mesh([anna, ben, cleo]);
    ben.start();
    ben.node().said("anna is there (");
    cleo.start();
    for node in [&mut anna, &mut ben] {
        node.node().said("cleo is there (");
    }
    let (anna_id, cleo_id) = (anna.peer(), cleo.peer());
    assert!(is_connected(&anna, &cleo_id));

    let _ = anna.run(&["mesh", "revoke", &cleo_id]).expect(0);
    anna.node()
        .said(&format!("refused {cleo_id}: it is revoked"));
    anna.node().said("cleo is gone");
    let told = format!("refused {anna_id}: it refused this node: hello::revoked (it is revoked)");
    cleo.node().said(&told);
    // The news comes with a greeting.
    ben.kill();
    ben.start();
    ben.node()
        .said(&format!("refused {cleo_id}: it is revoked"));
    for member in [&anna, &ben] {
        assert!(!is_connected(member, &cleo_id), "{}", member.name());
        let shown = member.json(&["mesh", "show", "--json"]);
        assert_eq!(shown["membership"]["revoked"][0], cleo_id.as_str());
    }

    cleo.kill();
    runs_alone(&cleo, &["--mesh"]);
    // Nor does another ticket help.
    let _ = cleo.run(&["mesh", "leave"]).expect(0);
    let ticket = anna.run(&["mesh", "invite"]).expect(0).stdout;
    let refused = cleo.run(&["mesh", "join", ticket.trim()]).expect(1);
    assert!(refused.stderr.contains("[hello::revoked]"), "{refused:?}");
}

/// A library that puts the clock of whatever it is loaded into ahead, by a day more than a certificate lives.
const LATER: &str = r"
#define _GNU_SOURCE
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
int clock_gettime(clockid_t clock, struct timespec *now) {
    long said = syscall(SYS_clock_gettime, clock, now);
    if (said == 0 && clock == CLOCK_REALTIME)
        now->tv_sec += 31 * 24 * 60 * 60;
    return (int)said;
}
";

#[test]
fn a_members_certificate_runs_out() {
    let ben = Machine::with("ben", UNWILLING, project());
    let [mut anna, mut ben] = mesh([Machine::new("anna", WILLING), ben]);
    let (anna_id, ben_id) = (anna.peer(), ben.peer());
    anna.kill();
    let folder = tempfile::tempdir().unwrap();
    let [source, library] = ["later.c", "later.so"].map(|name| folder.path().join(name));
    fs::write(&source, LATER).unwrap();
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-o"]);
    compiler.args([&library, &source]);
    let compiled: Ran = compiler.output().unwrap().into();
    let _ = compiled.expect(0);
    let later = format!("LD_PRELOAD={}", library.display());

    // A month passes at the issuer, which has the mesh's key and makes its own certificate anew.
    let mut anna = anna.inside(&["env", &later]);
    anna.start();
    let shown = anna.json(&["mesh", "show", "--json"]);
    assert!(shown["membership"]["refused"].is_null(), "{shown}");
    ben.start();
    anna.node()
        .said(&format!("refused {ben_id}: its certificate has expired"));
    let told = format!(
        "refused {anna_id}: it refused this node: hello::expired (its certificate has expired)"
    );
    ben.node().said(&told);
    assert!(!is_connected(&anna, &ben_id) && !is_connected(&ben, &anna_id));
    ben.kill();
    runs_alone(&ben, &["--mesh"]);
    // And where a month has passed for it too, its user is told.
    let ben = ben.inside(&["env", &later]);
    let shown = ben.json(&["mesh", "show", "--json"]);
    assert_eq!(shown["membership"]["refused"], "hello::expired", "{shown}");
}

#[test]
fn a_cloned_identity_is_noticed_and_neither_of_the_two_is_believed() {
    let machines = [
        Machine::new("anna", WILLING),
        Machine::new("ben", UNWILLING),
    ];
    let [mut anna, mut ben] = mesh(machines);
    let mut twin = Machine::new("twin", UNWILLING);
    fs::create_dir_all(twin.data().parent().unwrap()).unwrap();
    let copied = Command::new("cp")
        .arg("-a")
        .args([ben.data(), twin.data()])
        .output();
    let _ = Ran::from(copied.unwrap()).expect(0);
    let id = ben.peer();
    assert_eq!(twin.peer(), id);

    ben.start();
    anna.node().said("ben is there (");
    // The newcomer may be the same node after a restart. It is not, once the first one comes back.
    twin.start();
    let cloned = "its identity is used by two processes at once";
    anna.node().said(&format!("refused {id}: {cloned}"));
    let anna_id = anna.peer();
    let told = format!("refused {anna_id}: it refused this node: hello::clone ({cloned})");
    ben.node().said(&told);
    twin.node().said(&told);
    assert!(!is_connected(&anna, &id));
}
