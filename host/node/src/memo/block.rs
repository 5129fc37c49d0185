//! A block of the memo: what is remembered of some files of one folder, sorted by name, with one checksum.
//!
//! A block holds names from its `first` on (which need not be there itself) up to the `first` of the next block of its
//! folder. It is written whole. This knows nothing of the database; [`super`] is the only caller.
//!
//! ```text
//! files:  entry*
//! entry:  name length: u16, name, size: u64, mtime: i64, ctime: i64, inode: u64, device: u64, hashed: i64, digest: 32
//! sum:    the first 16 bytes of BLAKE3(files, folder, first, the lengths of these three: u64 each)
//! ```
//!
//! Numbers are little-endian, times in nanoseconds since 1970.

use super::{Known, Stamp};
use sykli_core::id::Digest;

/// The most files of one block: one that changes costs as much to write, and each folder has a block at least.
pub(super) const MAX_FILES: usize = 128;
/// Length of what is kept of a file beside its name.
const STAT_BYTES: usize = 6 * 8 + 32;

pub(super) type Stat = [u8; STAT_BYTES];

/// A block that was found to be what was written.
pub(super) struct Block<'a> {
    pub(super) first: &'a [u8],
    files: &'a [u8],
}

/// One file of a block.
#[derive(Clone, Copy)]
pub(super) struct Entry<'a> {
    pub(super) name: &'a [u8],
    pub(super) stat: &'a Stat,
}

/// A block to be written.
pub(super) struct Made {
    pub(super) first: Vec<u8>,
    pub(super) count: u32,
    pub(super) sum: [u8; 16],
    pub(super) files: Vec<u8>,
}

impl<'a> Block<'a> {
    /// The block of these bytes, unless they are not what was written.
    pub(super) fn checked(
        folder: &[u8],
        first: &'a [u8],
        sum: &[u8],
        files: &'a [u8],
    ) -> Option<Block<'a>> {
        (checksum(folder, first, files) == sum).then_some(Block { first, files })
    }

    /// The files, sorted by name.
    pub(super) fn entries(&self) -> impl Iterator<Item = Entry<'a>> {
        let mut rest = self.files;
        std::iter::from_fn(move || {
            let (len, after) = rest.split_first_chunk::<2>()?;
            let (name, after) = after.split_at_checked(u16::from_le_bytes(*len).into())?;
            let (stat, after) = after.split_first_chunk::<STAT_BYTES>()?;
            rest = after;
            Some(Entry { name, stat })
        })
    }
}

impl Entry<'_> {
    /// What is remembered of the file.
    pub(super) fn known(&self) -> Known {
        let (numbers, _) = self.stat.as_chunks::<8>();
        let number = |at: usize| {
            numbers
                .get(at)
                .map_or(0, |bytes| u64::from_le_bytes(*bytes))
        };
        Known {
            stamp: Stamp {
                size: number(0),
                mtime_ns: number(1).cast_signed(),
                ctime_ns: number(2).cast_signed(),
                inode: number(3),
                device: number(4),
            },
            hashed_ns: number(5).cast_signed(),
            digest: Digest(self.stat.last_chunk().copied().unwrap_or_default()),
        }
    }
}

/// What is kept of a file beside its name.
pub(super) fn encode(known: &Known) -> Stat {
    let mut stat = [0; STAT_BYTES];
    let numbers = [
        known.stamp.size,
        known.stamp.mtime_ns.cast_unsigned(),
        known.stamp.ctime_ns.cast_unsigned(),
        known.stamp.inode,
        known.stamp.device,
        known.hashed_ns.cast_unsigned(),
    ];
    let bytes = numbers.iter().flat_map(|number| number.to_le_bytes());
    let bytes = bytes.chain(*known.digest.as_bytes());
    stat.iter_mut().zip(bytes).for_each(|(at, byte)| *at = byte);
    stat
}

