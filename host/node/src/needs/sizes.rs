//! What blobs cost on the wire: their compressed sizes, each measured once.
//!
//! An offer says sizes before a byte moves, and both ends judge by them, so they are measured and not guessed: a blob is
//! compressed as its transfer would be, into nothing. Nothing is kept but the sum. Called by `needs` (bundles) and by
//! `foreign` (outputs).

use std::io;
use std::sync::Mutex;

use sykli_core::id::Digest;
use sykli_runtime::Source;

use crate::db::lock;
use crate::store::Recent;

/// Sizes that are remembered, at least.
const REMEMBERED: usize = 65_536;
/// A blob flows in parts of so many bytes, each compressed by itself.
const PART_BYTES: usize = 256 * 1024;
/// What flows beside the content of a part, in bytes, rounded up: what it is, its sizes, the hash it is held against.
const PART_OVERHEAD: u64 = 96;
/// What a part must save at least, in percent, or it flows as it is.
const LEAST_SAVING: u64 = 3;

/// Compressed sizes by digest, at one level. Shared by all runs of a node.
pub(crate) struct SizeBook {
    level: i32,
    known: Mutex<Recent<[u8; 32], u64>>,
}

impl SizeBook {
    /// An empty book of sizes at this zstd level.
    pub(crate) fn new(level: i32) -> SizeBook {
        SizeBook {
            level,
            known: Mutex::new(Recent::new(REMEMBERED)),
        }
    }

    /// What the blob `digest`, which `source` reads, costs on the wire: measured, or remembered.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn exact(&self, digest: &Digest, source: &Source) -> io::Result<u64> {
        if let Some(bytes) = lock(&self.known).get(digest.as_bytes()) {
            return Ok(bytes);
        }
        let bytes = self.measure(source)?;
        lock(&self.known).insert(*digest.as_bytes(), bytes, 1);
        Ok(bytes)
    }

    /// The same without remembering it: for what has no second reader.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn measure(&self, source: &Source) -> io::Result<u64> {
        let raw = source.len();
        let mut compressor = zstd::bulk::Compressor::new(self.level)?;
        let longest = usize::try_from(raw).map_or(PART_BYTES, |raw| raw.min(PART_BYTES));
        let mut part = vec![0; longest];
        let mut packed = Vec::with_capacity(zstd::zstd_safe::compress_bound(longest));
        let (mut offset, mut sum) = (0, 0u64);
        while offset < raw {
            let want = usize::try_from(raw - offset).map_or(longest, |rest| rest.min(longest));
            let part = part.get_mut(..want).unwrap_or_default();
            source.read_exact_at(part, offset)?;
            packed.clear();
            let bytes = compressor.compress_to_buffer(part, &mut packed)? as u64;
            let plain = want as u64;
            let saves = bytes.saturating_mul(100) <= plain * (100 - LEAST_SAVING);
            let flows = if saves { bytes } else { plain };
            sum = sum.saturating_add(flows + PART_OVERHEAD);
            offset += plain;
        }
        source.close();
        Ok(sum)
    }
}

/// What a blob of so many bytes costs at most, without a look at it.
pub(crate) fn at_most(raw: u64) -> u64 {
    raw.saturating_add(raw.div_ceil(PART_BYTES as u64) * PART_OVERHEAD)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use sykli_runtime::ReadAt;

    /// Bytes that no compressor makes smaller.
    fn noise(len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        blake3::Hasher::new().finalize_xof().fill(&mut bytes);
        bytes
    }

    #[test]
    fn what_shrinks_costs_less_and_what_does_not_costs_itself() {
        let book = SizeBook::new(1);
        let text = book.measure(&Source::bytes(vec![b'a'; 1 << 20])).unwrap();
        assert!(text < 10_000, "{text}");
        let raw = 1 << 20;
        let noise = book.measure(&Source::bytes(noise(raw))).unwrap();
        assert_eq!(noise, at_most(raw as u64));
        assert_eq!(book.measure(&Source::empty()).unwrap(), 0);
    }

    #[test]
    fn a_blob_in_a_file_costs_what_it_does_in_memory() {
        let book = SizeBook::new(3);
        let mut bytes = noise(700_000);
        bytes.extend(vec![7; 700_000]);
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("blob"), &bytes).unwrap();
        let file = Source::file(dir.path().join("blob"), bytes.len() as u64);
        let in_memory = book.measure(&Source::bytes(bytes)).unwrap();
        let in_file = book.measure(&file).unwrap();
        assert_eq!(in_memory, in_file);
        assert!(in_file < at_most(700_000) + 10_000, "{in_file}");
    }

    #[test]
    fn a_blob_is_read_once_and_one_that_cannot_be_read_again() {
        struct Counted(AtomicUsize);
        impl ReadAt for Counted {
            fn read_at(&self, buf: &mut [u8], _: u64) -> io::Result<usize> {
                match self.0.fetch_add(1, Ordering::Relaxed) {
                    0 => Err(io::Error::other("not yet")),
                    _ => Ok(buf.len()),
                }
            }
            fn len(&self) -> u64 {
                5
            }
        }
        let (book, reads) = (SizeBook::new(1), Arc::new(Counted(AtomicUsize::new(0))));
        let (source, digest) = (Source::new(reads.clone()), Digest::of(b"\0\0\0\0\0"));
        assert!(book.exact(&digest, &source).is_err());
        let size = book.exact(&digest, &source).unwrap();
        assert_eq!(book.exact(&digest, &source).unwrap(), size);
        assert_eq!(reads.0.load(Ordering::Relaxed), 2);
    }
}
