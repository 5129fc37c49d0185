//! What a simulated mesh is made of and what befalls it: a few lines of `key = value`, or a name like `lan/crash`.
//!
//! A scenario says ranges; a seed picks from them. Read from `scenarios/*.scn`, or put together from a profile and a
//! kind of trouble ([`matrix`]). Never runs anything: [`super::cast`] draws the mesh, [`super::chaos`] its troubles.

use crate::machine::Mode;
use crate::profile::ProfileKind;
use crate::rng::Rng;

/// From one number to another, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) low: u64,
    pub(super) high: u64,
}

impl Span {
    pub(super) const fn of(low: u64, high: u64) -> Span {
        Span { low, high }
    }

    pub(super) fn pick(self, rng: &mut Rng) -> u64 {
        self.low + rng.below(self.high.saturating_sub(self.low) + 1)
    }
}

/// How connections come about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meeting {
    /// Everybody who can dials everybody, and again when the connection is lost.
    Everybody,
    /// Who is dialled by a machine; dropped when idle.
    OnDemand,
}

/// A mesh and its troubles, as ranges.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// What it is called.
    pub name: String,
    /// How many nodes, liars included.
    pub(super) nodes: Span,
    /// How many of them have a run.
    pub(super) owners: Span,
    /// Task instances of a run.
    pub(super) tasks: Span,
    /// Layers of dependencies of a run.
    pub(super) layers: Span,
    /// How long a task runs.
    pub(super) duration_ms: Span,
    /// What a task's input is, in bytes.
    pub(super) input_bytes: Span,
    /// Guests at once.
    pub(super) slots: Span,
    /// The profile that it is about.
    pub(super) profile: ProfileKind,
    /// Other profiles beside it, and users' changes of theirs.
    pub(super) mixed: bool,
    /// How far runs reach; any way where none is said.
    pub(super) mode: Option<Mode>,
    /// Of a thousand tasks, those that fail.
    pub(super) fails: u64,
    /// Of a thousand tasks, those with effects.
    pub(super) impure: u64,
    /// Of a thousand tasks, those under which a host dies once.
    pub(super) faults: u64,
    /// Of a thousand executors, those whose person is asked.
    pub(super) asks: u64,
    /// Of a thousand runs, those that are interrupted.
    pub(super) interrupts: u64,
    /// A connection is cut after so long on average; 0 for never.
    pub(super) cut_every_ms: u64,
    /// Of a thousand words, those at which their connection breaks.
    pub(super) cut_at_words: u64,
    /// Only what touches a hidden node has cuts and failing dials.
    pub(super) only_hidden_suffer: bool,
    /// Of a thousand dials, those that fail.
    pub(super) dial_fails: u64,
    /// When an end notices that its connection was cut.
    pub(super) notice_ms: Span,
    /// How often the mesh falls apart.
    pub(super) partitions: Span,
    /// How often a node is killed and started again: most of the time right when it says or records something.
    pub(super) crashes: Span,
    /// How many executors go without a word.
    pub(super) vanish: Span,
    /// How many nodes keep to no protocol.
    pub(super) liars: Span,
    /// How often a disk is full for a while.
    pub(super) disk_full: Span,
    /// How often a user pauses a machine, or pulls its plug.
    pub(super) moods: Span,
    /// How far clocks go wrong, in parts per million.
    pub(super) skew_ppm: u64,
    /// What was said on a lost connection may be heard again on the next one.
    pub(super) replay: bool,
    /// Writes become durable in any order.
    pub(super) disorder: bool,
    /// Of a thousand beacons: heard twice.
    pub(super) gossip_twice: u64,
    /// Of a thousand beacons: not heard.
    pub(super) gossip_lost: u64,
    /// How late a beacon may be.
    pub(super) gossip_late_ms: u64,
    /// When troubles end.
    pub(super) heal_ms: Span,
    /// How long after that every run must have ended.
    pub(super) deadline_ms: u64,
    /// How long after the last run's end nothing may be left over.
    pub(super) drain_ms: u64,
    /// How connections come about.
    pub(super) meeting: Meeting,
}

