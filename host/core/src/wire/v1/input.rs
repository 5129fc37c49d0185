//! Reads the parts that frames are made of, each in its one form and within its cap.
//!
//! minicbor reads longer forms of a number too and knows no caps: both are checked here, and only here. Lengths are held
//! against the bytes that are left before anything is allocated by them; a field that is not known is passed over
//! without recursion. Called by the files that know a message's shape.

use std::sync::Arc;

use minicbor::Decoder;
use minicbor::data::Type;
use minicbor::decode::Error;

use super::{List, MAX_SKIPPED_DEPTH, Skipped, Text, VERSION};
use crate::id::{Digest, NodeId};
use crate::wire::{MAX_FRAME_BYTES, WireError};

/// A frame that is being read.
pub(super) struct Input<'b> {
    decoder: Decoder<'b>,
    skipped: Skipped,
}

/// What `read` makes of a frame's body. It gets the kind, and gives `None`, having read nothing, for one that it does not
/// know.
pub(super) fn frame<'b, T>(
    bytes: &'b [u8],
    read: impl FnOnce(u64, &mut Input<'b>) -> Result<Option<T>, WireError>,
) -> Result<(T, Skipped), WireError> {
    if bytes.len() > MAX_FRAME_BYTES {
        return Err(WireError::TooLarge);
    }
    let mut input = Input {
        decoder: Decoder::new(bytes),
        skipped: Skipped::Nothing,
    };
    let expected = "a frame of three elements";
    let elements = input.array()?;
    if elements == 0 {
        return Err(WireError::Expected { at: 0, expected });
    }
    let version = input.uint()?;
    if version != VERSION {
        return Err(WireError::UnknownVersion { version });
    }
    if elements != 3 {
        return Err(WireError::Expected { at: 0, expected });
    }
    let kind = input.uint()?;
    let value = read(kind, &mut input)?;
    if value.is_none() {
        input.map("a body of an unknown kind", |_| Ok(()))?;
    }
    if input.at() != bytes.len() {
        return Err(WireError::Trailing { at: input.at() });
    }
    let value = value.ok_or(WireError::UnknownKind { kind })?;
    Ok((value, input.skipped))
}

/// How many bytes the head of `n` takes in its shortest form.
fn head_bytes(n: u64) -> usize {
    match n {
        0..=23 => 1,
        24..=0xff => 2,
        0x100..=0xffff => 3,
        0x1_0000..=0xffff_ffff => 5,
        _ => 9,
    }
}

impl<'b> Input<'b> {
    /// The offset of the next byte, for errors.
    pub(super) fn at(&self) -> usize {
        self.decoder.position()
    }

    fn left(&self) -> usize {
        self.decoder.input().len() - self.at()
    }

    /// What is the matter with the value at `at`, which minicbor did not read.
    fn refused(&self, at: usize, expected: &'static str, error: &Error) -> WireError {
        if error.is_end_of_input() {
            return WireError::Truncated { at };
        }
        match self.decoder.input().get(at) {
            Some(0x5f | 0x7f | 0x9f | 0xbf) => WireError::Indefinite { at },
            _ => WireError::Expected { at, expected },
        }
    }

    /// That the head at `at`, which says `n` and takes `bytes`, takes no more than it needs.
    fn shortest(at: usize, n: u64, bytes: usize) -> Result<(), WireError> {
        if bytes == head_bytes(n) {
            Ok(())
        } else {
            Err(WireError::NotShortest { at })
        }
    }

    pub(super) fn uint(&mut self) -> Result<u64, WireError> {
        let at = self.at();
        let n = self.decoder.u64();
        let n = n.map_err(|e| self.refused(at, "an unsigned integer", &e))?;
        Self::shortest(at, n, self.at() - at)?;
        Ok(n)
    }

    /// An unsigned integer of at most 32 bits.
    pub(super) fn uint32(&mut self) -> Result<u32, WireError> {
        let at = self.at();
        u32::try_from(self.uint()?).map_err(|_| WireError::OutOfRange {
            at,
            bits: u32::BITS,
        })
    }

    pub(super) fn bool(&mut self) -> Result<bool, WireError> {
        let at = self.at();
        let value = self.decoder.bool();
        value.map_err(|e| self.refused(at, "a boolean", &e))
    }

