//! The word count of the examples over a link of each profile, between real nodes in network namespaces of their own:
//! it comes to what it comes to without a mesh, and the report says what ran where, and why.
//!
//! ```text
//!   lan      there and back in 1 ms                                   runs elsewhere
//!   wan      80 ms, 0.5% lost                                         runs elsewhere
//!   mobile   300 ± 200 ms, 5% lost, 10 s of every 20 s without it     stays here, until its user opens it
//!   hostile  2 s, 30% lost each way                                   takes what is small, gives nothing
//! ```
//!
//! All of them at once, since they wait more than they work. Delay and loss are those of `sykli_tests::link`. Where the
//! kernel or the user's rights allow no network namespaces or no TUN devices, nothing is tested, and that is said.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use sykli_tests::link::{self, Link, Quality};
use sykli_tests::mesh::{Machine, mesh};
use sykli_tests::{Project, component, root, sykli};

const TEXTS: usize = 5;
/// Texts beside those of the example, where all is to stay at home: so many that most wait, while others have time.
const MORE: usize = 40;
const MORE_TASK: &str = r#"
[task.more]
component = "map.wasm"
foreach = { glob = "more/*.txt" }
args = ["{item}"]
outputs = ["counts/{item}.json"]
export = false
"#;
/// A run that takes longer than this hangs: no measure of speed.
const LIMIT: &str = "10m";
/// The same for what is waited for on a link: a handshake that got lost is tried again after a minute.
const PATIENCE: Duration = Duration::from_secs(600);

const LAN: Quality = Quality {
    round_trip: Duration::from_millis(1),
    jitter: Duration::ZERO,
    lost_per_mille: 0,
    gaps: None,
};
const WAN: Quality = Quality {
    round_trip: Duration::from_millis(80),
    lost_per_mille: 5,
    ..LAN
};
const MOBILE: Quality = Quality {
    round_trip: Duration::from_millis(300),
    jitter: Duration::from_millis(100),
    lost_per_mille: 50,
    gaps: Some((Duration::from_secs(20), Duration::from_secs(10))),
};
const HOSTILE: Quality = Quality {
    round_trip: Duration::from_secs(2),
    lost_per_mille: 300,
    ..LAN
};

/// The example's pipeline, of components instead of crates; `away`: texts are counted by whoever has the label `crew`.
fn pipeline(away: bool) -> String {
    let example = root().join("examples/wordcount/sykli.toml");
    let mut text = std::fs::read_to_string(example).unwrap();
    let mut replace = |from: &str, to: &str| {
        assert!(text.contains(from), "{text}");
        text = text.replace(from, to);
    };
    for task in ["map", "reduce"] {
        let component = format!("component = \"{task}.wasm\"");
        replace(&format!("crate   = \"tasks/{task}\""), &component);
    }
    if away {
        let outputs = "outputs = [\"counts/{item}.json\"]";
        let place = "place = { labels = [\"crew\"] }";
        replace(outputs, &format!("{outputs}\n{place}"));
    } else {
        text.push_str(MORE_TASK);
    }
    text
}

/// The example with that pipeline.
fn wordcount(away: bool) -> Project {
    let project = Project::new();
    for task in ["map", "reduce"] {
        let component = component("examples", &format!("wordcount-{task}"));
        let bytes = std::fs::read(component).unwrap();
        project.write(&format!("{task}.wasm"), bytes);
    }
    project.write("sykli.toml", pipeline(away));
    for number in 0..MORE {
        project.write(&format!("more/{number}.txt"), format!("text {number}"));
    }
    for (name, text) in texts() {
        project.write(&name, text);
    }
    project
}

/// The example's texts by their paths.
fn texts() -> Vec<(String, String)> {
    let example = root().join("examples/wordcount");
    let mut texts = Vec::new();
    read(&example, &example.join("texts"), &mut texts);
    assert_eq!(texts.len(), TEXTS);
    texts
}

fn read(example: &Path, folder: &Path, texts: &mut Vec<(String, String)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read(example, &path, texts);
        } else {
            let name = path.strip_prefix(example).unwrap().to_str().unwrap();
            texts.push((name.to_owned(), std::fs::read_to_string(&path).unwrap()));
        }
    }
}

/// Settings of a node that takes others' tasks; it listens at an address, or is hidden.
fn settings(profile: &str, listen: Option<&str>, node: &str) -> String {
    let listen = listen.map_or_else(String::new, |at| {
        format!(
            "[mesh]\nlisten = [\"/ip4/{at}/udp/0/quic-v1\", \"/ip4/{at}/tcp/0\"]\nmdns = false\n"
        )
    });
    format!("[node]\nprofile = \"{profile}\"\n{node}\n[consent]\nmode = \"policy\"\n{listen}")
}

