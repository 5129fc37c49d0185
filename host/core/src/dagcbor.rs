//! The canonical subset of DAG-CBOR that digests are taken of: writes it, and reads it strictly.
//!
//! One value has exactly one encoding here: integers and lengths in their shortest form, definite lengths only, map keys
//! sorted (shorter first, then bytewise), no tags, no floats. The reader refuses everything else, so that
//! `decode` followed by `encode` gives the same bytes, and two different byte strings never mean the same value.
//! It never allocates by an announced length, and never panics whatever it is given. Called by [`crate::manifest`],
//! [`crate::tree`] and [`crate::membership`], which know the shape and so read keys in their one order; a general CBOR library would
//! have to build a map first and compare afterwards.

use thiserror::Error;

const UINT: u8 = 0;
const BYTES: u8 = 2;
const TEXT: u8 = 3;
const ARRAY: u8 = 4;
const MAP: u8 = 5;
const FALSE: u8 = 0xf4;
const TRUE: u8 = 0xf5;
const NULL: u8 = 0xf6;

/// Why bytes are not the canonical encoding of what was expected.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CodecError {
    /// The bytes end in the middle of a value.
    #[error("truncated at byte {at}")]
    Truncated {
        /// Offset in bytes.
        at: usize,
    },
    /// A value of another type stands where `expected` must.
    #[error("{expected} expected at byte {at}")]
    Expected {
        /// Offset in bytes.
        at: usize,
        /// The type or key that must stand here.
        expected: &'static str,
    },
    /// The same value has a shorter or better sorted encoding, and only that one is accepted.
    #[error("not the canonical encoding at byte {at}: {why}")]
    NotCanonical {
        /// Offset in bytes.
        at: usize,
        /// What makes it non-canonical.
        why: &'static str,
    },
    /// A text is not UTF-8.
    #[error("text at byte {at} is not UTF-8")]
    NotUtf8 {
        /// Offset in bytes.
        at: usize,
    },
    /// Bytes follow the value.
    #[error("bytes follow the value at byte {at}")]
    Trailing {
        /// Offset in bytes.
        at: usize,
    },
}

/// Appends canonical values to a buffer that the caller may reuse.
pub(crate) struct Writer<'a> {
    out: &'a mut Vec<u8>,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(out: &'a mut Vec<u8>) -> Self {
        Writer { out }
    }

    fn head(&mut self, major: u8, n: u64) {
        let major = major << 5;
        let bytes = n.to_be_bytes();
        match n {
            0..=23 => self.out.push(major | bytes[7]),
            24..=0xff => self.out.extend_from_slice(&[major | 24, bytes[7]]),
            0x100..=0xffff => self.short(major | 25, &bytes[6..]),
            0x1_0000..=0xffff_ffff => self.short(major | 26, &bytes[4..]),
            _ => self.short(major | 27, &bytes),
        }
    }

    fn short(&mut self, initial: u8, bytes: &[u8]) {
        self.out.push(initial);
        self.out.extend_from_slice(bytes);
    }

    /// Appends what a writer wrote before.
    pub(crate) fn encoded(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    pub(crate) fn uint(&mut self, n: u64) {
        self.head(UINT, n);
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.head(BYTES, bytes.len() as u64);
        self.out.extend_from_slice(bytes);
    }

    pub(crate) fn text(&mut self, text: &str) {
        self.head(TEXT, text.len() as u64);
        self.out.extend_from_slice(text.as_bytes());
    }

    pub(crate) fn bool(&mut self, value: bool) {
        self.out.push(if value { TRUE } else { FALSE });
    }

    pub(crate) fn null(&mut self) {
        self.out.push(NULL);
    }

    pub(crate) fn array(&mut self, len: usize) {
        self.head(ARRAY, len as u64);
    }

    /// The caller writes `len` keys, each with its value, in canonical order.
    pub(crate) fn map(&mut self, len: usize) {
        self.head(MAP, len as u64);
    }

    /// A map of text keys, sorted here; `value` writes the value of one entry.
    pub(crate) fn sorted_map<'k, V>(
        &mut self,
        entries: impl Iterator<Item = (&'k str, V)>,
        mut value: impl FnMut(&mut Self, V),
    ) {
        let mut entries: Vec<(&str, V)> = entries.collect();
        self.map(entries.len());
        entries.sort_by(|(a, _), (b, _)| (a.len(), a).cmp(&(b.len(), b)));
        for (key, entry) in entries {
            self.text(key);
            value(self, entry);
        }
    }
}