    fn str(&mut self) -> Result<&'b str, WireError> {
        let at = self.at();
        let text = self.decoder.str().map_err(|error| {
            if error.is_end_of_input() || error.is_type_mismatch() {
                self.refused(at, "a text", &error)
            } else {
                WireError::NotUtf8 { at }
            }
        })?;
        Self::shortest(at, text.len() as u64, self.at() - at - text.len())?;
        Ok(text)
    }

    pub(super) fn text(&mut self, cap: Text) -> Result<Arc<str>, WireError> {
        let text = self.str()?;
        cap.check(text)?;
        Ok(text.into())
    }

    /// A text, or null.
    pub(super) fn optional_text(&mut self, cap: Text) -> Result<Option<Arc<str>>, WireError> {
        if self.peek()? == Type::Null {
            self.null()?;
            return Ok(None);
        }
        self.text(cap).map(Some)
    }

    fn null(&mut self) -> Result<(), WireError> {
        let at = self.at();
        let null = self.decoder.null();
        null.map_err(|e| self.refused(at, "null", &e))
    }

    fn bytes(&mut self) -> Result<&'b [u8], WireError> {
        let at = self.at();
        let bytes = self.decoder.bytes();
        let bytes = bytes.map_err(|e| self.refused(at, "a byte string", &e))?;
        Self::shortest(at, bytes.len() as u64, self.at() - at - bytes.len())?;
        Ok(bytes)
    }

    fn bytes32(&mut self) -> Result<[u8; 32], WireError> {
        let at = self.at();
        self.bytes()?.try_into().map_err(|_| WireError::Expected {
            at,
            expected: "a byte string of 32",
        })
    }

    /// A byte string that is a list of small numbers.
    pub(super) fn octets(&mut self, cap: List) -> Result<Vec<u8>, WireError> {
        let octets = self.bytes()?;
        cap.check(octets.len())?;
        Ok(octets.to_vec())
    }

    pub(super) fn digest(&mut self) -> Result<Digest, WireError> {
        self.bytes32().map(Digest)
    }

    pub(super) fn node(&mut self) -> Result<NodeId, WireError> {
        self.bytes32().map(NodeId)
    }

    /// A length that so many values of at least one byte each still fit behind.
    fn length(
        &mut self,
        at: usize,
        read: Result<Option<u64>, Error>,
        expected: &'static str,
        values_each: usize,
    ) -> Result<usize, WireError> {
        let len = read
            .map_err(|e| self.refused(at, expected, &e))?
            .ok_or(WireError::Indefinite { at })?;
        Self::shortest(at, len, self.at() - at)?;
        match usize::try_from(len) {
            Ok(len) if len <= self.left() / values_each => Ok(len),
            _ => Err(WireError::Truncated { at }),
        }
    }

    /// The length of an array: never more than the bytes that are left.
    pub(super) fn array(&mut self) -> Result<usize, WireError> {
        let at = self.at();
        let len = self.decoder.array();
        self.length(at, len, "an array", 1)
    }

    /// The head of an array of exactly `len` elements.
    pub(super) fn array_of(&mut self, len: usize, expected: &'static str) -> Result<(), WireError> {
        let at = self.at();
        if self.array()? == len {
            Ok(())
        } else {
            Err(WireError::Expected { at, expected })
        }
    }

    /// An enumeration's value that is an array: its code, and how many arguments follow.
    pub(super) fn coded(&mut self, expected: &'static str) -> Result<(u64, usize), WireError> {
        let at = self.at();
        let args = self.array()?.checked_sub(1);
        let args = args.ok_or(WireError::Expected { at, expected })?;
        Ok((self.uint()?, args))
    }

    /// An array within its cap.
    pub(super) fn list<T>(
        &mut self,
        cap: List,
        mut read: impl FnMut(&mut Input<'b>) -> Result<T, WireError>,
    ) -> Result<Vec<T>, WireError> {
        let len = self.array()?;
        cap.check(len)?;
        // By element, not by the announced length: what is never read is never paid for.
        let mut items = Vec::new();
        for _ in 0..len {
            items.push(read(self)?);
        }
        Ok(items)
    }

    fn pairs(&mut self) -> Result<usize, WireError> {
        let at = self.at();
        let len = self.decoder.map();
        self.length(at, len, "a map", 2)
    }

    /// A map: `read` takes the fields that it knows, in the order of their keys; the others are passed over.
    pub(super) fn map<T>(
        &mut self,
        of: &'static str,
        read: impl FnOnce(&mut Fields<'_, 'b>) -> Result<T, WireError>,
    ) -> Result<T, WireError> {
        let keys = Keys::new(self.pairs()?);
        let mut fields = Fields {
            input: self,
            of,
            keys,
            ahead: None,
        };
        let value = read(&mut fields)?;
        fields.pass_rest()?;
        Ok(value)
    }

    fn peek(&self) -> Result<Type, WireError> {
        let at = self.at();
        let peeked = self.decoder.datatype();
        peeked.map_err(|e| self.refused(at, "a value", &e))
    }

    /// Passes over one value of any shape.
    fn skip(&mut self) -> Result<(), WireError> {
        self.skipped = Skipped::Fields;
        let mut open: Vec<Open> = Vec::new();
        loop {
            let at = self.at();
            if let Some(inner) = self.leaf_or_head()? {
                if open.len() == MAX_SKIPPED_DEPTH {
                    return Err(WireError::TooDeep { at });
                }
                open.push(inner);
            }
            loop {
                let Some(innermost) = open.last_mut() else {
                    return Ok(());
                };
                if innermost.enter_next(self)? {
                    break;
                }
                open.pop();
            }
        }
    }

    /// Passes over a value without parts, or over the head of one with parts.
    fn leaf_or_head(&mut self) -> Result<Option<Open>, WireError> {
        let at = self.at();
        match self.peek()? {
            Type::U8 | Type::U16 | Type::U32 | Type::U64 => self.uint().map(drop)?,
            Type::I8 | Type::I16 | Type::I32 | Type::I64 | Type::Int => self.negative()?,
            Type::Bytes => self.bytes().map(drop)?,
            Type::String => self.str().map(drop)?,
            Type::Bool => self.bool().map(drop)?,
            Type::Null => self.null()?,
            Type::Array => return self.array().map(|left| Some(Open::Array { left })),
            Type::Map => return self.pairs().map(|left| Some(Open::Map(Keys::new(left)))),
            Type::BytesIndef | Type::StringIndef | Type::ArrayIndef | Type::MapIndef => {
                return Err(WireError::Indefinite { at });
            }
            _ => {
                return Err(WireError::Expected {
                    at,
                    expected: "a number, bool, null, text, byte string, array or map",
                });
            }
        }
        Ok(None)
    }

    fn negative(&mut self) -> Result<(), WireError> {
        let at = self.at();
        let n = self.decoder.int();
        let n = n.map_err(|e| self.refused(at, "an integer", &e))?;
        // CBOR writes -1 - n as n; minicbor's integers are those of 65 bits that this cannot overflow for.
        let written = u64::try_from(-1 - i128::from(n)).unwrap_or_default();
        Self::shortest(at, written, self.at() - at)
    }
}

