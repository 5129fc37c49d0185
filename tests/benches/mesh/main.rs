//! What a mesh costs, as ratios in one run: our nodes against a raw libp2p stream, a plain socket and one node alone.
//!
//! `cargo xtask bench [-- --quick] [ROW…]` builds and runs this after the bench `solo` and puts what both print on one
//! page. The nodes are the product's own processes on loopback, and so is what they are held against: two processes, with
//! rounds of all sides of a row interleaved. What happens between two of them is read from what they themselves say that
//! passed between them (`SYKLI_LOG=sykli_node::meshnode::trail=trace`). It asserts nothing about time.

#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a benchmark is a program for the terminal"
)]

#[path = "../common/driver.rs"]
mod driver;
#[path = "../common/floor.rs"]
#[allow(dead_code, reason = "the solo bench takes more of it")]
mod floor;
#[path = "../common/machine.rs"]
mod machine;
#[path = "../common/measure.rs"]
#[allow(dead_code, reason = "the solo bench takes more of it")]
mod measure;
mod nodes;
mod raw;
#[path = "../common/report.rs"]
#[allow(dead_code, reason = "the solo bench takes more of it")]
mod report;
mod rows;
mod trail;

fn main() {
    driver::run(&rows::ALL, rows::run_part);
}
