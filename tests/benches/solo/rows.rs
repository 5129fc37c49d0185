//! The rows of the goals table, in the order of the page. Each measures something and adds it to the report.

mod apart;
mod data;
mod growth;
mod memory;
mod pool;
mod sandbox;
mod tasks;

use crate::driver::Measure;

/// Every row, by the name that a filter takes.
pub(crate) const ALL: [(&str, Measure); 13] = [
    ("noop", sandbox::noop),
    ("independent", tasks::independent),
    ("cached", tasks::cached),
    ("layered", tasks::layered),
    ("exec", tasks::exec),
    ("load", sandbox::load),
    ("apart", apart::apart),
    ("compute", sandbox::compute),
    ("read", data::read),
    ("parked", memory::parked),
    ("pool", pool::pool),
    ("growth", growth::growth),
    ("files", data::files),
];

/// What one of these rows does in a process of its own, where memory is counted: `solo --part NAME ARG…`. Prints what
/// it counted as numbers, for [`part`] to read.
pub(crate) fn run_part(args: &[String]) {
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let numbers = match args.split_first() {
        Some((&"parked", rest)) => memory::parked_part(rest),
        Some((&"pool", rest)) => pool::pool_part(rest),
        Some((&"growth", rest)) => growth::growth_part(rest),
        _ => panic!("no such part: {args:?}"),
    };
    let text: Vec<String> = numbers.iter().map(f64::to_string).collect();
    println!("{}", text.join(" "));
}

/// Runs a part in a process of its own: memory that another row took is not counted there.
fn part(args: &[&str]) -> Vec<f64> {
    let bench = std::env::current_exe().expect("a path");
    let output = std::process::Command::new(bench)
        .arg("--part")
        .args(args)
        .stdin(std::process::Stdio::null())
        .stderr(std::process::Stdio::inherit())
        .output()
        .expect("the bench starts");
    assert!(output.status.success(), "the part {args:?} failed");
    let text = String::from_utf8_lossy(&output.stdout);
    text.split_whitespace()
        .map(|number| number.parse().expect("a number"))
        .collect()
}

/// What this process has in memory now, in bytes, by the kernel's own sum over its mappings.
fn resident() -> f64 {
    let text = std::fs::read_to_string("/proc/self/smaps_rollup").expect("/proc is there");
    let line = text.lines().find_map(|line| line.strip_prefix("Rss:"));
    let kib = line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<f64>().ok());
    kib.expect("the kernel says how much is resident") * 1024.0
}

/// The figure of this name.
fn named<'a>(
    measured: &'a [crate::measure::Measured],
    name: &str,
) -> Option<&'a crate::measure::Measured> {
    measured.iter().find(|one| one.name == name)
}
