//! What goes over a bulk stream (`/sykli/blob/1`): asks one way, blobs the other.
//!
//! # Participants
//!
//! The **requester** opens a stream and asks; the **provider** answers. One stream is one transfer: the bundle of one
//! lease, or its outputs. Nobody is sent anything unasked.
//!
//! # Goals
//!
//! - Whatever arrives is verified by BLAKE3 before it is used, and large blobs while they arrive, so that a broken
//!   connection costs a part and a liar is found out after one.
//! - Nothing is allocated, decompressed or awaited by an announced length that is not bounded here.
//! - Many small blobs cost no round trip each.
//!
//! # A transfer
//!
//! ```text
//!   requester                                        provider
//!     │ ─── Request{what, lease} ────────────────────▶ │
//!     │ ─── Want[{digest, from}, …], … ──────────────▶ │   at most MAX_OUTSTANDING that are not answered
//!     │ ◀── Whole(part)                                │   a blob of at most PART_BYTES
//!     │ ◀── Blob{size}, Outline…, Data(part)…          │   a larger one; no Outline where `from` is not 0
//!     │ ◀── Gone                                       │   it lacks that blob, or may not give it
//!     │ ─── End ─────────────────────────────────────▶ │   it has everything
//! ```
//!
//! Answers come in the order of the wants. In place of any answer: `Refused` (nothing is given for this request),
//! `Over` (one byte more would be more than was agreed).
//!
//! # A frame
//!
//! ```text
//! kind: u8, length of the body: u32, body
//! Request  01  what: u8 (1 bundle, 2 outputs), task: u32, attempt: u32, run: the rest, a run's id
//! Want     02  1 to MAX_WANTS of: digest: 32 bytes, from: u64
//! End      03
//! Whole    11  a part
//! Blob     12  size: u64, more than PART_BYTES
//! Outline  13  1 to MAX_OUTLINE of: chaining value: 32 bytes
//! Data     14  a part
//! Gone     15
//! Refused  16
//! Over     17
//! a part:      encoding: u8 (0 as it is, 1 zstd), length of the content: u32, bytes
//! ```
//!
//! Integers are little-endian. A header is held against its kind before a body is read ([`Header::decode`]). Pure: bytes
//! in, values out. Called by the node's transfers.

use crate::id::{Attempt, Digest, LeaseKey, MAX_RUN_ID_BYTES, RunId, TaskId};

/// The most content of one part, in bytes; every part of a blob but its last is as long.
pub const PART_BYTES: usize = 256 * 1024;
/// The most wants of one frame.
pub const MAX_WANTS: usize = 64;
/// The most wants that are not yet answered.
pub const MAX_OUTSTANDING: usize = 1024;
/// The most chaining values of one frame.
pub const MAX_OUTLINE: usize = 2048;
/// The largest blob that can be transferred, in bytes.
pub const MAX_BLOB_BYTES: u64 = 1 << 40;
/// What precedes a body, in bytes.
pub const HEADER_BYTES: usize = 5;
/// What precedes the bytes of a part within its body.
pub const PART_HEAD_BYTES: usize = 5;

const WANT_BYTES: usize = 40;
const REQUEST: u8 = 0x01;
const WANT: u8 = 0x02;
const END: u8 = 0x03;
const WHOLE: u8 = 0x11;
const BLOB: u8 = 0x12;
const OUTLINE: u8 = 0x13;
const DATA: u8 = 0x14;
const GONE: u8 = 0x15;
const REFUSED: u8 = 0x16;
const OVER: u8 = 0x17;

/// Why bytes are no frame. No honest node of this version sends such.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A kind that is not known, or that the other side may send only.
    #[error("a frame of kind {0:#04x} cannot stand here")]
    Kind(u8),
    /// A length that no body of this kind has.
    #[error("{len} bytes are no length of a frame of kind {kind:#04x}")]
    Length {
        /// The kind.
        kind: u8,
        /// What was announced, in bytes.
        len: u32,
    },
    /// A body that says what cannot be.
    #[error("{0}")]
    Body(&'static str),
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// The task: its manifest and what it reaches, from its owner.
    Bundle,
    /// What came of it: the output tree and its files, from its executor.
    Outputs,
}

/// The first frame of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The lease that entitles to it.
    pub key: LeaseKey,
    /// What is asked for.
    pub what: What,
}

/// One blob that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Want {
    /// Its name.
    pub digest: Digest,
    /// From which byte on: 0, or where a verified part of a large blob ended.
    pub from: u64,
}

/// From the requester.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// What this stream is for.
    Request(Request),
    /// These blobs, in this order.
    Want(Vec<Want>),
    /// Nothing more.
    End,
}

/// How the bytes of a part are to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// They are the content.
    Plain,
    /// One zstd frame, shorter than the content.
    Zstd,
}

