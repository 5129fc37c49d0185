//! Frames of the bulk stream: one encoding each, bounded before they are read, and nothing makes the reader panic.
#![allow(clippy::unwrap_used)]

use super::*;
use proptest::prelude::*;

fn key(run: &str) -> LeaseKey {
    LeaseKey {
        run: RunId::new(run).unwrap(),
        task: TaskId(7),
        attempt: Attempt(2),
    }
}

fn read(bytes: &[u8]) -> Result<Ask, FrameError> {
    let (header, body) = bytes.split_first_chunk().unwrap();
    Header::decode(Side::Requester, *header)?.ask(body)
}

#[test]
fn a_request_looks_like_this() {
    let request = Request {
        key: key("run-1"),
        what: What::Outputs,
    };
    let mut out = Vec::new();
    Ask::Request(request.clone()).encode(&mut out);
    assert_eq!(
        out, b"\x01\x0e\0\0\0\x02\x07\0\0\0\x02\0\0\0run-1",
        "kind, length, what, task, attempt, run"
    );
    assert_eq!(read(&out).unwrap(), Ask::Request(request));
}

#[test]
fn a_part_looks_like_this() {
    let part = Part {
        encoding: Encoding::Plain,
        len: 3,
        bytes: b"abc",
    };
    let mut out = Vec::new();
    Reply::Whole(part).encode(&mut out);
    assert_eq!(out, b"\x11\x08\0\0\0\0\x03\0\0\0abc");
    let (header, body) = out.split_first_chunk().unwrap();
    assert_eq!(
        Header::decode(Side::Requester, *header),
        Err(FrameError::Kind(0x11))
    );
    let header = Header::decode(Side::Provider, *header).unwrap();
    assert_eq!(header.reply(body).unwrap(), Reply::Whole(part));
    assert_eq!(header.ask(body), Err(FrameError::Kind(0x11)));
}

#[test]
fn a_length_is_held_against_its_kind_before_a_body_is_read() {
    let header = |kind: u8, len: usize| {
        let [a, b, c, d] = (len as u32).to_le_bytes();
        let side = if kind < 0x10 {
            Side::Requester
        } else {
            Side::Provider
        };
        Header::decode(side, [kind, a, b, c, d])
    };
    for (kind, good, bad) in [
        (REQUEST, vec![10, 73], vec![9, 74]),
        (
            WANT,
            vec![40, 40 * MAX_WANTS],
            vec![0, 41, 40 * MAX_WANTS + 40],
        ),
        (
            OUTLINE,
            vec![32, 32 * MAX_OUTLINE],
            vec![0, 33, 32 * MAX_OUTLINE + 32],
        ),
        (
            DATA,
            vec![6, 5 + PART_BYTES],
            vec![5, 6 + PART_BYTES, u32::MAX as usize],
        ),
        (BLOB, vec![8], vec![0, 9]),
        (END, vec![0], vec![1]),
    ] {
        for len in good {
            assert_eq!(header(kind, len).unwrap().body_bytes(), len);
        }
        for len in bad {
            assert!(
                matches!(header(kind, len), Err(FrameError::Length { .. })),
                "{kind} {len}"
            );
        }
    }
    assert_eq!(header(0x20, 0), Err(FrameError::Kind(0x20)));
}

#[test]
fn a_part_is_as_long_as_it_says() {
    let read = |encoding: u8, len: u32, bytes: &[u8]| {
        let mut body = vec![encoding];
        body.extend_from_slice(&len.to_le_bytes());
        body.extend_from_slice(bytes);
        part(&body).is_ok()
    };
    assert!(read(0, 3, b"abc") && read(1, 4, b"abc"));
    assert!(!read(0, 2, b"abc") && !read(0, 4, b"abc"));
    assert!(!read(1, 3, b"abc"), "compressed, but no shorter");
    assert!(!read(2, 3, b"abc") && !read(0, 0, b"") && !read(1, u32::MAX, b"abc"));
}

#[test]
fn the_size_of_a_large_blob_is_bounded_both_ways() {
    let read = |size: u64| {
        let mut out = Vec::new();
        Reply::Blob { size }.encode(&mut out);
        let (header, body) = out.split_first_chunk().unwrap();
        Header::decode(Side::Provider, *header)
            .unwrap()
            .reply(body)
            .is_ok()
    };
    assert!(read(PART_BYTES as u64 + 1) && read(MAX_BLOB_BYTES));
    assert!(!read(PART_BYTES as u64) && !read(MAX_BLOB_BYTES + 1) && !read(u64::MAX));
}

proptest! {
    #[test]
    fn any_bytes_are_refused_or_the_one_encoding(
        kind in prop_oneof![0u8..0x18, any::<u8>()],
        len in prop_oneof![0u32..100, any::<u32>()],
        body in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let mut bytes = vec![kind];
        bytes.extend_from_slice(&len.to_le_bytes());
        bytes.extend_from_slice(&body);
        check_frame(&bytes);
    }

    #[test]
    fn wants_come_back_in_frames_of_at_most_so_many(
        wants in proptest::collection::vec((any::<[u8; 32]>(), any::<u64>()), 1..200),
    ) {
        let wants: Vec<Want> = wants
            .into_iter()
            .map(|(digest, from)| Want { digest: Digest(digest), from })
            .collect();
        let mut out = Vec::new();
        Ask::Want(wants.clone()).encode(&mut out);
        let (mut rest, mut read) = (&*out, Vec::new());
        while let Some((header, body)) = rest.split_first_chunk() {
            let header = Header::decode(Side::Requester, *header).unwrap();
            check_frame(rest);
            let (body, after) = body.split_at(header.body_bytes());
            match header.ask(body).unwrap() {
                Ask::Want(some) => read.extend(some),
                other => panic!("{other:?}"),
            }
            rest = after;
        }
        prop_assert_eq!(read, wants);
    }
}
