//! What a mesh node is set up with, out of the settings in force: [`mesh`] gives `sykli_node::settings::MeshSettings`.
//!
//! It decides the defaults of `[node]`, `[consent]` and `[mesh]`: the host's name, the profile's row, the policy's own
//! defaults, listening as the way of being found asks. Only commands that meet other machines call [`mesh`]; running alone
//! looks at no address and no memory. It knows no precedence (`resolve.rs` does) and reads no file but what the machine says
//! of its memory.

use std::collections::BTreeSet;
use std::sync::Arc;

use sykli_core::policy::{ConsentMode, Policy, When};
use sykli_core::profile::{ArtifactLimit, Discovery, Overrides, Profile, ProfileKind, Stealing};
use sykli_node::host_state::{Roots, total_memory_mb};
use sykli_node::isolation::Needed;
use sykli_node::settings::{self, MAX_NODE_NAME_BYTES, MeshSettings, SettingsError};

use super::Resolved;
use super::resolve::Entry;
use super::value::Value;
use crate::error::CliError;

/// Memory for tasks where the machine does not say how much it has, in MB.
const ASSUMED_MEMORY_MB: u64 = 1024;
const BYTES_A_MB: u64 = 1_000_000;

/// A setting's value where nobody says anything; `before` are those of the table that stand before it.
pub(super) fn default(name: &str, before: &[Entry]) -> Option<Value> {
    let policy = Policy::default();
    let word = |word: &str| Some(Value::Text(word.to_owned()));
    let profile = || Profile::of(kind(before));
    match name {
        "node.name" => Some(Value::Text(host_name())),
        "node.profile" => word(ProfileKind::default().name()),
        "node.tick" => Some(Value::Duration(profile().tick_ms)),
        "node.stealing" => word(stealing_word(profile().stealing)),
        "node.artifacts" => Some(artifacts_value(profile().artifacts)),
        "node.discovery" => word(discovery_word(profile().discovery)),
        "node.absence_grace" => match profile().absence_grace_ms {
            Some(ms) => Some(Value::Duration(ms)),
            None => word("lease"),
        },
        "node.slots" => number(before, "jobs").map(Value::Count),
        "consent.mode" => word("never"),
        "consent.max_concurrent" => Some(Value::Count(policy.max_concurrent.into())),
        "consent.min_memory_gb" => Some(Value::Count(policy.min_memory_mb / 1000)),
        "consent.consent_timeout_ms" => Some(Value::Count(policy.consent_timeout_ms)),
        "consent.ask_timeout" => Some(Value::Duration(policy.ask_timeout_ms)),
        "consent.isolation" => word("best-effort"),
        "consent.when.idle_for" => Some(Value::Duration(policy.when.idle_for_ms)),
        "consent.when.on_battery" => Some(Value::Bool(policy.when.on_battery)),
        "consent.when.metered" => Some(Value::Bool(policy.when.metered)),
        "mesh.listen" => {
            let listen = settings::default_listen(discovery(text(before, "node.discovery")));
            let texts = listen.iter().map(|text| (*text).to_owned());
            Some(Value::Texts(texts.collect()))
        }
        "mesh.mdns" => {
            let found = discovery(text(before, "node.discovery"));
            Some(Value::Bool(found == Discovery::Multicast))
        }
        "mesh.relay_server" => Some(Value::Bool(false)),
        "node.labels"
        | "consent.require_labels"
        | "consent.grants"
        | "mesh.known"
        | "mesh.trust" => Some(Value::Texts(Vec::new())),
        _ => None,
    }
}

/// The settings of a mesh node.
///
/// # Errors
/// Where settings contradict each other; each alone was checked when it was read.
pub(crate) fn mesh(resolved: &Resolved) -> Result<MeshSettings, CliError> {
    let entries = resolved.entries.as_slice();
    let found = collect(entries).and_then(MeshSettings::checked);
    found.map_err(|wrong| {
        CliError::usage(wrong.code(), wrong.to_string())
            .hint(wrong.hint())
            .hint("`sykli config show --origin` says where each value comes from")
    })
}

fn collect(entries: &[Entry]) -> Result<MeshSettings, SettingsError> {
    let set = |name: &str| -> BTreeSet<Arc<str>> {
        texts(entries, name)
            .iter()
            .map(|text| Arc::from(text.as_str()))
            .collect()
    };
    let addresses = |name: &str, parse: fn(&str) -> _| {
        let texts = texts(entries, name).iter();
        texts.map(|text| parse(text)).collect::<Result<_, _>>()
    };
    let trust = texts(entries, "mesh.trust").iter();
    let mut labels = set("node.labels");
    labels.append(&mut settings::own_labels());
    let slots = number(entries, "node.slots").unwrap_or(1);
    Ok(MeshSettings {
        name: text(entries, "node.name").to_owned(),
        profile: profile(entries),
        labels,
        policy: policy(
            entries,
            set("consent.require_labels"),
            set("consent.grants"),
        ),
        isolation: match text(entries, "consent.isolation") {
            "required" => Needed::Required,
            _ => Needed::BestEffort,
        },
        listen: addresses("mesh.listen", settings::parse_listen)?,
        known: addresses("mesh.known", settings::parse_address)?,
        trust: trust
            .map(|text| settings::parse_peer(text))
            .collect::<Result<_, _>>()?,
        mdns: flag(entries, "mesh.mdns"),
        relay_server: flag(entries, "mesh.relay_server"),
        slots: u32::try_from(slots).unwrap_or(u32::MAX),
        memory_mb: number(entries, "node.memory").map_or_else(machine_mb, |it| it / BYTES_A_MB),
    })
}

