//! Receipts as bytes, and what is no receipt.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use proptest::prelude::*;

use super::*;
use crate::dagcbor::tests::golden::{dump, golden, path};
use crate::sim::sign;
use crate::wire::v1::arbitrary;

const EXECUTOR: NodeId = NodeId([0xd4; 32]);

fn receipt() -> Receipt {
    Receipt {
        mesh: Some(NodeId([0x01; 32])),
        key: LeaseKey {
            run: RunId::new("r-7f3a").unwrap(),
            task: TaskId(24),
            attempt: Attempt(2),
        },
        claim: Claim {
            executor: EXECUTOR,
            task_digest: Digest([0x11; 32]),
            nonce: 0x0123_4567_89ab_cdef,
            outcome: RemoteOutcome::Passed,
            output: Digest([0x22; 32]),
            output_bytes: 65_536,
            stdout: Digest([0x33; 32]),
            stderr: Digest([0x44; 32]),
            fuel: 5_000_000_000,
            wall_ms: 1234,
        },
        engine: "sykli-0.1/wasmtime-48.0.8/aarch64".into(),
        at_s: 1_800_000_000,
    }
}

fn failed() -> Receipt {
    let mut receipt = receipt();
    receipt.claim.outcome = RemoteOutcome::Failed {
        code: "task::exit".into(),
        message: "exit status 3: größer als erlaubt".into(),
    };
    receipt
}

fn sign(receipt: Receipt) -> Signed<Receipt> {
    let signer = receipt.claim.executor;
    Signed::new(receipt, |domain, bytes| {
        sign::signature(signer, domain, bytes)
    })
}

fn holds(receipt: &Signed<Receipt>) -> bool {
    receipt.holds(&sign::verify)
}

#[test]
fn receipts_are_what_they_always_were() {
    let proof = Contradiction::between(sign(receipt()), sign(failed())).unwrap();
    for (name, bytes) in [
        ("passed", sign(receipt()).encode()),
        ("failed", sign(failed()).encode()),
        ("proof", proof.encode()),
    ] {
        let dump = dump(&bytes);
        assert_eq!(crate::dagcbor::tests::hexdump(&dump), bytes, "{name}");
        let folder = path("src/receipt/golden");
        golden(&folder.join(format!("{name}.hex")), dump.as_bytes());
        golden(&path("../../tests/fuzz/corpus/receipt").join(name), &bytes);
        check(&bytes);
    }
}

#[test]
fn every_flipped_byte_is_refused_or_its_signature_fails() {
    for whole in [sign(receipt()), sign(failed())] {
        assert!(holds(&whole));
        let bytes = whole.encode();
        for at in 0..bytes.len() {
            for mask in 1..=0xff {
                let mut flipped = bytes.clone();
                flipped[at] ^= mask;
                check(&flipped);
                if let Ok(read) = Signed::<Receipt>::decode(&flipped) {
                    assert!(!holds(&read), "byte {at} ^ {mask:#x}: {read:?}");
                }
            }
        }
        for len in 0..bytes.len() {
            assert!(Signed::<Receipt>::decode(&bytes[..len]).is_err(), "{len}");
        }
        let longer = [bytes, vec![0]].concat();
        assert!(Signed::<Receipt>::decode(&longer).is_err());
    }
}

#[test]
fn a_claim_and_its_seal_are_the_receipt_again_in_its_own_mesh_and_lease_alone() {
    let receipt = receipt();
    let sealed = SignedClaim::seal(receipt.clone(), |domain, bytes| {
        sign::signature(EXECUTOR, domain, bytes)
    });
    let again = sealed.receipt(receipt.mesh, &receipt.key).unwrap();
    assert!(holds(&again));
    assert_eq!(again.claimed(), &receipt);
    let later = LeaseKey {
        attempt: receipt.key.attempt.next(),
        ..receipt.key.clone()
    };
    assert!(!holds(&sealed.receipt(receipt.mesh, &later).unwrap()));
    assert!(!holds(
        &sealed.receipt(Some(EXECUTOR), &receipt.key).unwrap()
    ));
    let unsealed = SignedClaim {
        seal: None,
        ..sealed
    };
    assert_eq!(unsealed.receipt(receipt.mesh, &receipt.key), None);
}

