//! Tickets: used once, by one node, also after a restart; and the whole of a join.

use sykli_core::membership::{Frame, Granted, Secret};

use super::*;
use crate::membership::join::join_as;

#[test]
fn a_ticket_lets_one_node_in() {
    let world = World::new();
    let (creator, member) = world.pair();
    let view = member.membership.view().unwrap();
    assert_eq!(view.mesh, creator.membership.mesh().unwrap());
    assert_eq!((view.roles, view.refused), (Roles::MEMBER, None));
    assert_eq!(view.issuer, Some(creator.id()));
    assert!(!view.holds_mesh_key);
    assert!(creator.membership.view().unwrap().holds_mesh_key);
}

#[test]
fn a_used_ticket_is_refused_to_every_other_node_also_after_a_restart() {
    let world = World::new();
    let creator = world.start("creator");
    creator.membership.create().unwrap();
    let ticket = invite(&creator);
    assert_eq!(creator.membership.view().unwrap().open_tickets, 1);
    joins(&creator, &world.start("first"), &ticket).unwrap();
    assert_eq!(creator.membership.view().unwrap().open_tickets, 0);
    let second = world.start("second");
    let replayed = |creator: &Machine| {
        let answer = creator.gate.answer(second.id(), &second.gate.join(&ticket));
        answer.outcome.unwrap_err()
    };
    assert_eq!(replayed(&creator), Refusal::BadTicket);
    assert_eq!(replayed(&world.start("creator")), Refusal::BadTicket);
}

#[test]
fn the_node_that_used_a_ticket_may_ask_again_where_the_answer_was_lost() {
    let world = World::new();
    let creator = world.start("creator");
    creator.membership.create().unwrap();
    let (ticket, member) = (invite(&creator), world.start("member"));
    let lost = creator.gate.answer(member.id(), &member.gate.join(&ticket));
    assert!(lost.outcome.unwrap().joined);
    joins(&world.start("creator"), &member, &ticket).unwrap();
    world.pass(DAY + 1);
    let late = creator.gate.answer(member.id(), &member.gate.join(&ticket));
    assert_eq!(late.outcome, Err(Refusal::BadTicket), "not for ever");
}

#[test]
fn unknown_expired_and_foreign_tickets_are_refused() {
    let world = World::new();
    let (creator, member) = world.pair();
    let joiner = world.start("joiner");
    let outcome = |issuer: &Machine, ticket: &Ticket| {
        let answer = issuer.gate.answer(joiner.id(), &joiner.gate.join(ticket));
        answer.outcome.unwrap_err()
    };
    let good = invite(&creator);
    let guessed = Ticket {
        secret: Secret::new([0; 16]),
        ..good.clone()
    };
    assert_eq!(outcome(&creator, &guessed), Refusal::BadTicket);
    assert_eq!(outcome(&member, &good), Refusal::NotAnIssuer);
    assert_eq!(
        outcome(&world.start("homeless"), &good),
        Refusal::NotAnIssuer
    );
    world.pass(DAY + 1);
    assert_eq!(outcome(&creator, &good), Refusal::BadTicket);
}

#[test]
fn a_joiner_takes_only_what_its_ticket_leads_to() {
    let world = World::new();
    let (creator, member) = world.pair();
    let joiner = world.start("joiner");
    let ticket = invite(&creator);
    let answer = creator.gate.answer(joiner.id(), &joiner.gate.join(&ticket));
    let conclude = |from, ticket: &Ticket, reply: &[u8]| {
        let concluded = joiner.gate.conclude_join(from, ticket, reply);
        match concluded.unwrap_err() {
            MembershipError::Refused(refusal) => refusal,
            other => panic!("{other}"),
        }
    };
    let other_issuer = conclude(member.id(), &ticket, &answer.reply);
    assert_eq!(other_issuer, Refusal::BadTicket);
    let other_mesh = Ticket {
        mesh: member.id(),
        ..ticket.clone()
    };
    let reply = conclude(creator.id(), &other_mesh, &answer.reply);
    assert_eq!(reply, Refusal::WrongMesh);
    let granted = Granted {
        chain: member.membership.known().chain.clone().unwrap(),
        revocations: None,
    };
    let of_another = sykli_core::membership::encode(&Frame::Granted(Box::new(granted))).unwrap();
    let reply = conclude(creator.id(), &ticket, &of_another);
    assert_eq!(reply, Refusal::Forged);
    assert!(joiner.membership.mesh().is_none());
    joiner
        .gate
        .conclude_join(creator.id(), &ticket, &answer.reply)
        .unwrap();
}

