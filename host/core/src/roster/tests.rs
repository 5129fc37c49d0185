//! Each promise of the roster by itself, then all of them under events of chance.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::profile::{ArtifactLimit, ProfileKind, Stealing};
use crate::rng::Rng;

const TICK_MS: u64 = 60_000;

fn id(n: u32) -> NodeId {
    let mut bytes = [0; 32];
    bytes[..4].copy_from_slice(&n.to_be_bytes());
    NodeId(bytes)
}

fn capabilities(hidden: bool) -> Capabilities {
    Capabilities {
        name: "peer".into(),
        profile: ProfileKind::Lan,
        tick_ms: TICK_MS,
        stealing: Stealing::Full,
        artifacts: ArtifactLimit::Unlimited,
        hidden,
        labels: BTreeSet::new(),
        memory_mb: 1_024,
        engine: Arc::from("e1"),
    }
}

fn beacon(node: NodeId, sequence: u64) -> Beacon {
    Beacon {
        node,
        sequence,
        free: 4,
        queued: 0,
        slots: 4,
        paused: false,
    }
}

fn queue(node: NodeId, queued: u32, slots: u32) -> Beacon {
    Beacon {
        free: 0,
        queued,
        slots,
        ..beacon(node, 1)
    }
}

fn join(roster: &mut Roster, now: Tick, peer: NodeId) -> bool {
    roster.connected(now, peer, capabilities(false), Link::default(), true)
}

/// So many connected peers with room for four tasks each.
fn mesh(size: u32) -> Roster {
    let mut roster = Roster::new();
    for n in 0..size {
        assert!(join(&mut roster, Tick(0), id(n)));
        assert!(roster.beacon(Tick(0), beacon(id(n), 1)));
    }
    roster.sanity_check().unwrap();
    roster
}

fn candidates(roster: &mut Roster, now: u64) -> Vec<NodeId> {
    let mut found = roster.candidates(Tick(now), &mut Rng::new(now), 100);
    found.sort();
    roster.sanity_check().unwrap();
    found
}

#[test]
fn a_peer_with_room_is_a_candidate() {
    assert_eq!(candidates(&mut mesh(3), 0), [id(0), id(1), id(2)]);
}

#[test]
fn a_peer_is_no_candidate_before_its_beacon_or_after_its_connection() {
    let mut roster = Roster::new();
    join(&mut roster, Tick(0), id(1));
    assert_eq!(candidates(&mut roster, 0), []);
    assert!(roster.beacon(Tick(0), beacon(id(1), 1)));
    assert_eq!(candidates(&mut roster, 0), [id(1)]);
    roster.disconnected(Tick(5), id(1));
    assert_eq!(candidates(&mut roster, 5), []);
    assert_eq!(roster.get(id(1)).unwrap().away_since, Some(Tick(5)));
    join(&mut roster, Tick(9), id(1));
    assert_eq!(candidates(&mut roster, 9), [id(1)]);
    assert_eq!(roster.get(id(1)).unwrap().away_since, None);
}

#[test]
fn a_paused_or_full_peer_is_no_candidate() {
    let mut roster = mesh(3);
    roster.beacon(
        Tick(1),
        Beacon {
            paused: true,
            ..beacon(id(0), 2)
        },
    );
    roster.beacon(
        Tick(1),
        Beacon {
            free: 0,
            ..beacon(id(1), 2)
        },
    );
    assert_eq!(candidates(&mut roster, 1), [id(2)]);
}

#[test]
fn a_peer_holds_only_the_leases_that_it_has_earned() {
    let mut roster = mesh(1);
    roster.granted(id(0));
    assert_eq!(candidates(&mut roster, 0), []);
    roster.kept(id(0));
    roster.granted(id(0));
    assert_eq!(candidates(&mut roster, 0), [id(0)]);
    roster.granted(id(0));
    assert_eq!(candidates(&mut roster, 0), []);
    roster.released(id(0), false);
    assert_eq!(candidates(&mut roster, 0), [id(0)]);
    let entry = roster.get(id(0)).unwrap();
    assert_eq!((entry.outstanding, entry.may_hold, entry.kept), (1, 2, 1));
}

