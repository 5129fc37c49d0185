//! The reader takes the one canonical form and nothing else; an independent implementation of DAG-CBOR agrees.
#![allow(clippy::unwrap_used)]

pub(crate) mod golden;

use super::{CodecError, Reader, Writer};

/// The bytes of an annotated hexdump: hex digits up to `#`, line by line.
pub(crate) fn hexdump(text: &str) -> Vec<u8> {
    let code = text.lines().filter_map(|line| line.split('#').next());
    let digits: String = code.flat_map(|code| code.split_whitespace()).collect();
    (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap())
        .collect()
}

fn written(write: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut Writer::new(&mut out));
    out
}

const EDGES: [u64; 11] = [
    0,
    23,
    24,
    0xff,
    0x100,
    0xffff,
    0x1_0000,
    0xffff_ffff,
    0x1_0000_0000,
    u64::MAX - 1,
    u64::MAX,
];

#[test]
fn integers_take_their_shortest_form_and_come_back() {
    for n in EDGES {
        let bytes = written(|writer| writer.uint(n));
        assert_eq!(bytes, serde_ipld_dagcbor::to_vec(&n).unwrap(), "{n}");
        assert_eq!(Reader::new(&bytes).uint(), Ok(n));
    }
}

#[test]
fn longer_forms_of_a_number_are_refused() {
    let longer = [
        "18 17",
        "19 00ff",
        "1a 0000ffff",
        "1b 00000000ffffffff",
        "18 00",
        "1b 0000000000000000",
    ];
    for text in longer {
        let refused = Reader::new(&hexdump(text)).uint();
        assert!(
            matches!(refused, Err(CodecError::NotCanonical { at: 0, .. })),
            "{text}: {refused:?}"
        );
    }
}

#[test]
fn indefinite_lengths_tags_floats_and_negative_numbers_are_refused() {
    for text in [
        "5f 41 61 ff",
        "7f 61 61 ff",
        "9f ff",
        "bf ff",
        "c1 00",
        "fb 3ff0000000000000",
        "20",
        "f7",
        "1c",
    ] {
        let bytes = hexdump(text);
        assert!(Reader::new(&bytes).uint().is_err(), "{text}");
        assert!(Reader::new(&bytes).bytes().is_err(), "{text}");
        assert!(Reader::new(&bytes).text().is_err(), "{text}");
        assert!(Reader::new(&bytes).array().is_err(), "{text}");
        assert!(Reader::new(&bytes).bool().is_err(), "{text}");
        assert!(
            Reader::new(&bytes)
                .sorted_map(|reader, _| reader.uint())
                .is_err(),
            "{text}"
        );
    }
}

#[test]
fn map_keys_are_sorted_by_length_then_bytes() {
    let entries = [("b", 1), ("aa", 2), ("", 3), ("a", 4), ("é", 5), ("z", 6)];
    let bytes =
        written(|writer| writer.sorted_map(entries.into_iter(), |writer, n| writer.uint(n)));
    let oracle: std::collections::BTreeMap<&str, u64> = entries.into_iter().collect();
    assert_eq!(bytes, serde_ipld_dagcbor::to_vec(&oracle).unwrap());
    let back = Reader::new(&bytes)
        .sorted_map(|reader, _| reader.uint())
        .unwrap();
    assert_eq!(
        back,
        [("", 3), ("a", 4), ("b", 1), ("z", 6), ("aa", 2), ("é", 5)]
    );
}

#[test]
fn unsorted_and_repeated_keys_are_refused() {
    for text in [
        "a2 61 62 01 61 61 02",
        "a2 61 61 01 61 61 02",
        "a2 62 6161 01 61 62 02",
    ] {
        let bytes = hexdump(text);
        let refused = Reader::new(&bytes).sorted_map(|reader, _| reader.uint());
        assert!(
            matches!(refused, Err(CodecError::NotCanonical { .. })),
            "{text}"
        );
    }
}

#[test]
fn an_announced_length_beyond_the_end_is_truncation_not_an_allocation() {
    for text in [
        "9b ffffffffffffffff",
        "bb ffffffffffffffff",
        "5b ffffffffffffffff",
        "7b 7fffffffffffffff",
        "19 01",
        "",
    ] {
        let bytes = hexdump(text);
        let results = [
            Reader::new(&bytes).array().err(),
            Reader::new(&bytes)
                .sorted_map(|reader, _| reader.uint())
                .err(),
            Reader::new(&bytes).bytes().map(drop).err(),
            Reader::new(&bytes).text().map(drop).err(),
            Reader::new(&bytes).uint().map(drop).err(),
        ];
        assert!(results.iter().all(|result| result.is_some()), "{text}");
        assert!(
            results.contains(&Some(CodecError::Truncated {
                at: bytes.len().min(9)
            })) || bytes.len() < 9,
            "{text}"
        );
    }
}

#[test]
fn text_must_be_utf8_and_nothing_may_follow() {
    assert_eq!(
        Reader::new(&hexdump("61 ff")).text(),
        Err(CodecError::NotUtf8 { at: 0 })
    );
    let bytes = hexdump("01 02");
    let mut reader = Reader::new(&bytes);
    assert_eq!(reader.uint(), Ok(1));
    assert_eq!(reader.finish(), Err(CodecError::Trailing { at: 1 }));
}
