//! What happened to tasks on their way to other nodes, as the journal keeps it.
//!
//! A step's kind is a word, its particulars a short JSON list: `["memory-below", 4096, 2048]`. What a newer version has
//! written and this one does not know is left out. The words are public: events and documents use them too. Called by the
//! journal's writer and readers.

use super::MAX_STEPS;
use super::write::{MAX_NAME_BYTES, clipped};
use crate::events::NodeRef;
use rusqlite::{Connection, Row, params};
use serde_json::{Value, json};
use std::sync::Arc;
use sykli_core::consent::LostWhy;
use sykli_core::id::Digest;
use sykli_core::machine::StepKind;
use sykli_core::policy::Reason;

/// A step to be recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewStep {
    /// The instance.
    pub label: Arc<str>,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// Which attempt it is about.
    pub attempt: u32,
    /// With whom.
    pub node: NodeRef,
    /// What.
    pub what: StepKind,
}

impl NewStep {
    pub(super) fn weight(&self) -> usize {
        256 + self.label.len() + self.node.id.len() + self.node.name.len()
    }
}

/// A step that was recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Noted {
    /// The instance.
    pub label: String,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// Which attempt it is about.
    pub attempt: u32,
    /// With whom.
    pub node: NodeRef,
    /// What.
    pub what: StepKind,
}

fn step_code(what: &StepKind) -> &'static str {
    match what {
        StepKind::NotOffered(_) => "not-offered",
        StepKind::Offered { .. } => "offered",
        StepKind::Declined(_) => "declined",
        StepKind::Pending => "pending",
        StepKind::Accepted => "accepted",
        StepKind::Started => "started",
        StepKind::Lost { .. } => "lost",
        StepKind::Doubled => "doubled",
        StepKind::Ran { .. } => "ran",
    }
}

/// The stable word for why an executor has no result.
#[must_use]
pub fn lost_code(why: LostWhy) -> &'static str {
    match why {
        LostWhy::Unknown => "unknown",
        LostWhy::HostFault => "host-fault",
        LostWhy::TimedOut => "timed-out",
        LostWhy::DiskFull => "disk-full",
        LostWhy::Bundle => "bundle",
        LostWhy::Drained => "drained",
    }
}

fn lost_of(code: &str) -> Option<LostWhy> {
    [
        LostWhy::Unknown,
        LostWhy::HostFault,
        LostWhy::TimedOut,
        LostWhy::DiskFull,
        LostWhy::Bundle,
        LostWhy::Drained,
    ]
    .into_iter()
    .find(|why| lost_code(*why) == code)
}

/// Writes steps after those that are there already. How many were written.
pub(super) fn append(
    connection: &Connection,
    run: i64,
    steps: &[NewStep],
) -> rusqlite::Result<usize> {
    let mut written = 0;
    let most = i64::try_from(MAX_STEPS).unwrap_or(i64::MAX);
    for step in steps {
        // Places are given without a gap: the next one is also how many there are.
        written += connection
            .prepare_cached(
                "INSERT INTO steps (run, label, place, at_ms, attempt, node, kind, detail)
                 SELECT ?1, ?2, next, ?3, ?4, ?5, ?6, ?7 FROM
                    (SELECT coalesce(max(place) + 1, 0) AS next FROM steps WHERE run = ?1 AND label = ?2)
                 WHERE next < ?8",
            )?
            .execute(params![
                run,
                &*step.label,
                step.at_ms.cast_signed(),
                step.attempt,
                clipped(&step.node.id, MAX_NAME_BYTES),
                step_code(&step.what),
                detail(&step.what),
                most,
            ])?;
    }
    Ok(written)
}

