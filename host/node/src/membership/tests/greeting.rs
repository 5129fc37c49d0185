//! Who lets whom in, over two gates with real keys.

use sykli_core::membership::{MAX_LIFE_S, SKEW_S};

use super::*;

#[test]
fn members_of_one_mesh_let_each_other_in() {
    let world = World::new();
    let (creator, member) = world.pair();
    let third = world.start("third");
    joins(&creator, &third, &invite(&creator)).unwrap();
    let (theirs, ours) = greet(&third, &member);
    assert!(theirs.trusted && ours.trusted && !theirs.relay);
    assert_eq!(&*theirs.capabilities.name, "member");
    assert_eq!(&*ours.capabilities.name, "third");
    let (theirs, _) = greet(&member, &creator);
    assert!(theirs.relay);
}

#[test]
fn strangers_and_other_meshes_are_refused() {
    let world = World::new();
    let (_, member) = world.pair();
    let stranger = world.start("stranger");
    refused(&stranger, &member, Refusal::Stranger);
    stranger.membership.create().unwrap();
    refused(&stranger, &member, Refusal::WrongMesh);
    let (heard, said) = meet(&member, &world.start("homeless"));
    assert_eq!(said, Err(Refusal::Stranger));
    assert_eq!(heard.unwrap_err().reason(), Refusal::Stranger);
}

#[test]
fn without_a_mesh_those_listed_on_both_ends_are_let_in() {
    let world = World::new();
    let (a, b) = (world.start("a"), world.start("b"));
    refused(&a, &b, Refusal::Stranger);
    let b = world.start_trusting("b", &[a.id()]);
    let (concluded, answered) = meet(&a, &b);
    assert!(answered.unwrap().trusted);
    assert_eq!(concluded, Err(Refusal::Stranger), "a does not list b");
    Peers::trust(&a.data, b.id()).unwrap();
    greet(&a, &b);
    Peers::block(&b.data, a.id()).unwrap();
    refused(&a, &b, Refusal::Blocked);
    Peers::trust(&b.data, a.id()).unwrap();
    greet(&b, &a);
}

#[test]
fn an_open_mesh_lets_strangers_in_untrusted() {
    let world = World::new();
    let (_, member) = world.pair();
    let stranger = world.start("stranger");
    let open = member.membership.clone().open_to_strangers(true);
    let open = Machine {
        gate: open.gate(capabilities("open", ProfileKind::Lan)).unwrap(),
        membership: open,
        ..member
    };
    let (concluded, answered) = meet(&stranger, &open);
    assert!(!answered.unwrap().trusted);
    assert_eq!(concluded, Err(Refusal::Stranger));
}

/// What the creator would say of `member`, signed by whom the caller likes.
fn certificate(creator: &Machine, member: &Machine) -> Certificate {
    Certificate {
        mesh: creator.membership.mesh().unwrap(),
        peer: member.id(),
        roles: Roles::MEMBER,
        ceiling: ProfileKind::Lan,
        issued: NOW,
        not_after: NOW + MAX_LIFE_S,
        epoch: FIRST_EPOCH,
    }
}

#[test]
fn forged_and_stolen_certificates_are_refused() {
    let world = World::new();
    let (creator, member) = world.pair();
    let thief = world.start("thief");
    plant(&thief, member.membership.known().chain.as_ref().unwrap());
    refused(&thief, &creator, Refusal::Forged);
    let own = Chain {
        leaf: signed(&thief.identity, certificate(&creator, &thief)),
        issuer: None,
    };
    plant(&thief, &own);
    refused(&thief, &creator, Refusal::Forged);
}

#[test]
fn a_member_that_signs_certificates_helps_nobody_in() {
    let world = World::new();
    let (creator, member) = world.pair();
    let friend = world.start("friend");
    let members = member.membership.known().chain.clone().unwrap();
    let chain = Chain {
        leaf: signed(&member.identity, certificate(&creator, &friend)),
        issuer: Some(members.leaf),
    };
    plant(&friend, &chain);
    refused(&friend, &creator, Refusal::Forged);
    assert!(matches!(
        member.membership.invite(&invitation()),
        Err(MembershipError::NotAnIssuer)
    ));
}

#[test]
fn an_issuer_that_signs_issuers_helps_nobody_in() {
    let world = World::new();
    let (creator, _) = world.pair();
    let friend = world.start("friend");
    let mut wanted = certificate(&creator, &friend);
    wanted.roles.issuer = true;
    let issuer = creator.membership.known().chain.clone().unwrap();
    let chain = Chain {
        leaf: signed(&creator.identity, wanted),
        issuer: Some(issuer.leaf),
    };
    plant(&friend, &chain);
    refused(&friend, &creator, Refusal::Escalated);
}

#[test]
fn certificates_run_out_and_begin_when_they_begin() {
    let world = World::new();
    let (creator, member) = world.pair();
    world.pass(MAX_LIFE_S + SKEW_S + 1);
    refused(&member, &creator, Refusal::Expired);
    let early = Certificate {
        issued: world.now() + SKEW_S + 1,
        not_after: world.now() + DAY,
        ..certificate(&creator, &member)
    };
    let key = creator.membership.shared.folder.mesh_key();
    plant(&member, &issue::by_mesh_key(&key.unwrap().unwrap(), early));
    refused(&member, &creator, Refusal::NotYetValid);
}

