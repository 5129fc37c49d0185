//! Input that is wrong and machines that let one down: a clear error with place, code and hint on standard error and in
//! the JSON document, the right exit code, nothing lost, no panic. Disks are filled in a private mount namespace.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use sykli_tests::{Project, Ran, wat_guest};

const SCHEMA: &str = "schema = \"sykli-wasm/1\"\n";

fn one_task(lines: &str) -> String {
    format!("{SCHEMA}[task.a]\n{lines}\n")
}

fn project(pipeline: &str) -> Project {
    let project = Project::new();
    project.guest("hello").write("sykli.toml", pipeline);
    project
}

/// No word of the machinery behind it.
#[track_caller]
fn decent(ran: &Ran) {
    // What a guest says of its own machine is its own.
    let ours = |line: &&str| !line.contains('│') && !line.contains("_tail");
    let stderr: Vec<&str> = ran.stderr.lines().filter(ours).collect();
    let stdout: Vec<&str> = ran.stdout.lines().filter(ours).collect();
    let (stderr, stdout) = (stderr.join("\n"), stdout.join("\n"));
    for word in [
        "panicked",
        "RUST_BACKTRACE",
        "stack backtrace",
        "os error",
        "unwrap()",
        "Err(",
    ] {
        assert!(!stderr.contains(word), "{word}: {stderr}");
        assert!(!stdout.contains(word), "{word}: {stdout}");
    }
}

/// The same refusal in both formats: exit code 2, the code, every phrase, a hint. The document.
#[track_caller]
fn refused(project: &Project, args: &[&str], code: &str, phrases: &[&str]) -> Value {
    let text = project.run(args).expect(2);
    decent(&text);
    assert!(text.stdout.is_empty(), "{}", text.stdout);
    assert!(text.stderr.starts_with("error: "), "{}", text.stderr);
    assert!(
        text.stderr.contains(&format!("[{code}]")),
        "{}",
        text.stderr
    );
    assert!(text.stderr.contains("  hint: "), "{}", text.stderr);

    let json: Vec<&str> = [&args[..1], &["--json"], &args[1..]].concat();
    let ran = project.run(&json).expect(2);
    decent(&ran);
    let document: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(document["schema"], "sykli.error/1");
    assert_eq!(document["exit_code"], 2);
    let problems = document["problems"].as_array().cloned().unwrap_or_default();
    let codes = problems
        .iter()
        .chain([&document])
        .any(|one| one["code"] == code);
    assert!(codes, "{document:#}");
    assert!(
        !document["hints"].as_array().unwrap().is_empty(),
        "{document:#}"
    );
    let whole = document.to_string();
    for phrase in phrases {
        assert!(text.stderr.contains(phrase), "{phrase}: {}", text.stderr);
        let quoted = Value::from(*phrase).to_string();
        assert!(
            whole.contains(quoted.trim_matches('"')),
            "{phrase}: {document:#}"
        );
    }
    document
}

/// The place of the problem with this code.
#[track_caller]
fn at(document: &Value, code: &str) -> (String, u64, u64) {
    let problems = document["problems"].as_array().unwrap();
    let problem = problems.iter().find(|one| one["code"] == code).unwrap();
    let number = |key: &str| problem[key].as_u64().unwrap();
    let file = problem["file"].as_str().unwrap().to_owned();
    (file, number("line"), number("column"))
}

