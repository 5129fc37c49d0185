//! Hostile guests in whole pipelines: each ends in its typed outcome, `sykli` itself stays within the guest's limit and
//! 64 MiB, and the task after it runs as if nothing had been. What compiles slowly is in `compile_bombs.rs`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::TcpListener;
use std::process::Command;

use serde_json::Value;
use sykli_tests::{Project, Ran, peak, wat_guest};

/// What every hostile guest may have.
const LIMIT: u64 = 64 << 20;
/// What `sykli` may take for itself beyond that.
const SLACK: u64 = 64 << 20;

/// A hostile guest, and how it has to end.
struct Case {
    label: &'static str,
    component: &'static str,
    args: Vec<String>,
    /// Lines of its task.
    lines: &'static str,
    /// The failure's code; none where it is to end well.
    code: Option<&'static str>,
    /// What its failure or its output says.
    says: &'static str,
}

fn case(label: &'static str, command: &[&str]) -> Case {
    let args = command.iter().skip(1).map(|&arg| arg.to_owned());
    let component = match command.first() {
        Some(&"spin") => "spin",
        Some(&"sleep-forever") => "sleep-forever",
        Some(&"disk-fill") => "disk-fill",
        Some(&"handle-flood") => "handle-flood",
        Some(&"stdout-flood") => "stdout-flood",
        _ => label,
    };
    Case {
        label,
        component,
        args: args.collect(),
        lines: "limits = { memory = \"64MiB\", output = \"8MiB\" }",
        code: None,
        says: "",
    }
}

impl Case {
    fn lines(self, lines: &'static str) -> Case {
        Case { lines, ..self }
    }

    fn fails(self, code: &'static str, says: &'static str) -> Case {
        let code = Some(code);
        Case { code, says, ..self }
    }

    fn says(self, says: &'static str) -> Case {
        Case { says, ..self }
    }
}

/// A run of these guests one after another, each with an honest task behind it.
fn project(cases: &[Case]) -> Project {
    let project = Project::new();
    project.guest("hello");
    let mut text = String::from("schema = \"sykli-wasm/1\"\n");
    for case in cases {
        if case.component.ends_with(|last: char| last.is_ascii_digit())
            || case.component == "memory-huge"
        {
            project.write(
                &format!("{}.wasm", case.component),
                wat_guest(case.component),
            );
        } else {
            project.guest(case.component);
        }
        let Case {
            label,
            component,
            args,
            lines,
            ..
        } = case;
        let _ = write!(
            text,
            "[task.{label}]\ncomponent = \"{component}.wasm\"\nargs = {args:?}\n{lines}\n\
             [task.after-{label}]\ncomponent = \"hello.wasm\"\nargs = [\"after {label}\"]\n"
        );
    }
    project.write("sykli.toml", text);
    project
}

/// The most memory that a run takes whose guest does nothing.
fn baseline() -> u64 {
    let project = Project::new();
    project.guest("noop").write(
        "sykli.toml",
        "schema = \"sykli-wasm/1\"\n[task.noop]\ncomponent = \"noop.wasm\"\n",
    );
    let (ran, peak) = peak(project.sykli().args(["run", "--jobs", "1"]));
    ran.expect(0);
    peak
}

/// What became of every task: its settled event, and the lines that it wrote.
#[derive(Default)]
struct Told {
    settled: BTreeMap<String, Value>,
    lines: BTreeMap<String, String>,
}

fn told(ran: &Ran) -> Told {
    let mut told = Told::default();
    for line in ran.stdout.lines() {
        let event: Value = serde_json::from_str(line).unwrap();
        let label = event["label"].as_str().unwrap_or_default().to_owned();
        match event["event"].as_str() {
            Some("task_settled") => drop(told.settled.insert(label, event)),
            Some("task_output") => {
                let lines = told.lines.entry(label).or_default();
                lines.push_str(event["line"].as_str().unwrap());
                lines.push('\n');
            }
            _ => {}
        }
    }
    told
}

/// Runs them all and checks each end; what each wrote.
fn check(cases: &[Case]) -> BTreeMap<String, String> {
    let project = project(cases);
    let mut run = project.sykli();
    run.args(["run", "--keep-going", "--jobs", "1", "--format", "ndjson"]);
    let (ran, most) = peak(&mut run);
    assert!(
        !ran.stderr.contains("panicked at"),
        "a panic of ours: {}",
        ran.stderr
    );
    let some_fail = cases.iter().any(|case| case.code.is_some());
    let ran = ran.expect(i32::from(some_fail));
    let told = told(&ran);
    for case in cases {
        let settled = &told.settled[case.label];
        let wrote = told.lines.get(case.label).map_or("", String::as_str);
        match case.code {
            Some(code) => {
                assert_eq!(settled["state"], "failed", "{settled:#}");
                assert_eq!(settled["failure"]["code"], code, "{settled:#}");
                let message = settled["failure"]["message"].as_str().unwrap();
                assert!(message.contains(case.says), "{}: {message}", case.label);
            }
            None => {
                assert_eq!(settled["state"], "passed", "{settled:#}");
                assert!(wrote.contains(case.says), "{}: {wrote}", case.label);
            }
        }
        let after = format!("after-{}", case.label);
        assert_eq!(told.settled[&after]["state"], "passed", "{after}");
        assert!(
            told.lines[&after].contains(&format!("after {}", case.label)),
            "{after}"
        );
    }
    let bound = baseline() + LIMIT + SLACK;
    assert!(
        most <= bound,
        "{} MiB of at most {} MiB were resident",
        most >> 20,
        bound >> 20
    );
    told.lines
}

