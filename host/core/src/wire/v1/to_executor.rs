//! What an owner says to an executor: kinds 0x20 and on. Called by [`super`].

use super::input::Input;
use super::output::{Output, Written};
use super::{RESUMED, lease, offer};
use crate::consent::ToExecutor;
use crate::wire::WireError;

const OFFER: u64 = 0x20;
const NO_WORK: u64 = 0x21;
const WITHDRAW: u64 = 0x22;
const CANCEL: u64 = 0x23;
const ACKED: u64 = 0x24;
const SETTLED: u64 = 0x25;
const RESUME: u64 = 0x26;
const BUNDLE: u64 = 0x27;

pub(super) fn kind(message: &ToExecutor) -> u64 {
    match message {
        ToExecutor::Offer(_) => OFFER,
        ToExecutor::NoWork { .. } => NO_WORK,
        ToExecutor::Withdraw { .. } => WITHDRAW,
        ToExecutor::Cancel { .. } => CANCEL,
        ToExecutor::Acked { .. } => ACKED,
        ToExecutor::Settled { .. } => SETTLED,
        ToExecutor::Resume { .. } => RESUME,
        ToExecutor::Bundle { .. } => BUNDLE,
    }
}

pub(super) fn write(message: &ToExecutor, out: &mut Output) -> Written {
    match message {
        ToExecutor::Offer(offer) => offer::write(offer, out),
        ToExecutor::NoWork { retry_ms } => {
            out.map(1)?;
            out.key(1)?.uint(*retry_ms)
        }
        ToExecutor::Withdraw { key }
        | ToExecutor::Cancel { key }
        | ToExecutor::Acked { key }
        | ToExecutor::Settled { key } => {
            out.map(1)?;
            lease::write_key(key, out.key(1)?)
        }
        ToExecutor::Bundle { key, piece } => lease::write_piece(key, piece, out),
        ToExecutor::Resume { keys } => {
            out.map(1)?;
            out.key(1)?
                .list(RESUMED, keys.iter(), |out, key| lease::write_key(key, out))
        }
    }
}

/// The message of that kind, or `None` for one that is not known.
pub(super) fn read(kind: u64, input: &mut Input<'_>) -> Result<Option<ToExecutor>, WireError> {
    let message = match kind {
        OFFER => offer::read(input).map(|offer| ToExecutor::Offer(Box::new(offer))),
        NO_WORK => input.map("NoWork", |fields| {
            Ok(ToExecutor::NoWork {
                retry_ms: fields.get(1, Input::uint)?,
            })
        }),
        WITHDRAW => input.map("Withdraw", |fields| {
            Ok(ToExecutor::Withdraw {
                key: fields.get(1, lease::read_key)?,
            })
        }),
        CANCEL => input.map("Cancel", |fields| {
            Ok(ToExecutor::Cancel {
                key: fields.get(1, lease::read_key)?,
            })
        }),
        ACKED => input.map("Acked", |fields| {
            Ok(ToExecutor::Acked {
                key: fields.get(1, lease::read_key)?,
            })
        }),
        SETTLED => input.map("Settled", |fields| {
            Ok(ToExecutor::Settled {
                key: fields.get(1, lease::read_key)?,
            })
        }),
        RESUME => input.map("Resume", |fields| {
            Ok(ToExecutor::Resume {
                keys: fields.get(1, |input| input.list(RESUMED, lease::read_key))?,
            })
        }),
        BUNDLE => {
            lease::read_piece("Bundle", input).map(|(key, piece)| ToExecutor::Bundle { key, piece })
        }
        _ => return Ok(None),
    };
    message.map(Some)
}
