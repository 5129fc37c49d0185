//! One run whose tasks go to another node, step by step: for tests that break it off at each step and look at what comes
//! of it. A step is a line of a node's log (`meshnode/trail.rs`), at which its process is held (`halt.rs`). Called by tests
//! alone.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

use crate::Project;
use crate::halt::Halting;
use crate::mesh::Machine;

/// Tasks that go to the executor, one after the other.
const AWAY: [&str; 2] = ["first", "second"];
/// Steps of work that take seconds: long enough that a guest is still at it when a node next speaks of it.
const LONG: u32 = 80;

/// Whose step it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The node whose run it is.
    Owner,
    /// The node that runs its tasks.
    Executor,
}

/// A step of a task's way to another node and back, at the node that takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Who takes it.
    pub by: Role,
    /// The line of its log.
    pub line: &'static str,
    /// Whether it comes only while a guest runs for long.
    pub long: bool,
}

const fn step(by: Role, line: &'static str) -> Step {
    let long = false;
    Step { by, line, long }
}

const fn late(by: Role, line: &'static str) -> Step {
    let long = true;
    Step { by, line, long }
}

/// All steps, in the order in which they come. What moves is small in every other version, and goes in messages then, so
/// what both ways have in common is there twice.
pub const STEPS: [Step; 21] = [
    late(Role::Executor, "said idle"),
    late(Role::Owner, "heard idle"),
    step(Role::Owner, "said offer"),
    step(Role::Executor, "heard offer"),
    step(Role::Executor, "said accept"),
    step(Role::Owner, "heard accept"),
    step(Role::Owner, "said bundle"),
    step(Role::Executor, "heard bundle"),
    step(Role::Executor, "took bundle"),
    step(Role::Executor, "took bundle"),
    step(Role::Executor, "said started"),
    step(Role::Owner, "heard started"),
    late(Role::Executor, "said progress"),
    late(Role::Owner, "heard progress"),
    step(Role::Executor, "ran guest"),
    step(Role::Executor, "said completed"),
    step(Role::Owner, "heard completed"),
    step(Role::Owner, "took outputs"),
    step(Role::Owner, "took outputs"),
    step(Role::Owner, "said acked"),
    step(Role::Executor, "heard acked"),
];

/// Where a node is.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// Its address.
    pub ip: &'a str,
    /// Its port; 0 for one that the system chooses.
    pub port: u16,
}

impl Place<'_> {
    /// Anywhere on this machine.
    pub const HERE: Place<'static> = Place {
        ip: "127.0.0.1",
        port: 0,
    };

    /// The addresses there.
    #[must_use]
    pub fn addresses(self) -> [String; 2] {
        let Place { ip, port } = self;
        [
            format!("/ip4/{ip}/udp/{port}/quic-v1"),
            format!("/ip4/{ip}/tcp/{port}"),
        ]
    }
}

/// Settings of a node. Leases outlast what is done to them here, for so long as `grace`, and an answer is waited for.
fn settings(place: Place<'_>, grace: &str) -> String {
    format!(
        r#"
[mesh]
listen = {:?}
mdns = false
[node]
absence_grace = "{grace}"
tick = "4s"
[consent]
consent_timeout_ms = 60_000
"#,
        place.addresses()
    )
}

/// An owner of such runs, with the project in it. It waits for so long as `grace` for a node that is away.
#[must_use]
pub fn owner(place: Place<'_>, grace: &str) -> Machine {
    let machine = Machine::new("owner", &settings(place, grace));
    furnish(machine.project());
    machine
}

/// A node that runs their tasks, one at a time.
#[must_use]
pub fn executor(name: &str, place: Place<'_>) -> Machine {
    let machine = Machine::new(name, "");
    know(&machine, place, &[]);
    machine
}

