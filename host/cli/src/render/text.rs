//! Text for people about a run: a task's row, a failure's block, the summary. Pure functions of
//! the documents in `json.rs` and what the terminal can show; guest text is stripped of terminal escapes here. Called by
//! `board.rs` while a run goes on and by `cmd/run.rs` at its end.

use std::collections::BTreeMap;
use std::time::Duration;

use sykli_core::units;

use super::escape;
use super::graph_line::{Node, graph_lines};
use super::json::{Counts, Failure, Instance, PlannedTask, RunDoc, RunProblem, State, Status};
use super::past::RanOn;
use super::term::{Term, Tone, paint};

/// Lines of a guest's output that a failure shows.
const TAIL_LINES: usize = 30;
/// Frames of a backtrace that a failure shows.
const FRAMES: usize = 12;
/// Names that a list shows before it counts.
const NAMES: usize = 8;

/// A state's sign: a glyph, or a word where the locale has no glyphs. Never a colour alone.
pub(crate) fn sign(state: State, unicode: bool) -> (&'static str, Tone) {
    match (state, unicode) {
        (State::Passed, true) => ("✓", Tone::Good),
        (State::Passed, false) => ("ok", Tone::Good),
        (State::Cached, true) => ("○", Tone::Quiet),
        (State::Cached, false) => ("cached", Tone::Quiet),
        (State::Failed, true) => ("✗", Tone::Bad),
        (State::Failed, false) => ("FAILED", Tone::Bad),
        (State::Skipped, true) => ("⊘", Tone::Warn),
        (State::Skipped, false) => ("skipped", Tone::Warn),
        (State::Cancelled, true) => ("⊗", Tone::Warn),
        (State::Cancelled, false) => ("cancelled", Tone::Warn),
    }
}

fn signed(state: State, term: &Term) -> String {
    let (sign, tone) = sign(state, term.unicode);
    paint(sign, tone, term.err.color)
}

/// A declared task whose instances are all settled. Nothing for one that failed alone: its block was shown.
pub(crate) fn row(
    term: &Term,
    task: &PlannedTask,
    counts: &Counts,
    wall_ms: u64,
    elapsed: Option<Duration>,
    on: &BTreeMap<String, u32>,
) -> Option<String> {
    let state = counts.worst();
    if task.instances == 1 && state == State::Failed {
        return None;
    }
    let time = match (state, elapsed) {
        (State::Cached | State::Skipped | State::Cancelled, _) => String::new(),
        (_, Some(elapsed)) if task.instances > 1 => {
            let ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
            format!(" in {}", units::human_duration_ms(ms))
        }
        (_, _) if wall_ms == 0 => String::new(),
        _ => format!(" in {}", units::human_duration_ms(wall_ms)),
    };
    // Without glyphs the sign is the word already.
    let word = |word: &str| {
        if term.unicode {
            format!(" {word}")
        } else {
            String::new()
        }
    };
    let what = if task.instances > 1 {
        format!(": {}", counted(task.selected, counts))
    } else {
        match state {
            State::Cached => word("cached"),
            State::Skipped => word("skipped") + ": something before it failed",
            State::Cancelled => word("cancelled"),
            State::Passed | State::Failed => String::new(),
        }
    };
    Some(format!(
        "{} {}{what}{time}{}",
        signed(state, term),
        task.name,
        ran_on(task.instances, on)
    ))
}

/// ` on dave-macbook`, or of many instances how many ran where.
fn ran_on(instances: u32, on: &BTreeMap<String, u32>) -> String {
    let names: Vec<String> = on
        .iter()
        .take(NAMES)
        .map(|(name, count)| match instances {
            0 | 1 => escape::clean(name),
            _ => format!("{} ({count})", escape::clean(name)),
        })
        .collect();
    match (names.is_empty(), on.len().saturating_sub(NAMES)) {
        (true, _) => String::new(),
        (false, 0) => format!(" on {}", names.join(", ")),
        (false, more) => format!(" on {} and {more} more", names.join(", ")),
    }
}

/// `16 instances, 3 cached`, only saying what is not plain success.
fn counted(instances: u32, counts: &Counts) -> String {
    if counts.cached == instances {
        return format!("{} cached", plural(instances.into(), "instance"));
    }
    let mut parts = vec![plural(instances.into(), "instance")];
    let others = [
        (counts.cached, "cached"),
        (counts.failed, "failed"),
        (counts.skipped, "skipped"),
        (counts.cancelled, "cancelled"),
    ];
    parts.extend(
        others
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, name)| format!("{count} {name}")),
    );
    parts.join(", ")
}

