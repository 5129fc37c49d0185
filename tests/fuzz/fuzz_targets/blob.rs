//! Any bytes as a frame of a bulk stream: refused, or the one encoding of what they say. The property is
//! `sykli_core::blob::check_frame`, which core's own tests call too.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| sykli_core::blob::check_frame(bytes));
