//! How long an idle node waits for work that another has: from its question to the start of a guest that does nothing.
//! Against echoes on a stream of libp2p's that is kept, and the sandbox alone.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use super::{clock, without_cpu};
use crate::floor::{Floor, Settings};
use crate::measure::{Contestant, Cost, Effort, Measured, Round, race};
use crate::nodes::{self, Pair, THERE, Way};
use crate::raw::Other;
use crate::report::{Goal, Report};
use crate::trail::Mark;

const ECHO: &str = "an echo of 64 bytes, libp2p stream that is kept";
const SANDBOX: &str = "a no-op in the raw sandbox";
const DURABLE: &str = "4 KiB made durable on this disk";
const IN_MEMORY: &str = "a task, idle → started, homes in memory";
const ON_DISK: &str = "a task, idle → started, homes on this disk";
/// Echoes that the exchange may take: question and offer, answer and bundle, and the word that it runs.
const ECHOES: u32 = 3;

/// The exchange step by step, as the thief sees it: each begins with the one before.
const STEPS: [(&str, &str); 6] = [
    ("", "asked, or said that it has room"),
    (
        "heard offer",
        "→ an offer is here: the owner is making it durable",
    ),
    ("said accept", "→ accepted"),
    (
        "took bundle",
        "→ the manifest is here, the offer durable: the component is there already",
    ),
    ("said started", "→ a thread has the guest"),
    ("ran guest", "→ the guest has ended, its outputs are stored"),
];
/// Where among them the guest is said to have started.
const STARTED: usize = 4;

/// See the module.
pub(super) fn steal(effort: &Effort, report: &mut Report) {
    let steals = if effort.quick { 60 } else { 300 };
    let guest = sykli_tests::guest("noop");
    let floor = Floor::new(Settings::PRODUCT).expect("the floor");
    let ready = floor.compile(&guest).expect("a component");
    let spare = tempfile::tempdir().expect("a temporary folder");
    let other = Other::start(Way::Tcp, &spare.path().join("kept"));
    let mut echoes = other.echoes();
    let mut durable = Durable::new(&spare.path().join("durable"));
    let mut in_memory = Thief::new(&nodes::memory());
    let mut on_disk = Thief::new(&std::env::temp_dir());
    let (times, writes) = (effort.noops, 100);
    let measured = race(
        effort.at_most(5),
        vec![
            Contestant::new(ECHO, || {
                echoes.run(times);
                times
            }),
            Contestant::new(SANDBOX, || {
                (0..times).for_each(|_| {
                    assert!(floor.run(&ready, &["noop"]).expect("a run"));
                });
                times
            }),
            Contestant::new(DURABLE, || {
                (0..writes).for_each(|_| durable.write());
                writes
            }),
            Contestant::new(IN_MEMORY, || in_memory.round(steals)),
            Contestant::new(ON_DISK, || on_disk.round(steals)),
        ],
    );
    let measured: Vec<Measured> = measured.into_iter().map(without_cpu).collect();
    goals(&measured, report);
    report.table(
        "A no-op task on an idle node",
        "A node asks one that has tasks for one, or delivers its last result, is offered a task, accepts, is sent what it \
         lacks (the manifest; the component it has), and starts a guest that does nothing: two processes over TCP on loopback, by the clock of the \
         one that is idle. Beside it what it is made of at the least. What it lacks is only sent once the owner's journal has \
         the offer, so with homes on a disk one durable write is part of it.",
        &measured,
    );
    in_memory.table(report);
}

/// What the exchange may take at the most, of what was measured beside it.
fn goals(measured: &[Measured], report: &mut Report) {
    let [echo, sandbox, disk, memory_time, disk_time] = measured else {
        return;
    };
    let of = |measured: &Measured| Duration::from_secs_f64(measured.value / 1e9);
    let exchange = of(echo) * ECHOES + of(sandbox);
    let floor = clock("three echoes and the sandbox", exchange);
    let what = "a no-op task on an idle node, idle → started";
    report.goal(what, memory_time, &floor, Goal::AtMost(1.5));
    let floor = clock(
        "three echoes, the sandbox and a durable write",
        exchange + of(disk),
    );
    let what = "the same, the owner's journal on a disk";
    report.goal(what, disk_time, &floor, Goal::AtMost(1.5));
}

