//! Trees: what is valid, the golden encoding, and that nothing else decodes.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::dagcbor::tests::hexdump;
use proptest::prelude::*;

fn entry(path: &str) -> TreeEntry {
    TreeEntry {
        path: path.to_owned(),
        digest: Digest::of(path.as_bytes()),
        size: path.len() as u64,
        executable: false,
    }
}

fn tree(paths: &[&str]) -> Result<Tree, TreeError> {
    Tree::new(paths.iter().map(|path| entry(path)).collect())
}

/// An encoding of entries as they are, valid or not.
fn encode_unchecked(paths: &[&str]) -> Vec<u8> {
    Tree {
        entries: paths.iter().map(|path| entry(path)).collect(),
    }
    .encode()
}

const GOLDEN: &str = "
    a2                                                                   # map of 2
      66 736368656d61                                                    # \"schema\"
      6c 73796b6c692d747265652f31                                        # \"sykli-tree/1\"
      67 656e7472696573                                                  # \"entries\"
      82                                                                 # array of 2
        84                                                               # entry
          67 612f622e747874                                              # \"a/b.txt\"
          58 20 6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85  # BLAKE3 of \"abc\"
          03                                                             # 3 bytes
          f4                                                             # not executable
        84                                                               # entry
          64 746f6f6c                                                    # \"tool\"
          58 20 af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262  # BLAKE3 of nothing
          19 0100                                                        # 256 bytes
          f5                                                             # executable
";

#[test]
fn the_encoding_is_the_documented_one() {
    let entries = vec![
        TreeEntry {
            path: "tool".into(),
            digest: Digest::of(b""),
            size: 256,
            executable: true,
        },
        TreeEntry {
            path: "a/b.txt".into(),
            digest: Digest::of(b"abc"),
            size: 3,
            executable: false,
        },
    ];
    let tree = Tree::new(entries).unwrap();
    assert_eq!(tree.encode(), hexdump(GOLDEN));
    assert_eq!(Tree::decode(&hexdump(GOLDEN)).unwrap(), tree);
    assert_eq!(
        tree.digest().to_string(),
        "b3:7dba8a0086faa063eaaa220e9439a31a4a078ab5b244a9f4417178c28c3f358d"
    );
    assert_eq!(
        Tree::default().digest().to_string(),
        "b3:d79870ce6787f5837c02b2498acf9ac1eab921147f1ba28cadd1124716283fc6"
    );
}

#[test]
fn an_independent_dag_cbor_reads_the_same() {
    type Entry = (String, serde_bytes::ByteBuf, u64, bool);
    #[derive(serde::Deserialize, serde::Serialize)]
    struct Plain {
        schema: String,
        entries: Vec<Entry>,
    }
    let encoded = tree(&["a/b", "a/c", "long/".repeat(30).trim_end_matches('/'), "é"])
        .unwrap()
        .encode();
    let plain: Plain = serde_ipld_dagcbor::from_slice(&encoded).unwrap();
    assert_eq!(plain.entries.len(), 4);
    assert_eq!(serde_ipld_dagcbor::to_vec(&plain).unwrap(), encoded);
}

#[test]
fn order_of_arrival_does_not_matter() {
    let tree_a = tree(&["b", "a/x", "a-b", "a/c"]).unwrap();
    let tree_b = tree(&["a/c", "a-b", "b", "a/x"]).unwrap();
    assert_eq!(tree_a.digest(), tree_b.digest());
    assert_eq!(tree_a.get("a/x").map(|entry| entry.size), Some(3));
    assert_eq!(tree_a.get("a"), None);
    assert_eq!(tree_a.total_bytes(), 10);
}

#[test]
fn names_that_lead_elsewhere_are_refused_in_both_directions() {
    let long_name = "n".repeat(256);
    let long_path = "p/".repeat(2100) + "p";
    let bad = [
        "",
        "/etc/passwd",
        "../x",
        "a/../b",
        "a/..",
        ".",
        "a/./b",
        "a//b",
        "a/",
        "a\0b",
        &long_name,
        &long_path,
    ];
    for path in bad {
        assert!(tree(&[path]).is_err(), "{path:?}");
        assert!(
            Tree::decode(&encode_unchecked(&[path])).is_err(),
            "{path:?}"
        );
    }
    let fine = [
        "...",
        "a/..b",
        "b..",
        "with space",
        "new\nline",
        "-",
        "ünï",
        "c:d",
        "back\\slash",
    ];
    let valid = tree(&fine).unwrap();
    assert_eq!(Tree::decode(&valid.encode()).unwrap(), valid);
}

