//! Never ends and never calls the host: only fuel, the deadline or a cancellation can stop it.

use std::hint::black_box;

fn main() {
    println!("spinning");
    let mut i = 0u64;
    loop {
        i = black_box(i.wrapping_add(1));
    }
}
