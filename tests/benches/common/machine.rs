//! The machine that the figures come from. Only reads /proc and asks programs for their versions.

use std::fs;
use std::process::{Command, Stdio};

/// Processor, cores, memory, kernel, what else runs, and the versions that matter, each with what it is called.
pub(crate) fn facts() -> Vec<(&'static str, String)> {
    let unknown = || "unknown".to_owned();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let memory = field("/proc/meminfo", "MemTotal")
        .and_then(|text| text.trim_end_matches(" kB").trim().parse::<u64>().ok())
        .map_or_else(unknown, |kib| format!("{} GiB", kib >> 20));
    let mut facts = vec![
        (
            "processor",
            field("/proc/cpuinfo", "model name").unwrap_or_else(unknown),
        ),
        ("cores", cores.to_string()),
        ("memory", memory),
        (
            "kernel",
            format!("Linux {}", line("/proc/sys/kernel/osrelease")),
        ),
        (
            "load when it began",
            line("/proc/loadavg")
                .split(' ')
                .next()
                .unwrap_or_default()
                .to_owned(),
        ),
    ];
    let versions: [(&str, &[&str]); 4] = [
        ("make", &["--version"]),
        ("ninja", &["--version"]),
        ("git", &["--version"]),
        ("wasmtime", &["--version"]),
    ];
    for (program, args) in versions {
        if let Some(version) = version(program, args) {
            facts.push((program, version));
        }
    }
    facts
}

fn line(path: &str) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.trim().to_owned()
}

fn field(path: &str, key: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(key))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// The first line of what the program says of itself.
fn version(program: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    Some(text.lines().next()?.trim().to_owned())
}
