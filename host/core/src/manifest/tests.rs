//! Manifests: the golden encoding, that every field counts, and that nothing else decodes.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::dagcbor::tests::hexdump;
use proptest::prelude::*;

fn set(texts: &[&str]) -> BTreeSet<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

pub(crate) fn example() -> Manifest {
    Manifest {
        name: "shrink".into(),
        component: Digest([0x11; 32]),
        args: vec!["--width".into(), "320".into()],
        env: BTreeMap::from([
            ("TZ".into(), "UTC".into()),
            ("LANG".into(), "C".into()),
            ("A1".into(), String::new()),
        ]),
        params: r#"{"quality":80}"#.into(),
        item: Some("photos/a.jpg".into()),
        shard: Shard {
            index: 1,
            count: 300,
        },
        stdin: None,
        inputs: BTreeMap::from([
            (String::new(), Digest([0x22; 32])),
            ("list".into(), Digest([0x33; 32])),
        ]),
        outputs: set(&["thumbs/**"]),
        fuel: 5_000_000_000,
        memory_bytes: 512 << 20,
        output_bytes: 100_000_000,
        grants: ManifestGrants {
            net: set(&["example.org:443"]),
            clock: true,
            random: false,
        },
        floats: Floats::Portable,
        semantics: 1,
    }
}

const GOLDEN: &str = "
    b1                                        # map of 17
      63 656e76                               # \"env\"
      a3                                      # map of 3: shorter names first, then bytewise
        62 4131          60                   # \"A1\": \"\"
        62 545a          63 555443            # \"TZ\": \"UTC\"
        64 4c414e47      61 43                # \"LANG\": \"C\"
      64 61726773                             # \"args\"
      82                                      # array of 2
        67 2d2d7769647468                     # \"--width\"
        63 333230                             # \"320\"
      64 6675656c                             # \"fuel\"
      1b 000000012a05f200                     # 5,000,000,000
      64 6974656d                             # \"item\"
      6c 70686f746f732f612e6a7067             # \"photos/a.jpg\"
      64 6e616d65                             # \"name\"
      66 736872696e6b                         # \"shrink\"
      65 7368617264                           # \"shard\"
      82 01 19 012c                           # [1, 300]
      65 737464696e                           # \"stdin\"
      f6                                      # null
      66 666c6f617473                         # \"floats\"
      68 706f727461626c65                     # \"portable\"
      66 6772616e7473                         # \"grants\"
      a3                                      # map of 3
        63 6e6574                             # \"net\"
        81 6f 6578616d706c652e6f72673a343433  # [\"example.org:443\"]
        65 636c6f636b    f5                   # \"clock\": true
        66 72616e646f6d  f4                   # \"random\": false
      66 696e70757473                         # \"inputs\"
      a2                                      # map of 2
        60                                    # \"\": the workspace
        58 20 2222222222222222222222222222222222222222222222222222222222222222
        64 6c697374                           # \"list\": the outputs of that task
        58 20 3333333333333333333333333333333333333333333333333333333333333333
      66 706172616d73                         # \"params\"
      6e 7b227175616c697479223a38307d         # {\"quality\":80}, as text
      66 736368656d61                         # \"schema\"
      70 73796b6c692d6d616e69666573742f31     # \"sykli-manifest/1\"
      67 6f757470757473                       # \"outputs\"
      81 69 7468756d62732f2a2a                # [\"thumbs/**\"]
      69 636f6d706f6e656e74                   # \"component\"
      58 20 1111111111111111111111111111111111111111111111111111111111111111
      69 73656d616e74696373                   # \"semantics\"
      01                                      # version 1
      6c 6d656d6f72795f6279746573             # \"memory_bytes\"
      1a 20000000                             # 536,870,912
      6c 6f75747075745f6279746573             # \"output_bytes\"
      1a 05f5e100                             # 100,000,000
";

#[test]
fn the_encoding_is_the_documented_one() {
    assert_eq!(example().encode(), hexdump(GOLDEN));
    assert_eq!(Manifest::decode(&hexdump(GOLDEN)).unwrap(), example());
    assert_eq!(
        example().digest().to_string(),
        "b3:92ebd438d03335653a779f59d6f5a085ab4228e2768fb40f4c717df14e00893c"
    );
}

