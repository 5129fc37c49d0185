//! What may flow, by profile: everything on a `lan`, 500 MB on a `wan`, nothing on a `mobile`, what fits a message on a
//! `hostile` network; judged by the sizes that are announced, before a byte moves.
//!
//! The same bounds hold for the bytes that really come, for a sender may lie. No real node does, so that is not shown
//! here: `host/node/src/transfer/tests` has a sender that announces less than it sends and one that never ends (`liars`),
//! cut off at the cap by either end, and `mesh_hostile` has one on a real connection.

use sykli_tests::mesh::{Machine, UNWILLING, mesh};

use super::watched::{LISTEN, Watched, meets, pipeline};

const MB: usize = 1_000_000;

/// Bytes that cannot be compressed: what repeats is farther away than any window reaches.
pub(super) fn noise(bytes: usize) -> Vec<u8> {
    const BLOCK: usize = 32 << 20;
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut block = Vec::with_capacity(BLOCK.min(bytes) + 8);
    while block.len() < BLOCK.min(bytes) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        block.extend_from_slice(&state.to_le_bytes());
    }
    block.iter().copied().cycle().take(bytes).collect()
}

/// A machine with a profile, and a label of that name.
fn machine(profile: &str, more: &str, mode: &str, listens: bool) -> Machine {
    let listen = if listens { LISTEN } else { "" };
    let settings = format!(
        "[node]\nprofile = \"{profile}\"\nlabels = [\"{profile}\"]\n{more}\n[consent]\nmode = \"{mode}\"\n{listen}"
    );
    Machine::new(profile, &settings)
}

/// A task for the machine with that profile, that reads a file.
fn task(name: &str, profile: &str, input: &str) -> String {
    format!(
        "[task.{name}]\ncomponent = \"noop.wasm\"\ninputs = [{input}]\nplace = {{ labels = [\"{profile}\"] }}\n"
    )
}

#[test]
fn what_may_flow_is_judged_by_profile_before_anything_flows() {
    let machines = [
        Machine::new("olga", UNWILLING),
        machine("lan", "", "ask", true),
        machine("wan", "", "policy", true),
        // That nothing flows would not be seen where no work does anyway.
        machine("mobile", "stealing = \"full\"", "policy", false),
        machine("hostile", "", "policy", false),
    ];
    let [mut olga, mut lan, mut wan, mut mobile, mut hostile] = mesh(machines);
    for machine in [&mut lan, &mut wan, &mut mobile, &mut hostile] {
        machine.start();
    }
    meets(olga.node(), &["lan", "wan", "mobile", "hostile"]);
    let tasks = [
        task("lan-huge", "lan", "\"huge.bin\""),
        task("wan-huge", "wan", "\"huge.bin\""),
        task("wan-large", "wan", "\"large.bin\""),
        task("mobile-small", "mobile", ""),
        task("hostile-large", "hostile", "\"large.bin\""),
        task("hostile-small", "hostile", ""),
    ];
    olga.project()
        .guest("noop")
        .write("huge.bin", noise(501 * MB))
        .write("large.bin", noise(MB))
        .write("sykli.toml", pipeline(&tasks.concat()));

    let mut run = Watched::run(&olga, "sykli.toml", &["--mesh"]);
    let over = Some("artifact-over-cap");
    run.steps(&[
        ("lan-huge", "lan", "pending", None),
        ("wan-huge", "wan", "not_offered", over),
        ("wan-large", "wan", "ran", None),
        ("mobile-small", "mobile", "not_offered", over),
        ("hostile-large", "hostile", "not_offered", over),
        ("hostile-small", "hostile", "ran", None),
    ]);
    let message = |label: &str, node: &str| {
        let mut steps = run.steps_of(label).into_iter();
        let of = |step: &&serde_json::Value| step["node"]["name"] == node;
        steps.rfind(of).unwrap()["message"].to_string()
    };
    let said = message("wan-huge", "wan");
    assert!(
        said.contains("501") && said.contains("at most 500 MB may be"),
        "{said}"
    );
    let said = message("mobile-small", "mobile");
    assert!(said.contains("at most 0 B may be"), "{said}");
    let said = message("hostile-large", "hostile");
    assert!(said.contains("at most 65.5 kB may be"), "{said}");
    // What is unlimited is asked for, and announced in full.
    let asks = lan.json(&["node", "asks", "--json"]);
    assert!(
        asks["asks"][0]["bytes"].as_u64().unwrap() > 501_000_000,
        "{asks}"
    );
    let status = lan.json(&["node", "status", "--json"]);
    assert_eq!(status["counters"]["accepted"], 0);
}
