//! What is refused as bytes, and what holds of any bytes.

use proptest::collection::{btree_set, vec};
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::*;
use crate::dagcbor::{CodecError, Writer};

/// Every way to flip bits in one byte that matters, at each place.
fn each_flip(bytes: &[u8], mut judge: impl FnMut(usize, &[u8])) {
    for at in 0..bytes.len() {
        for mask in [0x01, 0x20, 0x80, 0xff] {
            let mut flipped = bytes.to_vec();
            flipped[at] ^= mask;
            judge(at, &flipped);
        }
    }
}

#[test]
fn a_flipped_chain_is_refused_or_its_signature_fails() {
    for chain in [issued(certificate(MEMBER)), direct(certificate(MEMBER))] {
        each_flip(&chain.encode(), |at, bytes| {
            if let Ok(read) = Chain::decode(bytes) {
                let judged = judge_chain(MESH, MEMBER, &read, None, NOW, &verify);
                assert!(judged.is_err(), "byte {at}: {read:?}");
            }
        });
    }
}

#[test]
fn a_flipped_list_is_refused_or_its_signature_fails() {
    let list = sign(MESH, revocations(3, &[MEMBER, OTHER]));
    each_flip(&list.encode(), |at, bytes| {
        if let Ok(read) = Signed::<Revocations>::decode(bytes) {
            assert!(!supersedes(MESH, None, &read, &verify), "byte {at}");
        }
    });
}

#[test]
fn a_flipped_frame_is_refused_or_another_frame() {
    for (name, frame) in frames() {
        let bytes = encode(&frame).unwrap();
        each_flip(&bytes, |at, flipped| {
            check(flipped);
            assert_ne!(decode(flipped).as_ref(), Ok(&frame), "{name} at {at}");
        });
        for len in 0..bytes.len() {
            assert!(decode(&bytes[..len]).is_err(), "{name} cut at {len}");
        }
        let longer = [bytes, vec![0]].concat();
        assert!(decode(&longer).is_err(), "{name}");
    }
}

#[test]
fn a_newer_greeting_is_told_from_a_broken_one() {
    let newer = |bytes: &[u8]| decode(bytes).unwrap_err().is_newer();
    assert!(newer(&[0x83, 2, 1, 0]));
    assert!(newer(&[0x82, 1, 0x17]));
    assert!(newer(&[0x83, 1, 3, 0x18, 200]));
    assert!(!newer(&[0x82, 1, 3]));
    assert!(!newer(&[0x80]));
    assert!(!newer(b""));
    let long = vec![0; MAX_FRAME_BYTES + 1];
    let too_long = FormatError::TooLong {
        what: "a frame",
        max: MAX_FRAME_BYTES,
    };
    assert_eq!(decode(&long), Err(too_long));
}

#[test]
fn lists_keep_to_their_caps_and_their_order() {
    let node = |n: u16| {
        let mut bytes = [0; 32];
        bytes[..2].copy_from_slice(&n.to_be_bytes());
        NodeId(bytes)
    };
    let of = |count: u16| Revocations {
        nodes: (0..count).map(node).collect(),
        ..revocations(1, &[])
    };
    let full = sign(MESH, of(MAX_REVOKED as u16));
    assert_eq!(Signed::decode(&full.encode()), Ok(full.clone()));
    let over = sign(MESH, of(MAX_REVOKED as u16 + 1));
    let bytes = over.encode();
    assert!(matches!(
        Signed::<Revocations>::decode(&bytes),
        Err(FormatError::TooMany { .. } | FormatError::TooLong { .. })
    ));
    let mut swapped = sign(MESH, revocations(1, &[MEMBER, OTHER])).encode();
    let at = |bytes: &[u8], node: NodeId| bytes.windows(32).position(|w| w == node.0).unwrap();
    let (first, second) = (at(&swapped, MEMBER), at(&swapped, OTHER));
    swapped[first..first + 32].copy_from_slice(&OTHER.0);
    swapped[second..second + 32].copy_from_slice(&MEMBER.0);
    assert!(matches!(
        Signed::<Revocations>::decode(&swapped),
        Err(FormatError::Codec(CodecError::NotCanonical { .. }))
    ));
    let biggest = Hello {
        revocations: Some(full),
        renewed: Some(issued(certificate(OTHER))),
        capabilities: widest(),
        ..hello(Some(issued(certificate(MEMBER))))
    };
    let frame = Frame::Hello(Box::new(biggest));
    let bytes = encode(&frame).unwrap();
    assert_eq!(decode(&bytes), Ok(frame), "the most of everything fits");
}

