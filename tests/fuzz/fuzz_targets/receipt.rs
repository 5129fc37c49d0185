//! Any bytes as a receipt or a proof: refused, or the one encoding of what they say. The property is
//! `sykli_core::receipt::check`, which core's own tests call too; the corpus begins with the golden files.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| sykli_core::receipt::check(bytes));
