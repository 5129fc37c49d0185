//! What every benchmark of ratios does with its arguments: `[--quick] [ROW…]` measures the rows whose names match and
//! prints one JSON document; `--part NAME ARG…` is one of its own processes. Measures nothing itself. Called by each
//! bench's `main`.

use crate::machine;
use crate::measure::Effort;
use crate::report::Report;

/// A row: measures something and adds it to the report.
pub(crate) type Measure = fn(&Effort, &mut Report);

/// See the module.
pub(crate) fn run(rows: &[(&'static str, Measure)], part: fn(&[String])) {
    let args: Vec<String> = std::env::args().skip(1).collect();
    // `cargo test --benches` would run this as a test: it has nothing to say there.
    if args.iter().any(|arg| arg == "--test") {
        return;
    }
    if args.first().is_some_and(|arg| arg == "--part") {
        return part(&args[1..]);
    }
    let quick = args.iter().any(|arg| arg == "--quick");
    let wanted: Vec<&String> = args.iter().filter(|arg| !arg.starts_with("--")).collect();
    let effort = if quick { Effort::QUICK } else { Effort::FULL };
    let machine = machine::facts();
    let mut report = Report::new();
    for (name, row) in rows {
        if wanted.is_empty() || wanted.iter().any(|wanted| name.contains(wanted.as_str())) {
            eprintln!("bench: {name}");
            report.begin(name);
            row(&effort, &mut report);
        }
    }
    println!("{:#}", report.json(&machine, quick));
}
