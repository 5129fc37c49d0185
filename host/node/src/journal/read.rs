//! What the journal knows of earlier runs. A read that fails knows nothing.

use super::{Journal, Outcome};
use crate::events::NodeRef;
use rusqlite::{Connection, OptionalExtension, Row, params};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use sykli_core::id::{Digest, RunId};
use sykli_core::machine::Mode;

/// How many earlier runs are searched for an instance's last manifest.
const RUNS_BACK: usize = 50;

/// One run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Its name.
    pub id: RunId,
    /// The pipeline's file.
    pub pipeline: PathBuf,
    /// The pipeline's name.
    pub name: String,
    /// When it began, in milliseconds since 1970.
    pub started_ms: u64,
    /// When it ended, in milliseconds since 1970.
    pub finished_ms: Option<u64>,
    /// How it stands.
    pub state: RunState,
    /// How many instances it had.
    pub instances: u32,
    /// How far it reached.
    pub mode: Mode,
}

/// How a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunState {
    /// It goes on, in this process or another.
    Running,
    /// It ended, and everything passed.
    Passed,
    /// It ended, and something did not pass.
    Failed,
    /// Its process ended before it did.
    Interrupted,
}

/// One instance of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// Its label.
    pub label: String,
    /// The declared task.
    pub task: String,
    /// What became of it.
    pub outcome: Outcome,
    /// The digest of its manifest.
    pub digest: Option<Digest>,
    /// Which attempt ended it.
    pub attempt: u32,
    /// How long it ran, in milliseconds.
    pub wall_ms: u64,
    /// Fuel used.
    pub fuel: u64,
    /// Why it failed.
    pub failure: Option<String>,
    /// The node that ran it; none where it was this one.
    pub node: Option<NodeRef>,
    /// That node had asked for work, rather than been offered it.
    pub stolen: bool,
}

/// A query for runs.
pub(super) fn with_columns(rest: &str) -> String {
    format!(
        "SELECT id, pipeline, name, started_ms, finished_ms, passed, instances, mode FROM runs {rest}"
    )
}

impl Journal {
    /// How long each task of a pipeline took lately, in milliseconds, by name.
    pub fn durations(&self, pipeline: &Path) -> BTreeMap<String, u64> {
        let rows = self.inner.db.read(|connection| {
            let mut statement = connection
                .prepare_cached("SELECT task, wall_ms FROM durations WHERE pipeline = ?1")?;
            let rows = statement.query_map([bytes(pipeline)], |row| {
                Ok((row.get(0)?, unsigned(row, 1)?))
            })?;
            rows.collect()
        });
        rows.unwrap_or_default()
    }

    /// The digest of the manifest that each instance of a pipeline had when it was last prepared, by label.
    pub fn last_manifests<'a>(
        &self,
        pipeline: &Path,
        labels: impl IntoIterator<Item = &'a str>,
    ) -> BTreeMap<String, Digest> {
        let labels: BTreeSet<&str> = labels.into_iter().collect();
        self.inner
            .db
            .read(|connection| last_manifests(connection, pipeline, labels))
            .unwrap_or_default()
    }

    /// The newest runs, the newest first, of one pipeline or of all.
    pub fn runs(&self, pipeline: Option<&Path>, limit: usize) -> Vec<Run> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = self.inner.db.read(|connection| match pipeline {
            Some(pipeline) => collect(
                connection,
                &with_columns("WHERE pipeline = ?1 ORDER BY seq DESC LIMIT ?2"),
                params![bytes(pipeline), limit],
            ),
            None => collect(
                connection,
                &with_columns("ORDER BY seq DESC LIMIT ?1"),
                params![limit],
            ),
        });
        self.with_states(rows)
    }

    /// The newest run, of one pipeline or of all.
    pub fn last_run(&self, pipeline: Option<&Path>) -> Option<Run> {
        self.runs(pipeline, 1).pop()
    }

    /// One run by its name.
    pub fn run(&self, id: &RunId) -> Option<Run> {
        let rows = self.inner.db.read(|connection| {
            collect(
                connection,
                &with_columns("WHERE id = ?1"),
                params![id.as_str()],
            )
        });
        self.with_states(rows).pop()
    }

    /// What became of the instances of a run, sorted by label.
    pub fn instances(&self, run: &RunId) -> Vec<Instance> {
        let rows = self.inner.db.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT i.label, i.task, i.outcome, i.digest, i.attempt, i.wall_ms, i.fuel, i.failure, i.node, n.name,
                    i.stolen FROM instances i LEFT JOIN nodes n ON n.run = i.run AND n.id = i.node
                 WHERE i.run = (SELECT seq FROM runs WHERE id = ?1) ORDER BY i.label",
            )?;
            let rows = statement.query_map([run.as_str()], instance)?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        });
        rows.into_iter().flatten().flatten().collect()
    }

    /// A run that has not ended is alive as long as its process holds its lock.
    pub(super) fn with_states(&self, rows: Option<Vec<Option<Run>>>) -> Vec<Run> {
        let mut runs: Vec<Run> = rows.into_iter().flatten().flatten().collect();
        for run in &mut runs {
            if run.state == RunState::Running && !self.is_alive(&run.id) {
                run.state = RunState::Interrupted;
            }
        }
        runs
    }
}

