//! What a lying provider gets: a typed refusal that names its offence, and nothing of its own into the store.

use std::time::Duration;

use super::support::*;
use crate::store::Tracer;
use crate::transfer::Request;
use crate::transfer::pace::Asks;
use crate::transfer::{Bounds, Fair, Root, TransferError, fetch, serve};
use futures::io::{AsyncReadExt, AsyncWriteExt};
use sykli_core::blob::{Ask, Encoding, PART_BYTES, Part, Reply};
use sykli_core::consent::{LostWhy, Offence};
use sykli_core::id::Digest;
use sykli_runtime::Source;

fn part(bytes: &[u8]) -> Part<'_> {
    Part {
        encoding: Encoding::Plain,
        len: bytes.len() as u32,
        bytes,
    }
}

fn frames(replies: &[Reply<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    for reply in replies {
        reply.encode(&mut out);
    }
    out
}

/// What becomes of a requester that is sent these bytes, the first of them when it asks for the tree, the others when
/// it asks for its files. The liar stays connected.
async fn sent(tree: Vec<u8>, files: Vec<u8>, root: Digest, bounds: Bounds) -> TransferError {
    let (_dir, store) = store();
    let (here, there) = pair(1 << 20);
    let liar = async move {
        let (reader, mut writer) = there.split();
        let mut asks = Asks::new(reader);
        let mut answers = [tree, files].into_iter();
        // A requester that hangs up early is what is hoped for.
        while let Ok(ask) = asks.next().await {
            if matches!(ask, Ask::Want(_)) {
                let _ = writer.write_all(&answers.next().unwrap_or_default()).await;
            }
        }
    };
    let fair = Fair::new(1);
    let fetching = async {
        let outcome = fetch(
            here,
            request(),
            Root::Tree(root),
            &store,
            bounds,
            &fair,
            &|_| (),
        )
        .await;
        outcome.unwrap_err()
    };
    let (error, ()) = futures::join!(fetching, liar);
    assert_eq!(std::fs::read_dir(store.spool_dir()).unwrap().count(), 0);
    error
}

/// A tree of one file, and its encoding.
fn tree_of(file: Vec<u8>) -> (Digest, Vec<u8>) {
    let mut shelf = Shelf::default();
    let tree = shelf.tree(vec![("a".to_owned(), file)]);
    (tree, shelf.0[&tree].clone())
}

#[tokio::test]
async fn wrong_bytes_are_told_from_too_many() {
    let (root, tree) = tree_of(text(1000));
    let tree = frames(&[Reply::Whole(part(&tree))]);
    let (text, long, short) = (text(1000), text(1001), text(999));
    let other = noise(1000);
    let file = Reply::Whole(part(&text));
    let cases: [(&str, Vec<Reply<'_>>, &str); 7] = [
        (
            "other content",
            vec![Reply::Whole(part(&other))],
            "transfer::wrong",
        ),
        (
            "a longer file than the tree says",
            vec![Reply::Whole(part(&long))],
            "transfer::oversize",
        ),
        (
            "a shorter one",
            vec![Reply::Whole(part(&short))],
            "transfer::wrong",
        ),
        (
            "more than was asked for",
            vec![file, file],
            "transfer::oversize",
        ),
        (
            "content of nothing",
            vec![file, Reply::Data(part(&text))],
            "transfer::oversize",
        ),
        (
            "an outline of nothing",
            vec![Reply::Outline(&[0; 32])],
            "transfer::malformed",
        ),
        (
            "a large blob for a small file",
            vec![Reply::Blob { size: 1 << 30 }],
            "transfer::oversize",
        ),
    ];
    for (what, replies, code) in cases {
        let error = sent(tree.clone(), frames(&replies), root, NO_BOUND).await;
        assert_eq!(error.code(), code, "{what}: {error}");
        let offence = if code == "transfer::oversize" {
            Offence::Oversize
        } else {
            Offence::Malformed
        };
        assert_eq!(error.offence(), Some(offence), "{what}");
        assert!(!error.is_resumable(), "{what}");
        assert_eq!(error.lost(), LostWhy::Bundle);
    }
    let no_tree = frames(&[Reply::Whole(part(&text))]);
    let error = sent(no_tree, Vec::new(), root, NO_BOUND).await;
    assert_eq!(error.code(), "transfer::wrong");
}

#[tokio::test]
async fn what_an_honest_peer_may_say_is_no_offence() {
    let (root, tree) = tree_of(text(1000));
    let tree = frames(&[Reply::Whole(part(&tree))]);
    for (reply, code) in [
        (Reply::Refused, "transfer::refused"),
        (Reply::Gone, "transfer::gone"),
        (Reply::Over, "transfer::capped"),
    ] {
        let reply = frames(&[reply]);
        for (tree, file) in [(reply.clone(), Vec::new()), (tree.clone(), reply)] {
            let error = sent(tree, file, root, NO_BOUND).await;
            assert_eq!((error.code(), error.offence()), (code, None));
        }
    }
}

#[tokio::test]
async fn a_flipped_bit_in_a_large_blob_is_found_in_its_group() {
    let file = noise(3 * PART_BYTES);
    let digest = Digest::of(&file);
    let (root, tree) = tree_of(file.clone());
    let mut tracer = Tracer::new(Source::bytes(file.clone()));
    while !tracer.step(&mut vec![0; PART_BYTES]).unwrap() {}
    let outline = tracer.finish(&digest).unwrap();
    let begin = |outline: &[u8]| {
        let blob = Reply::Blob {
            size: file.len() as u64,
        };
        frames(&[blob, Reply::Outline(outline)])
    };
    let tree = frames(&[Reply::Whole(part(&tree))]);
    let mut flipped = outline.bytes().to_vec();
    flipped[50] ^= 4;
    let error = sent(tree.clone(), begin(&flipped), root, NO_BOUND).await;
    assert_eq!(
        error.code(),
        "transfer::wrong",
        "an outline that leads elsewhere"
    );
    let too_long = [outline.bytes(), &[0; 32]].concat();
    let error = sent(tree.clone(), begin(&too_long), root, NO_BOUND).await;
    assert_eq!(error.code(), "transfer::oversize");
    let mut first = file[..PART_BYTES].to_vec();
    first[9] ^= 1;
    let bytes = [begin(outline.bytes()), frames(&[Reply::Data(part(&first))])].concat();
    let error = sent(tree.clone(), bytes, root, NO_BOUND).await;
    assert!(
        matches!(error, TransferError::Wrong(of) if of == digest),
        "{error}"
    );
    let short = frames(&[Reply::Data(part(&file[..1000]))]);
    let error = sent(
        tree,
        [begin(outline.bytes()), short].concat(),
        root,
        NO_BOUND,
    )
    .await;
    assert_eq!(
        error.code(),
        "transfer::malformed",
        "only the last part may be short"
    );
}

#[tokio::test]
async fn bombs_and_vast_windows_are_refused_by_their_announcement() {
    let zeros = vec![0; PART_BYTES];
    let (root, tree) = tree_of(zeros);
    let bomb = zstd::bulk::compress(&vec![0; 200 << 20], 19).unwrap();
    assert!(bomb.len() < 20_000);
    let vast = [0x28, 0xb5, 0x2f, 0xfd, 0x80, 21 << 3, 0, 0, 4, 0, 1, 0, 0];
    for bytes in [&bomb[..], &vast] {
        let part_of_it = Part {
            encoding: Encoding::Zstd,
            len: PART_BYTES as u32,
            bytes,
        };
        let tree = frames(&[Reply::Whole(part(&tree))]);
        let error = sent(tree, frames(&[Reply::Whole(part_of_it)]), root, NO_BOUND).await;
        assert_eq!(error.code(), "transfer::wrong");
    }
}

#[tokio::test]
async fn a_sender_beyond_the_cap_is_cut_off_before_it_has_sent_it() {
    let (root, tree) = tree_of(noise(100_000));
    let file = noise(100_000);
    let (tree, file) = (
        frames(&[Reply::Whole(part(&tree))]),
        frames(&[Reply::Whole(part(&file))]),
    );
    let bounds = Bounds {
        cap: tree.len() as u64 + 50_000,
        ..NO_BOUND
    };
    // Nothing of the file but its announcement.
    let error = sent(tree.clone(), file[..30].to_vec(), root, bounds).await;
    assert_eq!(
        (error.code(), error.offence()),
        ("transfer::oversize", Some(Offence::Oversize))
    );
    let bounds = Bounds {
        raw_cap: 50_000,
        ..NO_BOUND
    };
    let error = sent(tree, file, root, bounds).await;
    assert_eq!(
        error.code(),
        "transfer::capped",
        "what it unpacks to counts too"
    );
}

#[tokio::test]
async fn lengths_are_refused_before_anything_is_awaited_or_allocated() {
    let (root, _) = tree_of(text(10));
    for header in [
        [0x11, 0xff, 0xff, 0xff, 0xff],
        [0x13, 0x00, 0x00, 0x00, 0x7f],
        [0x02, 40, 0, 0, 0],
        [0x99, 0, 0, 0, 0],
    ] {
        let error = sent(header.to_vec(), Vec::new(), root, NO_BOUND).await;
        assert_eq!(
            (error.code(), error.offence()),
            ("transfer::malformed", Some(Offence::Malformed))
        );
    }
}

#[tokio::test]
async fn wherever_a_bit_is_flipped_it_is_refused_and_nothing_wrong_is_kept() {
    let mut shelf = Shelf::default();
    let files = [
        ("a", text(300)),
        ("b", noise(40)),
        ("c", noise(PART_BYTES + 70)),
    ];
    let files = files.map(|(path, bytes)| (path.to_owned(), bytes));
    let root = shelf.tree(files.into());
    let total = 200 + 60 + PART_BYTES + 70 + 100;
    let early = (0..420).step_by(3);
    let late = [1000, PART_BYTES / 2, PART_BYTES + 350, total - 40];
    for at in early.chain(late) {
        let (_dir, store) = store();
        let (stream, there) = pair(1 << 16);
        let here = Cut {
            stream,
            left: usize::MAX,
            flip: Some(at),
        };
        let bounds = Bounds {
            // A length that was flipped to a greater one is waited for.
            stall: Duration::from_millis(40),
            ..NO_BOUND
        };
        let fair = Fair::new(1);
        let (fetched, _) = futures::join!(
            fetch(
                here,
                request(),
                Root::Tree(root),
                &store,
                bounds,
                &fair,
                &|_| ()
            ),
            serve(
                there,
                async |_: &Request| Some(shelf.serving(u64::MAX, 9)),
                &fair,
                STALL
            ),
        );
        assert!(fetched.is_err(), "byte {at}");
        for (digest, bytes) in &shelf.0 {
            let kept = store.read(digest, u64::MAX);
            assert!(kept.is_none_or(|kept| kept == *bytes), "byte {at}");
        }
    }
}
