//! Tasks of another node in processes of their own, with the real binary: the same results as at home, a process that has
//! given up what it must not reach, and nothing but one task lost when it dies.
//!
//! What a process has given up is looked at from outside, in `/proc`. What this system does not grant is said by the node,
//! and only what it says is looked for.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sykli_tests::mesh::{Machine, Talker, UNWILLING, WILLING, mesh};
use sykli_tests::sykli;

const PATIENCE: Duration = Duration::from_secs(120);
const THERE: &str = "place = { labels = [\"there\"] }\n";

/// An executor and an owner that know each other; the executor's node runs.
fn two(more: &str) -> [Machine; 2] {
    let settings = format!("{WILLING}{more}[node]\nlabels = [\"there\"]\n");
    mesh([
        Machine::new("there", &settings),
        Machine::new(
            "here",
            &format!("{}{more}", WILLING.replace("policy", "never")),
        ),
    ])
}

fn pipeline(tasks: &str) -> String {
    format!("schema = \"sykli-wasm/1\"\n[pipeline]\nname = \"p\"\n{tasks}")
}

fn task(name: &str, guest: &str, more: &str) -> String {
    format!("[task.{name}]\ncomponent = \"{guest}.wasm\"\n{more}")
}

/// Waits until `look` sees something.
#[track_caller]
fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(Instant::now() < end, "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The processes that a node has started and that are what tasks run in.
fn children(node: u32) -> Vec<u32> {
    let tasks = fs::read_dir(format!("/proc/{node}/task"))
        .into_iter()
        .flatten();
    let lists = tasks
        .flatten()
        .filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    let mut found: Vec<u32> = lists
        .flat_map(|list| {
            list.split_whitespace()
                .filter_map(|pid| pid.parse().ok())
                .collect::<Vec<_>>()
        })
        .filter(|pid| {
            fs::read(format!("/proc/{pid}/cmdline"))
                .is_ok_and(|line| line.starts_with(b"sykli-task\0"))
        })
        .collect();
    found.sort_unstable();
    found
}

/// Those of them that are at a task: its bounds are theirs.
fn at_work(node: u32) -> Vec<u32> {
    let data = |pid: u32| {
        let limits = fs::read_to_string(format!("/proc/{pid}/limits")).ok()?;
        let line = limits.lines().find(|line| line.starts_with("Max data"));
        line.map(str::to_owned)
    };
    let own = data(node);
    let mut at_work = children(node);
    at_work.retain(|pid| data(*pid).is_some_and(|its| Some(its) != own));
    at_work
}

fn kill(signal: &str, pid: u32) {
    // It may be gone already.
    let _ = Command::new("kill")
        .arg(signal)
        .arg(pid.to_string())
        .output();
}

/// Has a child of this node's end of a signal: a handler of the engine's may let one pass that is no fault of its guest's.
fn end(signal: &str, node: u32, child: u32) {
    until("it is gone", || {
        kill(signal, child);
        (!children(node).contains(&child)).then_some(())
    });
}

/// What the instances of a run came to, by label.
fn instances(document: &Value) -> BTreeMap<String, Value> {
    let list = document["instances"].as_array().unwrap().iter();
    list.map(|one| (one["label"].as_str().unwrap().to_owned(), one.clone()))
        .collect()
}

/// Guests that try what a confined process refuses, with what is compared of each.
const TRIES: [(&str, &str, &str); 14] = [
    ("hello", "hello", "args = [\"a\"]\n"),
    ("fails", "exit-code", "args = [\"3\"]\n"),
    ("panics", "panic", ""),
    ("recurses", "stack-bomb", ""),
    ("grows", "memory-hog", ""),
    (
        "big",
        "big-output",
        "args = [\"3000000\", \"500\"]\noutputs = [\"big.bin\", \"small/**\"]\n",
    ),
    (
        "floods",
        "stdout-flood",
        "args = [\"stdout\", \"3000000\"]\n",
    ),
    ("sockets", "handle-flood", "args = [\"sockets\"]\n"),
    (
        "files",
        "handle-flood",
        "args = [\"files\"]\nlimits = { fuel = \"2G\" }\n",
    ),
    ("connects", "net", "args = [\"127.0.0.1:9\"]\n"),
    ("same", "determinism", ""),
    ("portable", "determinism", "floats = \"portable\"\n"),
    (
        "copies",
        "copy",
        "inputs = [\"data/**\"]\nargs = [\"/in\", \"/out/copied\"]\noutputs = [\"copied/**\"]\n",
    ),
    ("reads", "echo-stdin", "stdin = \"data/big.bin\"\n"),
];

#[test]
fn a_guest_finds_the_same_apart_as_at_home() {
    let [there, here] = two("");
    let home = Machine::new("home", "");
    let mut tasks = String::new();
    for (name, guest, more) in TRIES {
        tasks.push_str(&task(name, guest, more));
        tasks.push_str("PLACE\n");
    }
    for (machine, place) in [(&here, THERE), (&home, "")] {
        let project = machine.project();
        for (_, guest, _) in TRIES {
            project.guest(guest);
        }
        project
            .write("data/small.txt", "small")
            .write("data/big.bin", vec![7u8; 300_000])
            .write("sykli.toml", pipeline(&tasks.replace("PLACE\n", place)));
    }
    let run = |machine: &Machine, args: &[&str]| -> BTreeMap<String, Value> {
        let ran = machine.run(args);
        let document = serde_json::from_str(&ran.stdout);
        instances(&document.unwrap_or_else(|error| panic!("{error}: {ran:?}")))
    };
    let apart = run(&here, &["run", "--mesh", "--json", "--keep-going"]);
    let at_home = run(&home, &["run", "--json", "--keep-going"]);
    assert_eq!(apart.len(), TRIES.len());
    for (label, apart) in &apart {
        let at_home = &at_home[label];
        assert_eq!(apart["node"]["name"], "there", "{apart:#}");
        for field in ["state", "fuel", "output", "digest"] {
            assert_eq!(
                apart[field], at_home[field],
                "{label}: {apart:#}\n{at_home:#}"
            );
        }
        let log = |machine: &Machine| machine.run(&["logs", label]).stdout;
        assert_eq!(log(&here), log(&home), "{label}");
    }
    drop(there);
}

/// It has a network of its own, with nothing in it.
fn is_alone(child: u32, node: u32) {
    let namespace = |pid: u32| fs::read_link(format!("/proc/{pid}/ns/net")).unwrap();
    assert_ne!(namespace(child), namespace(node));
    let devices = fs::read_to_string(format!("/proc/{child}/net/dev")).unwrap();
    let others = devices.lines().skip(2);
    let others = others.filter(|line| !line.trim().starts_with("lo:"));
    assert_eq!(others.count(), 0, "{devices}");
}

#[test]
fn a_child_has_given_up_what_a_guest_must_not_reach() {
    let [mut there, _here] = two("");
    let node = there.node().pid();
    let said = until("a child is ready", || {
        let status = there.json(&["node", "status", "--json"]);
        status["isolation"]
            .is_object()
            .then(|| status["isolation"].clone())
    });
    let child = until("a child", || children(node).first().copied());
    let proc = |file: &str| PathBuf::from(format!("/proc/{child}/{file}"));
    let status = until("it has given up what it can", || {
        let status = fs::read_to_string(proc("status")).ok()?;
        let filtered = status.contains("Seccomp:\t2");
        (filtered || said["system_calls"] == false).then_some(status)
    });
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split_whitespace().nth(1))
            .unwrap_or_default()
            .to_owned()
    };
    assert_eq!(fs::read(proc("environ")).unwrap(), b"", "no environment");
    assert_eq!(fs::read_link(proc("cwd")).unwrap(), PathBuf::from("/"));
    let command = fs::read_to_string(proc("cmdline")).unwrap();
    assert_eq!(command, "sykli-task\0--sykli-child\0sealed\0");
    let open = fs::read_dir(proc("fd")).unwrap().flatten();
    let open: Vec<String> = open
        .filter_map(|entry| {
            Some(
                fs::read_link(entry.path())
                    .ok()?
                    .to_string_lossy()
                    .into_owned(),
            )
        })
        .collect();
    for to in &open {
        let known = to.starts_with("socket:") || to == "/dev/null" || to.ends_with("/pagemap");
        assert!(known, "{open:?}");
    }
    assert_eq!(
        said["no_new_privileges"] == true,
        field("NoNewPrivs") == "1"
    );
    if said["system_calls"] == true {
        assert_eq!(
            field("CapEff").trim_matches('0'),
            "",
            "no capability is left: {status}"
        );
    }
    if said["no_network"] == true {
        is_alone(child, node);
    }
    let limits = fs::read_to_string(proc("limits")).unwrap();
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"))
        .unwrap();
    assert!(core.split_whitespace().nth(4) == Some("0"), "{core}");
}

