//! What is refused, what is passed over, and what holds of any bytes.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use minicbor::Encoder;
use proptest::prelude::*;
use proptest::sample::Index;

use super::arbitrary::{any_message, any_record};
use super::{
    MAX_GRANTS, MAX_IMPORTS, MAX_LABELS, MAX_MESSAGE_CHARS, MAX_NAME_BYTES, MAX_SKIPPED_DEPTH,
    Skipped, decode, decode_noting, decode_record, encode, encode_record, samples,
};
use crate::consent::{
    BlobRef, Capabilities, MAX_NAMED_BLOBS, MAX_RESUMED, Message, Offer, ToExecutor, ToOwner,
};
use crate::dagcbor::tests::hexdump;
use crate::id::{Digest, LeaseKey};
use crate::policy::Requirements;
use crate::wire::{MAX_FRAME_BYTES, WireError, check_frame};

/// What a frame given as hex is refused for.
fn refused(hex: &str) -> WireError {
    let read = decode(&hexdump(hex));
    read.expect_err(hex)
}

/// A frame of that kind with one field, or with the fields that `write` writes.
fn frame(kind: u64, fields: u64, write: impl FnOnce(&mut Encoder<&mut Vec<u8>>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut out = Encoder::new(&mut bytes);
    out.array(3).unwrap().u64(1).unwrap().u64(kind).unwrap();
    write(out.map(fields).unwrap());
    bytes
}

fn lease(out: &mut Encoder<&mut Vec<u8>>, run: &str) {
    out.array(3).unwrap().str(run).unwrap();
    out.u64(1).unwrap().u64(1).unwrap();
}

fn too_long(what: &'static str, max: usize, unit: &'static str) -> WireError {
    WireError::TooLong { what, max, unit }
}

fn too_many(what: &'static str, max: usize) -> WireError {
    WireError::TooMany { what, max }
}

fn a_lease() -> LeaseKey {
    samples::messages()
        .into_iter()
        .find_map(|message| match message {
            Message::ToOwner(ToOwner::Started { key }) => Some(key),
            _ => None,
        })
        .unwrap()
}

fn offer_with(change: impl FnOnce(&mut Requirements)) -> Message {
    let offer = samples::messages().into_iter().find_map(|m| match m {
        Message::ToExecutor(ToExecutor::Offer(offer)) => Some(offer),
        _ => None,
    });
    let offer: Offer = *offer.unwrap();
    let mut needs = (*offer.needs).clone();
    change(&mut needs);
    Message::ToExecutor(ToExecutor::Offer(Box::new(Offer {
        needs: Arc::new(needs),
        ..offer
    })))
}

fn capabilities_with(change: impl FnOnce(&mut Capabilities)) -> Message {
    let found = samples::messages().into_iter().find_map(|m| match m {
        Message::Capabilities(node) => Some(node),
        _ => None,
    });
    let mut node = found.unwrap();
    change(&mut node);
    Message::Capabilities(node)
}

fn progress(message: &str) -> Message {
    Message::ToOwner(ToOwner::Progress {
        key: a_lease(),
        done: 1,
        total: 2,
        message: message.into(),
    })
}

fn words(n: usize) -> Vec<Arc<str>> {
    (0..n).map(|n| format!("{n:03}").into()).collect()
}

#[test]
fn what_a_newer_node_may_say_is_no_offence() {
    let version = WireError::UnknownVersion { version: 2 };
    assert_eq!(refused("82 02 f7"), version);
    assert_eq!(refused("84 02 10 a0 00"), version);
    assert_eq!(
        refused("83 01 18 7f a1 01 63 6e6577"),
        WireError::UnknownKind { kind: 0x7f }
    );
    let code = |what, code| WireError::UnknownCode { what, code };
    let reason = "83 01 12 a2 01 83 61 72 01 01 02 82 18 1a 05";
    assert_eq!(refused(reason), code("a reason", 26));
    let why = "83 01 17 a2 01 83 61 72 01 01 02 06";
    assert_eq!(refused(why), code("a loss", 6));
    for hex in ["82 02 f7", "83 01 18 7f a0", reason, why] {
        assert!(!refused(hex).is_offence(), "{hex}");
    }
}

#[test]
fn a_message_and_a_record_are_never_taken_for_each_other() {
    for message in samples::messages() {
        let read = decode_record(&encode(&message).unwrap());
        assert!(matches!(read, Err(WireError::UnknownKind { .. })));
    }
    for record in samples::records() {
        let read = decode(&encode_record(&record).unwrap());
        assert!(matches!(read, Err(WireError::UnknownKind { .. })));
    }
}

fn expected(at: usize, expected: &'static str) -> WireError {
    WireError::Expected { at, expected }
}

/// That each is refused for its own reason, and an offence.
fn offences(cases: &[(&str, WireError)]) {
    for (hex, error) in cases {
        assert_eq!(refused(hex), *error, "{hex}");
        assert!(error.is_offence(), "{hex}");
    }
}

#[test]
fn numbers_and_lengths_have_one_form() {
    let three = "a frame of three elements";
    offences(&[
        ("", WireError::Truncated { at: 0 }),
        ("80", expected(0, three)),
        ("82 01 10", expected(0, three)),
        ("83 01 10", WireError::Truncated { at: 0 }),
        ("a1 01 10", expected(0, "an array")),
        ("9f 01 10 a0 ff", WireError::Indefinite { at: 0 }),
        ("83 01 10 bf 01 02 ff", WireError::Indefinite { at: 3 }),
        ("9b ffffffffffffffff 01", WireError::Truncated { at: 0 }),
        ("98 03 01 10 a1 01 02", WireError::NotShortest { at: 0 }),
        ("83 18 01 10 a1 01 02", WireError::NotShortest { at: 1 }),
        ("83 01 10 b8 01 01 02", WireError::NotShortest { at: 3 }),
        ("83 01 10 a1 01 18 02", WireError::NotShortest { at: 5 }),
        ("83 01 10 a1 01 20", expected(5, "an unsigned integer")),
        ("83 01 10 a1 01 02 00", WireError::Trailing { at: 6 }),
        ("83 01 18 7f a0 00", WireError::Trailing { at: 5 }),
        ("83 01 18 7f 00", expected(4, "a map")),
        ("83 01 10 ba ffffffff", WireError::Truncated { at: 3 }),
    ]);
    let long = vec![0; MAX_FRAME_BYTES + 1];
    assert_eq!(decode(&long), Err(WireError::TooLarge));
}

#[test]
fn fields_come_once_and_in_order() {
    let lacking = WireError::MissingKey { of: "Idle", key: 1 };
    offences(&[
        (
            "83 01 10 a1 01 1b 0000000100000000",
            WireError::OutOfRange { at: 5, bits: 32 },
        ),
        ("83 01 10 a2 01 02 01 03", WireError::NotAscending { at: 6 }),
        ("83 01 10 a2 02 02 01 03", lacking.clone()),
        ("83 01 10 a2 01 02 00 03", WireError::NotAscending { at: 6 }),
        ("83 01 10 a2 1b ffffffffffffffff 00 01 02", lacking.clone()),
        (
            "83 01 10 a3 01 02 1b ffffffffffffffff 00 02 00",
            WireError::NotAscending { at: 16 },
        ),
        ("83 01 10 a0", lacking.clone()),
    ]);
}

#[test]
fn values_are_of_their_type() {
    let reason = "a reason with its arguments";
    offences(&[
        // a run that is no word, no UTF-8, and of two pieces
        (
            "83 01 14 a1 01 83 61 2f 01 01",
            WireError::NotARunId { at: 6 },
        ),
        (
            "83 01 14 a1 01 83 61 ff 01 01",
            WireError::NotUtf8 { at: 6 },
        ),
        (
            "83 01 14 a1 01 83 7f 61 72 ff 01 01",
            WireError::Indefinite { at: 6 },
        ),
        (
            "83 01 14 a1 01 83 78 01 72 01 01",
            WireError::NotShortest { at: 6 },
        ),
        (
            "83 01 14 a1 01 83 7b ffffffffffffffff 01 01",
            WireError::Truncated { at: 6 },
        ),
        (
            "83 01 14 a1 01 82 61 72 01",
            expected(5, "a lease: run, task and attempt"),
        ),
        // a reason with one argument too few, and one too many
        (
            "83 01 12 a2 01 83 61 72 01 01 02 81 00",
            expected(11, reason),
        ),
        (
            "83 01 12 a2 01 83 61 72 01 01 02 82 06 00",
            expected(11, reason),
        ),
        ("83 01 12 a2 01 83 61 72 01 01 02 80", expected(11, reason)),
    ]);
}

#[test]
fn a_set_has_one_order() {
    let node = encode(&capabilities_with(|node| {
        node.labels = ["a", "b"].map(Arc::from).into();
    }))
    .unwrap();
    let at = node.windows(4).position(|w| w == b"\x61a\x61b").unwrap();
    for other in [b"\x61b\x61a", b"\x61b\x61b"] {
        let mut node = node.clone();
        node[at..at + 4].copy_from_slice(other);
        let error = WireError::NotAscending { at: at + 2 };
        assert_eq!(decode(&node), Err(error));
    }
}

#[test]
fn what_is_within_its_cap_is_written_and_what_is_over_it_is_not() {
    let long = |n: usize| -> Arc<str> { "x".repeat(n).into() };
    let over = MAX_NAME_BYTES + 1;
    let name = |what| Err(too_long(what, MAX_NAME_BYTES, "bytes"));
    let blob = BlobRef {
        digest: Digest([0; 32]),
        bytes: 1,
    };
    assert!(encode(&offer_with(|n| n.label = long(MAX_NAME_BYTES))).is_ok());
    assert!(encode(&offer_with(|n| n.labels = words(MAX_LABELS))).is_ok());
    assert!(encode(&offer_with(|n| n.imports = words(MAX_IMPORTS))).is_ok());
    assert!(encode(&offer_with(|n| n.grants = words(MAX_GRANTS))).is_ok());
    assert!(encode(&offer_with(|n| n.blobs = vec![blob; MAX_NAMED_BLOBS])).is_ok());
    let cases = [
        (offer_with(|n| n.label = long(over)), name("a name")),
        (offer_with(|n| n.labels = vec![long(over)]), name("a label")),
        (
            offer_with(|n| n.imports = vec![long(over)]),
            name("an import"),
        ),
        (offer_with(|n| n.grants = vec![long(over)]), name("a grant")),
        (
            offer_with(|n| n.engine = Some(long(over))),
            name("an engine class"),
        ),
        (
            offer_with(|n| n.labels = words(MAX_LABELS + 1)),
            Err(too_many("labels", MAX_LABELS)),
        ),
        (
            offer_with(|n| n.imports = words(MAX_IMPORTS + 1)),
            Err(too_many("imports", MAX_IMPORTS)),
        ),
        (
            offer_with(|n| n.grants = words(MAX_GRANTS + 1)),
            Err(too_many("grants", MAX_GRANTS)),
        ),
        (
            offer_with(|n| n.blobs = vec![blob; MAX_NAMED_BLOBS + 1]),
            Err(too_many("blobs", MAX_NAMED_BLOBS)),
        ),
        (
            offer_with(|n| n.imports = vec![long(MAX_NAME_BYTES); MAX_IMPORTS]),
            Err(WireError::TooLarge),
        ),
        (capabilities_with(|n| n.name = long(over)), name("a name")),
        (
            capabilities_with(|n| n.labels = words(MAX_LABELS + 1).into_iter().collect()),
            Err(too_many("labels", MAX_LABELS)),
        ),
    ];
    for (message, error) in cases {
        assert_eq!(encode(&message), error);
    }
    let resume = |n| {
        Message::ToExecutor(ToExecutor::Resume {
            keys: vec![a_lease(); n],
        })
    };
    assert!(encode(&resume(MAX_RESUMED)).is_ok());
    let leases = Err(too_many("leases", MAX_RESUMED));
    assert_eq!(encode(&resume(MAX_RESUMED + 1)), leases);
}

#[test]
fn a_message_for_people_counts_characters() {
    let most = "😀".repeat(MAX_MESSAGE_CHARS);
    let frame = encode(&progress(&most)).unwrap();
    assert_eq!(decode(&frame), Ok(progress(&most)));
    let error = too_long("a message", MAX_MESSAGE_CHARS, "characters");
    for over in [format!("{most}x"), "x".repeat(5000)] {
        assert_eq!(encode(&progress(&over)), Err(error.clone()));
        let sent = frame_of_progress(&over);
        assert_eq!(decode(&sent), Err(error.clone()));
    }
}

fn frame_of_progress(message: &str) -> Vec<u8> {
    frame(0x15, 4, |out| {
        lease(out.u64(1).unwrap(), "r");
        out.u64(2).unwrap().u64(1).unwrap();
        out.u64(3).unwrap().u64(1).unwrap();
        out.u64(4).unwrap().str(message).unwrap();
    })
}

#[test]
fn what_is_over_its_cap_is_not_read_either() {
    let run = frame(0x14, 1, |out| lease(out.u64(1).unwrap(), &"r".repeat(65)));
    assert_eq!(decode(&run), Err(too_long("a run's id", 64, "bytes")));
    let have = frame(0x11, 2, |out| {
        lease(out.u64(1).unwrap(), "r");
        out.u64(2)
            .unwrap()
            .bytes(&[0; MAX_NAMED_BLOBS + 1])
            .unwrap();
    });
    let error = too_many("indices of blobs", MAX_NAMED_BLOBS);
    assert_eq!(decode(&have), Err(error));
    let resumed = frame(0x26, 1, |out| {
        out.u64(1).unwrap().array(MAX_RESUMED as u64 + 1).unwrap();
        (0..=MAX_RESUMED).for_each(|_| lease(out, "r"));
    });
    assert_eq!(decode(&resumed), Err(too_many("leases", MAX_RESUMED)));
    let label = frame(0x12, 2, |out| {
        lease(out.u64(1).unwrap(), "r");
        out.u64(2).unwrap().array(2).unwrap().u64(0).unwrap();
        out.str(&"x".repeat(MAX_NAME_BYTES + 1)).unwrap();
    });
    assert_eq!(
        decode(&label),
        Err(too_long("a label", MAX_NAME_BYTES, "bytes"))
    );
}

/// `Idle` with one more field, whose value is `value`.
fn idle_and(value: &str) -> Result<(Message, Skipped), WireError> {
    let frame = hexdump(&format!("83 01 10 a2 01 02 18 63 {value}"));
    check_frame(&frame);
    decode_noting(&frame)
}

#[test]
fn fields_that_are_not_known_are_passed_over() {
    let idle = Message::ToOwner(ToOwner::Idle { free: 2 });
    let nested = format!("{} 00", "81".repeat(MAX_SKIPPED_DEPTH));
    for value in [
        "00",
        "1b ffffffffffffffff",
        "20",
        "38 ff",
        "3b ffffffffffffffff",
        "43 010203",
        "63 6e6577",
        "f4",
        "f6",
        "80",
        "a0",
        "83 01 82 02 80 a1 05 a0",
        "a2 01 82 01 02 05 61 78",
        &nested,
    ] {
        assert_eq!(
            idle_and(value),
            Ok((idle.clone(), Skipped::Fields)),
            "{value}"
        );
    }
    // before, between and behind those that are
    let beacon = format!(
        "83 01 18 30 a9 00 f5 01 5820 {} 02 05 03 00 04 01 05 08 06 f4 07 00 08 81 00",
        "d4".repeat(32)
    );
    let (read, skipped) = decode_noting(&hexdump(&beacon)).unwrap();
    assert!(matches!(read, Message::Beacon(beacon) if beacon.slots == 8));
    assert_eq!(skipped, Skipped::Fields);
    check_frame(&hexdump(&beacon));
}

#[test]
fn what_is_passed_over_is_canonical_and_shallow() {
    let any = "a number, bool, null, text, byte string, array or map";
    let too_deep = format!("{} 00", "81".repeat(MAX_SKIPPED_DEPTH + 1));
    let cases = [
        (
            too_deep.as_str(),
            WireError::TooDeep {
                at: 8 + MAX_SKIPPED_DEPTH,
            },
        ),
        ("18 05", WireError::NotShortest { at: 8 }),
        ("38 05", WireError::NotShortest { at: 8 }),
        ("58 01 00", WireError::NotShortest { at: 8 }),
        ("9b 0000000000000000", WireError::NotShortest { at: 8 }),
        ("9b ffffffffffffffff", WireError::Truncated { at: 8 }),
        ("bb 7fffffffffffffff", WireError::Truncated { at: 8 }),
        ("5b ffffffffffffffff", WireError::Truncated { at: 8 }),
        ("38", WireError::Truncated { at: 8 }),
        ("", WireError::Truncated { at: 8 }),
        ("9f ff", WireError::Indefinite { at: 8 }),
        ("61 ff", WireError::NotUtf8 { at: 8 }),
        ("a2 02 00 01 00", WireError::NotAscending { at: 11 }),
        (
            "a1 61 78 00",
            WireError::Expected {
                at: 9,
                expected: "an unsigned integer",
            },
        ),
        (
            "c1 00",
            WireError::Expected {
                at: 8,
                expected: any,
            },
        ),
        (
            "f9 3c00",
            WireError::Expected {
                at: 8,
                expected: any,
            },
        ),
        (
            "f7",
            WireError::Expected {
                at: 8,
                expected: any,
            },
        ),
        (
            "1c",
            WireError::Expected {
                at: 8,
                expected: any,
            },
        ),
        (
            "ff",
            WireError::Expected {
                at: 8,
                expected: any,
            },
        ),
    ];
    for (value, error) in cases {
        assert_eq!(idle_and(value), Err(error), "{value}");
    }
}

/// With one byte of a frame changed, either its own encoding or refused. One thing else can come of it: another kind
/// that knows fewer of the same fields, so the kind's own bytes are left out of this.
fn check_flip(frame: &[u8], at: usize, byte: u8) {
    let mut flipped = frame.to_vec();
    flipped[at] = byte;
    check_frame(&flipped);
    if (2..4).contains(&at) {
        return;
    }
    // A field that older nodes do without is not found under another key: then it says something else all the same.
    match decode_noting(&flipped) {
        Ok((message, Skipped::Nothing)) => assert_eq!(encode(&message).as_ref(), Ok(&flipped)),
        Ok((message, Skipped::Fields)) => assert_ne!(decode(frame).as_ref(), Ok(&message)),
        Err(_) => {}
    }
    match super::record::decode_noting(&flipped) {
        Ok((record, Skipped::Nothing)) => {
            assert_eq!(encode_record(&record).as_ref(), Ok(&flipped));
        }
        Ok((record, Skipped::Fields)) => assert_ne!(decode_record(frame).as_ref(), Ok(&record)),
        Err(_) => {}
    }
}

/// The beginning of a frame is nothing that anybody sends.
fn check_part(frame: &[u8], len: usize) {
    let part = &frame[..len];
    for error in [decode(part).map(drop), decode_record(part).map(drop)] {
        let error = error.unwrap_err();
        assert!(error.is_offence(), "{len} bytes: {error}");
    }
}

#[test]
fn each_part_of_the_samples_is_an_offence() {
    for message in samples::messages() {
        let frame = encode(&message).unwrap();
        (0..frame.len()).for_each(|len| check_part(&frame, len));
    }
    for record in samples::records() {
        let frame = encode_record(&record).unwrap();
        (0..frame.len()).for_each(|len| check_part(&frame, len));
    }
}

#[test]
fn each_change_of_each_byte_of_the_samples_is_seen() {
    let messages = samples::messages();
    let records = samples::records();
    let frames = messages.iter().map(encode);
    for frame in frames.chain(records.iter().map(encode_record)) {
        let frame = frame.unwrap();
        for at in 0..frame.len() {
            (0..=255).for_each(|byte| check_flip(&frame, at, byte));
        }
    }
}

proptest! {
    #[test]
    fn messages_come_back(message in any_message()) {
        let frame = encode(&message).unwrap();
        prop_assert!(frame.len() <= MAX_FRAME_BYTES);
        prop_assert_eq!(decode_noting(&frame), Ok((message, Skipped::Nothing)));
        check_frame(&frame);
    }

    #[test]
    fn records_come_back(record in any_record()) {
        let frame = encode_record(&record).unwrap();
        prop_assert_eq!(decode_record(&frame), Ok(record));
        check_frame(&frame);
    }

    #[test]
    fn a_part_of_a_frame_is_an_offence(
        message in any_message(),
        lens in prop::collection::vec(any::<Index>(), 32),
    ) {
        let frame = encode(&message).unwrap();
        for len in lens {
            check_part(&frame, len.index(frame.len()));
        }
    }

    #[test]
    fn a_changed_byte_is_seen(message in any_message(), at in any::<Index>(), byte in any::<u8>()) {
        let frame = encode(&message).unwrap();
        check_flip(&frame, at.index(frame.len()), byte);
    }

    #[test]
    fn changed_frames_are_read_as_what_they_say_or_refused(
        message in any_message(),
        edits in prop::collection::vec((any::<Index>(), any::<u8>(), 0..3u8), 1..5),
    ) {
        let mut frame = encode(&message).unwrap();
        for (at, byte, how) in edits {
            let at = at.index(frame.len());
            match how {
                0 => frame[at] = byte,
                1 => frame.insert(at, byte),
                _ if frame.len() > 1 => drop(frame.remove(at)),
                _ => {}
            }
        }
        check_frame(&frame);
    }

    #[test]
    fn any_bytes_are_read_or_refused(kind in 0x10..0x44u8, bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        check_frame(&bytes);
        let head: &[u8] = if kind < 0x18 { &[0x83, 1, kind] } else { &[0x83, 1, 0x18, kind] };
        check_frame(&[head, &bytes].concat());
    }
}