#[test]
fn a_peer_has_room_by_its_last_word_and_for_each_lease_that_it_delivers() {
    let mut roster = mesh(1);
    for _ in 0..4 {
        roster.granted(id(0));
        roster.kept(id(0));
    }
    let told = |sequence, free| Beacon {
        free,
        ..beacon(id(0), sequence)
    };
    roster.beacon(Tick(0), told(8, 2));
    roster.granted(id(0));
    roster.granted(id(0));
    assert_eq!(candidates(&mut roster, 0), [], "two were free");
    // Both run when it says that none is free: it has room for those two.
    roster.beacon(Tick(0), told(9, 0));
    roster.delivered(id(0));
    assert_eq!(candidates(&mut roster, 0), [id(0)], "one is free again");
    roster.granted(id(0));
    roster.kept(id(0));
    assert_eq!(candidates(&mut roster, 0), []);
    // Somebody else has taken its other slot.
    roster.released(id(0), false);
    roster.full(Tick(0), id(0), 5_000);
    assert_eq!(candidates(&mut roster, 0), []);
    roster.delivered(id(0));
    assert_eq!(candidates(&mut roster, 0), [id(0)]);
    roster.granted(id(0));
    roster.kept(id(0));
    roster.released(id(0), false);
    roster.full(Tick(0), id(0), 5_000);
    roster.beacon(Tick(1), told(10, 1));
    assert_eq!(candidates(&mut roster, 4_999), [], "it has none of ours");
    assert_eq!(candidates(&mut roster, 5_000), [id(0)]);
    roster.sanity_check().unwrap();
}

#[test]
fn a_share_of_leases_grows_by_one_to_its_bound_and_halves_with_a_loss() {
    let mut roster = mesh(1);
    for _ in 0..100 {
        roster.granted(id(0));
        roster.kept(id(0));
    }
    assert_eq!(roster.get(id(0)).unwrap().may_hold, MAX_HELD);
    for expected in [32, 16, 8, 4, 2, 1, 1] {
        roster.lost(Tick(0), id(0), false);
        assert_eq!(roster.get(id(0)).unwrap().may_hold, expected);
    }
    assert_eq!(roster.get(id(0)).unwrap().losses, 7);
    roster.sanity_check().unwrap();
}

#[test]
fn a_cool_down_doubles_with_each_loss_in_a_row_and_begins_anew_after_a_kept_lease() {
    let mut roster = mesh(1);
    let mut now = Tick(0);
    for seconds in [5, 10, 20, 40, 80, 160, 320, 600, 600] {
        roster.lost(now, id(0), false);
        let until = roster.get(id(0)).unwrap().cooling_until;
        assert_eq!(until, now.after_ms(seconds * 1000));
        now = until;
    }
    roster.kept(id(0));
    roster.lost(now, id(0), false);
    let until = roster.get(id(0)).unwrap().cooling_until;
    assert_eq!(until, now.after_ms(COOL_FIRST_MS));
}

#[test]
fn a_cooling_peer_is_a_candidate_again_the_moment_it_has_cooled_down() {
    let mut roster = mesh(2);
    roster.cool(Tick(0), id(0), 100);
    roster.cool(Tick(0), id(0), 50);
    assert_eq!(candidates(&mut roster, 99), [id(1)]);
    assert_eq!(candidates(&mut roster, 100), [id(0), id(1)]);
}

#[test]
fn a_sample_is_distinct_bounded_and_reaches_everybody_about_equally() {
    let mut roster = mesh(10);
    let mut rng = Rng::new(7);
    let mut counts = [0u32; 10];
    for _ in 0..1_000 {
        let found = roster.candidates(Tick(0), &mut rng, 3);
        let distinct: BTreeSet<NodeId> = found.iter().copied().collect();
        assert_eq!((found.len(), distinct.len()), (3, 3));
        let first = found.first().unwrap();
        counts[usize::from(first.0[3])] += 1;
    }
    assert!(
        counts.iter().all(|count| (60..140).contains(count)),
        "{counts:?}"
    );
    assert_eq!(roster.candidates(Tick(0), &mut rng, 0), []);
}

