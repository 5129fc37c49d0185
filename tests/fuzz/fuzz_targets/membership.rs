//! Any bytes as a greeting, a chain of certificates, a list of revocations or a ticket: refused, or the one encoding of
//! what they say. The property is `sykli_core::membership::check`, which core's own tests call too; the corpus begins
//! with the golden files.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| sykli_core::membership::check(bytes));
