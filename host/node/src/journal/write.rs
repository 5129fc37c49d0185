//! The journal's writer: runs begun, instances settled, runs finished; old runs forgotten.
//!
//! When the file turns out to be broken and is begun anew, the runs that this process has under way are written again
//! first, so that what follows refers to something. Called by the database's writer thread.

use super::millis;
use super::receipts;
use super::steps::{self, NewStep};
use crate::db::{CommitError, DbFile, Held, Sink};
use crate::events::{NodeRef, PlannedTask};
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};
use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;
use sykli_core::id::{Digest, RunId};
use sykli_core::machine::Mode;

/// Runs that are kept, and rows of instances of all of them together.
const MAX_RUNS: i64 = 500;
const MAX_INSTANCES: i64 = 3_000_000;
/// Runs forgotten at once: finishing a run must stay quick.
const FORGET_AT_ONCE: usize = 4;
/// Steps that are kept, of all runs together.
const MAX_ALL_STEPS: i64 = 1_000_000;
/// The longest failure that is kept, in bytes.
const MAX_FAILURE_BYTES: usize = 2048;
/// Instances of a run whose last words are kept, and bytes of each of their streams.
const MAX_SAID: u32 = 128;
const MAX_SAID_BYTES: usize = 8 * 1024;
/// Declared tasks of a run that are kept for drawing it, and the bytes of all of them.
const MAX_TASKS: usize = 4096;
const MAX_TASKS_BYTES: usize = 256 * 1024;
/// Nodes of a run whose names are kept, and the longest of these, in bytes.
const MAX_NODES: i64 = 10_000;
pub(super) const MAX_NAME_BYTES: usize = 256;

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
    /// How far it reaches.
    pub mode: Mode,
    /// Its declared tasks in the order in which they are shown, for whoever draws it later.
    pub tasks: Vec<PlannedTask>,
}

impl NewRun {
    /// The tasks as they are kept; nothing where there are too many.
    fn drawn(&self) -> Option<String> {
        let some = Some(&self.tasks).filter(|tasks| (1..=MAX_TASKS).contains(&tasks.len()))?;
        let text = serde_json::to_string(some).ok()?;
        Some(text).filter(|text| text.len() <= MAX_TASKS_BYTES)
    }
}

/// The end of what a task wrote on its streams.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Said {
    /// Of standard output.
    pub stdout: String,
    /// Of standard error.
    pub stderr: String,
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
    /// The node that ran it; none where it was this one.
    pub node: Option<NodeRef>,
    /// That node had asked for work, rather than been offered it.
    pub stolen: bool,
    /// The end of what it wrote, where no cached result keeps all of it. Kept of the first 128 of a run.
    pub said: Option<Box<Said>>,
    /// What that node signed for it, in its one encoding.
    pub receipt: Option<Box<[u8]>>,
}

impl Settled {
    pub(super) fn weight(&self) -> usize {
        128 + self.label.len()
            + self.task.len()
            + self.failure.as_ref().map_or(0, |text| text.len())
            + self
                .node
                .as_ref()
                .map_or(0, |node| node.id.len() + node.name.len())
            + self
                .said
                .as_ref()
                .map_or(0, |said| said.stdout.len() + said.stderr.len())
            + self.receipt.as_ref().map_or(0, |receipt| receipt.len())
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
    Steps {
        run: RunId,
        steps: Vec<NewStep>,
    },
    Met {
        run: RunId,
        nodes: Vec<NodeRef>,
    },
    Proof(Vec<u8>),
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
    /// Instances of them whose last words were kept.
    said: BTreeMap<RunId, u32>,
}

impl JournalSink {
    pub(crate) fn new(db: Arc<DbFile>) -> JournalSink {
        JournalSink {
            held: Held::new(db),
            under_way: BTreeMap::new(),
            said: BTreeMap::new(),
        }
    }

    /// Last words beyond a run's share are not kept.
    fn limit(&mut self, run: &RunId, settled: &mut [Settled]) {
        for one in settled.iter_mut().filter(|one| one.said.is_some()) {
            let kept = self.said.entry(run.clone()).or_default();
            match *kept < MAX_SAID {
                true => *kept += 1,
                false => one.said = None,
            }
        }
    }
}

impl Sink for JournalSink {
    type Op = Op;

