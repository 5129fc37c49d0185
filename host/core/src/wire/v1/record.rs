//! What the journal and the outbox keep: records, and claims by themselves. Their kinds, 0x40 and on, are none of a
//! message's, so that neither is ever taken for the other.
//!
//! The same encoding as in transit: a claim has one form of bytes, which is also what its executor signs. Called by the
//! node's store and whoever checks a claim's signature.

use super::Skipped;
use super::input::{self, Input};
use super::lease;
use super::output::{self, Output, Written};
use crate::consent::{Claim, Record};
use crate::id::Attempt;
use crate::wire::WireError;

const OFFERED: u64 = 0x40;
const COMMITTED: u64 = 0x41;
const FINISHED: u64 = 0x42;
const CLAIM: u64 = 0x43;
const RESERVED: u64 = 0x44;

/// A record as the journal keeps it.
///
/// # Errors
/// When a part of its claim exceeds its cap.
pub fn encode_record(record: &Record) -> Result<Vec<u8>, WireError> {
    let kind = match record {
        Record::Offered { .. } => OFFERED,
        Record::Committed { .. } => COMMITTED,
        Record::Finished { .. } => FINISHED,
        Record::Reserved { .. } => RESERVED,
    };
    output::frame(kind, |out| write(record, out))
}

/// The record that the journal kept.
///
/// # Errors
/// Whatever is no record in its one form; [`WireError::is_offence`] tells what a newer sykli wrote from what is broken.
pub fn decode_record(bytes: &[u8]) -> Result<Record, WireError> {
    decode_noting(bytes).map(|(record, _)| record)
}

/// A claim by itself: what its executor signs.
///
/// # Errors
/// When a part of it exceeds its cap.
pub fn encode_claim(claim: &Claim) -> Result<Vec<u8>, WireError> {
    output::frame(CLAIM, |out| lease::write_claim(claim, out))
}

/// The claim that [`encode_claim`] wrote.
///
/// # Errors
/// Whatever is no claim in its one form.
pub fn decode_claim(bytes: &[u8]) -> Result<Claim, WireError> {
    let read = input::frame(bytes, |kind, input| match kind {
        CLAIM => lease::read_claim(input).map(Some),
        _ => Ok(None),
    });
    read.map(|(claim, _)| claim)
}

fn write(record: &Record, out: &mut Output) -> Written {
    match record {
        Record::Offered { key, peer, nonce } => {
            out.map(3)?;
            lease::write_key(key, out.key(1)?)?;
            out.key(2)?.node(peer)?;
            out.key(3)?.uint(*nonce)
        }
        Record::Committed { key, claim } => {
            out.map(2)?;
            lease::write_key(key, out.key(1)?)?;
            lease::write_claim(claim, out.key(2)?)
        }
        Record::Finished { owner, key, claim } => {
            out.map(3)?;
            out.key(1)?.node(owner)?;
            lease::write_key(key, out.key(2)?)?;
            lease::write_claim(claim, out.key(3)?)
        }
        Record::Reserved { run, below } => {
            out.map(2)?;
            lease::write_run(run, out.key(1)?)?;
            out.key(2)?.uint(below.0.into())
        }
    }
}

pub(crate) fn decode_noting(bytes: &[u8]) -> Result<(Record, Skipped), WireError> {
    input::frame(bytes, |kind, input| {
        let record = match kind {
            OFFERED => input.map("Offered", |fields| {
                Ok(Record::Offered {
                    key: fields.get(1, lease::read_key)?,
                    peer: fields.get(2, Input::node)?,
                    nonce: fields.get(3, Input::uint)?,
                })
            }),
            COMMITTED => input.map("Committed", |fields| {
                Ok(Record::Committed {
                    key: fields.get(1, lease::read_key)?,
                    claim: Box::new(fields.get(2, lease::read_claim)?),
                })
            }),
            FINISHED => input.map("Finished", |fields| {
                Ok(Record::Finished {
                    owner: fields.get(1, Input::node)?,
                    key: fields.get(2, lease::read_key)?,
                    claim: Box::new(fields.get(3, lease::read_claim)?),
                })
            }),
            RESERVED => input.map("Reserved", |fields| {
                Ok(Record::Reserved {
                    run: fields.get(1, lease::read_run)?,
                    below: Attempt(fields.get(2, Input::uint32)?),
                })
            }),
            _ => return Ok(None),
        };
        record.map(Some)
    })
}
