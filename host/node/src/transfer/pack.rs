//! One part's content ⇄ its bytes in transit: zstd where that pays, as it is where not.
//!
//! Each part is one zstd frame by itself, made and read in one go, so that nothing is ever decompressed into more than
//! the part announces, and no frame makes a window be allocated. What is refused: a frame that announces another size or
//! none, a dictionary, a window of more than 8 MiB, anything behind the frame. Called by both ends of transfers, by
//! bundle files, and by what tells the size of an offer.

use std::io;

use sykli_core::blob::{Encoding, HEADER_BYTES, MAX_OUTLINE, PART_BYTES, PART_HEAD_BYTES, Part};
use sykli_core::id::Digest;
use sykli_runtime::Source;
use zstd::zstd_safe::{
    CCtx, DCtx, compress_bound, find_frame_compressed_size, get_dict_id_from_frame,
    get_frame_content_size,
};

use crate::store::{Tracer, group_count};

/// Parts shorter than this are compressed without a trial.
const TRIAL_FROM: usize = 32 * 1024;
/// What is tried of a longer one.
const TRIAL_BYTES: usize = 8 * 1024;
/// What must be saved at least, in percent: less is not worth decompressing.
const LEAST_SAVING: usize = 3;
/// The largest window of a frame, as a power of two.
const MAX_WINDOW_LOG: u8 = 23;
/// What precedes a part in transit.
const PART_OVERHEAD: u64 = (HEADER_BYTES + PART_HEAD_BYTES) as u64;

/// Compresses parts, one after the other.
#[derive(Default)]
pub(crate) struct Compressor {
    context: Option<CCtx<'static>>,
    packed: Vec<u8>,
}

impl Compressor {
    /// The content as a zstd frame; `None` where it is better sent as it is. The same content at the same level always
    /// gives the same. Level 0 compresses nothing.
    pub(crate) fn pack(&mut self, content: &[u8], level: i32) -> Option<&[u8]> {
        if level == 0 || content.len() > PART_BYTES {
            return None;
        }
        if content.len() >= TRIAL_FROM {
            let middle = (content.len() - TRIAL_BYTES) / 2;
            let trial = content.get(middle..middle + TRIAL_BYTES)?;
            let packed = self.compress(trial, 1)?;
            if !saves(packed, TRIAL_BYTES) {
                return None;
            }
        }
        let packed = self.compress(content, level)?;
        if saves(packed, content.len()) {
            self.packed.get(..packed)
        } else {
            None
        }
    }

    fn compress(&mut self, content: &[u8], level: i32) -> Option<usize> {
        if self.context.is_none() {
            self.context = CCtx::try_create();
        }
        self.packed.clear();
        self.packed.reserve(compress_bound(PART_BYTES));
        let context = self.context.as_mut()?;
        context.compress(&mut self.packed, content, level).ok()
    }
}

fn saves(packed: usize, len: usize) -> bool {
    packed < len && (len - packed) * 100 >= len * LEAST_SAVING
}

/// Reads parts, one after the other.
#[derive(Default)]
pub(crate) struct Unpacker {
    context: Option<DCtx<'static>>,
}

impl Unpacker {
    /// The part's content: its own bytes, or in `room`, which must be as long as a part can be. `None` where it is not
    /// exactly one frame of exactly that content.
    pub(crate) fn unpack<'a>(&mut self, part: &Part<'a>, room: &'a mut [u8]) -> Option<&'a [u8]> {
        if part.encoding == Encoding::Plain {
            return Some(part.bytes);
        }
        let len = part.len as usize;
        if !fits(part.bytes, len) {
            return None;
        }
        if self.context.is_none() {
            self.context = DCtx::try_create();
        }
        let room = room.get_mut(..len)?;
        let wrote = self.context.as_mut()?.decompress(room, part.bytes).ok()?;
        (wrote == len).then_some(room)
    }
}

/// Whether a zstd frame says of itself what it must.
fn fits(frame: &[u8], len: usize) -> bool {
    const SINGLE_SEGMENT: u8 = 1 << 5;
    let Some([0x28, 0xb5, 0x2f, 0xfd, descriptor, window]) = frame.first_chunk() else {
        return false;
    };
    // Without a window of its own, the content is the window.
    let window_fits = descriptor & SINGLE_SEGMENT != 0 || window >> 3 <= MAX_WINDOW_LOG - 10;
    window_fits
        && get_dict_id_from_frame(frame).is_none()
        && matches!(get_frame_content_size(frame), Ok(Some(size)) if size == len as u64)
        && find_frame_compressed_size(frame) == Ok(frame.len())
}

/// What a blob costs in transit at this level, in bytes: everything that flows for it towards who asks for it.
///
/// # Errors
/// When it cannot be read.
pub fn compressed_size(source: &Source, level: i32) -> io::Result<u64> {
    Scale::default().weigh(source, level)
}

/// What sizes are told with, one after the other.
#[derive(Default)]
pub(crate) struct Scale {
    compressor: Compressor,
    buffer: Vec<u8>,
}

impl Scale {
    /// As [`compressed_size`].
    pub(crate) fn weigh(&mut self, source: &Source, level: i32) -> io::Result<u64> {
        let longest = usize::try_from(source.len()).unwrap_or(usize::MAX);
        let room = longest.min(PART_BYTES);
        if self.buffer.len() < room {
            self.buffer.resize(room, 0);
        }
        weighed(source, level, &mut self.compressor, &mut self.buffer)
    }
}