#[test]
fn an_independent_dag_cbor_reads_the_same() {
    use serde_bytes::ByteBuf;
    #[derive(serde::Deserialize, serde::Serialize)]
    struct Grants {
        clock: bool,
        net: Vec<String>,
        random: bool,
    }
    #[derive(serde::Deserialize, serde::Serialize)]
    struct Plain {
        args: Vec<String>,
        component: ByteBuf,
        env: BTreeMap<String, String>,
        floats: String,
        fuel: u64,
        grants: Grants,
        inputs: BTreeMap<String, ByteBuf>,
        item: Option<String>,
        memory_bytes: u64,
        name: String,
        output_bytes: u64,
        outputs: Vec<String>,
        params: String,
        schema: String,
        semantics: u32,
        shard: (u32, u32),
        stdin: Option<ByteBuf>,
    }
    let encoded = example().encode();
    let plain: Plain = serde_ipld_dagcbor::from_slice(&encoded).unwrap();
    assert_eq!(serde_ipld_dagcbor::to_vec(&plain).unwrap(), encoded);
}

/// One edit for every field, nested ones included.
const EDITS: [fn(&mut Manifest); 19] = [
    |m| m.name.push('x'),
    |m| m.component.0[31] ^= 1,
    |m| m.args.swap(0, 1),
    |m| {
        m.args.pop();
    },
    |m| {
        m.env.insert("LANG".into(), "D".into());
    },
    |m| m.params = "{}".into(),
    |m| m.item = None,
    |m| m.shard.index += 1,
    |m| m.shard.count += 1,
    |m| m.stdin = Some(Digest([0; 32])),
    |m| {
        m.inputs.remove("list");
    },
    |m| {
        m.outputs.insert("x".into());
    },
    |m| m.fuel += 1,
    |m| m.memory_bytes += 1,
    |m| m.output_bytes += 1,
    |m| m.grants.net.clear(),
    |m| m.grants.clock = false,
    |m| m.grants.random = true,
    |m| m.floats = Floats::Fast,
];

#[test]
fn every_field_determines_the_digest() {
    let mut digests = BTreeSet::from([example().digest()]);
    for (at, edit) in EDITS.iter().enumerate() {
        let mut edited = example();
        edit(&mut edited);
        assert!(digests.insert(edited.digest()), "edit {at} changes nothing");
        assert_eq!(
            Manifest::decode(&edited.encode()).unwrap(),
            edited,
            "edit {at}"
        );
    }
    let semantics = Manifest {
        semantics: 2,
        ..example()
    };
    assert!(digests.insert(semantics.digest()));
}

#[test]
fn purity_follows_from_grants_alone() {
    let pure = Manifest {
        grants: ManifestGrants::default(),
        ..example()
    };
    assert!(pure.is_pure());
    for grants in [
        ManifestGrants {
            clock: true,
            ..ManifestGrants::default()
        },
        ManifestGrants {
            random: true,
            ..ManifestGrants::default()
        },
        ManifestGrants {
            net: set(&["a"]),
            ..ManifestGrants::default()
        },
    ] {
        assert!(
            !Manifest {
                grants,
                ..example()
            }
            .is_pure()
        );
    }
}

#[test]
fn what_no_task_has_is_refused() {
    let bad: [fn(&mut Manifest); 10] = [
        |m| m.shard = Shard { index: 0, count: 0 },
        |m| m.shard = Shard { index: 3, count: 3 },
        |m| {
            m.inputs.insert("../x".into(), Digest([0; 32]));
        },
        |m| {
            m.inputs.insert("/x".into(), Digest([0; 32]));
        },
        |m| {
            m.env.insert(String::new(), String::new());
        },
        |m| {
            m.env.insert("A=B".into(), String::new());
        },
        |m| {
            m.env.insert("A".into(), "\0".into());
        },
        |m| m.params = "[]".into(),
        |m| m.params = String::new(),
        |m| m.params = "{\"a\":1".into(),
    ];
    for (at, edit) in bad.iter().enumerate() {
        let mut edited = example();
        edit(&mut edited);
        let refused = Manifest::decode(&edited.encode());
        assert!(
            matches!(refused, Err(ManifestError::Invalid { .. })),
            "{at}: {refused:?}"
        );
    }
}