#[test]
fn a_beacon_that_is_not_newer_is_passed_over() {
    let mut roster = Roster::new();
    assert!(roster.beacon(Tick(0), beacon(id(1), 5)));
    assert!(!roster.beacon(Tick(1), beacon(id(1), 5)));
    assert!(!roster.beacon(Tick(1), beacon(id(1), 4)));
    assert!(roster.beacon(Tick(1), beacon(id(1), 6)));
    let entry = roster.get(id(1)).unwrap();
    assert!(!entry.connected);
    assert_eq!(entry.beacon.as_ref().unwrap().sequence, 6);
}

#[test]
fn a_restarted_peer_counts_its_beacons_anew() {
    let mut roster = mesh(1);
    assert!(roster.beacon(Tick(1), beacon(id(0), 50)));
    roster.disconnected(Tick(2), id(0));
    assert!(!roster.beacon(Tick(2), beacon(id(0), 1)));
    join(&mut roster, Tick(3), id(0));
    assert!(roster.beacon(Tick(3), beacon(id(0), 1)));
    assert!(!roster.beacon(Tick(3), beacon(id(0), 1)));
    join(&mut roster, Tick(4), id(0));
    assert!(!roster.beacon(Tick(4), beacon(id(0), 1)));
}

#[test]
fn the_longer_queue_per_slot_is_asked() {
    let mut roster = Roster::new();
    roster.beacon(Tick(0), queue(id(1), 10, 10));
    roster.beacon(Tick(0), queue(id(2), 4, 2));
    roster.beacon(Tick(0), beacon(id(3), 1));
    for seed in 0..20 {
        let victim = roster.victim(Tick(0), &mut Rng::new(seed));
        assert_eq!(victim, Some(id(2)));
    }
    assert_eq!(roster.busy(), 2);
}

#[test]
fn a_cooling_or_unreachable_owner_is_not_asked() {
    let mut roster = Roster::new();
    let mut rng = Rng::new(1);
    assert_eq!(roster.victim(Tick(0), &mut rng), None);
    roster.beacon(Tick(0), queue(id(1), 1, 0));
    roster.connected(Tick(0), id(2), capabilities(true), Link::default(), true);
    roster.beacon(Tick(0), queue(id(2), 9, 1));
    assert_eq!(roster.victim(Tick(0), &mut rng), Some(id(2)));
    roster.disconnected(Tick(0), id(2));
    assert_eq!(roster.victim(Tick(0), &mut rng), Some(id(1)));
    roster.cool(Tick(0), id(1), 10);
    assert_eq!(roster.victim(Tick(9), &mut rng), None);
    assert_eq!(roster.victim(Tick(10), &mut rng), Some(id(1)));
    assert_eq!(roster.busy(), 2);
    roster.beacon(Tick(11), beacon(id(1), 2));
    assert_eq!(roster.victim(Tick(11), &mut rng), None);
    assert_eq!(roster.busy(), 1);
    roster.sanity_check().unwrap();
}

#[test]
fn with_many_owners_two_choices_favour_the_busier_ones_but_not_one_alone() {
    let mut roster = Roster::new();
    for n in 0..10 {
        roster.beacon(Tick(0), queue(id(n), n + 1, 1));
    }
    let mut rng = Rng::new(3);
    let mut counts = [0u32; 10];
    for _ in 0..1_000 {
        let victim = roster.victim(Tick(0), &mut rng).unwrap();
        counts[usize::from(victim.0[3])] += 1;
    }
    assert_eq!(counts[0], 0);
    assert!((140..260).contains(&counts[9]), "{counts:?}");
    assert!(counts[5] > 50 && counts[5] < counts[9], "{counts:?}");
}

