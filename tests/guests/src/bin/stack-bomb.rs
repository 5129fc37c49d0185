//! Calls itself without end.

use std::hint::black_box;

fn main() {
    println!("{}", deeper(0));
}

// That it never returns is the point.
#[allow(unconditional_recursion)]
#[inline(never)]
fn deeper(depth: u64) -> u64 {
    let here = black_box([depth; 8]);
    black_box(deeper(depth + 1)) + here[(depth % 8) as usize]
}
