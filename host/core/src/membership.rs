//! Who belongs to a mesh: certificates, tickets and revocations, the frames that two nodes greet each other with, and the
//! judgement on what was said.
//!
//! # Participants
//!
//! - The **mesh key** is an Ed25519 key; its public half is the mesh's name. It certifies issuers and signs the list of
//!   revocations, may be kept offline in between, and never speaks on the network.
//! - An **issuer** is a node whose certificate, signed by the mesh key, carries that role. It certifies members.
//! - A **member** shows a chain of one or two certificates: its own, and its issuer's where the mesh key did not sign it.
//!
//! # Encodings
//!
//! Canonical DAG-CBOR ([`crate::dagcbor`]), arrays of a fixed length only: what is signed is never extended, a change is
//! another number in front and another domain. One value has one encoding; nothing is nested deeper than the types are.
//!
//! ```text
//! certificate  [1, mesh, peer, roles, ceiling, issued, not_after, epoch]
//! revocations  [1, mesh, version, epoch, [node, …]]             ascending; at most MAX_REVOKED
//! signed       [certificate | revocations, signature]           64 bytes, over the encoding in its domain
//! chain        [signed certificate, …]                          the node's own first; one or two
//! ticket       [mesh, issuer, secret, expires, [address, …]]    in text: sykli1…, with a checksum
//!
//! frame        [1, kind, …]                                     at most MAX_FRAME_BYTES
//!   0x01 Hello     instance, capabilities, chain | null, revocations | null, renewed chain | null
//!   0x02 Admitted  the same
//!   0x03 Refused   code
//!   0x04 Join      secret, instance, capabilities
//!   0x05 Granted   chain, revocations | null
//!
//! mesh, peer, node    a byte string of 32: a public key
//! roles               a sum: 1 member, 2 issuer, 4 relay
//! ceiling             0 lan, 1 wan, 2 mobile, 3 hostile
//! issued, not_after, expires     seconds since 1970
//! instance, secret    a byte string of 16
//! capabilities        a byte string: a frame of `wire`, which knows how to grow
//! ```
//!
//! # Greeting
//!
//! The dialler of a connection says Hello; the listener answers Admitted, its own hello, or Refused. The transport has
//! proved who the other end is: a certificate counts for the peer that it names, on a connection of that peer's, and
//! nowhere else, so that a hello that is heard can be repeated by nobody. Join and Granted take the place of both when
//! a node has a ticket and no certificate.
//!
//! # Non-goals
//!
//! No clock, no keys, no randomness here: wall time comes as seconds since 1970, signatures are made and checked by
//! closures, secrets are passed in. What is kept on a disk, and how, is `sykli-node`'s part.
//!
//! Pure. Called by `sykli-node`'s membership, and for tickets by the command line.

mod base32;
mod certificate;
mod codec;
mod frame;
mod judge;
mod refusal;
mod revocations;
#[cfg(test)]
mod tests;
mod ticket;

pub use certificate::{Certificate, Chain, Roles};
pub use frame::{Frame, Granted, Hello, Instance, Join, decode, encode};
pub use judge::{House, Standing, admit, judge_chain, supersedes, within_ceiling};
pub use refusal::Refusal;
pub use revocations::Revocations;
pub use ticket::{Secret, Ticket, TicketError};

pub use crate::signed::{FormatError, SIGNATURE_BYTES, Signed, Verify, signing_input};

/// The longest frame, in bytes, without its length prefix.
pub const MAX_FRAME_BYTES: usize = 65_536;
/// The longest life of a certificate, in seconds: 30 days.
pub const MAX_LIFE_S: u64 = 30 * 24 * 60 * 60;
/// How far two clocks may be apart, in seconds.
pub const SKEW_S: u64 = 10 * 60;
/// Most nodes that a list of revocations names: the list still fits into a frame beside everything else.
pub const MAX_REVOKED: usize = 1_024;
/// Most certificates of a chain.
pub const MAX_CHAIN: usize = 2;
/// Most addresses of a ticket.
pub const MAX_ADDRESSES: usize = 8;
/// The longest address of a ticket, in bytes.
pub const MAX_ADDRESS_BYTES: usize = 256;

/// What must hold of any bytes: they are refused, or they are the one encoding of what they mean, but for what a newer
/// node says of itself. The property tests and `fuzz/` call it.
///
/// # Panics
/// When it does not hold.
#[cfg(any(test, fuzzing))]
pub fn check(bytes: &[u8]) {
    if let Ok(frame) = decode(bytes) {
        let again = encode(&frame).unwrap_or_else(|error| {
            panic!("{frame:?} was decoded and cannot be encoded: {error}");
        });
        assert_eq!(decode(&again).as_ref(), Ok(&frame));
        assert!(again == bytes || again.len() < bytes.len(), "{frame:?}");
    }
    if let Ok(chain) = Chain::decode(bytes) {
        assert_eq!(chain.encode(), bytes, "{chain:?}");
    }
    if let Ok(list) = Signed::<Revocations>::decode(bytes) {
        assert_eq!(list.encode(), bytes, "{list:?}");
    }
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Ok(ticket) = text.parse::<Ticket>() {
        assert_eq!(ticket.to_string().parse().as_ref(), Ok(&ticket));
    }
}
