//! Who takes part: the nodes with their settings and wires, the runs and the truth about each task, drawn from a seed.
//!
//! Nothing here happens over time; the same scenario and seed give the same cast. Called once, by [`super::world`]. The
//! profile table is stated again here, on purpose: what is checked must not be taken from what is to be checked.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::Arc;

use super::clock::log_uniform;
use super::liar::LiarKind;
use super::scenario::Scenario;
use super::sign;
use crate::consent::Capabilities;
use crate::expand::{self, Listing, Plan};
use crate::id::{Digest, NodeId, RunId, TaskId};
use crate::machine::{Mode, Setup};
use crate::pipeline::{self, Format};
use crate::policy::{ConsentMode, Policy, Requirements, When};
use crate::profile::{ArtifactLimit, Discovery, Link, Profile, ProfileKind, Stealing};
use crate::rng::Rng;

const NAMES: [&str; 8] = [
    "sarah", "dave", "manfred", "erin", "femi", "gita", "hugo", "ines",
];
/// The engine that every owner has.
pub(super) const ENGINE: &str = "sykli-1/x86_64";
const OTHER_ENGINE: &str = "sykli-1/aarch64";
const IMPORTS: [&str; 3] = [
    "wasi:cli/environment@0.2",
    "wasi:clocks/monotonic-clock@0.2",
    "wasi:filesystem/types@0.2",
];
const RARE_IMPORT: &str = "wasi:sockets/tcp@0.2";
const GRANT: &str = "clock";
/// A large mesh has so many nodes more, at most.
const MOST_MORE: u64 = 42;
/// How long a task that fits nobody waits; it always fits its owner here.
const PATIENCE_MS: u64 = 600_000;

/// One node.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) setup: Setup,
    /// What it is when it is no honest node.
    pub(super) liar: Option<LiarKind>,
    pub(super) ppm: i64,
    /// The longest that a write takes it, in milliseconds.
    pub(super) disk_ms: u64,
    /// Whether the components of all runs are in its store from the start.
    pub(super) stocked: bool,
}

/// What is true of a task, whatever anybody says.
#[derive(Clone, Debug)]
pub(super) struct Truth {
    pub(super) needs: Arc<Requirements>,
    pub(super) duration_ms: u64,
    pub(super) output_bytes: u64,
    pub(super) fails: bool,
    /// The first foreign sandbox that runs it dies under it.
    pub(super) faulty: bool,
}

/// One run.
#[derive(Clone, Debug)]
pub(super) struct Script {
    pub(super) owner: usize,
    pub(super) run: RunId,
    pub(super) plan: Arc<Plan>,
    pub(super) truth: Vec<Truth>,
    pub(super) mode: Mode,
    pub(super) keep_going: bool,
    pub(super) begins: u64,
    pub(super) interrupted: Option<u64>,
}

/// What a pair of nodes is joined by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wire {
    /// One way.
    pub(super) latency_ms: u64,
    pub(super) jitter_ms: u64,
    /// Of a thousand messages, those that take a retransmission more.
    pub(super) loss: u64,
    pub(super) bytes_per_ms: u64,
    /// Whether it suffers from cuts and failing dials.
    pub(super) suffers: bool,
}

/// Everything that does not change.
#[derive(Clone, Debug)]
pub(super) struct Cast {
    pub(super) parts: Vec<Part>,
    pub(super) scripts: Vec<Script>,
    pub(super) only_hidden_suffer: bool,
    /// Of all wires, where they are all the same.
    pub(super) latency_ms: Option<u64>,
}

impl Cast {
    pub(super) fn draw(scenario: &Scenario, seed: u64) -> Cast {
        let mut rng = Rng::new(seed ^ 0x00c0_ffee_d00d_f00d);
        // Now and then a large one.
        let more = match scenario.mixed && rng.chance(30) {
            true => rng.below(MOST_MORE + 1),
            false => 0,
        };
        let count = (scenario.nodes.pick(&mut rng) + more) as usize;
        let owners = (scenario.owners.pick(&mut rng) as usize).clamp(1, count);
        let liars = (scenario.liars.pick(&mut rng) as usize).min(count - owners);
        let parts = (0..count)
            .map(|index| {
                let profile = profile_of(scenario, index, owners, &mut rng);
                let liar = (index >= count - liars).then(|| LiarKind::pick(&mut rng));
                part(scenario, index, index < owners, profile, liar, &mut rng)
            })
            .collect();
        let scripts = (0..owners).map(|owner| script(scenario, owner, &mut rng));
        Cast {
            parts,
            scripts: scripts.collect(),
            only_hidden_suffer: scenario.only_hidden_suffer,
            latency_ms: None,
        }
    }