const CREW: &str = "labels = [\"crew\"]";
/// Of a user who knows that offers get lost on their way, and arrive when they are said again.
const PATIENT: &str = "[consent]\nconsent_timeout_ms = 30000\n";

/// Settings with these of `[consent]` besides.
fn with(settings: &str, consent: &str) -> String {
    assert!(settings.contains("[consent]\n"), "{settings}");
    settings.replace("[consent]\n", consent)
}

/// Two machines of one mesh at the ends of a link; both nodes run and have met.
struct Pair {
    /// Listens.
    base: Machine,
    other: Machine,
    link: Link,
    /// How often they have met.
    met: usize,
}

impl Pair {
    /// Each of the two has a name, settings, and texts that are to be counted elsewhere or not.
    fn new(quality: Quality, [base, other]: [(&str, String, bool); 2]) -> Pair {
        let link = Link::new(LAN, 7).unwrap();
        let mut ends = link.ends().iter();
        let machines = [base, other].map(|(name, settings, away)| {
            let end = ends.next().unwrap();
            Machine::with(name, &settings, wordcount(away)).inside(&end.wrapper())
        });
        let [base, other] = mesh(machines);
        link.becomes(quality);
        let mut pair = Pair {
            base,
            other,
            link,
            met: 0,
        };
        pair.meet();
        pair
    }

    /// Starts the other node, and waits until both know of each other.
    fn meet(&mut self) {
        self.met += 1;
        self.other.start();
        await_until("they never meet", || {
            let times = |machine: &mut Machine| {
                let lines = machine.node().lines();
                lines
                    .iter()
                    .filter(|line| line.contains("is there"))
                    .count()
            };
            times(&mut self.other) > 0 && times(&mut self.base) >= self.met
        });
    }

    /// Waits until the link is silent.
    fn await_gap(&self) {
        let [.., before] = self.link.counts();
        let said = || self.link.counts()[2] > before;
        await_until("nobody says anything into a gap", said);
    }

    /// The link did to the packets what it should.
    #[track_caller]
    fn was_hard(&self, quality: Quality) {
        let [carried, lost, cut] = self.link.counts();
        println!("{carried} packets carried, {lost} lost, {cut} in gaps");
        assert!(lost > 0, "of {carried} packets");
        assert_eq!(cut > 0, quality.gaps.is_some());
    }
}

