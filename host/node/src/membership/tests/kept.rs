//! What is on the disk: what survives a restart, and what damage to each file means.

use super::*;

fn file(machine: &Machine, name: &str) -> PathBuf {
    machine.data.join("mesh").join(name)
}

fn cut(path: &PathBuf) {
    let bytes = std::fs::read(path).unwrap();
    std::fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
}

#[test]
fn a_mesh_is_made_once_and_stays() {
    let world = World::new();
    let creator = world.start("creator");
    assert_eq!(creator.membership.view(), None);
    let mesh = creator.membership.create().unwrap();
    assert_eq!(world.start("creator").membership.mesh(), Some(mesh));
    let again = creator.membership.create().unwrap_err();
    assert_eq!(again.code(), "mesh::already-member");
    assert!(again.to_string().contains(&identity::show(mesh)));
}

#[test]
fn leaving_keeps_the_identity_and_never_drops_a_mesh_key() {
    let world = World::new();
    let (creator, member) = world.pair();
    let left = member.membership.leave().unwrap();
    assert_eq!(left, creator.membership.mesh().unwrap());
    assert_eq!(member.membership.view(), None);
    assert_eq!(world.start("member").id(), member.id());
    assert_eq!(
        member.membership.leave().unwrap_err().code(),
        "mesh::not-a-member"
    );
    let held = creator.membership.leave().unwrap_err();
    assert_eq!(held.code(), "mesh::holds-mesh-key");
    assert!(held.hint().contains("mesh.key"));
    std::fs::rename(file(&creator, "mesh.key"), creator.data.join("safe")).unwrap();
    creator.membership.leave().unwrap();
}

#[test]
fn damaged_certificates_and_lists_are_errors_and_damaged_tickets_are_unknown() {
    let world = World::new();
    let (creator, _) = world.pair();
    creator.membership.revoke(world.start("x").id()).unwrap();
    let ticket = invite(&creator);
    for name in ["certificate", "revocations"] {
        let path = file(&creator, name);
        let whole = std::fs::read(&path).unwrap();
        cut(&path);
        let refused = world.membership("creator", &[]).unwrap_err();
        assert_eq!(refused.code(), "mesh::damaged", "{name}");
        assert!(refused.hint().contains(name), "{}", refused.hint());
        // A process that runs goes on with what it knows, and writes nothing over it.
        assert_eq!(creator.membership.view().unwrap().revocations_version, 1);
        assert!(creator.membership.invite(&invitation()).is_err());
        std::fs::write(&path, whole).unwrap();
    }
    cut(&file(&creator, "tickets.json"));
    let joiner = world.start("joiner");
    let answer = creator.gate.answer(joiner.id(), &joiner.gate.join(&ticket));
    assert_eq!(answer.outcome, Err(Refusal::BadTicket));
    joins(&creator, &joiner, &invite(&creator)).unwrap();
}

#[test]
fn damaged_keys_and_peer_lists_are_errors() {
    let world = World::new();
    let (creator, member) = world.pair();
    cut(&file(&creator, "mesh.key"));
    let refused = creator.membership.revoke(member.id()).unwrap_err();
    assert_eq!(refused.code(), "identity::damaged");
    Peers::block(&member.data, creator.id()).unwrap();
    cut(&member.data.join("peers.json"));
    let refused = world.membership("member", &[]).unwrap_err();
    assert_eq!(refused.code(), "mesh::damaged");
    assert!(Peers::trust(&member.data, creator.id()).is_err());
}

#[test]
fn another_meshs_key_is_not_used() {
    let world = World::new();
    let (creator, member) = world.pair();
    let other = world.start("other");
    other.membership.create().unwrap();
    let (from, to) = (file(&other, "mesh.key"), file(&creator, "mesh.key"));
    std::fs::copy(from, to).unwrap();
    let refused = creator.membership.revoke(member.id()).unwrap_err();
    assert_eq!(refused.code(), "mesh::foreign-mesh-key");
}

#[test]
fn a_secret_is_nowhere_on_the_issuers_disk() {
    let world = World::new();
    let creator = world.start("creator");
    creator.membership.create().unwrap();
    let ticket = invite(&creator);
    let text = std::fs::read_to_string(file(&creator, "tickets.json")).unwrap();
    assert!(text.contains(&ticket.secret.digest().to_string()));
    assert!(!text.contains(&ticket.to_string()[6..]));
    assert!(!format!("{ticket:?} {:?}", creator.gate).contains("secret: ["));
}

#[test]
fn what_another_process_changes_is_seen_at_the_next_greeting() {
    let world = World::new();
    let (creator, member) = world.pair();
    greet(&member, &creator);
    // `mesh revoke`, while the node runs.
    world
        .membership("creator", &[])
        .unwrap()
        .revoke(member.id())
        .unwrap();
    refused(&member, &creator, Refusal::Revoked);
}

#[test]
fn the_own_certificate_never_runs_out_where_the_mesh_key_is() {
    let world = World::new();
    let (creator, _) = world.pair();
    world.pass(100 * DAY);
    assert_eq!(
        creator.membership.view().unwrap().refused,
        Some(Refusal::Expired)
    );
    assert!(!creator.gate.hello(creator.id()).is_empty());
    assert_eq!(creator.membership.view().unwrap().refused, None);
    world.pass(100 * DAY);
    let reopened = world.start("creator");
    assert_eq!(reopened.membership.view().unwrap().refused, None);
    joins(&reopened, &world.start("late"), &invite(&reopened)).unwrap();
}

#[test]
fn peers_are_trusted_or_blocked_never_both() {
    let world = World::new();
    let (a, b) = (world.start("a"), world.start("b"));
    assert!(Peers::trust(&a.data, b.id()).unwrap());
    assert!(!Peers::trust(&a.data, b.id()).unwrap());
    assert!(Peers::block(&a.data, b.id()).unwrap());
    let peers = Peers::open(&a.data).unwrap();
    assert!(peers.trusted.is_empty());
    assert_eq!(peers.blocked, BTreeSet::from([b.id()]));
    assert_eq!(Peers::open(&b.data).unwrap(), Peers::default());
}
