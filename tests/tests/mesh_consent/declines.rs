//! Each reason that keeps a task from a node, provoked by what its user can set, do or be, and told to the task's owner.
//!
//! Not provoked, for no two honest nodes of one build on one machine come to it; core has a trace of each
//! (`core/src/machine/tests/declines.rs`, `core/src/policy/tests`):
//!
//! - `unknown-import`, `engine-mismatch`: both ends are the same program.
//! - `not-trusted`: members trust each other, and who is no member is not let in; no setting lets strangers in.
//! - `consent-never`: a node that takes nothing says so beforehand, and is offered nothing (`no-room`).
//! - `cooling-down`: it follows a decline that was told, and is not told itself.
//! - `moved-too-often`: only after two lost leases or three moves, with the pauses between them.
//! - `disk-full`: the owner's own disk; `node/src/ledger/tests` has that.
//!
//! At the executor, a label that it lacks and less memory than a task takes: its owner knows that before it offers.

use std::fs;
use std::process::Command;

use serde_json::Value;
use sykli_tests::mesh::{Machine, UNWILLING, mesh};
use tempfile::TempDir;

use super::watched::{Watched, meets, pipeline, settings};

/// Holds a process still.
const SIGSTOP: i32 = 19;

const THERE: &str = "labels = [\"there\"]";
/// What a node said when it began stays said for minutes: what has changed meanwhile comes out by the offer.
const SLOW: &str = "labels = [\"there\"]\ntick = \"40h\"\nslots = 1";

fn willing(name: &str, node: &str, consent: &str) -> Machine {
    let consent = format!("mode = \"policy\"\n{consent}");
    Machine::new(name, &settings(node, &consent))
}

/// A task that does nothing, with these lines in its table.
fn task(name: &str, lines: &str) -> String {
    format!("[task.{name}]\ncomponent = \"noop.wasm\"\n{lines}\n")
}

/// Takes a machine's only slot for a task of its own that never ends.
#[track_caller]
fn occupy(machine: &Machine) -> Watched {
    let task = "[task.hog]\ncomponent = \"sleep-forever.wasm\"\nlimits = { timeout = \"10m\" }\n";
    machine
        .project()
        .guest("sleep-forever")
        .write("hog.toml", pipeline(task));
    let mut hog = Watched::run(machine, "hog.toml", &["--mesh"]);
    hog.until(|event| event["event"] == "task_started");
    hog
}

/// What the owner is told when it asks why nobody has taken a task: the nodes and their reasons, each once.
#[track_caller]
fn is_told(owner: &Machine, run: &Watched, label: &str, expected: &[(&str, &str)]) {
    let name = run.name();
    let reasons = |document: &Value| -> Vec<(String, String)> {
        let steps = document["instances"][0]["steps"].as_array().unwrap().iter();
        let steps = steps.filter(|step| step["reason"].is_string());
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        steps
            .map(|step| (text(&step["node"]["name"]), text(&step["reason"])))
            .collect()
    };
    let has = |reasons: &[(String, String)], (node, reason): &(&str, &str)| {
        let same = |one: &&(String, String)| one.0 == *node && one.1 == *reason;
        reasons.iter().filter(same).count()
    };
    let explain = ["explain", label, &name, "--json"];
    // A journal is written beside the run.
    let told = owner.until(&explain, |document| {
        let reasons = reasons(document);
        expected.iter().all(|one| has(&reasons, one) > 0)
    });
    assert_eq!(told["instances"][0]["standing"], "waiting", "{told}");
    let text = owner.run(&["explain", label, &name]).expect(0).stdout;
    for (node, _) in expected {
        assert!(text.contains(node), "{node}: {text}");
    }
    // What keeps it from a node is found again at each look, and told when it is something else.
    let steps = told["instances"][0]["steps"].as_array().unwrap().iter();
    let kept: Vec<&Value> = steps.filter(|step| step["step"] == "not_offered").collect();
    for (at, step) in kept.iter().enumerate() {
        // The hints have the exact numbers.
        let said = |step: &Value| (step["message"].to_string(), step["hints"].to_string());
        let same = |other: &&Value| said(other) == said(step);
        assert!(!kept[at + 1..].iter().any(same), "{told}");
    }
}