/// One instance of many, in verbose output.
pub(crate) fn instance(term: &Term, instance: &Instance) -> String {
    let end = match instance.state {
        State::Cached => " cached".to_owned(),
        _ => format!(
            " in {}, {} fuel",
            units::human_duration_ms(instance.wall_ms),
            units::human_count(instance.fuel)
        ),
    };
    let on = instance.node.as_ref().map_or_else(String::new, |node| {
        format!(" on {}", escape::clean(&node.name))
    });
    format!(
        "{} {}{end}{on}",
        signed(instance.state, term),
        escape::clean(&instance.label)
    )
}

/// The block of a failed instance. `tails`: show the end of its output (not where it was streamed already).
pub(crate) fn failure(
    term: &Term,
    label: &str,
    wall_ms: Option<u64>,
    failure: &Failure,
    tails: bool,
) -> Vec<String> {
    let color = term.err.color;
    let after = wall_ms.map_or_else(String::new, |ms| {
        format!(" after {}", units::human_duration_ms(ms))
    });
    let mut lines = vec![format!(
        "{} {} failed{after}: {} {}",
        signed(State::Failed, term),
        paint(&escape::clean(label), Tone::Strong, color),
        escape::clean(&failure.message),
        paint(&format!("[{}]", failure.code), Tone::Quiet, color),
    )];
    if tails {
        tail(term, "stdout", &failure.stdout_tail, &mut lines);
        tail(term, "stderr", &failure.stderr_tail, &mut lines);
    }
    if !failure.backtrace.is_empty() {
        lines.push("  wasm backtrace, innermost first:".to_owned());
        for (index, frame) in failure.backtrace.iter().take(FRAMES).enumerate() {
            lines.push(format!("  {index:>4}: {}", escape::clean(frame)));
        }
        if failure.backtrace.len() > FRAMES {
            lines.push(format!(
                "        and {} more",
                failure.backtrace.len() - FRAMES
            ));
        }
    }
    lines.extend(failure.hints.iter().map(|hint| hint_line(term, hint)));
    lines
}

/// What went wrong and is no task's failure.
pub(crate) fn problem(term: &Term, problem: &RunProblem) -> Vec<String> {
    let color = term.err.color;
    let mut lines = vec![format!(
        "{} {} {}",
        paint("error:", Tone::Bad, color),
        escape::clean(&problem.message),
        paint(&format!("[{}]", problem.code), Tone::Quiet, color),
    )];
    lines.extend(problem.hints.iter().map(|hint| hint_line(term, hint)));
    lines
}

fn tail(term: &Term, stream: &str, text: &str, lines: &mut Vec<String>) {
    let bar = if term.unicode { "│" } else { "|" };
    let all: Vec<&str> = text.lines().collect();
    let hidden = all.len().saturating_sub(TAIL_LINES);
    let stream = paint(stream, Tone::Quiet, term.err.color);
    if hidden > 0 {
        lines.push(format!(
            "  {stream} {bar} ({} above; --verbose shows them)",
            plural(hidden as u64, "line")
        ));
    }
    lines.extend(
        all.iter()
            .skip(hidden)
            .map(|line| format!("  {stream} {bar} {}", escape::clean(line))),
    );
}

/// `  hint: …`
pub(crate) fn hint_line(term: &Term, hint: &str) -> String {
    let mut lines = hint.lines();
    let first = escape::clean(lines.next().unwrap_or_default());
    let mut out = format!("  {} {first}", paint("hint:", Tone::Info, term.err.color));
    for line in lines {
        out.push_str("\n        ");
        out.push_str(&escape::clean(line));
    }
    out
}

/// Everything at the end of a run: the graph, the numbers, what was written, what failed.
pub(crate) fn summary(term: &Term, doc: &RunDoc, nodes: &[Node]) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    if !nodes.is_empty() {
        lines.extend(graph_lines(nodes, term));
    }
    lines.push(numbers(term, doc));
    match doc.status {
        Status::TimedOut => lines.push("the run's time was up: --timeout gives it more".to_owned()),
        Status::Interrupted => {
            lines.push("interrupted: what had passed is kept, run again to go on".to_owned())
        }
        Status::Passed | Status::Failed => {}
    }
    lines.extend(written(doc));
    let failed: Vec<&str> = doc
        .instances
        .iter()
        .filter(|one| one.state == State::Failed)
        .map(|one| &*one.label)
        .collect();
    if failed.len() > 1 {
        lines.push(format!("failed: {}", listed(&failed)));
    }
    lines
}

