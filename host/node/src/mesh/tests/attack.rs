//! What strangers and hostile members get: nothing, and not for long.

use super::outsider::Outsider;
use super::*;
use crate::mesh::frames::framed;
use futures::{AsyncReadExt, AsyncWriteExt};
use libp2p_stream::OpenStreamError;
use sykli_core::consent::Offence;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_is_refused_and_both_are_told() {
    let ids = identities(2);
    let [a, b] = &ids[..] else { panic!() };
    let mut member = Node::start(config(a, &[], TCP));
    let mut stranger = config(b, &[a], TCP);
    stranger.known = vec![member.address().await];
    let mut stranger = Node::start(stranger);
    assert_eq!(member.refused().await, stranger.id);
    assert_eq!(stranger.refused().await, member.id);
    assert!(member.mesh.peers().await.is_empty());
    assert!(member.mesh.counters().refused >= 1);
    let error = member.mesh.send(stranger.id, &progress(1, "")).unwrap_err();
    assert_eq!(error.code(), "mesh::not-connected");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_not_greeted_reaches_no_protocol_and_is_cut_off() {
    let ids = identities(2);
    let [a, b] = &ids[..] else { panic!() };
    let mut listener = config(a, &[b], TCP);
    listener.limits.hello_timeout = Some(Duration::from_secs(2));
    let mut member = Node::start(listener);
    let address = member.address().await;
    let mut outsider = Outsider::connect(b, member.id, address).await;
    for protocol in [
        "/sykli/consent/1",
        "/sykli/blob/1",
        "/meshsub/1.1.0",
        "/ipfs/id/1.0.0",
        "/ipfs/ping/1.0.0",
        "/libp2p/circuit/relay/0.2.0/hop",
        "/libp2p/autonat/2/dial-request",
    ] {
        let error = outsider.open(protocol).await.unwrap_err();
        let unsupported = matches!(error, OpenStreamError::UnsupportedProtocol(_));
        assert!(unsupported, "{protocol}: {error}");
    }
    outsider.is_cut_off().await;
    assert_eq!(member.mesh.counters().ungreeted, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_greeting_that_dawdles_or_is_garbage_is_cut_off() {
    let ids = identities(2);
    let [a, b] = &ids[..] else { panic!() };
    let mut listener = config(a, &[b], TCP);
    listener.limits.hello_timeout = Some(Duration::from_secs(1));
    let mut member = Node::start(listener);
    let address = member.address().await;
    for bytes in [&framed(b"garbage")[..], &[0xff; 4], &[0, 0], &framed(b"")] {
        let mut outsider = Outsider::connect(b, member.id, address.clone()).await;
        let mut stream = outsider.open("/sykli/hello/1").await.unwrap();
        stream.write_all(bytes).await.unwrap();
        stream.flush().await.unwrap();
        outsider.is_cut_off().await;
    }
    assert_eq!(member.mesh.counters().admitted, 0);
}

/// A member with the smaller id that is up with a node, on a stream of its own.
async fn hostile(change: impl Fn(&mut MeshConfig)) -> (Node, Outsider, libp2p::Stream) {
    let ids = identities(2);
    let [a, b] = &ids[..] else { panic!() };
    let mut listener = config(b, &[a], TCP);
    change(&mut listener);
    let mut node = Node::start(listener);
    let address = node.address().await;
    let mut outsider = Outsider::connect(a, node.id, address).await;
    outsider.greet().await.unwrap();
    let stream = outsider.open("/sykli/consent/1").await.unwrap();
    node.up(a.node_id()).await;
    (node, outsider, stream)
}

async fn offend(bytes: &[u8]) -> Offence {
    let (mut node, mut outsider, mut stream) = hostile(|_| {}).await;
    stream.write_all(bytes).await.unwrap();
    stream.flush().await.unwrap();
    let offence = node
        .until(|event| match event {
            MeshEvent::Offended { offence, .. } => Some(offence),
            MeshEvent::Down { .. } => panic!("down before the offence"),
            _ => None,
        })
        .await;
    node.until(|event| matches!(event, MeshEvent::Down { .. }).then_some(()))
        .await;
    outsider.is_cut_off().await;
    let offences: u64 = node.mesh.counters().offences.values().sum();
    assert_eq!(offences, 1);
    offence
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_costs_the_peer_its_connection() {
    assert_eq!(offend(&framed(b"garbage")).await, Offence::Malformed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frame_over_the_cap_costs_the_peer_its_connection() {
    assert_eq!(offend(&65_537_u32.to_be_bytes()).await, Offence::Oversize);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frame_of_a_newer_version_costs_nothing() {
    let (mut node, _outsider, mut stream) = hostile(|_| {}).await;
    let newer = framed(&[0x83, 0x02, 0x00, 0x00]);
    let known = framed(&sykli_core::wire::encode(&progress(1, "")).unwrap());
    stream.write_all(&[newer, known].concat()).await.unwrap();
    stream.flush().await.unwrap();
    assert_eq!(node.message().await.1, progress(1, ""));
    assert_eq!(node.mesh.counters().unknown, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_byte_now_and_then_is_cut_off() {
    let brief = |config: &mut MeshConfig| {
        config.limits.frame_timeout = Some(Duration::from_millis(300));
    };
    let (mut node, mut outsider, mut stream) = hostile(brief).await;
    let drip = async {
        for byte in framed(&[0; 60_000]) {
            if stream.write_all(&[byte]).await.is_err() || stream.flush().await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let down = node.until(|event| matches!(event, MeshEvent::Down { .. }).then_some(()));
    tokio::join!(drip, down);
    outsider.is_cut_off().await;
    assert_eq!(node.mesh.counters().slow, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_over_the_limit_are_dropped_and_cost_nothing_else() {
    let (mut node, mut outsider, mut stream) =
        hostile(|config| config.limits.blobs_per_peer = 2).await;
    let mut held = Vec::new();
    for _ in 0..8 {
        held.push(outsider.open("/sykli/blob/1").await.unwrap());
    }
    for stream in &mut held[3..] {
        let mut byte = [0];
        let read = stream.read(&mut byte).await;
        assert!(!matches!(read, Ok(1..)), "{read:?}");
    }
    assert_eq!(node.mesh.counters().streams_dropped, 5);
    let known = framed(&sykli_core::wire::encode(&progress(1, "")).unwrap());
    stream.write_all(&known).await.unwrap();
    stream.flush().await.unwrap();
    let mut blobs = Vec::new();
    let message = node
        .until(|event| match event {
            MeshEvent::Message { message, .. } => Some(message),
            MeshEvent::Blob { stream, .. } => {
                blobs.push(stream);
                None
            }
            _ => None,
        })
        .await;
    assert_eq!(message, progress(1, ""));
    assert!(blobs.len() <= 3);
}

fn socket(address: &Multiaddr) -> std::net::SocketAddr {
    let port = address.iter().find_map(|part| match part {
        Protocol::Tcp(port) => Some(port),
        _ => None,
    });
    ([127, 0, 0, 1], port.unwrap()).into()
}

/// Whether the other end has closed it, now or soon.
async fn is_closed(socket: &mut TcpStream) -> bool {
    let mut byte = [0; 1];
    let read = tokio::time::timeout(Duration::from_millis(500), socket.read(&mut byte)).await;
    matches!(read, Ok(Ok(0) | Err(_)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_has_a_share_of_the_connections() {
    let ids = identities(1);
    let mut listener = config(&ids[0], &[], TCP);
    listener.limits.pending_per_ip = 3;
    let mut node = Node::start(listener);
    let at = socket(&node.address().await);
    let mut sockets = Vec::new();
    for _ in 0..8 {
        sockets.push(TcpStream::connect(at).await.unwrap());
    }
    let denied = async || node.mesh.counters().denied == 5;
    eventually("five are turned away", denied).await;
    let mut closed = 0;
    for socket in &mut sockets {
        closed += usize::from(is_closed(socket).await);
    }
    assert_eq!(closed, 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_to_prove_its_address_comes_up_all_the_same() {
    // A quarter of three is none: it is always busy enough.
    let (first, second) = pair(QUIC, |config| config.limits.pending_incoming = 3).await;
    first.mesh.send(second.id, &progress(1, "")).unwrap();
    assert_eq!(first.mesh.counters().admitted, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_thousand_hostile_connects_leave_members_alone() {
    let (mut first, mut second) = pair(TCP, |_| {}).await;
    let at = socket(&first.mesh.listening()[0]);
    let mut held = std::collections::VecDeque::new();
    for connect in 0..5_000_u64 {
        held.push_back(TcpStream::connect(at).await.unwrap());
        if held.len() > 100 {
            held.pop_front();
        }
        if connect % 500 == 0 {
            first.mesh.send(second.id, &progress(connect, "")).unwrap();
            assert_eq!(second.message().await.1, progress(connect, ""));
            second.mesh.send(first.id, &progress(connect, "")).unwrap();
            assert_eq!(first.message().await.1, progress(connect, ""));
        }
    }
    let counters = first.mesh.counters();
    assert!(counters.denied > 4_000, "{counters:?}");
    assert_eq!((counters.connects, counters.admitted), (1, 1));
    assert_eq!(first.mesh.peers().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_that_never_greets_stays_small_and_leaves_members_alone() {
    let (mut first, mut second) = pair(TCP, |config| {
        config.limits.ungreeted = 4;
        config.limits.burst_per_ip = 1000;
    })
    .await;
    let at = named(first.mesh.listening()[0].clone(), first.id);
    let mut crowd = Vec::new();
    for _ in 0..60 {
        let stranger = Identity::generate().unwrap();
        crowd.push(Outsider::connect(&stranger, first.id, at.clone()).await);
    }
    let made_room = async || first.mesh.counters().ungreeted == 56;
    eventually("all but four are cut off", made_room).await;
    first.mesh.send(second.id, &progress(1, "")).unwrap();
    second.mesh.send(first.id, &progress(2, "")).unwrap();
    assert_eq!(second.message().await.1, progress(1, ""));
    assert_eq!(first.message().await.1, progress(2, ""));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_those_who_do_not_greet_the_oldest_makes_room() {
    let ids = identities(4);
    let [a, b, c, d] = &ids[..] else { panic!() };
    let mut listener = config(a, &[b, c, d], TCP);
    listener.limits.ungreeted = 2;
    let mut node = Node::start(listener);
    let address = node.address().await;
    let mut outsiders = Vec::new();
    for (number, own) in [b, c, d].into_iter().enumerate() {
        outsiders.push(Outsider::connect(own, node.id, address.clone()).await);
        // The outsider's handshake may end before the node's: the next one must not overtake it.
        let arrived = async || node.mesh.counters().connects == number as u64 + 1;
        eventually("the outsider arrives", arrived).await;
    }
    outsiders[0].is_cut_off().await;
    outsiders[1].greet().await.unwrap();
    outsiders[2].greet().await.unwrap();
}