/// The columns `label, at_ms, attempt, node, name, kind, detail`.
pub(super) fn noted(row: &Row<'_>) -> rusqlite::Result<Option<Noted>> {
    let (kind, detail): (String, Option<String>) = (row.get(5)?, row.get(6)?);
    let Some(what) = kind_of(&kind, detail.as_deref()) else {
        return Ok(None);
    };
    let id: String = row.get(3)?;
    Ok(Some(Noted {
        label: row.get(0)?,
        at_ms: row.get::<_, i64>(1)?.cast_unsigned(),
        attempt: row.get(2)?,
        node: NodeRef {
            name: row
                .get::<_, Option<String>>(4)?
                .unwrap_or_else(|| id.clone()),
            id,
        },
        what,
    }))
}

fn detail(what: &StepKind) -> Option<String> {
    let value = match what {
        StepKind::NotOffered(reason) | StepKind::Declined(reason) => particulars(reason),
        StepKind::Lost { why, after_ms } => json!([why.map(lost_code), after_ms]),
        StepKind::Ran { output } => json!([output.to_string()]),
        StepKind::Offered { asked } => json!([asked]),
        StepKind::Pending | StepKind::Accepted | StepKind::Started | StepKind::Doubled => {
            return None;
        }
    };
    Some(value.to_string())
}

fn particulars(reason: &Reason) -> Value {
    let code = reason.code();
    match reason {
        Reason::LabelMissing { label } | Reason::LabelNotAsked { label } => json!([code, **label]),
        Reason::UnknownImport { name } => json!([code, **name]),
        Reason::GrantRefused { grant } => json!([code, **grant]),
        Reason::MemoryBelow { need, have } => json!([code, need, have]),
        Reason::ArtifactOverCap { bytes, cap } => json!([code, bytes, cap]),
        Reason::MaxConcurrent { n } | Reason::LeaseCap { n } => json!([code, n]),
        Reason::StealingDisabled
        | Reason::EngineMismatch
        | Reason::NotTrusted
        | Reason::ConsentNever
        | Reason::UserDeclined
        | Reason::UserInputActive
        | Reason::OnBattery
        | Reason::Metered
        | Reason::Paused
        | Reason::Draining
        | Reason::SecretsStay
        | Reason::StaysHere
        | Reason::MovedTooOften
        | Reason::CoolingDown
        | Reason::NotWorthIt
        | Reason::NoAnswer
        | Reason::DiskFull
        | Reason::NoRoom => json!([code]),
    }
}

fn kind_of(kind: &str, detail: Option<&str>) -> Option<StepKind> {
    let list = |text| serde_json::from_str::<Vec<Value>>(text).ok();
    let values = detail.and_then(list).unwrap_or_default();
    Some(match kind {
        "not-offered" => StepKind::NotOffered(reason_of(&values)?),
        "offered" => StepKind::Offered {
            asked: values.first().and_then(Value::as_bool).unwrap_or_default(),
        },
        "declined" => StepKind::Declined(reason_of(&values)?),
        "pending" => StepKind::Pending,
        "accepted" => StepKind::Accepted,
        "started" => StepKind::Started,
        "lost" => StepKind::Lost {
            why: values.first().and_then(Value::as_str).and_then(lost_of),
            after_ms: values.get(1).and_then(Value::as_u64)?,
        },
        "doubled" => StepKind::Doubled,
        "ran" => StepKind::Ran {
            output: values.first()?.as_str()?.parse::<Digest>().ok()?,
        },
        _ => return None,
    })
}

