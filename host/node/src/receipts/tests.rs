//! What is written is read back, and an envelope is what DSSE and in-toto say.
#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use super::*;
use libp2p::identity::ed25519;
use sykli_core::consent::Claim;
use sykli_core::id::{Attempt, LeaseKey, RunId, TaskId};

fn kept(executor: &Identity, outcome: RemoteOutcome) -> Kept {
    let receipt = Receipt {
        mesh: Some(NodeId([7; 32])),
        key: LeaseKey {
            run: RunId::new("run").unwrap(),
            task: TaskId(3),
            attempt: Attempt(2),
        },
        claim: Claim {
            executor: executor.node_id(),
            task_digest: Digest::of(b"manifest"),
            nonce: 1,
            outcome,
            output: Digest::of(b"output"),
            output_bytes: 3,
            stdout: Digest::of(b"out"),
            stderr: Digest::of(b"err"),
            fuel: 5,
            wall_ms: 90_000,
        },
        engine: "sykli-1".into(),
        at_s: 951_868_799,
    };
    Kept {
        label: "shrink[3/16]".to_owned(),
        task: "shrink".to_owned(),
        receipt: Signed::new(receipt, |domain, bytes| executor.signature(domain, bytes)),
    }
}

fn failure() -> RemoteOutcome {
    RemoteOutcome::Failed {
        code: "task::trap".into(),
        message: "trapped".into(),
    }
}

#[test]
fn an_envelope_is_signed_as_dsse_says_and_holds_the_receipt() {
    let (executor, holder) = (Identity::generate().unwrap(), Identity::generate().unwrap());
    let kept = kept(&executor, RemoteOutcome::Passed);
    let envelope = envelope(&kept, &holder).unwrap();
    let payload = base64::decode(&envelope.payload).unwrap();
    // Restated: what other tools compute.
    let mut signed = format!("DSSEv1 28 application/vnd.in-toto+json {} ", payload.len());
    signed.push_str(std::str::from_utf8(&payload).unwrap());
    let [signature] = envelope.signatures.as_slice() else {
        panic!("{envelope:?}");
    };
    assert_eq!(signature.keyid, identity::show(holder.node_id()));
    let key = ed25519::PublicKey::try_from_bytes(&holder.node_id().0).unwrap();
    let bytes = base64::decode(&signature.sig).unwrap();
    assert!(key.verify(signed.as_bytes(), &bytes));
    assert!(!key.verify(&payload, &bytes));

    let statement: Value = serde_json::from_slice(&payload).unwrap();
    assert_eq!(statement["_type"], "https://in-toto.io/Statement/v1");
    assert_eq!(statement["predicateType"], "https://slsa.dev/provenance/v1");
    assert_eq!(statement["subject"][0]["name"], "shrink[3/16]");
    let details = &statement["predicate"]["runDetails"];
    let builder = format!("urn:sykli:node:{}", identity::show(executor.node_id()));
    assert_eq!(details["builder"]["id"], builder.as_str());
    assert_eq!(details["metadata"]["finishedOn"], "2000-02-29T23:59:59Z");
    assert_eq!(details["metadata"]["startedOn"], "2000-02-29T23:58:29Z");

    let file = serde_json::to_vec(&envelope).unwrap();
    let read = parse(Path::new("x"), &file).unwrap();
    assert_eq!(read, kept.receipt);
    assert!(holds(&read));
}

#[test]
fn failures_have_no_provenance() {
    let node = Identity::generate().unwrap();
    assert!(envelope(&kept(&node, failure()), &node).is_none());
}

#[test]
fn a_document_is_read_by_its_bytes_alone() {
    let node = Identity::generate().unwrap();
    let kept = kept(&node, failure());
    let one = json!({ "signed": text(&kept.receipt), "fuel": 77 });
    let read = |document: &Value| parse(Path::new("x"), document.to_string().as_bytes());
    assert_eq!(read(&one).unwrap(), kept.receipt);
    assert_eq!(read(&json!({ "receipts": [one] })).unwrap(), kept.receipt);
    let refused = |document: Value| read(&document).unwrap_err().code();
    assert_eq!(
        refused(json!({ "receipts": [one, one] })),
        "receipt::several"
    );
    assert_eq!(refused(json!({ "receipts": [] })), "receipt::none");
    assert_eq!(refused(json!({})), "receipt::none");
    assert_eq!(refused(json!([1])), "receipt::none");
    assert_eq!(refused(json!({ "signed": "!" })), "receipt::none");
    assert_eq!(refused(json!({ "signed": "AAAA" })), "receipt::malformed");
    assert_eq!(refused(json!({ "payload": "AAAA" })), "receipt::none");
    assert_eq!(
        parse(Path::new("x"), b"\x00").unwrap_err().code(),
        "receipt::none"
    );
}

#[test]
fn no_flipped_byte_of_a_receipt_still_holds() {
    let node = Identity::generate().unwrap();
    let bytes = kept(&node, failure()).receipt.encode();
    for at in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (at % 8);
        let read = Signed::<Receipt>::decode(&flipped);
        assert!(!read.is_ok_and(|read| holds(&read)), "byte {at}");
    }
}

#[test]
fn a_public_key_is_the_file_that_other_tools_take() {
    // The key of RFC 8410, section 10.1.
    let key = "19bf44096984cdfe8541bac167dc3b96c85086aa30b6b6cb0c5c38ad703166e1";
    let mut node = NodeId([0; 32]);
    for (at, byte) in node.0.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&key[2 * at..2 * at + 2], 16).unwrap();
    }
    assert_eq!(
        public_key(node),
        "-----BEGIN PUBLIC KEY-----\n\
         MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n\
         -----END PUBLIC KEY-----\n"
    );
}