#[test]
fn suspicion_grows_with_silence_and_three_ticks_are_suspect() {
    let mut roster = mesh(1);
    let at = |roster: &Roster, ticks| roster.suspicion_milli(Tick(ticks * TICK_MS), id(0));
    assert_eq!(at(&roster, 0), 0);
    assert_eq!(at(&roster, 1), 434);
    assert_eq!(at(&roster, 10), 4_340);
    assert!(!roster.is_suspect(Tick(3 * TICK_MS - 1), id(0)));
    assert!(roster.is_suspect(Tick(3 * TICK_MS), id(0)));
    roster.heard(Tick(3 * TICK_MS), id(0));
    assert_eq!(at(&roster, 3), 0);
    assert_eq!(roster.suspicion_milli(Tick(u64::MAX), id(9)), 0);
}

#[test]
fn a_burst_of_messages_makes_no_silence_suspicious_and_a_slow_peer_is_given_time() {
    let mut roster = mesh(1);
    for ms in 0..1_000 {
        roster.heard(Tick(ms), id(0));
    }
    assert_eq!(roster.suspicion_milli(Tick(999 + TICK_MS), id(0)), 434);
    let mut now = 999;
    for _ in 0..100 {
        now += 2 * TICK_MS;
        roster.heard(Tick(now), id(0));
    }
    assert_eq!(roster.suspicion_milli(Tick(now + 2 * TICK_MS), id(0)), 434);
    roster.heard(Tick(now + 1_000 * TICK_MS), id(0));
    roster.sanity_check().unwrap();
    let later = Tick(now + 1_010 * TICK_MS);
    assert!(roster.is_suspect(later, id(0)));
}

#[test]
fn a_hidden_peer_is_away_and_never_suspect() {
    let mut roster = Roster::new();
    roster.connected(Tick(0), id(1), capabilities(true), Link::default(), true);
    roster.disconnected(Tick(7), id(1));
    assert_eq!(roster.suspicion_milli(Tick(u64::MAX), id(1)), 0);
    assert!(!roster.is_suspect(Tick(u64::MAX), id(1)));
    assert_eq!(roster.get(id(1)).unwrap().away_since, Some(Tick(7)));
    roster.capabilities(id(1), capabilities(false));
    assert!(roster.is_suspect(Tick(u64::MAX), id(1)));
}

#[test]
fn a_node_known_by_gossip_alone_is_not_suspected() {
    let mut roster = Roster::new();
    roster.beacon(Tick(0), beacon(id(1), 1));
    assert_eq!(roster.suspicion_milli(Tick(u64::MAX), id(1)), 0);
}

#[test]
fn the_unconnected_peer_heard_longest_ago_makes_room() {
    let mut roster = Roster::new();
    for n in 0..MAX_PEERS as u32 {
        assert!(roster.beacon(Tick(n.into()), beacon(id(n), 1)));
    }
    join(&mut roster, Tick(9_000), id(0));
    roster.heard(Tick(9_000), id(1));
    roster.granted(id(2));
    assert!(roster.beacon(Tick(9_001), beacon(id(90_000), 1)));
    assert!(roster.get(id(3)).is_none());
    for kept in [0, 1, 2, 90_000] {
        assert!(roster.get(id(kept)).is_some(), "{kept}");
    }
    assert_eq!(roster.iter().count(), MAX_PEERS);
    roster.sanity_check().unwrap();
}

#[test]
fn no_connected_peer_makes_room_for_a_newcomer() {
    let mut roster = mesh(MAX_PEERS as u32);
    assert!(!roster.beacon(Tick(1), beacon(id(90_000), 1)));
    assert!(!join(&mut roster, Tick(1), id(90_000)));
    assert_eq!(roster.connected_count(), MAX_PEERS);
    roster.granted(id(7));
    roster.disconnected(Tick(2), id(7));
    assert!(join(&mut roster, Tick(2), id(90_000)));
    assert!(roster.get(id(7)).is_none());
    roster.sanity_check().unwrap();
}