/// Tells such a node where others are.
pub fn know(executor: &Machine, place: Place<'_>, known: &[String]) {
    let settings = settings(place, GRACE)
        .replace("[mesh]", &format!("[mesh]\nknown = {known:?}"))
        .replace("[node]", "[node]\nlabels = [\"far\"]");
    executor.configure(&format!(
        "{settings}mode = \"policy\"\nmax_concurrent = 1\n"
    ));
}

/// Longer than anything that is done here to a connection.
pub const GRACE: &str = "5m";

fn furnish(project: &Project) {
    project.guest("busy").guest("copy");
}

/// A command with the log that has the steps in it.
#[must_use]
pub fn logged(mut command: Command) -> Command {
    let log = "sykli_node::meshnode::trail=trace,sykli_node::mesh=info";
    command.env("SYKLI_LOG", log);
    command
}

/// Sets the project to texts that no run had before. Only the executors have what the work asks for; the sum stays.
pub fn set_version(project: &Project, version: usize, long: bool) {
    let mut pipeline = "schema = \"sykli-wasm/1\"\n".to_owned();
    for name in AWAY {
        project.write(&format!("texts/{name}.txt"), content(version, name));
        let steps = if long { LONG } else { 0 };
        pipeline += &format!(
            r#"
[task.{name}]
component = "busy.wasm"
inputs = ["texts/{name}.txt"]
args = ["{steps}", "/in/texts/{name}.txt", "/out/made/{name}.txt"]
outputs = ["made/{name}.txt"]
place = {{ labels = ["far"] }}
"#
        );
    }
    pipeline += r#"
[task.sum]
component = "copy.wasm"
after = ["first", "second"]
args = ["/in/first/made", "/out/sum", "/in/second/made", "/out/sum"]
outputs = ["sum/*"]
place = { mesh = false }
"#;
    project.write("sykli.toml", pipeline);
}

/// Much, which is little once it is compressed; or, in every other version, more than goes in messages.
fn content(version: usize, name: &str) -> String {
    let line = format!("{name} text of version {version}\n");
    if version % 2 == 1 {
        return line.repeat(10_000);
    }
    // Digits as they come, the same for the same text.
    let mut state = line
        .bytes()
        .fold(7_u64, |sum, byte| sum.wrapping_mul(31) ^ u64::from(byte));
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        format!("{:08x}", state >> 32)
    };
    (0..25_000).map(|_| next()).collect()
}

/// What a run told, line by line.
#[derive(Debug, Default)]
pub struct Told {
    events: Vec<Value>,
}

impl Told {
    /// Reads it. The last line may be torn.
    #[must_use]
    pub fn of(lines: &[String]) -> Told {
        let events = lines
            .iter()
            .map_while(|line| serde_json::from_str(line).ok());
        Told {
            events: events.collect(),
        }
    }

    fn of_kind(&self, kind: &str) -> impl Iterator<Item = &Value> {
        self.events
            .iter()
            .filter(move |event| event["event"] == kind)
    }

    /// How each instance ended, by its label.
    ///
    /// # Panics
    /// Where one is settled twice.
    #[must_use]
    pub fn settled(&self) -> BTreeMap<String, &Value> {
        let mut settled = BTreeMap::new();
        for event in self.of_kind("task_settled") {
            let label = event["label"].as_str().expect("it has a label");
            let before = settled.insert(label.to_owned(), event);
            assert!(before.is_none(), "{label} is settled twice");
        }
        settled
    }

