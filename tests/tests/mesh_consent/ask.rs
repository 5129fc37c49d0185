//! `consent.mode = "ask"`: a person refuses, says nothing, approves.

use sykli_tests::mesh::{Machine, UNWILLING, mesh};

use super::watched::{Watched, meets, pipeline, settings};

fn asking(name: &str, consent: &str) -> Machine {
    let consent = format!("mode = \"ask\"\n{consent}");
    Machine::new(name, &settings("labels = [\"there\"]", &consent))
}

/// The question that a node has just put, by its id.
#[track_caller]
fn question(machine: &mut Machine) -> String {
    machine.node().said("olga asks to run job here");
    let asks = machine.json(&["node", "asks", "--json"]);
    let ask = &asks["asks"][0];
    assert_eq!(ask["owner_name"], "olga", "{asks}");
    assert_eq!(ask["label"], "job");
    assert_eq!(ask["labels"][0], "there");
    assert!(ask["bytes"].as_u64().unwrap() > 0);
    // Nothing of it is here before the answer.
    let status = machine.json(&["node", "status", "--json"]);
    assert_eq!(status["foreign"].as_array().map(Vec::len), Some(0));
    assert_eq!(status["counters"]["accepted"], 0);
    ask["id"].as_str().unwrap().to_owned()
}

#[test]
fn a_person_is_asked_first_and_may_refuse_say_nothing_or_approve() {
    let olga = Machine::new("olga", UNWILLING);
    let machines = [
        olga,
        asking("refuser", ""),
        asking("sleeper", "ask_timeout = \"1s\""),
        asking("approver", ""),
    ];
    let [mut olga, mut refuser, mut sleeper, mut approver] = mesh(machines);
    refuser.start();
    sleeper.start();
    meets(olga.node(), &["refuser", "sleeper"]);
    let job = "[task.job]\ncomponent = \"noop.wasm\"\nplace = { labels = [\"there\"] }\n";
    olga.project()
        .guest("noop")
        .write("sykli.toml", pipeline(job));

    let mut run = Watched::run(&olga, "sykli.toml", &["--mesh"]);
    let id = question(&mut refuser);
    let _ = refuser.run(&["node", "refuse", "4711"]).expect(1);
    let _ = refuser.run(&["node", "refuse", &id]).expect(0);
    run.steps(&[
        ("job", "refuser", "pending", None),
        ("job", "refuser", "declined", Some("user-declined")),
        ("job", "sleeper", "pending", None),
        ("job", "sleeper", "declined", Some("user-declined")),
    ]);
    for machine in [&refuser, &sleeper] {
        let asks = machine.json(&["node", "asks", "--json"]);
        assert_eq!(asks["asks"].as_array().map(Vec::len), Some(0), "{asks}");
    }

    approver.start();
    let id = question(&mut approver);
    let _ = approver.run(&["node", "approve", &id]).expect(0);
    run.passed();
    let report = olga.json(&["report", "--json"]);
    assert_eq!(report["tasks"][0]["executor"]["name"], "approver");
    assert_eq!(report["tasks"][0]["moves"]["declined"], 2, "{report}");
    let explained = olga.run(&["explain", "job"]).expect(0).stdout;
    for name in ["refuser", "sleeper"] {
        let said =
            format!("{name} declined: the user of {name} said no, or did not answer in time");
        assert!(explained.contains(&said), "{explained}");
    }
    assert!(explained.contains("approver asks its user"), "{explained}");
}
