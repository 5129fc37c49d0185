//! A member that takes a task and lies about what it signed. Nothing of it is used, it is named and expelled, and the run
//! ends as it would have without it.
//!
//! The liar is a node's own transport with a real membership; what it says is the test's.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;
use std::time::Duration;

use futures::AsyncWriteExt;
use libp2p::Multiaddr;
use sykli_core::consent::{
    Beacon, Capabilities, Claim, Message, Offer, Piece, RemoteOutcome, ToExecutor, ToOwner,
};
use sykli_core::id::{Digest, LeaseKey, NodeId};
use sykli_core::profile::{Profile, ProfileKind};
use sykli_core::receipt::{Receipt, SignedClaim};
use sykli_node::identity::Identity;
use sykli_node::membership::Membership;
use sykli_node::mesh::{Mesh, MeshConfig, MeshEvent, MeshLimits};
use sykli_runtime::{Engine, Floats};
use sykli_tests::guest;
use sykli_tests::mesh::{Machine, Talker, UNWILLING, mesh};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::receipts;

/// What must happen happens within this, or the test is over.
const PATIENCE: Duration = Duration::from_secs(120);

/// How it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lie {
    /// Nobody's signature.
    Unsigned,
    /// A signature that is none.
    Garbage,
    /// Signed, and changed after that.
    Changed,
    /// A receipt of another executor, whose signature is right.
    Anothers,
    /// Its own receipt of another attempt.
    Replayed,
    /// Its own receipt in another mesh.
    OtherMesh,
    /// Two of them.
    TwoResults,
    /// Done at once, with outputs that are none.
    NoOutputs,
    /// Begun, and never a word again.
    NeverEnds,
}

/// What each is expelled for, where it is.
const LIES: [(Lie, Option<&str>); 9] = [
    (Lie::Unsigned, Some("Forged")),
    (Lie::Garbage, Some("Forged")),
    (Lie::Changed, Some("Forged")),
    (Lie::Anothers, Some("ForeignClaim")),
    (Lie::Replayed, Some("Forged")),
    (Lie::OtherMesh, Some("Forged")),
    (Lie::TwoResults, Some("Equivocation")),
    (Lie::NoOutputs, Some("Malformed")),
    (Lie::NeverEnds, None),
];

struct Liar {
    identity: Identity,
    mesh: Mesh,
    heard: mpsc::Receiver<MeshEvent>,
    /// Its home, while it is there.
    _machine: Machine,
}

impl Liar {
    /// Joins the owner's mesh, and is connected to its node.
    async fn enter(owner: &Machine, name: &str) -> Liar {
        let machine = Machine::new(name, UNWILLING);
        owner.admit(&machine);
        let identity = Identity::existing(&machine.data()).unwrap().unwrap();
        let membership = Membership::open(&machine.data(), &identity, BTreeSet::new()).unwrap();
        let status = owner.json(&["node", "status", "--json"]);
        let listening = status["listening"].as_array().unwrap().iter();
        let known = listening.map(|at| at.as_str().unwrap().parse::<Multiaddr>().unwrap());
        let (heard, mut events) = mpsc::channel(64);
        let config = MeshConfig {
            identity: identity.keypair().clone(),
            mesh: sykli_node::identity::show(membership.mesh().unwrap()),
            gate: membership.gate(capabilities(name)).unwrap(),
            joining: None,
            profile: Profile::of(ProfileKind::Lan),
            listen: vec!["/ip4/127.0.0.1/udp/0/quic-v1".parse().unwrap()],
            known: known.collect(),
            mdns: false,
            relay_server: false,
            limits: MeshLimits::default(),
        };
        let mesh = Mesh::start(config, heard).unwrap();
        let up = timeout(PATIENCE, async {
            while !matches!(events.recv().await.unwrap(), MeshEvent::Up { .. }) {}
        });
        up.await.expect("it is let in");
        Liar {
            identity,
            mesh,
            heard: events,
            _machine: machine,
        }
    }

