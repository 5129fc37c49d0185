//! Completions, manual pages, the doctor, scaffolding and drawings: what needs no task to run.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Home, answer, valid};

const CHAIN: &str = "schema = \"sykli-wasm/1\"\n[pipeline]\nname = \"x\"\n\
    [task.list]\ncomponent = \"a.wasm\"\n\
    [task.shrink]\ncomponent = \"a.wasm\"\nafter = [\"list\"]\nforeach = { shards = 16 }\n";

#[test]
fn completions_and_pages_know_every_command() {
    let home = Home::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = home.run(&["completions", shell]);
        assert_eq!(script.code, 0);
        assert!(
            script.out.contains("validate") && script.out.contains("completions"),
            "{shell}"
        );
    }
    assert_eq!(
        answer(home.command(&["completions"]).env("SHELL", "/bin/fish")).code,
        0
    );
    let unknown = answer(home.command(&["completions"]).env("SHELL", "/bin/none"));
    assert_eq!(unknown.code, 2, "{}", unknown.err);

    let page = home.run(&["man"]);
    assert!(
        page.out.contains(".TH sykli 1") || page.out.contains(".TH SYKLI 1"),
        "{}",
        page.out
    );
    assert_eq!(home.run(&["man", "--out", "pages"]).code, 0);
    assert!(home.project().join("pages/sykli-run.1").exists());
}

#[test]
fn the_doctor_looks_at_folders_engine_and_toolchain() {
    let home = Home::new();
    let found = home.run(&["doctor", "--json"]);
    let document = valid("doctor", &found.out);
    let names: Vec<&str> = document["checks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["name"].as_str().unwrap())
        .collect();
    for name in ["cache folder", "sandbox", "cargo", "disk"] {
        assert!(names.contains(&name), "{names:?}");
    }
    assert_eq!(found.code == 0, document["healthy"].as_bool().unwrap());

    let broken = answer(
        home.command(&["doctor"])
            .env("XDG_CACHE_HOME", "/proc/none"),
    );
    assert_eq!(broken.code, 1);
    assert!(
        broken.out.contains("✗ cache folder") && broken.out.contains("hint:"),
        "{}",
        broken.out
    );
}

#[test]
fn graphs_come_in_four_languages() {
    let home = Home::new();
    home.write("sykli.toml", CHAIN);
    assert_eq!(
        home.run(&["graph"]).out,
        "list\nshrink ← list (16 shards)\n"
    );
    let ascii = answer(home.command(&["graph"]).env("LC_ALL", "C"));
    assert_eq!(ascii.out, "list\nshrink <- list (16 shards)\n");
    assert!(
        home.run(&["graph", "--format", "mermaid"])
            .out
            .starts_with("flowchart LR\n")
    );
    assert!(
        home.run(&["graph", "--format", "dot"])
            .out
            .contains("\"list\" -> \"shrink\";")
    );
    assert!(
        home.run(&["graph", "--format", "svg"])
            .out
            .starts_with("<svg ")
    );
}

#[test]
fn a_pipeline_may_come_from_a_program() {
    let home = Home::new();
    let document = r#"{"schema": "sykli-wasm/1", "pipeline": {"name": "p"}, "task": {"a": {"component": "a.wasm"}}}"#;
    home.write("p.json", document);
    assert_eq!(home.run(&["graph", "--from", "p.json"]).out, "a\n");
    assert_eq!(home.run(&["graph", "p.json"]).out, "a\n");
    let stdin = std::fs::File::open(home.project().join("p.json")).unwrap();
    assert_eq!(
        answer(home.command(&["graph", "--from", "-"]).stdin(stdin)).out,
        "a\n"
    );
}

#[test]
fn init_and_new_write_what_validate_accepts() {
    let home = Home::new();
    let made = home.run(&["init"]);
    assert_eq!(made.code, 0, "{}", made.err);
    assert!(made.err.contains("wrote sykli.toml"), "{}", made.err);
    let valid_now = home.run(&["validate", "--json"]);
    assert_eq!(valid_now.code, 0, "{}", valid_now.out);
    let document = valid("validate", &valid_now.out);
    assert_eq!(
        (
            document["tasks"][0]["name"].as_str(),
            document["instances"].as_u64()
        ),
        (Some("hello"), Some(1))
    );

    let more = home.run(&["new", "task", "count-words"]);
    assert_eq!(more.code, 0, "{}", more.err);
    assert!(more.out.contains("[task.count-words]"), "{}", more.out);
    assert!(
        home.project()
            .join("tasks/sykli-guest/wit/task.wit")
            .exists()
    );
    assert_eq!(
        home.run(&["new", "task", "second"]).code,
        0,
        "the SDK is there already"
    );
    let text = std::fs::read_to_string(home.project().join("sykli.toml")).unwrap();
    home.write("sykli.toml", &format!("{text}\n{}", more.out));
    assert_eq!(
        home.run(&["validate"]).out,
        "sykli.toml is valid: 2 tasks, 2 instances\n"
    );

    assert_eq!(home.run(&["new", "task", "Bad Name"]).code, 2);
    assert_eq!(home.run(&["init"]).code, 2);
}