/// What takes the most bytes to say.
fn widest() -> Capabilities {
    let long = |n: usize| Arc::from(format!("{n:0>256}"));
    Capabilities {
        name: long(0),
        labels: (0..64).map(long).collect(),
        engine: long(0),
        ..capabilities(ProfileKind::Lan)
    }
}

#[test]
fn a_chain_has_one_or_two_certificates() {
    let one = sign(MESH, certificate(MEMBER)).encode();
    let chain = |count: usize| {
        let mut bytes = Vec::new();
        Writer::new(&mut bytes).array(count);
        (0..count).for_each(|_| bytes.extend_from_slice(&one));
        Chain::decode(&bytes).is_ok()
    };
    assert_eq!([0, 1, 2, 3].map(chain), [false, true, true, false]);
}

#[test]
fn a_ticket_is_read_as_it_was_copied() {
    let text = ticket().to_string();
    assert!(text.starts_with("sykli1") && text.len() < 300, "{text}");
    assert!(text.chars().all(|c| c.is_ascii_alphanumeric()));
    for copied in [
        text.clone(),
        text.to_ascii_uppercase(),
        format!("  {}\n{}\r\n", &text[..80], &text[80..]),
    ] {
        assert_eq!(copied.parse(), Ok(ticket()));
    }
    assert!(!format!("{:?}", ticket()).contains("9, 9"));
}

#[test]
fn a_mistyped_ticket_is_told_from_none_and_from_a_newer_one() {
    let text = ticket().to_string();
    let read = |text: &str| text.parse::<Ticket>().unwrap_err();
    for at in "sykli1".len()..text.len() {
        let other = if &text[at..=at] == "x" { "y" } else { "x" };
        let mistyped = format!("{}{other}{}", &text[..at], &text[at + 1..]);
        assert_eq!(read(&mistyped), TicketError::Mistyped, "character {at}");
        assert_eq!(read(&text[..at]), TicketError::Mistyped, "cut at {at}");
    }
    let swapped = text.replacen(&text[40..42], &format!("{}{}", &text[41..42], "u"), 1);
    assert_eq!(read(&swapped), TicketError::Mistyped);
    assert_eq!(read("/ip4/127.0.0.1"), TicketError::NotATicket);
    assert_eq!(read(""), TicketError::NotATicket);
    assert_eq!(read("sykli2abc"), TicketError::Newer);
    assert_eq!(read(&"sykli1".repeat(100_000)), TicketError::Mistyped);
}

#[test]
fn a_ticket_says_too_much_to_nobody() {
    let mut many = ticket();
    many.addresses = vec!["/ip4/127.0.0.1/tcp/1".into(); MAX_ADDRESSES + 1];
    assert!(matches!(many.check(), Err(FormatError::TooMany { .. })));
    assert!(matches!(
        many.to_string().parse::<Ticket>(),
        Err(TicketError::Invalid(_))
    ));
    let mut long = ticket();
    long.addresses = vec!["x".repeat(MAX_ADDRESS_BYTES + 1).into()];
    assert!(matches!(long.check(), Err(FormatError::TooLong { .. })));
    assert!(matches!(
        long.to_string().parse::<Ticket>(),
        Err(TicketError::Invalid(_))
    ));
    let mut full = ticket();
    full.addresses = vec!["x".repeat(MAX_ADDRESS_BYTES).into(); MAX_ADDRESSES];
    assert_eq!(full.check(), Ok(()));
    assert_eq!(full.to_string().parse(), Ok(full));
    assert!(ticket().is_expired(NOW + DAY + SKEW_S + 1));
    assert!(!ticket().is_expired(NOW + DAY + SKEW_S));
}

