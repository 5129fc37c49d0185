//! The mesh's rows of the goals table, in the order of the page. Each measures something and adds it to the report.

mod bulk;
mod makespan;
mod many;
mod steal;

use crate::driver::Measure;
use crate::measure::{Cost, Measured};
use crate::raw;

/// Every row, by the name that a filter takes.
pub(crate) const ALL: [(&str, Measure); 4] = [
    ("steal", steal::steal),
    ("throughput", many::throughput),
    ("bulk", bulk::bulk),
    ("makespan", makespan::makespan),
];

/// What one of these rows does in a process of its own: `mesh --part raw ADDRESS FILE`.
pub(crate) fn run_part(args: &[String]) {
    match args.split_first() {
        Some((part, rest)) if part == "raw" => raw::part(rest),
        _ => panic!("no such part: {args:?}"),
    }
}

/// A time on the clock alone: the processes that it was spent in are several.
fn clock(name: &str, wall: std::time::Duration) -> Measured {
    let cpu = std::time::Duration::ZERO;
    without_cpu(Measured::time(name, Cost { wall, cpu }))
}

/// The same of what was measured.
fn without_cpu(measured: Measured) -> Measured {
    Measured {
        cpu: None,
        ..measured
    }
}
