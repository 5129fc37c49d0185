//! Components that are small and cost the compiler dear: refused before it starts, or compiled within bounds. What must not
//! be is a load that takes minutes; it would hang here.

use sykli_runtime::{Floats, LoadError};
use sykli_tests::bombs;

use crate::common::engine;

#[test]
fn no_bomb_keeps_the_compiler_busy() {
    for (name, bytes) in [
        ("many live locals", bombs::many_live_locals(5_000, 2_000)),
        ("wide branches", bombs::wide_branches(5_000, 10)),
        ("many functions", bombs::many_functions(60_000, 1)),
        ("huge body", bombs::huge_body(200_000)),
        ("deep nesting", bombs::deep_nesting(50_000)),
    ] {
        match engine().load(&bytes, Floats::Fast) {
            Ok(_) => {}
            Err(error @ (LoadError::TooComplex { .. } | LoadError::Malformed { .. })) => {
                assert!(!error.to_string().is_empty(), "{name}");
            }
            Err(other) => panic!("{name}, {} bytes: {other}", bytes.len()),
        }
    }
}