    /// Says that it has room, and waits for an offer.
    async fn offered(&mut self, owner: NodeId) -> Offer {
        let beacon = Message::Beacon(Beacon {
            node: self.identity.node_id(),
            sequence: 1,
            free: 1,
            queued: 0,
            slots: 1,
            paused: false,
        });
        self.mesh.send(owner, &beacon).unwrap();
        let offered = timeout(PATIENCE, async {
            loop {
                if let MeshEvent::Message {
                    message: Message::ToExecutor(ToExecutor::Offer(offer)),
                    ..
                } = self.heard.recv().await.unwrap()
                {
                    return *offer;
                }
            }
        });
        offered.await.expect("it is offered the task")
    }

    fn claim(&self, offer: &Offer) -> Claim {
        Claim {
            executor: self.identity.node_id(),
            task_digest: offer.needs.digest,
            nonce: offer.nonce,
            outcome: RemoteOutcome::Failed {
                code: "task::exit".into(),
                message: "made up".into(),
            },
            output: Digest::of(b"made up"),
            output_bytes: 0,
            stdout: Digest::of(b""),
            stderr: Digest::of(b""),
            fuel: 1,
            wall_ms: 1,
        }
    }

    fn sealed(&self, offer: &Offer, change: impl FnOnce(&mut Receipt)) -> SignedClaim {
        let mut receipt = Receipt {
            mesh: offer.mesh,
            key: offer.key.clone(),
            claim: self.claim(offer),
            engine: "made up".into(),
            at_s: 1,
        };
        change(&mut receipt);
        SignedClaim::seal(receipt, |domain, bytes| {
            self.identity.sign(domain, bytes).try_into().unwrap()
        })
    }

    /// What it says came of the task.
    fn lies(&self, lie: Lie, offer: &Offer) -> Vec<SignedClaim> {
        match lie {
            Lie::Unsigned => vec![SignedClaim {
                claim: self.claim(offer),
                seal: None,
            }],
            Lie::Garbage => {
                let mut signed = self.sealed(offer, |_| {});
                signed.seal.as_mut().unwrap().signature = [7; 64];
                vec![signed]
            }
            Lie::Changed => {
                let mut signed = self.sealed(offer, |_| {});
                signed.claim.outcome = RemoteOutcome::Passed;
                vec![signed]
            }
            Lie::Anothers => {
                let other = Machine::new("other", UNWILLING);
                let other = Identity::open(&other.data()).unwrap();
                let receipt = Receipt {
                    mesh: offer.mesh,
                    key: offer.key.clone(),
                    claim: Claim {
                        executor: other.node_id(),
                        ..self.claim(offer)
                    },
                    engine: "made up".into(),
                    at_s: 1,
                };
                vec![SignedClaim::seal(receipt, |domain, bytes| {
                    other.sign(domain, bytes).try_into().unwrap()
                })]
            }
            Lie::Replayed => {
                let next = LeaseKey {
                    attempt: offer.key.attempt.next(),
                    ..offer.key.clone()
                };
                vec![self.sealed(offer, |receipt| receipt.key = next)]
            }
            Lie::OtherMesh => vec![self.sealed(offer, |receipt| {
                receipt.mesh = Some(NodeId([1; 32]));
            })],
            Lie::TwoResults => vec![
                self.sealed(offer, |_| {}),
                self.sealed(offer, |receipt| receipt.claim.fuel = 2),
            ],
            Lie::NoOutputs => vec![self.sealed(offer, |receipt| {
                receipt.claim.outcome = RemoteOutcome::Passed;
            })],
            Lie::NeverEnds => Vec::new(),
        }
    }

    /// Until it is; whoever fetches outputs meanwhile gets something else.
    async fn cut_off(&mut self) {
        while let Some(event) = self.heard.recv().await {
            match event {
                MeshEvent::Down { .. } => return,
                MeshEvent::Blob { mut stream, .. } => {
                    // Who hangs up early has seen enough.
                    let _ = stream.write_all(&[0xff; 64]).await;
                    let _ = stream.close().await;
                }
                _ => {}
            }
        }
    }