pub(super) fn bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_bytes()
}

fn unsigned(row: &Row<'_>, at: usize) -> rusqlite::Result<u64> {
    row.get::<_, i64>(at).map(i64::cast_unsigned)
}

pub(super) fn collect(
    connection: &Connection,
    sql: &str,
    values: &[&dyn rusqlite::ToSql],
) -> rusqlite::Result<Vec<Option<Run>>> {
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map(values, run)?;
    rows.collect()
}

/// A row that makes no sense is left out.
fn run(row: &Row<'_>) -> rusqlite::Result<Option<Run>> {
    let pipeline: Vec<u8> = row.get(1)?;
    let state = match (
        row.get::<_, Option<i64>>(4)?,
        row.get::<_, Option<bool>>(5)?,
    ) {
        (None, _) => RunState::Running,
        (Some(_), Some(true)) => RunState::Passed,
        (Some(_), _) => RunState::Failed,
    };
    let id: String = row.get(0)?;
    let Ok(id) = RunId::new(id) else {
        return Ok(None);
    };
    Ok(Some(Run {
        id,
        pipeline: PathBuf::from(OsStr::from_bytes(&pipeline)),
        name: row.get(2)?,
        started_ms: unsigned(row, 3)?,
        finished_ms: row.get::<_, Option<i64>>(4)?.map(i64::cast_unsigned),
        state,
        instances: row.get(6)?,
        mode: match row.get(7)? {
            0 => Mode::Solo,
            1 => Mode::Mesh,
            _ => Mode::Swarm,
        },
    }))
}

fn instance(row: &Row<'_>) -> rusqlite::Result<Option<Instance>> {
    let Some(outcome) = Outcome::of_number(row.get(2)?) else {
        return Ok(None);
    };
    Ok(Some(Instance {
        label: row.get(0)?,
        task: row.get(1)?,
        outcome,
        digest: digest(row, 3)?,
        attempt: row.get(4)?,
        wall_ms: unsigned(row, 5)?,
        fuel: unsigned(row, 6)?,
        failure: row.get(7)?,
        node: node(row, 8)?,
        stolen: row.get(10)?,
    }))
}

/// The columns of a node's id and name, from `at` on.
pub(super) fn node(row: &Row<'_>, at: usize) -> rusqlite::Result<Option<NodeRef>> {
    let (id, name): (Option<String>, Option<String>) = (row.get(at)?, row.get(at + 1)?);
    Ok(id.map(|id| NodeRef {
        name: name.unwrap_or_else(|| id.clone()),
        id,
    }))
}

fn digest(row: &Row<'_>, at: usize) -> rusqlite::Result<Option<Digest>> {
    let bytes: Option<Vec<u8>> = row.get(at)?;
    Ok(bytes
        .and_then(|bytes| <[u8; 32]>::try_from(bytes).ok())
        .map(Digest))
}

fn last_manifests(
    connection: &Connection,
    pipeline: &Path,
    mut wanted: BTreeSet<&str>,
) -> rusqlite::Result<BTreeMap<String, Digest>> {
    let snapshot = connection.unchecked_transaction()?;
    let mut runs = snapshot
        .prepare_cached("SELECT seq FROM runs WHERE pipeline = ?1 ORDER BY seq DESC LIMIT ?2")?;
    let runs: Vec<i64> = runs
        .query_map(params![bytes(pipeline), RUNS_BACK as i64], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    let mut one =
        snapshot.prepare_cached("SELECT digest FROM instances WHERE run = ?1 AND label = ?2")?;
    let mut found = BTreeMap::new();
    for run in runs {
        let mut missing = BTreeSet::new();
        for label in wanted {
            match one
                .query_row(params![run, label], |row| digest(row, 0))
                .optional()?
                .flatten()
            {
                Some(digest) => drop(found.insert(label.to_owned(), digest)),
                None => drop(missing.insert(label)),
            }
        }
        wanted = missing;
        if wanted.is_empty() {
            break;
        }
    }
    Ok(found)
}
