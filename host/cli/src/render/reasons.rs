//! Why a task went, or did not go, to a node: each reason as a sentence, and what to change for another answer.
//!
//! Words only; who decided what is core's. A node's name and a peer's words are stripped of escapes here. Called by
//! `convert.rs` for events, and by the commands that explain a run.

use sykli_core::consent::LostWhy;
use sykli_core::machine::StepKind;
use sykli_core::policy::Reason;
use sykli_core::units::{exact_bytes, human_bytes, human_duration_ms};
use sykli_node::journal::lost_code;

use super::escape::clean;
use super::past::StepName;

/// What there is to say about a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Said {
    /// The stable word for why.
    pub(crate) code: Option<String>,
    /// A sentence without its full stop.
    pub(crate) message: String,
    /// What to change.
    pub(crate) hint: Option<String>,
}

/// The document's word for a step.
pub(crate) fn name(what: &StepKind) -> StepName {
    match what {
        StepKind::NotOffered(_) => StepName::NotOffered,
        StepKind::Offered { .. } => StepName::Offered,
        StepKind::Declined(_) => StepName::Declined,
        StepKind::Pending => StepName::Pending,
        StepKind::Accepted => StepName::Accepted,
        StepKind::Started => StepName::Started,
        StepKind::Lost { .. } => StepName::Lost,
        StepKind::Doubled => StepName::Doubled,
        StepKind::Ran { .. } => StepName::Ran,
    }
}

/// What to say about a step with the node of this name.
pub(crate) fn of(what: &StepKind, node: &str) -> Said {
    let node = clean(node);
    let plain = |message: String| Said {
        code: None,
        message,
        hint: None,
    };
    match what {
        StepKind::NotOffered(reason) => Said {
            code: Some(reason.code().to_owned()),
            message: format!("not offered to {node}: {}", sentence(reason, &node)),
            hint: hint(reason, &node),
        },
        StepKind::Declined(reason) => Said {
            code: Some(reason.code().to_owned()),
            message: format!("{node} declined: {}", sentence(reason, &node)),
            hint: hint(reason, &node),
        },
        StepKind::Offered { asked: true } => plain(format!("offered to {node}, which had asked")),
        StepKind::Offered { asked: false } => plain(format!("offered to {node}")),
        StepKind::Pending => plain(format!("{node} asks its user")),
        StepKind::Accepted => plain(format!("{node} took it")),
        StepKind::Started => plain(format!("began on {node}")),
        StepKind::Doubled => plain(format!(
            "{node} takes longer than expected: begun a second time beside it"
        )),
        StepKind::Ran { .. } => plain(format!("ran on {node}")),
        StepKind::Lost { why, after_ms } => Said {
            code: why.map(|why| lost_code(why).to_owned()),
            message: format!(
                "lost on {node} after {}: {}",
                human_duration_ms(*after_ms),
                lost(*why)
            ),
            hint: why.and_then(|why| lost_hint(why, &node)),
        },
    }
}

fn lost(why: Option<LostWhy>) -> &'static str {
    match why {
        None => "nothing was heard of it any more",
        Some(LostWhy::Unknown) => "it knows nothing of the task, as after a restart",
        Some(LostWhy::HostFault) => "its sandbox died under the task",
        Some(LostWhy::TimedOut) => "the task ran into its time limit there",
        Some(LostWhy::DiskFull) => "it has no disk space left",
        Some(LostWhy::Bundle) => "what the task needs did not arrive whole",
        Some(LostWhy::Drained) => "its user stopped it",
    }
}

fn lost_hint(why: LostWhy, node: &str) -> Option<String> {
    Some(match why {
        LostWhy::HostFault => {
            format!("`sykli doctor` on {node}; `place = {{ mesh = false }}` keeps the task here")
        }
        LostWhy::TimedOut => "give the task more time: limits = { timeout = \"…\" }".to_owned(),
        LostWhy::DiskFull => format!("free some space on {node}, as with `sykli cache gc`"),
        LostWhy::Unknown | LostWhy::Bundle | LostWhy::Drained => return None,
    })
}

