//! What sandboxing costs, as ratios in one run: ours against the raw engine, against processes, against native code.
//!
//! `cargo xtask bench [-- --quick] [ROW…]` builds and runs this and makes text, the book's page and its plots of what it
//! prints: one JSON document, on stdout. Rounds of all contestants of a row are interleaved and medians compared, so that
//! a noisy neighbour slows all sides. It asserts nothing about time: speed is read here, behaviour is tested elsewhere.

#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a benchmark is a program for the terminal"
)]

#[path = "../common/driver.rs"]
mod driver;
#[path = "../common/floor.rs"]
mod floor;
#[path = "../common/machine.rs"]
mod machine;
#[path = "../common/measure.rs"]
mod measure;
mod ours;
mod peers;
#[path = "../common/report.rs"]
mod report;
mod rows;

fn main() {
    let _at_the_end = ours::CleanUp;
    driver::run(&rows::ALL, rows::run_part);
}
