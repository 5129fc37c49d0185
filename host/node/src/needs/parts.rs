//! What the blobs of a bundle cost together, and which of them are the largest.
//!
//! Blobs of ordinary size are measured as they are added. A large one is taken at its plain size at first, and measured
//! only where that would make the whole too much: compressing gigabytes in order to offer them would cost more than the
//! offer is worth. So is everything beyond [`MEASURED_BYTES`] of one bundle. Called by `needs`.

use std::collections::HashSet;

use sykli_core::consent::{BlobRef, MAX_NAMED_BLOBS};
use sykli_core::id::Digest;
use sykli_runtime::Source;

use super::sizes::SizeBook;
use super::{largest, unreadable};
use crate::prepare::NotReady;
use crate::transfer::most_bytes;

/// Up to so many bytes, a blob is measured right away.
const LARGE_BYTES: u64 = 16 << 20;
/// What is measured right away of one bundle, in bytes.
const MEASURED_BYTES: u64 = 256 << 20;

/// The blobs of a bundle, summed up.
#[derive(Clone, Default)]
pub(super) struct Parts {
    /// What all that was measured costs, in compressed bytes.
    measured: u64,
    /// The largest of that.
    largest: Vec<BlobRef>,
    /// What is taken at its plain size so far.
    plain: Vec<(Digest, Source)>,
    /// Plain bytes that were measured.
    looked_at: u64,
    /// What has been added.
    names: HashSet<[u8; 32]>,
}

/// A bundle's sum.
pub(super) struct Sum {
    /// Compressed bytes.
    pub(super) bytes: u64,
    /// The largest blobs.
    pub(super) largest: Vec<BlobRef>,
}

impl Parts {
    /// Adds a blob, unless it is there already. An empty one never flows.
    pub(super) fn add(
        &mut self,
        sizes: &SizeBook,
        digest: Digest,
        source: &Source,
    ) -> Result<(), NotReady> {
        let raw = source.len();
        if raw == 0 || !self.names.insert(*digest.as_bytes()) {
            return Ok(());
        }
        let looked_at = self.looked_at.saturating_add(raw);
        if raw > LARGE_BYTES || looked_at > MEASURED_BYTES {
            self.plain.push((digest, source.clone()));
            return Ok(());
        }
        self.looked_at = looked_at;
        let bytes = sizes
            .exact(&digest, source)
            .map_err(|error| unreadable(&error))?;
        self.measured = self.measured.saturating_add(bytes);
        self.largest.push(BlobRef { digest, bytes });
        if self.largest.len() >= 4 * MAX_NAMED_BLOBS {
            self.largest = largest(self.largest.drain(..));
        }
        Ok(())
    }

    /// The same without what only the making of it needs. A blob that is added later counts again.
    pub(super) fn without_names(self) -> Parts {
        Parts {
            largest: largest(self.largest.into_iter()),
            names: HashSet::new(),
            ..self
        }
    }

    /// The sum: with plain sizes where that is at most `exact_over`, else with everything measured.
    pub(super) fn settled(self, sizes: &SizeBook, exact_over: u64) -> Result<Sum, NotReady> {
        let at_most = |(_, source): &(Digest, Source)| most_bytes(source.len());
        let plain = self.plain.iter().map(at_most);
        let most = plain.fold(self.measured, u64::saturating_add);
        let mut sum = Sum {
            bytes: self.measured,
            largest: self.largest,
        };
        for (digest, source) in &self.plain {
            let bytes = match most > exact_over {
                true => sizes
                    .exact(digest, source)
                    .map_err(|error| unreadable(&error))?,
                false => most_bytes(source.len()),
            };
            sum.bytes = sum.bytes.saturating_add(bytes);
            sum.largest.push(BlobRef {
                digest: *digest,
                bytes,
            });
        }
        Ok(sum)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn add(parts: &mut Parts, sizes: &SizeBook, bytes: Vec<u8>) -> Digest {
        let digest = Digest::of(&bytes);
        parts.add(sizes, digest, &Source::bytes(bytes)).unwrap();
        digest
    }

    #[test]
    fn a_large_blob_is_measured_only_where_its_plain_size_is_too_much() {
        let (sizes, raw) = (SizeBook::new(1), LARGE_BYTES + 1);
        let mut parts = Parts::default();
        let small = add(&mut parts, &sizes, vec![1; 1000]);
        let large = add(&mut parts, &sizes, vec![0; usize::try_from(raw).unwrap()]);
        let plain = parts.clone().settled(&sizes, raw * 2).unwrap();
        assert!(plain.bytes > raw);
        assert_eq!(plain.largest.last().unwrap().digest, large);
        let exact = parts.settled(&sizes, raw).unwrap();
        assert!(exact.bytes < 100_000, "{}", exact.bytes);
        let sum: u64 = exact.largest.iter().map(|blob| blob.bytes).sum();
        assert_eq!(exact.bytes, sum);
        assert_eq!(exact.largest.first().unwrap().digest, small);
    }

    #[test]
    fn the_same_content_counts_once_and_no_content_never() {
        let sizes = SizeBook::new(1);
        let mut parts = Parts::default();
        for _ in 0..3 {
            add(&mut parts, &sizes, vec![5; 500]);
            add(&mut parts, &sizes, Vec::new());
        }
        let sum = parts.settled(&sizes, u64::MAX).unwrap();
        assert_eq!(sum.largest.len(), 1);
        assert_eq!(sum.bytes, sum.largest[0].bytes);
    }

    #[test]
    fn the_largest_are_named_in_one_order_however_they_came() {
        let sizes = SizeBook::new(1);
        let mut contents: Vec<Vec<u8>> = (0..1000u32)
            .map(|n| {
                let mut bytes = vec![0; 100 + (n as usize % 7) * 40];
                blake3::Hasher::new()
                    .update(&n.to_le_bytes())
                    .finalize_xof()
                    .fill(&mut bytes);
                bytes
            })
            .collect();
        let named = |contents: &[Vec<u8>]| {
            let mut parts = Parts::default();
            for bytes in contents {
                add(&mut parts, &sizes, bytes.clone());
            }
            let sum = parts.without_names().settled(&sizes, u64::MAX).unwrap();
            (sum.bytes, largest(sum.largest.into_iter()))
        };
        let one = named(&contents);
        contents.reverse();
        assert_eq!(named(&contents), one);
        assert_eq!(one.1.len(), MAX_NAMED_BLOBS);
        assert!(one.1.is_sorted_by(|a, b| a.bytes >= b.bytes));
    }
}
