//! What the command line says to wrong usage and wrong input: exit code 2, a code, a hint, and the place where there is
//! one; on stderr for people, as a document on stdout for programs.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Home, valid, write};

#[test]
fn unknown_flags_and_commands_say_what_was_meant() {
    let home = Home::new();
    let answer = home.run(&["run", "--no-cahce"]);
    assert_eq!((answer.code, answer.out.as_str()), (2, ""));
    assert!(answer.err.contains("[cli::usage]"), "{}", answer.err);
    assert!(answer.err.contains("--no-cache"), "{}", answer.err);
    assert!(answer.err.contains("hint:"), "{}", answer.err);

    let answer = home.run(&["runn"]);
    assert_eq!(answer.code, 2);
    assert!(answer.err.contains("'run'"), "{}", answer.err);

    let answer = home.run(&["run", "--no-cahce", "--json"]);
    let document = valid("error", &answer.out);
    assert_eq!((answer.code, answer.err.as_str()), (2, ""));
    assert_eq!(document["code"], "cli::usage");
    assert!(!document["hints"].as_array().unwrap().is_empty());
}

#[test]
fn help_and_version_are_answers_and_not_errors() {
    let home = Home::new();
    let help = home.run(&["--help"]);
    assert_eq!((help.code, help.err.as_str()), (0, ""));
    for command in [
        "run", "exec", "init", "validate", "plan", "graph", "cache", "bundle", "config", "doctor",
    ] {
        assert!(help.out.contains(command), "{command}");
    }
    assert!(home.run(&["--version"]).out.starts_with("sykli "));
    assert_eq!(home.run(&[]).code, 2);
}

#[test]
fn no_pipeline_is_a_clear_error() {
    let home = Home::new();
    for args in [["run"], ["plan"], ["validate"], ["graph"], ["build"]] {
        let answer = home.run(&args);
        assert_eq!((answer.code, answer.out.as_str()), (2, ""), "{args:?}");
        assert!(answer.err.contains("[cli::no-pipeline]"), "{}", answer.err);
        assert!(answer.err.contains("sykli init"), "{}", answer.err);
    }
    let answer = home.run(&["run", "no/such/folder"]);
    assert!(answer.err.contains("no/such/folder"), "{}", answer.err);
}

#[test]
fn what_is_no_text_is_no_pipeline() {
    let home = Home::new();
    std::fs::write(
        home.project().join("sykli.toml"),
        [0x00, 0x61, 0x73, 0x6d, 0xff, 0xfe],
    )
    .unwrap();
    let answer = home.run(&["run"]);
    assert_eq!(answer.code, 2);
    assert!(
        answer.err.contains("[pipeline::encoding]"),
        "{}",
        answer.err
    );
}

#[test]
fn an_oversized_pipeline_is_refused_before_it_is_parsed() {
    let home = Home::new();
    home.write("sykli.toml", &"# padding\n".repeat(200_000));
    let answer = home.run(&["validate"]);
    assert_eq!(answer.code, 2);
    assert!(
        answer.err.contains("[pipeline::too-large]"),
        "{}",
        answer.err
    );
}

#[test]
fn a_problem_in_the_pipeline_is_shown_with_its_place() {
    let home = Home::new();
    home.write(
        "sykli.toml",
        "schema = \"sykli-wasm/1\"\n\n[pipeline]\nname = \"x\"\n\n[task.a]\ncomponent = \"a.wasm\"\noutput = [\"x\"]\n",
    );
    let answer = home.run(&["validate"]);
    assert_eq!(answer.code, 2);
    assert!(answer.err.contains("sykli.toml:8"), "{}", answer.err);
    assert!(
        answer.err.contains("did you mean `outputs`?"),
        "{}",
        answer.err
    );
    assert!(!answer.err.contains("panicked"), "{}", answer.err);

    let document = valid("error", &home.run(&["validate", "--json"]).out);
    assert_eq!(document["problems"][0]["line"], 8);
    assert_eq!(document["problems"][0]["file"], "sykli.toml");

    let ascii = common::answer(home.command(&["validate"]).env("LC_ALL", "C"));
    assert!(ascii.err.is_ascii(), "{}", ascii.err);
    let coloured = common::answer(home.command(&["validate"]).env("CLICOLOR_FORCE", "1"));
    assert!(coloured.err.contains('\u{1b}'));
    let plain = home.run(&["validate", "--color", "never"]);
    assert!(!plain.err.contains('\u{1b}'));
}

