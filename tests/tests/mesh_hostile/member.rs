//! Members that break the protocol: what each offence costs, and that a copied key is noticed.

use std::sync::Arc;

use futures::StreamExt;
use sykli_core::consent::{MAX_INLINE_BYTES, Message, Offer, Piece, ToExecutor};
use sykli_core::id::{Attempt, Digest, LeaseKey, RunId, TaskId};
use sykli_core::manifest::{Manifest, ManifestGrants, SEMANTICS_VERSION, Shard};
use sykli_core::pipeline::Floats;
use sykli_core::policy::Requirements;
use sykli_core::wire::MAX_FRAME_BYTES;
use sykli_node::membership::{Gate, Refusal};
use sykli_node::transfer::{Fair, Serving, serve};
use sykli_runtime::Source;
use sykli_tests::mesh::{Machine, WILLING, mesh};
use tokio::time::timeout;

use super::attacker::{Member, PATIENCE, Pair, Target, framed, heard, loopback, said};
use super::honest::{self, ATTACKED, counted};

fn key() -> LeaseKey {
    LeaseKey {
        run: RunId::new("r".repeat(64)).unwrap(),
        task: TaskId(7),
        attempt: Attempt(1),
    }
}

/// How a member breaks the protocol, and what that is called.
struct Breach {
    offence: &'static str,
    frames: Vec<u8>,
}

/// The word that a bundle may come, which says how much of it is in messages.
fn bundle_word(of: u64) -> Vec<u8> {
    let bytes = Vec::new();
    said(&Message::ToExecutor(ToExecutor::Bundle {
        key: key(),
        piece: Piece { at: 0, of, bytes },
    }))
}

fn breaches() -> [Breach; 6] {
    let acked = said(&Message::ToExecutor(ToExecutor::Acked { key: key() }));
    let malformed = |frames| Breach {
        offence: "malformed",
        frames,
    };
    // The last byte of a good frame is missing, and that of a second one too many.
    let cut = framed(&acked[4..acked.len() - 1]);
    let more = framed(&[&acked[4..], &[0]].concat());
    let too_long = u32::try_from(MAX_FRAME_BYTES).unwrap() + 1;
    [
        malformed(framed(b"garbage")),
        malformed(cut),
        malformed(more),
        Breach {
            offence: "oversize",
            frames: [&too_long.to_be_bytes()[..], &[0; 1024]].concat(),
        },
        // More in messages than ever goes in them.
        Breach {
            offence: "oversize",
            frames: bundle_word(MAX_INLINE_BYTES + 1),
        },
        // One that was said before, over and over.
        Breach {
            offence: "flood",
            frames: acked.repeat(700),
        },
    ]
}

/// Expelled: disconnected, counted, named, and not taken back.
async fn is_expelled(attacked: &Machine, target: &Target, member: &Member, mut pair: Pair) {
    pair.outsider.is_cut_off().await;
    let peer = member.machine.peer();
    attacked.until(&["peers", "--json"], |document| {
        let mut peers = document["peers"].as_array().unwrap().iter();
        let named = peers.find(|known| known["id"] == peer.as_str());
        named.is_some_and(|known| known["offences"] == 1 && known["connected"] == false)
    });
    assert!(member.enter(target, loopback(9)).await.is_err());
}

/// What only a newer node knows costs nothing: the word after it is heard.
async fn newer(attacked: &Machine, target: &Target) {
    let member = Member::join(attacked, "newer");
    let mut pair = member.enter(target, loopback(8)).await.unwrap();
    let kind = framed(&[0x83, 0x01, 0x18, 0xee, 0xa0]);
    let version = framed(&[0x83, 0x02, 0x00, 0x00]);
    let offer = said(&Message::ToExecutor(ToExecutor::Resume {
        keys: vec![key()],
    }));
    pair.say(&[kind, version, offer].concat()).await;
    let answer = timeout(PATIENCE, async {
        loop {
            let frame = heard(&mut pair.messages).await.unwrap();
            let message = sykli_core::wire::decode(&frame).unwrap();
            if let Message::ToOwner(sykli_core::consent::ToOwner::Lost { key, .. }) = message {
                return key;
            }
        }
    });
    assert_eq!(answer.await.expect("it is still heard"), key());
}

/// A task whose component is 4 MiB that cannot be compressed.
fn bundle() -> (Manifest, Vec<u8>) {
    let mut component = vec![0; 4 << 20];
    blake3::Hasher::new().finalize_xof().fill(&mut component);
    let manifest = Manifest {
        name: "lie".to_owned(),
        component: Digest::of(&component),
        args: Vec::new(),
        env: [].into(),
        params: "{}".to_owned(),
        item: None,
        shard: Shard::default(),
        stdin: None,
        inputs: [].into(),
        outputs: [].into(),
        fuel: 1_000_000,
        memory_bytes: 16 << 20,
        output_bytes: 1 << 20,
        grants: ManifestGrants::default(),
        floats: Floats::Fast,
        semantics: SEMANTICS_VERSION,
    };
    (manifest, component)
}

