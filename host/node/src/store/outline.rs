//! What lets a large blob be verified while it arrives: the BLAKE3 chaining values of its chunk groups.
//!
//! BLAKE3 is a tree; cut into groups of equal length (a power of two), a blob's digest is the root above the groups'
//! values. Who has the digest can so check a list of values before a byte of content, and each group by its value. This
//! is what a bao encoding interleaves with the content, kept apart and without the inner nodes: a list of at most
//! [`MAX_GROUPS`] values, so that what is remembered stays small whatever the size. A list that leads to the digest
//! fixes everything but the length of the last group, and that group's value fixes it.
//!
//! Reads contents, never decides what becomes of them. Called by transfers, on both ends, and by what arrives.

use super::hash::root_of;
use super::recent::Recent;
use crate::db::lock;
use blake3::hazmat::{ChainingValue, HasherExt};
use std::io;
use std::sync::{Arc, LazyLock, Mutex};
use sykli_core::blob::PART_BYTES;
use sykli_core::id::Digest;
use sykli_runtime::vfs::Source;

/// Most groups of one blob: their values are 256 KiB.
pub(crate) const MAX_GROUPS: u64 = 8192;
/// Bytes of outlines of this process's own blobs that are remembered, so that offering a blob and giving it read it once.
const KNOWN_BYTES: usize = 4 << 20;

static KNOWN: LazyLock<Mutex<Recent<[u8; 32], Arc<Outline>>>> =
    LazyLock::new(|| Mutex::new(Recent::new(KNOWN_BYTES)));

/// The chunk groups of one blob that is longer than a part.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Outline {
    size: u64,
    values: Vec<ChainingValue>,
}

/// How long the groups of a blob of `size` bytes are: a part, or more where there would be too many of them.
pub(crate) fn group_bytes(size: u64) -> u64 {
    let least = size.div_ceil(MAX_GROUPS).max(PART_BYTES as u64);
    least.checked_next_power_of_two().unwrap_or(1 << 63)
}

/// How many groups a blob of `size` bytes has.
pub(crate) fn group_count(size: u64) -> u64 {
    size.div_ceil(group_bytes(size))
}

impl Outline {
    /// The outline that `bytes` list, if it is that of a blob of this name and size.
    pub(crate) fn of_bytes(digest: &Digest, size: u64, bytes: &[u8]) -> Option<Outline> {
        let (values, rest) = bytes.as_chunks::<32>();
        if !rest.is_empty()
            || values.len() as u64 != group_count(size)
            || root_of(values) != Some(*digest)
        {
            return None;
        }
        Some(Outline {
            size,
            values: values.to_vec(),
        })
    }

    /// The same for another size, where that has as many groups of the same length. Only the last group, when it is
    /// here, says which size is right.
    pub(crate) fn resized(self, size: u64) -> Option<Outline> {
        let same = group_bytes(size) == self.group_bytes()
            && group_count(size) == self.values.len() as u64;
        same.then_some(Outline { size, ..self })
    }

    /// The outline of a blob of this name, where this process made it before.
    pub(crate) fn known(digest: &Digest) -> Option<Arc<Outline>> {
        lock(&KNOWN).get(digest.as_bytes())
    }

    /// The blob's size in bytes.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// How long each group but the last is, in bytes.
    pub(crate) fn group_bytes(&self) -> u64 {
        group_bytes(self.size)
    }

    /// The values as they are sent and kept, 32 bytes a group.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.values.as_flattened()
    }

    /// Whether `value` is that of the group that begins at `offset`.
    pub(crate) fn is_group(&self, offset: u64, value: &ChainingValue) -> bool {
        let index = usize::try_from(offset / self.group_bytes()).ok();
        index.and_then(|index| self.values.get(index)) == Some(value)
    }
}

/// Hashes content that comes in order from the beginning of a group on, and says of each group what its value is.
pub(crate) struct GroupHasher {
    size: u64,
    group: u64,
    at: u64,
    hasher: blake3::Hasher,
}

impl GroupHasher {
    /// For a blob of `size` bytes, from `offset` on, where a group begins.
    pub(crate) fn new(size: u64, offset: u64) -> GroupHasher {
        GroupHasher {
            size,
            group: group_bytes(size),
            at: offset,
            hasher: at(offset),
        }
    }

    /// Where the next byte belongs.
    pub(crate) fn at(&self) -> u64 {
        self.at
    }

    /// How much is left of the group that is under way, in bytes.
    pub(crate) fn left_of_group(&self) -> u64 {
        let end = (self.at / self.group + 1) * self.group;
        end.min(self.size) - self.at
    }

    /// Takes more content, which must not go beyond the group; answers where the group began and its value where it is
    /// complete now.
    pub(crate) fn update(&mut self, bytes: &[u8]) -> Option<(u64, ChainingValue)> {
        let left = self.left_of_group();
        let began = self.at / self.group * self.group;
        self.hasher.update(bytes);
        self.at += bytes.len() as u64;
        if (bytes.len() as u64) < left || bytes.is_empty() {
            return None;
        }
        let value = self.hasher.finalize_non_root();
        if self.at < self.size {
            self.hasher = at(self.at);
        }
        Some((began, value))
    }
}