/// Some content of a blob, compressed by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part<'a> {
    /// How it is encoded.
    pub encoding: Encoding,
    /// Length of the content in bytes: 1 to [`PART_BYTES`].
    pub len: u32,
    /// The encoded content.
    pub bytes: &'a [u8],
}

/// From the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply<'a> {
    /// A blob that is one part.
    Whole(Part<'a>),
    /// A larger one: its outline and its parts follow.
    Blob {
        /// Its size in bytes, more than [`PART_BYTES`].
        size: u64,
    },
    /// Some of the chaining values of its chunk groups, 32 bytes each.
    Outline(&'a [u8]),
    /// Its next part.
    Data(Part<'a>),
    /// There is no such blob to be had here.
    Gone,
    /// There is nothing to be had for this request.
    Refused,
    /// It would be more than was agreed.
    Over,
}

/// Whose frames are read: each side has kinds of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Who asks.
    Requester,
    /// Who answers.
    Provider,
}

/// Which frame follows, and how long its body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    kind: u8,
    len: u32,
}

impl Header {
    /// Reads a header that `side` sent.
    ///
    /// # Errors
    /// Where that side has no such kind, or none of its bodies is that long.
    pub fn decode(side: Side, bytes: [u8; HEADER_BYTES]) -> Result<Header, FrameError> {
        let [kind, len @ ..] = bytes;
        let len = u32::from_le_bytes(len);
        let long = len as usize;
        let multiple =
            |of: usize, most: usize| long > 0 && long.is_multiple_of(of) && long / of <= most;
        let of = match kind {
            REQUEST | WANT | END => Side::Requester,
            _ => Side::Provider,
        };
        if of != side {
            return Err(FrameError::Kind(kind));
        }
        let fits = match kind {
            REQUEST => (10..=9 + MAX_RUN_ID_BYTES).contains(&long),
            WANT => multiple(WANT_BYTES, MAX_WANTS),
            OUTLINE => multiple(32, MAX_OUTLINE),
            WHOLE | DATA => (PART_HEAD_BYTES + 1..=PART_HEAD_BYTES + PART_BYTES).contains(&long),
            BLOB => long == 8,
            END | GONE | REFUSED | OVER => long == 0,
            _ => return Err(FrameError::Kind(kind)),
        };
        if fits {
            Ok(Header { kind, len })
        } else {
            Err(FrameError::Length { kind, len })
        }
    }

    /// The length of the body in bytes, bounded by its kind.
    #[must_use]
    pub fn body_bytes(self) -> usize {
        self.len as usize
    }

    /// The body as an ask.
    ///
    /// # Errors
    /// Where it is none.
    pub fn ask(self, body: &[u8]) -> Result<Ask, FrameError> {
        match self.kind {
            REQUEST => request(body).map(Ask::Request),
            WANT => body
                .chunks_exact(WANT_BYTES)
                .map(want)
                .collect::<Option<_>>()
                .map(Ask::Want)
                .ok_or(FrameError::Body("a want of another length")),
            END => Ok(Ask::End),
            kind => Err(FrameError::Kind(kind)),
        }
    }

    /// The body as a reply.
    ///
    /// # Errors
    /// Where it is none.
    pub fn reply(self, body: &[u8]) -> Result<Reply<'_>, FrameError> {
        match self.kind {
            WHOLE => part(body).map(Reply::Whole),
            DATA => part(body).map(Reply::Data),
            BLOB => {
                let size = body.try_into().map(u64::from_le_bytes).unwrap_or(0);
                if size <= PART_BYTES as u64 || size > MAX_BLOB_BYTES {
                    return Err(FrameError::Body("a size that is no large blob's"));
                }
                Ok(Reply::Blob { size })
            }
            OUTLINE => Ok(Reply::Outline(body)),
            GONE => Ok(Reply::Gone),
            REFUSED => Ok(Reply::Refused),
            OVER => Ok(Reply::Over),
            kind => Err(FrameError::Kind(kind)),
        }
    }
}

fn request(body: &[u8]) -> Result<Request, FrameError> {
    let short = FrameError::Body("a request that ends too soon");
    let (&what, rest) = body.split_first().ok_or(short)?;
    let (task, rest) = rest.split_first_chunk().ok_or(short)?;
    let (attempt, run) = rest.split_first_chunk().ok_or(short)?;
    let what = match what {
        1 => What::Bundle,
        2 => What::Outputs,
        _ => return Err(FrameError::Body("a request for nothing that there is")),
    };
    let run = std::str::from_utf8(run).ok();
    let run = run.and_then(|run| RunId::new(run).ok());
    let key = LeaseKey {
        run: run.ok_or(FrameError::Body("a request without a run's id"))?,
        task: TaskId(u32::from_le_bytes(*task)),
        attempt: Attempt(u32::from_le_bytes(*attempt)),
    };
    Ok(Request { key, what })
}

