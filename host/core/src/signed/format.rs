//! What signed formats have in common: why bytes are none of them, and the parts that several hold. Each length is held
//! against its cap before anything is allocated. Called by the files that know a format's shape.

use crate::dagcbor::{CodecError, Reader, Writer};
use crate::id::NodeId;
use crate::wire::WireError;

/// Why bytes are not what they should be, or why a value does not fit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// Not the canonical encoding of such a value.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// What a node says of itself is no such thing.
    #[error("capabilities: {0}")]
    Capabilities(#[from] WireError),
    /// A number in front that this reader does not know.
    #[error("version {version} of {what} is not known here")]
    UnknownVersion {
        /// Of what.
        what: &'static str,
        /// Which.
        version: u64,
    },
    /// An enumeration's value that this reader does not know.
    #[error("{what} with the code {code} is not known here")]
    UnknownCode {
        /// Of what.
        what: &'static str,
        /// Which.
        code: u64,
    },
    /// A list over its cap.
    #[error("more than {max} {what}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// The cap.
        max: usize,
    },
    /// A text, byte string or the whole over its cap.
    #[error("{what} of more than {max} bytes")]
    TooLong {
        /// What.
        what: &'static str,
        /// The cap in bytes.
        max: usize,
    },
}

impl FormatError {
    /// Whether a newer node may say it in good faith: it is answered, and no offence.
    #[must_use]
    pub fn is_newer(&self) -> bool {
        match self {
            FormatError::UnknownVersion { .. } | FormatError::UnknownCode { .. } => true,
            FormatError::Capabilities(error) => !error.is_offence(),
            _ => false,
        }
    }
}

/// Every version is 1 so far.
const VERSION: u64 = 1;

/// The head of an array whose first element is the version; the caller writes `len` more.
pub(crate) fn write_head(out: &mut Writer<'_>, len: usize) {
    out.array(len + 1);
    out.uint(VERSION);
}

/// That head, read; the caller reads `len` more.
pub(crate) fn read_head(
    input: &mut Reader<'_>,
    what: &'static str,
    len: usize,
) -> Result<(), FormatError> {
    let at = input.at();
    let elements = input.array()?;
    read_version(input, what)?;
    if elements == len + 1 {
        Ok(())
    } else {
        Err(expected(at, what))
    }
}

pub(crate) fn read_version(input: &mut Reader<'_>, what: &'static str) -> Result<(), FormatError> {
    match input.uint()? {
        VERSION => Ok(()),
        version => Err(FormatError::UnknownVersion { what, version }),
    }
}

pub(crate) fn expected(at: usize, expected: &'static str) -> FormatError {
    CodecError::Expected { at, expected }.into()
}

pub(crate) fn read_node(input: &mut Reader<'_>) -> Result<NodeId, FormatError> {
    Ok(NodeId(input.bytes32()?))
}

/// A byte string of exactly 16 bytes.
pub(crate) fn read_bytes16(
    input: &mut Reader<'_>,
    what: &'static str,
) -> Result<[u8; 16], FormatError> {
    let at = input.at();
    input.bytes()?.try_into().map_err(|_| expected(at, what))
}

/// The length of a list within its cap.
pub(crate) fn read_list(
    input: &mut Reader<'_>,
    what: &'static str,
    max: usize,
) -> Result<usize, FormatError> {
    match input.array()? {
        len if len <= max => Ok(len),
        _ => Err(FormatError::TooMany { what, max }),
    }
}

pub(crate) fn write_optional<T>(
    out: &mut Writer<'_>,
    value: Option<&T>,
    write: impl FnOnce(&T, &mut Writer<'_>),
) {
    match value {
        Some(value) => write(value, out),
        None => out.null(),
    }
}
