//! What the tests of membership share: keys that are only names, a signature that only their holder's name gives, and a
//! small mesh.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod forms;
mod golden;
mod judging;

use std::collections::BTreeSet;
use std::sync::Arc;

use super::*;
use crate::consent::Capabilities;
use crate::id::{Digest, NodeId};
use crate::profile::{Profile, ProfileKind};

/// Wall time in the tests.
const NOW: u64 = 1_800_000_000;
const DAY: u64 = 24 * 60 * 60;

const MESH: NodeId = NodeId([1; 32]);
const ISSUER: NodeId = NodeId([2; 32]);
const MEMBER: NodeId = NodeId([3; 32]);
const OTHER: NodeId = NodeId([4; 32]);

/// No signature, but as good as one where nobody cheats with it: who signs is told, not proved.
fn signature(signer: NodeId, domain: &[u8], bytes: &[u8]) -> [u8; SIGNATURE_BYTES] {
    let input = signing_input(domain, bytes);
    let half = Digest::of(&[signer.0.as_slice(), &input].concat()).0;
    let mut whole = [0; SIGNATURE_BYTES];
    whole[..32].copy_from_slice(&half);
    whole[32..].copy_from_slice(&half);
    whole
}

fn verify(signer: NodeId, domain: &[u8], bytes: &[u8], given: &[u8]) -> bool {
    signature(signer, domain, bytes) == given
}

fn sign<T: crate::signed::Payload>(signer: NodeId, value: T) -> Signed<T> {
    Signed::new(value, |domain, bytes| signature(signer, domain, bytes))
}

fn certificate(peer: NodeId) -> Certificate {
    Certificate {
        mesh: MESH,
        peer,
        roles: Roles::MEMBER,
        ceiling: ProfileKind::Lan,
        issued: NOW - DAY,
        not_after: NOW + 20 * DAY,
        epoch: 1,
    }
}

fn issuer() -> Certificate {
    Certificate {
        roles: Roles {
            member: true,
            issuer: true,
            relay: true,
        },
        ..certificate(ISSUER)
    }
}

/// `leaf`, as the issuer signs it.
fn issued(leaf: Certificate) -> Chain {
    Chain {
        leaf: sign(ISSUER, leaf),
        issuer: Some(sign(MESH, issuer())),
    }
}

/// `leaf`, as the mesh key signs it.
fn direct(leaf: Certificate) -> Chain {
    Chain {
        leaf: sign(MESH, leaf),
        issuer: None,
    }
}

fn revocations(version: u64, nodes: &[NodeId]) -> Revocations {
    Revocations {
        mesh: MESH,
        version,
        epoch: 1,
        nodes: nodes.iter().copied().collect(),
    }
}

fn capabilities(profile: ProfileKind) -> Capabilities {
    let row = Profile::of(profile);
    Capabilities {
        name: "dave-macbook".into(),
        profile,
        tick_ms: row.tick_ms,
        stealing: row.stealing,
        artifacts: row.artifacts,
        hidden: false,
        labels: ["gpu", "linux"].map(Arc::from).into(),
        memory_mb: 16_384,
        engine: "sykli-0.1/wasmtime-48.0.8/aarch64".into(),
    }
}

fn hello(chain: Option<Chain>) -> Hello {
    Hello {
        instance: Instance([7; 16]),
        capabilities: capabilities(ProfileKind::Lan),
        chain,
        revocations: None,
        renewed: None,
    }
}

fn ticket() -> Ticket {
    Ticket {
        mesh: MESH,
        issuer: ISSUER,
        secret: Secret::new([9; 16]),
        expires: NOW + DAY,
        addresses: vec![
            "/ip4/192.168.1.42/udp/4242/quic-v1".into(),
            "/dns4/example.org/tcp/4242".into(),
        ],
    }
}

/// One of each, named.
fn frames() -> Vec<(&'static str, Frame)> {
    let full = Hello {
        revocations: Some(sign(MESH, revocations(3, &[OTHER]))),
        renewed: Some(direct(certificate(OTHER))),
        ..hello(Some(issued(certificate(MEMBER))))
    };
    let granted = Granted {
        chain: issued(certificate(MEMBER)),
        revocations: Some(sign(MESH, revocations(3, &[OTHER]))),
    };
    let join = Join {
        secret: Secret::new([9; 16]),
        instance: Instance([7; 16]),
        capabilities: capabilities(ProfileKind::Wan),
    };
    vec![
        ("hello", Frame::Hello(Box::new(full))),
        ("hello-stranger", Frame::Hello(Box::new(hello(None)))),
        (
            "admitted",
            Frame::Admitted(Box::new(hello(Some(direct(certificate(MEMBER)))))),
        ),
        ("refused", Frame::Refused(Refusal::Revoked)),
        ("join", Frame::Join(Box::new(join))),
        ("granted", Frame::Granted(Box::new(granted))),
    ]
}

fn nobody() -> BTreeSet<NodeId> {
    BTreeSet::new()
}
