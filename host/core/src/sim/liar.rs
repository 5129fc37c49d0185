//! Nodes that keep to no protocol: they speak its words, and mean harm, or nothing.
//!
//! A liar hears what a node hears and answers with [`Lie`]s, which the world delivers as it does anybody's messages. It
//! knows no more than what it was told. Each kind does one thing wrong, again and again.

use std::sync::Arc;

use crate::consent::{
    BlobRef, Claim, LostWhy, Message, Offer, Piece, RemoteOutcome, ToExecutor, ToOwner,
};
use crate::id::{Attempt, Digest, LeaseKey, NodeId, RunId, TaskId};
use crate::policy::{Reason, Requirements};
use crate::receipt::SignedClaim;
use crate::rng::Rng;
use crate::sim::sign;

/// What a liar does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum LiarKind {
    /// Answers no offer.
    Silent,
    /// Accepts, and is never heard of it again.
    Stalls,
    /// Accepts, and makes progress for ever.
    Beats,
    /// Completes at once, for another task.
    OtherTask,
    /// Completes at once, with another nonce.
    OtherNonce,
    /// Completes in another's name.
    OtherName,
    /// Completes with what it did not sign: nothing, another's signature, one of other bytes.
    Forges,
    /// Completes with its receipt of another lease.
    OtherLease,
    /// Two different results for one lease.
    TwoFaced,
    /// Results for leases that it never had.
    NeverGranted,
    /// Says again what it said long ago.
    Replays,
    /// Wants nothing, but asks for it.
    Declines,
    /// Asks without end.
    Floods,
    /// Accepts when it is too late.
    Late,
    /// Offers nonsense, withdraws, cancels, and never acknowledges.
    FalseOwner,
    /// Sends bytes that are no message.
    Malformed,
    /// Outputs larger than anybody agreed to.
    Oversize,
    /// Its sandbox always dies.
    Faults,
    /// Accepts, runs, and then has lost it.
    Loses,
}

const KINDS: [LiarKind; 19] = [
    LiarKind::Silent,
    LiarKind::Stalls,
    LiarKind::Beats,
    LiarKind::OtherTask,
    LiarKind::OtherNonce,
    LiarKind::OtherName,
    LiarKind::Forges,
    LiarKind::OtherLease,
    LiarKind::TwoFaced,
    LiarKind::NeverGranted,
    LiarKind::Replays,
    LiarKind::Declines,
    LiarKind::Floods,
    LiarKind::Late,
    LiarKind::FalseOwner,
    LiarKind::Malformed,
    LiarKind::Oversize,
    LiarKind::Faults,
    LiarKind::Loses,
];

impl LiarKind {
    pub(super) fn pick(rng: &mut Rng) -> LiarKind {
        KINDS[rng.below(KINDS.len() as u64) as usize]
    }
}

/// What a liar wants said, after so many milliseconds.
#[derive(Clone, Debug)]
pub(super) struct Lie {
    pub(super) to: NodeId,
    pub(super) after_ms: u64,
    pub(super) what: Said,
}

#[derive(Clone, Debug)]
pub(super) enum Said {
    Words(Box<Message>),
    Garbage(Vec<u8>),
}

/// How a liar hands out the outputs of what it claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Serves {
    Yes,
    Never,
    Refuses,
}

/// Most messages of one kind that a liar keeps sending of its own accord, so that a play ends.
const MOST_LIES: u32 = 400;

/// One of them.
#[derive(Clone, Debug)]
pub(super) struct Liar {
    id: NodeId,
    kind: LiarKind,
    rng: Rng,
    /// Offers it heard, the latest last.
    offers: Vec<(NodeId, Offer)>,
    told: u32,
}

impl Liar {
    pub(super) fn new(id: NodeId, kind: LiarKind, seed: u64) -> Liar {
        Liar {
            id,
            kind,
            rng: Rng::new(seed),
            offers: Vec::new(),
            told: 0,
        }
    }

    pub(super) fn serves(&mut self) -> Serves {
        match self.kind {
            LiarKind::Oversize | LiarKind::TwoFaced => Serves::Yes,
            _ => [Serves::Yes, Serves::Never, Serves::Refuses][self.rng.below(3) as usize],
        }
    }

    /// How much larger than agreed its bundles are, when it plays the owner.
    pub(super) fn swells(&mut self) -> u64 {
        if self.rng.chance(500) { 1 } else { 1000 }
    }

    /// What it puts into the word that a bundle may come, when it plays the owner: nothing, more than may be, or nonsense.
    pub(super) fn puts_inline(&mut self) -> Piece {
        let of = [0, 0, 7, 1 << 40][self.rng.below(4) as usize];
        let bytes = vec![7; if of == 7 { 7 } else { 0 }];
        Piece { at: 0, of, bytes }
    }

    pub(super) fn plays_owner(&self) -> bool {
        self.kind == LiarKind::FalseOwner
    }