/// The reason as a sentence whose subject is named in it.
fn sentence(reason: &Reason, node: &str) -> String {
    match reason {
        Reason::LabelMissing { label } => format!(
            "{node} lacks the label `{}`, which the task or your policy asks for",
            clean(label)
        ),
        Reason::LabelNotAsked { label } => format!(
            "{node} only takes tasks that ask for the label `{}`, and this one does not",
            clean(label)
        ),
        Reason::MemoryBelow { need, have } => {
            format!("the task needs {need} MB of memory, {node} has {have} MB for it")
        }
        Reason::ArtifactOverCap { bytes, cap } => format!(
            "{} would have to be moved, at most {} may be",
            human_bytes(*bytes),
            human_bytes(*cap)
        ),
        Reason::MaxConcurrent { n } => {
            format!("{node} runs as many foreign tasks as it takes at once ({n})")
        }
        Reason::LeaseCap { n } => format!(
            "{node} holds as many tasks as it has earned so far ({n}); that grows with each it delivers"
        ),
        Reason::StealingDisabled => {
            "work does not flow this way: the profile, the task or the kind of run forbids it"
                .to_owned()
        }
        Reason::UnknownImport { name } => format!(
            "{node} does not offer the import `{}` that the component needs",
            clean(name)
        ),
        Reason::GrantRefused { grant } => {
            format!("{node} does not grant `{}` to foreign tasks", clean(grant))
        }
        Reason::EngineMismatch => {
            format!("the task needs the engine that this machine has, {node} has another")
        }
        Reason::NotTrusted => format!("{node} is not trusted with what the task is granted"),
        Reason::ConsentNever => format!("{node} takes no foreign tasks at all"),
        Reason::UserDeclined => format!("the user of {node} said no, or did not answer in time"),
        Reason::UserInputActive => format!("somebody is using {node}"),
        Reason::OnBattery => format!("{node} runs on its battery"),
        Reason::Metered => format!("{node} is on a connection that is paid for by the byte"),
        Reason::Paused => format!("{node} is paused by its user"),
        Reason::Draining => format!("{node} finishes what it has and takes nothing new"),
        Reason::SecretsStay => "the task uses a secret, which never leaves this machine".to_owned(),
        Reason::StaysHere => "the pipeline says that the task stays on this machine".to_owned(),
        Reason::MovedTooOften => "the task was moved as often as a task may be".to_owned(),
        Reason::CoolingDown => {
            format!("{node} lost or declined it lately, and is left alone for a while")
        }
        Reason::NotWorthIt => "moving it would take longer than running it here".to_owned(),
        Reason::NoAnswer => format!("{node} did not answer in time"),
        Reason::DiskFull => format!("{node} has no disk space left"),
        Reason::NoRoom => {
            format!("{node} has no room for others' tasks: it is busy, or takes none at all")
        }
    }
}

