//! Contents of many shapes arrive whole, at either level, and cost what was announced.

use super::support::*;
use crate::transfer::{Root, compressed_size};
use sykli_core::blob::PART_BYTES;
use sykli_core::id::Digest;
use sykli_runtime::Source;

#[tokio::test]
async fn every_shape_arrives_at_its_announced_cost() {
    let part = PART_BYTES;
    let mut shelf = Shelf::default();
    let mut files = Vec::new();
    for len in [
        0,
        1,
        65_535,
        65_536,
        65_537,
        part - 1,
        part,
        part + 1,
        2 * part,
        5_000_000,
    ] {
        files.push((format!("text/{len}"), text(len)));
        files.push((format!("noise/{len}"), noise(len)));
    }
    let tree = shelf.tree(files);
    let root = shelf.task(noise(700_000), Some(text(90_000)), tree);
    for level in [0, 1, 9] {
        let (_dir, store) = store();
        let mut cost = 0;
        for bytes in shelf.0.values() {
            cost += compressed_size(&Source::bytes(bytes.clone()), level).unwrap();
        }
        let bounds = crate::transfer::Bounds {
            cap: cost,
            ..NO_BOUND
        };
        let (fetched, served) = transfer(&shelf, Root::Manifest(root), &store, bounds, level).await;
        assert_eq!(fetched.unwrap().bytes, cost, "level {level}");
        assert_eq!(served.unwrap().bytes, cost);
        for (digest, bytes) in &shelf.0 {
            assert!(
                store.read(digest, u64::MAX).unwrap() == *bytes,
                "{} bytes",
                bytes.len()
            );
        }
        assert!(store.has(&Digest::of(&[])));
        let (again, _) = transfer(&shelf, Root::Manifest(root), &store, NO_BOUND, level).await;
        assert_eq!(again.unwrap().bytes, 0, "everything is here");
    }
}

#[tokio::test]
async fn ten_thousand_small_files_arrive_once_each() {
    let mut shelf = Shelf::default();
    let files = (0..10_000).map(|n| (format!("f/{n}"), format!("content {}", n / 2).into_bytes()));
    let tree = shelf.tree(files.collect());
    let (_dir, store) = store();
    let (fetched, served) = transfer(&shelf, Root::Tree(tree), &store, NO_BOUND, 1).await;
    assert_eq!(fetched.unwrap().bytes, served.unwrap().bytes);
    for (digest, bytes) in &shelf.0 {
        assert_eq!(store.read(digest, u64::MAX).unwrap(), *bytes);
    }
}

#[tokio::test]
async fn a_tree_that_is_here_still_has_its_files_fetched() {
    let mut shelf = Shelf::default();
    let tree = shelf.tree(vec![
        ("a".to_owned(), text(10)),
        ("b".to_owned(), text(700_000)),
    ]);
    let root = shelf.task(text(5), None, tree);
    let (_dir, store) = store();
    for digest in [tree, root] {
        store.put_bytes(shelf.0[&digest].clone()).unwrap();
    }
    let (fetched, _) = transfer(&shelf, Root::Manifest(root), &store, NO_BOUND, 1).await;
    fetched.unwrap();
    assert!(shelf.0.keys().all(|digest| store.has(digest)));
}

#[tokio::test]
async fn a_component_that_is_an_input_tree_too_is_walked_as_one() {
    let mut shelf = Shelf::default();
    let tree = shelf.tree(vec![("a".to_owned(), text(10))]);
    let encoded = shelf.0[&tree].clone();
    let root = shelf.task(encoded, None, tree);
    let (_dir, store) = store();
    let (fetched, _) = transfer(&shelf, Root::Manifest(root), &store, NO_BOUND, 1).await;
    fetched.unwrap();
    assert!(shelf.0.keys().all(|digest| store.has(digest)));
}