fn machine_mb() -> u64 {
    total_memory_mb(&Roots::system())
        .known()
        .unwrap_or(ASSUMED_MEMORY_MB)
}

fn profile(entries: &[Entry]) -> Profile {
    Profile::of(kind(entries)).with(Overrides {
        tick_ms: number(entries, "node.tick"),
        stealing: Some(stealing(text(entries, "node.stealing"))),
        artifacts: find(entries, "node.artifacts").map(artifacts),
        discovery: Some(discovery(text(entries, "node.discovery"))),
        // A word instead of a number: for as long as the lease runs.
        absence_grace_ms: Some(number(entries, "node.absence_grace")),
    })
}

fn policy(
    entries: &[Entry],
    require_labels: BTreeSet<Arc<str>>,
    grants: BTreeSet<Arc<str>>,
) -> Policy {
    let default = Policy::default();
    let or = |name: &str, default: u64| number(entries, name).unwrap_or(default);
    let concurrent = or("consent.max_concurrent", default.max_concurrent.into());
    let artifact = number(entries, "consent.max_artifact_mb");
    Policy {
        mode: match text(entries, "consent.mode") {
            "ask" => ConsentMode::Ask,
            "policy" => ConsentMode::Policy,
            _ => ConsentMode::Never,
        },
        max_concurrent: u32::try_from(concurrent).unwrap_or(u32::MAX),
        require_labels,
        min_memory_mb: or("consent.min_memory_gb", 0).saturating_mul(1000),
        max_artifact_bytes: artifact.map_or(default.max_artifact_bytes, |mb| {
            mb.saturating_mul(BYTES_A_MB)
        }),
        consent_timeout_ms: or("consent.consent_timeout_ms", default.consent_timeout_ms),
        ask_timeout_ms: or("consent.ask_timeout", default.ask_timeout_ms),
        grants,
        when: When {
            idle_for_ms: or("consent.when.idle_for", 0),
            on_battery: flag(entries, "consent.when.on_battery"),
            metered: flag(entries, "consent.when.metered"),
        },
    }
}

fn find<'a>(entries: &'a [Entry], name: &str) -> Option<&'a Value> {
    let entry = entries.iter().find(|entry| entry.key.name == name)?;
    Some(&entry.value)
}

fn number(entries: &[Entry], name: &str) -> Option<u64> {
    find(entries, name).and_then(Value::number)
}

fn text<'a>(entries: &'a [Entry], name: &str) -> &'a str {
    match find(entries, name) {
        Some(Value::Text(text)) => text,
        _ => "",
    }
}

fn texts<'a>(entries: &'a [Entry], name: &str) -> &'a [String] {
    match find(entries, name) {
        Some(Value::Texts(texts)) => texts,
        _ => &[],
    }
}

fn flag(entries: &[Entry], name: &str) -> bool {
    matches!(find(entries, name), Some(Value::Bool(true)))
}

/// The table allows only names that the type knows.
fn kind(entries: &[Entry]) -> ProfileKind {
    text(entries, "node.profile").parse().unwrap_or_default()
}

fn stealing(word: &str) -> Stealing {
    match word {
        "full" => Stealing::Full,
        "receive-only" => Stealing::ReceiveOnly,
        _ => Stealing::Disabled,
    }
}

fn stealing_word(stealing: Stealing) -> &'static str {
    match stealing {
        Stealing::Full => "full",
        Stealing::ReceiveOnly => "receive-only",
        Stealing::Disabled => "disabled",
    }
}

fn discovery(word: &str) -> Discovery {
    match word {
        "multicast" => Discovery::Multicast,
        "known" => Discovery::Known,
        _ => Discovery::Hidden,
    }
}

fn discovery_word(discovery: Discovery) -> &'static str {
    match discovery {
        Discovery::Multicast => "multicast",
        Discovery::Known => "known",
        Discovery::Hidden => "hidden",
    }
}

fn artifacts(value: &Value) -> ArtifactLimit {
    match value {
        Value::Size(bytes) => ArtifactLimit::AtMost(*bytes),
        Value::Text(word) if word == "unlimited" => ArtifactLimit::Unlimited,
        Value::Text(word) if word == "inline" => ArtifactLimit::Inline,
        _ => ArtifactLimit::StatusOnly,
    }
}

fn artifacts_value(limit: ArtifactLimit) -> Value {
    let word = match limit {
        ArtifactLimit::AtMost(bytes) => return Value::Size(bytes),
        ArtifactLimit::Unlimited => "unlimited",
        ArtifactLimit::Inline => "inline",
        ArtifactLimit::StatusOnly => "status-only",
    };
    Value::Text(word.to_owned())
}

/// The host's name, made into a node's.
fn host_name() -> String {
    let system = rustix::system::uname();
    let name: String = system
        .nodename()
        .to_string_lossy()
        .chars()
        .filter(|c| c.is_ascii_graphic())
        .take(MAX_NODE_NAME_BYTES)
        .collect();
    match name.as_str() {
        "" => "node".to_owned(),
        _ => name,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
