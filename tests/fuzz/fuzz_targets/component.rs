//! Any bytes as a component that somebody wants run: what is checked before a compiler sees it ends, whatever they are.
//! The property is `sykli_runtime::check`. Nothing is compiled: the compiler is wasmtime's, which fuzzes it.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| sykli_runtime::check(bytes));