fn reason_of(values: &[Value]) -> Option<Reason> {
    let text = || values.get(1).and_then(Value::as_str).map(Arc::<str>::from);
    let number = |at: usize| values.get(at).and_then(Value::as_u64);
    let small = || number(1).and_then(|n| u32::try_from(n).ok());
    Some(match values.first()?.as_str()? {
        "label-missing" => Reason::LabelMissing { label: text()? },
        "label-not-asked" => Reason::LabelNotAsked { label: text()? },
        "memory-below" => Reason::MemoryBelow {
            need: number(1)?,
            have: number(2)?,
        },
        "artifact-over-cap" => Reason::ArtifactOverCap {
            bytes: number(1)?,
            cap: number(2)?,
        },
        "max-concurrent" => Reason::MaxConcurrent { n: small()? },
        "lease-cap" => Reason::LeaseCap { n: small()? },
        "stealing-disabled" => Reason::StealingDisabled,
        "unknown-import" => Reason::UnknownImport { name: text()? },
        "grant-refused" => Reason::GrantRefused { grant: text()? },
        "engine-mismatch" => Reason::EngineMismatch,
        "not-trusted" => Reason::NotTrusted,
        "consent-never" => Reason::ConsentNever,
        "user-declined" => Reason::UserDeclined,
        "user-input-active" => Reason::UserInputActive,
        "on-battery" => Reason::OnBattery,
        "metered" => Reason::Metered,
        "paused" => Reason::Paused,
        "draining" => Reason::Draining,
        "secrets-stay" => Reason::SecretsStay,
        "stays-here" => Reason::StaysHere,
        "moved-too-often" => Reason::MovedTooOften,
        "cooling-down" => Reason::CoolingDown,
        "not-worth-it" => Reason::NotWorthIt,
        "no-answer" => Reason::NoAnswer,
        "disk-full" => Reason::DiskFull,
        "no-room" => Reason::NoRoom,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;

    /// One of each; a variant that is missing here does not compile in `particulars`.
    fn reasons() -> Vec<Reason> {
        let word = || Arc::<str>::from("gpu \"quoted\"");
        vec![
            Reason::LabelMissing { label: word() },
            Reason::LabelNotAsked { label: word() },
            Reason::MemoryBelow {
                need: 4096,
                have: 2,
            },
            Reason::ArtifactOverCap {
                bytes: u64::MAX,
                cap: 0,
            },
            Reason::MaxConcurrent { n: 2 },
            Reason::LeaseCap { n: u32::MAX },
            Reason::StealingDisabled,
            Reason::UnknownImport { name: word() },
            Reason::GrantRefused { grant: word() },
            Reason::EngineMismatch,
            Reason::NotTrusted,
            Reason::ConsentNever,
            Reason::UserDeclined,
            Reason::UserInputActive,
            Reason::OnBattery,
            Reason::Metered,
            Reason::Paused,
            Reason::Draining,
            Reason::SecretsStay,
            Reason::StaysHere,
            Reason::MovedTooOften,
            Reason::CoolingDown,
            Reason::NotWorthIt,
            Reason::NoAnswer,
            Reason::DiskFull,
            Reason::NoRoom,
        ]
    }

    #[test]
    fn every_kind_of_step_is_read_as_it_was_written() {
        let lost = |why| StepKind::Lost { why, after_ms: 90 };
        let whys = [
            "unknown",
            "host-fault",
            "timed-out",
            "disk-full",
            "bundle",
            "drained",
        ];
        let all = reasons()
            .into_iter()
            .flat_map(|reason| {
                [
                    StepKind::NotOffered(reason.clone()),
                    StepKind::Declined(reason),
                ]
            })
            .chain(whys.map(|why| lost(Some(lost_of(why).unwrap()))))
            .chain([
                lost(None),
                StepKind::Offered { asked: false },
                StepKind::Pending,
                StepKind::Accepted,
                StepKind::Started,
                StepKind::Doubled,
                StepKind::Ran {
                    output: Digest::of(b"x"),
                },
            ]);
        for what in all {
            let read = kind_of(step_code(&what), detail(&what).as_deref());
            assert_eq!(read, Some(what));
        }
    }

    #[test]
    fn what_is_not_known_is_left_out() {
        assert_eq!(kind_of("teleported", None), None);
        assert_eq!(kind_of("declined", None), None);
        assert_eq!(kind_of("declined", Some("[\"too-tired\"]")), None);
        assert_eq!(kind_of("declined", Some("[\"memory-below\", -1]")), None);
        assert_eq!(kind_of("ran", Some("{}")), None);
    }
}
