//! What sandboxing costs, as ratios in one run: ours against the raw engine, against processes, against native code.
//!
//! `cargo xtask bench [-- --quick] [--json]`. Rounds of all contestants of a row are interleaved and medians compared,
//! so that a noisy neighbour slows both sides. Writes docs/src/performance.md unless `--quick`. It asserts nothing:
//! speed is read here, behaviour is tested elsewhere.

#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a benchmark is a program for the terminal"
)]

mod floor;
mod machine;
mod measure;
mod peers;
mod report;
mod rows;

use measure::Effort;
use report::Report;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let quick = args.iter().any(|arg| arg == "--quick");
    let json = args.iter().any(|arg| arg == "--json");
    // `cargo test --benches` would run this as a test: it has nothing to say there.
    if args.iter().any(|arg| arg == "--test") {
        return;
    }
    let only = args.iter().find(|arg| !arg.starts_with("--")).cloned();
    let effort = if quick { Effort::QUICK } else { Effort::FULL };
    let mut report = Report::new(machine::facts());
    for (name, row) in rows::ALL {
        if only
            .as_ref()
            .is_none_or(|wanted| name.contains(wanted.as_str()))
        {
            eprintln!("bench: {name}");
            row(&effort, &mut report);
        }
    }
    if json {
        println!("{}", report.json());
    } else {
        println!("{}", report.text());
    }
    if !quick && only.is_none() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/src/performance.md");
        match std::fs::write(page, report.page()) {
            Ok(()) => eprintln!("bench: wrote docs/src/performance.md"),
            Err(problem) => eprintln!("bench: cannot write {page}: {problem}"),
        }
    }
}