#[test]
fn what_is_no_component_is_refused_with_its_place() {
    let hello = fs::read(sykli_tests::guest("hello")).unwrap();
    let half = &hello[..hello.len() / 2];
    for (bytes, phrases) in [
        (&b"just some words\n"[..], &["not WebAssembly", "text"][..]),
        (&b""[..], &["not WebAssembly", "empty"]),
        (half, &["cut off", "ends at byte"]),
        (&hello[..hello.len() - 1], &["cut off"]),
        (&wat_guest("unknown-import"), &["acme:gpu/compute@1.2.0"]),
        (
            &wat_guest("newer-wasi"),
            &["wasi:http/outgoing-handler@0.2.0", "HTTP"],
        ),
        (&wat_guest("not-a-command"), &["command"]),
    ] {
        let project = project(&one_task("component = \"bad.wasm\""));
        project.write("bad.wasm", bytes);
        let phrases = [&["bad.wasm"], phrases].concat();
        let document = refused(&project, &["run"], "component::unusable", &phrases);
        assert!(document["message"].as_str().unwrap().contains("task `a`"));
        assert_eq!(
            at(&document, "component::unusable"),
            ("sykli.toml".to_owned(), 2, 7)
        );
        refused(
            &project,
            &["exec", "bad.wasm"],
            "component::unusable",
            &phrases,
        );
    }
}

#[test]
fn what_is_not_there_is_named() {
    let project = project(&one_task("component = \"hallo.wasm\""));
    let phrases = ["hallo.wasm", "there is no such file"];
    let document = refused(&project, &["run"], "component::missing", &phrases);
    assert_eq!(at(&document, "component::missing").1, 2);
    refused(
        &project,
        &["exec", "hallo.wasm"],
        "component::missing",
        &phrases,
    );
    refused(
        &project,
        &["exec", "."],
        "component::missing",
        &["is a folder"],
    );
    refused(
        &project,
        &["run", "nowhere.toml"],
        "cli::no-pipeline",
        &["nowhere.toml does not exist"],
    );
    refused(&project, &["run", "--filter", "bb"], "run::filter", &["bb"]);

    project.write(
        "sykli.toml",
        one_task("component = \"hello.wasm\"\ninputs = [\"data/no.txt\"]"),
    );
    let document = refused(
        &project,
        &["run"],
        "pipeline::missing-input",
        &["data/no.txt", "task `a`"],
    );
    assert_eq!(
        at(&document, "pipeline::missing-input"),
        ("sykli.toml".to_owned(), 4, 11)
    );

    project.write(
        "sykli.toml",
        one_task("component = \"hello.wasm\"\ninputs = [\"data/**/*.csv\"]"),
    );
    refused(
        &project,
        &["run"],
        "pipeline::empty-glob",
        &["data/**/*.csv", "matches no file"],
    );
}

#[test]
fn a_pipeline_that_is_wrong_is_refused_before_anything_runs() {
    let project = project("");
    let cycle = "component = \"hello.wasm\"\nafter = [\"c\"]\n[task.b]\ncomponent = \"hello.wasm\"\nafter = [\"a\"]\n\
                 [task.c]\ncomponent = \"hello.wasm\"\nafter = [\"b\"]";
    project.write("sykli.toml", one_task(cycle));
    refused(&project, &["run"], "pipeline::cycle", &["a → b → c → a"]);

    project.write(
        "sykli.toml",
        one_task("component = \"hello.wasm\"\nouputs = [\"x\"]"),
    );
    let document = refused(
        &project,
        &["run"],
        "pipeline::unknown-key",
        &["`ouputs`", "did you mean `outputs`?"],
    );
    assert_eq!(
        at(&document, "pipeline::unknown-key"),
        ("sykli.toml".to_owned(), 4, 1)
    );

    project.write("sykli.toml", one_task("component = \"hello.wasm\"\nafter = [\"bild\"]\n[task.build]\ncomponent = \"hello.wasm\""));
    refused(
        &project,
        &["run"],
        "pipeline::unknown-task",
        &["`bild`", "did you mean `build`?"],
    );

    for (text, code) in [
        (one_task("component = "), "pipeline::syntax"),
        (
            "[task.a]\ncomponent = \"hello.wasm\"\n".to_owned(),
            "pipeline::missing-schema",
        ),
        (one_task("run = \"cargo test\""), "pipeline::shell-task"),
        (
            one_task("component = \"../hello.wasm\""),
            "pipeline::bad-path",
        ),
        (
            one_task("component = \"hello.wasm\"\nlimits = { memory = \"5 bananas\" }"),
            "pipeline::bad-size",
        ),
    ] {
        project.write("sykli.toml", text);
        let document = refused(&project, &["run"], code, &[]);
        assert!(at(&document, code).1 >= 1);
        refused(&project, &["validate"], code, &[]);
    }
    assert!(
        !project.home().join("state/sykli/state.db").exists(),
        "no run was begun"
    );
}