#[test]
fn a_profile_beyond_the_ceiling_is_refused_at_once_and_later() {
    let world = World::new();
    let (creator, _) = world.pair();
    let narrow = world.start("narrow");
    let ticket = creator.membership.invite(&Invitation {
        ceiling: ProfileKind::Wan,
        ..invitation()
    });
    joins(&creator, &narrow, &ticket.unwrap()).unwrap();
    refused(&narrow, &creator, Refusal::AboveCeiling);
    let wan = capabilities("narrow", ProfileKind::Wan);
    narrow.gate.set_capabilities(wan.clone()).unwrap();
    let (_, admitted) = greet(&narrow, &creator);
    assert_eq!(admitted.ceiling, Some(ProfileKind::Wan));
    let lan = capabilities("narrow", ProfileKind::Lan);
    assert_eq!(creator.gate.permits(narrow.id(), &wan), Ok(()));
    assert_eq!(
        creator.gate.permits(narrow.id(), &lan),
        Err(Refusal::AboveCeiling)
    );
}

#[test]
fn a_revocation_reaches_those_who_were_not_told() {
    let world = World::new();
    let (creator, member) = world.pair();
    let bad = world.start("bad");
    joins(&creator, &bad, &invite(&creator)).unwrap();
    let (_, admitted) = greet(&bad, &member);
    member.gate.up(bad.id(), admitted.instance);
    assert_eq!(creator.membership.revoke(bad.id()).unwrap(), 1);
    refused(&bad, &creator, Refusal::Revoked);
    assert_eq!(member.gate.fallen(), []);
    greet(&member, &creator);
    assert_eq!(member.gate.fallen(), [(bad.id(), Refusal::Revoked)]);
    refused(&bad, &member, Refusal::Revoked);
    let restarted = world.start("member");
    refused(&bad, &restarted, Refusal::Revoked);
    let answer = creator
        .gate
        .answer(bad.id(), &bad.gate.join(&invite(&creator)));
    assert_eq!(answer.outcome, Err(Refusal::Revoked), "nor by a new ticket");
}

#[test]
fn an_older_list_takes_no_newer_ones_place() {
    let world = World::new();
    let (creator, member) = world.pair();
    let (one, two) = (world.start("one"), world.start("two"));
    creator.membership.revoke(one.id()).unwrap();
    let old = creator.membership.known().revocations.clone().unwrap();
    creator.membership.revoke(two.id()).unwrap();
    greet(&creator, &member);
    let version = || member.membership.view().unwrap().revocations_version;
    assert_eq!(version(), 2);
    assert!(!member.membership.adopt(&old).unwrap());
    assert_eq!(version(), 2);
    assert_eq!(creator.membership.revoke(two.id()).unwrap(), 2, "no change");
}

#[test]
fn everyone_is_revoked_but_who_does_it() {
    let world = World::new();
    let (creator, member) = world.pair();
    creator.membership.revoke(world.start("x").id()).unwrap();
    creator.membership.revoke_everyone().unwrap();
    assert_eq!(creator.membership.view().unwrap().refused, None);
    refused(&member, &creator, Refusal::Revoked);
    member.membership.leave().unwrap();
    joins(&creator, &member, &invite(&creator)).unwrap();
    greet(&member, &creator);
    assert!(matches!(
        member.membership.revoke(creator.id()),
        Err(MembershipError::NoMeshKey { .. })
    ));
    assert!(matches!(
        creator.membership.revoke(creator.id()),
        Err(MembershipError::OwnNode)
    ));
}

#[test]
fn certificates_are_renewed_in_passing_whoever_dials() {
    let world = World::new();
    let (creator, member) = world.pair();
    let until = || member.membership.view().unwrap().not_after;
    let first = until();
    world.pass(15 * DAY);
    greet(&member, &creator);
    assert_eq!(until(), first, "two thirds are not over");
    world.pass(6 * DAY);
    greet(&member, &creator);
    assert_eq!(until(), world.now() + MAX_LIFE_S);
    world.pass(25 * DAY);
    greet(&creator, &member);
    let second = until();
    assert!(second < world.now() + 6 * DAY);
    greet(&creator, &member);
    assert_eq!(until(), world.now() + MAX_LIFE_S, "by the next hello");
}

#[test]
fn a_connected_node_falls_when_its_certificate_runs_out_or_it_is_blocked() {
    let world = World::new();
    let (creator, member) = world.pair();
    let (_, admitted) = greet(&member, &creator);
    creator.gate.up(member.id(), admitted.instance);
    assert_eq!(creator.gate.fallen(), []);
    Peers::block(&creator.data, member.id()).unwrap();
    assert_eq!(creator.gate.fallen(), [(member.id(), Refusal::Blocked)]);
    Peers::trust(&creator.data, member.id()).unwrap();
    world.pass(31 * DAY);
    assert_eq!(creator.gate.fallen(), [], "listed now");
    creator.gate.down(member.id(), admitted.instance);
    assert_eq!(creator.gate.fallen(), []);
}

#[test]
fn what_is_no_greeting_is_refused() {
    let world = World::new();
    let (creator, member) = world.pair();
    let hello = member.gate.hello(creator.id());
    for (frame, why) in [
        (&b""[..], Refusal::Malformed),
        (&hello[..hello.len() - 1], Refusal::Malformed),
        (&[0x83, 2, 1, 0], Refusal::Newer),
        (&[0x82, 1, 0x17], Refusal::Newer),
    ] {
        let answer = creator.gate.answer(member.id(), frame);
        assert_eq!(answer.outcome, Err(why));
        assert_eq!(member.gate.conclude(creator.id(), frame), Err(why));
    }
    let echoed = member.gate.conclude(creator.id(), &hello);
    assert_eq!(echoed, Err(Refusal::Malformed), "a hello is no answer");
    let reply = creator.gate.answer(member.id(), &hello).reply;
    let answer = creator.gate.answer(member.id(), &reply);
    assert_eq!(answer.outcome, Err(Refusal::Malformed));
}