fn at(offset: u64) -> blake3::Hasher {
    let mut hasher = blake3::Hasher::new();
    hasher.set_input_offset(offset);
    hasher
}

/// Makes an outline from a source, as much at a time as the caller wants to wait for.
pub(crate) struct Tracer {
    source: Source,
    hasher: GroupHasher,
    values: Vec<ChainingValue>,
}

impl Tracer {
    /// Of a blob that is longer than a part.
    pub(crate) fn new(source: Source) -> Tracer {
        Tracer {
            hasher: GroupHasher::new(source.len(), 0),
            values: Vec::new(),
            source,
        }
    }

    /// Reads and hashes one more piece; whether that was the last. `buffer` must not be empty.
    pub(crate) fn step(&mut self, buffer: &mut [u8]) -> io::Result<bool> {
        let most = usize::try_from(self.hasher.left_of_group()).unwrap_or(usize::MAX);
        let most = most.min(buffer.len());
        let part = buffer.get_mut(..most).unwrap_or_default();
        self.source.read_exact_at(part, self.hasher.at())?;
        self.pass(part);
        Ok(self.is_done())
    }

    /// Takes the next piece from somebody who has read it already.
    pub(crate) fn pass(&mut self, part: &[u8]) {
        if let Some((_, value)) = self.hasher.update(part) {
            self.values.push(value);
        }
    }

    fn is_done(&self) -> bool {
        self.hasher.at() == self.source.len()
    }

    /// The outline, remembered under the blob's name; `None` where the content has another name or is not all read.
    pub(crate) fn finish(self, digest: &Digest) -> Option<Arc<Outline>> {
        if !self.is_done() || root_of(&self.values) != Some(*digest) {
            return None;
        }
        let outline = Arc::new(Outline {
            size: self.source.len(),
            values: self.values,
        });
        let weight = outline.bytes().len();
        lock(&KNOWN).insert(*digest.as_bytes(), Arc::clone(&outline), weight);
        Some(outline)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;

    const PART: u64 = PART_BYTES as u64;

    fn bytes(len: u64) -> Vec<u8> {
        (0..len).map(|n| (n * n / 253) as u8).collect()
    }

    fn traced(bytes: &[u8]) -> Option<Arc<Outline>> {
        let mut tracer = Tracer::new(Source::bytes(bytes.to_vec()));
        let mut buffer = vec![0; 100_000];
        while !tracer.step(&mut buffer).unwrap() {}
        tracer.finish(&Digest::of(bytes))
    }

    #[test]
    fn groups_are_few_whatever_the_size() {
        assert_eq!(group_bytes(PART + 1), PART);
        assert_eq!(group_bytes(2 << 30), PART);
        assert_eq!(group_bytes((2 << 30) + 1), 2 * PART);
        for size in [PART + 1, 2 << 30, (2 << 30) + 1, 1 << 40, u64::MAX] {
            assert!(group_count(size) <= MAX_GROUPS, "{size}");
        }
    }

    #[test]
    fn an_outline_leads_to_the_digest_and_each_group_to_its_value() {
        for len in [PART + 1, 2 * PART, 5 * PART + 77] {
            let bytes = bytes(len);
            let digest = Digest::of(&bytes);
            let outline = traced(&bytes).unwrap();
            let again = Outline::of_bytes(&digest, len, outline.bytes()).unwrap();
            assert_eq!(again, *outline);
            let mut hasher = GroupHasher::new(len, PART);
            let (began, value) = hasher
                .update(&bytes[PART as usize..len.min(2 * PART) as usize])
                .unwrap();
            assert!(outline.is_group(began, &value));
            assert!(!outline.is_group(0, &value) && !outline.is_group(9 * PART, &value));
        }
    }

    #[test]
    fn a_list_that_leads_elsewhere_is_none() {
        let bytes = bytes(3 * PART);
        let (digest, outline) = (Digest::of(&bytes), traced(&bytes).unwrap());
        let list = outline.bytes();
        let mut flipped = list.to_vec();
        flipped[40] ^= 1;
        assert!(Outline::of_bytes(&digest, 3 * PART, &flipped).is_none());
        assert!(Outline::of_bytes(&digest, 4 * PART, list).is_none());
        assert!(Outline::of_bytes(&digest, 3 * PART, &list[..64]).is_none());
        assert!(Outline::of_bytes(&digest, 3 * PART, &list[1..]).is_none());
        assert!(Outline::of_bytes(&Digest::of(b""), 3 * PART, list).is_none());
    }

    #[test]
    fn content_of_another_name_has_no_outline() {
        let mut tracer = Tracer::new(Source::bytes(bytes(2 * PART)));
        while !tracer.step(&mut [0; 65_536]).unwrap() {}
        assert!(tracer.finish(&Digest::of(b"another")).is_none());
    }
}