#[test]
fn a_pipeline_that_is_too_large_is_refused() {
    let project = project(&format!("{SCHEMA}# {}\n", "x".repeat(1 << 20)));
    refused(
        &project,
        &["run"],
        "pipeline::too-large",
        &["sykli.toml", "1MiB"],
    );
    let tasks: String = (0..10_001)
        .map(|n| format!("[task.t{n}]\ncomponent=\"a\"\n"))
        .collect();
    project.write("sykli.toml", format!("{SCHEMA}{tasks}"));
    refused(&project, &["run"], "pipeline::too-large", &["10000"]);
    project.write(
        "sykli.toml",
        one_task("component = \"hello.wasm\"\nforeach = { shards = 1000001 }"),
    );
    refused(
        &project,
        &["validate"],
        "pipeline::out-of-range",
        &["1000000"],
    );
    project.write("sykli.toml", [0xff, 0xfe, 0, 1]);
    refused(&project, &["run"], "pipeline::encoding", &["not UTF-8"]);
}

#[test]
fn a_folder_that_cannot_be_used_is_named_with_the_way_out() {
    for (folder, codes, variable) in [
        (
            "cache",
            ["cache::unwritable", "node::folders"],
            "XDG_CACHE_HOME",
        ),
        ("state", ["journal::unwritable", ""], "XDG_STATE_HOME"),
    ] {
        let project = project(&one_task("component = \"hello.wasm\""));
        let place = project.home().join(folder);
        fs::write(&place, "a file in its place").unwrap();
        let path = place.display().to_string();
        let phrases = [path.as_str(), variable, "not a directory"];
        refused(&project, &["run"], codes[0], &phrases);
        refused(&project, &["plan"], codes[0], &phrases);
        if folder == "cache" {
            let stats = project.run(&["cache", "stats", "--json"]).expect(2);
            assert!(stats.stdout.contains(codes[0]), "{stats:?}");
            refused(&project, &["exec", "hello.wasm"], codes[1], &phrases);
        }
        assert_eq!(fs::read(&place).unwrap(), b"a file in its place");
        // What needs no cache works.
        project.run(&["validate"]).expect(0);
        fs::remove_file(&place).unwrap();
        project.run(&["run"]).expect(0);
    }
}

/// Runs a script as root of a private mount namespace, `sykli` being `$SYKLI`; nothing where that is not permitted.
fn unshared(project: &Project, script: &str) -> Option<Ran> {
    let may = Command::new("unshare").args(["--mount", "true"]).output();
    if !may.as_ref().is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: no private mount namespace here");
        return None;
    }
    let mut shell = Command::new("unshare");
    project.settle(&mut shell);
    shell
        .args(["--mount", "sh", "-euc", script])
        .env("SYKLI", sykli_tests::sykli())
        .env("HOMES", project.home())
        .current_dir(project.path());
    Some(shell.output().unwrap().into())
}

#[test]
fn a_read_only_cache_is_named() {
    let project = project(&one_task("component = \"hello.wasm\""));
    for (folder, code) in [
        ("cache", "cache::unwritable"),
        ("state", "journal::unwritable"),
    ] {
        fs::create_dir_all(project.home().join(folder)).unwrap();
        let script = format!("mount -t tmpfs -o ro tmpfs \"$HOMES/{folder}\"; exec \"$SYKLI\" run");
        let Some(ran) = unshared(&project, &script) else {
            return;
        };
        let ran = ran.expect(2);
        decent(&ran);
        assert!(ran.stderr.contains(&format!("[{code}]")), "{}", ran.stderr);
        assert!(
            ran.stderr.contains("read-only") && ran.stderr.contains("  hint: "),
            "{}",
            ran.stderr
        );
    }
}

