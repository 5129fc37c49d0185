//! What blobs cost on the wire: their compressed sizes, each measured once.
//!
//! An offer says sizes before a byte moves, and both ends judge by them, so they are measured and not guessed: a blob is
//! compressed as its transfer would be, into nothing. Nothing is kept but the sum. Called by `needs` (bundles) and by
//! `foreign` (outputs).

use std::io::{self, Write};
use std::sync::Mutex;

use sykli_core::id::Digest;
use sykli_runtime::Source;

use crate::db::lock;
use crate::store::Recent;

/// Sizes that are remembered, at least.
const REMEMBERED: usize = 65_536;
/// What is read of a blob at once, in bytes.
const PART_BYTES: usize = 256 * 1024;
/// Up to so much memory is looked back into, as a power of two: no receiver gives a blob more.
const WINDOW_LOG: u32 = 23;
/// A blob's name and sizes before its bytes, in bytes, rounded up.
const HEAD_BYTES: u64 = 64;
/// For so many bytes of content one pair of hashes flows, so that each part is verified as it comes.
const GROUP_BYTES: u64 = 16 * 1024;
/// Bytes of a pair of hashes.
const PAIR_BYTES: u64 = 64;

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
        let mut encoder = zstd::stream::write::Encoder::new(Counter(0), self.level)?;
        encoder.set_pledged_src_size(Some(raw))?;
        if raw > 1 << WINDOW_LOG {
            encoder.window_log(WINDOW_LOG)?;
        }
        if let Some(bytes) = source.as_bytes() {
            encoder.write_all(bytes)?;
        } else {
            copy(source, &mut encoder)?;
            source.close();
        }
        let Counter(compressed) = encoder.finish()?;
        // What does not shrink flows as it is.
        Ok(compressed.min(raw).saturating_add(framing(raw)))
    }
}

/// What a blob of so many bytes costs at most, without a look at it.
pub(crate) fn at_most(raw: u64) -> u64 {
    raw.saturating_add(framing(raw))
}

/// What flows beside the content.
fn framing(raw: u64) -> u64 {
    HEAD_BYTES + raw.div_ceil(GROUP_BYTES).saturating_sub(1) * PAIR_BYTES
}

fn copy(source: &Source, to: &mut impl Write) -> io::Result<()> {
    let raw = source.len();
    let part_bytes = usize::try_from(raw).map_or(PART_BYTES, |raw| raw.min(PART_BYTES));
    let mut part = vec![0; part_bytes];
    let mut offset = 0;
    while offset < raw {
        let want = usize::try_from(raw - offset).map_or(part.len(), |rest| rest.min(part.len()));
        let part = part.get_mut(..want).unwrap_or_default();
        source.read_exact_at(part, offset)?;
        to.write_all(part)?;
        offset += want as u64;
    }
    Ok(())
}

/// Counts what is written to it.
struct Counter(u64);

impl Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self.0.saturating_add(bytes.len() as u64);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
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
        assert_eq!(book.measure(&Source::empty()).unwrap(), HEAD_BYTES);
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
        // Cut elsewhere, a stream may differ by some bytes.
        assert!(in_memory.abs_diff(in_file) < 100, "{in_memory} {in_file}");
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