    /// It went well: every instance is settled, what had been told before as it was then, and each output is right.
    ///
    /// # Panics
    /// Where it did not.
    #[track_caller]
    pub fn check(&self, project: &Project, version: usize, before: &Told) {
        let settled = self.settled();
        let end = self.events.last().unwrap_or(&Value::Null);
        assert_eq!(end["event"], "finished", "{:#?}", self.events);
        assert_eq!(end["status"], "passed", "{:#?}", self.events);
        assert_eq!(settled.len(), AWAY.len() + 1, "{settled:#?}");
        for (label, event) in before.settled() {
            assert_eq!(event["state"], "passed", "{label}");
            let now = settled[&label];
            assert_eq!(now["state"], "cached", "{label} had been told");
            assert_eq!(now["output"], event["output"], "{label}");
        }
        for name in AWAY {
            for folder in ["made", "sum"] {
                let path = format!("{folder}/{name}.txt");
                let is = project.read_text(&path);
                assert!(is == content(version, name), "{path}: {} bytes", is.len());
            }
        }
    }

    /// How many instances this node has run, as far as is told.
    #[must_use]
    pub fn ran_on(&self, name: &str) -> usize {
        let settled = self.settled();
        let there = settled
            .values()
            .filter(|event| event["state"] == "passed" && event["node"]["name"] == name);
        there.count()
    }

    /// Digests of the outputs, by label.
    #[must_use]
    pub fn outputs(&self) -> BTreeMap<String, Value> {
        let settled = self.settled().into_iter();
        settled
            .map(|(label, event)| (label, event["output"].clone()))
            .collect()
    }
}

/// What the outputs of a version are by a run alone.
#[must_use]
#[track_caller]
pub fn solo(version: usize) -> BTreeMap<String, Value> {
    let project = Project::new();
    furnish(&project);
    set_version(&project, version, false);
    let ran = project.run(&["run", "--format", "ndjson"]).expect(0);
    let lines: Vec<String> = ran.stdout.lines().map(str::to_owned).collect();
    Told::of(&lines).outputs()
}

/// The lease that a line of the log is about.
fn key(line: &str) -> Option<&str> {
    line.split("key=").nth(1)?.split_whitespace().next()
}

/// How often the guest of each instance ended, by run and instance: what was run to its end.
#[must_use]
pub fn ends(log: &[String]) -> BTreeMap<String, usize> {
    let mut ends = BTreeMap::new();
    for line in log.iter().filter(|line| line.contains("ran guest")) {
        let task = key(line).and_then(|key| key.split('#').next());
        *ends.entry(task.unwrap_or(line).to_owned()).or_default() += 1;
    }
    ends
}

/// The leases that lines with one of these words are about.
fn leases(log: &[String], words: &[&str]) -> BTreeSet<String> {
    let lines = log.iter();
    let about = lines.filter(|line| words.iter().any(|word| line.contains(word)));
    about
        .filter_map(|line| key(line))
        .map(str::to_owned)
        .collect()
}

/// Instances whose guest ended, and of which nothing was told after that: perhaps nothing was kept either.
#[must_use]
pub fn untold(log: &[String]) -> BTreeSet<String> {
    let told = leases(log, &["said completed"]);
    let untold = leases(log, &["ran guest"]).into_iter();
    let untold = untold.filter(|key| !told.contains(key));
    untold
        .filter_map(|key| key.split('#').next().map(str::to_owned))
        .collect()
}

/// Leases whose result was told, and of which the owner did not say what became of it.
#[must_use]
pub fn undelivered(log: &[String]) -> BTreeSet<String> {
    let answered = leases(log, &["heard acked", "heard settled"]);
    let told = leases(log, &["said completed"]);
    told.difference(&answered).cloned().collect()
}

/// The node of an executor, held at a line of its log.
#[track_caller]
#[must_use]
pub fn start_node(machine: &Machine, at: Option<&str>) -> Halting {
    let node = Halting::start(logged(machine.sykli(&["node", "start"])), at);
    node.said("consent:");
    node
}

/// A run that reaches others, held at a line of its log.
#[track_caller]
#[must_use]
pub fn start_run(machine: &Machine, more: &[&str], at: Option<&str>) -> Halting {
    let mut args = vec!["run", "--mesh", "--steal", "--format", "ndjson"];
    args.extend(more);
    Halting::start(logged(machine.sykli(&args)), at)
}
