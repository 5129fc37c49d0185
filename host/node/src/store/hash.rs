//! Digests of open files: by one thread, or a large one by several that each read and hash pieces of it.
//!
//! Files are read at offsets, so that a file's position does not matter. Nothing is mapped: a file that shrinks while it
//! is mapped would end the process. BLAKE3 is a tree, so pieces that are whole subtrees are hashed apart and joined; the
//! `blake3` crate does the same with `rayon`, but only for what is in memory or mapped. It never decides what is hashed
//! nor whether a file changed meanwhile. Called by the store (names of blobs,
//! outlines) and `workspace` (inputs).

use blake3::hazmat::{
    ChainingValue, HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root,
};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};
use sykli_core::id::Digest;

/// What is read at once: it stays in a processor's cache until it is hashed.
const BUFFER_BYTES: usize = 128 * 1024;
/// What one thread takes of a large file at a time: a power of two, so that each piece but the last is a subtree.
const PIECE_BYTES: u64 = 1 << 20;

/// What files are read into, for whoever hashes many: filling it with zeros costs as much as hashing a small file.
pub(crate) struct Buffer(Vec<u8>);

impl Buffer {
    pub(crate) fn new() -> Buffer {
        Buffer(vec![0; BUFFER_BYTES])
    }
}

/// The digest of everything in `file`.
pub(crate) fn hash_file(file: &File, buffer: &mut Buffer) -> io::Result<Digest> {
    let mut hasher = blake3::Hasher::new();
    hash_range(file, 0, u64::MAX, buffer, &mut hasher)?;
    Ok(Digest(*hasher.finalize().as_bytes()))
}

/// The digest of a file that is `size` bytes long, by as many threads. Where it turns out to be shorter, it is hashed
/// as it is.
pub(crate) fn hash_large_file(file: &File, size: u64, threads: usize) -> io::Result<Digest> {
    match pieces(file, size, threads)?.as_deref().and_then(root_of) {
        Some(digest) => Ok(digest),
        None => hash_file(file, &mut Buffer::new()),
    }
}

/// The digest of a whole that is these subtrees, side by side; `None` for fewer than two, whose root is another.
pub(crate) fn root_of(pieces: &[ChainingValue]) -> Option<Digest> {
    let (left, right) = joined(pieces)?;
    let root = merge_subtrees_root(&left, &right, Mode::Hash);
    Some(Digest(*root.as_bytes()))
}

/// Feeds what is in `file` from `offset` up to `end`; answers where it ended.
fn hash_range(
    file: &File,
    mut offset: u64,
    end: u64,
    Buffer(buffer): &mut Buffer,
    hasher: &mut blake3::Hasher,
) -> io::Result<u64> {
    while offset < end {
        let want = usize::try_from(end - offset).unwrap_or(usize::MAX);
        let want = want.min(buffer.len());
        let part = buffer.get_mut(..want).unwrap_or_default();
        match file.read_at(part, offset) {
            Ok(0) => break,
            Ok(count) => {
                hasher.update(part.get(..count).unwrap_or_default());
                offset += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(offset)
}

/// The subtrees of all pieces; `None` where there is less than `size` says.
fn pieces(file: &File, size: u64, threads: usize) -> io::Result<Option<Vec<ChainingValue>>> {
    let next = AtomicU64::new(0);
    let worker = || -> io::Result<Option<Vec<(u64, ChainingValue)>>> {
        let mut buffer = Buffer::new();
        let mut done = Vec::new();
        loop {
            let offset = next.fetch_add(PIECE_BYTES, Ordering::Relaxed);
            if offset >= size {
                return Ok(Some(done));
            }
            let end = size.min(offset.saturating_add(PIECE_BYTES));
            let mut hasher = blake3::Hasher::new();
            hasher.set_input_offset(offset);
            if hash_range(file, offset, end, &mut buffer, &mut hasher)? < end {
                // Nothing more of it is worth reading.
                next.store(size, Ordering::Relaxed);
                return Ok(None);
            }
            done.push((offset, hasher.finalize_non_root()));
        }
    };
    let outcomes = std::thread::scope(|scope| {
        // Where the system gives no more threads, fewer do.
        let spawn = |_| std::thread::Builder::new().spawn_scoped(scope, worker).ok();
        let others: Vec<_> = (1..threads).filter_map(spawn).collect();
        let mut outcomes = vec![worker()];
        let died = |_| Err(io::Error::other("a thread that read it died"));
        outcomes.extend(
            others
                .into_iter()
                .map(|one| one.join().unwrap_or_else(died)),
        );
        outcomes
    });
    let mut all = Vec::new();
    for outcome in outcomes {
        match outcome? {
            Some(done) => all.extend(done),
            None => return Ok(None),
        }
    }
    all.sort_unstable_by_key(|(offset, _)| *offset);
    Ok(Some(all.into_iter().map(|(_, piece)| piece).collect()))
}

/// The two halves of the tree above these pieces; `None` for fewer than two.
fn joined(pieces: &[ChainingValue]) -> Option<(ChainingValue, ChainingValue)> {
    // The left one is as large as a complete tree can be with something left for the right.
    let half = pieces.len().checked_sub(1)?.checked_ilog2()?;
    let (left, right) = pieces.split_at_checked(1 << half)?;
    Some((subtree(left)?, subtree(right)?))
}

fn subtree(pieces: &[ChainingValue]) -> Option<ChainingValue> {
    if let [only] = pieces {
        return Some(*only);
    }
    let (left, right) = joined(pieces)?;
    Some(merge_subtrees_non_root(&left, &right, Mode::Hash))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;

    fn file_of(bytes: &[u8]) -> File {
        let temp = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(temp.path(), bytes).unwrap();
        File::open(temp.path()).unwrap()
    }

    fn bytes(len: u64) -> Vec<u8> {
        (0..len).map(|n| (n * n / 251) as u8).collect()
    }

    #[test]
    fn pieces_come_to_the_same_digest_as_the_whole() {
        for (whole, rest) in [
            (0, 7),
            (1, 0),
            (1, 1),
            (2, 0),
            (2, 1024),
            (3, 0),
            (4, 1),
            (5, 70_000),
            (8, 0),
        ] {
            let bytes = bytes(whole * PIECE_BYTES + rest);
            let (file, size) = (file_of(&bytes), bytes.len() as u64);
            for threads in [1, 2, 5] {
                let digest = hash_large_file(&file, size, threads).unwrap();
                assert_eq!(
                    digest,
                    Digest::of(&bytes),
                    "{whole} and {rest} by {threads}"
                );
            }
            assert_eq!(
                hash_file(&file, &mut Buffer::new()).unwrap(),
                Digest::of(&bytes)
            );
        }
    }

    #[test]
    fn a_file_that_is_shorter_than_it_was_is_hashed_as_it_is() {
        let bytes = bytes(2 * PIECE_BYTES + 5);
        let file = file_of(&bytes);
        for size in [2 * PIECE_BYTES + 6, 9 * PIECE_BYTES] {
            assert_eq!(hash_large_file(&file, size, 3).unwrap(), Digest::of(&bytes));
        }
        assert_eq!(
            hash_large_file(&file_of(b""), PIECE_BYTES, 2).unwrap(),
            Digest::of(b"")
        );
    }
}
