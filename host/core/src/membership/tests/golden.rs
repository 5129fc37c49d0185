//! The formats, byte for byte: a hexdump of each, indented by nesting, in `golden/`. A dump that changes is a format that
//! changes. `SYKLI_BLESS=1` writes them, and the same bytes where the fuzzer begins.
#![allow(clippy::disallowed_methods)] // golden files are what these tests are about: core itself reads none

use super::*;
use crate::dagcbor::tests::golden::{dump, golden, path};
use crate::dagcbor::tests::hexdump;

/// Everything that has a form in bytes.
fn samples() -> Vec<(&'static str, Vec<u8>)> {
    let mut all: Vec<_> = frames()
        .into_iter()
        .map(|(name, frame)| (name, encode(&frame).unwrap()))
        .collect();
    all.push(("chain", issued(certificate(MEMBER)).encode()));
    all.push((
        "revocations",
        sign(MESH, revocations(3, &[MEMBER, OTHER])).encode(),
    ));
    all
}

#[test]
fn formats_are_what_they_always_were() {
    for (name, bytes) in samples() {
        let dump = dump(&bytes);
        assert_eq!(hexdump(&dump), bytes, "{name}");
        let file = path("src/membership/golden").join(format!("{name}.hex"));
        golden(&file, dump.as_bytes());
    }
    let text = format!("{}\n", ticket());
    golden(
        &path("src/membership/golden").join("ticket.txt"),
        text.as_bytes(),
    );
}

#[test]
fn golden_files_are_of_one_sample_each_and_where_the_fuzzer_begins() {
    for (name, bytes) in samples() {
        golden(
            &path("../../tests/fuzz/corpus/membership").join(name),
            &bytes,
        );
    }
    golden(
        &path("../../tests/fuzz/corpus/membership/ticket"),
        ticket().to_string().as_bytes(),
    );
    let files = std::fs::read_dir(path("src/membership/golden")).unwrap();
    assert_eq!(files.count(), samples().len() + 1);
}

#[test]
fn the_golden_files_are_read_as_what_they_are() {
    for (name, frame) in frames() {
        let file = path("src/membership/golden").join(format!("{name}.hex"));
        let bytes = hexdump(&std::fs::read_to_string(file).unwrap());
        assert_eq!(decode(&bytes), Ok(frame), "{name}");
    }
}

#[test]
fn what_is_signed_begins_like_no_other_protocols_bytes() {
    let input = signing_input(b"sykli/certificate/1", b"xy");
    let expected = b"sykli-signed\0\0\0\0\0\0\0\0\x13sykli/certificate/1xy";
    assert_eq!(input, expected);
    assert_ne!(signing_input(b"a", b"bc"), signing_input(b"ab", b"c"));
}
