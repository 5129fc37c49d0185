//! A swarm of many nodes on one network, without troubles: what the protocol costs as the mesh grows.
//!
//! Up to [`EVERYBODY`] nodes all are connected. In larger swarms nobody is connected to everybody: each has heard of a few
//! others, as discovery tells it, executors dial the owner that they ask, and idle connections go. Beacons reach every
//! node by gossip, after one to three hops; a beacon is counted as one message for each node that it reaches, which is
//! what a gossip without duplicates costs. Called by the simulator's driver.

use std::fmt::Write;
use std::sync::Arc;

use super::cast::{Cast, Part, Script, Truth, expanded, node_id, profile};
use super::clock::exponential;
use super::scenario::{Meeting, Scenario, Span};
use super::world::World;
use super::{Report, Setting, sign};
use crate::consent::Capabilities;
use crate::id::{Digest, RunId};
use crate::machine::{Mode, Setup};
use crate::policy::{ConsentMode, Policy, Requirements, When};
use crate::profile::ProfileKind;
use crate::rng::Rng;

/// One way between any two nodes, in milliseconds.
pub const LATENCY_MS: u64 = 10;
/// How long a task runs on average, in milliseconds.
pub const MEAN_TASK_MS: u64 = 2_000;
/// Tasks for each node.
pub const TASKS_A_NODE: usize = 10;
/// Up to so many nodes all are connected to each other.
pub const EVERYBODY: usize = 50;
/// Nodes for each owner.
pub const NODES_AN_OWNER: usize = 50;

/// What a swarm came to.
#[derive(Clone, Debug)]
pub struct Swarm {
    /// Nodes, owners among them.
    pub nodes: usize,
    /// Of which so many had a run.
    pub owners: usize,
    /// Tasks of all runs.
    pub tasks: usize,
    /// From the first run's start to the last one's end, in milliseconds.
    pub makespan_ms: u64,
    /// All work divided by all slots, in milliseconds: no schedule is shorter.
    pub bound_ms: u64,
    /// What it cost, and whether anything was wrong.
    pub report: Report,
}

/// Plays a swarm of so many nodes.
#[must_use]
pub fn swarm(nodes: usize, seed: u64) -> Swarm {
    let nodes = nodes.max(2);
    let owners = (nodes / NODES_AN_OWNER).max(1);
    let mut rng = Rng::new(seed);
    let parts = (0..nodes).map(|index| part(index, &mut rng)).collect();
    let tasks = nodes * TASKS_A_NODE;
    let mut scripts = Vec::new();
    for owner in 0..owners {
        let share = tasks * (owner + 1) / owners - tasks * owner / owners;
        scripts.push(script(owner, share, &mut rng));
    }
    let work: u64 = scripts
        .iter()
        .flat_map(|script| &script.truth)
        .map(|truth| truth.duration_ms)
        .sum();
    let cast = Cast {
        parts,
        scripts,
        only_hidden_suffer: false,
        latency_ms: Some(LATENCY_MS),
    };
    let scenario = Scenario {
        name: format!("swarm of {nodes}"),
        meeting: match nodes {
            0..=EVERYBODY => Meeting::Everybody,
            _ => Meeting::OnDemand,
        },
        moods: Span::of(0, 0),
        gossip_twice: 0,
        gossip_lost: 0,
        heal_ms: Span::of(0, 0),
        deadline_ms: 3_600_000,
        drain_ms: 0,
        ..Scenario::default()
    };
    let report = World::new(&scenario, cast, seed, Setting::default()).play();
    let makespan_ms = report
        .runs
        .iter()
        .filter_map(|run| run.took_ms)
        .max()
        .unwrap_or(0);
    Swarm {
        nodes,
        owners,
        tasks,
        makespan_ms,
        bound_ms: work / nodes as u64,
        report,
    }
}

pub(super) fn part(index: usize, rng: &mut Rng) -> Part {
    let profile = profile(ProfileKind::Lan);
    let capabilities = Capabilities {
        name: format!("n{index}").into(),
        profile: profile.kind,
        tick_ms: profile.tick_ms,
        stealing: profile.stealing,
        artifacts: profile.artifacts,
        hidden: false,
        labels: std::iter::once(Arc::from("linux")).collect(),
        memory_mb: 8_192,
        engine: super::cast::ENGINE.into(),
    };
    let policy = Policy {
        mode: ConsentMode::Policy,
        max_concurrent: 1,
        require_labels: std::collections::BTreeSet::new(),
        min_memory_mb: 0,
        max_artifact_bytes: 500_000_000,
        consent_timeout_ms: 1_000,
        ask_timeout_ms: 60_000,
        grants: std::collections::BTreeSet::new(),
        when: When::default(),
    };
    Part {
        setup: Setup {
            id: node_id(index),
            mesh: Some(sign::MESH),
            verify: sign::verify,
            capabilities,
            profile,
            policy,
            slots: 1,
            imports: std::collections::BTreeSet::new(),
            seed: rng.next_u64(),
            patience_ms: 600_000,
        },
        liar: None,
        disk_ms: 4,
        ppm: rng.below(41) as i64 - 20,
        stocked: true,
    }
}

fn script(owner: usize, tasks: usize, rng: &mut Rng) -> Script {
    let mut text = String::from("schema = \"sykli-wasm/1\"\n");
    let _ = writeln!(
        text,
        "[task.t]\ncomponent = \"x.wasm\"\nforeach = {{ shards = {tasks} }}"
    );
    let run = RunId::new(format!("run{owner}")).unwrap_or_else(|_| unreachable!("a plain word"));
    let truth = (0..tasks).map(|index| truth(&run, index, rng)).collect();
    Script {
        owner,
        run,
        plan: Arc::new(expanded(&text)),
        truth,
        mode: Mode::Swarm,
        keep_going: true,
        begins: 0,
        interrupted: None,
    }
}

pub(super) fn truth(run: &RunId, index: usize, rng: &mut Rng) -> Truth {
    let duration_ms = exponential(rng, MEAN_TASK_MS).max(1);
    let needs = Requirements {
        digest: Digest::of(format!("{run} task {index}").as_bytes()),
        label: format!("t[{index}]").into(),
        labels: Vec::new(),
        memory_mb: 64,
        fuel: 1_000_000_000,
        timeout_ms: 180_000,
        estimate_ms: MEAN_TASK_MS,
        component_bytes: 50_000,
        input_bytes: 10_000,
        output_bytes: 1_000,
        blobs: vec![crate::consent::BlobRef {
            digest: super::cast::component(run, 0),
            bytes: 50_000,
        }],
        imports: Vec::new(),
        grants: Vec::new(),
        engine: None,
        pure: true,
        secret: false,
        mesh: true,
        steal: true,
    };
    Truth {
        needs: Arc::new(needs),
        duration_ms,
        output_bytes: 1_000,
        fails: false,
        faulty: false,
    }
}