    fn commit(&mut self, ops: &mut Vec<Op>) -> Result<(), CommitError> {
        for op in ops.iter_mut() {
            match op {
                Op::Begin { id, run } => {
                    self.under_way.insert(id.clone(), Arc::clone(run));
                }
                Op::Settle { run, settled } => self.limit(run, settled),
                Op::Steps { .. } | Op::Met { .. } | Op::Proof(_) | Op::Finish { .. } => {}
            }
        }
        let under_way = &self.under_way;
        let outcome = self
            .held
            .write(|connection| apply_all(connection, under_way, ops));
        for op in ops.drain(..) {
            if let Op::Finish { run, .. } = op {
                self.under_way.remove(&run);
                self.said.remove(&run);
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
            Op::Steps { run, steps } => {
                if let Some(number) = numbers.get(run) {
                    note(&transaction, *number, steps)?;
                }
            }
            Op::Met { run, nodes } => {
                if let Some(number) = numbers.get(run) {
                    meet(&transaction, *number, nodes)?;
                }
            }
            Op::Proof(proof) => receipts::keep_proof(&transaction, proof)?,
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
    let known: Option<i64> = connection
        .prepare_cached("SELECT seq FROM runs WHERE id = ?1")?
        .query_row([id.as_str()], |row| row.get(0))
        .optional()?;
    if let Some(known) = known {
        return Ok(known);
    }
    connection
        .prepare_cached(
            "INSERT INTO runs (id, pipeline, name, started_ms, instances, mode, tasks)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute(params![
            id.as_str(),
            run.pipeline.as_os_str().as_bytes(),
            run.name,
            millis(run.started),
            run.instances,
            run.mode as i64,
            run.drawn(),
        ])?;
    Ok(connection.last_insert_rowid())
}

fn note(connection: &Connection, run: i64, steps: &[NewStep]) -> rusqlite::Result<()> {
    let mut nodes: Vec<&NodeRef> = steps.iter().map(|step| &step.node).collect();
    nodes.sort();
    nodes.dedup();
    meet(connection, run, nodes)?;
    let written = steps::append(connection, run, steps)?;
    connection
        .prepare_cached("UPDATE runs SET steps = steps + ?2 WHERE seq = ?1")?
        .execute(params![run, i64::try_from(written).unwrap_or(i64::MAX)])
        .map(|_| ())
}

fn meet<'a>(
    connection: &Connection,
    run: i64,
    nodes: impl IntoIterator<Item = &'a NodeRef>,
) -> rusqlite::Result<()> {
    let mut update = connection
        .prepare_cached("UPDATE nodes SET name = ?3 WHERE run = ?1 AND id = ?2 AND name <> ?3")?;
    let mut insert = connection.prepare_cached(
        "INSERT OR IGNORE INTO nodes (run, id, name) SELECT ?1, ?2, ?3
         WHERE (SELECT count(*) FROM nodes WHERE run = ?1) < ?4",
    )?;
    for node in nodes {
        let (id, name) = (
            clipped(&node.id, MAX_NAME_BYTES),
            clipped(&node.name, MAX_NAME_BYTES),
        );
        if update.execute(params![run, id, name])? == 0 {
            insert.execute(params![run, id, name, MAX_NODES])?;
        }
    }
    Ok(())
}

/// As much of a text as `most` bytes hold.
pub(super) fn clipped(text: &str, most: usize) -> &str {
    text.get(..text.floor_char_boundary(most)).unwrap_or(text)
}

/// As much of a text's end as `most` bytes hold.
fn clipped_end(text: &str, most: usize) -> &str {
    let from = text.ceil_char_boundary(text.len().saturating_sub(most));
    text.get(from..).unwrap_or_default()
}

fn settle(connection: &Connection, run: i64, settled: &Settled) -> rusqlite::Result<()> {
    let failure = settled.failure.as_deref();
    let failure = failure.map(|text| clipped(text, MAX_FAILURE_BYTES));
    if let Some(node) = &settled.node {
        meet(connection, run, [node])?;
    }
    let said = |of: fn(&Said) -> &String| {
        let said = settled.said.as_deref();
        said.map(|said| clipped_end(of(said), MAX_SAID_BYTES))
    };
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO instances (run, label, task, outcome, digest, attempt, wall_ms, fuel, failure, node,
                stolen, stdout, stderr) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
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
            settled.node.as_ref().map(|node| clipped(&node.id, MAX_NAME_BYTES)),
            settled.stolen,
            said(|said| &said.stdout),
            said(|said| &said.stderr),
        ])?;
    receipts::keep(connection, run, settled)
}

/// Forgets the oldest runs beyond the bounds, a few at a time.
fn forget_old(connection: &Connection) -> rusqlite::Result<()> {
    let mut runs =
        connection.prepare_cached("SELECT seq, instances, steps FROM runs ORDER BY seq DESC")?;
    let mut runs = runs.query([])?;
    let (mut place, mut rows, mut steps, mut old) = (0, 0i64, 0i64, Vec::new());
    while let Some(run) = runs.next()? {
        place += 1;
        rows = rows.saturating_add(run.get(1)?);
        steps = steps.saturating_add(run.get(2)?);
        // The newest stays, however large it is.
        if place > 1 && (place > MAX_RUNS || rows > MAX_INSTANCES || steps > MAX_ALL_STEPS) {
            old.push(run.get(0)?);
        }
    }
    // The oldest first.
    let old: Vec<i64> = old.into_iter().rev().take(FORGET_AT_ONCE).collect();
    for run in old {
        for sql in [
            "DELETE FROM instances WHERE run = ?1",
            "DELETE FROM steps WHERE run = ?1",
            "DELETE FROM nodes WHERE run = ?1",
            "DELETE FROM receipts WHERE run = ?1",
            "DELETE FROM runs WHERE seq = ?1",
        ] {
            connection.prepare_cached(sql)?.execute([run])?;
        }
    }
    Ok(())
}
