//! Version 1 of the wire: every kind of message with its keys, and the caps on each part.
//!
//! ```text
//! frame         [1, kind, {key: value, …}]        every key listed here is required, but for those with a *
//!
//! to an owner                                     to an executor
//! 0x10 Idle       1 free                          0x20 Offer      1 lease  2 nonce  3 needs
//! 0x11 Accept     1 lease  2 have                                 4 min_memory_mb  5 lease_ms
//!                                                                 6 mesh *
//! 0x12 Decline    1 lease  2 reason               0x21 NoWork     1 retry_ms
//! 0x13 Pending    1 lease  2 ask_ms               0x22 Withdraw   1 lease
//! 0x14 Started    1 lease                         0x23 Cancel     1 lease
//! 0x15 Progress   1 lease  2 done  3 total        0x24 Acked      1 lease
//!                 4 message                       0x25 Settled    1 lease
//! 0x16 Completed  1 lease  2 claim  3 seal *      0x26 Resume     1 [lease, …]
//!                 4 of  5 bytes                   0x27 Bundle     1 lease  2 at  3 of  4 bytes
//! 0x17 Lost       1 lease  2 why
//! 0x18 Output     1 lease  2 stderr  3 bytes
//! 0x19 Outputs    1 lease  2 at  3 of  4 bytes
//!
//! either way
//! 0x30 Beacon        1 node  2 sequence  3 free  4 queued  5 slots  6 paused
//! 0x31 Capabilities  1 name  2 profile  3 tick_ms  4 stealing  5 artifacts  6 hidden  7 labels  8 memory_mb  9 engine
//!
//! at rest only: in the journal, never in a message
//! 0x40 Offered    1 lease  2 peer  3 nonce        0x42 Finished   1 owner  2 lease  3 claim  4 seal *
//! 0x41 Committed  1 lease  2 claim  3 seal *      0x44 Reserved   1 run  2 below
//!
//! lease      [run, task, attempt]
//! claim      {1 executor  2 task_digest  3 nonce  4 outcome  5 output  6 output_bytes  7 fuel  8 wall_ms  9 stdout
//!             10 stderr}
//! seal       {1 engine  2 at_s  3 signature}       what makes the claim a receipt (`crate::receipt`)
//! outcome    [0] passed | [1, code, message] failed
//! needs      {1 digest  2 label  3 labels  4 memory_mb  5 fuel  6 timeout_ms  7 estimate_ms  8 component_bytes
//!             9 input_bytes  10 output_bytes  11 blobs  12 imports  13 grants  14 engine or null  15 pure  16 secret
//!             17 mesh  18 steal}
//! blob       [digest, bytes]
//! artifacts  [0] unlimited | [1, bytes] at most | [2] inline | [3] status only
//! have       a byte string: one byte an index
//! at, of     where bytes begin among how many that go in messages; the bytes are frames of a transfer, cut anywhere
//! digest, node                                    a byte string of 32
//! reason, why, profile, stealing                  codes: `reason.rs`, `to_owner.rs`, `status.rs`
//! ```
//!
//! `*`: older nodes do not say it; an owner that belongs to no mesh does not, either. A claim without a seal is nobody's, and no owner takes it.
//!
//! A map may gain keys, an array's length is fixed: what is an array here is never extended.
//!
//! Each part of the wire has one file that both writes and reads it, by hand, so that its shape is seen in one place and
//! no domain type carries an attribute for it. Only `output.rs` and `input.rs` know CBOR.

#[cfg(test)]
mod annotate;
#[cfg(test)]
pub(crate) mod arbitrary;
#[cfg(test)]
mod golden;
mod input;
mod lease;
mod offer;
mod output;
mod reason;
pub(super) mod record;
#[cfg(test)]
mod samples;
mod status;
#[cfg(test)]
mod tests;
mod to_executor;
mod to_owner;

pub use record::{decode_record, encode_record};

use super::WireError;
use crate::consent::{
    MAX_ACQUAINTANCES, MAX_NAMED_BLOBS, MAX_OUTPUT_BYTES, MAX_PIECE_BYTES, MAX_RESUMED, Message,
};
use crate::id::MAX_RUN_ID_BYTES;
use crate::signed::SIGNATURE_BYTES;

/// The number of this version.
pub const VERSION: u64 = 1;
/// The longest name, label, import, grant, engine class or failure code, in bytes.
pub const MAX_NAME_BYTES: usize = 256;
/// The longest message for people, in characters.
pub const MAX_MESSAGE_CHARS: usize = 1000;
/// The longest message for people, in bytes: what so many characters cannot exceed.
pub const MAX_MESSAGE_BYTES: usize = 4 << 10;
/// Most labels of a node, and most that a task asks for.
pub const MAX_LABELS: usize = 64;
/// Most imports of a component.
pub const MAX_IMPORTS: usize = 256;
/// Most grants that a task wants.
pub const MAX_GRANTS: usize = 64;
/// How deep a field that is not known here may be nested.
pub const MAX_SKIPPED_DEPTH: usize = 8;

const _: () = assert!(MAX_MESSAGE_CHARS * 4 <= MAX_MESSAGE_BYTES);