#[test]
fn what_never_ends_is_ended() {
    check(&[
        case("fuel", &["spin"])
            .lines("limits = { fuel = \"50M\", memory = \"64MiB\" }")
            .fails("task::fuel", "used all of its fuel (50M)"),
        case("deadline", &["spin"])
            .lines("limits = { fuel = \"9000P\", timeout = \"300ms\", memory = \"64MiB\" }")
            .fails("task::timeout", "was ended after 300ms"),
        case("virtual-sleep", &["sleep-forever"])
            .lines("limits = { fuel = \"50M\", memory = \"64MiB\" }")
            .fails("task::fuel", "used all of its fuel (50M)"),
        case("real-sleep", &["sleep-forever"])
            .lines(
                "limits = { timeout = \"300ms\", memory = \"64MiB\" }\ngrants = { clock = true }",
            )
            .fails("task::timeout", "was ended after 300ms"),
    ]);
}

#[test]
fn what_wants_too_much_memory_or_too_many_things_is_refused() {
    check(&[
        case("memory-bomb", &[]).fails("task::memory", "more than its limit of 64MiB"),
        case("memory-hog", &[]).says("refused after"),
        case("memories-50", &[]).fails("task::limit", "more than 4 linear memories"),
        case("memory-huge", &[]).fails("task::memory", "more than its limit of 64MiB"),
        case("tables-9", &[]).fails("task::limit", "tables"),
        case("instances-100", &[]).fails("task::limit", "core instances"),
        case("stack-bomb", &[]).fails("task::limit", "stack"),
        case("open-files", &["handle-flood", "files"]).fails("task::limit", "handles"),
        case("open-folders", &["handle-flood", "folders"]).fails("task::limit", "handles"),
        case("open-sockets", &["handle-flood", "sockets"]).says("refused after"),
        case("panic", &[]).fails("task::trap", "a panic or abort of the guest"),
    ]);
}

#[test]
fn ten_gigabytes_of_output_are_cut_and_the_disk_is_not_filled() {
    let fill = |label, way: &str, folder: &str| case(label, &["disk-fill", way, folder]);
    let wrote = check(&[
        case("flood-out", &["stdout-flood", "stdout"]),
        case("flood-err", &["stdout-flood", "stderr"]),
        fill("big", "big", "/out").says("big: refused after 8"),
        fill("big-tmp", "big", "/tmp").says("big: refused after 8"),
        fill("many", "many", "/out").says("many: refused after"),
        fill("folders", "folders", "/tmp").says("folders: refused after"),
        fill("deep", "deep", "/tmp").says("deep: refused after"),
        fill("sparse", "sparse", "/out").says("sparse: refused after 0"),
        fill("hole", "hole", "/out").says("hole: refused after 0"),
        fill("links", "links", "/out").says("links: refused after"),
        fill("names", "names", "/out").says("names: refused after"),
        fill("rewrite", "rewrite", "/out").says("rewrite: done after 10000"),
    ]);
    for label in ["flood-out", "flood-err"] {
        assert!(
            wrote[label].len() <= 5 << 20,
            "{label}: {}",
            wrote[label].len()
        );
    }
}

