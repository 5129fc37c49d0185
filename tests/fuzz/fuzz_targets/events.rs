//! Any order of events at a node's machine: its tables stay true. The property is `sykli_core::machine::check_events`,
//! which core's own tests call too.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| sykli_core::machine::check_events(bytes));
