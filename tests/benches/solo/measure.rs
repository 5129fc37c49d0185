//! Interleaved rounds and medians. Knows nothing of what is measured.

use std::time::{Duration, Instant};

/// How much to measure.
pub(crate) struct Effort {
    /// Rounds of each contestant; the median of them counts.
    pub(crate) rounds: usize,
    /// Sandboxed no-ops a round.
    pub(crate) noops: u32,
    /// Tasks of a pipeline, or processes, a round.
    pub(crate) tasks: u32,
    /// Repetitions of a compute kernel.
    pub(crate) kernel: u32,
}

impl Effort {
    /// Minutes; the figures of the book.
    pub(crate) const FULL: Effort = Effort {
        rounds: 9,
        noops: 5_000,
        tasks: 1_000,
        kernel: 4,
    };
    /// Seconds; to see that the bench works.
    pub(crate) const QUICK: Effort = Effort {
        rounds: 3,
        noops: 500,
        tasks: 100,
        kernel: 1,
    };
}

/// One side of a row: a name, and a closure that does a round and says for how many units.
pub(crate) struct Contestant<'a> {
    /// What the table calls it.
    pub(crate) name: String,
    /// One round; returns how many units it did.
    pub(crate) round: Box<dyn FnMut() -> u32 + 'a>,
}

impl<'a> Contestant<'a> {
    /// A contestant of this name.
    pub(crate) fn new(name: &str, round: impl FnMut() -> u32 + 'a) -> Self {
        Contestant {
            name: name.to_owned(),
            round: Box::new(round),
        }
    }
}

/// Each contestant's name and median time of one unit. One round of each is thrown away first.
pub(crate) fn race(rounds: usize, mut contestants: Vec<Contestant<'_>>) -> Vec<(String, Duration)> {
    let mut times: Vec<Vec<Duration>> = vec![Vec::new(); contestants.len()];
    for round in 0..=rounds {
        for (contestant, times) in contestants.iter_mut().zip(&mut times) {
            let begin = Instant::now();
            let units = (contestant.round)();
            let each = begin.elapsed() / units.max(1);
            if round > 0 {
                times.push(each);
            }
        }
    }
    let names = contestants.into_iter().map(|contestant| contestant.name);
    names.zip(times.into_iter().map(median)).collect()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}
