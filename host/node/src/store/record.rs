//! What a task left behind, and its stored form.
//!
//! ```text
//! format 1 byte ‖ flags 1 byte ‖ exit i32 ‖ outputs 32 ‖ [stdout 32] ‖ [stderr 32] ‖ fuel u64 ‖ wall_ms u64 ‖
//! peak_memory_bytes u64 ‖ [manifest: base 32 ‖ prefix u32 ‖ suffix u32 ‖ length u32 ‖ bytes] ‖ {warning: length u32 ‖ text}
//! ```
//! Numbers are little-endian; what is in brackets is there where its flag is set (a stream that is empty has no digest).
//! One more flag says that nobody here has verified the result.
//! Reading refuses whatever is not exactly that. It touches no disk. Called by `results`, `gc` and `upkeep`.

use sykli_core::id::Digest;

/// The first byte of a stored record.
const FORMAT: u8 = 2;
/// Warnings kept of one result, and the length of each in bytes.
const MAX_WARNINGS: usize = 64;
const MAX_WARNING_BYTES: usize = 4096;
const HAS_STDOUT: u8 = 1;
const HAS_STDERR: u8 = 2;
const HAS_MANIFEST: u8 = 4;
const IS_UNVERIFIED: u8 = 8;
const KNOWN_FLAGS: u8 = HAS_STDOUT | HAS_STDERR | HAS_MANIFEST | IS_UNVERIFIED;

/// What a task left behind, by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The exit code.
    pub exit: i32,
    /// The tree of outputs.
    pub outputs: Digest,
    /// What was kept of standard output.
    pub stdout: Digest,
    /// What was kept of standard error.
    pub stderr: Digest,
    /// Fuel used.
    pub fuel: u64,
    /// Wall time of the run, in milliseconds.
    pub wall_ms: u64,
    /// The most memory it held, in bytes.
    pub peak_memory_bytes: u64,
    /// The task's manifest, as far as it differs from another; for whoever asks what changed since.
    pub manifest: Option<Delta>,
    /// What the user should know each time the result is used.
    pub warnings: Vec<String>,
    /// Another node computed it, and nobody here has checked it: good for this user's own runs, handed to nobody.
    pub unverified: bool,
}

/// Bytes as their difference from others: both begin with the same `prefix` bytes and end with the same `suffix` bytes.
/// The manifests of a fan-out differ in an item or an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delta {
    /// The blob that it differs from.
    pub base: Digest,
    prefix: u32,
    suffix: u32,
    middle: Vec<u8>,
}

impl Delta {
    /// What makes `bytes` of `of`, which is the blob `base`.
    pub fn between(base: Digest, of: &[u8], bytes: &[u8]) -> Delta {
        let same = |(a, b): &(&u8, &u8)| a == b;
        let prefix = of.iter().zip(bytes).take_while(same).count();
        let (rest_of, rest) = (
            of.get(prefix..).unwrap_or_default(),
            bytes.get(prefix..).unwrap_or_default(),
        );
        let suffix = rest_of
            .iter()
            .rev()
            .zip(rest.iter().rev())
            .take_while(same)
            .count();
        let middle = rest.get(..rest.len() - suffix).unwrap_or_default().to_vec();
        // A manifest has at most 16 MiB.
        let short = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Delta {
            base,
            prefix: short(prefix),
            suffix: short(suffix),
            middle,
        }
    }

    /// The bytes; nothing where `of` is too short to be what it was made from.
    pub fn apply(&self, of: &[u8]) -> Option<Vec<u8>> {
        let head = of.get(..self.prefix as usize)?;
        let tail = of.get(of.len().checked_sub(self.suffix as usize)?..)?;
        Some([head, &self.middle, tail].concat())
    }
}

/// The stored form.
pub(super) fn encode(record: &Record) -> Vec<u8> {
    let empty = Digest::of(&[]);
    let mut out = Vec::with_capacity(192);
    let flag = |flag: u8, is_set: bool| if is_set { flag } else { 0 };
    let flags = flag(HAS_STDOUT, record.stdout != empty)
        | flag(HAS_STDERR, record.stderr != empty)
        | flag(HAS_MANIFEST, record.manifest.is_some())
        | flag(IS_UNVERIFIED, record.unverified);
    out.extend([FORMAT, flags]);
    out.extend(record.exit.to_le_bytes());
    out.extend(record.outputs.as_bytes());
    for stream in [&record.stdout, &record.stderr] {
        if *stream != empty {
            out.extend(stream.as_bytes());
        }
    }
    for number in [record.fuel, record.wall_ms, record.peak_memory_bytes] {
        out.extend(number.to_le_bytes());
    }
    if let Some(delta) = &record.manifest {
        out.extend(delta.base.as_bytes());
        out.extend(delta.prefix.to_le_bytes());
        out.extend(delta.suffix.to_le_bytes());
        out.extend((delta.middle.len() as u32).to_le_bytes());
        out.extend(&delta.middle);
    }
    for warning in record.warnings.iter().take(MAX_WARNINGS) {
        let text = warning
            .get(..warning.floor_char_boundary(MAX_WARNING_BYTES))
            .unwrap_or_default();
        out.extend((text.len() as u32).to_le_bytes());
        out.extend(text.as_bytes());
    }
    out
}

