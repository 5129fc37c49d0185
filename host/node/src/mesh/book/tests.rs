//! The address book: what is kept, and when is whom dialled.
#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use super::*;
use crate::identity::Identity;

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(15);

fn node() -> NodeId {
    Identity::generate().unwrap().node_id()
}

fn at(port: u16) -> Multiaddr {
    format!("/ip4/10.0.0.1/tcp/{port}").parse().unwrap()
}

fn book() -> (Book, Instant) {
    (Book::new(node(), (FIRST, LONGEST)), Instant::now())
}

#[test]
fn who_is_configured_is_dialled_for_ever_and_ever_more_seldom() {
    let (mut book, start) = book();
    let peer = node();
    let named = at(1).with(Protocol::P2p(identity::peer_id(peer).unwrap()));
    book.configure(named, start);
    let mut now = start;
    for failure in 1..1000 {
        assert_eq!(book.due(now), [Target::Node(peer)]);
        assert_eq!(book.due(now), [], "it is being dialled");
        book.failed(peer, now);
        let whole = FIRST
            .saturating_mul(1 << u32::min(failure, 10))
            .min(LONGEST);
        assert_eq!(book.due(now + whole / 4 * 3 - Duration::from_millis(1)), []);
        now += whole;
    }
    assert_eq!(book.addresses(peer), [at(1)]);
}

#[test]
fn who_was_only_heard_of_is_given_up_until_heard_of_again() {
    let (mut book, now) = book();
    let peer = node();
    book.learn(peer, at(1), Source::Heard, now);
    assert_eq!(book.due(now), [], "nobody asked for it");
    book.want(peer, now);
    let later = now + Duration::from_secs(3600);
    for _ in 0..TRIES_HEARD {
        assert_eq!(book.due(later), [Target::Node(peer)]);
        book.failed(peer, now);
    }
    assert_eq!(book.due(later), []);
    book.want(peer, now);
    assert_eq!(book.due(later), [Target::Node(peer)]);
}

#[test]
fn who_was_up_is_dialled_soon_after_it_was_lost_and_at_once_when_this_node_moved() {
    let (mut book, now) = book();
    let peer = node();
    book.learn(peer, at(1), Source::Told, now);
    book.connected(peer, now);
    book.up(peer, now);
    book.want(peer, now);
    assert_eq!(book.due(now + LONGEST), [], "it is connected");
    book.lost(peer, now);
    assert_eq!(book.due(now), []);
    assert_eq!(book.due(now + FIRST), [Target::Node(peer)]);
    book.refused(peer, now);
    assert_eq!(book.due(now + FIRST), []);
    book.moved(now);
    assert_eq!(book.due(now), [Target::Node(peer)]);
}

#[test]
fn a_bare_address_belongs_to_whoever_answers_until_somebody_else_does() {
    let (mut book, now) = book();
    let (first, second) = (node(), node());
    book.configure(at(1), now);
    assert_eq!(book.due(now), [Target::Address(at(1))]);
    let dial = ConnectionId::new_unchecked(1);
    book.dialling(&at(1), dial);
    assert_eq!(book.due(now), []);
    book.unanswered(dial, now);
    let later = now + FIRST * 2;
    assert_eq!(book.due(later), [Target::Address(at(1))]);
    book.dialling(&at(1), dial);
    book.answered(dial, first, later);
    assert_eq!(book.addresses(first), [at(1)]);
    book.mistaken(first, &at(1), later);
    assert_eq!(book.addresses(first), []);
    assert_eq!(book.due(later), [Target::Address(at(1))]);
    book.dialling(&at(1), dial);
    book.answered(dial, second, later);
    assert_eq!(book.addresses(second), [at(1)]);
}

#[test]
fn what_is_kept_is_bounded_and_the_users_stays() {
    let (mut book, now) = book();
    let mine = node();
    let named = at(9).with(Protocol::P2p(identity::peer_id(mine).unwrap()));
    book.configure(named, now);
    for number in 0..2 * MAX_NODES {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&number.to_be_bytes());
        book.learn(NodeId(key), at(1), Source::Heard, now);
    }
    assert_eq!(book.entries.len(), MAX_NODES);
    for port in 10..100 {
        book.learn(mine, at(port), Source::Told, now);
    }
    let addresses = book.addresses(mine);
    assert_eq!((addresses.len(), &addresses[0]), (MAX_ADDRESSES, &at(9)));
    book.hide(mine);
    assert_eq!(book.addresses(mine), [at(9)]);
}

#[test]
fn only_addresses_that_can_be_dialled_are_kept() {
    for bad in [
        "/ip4/0.0.0.0/tcp/1",
        "/ip4/10.0.0.1/tcp/0",
        "/ip4/10.0.0.1/udp/1",
        "/ip4/224.0.0.251/tcp/1",
        "/unix/x",
    ] {
        assert!(!is_usable(&bad.parse().unwrap()), "{bad}");
    }
    for good in ["/ip6/::1/udp/1/quic-v1", "/dns4/a.example/tcp/1"] {
        assert!(is_usable(&good.parse().unwrap()), "{good}");
    }
}