    /// Takes the task, waits for the word that it is its own, and lies about it.
    async fn complete(&mut self, owner: NodeId, lie: Lie, offer: &Offer) {
        let key = || offer.key.clone();
        let say = |liar: &Liar, message| {
            liar.mesh.send(owner, &Message::ToOwner(message)).unwrap();
        };
        let accept = ToOwner::Accept {
            key: key(),
            have: Vec::new(),
        };
        say(self, accept);
        let granted = timeout(PATIENCE, async {
            loop {
                if let MeshEvent::Message {
                    message: Message::ToExecutor(ToExecutor::Bundle { .. }),
                    ..
                } = self.heard.recv().await.unwrap()
                {
                    return;
                }
            }
        });
        granted.await.expect("it is given the task");
        say(self, ToOwner::Started { key: key() });
        for claim in self.lies(lie, offer) {
            let completed = ToOwner::Completed {
                key: key(),
                claim: Box::new(claim),
                outputs: Piece::default(),
            };
            say(self, completed);
        }
    }
}

fn capabilities(name: &str) -> Capabilities {
    let profile = Profile::of(ProfileKind::Lan);
    Capabilities {
        name: name.into(),
        profile: profile.kind,
        tick_ms: profile.tick_ms,
        stealing: profile.stealing,
        artifacts: profile.artifacts,
        hidden: false,
        labels: BTreeSet::from([Arc::from("linux")]),
        memory_mb: 4096,
        engine: Engine::class(Floats::Fast).into(),
    }
}

/// More than one slot has at once, so that something goes to whoever is idle.
const PIPELINE: &str = r#"
schema = "sykli-wasm/1"
[task.busy]
component = "compute.wasm"
foreach = { shards = 4 }
args = ["integers", "1", "{index}"]
[task.copies]
component = "copy.wasm"
foreach = { glob = "files/*.txt" }
args = ["/in/{item}", "/out/copied/{item.name}"]
outputs = ["copied/*.txt"]
"#;

const FILES: u32 = 3;

#[test]
fn who_lies_about_what_it_signed_is_named_expelled_and_not_believed() {
    let settings = format!("[node]\nslots = 1\n{UNWILLING}");
    let [mut owner] = mesh([Machine::new("owner", &settings)]);
    let project = owner.project();
    for name in ["compute", "copy"] {
        project.write(&format!("{name}.wasm"), fs::read(guest(name)).unwrap());
    }
    for number in 0..FILES {
        project.write(&format!("files/{number}.txt"), format!("file {number}"));
    }
    project.write("sykli.toml", PIPELINE);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for (number, (lie, offence)) in LIES.into_iter().enumerate() {
        let name = format!("liar-{number}");
        runtime.block_on(one(&mut owner, &name, lie, offence));
        let document = receipts(&owner);
        assert_eq!(document["receipts"], serde_json::json!([]), "{lie:?}");
    }
    // Of all of these only two results are a proof for others.
    let document = receipts(&owner);
    let proofs = document["proofs"].as_array().unwrap();
    assert_eq!(proofs.len(), 1, "{document}");
    assert_eq!(proofs[0]["holds"], true);
}

async fn one(owner: &mut Machine, name: &str, lie: Lie, offence: Option<&str>) {
    let mut liar = Liar::enter(owner, name).await;
    owner.node().said(&format!("{name} is there ("));
    let node = sykli_node::identity::parse(&owner.peer()).unwrap();
    let copied = owner.project().path().join("copied");
    // The first has left none.
    let _ = fs::remove_dir_all(&copied);
    let mut run = Talker::start(&mut owner.sykli(&["run", "--mesh", "--no-cache"]));
    let offer = liar.offered(node).await;
    liar.complete(node, lie, &offer).await;
    if let Some(offence) = offence {
        timeout(PATIENCE, liar.cut_off())
            .await
            .expect("it is cut off");
        let said = owner.node().said("broke the protocol");
        assert!(said.contains(&format!("({offence})")), "{lie:?}: {said}");
        assert!(said.contains(name), "{lie:?}: {said}");
    }
    assert!(run.ended().success(), "{lie:?}: {:?}", run.lines());
    liar.mesh.stop().await;
    for number in 0..FILES {
        let found = fs::read_to_string(copied.join(format!("{number}.txt")));
        assert_eq!(found.unwrap(), format!("file {number}"), "{lie:?}");
    }
}
