//! What executors signed: the receipt of each instance that ran elsewhere, and proofs of nodes that signed two that differ.
//!
//! Bytes only, in the one encoding of `sykli_core::receipt`; whether a signature holds is looked at by whoever uses them.
//! A receipt goes with its run. Of proofs the last [`MAX_PROOFS`] are kept. Called by the journal's writer, the mesh node
//! and whoever exports receipts.

use super::{Journal, Outcome, Settled, Ticket, write};
use rusqlite::{Connection, params};
use sykli_core::id::RunId;
use sykli_core::receipt::{Contradiction, Receipt};
use sykli_core::signed::Signed;

/// Proofs that are kept, the oldest go first.
const MAX_PROOFS: i64 = 1_000;

/// A receipt that is kept, and what it is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// The instance's label.
    pub label: String,
    /// The declared task.
    pub task: String,
    /// What its executor signed.
    pub receipt: Signed<Receipt>,
}

impl Journal {
    /// Keeps a proof of what a node did.
    pub fn keep_proof(&self, proof: &Contradiction) -> Ticket {
        let bytes = proof.encode();
        let weight = bytes.len() + 128;
        self.inner.writer.push(write::Op::Proof(bytes), weight)
    }

    /// The receipts of a run, sorted by label. Not those of what ran here after all, when the run was gone on with.
    pub fn receipts(&self, run: &RunId) -> Vec<Kept> {
        let rows = self.inner.db.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT r.label, i.task, r.receipt FROM receipts r JOIN instances i ON i.run = r.run AND i.label = r.label
                 WHERE r.run = (SELECT seq FROM runs WHERE id = ?1) AND (i.node IS NOT NULL OR i.outcome = ?2)
                 ORDER BY r.label",
            )?;
            let cached = Outcome::Cached as i64;
            let rows = statement.query_map(params![run.as_str(), cached], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })?;
            rows.collect::<rusqlite::Result<Vec<(String, String, Vec<u8>)>>>()
        });
        let rows = rows.into_iter().flatten();
        let kept = rows.filter_map(|(label, task, bytes)| {
            let receipt = Signed::decode(&bytes).ok()?;
            Some(Kept {
                label,
                task,
                receipt,
            })
        });
        kept.collect()
    }

    /// The proofs that are kept, the oldest first.
    pub fn proofs(&self) -> Vec<Contradiction> {
        let rows = self.inner.db.read(|connection| {
            let mut statement =
                connection.prepare_cached("SELECT proof FROM proofs ORDER BY seq")?;
            let rows = statement.query_map([], |row| row.get(0))?;
            rows.collect::<rusqlite::Result<Vec<Vec<u8>>>>()
        });
        let rows = rows.into_iter().flatten();
        rows.filter_map(|bytes| Contradiction::decode(&bytes).ok())
            .collect()
    }
}

/// An instance's receipt, as it was settled last.
pub(super) fn keep(connection: &Connection, run: i64, settled: &Settled) -> rusqlite::Result<()> {
    let Some(receipt) = &settled.receipt else {
        return Ok(());
    };
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO receipts (run, label, receipt) VALUES (?1, ?2, ?3)",
        )?
        .execute(params![run, &*settled.label, &**receipt])
        .map(drop)
}

pub(super) fn keep_proof(connection: &Connection, proof: &[u8]) -> rusqlite::Result<()> {
    connection
        .prepare_cached("INSERT OR IGNORE INTO proofs (proof) VALUES (?1)")?
        .execute([proof])?;
    connection
        .prepare_cached("DELETE FROM proofs WHERE seq <= (SELECT max(seq) FROM proofs) - ?1")?
        .execute([MAX_PROOFS])
        .map(drop)
}
