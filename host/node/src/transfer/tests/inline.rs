//! What goes in messages: it is all that is lacking or nothing, and what is no such thing is kept out of the store.

use super::support::*;
use crate::store::Store;
use crate::transfer::{
    Closure, Compressor, Opener, Root, Taken, TransferError, frame, pack, take as taken,
};
use sykli_core::blob::{Encoding, PART_BYTES, Reply, part_head};
use sykli_core::id::Digest;

fn closure(shelf: &Shelf) -> Closure {
    shelf.serving(u64::MAX, 1).closure
}

fn packed(shelf: &Shelf, root: Root, there: &[Digest], most: u64) -> Option<Vec<u8>> {
    let mut compressor = Compressor::default();
    let there = |digest: &Digest| there.contains(digest);
    pack(root, &closure(shelf), there, most, (&mut compressor, 1))
}

fn take(store: &Store, root: Root, frames: &[u8]) -> Result<Taken, TransferError> {
    taken(store, root, frames, false, &mut Opener::default())
}

/// A task with a component, an input tree of some files, and standard input.
fn task() -> (Shelf, Root, [Digest; 3]) {
    let mut shelf = Shelf::default();
    let files = (0..5).map(|n| (format!("in/{n}"), noise(100 + n)));
    let tree = shelf.tree(files.collect());
    let component = text(30_000);
    let digest = Digest::of(&component);
    let root = shelf.task(component, Some(text(50)), tree);
    (shelf, Root::Manifest(root), [root, tree, digest])
}

#[test]
fn all_that_is_lacking_arrives_at_its_announced_cost() {
    let (shelf, root, _) = task();
    let frames = packed(&shelf, root, &[], u64::MAX).unwrap();
    let sizes = shelf.0.values().map(|bytes| {
        let source = sykli_runtime::Source::bytes(bytes.clone());
        crate::transfer::compressed_size(&source, 1).unwrap()
    });
    assert_eq!(frames.len() as u64, sizes.sum::<u64>());
    let (_dir, store) = store();
    assert_eq!(take(&store, root, &frames).unwrap(), Taken::Whole);
    for (digest, bytes) in &shelf.0 {
        assert!(store.read(digest, u64::MAX).unwrap() == *bytes);
    }
    let nothing = take(&store, root, &[]).unwrap();
    assert_eq!(nothing, Taken::Whole, "it is all here");
    let least = frames.len() as u64;
    assert_eq!(packed(&shelf, root, &[], least), Some(frames));
    assert_eq!(packed(&shelf, root, &[], least - 1), None, "all or nothing");
}

#[test]
fn what_is_there_is_left_out_and_what_it_reaches_is_not() {
    let (shelf, root, [manifest, tree, component]) = task();
    let frames = packed(&shelf, root, &[tree, component], u64::MAX).unwrap();
    let (_dir, store) = store();
    assert_eq!(take(&store, root, &frames).unwrap(), Taken::Lacking);
    assert!(store.has(&manifest) && !store.has(&tree) && !store.has(&component));
    for digest in [tree, component] {
        store.put_bytes(shelf.0[&digest].clone()).unwrap();
    }
    assert_eq!(take(&store, root, &frames).unwrap(), Taken::Whole);
}

#[test]
fn a_blob_that_is_gone_or_too_large_is_for_a_stream() {
    let (mut shelf, root, [_, tree, _]) = task();
    let large = shelf.task(noise(PART_BYTES + 1), None, tree);
    assert_eq!(packed(&shelf, Root::Manifest(large), &[], u64::MAX), None);
    shelf.0.remove(&tree);
    assert_eq!(packed(&shelf, root, &[], u64::MAX), None);
}

#[test]
fn nothing_that_is_not_wanted_is_kept() {
    let (shelf, root, _) = task();
    let mut frames = Vec::new();
    let junk = noise(500);
    frame(&junk, &mut Compressor::default(), 1, &mut frames);
    frames.extend(packed(&shelf, root, &[], u64::MAX).unwrap());
    // A bit of the last blob is flipped: it is none that is reached.
    *frames.last_mut().unwrap() ^= 1;
    let (_dir, store) = store();
    assert_eq!(take(&store, root, &frames).unwrap(), Taken::Lacking);
    assert!(!store.has(&Digest::of(&junk)));
    let here = shelf.0.keys().filter(|digest| store.has(digest)).count();
    assert_eq!(here, shelf.0.len() - 1);
}

#[test]
fn what_is_no_frame_or_announces_too_much_is_an_offence() {
    let (shelf, root, _) = task();
    let (_dir, store) = store();
    let good = packed(&shelf, root, &[], u64::MAX).unwrap();
    let mut gone = Vec::new();
    Reply::Gone.encode(&mut gone);
    // Each part says that it is as large as one can be.
    let zeros = zstd::bulk::compress(&vec![0; PART_BYTES], 1).unwrap();
    let (whole, packed) = (PART_BYTES as u32, zeros.len() as u32);
    let part = [&part_head(true, Encoding::Zstd, whole, packed)[..], &zeros].concat();
    let lie = [&part_head(true, Encoding::Zstd, 1000, packed)[..], &zeros].concat();
    for (name, frames) in [
        ("cut", good[..good.len() - 1].to_vec()),
        ("of a stream", gone),
        ("a bomb", part.repeat(17)),
        ("another length", lie),
    ] {
        let taken = take(&store, root, &frames);
        let error = taken.expect_err(name);
        assert!(error.offence().is_some(), "{name}: {error}");
        assert!(!matches!(error, TransferError::Store(_)), "{name}");
    }
}

#[test]
fn what_would_take_long_is_not_looked_at_where_it_must_not() {
    let quickly = |shelf: &Shelf, root, frames: &[u8], there: &[Digest]| {
        let (_dir, store) = store();
        for digest in there {
            store.put_bytes(shelf.0[digest].clone()).unwrap();
        }
        taken(&store, root, frames, true, &mut Opener::default()).unwrap()
    };
    let (shelf, root, [.., tree, component]) = task();
    let frames = packed(&shelf, root, &[], u64::MAX).unwrap();
    assert_eq!(
        quickly(&shelf, root, &frames, &[tree, component]),
        Taken::Whole
    );
    let mut shelf = Shelf::default();
    let tree = shelf.tree((0..40).map(|n| (format!("in/{n}"), vec![n])).collect());
    let root = Root::Manifest(shelf.task(text(50), None, tree));
    let frames = packed(&shelf, root, &[], u64::MAX).unwrap();
    assert_eq!(
        quickly(&shelf, root, &frames, &[]),
        Taken::Unknown,
        "many blobs"
    );
    let tree = shelf.tree(vec![("x".repeat(200), vec![1]); 1]);
    let names = (0..60).map(|n| (format!("{n:0200}"), vec![1]));
    let large = shelf.tree(names.collect());
    for (tree, expected) in [(tree, Taken::Lacking), (large, Taken::Unknown)] {
        let root = Root::Manifest(shelf.task(text(50), None, tree));
        let manifest = packed(
            &shelf,
            root,
            &shelf
                .0
                .keys()
                .copied()
                .filter(|d| Root::Manifest(*d) != root)
                .collect::<Vec<_>>(),
            u64::MAX,
        );
        assert_eq!(quickly(&shelf, root, &manifest.unwrap(), &[tree]), expected);
    }
}