#[test]
fn issuers_are_made_with_the_mesh_key_and_go_on_without_it() {
    let world = World::new();
    let (creator, member) = world.pair();
    let issuer = world.start("issuer");
    let wanted = Invitation {
        issuer: true,
        relay: true,
        ..invitation()
    };
    let ticket = creator.membership.invite(&wanted).unwrap();
    joins(&creator, &issuer, &ticket).unwrap();
    let view = issuer.membership.view().unwrap();
    assert!(view.roles.issuer && view.roles.relay && view.issuer.is_none());
    assert!(matches!(
        issuer.membership.invite(&wanted),
        Err(MembershipError::NoMeshKey { .. })
    ));
    let newcomer = world.start("newcomer");
    joins(&issuer, &newcomer, &invite(&issuer)).unwrap();
    greet(&newcomer, &member);
    // Whom a revoked issuer let in falls with it.
    creator.membership.revoke(issuer.id()).unwrap();
    greet(&creator, &member);
    refused(&newcomer, &member, Refusal::Revoked);
}

#[test]
fn an_invitation_keeps_to_what_a_ticket_can_say() {
    let world = World::new();
    let (creator, _) = world.pair();
    let invite = |invitation: Invitation| creator.membership.invite(&invitation).unwrap_err();
    let many = Invitation {
        addresses: vec!["/ip4/127.0.0.1/tcp/1".into(); 9],
        ..invitation()
    };
    assert_eq!(invite(many).code(), "mesh::unspeakable");
    let long = Invitation {
        expires_in_s: 31 * DAY,
        ..invitation()
    };
    assert_eq!(invite(long).code(), "mesh::too-long-lived");
    let open = creator.membership.view().unwrap().open_tickets;
    for _ in open..MAX_TICKETS - 1 {
        creator.membership.invite(&invitation()).unwrap();
    }
    assert_eq!(invite(invitation()).code(), "mesh::too-many");
    world.pass(DAY + 1);
    creator.membership.invite(&invitation()).unwrap();
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.unwrap().block_on(future)
}

#[test]
fn a_join_is_one_frame_there_and_one_back() {
    let world = World::new();
    let creator = world.start("creator");
    creator.membership.create().unwrap();
    let (ticket, joiner) = (invite(&creator), world.start("joiner"));
    let lan = || capabilities("joiner", ProfileKind::Lan);
    let unreached = block_on(join_as(
        &joiner.membership,
        &joiner.identity,
        &ticket,
        lan(),
        async |_| Err::<Vec<u8>, _>("no route"),
    ));
    assert_eq!(unreached.unwrap_err().code(), "mesh::unreached");
    let transport = async |meeting: Rendezvous| {
        assert_eq!(meeting.issuer, creator.id());
        assert_eq!(meeting.addresses, ticket.addresses);
        let from = meeting.identity.node_id();
        Ok::<_, String>(creator.gate.answer(from, &meeting.frame).reply)
    };
    let join = || {
        join_as(
            &joiner.membership,
            &joiner.identity,
            &ticket,
            lan(),
            transport,
        )
    };
    let joined = block_on(join()).unwrap();
    assert_eq!(joined.node, joiner.id());
    assert_eq!(joined.view.mesh, ticket.mesh);
    assert_eq!(block_on(join()).unwrap_err().code(), "mesh::already-member");
    greet(&world.start("joiner"), &creator);
}

#[test]
fn an_expired_ticket_is_not_even_carried_there() {
    let world = World::new();
    let creator = world.start("creator");
    creator.membership.create().unwrap();
    let (ticket, joiner) = (invite(&creator), world.start("joiner"));
    world.pass(2 * DAY);
    let joined = block_on(join_as(
        &joiner.membership,
        &joiner.identity,
        &ticket,
        capabilities("joiner", ProfileKind::Lan),
        async |_| -> Result<Vec<u8>, String> { panic!("nobody is to be dialled") },
    ));
    assert_eq!(joined.unwrap_err().code(), "ticket::expired");
}
