//! The values whose frames are committed: one of each kind, and a decline for each reason. Called by [`super::golden`]
//! and the tests.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use crate::consent::{
    Beacon, BlobRef, Capabilities, Claim, LostWhy, Message, Offer, Piece, Record, RemoteOutcome,
    ToExecutor, ToOwner,
};
use crate::id::{Attempt, Digest, LeaseKey, NodeId, RunId, TaskId};
use crate::policy::{Reason, Requirements};
use crate::profile::{ArtifactLimit, ProfileKind, Stealing};
use crate::receipt::{Seal, SignedClaim};

fn lease() -> LeaseKey {
    LeaseKey {
        run: RunId::new("r-7f3a").unwrap(),
        task: TaskId(24),
        attempt: Attempt(2),
    }
}

fn claim(outcome: RemoteOutcome) -> Box<SignedClaim> {
    let claim = Claim {
        executor: NodeId([0xd4; 32]),
        task_digest: Digest([0x11; 32]),
        nonce: 0x0123_4567_89ab_cdef,
        outcome,
        output: Digest([0x22; 32]),
        output_bytes: 65_536,
        fuel: 5_000_000_000,
        wall_ms: 1234,
        stdout: Digest([0x33; 32]),
        stderr: Digest([0x44; 32]),
    };
    let seal = Seal {
        engine: "sykli-0.1/wasmtime-48.0.8/aarch64".into(),
        at_s: 1_800_000_000,
        signature: [0x77; 64],
    };
    Box::new(SignedClaim {
        claim,
        seal: Some(seal),
    })
}

fn passed() -> Box<SignedClaim> {
    claim(RemoteOutcome::Passed)
}

fn failed() -> Box<SignedClaim> {
    claim(RemoteOutcome::Failed {
        code: "task::exit".into(),
        message: "exit status 3: größer als erlaubt".into(),
    })
}

pub(super) fn reasons() -> Vec<Reason> {
    vec![
        Reason::LabelMissing {
            label: "gpu".into(),
        },
        Reason::LabelNotAsked {
            label: "render".into(),
        },
        Reason::MemoryBelow {
            need: 4096,
            have: 512,
        },
        Reason::ArtifactOverCap {
            bytes: 600_000_000,
            cap: 500_000_000,
        },
        Reason::MaxConcurrent { n: 2 },
        Reason::LeaseCap { n: 1 },
        Reason::StealingDisabled,
        Reason::UnknownImport {
            name: "wasi:http/types@0.2".into(),
        },
        Reason::GrantRefused {
            grant: "net:example.org:443".into(),
        },
        Reason::EngineMismatch,
        Reason::NotTrusted,
        Reason::ConsentNever,
        Reason::UserDeclined,
        Reason::UserInputActive,
        Reason::OnBattery,
        Reason::Metered,
        Reason::Paused,
        Reason::Draining,
        Reason::SecretsStay,
        Reason::StaysHere,
        Reason::MovedTooOften,
        Reason::CoolingDown,
        Reason::NotWorthIt,
        Reason::NoAnswer,
        Reason::DiskFull,
        Reason::NoRoom,
    ]
}

fn offer() -> Box<Offer> {
    let texts = |texts: &[&str]| texts.iter().map(|&text| Arc::from(text)).collect();
    Box::new(Offer {
        key: lease(),
        nonce: 0x0123_4567_89ab_cdef,
        needs: Arc::new(Requirements {
            digest: Digest([0x11; 32]),
            label: "shrink[photos/a.jpg]".into(),
            labels: texts(&["gpu"]),
            memory_mb: 512,
            fuel: 5_000_000_000,
            timeout_ms: 300_000,
            estimate_ms: 0,
            component_bytes: 70_000,
            input_bytes: 200,
            output_bytes: 23,
            blobs: vec![BlobRef {
                digest: Digest([0x33; 32]),
                bytes: 70_000,
            }],
            imports: texts(&["wasi:cli/environment@0.2"]),
            grants: texts(&["clock", "net:example.org:443"]),
            engine: None,
            pure: false,
            secret: false,
            mesh: true,
            steal: true,
        }),
        min_memory_mb: 4096,
        lease_ms: 120_000,
        mesh: Some(NodeId([0x66; 32])),
    })
}

