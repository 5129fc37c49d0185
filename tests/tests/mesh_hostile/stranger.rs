//! Strangers: no protocol but the greeting answers them, and the greeting lets them not in.

use std::time::Duration;

use futures::AsyncWriteExt;
use libp2p::identity::Keypair;
use libp2p_stream::OpenStreamError;
use sykli_node::identity::Identity;
use sykli_node::membership::{Membership, Refusal};
use sykli_tests::mesh::{Machine, WILLING, mesh};
use tokio::time::sleep;

use super::attacker::{
    HELLO, Member, Outsider, Target, capabilities, framed, greet, heard, loopback,
};
use super::honest::{self, ATTACKED, counted};

/// Everything that a node speaks behind its greeting.
const BEHIND: [&str; 9] = [
    "/sykli/consent/1",
    "/sykli/blob/1",
    "/meshsub/1.1.0",
    "/ipfs/id/1.0.0",
    "/ipfs/id/push/1.0.0",
    "/ipfs/ping/1.0.0",
    "/libp2p/circuit/relay/0.2.0/hop",
    "/libp2p/autonat/2/dial-request",
    "/libp2p/dcutr",
];

/// Asks for every protocol, on a connection that is then given up for saying nothing.
async fn tries_everything(target: &Target, over_tcp: bool) {
    let own = Keypair::generate_ed25519();
    let to = if over_tcp { &target.tcp } else { &target.quic };
    let connected = Outsider::connect(&own, loopback(2), target.peer, to).await;
    let mut outsider = connected.unwrap();
    for protocol in BEHIND {
        let error = outsider.open(protocol).await.unwrap_err();
        assert!(
            matches!(error, OpenStreamError::UnsupportedProtocol(_)),
            "{protocol}: {error}"
        );
    }
    outsider.is_cut_off().await;
}

/// Says something else than a greeting.
async fn says(target: &Target, bytes: Vec<u8>) {
    let own = Keypair::generate_ed25519();
    let connected = Outsider::connect(&own, loopback(3), target.peer, &target.quic).await;
    let mut outsider = connected.unwrap();
    let _stream = outsider.write(HELLO, &bytes).await;
    outsider.is_cut_off().await;
}

/// Greets a byte a second.
async fn dawdles(target: &Target) {
    let own = Keypair::generate_ed25519();
    let connected = Outsider::connect(&own, loopback(4), target.peer, &target.tcp).await;
    let mut outsider = connected.unwrap();
    let mut stream = outsider.open(HELLO).await.unwrap();
    let drip = async {
        for byte in framed(&[0; 1000]) {
            let written = stream.write_all(&[byte]).await.is_ok() && stream.flush().await.is_ok();
            if !written {
                break;
            }
            sleep(Duration::from_secs(1)).await;
        }
    };
    tokio::select! {
        () = drip => {}
        () = outsider.is_cut_off() => {}
    }
}

/// Greets as an honest node does, and is no member.
async fn greets(target: &Target) {
    let folder = tempfile::tempdir().unwrap();
    let identity = Identity::open(folder.path()).unwrap();
    let membership = Membership::open(folder.path(), &identity, [target.node].into()).unwrap();
    let gate = membership.gate(capabilities("stranger")).unwrap();
    let connected =
        Outsider::connect(identity.keypair(), loopback(5), target.peer, &target.quic).await;
    let mut outsider = connected.unwrap();
    let refused = greet(&mut outsider, &gate, target.node).await.unwrap_err();
    assert!(matches!(refused, Refusal::ByPeer(_)), "{refused}");
    outsider.is_cut_off().await;
}

/// Says what a member has said, word for word.
async fn replays(target: &Target, member: &Member) {
    let own = Keypair::generate_ed25519();
    let connected = Outsider::connect(&own, loopback(6), target.peer, &target.quic).await;
    let mut outsider = connected.unwrap();
    let hello = framed(&member.gate.hello(target.node));
    let mut stream = outsider.write(HELLO, &hello).await;
    let reply = heard(&mut stream).await.unwrap();
    let refused = member.gate.conclude(target.node, &reply).unwrap_err();
    assert!(matches!(refused, Refusal::ByPeer(_)), "{refused}");
    outsider.is_cut_off().await;
}

#[test]
fn a_stranger_reaches_nothing_but_the_greeting() {
    let settings = format!("{WILLING}{ATTACKED}");
    let [attacked, honest] = mesh([
        Machine::new("attacked", &settings),
        honest::machine("honest"),
    ]);
    let member = Member::join(&attacked, "member");
    let target = Target::of(&attacked);
    let before = counted(&attacked, "refused");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        tokio::join!(
            tries_everything(&target, true),
            tries_everything(&target, false),
            says(&target, framed(b"garbage")),
            says(&target, vec![0xff; 4]),
            says(&target, framed(b"")),
            says(&target, vec![0; 3]),
            dawdles(&target),
            greets(&target),
            replays(&target, &member),
        );
    });
    attacked.until(&["node", "status", "--json"], |status| {
        status["counters"]["refused"].as_u64() >= Some(before + 9)
    });
    let peers = attacked.json(&["peers", "--json"]);
    assert_eq!(peers["peers"], serde_json::json!([]));
    honest::work(&honest);
}