#[test]
fn an_executors_policy_declines_with_its_reason() {
    let machines = [
        Machine::new("olga", UNWILLING),
        willing("labels", THERE, "require_labels = [\"gpu\"]"),
        willing("memory", THERE, "min_memory_gb = 1000000"),
        willing("artifacts", THERE, "max_artifact_mb = 0"),
        willing("plain", "", ""),
        willing("tiny", "labels = [\"there\"]\nmemory = \"16MB\"", ""),
        willing("grants", "labels = [\"strict\"]", ""),
        willing("gives", "labels = [\"lax\"]", "grants = [\"clock\"]"),
    ];
    let mut machines = mesh(machines);
    let (olga, others) = machines.split_first_mut().unwrap();
    for machine in others.iter_mut() {
        machine.start();
    }
    let names: Vec<&str> = others.iter().map(|machine| machine.name()).collect();
    meets(olga.node(), &names);
    let timed = "grants = { clock = true }";
    let tasks = [
        task("job", "place = { labels = [\"there\"] }"),
        task(
            "timed",
            &format!("{timed}\nplace = {{ labels = [\"strict\"] }}"),
        ),
        task(
            "given",
            &format!("{timed}\nplace = {{ labels = [\"lax\"] }}"),
        ),
    ];
    olga.project()
        .guest("noop")
        .write("sykli.toml", pipeline(&tasks.concat()));

    let mut run = Watched::run(olga, "sykli.toml", &["--mesh"]);
    run.steps(&[
        ("job", "labels", "declined", Some("label-not-asked")),
        ("job", "memory", "declined", Some("memory-below")),
        ("job", "artifacts", "declined", Some("artifact-over-cap")),
        ("job", "plain", "not_offered", Some("label-missing")),
        ("job", "tiny", "not_offered", Some("memory-below")),
        ("timed", "grants", "declined", Some("grant-refused")),
        ("given", "gives", "ran", None),
    ]);
    let expected = [
        ("labels", "label-not-asked"),
        ("memory", "memory-below"),
        ("artifacts", "artifact-over-cap"),
        ("plain", "label-missing"),
        ("tiny", "memory-below"),
    ];
    is_told(olga, &run, "job", &expected);
    for machine in others.iter_mut() {
        let name = machine.name().to_owned();
        let decliner = ["labels", "memory", "artifacts", "grants"].contains(&name.as_str());
        if decliner {
            machine.node().said("declined ");
        }
        let status = machine.json(&["node", "status", "--json"]);
        let accepted = u64::from(name == "gives");
        assert_eq!(status["counters"]["accepted"], accepted, "{name}: {status}");
    }
}

#[test]
fn an_owners_floors_keep_its_tasks_from_nodes_below_them() {
    let floors = "require_labels = [\"certified\"]\nmin_memory_gb = 1\nmax_artifact_mb = 1";
    let certified = "labels = [\"there\", \"certified\"]";
    let machines = [
        Machine::new("olga", &settings("", floors)),
        willing("plain", THERE, ""),
        willing("small", &format!("{certified}\nmemory = \"900MB\""), ""),
        willing("good", certified, ""),
    ];
    let mut machines = mesh(machines);
    let (olga, others) = machines.split_first_mut().unwrap();
    for machine in others.iter_mut() {
        machine.start();
    }
    meets(olga.node(), &["plain", "small", "good"]);
    let here = "limits = { memory = \"64MB\" }\nplace = { labels = [\"there\"] }";
    let tasks = [
        task("light", here),
        task("heavy", &format!("inputs = [\"noise\"]\n{here}")),
    ];
    olga.project()
        .guest("noop")
        .write("noise", super::caps::noise(1_100_000))
        .write("sykli.toml", pipeline(&tasks.concat()));

    let mut run = Watched::run(olga, "sykli.toml", &["--mesh"]);
    run.steps(&[
        ("light", "good", "ran", None),
        ("heavy", "plain", "not_offered", Some("label-missing")),
        ("heavy", "small", "not_offered", Some("memory-below")),
        ("heavy", "good", "not_offered", Some("artifact-over-cap")),
    ]);
    let refused = [
        ("plain", "label-missing"),
        ("small", "memory-below"),
        ("good", "artifact-over-cap"),
    ];
    is_told(olga, &run, "heavy", &refused);
}

