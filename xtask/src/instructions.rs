//! `cargo xtask instructions [--update]`: counts the instructions of the hot path under callgrind and compares them with
//! the limits in `tests/benches/instructions.toml`.
//!
//! Time says nothing on a shared machine, instructions nearly do: the same build counts the same to a fraction of a
//! percent. A unit's count is the difference of two runs over the difference of their units, so that what is done once
//! cancels out. Built like the tests (their profile, their features), so nothing but the bench itself is compiled for it.
//! Where there is no valgrind it says so and passes. CI calls it.

use crate::bench::{target, write};
use crate::process::{Result, cargo_command, command, exists, output, root, say};
use crate::{setup, tools};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// By how much a count may be above its limit before the check fails.
const TOLERANCE_PERCENT: u64 = 10;
const LIMITS: &str = "tests/benches/instructions.toml";

/// A part of the hot path: what the bench calls it, how often each of the two runs does it, and what is counted.
struct Part {
    name: &'static str,
    times: (u32, u32),
    /// Units in each time.
    units: u64,
    what: &'static str,
}

const SANDBOX: &str = "sandbox";

const PARTS: [Part; 5] = [
    Part {
        name: "plan",
        times: (2, 6),
        units: 1_000,
        what: "reading and expanding a pipeline, a task instance",
    },
    Part {
        name: "run",
        times: (2, 10),
        units: 1_000,
        what: "the run machine over a fan-out, a task instance",
    },
    Part {
        name: "manifest",
        times: (200, 2_200),
        units: 1,
        what: "making, encoding and digesting a manifest",
    },
    Part {
        name: "tree",
        times: (2, 10),
        units: 1_000,
        what: "checking, encoding and digesting a tree, a file",
    },
    Part {
        name: SANDBOX,
        times: (100, 600),
        units: 1,
        what: "Sandbox::run of a no-op, without the kernel's part",
    },
];

/// Counts and compares, or writes the limits.
pub fn run(rest: &[String]) -> Result {
    if !exists("valgrind") {
        tools::install("valgrind");
    }
    if !exists("valgrind") {
        say("valgrind is not installed (apt-get install valgrind): instructions are not counted");
        return Ok(());
    }
    setup::run()?;
    let bench = build()?;
    let mut counts = BTreeMap::new();
    for part in &PARTS {
        match counted(&bench, part) {
            Ok(count) => drop(counts.insert(part.name, count)),
            // wasmtime under valgrind is a favour of both: the rest is counted without it.
            Err(problem) if part.name == SANDBOX => {
                say(&format!("{} is not counted: {problem}", part.name));
            }
            Err(problem) => return Err(format!("{}: {problem}", part.name)),
        }
    }
    if rest.iter().any(|arg| arg == "--update") {
        let text = limits(&counts);
        write(&root().join(LIMITS), &text)?;
        say(&format!("wrote {LIMITS}"));
        return Ok(());
    }
    compare(&counts, &known()?)
}

/// Builds the bench with what the tests are built with.
fn build() -> Result<PathBuf> {
    let said = output(cargo_command().args([
        "build",
        "--quiet",
        "--workspace",
        "--bench",
        "instructions",
        "--message-format=json-render-diagnostics",
    ]))?;
    said.lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message["target"]["name"] == "instructions")
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .ok_or_else(|| "cargo did not say where the bench is".to_owned())
}

/// Instructions a unit.
fn counted(bench: &Path, part: &Part) -> Result<u64> {
    let more = extra(bench, part)?;
    let (few, many) = part.times;
    let less = callgrind(bench, part.name, few, &more)?;
    let all = callgrind(bench, part.name, many, &more)?;
    let units = u64::from(many - few) * part.units;
    Ok(all.saturating_sub(less) / units)
}

/// What the sandbox needs: the guest, and a folder that holds its code as compiled for the processor that valgrind
/// shows. One run is for that alone, so that no compiler is counted.
fn extra(bench: &Path, part: &Part) -> Result<Vec<String>> {
    if part.name != SANDBOX {
        return Ok(Vec::new());
    }
    let guest = output(command(bench).arg("guest"))?.trim().to_owned();
    let cache = target().join("instructions");
    std::fs::create_dir_all(&cache)
        .map_err(|e| format!("cannot create {}: {e}", cache.display()))?;
    let more = vec![guest, cache.display().to_string()];
    let mut warm = command("valgrind");
    warm.args(["--tool=none", "--quiet"])
        .arg(bench)
        .args([part.name, "1"])
        .args(&more);
    output(&mut warm)?;
    Ok(more)
}

