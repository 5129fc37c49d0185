//! Why a task is not taken: `[code, argument, …]`, with the codes and their arguments. Called by [`super::to_owner`].

use super::input::Input;
use super::output::{Output, Written};
use super::{GRANT, IMPORT, LABEL};
use crate::policy::Reason;
use crate::wire::WireError;

/// The greatest code that is known here; all below it are taken.
pub(super) const LAST: u64 = 25;

/// A reason's argument.
enum Arg<'r> {
    Label(&'r str),
    Import(&'r str),
    Grant(&'r str),
    Number(u64),
}

/// The code of a reason and its arguments.
fn parts(reason: &Reason) -> (u64, Vec<Arg<'_>>) {
    match reason {
        Reason::LabelMissing { label } => (0, vec![Arg::Label(label)]),
        Reason::LabelNotAsked { label } => (1, vec![Arg::Label(label)]),
        Reason::MemoryBelow { need, have } => (2, vec![Arg::Number(*need), Arg::Number(*have)]),
        Reason::ArtifactOverCap { bytes, cap } => (3, vec![Arg::Number(*bytes), Arg::Number(*cap)]),
        Reason::MaxConcurrent { n } => (4, vec![Arg::Number((*n).into())]),
        Reason::LeaseCap { n } => (5, vec![Arg::Number((*n).into())]),
        Reason::StealingDisabled => (6, vec![]),
        Reason::UnknownImport { name } => (7, vec![Arg::Import(name)]),
        Reason::GrantRefused { grant } => (8, vec![Arg::Grant(grant)]),
        Reason::EngineMismatch => (9, vec![]),
        Reason::NotTrusted => (10, vec![]),
        Reason::ConsentNever => (11, vec![]),
        Reason::UserDeclined => (12, vec![]),
        Reason::UserInputActive => (13, vec![]),
        Reason::OnBattery => (14, vec![]),
        Reason::Metered => (15, vec![]),
        Reason::Paused => (16, vec![]),
        Reason::Draining => (17, vec![]),
        Reason::SecretsStay => (18, vec![]),
        Reason::StaysHere => (19, vec![]),
        Reason::MovedTooOften => (20, vec![]),
        Reason::CoolingDown => (21, vec![]),
        Reason::NotWorthIt => (22, vec![]),
        Reason::NoAnswer => (23, vec![]),
        Reason::DiskFull => (24, vec![]),
        Reason::NoRoom => (25, vec![]),
    }
}

pub(super) fn write(reason: &Reason, out: &mut Output) -> Written {
    let (code, args) = parts(reason);
    out.array(1 + args.len() as u64)?;
    out.uint(code)?;
    for arg in args {
        match arg {
            Arg::Label(label) => out.text(LABEL, label)?,
            Arg::Import(name) => out.text(IMPORT, name)?,
            Arg::Grant(grant) => out.text(GRANT, grant)?,
            Arg::Number(n) => out.uint(n)?,
        }
    }
    Ok(())
}

pub(super) fn read(input: &mut Input<'_>) -> Result<Reason, WireError> {
    let at = input.at();
    let expected = "a reason with its arguments";
    let (code, args) = input.coded(expected)?;
    Ok(match (code, args) {
        (0, 1) => Reason::LabelMissing {
            label: input.text(LABEL)?,
        },
        (1, 1) => Reason::LabelNotAsked {
            label: input.text(LABEL)?,
        },
        (2, 2) => Reason::MemoryBelow {
            need: input.uint()?,
            have: input.uint()?,
        },
        (3, 2) => Reason::ArtifactOverCap {
            bytes: input.uint()?,
            cap: input.uint()?,
        },
        (4, 1) => Reason::MaxConcurrent { n: input.uint32()? },
        (5, 1) => Reason::LeaseCap { n: input.uint32()? },
        (7, 1) => Reason::UnknownImport {
            name: input.text(IMPORT)?,
        },
        (8, 1) => Reason::GrantRefused {
            grant: input.text(GRANT)?,
        },
        (0..=LAST, 0) => plain(code).ok_or(WireError::Expected { at, expected })?,
        (0..=LAST, _) => return Err(WireError::Expected { at, expected }),
        (code, _) => {
            return Err(WireError::UnknownCode {
                what: "a reason",
                code,
            });
        }
    })
}

/// The reason without arguments that has this code.
fn plain(code: u64) -> Option<Reason> {
    Some(match code {
        6 => Reason::StealingDisabled,
        9 => Reason::EngineMismatch,
        10 => Reason::NotTrusted,
        11 => Reason::ConsentNever,
        12 => Reason::UserDeclined,
        13 => Reason::UserInputActive,
        14 => Reason::OnBattery,
        15 => Reason::Metered,
        16 => Reason::Paused,
        17 => Reason::Draining,
        18 => Reason::SecretsStay,
        19 => Reason::StaysHere,
        20 => Reason::MovedTooOften,
        21 => Reason::CoolingDown,
        22 => Reason::NotWorthIt,
        23 => Reason::NoAnswer,
        24 => Reason::DiskFull,
        25 => Reason::NoRoom,
        _ => return None,
    })
}