#[test]
fn the_doctor_says_what_is_granted() {
    let machine = Machine::new("alone", "");
    let ran = machine.run(&["doctor", "--json"]);
    let document: Value = serde_json::from_str(&ran.stdout).unwrap();
    let checks = document["checks"].as_array().unwrap();
    let found = checks
        .iter()
        .find(|check| check["name"] == "isolation")
        .unwrap();
    let message = found["message"].as_str().unwrap();
    match found["state"].as_str().unwrap() {
        "ok" => assert!(message.contains("and all are closed"), "{found:#}"),
        "warning" => assert!(message.contains("does not grant"), "{found:#}"),
        _ => panic!("{found:#}"),
    }
}

#[test]
fn what_is_not_granted_is_said_and_is_too_little_where_everything_is_required() {
    // A user namespace in which no network namespace can be made.
    let poor = "echo 0 > /proc/sys/user/max_net_namespaces && exec \"$@\"";
    let poor = [
        "unshare",
        "--user",
        "--map-root-user",
        "sh",
        "-c",
        poor,
        "sh",
    ];
    let mut tried = Command::new(poor[0]);
    let tried = tried.args(&poor[1..]).arg("true").output();
    if !tried.as_ref().is_ok_and(|output| output.status.success()) {
        eprintln!("nothing is tested: no user namespace can be made here: {tried:?}");
        return;
    }
    let mut machine = Machine::new("poor", WILLING).inside(&poor);
    let document: Value = serde_json::from_str(&machine.run(&["doctor", "--json"]).stdout).unwrap();
    let checks = document["checks"].as_array().unwrap().iter();
    let found = checks.clone().find(|check| check["name"] == "isolation");
    let found = found.unwrap();
    assert_eq!(found["state"], "warning", "{found:#}");
    let why = "an empty network (network namespaces: ";
    assert!(
        found["message"].as_str().unwrap().contains(why),
        "{found:#}"
    );

    // As far as it goes is enough by default.
    let _ = machine.run(&["mesh", "create"]).expect(0);
    machine.start();
    let known = |status: &Value| status["isolation"].is_object();
    let status = machine.until(&["node", "status", "--json"], known);
    let isolation = &status["isolation"];
    assert_eq!(isolation["no_network"], false, "{status:#}");
    assert!(
        isolation["not_granted"]["no_network"].is_string(),
        "{status:#}"
    );
    let shown = machine.run(&["node", "status"]).expect(0).stdout;
    assert!(shown.contains(why), "{shown}");
    machine.kill();

    machine.configure(&format!("{WILLING}isolation = \"required\"\n"));
    let refused = machine.run(&["node", "start"]).expect(2).stderr;
    assert!(
        refused.contains("node::isolation") && refused.contains(why),
        "{refused}"
    );
    // Who takes nothing needs none of it.
    machine.configure(&format!("{UNWILLING}[consent]\nisolation = \"required\"\n"));
    machine.start();
}

