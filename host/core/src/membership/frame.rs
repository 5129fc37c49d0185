//! The frames of a greeting. Who may say which, and what follows from it, is in the parent's documentation; a frame's
//! kind tells its direction, so that none can be sent back as its own answer. Called by the node's gate.

use std::fmt;

use super::MAX_FRAME_BYTES;
use super::certificate::Chain;
use super::codec::{read_capabilities, write_capabilities};
use super::refusal::Refusal;
use super::revocations::Revocations;
use super::ticket::Secret;
use crate::consent::Capabilities;
use crate::dagcbor::{Reader, Writer};
use crate::signed::{
    FormatError, Signed, expected, read_bytes16, read_version, write_head, write_optional,
};

/// A process of a node: drawn at random when it starts. Two at once with one identity are a cloned identity.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instance(pub [u8; 16]);

impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .take(4)
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What a node says of itself first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Which process of it speaks.
    pub instance: Instance,
    /// What it is able to do.
    pub capabilities: Capabilities,
    /// Its certificates, where it belongs to a mesh.
    pub chain: Option<Chain>,
    /// The newest list that it knows.
    pub revocations: Option<Signed<Revocations>>,
    /// New certificates for the other end, whose own are about to run out.
    pub renewed: Option<Chain>,
}

/// What a node with a ticket and no certificate says first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Join {
    /// The ticket's.
    pub secret: Secret,
    /// Which process of it speaks.
    pub instance: Instance,
    /// What it is able to do.
    pub capabilities: Capabilities,
}

/// What it gets for that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Granted {
    /// Its certificates.
    pub chain: Chain,
    /// The newest list that the issuer knows.
    pub revocations: Option<Signed<Revocations>>,
}

/// A frame of the greeting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// The dialler's first.
    Hello(Box<Hello>),
    /// The listener's answer to a hello: its own.
    Admitted(Box<Hello>),
    /// The listener's answer: no.
    Refused(Refusal),
    /// The dialler's first, with a ticket.
    Join(Box<Join>),
    /// The listener's answer to that.
    Granted(Box<Granted>),
}

const HELLO: u64 = 0x01;
const ADMITTED: u64 = 0x02;
const REFUSED: u64 = 0x03;
const JOIN: u64 = 0x04;
const GRANTED: u64 = 0x05;

/// A frame's bytes.
///
/// # Errors
/// When a part exceeds its cap, or the whole [`MAX_FRAME_BYTES`].
pub fn encode(frame: &Frame) -> Result<Vec<u8>, FormatError> {
    let mut bytes = Vec::new();
    let out = &mut Writer::new(&mut bytes);
    match frame {
        Frame::Hello(hello) => write_hello(HELLO, hello, out)?,
        Frame::Admitted(hello) => write_hello(ADMITTED, hello, out)?,
        Frame::Refused(refusal) => {
            write_kind(out, REFUSED, 1);
            out.uint(refusal.number());
        }
        Frame::Join(join) => {
            write_kind(out, JOIN, 3);
            out.bytes(join.secret.expose());
            out.bytes(&join.instance.0);
            write_capabilities(&join.capabilities, out)?;
        }
        Frame::Granted(granted) => {
            write_kind(out, GRANTED, 2);
            granted.chain.write(out);
            write_optional(out, granted.revocations.as_ref(), Signed::write);
        }
    }
    within(&bytes)?;
    Ok(bytes)
}

fn within(bytes: &[u8]) -> Result<(), FormatError> {
    if bytes.len() <= MAX_FRAME_BYTES {
        return Ok(());
    }
    Err(FormatError::TooLong {
        what: "a frame",
        max: MAX_FRAME_BYTES,
    })
}

fn write_kind(out: &mut Writer<'_>, kind: u64, len: usize) {
    write_head(out, len + 1);
    out.uint(kind);
}

fn write_hello(kind: u64, hello: &Hello, out: &mut Writer<'_>) -> Result<(), FormatError> {
    write_kind(out, kind, 5);
    out.bytes(&hello.instance.0);
    write_capabilities(&hello.capabilities, out)?;
    write_optional(out, hello.chain.as_ref(), Chain::write);
    write_optional(out, hello.revocations.as_ref(), Signed::write);
    write_optional(out, hello.renewed.as_ref(), Chain::write);
    Ok(())
}

/// Reads a frame's parts, after its kind.
type Read = fn(&mut Reader<'_>) -> Result<Frame, FormatError>;

/// The frame that bytes are.
///
/// # Errors
/// Whatever is no frame of a known kind in its one form; [`FormatError::is_newer`] tells a newer peer from a hostile one.
pub fn decode(bytes: &[u8]) -> Result<Frame, FormatError> {
    within(bytes)?;
    let mut input = Reader::new(bytes);
    let elements = input.array()?;
    read_version(&mut input, "a greeting")?;
    let kind = input.uint()?;
    let (len, read): (usize, Read) = match kind {
        HELLO => (5, |input| Ok(Frame::Hello(read_hello(input)?))),
        ADMITTED => (5, |input| Ok(Frame::Admitted(read_hello(input)?))),
        REFUSED => (1, |input| {
            Ok(Frame::Refused(Refusal::of_number(input.uint()?)?))
        }),
        JOIN => (3, |input| Ok(Frame::Join(read_join(input)?))),
        GRANTED => (2, |input| Ok(Frame::Granted(read_granted(input)?))),
        code => {
            return Err(FormatError::UnknownCode {
                what: "a greeting",
                code,
            });
        }
    };
    if elements != len + 2 {
        return Err(expected(0, "a greeting with its parts"));
    }
    let frame = read(&mut input)?;
    input.finish()?;
    Ok(frame)
}

fn read_instance(input: &mut Reader<'_>) -> Result<Instance, FormatError> {
    read_bytes16(input, "an instance of 16 bytes").map(Instance)
}

fn read_hello(input: &mut Reader<'_>) -> Result<Box<Hello>, FormatError> {
    Ok(Box::new(Hello {
        instance: read_instance(input)?,
        capabilities: read_capabilities(input)?,
        chain: input.optional(Chain::read)?,
        revocations: input.optional(Signed::read)?,
        renewed: input.optional(Chain::read)?,
    }))
}

fn read_join(input: &mut Reader<'_>) -> Result<Box<Join>, FormatError> {
    Ok(Box::new(Join {
        secret: Secret::new(read_bytes16(input, "a secret of 16 bytes")?),
        instance: read_instance(input)?,
        capabilities: read_capabilities(input)?,
    }))
}

fn read_granted(input: &mut Reader<'_>) -> Result<Box<Granted>, FormatError> {
    Ok(Box::new(Granted {
        chain: Chain::read(input)?,
        revocations: input.optional(Signed::read)?,
    }))
}