/// One part of four bytes as it is, in the frame that a transfer would send.
fn piece(at: u64) -> Piece {
    Piece {
        at,
        of: 80_000,
        bytes: vec![0x11, 9, 0, 0, 0, 0, 4, 0, 0, 0, b'm', b'a', b'd', b'e'],
    }
}

fn to_owner() -> Vec<ToOwner> {
    let key = lease();
    let mut messages = vec![
        ToOwner::Idle { free: 2 },
        ToOwner::Accept {
            key: key.clone(),
            have: vec![0, 2],
        },
        ToOwner::Pending {
            key: key.clone(),
            ask_ms: 60_000,
        },
        ToOwner::Started { key: key.clone() },
        ToOwner::Output {
            key: lease(),
            stderr: true,
            bytes: b"tile 17\n".to_vec(),
        },
        ToOwner::Progress {
            key: key.clone(),
            done: 45,
            total: 100,
            message: "läuft".into(),
        },
        ToOwner::Completed {
            key: key.clone(),
            claim: passed(),
            outputs: piece(0),
        },
        ToOwner::Outputs {
            key: key.clone(),
            piece: piece(70_000),
        },
        ToOwner::Lost {
            key: key.clone(),
            why: LostWhy::Drained,
        },
    ];
    messages.extend(reasons().into_iter().map(|reason| ToOwner::Decline {
        key: key.clone(),
        reason,
    }));
    messages
}

fn to_executor() -> Vec<ToExecutor> {
    let key = lease();
    let later = LeaseKey {
        task: TaskId(25),
        attempt: Attempt::FIRST,
        ..key.clone()
    };
    vec![
        ToExecutor::Offer(offer()),
        ToExecutor::NoWork { retry_ms: 1000 },
        ToExecutor::Bundle {
            key: key.clone(),
            piece: piece(49_152),
        },
        ToExecutor::Withdraw { key: key.clone() },
        ToExecutor::Cancel { key: key.clone() },
        ToExecutor::Acked { key: key.clone() },
        ToExecutor::Settled { key: key.clone() },
        ToExecutor::Resume {
            keys: vec![key, later],
        },
    ]
}

pub(super) fn messages() -> Vec<Message> {
    let mut all: Vec<Message> = to_owner().into_iter().map(Message::ToOwner).collect();
    all.extend(to_executor().into_iter().map(Message::ToExecutor));
    all.push(Message::Beacon(Beacon {
        node: NodeId([0xd4; 32]),
        sequence: 300,
        free: 0,
        queued: 17,
        slots: 8,
        paused: false,
    }));
    all.push(Message::Acquaint(vec![
        "/ip4/192.168.1.42/udp/4242/quic-v1".into(),
        "/dns4/dave.example/tcp/4242".into(),
    ]));
    all.push(Message::Capabilities(Box::new(Capabilities {
        name: "dave-macbook".into(),
        profile: ProfileKind::Wan,
        tick_ms: 120_000,
        stealing: Stealing::Full,
        artifacts: ArtifactLimit::AtMost(500_000_000),
        hidden: false,
        labels: ["linux", "gpu", "aarch64"].map(Arc::from).into(),
        memory_mb: 16_384,
        engine: "sykli-0.1/wasmtime-48.0.8/aarch64".into(),
    })));
    all
}

pub(super) fn records() -> Vec<Record> {
    let key = lease();
    vec![
        Record::Offered {
            key: key.clone(),
            peer: NodeId([0xd4; 32]),
            nonce: 0x0123_4567_89ab_cdef,
        },
        Record::Committed {
            key: key.clone(),
            claim: passed(),
        },
        Record::Finished {
            owner: NodeId([0x55; 32]),
            key,
            claim: failed(),
        },
        Record::Reserved {
            run: lease().run,
            below: Attempt(5),
        },
    ]
}
