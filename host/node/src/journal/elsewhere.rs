//! What the journal knows of a run beyond its instances: how they ended in numbers, which nodes it met, what happened to
//! its tasks on their way, what a task wrote, and how its pipeline was drawn. A read that fails knows nothing.

use super::read::{Run, RunState, collect, node, with_columns};
use super::steps::{self, Noted};
use super::{Journal, Outcome, Said};
use crate::events::{Counts, NodeRef, PlannedTask};
use rusqlite::{OptionalExtension, params};
use std::collections::BTreeMap;
use std::path::Path;
use sykli_core::id::RunId;

/// Unfinished runs that are looked at when one of them is asked for.
const UNFINISHED_BACK: i64 = 100;

/// How the instances of a run ended, and where they ran.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// By how they ended.
    pub counts: Counts,
    /// Those that ran on another node, by node, most first.
    pub elsewhere: Vec<(NodeRef, u32)>,
}

/// Instances of one declared task that ended alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ends {
    /// The declared task.
    pub task: String,
    /// How they ended.
    pub outcome: Outcome,
    /// The node that ran them; none where it was this one, or nobody.
    pub node: Option<NodeRef>,
    /// How many.
    pub instances: u32,
}

impl Journal {
    /// How many instances of each declared task ended how, and on which other node; by task.
    pub fn ends(&self, run: &RunId) -> Vec<Ends> {
        let rows = self.inner.db.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT i.task, i.outcome, i.node, n.name, count(*) FROM instances i
                 LEFT JOIN nodes n ON n.run = i.run AND n.id = i.node
                 WHERE i.run = (SELECT seq FROM runs WHERE id = ?1) GROUP BY i.task, i.outcome, i.node",
            )?;
            let rows = statement.query_map([run.as_str()], |row| {
                let Some(outcome) = Outcome::of_number(row.get(1)?) else {
                    return Ok(None);
                };
                Ok(Some(Ends {
                    task: row.get(0)?,
                    outcome,
                    node: node(row, 2)?,
                    instances: row.get(4)?,
                }))
            })?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        });
        rows.into_iter().flatten().flatten().collect()
    }

    /// How the instances of a run ended, as far as they have.
    pub fn tally(&self, run: &RunId) -> Tally {
        let mut tally = Tally::default();
        let mut elsewhere = BTreeMap::<NodeRef, u32>::new();
        for ends in self.ends(run) {
            let counts = &mut tally.counts;
            match ends.outcome {
                Outcome::Passed => counts.passed += ends.instances,
                Outcome::Cached => counts.cached += ends.instances,
                Outcome::Failed => counts.failed += ends.instances,
                Outcome::Skipped => counts.skipped += ends.instances,
                Outcome::Cancelled => counts.cancelled += ends.instances,
            }
            if let Some(node) = ends.node {
                *elsewhere.entry(node).or_default() += ends.instances;
            }
        }
        tally.elsewhere = elsewhere.into_iter().collect();
        let most = |one: &(NodeRef, u32)| (u32::MAX - one.1, one.0.name.clone());
        tally.elsewhere.sort_by_key(most);
        tally
    }

    /// What happened to the tasks of a run on their way to other nodes, in order; of one instance or of all.
    pub fn steps(&self, run: &RunId, label: Option<&str>) -> Vec<Noted> {
        let rows = self.inner.db.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT s.label, s.at_ms, s.attempt, s.node, n.name, s.kind, s.detail FROM steps s
                 LEFT JOIN nodes n ON n.run = s.run AND n.id = s.node
                 WHERE s.run = (SELECT seq FROM runs WHERE id = ?1) AND (?2 IS NULL OR s.label = ?2)
                 ORDER BY s.label, s.place",
            )?;
            let rows = statement.query_map(params![run.as_str(), label], steps::noted)?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        });
        rows.into_iter().flatten().flatten().collect()
    }

    /// The nodes that a run has met, by name.
    pub fn nodes(&self, run: &RunId) -> Vec<NodeRef> {
        let rows = self.inner.db.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT id, name FROM nodes WHERE run = (SELECT seq FROM runs WHERE id = ?1) ORDER BY name, id",
            )?;
            let rows = statement.query_map([run.as_str()], |row| {
                Ok(NodeRef {
                    id: row.get(0)?,
                    name: row.get(1)?,
                })
            })?;
            rows.collect()
        });
        rows.unwrap_or_default()
    }

    /// The end of what an instance wrote, where no cached result has all of it.
    pub fn said(&self, run: &RunId, label: &str) -> Option<Said> {
        let row = self.inner.db.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT stdout, stderr FROM instances
                 WHERE run = (SELECT seq FROM runs WHERE id = ?1) AND label = ?2",
            )?;
            let row = statement.query_row(params![run.as_str(), label], |row| {
                Ok((row.get(0)?, row.get(1)?))
            });
            row.optional()
        });
        let (stdout, stderr): (Option<String>, Option<String>) = row.flatten()?;
        (stdout.is_some() || stderr.is_some()).then(|| Said {
            stdout: stdout.unwrap_or_default(),
            stderr: stderr.unwrap_or_default(),
        })
    }

    /// The declared tasks of a run in the order in which they are shown; none where the pipeline is too large for that,
    /// or an older version recorded the run.
    pub fn planned(&self, run: &RunId) -> Vec<PlannedTask> {
        let text = self.inner.db.read(|connection| {
            let mut statement =
                connection.prepare_cached("SELECT tasks FROM runs WHERE id = ?1")?;
            let text = statement.query_row([run.as_str()], |row| row.get(0));
            text.optional()
        });
        let text: Option<String> = text.flatten().flatten();
        text.and_then(|text| serde_json::from_str(&text).ok())
            .unwrap_or_default()
    }

    /// The newest run, of one pipeline or of all, whose process ended before it did: what `--resume` goes on with.
    pub fn last_unfinished(&self, pipeline: Option<&Path>) -> Option<Run> {
        let unfinished = self.unfinished(pipeline);
        let mut unfinished = unfinished.into_iter();
        unfinished.find(|run| run.state == RunState::Interrupted)
    }

    /// Runs that have not ended, the newest first: they go on somewhere, or their process was killed.
    pub fn unfinished(&self, pipeline: Option<&Path>) -> Vec<Run> {
        let pipeline = pipeline.map(super::read::bytes);
        let rows = self.inner.db.read(|connection| {
            collect(
                connection,
                &with_columns(
                    "WHERE finished_ms IS NULL AND (?1 IS NULL OR pipeline = ?1) ORDER BY seq DESC LIMIT ?2",
                ),
                params![pipeline, UNFINISHED_BACK],
            )
        });
        self.with_states(rows)
    }

    /// Runs whose name begins like this, the newest first, at most `limit`.
    pub fn runs_named(&self, prefix: &str, limit: usize) -> Vec<Run> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = self.inner.db.read(|connection| {
            collect(
                connection,
                &with_columns("WHERE substr(id, 1, length(?1)) = ?1 ORDER BY seq DESC LIMIT ?2"),
                params![prefix, limit],
            )
        });
        self.with_states(rows)
    }
}