/// Waits for something that is not told.
#[track_caller]
fn await_until(otherwise: &str, mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < until, "{otherwise}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// What a run came to, by the report: where each instance ran (nowhere else than here, if nowhere is said), and why.
struct Ran {
    tasks: Vec<(String, Option<String>, String)>,
    doc: Value,
}

/// Runs the word count, which passes and leaves what it leaves without a mesh.
#[track_caller]
fn run(machine: &Machine, expected: &[u8]) -> Ran {
    let began = Instant::now();
    let swarm = ["--mesh", "--steal", "--no-cache", "--timeout", LIMIT];
    let ran = machine.run(&[&["run"][..], &swarm].concat());
    let took = began.elapsed();
    let why = machine.run(&["explain", "map"]).stdout;
    println!("on {}, {took:?}:\n{why}", machine.name());
    let _ = ran.expect(0);
    assert_eq!(machine.project().read("counts.json"), expected);

    let doc = machine.json(&["report", "--json"]);
    assert_eq!(doc["reach"], "swarm", "{doc:#}");
    let tasks = doc["tasks"].as_array().unwrap().iter().map(|task| {
        assert_eq!(task["standing"], "passed", "{doc:#}");
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let label = text(&task["label"]).unwrap();
        let why = text(&task["why"]).unwrap_or_else(|| panic!("{label}: {doc:#}"));
        (label, text(&task["executor"]["name"]), why)
    });
    let tasks: Vec<_> = tasks.collect();
    assert_eq!(doc["counts"]["passed"], tasks.len(), "{doc:#}");
    Ran { tasks, doc }
}

impl Ran {
    /// All texts were counted by `who`, who was asked or had asked.
    #[track_caller]
    fn was_counted_by(&self, who: &str) {
        assert_eq!(self.tasks.len(), TEXTS + 1, "{:#}", self.doc);
        let counted = self
            .tasks
            .iter()
            .filter(|(label, ..)| label.starts_with("map["));
        for (label, on, why) in counted {
            assert_eq!(on.as_deref(), Some(who), "{label}: {:#}", self.doc);
            let chosen = ["took it", "asked for work"].map(|how| format!("{who} {how}"));
            let said = chosen.iter().any(|how| why.starts_with(how));
            assert!(said, "{label}: {why}");
        }
        assert_eq!(self.doc["elsewhere"][0]["node"]["name"], who);
    }

    /// Nothing left its owner. Whether the report says that it may not.
    #[track_caller]
    fn stayed_here(&self) -> bool {
        assert_eq!(self.tasks.len(), TEXTS + 1 + MORE, "{:#}", self.doc);
        let elsewhere = self.doc["elsewhere"].as_array().unwrap();
        assert!(elsewhere.is_empty(), "{:#}", self.doc);
        let forbidden = |why: &str| why.contains("work does not flow this way");
        for (label, on, why) in &self.tasks {
            assert_eq!(*on, None, "{label}");
            let other = [
                "a slot was free here first",
                "has no room for others' tasks",
            ];
            let known = other.iter().any(|other| why.contains(other));
            assert!(known || forbidden(why), "{label}: {why}");
        }
        self.tasks.iter().any(|(.., why)| forbidden(why))
    }
}

/// Runs it at home until the report says that nothing may leave: nobody is thought of before the other node has been heard
/// to have room.
fn gives_nothing(machine: &Machine, expected: &[u8]) {
    let said = || run(machine, expected).stayed_here();
    await_until("it is never said that nothing may leave", said);
}

/// What happens on one link; with what the word count comes to.
type Scenario = fn(&[u8]);

/// Between two of a profile that shares everything: what is to be counted elsewhere is.
fn shares(profile: &str, quality: Quality, expected: &[u8]) {
    let [here, there] = Link::ADDRESSES;
    let owner = ("owner", settings(profile, Some(here), ""), true);
    let crew = ("crew", settings(profile, Some(there), CREW), false);
    let pair = Pair::new(quality, [owner, crew]);
    run(&pair.base, expected).was_counted_by("crew");
}

fn mobile(expected: &[u8]) {
    let [here, _] = Link::ADDRESSES;
    let base = ("base", settings("wan", Some(here), CREW), false);
    let phone = ("phone", settings("mobile", None, "slots = 1"), false);
    let mut pair = Pair::new(MOBILE, [base, phone]);
    run(&pair.base, expected).stayed_here();
    gives_nothing(&pair.other, expected);

    // Its user may want it otherwise; the link stays as it is.
    let open = "stealing = \"full\"\nartifacts = \"unlimited\"";
    pair.other.kill();
    let open = with(&settings("mobile", None, open), PATIENT);
    pair.other.configure(&open);
    pair.other.project().write("sykli.toml", pipeline(true));
    pair.meet();
    pair.await_gap();
    run(&pair.other, expected).was_counted_by("base");
    pair.was_hard(MOBILE);
}

fn hostile(expected: &[u8]) {
    let [here, _] = Link::ADDRESSES;
    let base = with(&settings("wan", Some(here), ""), PATIENT);
    let base = ("base", base, true);
    let far = ("far", settings("hostile", None, CREW), false);
    // On a better day it counted other texts: it has the component, and earned more than one task at once. What is left
    // takes long enough.
    let mut pair = Pair::new(WAN, [base, far]);
    let project = pair.base.project();
    for (name, text) in texts() {
        project.write(&name, format!("{text}\nonce more\n"));
    }
    let swarm = ["run", "--mesh", "--steal", "--timeout", LIMIT];
    let _ = pair.base.run(&swarm).expect(0);
    for (name, text) in texts() {
        project.write(&name, text);
    }

    pair.other.kill();
    pair.link.becomes(HOSTILE);
    pair.meet();
    run(&pair.base, expected).was_counted_by("far");
    gives_nothing(&pair.other, expected);
    pair.was_hard(HOSTILE);
}

/// Runs a test of this file again as the root of a user namespace, where its user is not root and may have one. Whether
/// that was done.
#[track_caller]
fn ran_as_root(test: &str) -> bool {
    let own = std::fs::metadata("/proc/self").unwrap();
    let unshare = || {
        let mut unshare = Command::new("unshare");
        unshare.args(["--user", "--map-root-user", "--net"]);
        unshare
    };
    let allowed = || unshare().arg("true").status().is_ok_and(|s| s.success());
    if own.uid() == 0 || !allowed() {
        return false;
    }
    // What has to be built is built out here, where there may be a network.
    let status = unshare()
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env("SYKLI_TEST_BIN", sykli())
        .status();
    assert!(status.unwrap().success(), "see above");
    true
}

#[test]
fn each_profile_does_its_work() {
    let solo = wordcount(false);
    let _ = solo.run(&["run"]).expect(0);
    let expected = &*solo.read("counts.json");
    if ran_as_root("each_profile_does_its_work") {
        return;
    }
    if !link::possible() {
        return;
    }
    let scenarios: [(&str, Scenario); 4] = [
        ("lan", |expected| shares("lan", LAN, expected)),
        ("wan", |expected| shares("wan", WAN, expected)),
        ("mobile", mobile),
        ("hostile", hostile),
    ];
    std::thread::scope(|scope| {
        for (name, scenario) in scenarios {
            let named = std::thread::Builder::new().name(name.to_owned());
            let started = named.spawn_scoped(scope, move || scenario(expected));
            started.expect("there is room for a thread");
        }
    });
}