#[test]
fn other_formats_and_versions_are_refused_as_such() {
    let text = String::from_utf8_lossy(&example().encode())
        .replace("sykli-manifest/1", "sykli-manifest/2");
    assert!(Manifest::decode(text.as_bytes()).is_err());
    assert!(Manifest::decode(&crate::tree::Tree::default().encode()).is_err());
    assert!(Manifest::decode(&[]).is_err());
    let mut long = example().encode();
    long.push(0);
    assert_eq!(
        Manifest::decode(&long),
        Err(ManifestError::Codec(CodecError::Trailing {
            at: long.len() - 1
        })),
        "bytes after the end"
    );
    long.resize(MAX_MANIFEST_BYTES + 1, 0);
    assert!(matches!(
        Manifest::decode(&long),
        Err(ManifestError::TooLong { .. })
    ));
}

#[test]
fn every_truncation_and_every_flipped_byte_is_refused_or_is_another_task() {
    let (original, bytes) = (example(), example().encode());
    for len in 0..bytes.len() {
        assert!(Manifest::decode(&bytes[..len]).is_err(), "cut at {len}");
    }
    for at in 0..bytes.len() {
        for flip in 1..=255u8 {
            let mut flipped = bytes.clone();
            flipped[at] ^= flip;
            if let Ok(other) = Manifest::decode(&flipped) {
                assert_ne!(other, original, "byte {at} ^ {flip}");
                assert_eq!(other.encode(), flipped, "byte {at} ^ {flip}");
                assert_ne!(other.digest(), original.digest());
            }
        }
    }
}

pub(crate) fn any_manifest() -> impl Strategy<Value = Manifest> {
    let digest = || any::<[u8; 32]>().prop_map(Digest);
    let texts = (
        "[a-z]{1,8}",
        prop::collection::vec(".{0,30}", 0..5),
        prop::collection::btree_map("[A-Z_]{1,9}", "[^\0]{0,30}", 0..5),
        prop::option::of(".{0,300}"),
        prop::collection::btree_set(".{0,9}", 0..4),
        prop::collection::btree_set("[a-z]{1,9}", 0..3),
    );
    let digests = (
        digest(),
        prop::option::of(digest()),
        prop::collection::btree_map("[a-z]{0,4}", digest(), 0..4),
    );
    let numbers = (
        any::<u64>(),
        any::<u64>(),
        any::<u64>(),
        any::<u32>(),
        1..=u32::MAX,
        any::<u32>(),
    );
    let flags = (any::<bool>(), any::<bool>(), any::<bool>());
    (texts, digests, numbers, flags).prop_map(|(texts, digests, numbers, flags)| Manifest {
        name: texts.0,
        component: digests.0,
        args: texts.1,
        env: texts.2,
        params: serde_json::json!({ "p": texts.3 }).to_string(),
        item: texts.3,
        shard: Shard {
            index: numbers.3 % numbers.4,
            count: numbers.4,
        },
        stdin: digests.1,
        inputs: digests.2,
        outputs: texts.4,
        fuel: numbers.0,
        memory_bytes: numbers.1,
        output_bytes: numbers.2,
        grants: ManifestGrants {
            net: texts.5,
            clock: flags.0,
            random: flags.1,
        },
        floats: if flags.2 {
            Floats::Fast
        } else {
            Floats::Portable
        },
        semantics: numbers.5,
    })
}

proptest! {
    #[test]
    fn what_is_encoded_decodes_to_itself(manifest in any_manifest()) {
        prop_assert_eq!(Manifest::decode(&manifest.encode()).unwrap(), manifest);
    }

    #[test]
    fn what_decodes_encodes_to_itself(
        manifest in any_manifest(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = manifest.encode();
        for (at, byte) in edits {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(other) = Manifest::decode(&bytes) {
            prop_assert_eq!(other.encode(), bytes);
        }
    }

    #[test]
    fn any_bytes_decode_or_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..600), head in 0..600usize) {
        let mut whole = example().encode();
        whole.truncate(head);
        whole.extend(bytes);
        if let Ok(manifest) = Manifest::decode(&whole) {
            prop_assert_eq!(manifest.encode(), whole);
        }
    }
}
