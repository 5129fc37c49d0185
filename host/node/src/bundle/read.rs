//! A file → the bundle that it is, verified to its last byte, or why it is none. What is in it goes to a [`Sink`] as it
//! is read: to nowhere when it is only verified, into the store when it is to run.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use bytes::Bytes;
use sykli_core::blob::{Encoding, PART_BYTES, Part};
use sykli_core::id::Digest;

use super::walk::Walk;
use super::{BLOB, Bundle, BundleBlob, BundleError, END, MAGIC, PART_HEAD_BYTES, VERSION};
use crate::store::{Arrival, Store};
use crate::transfer::{Item, Kind, Unpacker};

/// Reads the bundle at `path`. Its contents may come to `max_bytes` together.
pub(super) fn open(
    path: &Path,
    max_bytes: u64,
    sink: &mut Sink<'_>,
) -> Result<Bundle, BundleError> {
    let file = File::open(path).map_err(|error| BundleError::read(path, &error))?;
    // A pipe or a device has no end.
    if !file.metadata().is_ok_and(|found| found.is_file()) {
        let error = io::Error::other("it is no regular file");
        return Err(BundleError::read(path, &error));
    }
    read(BufReader::new(file), path, max_bytes, sink)
}

/// The same of any bytes; `path` is what errors call them.
pub(super) fn read(
    reader: impl Read,
    path: &Path,
    max_bytes: u64,
    sink: &mut Sink<'_>,
) -> Result<Bundle, BundleError> {
    let mut input = Input {
        reader,
        path,
        hasher: blake3::Hasher::new(),
        at: 0,
        left: max_bytes,
        max_bytes,
        unpacker: Unpacker::default(),
        encoded: vec![0; PART_BYTES],
        room: vec![0; PART_BYTES],
    };
    let task = input.head()?;
    let mut walk = Walk::new(task);
    let mut blobs = Vec::new();
    loop {
        let at = input.at;
        let next = walk.next();
        match (input.array()?, next) {
            ([BLOB], next) => blobs.push(input.blob(&mut walk, next, sink)?),
            ([END], None) => break,
            ([END], Some(item)) => return Err(BundleError::Missing(item.digest)),
            _ => return Err(BundleError::Mark { at }),
        }
    }
    let sum = *input.hasher.finalize().as_bytes();
    if input.array()? != sum {
        return Err(BundleError::Checksum);
    }
    if input.reader.read(&mut [0]).is_ok_and(|more| more > 0) {
        return Err(BundleError::Trailing);
    }
    Ok(Bundle {
        task,
        manifest: walk.finish(task)?,
        blobs,
        file_bytes: input.at,
    })
}

struct Input<'a, R> {
    reader: R,
    path: &'a Path,
    hasher: blake3::Hasher,
    at: u64,
    /// What contents may still come to.
    left: u64,
    max_bytes: u64,
    unpacker: Unpacker,
    encoded: Vec<u8>,
    room: Vec<u8>,
}

