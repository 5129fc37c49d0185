//! Any bytes as what is left of a ledger: records that are refused, or with which a node begins again.
//!
//! A length of two bytes precedes each record. The property is `sykli_core::machine::check_restored`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| sykli_core::machine::check_restored(bytes));