/// What to change, and where. Nothing where it passes by itself.
fn hint(reason: &Reason, node: &str) -> Option<String> {
    let there = format!("in config.toml on {node}");
    Some(match reason {
        Reason::LabelMissing { label } => {
            let label = clean(label);
            format!(
                "{there}: `labels = [\"{label}\"]` under [node]; or drop it from `place.labels` of the task and from \
                 `require_labels` under [consent] here"
            )
        }
        Reason::LabelNotAsked { label } => {
            let label = clean(label);
            format!(
                "in sykli.toml: `place = {{ labels = [\"{label}\"] }}` for the task; or {there}: `require_labels = []` \
                 under [consent]"
            )
        }
        Reason::MemoryBelow { .. } => format!(
            "lower `limits.memory` of the task; or `min_memory_gb` under [consent], here or on {node}"
        ),
        Reason::ArtifactOverCap { bytes, .. } => format!(
            "`max_artifact_mb` under [consent], here and on {node}, must allow {}; the profile has a limit of its own \
             (`profile` under [node])",
            exact_bytes(*bytes)
        ),
        Reason::MaxConcurrent { n } => format!(
            "{there}: `max_concurrent = {}` under [consent]",
            n.saturating_add(1)
        ),
        Reason::StealingDisabled => format!(
            "`profile` under [node], here and on {node}, says which way work flows; `--steal` and `place.steal = true` \
             let idle nodes ask for it"
        ),
        Reason::UnknownImport { .. } => format!("use the same version of sykli on {node} as here"),
        Reason::GrantRefused { .. } => format!(
            "take it out of `grants` of the task, or let the task stay here: `place = {{ mesh = false }}`; what foreign \
             tasks may have is for {node}'s user to say"
        ),
        Reason::EngineMismatch => format!(
            "use the same version of sykli on {node} as here; `floats = \"portable\"` makes a task run alike on other \
             processors"
        ),
        Reason::NotTrusted => format!("`sykli peers trust {node}`, if you do"),
        Reason::ConsentNever => format!("{there}: `mode = \"policy\"` (or \"ask\") under [consent]"),
        Reason::UserDeclined => format!(
            "{there}: `mode = \"policy\"` under [consent] lets the policy decide instead of asking"
        ),
        Reason::UserInputActive => format!("{there}: `when = {{ idle_for = \"…\" }}` under [consent]"),
        Reason::OnBattery => format!("{there}: `when = {{ on_battery = true }}` under [consent]"),
        Reason::Metered => format!("{there}: `when = {{ metered = true }}` under [consent]"),
        Reason::Paused => format!("on {node}: `sykli node pause --off`"),
        Reason::SecretsStay => {
            "take the secret out of the task's grants, if it can do without".to_owned()
        }
        Reason::StaysHere => "in sykli.toml: `place = { mesh = true }` for the task".to_owned(),
        Reason::NoAnswer => {
            "`sykli peers ping` shows how far away it is; `consent_timeout_ms` under [consent] is how long an offer waits"
                .to_owned()
        }
        Reason::DiskFull => format!("free some space on {node}, as with `sykli cache gc`"),
        Reason::NoRoom => format!(
            "`sykli node status` on {node} shows what it runs, and its `consent.mode`: \"never\" unless its user says otherwise"
        ),
        Reason::LeaseCap { .. }
        | Reason::Draining
        | Reason::MovedTooOften
        | Reason::CoolingDown
        | Reason::NotWorthIt => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_says_who_what_and_what_to_change() {
        let full = StepKind::Declined(Reason::MaxConcurrent { n: 2 });
        let said = of(&full, "dave-macbook");
        assert_eq!(
            said.message,
            "dave-macbook declined: dave-macbook runs as many foreign tasks as it takes at once (2)"
        );
        assert_eq!(said.code.as_deref(), Some("max-concurrent"));
        assert_eq!(
            said.hint.as_deref(),
            Some("in config.toml on dave-macbook: `max_concurrent = 3` under [consent]")
        );
        let gone = StepKind::Lost {
            why: None,
            after_ms: 61_000,
        };
        assert_eq!(
            of(&gone, "dave").message,
            "lost on dave after 1m 1s: nothing was heard of it any more"
        );
    }

    #[test]
    fn what_a_peer_wrote_drives_no_terminal() {
        let missing = StepKind::NotOffered(Reason::LabelMissing {
            label: "g\u{1b}]52;c;aGk=\u{7}pu".into(),
        });
        let said = of(&missing, "da\u{1b}[2Jve\u{202e}");
        let all = format!("{} {}", said.message, said.hint.unwrap_or_default());
        assert!(
            all.contains("not offered to dave: dave lacks the label `gpu`"),
            "{all}"
        );
        assert!(!all.contains(['\u{1b}', '\u{7}', '\u{202e}']), "{all:?}");
    }
}
