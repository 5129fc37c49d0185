//! The ledger's writer: records put, records forgotten, bounds kept, and each record's answer.
//!
//! Answers are given after the commit that they depend on, in order. One that is dropped instead, because something
//! panicked on the way, counts as "not durable": nobody waits for ever. Called by the database's writer thread.

use super::{MAX_OUTBOX, MAX_OUTBOX_OF_OWNER, MAX_RUNS, oldest};
use crate::db::{CommitError, DbFile, Held, Sink};
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use sykli_core::consent::{Forget, Record};
use sykli_core::id::{LeaseKey, NodeId, RunId};

/// An answer that is given exactly once.
pub(super) struct Done(Option<Box<dyn FnOnce(bool) + Send>>);

impl Done {
    pub(super) fn new(done: impl FnOnce(bool) + Send + 'static) -> Done {
        Done(Some(Box::new(done)))
    }

    /// Gives it.
    pub(super) fn tell(mut self, durable: bool) {
        self.give(durable);
    }

    fn give(&mut self, durable: bool) {
        if let Some(done) = self.0.take()
            && catch_unwind(AssertUnwindSafe(|| done(durable))).is_err()
        {
            // The others of this batch are durable, and must hear so.
            tracing::error!("whoever waited for a record panicked");
        }
    }
}

impl Drop for Done {
    fn drop(&mut self) {
        self.give(false);
    }
}

pub(super) enum Op {
    Put {
        record: Box<Record>,
        bytes: Vec<u8>,
        at_ms: i64,
        done: Done,
    },
    Forget(Forget),
}

pub(super) struct LedgerSink {
    held: Held,
}

impl LedgerSink {
    pub(super) fn new(db: Arc<DbFile>) -> LedgerSink {
        LedgerSink {
            held: Held::new(db),
        }
    }
}

impl Sink for LedgerSink {
    type Op = Op;

    fn commit(&mut self, ops: &mut Vec<Op>) -> Result<(), CommitError> {
        let mut kept = Vec::with_capacity(ops.len());
        let outcome = self
            .held
            .write(|connection| apply_all(connection, ops, &mut kept));
        if let Err(error) = &outcome {
            tracing::error!(%error, "the mesh's ledger could not be written");
        }
        for (op, kept) in ops
            .drain(..)
            .zip(kept.into_iter().chain(std::iter::repeat(false)))
        {
            if let Op::Put { done, .. } = op {
                done.tell(kept && outcome.is_ok());
            }
        }
        outcome
    }
}

/// One transaction; `kept` says for each operation whether it was let in.
fn apply_all(
    connection: &mut Connection,
    ops: &[Op],
    kept: &mut Vec<bool>,
) -> rusqlite::Result<()> {
    kept.clear();
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut room = Room::default();
    for op in ops {
        kept.push(match op {
            Op::Put {
                record,
                bytes,
                at_ms,
                ..
            } => put(&transaction, record, bytes, *at_ms, &mut room)?,
            Op::Forget(what) => {
                let gone = forget(&transaction, what)?;
                room.forgot(what, gone);
                true
            }
        });
    }
    transaction.commit()
}

/// What is known of the bounds within one transaction.
#[derive(Default)]
struct Room {
    /// Entries of the outbox; nothing before they are counted.
    outbox: Option<usize>,
    of_owner: BTreeMap<NodeId, usize>,
    runs: BTreeSet<RunId>,
}

impl Room {
    /// `gone` rows went with it.
    fn forgot(&mut self, what: &Forget, gone: usize) {
        match what {
            Forget::Offered { .. } => {}
            Forget::Finished { owner, .. } => {
                if let Some(all) = &mut self.outbox {
                    *all = all.saturating_sub(gone);
                }
                if let Some(of_owner) = self.of_owner.get_mut(owner) {
                    *of_owner = of_owner.saturating_sub(gone);
                }
            }
            Forget::Run { run } => drop(self.runs.remove(run)),
        }
    }
}

