//! Writes the parts that frames are made of, and refuses what would exceed a cap.
//!
//! Never grows past one frame, whatever it is given. Called by the files that know a message's shape.

use minicbor::Encoder;
use minicbor::encode::{Error, Write};

use super::{List, Text, VERSION};
use crate::id::{Digest, NodeId};
use crate::wire::{MAX_FRAME_BYTES, WireError};

/// What writing comes to.
pub(super) type Written = Result<(), WireError>;

/// The bytes of a frame so far.
struct Bytes(Vec<u8>);

/// There is no room left in the frame.
struct Full;

impl Write for Bytes {
    type Error = Full;

    fn write_all(&mut self, bytes: &[u8]) -> Result<(), Full> {
        if bytes.len() > MAX_FRAME_BYTES - self.0.len() {
            return Err(Full);
        }
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

/// The only failure of writing is a full frame.
fn full(_: Error<Full>) -> WireError {
    WireError::TooLarge
}

/// A frame that is being written.
pub(super) struct Output {
    encoder: Encoder<Bytes>,
}

/// A whole frame of `kind`, whose body `write` writes.
pub(super) fn frame(
    kind: u64,
    write: impl FnOnce(&mut Output) -> Written,
) -> Result<Vec<u8>, WireError> {
    let mut out = Output {
        encoder: Encoder::new(Bytes(Vec::new())),
    };
    out.array(3)?;
    out.uint(VERSION)?;
    out.uint(kind)?;
    write(&mut out)?;
    Ok(out.encoder.into_writer().0)
}

impl Output {
    /// The head of a map; the caller writes so many fields, with ascending keys.
    pub(super) fn map(&mut self, len: u64) -> Written {
        self.encoder.map(len).map(drop).map_err(full)
    }

    /// A field's key; its value follows.
    pub(super) fn key(&mut self, key: u64) -> Result<&mut Output, WireError> {
        self.uint(key)?;
        Ok(self)
    }

    /// The head of an array of a fixed length.
    pub(super) fn array(&mut self, len: u64) -> Written {
        self.encoder.array(len).map(drop).map_err(full)
    }

    /// An array within its cap, whose elements `write` writes one by one.
    pub(super) fn list<T>(
        &mut self,
        cap: List,
        items: impl ExactSizeIterator<Item = T>,
        mut write: impl FnMut(&mut Output, T) -> Written,
    ) -> Written {
        cap.check(items.len())?;
        self.array(items.len() as u64)?;
        for item in items {
            write(self, item)?;
        }
        Ok(())
    }

    pub(super) fn uint(&mut self, n: u64) -> Written {
        self.encoder.u64(n).map(drop).map_err(full)
    }

    pub(super) fn bool(&mut self, value: bool) -> Written {
        self.encoder.bool(value).map(drop).map_err(full)
    }

    pub(super) fn text(&mut self, cap: Text, text: &str) -> Written {
        cap.check(text)?;
        self.encoder.str(text).map(drop).map_err(full)
    }

    /// A text, or null.
    pub(super) fn optional_text(&mut self, cap: Text, text: Option<&str>) -> Written {
        match text {
            Some(text) => self.text(cap, text),
            None => self.encoder.null().map(drop).map_err(full),
        }
    }

    /// A byte string that is a list of small numbers.
    pub(super) fn octets(&mut self, cap: List, octets: &[u8]) -> Written {
        cap.check(octets.len())?;
        self.encoder.bytes(octets).map(drop).map_err(full)
    }

    pub(super) fn digest(&mut self, digest: &Digest) -> Written {
        self.encoder.bytes(&digest.0).map(drop).map_err(full)
    }

    pub(super) fn node(&mut self, node: &NodeId) -> Written {
        self.encoder.bytes(&node.0).map(drop).map_err(full)
    }
}
