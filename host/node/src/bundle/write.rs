//! A task's blobs → a bundle. Part by part: nothing but trees and the manifest is in memory as a whole.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use sykli_core::blob::PART_BYTES;
use sykli_core::id::Digest;
use sykli_runtime::Source;

use super::walk::Walk;
use super::{BLOB, Bundle, BundleError, END, MAGIC, VERSION};
use crate::store::{Buffer, hash_file};
use crate::transfer::{Compressor, Item, Kind};

/// Where a blob's packed length stands in its head, and how long the head is.
const PACKED_AT: u64 = 1 + 32 + 8;
const HEAD_BYTES: u64 = PACKED_AT + 8;

/// Writes the bundle of `task` into `out`, an empty file that is called `path`. `find` has every blob that it reaches.
pub(super) fn write(
    out: &File,
    path: &Path,
    task: Digest,
    level: i32,
    find: &dyn Fn(&Digest) -> Option<Source>,
) -> Result<Bundle, BundleError> {
    let mut writer = Writer {
        out,
        path,
        at: 0,
        level,
        compressor: Compressor::default(),
        room: vec![0; PART_BYTES],
    };
    writer.put(&[&MAGIC[..], &VERSION.to_le_bytes(), task.as_bytes()].concat())?;
    let mut walk = Walk::new(task);
    let mut blobs = Vec::new();
    while let Some(item) = walk.next() {
        let source = find(&item.digest).filter(|source| item.may_have(source.len()));
        let source = source.ok_or(BundleError::Source(item.digest))?;
        let (packed, content) = writer.blob(&item, &source)?;
        walk.learn(&item, &content)?;
        blobs.push(walk.blob(&item, source.len(), packed));
    }
    writer.put(&[END])?;
    let sum = hash_file(out, &mut Buffer::new());
    let sum = sum.map_err(|error| BundleError::write(path, &error))?;
    writer.put(sum.as_bytes())?;
    Ok(Bundle {
        task,
        manifest: walk.finish(task)?,
        blobs,
        file_bytes: writer.at,
    })
}

struct Writer<'a> {
    out: &'a File,
    path: &'a Path,
    at: u64,
    level: i32,
    compressor: Compressor,
    room: Vec<u8>,
}

impl Writer<'_> {
    fn put(&mut self, bytes: &[u8]) -> Result<(), BundleError> {
        self.put_at(bytes, self.at)?;
        self.at += bytes.len() as u64;
        Ok(())
    }

    fn put_at(&self, bytes: &[u8], at: u64) -> Result<(), BundleError> {
        let put = self.out.write_all_at(bytes, at);
        put.map_err(|error| BundleError::write(self.path, &error))
    }

    /// Writes one blob: what its parts take, and its content where that is looked at.
    fn blob(&mut self, item: &Item, source: &Source) -> Result<(u64, Vec<u8>), BundleError> {
        let (begin, size) = (self.at, source.len());
        let head = [
            &[BLOB][..],
            item.digest.as_bytes(),
            &size.to_le_bytes(),
            &[0; 8],
        ];
        self.put(&head.concat())?;
        let mut hasher = blake3::Hasher::new();
        let mut content = Vec::new();
        let mut offset = 0;
        while offset < size {
            let most = usize::try_from(size - offset).unwrap_or(usize::MAX);
            let mut room = std::mem::take(&mut self.room);
            let part = room.get_mut(..most.min(PART_BYTES)).unwrap_or_default();
            let read = source.read_exact_at(part, offset);
            read.map_err(|_| BundleError::Source(item.digest))?;
            hasher.update(part);
            if item.kind != Kind::File {
                content.extend_from_slice(part);
            }
            offset += part.len() as u64;
            self.part(part)?;
            self.room = room;
        }
        if Digest(*hasher.finalize().as_bytes()) != item.digest {
            return Err(BundleError::Source(item.digest));
        }
        let packed = self.at - begin - HEAD_BYTES;
        self.put_at(&packed.to_le_bytes(), begin + PACKED_AT)?;
        Ok((packed, content))
    }

    fn part(&mut self, part: &[u8]) -> Result<(), BundleError> {
        let (encoding, bytes) = match self.compressor.pack(part, self.level) {
            Some(packed) => (1, packed),
            None => (0, part),
        };
        let mut whole = Vec::with_capacity(super::PART_HEAD_BYTES + bytes.len());
        whole.push(encoding);
        whole.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
        whole.extend_from_slice(bytes);
        self.put(&whole)
    }
}
