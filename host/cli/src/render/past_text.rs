//! Text for people about runs that were, or go on. Pure functions of the documents in `past.rs` and what stdout can show;
//! what guests and peers wrote is stripped of terminal escapes here. Called by the commands about runs.

use std::collections::BTreeMap;
use std::sync::Arc;

use sykli_core::units::{human_count, human_duration_ms};
use sykli_node::events::Stream;

use super::escape::{self, clean};
use super::graph_line::{self, Mark, Node};
use super::json::{Counts, State};
use super::past::{
    ExplainDoc, HistoryDoc, Moves, PastRun, Reach, ReportDoc, ReportTask, Standing, StatusDoc,
    StatusTask, TaskDoc, TaskDocView,
};
use super::term::{Term, Tone, paint};
use super::text::{self, hint_line, plural};

/// Instances that a text shows one by one.
const MAX_SHOWN: usize = 200;
/// A guest's line longer than this is shown in pieces.
const MAX_LINE_BYTES: usize = 16 * 1024;

/// Lines with their ends.
pub(crate) fn joined(lines: Vec<String>) -> String {
    lines.into_iter().fold(String::new(), |mut out, line| {
        out.push_str(&line);
        out.push('\n');
        out
    })
}

/// A word for how it stands, in its tone.
fn word(standing: Standing) -> (&'static str, Tone) {
    match standing {
        Standing::Waiting => ("waiting", Tone::Quiet),
        Standing::Offered => ("offered", Tone::Info),
        Standing::Running => ("running", Tone::Info),
        Standing::Passed => ("passed", Tone::Good),
        Standing::Cached => ("cached", Tone::Quiet),
        Standing::Failed => ("failed", Tone::Bad),
        Standing::Skipped => ("skipped", Tone::Warn),
        Standing::Cancelled => ("cancelled", Tone::Warn),
        Standing::Interrupted => ("interrupted", Tone::Warn),
    }
}

fn said(standing: Standing, term: &Term) -> String {
    let (word, tone) = word(standing);
    paint(word, tone, term.err.color)
}

/// How it ended, where it has.
fn ended(standing: Standing) -> Option<State> {
    match standing {
        Standing::Passed => Some(State::Passed),
        Standing::Cached => Some(State::Cached),
        Standing::Failed => Some(State::Failed),
        Standing::Skipped => Some(State::Skipped),
        Standing::Cancelled => Some(State::Cancelled),
        Standing::Waiting | Standing::Offered | Standing::Running | Standing::Interrupted => None,
    }
}

fn reach_word(reach: Reach) -> &'static str {
    match reach {
        Reach::Solo => "solo",
        Reach::Mesh => "mesh",
        Reach::Swarm => "swarm",
    }
}

fn numbers(counts: &Counts) -> String {
    let parts = [
        (counts.passed, "passed"),
        (counts.cached, "cached"),
        (counts.failed, "failed"),
        (counts.skipped, "skipped"),
        (counts.cancelled, "cancelled"),
    ];
    let parts: Vec<String> = parts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, name)| format!("{count} {name}"))
        .collect();
    match parts.is_empty() {
        true => "nothing ended".to_owned(),
        false => parts.join(", "),
    }
}

/// `2h ago`: one unit is enough for finding a run.
fn ago(started_ms: u64, now_ms: u64) -> String {
    let seconds = now_ms.saturating_sub(started_ms) / 1000;
    let (count, unit) = match seconds {
        0..60 => (seconds, "s"),
        60..3600 => (seconds / 60, "m"),
        3600..86_400 => (seconds / 3600, "h"),
        _ => (seconds / 86_400, "d"),
    };
    format!("{count}{unit} ago")
}

/// A run and what became of it, in one line.
fn run_line(run: &PastRun, term: &Term) -> String {
    let time = run
        .wall_ms
        .map_or_else(String::new, |ms| format!(" in {}", human_duration_ms(ms)));
    format!(
        "{} {}{time}: {}{}",
        clean(&run.pipeline),
        said(run.standing, term),
        numbers(&run.counts),
        text::elsewhere(&run.elsewhere)
    )
}

/// `history`.
pub(crate) fn history(term: &Term, doc: &HistoryDoc, now_ms: u64) -> Vec<String> {
    if doc.runs.is_empty() {
        return vec!["nothing has been run yet".to_owned()];
    }
    let lines = doc.runs.iter().map(|run| {
        let id = paint(&clean(&run.run), Tone::Quiet, term.err.color);
        let when = ago(run.started_ms, now_ms);
        let reach = reach_word(run.reach);
        format!("{id}  {when:>8}  {reach:<5}  {}", run_line(run, term))
    });
    lines.collect()
}