/// A text's cap.
#[derive(Clone, Copy)]
struct Text {
    what: &'static str,
    max_bytes: usize,
    max_chars: usize,
}

impl Text {
    const fn bytes(what: &'static str, max: usize) -> Text {
        Text {
            what,
            max_bytes: max,
            max_chars: max,
        }
    }

    fn check(self, text: &str) -> Result<(), WireError> {
        let Text {
            what,
            max_bytes,
            max_chars,
        } = self;
        // A text within its bytes is not always counted: it has at most as many characters.
        let within = text.len() <= max_bytes
            && (text.len() <= max_chars || text.chars().count() <= max_chars);
        if within {
            return Ok(());
        }
        Err(WireError::TooLong {
            what,
            max: max_chars,
            unit: if max_chars == max_bytes {
                "bytes"
            } else {
                "characters"
            },
        })
    }
}

const RUN: Text = Text::bytes("a run's id", MAX_RUN_ID_BYTES);
const NAME: Text = Text::bytes("a name", MAX_NAME_BYTES);
const LABEL: Text = Text::bytes("a label", MAX_NAME_BYTES);
const IMPORT: Text = Text::bytes("an import", MAX_NAME_BYTES);
const GRANT: Text = Text::bytes("a grant", MAX_NAME_BYTES);
const ENGINE: Text = Text::bytes("an engine class", MAX_NAME_BYTES);
const CODE: Text = Text::bytes("a failure's code", MAX_NAME_BYTES);
const MESSAGE: Text = Text {
    what: "a message",
    max_bytes: MAX_MESSAGE_BYTES,
    max_chars: MAX_MESSAGE_CHARS,
};

/// A list's cap.
#[derive(Clone, Copy)]
struct List {
    what: &'static str,
    max: usize,
}

impl List {
    const fn of(what: &'static str, max: usize) -> List {
        List { what, max }
    }

    fn check(self, len: usize) -> Result<(), WireError> {
        let List { what, max } = self;
        if len <= max {
            Ok(())
        } else {
            Err(WireError::TooMany { what, max })
        }
    }
}

const LABELS: List = List::of("labels", MAX_LABELS);
const IMPORTS: List = List::of("imports", MAX_IMPORTS);
const GRANTS: List = List::of("grants", MAX_GRANTS);
const BLOBS: List = List::of("blobs", MAX_NAMED_BLOBS);
const HAVE: List = List::of("indices of blobs", MAX_NAMED_BLOBS);
const ADDRESS: Text = Text::bytes("an address", MAX_NAME_BYTES);
const ACQUAINTANCES: List = List::of("addresses", MAX_ACQUAINTANCES);
const OUTPUT_BYTES: List = List::of("bytes of output", MAX_OUTPUT_BYTES);
const PIECE_BYTES: List = List::of("bytes of a piece", MAX_PIECE_BYTES);
const SIGNATURE: List = List::of("bytes of a signature", SIGNATURE_BYTES);
const RESUMED: List = List::of("leases", MAX_RESUMED);

/// Whether a frame held fields that are not known here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Skipped {
    /// It holds what its value says and nothing else.
    Nothing,
    /// It held more.
    Fields,
}

/// A message as a frame.
///
/// # Errors
/// When a part of it exceeds its cap ([`WireError::TooLong`], [`WireError::TooMany`]) or all of it
/// [`super::MAX_FRAME_BYTES`] ([`WireError::TooLarge`]).
pub fn encode(message: &Message) -> Result<Vec<u8>, WireError> {
    match message {
        Message::ToOwner(message) => {
            output::frame(to_owner::kind(message), |out| to_owner::write(message, out))
        }
        Message::ToExecutor(message) => output::frame(to_executor::kind(message), |out| {
            to_executor::write(message, out)
        }),
        Message::Beacon(beacon) => {
            output::frame(status::BEACON, |out| status::write_beacon(beacon, out))
        }
        Message::Capabilities(capabilities) => output::frame(status::CAPABILITIES, |out| {
            status::write_capabilities(capabilities, out)
        }),
        Message::Acquaint(addresses) => output::frame(status::ACQUAINT, |out| {
            status::write_acquaintances(addresses, out)
        }),
    }
}

/// The message that a frame holds.
///
/// # Errors
/// Whatever is no frame of a known kind in its one form; [`WireError::is_offence`] tells a newer peer from a hostile one.
pub fn decode(frame: &[u8]) -> Result<Message, WireError> {
    decode_noting(frame).map(|(message, _)| message)
}

pub(super) fn decode_noting(frame: &[u8]) -> Result<(Message, Skipped), WireError> {
    input::frame(frame, |kind, input| {
        Ok(match kind {
            0x10..=0x1f => to_owner::read(kind, input)?.map(Message::ToOwner),
            0x20..=0x2f => to_executor::read(kind, input)?.map(Message::ToExecutor),
            status::BEACON => Some(Message::Beacon(status::read_beacon(input)?)),
            status::CAPABILITIES => {
                let capabilities = status::read_capabilities(input)?;
                Some(Message::Capabilities(Box::new(capabilities)))
            }
            status::ACQUAINT => Some(Message::Acquaint(status::read_acquaintances(input)?)),
            _ => None,
        })
    })
}
