//! What an executor says to an owner: kinds 0x10 and on. Called by [`super`].

use super::input::Input;
use super::output::{Output, Written};
use super::{HAVE, MESSAGE, OUTPUT_BYTES, PIECE_BYTES, lease, reason};
use crate::consent::{LostWhy, Piece, ToOwner};
use crate::wire::WireError;

const IDLE: u64 = 0x10;
const ACCEPT: u64 = 0x11;
const DECLINE: u64 = 0x12;
const PENDING: u64 = 0x13;
const STARTED: u64 = 0x14;
const PROGRESS: u64 = 0x15;
const COMPLETED: u64 = 0x16;
const LOST: u64 = 0x17;
const OUTPUT: u64 = 0x18;
const OUTPUTS: u64 = 0x19;

pub(super) fn kind(message: &ToOwner) -> u64 {
    match message {
        ToOwner::Idle { .. } => IDLE,
        ToOwner::Accept { .. } => ACCEPT,
        ToOwner::Decline { .. } => DECLINE,
        ToOwner::Pending { .. } => PENDING,
        ToOwner::Started { .. } => STARTED,
        ToOwner::Progress { .. } => PROGRESS,
        ToOwner::Completed { .. } => COMPLETED,
        ToOwner::Lost { .. } => LOST,
        ToOwner::Output { .. } => OUTPUT,
        ToOwner::Outputs { .. } => OUTPUTS,
    }
}

pub(super) fn write(message: &ToOwner, out: &mut Output) -> Written {
    match message {
        ToOwner::Idle { free } => {
            out.map(1)?;
            out.key(1)?.uint((*free).into())
        }
        ToOwner::Accept { key, have } => {
            out.map(2)?;
            lease::write_key(key, out.key(1)?)?;
            out.key(2)?.octets(HAVE, have)
        }
        ToOwner::Decline { key, reason } => {
            out.map(2)?;
            lease::write_key(key, out.key(1)?)?;
            reason::write(reason, out.key(2)?)
        }
        ToOwner::Pending { key, ask_ms } => {
            out.map(2)?;
            lease::write_key(key, out.key(1)?)?;
            out.key(2)?.uint(*ask_ms)
        }
        ToOwner::Started { key } => {
            out.map(1)?;
            lease::write_key(key, out.key(1)?)
        }
        ToOwner::Progress {
            key,
            done,
            total,
            message,
        } => {
            out.map(4)?;
            lease::write_key(key, out.key(1)?)?;
            out.key(2)?.uint(*done)?;
            out.key(3)?.uint(*total)?;
            out.key(4)?.text(MESSAGE, message)
        }
        ToOwner::Output { key, stderr, bytes } => {
            out.map(3)?;
            lease::write_key(key, out.key(1)?)?;
            out.key(2)?.bool(*stderr)?;
            out.key(3)?.octets(OUTPUT_BYTES, bytes)
        }
        ToOwner::Completed {
            key,
            claim,
            outputs,
        } => {
            // The first piece: where it begins needs no saying.
            out.map(lease::sealed_len(3, claim))?;
            lease::write_key(key, out.key(1)?)?;
            lease::write_sealed(2, claim, out)?;
            out.key(4)?.uint(outputs.of)?;
            out.key(5)?.octets(PIECE_BYTES, &outputs.bytes)
        }
        ToOwner::Outputs { key, piece } => lease::write_piece(key, piece, out),
        ToOwner::Lost { key, why } => {
            out.map(2)?;
            lease::write_key(key, out.key(1)?)?;
            out.key(2)?.uint(why_code(*why))
        }
    }
}

/// The message of that kind, or `None` for one that is not known.
pub(super) fn read(kind: u64, input: &mut Input<'_>) -> Result<Option<ToOwner>, WireError> {
    let message = match kind {
        IDLE => input.map("Idle", |fields| {
            Ok(ToOwner::Idle {
                free: fields.get(1, Input::uint32)?,
            })
        }),
        ACCEPT => input.map("Accept", |fields| {
            Ok(ToOwner::Accept {
                key: fields.get(1, lease::read_key)?,
                have: fields.get(2, |input| input.octets(HAVE))?,
            })
        }),
        DECLINE => input.map("Decline", |fields| {
            Ok(ToOwner::Decline {
                key: fields.get(1, lease::read_key)?,
                reason: fields.get(2, reason::read)?,
            })
        }),
        PENDING => input.map("Pending", |fields| {
            Ok(ToOwner::Pending {
                key: fields.get(1, lease::read_key)?,
                ask_ms: fields.get(2, Input::uint)?,
            })
        }),
        STARTED => input.map("Started", |fields| {
            Ok(ToOwner::Started {
                key: fields.get(1, lease::read_key)?,
            })
        }),
        PROGRESS => input.map("Progress", |fields| {
            Ok(ToOwner::Progress {
                key: fields.get(1, lease::read_key)?,
                done: fields.get(2, Input::uint)?,
                total: fields.get(3, Input::uint)?,
                message: fields.get(4, |input| input.text(MESSAGE))?,
            })
        }),
        OUTPUT => input.map("Output", |fields| {
            Ok(ToOwner::Output {
                key: fields.get(1, lease::read_key)?,
                stderr: fields.get(2, Input::bool)?,
                bytes: fields.get(3, |input| input.octets(OUTPUT_BYTES))?,
            })
        }),
        COMPLETED => input.map("Completed", |fields| {
            Ok(ToOwner::Completed {
                key: fields.get(1, lease::read_key)?,
                claim: lease::read_sealed(2, fields)?,
                outputs: Piece {
                    at: 0,
                    of: fields.get(4, Input::uint)?,
                    bytes: fields.get(5, |input| input.octets(PIECE_BYTES))?,
                },
            })
        }),
        OUTPUTS => {
            lease::read_piece("Outputs", input).map(|(key, piece)| ToOwner::Outputs { key, piece })
        }
        LOST => input.map("Lost", |fields| {
            Ok(ToOwner::Lost {
                key: fields.get(1, lease::read_key)?,
                why: fields.get(2, read_why)?,
            })
        }),
        _ => return Ok(None),
    };
    message.map(Some)
}

fn why_code(why: LostWhy) -> u64 {
    match why {
        LostWhy::Unknown => 0,
        LostWhy::HostFault => 1,
        LostWhy::TimedOut => 2,
        LostWhy::DiskFull => 3,
        LostWhy::Bundle => 4,
        LostWhy::Drained => 5,
    }
}

fn read_why(input: &mut Input<'_>) -> Result<LostWhy, WireError> {
    match input.uint()? {
        0 => Ok(LostWhy::Unknown),
        1 => Ok(LostWhy::HostFault),
        2 => Ok(LostWhy::TimedOut),
        3 => Ok(LostWhy::DiskFull),
        4 => Ok(LostWhy::Bundle),
        5 => Ok(LostWhy::Drained),
        code => Err(WireError::UnknownCode {
            what: "a loss",
            code,
        }),
    }
}
