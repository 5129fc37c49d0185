//! What two members say to each other.

use super::*;
use crate::mesh::MeshError;
use futures::{AsyncReadExt, AsyncWriteExt};
use sykli_core::consent::{Beacon, ToExecutor};

async fn come_up(listen: &str) {
    let (first, second) = pair(listen, |_| {}).await;
    for (node, other) in [(&first, &second), (&second, &first)] {
        let peers = node.mesh.peers().await;
        let [peer] = &peers[..] else {
            panic!("{peers:?}")
        };
        assert_eq!((peer.node, peer.relayed), (other.id, false));
        assert_eq!(node.mesh.counters().admitted, 1);
    }
    assert_eq!(first.mesh.listening().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_members_come_up_over_tcp() {
    come_up(TCP).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_members_come_up_over_quic() {
    come_up(QUIC).await;
}

async fn talk(listen: &str) {
    let (mut first, mut second) = pair(listen, |_| {}).await;
    let long = "x".repeat(1000);
    let resume = Message::ToExecutor(ToExecutor::Resume {
        keys: (0..256).map(key).collect(),
    });
    for round in 0..20 {
        for done in 0..10 {
            let message = progress(round * 10 + done, &long);
            first.mesh.send(second.id, &message).unwrap();
            second.mesh.send(first.id, &message).unwrap();
        }
        first.mesh.send(second.id, &resume).unwrap();
        for done in 0..10 {
            let message = progress(round * 10 + done, &long);
            assert_eq!(second.message().await, (first.id, message.clone()));
            assert_eq!(first.message().await, (second.id, message));
        }
        assert_eq!(second.message().await, (first.id, resume.clone()));
    }
    assert_eq!(first.mesh.counters().offences.len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_arrive_in_order_both_ways_over_tcp() {
    talk(TCP).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_arrive_in_order_both_ways_over_quic() {
    talk(QUIC).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_fits_no_frame_or_has_no_peer_is_not_sent() {
    let (first, second) = pair(TCP, |_| {}).await;
    let long = progress(1, &"x".repeat(5000));
    let error = first.mesh.send(second.id, &long).unwrap_err();
    assert!(matches!(error, MeshError::Message(_)), "{error}");
    let nobody = Identity::generate().unwrap().node_id();
    let error = first.mesh.send(nobody, &progress(1, "")).unwrap_err();
    assert_eq!(error.code(), "mesh::not-connected");
    let error = first.mesh.open_blob(nobody).await.unwrap_err();
    assert_eq!(error.code(), "mesh::not-connected");
    assert!(first.mesh.ping(nobody).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_capabilities_are_told() {
    let (mut first, second) = pair(TCP, |_| {}).await;
    let renamed = capabilities(&Profile::of(ProfileKind::Lan), "renamed");
    second.mesh.capabilities_changed(renamed.clone());
    let told = Message::Capabilities(Box::new(renamed));
    assert_eq!(first.message().await, (second.id, told));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn links_are_measured() {
    let (mut first, second) = pair(QUIC, |_| {}).await;
    let peer = first
        .until(|event| match event {
            MeshEvent::Measured { peer, link } => Some((peer, link)),
            _ => None,
        })
        .await;
    assert_eq!(peer.0, second.id);
    first.mesh.ping(second.id).await.unwrap();
}

async fn move_bytes(listen: &str) {
    let (mut first, second) = pair(listen, |config| config.limits.blobs_per_peer = 2).await;
    let mut theirs = second.mesh.open_blob(first.id).await.unwrap();
    let bytes: Vec<u8> = (0..3 << 20).map(|n: u32| n.to_le_bytes()[1]).collect();
    let sent = bytes.clone();
    let sending = tokio::spawn(async move {
        theirs.write_all(&sent).await.unwrap();
        theirs.close().await.unwrap();
        let mut back = Vec::new();
        theirs.read_to_end(&mut back).await.unwrap();
        back
    });
    let (peer, mut stream) = first
        .until(|event| match event {
            MeshEvent::Blob { peer, stream } => Some((peer, stream)),
            _ => None,
        })
        .await;
    assert_eq!(peer, second.id);
    let mut received = Vec::new();
    stream.read_to_end(&mut received).await.unwrap();
    assert!(received == bytes);
    stream.write_all(b"thanks").await.unwrap();
    stream.close().await.unwrap();
    assert_eq!(sending.await.unwrap(), b"thanks");

    let held = [
        first.mesh.open_blob(second.id).await.unwrap(),
        first.mesh.open_blob(second.id).await.unwrap(),
    ];
    let busy = first.mesh.open_blob(second.id).await.unwrap_err();
    assert_eq!(busy.code(), "mesh::busy");
    drop(held);
    first.mesh.open_blob(second.id).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bulk_flows_over_tcp() {
    move_bytes(TCP).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bulk_flows_over_quic() {
    move_bytes(QUIC).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_takes_nothing_is_cut_off_and_nobody_waits_for_it() {
    let ids = identities(2);
    let [a, b] = &ids[..] else { panic!() };
    let mut listener = config(a, &[b], TCP);
    listener.limits.queue_frames = 8;
    let mut listener = Node::start(listener);
    let mut deaf = config(b, &[a], TCP);
    deaf.known = vec![listener.address().await];
    // It hears that the other is up, and then nobody takes its events any more.
    let (sender, mut events) = mpsc::channel(1);
    let deaf = Mesh::start(deaf, sender).unwrap();
    listener.up(deaf.node()).await;
    while !matches!(events.recv().await.unwrap(), MeshEvent::Up { .. }) {}
    let message = progress(1, &"x".repeat(1000));
    let mut sent = 0_u64;
    let error = loop {
        match listener.mesh.send(deaf.node(), &message) {
            Ok(()) => sent += 1,
            Err(error) => break error,
        }
        tokio::task::yield_now().await;
    };
    assert!(matches!(error, MeshError::TooSlow { .. }), "{error}");
    assert!(sent >= 8);
    listener.down(deaf.node()).await;
    assert_eq!(listener.mesh.counters().slow, 1);
}

fn beacon(node: NodeId, sequence: u64) -> Beacon {
    Beacon {
        node,
        sequence,
        free: 1,
        queued: 2,
        slots: 4,
        paused: false,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beacons_reach_who_is_not_a_neighbour() {
    let ids = identities(3);
    let [a, b, c] = &ids[..] else { panic!() };
    let mut hub = Node::start(config(b, &[a, c], TCP));
    let known = vec![hub.address().await];
    let leaf = |own: &Identity| {
        let mut config = config(own, &[b], QUIC);
        config.known.clone_from(&known);
        Node::start(config)
    };
    let (mut first, mut last) = (leaf(a), leaf(c));
    first.up(hub.id).await;
    last.up(hub.id).await;
    // A subscription may still be on its way: beacons are said again and again.
    let said = async {
        for sequence in 1.. {
            first.mesh.publish(beacon(first.id, sequence));
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    let heard = last.until(|event| match event {
        MeshEvent::Gossip(beacon) => Some(beacon),
        _ => None,
    });
    let heard = tokio::select! {
        heard = heard => heard,
        () = said => panic!(),
    };
    assert_eq!(heard, beacon(first.id, heard.sequence));
}
