//! One identity, several processes: a restart is none of them, a clone is refused on both machines.

use super::*;

/// Another process with the same identity, on the same files.
fn again(world: &World) -> Machine {
    world.start("member")
}

#[test]
fn a_restarted_node_is_let_in_and_its_old_connection_is_to_go() {
    let world = World::new();
    let (creator, member) = world.pair();
    let (_, first) = greet(&member, &creator);
    assert!(!first.supersedes);
    creator.gate.up(member.id(), first.instance);
    // Its machine lost power: nobody has noticed yet.
    let restarted = again(&world);
    let (_, second) = greet(&restarted, &creator);
    assert!(second.supersedes && second.instance != first.instance);
    creator.gate.up(member.id(), second.instance);
    creator.gate.down(member.id(), first.instance);
    let (_, third) = greet(&restarted, &creator);
    assert!(!third.supersedes);
    assert_eq!(creator.gate.fallen(), []);
}

#[test]
fn a_cloned_identity_is_refused_on_both_machines_and_both_are_told() {
    let world = World::new();
    let (creator, original) = world.pair();
    let copy = again(&world);
    let (_, first) = greet(&original, &creator);
    creator.gate.up(original.id(), first.instance);
    let (_, second) = greet(&copy, &creator);
    creator.gate.up(copy.id(), second.instance);
    creator.gate.down(original.id(), first.instance);
    // The original was alive: it comes back.
    refused(&original, &creator, Refusal::Clone);
    assert_eq!(creator.gate.fallen(), [(copy.id(), Refusal::Clone)]);
    creator.gate.down(copy.id(), second.instance);
    refused(&copy, &creator, Refusal::Clone);
    let heard = meet(&copy, &creator).0.unwrap_err();
    assert!(heard.hint().contains("identity.key"), "{}", heard.hint());
    world.pass(live::CLONED_REST_S + 1);
    greet(&copy, &creator);
    refused_later(&world, &creator, &original);
}

/// After a while one of them is let in; the other's return shows the clone again.
fn refused_later(world: &World, creator: &Machine, original: &Machine) {
    greet(original, creator);
    let copy = again(world);
    greet(&copy, creator);
    refused(original, creator, Refusal::Clone);
}

#[test]
fn the_dialler_notices_a_clone_as_well() {
    let world = World::new();
    let (creator, original) = world.pair();
    let copy = again(&world);
    greet(&creator, &original);
    greet(&creator, &copy);
    let (concluded, _) = meet(&creator, &original);
    assert_eq!(concluded, Err(Refusal::Clone));
}

#[test]
fn two_processes_of_one_identity_know_each_other_for_clones() {
    let world = World::new();
    let (_, original) = world.pair();
    let copy = again(&world);
    refused(&copy, &original, Refusal::Clone);
    refused(&original, &original, Refusal::Malformed);
}

#[test]
fn the_table_is_bounded_and_keeps_who_is_connected() {
    let mut table = live::Live::default();
    let node = |n: u32| {
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(&n.to_be_bytes());
        NodeId(bytes)
    };
    let shown = live::Shown {
        capabilities: capabilities("x", ProfileKind::Lan),
        chain: None,
    };
    let instance = Instance([1; 16]);
    for n in 0..3_000 {
        let known = table.greet(node(n), instance, shown.clone(), NOW);
        assert_eq!(known, Ok(false));
        if n % 1_000 == 0 {
            table.up(node(n), instance);
        }
    }
    let connected: Vec<NodeId> = table.connected(NOW).into_iter().map(|of| of.0).collect();
    assert_eq!(connected, [node(0), node(1_000), node(2_000)]);
    let kept = (0..3_000).filter(|n| table.shown(node(*n)).is_some());
    assert_eq!(kept.count(), 1_024);
}