#[test]
fn cycles_are_named() {
    let home = Home::new();
    home.write(
        "sykli.toml",
        "schema = \"sykli-wasm/1\"\n[pipeline]\nname = \"x\"\n\
         [task.a]\ncomponent = \"a.wasm\"\nafter = [\"b\"]\n[task.b]\ncomponent = \"a.wasm\"\nafter = [\"a\"]\n",
    );
    let answer = home.run(&["run"]);
    assert_eq!(answer.code, 2);
    assert!(
        answer.err.contains("cycle") && answer.err.contains('a') && answer.err.contains('b'),
        "{}",
        answer.err
    );
}

#[test]
fn a_missing_program_is_found_before_anything_runs() {
    let home = Home::new();
    home.write(
        "sykli.toml",
        "schema = \"sykli-wasm/1\"\n[pipeline]\nname = \"x\"\n[task.a]\ncomponent = \"a.wasm\"\n",
    );
    let answer = home.run(&["validate"]);
    assert_eq!(answer.code, 2);
    assert!(answer.err.contains("a.wasm"), "{}", answer.err);
}

#[test]
fn limits_beyond_the_users_ceiling_are_refused() {
    let home = Home::new();
    home.write(
        "sykli.toml",
        "schema = \"sykli-wasm/1\"\n[pipeline]\nname = \"x\"\n\n[task.a]\ncomponent = \"a.wasm\"\n",
    );
    home.write(".sykli/config.toml", "[limits]\nmemory = \"100MB\"\n");
    let answer = home.run(&["validate"]);
    assert_eq!(answer.code, 2);
    assert!(answer.err.contains("[config::limit]"), "{}", answer.err);
    assert!(answer.err.contains("memory = \"100MB\""), "{}", answer.err);
}

#[test]
fn exec_says_what_it_cannot_start() {
    let home = Home::new();
    home.write("notes.txt", "not wasm");
    let answer = home.run(&["exec", "no-such.wasm"]);
    assert_eq!(
        (answer.code, answer.out.as_str()),
        (2, ""),
        "{}",
        answer.err
    );
    assert!(
        answer.err.contains("no-such.wasm") && answer.err.contains("hint:"),
        "{}",
        answer.err
    );
    let answer = home.run(&["exec", "notes.txt"]);
    assert_eq!(answer.code, 2, "{}", answer.err);
    let answer = home.run(&["exec", "--json", "notes.txt"]);
    valid("error", &answer.out);
    let answer = home.run(&["exec", "--mesh", "notes.txt"]);
    assert!(answer.err.contains("[cli::usage]"), "{}", answer.err);
}

#[test]
fn a_reader_that_goes_away_is_no_panic() {
    let home = Home::new();
    let mut child = home
        .command(&["completions", "bash"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn no_home_is_said_once() {
    let home = Home::new();
    let answer = common::answer(home.command(&["plan"]).env_clear());
    assert_eq!(answer.code, 2);
    assert!(answer.err.contains("[config::no-home]"), "{}", answer.err);
}

#[test]
fn init_overwrites_nothing() {
    let home = Home::new();
    write(&home.project().join("tasks/hello/Cargo.toml"), "mine");
    let answer = home.run(&["init"]);
    assert_eq!(answer.code, 2);
    assert!(answer.err.contains("[cli::exists]"), "{}", answer.err);
    assert!(
        !home.project().join("sykli.toml").exists(),
        "all or nothing"
    );
}
