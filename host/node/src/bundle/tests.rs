//! Bundle files: the same bytes for the same task, back to the same blobs, and nothing else is one.
#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::path::Path;

use super::read::{Sink, read};
use super::write::write;
use super::*;
use crate::transfer::tests::{Shelf, noise, store, text};
use sykli_runtime::Source;

fn pack(shelf: &Shelf, task: Digest, level: i32) -> Vec<u8> {
    let temp = tempfile::NamedTempFile::new().unwrap();
    let find = |digest: &Digest| shelf.0.get(digest).cloned().map(Source::bytes);
    let bundle = write(temp.as_file(), temp.path(), task, level, &find).unwrap();
    let bytes = std::fs::read(temp.path()).unwrap();
    assert_eq!(bundle.file_bytes, bytes.len() as u64);
    bytes
}

fn verify(bytes: &[u8]) -> Result<Bundle, BundleError> {
    read(bytes, Path::new("x.bundle"), u64::MAX, &mut Sink::Nowhere)
}

fn code(bytes: &[u8]) -> &'static str {
    verify(bytes).unwrap_err().code()
}

/// A task with some of everything, and its digest.
fn task(component: usize) -> (Shelf, Digest) {
    let mut shelf = Shelf::default();
    let tree = shelf.tree(vec![
        ("a".to_owned(), text(50)),
        ("b/c".to_owned(), noise(60)),
        ("b/d".to_owned(), text(50)),
        ("empty".to_owned(), Vec::new()),
    ]);
    let task = shelf.task(noise(component), Some(text(90)), tree);
    (shelf, task)
}

/// The file with another checksum: one that fits whatever was done to it.
fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
    let end = bytes.len() - 32;
    let sum = Digest::of(&bytes[..end]);
    bytes[end..].copy_from_slice(sum.as_bytes());
    bytes
}

#[test]
fn a_task_comes_back_as_it_was() {
    let (shelf, task) = task(700_000);
    for level in [1, 9] {
        let bytes = pack(&shelf, task, level);
        assert_eq!(bytes, pack(&shelf, task, level), "the same bytes again");
        let (_dir, store) = store();
        let bundle = read(
            &bytes[..],
            Path::new("x"),
            u64::MAX,
            &mut Sink::store(&store),
        )
        .unwrap();
        assert_eq!((bundle.task, bundle.manifest.digest()), (task, task));
        assert_eq!(
            bundle.blobs.len(),
            6,
            "the empty file and the second copy are not in it"
        );
        for (digest, content) in &shelf.0 {
            assert_eq!(store.read(digest, u64::MAX).unwrap(), *content);
        }
        let roles: Vec<Role> = bundle.blobs.iter().map(|blob| blob.role).collect();
        assert_eq!(
            roles,
            [
                Role::Manifest,
                Role::Tree,
                Role::Component,
                Role::Stdin,
                Role::File,
                Role::File
            ]
        );
        assert_eq!(verify(&bytes).unwrap().blobs, bundle.blobs);
    }
}

#[test]
fn every_flipped_bit_and_every_shorter_file_is_refused() {
    let (shelf, task) = task(200);
    let mut bytes = pack(&shelf, task, 3);
    for at in 0..bytes.len() {
        for bit in [0, 3, 7] {
            bytes[at] ^= 1 << bit;
            assert!(verify(&bytes).is_err(), "byte {at}, bit {bit}");
            bytes[at] ^= 1 << bit;
        }
        assert!(verify(&bytes[..at]).is_err(), "the first {at} bytes");
    }
    verify(&bytes).unwrap();
    bytes.push(0);
    assert_eq!(code(&bytes), "bundle::trailing");
}

/// Where each blob begins, and where the end does.
fn places(bytes: &[u8]) -> Vec<usize> {
    let mut at = 8 + 4 + 32;
    let mut places = vec![at];
    while bytes[at] == BLOB {
        let packed = u64::from_le_bytes(bytes[at + 41..at + 49].try_into().unwrap());
        at += 49 + usize::try_from(packed).unwrap();
        places.push(at);
    }
    places
}

