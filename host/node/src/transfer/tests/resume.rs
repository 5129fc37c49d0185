//! A broken connection costs a part, wherever it breaks, and also across a restart of the requester.

use std::sync::atomic::{AtomicU64, Ordering};

use super::support::*;
use crate::store::Store;
use crate::transfer::Request;
use crate::transfer::{Bounds, Fair, Root, TransferError, compressed_size, fetch, serve};
use sykli_core::blob::PART_BYTES;
use sykli_core::id::Digest;
use sykli_runtime::Source;

/// A transfer whose stream breaks after so many bytes: how many flowed, and how it ended.
async fn cut(
    shelf: &Shelf,
    root: Root,
    store: &Store,
    after: usize,
) -> (u64, Result<(), TransferError>) {
    let (stream, there) = pair(64 * 1024);
    let here = Cut {
        stream,
        left: after,
        flip: None,
    };
    let (fair, flown) = (Fair::new(2), AtomicU64::new(0));
    let note = |bytes| flown.store(bytes, Ordering::Relaxed);
    let (fetched, _) = futures::join!(
        fetch(here, request(), root, store, NO_BOUND, &fair, &note),
        serve(
            there,
            async |_: &Request| Some(shelf.serving(u64::MAX, 0)),
            &fair,
            STALL
        ),
    );
    (flown.into_inner(), fetched.map(|_| ()))
}

#[tokio::test]
async fn wherever_it_breaks_no_verified_group_is_sent_again() {
    let part = PART_BYTES;
    let mut shelf = Shelf::default();
    let tree = shelf.tree(vec![
        ("a".to_owned(), noise(4 * part + 5000)),
        ("b".to_owned(), text(9)),
    ]);
    let mut cost = 0;
    for bytes in shelf.0.values() {
        cost += compressed_size(&Source::bytes(bytes.clone()), 0).unwrap();
    }
    let frame = part + 20;
    let offsets = [
        0,
        1,
        40,
        200,
        400,
        5000,
        part,
        frame + 300,
        2 * frame - 1,
        2 * frame + 600,
    ];
    let near_the_end = [4 * part + 4000, cost as usize - 20, cost as usize - 1];
    for after in offsets.into_iter().chain(near_the_end) {
        let dir = tempfile::tempdir().unwrap();
        let first = {
            let store = Store::open(dir.path()).unwrap();
            let (flown, ended) = cut(&shelf, Root::Tree(tree), &store, after).await;
            let error = ended.unwrap_err();
            assert!(
                error.is_resumable() && error.offence().is_none(),
                "{after}: {error}"
            );
            flown
        };
        let store = Store::open(dir.path()).unwrap();
        let (second, ended) = cut(&shelf, Root::Tree(tree), &store, usize::MAX).await;
        ended.unwrap();
        let again = first + second - cost;
        assert!(
            again <= frame as u64 + 13,
            "{after}: {again} bytes were sent again"
        );
        assert!(
            shelf
                .0
                .keys()
                .all(|digest| store.read(digest, u64::MAX).is_some())
        );
        let left = std::fs::read_dir(store.spool_dir()).unwrap().count();
        assert_eq!(left, 0, "{after}: nothing is left");
    }
}

#[tokio::test]
async fn a_link_that_breaks_after_every_part_still_gets_there() {
    let mut shelf = Shelf::default();
    let tree = shelf.tree(vec![("a".to_owned(), noise(6 * PART_BYTES))]);
    let (_dir, store) = store();
    let mut times = 0;
    loop {
        let (_, ended) = cut(&shelf, Root::Tree(tree), &store, PART_BYTES + 500).await;
        times += 1;
        match ended {
            Ok(()) => break,
            Err(error) => assert!(error.is_resumable() && times < 10, "{error}"),
        }
    }
    assert_eq!(times, 6);
}

#[tokio::test]
async fn what_a_liar_left_does_not_keep_an_honest_peer_from_going_on() {
    let part = PART_BYTES;
    let mut shelf = Shelf::default();
    let tree = shelf.tree(vec![("a".to_owned(), noise(3 * part + 500))]);
    let blob = Digest::of(&noise(3 * part + 500));
    let (_dir, store) = store();
    // The beginning is right and the outline too, but the announced length was another.
    cut(&shelf, Root::Tree(tree), &store, 2 * part + 600)
        .await
        .1
        .unwrap_err();
    let outline = store
        .spool_dir()
        .join(format!("part-{}.outline", blob.to_hex()));
    let mut bytes = std::fs::read(&outline).unwrap();
    bytes[..8].copy_from_slice(&(3 * part as u64 + 900).to_le_bytes());
    std::fs::write(&outline, bytes).unwrap();
    cut(&shelf, Root::Tree(tree), &store, usize::MAX)
        .await
        .1
        .unwrap();
    assert_eq!(store.read(&blob, u64::MAX).unwrap(), noise(3 * part + 500));
}

#[tokio::test]
async fn two_at_once_for_the_same_blob_both_get_it() {
    let mut shelf = Shelf::default();
    let tree = shelf.tree(vec![("a".to_owned(), noise(3 * PART_BYTES))]);
    let (_dir, store) = store();
    let bounds = Bounds {
        cap: 10 << 20,
        ..NO_BOUND
    };
    let ((first, _), (second, _)) = futures::join!(
        transfer(&shelf, Root::Tree(tree), &store, bounds, 1),
        transfer(&shelf, Root::Tree(tree), &store, bounds, 1),
    );
    first.unwrap();
    second.unwrap();
    assert_eq!(std::fs::read_dir(store.spool_dir()).unwrap().count(), 0);
}