#[test]
fn paths_ascend_and_are_unique() {
    assert_eq!(
        tree(&["a", "a"]),
        Err(TreeError::Duplicate { path: "a".into() })
    );
    assert_eq!(
        Tree::decode(&encode_unchecked(&["a", "a"])),
        Err(TreeError::Duplicate { path: "a".into() })
    );
    assert_eq!(
        Tree::decode(&encode_unchecked(&["b", "a"])),
        Err(TreeError::NotSorted { path: "a".into() })
    );
}

#[test]
fn nothing_is_both_file_and_folder() {
    for paths in [
        &["a", "a/b"][..],
        &["a", "a-b", "a/b"],
        &["x/y", "x/y-", "x/y/z/q"],
        &["a/b", "a/b/c", "a/b/d"],
    ] {
        let folder = paths[0].to_owned();
        assert_eq!(
            tree(paths),
            Err(TreeError::FileAndFolder {
                path: folder.clone()
            })
        );
        assert_eq!(
            Tree::decode(&encode_unchecked(paths)),
            Err(TreeError::FileAndFolder { path: folder })
        );
    }
}

#[test]
fn names_that_differ_in_case_only_are_refused() {
    let clashes = [
        &["Makefile", "makefile"][..],
        &["MAKEFILE", "Makefile"],
        &["Src/a", "src/b"],
        &["SRC/a", "Src/b"],
        &["a/B/c", "a/b"],
        &["a/B", "a/b/c"],
        &["Éa", "éa"],
        &["x/É/1", "x/é/2"],
        &["X/y/1", "a", "x/y/2"],
    ];
    for paths in clashes {
        assert!(
            matches!(tree(paths), Err(TreeError::CaseFold { .. })),
            "{paths:?}"
        );
        assert!(
            matches!(
                Tree::decode(&encode_unchecked(paths)),
                Err(TreeError::CaseFold { .. })
            ),
            "{paths:?}"
        );
    }
    for paths in [
        &["README", "readme.md"][..],
        &["A/b", "A/c", "B/b"],
        &["A/A", "A/B", "b/A"],
        &["Aa/x", "Aa/y/z", "ab"],
    ] {
        assert!(tree(paths).is_ok(), "{paths:?}");
    }
}

#[test]
fn a_large_tree_is_cheap_enough_to_check() {
    let paths: Vec<String> = (0..50_000)
        .map(|n| format!("Dir{}/Sub{}/File{n}", n % 7, n % 401))
        .collect();
    let tree = Tree::new(paths.iter().map(|path| entry(path)).collect()).unwrap();
    assert_eq!(
        Tree::decode(&tree.encode()).unwrap().entries().len(),
        50_000
    );
}

fn any_tree() -> impl Strategy<Value = Tree> {
    let file = (
        "[a-c]{1,2}(/[a-c]{1,2}){0,2}",
        any::<[u8; 32]>(),
        any::<u64>(),
        any::<bool>(),
    );
    prop::collection::vec(file, 0..8).prop_filter_map("not a tree", |files| {
        let entries = files
            .into_iter()
            .map(|(path, digest, size, executable)| TreeEntry {
                path,
                digest: Digest(digest),
                size,
                executable,
            });
        Tree::new(entries.collect()).ok()
    })
}

proptest! {
    #[test]
    fn what_is_encoded_decodes_to_itself(tree in any_tree()) {
        prop_assert_eq!(Tree::decode(&tree.encode()).unwrap(), tree);
    }

    #[test]
    fn what_decodes_encodes_to_itself(tree in any_tree(), at in any::<prop::sample::Index>(), flip in 1..=255u8) {
        let mut bytes = tree.encode();
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        if let Ok(other) = Tree::decode(&bytes) {
            prop_assert_eq!(other.encode(), bytes);
            prop_assert_ne!(other.digest(), tree.digest());
            prop_assert_ne!(other, tree);
        }
    }

    #[test]
    fn any_bytes_decode_or_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..300), prefix in any::<bool>()) {
        let mut whole = if prefix { Tree::default().encode() } else { Vec::new() };
        whole.pop();
        whole.extend(bytes);
        if let Ok(tree) = Tree::decode(&whole) {
            prop_assert_eq!(tree.encode(), whole);
        }
    }
}