#[test]
fn blobs_that_are_missing_twice_or_not_reached_are_refused() {
    let (shelf, root) = task(200);
    let bytes = pack(&shelf, root, 1);
    let places = places(&bytes);
    let [.., before_last, last, end] = places[..] else {
        panic!("{places:?}");
    };
    let blob = &bytes[last..end];
    let without = [&bytes[..last], &bytes[end..]].concat();
    assert_eq!(code(&sealed(without)), "bundle::missing");
    let twice = [&bytes[..end], blob, &bytes[end..]].concat();
    assert_eq!(code(&sealed(twice)), "bundle::twice");
    let swapped = [
        &bytes[..before_last],
        blob,
        &bytes[before_last..last],
        &bytes[end..],
    ]
    .concat();
    assert_eq!(code(&sealed(swapped)), "bundle::unreached");
    let (other, task) = task(300);
    let foreign = pack(&other, task, 1);
    let first = &foreign[places[0]..places[1]];
    let more = [&bytes[..end], first, &bytes[end..]].concat();
    assert_eq!(code(&sealed(more)), "bundle::unreached");
    assert_eq!(
        code(&[&bytes[..places[0]], &[7]].concat()),
        "bundle::malformed"
    );
}

#[test]
fn announced_sizes_are_kept_to() {
    let mut shelf = Shelf::default();
    let tree = shelf.tree(vec![("a".to_owned(), text(5000))]);
    let task = shelf.task(noise(10), None, tree);
    let bytes = pack(&shelf, task, 1);
    let last = places(&bytes).into_iter().rev().nth(1).unwrap();
    let with = |at: usize, value: u64| {
        let mut bytes = bytes.clone();
        bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
        sealed(bytes)
    };
    assert_eq!(
        code(&with(last + 33, 4999)),
        "bundle::size",
        "the tree says 5000"
    );
    assert_eq!(
        code(&with(places(&bytes)[0] + 33, 17 << 20)),
        "bundle::size",
        "no manifest is so long"
    );
    let packed = u64::from_le_bytes(bytes[last + 41..last + 49].try_into().unwrap());
    assert_eq!(code(&with(last + 41, packed - 1)), "bundle::part");
    assert_eq!(code(&with(last + 41, packed + 1)), "bundle::part");
    let small = read(&bytes[..], Path::new("x"), 5000, &mut Sink::Nowhere);
    assert_eq!(small.unwrap_err().code(), "bundle::too-large");
}

#[test]
fn a_bomb_in_the_place_of_a_part_is_refused() {
    let mut shelf = Shelf::default();
    let tree = shelf.tree(vec![("a".to_owned(), text(200_000))]);
    let task = shelf.task(noise(10), None, tree);
    let bytes = pack(&shelf, task, 1);
    let places = places(&bytes);
    let (last, end) = (places[places.len() - 2], places[places.len() - 1]);
    let bomb = zstd::bulk::compress(&vec![0; 100 << 20], 19).unwrap();
    let mut blob = bytes[last..last + 41].to_vec();
    blob.extend_from_slice(&(5 + bomb.len() as u64).to_le_bytes());
    blob.push(1);
    blob.extend_from_slice(&(bomb.len() as u32).to_le_bytes());
    blob.extend_from_slice(&bomb);
    let file = [&bytes[..last], &blob, &bytes[end..]].concat();
    assert_eq!(code(&sealed(file)), "bundle::part");
}

#[test]
fn other_files_are_told_apart() {
    assert_eq!(code(b""), "bundle::not-a-bundle");
    assert_eq!(code(b"PK\x03\x04 is a zip file"), "bundle::not-a-bundle");
    let newer = [&MAGIC[..], &2u32.to_le_bytes()].concat();
    assert_eq!(code(&newer), "bundle::version");
}

#[test]
fn what_cannot_be_had_cannot_be_packed() {
    let (mut shelf, task) = task(200);
    let component = Digest::of(&noise(200));
    for broken in [None, Some(noise(201))] {
        match broken {
            Some(bytes) => shelf.0.insert(component, bytes),
            None => shelf.0.remove(&component),
        };
        let temp = tempfile::NamedTempFile::new().unwrap();
        let find = |digest: &Digest| shelf.0.get(digest).cloned().map(Source::bytes);
        let error = write(temp.as_file(), temp.path(), task, 1, &find).unwrap_err();
        assert_eq!(error.code(), "bundle::source");
    }
}