fn any_node() -> impl Strategy<Value = NodeId> {
    any::<[u8; 32]>().prop_map(NodeId)
}

fn any_certificate() -> impl Strategy<Value = Certificate> {
    let times = any::<(u64, u64, u64)>();
    let roles = any::<(bool, bool, bool)>();
    let ceiling = select(ProfileKind::ALL.to_vec());
    (any_node(), any_node(), roles, ceiling, times).prop_map(
        |(mesh, peer, (member, issuer, relay), ceiling, (issued, not_after, epoch))| Certificate {
            mesh,
            peer,
            roles: Roles {
                member,
                issuer,
                relay,
            },
            ceiling,
            issued,
            not_after,
            epoch,
        },
    )
}

fn any_chain() -> impl Strategy<Value = Chain> {
    (any_certificate(), prop::option::of(any_certificate())).prop_map(|(leaf, issuer)| Chain {
        leaf: sign(ISSUER, leaf),
        issuer: issuer.map(|issuer| sign(MESH, issuer)),
    })
}

fn any_list() -> impl Strategy<Value = Signed<Revocations>> {
    (any_node(), any::<(u64, u64)>(), btree_set(any_node(), 0..9)).prop_map(
        |(mesh, (version, epoch), nodes)| {
            let list = Revocations {
                mesh,
                version,
                epoch,
                nodes,
            };
            sign(mesh, list)
        },
    )
}

fn any_frame() -> impl Strategy<Value = Frame> {
    let chain = || prop::option::of(any_chain());
    let parts = (
        any::<[u8; 16]>(),
        chain(),
        prop::option::of(any_list()),
        chain(),
    );
    (0..5u8, parts, any_chain(), 1..=16u64).prop_map(
        |(kind, (bytes, chain, revocations, renewed), given, number)| {
            let hello = Hello {
                instance: Instance(bytes),
                revocations: revocations.clone(),
                renewed,
                ..hello(chain)
            };
            match kind {
                0 => Frame::Hello(Box::new(hello)),
                1 => Frame::Admitted(Box::new(hello)),
                2 => Frame::Refused(Refusal::of_number(number).unwrap()),
                3 => Frame::Join(Box::new(Join {
                    secret: Secret::new(bytes),
                    instance: hello.instance,
                    capabilities: hello.capabilities,
                })),
                _ => Frame::Granted(Box::new(Granted {
                    chain: given,
                    revocations,
                })),
            }
        },
    )
}

fn any_ticket() -> impl Strategy<Value = Ticket> {
    let addresses = vec("[a-z0-9/.:-]{0,60}", 0..=MAX_ADDRESSES);
    (
        any_node(),
        any_node(),
        any::<[u8; 16]>(),
        any::<u64>(),
        addresses,
    )
        .prop_map(|(mesh, issuer, secret, expires, addresses)| Ticket {
            mesh,
            issuer,
            secret: Secret::new(secret),
            expires,
            addresses: addresses.into_iter().map(Arc::from).collect(),
        })
}

proptest! {
    #[test]
    fn any_frame_comes_back(frame in any_frame()) {
        let bytes = encode(&frame).unwrap();
        prop_assert_eq!(decode(&bytes), Ok(frame));
    }

    #[test]
    fn any_chain_and_list_come_back(chain in any_chain(), list in any_list()) {
        prop_assert_eq!(Chain::decode(&chain.encode()), Ok(chain));
        prop_assert_eq!(Signed::decode(&list.encode()), Ok(list));
    }

    #[test]
    fn any_ticket_comes_back(ticket in any_ticket()) {
        prop_assert_eq!(ticket.to_string().parse(), Ok(ticket));
    }

    #[test]
    fn any_bytes_are_refused_or_have_one_meaning(bytes in vec(any::<u8>(), 0..400)) {
        check(&bytes);
    }

    #[test]
    fn any_damage_is_refused_or_has_one_meaning(
        frame in any_frame(),
        damage in vec((any::<Index>(), any::<u8>()), 1..4),
        cut in any::<Index>(),
    ) {
        let mut bytes = encode(&frame).unwrap();
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        check(&bytes);
        check(&bytes[..cut.index(bytes.len())]);
    }
}