    fn say(&mut self, to: NodeId, after_ms: u64, message: ToOwner) -> Lie {
        Lie {
            to,
            after_ms,
            what: Said::Words(Box::new(Message::ToOwner(message))),
        }
    }

    /// Now and then, to one of those it is connected to.
    pub(super) fn stir(&mut self, peers: &[NodeId]) -> Vec<Lie> {
        if peers.is_empty() || self.told >= MOST_LIES {
            return Vec::new();
        }
        let to = peers[self.rng.below(peers.len() as u64) as usize];
        let idle = ToOwner::Idle { free: 4 };
        match self.kind {
            LiarKind::Floods => {
                self.told += 100;
                (0..100).map(|n| self.say(to, n, idle.clone())).collect()
            }
            LiarKind::Malformed => {
                self.told += 20;
                let bytes = (0..1 + self.rng.below(60))
                    .map(|_| self.rng.next_u64() as u8)
                    .collect();
                vec![Lie {
                    to,
                    after_ms: 0,
                    what: Said::Garbage(bytes),
                }]
            }
            LiarKind::FalseOwner => {
                self.told += 4;
                self.play_owner(to)
            }
            LiarKind::NeverGranted => {
                self.told += 20;
                let (owner, key) = self.a_key(to);
                let claim = sign::sealed(&key, self.claim(Digest::of(b"?"), 1));
                vec![self.say(owner, 0, completed(key, claim))]
            }
            LiarKind::Replays => {
                self.told += 1;
                let replayed = self.offers.first().cloned();
                let again = replayed.map(|(owner, offer)| {
                    let key = offer.key;
                    let claim = self.claim(offer.needs.digest, offer.nonce);
                    let claim = sign::sealed(&key, claim);
                    self.say(owner, 0, completed(key, claim))
                });
                again.into_iter().chain([self.say(to, 0, idle)]).collect()
            }
            _ => {
                self.told += 1;
                vec![self.say(to, 0, idle)]
            }
        }
    }

    /// A key that it was never granted: one it heard of with another attempt, or one of its own making.
    fn a_key(&mut self, to: NodeId) -> (NodeId, LeaseKey) {
        let (attempt, task) = (
            Attempt(self.rng.below(40) as u32),
            TaskId(self.rng.below(60) as u32),
        );
        let known = self.offers.last().filter(|_| self.rng.chance(500));
        match known {
            Some((owner, offer)) => (
                *owner,
                LeaseKey {
                    attempt: Attempt(attempt.0 + 100),
                    ..offer.key.clone()
                },
            ),
            None => (
                to,
                LeaseKey {
                    run: own_run("run0"),
                    task,
                    attempt,
                },
            ),
        }
    }

    pub(super) fn hear(&mut self, from: NodeId, message: &Message) -> Vec<Lie> {
        let Message::ToExecutor(message) = message else {
            return Vec::new();
        };
        match message {
            ToExecutor::Offer(offer) => {
                if self.offers.len() < 64 {
                    self.offers.push((from, (**offer).clone()));
                }
                self.answer(from, offer)
            }
            ToExecutor::Resume { keys } if self.rng.chance(300) => {
                let keys = keys.iter().take(1).cloned();
                let keys: Vec<LeaseKey> = keys.collect();
                keys.into_iter()
                    .map(|key| self.say(from, 5, ToOwner::Started { key }))
                    .collect()
            }
            _ => Vec::new(),
        }
    }

    fn answer(&mut self, owner: NodeId, offer: &Offer) -> Vec<Lie> {
        let key = offer.key.clone();
        let accept = ToOwner::Accept {
            key: key.clone(),
            have: Vec::new(),
        };
        let started = ToOwner::Started { key: key.clone() };
        let lost = |why| ToOwner::Lost {
            key: key.clone(),
            why,
        };
        match self.kind {
            LiarKind::Declines => {
                let reason = Reason::Paused;
                return vec![self.say(owner, 0, ToOwner::Decline { key, reason })];
            }
            LiarKind::Late => {
                let late = 3_000 + self.rng.below(100_000);
                return vec![
                    self.say(owner, late, accept),
                    self.say(owner, late + 5, started),
                ];
            }
            LiarKind::Silent => return Vec::new(),
            LiarKind::Stalls => return vec![self.say(owner, 0, accept)],
            LiarKind::Beats => {
                let mut lies = vec![self.say(owner, 0, accept), self.say(owner, 1, started)];
                lies.extend((0..200).map(|n| {
                    let (key, message) = (key.clone(), Arc::from("nearly there"));
                    let beat = ToOwner::Progress {
                        key,
                        done: n,
                        total: 0,
                        message,
                    };
                    self.say(owner, n * 20_000, beat)
                }));
                return lies;
            }
            LiarKind::Faults => {
                let fault = lost(LostWhy::HostFault);
                return vec![self.say(owner, 0, accept), self.say(owner, 9, fault)];
            }
            LiarKind::Loses => {
                let gone = lost(LostWhy::Unknown);
                return vec![
                    self.say(owner, 0, accept),
                    self.say(owner, 1, started),
                    self.say(owner, 900, gone),
                ];
            }
            _ => {}
        }
        let mut lies = vec![self.say(owner, 0, accept)];
        for (n, claim) in self.claims(owner, offer).into_iter().enumerate() {
            let key = key.clone();
            let claim = self.signed(owner, &key, claim);
            lies.push(self.say(owner, 2 + n as u64, completed(key, claim)));
        }
        lies
    }