/// `report`.
pub(crate) fn report(term: &Term, doc: &ReportDoc) -> Vec<String> {
    let id = paint(&clean(&doc.of.run), Tone::Quiet, term.err.color);
    let mut lines = vec![format!(
        "{} ({}, {id})",
        run_line(&doc.of, term),
        reach_word(doc.of.reach)
    )];
    let width = doc.tasks.iter().take(MAX_SHOWN);
    let width = width.map(|task| clean(&task.view.label).chars().count());
    let width = width.max().unwrap_or(0).min(40);
    lines.extend(
        doc.tasks
            .iter()
            .take(MAX_SHOWN)
            .map(|task| report_line(term, task, width)),
    );
    if let Some(more) = doc.tasks.len().checked_sub(MAX_SHOWN + 1) {
        lines.push(format!("and {} more: --json has all", more + 1));
    }
    lines
}

fn report_line(term: &Term, task: &ReportTask, width: usize) -> String {
    let view = &task.view;
    let sign = ended(view.standing).map_or_else(String::new, |state| {
        let (sign, tone) = text::sign(state, term.unicode);
        // Without glyphs the signs are words of different lengths.
        let wide = if term.unicode { 1 } else { 9 };
        paint(&format!("{sign:<wide$}"), tone, term.err.color)
    });
    let place = match (&view.executor, view.standing) {
        (Some(node), _) => clean(&node.name),
        (None, Standing::Passed | Standing::Failed) => "here".to_owned(),
        (None, Standing::Cached) => "cache".to_owned(),
        (None, _) => "-".to_owned(),
    };
    let time = match view.standing {
        Standing::Passed | Standing::Failed => human_duration_ms(view.wall_ms),
        _ => String::new(),
    };
    let mut line = format!(
        "{sign} {:<width$}  {place:<16} {time:>8}",
        clean(&view.label)
    );
    let notes = [
        task.why.as_deref().map(clean),
        moved(task.moves),
        view.failure.as_deref().map(clean),
    ];
    let notes: Vec<String> = notes.into_iter().flatten().collect();
    if !notes.is_empty() {
        line.push_str("  ");
        line.push_str(&notes.join("; "));
    }
    line.trim_end().to_owned()
}

/// `offered 3 times, declined 2 times`.
fn moved(moves: Moves) -> Option<String> {
    let parts = [
        (moves.offered, "offered"),
        (moves.declined, "declined"),
        (moves.lost, "lost"),
    ];
    let parts: Vec<String> = parts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{what} {}", plural((*count).into(), "time")))
        .collect();
    (moves != Moves::default()).then(|| parts.join(", "))
}

/// `task`.
pub(crate) fn task(term: &Term, doc: &TaskDoc) -> Vec<String> {
    let mut lines = Vec::new();
    for view in doc.instances.iter().take(MAX_SHOWN) {
        lines.extend(task_block(term, view));
    }
    if let Some(more) = doc.instances.len().checked_sub(MAX_SHOWN + 1) {
        lines.push(format!("and {} more: --json has all", more + 1));
    }
    lines
}

fn task_block(term: &Term, view: &TaskDocView) -> Vec<String> {
    let (word, tone) = word(view.standing);
    let mut capital = word.chars();
    let status: String = capital
        .next()
        .map(|first| first.to_ascii_uppercase())
        .into_iter()
        .chain(capital)
        .collect();
    let mut lines = vec![format!(
        "[Task: {}] Status: {}",
        clean(&view.label),
        paint(&status, tone, term.err.color)
    )];
    let ran = !matches!(
        view.standing,
        Standing::Waiting | Standing::Cached | Standing::Skipped
    );
    let executor = match (&view.executor, &view.address) {
        (Some(node), Some(address)) => format!("{} ({})", clean(&node.name), clean(address)),
        (Some(node), None) => clean(&node.name),
        (None, _) => "this machine".to_owned(),
    };
    if ran {
        lines.push(format!("  Executor: {executor}"));
        let owner = view
            .owner
            .as_ref()
            .map_or_else(|| "this machine".to_owned(), |owner| clean(&owner.name));
        lines.push(match view.stolen {
            true => format!("  Stolen: yes (from {owner})"),
            false => "  Stolen: no".to_owned(),
        });
    }
    if let Some(percent) = view.progress_percent {
        lines.push(format!("  Progress: {percent}%"));
    }
    if let Some(message) = &view.message {
        lines.push(format!("  At: {}", clean(message)));
    }
    if view.attempt > 1 {
        lines.push(format!("  Attempt: {}", view.attempt));
    }
    if matches!(view.standing, Standing::Passed | Standing::Failed) {
        let time = human_duration_ms(view.wall_ms);
        lines.push(format!("  Time: {time}, {} fuel", human_count(view.fuel)));
    }
    if let Some(failure) = &view.failure {
        lines.push(format!("  Failure: {}", clean(failure)));
    }
    lines
}