/// The kinds of trouble that [`matrix`] combines with the profiles.
pub const TROUBLES: [&str; 8] = [
    "drop",
    "duplicate",
    "reorder",
    "partition",
    "crash",
    "vanish",
    "skew",
    "liar",
];
const PROFILES: [(&str, ProfileKind); 4] = [
    ("lan", ProfileKind::Lan),
    ("wan", ProfileKind::Wan),
    ("mobile", ProfileKind::Mobile),
    ("hostile", ProfileKind::Hostile),
];
const FILES: [(&str, &str); 4] = [
    ("dispatch", include_str!("scenarios/dispatch.scn")),
    ("steal", include_str!("scenarios/steal.scn")),
    ("diskfull", include_str!("scenarios/diskfull.scn")),
    ("manfred", include_str!("scenarios/manfred.scn")),
];
const HOUR_MS: u64 = 3_600_000;

impl Default for Scenario {
    /// A few nodes of one network, and no trouble.
    fn default() -> Scenario {
        Scenario {
            name: "plain".into(),
            nodes: Span::of(3, 8),
            owners: Span::of(1, 2),
            tasks: Span::of(10, 60),
            layers: Span::of(2, 3),
            duration_ms: Span::of(10, 60_000),
            input_bytes: Span::of(0, 4 << 20),
            slots: Span::of(1, 4),
            profile: ProfileKind::Lan,
            mixed: true,
            mode: None,
            fails: 15,
            impure: 200,
            faults: 20,
            asks: 100,
            interrupts: 0,
            cut_every_ms: 0,
            cut_at_words: 0,
            only_hidden_suffer: false,
            dial_fails: 0,
            notice_ms: Span::of(0, 10_000),
            partitions: Span::of(0, 0),
            crashes: Span::of(0, 0),
            vanish: Span::of(0, 0),
            liars: Span::of(0, 0),
            disk_full: Span::of(0, 0),
            moods: Span::of(0, 1),
            skew_ppm: 20,
            replay: false,
            disorder: false,
            gossip_twice: 20,
            gossip_lost: 20,
            gossip_late_ms: 50,
            heal_ms: Span::of(30_000, 180_000),
            deadline_ms: 2 * HOUR_MS,
            drain_ms: 300_000,
            meeting: Meeting::Everybody,
        }
    }
}

impl Scenario {
    /// The scenario of this name: one of [`names`].
    #[must_use]
    pub fn named(name: &str) -> Option<Scenario> {
        if let Some((_, text)) = FILES.iter().find(|(known, _)| *known == name) {
            return Scenario::parse(name, text).ok();
        }
        let (profile, trouble) = name.split_once('/')?;
        let (_, kind) = PROFILES.iter().find(|(known, _)| *known == profile)?;
        Scenario {
            name: name.to_owned(),
            ..Scenario::default()
        }
        .of_profile(*kind)
        .in_trouble(trouble)
    }

    /// Reads a scenario: one `key = value` a line, `#` for remarks. What is not said is as in [`Scenario::default`].
    ///
    /// # Errors
    /// The first line that is not understood.
    pub fn parse(name: &str, text: &str) -> Result<Scenario, String> {
        let mut scenario = Scenario {
            name: name.to_owned(),
            ..Scenario::default()
        };
        for (number, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or("").trim();
            if line.is_empty() {
                continue;
            }
            let wrong = || format!("{name}.scn:{}: what is `{line}`?", number + 1);
            let (key, value) = line.split_once('=').ok_or_else(wrong)?;
            scenario.set(key.trim(), value.trim()).ok_or_else(wrong)?;
        }
        Ok(scenario)
    }

    fn of_profile(self, profile: ProfileKind) -> Scenario {
        let deadline_ms = match profile {
            ProfileKind::Lan => 2 * HOUR_MS,
            ProfileKind::Wan => 4 * HOUR_MS,
            ProfileKind::Mobile => 8 * HOUR_MS,
            ProfileKind::Hostile => 24 * HOUR_MS,
        };
        Scenario {
            profile,
            deadline_ms,
            ..self
        }
    }

    fn in_trouble(mut self, trouble: &str) -> Option<Scenario> {
        match trouble {
            "drop" => {
                (self.cut_every_ms, self.cut_at_words, self.dial_fails) = (8_000, 20, 300);
            }
            "duplicate" => {
                (self.replay, self.gossip_twice, self.cut_every_ms) = (true, 500, 15_000);
                self.cut_at_words = 15;
            }
            "reorder" => {
                (self.disorder, self.gossip_late_ms, self.cut_every_ms) = (true, 20_000, 40_000);
                (self.gossip_twice, self.cut_at_words) = (200, 5);
            }
            "partition" => (self.partitions, self.dial_fails) = (Span::of(1, 4), 100),
            "crash" => (self.crashes, self.interrupts) = (Span::of(1, 5), 50),
            "vanish" => self.vanish = Span::of(1, 3),
            "skew" => {
                (self.skew_ppm, self.cut_every_ms, self.moods) = (200, 60_000, Span::of(0, 4))
            }
            "liar" => {
                // What liars say of a failure is not told from the truth by this layer.
                (self.liars, self.fails, self.faults) = (Span::of(1, 2), 0, 0);
                self.cut_every_ms = 60_000;
            }
            _ => return None,
        }
        Some(self)
    }