/// What is announced of it: a kilobyte.
fn announced(manifest: &Manifest) -> Requirements {
    Requirements {
        digest: manifest.digest(),
        label: "lie".into(),
        labels: Vec::new(),
        memory_mb: 16,
        fuel: manifest.fuel,
        timeout_ms: 60_000,
        estimate_ms: 0,
        component_bytes: 1_000,
        input_bytes: 0,
        output_bytes: 0,
        blobs: Vec::new(),
        imports: Vec::new(),
        grants: Vec::new(),
        engine: None,
        pure: true,
        secret: false,
        mesh: true,
        steal: true,
    }
}

/// Announces a small bundle and sends a large one, as far as that is taken.
async fn lies(pair: &mut Pair) {
    let (manifest, component) = bundle();
    let offer = Offer {
        key: key(),
        nonce: 1,
        needs: Arc::new(announced(&manifest)),
        min_memory_mb: 0,
        lease_ms: 600_000,
        mesh: None,
    };
    let message = Message::ToExecutor(ToExecutor::Offer(Box::new(offer)));
    pair.say(&[said(&message), bundle_word(0)].concat()).await;
    let next = timeout(PATIENCE, pair.bulk.next()).await;
    let (_, stream) = next.expect("it comes for the bundle").unwrap();
    let blobs = [manifest.encode(), component];
    let serving = Serving {
        closure: Arc::new(move |digest: &Digest| {
            let mut blobs = blobs.iter();
            let blob = blobs.find(|blob| Digest::of(blob) == *digest)?;
            Some(Source::bytes(blob.clone()))
        }),
        cap: u64::MAX,
        level: 0,
    };
    let lookup = async |_: &sykli_node::transfer::Request| Some(serving);
    let served = serve(stream, lookup, &Fair::new(1), PATIENCE).await;
    assert!(served.is_err(), "it took everything");
}

#[test]
fn a_member_that_breaks_the_protocol_is_expelled_and_counted() {
    let settings = format!("{WILLING}{ATTACKED}");
    let [attacked, mut honest] = mesh([
        Machine::new("attacked", &settings),
        honest::machine("honest"),
    ]);
    honest.start();
    honest::work(&honest);
    let target = Target::of(&attacked);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(newer(&attacked, &target));
    for (number, breach) in breaches().into_iter().enumerate() {
        let Breach { offence, frames } = breach;
        let member = Member::join(&attacked, &format!("{offence}-{number}"));
        runtime.block_on(async {
            let mut pair = member.enter(&target, loopback(7)).await.unwrap();
            pair.say(&frames).await;
            is_expelled(&attacked, &target, &member, pair).await;
        });
    }
    let liar = Member::join(&attacked, "liar");
    runtime.block_on(async {
        let mut pair = liar.enter(&target, loopback(7)).await.unwrap();
        lies(&mut pair).await;
        is_expelled(&attacked, &target, &liar, pair).await;
    });
    let offences = &honest::status(&attacked)["counters"]["offences"];
    let expected = serde_json::json!({ "malformed": 3, "oversize": 3, "flood": 1 });
    assert_eq!(offences, &expected);
    honest::work(&honest);
}

#[test]
fn a_copied_key_is_noticed_and_neither_copy_is_believed() {
    let [attacked, honest] = mesh([
        Machine::new("attacked", &format!("{WILLING}{ATTACKED}")),
        honest::machine("honest"),
    ]);
    let original = Member::join(&attacked, "original");
    let target = Target::of(&attacked);
    let copy = original.clone_of();
    let refused = counted(&attacked, "refused");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let cloned = Refusal::Clone.heard().to_string();
        let enter = async |gate: &Gate| original.enter_as(gate, &target, loopback(2)).await;
        let mut first = enter(&original.gate).await.unwrap();
        // The copy comes: it may be the same node after a restart, and takes the place of the first.
        let mut second = enter(&copy).await.unwrap();
        first.outsider.is_cut_off().await;
        // The first comes back: two processes hold the key.
        assert_eq!(enter(&original.gate).await.err(), Some(cloned.clone()));
        second.outsider.is_cut_off().await;
        assert_eq!(enter(&copy).await.err(), Some(cloned));
    });
    attacked.until(&["node", "status", "--json"], |status| {
        status["counters"]["refused"].as_u64() >= Some(refused + 2)
    });
    honest::work(&honest);
}