fn want(bytes: &[u8]) -> Option<Want> {
    let (digest, from) = bytes.split_first_chunk()?;
    Some(Want {
        digest: Digest(*digest),
        from: u64::from_le_bytes(from.try_into().ok()?),
    })
}

fn part(body: &[u8]) -> Result<Part<'_>, FrameError> {
    let head = body.split_first_chunk::<PART_HEAD_BYTES>();
    let ([encoding, len @ ..], bytes) = head.ok_or(FrameError::Body("a part without content"))?;
    let len = u32::from_le_bytes(*len);
    if len == 0 || len as usize > PART_BYTES {
        return Err(FrameError::Body("a part of a length that none has"));
    }
    let encoding = match encoding {
        0 if bytes.len() == len as usize => Encoding::Plain,
        1 if !bytes.is_empty() && bytes.len() < len as usize => Encoding::Zstd,
        0 | 1 => {
            return Err(FrameError::Body(
                "a part that is longer or shorter than it says",
            ));
        }
        _ => return Err(FrameError::Body("a part in an unknown encoding")),
    };
    Ok(Part {
        encoding,
        len,
        bytes,
    })
}

fn head(out: &mut Vec<u8>, kind: u8, len: usize) {
    out.push(kind);
    out.extend_from_slice(&(len as u32).to_le_bytes());
}

impl Ask {
    /// Appends the frame. Wants beyond [`MAX_WANTS`] take further frames.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Ask::Request(request) => {
                let run = request.key.run.as_str().as_bytes();
                head(out, REQUEST, 9 + run.len());
                out.push(match request.what {
                    What::Bundle => 1,
                    What::Outputs => 2,
                });
                out.extend_from_slice(&request.key.task.0.to_le_bytes());
                out.extend_from_slice(&request.key.attempt.0.to_le_bytes());
                out.extend_from_slice(run);
            }
            Ask::Want(wants) => {
                for some in wants.chunks(MAX_WANTS) {
                    head(out, WANT, WANT_BYTES * some.len());
                    for want in some {
                        out.extend_from_slice(want.digest.as_bytes());
                        out.extend_from_slice(&want.from.to_le_bytes());
                    }
                }
            }
            Ask::End => head(out, END, 0),
        }
    }
}

impl Reply<'_> {
    /// Appends the frame.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Reply::Whole(part) => part.encode(WHOLE, out),
            Reply::Data(part) => part.encode(DATA, out),
            Reply::Blob { size } => {
                head(out, BLOB, 8);
                out.extend_from_slice(&size.to_le_bytes());
            }
            Reply::Outline(values) => {
                head(out, OUTLINE, values.len());
                out.extend_from_slice(values);
            }
            Reply::Gone => head(out, GONE, 0),
            Reply::Refused => head(out, REFUSED, 0),
            Reply::Over => head(out, OVER, 0),
        }
    }
}

impl Part<'_> {
    fn encode(&self, kind: u8, out: &mut Vec<u8>) {
        let encoded = self.bytes.len() as u32;
        out.extend_from_slice(&part_head(kind == WHOLE, self.encoding, self.len, encoded));
        out.extend_from_slice(self.bytes);
    }
}

/// What precedes the `encoded` bytes of a part of `len` bytes: for whoever has them at their place already.
#[must_use]
pub fn part_head(
    whole: bool,
    encoding: Encoding,
    len: u32,
    encoded: u32,
) -> [u8; HEADER_BYTES + PART_HEAD_BYTES] {
    let kind = if whole { WHOLE } else { DATA };
    let [a, b, c, d] = (encoded + PART_HEAD_BYTES as u32).to_le_bytes();
    let [e, f, g, h] = len.to_le_bytes();
    let encoding = match encoding {
        Encoding::Plain => 0,
        Encoding::Zstd => 1,
    };
    [kind, a, b, c, d, encoding, e, f, g, h]
}

/// The property that fuzzing holds the codec to: any bytes are refused, or are the one encoding of what they say.
///
/// # Panics
/// Where the codec breaks it.
#[cfg(any(test, fuzzing))]
pub fn check_frame(bytes: &[u8]) {
    let Some((header, body)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
        return;
    };
    let sides = [Side::Requester, Side::Provider];
    let mut headers = sides
        .into_iter()
        .filter_map(|side| Header::decode(side, *header).ok());
    let (Some(header), None) = (headers.next(), headers.next()) else {
        return;
    };
    let Some(body) = body.get(..header.body_bytes()) else {
        return;
    };
    let mut again = Vec::new();
    match (header.ask(body), header.reply(body)) {
        (Ok(ask), Err(_)) => ask.encode(&mut again),
        (Err(_), Ok(reply)) => reply.encode(&mut again),
        (Err(_), Err(_)) => return,
        (Ok(_), Ok(_)) => panic!("a frame of both sides"),
    }
    assert_eq!(bytes.get(..again.len()), Some(&*again));
    assert_eq!(again.len(), HEADER_BYTES + body.len());
}

#[cfg(test)]
mod tests;