/// What was stored.
pub(super) fn decode(bytes: &[u8]) -> Option<Record> {
    let mut rest = bytes;
    let [format, flags] = take(&mut rest)?;
    if format != FORMAT || flags & !KNOWN_FLAGS != 0 {
        return None;
    }
    let exit = i32::from_le_bytes(take(&mut rest)?);
    let outputs = Digest(take(&mut rest)?);
    let mut stream = |flag: u8| match flags & flag {
        0 => Some(Digest::of(&[])),
        _ => Some(Digest(take(&mut rest)?)),
    };
    let (stdout, stderr) = (stream(HAS_STDOUT)?, stream(HAS_STDERR)?);
    let mut record = Record {
        exit,
        outputs,
        stdout,
        stderr,
        fuel: u64::from_le_bytes(take(&mut rest)?),
        wall_ms: u64::from_le_bytes(take(&mut rest)?),
        peak_memory_bytes: u64::from_le_bytes(take(&mut rest)?),
        manifest: None,
        warnings: Vec::new(),
        unverified: flags & IS_UNVERIFIED != 0,
    };
    if flags & HAS_MANIFEST != 0 {
        record.manifest = Some(Delta {
            base: Digest(take(&mut rest)?),
            prefix: u32::from_le_bytes(take(&mut rest)?),
            suffix: u32::from_le_bytes(take(&mut rest)?),
            middle: counted(&mut rest)?.to_vec(),
        });
    }
    while !rest.is_empty() && record.warnings.len() < MAX_WARNINGS {
        let text = counted(&mut rest)?;
        record
            .warnings
            .push(std::str::from_utf8(text).ok()?.to_owned());
    }
    rest.is_empty().then_some(record)
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk::<N>()?;
    *rest = tail;
    Some(*head)
}

/// Bytes behind their own number.
fn counted<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = u32::from_le_bytes(take(rest)?) as usize;
    let (bytes, tail) = rest.split_at_checked(len)?;
    *rest = tail;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;

    fn record() -> Record {
        Record {
            exit: -1,
            outputs: Digest::of(b"outputs"),
            stdout: Digest::of(b"stdout"),
            stderr: Digest::of(&[]),
            fuel: 7,
            wall_ms: 8,
            peak_memory_bytes: 9,
            manifest: Some(Delta::between(
                Digest::of(b"base"),
                b"item 1 of 9",
                b"item 12 of 9",
            )),
            warnings: vec!["one".to_owned(), String::new()],
            unverified: true,
        }
    }

    #[test]
    fn a_record_survives_and_no_prefix_or_longer_one_does() {
        let plain = Record {
            stdout: Digest::of(&[]),
            manifest: None,
            warnings: Vec::new(),
            unverified: false,
            ..record()
        };
        for record in [record(), plain] {
            let bytes = encode(&record);
            assert_eq!(decode(&bytes), Some(record.clone()));
            for len in 0..bytes.len() {
                let shorter = decode(&bytes[..len]);
                // Cut between two warnings it is a record with fewer of them: the row's checksum is what notices.
                assert!(shorter.is_none_or(|one| one.warnings.len() < record.warnings.len()));
            }
            assert_eq!(decode(&[&bytes[..], b"x"].concat()), None);
        }
        let mut other = encode(&record());
        other[0] = 1;
        assert_eq!(decode(&other), None);
    }

    #[test]
    fn warnings_are_bounded_and_cut_between_characters() {
        let many = Record {
            warnings: vec!["é".repeat(4000); 100],
            ..record()
        };
        let kept = decode(&encode(&many)).unwrap().warnings;
        assert_eq!(kept.len(), MAX_WARNINGS);
        assert_eq!(kept[0], "é".repeat(MAX_WARNING_BYTES / 2));
    }

    #[test]
    fn a_delta_gives_back_what_it_was_made_of() {
        let base = Digest::of(b"base");
        for (of, bytes) in [
            ("", ""),
            ("", "abc"),
            ("abc", ""),
            ("abc", "abc"),
            ("aaaa", "aa"),
            ("aa", "aaaa"),
            ("shard 1 of 9, fuel", "shard 12 of 9, fuel"),
            ("one", "two"),
        ] {
            let delta = Delta::between(base, of.as_bytes(), bytes.as_bytes());
            assert_eq!(
                delta.apply(of.as_bytes()).unwrap(),
                bytes.as_bytes(),
                "{of} {bytes}"
            );
            assert!(delta.middle.len() <= bytes.len());
        }
        let delta = Delta::between(base, b"abcdef", b"abcXdef");
        assert_eq!(delta.middle, b"X");
        assert_eq!(delta.apply(b"ab"), None);
    }
}