#[test]
fn no_route_leads_out_and_the_network_is_closed() {
    let outside = tempfile::tempdir().unwrap();
    let canary = outside.path().join("canary.txt");
    std::fs::write(&canary, "untouched").unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let peer = listener.local_addr().unwrap().to_string();

    let wrote = check(&[
        case("escape", &["escape", canary.to_str().unwrap()]).says("refused /etc/passwd"),
        case("net", &["net", &peer]).says("connect: refused: PermissionDenied"),
    ]);
    assert!(!wrote["escape"].contains("ESCAPED"), "{}", wrote["escape"]);
    assert!(wrote["escape"].lines().count() > 100);
    for what in [
        "lookup of a name",
        "listen",
        "listen everywhere",
        "datagram",
    ] {
        let line = format!("{what}: refused");
        assert!(wrote["net"].contains(&line), "{}", wrote["net"]);
    }
    assert!(listener.accept().is_err(), "nobody has connected");
    assert_eq!(std::fs::read_to_string(&canary).unwrap(), "untouched");

    // With folders of the host's, and what may be changed of them copied back.
    let project = Project::new();
    project.guest("escape").write("shared/kept.txt", "kept");
    let canary_text = canary.to_str().unwrap();
    let (dir, own) = ("shared::/in", ".::.");
    let args = ["exec", "--dir", dir, "--dir", own, "--out", "kept-out"];
    let ran = project.run(&[&args[..], &["escape.wasm", canary_text]].concat());
    // Its copy of the folder is its own to change: only what lies outside of that counts here.
    let outside_of_it = |line: &&str| {
        line.starts_with("ESCAPED") && (line.contains("canary") || line.contains("passwd"))
    };
    let escaped: Vec<&str> = ran.stdout.lines().filter(outside_of_it).collect();
    assert!(escaped.is_empty(), "{escaped:#?}");
    assert_eq!(project.read_text("shared/kept.txt"), "kept");
    assert_eq!(std::fs::read_to_string(&canary).unwrap(), "untouched");
}

#[test]
fn exec_ends_them_too_and_says_so_in_its_document() {
    let project = Project::new();
    for guest in [
        "spin",
        "sleep-forever",
        "memory-bomb",
        "stack-bomb",
        "hello",
    ] {
        project.guest(guest);
    }
    project.write("memories-50.wasm", wat_guest("memories-50"));
    let small = ["exec", "--json", "--memory", "64MiB"];
    let base = baseline();
    for (command, code) in [
        (&["--fuel", "50M", "spin.wasm"][..], "task::fuel"),
        (
            &["--fuel", "9000P", "--timeout", "300ms", "spin.wasm"],
            "task::timeout",
        ),
        (&["--fuel", "50M", "sleep-forever.wasm"], "task::fuel"),
        (
            &["--clock", "--timeout", "300ms", "sleep-forever.wasm"],
            "task::timeout",
        ),
        (&["memory-bomb.wasm"], "task::memory"),
        (&["memories-50.wasm"], "task::limit"),
        (&["stack-bomb.wasm"], "task::limit"),
    ] {
        let (ran, most) = peak(project.sykli().args(small).args(command));
        assert!(ran.code.is_some_and(|code| code != 0), "{ran:?}");
        let document: Value = serde_json::from_str(&ran.stdout).unwrap();
        assert_eq!(document["schema"], "sykli.exec/1");
        assert_eq!(document["failure"]["code"], code, "{document:#}");
        assert_eq!(document["exit_code"], ran.code.unwrap());
        assert!(most <= base + LIMIT + SLACK, "{command:?}: {most}");
    }
    assert!(
        project
            .run(&["exec", "hello.wasm"])
            .expect(0)
            .stdout
            .contains("hello")
    );
}

#[test]
fn nothing_that_drives_a_terminal_reaches_one() {
    let project = Project::new();
    project.guest("terminal-escapes").write(
        "sykli.toml",
        "schema = \"sykli-wasm/1\"\n[task.esc]\ncomponent = \"terminal-escapes.wasm\"\n\
         outputs = [\"never-written\"]\n",
    );
    // It fails, for its output is missing: so what it wrote is shown, on top of being streamed.
    for args in [
        &["run", "--verbose"][..],
        &["run"],
        &["run", "--color", "never"],
    ] {
        let ran = project.run(args).expect(1);
        assert!(ran.stderr.contains("clipboard"), "{}", ran.stderr);
        harmless(&ran.stderr);
        harmless(&ran.stdout);
    }
    // JSON has them escaped as its strings are.
    let ran = project.run(&["run", "--json"]).expect(1);
    harmless(&ran.stdout);

    // A terminal of its own for `exec`, whose streams are the guest's.
    let mut script = Command::new("script");
    project.settle(&mut script);
    let sykli = sykli_tests::sykli();
    let command = format!("'{}' exec terminal-escapes.wasm", sykli.display());
    script.current_dir(project.path()).args([
        "--quiet",
        "--return",
        "--command",
        &command,
        "/dev/null",
    ]);
    match script.output() {
        Ok(output) => {
            let ran = Ran::from(output).expect(0);
            assert!(ran.stdout.contains("clipboard"), "{}", ran.stdout);
            // Colours may pass, and nothing else.
            for colour in ["\x1b[31m", "\x1b[0m"] {
                assert!(ran.stdout.contains(colour), "{:?}", ran.stdout);
            }
            let rest = ran.stdout.replace("\x1b[31m", "").replace("\x1b[0m", "");
            harmless(&rest.replace('\r', "\n"));
        }
        Err(error) => eprintln!("skipped: no terminal to try it on (script: {error})"),
    }
}

#[track_caller]
fn harmless(text: &str) {
    let bad = |c: &char| c.is_control() && *c != '\n' && *c != '\t';
    assert!(!text.chars().any(|c| bad(&c)), "{text:?}");
}