#[test]
fn an_expelled_peer_is_ignored_from_then_on() {
    let mut roster = mesh(2);
    roster.expel(id(0));
    assert!(roster.is_expelled(id(0)) && !roster.is_expelled(id(1)));
    assert!(!join(&mut roster, Tick(1), id(0)));
    assert!(!roster.beacon(Tick(1), beacon(id(0), 9)));
    roster.kept(id(0));
    assert!(roster.get(id(0)).is_none());
    assert_eq!(candidates(&mut roster, 1), [id(1)]);
}

#[test]
fn the_oldest_expulsion_is_forgotten_first() {
    let mut roster = Roster::new();
    for n in 0..=MAX_EXPELLED as u32 {
        roster.expel(id(n));
        if n == 1 {
            roster.expel(id(0));
        }
    }
    assert!(roster.is_expelled(id(0)));
    assert!(!roster.is_expelled(id(1)));
    assert!(roster.is_expelled(id(2)));
    roster.sanity_check().unwrap();
}

#[test]
fn the_blob_learned_longest_ago_is_forgotten_first() {
    let mut roster = mesh(1);
    let blob = |n: usize| Digest::of(&n.to_be_bytes());
    for n in 0..=MAX_BLOBS {
        roster.learned_blob(id(0), blob(n));
    }
    assert!(!roster.has_blob(id(0), blob(0)));
    assert!(roster.has_blob(id(0), blob(1)) && roster.has_blob(id(0), blob(MAX_BLOBS)));
    roster.learned_blob(id(5), blob(1));
    assert!(!roster.has_blob(id(5), blob(1)));
    roster.sanity_check().unwrap();
}

#[test]
fn what_is_said_of_unknown_peers_changes_nothing() {
    let mut roster = Roster::new();
    roster.disconnected(Tick(0), id(1));
    roster.heard(Tick(0), id(1));
    roster.capabilities(id(1), capabilities(false));
    roster.link(id(1), Link::default());
    roster.granted(id(1));
    roster.lost(Tick(0), id(1), false);
    roster.cool(Tick(0), id(1), 5);
    assert_eq!(roster.iter().count(), 0);
    roster.sanity_check().unwrap();
}

/// What happens to a roster, for events of chance.
#[derive(Clone, Debug)]
enum Op {
    Connected(u32, bool, u64),
    Disconnected(u32),
    Heard(u32),
    Described(u32, u64),
    Told(u32, u64, u32, u32, bool),
    Granted(u32),
    Released(u32, bool),
    Delivered(u32),
    Full(u32, u64),
    Kept(u32),
    Lost(u32, bool),
    Cooled(u32, u64),
    Learned(u32, u8),
    Expelled(u32),
    Sampled(usize),
    Asked,
}

fn any_op() -> impl Strategy<Value = Op> {
    let peer = || 0u32..12;
    let tick_ms = || prop_oneof![0u64..100_000, any::<u64>()];
    prop_oneof![
        4 => (peer(), any::<bool>(), tick_ms()).prop_map(|(p, h, t)| Op::Connected(p, h, t)),
        2 => peer().prop_map(Op::Disconnected),
        2 => peer().prop_map(Op::Heard),
        1 => (peer(), tick_ms()).prop_map(|(p, t)| Op::Described(p, t)),
        6 => (peer(), 0u64..20, 0u32..4, 0u32..3, any::<bool>())
            .prop_map(|(p, s, f, q, z)| Op::Told(p, s, f, q, z)),
        3 => peer().prop_map(Op::Granted),
        1 => (peer(), any::<bool>()).prop_map(|(p, done)| Op::Released(p, done)),
        2 => peer().prop_map(Op::Kept),
        1 => (peer(), any::<bool>()).prop_map(|(p, done)| Op::Lost(p, done)),
        1 => (peer(), 0u64..5_000).prop_map(|(p, ms)| Op::Cooled(p, ms)),
        1 => (peer(), any::<u8>()).prop_map(|(p, b)| Op::Learned(p, b)),
        2 => peer().prop_map(Op::Delivered),
        1 => (peer(), 0u64..5_000).prop_map(|(p, ms)| Op::Full(p, ms)),
        1 => (0u32..60).prop_map(Op::Expelled),
        3 => (0usize..15).prop_map(Op::Sampled),
        2 => Just(Op::Asked),
    ]
}

