//! How what two nodes say to each other looks in transit, and how the journal's records of it look at rest.
//!
//! # A frame
//!
//! A CBOR array `[version, kind, body]` of at most [`MAX_FRAME_BYTES`]; the body is a map with small integers as keys.
//! Length prefixes and streams are the transport's (`sykli-node`), signatures too. [`v1`] lists the kinds and their keys.
//!
//! One value has one encoding: definite lengths, shortest forms, keys ascending and each once, no tags, no floats. The
//! reader refuses everything else, so that two different frames never mean the same. It takes nothing on trust: each
//! length is held against its cap and against the bytes that are left before anything is allocated, nesting follows from
//! the types, and no bytes whatever make it panic.
//!
//! # How it may change
//!
//! - A **field** may be added to a kind, under a key greater than its others: a reader skips the keys that it does not
//!   know. What it skips must still be canonical, and not nested deeper than [`v1::MAX_SKIPPED_DEPTH`]. The new reader
//!   knows a meaning for its absence. A field is never removed, and its key never used again.
//! - A **kind** may be added, and a **code** to an enumeration. A reader that does not know it says so
//!   ([`WireError::UnknownKind`], [`WireError::UnknownCode`]); the receiver answers that, and whoever said it pays: it
//!   does without.
//! - Anything else is another **version**, and another protocol id. What holds of all of them: a definite array whose
//!   first element is the version. The rest of it is not looked at ([`WireError::UnknownVersion`]).
//!
//! Those three are what a newer node may say in good faith. Every other [`WireError`] is of bytes that no node of any
//! version sends, and an offence ([`WireError::is_offence`]).
//!
//! Pure: bytes in, values out. Never called by the two state machines; by the node, and by the simulator's mesh.

pub mod v1;

pub use v1::{decode, decode_record, encode, encode_record};

/// The longest frame, in bytes, without its length prefix.
pub const MAX_FRAME_BYTES: usize = 65_536;

/// Why bytes are not a frame, or why a value does not fit into one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// Another version than this reader's.
    #[error("version {version} of the protocol is not known here")]
    UnknownVersion {
        /// Which.
        version: u64,
    },
    /// A kind of message that this reader does not know.
    #[error("a message of kind {kind:#x} is not known here")]
    UnknownKind {
        /// Which.
        kind: u64,
    },
    /// An enumeration's value that this reader does not know.
    #[error("{what} with the code {code} is not known here")]
    UnknownCode {
        /// Of what.
        what: &'static str,
        /// Which.
        code: u64,
    },
    /// More than [`MAX_FRAME_BYTES`].
    #[error("more than the {MAX_FRAME_BYTES} bytes of a frame")]
    TooLarge,
    /// A text or byte string over its cap.
    #[error("{what} of more than {max} {unit}")]
    TooLong {
        /// Which.
        what: &'static str,
        /// Its cap.
        max: usize,
        /// In what the cap counts: bytes or characters.
        unit: &'static str,
    },
    /// A list over its cap.
    #[error("more than {max} {what}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// The cap.
        max: usize,
    },
    /// An unknown value that is nested deeper than [`v1::MAX_SKIPPED_DEPTH`].
    #[error("nested too deep at byte {at}")]
    TooDeep {
        /// Offset in bytes.
        at: usize,
    },
    /// The bytes end in the middle of a value, or a length exceeds what is left.
    #[error("truncated: the value at byte {at} does not end")]
    Truncated {
        /// Offset in bytes.
        at: usize,
    },
    /// Bytes follow the frame.
    #[error("bytes follow the frame at byte {at}")]
    Trailing {
        /// Offset in bytes.
        at: usize,
    },
    /// A value of another type, length or form than must stand there.
    #[error("{expected} expected at byte {at}")]
    Expected {
        /// Offset in bytes.
        at: usize,
        /// What must stand there.
        expected: &'static str,
    },
    /// An integer greater than its field holds.
    #[error("the integer at byte {at} is greater than its {bits} bits hold")]
    OutOfRange {
        /// Offset in bytes.
        at: usize,
        /// How many bits the field has.
        bits: u32,
    },
    /// A longer form of a number or length than it needs.
    #[error("not the shortest form at byte {at}")]
    NotShortest {
        /// Offset in bytes.
        at: usize,
    },
    /// A length that is left open.
    #[error("indefinite length at byte {at}")]
    Indefinite {
        /// Offset in bytes.
        at: usize,
    },
    /// A map's key, or a set's element, that is not greater than the one before.
    #[error("not sorted, or not unique, at byte {at}")]
    NotAscending {
        /// Offset in bytes.
        at: usize,
    },
    /// A field that its kind cannot do without.
    #[error("{of} lacks the key {key}")]
    MissingKey {
        /// Of what.
        of: &'static str,
        /// Which.
        key: u64,
    },
    /// A text that is not UTF-8.
    #[error("text at byte {at} is not UTF-8")]
    NotUtf8 {
        /// Offset in bytes.
        at: usize,
    },
    /// A text that cannot name a run.
    #[error("no run's id at byte {at}")]
    NotARunId {
        /// Offset in bytes.
        at: usize,
    },
}

impl WireError {
    /// Whether no node of any version sends such bytes: [`crate::consent::Offence::Malformed`]. What a newer one may say
    /// in good faith is answered instead.
    #[must_use]
    pub fn is_offence(&self) -> bool {
        !matches!(
            self,
            WireError::UnknownVersion { .. }
                | WireError::UnknownKind { .. }
                | WireError::UnknownCode { .. }
        )
    }
}

/// What must hold of any bytes: they are refused, or they are the one encoding of what they mean, but for fields that
/// are not known here. The property tests and `fuzz/` call it.
///
/// # Panics
/// When it does not hold.
#[cfg(any(test, fuzzing))]
pub fn check_frame(bytes: &[u8]) {
    check(bytes, v1::decode_noting(bytes), encode, decode);
    check(
        bytes,
        v1::record::decode_noting(bytes),
        encode_record,
        decode_record,
    );
}

#[cfg(any(test, fuzzing))]
fn check<T: PartialEq + std::fmt::Debug>(
    bytes: &[u8],
    read: Result<(T, v1::Skipped), WireError>,
    encode: impl Fn(&T) -> Result<Vec<u8>, WireError>,
    decode: impl Fn(&[u8]) -> Result<T, WireError>,
) {
    let Ok((value, skipped)) = read else {
        return;
    };
    let again = encode(&value).unwrap_or_else(|error| {
        panic!("{value:?} was decoded and cannot be encoded: {error}");
    });
    assert_eq!(decode(&again).as_ref(), Ok(&value));
    match skipped {
        v1::Skipped::Nothing => assert_eq!(again, bytes, "not canonical: {value:?}"),
        v1::Skipped::Fields => assert!(again.len() < bytes.len(), "{value:?}"),
    }
}