/// A machine whose `/sys/class` is another one: on a battery, or behind a modem. Nothing where this user may not make a
/// mount namespace, or there is no way out of this machine.
struct Elsewhere {
    folder: TempDir,
    unshare: &'static [&'static str],
}

impl Elsewhere {
    fn new() -> Option<Elsewhere> {
        let ways: [&[&str]; 2] = [
            &["unshare", "--mount"],
            &["unshare", "--map-root-user", "--mount"],
        ];
        let elsewhere = |unshare| Elsewhere {
            folder: tempfile::tempdir().unwrap(),
            unshare,
        };
        ways.into_iter().map(elsewhere).find(|way| {
            let wrapper = way.wrapper("none");
            let (first, rest) = wrapper.split_first().unwrap();
            let tried = Command::new(first).args(rest).arg("true").output();
            tried.is_ok_and(|tried| tried.status.success())
        })
    }

    /// What a command is put behind to find that `/sys/class`.
    fn wrapper(&self, name: &str) -> Vec<String> {
        let class = self.folder.path().join(name);
        fs::create_dir_all(&class).unwrap();
        let mount = format!(
            "mount --bind {} /sys/class && exec \"$0\" \"$@\"",
            class.display()
        );
        let words = self.unshare.iter().map(|word| (*word).to_owned());
        words
            .chain(["sh", "-c"].map(str::to_owned))
            .chain([mount])
            .collect()
    }