/// A run of one task that a process of the executor's is at.
fn busy(there: &mut Machine, here: &Machine) -> Talker {
    let forever = "grants = { clock = true }\nlimits = { timeout = \"1h\" }\n";
    here.project().guest("sleep-forever").guest("hello").write(
        "sykli.toml",
        pipeline(&task("job", "sleep-forever", &format!("{forever}{THERE}"))),
    );
    let run = Talker::start(&mut here.sykli(&["run", "--mesh"]));
    there.node().said("accepted job");
    run
}

#[test]
fn a_child_that_dies_costs_its_task_and_nothing_else() {
    let [mut there, here] = two("grants = [\"clock\"]\n");
    let node = there.node().pid();
    for signal in ["-KILL", "-ABRT", "-SEGV"] {
        let mut run = busy(&mut there, &here);
        let child = until("a process is at it", || at_work(node).pop());
        end(signal, node, child);
        there.node().said("no result: HostFault");
        // Asked to, it takes back what it may have offered again.
        run.signal(2);
        run.ended();
        let after = task("after", "hello", &format!("args = [\"{signal}\"]\n{THERE}"));
        here.project().write("after.toml", pipeline(&after));
        let after = here.json(&["run", "--mesh", "--json", "after.toml"]);
        let ran = &instances(&after)["after"];
        assert_eq!(ran["node"]["name"], "there", "{after:#}");
        assert_eq!(there.node().pid(), node);
    }
}

