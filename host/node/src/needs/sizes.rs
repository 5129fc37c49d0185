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
use crate::transfer::Scale;

/// Sizes that are remembered, at least.
const REMEMBERED: usize = 65_536;

/// Compressed sizes by digest, at one level. Shared by all runs of a node.
pub(crate) struct SizeBook {
    level: i32,
    known: Mutex<Recent<[u8; 32], u64>>,
    /// As many as were in use at once.
    scales: Mutex<Vec<Scale>>,
}

impl SizeBook {
    /// An empty book of sizes at this zstd level.
    pub(crate) fn new(level: i32) -> SizeBook {
        SizeBook {
            level,
            known: Mutex::new(Recent::new(REMEMBERED)),
            scales: Mutex::default(),
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
        let mut scale = lock(&self.scales).pop().unwrap_or_default();
        let sum = scale.weigh(source, self.level);
        lock(&self.scales).push(scale);
        source.close();
        sum
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::transfer::most_bytes as at_most;
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
        // Whole parts of each kind: a part flows as it is or compressed.
        let noisy = 3 * sykli_core::blob::PART_BYTES;
        let mut bytes = noise(noisy);
        bytes.extend(vec![7; 700_000]);
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("blob"), &bytes).unwrap();
        let file = Source::file(dir.path().join("blob"), bytes.len() as u64);
        let in_memory = book.measure(&Source::bytes(bytes)).unwrap();
        let in_file = book.measure(&file).unwrap();
        assert_eq!(in_memory, in_file);
        assert!(in_file < at_most(noisy as u64) + 10_000, "{in_file}");
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
