//! Who meets whom, how often, and again.

use super::*;
use crate::membership::Invitation;
use crate::mesh::book::is_relayed;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_dial_each_other_at_once_are_one_pair() {
    let ids = identities(2);
    let [a, b] = &ids[..] else { panic!() };
    let start = |own: &Identity, other: &Identity| {
        let mut config = config(own, &[other], TCP);
        config.limits.spare_lasts = Duration::ZERO;
        Node::start(config)
    };
    let (mut first, mut second) = (start(a, b), start(b, a));
    let (to_first, to_second) = (first.address().await, second.address().await);
    first.mesh.dial_address(to_second);
    second.mesh.dial_address(to_first);
    first.up(second.id).await;
    second.up(first.id).await;
    eventually(
        "one connection is left",
        async || matches!(&first.mesh.peers().await[..], [peer] if peer.connections == 1),
    )
    .await;
    // The pair survived: what is sent arrives, and nothing went down before it.
    first.mesh.send(second.id, &progress(1, "")).unwrap();
    second.mesh.send(first.id, &progress(2, "")).unwrap();
    assert_eq!(second.message().await.1, progress(1, ""));
    assert_eq!(first.message().await.1, progress(2, ""));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_comes_back_is_dialled_again() {
    let ids = identities(2);
    let [a, b] = &ids[..] else { panic!() };
    let mut first = Node::start(config(a, &[b], TCP));
    let address = first.address().await;
    let mut dialler = config(b, &[a], TCP);
    dialler.known = vec![address.clone()];
    let mut second = Node::start(dialler);
    second.up(first.id).await;
    first.mesh.stop().await;
    drop(first);
    second.down(a.node_id()).await;
    let (at, _) = crate::mesh::book::split(&address);
    let mut again = config(a, &[b], TCP);
    again.listen = vec![at];
    let mut first = Node::start(again);
    second.up(first.id).await;
    first.up(second.id).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_without_a_name_finds_whoever_is_there() {
    let ids = identities(2);
    let [a, b] = &ids[..] else { panic!() };
    let mut first = Node::start(config(a, &[b], QUIC));
    let (bare, _) = crate::mesh::book::split(&first.address().await);
    let mut dialler = config(b, &[a], QUIC);
    dialler.known = vec![bare];
    let mut second = Node::start(dialler);
    second.up(first.id).await;
    first.up(second.id).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hint_is_followed_and_a_wrong_one_harms_nobody() {
    let ids = identities(3);
    let [a, b, c] = &ids[..] else { panic!() };
    let mut first = Node::start(config(a, &[b], TCP));
    let mut second = Node::start(config(b, &[a, c], TCP));
    let at_first = first.address().await;
    // Somebody else is there: it is not let in as whom the hint names, and asked for nothing.
    second.mesh.hint(c.node_id(), at_first.clone());
    let failed = async || second.mesh.counters().failed_outgoing >= 1;
    eventually("the wrong hint fails", failed).await;
    second.mesh.hint(first.id, at_first);
    second.up(first.id).await;
    first.up(second.id).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_was_expelled_does_not_come_back() {
    let (mut first, mut second) = pair(TCP, |_| {}).await;
    first.mesh.expel(second.id);
    first.down(second.id).await;
    second.down(first.id).await;
    // It tries again by itself, and is turned away at the door.
    let denied = async || first.mesh.counters().denied >= 2;
    eventually("it is turned away", denied).await;
    assert_eq!(first.mesh.counters().admitted, 1);
    assert!(first.mesh.peers().await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_was_disconnected_may_come_back() {
    let (mut first, mut second) = pair(QUIC, |_| {}).await;
    first.mesh.disconnect(second.id);
    first.down(second.id).await;
    second.down(first.id).await;
    second.up(first.id).await;
    first.up(second.id).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hidden_node_listens_on_nothing_and_dials_out() {
    let ids = identities(2);
    let [a, b] = &ids[..] else { panic!() };
    let mut open = Node::start(config(a, &[b], TCP));
    let mut hidden = config(b, &[a], TCP);
    hidden.profile = Profile::of(ProfileKind::Mobile);
    hidden.gate = gate_of(b, &hidden.profile, &[a]);
    hidden.known = vec![open.address().await];
    hidden.relay_server = true;
    hidden.mdns = true;
    let mut hidden = Node::start(hidden);
    hidden.up(open.id).await;
    assert!(open.up(hidden.id).await.hidden);
    open.mesh.send(hidden.id, &progress(1, "")).unwrap();
    assert_eq!(hidden.message().await.1, progress(1, ""));
    assert!(hidden.mesh.listening().is_empty());
    let known = open.mesh.peers().await;
    assert!(known[0].addresses.is_empty(), "nobody can dial it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_meet_through_a_relay() {
    let ids = identities(3);
    let [a, b, c] = &ids[..] else { panic!() };
    let wan = Profile::of(ProfileKind::Wan);
    let memberships = mesh_of(b, &[a, c]);
    let start = |own: &Identity, others: &[&Identity], change: &dyn Fn(&mut MeshConfig)| {
        let mut config = config(own, others, TCP);
        config.profile = wan.clone();
        let of = memberships.iter().find(|of| of.node_id() == own.node_id());
        config.gate = of.unwrap().gate(capabilities(&wan, "node")).unwrap();
        change(&mut config);
        Node::start(config)
    };
    let mut relay = start(b, &[a, c], &|config| config.relay_server = true);
    let at_relay = relay.address().await;
    // It can be reached in no other way: it listens nowhere.
    let mut first = start(a, &[b, c], &|config| {
        config.listen.clear();
        config.known = vec![at_relay.clone()];
    });
    first.up(relay.id).await;
    let place = first
        .until(|event| match event {
            MeshEvent::Listening { address } if is_relayed(&address) => Some(address),
            _ => None,
        })
        .await;
    let mut last = start(c, &[a, b], &|config| {
        config.listen.clear();
        config.known = vec![place.clone()];
    });
    let through = |peer: NodeId| {
        move |event| match event {
            MeshEvent::Up {
                peer: up, relayed, ..
            } if up == peer => Some(relayed),
            _ => None,
        }
    };
    assert!(last.until(through(first.id)).await);
    assert!(first.until(through(last.id)).await);
    last.mesh.send(first.id, &progress(1, "")).unwrap();
    assert_eq!(first.message().await, (last.id, progress(1, "")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mesh_that_cannot_listen_says_where() {
    let ids = identities(2);
    let [a, b] = &ids[..] else { panic!() };
    let mut first = Node::start(config(a, &[b], TCP));
    let (taken, _) = crate::mesh::book::split(&first.address().await);
    let mut config = config(b, &[a], TCP);
    config.listen = vec!["/ip4/127.0.0.1/sctp/1".parse().unwrap(), taken];
    let (sender, _events) = mpsc::channel(64);
    let error = Mesh::start(config, sender).err().unwrap();
    assert_eq!(error.code(), "mesh::listen");
    assert!(error.to_string().contains("sctp") && !error.hint().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mesh_that_was_stopped_answers_nobody() {
    let (first, mut second) = pair(TCP, |_| {}).await;
    first.mesh.stop().await;
    second.down(first.id).await;
    let error = first.mesh.open_blob(second.id).await.unwrap_err();
    assert_eq!(error.code(), "mesh::stopped");
    assert!(first.mesh.peers().await.is_empty());
    first.mesh.stop().await;
}

/// A mesh that `founder` has made, with these members; its memberships, in any order.
fn mesh_of(founder: &Identity, members: &[&Identity]) -> Vec<Membership> {
    let own = membership(founder, BTreeSet::new());
    own.create().unwrap();
    let profile = Profile::of(ProfileKind::Wan);
    let gate = own.gate(capabilities(&profile, "founder")).unwrap();
    let mut all = vec![own.clone()];
    for member in members {
        let invitation = Invitation {
            addresses: vec!["/ip4/127.0.0.1/tcp/1".into()],
            expires_in_s: 60,
            issuer: false,
            relay: false,
            ceiling: ProfileKind::Lan,
        };
        let ticket = own.invite(&invitation).unwrap();
        let joining = membership(member, BTreeSet::new());
        let asking = joining.gate(capabilities(&profile, "member")).unwrap();
        let answer = gate.answer(member.node_id(), &asking.join(&ticket));
        asking
            .conclude_join(founder.node_id(), &ticket, &answer.reply)
            .unwrap();
        all.push(joining);
    }
    all
}
