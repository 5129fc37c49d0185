//! The journal's writer: runs begun, instances settled, runs finished; old runs forgotten.
//!
//! When the file turns out to be broken and is begun anew, the runs that this process has under way are written again
//! first, so that what follows refers to something. Called by the database's writer thread.

use super::millis;
use crate::db::{CommitError, DbFile, Held, Sink};
use rusqlite::{Connection, TransactionBehavior, params};
use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;
use sykli_core::id::{Digest, RunId};

/// Runs that are kept, and rows of instances of all of them together.
const MAX_RUNS: i64 = 500;
const MAX_INSTANCES: i64 = 3_000_000;
/// Runs forgotten at once: finishing a run must stay quick.
const FORGET_AT_ONCE: usize = 4;
/// The longest failure that is kept, in bytes.
const MAX_FAILURE_BYTES: usize = 2048;

/// A run that begins.
#[derive(Debug, Clone)]
pub struct NewRun {
    /// The pipeline's file, absolute.
    pub pipeline: PathBuf,
    /// The pipeline's name.
    pub name: String,
    /// How many instances it has.
    pub instances: u32,
    /// When it began.
    pub started: SystemTime,
}

/// What became of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It ran and passed.
    Passed,
    /// Its result was in the cache.
    Cached,
    /// It failed.
    Failed,
    /// Something that it waits for failed.
    Skipped,
    /// The run was cancelled first.
    Cancelled,
}

impl Outcome {
    const ALL: [Outcome; 5] = [
        Outcome::Passed,
        Outcome::Cached,
        Outcome::Failed,
        Outcome::Skipped,
        Outcome::Cancelled,
    ];

    pub(super) fn of_number(number: i64) -> Option<Outcome> {
        Outcome::ALL.get(usize::try_from(number).ok()?).copied()
    }
}

/// What became of one instance.
#[derive(Debug, Clone)]
pub struct Settled {
    /// The instance's label.
    pub label: Arc<str>,
    /// The declared task.
    pub task: Arc<str>,
    /// What became of it.
    pub outcome: Outcome,
    /// The digest of its manifest, which is the task digest; none where it was never prepared.
    pub digest: Option<Digest>,
    /// Which attempt ended it.
    pub attempt: u32,
    /// How long it ran, in milliseconds.
    pub wall_ms: u64,
    /// Fuel used.
    pub fuel: u64,
    /// Why it failed, for people.
    pub failure: Option<String>,
}

impl Settled {
    pub(super) fn weight(&self) -> usize {
        128 + self.label.len()
            + self.task.len()
            + self.failure.as_ref().map_or(0, |text| text.len())
    }
}

pub(crate) enum Op {
    Begin {
        id: RunId,
        run: Arc<NewRun>,
    },
    Settle {
        run: RunId,
        settled: Vec<Settled>,
    },
    Finish {
        run: RunId,
        passed: bool,
        at_ms: i64,
    },
}

pub(crate) struct JournalSink {
    held: Held,
    /// Runs under way, by id.
    under_way: BTreeMap<RunId, Arc<NewRun>>,
}

impl JournalSink {
    pub(crate) fn new(db: Arc<DbFile>) -> JournalSink {
        JournalSink {
            held: Held::new(db),
            under_way: BTreeMap::new(),
        }
    }
}

impl Sink for JournalSink {
    type Op = Op;

    fn commit(&mut self, ops: &mut Vec<Op>) -> Result<(), CommitError> {
        for op in ops.iter() {
            if let Op::Begin { id, run } = op {
                self.under_way.insert(id.clone(), Arc::clone(run));
            }
        }
        let under_way = &self.under_way;
        let outcome = self
            .held
            .write(|connection| apply_all(connection, under_way, ops));
        for op in ops.drain(..) {
            if let Op::Finish { run, .. } = op {
                self.under_way.remove(&run);
            }
        }
        outcome
    }
}