fn numbers(term: &Term, doc: &RunDoc) -> String {
    let counts = &doc.counts;
    let total = plural(counts.total().into(), "task");
    let time = units::human_duration_ms(doc.wall_ms);
    if counts.total() > 0 && counts.cached == counts.total() {
        return format!("{total}: everything came from the cache in {time}");
    }
    let parts = [
        (counts.passed, "passed", Tone::Good),
        (counts.cached, "cached", Tone::Quiet),
        (counts.failed, "failed", Tone::Bad),
        (counts.skipped, "skipped", Tone::Warn),
        (counts.cancelled, "cancelled", Tone::Warn),
    ];
    let parts: Vec<String> = parts
        .iter()
        .filter(|(count, ..)| *count > 0)
        .map(|(count, name, tone)| paint(&format!("{count} {name}"), *tone, term.err.color))
        .collect();
    let parts = if parts.is_empty() {
        "nothing to do".to_owned()
    } else {
        parts.join(", ")
    };
    format!("{total}: {parts} in {time}{}", elsewhere(&doc.elsewhere))
}

/// `; elsewhere: 12 on dave-macbook, 3 on sarah-laptop`.
pub(crate) fn elsewhere(ran: &[RanOn]) -> String {
    let shown: Vec<String> = ran
        .iter()
        .take(NAMES)
        .map(|one| format!("{} on {}", one.instances, escape::clean(&one.node.name)))
        .collect();
    match (shown.is_empty(), ran.len().saturating_sub(NAMES)) {
        (true, _) => String::new(),
        (false, 0) => format!("; elsewhere: {}", shown.join(", ")),
        (false, more) => format!(
            "; elsewhere: {} and more on {more} others",
            shown.join(", ")
        ),
    }
}

/// Where the outputs went: each file, or for many their number and folder.
fn written(doc: &RunDoc) -> Vec<String> {
    let files = &doc.exported;
    if files.len() <= 4 {
        return files
            .iter()
            .map(|file| {
                format!(
                    "wrote {} ({})",
                    escape::clean(&file.path),
                    units::human_bytes(file.bytes)
                )
            })
            .collect();
    }
    let mut folders = BTreeMap::<String, (usize, u64)>::new();
    for file in files {
        let folder = file.path.rsplit_once('/').map_or(".", |(folder, _)| folder);
        let entry = folders.entry(escape::clean(folder)).or_default();
        entry.0 += 1;
        entry.1 = entry.1.saturating_add(file.bytes);
    }
    if folders.len() > NAMES {
        let bytes = files
            .iter()
            .fold(0u64, |sum, file| sum.saturating_add(file.bytes));
        return vec![format!(
            "wrote {} files in {} folders ({})",
            files.len(),
            folders.len(),
            units::human_bytes(bytes)
        )];
    }
    folders
        .iter()
        .map(|(folder, (count, bytes))| {
            format!(
                "wrote {} in {folder}/ ({})",
                plural(*count as u64, "file"),
                units::human_bytes(*bytes)
            )
        })
        .collect()
}

/// `1 task`, `3 tasks`.
pub(crate) fn plural(count: u64, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// A few names, then how many more.
pub(crate) fn listed(names: &[&str]) -> String {
    let shown: Vec<String> = names
        .iter()
        .take(NAMES)
        .map(|name| escape::clean(name))
        .collect();
    match names.len().saturating_sub(NAMES) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_shows_what_to_do_and_no_escape() {
        let what = Failure {
            code: "task::exit".to_owned(),
            message: "exited with code 3".to_owned(),
            hints: vec!["run it again".to_owned()],
            exit_code: Some(3),
            stdout_tail: "\u{1b}]52;c;aGk=\u{7}one\ntwo".to_owned(),
            stderr_tail: String::new(),
            backtrace: Vec::new(),
        };
        let lines = failure(&Term::plain(80), "lint", Some(1200), &what, true);
        assert_eq!(
            lines,
            [
                "✗ lint failed after 1.2s: exited with code 3 [task::exit]",
                "  stdout │ one",
                "  stdout │ two",
                "  hint: run it again",
            ]
        );
    }
}