/// One task that writes 3 MB, and one that writes nothing.
fn writer() -> Project {
    let project = project(
        "schema = \"sykli-wasm/1\"\n[task.small]\ncomponent = \"hello.wasm\"\n[task.large]\ncomponent = \"copy.wasm\"\n\
         inputs = [\"in.bin\"]\nargs = [\"/in/in.bin\", \"/out/big.bin\"]\noutputs = [\"big.bin\"]\n",
    );
    project
        .guest("copy")
        .write("in.bin", "0123456789abcde\n".repeat(200_000));
    project
}

/// A run with this folder of the home on a small disk, then one with room.
#[track_caller]
fn on_a_small_disk(folder: &str, size: &str, codes: &[&str]) {
    let project = writer();
    fs::create_dir_all(project.home().join(folder)).unwrap();
    let script = format!(
        "mount -t tmpfs -o size={size} tmpfs \"$HOMES/{folder}\"; exec \"$SYKLI\" run --keep-going"
    );
    let Some(ran) = unshared(&project, &script) else {
        return;
    };
    decent(&ran);
    if ran.code != Some(0) {
        assert!(matches!(ran.code, Some(1 | 2)), "{ran:?}");
        let coded = codes
            .iter()
            .any(|code| ran.stderr.contains(&format!("[{code}]")));
        assert!(coded, "{size}: {}", ran.stderr);
        assert!(ran.stderr.contains("hint: "), "{size}: {}", ran.stderr);
        assert!(ran.stderr.contains("space"), "{size}: {}", ran.stderr);
        assert!(!project.exists("big.bin"), "what failed was not written");
    }
    if project.exists("big.bin") {
        assert_eq!(project.read("big.bin"), project.read("in.bin"));
    }
    project.run(&["run"]).expect(0);
    assert_eq!(project.read("big.bin"), project.read("in.bin"));
}

#[test]
fn a_full_disk_under_the_cache_fails_the_task_and_loses_nothing() {
    for size in ["16k", "200k", "1m", "3m", "6m"] {
        on_a_small_disk("cache", size, &["task::disk-full", "cache::full"]);
    }
}

#[test]
fn a_full_disk_under_the_state_is_said_and_loses_nothing() {
    for size in ["4k", "32k", "128k"] {
        on_a_small_disk("state", size, &["journal::full"]);
    }
}

#[test]
fn a_full_disk_under_the_project_keeps_what_was_there() {
    let project = writer();
    let small = Path::new("small-disk");
    fs::create_dir(project.path().join(small)).unwrap();
    let script = "cp *.wasm *.toml in.bin \"$HOMES\"; mount -t tmpfs -o size=5m tmpfs small-disk; \
                  cp *.wasm *.toml in.bin small-disk; cd small-disk; echo old > big.bin; \
                  code=0; \"$SYKLI\" run || code=$?; cat big.bin; ls -A; exit $code";
    let Some(ran) = unshared(&project, script) else {
        return;
    };
    let ran = ran.expect(1);
    decent(&ran);
    assert!(ran.stdout.starts_with("old\n"), "{}", ran.stdout);
    assert!(!ran.stdout.contains(".tmp"), "{}", ran.stdout);
    for phrase in [
        "error: ",
        "`big.bin` was not written",
        "no space left",
        "[export::full]",
        "  hint: ",
    ] {
        assert!(ran.stderr.contains(phrase), "{phrase}: {}", ran.stderr);
    }
    // The work is not lost: with room, it comes from the cache.
    let again = project.run(&["run", "--json"]).expect(0);
    let document: Value = serde_json::from_str(&again.stdout).unwrap();
    assert_eq!(document["counts"]["cached"], 2, "{document:#}");
    assert_eq!(project.read("big.bin"), project.read("in.bin"));
}