fn weighed(
    source: &Source,
    level: i32,
    compressor: &mut Compressor,
    buffer: &mut [u8],
) -> io::Result<u64> {
    let size = source.len();
    if size == 0 {
        return Ok(0);
    }
    let large = size > PART_BYTES as u64;
    let mut tracer = large.then(|| Tracer::new(source.clone()));
    let mut sum = if large { head_bytes(size) } else { 0 };
    let mut offset = 0;
    while offset < size {
        let most = usize::try_from(size - offset).unwrap_or(usize::MAX);
        let part = buffer.get_mut(..most.min(PART_BYTES)).unwrap_or_default();
        source.read_exact_at(part, offset)?;
        if let Some(tracer) = &mut tracer {
            tracer.pass(part);
        }
        let encoded = compressor.pack(part, level).map_or(part.len(), <[u8]>::len);
        sum += PART_OVERHEAD + encoded as u64;
        offset += part.len() as u64;
    }
    if let Some(tracer) = tracer {
        // Giving it later needs the outline: remembered, it is not read for that again.
        let _ = tracer.finish(&Digest(source.blake3()?));
    }
    Ok(sum)
}

/// What a blob of so many bytes costs in transit at most, without a look at it.
pub(crate) fn most_bytes(size: u64) -> u64 {
    let large = size > PART_BYTES as u64;
    let head = if large { head_bytes(size) } else { 0 };
    let parts = size.div_ceil(PART_BYTES as u64);
    size.saturating_add(head + parts * PART_OVERHEAD)
}

/// What flows before a large blob's first part: its size and its outline.
pub(super) fn head_bytes(size: u64) -> u64 {
    let groups = group_count(size);
    let frames = 1 + groups.div_ceil(MAX_OUTLINE as u64);
    8 + groups * 32 + frames * HEADER_BYTES as u64
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::super::tests::noise;
    use super::*;

    fn unpack(bytes: &[u8], len: usize) -> Option<Vec<u8>> {
        let part = Part {
            encoding: Encoding::Zstd,
            len: len as u32,
            bytes,
        };
        let mut room = vec![0; PART_BYTES];
        Unpacker::default()
            .unpack(&part, &mut room)
            .map(<[u8]>::to_vec)
    }

    #[test]
    fn content_comes_back_and_noise_goes_as_it_is() {
        let mut compressor = Compressor::default();
        for len in [1, 100, TRIAL_FROM, PART_BYTES] {
            let text: Vec<u8> = (0..len).map(|n| b"abcdefgh "[n / 3 % 9]).collect();
            for level in [1, 9] {
                match compressor.pack(&text, level) {
                    Some(packed) => assert_eq!(unpack(packed, len).unwrap(), text),
                    None => assert!(len < 64, "{len}"),
                }
            }
            assert!(compressor.pack(&noise(len), 9).is_none());
            assert!(compressor.pack(&text, 0).is_none());
        }
    }

    #[test]
    fn a_frame_must_be_what_it_announces() {
        let mut compressor = Compressor::default();
        let frame = compressor.pack(&[7; 5000], 3).unwrap().to_vec();
        assert!(unpack(&frame, 5000).is_some());
        assert!(unpack(&frame, 4999).is_none() && unpack(&frame, 5001).is_none());
        assert!(
            unpack(&[&frame[..], &frame].concat(), 5000).is_none(),
            "two frames"
        );
        assert!(unpack(&frame[..frame.len() - 1], 5000).is_none());
        let skippable = [&[0x50, 0x2a, 0x4d, 0x18, 1, 0, 0, 0, 9][..], &frame].concat();
        assert!(unpack(&skippable, 5000).is_none());
    }

    #[test]
    fn a_bomb_a_dictionary_and_a_vast_window_are_refused() {
        let bomb = zstd::bulk::compress(&vec![0; 64 << 20], 19).unwrap();
        assert!(bomb.len() < 10_000);
        assert!(unpack(&bomb, PART_BYTES).is_none());
        // Magic, then a descriptor without a single segment and with a size of 4 bytes, a window of 2 GiB, the size, and
        // one empty last block.
        let vast = [0x28, 0xb5, 0x2f, 0xfd, 0x80, 21 << 3, 16, 0, 0, 0, 1, 0, 0];
        assert!(unpack(&vast, 16).is_none());
        let mut with_dictionary = zstd::bulk::Compressor::with_dictionary(3, &noise(500)).unwrap();
        let frame = with_dictionary.compress(&[7; 5000]).unwrap();
        assert!(unpack(&frame, 5000).is_none_or(|content| content == [7; 5000]));
        let named = [0x28, 0xb5, 0x2f, 0xfd, 0x21, 42, 3, 0x19, 0, 0, 1, 2, 3];
        assert_eq!(get_dict_id_from_frame(&named).map(u32::from), Some(42));
        assert!(unpack(&named, 3).is_none());
    }

    #[test]
    fn the_size_of_nothing_is_nothing() {
        assert_eq!(compressed_size(&Source::empty(), 1).unwrap(), 0);
        assert_eq!(compressed_size(&Source::bytes(vec![1]), 1).unwrap(), 11);
    }
}
