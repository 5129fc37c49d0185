//! What many messages hold: the key of a lease, the claim of a result with its seal, and bytes that go in messages. Called by
//! the messages' own files.

use super::input::{Fields, Input};
use super::output::{Output, Written};
use super::{CODE, ENGINE, MESSAGE, PIECE_BYTES, RUN, SIGNATURE};
use crate::consent::{Claim, Piece, RemoteOutcome};
use crate::id::{Attempt, LeaseKey, RunId, TaskId};
use crate::receipt::{Seal, SignedClaim};
use crate::signed::SIGNATURE_BYTES;
use crate::wire::WireError;

pub(super) fn write_key(key: &LeaseKey, out: &mut Output) -> Written {
    out.array(3)?;
    write_run(&key.run, out)?;
    out.uint(key.task.0.into())?;
    out.uint(key.attempt.0.into())
}

pub(super) fn read_key(input: &mut Input<'_>) -> Result<LeaseKey, WireError> {
    input.array_of(3, "a lease: run, task and attempt")?;
    Ok(LeaseKey {
        run: read_run(input)?,
        task: TaskId(input.uint32()?),
        attempt: Attempt(input.uint32()?),
    })
}

/// A run's name by itself.
pub(super) fn write_run(run: &RunId, out: &mut Output) -> Written {
    out.text(RUN, run.as_str())
}

pub(super) fn read_run(input: &mut Input<'_>) -> Result<RunId, WireError> {
    let at = input.at();
    let run = input.text(RUN)?;
    RunId::new(&*run).map_err(|_| WireError::NotARunId { at })
}

/// A lease and a piece: the whole body of its message.
pub(super) fn write_piece(key: &LeaseKey, piece: &Piece, out: &mut Output) -> Written {
    out.map(4)?;
    write_key(key, out.key(1)?)?;
    out.key(2)?.uint(piece.at)?;
    out.key(3)?.uint(piece.of)?;
    out.key(4)?.octets(PIECE_BYTES, &piece.bytes)
}

pub(super) fn read_piece(
    of: &'static str,
    input: &mut Input<'_>,
) -> Result<(LeaseKey, Piece), WireError> {
    input.map(of, |fields| {
        let key = fields.get(1, read_key)?;
        let piece = Piece {
            at: fields.get(2, Input::uint)?,
            of: fields.get(3, Input::uint)?,
            bytes: fields.get(4, |input| input.octets(PIECE_BYTES))?,
        };
        Ok((key, piece))
    })
}

/// The fields of a sealed claim, and those before it.
pub(super) fn sealed_len(before: u64, claim: &SignedClaim) -> u64 {
    before + 1 + u64::from(claim.seal.is_some())
}

/// The claim under `key`, its seal under the next: a field of its own, which older nodes pass over.
pub(super) fn write_sealed(key: u64, claim: &SignedClaim, out: &mut Output) -> Written {
    write_claim(&claim.claim, out.key(key)?)?;
    match &claim.seal {
        Some(seal) => write_seal(seal, out.key(key + 1)?),
        None => Ok(()),
    }
}

pub(super) fn read_sealed(
    key: u64,
    fields: &mut Fields<'_, '_>,
) -> Result<Box<SignedClaim>, WireError> {
    Ok(Box::new(SignedClaim {
        claim: fields.get(key, read_claim)?,
        seal: fields.find(key + 1, read_seal)?,
    }))
}

fn write_seal(seal: &Seal, out: &mut Output) -> Written {
    out.map(3)?;
    out.key(1)?.text(ENGINE, &seal.engine)?;
    out.key(2)?.uint(seal.at_s)?;
    out.key(3)?.octets(SIGNATURE, &seal.signature)
}

fn read_seal(input: &mut Input<'_>) -> Result<Seal, WireError> {
    input.map("a seal", |fields| {
        Ok(Seal {
            engine: fields.get(1, |input| input.text(ENGINE))?,
            at_s: fields.get(2, Input::uint)?,
            signature: fields.get(3, read_signature)?,
        })
    })
}

fn read_signature(input: &mut Input<'_>) -> Result<[u8; SIGNATURE_BYTES], WireError> {
    let at = input.at();
    let bytes = input.octets(SIGNATURE)?;
    bytes.try_into().map_err(|_| WireError::Expected {
        at,
        expected: "a signature of 64 bytes",
    })
}

fn write_claim(claim: &Claim, out: &mut Output) -> Written {
    out.map(10)?;
    out.key(1)?.node(&claim.executor)?;
    out.key(2)?.digest(&claim.task_digest)?;
    out.key(3)?.uint(claim.nonce)?;
    write_outcome(&claim.outcome, out.key(4)?)?;
    out.key(5)?.digest(&claim.output)?;
    out.key(6)?.uint(claim.output_bytes)?;
    out.key(7)?.uint(claim.fuel)?;
    out.key(8)?.uint(claim.wall_ms)?;
    out.key(9)?.digest(&claim.stdout)?;
    out.key(10)?.digest(&claim.stderr)
}

fn read_claim(input: &mut Input<'_>) -> Result<Claim, WireError> {
    input.map("a claim", |fields| {
        Ok(Claim {
            executor: fields.get(1, Input::node)?,
            task_digest: fields.get(2, Input::digest)?,
            nonce: fields.get(3, Input::uint)?,
            outcome: fields.get(4, read_outcome)?,
            output: fields.get(5, Input::digest)?,
            output_bytes: fields.get(6, Input::uint)?,
            fuel: fields.get(7, Input::uint)?,
            wall_ms: fields.get(8, Input::uint)?,
            stdout: fields.get(9, Input::digest)?,
            stderr: fields.get(10, Input::digest)?,
        })
    })
}

fn write_outcome(outcome: &RemoteOutcome, out: &mut Output) -> Written {
    match outcome {
        RemoteOutcome::Passed => {
            out.array(1)?;
            out.uint(0)
        }
        RemoteOutcome::Failed { code, message } => {
            out.array(3)?;
            out.uint(1)?;
            out.text(CODE, code)?;
            out.text(MESSAGE, message)
        }
    }
}

fn read_outcome(input: &mut Input<'_>) -> Result<RemoteOutcome, WireError> {
    let at = input.at();
    let expected = "an outcome with its arguments";
    match input.coded(expected)? {
        (0, 0) => Ok(RemoteOutcome::Passed),
        (1, 2) => Ok(RemoteOutcome::Failed {
            code: input.text(CODE)?,
            message: input.text(MESSAGE)?,
        }),
        (0 | 1, _) => Err(WireError::Expected { at, expected }),
        (code, _) => Err(WireError::UnknownCode {
            what: "an outcome",
            code,
        }),
    }
}
