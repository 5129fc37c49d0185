//! What happened to a guest, as a person reads it: one line, the line of `sykli.toml` that would change it, the tails.
//!
//! Words only: whether it is a verdict, a retry or worth the cache is decided by `worker` and core. Values of
//! environment variables never come near it. Called by `worker`, `foreign` and `exec`.

use std::collections::BTreeSet;
use std::time::Duration;

use sykli_core::pipeline::{
    Grants, Limits, MAX_FUEL, MAX_MEMORY_BYTES, MAX_OUTPUT_BYTES, MAX_TIMEOUT_MS, Task,
};
use sykli_core::units::{
    exact_bytes, exact_count, exact_duration_ms, human_bytes, human_count, human_duration_ms,
};
use sykli_runtime::{Limit, Refusal, Status, TrapKind};

use crate::events::FailureReport;

/// The bytes of each output stream that a report ends with.
pub(crate) const TAIL_BYTES: usize = 8 * 1024;
/// The lines of each output stream that a report ends with.
const TAIL_LINES: usize = 40;
/// Frames of a backtrace that are told.
const MAX_FRAMES: usize = 32;
/// Hints of one report; what a guest was refused can be a long list.
const MAX_HINTS: usize = 6;

/// Whom a hint speaks to.
#[derive(Clone, Copy)]
pub(crate) enum Asker<'a> {
    /// A task of a pipeline: hints are lines of `sykli.toml`.
    Task(&'a Task),
    /// `sykli exec`: hints are flags.
    Exec,
}

/// Why a guest that ended so has failed; `None` where it exited with 0. Without anybody who could follow them there are no
/// hints.
pub(crate) fn of_status(
    asker: Option<Asker<'_>>,
    status: &Status,
    refusals: &[Refusal],
) -> Option<FailureReport> {
    let (code, message) = match status {
        Status::Exited(0) => return None,
        Status::Exited(code) => ("task::exit", format!("exited with code {code}")),
        Status::Trapped { kind, message, .. } => {
            ("task::trap", format!("trapped: {}: {message}", trap(*kind)))
        }
        Status::Limit(limit) => of_limit(limit),
        Status::TimedOut { limit } => (
            "task::timeout",
            format!("was ended after {}", human_duration_ms(millis(*limit))),
        ),
        Status::Cancelled => ("task::cancelled", "was cancelled".to_owned()),
        Status::HostFault { message } => (
            "task::host-fault",
            format!("could not be run by this machine: {message}"),
        ),
        Status::NoSpace { message } => (
            "task::disk-full",
            format!("no space left for what it wrote: {message}"),
        ),
    };
    let backtrace = match status {
        Status::Trapped { backtrace, .. } => backtrace.iter().take(MAX_FRAMES).cloned().collect(),
        _ => Vec::new(),
    };
    let exit_code = match status {
        Status::Exited(code) => Some(*code),
        _ => None,
    };
    Some(FailureReport {
        code: code.to_owned(),
        message,
        hints: asker.map_or_else(Vec::new, |asker| hints(asker, status, refusals)),
        exit_code,
        backtrace,
        ..FailureReport::default()
    })
}

fn hints(asker: Asker<'_>, status: &Status, refusals: &[Refusal]) -> Vec<String> {
    let mut hints: Vec<String> = status_hint(asker, status).into_iter().collect();
    hints.extend(refusal_hints(asker, refusals));
    hints.dedup();
    hints.truncate(MAX_HINTS);
    hints
}