    fn machine(&self, name: &str, files: &[(&str, &str)]) -> Machine {
        for (path, content) in files {
            let path = self.folder.path().join(name).join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        let wrapper = self.wrapper(name);
        let words: Vec<&str> = wrapper.iter().map(String::as_str).collect();
        willing(name, THERE, "").inside(&words)
    }

    fn on_battery(&self) -> Machine {
        let files = [
            ("power_supply/BAT0/type", "Battery\n"),
            ("power_supply/BAT0/status", "Discharging\n"),
        ];
        self.machine("battery", &files)
    }

    fn metered(&self) -> Option<Machine> {
        let interface = default_interface()?;
        let card = format!("net/{interface}/uevent");
        Some(self.machine("metered", &[(&card, "DEVTYPE=wwan\n")]))
    }
}

/// The interface that leads out of this machine.
fn default_interface() -> Option<String> {
    let routes = fs::read_to_string("/proc/net/route").ok()?;
    let mut routes = routes
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    let default = routes.find(|route| route.get(1) == Some(&"00000000"))?;
    Some(default[0].to_owned())
}

/// The owner and machines that are each hindered in another way, or will be; and what hinders them while it is there.
fn hindered() -> (Vec<Machine>, (fs::File, Option<Elsewhere>)) {
    let machines = [
        Machine::new("olga", &settings("profile = \"wan\"", "")),
        willing("full", SLOW, ""),
        willing("paused", SLOW, ""),
        willing("draining", SLOW, ""),
        willing("used", THERE, "when = { idle_for = \"1h\" }"),
        willing("off", "labels = [\"there\"]\nstealing = \"disabled\"", ""),
        Machine::new("never", &settings(THERE, "")),
        willing("roomy", "labels = [\"roomy\"]\nslots = 2", ""),
        willing("mute", "labels = [\"mute\"]\nprofile = \"wan\"", ""),
    ];
    // A terminal that somebody has just used.
    let terminal = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/ptmx");
    let mut machines = Vec::from(mesh(machines));
    let elsewhere = Elsewhere::new();
    let battery = elsewhere.as_ref().map(Elsewhere::on_battery);
    let metered = elsewhere.as_ref().and_then(Elsewhere::metered);
    for (machine, name) in [(battery, "battery"), (metered, "metered")] {
        match machine {
            Some(machine) => {
                machines[0].admit(&machine);
                machines.push(machine);
            }
            None => eprintln!("no machine can be made here that is like this: {name}"),
        }
    }
    (machines, (terminal.unwrap(), elsewhere))
}

/// Hinders those that are not yet. What keeps two of them busy goes on as long as it is held.
#[track_caller]
fn hinder(machines: &mut [Machine]) -> [Watched; 2] {
    let [full, paused, draining, ..] = machines else {
        panic!("they are there");
    };
    let hogs = [occupy(full), occupy(draining)];
    let status = ["node", "status", "--json"];
    let _ = paused.run(&["node", "pause"]).expect(0);
    paused.until(&status, |status| status["paused"] == true);
    let _ = draining.run(&["node", "drain"]).expect(0);
    draining.until(&status, |status| status["draining"] == true);
    let mut machines = machines.iter_mut();
    let mute = machines.find(|one| one.name() == "mute").unwrap();
    mute.node().signal(SIGSTOP);
    hogs
}

#[test]
fn a_machine_that_is_not_free_declines_with_its_reason() {
    let (mut machines, _while_it_is_there) = hindered();
    let (olga, others) = machines.split_first_mut().unwrap();
    for machine in others.iter_mut() {
        machine.start();
    }
    let names: Vec<String> = others.iter().map(|one| one.name().to_owned()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    meets(olga.node(), &names);
    let _hogs = hinder(others);
    let forever = "component = \"sleep-forever.wasm\"\nforeach = { shards = 2 }\nplace = { labels = [\"roomy\"] }\n";
    let tasks = [
        task("job", "place = { labels = [\"there\"] }"),
        task("mute", "place = { labels = [\"mute\"] }"),
        format!("[task.two]\n{forever}"),
    ];
    olga.project()
        .guest("noop")
        .guest("sleep-forever")
        .write("sykli.toml", pipeline(&tasks.concat()));
    let mut run = Watched::run(olga, "sykli.toml", &["--mesh"]);
    run.steps(&[("mute", "mute", "declined", Some("no-answer"))]);
    let mut expected = vec![
        ("full", "max-concurrent"),
        ("paused", "paused"),
        ("draining", "draining"),
        ("used", "user-input-active"),
        ("never", "no-room"),
        ("off", "stealing-disabled"),
    ];
    for (name, reason) in [("battery", "on-battery"), ("metered", "metered")] {
        if names.contains(&name) {
            expected.push((name, reason));
        }
    }
    for (node, reason) in &expected {
        let step = match *node {
            "never" | "off" => "not_offered",
            _ => "declined",
        };
        run.steps(&[("job", node, step, Some(reason))]);
    }
    is_told(olga, &run, "job", &expected);
    // It holds one of them, and has not shown yet that it keeps its word.
    let held = |event: &Value| event["reason"] == "lease-cap" && event["node"]["name"] == "roomy";
    run.until_seen(held);
    let shown = olga.run(&["task", "two", &run.name()]).expect(0).stdout;
    for part in [
        "Status: Running",
        "Executor: roomy (127.0.0.1)",
        "Stolen: no",
        "Status: Waiting",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
}

#[test]
fn what_a_task_says_of_itself_keeps_it_here() {
    let machines = [
        Machine::new("olga", &settings("slots = 1", "")),
        Machine::new("nora", &settings("stealing = \"receive-only\"", "")),
        willing("ben", THERE, ""),
    ];
    let [mut olga, mut nora, mut ben] = mesh(machines);
    ben.start();
    nora.start();
    meets(olga.node(), &["ben", "nora"]);
    meets(nora.node(), &["ben"]);
    let _hog = occupy(&olga);
    let tasks = [
        task("secret", "grants = { env = [\"TOKEN\"] }"),
        task("stays", "place = { mesh = false }"),
    ];
    olga.project()
        .guest("noop")
        .write("sykli.toml", pipeline(&tasks.concat()))
        .write("noise", super::caps::noise(40_000_000))
        .write("far.toml", pipeline(&task("far", "inputs = [\"noise\"]")));
    let mut run = Watched::run(&olga, "sykli.toml", &["--mesh"]);
    run.steps(&[
        ("secret", "ben", "not_offered", Some("secrets-stay")),
        ("stays", "ben", "not_offered", Some("stays-here")),
    ]);
    // A second or so is what an unknown task is taken to last; to move this one takes two.
    let mut run = Watched::run(&olga, "far.toml", &["--mesh"]);
    run.steps(&[("far", "ben", "not_offered", Some("not-worth-it"))]);

    let task = task("job", "place = { labels = [\"there\"] }");
    nora.project()
        .guest("noop")
        .write("sykli.toml", pipeline(&task));
    let mut run = Watched::run(&nora, "sykli.toml", &["--mesh"]);
    run.steps(&[("job", "ben", "not_offered", Some("stealing-disabled"))]);
    let status = ben.json(&["node", "status", "--json"]);
    assert_eq!(status["counters"]["accepted"], 0, "{status}");
}
