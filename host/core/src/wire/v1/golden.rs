//! The wire, byte for byte: one annotated hexdump for each kind of message and record and for each reason, in `golden/`.
//!
//! A dump that changes is a protocol that changes: what was sent yesterday must still be read today.
//! `SYKLI_BLESS=1 cargo test -p sykli-core golden` writes them, and the same frames as bytes where the fuzzer begins.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::path::{Path, PathBuf};

use super::samples::{messages, reasons, records};
use super::{annotate, decode, decode_record, encode, encode_record, reason};
use crate::consent::{Message, Record, ToExecutor, ToOwner};
use crate::dagcbor::tests::hexdump;
use crate::wire::WireError;

/// What a frame of the samples holds.
#[derive(Clone, Debug, PartialEq)]
enum Sample {
    Message(Message),
    Record(Record),
}

impl Sample {
    fn encode(&self) -> Result<Vec<u8>, WireError> {
        match self {
            Sample::Message(message) => encode(message),
            Sample::Record(record) => encode_record(record),
        }
    }

    /// What its own kind of reader makes of a frame.
    fn decode_like(&self, frame: &[u8]) -> Result<Sample, WireError> {
        match self {
            Sample::Message(_) => decode(frame).map(Sample::Message),
            Sample::Record(_) => decode_record(frame).map(Sample::Record),
        }
    }

    /// Its file's name: that of its kind, for a decline with its reason's. A kind without one does not compile.
    fn name(&self) -> String {
        let name = match self {
            Sample::Message(Message::ToOwner(message)) => match message {
                ToOwner::Idle { .. } => "idle",
                ToOwner::Accept { .. } => "accept",
                ToOwner::Decline { reason, .. } => {
                    return format!("decline-{}", dashed(&variant(reason)));
                }
                ToOwner::Pending { .. } => "pending",
                ToOwner::Started { .. } => "started",
                ToOwner::Progress { .. } => "progress",
                ToOwner::Output { .. } => "output",
                ToOwner::Completed { .. } => "completed",
                ToOwner::Outputs { .. } => "outputs",
                ToOwner::Lost { .. } => "lost",
            },
            Sample::Message(Message::ToExecutor(message)) => match message {
                ToExecutor::Offer(_) => "offer",
                ToExecutor::NoWork { .. } => "no-work",
                ToExecutor::Withdraw { .. } => "withdraw",
                ToExecutor::Cancel { .. } => "cancel",
                ToExecutor::Acked { .. } => "acked",
                ToExecutor::Settled { .. } => "settled",
                ToExecutor::Resume { .. } => "resume",
                ToExecutor::Bundle { .. } => "bundle",
            },
            Sample::Message(Message::Beacon(_)) => "beacon",
            Sample::Message(Message::Capabilities(_)) => "capabilities",
            Sample::Message(Message::Acquaint(_)) => "acquaint",
            Sample::Record(Record::Offered { .. }) => "record-offered",
            Sample::Record(Record::Committed { .. }) => "record-committed",
            Sample::Record(Record::Finished { .. }) => "record-finished",
            Sample::Record(Record::Reserved { .. }) => "record-reserved",
        };
        name.to_owned()
    }
}

fn variant(value: &impl Debug) -> String {
    let text = format!("{value:?}");
    text.split([' ', '(', '{']).next().unwrap().to_owned()
}

fn dashed(name: &str) -> String {
    let mut dashed = String::new();
    for (at, c) in name.char_indices() {
        if c.is_ascii_uppercase() && at > 0 {
            dashed.push('-');
        }
        dashed.push(c.to_ascii_lowercase());
    }
    dashed
}

fn samples() -> Vec<Sample> {
    let mut all: Vec<Sample> = messages().into_iter().map(Sample::Message).collect();
    all.extend(records().into_iter().map(Sample::Record));
    all
}

fn folder(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// That a file holds `expected`; or, asked for it, writes it.
#[allow(clippy::disallowed_methods)] // golden files are what this test is about: core itself reads none
fn golden_file(path: &Path, expected: &[u8]) {
    if std::env::var_os("SYKLI_BLESS").is_some() {
        std::fs::write(path, expected).unwrap();
    }
    let found = std::fs::read(path).unwrap_or_default();
    assert!(
        found == expected,
        "{} is not what is written today; SYKLI_BLESS=1 renews it, and that is a change of the protocol:\n{}",
        path.display(),
        String::from_utf8_lossy(expected)
    );
}

#[allow(clippy::disallowed_methods)] // as above
fn files(folder: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let name = |entry: std::io::Result<std::fs::DirEntry>| entry.unwrap().file_name();
    entries
        .map(|entry| name(entry).into_string().unwrap())
        .collect()
}

#[test]
fn golden_frames_are_written_and_read_as_they_always_were() {
    for sample in samples() {
        let name = sample.name();
        let frame = sample.encode().unwrap();
        let dump = annotate::dump(&name, &frame);
        golden_file(
            &folder("src/wire/v1/golden").join(format!("{name}.hex")),
            dump.as_bytes(),
        );
        let bytes = hexdump(&dump);
        assert_eq!(bytes, frame, "{name}");
        assert_eq!(sample.decode_like(&bytes), Ok(sample), "{name}");
    }
}

#[test]
fn golden_frames_are_where_the_fuzzer_begins() {
    for sample in samples() {
        let path = folder("../../tests/fuzz/corpus/frame").join(sample.name());
        golden_file(&path, &sample.encode().unwrap());
    }
}

#[test]
fn golden_files_are_of_one_sample_each() {
    let names: Vec<String> = samples().iter().map(Sample::name).collect();
    let dumps: BTreeSet<String> = names.iter().map(|name| format!("{name}.hex")).collect();
    assert_eq!(dumps.len(), names.len(), "two samples share a name");
    assert_eq!(files(&folder("src/wire/v1/golden")), dumps);
    // The fuzzer adds its own, which git ignores.
    assert!(
        files(&folder("../../tests/fuzz/corpus/frame")).is_superset(&names.into_iter().collect())
    );
}

#[test]
fn each_kind_and_each_reason_has_a_sample() {
    let frames: Vec<Vec<u8>> = samples().iter().map(|s| s.encode().unwrap()).collect();
    let kinds: BTreeSet<u64> = frames.iter().map(|frame| annotate::kind(frame)).collect();
    let empty_body = |kind: u8| [0x83, 1, 0x18, kind, 0xa0];
    for kind in 0x18..=0xff {
        let known = [
            decode(&empty_body(kind)).map(drop),
            decode_record(&empty_body(kind)).map(drop),
        ];
        let unknown = known
            .iter()
            .all(|read| matches!(read, Err(WireError::UnknownKind { .. })));
        assert_eq!(unknown, !kinds.contains(&kind.into()), "{kind:#x}");
    }
    let codes: BTreeSet<String> = reasons().iter().map(variant).collect();
    assert_eq!(codes.len() as u64, reason::LAST + 1);
}
