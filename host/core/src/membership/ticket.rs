//! A ticket: what somebody is handed who is to join a mesh, as one line to copy. Decides how it reads and whether it was
//! copied whole; whether it is still good is for its issuer to say. Called by the command line and the node's membership.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::{MAX_ADDRESS_BYTES, MAX_ADDRESSES, SKEW_S, base32};
use crate::dagcbor::{Reader, Writer};
use crate::id::{Digest, NodeId};
use crate::signed::{FormatError, read_bytes16, read_list, read_node};

/// What a ticket's text begins with; the digit is its version.
const PREFIX: &str = "sykli1";
/// Tells a typing error: four bytes of a hash.
const CHECKSUM_BYTES: usize = 4;
/// The longest encoding without its checksum, in bytes: the addresses, the two keys, the secret, heads and the expiry.
const MAX_BYTES: usize = MAX_ADDRESSES * (MAX_ADDRESS_BYTES + 3) + 2 * 34 + 17 + 9 + 2;
/// The longest text, in characters, white space included: more is not looked at.
const MAX_CHARS: usize = 2 * (MAX_BYTES + CHECKSUM_BYTES);

/// A ticket's one-time secret. Never shown but by writing the whole ticket.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret([u8; 16]);

impl Secret {
    /// Takes 128 random bits.
    #[must_use]
    pub fn new(bytes: [u8; 16]) -> Secret {
        Secret(bytes)
    }

    /// What the issuer keeps in its place: enough to recognise it, too little to use it.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(&[b"sykli/ticket-secret/1\0".as_slice(), &self.0].concat())
    }

    pub(super) fn expose(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// An invitation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// The mesh that it leads into: its key's public half.
    pub mesh: NodeId,
    /// Who takes it.
    pub issuer: NodeId,
    /// What it is recognised by, once.
    pub secret: Secret,
    /// Until when, in seconds since 1970.
    pub expires: u64,
    /// Where the issuer can be reached, best first: multiaddresses, at most [`MAX_ADDRESSES`].
    pub addresses: Vec<Arc<str>>,
}

/// Why a text is not a ticket.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TicketError {
    /// It does not begin like one.
    #[error("a ticket begins with `{PREFIX}`")]
    NotATicket,
    /// It begins like one of a newer sykli's.
    #[error("this ticket is of a newer version of sykli")]
    Newer,
    /// A character is wrong, missing or doubled.
    #[error("the ticket was not copied whole: its checksum does not fit")]
    Mistyped,
    /// It was copied well, and says what no ticket says.
    #[error("the ticket says what none may say: {0}")]
    Invalid(#[from] FormatError),
}

impl TicketError {
    /// Its stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            TicketError::NotATicket => "ticket::none",
            TicketError::Newer => "ticket::newer",
            TicketError::Mistyped => "ticket::mistyped",
            TicketError::Invalid(_) => "ticket::invalid",
        }
    }

    /// What the user can do.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            TicketError::NotATicket => "`sykli mesh invite` on an issuer prints one",
            TicketError::Newer => "update sykli here",
            TicketError::Mistyped => "copy it again, from `sykli1` to its last letter",
            TicketError::Invalid(_) => "ask for a new one",
        }
    }
}

impl Ticket {
    /// Whether it has surely run out; its issuer's clock decides in the end.
    #[must_use]
    pub fn is_expired(&self, now: u64) -> bool {
        now > self.expires.saturating_add(SKEW_S)
    }

    /// That it can be written: few enough addresses, each short enough.
    ///
    /// # Errors
    /// Which cap is exceeded.
    pub fn check(&self) -> Result<(), FormatError> {
        if self.addresses.len() > MAX_ADDRESSES {
            return Err(TOO_MANY);
        }
        let long = |address: &Arc<str>| address.len() > MAX_ADDRESS_BYTES;
        if self.addresses.iter().any(long) {
            return Err(TOO_LONG);
        }
        Ok(())
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let out = &mut Writer::new(&mut bytes);
        out.array(5);
        out.bytes(&self.mesh.0);
        out.bytes(&self.issuer.0);
        out.bytes(self.secret.expose());
        out.uint(self.expires);
        out.array(self.addresses.len());
        for address in &self.addresses {
            out.text(address);
        }
        bytes
    }

    fn decode(bytes: &[u8]) -> Result<Ticket, FormatError> {
        let mut input = Reader::new(bytes);
        input.array_of(5, "a ticket of five parts")?;
        let mut ticket = Ticket {
            mesh: read_node(&mut input)?,
            issuer: read_node(&mut input)?,
            secret: Secret::new(read_bytes16(&mut input, "a secret of 16 bytes")?),
            expires: input.uint()?,
            addresses: Vec::new(),
        };
        for _ in 0..read_list(&mut input, "addresses", MAX_ADDRESSES)? {
            let address = input.text()?;
            if address.len() > MAX_ADDRESS_BYTES {
                return Err(TOO_LONG);
            }
            ticket.addresses.push(address.into());
        }
        input.finish()?;
        Ok(ticket)
    }
}

const TOO_MANY: FormatError = FormatError::TooMany {
    what: "addresses",
    max: MAX_ADDRESSES,
};
const TOO_LONG: FormatError = FormatError::TooLong {
    what: "an address",
    max: MAX_ADDRESS_BYTES,
};

fn checksum(bytes: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let Digest([a, b, c, d, ..]) = Digest::of(&[b"sykli/ticket/1\0".as_slice(), bytes].concat());
    [a, b, c, d]
}

impl fmt::Display for Ticket {
    /// The line to copy. It holds the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.encode();
        let mut text = PREFIX.to_owned();
        base32::encode(&[bytes.as_slice(), &checksum(&bytes)].concat(), &mut text);
        f.write_str(&text)
    }
}

impl FromStr for Ticket {
    type Err = TicketError;

    /// Reads a line as it was copied: in either case, with whatever white space a terminal or a mail put into it.
    fn from_str(text: &str) -> Result<Ticket, TicketError> {
        let digits: String = text
            .chars()
            .take(MAX_CHARS)
            .filter(|c| !c.is_whitespace())
            .map(|c| c.to_ascii_lowercase())
            .collect();
        let Some(digits) = digits.strip_prefix(PREFIX) else {
            let newer = digits
                .strip_prefix("sykli")
                .is_some_and(|rest| rest.starts_with(|c: char| ('2'..='9').contains(&c)));
            return Err(if newer {
                TicketError::Newer
            } else {
                TicketError::NotATicket
            });
        };
        let bytes = base32::decode(digits.chars()).ok_or(TicketError::Mistyped)?;
        let (bytes, sum) = bytes
            .split_last_chunk::<CHECKSUM_BYTES>()
            .ok_or(TicketError::Mistyped)?;
        if *sum != checksum(bytes) {
            return Err(TicketError::Mistyped);
        }
        Ok(Ticket::decode(bytes)?)
    }
}