fn put(
    connection: &Connection,
    record: &Record,
    bytes: &[u8],
    at_ms: i64,
    room: &mut Room,
) -> rusqlite::Result<bool> {
    match record {
        Record::Reserved { run, below } => {
            know_run(connection, run, room)?;
            // What was reserved before stays so.
            connection
                .prepare_cached("UPDATE runs SET fence = max(fence, ?2) WHERE run = ?1")?
                .execute(params![run.as_str(), below.0])?;
            Ok(true)
        }
        Record::Offered { key, .. } => {
            know_run(connection, &key.run, room)?;
            // A lower attempt than the one that is known changes nothing: what matters is the highest.
            connection
                .prepare_cached(
                    "INSERT INTO offered (run, task, attempt, open, record) VALUES (?1, ?2, ?3, 1, ?4)
                     ON CONFLICT (run, task) DO UPDATE SET attempt = excluded.attempt, open = 1, record = excluded.record
                     WHERE excluded.attempt >= attempt",
                )?
                .execute(params![key.run.as_str(), key.task.0, key.attempt.0, bytes])?;
            Ok(true)
        }
        Record::Committed { key, .. } => {
            know_run(connection, &key.run, room)?;
            // A result whose outputs the cache has lost is made anew, and is then the task's only one.
            connection
                .prepare_cached(
                    "INSERT OR REPLACE INTO committed (run, task, record) VALUES (?1, ?2, ?3)",
                )?
                .execute(params![key.run.as_str(), key.task.0, bytes])?;
            Ok(true)
        }
        Record::Finished { owner, key, .. } => {
            if !make_room(connection, owner, key, at_ms, room)? {
                return Ok(false);
            }
            connection
                .prepare_cached(
                    "INSERT INTO outbox (owner, run, task, attempt, at_ms, record) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                )?
                .execute(params![
                    owner.0.as_slice(),
                    key.run.as_str(),
                    key.task.0,
                    key.attempt.0,
                    at_ms,
                    bytes
                ])?;
            Ok(true)
        }
    }
}

/// Notes that something of this run is kept; forgets the oldest beyond the bound.
fn know_run(connection: &Connection, run: &RunId, room: &mut Room) -> rusqlite::Result<()> {
    if !room.runs.insert(run.clone()) {
        return Ok(());
    }
    let added = connection
        .prepare_cached("INSERT OR IGNORE INTO runs (run) VALUES (?1)")?
        .execute([run.as_str()])?;
    if added == 0 {
        return Ok(());
    }
    let beyond: Option<String> = connection
        .prepare_cached("SELECT run FROM runs ORDER BY seq DESC LIMIT 1 OFFSET ?1")?
        .query_row([i64::try_from(MAX_RUNS).unwrap_or(i64::MAX)], |row| {
            row.get(0)
        })
        .optional()?;
    match beyond {
        Some(oldest) => forget_run(connection, &oldest),
        None => Ok(()),
    }
}

/// Sees to it that one more result may wait for `owner`: what is too old goes, and of an owner with its full share its
/// oldest. A full outbox takes from the same owner; one that has nothing in it is refused rather than let in at another's
/// cost.
fn make_room(
    connection: &Connection,
    owner: &NodeId,
    key: &LeaseKey,
    at_ms: i64,
    room: &mut Room,
) -> rusqlite::Result<bool> {
    let again = connection
        .prepare_cached(
            "DELETE FROM outbox WHERE owner = ?1 AND run = ?2 AND task = ?3 AND attempt = ?4",
        )?
        .execute(params![
            owner.0.as_slice(),
            key.run.as_str(),
            key.task.0,
            key.attempt.0
        ])?;
    if again > 0 {
        return Ok(true);
    }
    let all = match room.outbox {
        Some(known) => known,
        None => {
            connection
                .prepare_cached("DELETE FROM outbox WHERE at_ms < ?1")?
                .execute([oldest(at_ms)])?;
            count(connection, "SELECT count(*) FROM outbox", &[])?
        }
    };
    let of_owner = match room.of_owner.get(owner) {
        Some(known) => *known,
        None => count(
            connection,
            "SELECT count(*) FROM outbox WHERE owner = ?1",
            &[&owner.0.as_slice()],
        )?,
    };
    let is_full = all >= MAX_OUTBOX || of_owner >= MAX_OUTBOX_OF_OWNER;
    let let_in = !is_full || of_owner > 0;
    if is_full && let_in {
        connection
            .prepare_cached(
                "DELETE FROM outbox WHERE seq = (SELECT min(seq) FROM outbox WHERE owner = ?1)",
            )?
            .execute([owner.0.as_slice()])?;
    }
    let grown = usize::from(!is_full);
    room.outbox = Some(all + grown);
    room.of_owner.insert(*owner, of_owner + grown);
    Ok(let_in)
}

fn count(
    connection: &Connection,
    sql: &str,
    values: &[&dyn rusqlite::ToSql],
) -> rusqlite::Result<usize> {
    let counted: i64 = connection
        .prepare_cached(sql)?
        .query_row(values, |row| row.get(0))?;
    Ok(usize::try_from(counted).unwrap_or(usize::MAX))
}

/// How many rows that concerned.
fn forget(connection: &Connection, what: &Forget) -> rusqlite::Result<usize> {
    match what {
        Forget::Offered { key } => connection
            .prepare_cached(
                "UPDATE offered SET open = 0 WHERE run = ?1 AND task = ?2 AND attempt = ?3",
            )?
            .execute(params![key.run.as_str(), key.task.0, key.attempt.0]),
        Forget::Finished { owner, key } => connection
            .prepare_cached(
                "DELETE FROM outbox WHERE owner = ?1 AND run = ?2 AND task = ?3 AND attempt = ?4",
            )?
            .execute(params![
                owner.0.as_slice(),
                key.run.as_str(),
                key.task.0,
                key.attempt.0
            ]),
        Forget::Run { run } => forget_run(connection, run.as_str()).map(|()| 0),
    }
}

fn forget_run(connection: &Connection, run: &str) -> rusqlite::Result<()> {
    for sql in [
        "DELETE FROM offered WHERE run = ?1",
        "DELETE FROM committed WHERE run = ?1",
        "DELETE FROM runs WHERE run = ?1",
    ] {
        connection.prepare_cached(sql)?.execute([run])?;
    }
    Ok(())
}
