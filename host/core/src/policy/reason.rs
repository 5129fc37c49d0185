//! How a [`Reason`] is named and said, and how far it reaches.
//!
//! Decides whether a reason holds for the whole peer ([`Reason::is_about_peer`]); who then cools down, and for how long, is
//! [`crate::roster`]'s and its callers' matter. Called by the consent machines and by whoever shows a reason.

use std::fmt;

use super::Reason;
use crate::units::human_bytes;

impl Reason {
    /// Its stable name, for machines: part of the public output.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Reason::LabelMissing { .. } => "label-missing",
            Reason::LabelNotAsked { .. } => "label-not-asked",
            Reason::MemoryBelow { .. } => "memory-below",
            Reason::ArtifactOverCap { .. } => "artifact-over-cap",
            Reason::MaxConcurrent { .. } => "max-concurrent",
            Reason::LeaseCap { .. } => "lease-cap",
            Reason::StealingDisabled => "stealing-disabled",
            Reason::UnknownImport { .. } => "unknown-import",
            Reason::GrantRefused { .. } => "grant-refused",
            Reason::EngineMismatch => "engine-mismatch",
            Reason::NotTrusted => "not-trusted",
            Reason::ConsentNever => "consent-never",
            Reason::UserDeclined => "user-declined",
            Reason::UserInputActive => "user-input-active",
            Reason::OnBattery => "on-battery",
            Reason::Metered => "metered",
            Reason::Paused => "paused",
            Reason::Draining => "draining",
            Reason::SecretsStay => "secrets-stay",
            Reason::StaysHere => "stays-here",
            Reason::MovedTooOften => "moved-too-often",
            Reason::CoolingDown => "cooling-down",
            Reason::NotWorthIt => "not-worth-it",
            Reason::NoAnswer => "no-answer",
            Reason::DiskFull => "disk-full",
            Reason::NoRoom => "no-room",
        }
    }

    /// Whether it would be the same for any task now, so that the peer as a whole is better left alone for a while;
    /// otherwise it is about this task, or says nothing of the next.
    #[must_use]
    pub fn is_about_peer(&self) -> bool {
        match self {
            Reason::MaxConcurrent { .. }
            | Reason::LeaseCap { .. }
            | Reason::StealingDisabled
            | Reason::ConsentNever
            | Reason::UserInputActive
            | Reason::OnBattery
            | Reason::Metered
            | Reason::Paused
            | Reason::Draining
            | Reason::DiskFull
            | Reason::NoRoom => true,
            Reason::LabelMissing { .. }
            | Reason::LabelNotAsked { .. }
            | Reason::MemoryBelow { .. }
            | Reason::ArtifactOverCap { .. }
            | Reason::UnknownImport { .. }
            | Reason::GrantRefused { .. }
            | Reason::EngineMismatch
            | Reason::NotTrusted
            | Reason::UserDeclined
            | Reason::SecretsStay
            | Reason::StaysHere
            | Reason::MovedTooOften
            | Reason::CoolingDown
            | Reason::NotWorthIt
            | Reason::NoAnswer => false,
        }
    }
}

impl fmt::Display for Reason {
    /// A lower-case fragment for people, without a full stop.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = match self {
            Reason::LabelMissing { label } => return write!(f, "needs the label {label}"),
            Reason::LabelNotAsked { label } => {
                return write!(f, "only takes tasks that ask for the label {label}");
            }
            Reason::MemoryBelow { need, have } => {
                return write!(f, "needs {need} MB of memory where there are {have} MB");
            }
            Reason::ArtifactOverCap { bytes, cap } => {
                let (bytes, cap) = (human_bytes(*bytes), human_bytes(*cap));
                return write!(f, "would move {bytes} where {cap} may be moved");
            }
            Reason::MaxConcurrent { n } => {
                return write!(f, "runs as many foreign tasks as it takes ({n})");
            }
            Reason::LeaseCap { n } => {
                return write!(f, "holds as many tasks as it has earned ({n})");
            }
            Reason::UnknownImport { name } => return write!(f, "does not know the import {name}"),
            Reason::GrantRefused { grant } => return write!(f, "does not grant {grant}"),
            Reason::StealingDisabled => "work does not flow this way",
            Reason::EngineMismatch => "needs another engine",
            Reason::NotTrusted => "is not trusted with this",
            Reason::ConsentNever => "takes no foreign tasks",
            Reason::UserDeclined => "declined by its user",
            Reason::UserInputActive => "somebody is using the machine",
            Reason::OnBattery => "runs on battery",
            Reason::Metered => "is on a metered connection",
            Reason::Paused => "is paused",
            Reason::Draining => "takes nothing new before it stops",
            Reason::SecretsStay => "uses a secret, which never leaves this machine",
            Reason::StaysHere => "is not to leave this machine",
            Reason::MovedTooOften => "was moved as often as a task may be",
            Reason::CoolingDown => "lost or declined a task lately",
            Reason::NotWorthIt => "would take longer to move than to run here",
            Reason::NoAnswer => "did not answer in time",
            Reason::DiskFull => "has no disk space left",
            Reason::NoRoom => "has no room for foreign tasks now",
        };
        f.write_str(plain)
    }
}