/// A failure that is not the guest's end: of its preparation or of what it left.
pub(crate) fn plain(code: &str, message: String, hints: Vec<String>) -> FailureReport {
    FailureReport {
        code: code.to_owned(),
        message,
        hints,
        ..FailureReport::default()
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn trap(kind: TrapKind) -> &'static str {
    match kind {
        TrapKind::Unreachable => "a panic or abort of the guest",
        TrapKind::MemoryOutOfBounds => "an access beyond its memory",
        TrapKind::TableOutOfBounds => "an access beyond a table",
        TrapKind::BadIndirectCall => "a call through a bad function pointer",
        TrapKind::Arithmetic => "arithmetic without a result",
        TrapKind::HostCall => "a misused host interface",
        TrapKind::Other => "stopped by the engine",
    }
}

fn of_limit(limit: &Limit) -> (&'static str, String) {
    match limit {
        Limit::Fuel { limit } => (
            "task::fuel",
            format!("used all of its fuel ({})", human_count(*limit)),
        ),
        Limit::Memory { limit, wanted } => (
            "task::memory",
            format!(
                "wanted {} of memory, more than its limit of {}",
                human_bytes(*wanted),
                exact_bytes(*limit)
            ),
        ),
        other => ("task::limit", other.to_string()),
    }
}

fn status_hint(asker: Asker<'_>, status: &Status) -> Option<String> {
    let current = match asker {
        Asker::Task(task) => task.limits,
        Asker::Exec => Limits::default(),
    };
    match status {
        Status::Limit(Limit::Fuel { limit }) => {
            let fuel = raised(*limit, MAX_FUEL)?;
            Some(limit_hint(
                asker,
                &Limits { fuel, ..current },
                "--fuel",
                &exact_count(fuel),
            ))
        }
        Status::Limit(Limit::Memory { limit, wanted }) => {
            memory_hint(asker, &current, *limit, *wanted)
        }
        Status::TimedOut { limit } => {
            let timeout_ms = raised(millis(*limit), MAX_TIMEOUT_MS)?;
            Some(limit_hint(
                asker,
                &Limits {
                    timeout_ms,
                    ..current
                },
                "--timeout",
                &exact_duration_ms(timeout_ms),
            ))
        }
        Status::Limit(Limit::Stack { .. }) => {
            Some("recurse less deeply, or keep large values on the heap".to_owned())
        }
        Status::Limit(Limit::Handles { .. }) => {
            Some("close what is no longer needed: files, folders, streams, sockets".to_owned())
        }
        Status::NoSpace { .. } => Some(
            "free some space, for instance with `sykli cache gc`, or set XDG_CACHE_HOME to a folder on another disk"
                .to_owned(),
        ),
        Status::HostFault { .. } => Some("`sykli doctor` checks this machine".to_owned()),
        _ => None,
    }
}

/// Four times as much, within the bound; `None` where that is no more than before.
fn raised(limit: u64, bound: u64) -> Option<u64> {
    Some(limit.saturating_mul(4).min(bound)).filter(|raised| *raised > limit)
}

fn memory_hint(asker: Asker<'_>, current: &Limits, limit: u64, wanted: u64) -> Option<String> {
    let memory_bytes = wanted
        .checked_next_power_of_two()
        .unwrap_or(MAX_MEMORY_BYTES)
        .min(MAX_MEMORY_BYTES);
    if memory_bytes <= limit {
        return Some(format!(
            "no task may have more than {}: split the work",
            human_bytes(MAX_MEMORY_BYTES)
        ));
    }
    Some(limit_hint(
        asker,
        &Limits {
            memory_bytes,
            ..*current
        },
        "--memory",
        &exact_bytes(memory_bytes),
    ))
}

fn limit_hint(asker: Asker<'_>, limits: &Limits, flag: &str, value: &str) -> String {
    match asker {
        Asker::Task(task) => format!("under [task.{}]: {}", task.name, limits_line(limits)),
        Asker::Exec => format!("{flag} {value}"),
    }
}

/// The `limits` line that says all that is not the default, so that pasting it over the old one loses nothing.
fn limits_line(limits: &Limits) -> String {
    let default = Limits::default();
    let mut fields = Vec::new();
    if limits.fuel != default.fuel {
        fields.push(format!("fuel = \"{}\"", exact_count(limits.fuel)));
    }
    if limits.memory_bytes != default.memory_bytes {
        fields.push(format!("memory = \"{}\"", exact_bytes(limits.memory_bytes)));
    }
    if limits.timeout_ms != default.timeout_ms {
        fields.push(format!(
            "timeout = \"{}\"",
            exact_duration_ms(limits.timeout_ms)
        ));
    }
    if limits.output_bytes != default.output_bytes {
        fields.push(format!("output = \"{}\"", exact_bytes(limits.output_bytes)));
    }
    format!("limits = {{ {} }}", fields.join(", "))
}

/// The `grants` line with what there is and these hosts.
fn grants_line(grants: &Grants, hosts: &BTreeSet<String>) -> String {
    let list = |names: &mut dyn Iterator<Item = &String>| {
        let quoted: Vec<String> = names
            .map(|name| serde_json::Value::from(name.as_str()).to_string())
            .collect();
        format!("[{}]", quoted.join(", "))
    };
    let mut fields = Vec::new();
    if !grants.env.is_empty() {
        fields.push(format!("env = {}", list(&mut grants.env.iter())));
    }
    let net: BTreeSet<String> = grants
        .net
        .iter()
        .cloned()
        .chain(hosts.iter().cloned())
        .collect();
    fields.push(format!("net = {}", list(&mut net.iter())));
    for (name, granted) in [("clock", grants.clock), ("random", grants.random)] {
        if granted {
            fields.push(format!("{name} = true"));
        }
    }
    format!("grants = {{ {} }}", fields.join(", "))
}

/// One hint for each kind of thing the guest was refused.
fn refusal_hints(asker: Asker<'_>, refusals: &[Refusal]) -> Vec<String> {
    let mut hints = Vec::new();
    let hosts = refused_hosts(refusals);
    if !hosts.is_empty() {
        hints.push(match asker {
            Asker::Task(task) => format!(
                "under [task.{}]: {}",
                task.name,
                grants_line(&task.grants, &hosts)
            ),
            Asker::Exec => hosts
                .iter()
                .map(|host| format!("--net {host}"))
                .collect::<Vec<_>>()
                .join(" "),
        });
    }
    let current = match asker {
        Asker::Task(task) => task.limits,
        Asker::Exec => Limits::default(),
    };
    for refusal in refusals {
        match refusal {
            Refusal::Memory { limit, wanted } => {
                hints.extend(memory_hint(asker, &current, *limit, *wanted))
            }
            Refusal::OutputBytes { limit } => {
                if let Some(output_bytes) = raised(*limit, MAX_OUTPUT_BYTES) {
                    let limits = Limits {
                        output_bytes,
                        ..current
                    };
                    hints.push(limit_hint(
                        asker,
                        &limits,
                        "--output",
                        &exact_bytes(output_bytes),
                    ));
                }
            }
            Refusal::OutputEntries { limit } => {
                hints.push(format!(
                    "a task may create at most {limit} files: pack them into fewer"
                ));
            }
            Refusal::ReadOnly { path } => {
                hints.push(format!("`{path}` cannot be written: write under /out what is to be kept, under /tmp the rest"));
            }
            Refusal::Net { .. } | Refusal::Link { .. } => {}
        }
    }
    hints
}

/// A name look-up without a port is left out where the same host was also refused with one.
fn refused_hosts(refusals: &[Refusal]) -> BTreeSet<String> {
    let with_port: BTreeSet<&str> = refusals
        .iter()
        .filter_map(|refusal| match refusal {
            Refusal::Net {
                host,
                port: Some(_),
            } => Some(host.as_str()),
            _ => None,
        })
        .collect();
    refusals
        .iter()
        .filter_map(|refusal| match refusal {
            Refusal::Net {
                host,
                port: Some(port),
            } if host.contains(':') => Some(format!("[{host}]:{port}")),
            Refusal::Net {
                host,
                port: Some(port),
            } => Some(format!("{host}:{port}")),
            Refusal::Net { host, port: None } => {
                Some(host.clone()).filter(|host| !with_port.contains(host.as_str()))
            }
            _ => None,
        })
        .collect()
}

/// What a guest that went on nevertheless was refused: one line each, with the way out.
pub(crate) fn warnings(asker: Option<Asker<'_>>, refusals: &[Refusal]) -> Vec<String> {
    let mut lines = Vec::new();
    for refusal in refusals {
        // A program that looks whether it may write, and goes on when it may not, is none to warn about.
        if matches!(refusal, Refusal::ReadOnly { .. }) {
            continue;
        }
        let hints = asker.map(|asker| refusal_hints(asker, std::slice::from_ref(refusal)));
        let hint = hints.into_iter().flatten().next();
        lines.push(hint.map_or_else(|| refusal.to_string(), |hint| format!("{refusal} ({hint})")));
    }
    lines
}

/// The last lines of a stream, lossily decoded, no more than a report shows.
pub(crate) fn tail(bytes: &[u8]) -> String {
    let from = bytes.len().saturating_sub(TAIL_BYTES);
    let text = String::from_utf8_lossy(bytes.get(from..).unwrap_or_default());
    let text = text.trim_end();
    let mut start = 0;
    if let Some((at, _)) = text.rmatch_indices('\n').nth(TAIL_LINES - 1) {
        start = at + 1;
    } else if from > 0
        && let Some(at) = text.find('\n')
    {
        // The first line is likely cut in its middle.
        start = at + 1;
    }
    text.get(start..).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use sykli_core::pipeline::{Format, parse};

    fn task(extra: &str) -> Task {
        let text =
            format!("schema = \"sykli-wasm/1\"\n[task.x]\ncomponent = \"x.wasm\"\n{extra}\n");
        parse(&text, Format::Toml).unwrap().tasks.remove(0)
    }

    fn net(host: &str, port: Option<u16>) -> Refusal {
        Refusal::Net {
            host: host.to_owned(),
            port,
        }
    }

    #[test]
    fn a_refused_connection_names_the_line_that_grants_it_and_keeps_what_was_granted() {
        let task = task("grants = { clock = true, net = [\"b.org\"] }");
        let refusals = [net("example.org", None), net("example.org", Some(443))];
        let report = of_status(Some(Asker::Task(&task)), &Status::Exited(3), &refusals).unwrap();
        assert_eq!(
            (report.code.as_str(), report.exit_code),
            ("task::exit", Some(3))
        );
        assert_eq!(
            report.hints,
            ["under [task.x]: grants = { net = [\"b.org\", \"example.org:443\"], clock = true }"]
        );
    }

    #[test]
    fn a_met_limit_names_the_line_that_raises_it() {
        let task = task("limits = { memory = \"1GiB\", timeout = \"1s\" }");
        let memory = Status::Limit(Limit::Memory {
            limit: 1 << 30,
            wanted: (1 << 30) + 65536,
        });
        let report = of_status(Some(Asker::Task(&task)), &memory, &[]).unwrap();
        assert_eq!(report.code, "task::memory");
        assert_eq!(
            report.hints,
            ["under [task.x]: limits = { memory = \"2GiB\", timeout = \"1s\" }"]
        );
        let late = Status::TimedOut {
            limit: Duration::from_secs(1),
        };
        let report = of_status(Some(Asker::Task(&task)), &late, &[]).unwrap();
        assert_eq!(
            report.hints,
            ["under [task.x]: limits = { timeout = \"4s\" }"]
        );
        assert_eq!(
            of_status(Some(Asker::Exec), &late, &[]).unwrap().hints,
            ["--timeout 4s"]
        );
        let most = Status::Limit(Limit::Memory {
            limit: MAX_MEMORY_BYTES,
            wanted: MAX_MEMORY_BYTES + 1,
        });
        assert!(
            of_status(Some(Asker::Task(&task)), &most, &[])
                .unwrap()
                .hints[0]
                .contains("split the work")
        );
    }

    #[test]
    fn a_tail_is_whole_lines_from_the_end() {
        let text: String = (0..100).map(|line| format!("line {line}\n")).collect();
        let tail_text = tail(text.as_bytes());
        assert!(
            tail_text.starts_with("line 60\n") && tail_text.ends_with("line 99"),
            "{tail_text}"
        );
        assert_eq!(tail(b"short"), "short");
        let long = format!("{}\nend", "x".repeat(TAIL_BYTES));
        assert_eq!(tail(long.as_bytes()), "end");
    }
}