/// Instructions of the whole process.
fn callgrind(bench: &Path, part: &str, times: u32, more: &[String]) -> Result<u64> {
    let log = target().join("callgrind.log");
    let mut valgrind = command("valgrind");
    valgrind
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(format!("--log-file={}", log.display()))
        .arg(bench)
        .args([part, &times.to_string()])
        .args(more);
    output(&mut valgrind)?;
    let text = std::fs::read_to_string(&log).map_err(|e| format!("{}: {e}", log.display()))?;
    // "==123== Collected : 4567"
    text.lines()
        .find_map(|line| line.split_once("Collected :"))
        .and_then(|(_, count)| count.trim().parse().ok())
        .ok_or_else(|| "callgrind counted nothing".to_owned())
}

fn limits(counts: &BTreeMap<&str, u64>) -> String {
    let mut text = format!(
        "# Instructions of the hot path, counted by callgrind in the tests' own build. Written by\n\
         # `cargo xtask instructions --update`; `cargo xtask instructions` fails where a count is more than\n\
         # {TOLERANCE_PERCENT} % above. A change that makes one dearer for a good reason updates this file and says why.\n"
    );
    for part in &PARTS {
        if let Some(count) = counts.get(part.name) {
            let _ = write!(text, "\n# {}\n{} = {count}\n", part.what, part.name);
        }
    }
    text
}

fn known() -> Result<BTreeMap<String, u64>> {
    let text = std::fs::read_to_string(root().join(LIMITS))
        .map_err(|e| format!("cannot read {LIMITS}: {e}"))?;
    let table: toml::Table = text.parse().map_err(|e| format!("{LIMITS}: {e}"))?;
    let number = |value: &toml::Value| value.as_integer().and_then(|n| u64::try_from(n).ok());
    Ok(table
        .iter()
        .filter_map(|(name, value)| Some((name.clone(), number(value)?)))
        .collect())
}

fn compare(counts: &BTreeMap<&str, u64>, known: &BTreeMap<String, u64>) -> Result {
    let mut above = Vec::new();
    for (name, &count) in counts {
        let Some(&limit) = known.get(*name) else {
            above.push(format!("{name} has no limit yet ({count})"));
            continue;
        };
        let percent = (count as f64 / limit.max(1) as f64 - 1.0) * 100.0;
        say(&format!("{name}: {count} instructions ({percent:+.1} %)"));
        if count * 100 > limit * (100 + TOLERANCE_PERCENT) {
            above.push(format!("{name}: {count}, limit {limit}"));
        } else if count * 100 < limit * (100 - TOLERANCE_PERCENT) {
            say(&format!(
                "{name} became cheaper: cargo xtask instructions --update keeps it so"
            ));
        }
    }
    if above.is_empty() {
        Ok(())
    } else {
        Err(format!(
            "the hot path became dearer (cargo xtask instructions --update, and say why):\n  {}",
            above.join("\n  ")
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_well_above_its_limit_fails() {
        let known = BTreeMap::from([("run".to_owned(), 1_000)]);
        assert!(compare(&BTreeMap::from([("run", 1_100)]), &known).is_ok());
        assert!(compare(&BTreeMap::from([("run", 500)]), &known).is_ok());
        assert!(compare(&BTreeMap::from([("run", 1_101)]), &known).is_err());
        assert!(compare(&BTreeMap::from([("new", 1)]), &known).is_err());
    }

    #[test]
    fn limits_are_read_back_as_they_were_written() {
        let counts = BTreeMap::from([("run", 123), ("tree", 4)]);
        let table: toml::Table = limits(&counts).parse().unwrap_or_default();
        assert_eq!(
            table.get("run").and_then(toml::Value::as_integer),
            Some(123)
        );
        assert_eq!(table.len(), 2);
    }
}
