//! Any bytes as a bundle's file: refused, or a task with all that it needs. The property is
//! `sykli_node::bundle::check`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| sykli_node::bundle::check(bytes));
