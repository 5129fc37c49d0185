//! Two nodes over loopback sockets: what one owns the other runs, and what comes back is what a solo run gives.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::sync::mpsc::Receiver;

use libp2p::Multiaddr;
use sykli_core::id::Digest;
use sykli_core::machine::{Mode, StepKind};
use sykli_core::pipeline::{Format, parse};
use sykli_core::policy::ConsentMode;
use sykli_core::profile::Profile;
use sykli_core::run::RunOutcome;

use super::*;
use crate::control::{Notice, notices};
use crate::events::{RunEvent, RunReport};
use crate::interrupt::Interrupt;
use crate::isolation::Needed;
use crate::node::NodeSettings;
use crate::paths::Dirs;
use crate::run::{Reach, RunRequest};

/// A node with a home of its own.
struct Home {
    temp: tempfile::TempDir,
    node: Node,
}

impl Home {
    fn new(jobs: u32) -> Home {
        let temp = tempfile::tempdir().unwrap();
        let settings = NodeSettings {
            dirs: Dirs::under(&temp.path().join("home")),
            jobs,
            offline: true,
        };
        let node = Node::open(settings).unwrap();
        Home { temp, node }
    }

    fn id(&self) -> NodeId {
        create_private(&self.node.settings().dirs.data).unwrap();
        Identity::open(&self.node.settings().dirs.data)
            .unwrap()
            .node_id()
    }

    fn start(&self, settings: MeshSettings) -> (MeshNode, Receiver<Notice>) {
        let (say, hear) = notices();
        let node = MeshNode::start(&self.node, settings, say).unwrap();
        (node, hear)
    }

    fn project(&self) -> std::path::PathBuf {
        let project = self.temp.path().join("project");
        fs::create_dir_all(&project).unwrap();
        project
    }
}

fn settings(name: &str, trust: NodeId, known: Vec<Multiaddr>) -> MeshSettings {
    MeshSettings {
        name: name.to_owned(),
        profile: Profile::default(),
        labels: BTreeSet::from(["linux".into()]),
        policy: Policy::default(),
        isolation: Needed::default(),
        listen: vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()],
        known,
        trust: BTreeSet::from([trust]),
        mdns: false,
        relay_server: false,
        slots: 1,
        memory_mb: 4096,
    }
}

fn wait_for<T>(notices: &Receiver<Notice>, found: impl Fn(&Notice) -> Option<T>) -> T {
    let long = Duration::from_secs(60);
    loop {
        let notice = notices.recv_timeout(long).unwrap();
        if let Some(found) = found(&notice) {
            return found;
        }
    }
}

fn address(notices: &Receiver<Notice>) -> Multiaddr {
    wait_for(notices, |notice| match notice {
        Notice::Listening { address } => address.parse().ok(),
        _ => None,
    })
}

const TASKS: &str = r#"
[task.each]
component = "copy.wasm"
inputs = ["in/**"]
foreach = { values = ["1", "2", "3", "4", "5", "6", "7", "8"] }
args = ["/in/in/{item}", "/out/out-{item}"]
outputs = ["out-*"]
"#;

fn request(project: &Path) -> RunRequest {
    fs::create_dir_all(project.join("in")).unwrap();
    fs::copy(sykli_tests::guest("copy"), project.join("copy.wasm")).unwrap();
    for n in 1..=8 {
        fs::write(
            project.join(format!("in/{n}")),
            format!("{n}").repeat(1000 * n),
        )
        .unwrap();
    }
    let text = format!("schema = \"sykli-wasm/1\"\n[pipeline]\nname = \"p\"\n{TASKS}");
    let pipeline = parse(&text, Format::Toml).unwrap();
    RunRequest::new(pipeline, project.join("sykli.toml"), project.to_owned())
}

fn outputs(report: &RunReport) -> Vec<(String, Option<Digest>)> {
    let each = report.instances.iter();
    each.map(|one| (one.label.to_string(), one.output))
        .collect()
}

fn reaches(mode: Mode) {
    let (owner, executor) = (Home::new(1), Home::new(1));
    let (owner_id, executor_id) = (owner.id(), executor.id());
    let mut there = settings("there", owner_id, Vec::new());
    there.policy.mode = ConsentMode::Policy;
    let (executing, heard) = executor.start(there);
    let at = address(&heard);
    let (owning, up) = owner.start(settings("here", executor_id, vec![at]));
    wait_for(&up, |notice| {
        matches!(notice, Notice::Up { .. }).then_some(())
    });
    let reach = Reach {
        node: owning.handle(),
        mode,
        resume: None,
    };
    let steps = Mutex::new(Vec::new());
    let events = |event| {
        if let RunEvent::TaskStep { what, node, .. } = event {
            steps.lock().unwrap().push((node.name, what));
        }
    };
    let project = owner.project();
    let ran = owner
        .node
        .run_in_mesh(request(&project), &reach, &events, &Interrupt::new())
        .unwrap();
    assert_eq!(ran.status.outcome, RunOutcome::Passed, "{ran:?}");
    let steps = steps.into_inner().unwrap();
    let away: Vec<_> = ran
        .instances
        .iter()
        .filter_map(|one| one.node.as_ref())
        .collect();
    assert!(!away.is_empty(), "nothing ran elsewhere: {steps:?}");
    assert!(away.iter().all(|node| node.name == "there"));
    assert!(
        steps
            .iter()
            .any(|(_, what)| matches!(what, StepKind::Ran { .. })),
        "{steps:?}"
    );
    owning.stop();
    executing.stop();
    let alone = Home::new(1);
    let solo = alone
        .node
        .run(request(&alone.project()), &|_| {}, &Interrupt::new())
        .unwrap();
    assert_eq!(outputs(&ran), outputs(&solo));
}

#[test]
fn what_is_dispatched_comes_back_as_it_would_have_been_here() {
    reaches(Mode::Mesh);
}

#[test]
fn what_is_stolen_comes_back_as_it_would_have_been_here() {
    reaches(Mode::Swarm);
}
