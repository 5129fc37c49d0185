//! Work that is dispatched and work that is asked for: what comes back, and what its user sees.

use std::collections::BTreeMap;

use serde_json::Value;
use sykli_tests::Project;
use sykli_tests::mesh::{Machine, UNWILLING, mesh};

use super::watched::{Watched, meets, pipeline, settings};

const TEXTS: usize = 6;

/// Six copies that only a node with the label takes, and a folder of all of them that needs none.
fn copies() -> Project {
    let project = Project::new();
    project.guest("copy").write(
        "sykli.toml",
        pipeline(
            r#"
[task.each]
component = "copy.wasm"
foreach = { glob = "texts/*.txt" }
args = ["/in/{item}", "/out/each/{item.name}"]
outputs = ["each/*"]
place = { labels = ["there"] }
[task.all]
component = "copy.wasm"
after = ["each"]
args = ["/in/each/each", "/out/all"]
outputs = ["all/*"]
"#,
        ),
    );
    for text in 0..TEXTS {
        project.write(
            &format!("texts/{text}.txt"),
            format!("text {text}\n").repeat(1000),
        );
    }
    project
}

/// The digest of what each instance wrote.
#[track_caller]
fn outputs(run: &Value) -> BTreeMap<String, String> {
    let instances = run["instances"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    instances
        .map(|one| (text(&one["label"]), text(&one["output"])))
        .collect()
}

#[test]
fn dispatched_work_comes_back_as_if_it_had_been_done_here_and_says_where_it_was() {
    let ben = Machine::new(
        "ben",
        &settings("labels = [\"there\"]", "mode = \"policy\""),
    );
    let olga = Machine::with("olga", UNWILLING, copies());
    let [mut ben, olga] = mesh([ben, olga]);

    let ran = olga.run(&["run", "--mesh"]).expect(0);
    assert!(
        ran.stderr.contains("each ✓ ⚡ben → all ✓\n"),
        "{}",
        ran.stderr
    );
    assert!(ran.stderr.contains("elsewhere: 6 on ben"), "{}", ran.stderr);
    for _ in 0..TEXTS {
        let finished = ben.node().said("finished each[");
        assert!(finished.ends_with(" from olga: passed"), "{finished}");
    }
    let said = ben.node().lines();
    let accepted =
        |line: &&String| line.starts_with("accepted each[") && line.ends_with(" from olga");
    assert_eq!(said.iter().filter(accepted).count(), TEXTS, "{said:?}");

    let report = olga.json(&["report", "--json"]);
    assert_eq!(report["reach"], "mesh");
    assert_eq!(report["elsewhere"][0]["instances"], TEXTS, "{report}");
    for task in report["tasks"].as_array().unwrap() {
        match task["task"].as_str().unwrap() {
            "each" => {
                assert_eq!(task["executor"]["name"], "ben", "{task}");
                assert_eq!(task["executor"]["id"], ben.peer());
                assert_eq!(task["why"], "ben took it");
                assert_eq!(task["moves"]["accepted"], 1);
            }
            _ => assert!(task["executor"].is_null(), "{task}"),
        }
    }
    let status = olga.json(&["status", "--json"]);
    assert_eq!(status["tasks"][0]["on"][0]["name"], "ben", "{status}");
    let shown = olga.run(&["task", "each"]).expect(0).stdout;
    assert!(shown.contains("Executor: ben"), "{shown}");
    assert!(shown.contains("Stolen: no"), "{shown}");
    let explained = olga.run(&["explain", "each"]).expect(0).stdout;
    for part in ["offered to ben", "ben took it", "ran on ben"] {
        assert!(explained.contains(part), "{part}: {explained}");
    }
    let history = olga.json(&["history", "--json"]);
    assert_eq!(history["runs"][0]["elsewhere"][0]["node"]["name"], "ben");

    // The same, never away from its machine.
    let solo = Machine::with("solo", UNWILLING, copies());
    let alone = solo.json(&["run", "--json"]);
    let cached = olga.json(&["run", "--json"]);
    assert_eq!(outputs(&alone).len(), TEXTS + 1);
    assert_eq!(outputs(&cached), outputs(&alone));
    for text in 0..TEXTS {
        let path = format!("all/{text}.txt");
        assert_eq!(olga.project().read(&path), solo.project().read(&path));
    }
}

/// Tasks that only the thief has the label for, that are others each time, and that last: so many tenths of a second.
fn many(tasks: usize, round: usize, steps: usize) -> String {
    let values: Vec<String> = (0..tasks).map(|n| format!("\"{round}-{n}\"")).collect();
    pipeline(&format!(
        "[task.work]\ncomponent = \"busy.wasm\"\nforeach = {{ values = [{}] }}\ninputs = [\"text\"]\n\
         args = [\"{steps}\", \"/in/text\", \"/out/made/{{item}}\"]\noutputs = [\"made/{{item}}\"]\n\
         place = {{ labels = [\"there\"] }}\n",
        values.join(", ")
    ))
}

#[test]
fn idle_nodes_ask_for_work_of_a_run_that_lets_them_and_of_no_other() {
    let thief = settings("labels = [\"there\"]\nslots = 1", "mode = \"policy\"");
    let olga = Machine::new("olga", UNWILLING);
    let [mut olga, mut thief] = mesh([olga, Machine::new("thief", &thief)]);
    thief.start();
    meets(olga.node(), &["thief"]);
    let project = olga.project();
    project.guest("busy");
    project.write("text", "text");
    // Whoever has work says so at most once a second, and only who has heard that asks: the run lasts longer. The first
    // task of all is offered unasked, and whether any further one is asked for first is a race; not to be lost ten times.
    for round in 0..10 {
        project.write("kept.toml", many(6, 2 * round, 0));
        project.write("open.toml", many(8, 2 * round + 1, 2));
        let mut kept = Watched::run(&olga, "kept.toml", &["--mesh"]);
        let mut open = Watched::run(&olga, "open.toml", &["--mesh", "--steal"]);
        kept.passed();
        open.passed();
        let stolen = |run: &Watched| {
            let report = olga.json(&["report", &run.name(), "--json"]);
            let tasks = report["tasks"].as_array().unwrap();
            let on = |task: &&Value| task["executor"]["name"] == "thief";
            assert_eq!(tasks.iter().filter(on).count(), tasks.len(), "{report}");
            let stolen = tasks.iter().find(|task| task["stolen"] == true);
            stolen.map(|task| task["label"].as_str().unwrap().to_owned())
        };
        assert_eq!(stolen(&kept), None, "taken from a run without --steal");
        if let Some(label) = stolen(&open) {
            let run = open.name();
            let shown = olga.run(&["task", &label, &run]).expect(0).stdout;
            assert!(shown.contains("Stolen: yes (from this machine)"), "{shown}");
            // What it took, and not how long ago it was.
            assert!(!shown.contains(" 0 fuel"), "{shown}");
            let explained = olga.run(&["explain", &label, &run]).expect(0).stdout;
            assert!(
                explained.contains("offered to thief, which had asked"),
                "{explained}"
            );
            return;
        }
    }
    panic!("nothing was ever asked for");
}