    pub(super) fn index_of(&self, id: &NodeId) -> Option<usize> {
        let last = id.0.last_chunk::<4>()?;
        let index = u32::from_be_bytes(*last) as usize;
        (self.parts.get(index)?.setup.id == *id).then_some(index)
    }

    pub(super) fn id(&self, node: usize) -> NodeId {
        self.parts[node].setup.id
    }

    pub(super) fn name(&self, node: usize) -> &str {
        &self.parts[node].setup.capabilities.name
    }

    pub(super) fn hidden(&self, node: usize) -> bool {
        self.parts[node].setup.capabilities.hidden
    }

    pub(super) fn script(&self, run: &RunId) -> Option<&Script> {
        let index: usize = run.as_str().strip_prefix("run")?.parse().ok()?;
        self.scripts.get(index)
    }

    pub(super) fn truth(&self, run: &RunId, task: TaskId) -> Option<&Truth> {
        self.script(run)?.truth.get(task.index())
    }

    /// What joins two nodes: the worse of what either has.
    pub(super) fn wire(&self, a: usize, b: usize) -> Wire {
        let kind = |node: usize| self.parts[node].setup.profile.kind;
        let (one, other) = (wire(kind(a)), wire(kind(b)));
        Wire {
            latency_ms: self
                .latency_ms
                .unwrap_or(one.latency_ms.max(other.latency_ms)),
            jitter_ms: one.jitter_ms.max(other.jitter_ms),
            loss: one.loss.max(other.loss),
            bytes_per_ms: one.bytes_per_ms.min(other.bytes_per_ms),
            suffers: !self.only_hidden_suffer || self.hidden(a) || self.hidden(b),
        }
    }
}

impl Wire {
    pub(super) fn link(&self) -> Link {
        Link {
            rtt_ms: 2 * self.latency_ms as u32,
            jitter_ms: self.jitter_ms as u32,
            loss_per_mille: self.loss as u16,
            bytes_per_s: self.bytes_per_ms * 1000,
        }
    }
}

fn wire(kind: ProfileKind) -> Wire {
    let (latency_ms, jitter_ms, loss, bytes_per_ms) = match kind {
        ProfileKind::Lan => (1, 1, 0, 50_000),
        ProfileKind::Wan => (40, 20, 5, 2_000),
        ProfileKind::Mobile => (75, 100, 30, 500),
        ProfileKind::Hostile => (1000, 500, 300, 50),
    };
    Wire {
        latency_ms,
        jitter_ms,
        loss,
        bytes_per_ms,
        suffers: true,
    }
}

/// The table of profiles, as the protocol's page has it.
pub(super) fn profile(kind: ProfileKind) -> Profile {
    let (seconds, stealing, artifacts) = match kind {
        ProfileKind::Lan => (60, Stealing::Full, ArtifactLimit::Unlimited),
        ProfileKind::Wan => (120, Stealing::Full, ArtifactLimit::AtMost(500_000_000)),
        ProfileKind::Mobile => (300, Stealing::Disabled, ArtifactLimit::StatusOnly),
        ProfileKind::Hostile => (600, Stealing::ReceiveOnly, ArtifactLimit::Inline),
    };
    let (discovery, absence_grace_ms) = match kind {
        ProfileKind::Lan => (Discovery::Multicast, Some(5_000)),
        ProfileKind::Wan => (Discovery::Known, Some(30_000)),
        ProfileKind::Mobile | ProfileKind::Hostile => (Discovery::Hidden, None),
    };
    Profile {
        kind,
        tick_ms: seconds * 1000,
        stealing,
        artifacts,
        discovery,
        absence_grace_ms,
    }
}

/// The first owner gives work away, or there would be nothing to see; of the others most have the scenario's profile.
fn profile_of(scenario: &Scenario, index: usize, owners: usize, rng: &mut Rng) -> Profile {
    let named = scenario.profile;
    let gives = profile(named).stealing == Stealing::Full;
    if index == 0 && !gives || index < owners && !scenario.mixed {
        return profile(if gives { named } else { ProfileKind::Lan });
    }
    if index == 0 || !scenario.mixed || rng.chance(650) {
        let mut row = profile(named);
        if scenario.mixed && named == ProfileKind::Mobile && rng.chance(500) {
            row.stealing = Stealing::Full;
            row.artifacts = ArtifactLimit::AtMost(6_000_000);
        }
        return row;
    }
    match rng.below(4) {
        0 => profile(ProfileKind::Wan),
        _ => profile(ProfileKind::Lan),
    }
}

