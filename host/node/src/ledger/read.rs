//! What the ledger says after a restart. A row that cannot be understood is left out and logged, but an attempt that was
//! offered is spent however its record reads. Called by [`super::Ledger`].

use rusqlite::{Connection, OptionalExtension};
use sykli_core::consent::{Record, Spent};
use sykli_core::id::{Attempt, LeaseKey, NodeId, RunId, TaskId};
use sykli_core::receipt::SignedClaim;
use sykli_core::wire::decode_record;

fn decoded(bytes: &[u8]) -> Option<Record> {
    decode_record(bytes)
        .inspect_err(|error| tracing::warn!(%error, "a record of the ledger is not understood"))
        .ok()
}

pub(super) fn outbox(
    connection: &Connection,
    since_ms: i64,
) -> rusqlite::Result<Vec<(NodeId, LeaseKey, Box<SignedClaim>)>> {
    let mut statement =
        connection.prepare_cached("SELECT record FROM outbox WHERE at_ms >= ?1 ORDER BY seq")?;
    let rows = statement.query_map([since_ms], |row| row.get(0))?;
    let rows = rows.collect::<rusqlite::Result<Vec<Vec<u8>>>>()?;
    let entries = rows.iter().filter_map(|bytes| match decoded(bytes)? {
        Record::Finished { owner, key, claim } => Some((owner, key, claim)),
        Record::Reserved { .. } | Record::Offered { .. } | Record::Committed { .. } => None,
    });
    Ok(entries.collect())
}

pub(super) fn spent(connection: &Connection, run: &RunId) -> rusqlite::Result<Vec<Spent>> {
    let mut statement = connection.prepare_cached(
        "SELECT task, attempt, open, record FROM offered WHERE run = ?1 ORDER BY task",
    )?;
    let rows = statement.query_map([run.as_str()], |row| {
        let bytes: Vec<u8> = row.get(3)?;
        let under_way = row.get(2)?;
        Ok(Spent {
            task: TaskId(row.get(0)?),
            attempt: Attempt(row.get(1)?),
            open: match decoded(&bytes) {
                Some(Record::Offered { peer, nonce, .. }) if under_way => Some((peer, nonce)),
                _ => None,
            },
        })
    })?;
    rows.collect()
}

pub(super) fn fence(connection: &Connection, run: &RunId) -> rusqlite::Result<Attempt> {
    let mut statement = connection.prepare_cached("SELECT fence FROM runs WHERE run = ?1")?;
    let fence = statement.query_row([run.as_str()], |row| row.get(0));
    Ok(fence.optional()?.map_or(Attempt::FIRST, Attempt))
}

pub(super) fn committed(
    connection: &Connection,
    run: &RunId,
) -> rusqlite::Result<Vec<(LeaseKey, Box<SignedClaim>)>> {
    let mut statement =
        connection.prepare_cached("SELECT record FROM committed WHERE run = ?1 ORDER BY task")?;
    let rows = statement.query_map([run.as_str()], |row| row.get(0))?;
    let rows = rows.collect::<rusqlite::Result<Vec<Vec<u8>>>>()?;
    let results = rows.iter().filter_map(|bytes| match decoded(bytes)? {
        Record::Committed { key, claim } => Some((key, claim)),
        Record::Reserved { .. } | Record::Offered { .. } | Record::Finished { .. } => None,
    });
    Ok(results.collect())
}

pub(super) fn runs(connection: &Connection) -> rusqlite::Result<Vec<RunId>> {
    let mut statement = connection.prepare_cached("SELECT run FROM runs ORDER BY seq")?;
    let rows = statement.query_map([], |row| row.get::<_, String>(0))?;
    let rows = rows.collect::<rusqlite::Result<Vec<String>>>()?;
    Ok(rows
        .into_iter()
        .filter_map(|run| RunId::new(run).ok())
        .collect())
}