    /// What it says that came out.
    fn claims(&mut self, owner: NodeId, offer: &Offer) -> Vec<Claim> {
        let (digest, nonce) = (offer.needs.digest, offer.nonce);
        let mut claims = Vec::new();
        match self.kind {
            LiarKind::OtherTask => claims.push(self.claim(Digest::of(b"another"), nonce)),
            LiarKind::OtherNonce => claims.push(self.claim(digest, nonce ^ 1)),
            LiarKind::OtherName => {
                let mut claim = self.claim(digest, nonce);
                claim.executor = owner;
                claims.push(claim);
            }
            LiarKind::Oversize => {
                let mut claim = self.claim(digest, nonce);
                claim.output_bytes = [10, 3_000_000_000][self.rng.below(2) as usize];
                claims.push(claim);
            }
            _ => {
                claims.push(self.claim(digest, nonce));
                if self.kind == LiarKind::TwoFaced {
                    let mut other = self.claim(digest, nonce);
                    other.output = Digest::of(b"the other face");
                    claims.push(other);
                }
            }
        }
        claims
    }

    /// What it claims, signed; by those who lie about that, not as it should be.
    fn signed(&mut self, owner: NodeId, key: &LeaseKey, claim: Claim) -> Box<SignedClaim> {
        match self.kind {
            LiarKind::OtherLease => {
                let attempt = key.attempt.next();
                let other = LeaseKey {
                    attempt,
                    ..key.clone()
                };
                sign::sealed(&other, claim)
            }
            LiarKind::Forges => match self.rng.below(3) {
                0 => Box::new(SignedClaim { claim, seal: None }),
                1 => sign::sealed_by(owner, key, claim),
                _ => {
                    let mut signed = sign::sealed(key, claim);
                    signed.claim.output = Digest::of(b"another");
                    signed
                }
            },
            _ => sign::sealed(key, claim),
        }
    }

    /// Looks right, and is made up.
    fn claim(&mut self, task_digest: Digest, nonce: u64) -> Claim {
        Claim {
            executor: self.id,
            task_digest,
            nonce,
            outcome: RemoteOutcome::Passed,
            output: Digest::of(b"made up"),
            output_bytes: self.rng.below(10_000),
            fuel: 1,
            wall_ms: 1,
            stdout: Digest::of(b""),
            stderr: Digest::of(b""),
        }
    }

    fn play_owner(&mut self, to: NodeId) -> Vec<Lie> {
        let order = |after_ms, message| Lie {
            to,
            after_ms,
            what: Said::Words(Box::new(Message::ToExecutor(message))),
        };
        let key = LeaseKey {
            run: own_run("false"),
            task: TaskId(self.rng.below(5) as u32),
            attempt: Attempt(1 + self.rng.below(3) as u32),
        };
        let blob = BlobRef {
            digest: Digest::of(b"blob"),
            bytes: 20_000,
        };
        let needs = Requirements {
            digest: Digest::of(b"nonsense"),
            label: "nonsense".into(),
            labels: Vec::new(),
            memory_mb: 16,
            fuel: 1,
            timeout_ms: [60_000, u64::MAX][self.rng.below(2) as usize],
            estimate_ms: self.rng.below(5_000),
            component_bytes: 20_000,
            input_bytes: self.rng.below(2_000),
            output_bytes: 0,
            blobs: vec![blob],
            imports: Vec::new(),
            grants: Vec::new(),
            engine: None,
            pure: true,
            secret: false,
            mesh: true,
            steal: true,
        };
        let offer = Offer {
            key: key.clone(),
            nonce: self.rng.next_u64(),
            needs: Arc::new(needs),
            min_memory_mb: 0,
            lease_ms: [1, 60_000, u64::MAX][self.rng.below(3) as usize],
            mesh: Some(sign::MESH),
        };
        let mut lies = vec![order(0, ToExecutor::Offer(Box::new(offer)))];
        match self.rng.below(5) {
            0 => lies.push(order(1, ToExecutor::Withdraw { key })),
            1 => lies.push(order(50, ToExecutor::Cancel { key })),
            2 => lies.push(order(500, ToExecutor::Acked { key })),
            3 => lies.push(order(9_000, ToExecutor::Resume { keys: vec![key] })),
            _ => {}
        }
        lies
    }
}

fn completed(key: LeaseKey, claim: Box<SignedClaim>) -> ToOwner {
    ToOwner::Completed {
        key,
        claim,
        outputs: Piece::default(),
    }
}

fn own_run(name: &str) -> RunId {
    RunId::new(name).unwrap_or_else(|_| unreachable!("a plain word"))
}