impl<R: Read> Input<'_, R> {
    fn fill(&mut self, len: usize) -> Result<(), BundleError> {
        let room = self.encoded.get_mut(..len).unwrap_or_default();
        fill(&mut self.reader, room, self.path, self.at)?;
        self.hasher.update(room);
        self.at += len as u64;
        Ok(())
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], BundleError> {
        let mut bytes = [0; N];
        fill(&mut self.reader, &mut bytes, self.path, self.at)?;
        self.hasher.update(&bytes);
        self.at += N as u64;
        Ok(bytes)
    }

    /// What the file is of.
    fn head(&mut self) -> Result<Digest, BundleError> {
        match self.array() {
            Ok(MAGIC) => {}
            Ok(_) | Err(BundleError::Truncated { .. }) => return Err(BundleError::NotABundle),
            Err(error) => return Err(error),
        }
        match u32::from_le_bytes(self.array()?) {
            VERSION => Ok(Digest(self.array()?)),
            other => Err(BundleError::Version(other)),
        }
    }

    fn blob(
        &mut self,
        walk: &mut Walk,
        expected: Option<Item>,
        sink: &mut Sink<'_>,
    ) -> Result<BundleBlob, BundleError> {
        let digest = Digest(self.array()?);
        let item = match expected {
            Some(item) if item.digest == digest => item,
            _ if walk.was(&digest) && expected.is_none_or(|item| item.digest != digest) => {
                return Err(BundleError::Twice(digest));
            }
            _ => return Err(BundleError::Unreached(digest)),
        };
        let size = u64::from_le_bytes(self.array()?);
        if size == 0 || !item.may_have(size) {
            return Err(BundleError::Size { digest, size });
        }
        let max = self.max_bytes;
        self.left = self
            .left
            .checked_sub(size)
            .ok_or(BundleError::TooLarge { max })?;
        let packed = u64::from_le_bytes(self.array()?);
        let begin = self.at;
        sink.begin(digest)?;
        let mut hasher = blake3::Hasher::new();
        let mut content = Vec::new();
        let mut offset = 0;
        while offset < size {
            let len = (size - offset).min(PART_BYTES as u64);
            let part = self.part(digest, len as u32, packed - (self.at - begin).min(packed))?;
            hasher.update(part);
            if item.kind != Kind::File {
                content.extend_from_slice(part);
            }
            sink.part(part, offset)?;
            offset += len;
        }
        if self.at - begin != packed {
            return Err(BundleError::Part(digest));
        }
        if Digest(*hasher.finalize().as_bytes()) != digest {
            return Err(BundleError::Content(digest));
        }
        sink.end(digest)?;
        walk.learn(&item, &content)?;
        Ok(walk.blob(&item, size, packed))
    }

    /// The next part: `len` bytes of content that take at most `most` bytes here.
    fn part(&mut self, digest: Digest, len: u32, most: u64) -> Result<&[u8], BundleError> {
        let wrong = BundleError::Part(digest);
        let [encoding, encoded @ ..]: [u8; PART_HEAD_BYTES] = self.array()?;
        let encoded = u32::from_le_bytes(encoded);
        let encoding = match encoding {
            0 if encoded == len => Encoding::Plain,
            1 if encoded > 0 && encoded < len => Encoding::Zstd,
            _ => return Err(wrong),
        };
        if u64::from(encoded) + PART_HEAD_BYTES as u64 > most {
            return Err(wrong);
        }
        self.fill(encoded as usize)?;
        let part = Part {
            encoding,
            len,
            bytes: self.encoded.get(..encoded as usize).unwrap_or_default(),
        };
        self.unpacker.unpack(&part, &mut self.room).ok_or(wrong)
    }
}

fn fill(reader: &mut impl Read, room: &mut [u8], path: &Path, at: u64) -> Result<(), BundleError> {
    reader.read_exact(room).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => BundleError::Truncated { at },
        _ => BundleError::read(path, &error),
    })
}

/// Where contents go.
pub(super) enum Sink<'a> {
    /// Nowhere: they are only verified.
    Nowhere,
    /// Into a store.
    Store(&'a Store, Incoming),
}

/// The blob that is under way.
#[derive(Default)]
pub(super) enum Incoming {
    /// None, or one that the store has.
    #[default]
    Nothing,
    /// Its first part.
    First(Digest, Vec<u8>),
    /// More than that.
    Large(Arrival),
}

impl<'a> Sink<'a> {
    /// Into this store.
    pub(super) fn store(store: &'a Store) -> Sink<'a> {
        Sink::Store(store, Incoming::Nothing)
    }

    fn begin(&mut self, digest: Digest) -> Result<(), BundleError> {
        if let Sink::Store(store, incoming) = self
            && !store.has(&digest)
        {
            *incoming = Incoming::First(digest, Vec::new());
        }
        Ok(())
    }

    fn part(&mut self, part: &[u8], offset: u64) -> Result<(), BundleError> {
        let Sink::Store(store, incoming) = self else {
            return Ok(());
        };
        match std::mem::take(incoming) {
            Incoming::Nothing => {}
            Incoming::First(digest, first) if first.is_empty() => {
                *incoming = Incoming::First(digest, part.to_vec());
            }
            Incoming::First(digest, first) => {
                let mut arrival = store.arrival_apart(digest)?;
                arrival.write(&first, 0)?;
                arrival.write(part, offset)?;
                *incoming = Incoming::Large(arrival);
            }
            Incoming::Large(mut arrival) => {
                arrival.write(part, offset)?;
                *incoming = Incoming::Large(arrival);
            }
        }
        Ok(())
    }

    /// The content was what its digest says.
    fn end(&mut self, digest: Digest) -> Result<(), BundleError> {
        let Sink::Store(store, incoming) = self else {
            return Ok(());
        };
        match std::mem::take(incoming) {
            Incoming::Nothing => {}
            Incoming::First(_, content) => store.put_verified(digest, Bytes::from(content))?,
            Incoming::Large(arrival) => arrival.keep()?,
        }
        Ok(())
    }
}