#[test]
fn only_what_says_something_else_of_the_same_lease_contradicts() {
    let changed = |change: fn(&mut Receipt)| {
        let mut other = receipt();
        change(&mut other);
        Contradiction::between(sign(receipt()), sign(other))
    };
    let contradicts: [fn(&mut Receipt); 5] = [
        |other| other.claim.output = Digest([0; 32]),
        |other| other.claim.stdout = Digest([0; 32]),
        |other| other.claim.stderr = Digest([0; 32]),
        |other| other.claim.fuel += 1,
        |other| other.claim.outcome = failed().claim.outcome,
    ];
    for change in contradicts {
        let proof = changed(change).unwrap();
        assert!(proof.holds(&sign::verify));
        assert_eq!(proof.executor(), EXECUTOR);
        assert_eq!(Contradiction::decode(&proof.encode()).as_ref(), Ok(&proof));
    }
    let agrees: [fn(&mut Receipt); 11] = [
        |_| {},
        |other| other.claim.wall_ms += 1,
        |other| other.claim.output_bytes += 1,
        |other| other.at_s += 1,
        |other| (other.engine, other.claim.fuel) = ("another".into(), 1),
        |other| (other.mesh, other.claim.fuel) = (None, 1),
        |other| (other.key.attempt, other.claim.fuel) = (Attempt(3), 1),
        |other| (other.key.task, other.claim.fuel) = (TaskId(3), 1),
        |other| (other.claim.nonce, other.claim.fuel) = (1, 1),
        |other| (other.claim.task_digest, other.claim.fuel) = (Digest([0; 32]), 1),
        |other| (other.claim.executor, other.claim.fuel) = (NodeId([0; 32]), 1),
    ];
    for (at, change) in agrees.into_iter().enumerate() {
        assert_eq!(changed(change), None, "{at}");
    }
}

#[test]
fn a_proof_has_one_encoding_and_needs_both_signatures() {
    let (one, other) = (sign(receipt()), sign(failed()));
    let proof = Contradiction::between(one.clone(), other.clone());
    assert_eq!(proof, Contradiction::between(other.clone(), one.clone()));
    let proof = proof.unwrap();
    let mut swapped = vec![0x82];
    let [lesser, greater] = proof.receipts();
    swapped.extend(greater.encode());
    swapped.extend(lesser.encode());
    assert!(Contradiction::decode(&swapped).is_err());
    let same = [vec![0x82], one.encode(), one.encode()].concat();
    assert!(Contradiction::decode(&same).is_err());
    let forged = Signed::of_parts(failed(), *one.signature());
    let framed = Contradiction::between(one, forged).unwrap();
    assert!(!framed.holds(&sign::verify));
}

#[test]
fn a_newer_receipt_is_told_from_a_broken_one() {
    let newer = |bytes: &[u8]| Signed::<Receipt>::decode(bytes).unwrap_err().is_newer();
    let mut later = vec![0x82, 0x91, 2];
    later.extend([0; 16]);
    assert!(newer(&later));
    assert!(!newer(&[0x82, 0x82, 1, 0x40]));
    assert!(!newer(&[0x80]));
    assert!(!newer(b""));
    let long = vec![0; MAX_RECEIPT_BYTES + 1];
    let refused = Signed::<Receipt>::decode(&long).unwrap_err();
    assert!(matches!(refused, FormatError::TooLong { .. }));
}

fn any_receipt() -> impl Strategy<Value = Receipt> {
    let mesh = proptest::option::of(arbitrary::node());
    let lease = (mesh, arbitrary::lease());
    let rest = (arbitrary::name(), arbitrary::number());
    (lease, arbitrary::claim(), rest).prop_map(|((mesh, key), claim, (engine, at_s))| Receipt {
        mesh,
        key,
        claim,
        engine,
        at_s,
    })
}

proptest! {
    #[test]
    fn any_receipt_comes_back(receipt in any_receipt()) {
        let signed = sign(receipt);
        let bytes = signed.encode();
        prop_assert!(bytes.len() <= MAX_RECEIPT_BYTES);
        let again = Signed::<Receipt>::decode(&bytes);
        prop_assert_eq!(again.as_ref(), Ok(&signed));
        prop_assert!(holds(&signed));
    }

    #[test]
    fn any_bytes_are_refused_or_the_one_encoding(
        receipt in any_receipt(),
        at in any::<prop::sample::Index>(),
        with in proptest::collection::vec(any::<u8>(), 0..8),
    ) {
        let mut bytes = sign(receipt).encode();
        let at = at.index(bytes.len());
        let end = bytes.len().min(at + with.len());
        bytes.splice(at..end, with);
        check(&bytes);
    }
}