/// A name that says its index, for whoever knows, and nothing else.
pub(super) fn node_id(index: usize) -> NodeId {
    let mut id = *Digest::of(format!("node {index}").as_bytes()).as_bytes();
    if let Some(last) = id.last_chunk_mut::<4>() {
        *last = (index as u32).to_be_bytes();
    }
    NodeId(id)
}

fn part(
    scenario: &Scenario,
    index: usize,
    owner: bool,
    profile: Profile,
    liar: Option<LiarKind>,
    rng: &mut Rng,
) -> Part {
    let plain = !scenario.mixed || owner || liar.is_some();
    let odd = |rng: &mut Rng, per_mille: u64| rng.chance(per_mille) && !plain;
    let engine = if odd(rng, 100) { OTHER_ENGINE } else { ENGINE };
    let mut imports: BTreeSet<Arc<str>> = IMPORTS.iter().map(|name| Arc::from(*name)).collect();
    if !odd(rng, 500) {
        imports.insert(RARE_IMPORT.into());
    }
    let memory_mb = if odd(rng, 150) { 64 } else { 8_192 };
    let slots = scenario.slots.pick(rng) as u32;
    let name = NAMES
        .get(index)
        .map_or_else(|| format!("n{index}").into(), |name| Arc::from(*name));
    let capabilities = Capabilities {
        name,
        profile: profile.kind,
        tick_ms: profile.tick_ms,
        stealing: profile.stealing,
        artifacts: profile.artifacts,
        hidden: profile.discovery == Discovery::Hidden,
        labels: ["linux", "x86_64"].into_iter().map(Arc::from).collect(),
        memory_mb,
        engine: engine.into(),
    };
    let setup = Setup {
        id: node_id(index),
        mesh: Some(sign::MESH),
        verify: sign::verify,
        capabilities,
        profile,
        policy: policy(scenario, plain, rng),
        slots,
        imports,
        seed: rng.next_u64(),
        patience_ms: PATIENCE_MS,
    };
    let odd_disk = scenario.mixed && rng.chance(120);
    let ppm = rng.below(2 * scenario.skew_ppm + 1) as i64 - scenario.skew_ppm as i64;
    Part {
        setup,
        liar,
        ppm,
        disk_ms: if odd_disk { 4_000 } else { 4 },
        stocked: odd(rng, 400),
    }
}

fn policy(scenario: &Scenario, plain: bool, rng: &mut Rng) -> Policy {
    let mode = match rng.below(1000) {
        low if low < 60 && !plain => ConsentMode::Never,
        low if low < 60 + scenario.asks && !plain => ConsentMode::Ask,
        _ => ConsentMode::Policy,
    };
    let small = rng.chance(150) && !plain;
    let grants = rng.chance(500).then(|| Arc::from(GRANT));
    Policy {
        mode,
        max_concurrent: 1 + rng.below(3) as u32,
        require_labels: BTreeSet::new(),
        min_memory_mb: 0,
        max_artifact_bytes: if small { 1_000_000 } else { 500_000_000 },
        consent_timeout_ms: 1000,
        ask_timeout_ms: 60_000,
        grants: grants.into_iter().collect(),
        when: When {
            idle_for_ms: 0,
            on_battery: rng.chance(500),
            metered: true,
        },
    }
}

fn script(scenario: &Scenario, owner: usize, rng: &mut Rng) -> Script {
    let count = scenario.tasks.pick(rng).max(1);
    let layers = scenario.layers.pick(rng).clamp(1, count);
    let plan = Arc::new(plan(count, layers, rng));
    let run = RunId::new(format!("run{owner}")).unwrap_or_else(|_| unreachable!("a plain word"));
    let truth = plan.tasks.iter().enumerate();
    let truth = truth
        .map(|(index, instance)| {
            truth_of(scenario, &run, (index, instance.task), &instance.label, rng)
        })
        .collect();
    let mode = scenario.mode.unwrap_or_else(|| match rng.below(20) {
        0 => Mode::Solo,
        1..9 => Mode::Mesh,
        _ => Mode::Swarm,
    });
    let begins = rng.below(2000);
    let interrupted = rng
        .chance(scenario.interrupts)
        .then(|| begins + 500 + rng.below(30_000));
    Script {
        owner,
        run,
        plan,
        truth,
        mode,
        keep_going: rng.chance(800),
        begins,
        interrupted,
    }
}

