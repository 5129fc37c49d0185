//! From files and variables to a mesh node's settings; above all, that a project narrows and never widens.

use super::*;
use crate::config::{Files, Flags, resolve};
use sykli_node::paths::Dirs;

fn resolved(user: &str, project: &str, vars: &[(&str, &str)]) -> Result<Resolved, CliError> {
    let temp = tempfile::tempdir().unwrap();
    let files = Files {
        user: temp.path().join("user.toml"),
        project: Some(temp.path().join("project.toml")),
    };
    std::fs::write(&files.user, user).unwrap();
    std::fs::write(files.project.as_ref().unwrap(), project).unwrap();
    let env = |name: &str| {
        let found = vars.iter().find(|(key, _)| *key == name);
        found.map(|(_, value)| (*value).to_owned())
    };
    let dirs = Dirs::under(std::path::Path::new("/x"));
    resolve(&env, &Flags::default(), &files, dirs)
}

fn settings(user: &str, project: &str) -> MeshSettings {
    mesh(&resolved(user, project, &[]).unwrap()).unwrap()
}

fn set(words: &[&str]) -> BTreeSet<Arc<str>> {
    words.iter().map(|word| Arc::from(*word)).collect()
}

#[test]
fn without_a_word_a_node_takes_nothing_and_can_be_found_on_the_lan() {
    let settings = settings("", "");
    assert_eq!(settings.policy, Policy::default());
    assert_eq!(settings.profile, Profile::of(ProfileKind::Lan));
    assert_eq!(settings.listen.len(), 2);
    assert!(settings.mdns && !settings.relay_server && settings.known.is_empty());
    assert!(
        settings
            .labels
            .is_superset(&set(&[std::env::consts::OS, std::env::consts::ARCH]))
    );
    assert!(settings.memory_mb > 0 && settings.slots > 0);
    settings::check_name(&settings.name).unwrap();
}

#[test]
fn everything_that_the_user_says_arrives() {
    let user = r#"
        [node]
        name = "dave"
        profile = "wan"
        labels = ["gpu", "gpu"]
        memory = "8GB"
        slots = 3
        tick = "5s"
        stealing = "receive-only"
        artifacts = "20MB"
        absence_grace = "lease"
        [consent]
        mode = "policy"
        max_concurrent = 7
        require_labels = ["gpu"]
        min_memory_gb = 4
        max_artifact_mb = 500
        consent_timeout_ms = 250
        ask_timeout = "5s"
        grants = ["clock", "net:example.org:443"]
        when = { idle_for = "5m", on_battery = true, metered = true }
        [mesh]
        listen = ["/ip4/127.0.0.1/tcp/4001"]
        known = ["/dns/example.org/udp/4001/quic-v1"]
        trust = ["12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN"]
        mdns = true
        relay_server = true
    "#;
    let got = settings(user, "");
    let profile = Profile {
        tick_ms: 5_000,
        stealing: Stealing::ReceiveOnly,
        artifacts: ArtifactLimit::AtMost(20_000_000),
        absence_grace_ms: None,
        ..Profile::of(ProfileKind::Wan)
    };
    let policy = Policy {
        mode: ConsentMode::Policy,
        max_concurrent: 7,
        require_labels: set(&["gpu"]),
        min_memory_mb: 4_000,
        max_artifact_bytes: 500_000_000,
        consent_timeout_ms: 250,
        ask_timeout_ms: 5_000,
        grants: set(&["clock", "net:example.org:443"]),
        when: When {
            idle_for_ms: 300_000,
            on_battery: true,
            metered: true,
        },
    };
    assert_eq!((got.profile, got.policy), (profile, policy));
    assert_eq!(
        (got.name.as_str(), got.slots, got.memory_mb),
        ("dave", 3, 8_000)
    );
    assert_eq!(got.listen[0].to_string(), "/ip4/127.0.0.1/tcp/4001");
    assert_eq!((got.known.len(), got.trust.len()), (1, 1));
    assert!(got.mdns && got.relay_server && got.labels.contains("gpu"));
}

/// What a generous user allows.
const GENEROUS: &str = r#"
    [consent]
    mode = "policy"
    max_concurrent = 4
    require_labels = ["gpu"]
    min_memory_gb = 4
    max_artifact_mb = 100
    consent_timeout_ms = 1000
    ask_timeout = "60s"
    grants = ["clock", "random"]
    when = { idle_for = "5m", on_battery = true, metered = true }
"#;

