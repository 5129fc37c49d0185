//! A seeded mesh in virtual time: machines as they are, and around them everything that can go wrong.
//!
//! ```text
//!   Scenario + seed ──▶ Cast (who, and the truth) ──▶ World (time, net, disks, liars, misfortunes) ──▶ Report
//!                                                       └─ Check: the first thing that must not be
//! ```
//!
//! The machines are the product's, told what a node would tell them, at ticks of clocks that go wrong; every message goes
//! through the wire's code. The rest is made up, and harsher than life. A play is its scenario and its seed: the same two
//! give the same hash of everything that happened, on every machine. Minutes of virtual time take milliseconds.
//!
//! Compiled for tests and with the feature `sim` only. Called by this crate's tests and by `cargo xtask sim`, whose
//! driver is `examples/sim.rs`. Prints nothing and decides nothing for the product.

mod bulk;
mod cast;
mod chaos;
mod check;
mod clock;
mod codec;
mod disk;
mod gossip;
mod guests;
mod hands;
mod liar;
mod lies;
mod net;
pub mod rate;
pub mod scale;
mod scenario;
pub(crate) mod sign;
mod stats;
mod tape;
mod trace;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::id::{Digest, RunId, TaskId};
use crate::machine::Fault;
use cast::Cast;
use tape::Line;
use world::World;

pub use check::{Invariant, Violation};
pub use scenario::{Scenario, TROUBLES, matrix, names};
pub use stats::Stats;

/// By how much Manfred may slow others down, in percent, over all runs together: one run's schedule is longer or shorter by
/// chance as soon as anything in its mesh is different.
pub const SLOWED_PERCENT: u64 = 5;

/// A node is killed with the `nth` of its words, records and runs' wishes, after so many milliseconds, for so long.
#[derive(Clone, Copy, Debug)]
pub struct Trap {
    /// Which node.
    pub node: usize,
    /// Which of them, from 0.
    pub nth: u32,
    /// How long after that.
    pub after_ms: u64,
    /// How long it is down.
    pub down_ms: u64,
}

/// How a scenario is played.
#[derive(Clone, Copy, Debug, Default)]
pub struct Setting {
    /// A fault in every machine.
    pub fault: Option<Fault>,
    /// Whether lines are kept for a diagram.
    pub draws: bool,
    /// A node that never starts.
    pub without: Option<usize>,
    /// A node that is killed at one step.
    pub kill: Option<Trap>,
}

/// How a run went.
#[derive(Clone, Debug)]
pub struct RunReport {
    /// Which.
    pub run: RunId,
    /// Whose.
    pub owner: String,
    /// How long it took; nothing where it did not end.
    pub took_ms: Option<u64>,
}

/// How a play went.
#[derive(Clone, Debug)]
pub struct Report {
    /// What was played.
    pub scenario: String,
    /// Of everything that happened, in order.
    pub hash: Digest,
    /// The runs in it.
    pub runs: Vec<RunReport>,
    /// What it cost.
    pub stats: Stats,
    /// The first thing that must not be.
    pub violation: Option<Violation>,
    /// How long the play's runs took with a node that must not slow them, and without it, in milliseconds.
    pub beside: Vec<(u64, u64)>,
    names: Vec<String>,
    lines: Vec<Line>,
}

impl Report {
    /// The play as a sequence diagram in text, of one task where one is named; nothing where lines were not kept.
    #[must_use]
    pub fn diagram(&self, only: Option<&(RunId, TaskId)>) -> Option<String> {
        (!self.lines.is_empty()).then(|| trace::draw(&self.names, &self.lines, only))
    }
}

/// Plays a scenario.
///
/// # Panics
/// Where a machine's own checks fail.
#[must_use]
pub fn play(scenario: &Scenario, seed: u64, setting: Setting) -> Report {
    World::new(scenario, Cast::draw(scenario, seed), seed, setting).play()
}

/// As [`play`]; a panic is a violation too.
#[must_use]
pub fn attempt(scenario: &Scenario, seed: u64, setting: Setting) -> Report {
    let played = catch_unwind(AssertUnwindSafe(|| play(scenario, seed, setting)));
    played.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        let violation = Violation {
            at_ms: 0,
            node: String::new(),
            invariant: Invariant::Sane,
            detail: text.unwrap_or_else(|| "a panic".into()),
        };
        Report {
            scenario: scenario.name.clone(),
            hash: Digest([0; 32]),
            runs: Vec::new(),
            stats: Stats::default(),
            violation: Some(violation),
            beside: Vec::new(),
            names: Vec::new(),
            lines: Vec::new(),
        }
    })
}

/// Plays a scenario for its violation: `manfred` twice, with him and without, for he must slow nobody down.
#[must_use]
pub fn judge(scenario: &Scenario, seed: u64) -> Report {
    let mut report = attempt(scenario, seed, Setting::default());
    if scenario.name == "manfred" && report.violation.is_none() {
        let manfred = Some(report.names.len() - 1);
        let setting = Setting {
            without: manfred,
            ..Setting::default()
        };
        let without = attempt(scenario, seed, setting);
        report.violation = without.violation.clone();
        let both = report.runs.iter().zip(&without.runs);
        report.beside = both
            .filter_map(|(with, without)| Some((with.took_ms?, without.took_ms?)))
            .collect();
    }
    report
}

/// A play as a sequence diagram in text; of one task where one is named.
#[must_use]
pub fn trace(scenario: &Scenario, seed: u64, only: Option<(RunId, TaskId)>) -> String {
    let setting = Setting {
        draws: true,
        ..Setting::default()
    };
    let report = play(scenario, seed, setting);
    report.diagram(only.as_ref()).unwrap_or_default()
}

/// Where a fault was caught.
#[derive(Clone, Debug)]
pub struct Catch {
    /// In which scenario.
    pub scenario: String,
    /// With which seed.
    pub seed: u64,
    /// By which rule.
    pub violation: Violation,
}

/// Puts a fault into every machine, and plays until a rule is broken that holds without, `seeds` times at most.
#[must_use]
pub fn hunt(fault: Fault, seeds: u64) -> Option<Catch> {
    let names = names();
    let setting = Setting {
        fault: Some(fault),
        ..Setting::default()
    };
    (0..seeds).find_map(|seed| {
        let name = &names[seed as usize % names.len()];
        let scenario = Scenario::named(name)?;
        let violation = attempt(&scenario, seed, setting).violation?;
        let sound = attempt(&scenario, seed, Setting::default())
            .violation
            .is_none();
        sound.then(|| Catch {
            scenario: name.clone(),
            seed,
            violation,
        })
    })
}

/// The command that plays a seed again.
#[must_use]
pub fn again(scenario: &str, seed: u64) -> String {
    format!("cargo xtask sim --scenario {scenario} --from {seed} --seeds 1 --trace")
}

#[cfg(test)]
mod tests;