/// The block that began with `first`, with `fresh` entries (sorted; of one name the last counts) in it and without what
/// was hashed before `oldest_ns`; as several blocks where it has become too large.
pub(super) fn merged(
    folder: &[u8],
    first: &[u8],
    old: Option<&Block<'_>>,
    fresh: &[Entry<'_>],
    oldest_ns: i64,
) -> Vec<Made> {
    let mut all: Vec<Entry<'_>> = old
        .into_iter()
        .flat_map(Block::entries)
        .filter(|entry| entry.known().hashed_ns >= oldest_ns)
        .collect();
    // A name that does not fit was never a file's.
    all.extend(
        fresh
            .iter()
            .filter(|entry| u16::try_from(entry.name.len()).is_ok()),
    );
    // Stable, so that of one name the fresh one comes last.
    all.sort_by_key(|entry| entry.name);
    all.reverse();
    all.dedup_by_key(|entry| entry.name);
    all.reverse();
    let blocks = all.len().div_ceil(MAX_FILES).max(1);
    all.chunks(all.len().div_ceil(blocks).max(1))
        .enumerate()
        .map(|(at, entries)| {
            let name = entries.first().filter(|_| at > 0).map(|entry| entry.name);
            Made::of(folder, name.unwrap_or(first), entries)
        })
        .collect()
}

impl Made {
    fn of(folder: &[u8], first: &[u8], entries: &[Entry<'_>]) -> Made {
        let names: usize = entries.iter().map(|entry| entry.name.len()).sum();
        let mut files = Vec::with_capacity(names + (2 + STAT_BYTES) * entries.len());
        for entry in entries {
            let len = u16::try_from(entry.name.len()).unwrap_or(u16::MAX);
            files.extend(len.to_le_bytes());
            files.extend(entry.name);
            files.extend(entry.stat);
        }
        Made {
            first: first.to_vec(),
            count: u32::try_from(entries.len()).unwrap_or(u32::MAX),
            sum: checksum(folder, first, &files),
            files,
        }
    }
}

fn checksum(folder: &[u8], first: &[u8], files: &[u8]) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new();
    // The long part first: a hasher that holds nothing yet takes several of its chunks at once.
    for part in [files, folder, first] {
        hasher.update(part);
    }
    for part in [files, folder, first] {
        hasher.update(&(part.len() as u64).to_le_bytes());
    }
    let mut sum = [0; 16];
    hasher.finalize_xof().fill(&mut sum);
    sum
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;

    fn known(number: u64) -> Known {
        Known {
            stamp: Stamp {
                size: number,
                mtime_ns: -2,
                ctime_ns: 3,
                inode: u64::MAX,
                device: 5,
            },
            hashed_ns: 6,
            digest: Digest::of(&number.to_le_bytes()),
        }
    }

    fn made(names: &[&str]) -> Vec<Made> {
        let stats: Vec<Stat> = (0..names.len()).map(|n| encode(&known(n as u64))).collect();
        let entries: Vec<Entry<'_>> = names
            .iter()
            .zip(&stats)
            .map(|(name, stat)| Entry {
                name: name.as_bytes(),
                stat,
            })
            .collect();
        merged(b"/p", b"", None, &entries, 0)
    }

    #[test]
    fn what_is_written_is_read() {
        let [made] = &made(&["a", "b", ""])[..] else {
            panic!("one block");
        };
        let block = Block::checked(b"/p", b"", &made.sum, &made.files).unwrap();
        let read: Vec<(&[u8], Known)> = block
            .entries()
            .map(|entry| (entry.name, entry.known()))
            .collect();
        assert_eq!(
            read,
            [(&b""[..], known(2)), (b"a", known(0)), (b"b", known(1))]
        );
    }

    #[test]
    fn a_flipped_byte_makes_a_block_worthless() {
        let made = made(&["a", "b"]).remove(0);
        let read = |folder: &[u8], first: &[u8], sum: &[u8], files: &[u8]| {
            Block::checked(folder, first, sum, files).is_some()
        };
        assert!(read(b"/p", b"", &made.sum, &made.files));
        for at in 0..made.files.len() {
            let mut bad = made.files.clone();
            bad[at] ^= 1;
            assert!(!read(b"/p", b"", &made.sum, &bad), "byte {at}");
        }
        assert!(!read(b"/q", b"", &made.sum, &made.files));
        assert!(!read(b"/p", b"a", &made.sum, &made.files));
        assert!(!read(b"/p", b"", &[], &made.files));
    }

    #[test]
    fn a_block_that_is_too_large_is_cut_where_each_part_can_be_found() {
        let names: Vec<String> = (0..=MAX_FILES).map(|n| format!("{n:04}")).collect();
        let made = made(&names.iter().map(String::as_str).collect::<Vec<_>>());
        let firsts: Vec<&[u8]> = made.iter().map(|one| &*one.first).collect();
        assert_eq!(firsts, [&b""[..], b"0065"]);
        assert_eq!(
            made.iter().map(|one| one.count as usize).sum::<usize>(),
            MAX_FILES + 1
        );
    }
}