fn described(hidden: bool, tick_ms: u64) -> Capabilities {
    Capabilities {
        tick_ms,
        ..capabilities(hidden)
    }
}

fn perform(roster: &mut Roster, now: Tick, rng: &mut Rng, op: Op) {
    match op {
        Op::Connected(p, hidden, tick_ms) => {
            let told = described(hidden, tick_ms);
            let known = roster.connected(now, id(p), told, Link::default(), true);
            assert_eq!(known, !roster.is_expelled(id(p)));
        }
        Op::Disconnected(p) => roster.disconnected(now, id(p)),
        Op::Heard(p) => roster.heard(now, id(p)),
        Op::Described(p, tick_ms) => roster.capabilities(id(p), described(false, tick_ms)),
        Op::Told(p, sequence, free, queued, paused) => {
            let told = Beacon {
                free,
                queued,
                paused,
                ..beacon(id(p), sequence)
            };
            let _ = roster.beacon(now, told);
        }
        Op::Granted(p) => roster.granted(id(p)),
        Op::Released(p, done) => roster.released(id(p), done),
        Op::Delivered(p) => roster.delivered(id(p)),
        Op::Full(p, ms) => roster.full(now, id(p), ms),
        Op::Kept(p) => roster.kept(id(p)),
        Op::Lost(p, done) => roster.lost(now, id(p), done),
        Op::Cooled(p, ms) => roster.cool(now, id(p), ms),
        Op::Learned(p, blob) => roster.learned_blob(id(p), Digest([blob; 32])),
        Op::Expelled(p) => roster.expel(id(p)),
        Op::Sampled(n) => sampled(roster, now, rng, n),
        Op::Asked => asked(roster, now, rng),
    }
}

/// A candidate by its public fields alone.
fn is_candidate(now: Tick, entry: &Entry) -> bool {
    let told = entry.beacon.as_ref();
    let room = entry.has_room() && told.is_some_and(|told| !told.paused);
    let earned = entry.outstanding < entry.may_hold;
    entry.connected && room && earned && entry.cooling_until <= now
}

fn sampled(roster: &mut Roster, now: Tick, rng: &mut Rng, n: usize) {
    let expected: BTreeSet<NodeId> = roster
        .iter()
        .filter(|(_, entry)| is_candidate(now, entry))
        .map(|(peer, _)| peer)
        .collect();
    let found = roster.candidates(now, rng, n);
    let distinct: BTreeSet<NodeId> = found.iter().copied().collect();
    assert_eq!(found.len(), n.min(expected.len()));
    assert_eq!(distinct.len(), found.len());
    assert!(distinct.is_subset(&expected));
}

fn asked(roster: &mut Roster, now: Tick, rng: &mut Rng) {
    let expected: BTreeSet<NodeId> = roster
        .iter()
        .filter(|(_, entry)| {
            let queued = entry.beacon.as_ref().is_some_and(|told| told.queued > 0);
            let reachable = entry.connected || !entry.is_hidden();
            queued && reachable && entry.cooling_until <= now
        })
        .map(|(peer, _)| peer)
        .collect();
    match roster.victim(now, rng) {
        Some(victim) => assert!(expected.contains(&victim)),
        None => assert!(expected.is_empty()),
    }
}

proptest! {
    #[test]
    fn whatever_happens_the_roster_agrees_with_itself_and_answers_by_its_entries(
        ops in proptest::collection::vec((any_op(), 0u64..3_000), 0..200), seed in any::<u64>(),
    ) {
        let mut roster = Roster::new();
        let mut rng = Rng::new(seed);
        let mut now = Tick(0);
        for (op, later_ms) in ops {
            now = now.after_ms(later_ms);
            perform(&mut roster, now, &mut rng, op);
            prop_assert_eq!(roster.sanity_check(), Ok(()));
        }
    }
}