/// The keys of a map that is being read: each greater than the one before.
struct Keys {
    left: usize,
    last: Option<u64>,
}

impl Keys {
    fn new(left: usize) -> Keys {
        Keys { left, last: None }
    }

    fn next(&mut self, input: &mut Input<'_>) -> Result<Option<u64>, WireError> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        let at = input.at();
        let key = input.uint()?;
        if self.last.is_some_and(|last| last >= key) {
            return Err(WireError::NotAscending { at });
        }
        self.last = Some(key);
        Ok(Some(key))
    }
}

/// A value with parts that is being passed over.
enum Open {
    Array { left: usize },
    Map(Keys),
}

impl Open {
    /// Goes to its next part, where there is one.
    fn enter_next(&mut self, input: &mut Input<'_>) -> Result<bool, WireError> {
        match self {
            Open::Array { left: 0 } => Ok(false),
            Open::Array { left } => {
                *left -= 1;
                Ok(true)
            }
            Open::Map(keys) => keys.next(input).map(|key| key.is_some()),
        }
    }
}

/// The fields of a map that is being read, from the least key to the greatest.
pub(super) struct Fields<'i, 'b> {
    input: &'i mut Input<'b>,
    of: &'static str,
    keys: Keys,
    /// The key whose value comes next, where it is read already.
    ahead: Option<u64>,
}

impl<'b> Fields<'_, 'b> {
    /// The value of a field that must be there. To be called with ascending keys.
    pub(super) fn get<T>(
        &mut self,
        key: u64,
        read: impl FnOnce(&mut Input<'b>) -> Result<T, WireError>,
    ) -> Result<T, WireError> {
        self.pass_to(key)?;
        if self.ahead != Some(key) {
            return Err(WireError::MissingKey { of: self.of, key });
        }
        self.ahead = None;
        read(self.input)
    }

    /// The value of a field that older nodes do not have. Likewise.
    pub(super) fn find<T>(
        &mut self,
        key: u64,
        read: impl FnOnce(&mut Input<'b>) -> Result<T, WireError>,
    ) -> Result<Option<T>, WireError> {
        self.pass_to(key)?;
        if self.ahead != Some(key) {
            return Ok(None);
        }
        self.ahead = None;
        read(self.input).map(Some)
    }

    /// Passes over the fields before `key`.
    fn pass_to(&mut self, key: u64) -> Result<(), WireError> {
        while self.peek()?.is_some_and(|ahead| ahead < key) {
            self.ahead = None;
            self.input.skip()?;
        }
        Ok(())
    }

    /// Passes over all that are left.
    fn pass_rest(&mut self) -> Result<(), WireError> {
        while self.peek()?.is_some() {
            self.ahead = None;
            self.input.skip()?;
        }
        Ok(())
    }

    /// The next key, read once.
    fn peek(&mut self) -> Result<Option<u64>, WireError> {
        if self.ahead.is_none() {
            self.ahead = self.keys.next(self.input)?;
        }
        Ok(self.ahead)
    }
}