/// A plan by the way a user's goes: as a document that is parsed and expanded.
fn plan(count: u64, layers: u64, rng: &mut Rng) -> Plan {
    let mut text = String::from("schema = \"sykli-wasm/1\"\n");
    let mut before: Vec<String> = Vec::new();
    let mut left = count;
    for layer in 0..layers {
        let mut here = if layer + 1 == layers {
            left
        } else {
            (left / (layers - layer)).max(1)
        };
        left -= here;
        let mut names = Vec::new();
        while here > 0 {
            let shards = if names.len() == 2 {
                here
            } else {
                1 + rng.below(here)
            };
            here -= shards;
            let name = format!("t{layer}{}", ['a', 'b', 'c'][names.len().min(2)]);
            let after: Vec<&String> = before.iter().filter(|_| rng.chance(700)).collect();
            let retries = rng.below(3);
            let _ = write!(
                text,
                "[task.{name}]\ncomponent = \"x.wasm\"\nretries = {retries}\nafter = {after:?}\n"
            );
            if shards > 1 {
                let _ = writeln!(text, "foreach = {{ shards = {shards} }}");
            }
            names.push(name);
        }
        before = names;
    }
    expanded(&text)
}

/// The plan that a document of ours makes.
pub(super) fn expanded(text: &str) -> Plan {
    let Ok(pipeline) = pipeline::parse(text, Format::Toml) else {
        unreachable!("a document of ours: {text}");
    };
    let planned = expand::plan(&pipeline, &Listing::default(), &BTreeMap::new());
    planned.unwrap_or_else(|wrong| unreachable!("a plan of ours: {wrong:?}"))
}

/// The component's part of a bundle: the same for all instances of a declared task.
pub(super) fn component(run: &RunId, declared: usize) -> Digest {
    Digest::of(format!("{run} component {declared}").as_bytes())
}

fn truth_of(
    scenario: &Scenario,
    run: &RunId,
    (index, declared): (usize, usize),
    label: &Arc<str>,
    rng: &mut Rng,
) -> Truth {
    use crate::consent::BlobRef;
    let duration_ms = log_uniform(rng, scenario.duration_ms.low, scenario.duration_ms.high);
    // The same component has the same size everywhere.
    let component_bytes = Rng::new(declared as u64 + 1).below(90_000) + 10_000;
    let huge = scenario.mixed && rng.chance(15);
    let input_bytes = match rng.below(2) {
        0 => rng.below(40_000).min(scenario.input_bytes.high),
        _ if huge => 600_000_000,
        _ => scenario.input_bytes.pick(rng),
    };
    let most_output = if rng.chance(700) { 30_000 } else { 1_000_000 };
    let output_bytes = rng.below(most_output);
    let mut blobs = vec![
        BlobRef {
            digest: component(run, declared),
            bytes: component_bytes,
        },
        BlobRef {
            digest: Digest::of(format!("{run} input {index}").as_bytes()),
            bytes: input_bytes,
        },
    ];
    blobs.sort_by_key(|blob| std::cmp::Reverse(blob.bytes));
    let mut sometimes = |what: &str, per_mille: u64| -> Vec<Arc<str>> {
        let there = scenario.mixed && rng.chance(per_mille);
        there.then(|| Arc::from(what)).into_iter().collect()
    };
    let (rare, grants) = (sometimes(RARE_IMPORT, 100), sometimes(GRANT, 50));
    let labels = sometimes("linux", 300);
    let engine = sometimes(ENGINE, 300).pop();
    let (secret, stays) = (sometimes("", 40), sometimes("", 40));
    let (fails, effects) = (rng.chance(scenario.fails), rng.chance(scenario.impure));
    let needs = Requirements {
        digest: Digest::of(format!("{run} task {index}").as_bytes()),
        label: Arc::clone(label),
        labels,
        memory_mb: 32 + rng.below(100),
        fuel: 1_000_000_000,
        timeout_ms: 180_000,
        estimate_ms: if rng.chance(500) { duration_ms } else { 0 },
        component_bytes,
        input_bytes,
        output_bytes: if rng.chance(500) { output_bytes } else { 0 },
        blobs,
        imports: IMPORTS[..2]
            .iter()
            .map(|name| Arc::from(*name))
            .chain(rare)
            .collect(),
        grants,
        engine,
        // What fails with effects might be tried again and pass: that is not what is looked at here.
        pure: fails || !effects,
        secret: !secret.is_empty(),
        mesh: stays.is_empty(),
        steal: !rng.chance(50),
    };
    Truth {
        needs: Arc::new(needs),
        duration_ms,
        output_bytes,
        fails,
        faulty: rng.chance(scenario.faults),
    }
}
