//! The settings that say how this machine deals with others: `[node]`, `[consent]` and `[mesh]`.
//!
//! A project's file may say less than the user allows, never more: what it may do with each is the key's
//! [`InProject`]. Who this machine is, whom it trusts, where it listens and what it offers belongs to its user alone, or
//! cloning a repository would enrol a laptop. Holds no values. Part of the one table in [`super`].

use super::{InProject, Key, Kind, key, lowers, narrowed};

/// See the module.
pub(super) const KEYS: &[Key] = &[
    key(
        "node.name",
        Some("SYKLI_NODE_NAME"),
        Kind::Name,
        "this machine's name for others",
    ),
    key(
        "node.profile",
        Some("SYKLI_NODE_PROFILE"),
        Kind::Choice(&["lan", "wan", "mobile", "hostile"]),
        "what network to expect between machines",
    ),
    key(
        "node.tick",
        Some("SYKLI_NODE_TICK"),
        Kind::Duration,
        "the heartbeat, instead of the profile's",
    ),
    key(
        "node.stealing",
        Some("SYKLI_NODE_STEALING"),
        Kind::Choice(&["full", "receive-only", "disabled"]),
        "which way work may flow, instead of the profile's",
    ),
    key(
        "node.artifacts",
        Some("SYKLI_NODE_ARTIFACTS"),
        Kind::SizeOr(&["unlimited", "inline", "status-only"]),
        "what may flow for one task, instead of the profile's",
    ),
    key(
        "node.discovery",
        Some("SYKLI_NODE_DISCOVERY"),
        Kind::Choice(&["multicast", "known", "hidden"]),
        "how nodes find each other, instead of the profile's",
    ),
    key(
        "node.absence_grace",
        Some("SYKLI_NODE_ABSENCE_GRACE"),
        Kind::DurationOr(&["lease"]),
        "how long a lost connection ends no lease, instead of the profile's",
    ),
    key(
        "node.labels",
        Some("SYKLI_NODE_LABELS"),
        Kind::Labels,
        "what this machine offers",
    ),
    key(
        "node.memory",
        Some("SYKLI_NODE_MEMORY"),
        Kind::Size,
        "memory for tasks",
    ),
    key(
        "node.slots",
        Some("SYKLI_NODE_SLOTS"),
        Kind::Count { min: 1, max: 4096 },
        "tasks of its own that a node runs at once",
    ),
    narrowed(
        InProject::Restricts,
        "consent.mode",
        Some("SYKLI_CONSENT_MODE"),
        Kind::Choice(&["never", "ask", "policy"]),
        "whether others' tasks may run here",
    ),
    lowers(
        "consent.max_concurrent",
        Some("SYKLI_CONSENT_MAX_CONCURRENT"),
        Kind::Count { min: 0, max: 4096 },
        "others' tasks at once",
    ),
    narrowed(
        InProject::Adds,
        "consent.require_labels",
        Some("SYKLI_CONSENT_REQUIRE_LABELS"),
        Kind::Labels,
        "labels that others' tasks must ask for, and nodes must have",
    ),
    narrowed(
        InProject::Raises,
        "consent.min_memory_gb",
        Some("SYKLI_CONSENT_MIN_MEMORY_GB"),
        Kind::Count {
            min: 0,
            max: 1 << 20,
        },
        "memory that must be free",
    ),
    lowers(
        "consent.max_artifact_mb",
        Some("SYKLI_CONSENT_MAX_ARTIFACT_MB"),
        Kind::Count {
            min: 0,
            max: 1 << 30,
        },
        "the most that may flow for one task",
    ),
    lowers(
        "consent.consent_timeout_ms",
        Some("SYKLI_CONSENT_TIMEOUT_MS"),
        Kind::Count {
            min: 1,
            max: 600_000,
        },
        "how long to think about an offer",
    ),
    lowers(
        "consent.ask_timeout",
        Some("SYKLI_CONSENT_ASK_TIMEOUT"),
        Kind::Duration,
        "how long a person has to answer",
    ),
    narrowed(
        InProject::Keeps,
        "consent.grants",
        Some("SYKLI_CONSENT_GRANTS"),
        Kind::Texts,
        "grants that others' tasks may have",
    ),
    narrowed(
        InProject::Restricts,
        "consent.isolation",
        Some("SYKLI_CONSENT_ISOLATION"),
        Kind::Choice(&["required", "best-effort"]),
        "whether others' tasks run where the system cannot close everything around them",
    ),
    narrowed(
        InProject::Raises,
        "consent.when.idle_for",
        Some("SYKLI_CONSENT_WHEN_IDLE_FOR"),
        Kind::Duration,
        "only when nobody has touched the machine this long",
    ),
    narrowed(
        InProject::SwitchesOff,
        "consent.when.on_battery",
        Some("SYKLI_CONSENT_WHEN_ON_BATTERY"),
        Kind::Bool,
        "also on battery",
    ),
    narrowed(
        InProject::SwitchesOff,
        "consent.when.metered",
        Some("SYKLI_CONSENT_WHEN_METERED"),
        Kind::Bool,
        "also on a metered network",
    ),
    key(
        "mesh.listen",
        Some("SYKLI_MESH_LISTEN"),
        Kind::Listen,
        "where a node listens",
    ),
    key(
        "mesh.known",
        Some("SYKLI_MESH_KNOWN"),
        Kind::Addresses,
        "whom a node dials when it starts",
    ),
    key(
        "mesh.trust",
        Some("SYKLI_MESH_TRUST"),
        Kind::Peers,
        "who is trusted beside the mesh's members",
    ),
    key(
        "mesh.mdns",
        Some("SYKLI_MESH_MDNS"),
        Kind::Bool,
        "whether nodes find each other by multicast",
    ),
    key(
        "mesh.relay_server",
        Some("SYKLI_MESH_RELAY_SERVER"),
        Kind::Bool,
        "whether to pass connections on for members that cannot be dialled",
    ),
];
