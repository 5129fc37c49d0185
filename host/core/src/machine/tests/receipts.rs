//! What an owner does about a result that is not signed for, is signed for something else, or is one of two.

use super::pair::{EXECUTOR, OWNER, Pair, Way, claim, id, key};
use crate::consent::{Claim, Message, Offer, Piece, ToOwner};
use crate::id::{Digest, NodeId};
use crate::machine::{Action, Event};
use crate::receipt::{Contradiction, SignedClaim};
use crate::sim::sign;

/// The executor runs the guest; nothing was said of a result. Its offer, to make one up by.
fn running() -> (Pair, Offer) {
    let mut pair = Pair::of([crate::profile::ProfileKind::Lan; 2], |_, _| {});
    pair.hold.insert("guest");
    pair.begin(Way::Dispatch);
    pair.pass(100);
    pair.lines();
    let offer = pair.held.iter().find_map(|(_, action)| match action {
        Action::StartForeign { offer, .. } => Some((**offer).clone()),
        _ => None,
    });
    (pair, offer.unwrap())
}

fn completes(pair: &mut Pair, signed: SignedClaim) {
    let message = Message::ToOwner(ToOwner::Completed {
        key: key(1, 1),
        claim: Box::new(signed),
        outputs: Piece::default(),
    });
    let peer = id(EXECUTOR);
    pair.event(OWNER, Event::Received { peer, message });
}

/// That nothing of it is used: not a byte is fetched, nothing is committed, and the peer is gone.
fn is_refused(of: &str, signed: impl FnOnce(&Offer, Claim) -> SignedClaim) {
    let (mut pair, offer) = running();
    let signed = signed(&offer, claim(&offer));
    completes(&mut pair, signed);
    let lines = pair.lines();
    let expected = format!("owner: expels for {of}");
    assert!(lines.contains(&expected), "{lines:?}");
    for line in &lines {
        assert!(!line.contains("fetches"), "{lines:?}");
        assert!(!line.contains("Committed"), "{lines:?}");
        assert!(!line.contains("Acked"), "{lines:?}");
    }
    pair.release("local");
    assert_eq!(pair.settled.len(), 2, "the task is done here");
}

#[test]
fn a_claim_that_nobody_signed_is_refused() {
    is_refused("Forged", |_, claim| SignedClaim { claim, seal: None });
}

#[test]
fn a_claim_that_another_signed_is_refused() {
    is_refused("Forged", |offer, claim| {
        *sign::sealed_by(id(OWNER), &offer.key, claim)
    });
}

#[test]
fn anothers_receipt_is_refused() {
    is_refused("ForeignClaim", |offer, claim| {
        let executor = NodeId([9; 32]);
        *sign::sealed(&offer.key, Claim { executor, ..claim })
    });
}

#[test]
fn a_receipt_of_another_lease_is_refused() {
    is_refused("Forged", |_, claim| *sign::sealed(&key(0, 1), claim));
    is_refused("ForeignClaim", |offer, claim| {
        let nonce = claim.nonce ^ 1;
        *sign::sealed(&offer.key, Claim { nonce, ..claim })
    });
}

#[test]
fn whatever_is_changed_after_it_was_signed_is_refused() {
    let changes: [fn(&mut SignedClaim); 8] = [
        |signed| signed.claim.output = Digest::of(b"another"),
        |signed| signed.claim.stdout = Digest::of(b"another"),
        |signed| signed.claim.stderr = Digest::of(b"another"),
        |signed| signed.claim.fuel += 1,
        |signed| signed.claim.wall_ms += 1,
        |signed| signed.claim.output_bytes += 1,
        |signed| signed.seal.as_mut().unwrap().at_s += 1,
        |signed| signed.seal.as_mut().unwrap().engine = "another".into(),
    ];
    for change in changes {
        is_refused("Forged", |offer, claim| {
            let mut signed = *sign::sealed(&offer.key, claim);
            change(&mut signed);
            signed
        });
    }
}

#[test]
fn a_receipt_of_another_mesh_or_of_none_is_refused() {
    for mesh in [Some(NodeId([8; 32])), None] {
        is_refused("Forged", |offer, claim| {
            *sign::sealed_in(mesh, claim.executor, &offer.key, claim)
        });
    }
}

/// Two results of one lease, the second while the first's outputs are fetched.
fn two(change: impl FnOnce(&mut Claim)) -> (Pair, Vec<String>, Option<Box<Contradiction>>) {
    let (mut pair, offer) = running();
    pair.hold.extend(["fetch", "other"]);
    let first = claim(&offer);
    let mut second = first.clone();
    change(&mut second);
    completes(&mut pair, *sign::sealed(&offer.key, first));
    completes(&mut pair, *sign::sealed(&offer.key, second));
    let lines = pair.lines();
    let proof = pair.held.iter().find_map(|(_, action)| match action {
        Action::KeepProof(proof) => Some(proof.clone()),
        _ => None,
    });
    (pair, lines, proof)
}

#[test]
fn two_results_that_differ_are_a_proof_and_expel() {
    let (_, lines, proof) = two(|second| second.output = Digest::of(b"the other face"));
    let proof = proof.unwrap();
    assert!(proof.holds(&sign::verify));
    assert_eq!(proof.executor(), id(EXECUTOR));
    assert_eq!(
        lines[..3],
        [
            "owner: fetches the outputs",
            "owner: keeps a proof",
            "owner: expels for Equivocation",
        ]
    );
}

#[test]
fn two_receipts_of_one_result_expel_and_prove_nothing_to_others() {
    let (_, lines, proof) = two(|second| second.wall_ms += 1);
    assert_eq!(proof, None);
    let expelled = "owner: expels for Equivocation".to_owned();
    assert!(lines.contains(&expelled), "{lines:?}");
}

#[test]
fn a_result_that_is_told_twice_changes_nothing() {
    let (mut pair, lines, proof) = two(|_| {});
    assert_eq!((lines.len(), proof), (1, None), "{lines:?}");
    pair.release("fetch");
    pair.release("other");
    pair.release("local");
    assert_eq!(pair.settled.len(), 2);
}
