//! Interleaved rounds, medians, and what a round cost in wall time and in processor time. Knows nothing of what is
//! measured. Called by every row.

use std::time::{Duration, Instant};

/// How much to measure.
pub(crate) struct Effort {
    /// Whether this is the quick look.
    pub(crate) quick: bool,
    /// Rounds of each contestant; the median of them counts.
    pub(crate) rounds: usize,
    /// Sandboxed no-ops a round.
    pub(crate) noops: u32,
    /// Tasks of a pipeline a round.
    pub(crate) tasks: u32,
    /// Layers of the layered graph, and tasks a layer.
    pub(crate) grid: u32,
    /// Processes a round, where one costs milliseconds.
    pub(crate) processes: u32,
    /// Repetitions of a compute kernel.
    pub(crate) kernel: u32,
    /// MiB of the large file that is read.
    pub(crate) file_mib: u32,
    /// Guests that live at once.
    pub(crate) parked: u32,
    /// Pipelines of these sizes show how time and memory grow.
    pub(crate) growth: &'static [u32],
    /// Files of the large tree, of 20 KiB each.
    pub(crate) files: u32,
}

impl Effort {
    /// A quarter of an hour; the figures of the book.
    pub(crate) const FULL: Effort = Effort {
        quick: false,
        rounds: 9,
        noops: 5_000,
        tasks: 10_000,
        grid: 100,
        processes: 200,
        kernel: 4,
        file_mib: 256,
        parked: 1_000,
        growth: &[1_000, 10_000, 100_000, 1_000_000],
        files: 50_000,
    };
    /// A minute; to see that the bench works.
    pub(crate) const QUICK: Effort = Effort {
        quick: true,
        rounds: 3,
        noops: 500,
        tasks: 1_000,
        grid: 30,
        processes: 20,
        kernel: 1,
        file_mib: 64,
        parked: 200,
        growth: &[1_000, 10_000],
        files: 2_000,
    };

    /// `rounds`, but at most `most`: for contestants that take seconds each.
    pub(crate) fn at_most(&self, most: usize) -> usize {
        self.rounds.min(most)
    }
}

/// What something took.
#[derive(Clone, Copy, Default)]
pub(crate) struct Cost {
    /// Time on the clock.
    pub(crate) wall: Duration,
    /// Time on the processors, user and system, of all threads and of children that have ended.
    pub(crate) cpu: Duration,
}

impl Cost {
    /// What `work` takes, and what it returns.
    pub(crate) fn of<T>(work: impl FnOnce() -> T) -> (T, Cost) {
        let (begin, cpu) = (Instant::now(), processor_time());
        let result = work();
        let cost = Cost {
            wall: begin.elapsed(),
            cpu: processor_time().saturating_sub(cpu),
        };
        (result, cost)
    }

    fn each(self, units: u32) -> Cost {
        Cost {
            wall: self.wall / units.max(1),
            cpu: self.cpu / units.max(1),
        }
    }
}

/// One round of a contestant.
pub(crate) struct Round {
    /// How many units it did.
    pub(crate) units: u32,
    /// What they took, where the contestant knows better than who called it.
    pub(crate) own: Option<Cost>,
}

impl From<u32> for Round {
    fn from(units: u32) -> Round {
        Round { units, own: None }
    }
}

/// One side of a row: a name, what makes a round ready, and the round.
pub(crate) struct Contestant<'a> {
    name: String,
    /// Rounds at most; dear ones have fewer.
    most: usize,
    prepare: Box<dyn FnMut() + 'a>,
    round: Box<dyn FnMut() -> Round + 'a>,
}

impl<'a> Contestant<'a> {
    /// A contestant of this name; `round` does a round and says for how many units.
    pub(crate) fn new<R: Into<Round>>(name: &str, mut round: impl FnMut() -> R + 'a) -> Self {
        Contestant {
            name: name.to_owned(),
            most: usize::MAX,
            prepare: Box::new(|| {}),
            round: Box::new(move || round().into()),
        }
    }

    /// Does `prepare` before each round, off the clock.
    pub(crate) fn prepared(self, prepare: impl FnMut() + 'a) -> Self {
        Contestant {
            prepare: Box::new(prepare),
            ..self
        }
    }

    /// Takes part in the first rounds only.
    pub(crate) fn at_most(self, most: usize) -> Self {
        Contestant { most, ..self }
    }
}

/// What is counted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Nanoseconds.
    Time,
    /// Bytes.
    Bytes,
}

/// A contestant's figure for one unit.
#[derive(Clone)]
pub(crate) struct Measured {
    /// What the table calls it.
    pub(crate) name: String,
    /// What `value` counts.
    pub(crate) unit: Unit,
    /// The median.
    pub(crate) value: f64,
    /// The median of processor time in nanoseconds, where it means something.
    pub(crate) cpu: Option<f64>,
}

impl Measured {
    /// A time.
    pub(crate) fn time(name: &str, cost: Cost) -> Measured {
        Measured {
            name: name.to_owned(),
            unit: Unit::Time,
            value: nanos(cost.wall),
            cpu: Some(nanos(cost.cpu)),
        }
    }

    /// An amount of memory.
    pub(crate) fn bytes(name: &str, bytes: f64) -> Measured {
        Measured {
            name: name.to_owned(),
            unit: Unit::Bytes,
            value: bytes,
            cpu: None,
        }
    }
}

/// Each contestant's medians for one unit. One round of each is thrown away first.
pub(crate) fn race(rounds: usize, mut contestants: Vec<Contestant<'_>>) -> Vec<Measured> {
    let mut costs: Vec<Vec<Cost>> = vec![Vec::new(); contestants.len()];
    for round in 0..=rounds {
        for (contestant, costs) in contestants.iter_mut().zip(&mut costs) {
            if round > contestant.most {
                continue;
            }
            (contestant.prepare)();
            let (done, cost) = Cost::of(|| (contestant.round)());
            if round > 0 {
                costs.push(done.own.unwrap_or(cost).each(done.units));
            }
        }
    }
    let names = contestants.into_iter().map(|contestant| contestant.name);
    names
        .zip(costs)
        .map(|(name, costs)| Measured::time(&name, median(&costs)))
        .collect()
}

/// Medians of wall and processor time, each by itself.
pub(crate) fn median(costs: &[Cost]) -> Cost {
    let middle = |mut times: Vec<Duration>| {
        times.sort();
        times.get(times.len() / 2).copied().unwrap_or_default()
    };
    Cost {
        wall: middle(costs.iter().map(|cost| cost.wall).collect()),
        cpu: middle(costs.iter().map(|cost| cost.cpu).collect()),
    }
}

fn nanos(time: Duration) -> f64 {
    time.as_secs_f64() * 1e9
}

/// User and system time of this process and of its children that were waited for.
fn processor_time() -> Duration {
    usage(libc::RUSAGE_SELF) + usage(libc::RUSAGE_CHILDREN)
}

#[allow(
    unsafe_code,
    reason = "the standard library does not tell processor time"
)]
fn usage(who: libc::c_int) -> Duration {
    // SAFETY: `rusage` is plain numbers, for which all bits zero is a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a live value of the type asked for.
    unsafe { libc::getrusage(who, &raw mut usage) };
    let time = |time: libc::timeval| {
        let (seconds, micros) = (u64::try_from(time.tv_sec), u64::try_from(time.tv_usec));
        Duration::from_secs(seconds.unwrap_or(0)) + Duration::from_micros(micros.unwrap_or(0))
    };
    time(usage.ru_utime) + time(usage.ru_stime)
}
