//! Any bytes as a frame: refused, or the one encoding of what they say. The property is `sykli_core::wire::check_frame`,
//! which core's own tests call too; the corpus begins with the golden frames.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| sykli_core::wire::check_frame(bytes));