/// `explain`.
pub(crate) fn explain(term: &Term, doc: &ExplainDoc) -> Vec<String> {
    let mut lines = Vec::new();
    for one in &doc.instances {
        lines.push(format!(
            "{}: {}: {}",
            paint(&clean(&one.label), Tone::Strong, term.err.color),
            said(one.standing, term),
            clean(&one.why)
        ));
        let mut hinted: Vec<&str> = Vec::new();
        for timed in &one.steps {
            let after = human_duration_ms(timed.after_ms);
            let after = paint(&format!("{after:>8}"), Tone::Quiet, term.err.color);
            lines.push(format!("  {after}  {}", clean(&timed.step.message)));
            for hint in &timed.step.hints {
                // What was said once needs no second time.
                if !hinted.contains(&hint.as_str()) {
                    lines.push(format!("          {}", hint_line(term, hint)));
                    hinted.push(hint);
                }
            }
        }
    }
    if doc.left_out > 0 {
        lines.push(format!(
            "and {} more: ask for one by its name, as in `sykli explain 'shrink[3/16]'`",
            doc.left_out
        ));
    }
    lines
}

/// `status`: the graph, and the run in one line.
pub(crate) fn status(term: &Term, doc: &StatusDoc) -> Vec<String> {
    let nodes: Vec<Node> = doc
        .tasks
        .iter()
        .map(|task| Node {
            name: clean(&task.name),
            after: task.after.clone(),
            instances: task.instances,
            mark: mark(task, doc.standing),
        })
        .collect();
    let mut lines = match nodes.is_empty() {
        true => Vec::new(),
        false => graph_line::graph_lines(&nodes, term),
    };
    let mut sum = Counts::default();
    let mut total = 0u32;
    for task in &doc.tasks {
        let of = &task.counts;
        sum.passed += of.passed;
        sum.cached += of.cached;
        sum.failed += of.failed;
        sum.skipped += of.skipped;
        sum.cancelled += of.cancelled;
        total = total.saturating_add(task.instances);
    }
    let time = doc
        .elapsed_ms
        .map_or_else(String::new, |ms| format!(" in {}", human_duration_ms(ms)));
    lines.push(format!(
        "{} {}{time}: {}/{total} ended, {} ({}, {})",
        clean(&doc.pipeline),
        said(doc.standing, term),
        sum.total(),
        numbers(&sum),
        reach_word(doc.reach),
        paint(&clean(&doc.run), Tone::Quiet, term.err.color),
    ));
    lines
}

fn mark(task: &StatusTask, run: Standing) -> Mark {
    let names = || task.on.iter().map(|node| node.name.clone()).collect();
    if let Some(state) = ended(task.standing) {
        return Mark::Ended(state, names());
    }
    match task.standing {
        // Nothing runs in a run that is over.
        Standing::Running | Standing::Offered if run == Standing::Running => Mark::Running(names()),
        _ => Mark::Waiting,
    }
}

/// What a task wrote, each line with its label where there are several.
pub(crate) fn log(term: &Term, label: Option<&str>, text: &str) -> String {
    let mut out = String::new();
    for line in text.lines() {
        out.push_str(&prefixed(term, label, line.as_bytes()));
    }
    out
}

fn prefixed(term: &Term, label: Option<&str>, line: &[u8]) -> String {
    let line = clean(&String::from_utf8_lossy(line));
    let bar = if term.unicode { "│" } else { "|" };
    match label {
        None => format!("{line}\n"),
        Some(label) => {
            let label = paint(&escape::clean(label), Tone::Info, term.err.color);
            format!("{label} {bar} {line}\n")
        }
    }
}

/// Pieces of output put together to lines, by instance and stream.
#[derive(Default)]
pub(crate) struct Lines(BTreeMap<(Arc<str>, bool), Vec<u8>>);

impl Lines {
    /// The lines that are whole with this piece.
    pub(crate) fn push(
        &mut self,
        label: &Arc<str>,
        stream: Stream,
        bytes: &[u8],
        term: &Term,
    ) -> String {
        let is_err = stream == Stream::Stderr;
        let buffer = self.0.entry((label.clone(), is_err)).or_default();
        buffer.extend_from_slice(bytes);
        let end = buffer.iter().rposition(|byte| *byte == b'\n');
        let whole = match end {
            Some(end) => end + 1,
            None if buffer.len() > MAX_LINE_BYTES => buffer.len(),
            None => return String::new(),
        };
        let rest = buffer.split_off(whole);
        let mut complete = std::mem::replace(buffer, rest);
        if complete.last() == Some(&b'\n') {
            complete.pop();
        }
        let lines = complete.split(|byte| *byte == b'\n');
        lines
            .map(|line| prefixed(term, Some(label), line))
            .collect()
    }

    /// What was written without a line end: for stdout and for stderr.
    pub(crate) fn rest(self, term: &Term) -> (String, String) {
        let (mut out, mut err) = (String::new(), String::new());
        for ((label, is_err), line) in self.0 {
            if !line.is_empty() {
                let line = prefixed(term, Some(&label), &line);
                if is_err { &mut err } else { &mut out }.push_str(&line);
            }
        }
        (out, err)
    }
}

#[cfg(test)]
#[path = "past_text_tests.rs"]
mod tests;
