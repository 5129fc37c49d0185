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

mod floor;
mod machine;
mod measure;
mod ours;
mod peers;
mod report;
mod rows;

use measure::Effort;
use report::Report;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    // `cargo test --benches` would run this as a test: it has nothing to say there.
    if args.iter().any(|arg| arg == "--test") {
        return;
    }
    if args.first().is_some_and(|arg| arg == "--part") {
        return rows::run_part(&args[1..]);
    }
    let quick = args.iter().any(|arg| arg == "--quick");
    let wanted: Vec<&String> = args.iter().filter(|arg| !arg.starts_with("--")).collect();
    let effort = if quick { Effort::QUICK } else { Effort::FULL };
    let machine = machine::facts();
    let mut report = Report::new();
    for (name, row) in rows::ALL {
        if wanted.is_empty() || wanted.iter().any(|wanted| name.contains(wanted.as_str())) {
            eprintln!("bench: {name}");
            report.begin(name);
            row(&effort, &mut report);
        }
    }
    println!("{:#}", report.json(&machine, quick));
}
