//! `busy STEPS FROM TO`: works for some tenths of a second a step, says how far it is after each, then copies a file. For
//! what happens to a task while it runs.

use std::hint::black_box;
use std::path::Path;
use std::{env, fs};

use sykli_guest::progress;

/// Additions in one step.
const WORK: u64 = 100_000_000;

fn main() {
    let args: Vec<String> = env::args().skip(1).collect();
    let [steps, from, to] = args.as_slice() else {
        panic!("busy STEPS FROM TO");
    };
    let steps = steps.parse().expect("a number of steps");
    for done in 1..=steps {
        for i in 0..WORK {
            black_box(i);
        }
        progress(done, steps, "busy");
    }
    if let Some(folder) = Path::new(to).parent() {
        fs::create_dir_all(folder).expect("a folder can be made");
    }
    fs::copy(from, to).expect("a file can be copied");
}
