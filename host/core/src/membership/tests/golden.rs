//! The formats, byte for byte: a hexdump of each, indented by nesting, in `golden/`. A dump that changes is a format that
//! changes. `SYKLI_BLESS=1` writes them, and the same bytes where the fuzzer begins.
#![allow(clippy::disallowed_methods)] // golden files are what these tests are about: core itself reads none

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use minicbor::Decoder;
use minicbor::data::Type;

use super::*;
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

fn path(of: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(of)
}

fn golden(path: &Path, expected: &[u8]) {
    if std::env::var_os("SYKLI_BLESS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, expected).unwrap();
    }
    let found = std::fs::read(path).unwrap_or_default();
    assert!(
        found == expected,
        "{} is not what is written today; SYKLI_BLESS=1 renews it, and that is a change of the format:\n{}",
        path.display(),
        String::from_utf8_lossy(expected)
    );
}

/// One value a line, its bytes and what they are.
fn dump(bytes: &[u8]) -> String {
    let mut decoder = Decoder::new(bytes);
    let mut text = String::new();
    let mut open: Vec<u64> = Vec::new();
    while decoder.position() < bytes.len() {
        while open.last() == Some(&0) {
            open.pop();
        }
        let depth = open.len();
        if let Some(left) = open.last_mut() {
            *left -= 1;
        }
        let from = decoder.position();
        let comment = match decoder.datatype().unwrap() {
            Type::Array => {
                let len = decoder.array().unwrap().unwrap();
                open.push(len);
                format!("{len} elements")
            }
            Type::Bytes => format!("{} bytes", decoder.bytes().unwrap().len()),
            Type::Null => {
                decoder.null().unwrap();
                "null".to_owned()
            }
            _ => decoder.u64().unwrap().to_string(),
        };
        for (n, row) in bytes[from..decoder.position()].chunks(16).enumerate() {
            let hex: String = row.iter().map(|byte| format!("{byte:02x}")).collect();
            let code = format!("{}{hex}", "  ".repeat(depth));
            let comment = if n == 0 { &comment } else { "…" };
            writeln!(text, "{code:<44} # {comment}").unwrap();
        }
    }
    text
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