#[test]
fn a_task_that_kills_the_processes_of_three_nodes_goes_to_no_fourth() {
    let settings = format!("{WILLING}grants = [\"clock\"]\n[node]\nlabels = [\"there\"]\n");
    let owner = format!("{UNWILLING}[consent]\ngrants = [\"clock\"]\n");
    let willing = |name| Machine::new(name, &settings);
    let mut machines = mesh([
        willing("one"),
        willing("two"),
        willing("three"),
        willing("four"),
        Machine::new("here", &owner),
    ]);
    let (here, others) = machines.split_last_mut().unwrap();
    here.start().said("one is there");
    for other in &mut others[1..] {
        other.start().said("here is there");
    }
    let nodes: Vec<u32> = others.iter_mut().map(|other| other.node().pid()).collect();
    let forever = "grants = { clock = true }\nlimits = { timeout = \"1h\" }\n";
    let job = task("job", "sleep-forever", &format!("{forever}{THERE}"));
    here.project()
        .guest("sleep-forever")
        .write("sykli.toml", pipeline(&job));
    let mut run = Talker::start(&mut here.sykli(&["run", "--mesh", "--format", "ndjson"]));
    let mut seen = BTreeSet::new();
    for _ in 0..3 {
        let (node, child) = until("a process is at it", || {
            let found = |node: &u32| Some((*node, at_work(*node).pop()?));
            nodes.iter().find_map(found)
        });
        end("-ABRT", node, child);
        seen.insert(node);
    }
    assert_eq!(run.ended().code(), Some(1));
    let told: Vec<Value> = run
        .lines()
        .iter()
        .flat_map(|line| serde_json::from_str(line))
        .collect();
    let settled = told
        .iter()
        .find(|event| event["event"] == "task_settled")
        .unwrap();
    assert_eq!(
        (&settled["state"], &settled["attempts"]),
        (&json!("failed"), &json!(3)),
        "{settled:#}"
    );
    let died = told.iter().filter(|event| {
        let message = event["message"].as_str().unwrap_or_default();
        message.contains("its sandbox died under the task")
    });
    assert_eq!(died.count(), 3, "{told:#?}");
    assert_eq!(seen.len(), 3, "each loses it once");
    for (other, pid) in others.iter_mut().zip(nodes) {
        assert_eq!(other.json(&["node", "status", "--json"])["pid"], pid);
    }
}

#[test]
fn a_child_ends_with_its_node() {
    let [mut there, here] = two("grants = [\"clock\"]\n");
    let node = there.node().pid();
    let _run = busy(&mut there, &here);
    let started = until("children", || {
        Some(children(node)).filter(|all| !all.is_empty())
    });
    there.kill();
    until("they are gone", || {
        let gone = |pid: &u32| {
            !fs::read(format!("/proc/{pid}/cmdline"))
                .is_ok_and(|line| line.starts_with(b"sykli-task\0"))
        };
        started.iter().all(gone).then_some(())
    });
}

#[test]
fn a_child_that_nobody_talks_to_ends() {
    let child = Command::new(sykli())
        .args(["--sykli-child", "sealed"])
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    assert!(
        !child.status.success() && child.status.signal().is_none(),
        "{child:?}"
    );
    assert_eq!((child.stdout, child.stderr), (Vec::new(), Vec::new()));
}
