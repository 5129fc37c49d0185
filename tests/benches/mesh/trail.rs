//! Reads what a node says that passed between it and others: its log at level trace, with the node's own clock, whose
//! grain is a microsecond. Measures nothing. Used by the rows.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What is not there after this will not come.
const PATIENCE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// The log of a node.
#[derive(Clone)]
pub(crate) struct Trail(PathBuf);

/// One line of it.
#[derive(Clone, Debug)]
pub(crate) struct Mark {
    /// Since midnight.
    at: Duration,
    /// Such as `said offer`.
    pub(crate) what: String,
    /// The lease that it is about.
    pub(crate) key: Option<String>,
}

impl Mark {
    /// From `before` to this.
    pub(crate) fn since(&self, before: &Mark) -> Duration {
        match self.at.checked_sub(before.at) {
            Some(passed) => passed,
            // Midnight came between them.
            None => self.at + DAY - before.at,
        }
    }
}

impl Trail {
    /// The log that will be in this file.
    pub(crate) fn at(path: PathBuf) -> Trail {
        Trail(path)
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// How long it is now: what happened until here is of no interest.
    pub(crate) fn here(&self) -> usize {
        fs::metadata(&self.0).map_or(0, |file| usize::try_from(file.len()).unwrap_or(0))
    }

    /// Every mark from there on.
    pub(crate) fn since(&self, from: usize) -> Vec<Mark> {
        let text = fs::read(&self.0).unwrap_or_default();
        let text = String::from_utf8_lossy(text.get(from..).unwrap_or_default()).into_owned();
        text.lines().filter_map(mark).collect()
    }

    /// The same, once `enough` of them are there.
    pub(crate) fn wait(&self, from: usize, enough: impl Fn(&[Mark]) -> bool) -> Vec<Mark> {
        let until = Instant::now() + PATIENCE;
        loop {
            let marks = self.since(from);
            if enough(&marks) {
                return marks;
            }
            assert!(Instant::now() < until, "the node only says {marks:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// `2026-11-30T13:26:02.123456Z TRACE sykli_node::meshnode::trail: said offer peer=… key=…`
fn mark(line: &str) -> Option<Mark> {
    let (time, rest) = line.split_once(' ')?;
    let (_, rest) = rest.split_once("::trail: ")?;
    let (_, clock) = time.strip_suffix('Z')?.split_once('T')?;
    let mut parts = clock.split(':');
    let (hours, minutes): (u64, u64) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    let seconds: f64 = parts.next()?.parse().ok()?;
    let mut words = rest.split(' ');
    let what = format!("{} {}", words.next()?, words.next()?);
    let key = words.find_map(|word| word.strip_prefix("key="));
    Some(Mark {
        at: Duration::from_secs(hours * 3600 + minutes * 60) + Duration::from_secs_f64(seconds),
        what,
        key: key.map(str::to_owned),
    })
}