fn apply_all(
    connection: &mut Connection,
    under_way: &BTreeMap<RunId, Arc<NewRun>>,
    ops: &[Op],
) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut numbers = BTreeMap::new();
    // Also those begun before this batch: where the file is new, they are not in it.
    for (id, run) in under_way {
        numbers.insert(id, begin(&transaction, id, run)?);
    }
    let mut durations: BTreeMap<(&PathBuf, &str), (u64, u64)> = BTreeMap::new();
    for op in ops {
        match op {
            Op::Begin { .. } => {}
            Op::Settle { run, settled } => {
                let Some(number) = numbers.get(run) else {
                    continue;
                };
                for one in settled {
                    settle(&transaction, *number, one)?;
                    if let (Outcome::Passed, Some(known)) = (one.outcome, under_way.get(run)) {
                        let sum = durations.entry((&known.pipeline, &one.task)).or_default();
                        *sum = (sum.0.saturating_add(one.wall_ms), sum.1 + 1);
                    }
                }
            }
            Op::Finish { run, passed, at_ms } => {
                let Some(number) = numbers.get(run) else {
                    continue;
                };
                transaction
                    .prepare_cached("UPDATE runs SET finished_ms = ?2, passed = ?3 WHERE seq = ?1")?
                    .execute(params![number, at_ms, passed])?;
                forget_old(&transaction)?;
            }
        }
    }
    for ((pipeline, task), (sum, count)) in durations {
        // The new mean counts for a quarter: one slow day does not reorder everything.
        transaction
            .prepare_cached(
                "INSERT INTO durations (pipeline, task, wall_ms) VALUES (?1, ?2, ?3)
                 ON CONFLICT (pipeline, task) DO UPDATE SET wall_ms = (wall_ms * 3 + excluded.wall_ms) / 4",
            )?
            .execute(params![pipeline.as_os_str().as_bytes(), task, (sum / count.max(1)).cast_signed()])?;
    }
    transaction.commit()
}

/// The number of a run, which is written first where it is not there.
fn begin(connection: &Connection, id: &RunId, run: &NewRun) -> rusqlite::Result<i64> {
    connection
        .prepare_cached(
            "INSERT OR IGNORE INTO runs (id, pipeline, name, started_ms, instances) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![id.as_str(), run.pipeline.as_os_str().as_bytes(), run.name, millis(run.started), run.instances])?;
    connection
        .prepare_cached("SELECT seq FROM runs WHERE id = ?1")?
        .query_row([id.as_str()], |row| row.get(0))
}

fn settle(connection: &Connection, run: i64, settled: &Settled) -> rusqlite::Result<()> {
    let failure = settled.failure.as_deref().map(|text| {
        let mut end = text.len().min(MAX_FAILURE_BYTES);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.get(..end).unwrap_or_default()
    });
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO instances (run, label, task, outcome, digest, attempt, wall_ms, fuel, failure)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?
        .execute(params![
            run,
            &*settled.label,
            &*settled.task,
            settled.outcome as i64,
            settled.digest.as_ref().map(|digest| digest.as_bytes().as_slice()),
            settled.attempt,
            settled.wall_ms.cast_signed(),
            settled.fuel.cast_signed(),
            failure,
        ])
        .map(|_| ())
}

/// Forgets the oldest runs beyond the bounds, a few at a time.
fn forget_old(connection: &Connection) -> rusqlite::Result<()> {
    let mut runs =
        connection.prepare_cached("SELECT seq, instances FROM runs ORDER BY seq DESC")?;
    let mut runs = runs.query([])?;
    let (mut place, mut rows, mut old) = (0, 0i64, Vec::new());
    while let Some(run) = runs.next()? {
        place += 1;
        rows = rows.saturating_add(run.get(1)?);
        // The newest stays, however large it is.
        if place > 1 && (place > MAX_RUNS || rows > MAX_INSTANCES) {
            old.push(run.get(0)?);
        }
    }
    // The oldest first.
    let old: Vec<i64> = old.into_iter().rev().take(FORGET_AT_ONCE).collect();
    for run in old {
        connection
            .prepare_cached("DELETE FROM instances WHERE run = ?1")?
            .execute([run])?;
        connection
            .prepare_cached("DELETE FROM runs WHERE seq = ?1")?
            .execute([run])?;
    }
    Ok(())
}