#[test]
fn a_project_narrows_every_part_of_the_policy() {
    let project = r#"
        [consent]
        mode = "ask"
        max_concurrent = 1
        require_labels = ["build", "gpu"]
        min_memory_gb = 8
        max_artifact_mb = 10
        consent_timeout_ms = 500
        ask_timeout = "10s"
        grants = ["clock", "net:example.org:443"]
        when = { idle_for = "10m", on_battery = false, metered = false }
    "#;
    let narrowed = Policy {
        mode: ConsentMode::Ask,
        max_concurrent: 1,
        require_labels: set(&["build", "gpu"]),
        min_memory_mb: 8_000,
        max_artifact_bytes: 10_000_000,
        consent_timeout_ms: 500,
        ask_timeout_ms: 10_000,
        grants: set(&["clock"]),
        when: When {
            idle_for_ms: 600_000,
            on_battery: false,
            metered: false,
        },
    };
    assert_eq!(settings(GENEROUS, project).policy, narrowed);
}

#[test]
fn a_project_widens_nothing() {
    let project = r#"
        [consent]
        mode = "ask"
        max_concurrent = 400
        require_labels = []
        min_memory_gb = 0
        max_artifact_mb = 100000
        consent_timeout_ms = 60000
        ask_timeout = "1h"
        grants = ["clock", "random", "net:example.org:443"]
        when = { idle_for = "0ms" }
    "#;
    let alone = settings(GENEROUS, "").policy;
    let strict = GENEROUS.replace("policy", "never");
    let with = settings(&strict, project).policy;
    let expected = Policy {
        mode: ConsentMode::Never,
        ..alone
    };
    assert_eq!(with, expected);
    // Where the user says nothing, a project does not speak for them either.
    let capped = Policy {
        max_artifact_bytes: 100_000_000_000,
        ..Policy::default()
    };
    assert_eq!(
        settings("", project).policy,
        capped,
        "a cap, where there was none"
    );
}

#[test]
fn a_project_may_require_isolation_and_never_waive_it() {
    let required = "[consent]\nisolation = \"required\"\n";
    let best_effort = required.replace("required", "best-effort");
    let best_effort = best_effort.as_str();
    assert_eq!(settings("", "").isolation, Needed::BestEffort);
    for (user, project) in [(required, ""), ("", required), (best_effort, required)] {
        let isolation = settings(user, project).isolation;
        assert_eq!(isolation, Needed::Required, "{user}{project}");
    }
    assert!(resolved(required, best_effort, &[]).is_err());
}

#[test]
fn origins_say_whose_word_holds() {
    let project = "[consent]\nmax_concurrent = 1\nrequire_labels = [\"gpu\"]\n";
    let resolved = resolved(GENEROUS, project, &[("SYKLI_CONSENT_MODE", "ask")]).unwrap();
    let origin = |name: &str| {
        let entry = resolved.entries.iter().find(|entry| entry.key.name == name);
        entry.unwrap().origin.kind()
    };
    assert_eq!(origin("consent.mode"), "variable");
    assert_eq!(origin("consent.max_concurrent"), "project file");
    assert_eq!(
        origin("consent.require_labels"),
        "user file",
        "it adds nothing"
    );
    assert_eq!(origin("node.tick"), "default");
}

#[test]
fn variables_reach_every_part() {
    let vars = [
        ("SYKLI_NODE_NAME", "ci-1"),
        ("SYKLI_NODE_PROFILE", "mobile"),
        ("SYKLI_NODE_STEALING", "full"),
        ("SYKLI_CONSENT_MODE", "policy"),
        (
            "SYKLI_MESH_KNOWN",
            "/ip4/127.0.0.1/tcp/1, /ip4/127.0.0.1/udp/1/quic-v1",
        ),
    ];
    let hidden = mesh(&resolved("", "", &vars).unwrap()).unwrap();
    assert!(hidden.profile.is_hidden() && hidden.listen.is_empty() && !hidden.mdns);
    assert_eq!(hidden.profile.stealing, Stealing::Full);
    assert_eq!((hidden.name.as_str(), hidden.known.len()), ("ci-1", 2));
    assert_eq!(hidden.policy.mode, ConsentMode::Policy);
    let wrong = resolved("", "", &[("SYKLI_MESH_LISTEN", "localhost:1")]).unwrap_err();
    assert_eq!(wrong.code, "config::variable");
    let name = resolved("", "", &[("SYKLI_NODE_NAME", "a\u{7}b")]).unwrap_err();
    assert!(!name.message.contains('\u{7}'), "{name}");
}

#[test]
fn contradictions_are_said_by_those_who_need_the_mesh() {
    let user = "[node]\nprofile = \"hostile\"\n[mesh]\nlisten = [\"/ip4/0.0.0.0/tcp/1\"]\n";
    let error = mesh(&resolved(user, "", &[]).unwrap()).unwrap_err();
    assert_eq!(error.code, "settings::hidden");
    assert!(
        error.hints[0].contains("node.discovery"),
        "{:?}",
        error.hints
    );
}