/// Writes that reach the disk, as a database's log does it.
struct Durable(File);

impl Durable {
    fn new(path: &Path) -> Durable {
        Durable(File::create(path).expect("a file"))
    }

    fn write(&mut self) {
        self.0.write_all(&[7; 4096]).expect("it takes bytes");
        self.0.sync_data().expect("they reach the disk");
    }
}

/// A pair of nodes of which one asks the other for work.
struct Thief {
    pair: Pair,
    rounds: u32,
    /// How long each step took, in each steal.
    steps: [Vec<Duration>; STEPS.len()],
}

impl Thief {
    fn new(homes: &Path) -> Thief {
        let pair = Pair::new(homes, Way::Tcp, 1);
        pair.owner.project().guest("noop");
        Thief {
            pair,
            rounds: 0,
            steps: Default::default(),
        }
    }

    /// A run whose tasks the thief takes one after the other; what one takes.
    fn round(&mut self, steals: u32) -> Round {
        self.rounds += 1;
        let mut tasks = String::new();
        for index in 0..steals {
            // Tasks of different names and arguments: nothing is known of one by another, and none has a result.
            let _ = write!(
                tasks,
                "[task.n{index}]\ncomponent = \"noop.wasm\"\nargs = [\"{}\"]\n{THERE}\n",
                self.rounds
            );
        }
        self.pair.pipeline(&tasks);
        let from = self.pair.trail.here();
        self.pair.run();
        let ended = |marks: &[Mark]| {
            let ends = marks.iter().filter(|mark| mark.what == "ran guest");
            ends.count() >= steals as usize
        };
        let marks = self.pair.trail.wait(from, ended);
        let steals = stolen(&marks);
        assert!(!steals.is_empty(), "nothing ran there: {marks:?}");
        let mut whole: Vec<Duration> = Vec::new();
        for steps in &steals {
            for (at, pair) in steps.windows(2).enumerate() {
                if let (Some(times), [before, after]) = (self.steps.get_mut(at + 1), pair) {
                    times.push(after.since(before));
                }
            }
            if let (Some(asked), Some(started)) = (steps.first(), steps.get(STARTED)) {
                whole.push(started.since(asked));
            }
        }
        let own = Cost {
            wall: middle(&mut whole),
            cpu: Duration::ZERO,
        };
        Round {
            units: 1,
            own: Some(own),
        }
    }

    fn table(&mut self, report: &mut Report) {
        let lines = self.steps.iter_mut().zip(STEPS).skip(1);
        let lines = lines.map(|(times, (_, name))| clock(name, middle(times)));
        let mut lines: Vec<Measured> = lines.collect();
        let sum = lines.iter().map(|line| line.value).sum::<f64>() / 1e9;
        lines.insert(
            0,
            clock(
                "idle → ended, as the sum of these",
                Duration::from_secs_f64(sum),
            ),
        );
        report.table(
            "A no-op task on an idle node, step by step",
            "Medians over all tasks of the row above, homes in memory.",
            &lines,
        );
    }
}

/// The steps of each task that was run. A node that is idle says so by asking, or by delivering what it has: its owner
/// answers both with an offer, whichever comes first.
fn stolen(marks: &[Mark]) -> Vec<Vec<&Mark>> {
    let mut idle: Option<&Mark> = None;
    let mut open: BTreeMap<&str, Vec<&Mark>> = BTreeMap::new();
    let mut whole = Vec::new();
    for mark in marks {
        let key = mark.key.as_deref();
        match mark.what.as_str() {
            "said idle" | "said completed" => drop(idle.get_or_insert(mark)),
            "heard no-work" => idle = None,
            "heard offer" => {
                if let (Some(idle), Some(key)) = (idle.take(), key) {
                    open.insert(key, vec![idle, mark]);
                }
            }
            what => {
                let Some((key, steps)) = key.and_then(|key| Some((key, open.get_mut(key)?))) else {
                    continue;
                };
                if STEPS.get(steps.len()).is_some_and(|(due, _)| *due == what) {
                    steps.push(mark);
                }
                if steps.len() == STEPS.len()
                    && let Some(steps) = open.remove(key)
                {
                    whole.push(steps);
                }
            }
        }
    }
    whole
}

fn middle(times: &mut [Duration]) -> Duration {
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}
