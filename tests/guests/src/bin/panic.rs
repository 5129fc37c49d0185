//! Panics a few calls deep: the backtrace must name these functions.

fn main() {
    outer(std::env::args().count());
}

#[inline(never)]
fn outer(depth: usize) {
    inner(depth);
}

#[inline(never)]
fn inner(depth: usize) {
    panic!("panicked on purpose, with {depth} arguments");
}