    fn set(&mut self, key: &str, value: &str) -> Option<()> {
        let number = || value.parse::<u64>().ok();
        let yes = || value.parse::<bool>().ok();
        match key {
            "nodes" => self.nodes = span(value)?,
            "owners" => self.owners = span(value)?,
            "tasks" => self.tasks = span(value)?,
            "layers" => self.layers = span(value)?,
            "duration_ms" => self.duration_ms = span(value)?,
            "input_bytes" => self.input_bytes = span(value)?,
            "slots" => self.slots = span(value)?,
            "notice_ms" => self.notice_ms = span(value)?,
            "partitions" => self.partitions = span(value)?,
            "crashes" => self.crashes = span(value)?,
            "vanish" => self.vanish = span(value)?,
            "liars" => self.liars = span(value)?,
            "disk_full" => self.disk_full = span(value)?,
            "moods" => self.moods = span(value)?,
            "heal_ms" => self.heal_ms = span(value)?,
            "fails" => self.fails = number()?,
            "impure" => self.impure = number()?,
            "faults" => self.faults = number()?,
            "asks" => self.asks = number()?,
            "interrupts" => self.interrupts = number()?,
            "cut_every_ms" => self.cut_every_ms = number()?,
            "cut_at_words" => self.cut_at_words = number()?,
            "dial_fails" => self.dial_fails = number()?,
            "skew_ppm" => self.skew_ppm = number()?,
            "gossip_twice" => self.gossip_twice = number()?,
            "gossip_lost" => self.gossip_lost = number()?,
            "gossip_late_ms" => self.gossip_late_ms = number()?,
            "deadline_ms" => self.deadline_ms = number()?,
            "drain_ms" => self.drain_ms = number()?,
            "mixed" => self.mixed = yes()?,
            "only_hidden_suffer" => self.only_hidden_suffer = yes()?,
            "replay" => self.replay = yes()?,
            "disorder" => self.disorder = yes()?,
            "profile" => self.profile = PROFILES.iter().find(|(name, _)| *name == value)?.1,
            "mode" => self.mode = Some(mode(value)?),
            _ => return None,
        }
        Some(())
    }
}

fn span(value: &str) -> Option<Span> {
    let (low, high) = value.split_once("..").unwrap_or((value, value));
    let span = Span::of(low.parse().ok()?, high.parse().ok()?);
    (span.low <= span.high).then_some(span)
}

fn mode(value: &str) -> Option<Mode> {
    match value {
        "solo" => Some(Mode::Solo),
        "mesh" => Some(Mode::Mesh),
        "swarm" => Some(Mode::Swarm),
        _ => None,
    }
}

/// Every profile with every trouble, by name.
#[must_use]
pub fn matrix() -> Vec<String> {
    let each = |profile: &'static str| TROUBLES.map(|trouble| format!("{profile}/{trouble}"));
    PROFILES.iter().flat_map(|(name, _)| each(name)).collect()
}

/// Every scenario that [`Scenario::named`] knows.
#[must_use]
pub fn names() -> Vec<String> {
    let files = FILES.iter().map(|(name, _)| (*name).to_owned());
    matrix().into_iter().chain(files).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_a_scenario() {
        for name in names() {
            assert_eq!(Scenario::named(&name).map(|found| found.name), Some(name));
        }
        assert!(Scenario::named("lan/").is_none() && Scenario::named("moon/drop").is_none());
    }

    #[test]
    fn a_line_that_is_not_understood_is_named() {
        let parse = |text| Scenario::parse("x", text).map(|_| ());
        assert_eq!(parse("# a remark\n\nnodes = 2..3 # and why\n"), Ok(()));
        for (text, line) in [
            ("nodes = 3..2", 1),
            ("\nknots = 1", 2),
            ("mixed = 1", 1),
            ("nodes", 1),
        ] {
            assert!(
                parse(text).is_err_and(|e| e.starts_with(&format!("x.scn:{line}:"))),
                "{text}"
            );
        }
    }
}