/// Reads canonical values from the front of a byte string.
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Reader { bytes, at: 0 }
    }

    /// The offset of the next byte, for errors of the caller's.
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    fn take(&mut self, len: u64) -> Result<&'a [u8], CodecError> {
        let truncated = CodecError::Truncated { at: self.at };
        let Ok(len) = usize::try_from(len) else {
            return Err(truncated);
        };
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let taken = rest.get(..len).ok_or(truncated)?;
        self.at += len;
        Ok(taken)
    }

    fn head(&mut self, major: u8, expected: &'static str) -> Result<u64, CodecError> {
        let at = self.at;
        let initial = self.take(1)?[0];
        if initial >> 5 != major {
            self.at = at;
            return Err(CodecError::Expected { at, expected });
        }
        let (len, least) = match initial & 0x1f {
            small @ 0..=23 => return Ok(u64::from(small)),
            24 => (1, 24),
            25 => (2, 0x100),
            26 => (4, 0x1_0000),
            27 => (8, 0x1_0000_0000),
            _ => {
                return Err(CodecError::NotCanonical {
                    at,
                    why: "indefinite or reserved length",
                });
            }
        };
        let n = self
            .take(len)?
            .iter()
            .fold(0u64, |n, &byte| n << 8 | u64::from(byte));
        if n < least {
            return Err(CodecError::NotCanonical {
                at,
                why: "not the shortest form",
            });
        }
        Ok(n)
    }

    pub(crate) fn uint(&mut self) -> Result<u64, CodecError> {
        self.head(UINT, "an unsigned integer")
    }

    /// An unsigned integer of at most 32 bits.
    pub(crate) fn uint32(&mut self) -> Result<u32, CodecError> {
        let at = self.at;
        u32::try_from(self.uint()?).map_err(|_| CodecError::Expected {
            at,
            expected: "an integer of 32 bits",
        })
    }

    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], CodecError> {
        let len = self.head(BYTES, "a byte string")?;
        self.take(len)
    }

    /// A byte string of exactly 32 bytes.
    pub(crate) fn bytes32(&mut self) -> Result<[u8; 32], CodecError> {
        let at = self.at;
        self.bytes()?.try_into().map_err(|_| CodecError::Expected {
            at,
            expected: "a digest of 32 bytes",
        })
    }

    pub(crate) fn text(&mut self) -> Result<&'a str, CodecError> {
        let at = self.at;
        let len = self.head(TEXT, "a text")?;
        std::str::from_utf8(self.take(len)?).map_err(|_| CodecError::NotUtf8 { at })
    }

    pub(crate) fn bool(&mut self) -> Result<bool, CodecError> {
        let at = self.at;
        match self.take(1)? {
            [FALSE] => Ok(false),
            [TRUE] => Ok(true),
            _ => Err(CodecError::Expected {
                at,
                expected: "a boolean",
            }),
        }
    }

    /// `None` for a null, else what `read` makes of the value.
    pub(crate) fn optional<T, E>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, E>,
    ) -> Result<Option<T>, E> {
        if self.bytes.get(self.at) == Some(&NULL) {
            self.at += 1;
            return Ok(None);
        }
        read(self).map(Some)
    }

    /// The length of an array: never more than the bytes that are left, each element taking at least one.
    pub(crate) fn array(&mut self) -> Result<usize, CodecError> {
        let len = self.head(ARRAY, "an array")?;
        self.bounded(len)
    }

    /// An array of exactly `len` elements.
    pub(crate) fn array_of(
        &mut self,
        len: usize,
        expected: &'static str,
    ) -> Result<(), CodecError> {
        let at = self.at;
        if self.array()? == len {
            Ok(())
        } else {
            Err(CodecError::Expected { at, expected })
        }
    }

    fn map(&mut self) -> Result<usize, CodecError> {
        let len = self.head(MAP, "a map")?;
        self.bounded(len)
    }

    /// A map of exactly `len` keys.
    pub(crate) fn map_of(&mut self, len: usize, expected: &'static str) -> Result<(), CodecError> {
        let at = self.at;
        if self.map()? == len {
            Ok(())
        } else {
            Err(CodecError::Expected { at, expected })
        }
    }

    fn bounded(&self, len: u64) -> Result<usize, CodecError> {
        match usize::try_from(len) {
            Ok(len) if len <= self.bytes.len() - self.at => Ok(len),
            _ => Err(CodecError::Truncated {
                at: self.bytes.len(),
            }),
        }
    }

    /// A text that can only be this one: a known key, a schema.
    pub(crate) fn exactly(&mut self, expected: &'static str) -> Result<(), CodecError> {
        let at = self.at;
        if self.text()? == expected {
            Ok(())
        } else {
            Err(CodecError::Expected { at, expected })
        }
    }

    /// A map of any text keys, which must come sorted, each once.
    pub(crate) fn sorted_map<V>(
        &mut self,
        mut value: impl FnMut(&mut Self, &'a str) -> Result<V, CodecError>,
    ) -> Result<Vec<(&'a str, V)>, CodecError> {
        let mut entries: Vec<(&str, V)> = Vec::new();
        for _ in 0..self.map()? {
            let at = self.at;
            let key = self.text()?;
            if entries
                .last()
                .is_some_and(|(last, _)| (last.len(), *last) >= (key.len(), key))
            {
                return Err(CodecError::NotCanonical {
                    at,
                    why: "keys not sorted or not unique",
                });
            }
            let value = value(self, key)?;
            entries.push((key, value));
        }
        Ok(entries)
    }

    pub(crate) fn finish(self) -> Result<(), CodecError> {
        if self.at == self.bytes.len() {
            Ok(())
        } else {
            Err(CodecError::Trailing { at: self.at })
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