#[test]
fn a_digest_without_a_tree_is_the_trees() {
    let paths: Vec<String> = (0..4000)
        .map(|n| format!("folder{}/Name{n:05}", n / 700))
        .collect();
    let digest = Digest::of(b"content");
    let lines: Vec<TreeLine<'_>> = paths
        .iter()
        .enumerate()
        .map(|(n, path)| TreeLine {
            path,
            digest: &digest,
            size: n as u64 * 1000,
            executable: n % 3 == 0,
        })
        .collect();
    let entries = lines.iter().map(|line| TreeEntry {
        path: line.path.to_owned(),
        digest,
        size: line.size,
        executable: line.executable,
    });
    let tree = Tree::new(entries.collect()).unwrap();
    assert_eq!(digest_of(&lines), Ok(tree.digest()));
    assert_eq!(tree.digest(), Digest::of(&tree.encode()));
    assert_eq!(digest_of(&[]), Ok(Tree::default().digest()));
}

#[test]
fn a_digest_without_a_tree_refuses_what_no_tree_is_made_of() {
    let digest = Digest::of(b"content");
    let check = |paths: &[&str]| {
        let lines = paths.iter().map(|path| TreeLine {
            path,
            digest: &digest,
            size: 1,
            executable: false,
        });
        digest_of(&lines.collect::<Vec<_>>()).unwrap_err()
    };
    let long = format!("a/{}", "x".repeat(MAX_NAME_BYTES + 1));
    let bad = |path: &str, why| TreeError::BadPath {
        path: path.to_owned(),
        why,
    };
    // Each after a neighbour in the same folder, which is the shorter way.
    assert_eq!(check(&["a/!", "a/."]), bad("a/.", PathError::Dot));
    assert_eq!(check(&["a/!", "a/.."]), bad("a/..", PathError::Parent));
    assert_eq!(check(&["a/!", "a/"]), bad("a/", PathError::EmptySegment));
    assert_eq!(check(&["a/!", "a/x\0"]), bad("a/x\0", PathError::Nul));
    assert_eq!(
        check(&["a/!", "a//x"]),
        bad("a//x", PathError::EmptySegment)
    );
    assert_eq!(check(&["!", "/x"]), bad("/x", PathError::Absolute));
    assert_eq!(
        check(&["a/!", &long]),
        TreeError::LongName {
            path: long.chars().take(200).collect()
        }
    );
    assert_eq!(
        check(&["b", "a"]),
        TreeError::NotSorted { path: "a".into() }
    );
    assert_eq!(
        check(&["a/x", "a/x"]),
        TreeError::Duplicate { path: "a/x".into() }
    );
    assert_eq!(
        check(&["a/x", "a/x/y"]),
        TreeError::FileAndFolder { path: "a/x".into() }
    );
    assert!(matches!(check(&["a/X", "a/x"]), TreeError::CaseFold { .. }));
    assert!(matches!(
        check(&["A/b/x", "a/b/y"]),
        TreeError::CaseFold { .. }
    ));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn names_that_differ_in_case_only_are_found_wherever_they_are(
        paths in prop::collection::btree_set("[aAbéÉ]{1,2}(/[aAbéÉ.]{1,2}){0,3}", 0..12),
    ) {
        let lines: Vec<TreeEntry> = paths
            .iter()
            .map(|path| TreeEntry {
                path: path.clone(),
                digest: Digest::of(b""),
                size: 0,
                executable: false,
            })
            .collect();
        // As one that looks at every file and folder says it.
        let mut all: Vec<&str> = paths.iter().flat_map(|path| ancestors(path).chain([path.as_str()])).collect();
        all.sort_unstable();
        all.dedup();
        let mut folded: Vec<String> = all.iter().map(|path| path.to_lowercase()).collect();
        folded.sort_unstable();
        let clash = folded.windows(2).any(|pair| pair[0] == pair[1]);
        prop_assert_eq!(check_case(&lines).is_err(), clash, "{:?}", paths);
        prop_assert_eq!(first_clash(&lines).is_err(), clash, "{:?}", paths);
    }
}
