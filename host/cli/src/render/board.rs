//! The state that the text renderers keep of a run: what is running, what is settled, and which lines to append when
//! something happens. Both the live view and the plain one append exactly these lines; the live one draws what is
//! running below them. It reads events, never the clock beyond "how long does this run already", and writes nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sykli_core::units;

use super::json::{Counts, Event, Instance, PlannedTask, State};
use super::past::{StepDoc, StepName};
use super::term::{Term, Tone, paint};
use super::{escape, graph_line, text};

/// In plain output, a run that says nothing for this long says where it is.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// A guest that runs now.
#[derive(Clone, Debug)]
pub(crate) struct Running {
    pub(crate) since: Instant,
    pub(crate) done: u64,
    /// 0: not known.
    pub(crate) total: u64,
    pub(crate) message: String,
    /// The node that runs it; none where it is this one.
    pub(crate) on: Option<String>,
}

/// A declared task's row.
#[derive(Clone, Debug)]
struct Row {
    planned: PlannedTask,
    counts: Counts,
    since: Option<Instant>,
    /// Of its instances, summed.
    wall_ms: u64,
    /// Other nodes, with how many instances each ran.
    on: BTreeMap<String, u32>,
}

/// See the module.
pub(crate) struct Board {
    term: Term,
    verbose: bool,
    began: Instant,
    rows: Vec<Row>,
    by_name: BTreeMap<String, usize>,
    running: BTreeMap<Arc<str>, Running>,
    builds: BTreeMap<String, (Instant, String)>,
    counts: Counts,
    total: u32,
    spoke: Instant,
}

impl Board {
    /// An empty board; a run begins now.
    pub(crate) fn new(term: Term, verbose: bool) -> Board {
        let now = Instant::now();
        Board {
            term,
            verbose,
            began: now,
            rows: Vec::new(),
            by_name: BTreeMap::new(),
            running: BTreeMap::new(),
            builds: BTreeMap::new(),
            counts: Counts::default(),
            total: 0,
            spoke: now,
        }
    }

    /// Takes an event in; the lines to append, without line ends.
    pub(crate) fn apply(&mut self, event: &Event) -> Vec<String> {
        let mut lines = Vec::new();
        match event {
            Event::Warning { message } => lines.push(self.warning(message)),
            Event::Problem(problem) => lines.extend(text::problem(&self.term, problem)),
            Event::BuildStarted { crate_dir } => {
                self.builds
                    .insert(crate_dir.clone(), (Instant::now(), String::new()));
                if !self.term.live {
                    lines.push(format!("building {}", escape::clean(crate_dir)));
                }
            }
            Event::BuildOutput { crate_dir, line } => self.build_line(crate_dir, line, &mut lines),
            Event::BuildFinished {
                crate_dir,
                built,
                wall_ms,
            } => {
                self.builds.remove(crate_dir);
                if *built {
                    lines.push(format!(
                        "{} {} in {}",
                        self.quiet("built"),
                        escape::clean(crate_dir),
                        units::human_duration_ms(*wall_ms)
                    ));
                }
            }
            Event::Planned { tasks, .. } => self.planned(tasks),
            Event::TaskStarted {
                task,
                label,
                attempt,
            } => self.started(task, label, (*attempt, None), &mut lines),
            Event::TaskStep { task, label, step } => self.step(task, label, step, &mut lines),
            Event::TaskProgress {
                label,
                done,
                total,
                message,
                ..
            } => {
                if let Some(running) = self.running.get_mut(label) {
                    running.done = *done;
                    running.total = *total;
                    running.message = escape::clean(message);
                }
            }
            Event::TaskOutput { label, line, .. } if self.verbose => {
                lines.push(self.prefixed(label, &escape::clean(line)))
            }
            Event::TaskLog {
                label,
                level,
                message,
                fields,
                ..
            } => self.log(label, level, message, fields, &mut lines),
            Event::TaskSettled(instance) => self.settled(instance, &mut lines),
            Event::TaskOutput { .. } | Event::Progress { .. } | Event::Finished { .. } => {}
        }
        self.heartbeat(&mut lines);
        lines
    }

    /// What runs now, longest first.
    pub(crate) fn running(&self) -> Vec<(&str, &Running)> {
        let mut all: Vec<_> = self
            .running
            .iter()
            .map(|(label, running)| (&**label, running))
            .collect();
        all.sort_by_key(|(_, running)| running.since);
        all
    }

    /// Crates that are being built: folder, since when, the last line that cargo said.
    pub(crate) fn builds(&self) -> impl Iterator<Item = (&str, Instant, &str)> {
        self.builds
            .iter()
            .map(|(dir, (since, line))| (dir.as_str(), *since, line.as_str()))
    }

    /// Settled and wanted instances.
    pub(crate) fn position(&self) -> (u32, u32) {
        (self.counts.total(), self.total)
    }

    /// Instances by how they ended so far.
    pub(crate) fn counts(&self) -> Counts {
        self.counts
    }

    /// When the run began.
    pub(crate) fn began(&self) -> Instant {
        self.began
    }

    /// The declared tasks as the graph line shows them.
    pub(crate) fn nodes(&self) -> Vec<graph_line::Node> {
        let wanted = self.rows.iter().filter(|row| row.planned.selected > 0);
        wanted
            .map(|row| graph_line::Node {
                name: row.planned.name.clone(),
                after: row.planned.after.clone(),
                instances: row.planned.selected,
                mark: match row.counts.total() {
                    0 => graph_line::Mark::Planned,
                    _ => graph_line::Mark::Ended(
                        row.counts.worst(),
                        row.on.keys().cloned().collect(),
                    ),
                },
            })
            .collect()
    }

    fn planned(&mut self, tasks: &[PlannedTask]) {
        // A long build is not a silence of the run.
        self.spoke = Instant::now();
        self.total = tasks.iter().map(|task| task.selected).sum();
        self.by_name = tasks
            .iter()
            .enumerate()
            .map(|(index, task)| (task.name.clone(), index))
            .collect();
        self.rows = tasks
            .iter()
            .map(|task| Row {
                planned: task.clone(),
                counts: Counts::default(),
                since: None,
                wall_ms: 0,
                on: BTreeMap::new(),
            })
            .collect();
    }

    fn row(&mut self, task: &str) -> Option<&mut Row> {
        let index = *self.by_name.get(task)?;
        self.rows.get_mut(index)
    }

    fn started(
        &mut self,
        task: &str,
        label: &Arc<str>,
        (attempt, on): (u32, Option<String>),
        lines: &mut Vec<String>,
    ) {
        let now = Instant::now();
        self.running.insert(
            label.clone(),
            Running {
                since: now,
                done: 0,
                total: 0,
                message: String::new(),
                on,
            },
        );
        if let Some(row) = self.row(task) {
            row.since.get_or_insert(now);
        }
        if attempt > 1 {
            lines.push(self.warning(&format!("{label}: attempt {attempt}")));
        }
    }

    /// What runs elsewhere is never silent: where it began, and where it was lost. The rest of its way is for those who
    /// asked for more.
    fn step(&mut self, task: &str, label: &Arc<str>, step: &StepDoc, lines: &mut Vec<String>) {
        match step.step {
            StepName::Started => {
                let name = escape::clean(&step.node.name);
                let one = self.row(task).is_some_and(|row| row.planned.instances == 1);
                if self.verbose || (one && !self.term.live) {
                    let place = graph_line::place(std::slice::from_ref(&name), self.term.unicode);
                    let place = paint(&place, Tone::Info, self.term.err.color);
                    lines.push(format!("{} {place}", escape::clean(label)));
                }
                // A first attempt there is no second one here: the number alone says nothing.
                self.started(task, label, (0, Some(name)), lines);
            }
            StepName::Lost => {
                let name = escape::clean(&step.node.name);
                let there = |running: &Running| running.on.as_ref() == Some(&name);
                if self.running.get(label).is_some_and(there) {
                    self.running.remove(label);
                }
                lines.push(self.warning(&format!("{label}: {}", step.message)));
            }
            StepName::NotOffered
            | StepName::Offered
            | StepName::Declined
            | StepName::Pending
            | StepName::Accepted
            | StepName::Doubled
            | StepName::Ran => {
                if self.verbose {
                    lines.push(self.prefixed(label, &escape::clean(&step.message)));
                }
            }
        }
    }

    fn settled(&mut self, instance: &Instance, lines: &mut Vec<String>) {
        let began = self
            .running
            .remove(&instance.label)
            .map(|running| running.since);
        self.counts.add(instance.state);
        let verbose = self.verbose;
        let term = self.term;
        if let Some(failure) = &instance.failure {
            lines.extend(text::failure(
                &term,
                &instance.label,
                began.map(|_| instance.wall_ms),
                failure,
                !verbose,
            ));
        }
        let mut row_line = None;
        if let Some(row) = self.row(&instance.task) {
            row.counts.add(instance.state);
            row.wall_ms = row.wall_ms.saturating_add(instance.wall_ms);
            if let Some(node) = &instance.node {
                *row.on.entry(node.name.clone()).or_default() += 1;
            }
            if row.counts.total() >= row.planned.selected {
                row_line = text::row(
                    &term,
                    &row.planned,
                    &row.counts,
                    row.wall_ms,
                    row.since.map(|since| since.elapsed()),
                    &row.on,
                );
            }
        }
        let many = self
            .row(&instance.task)
            .is_some_and(|row| row.planned.instances > 1);
        if verbose && many && matches!(instance.state, State::Passed | State::Cached) {
            lines.push(text::instance(&term, instance));
        }
        for warning in &instance.warnings {
            lines.push(self.warning(&format!("{}: {warning}", instance.label)));
        }
        lines.extend(row_line);
    }

    fn build_line(&mut self, crate_dir: &str, line: &str, lines: &mut Vec<String>) {
        let line = escape::clean(line);
        if self.verbose {
            lines.push(self.prefixed(crate_dir, &line));
        }
        if let Some((_, last)) = self.builds.get_mut(crate_dir) {
            *last = line;
        }
    }

    fn log(
        &mut self,
        label: &str,
        level: &str,
        message: &str,
        fields: &BTreeMap<String, String>,
        lines: &mut Vec<String>,
    ) {
        let serious = matches!(level, "warn" | "error");
        if !serious && !self.verbose {
            return;
        }
        let fields: String = fields
            .iter()
            .map(|(key, value)| format!(" {key}={value}"))
            .collect();
        let tone = if serious { Tone::Warn } else { Tone::Quiet };
        let level = paint(&escape::clean(level), tone, self.term.err.color);
        lines.push(self.prefixed(
            label,
            &format!("{level} {}", escape::clean(&format!("{message}{fields}"))),
        ));
    }

    /// `clean` has gone through [`escape::clean`]: it may carry our own colours.
    fn prefixed(&self, label: &str, clean: &str) -> String {
        let bar = if self.term.unicode { "│" } else { "|" };
        format!(
            "{} {bar} {clean}",
            paint(&escape::clean(label), Tone::Info, self.term.err.color)
        )
    }

    fn warning(&self, message: &str) -> String {
        format!(
            "{} {}",
            paint("warning:", Tone::Warn, self.term.err.color),
            escape::clean(message)
        )
    }

    fn quiet(&self, text: &str) -> String {
        paint(text, Tone::Quiet, self.term.err.color)
    }

    /// Plain output of a long run shows that it is alive.
    fn heartbeat(&mut self, lines: &mut Vec<String>) {
        if self.term.live || self.total == 0 {
            return;
        }
        if lines.is_empty() && !self.running.is_empty() && self.spoke.elapsed() >= HEARTBEAT {
            let (done, total) = self.position();
            let names: Vec<&str> = self.running.keys().take(3).map(|label| &**label).collect();
            let more = self.running.len().saturating_sub(names.len());
            let more = if more > 0 {
                format!(" and {more} more")
            } else {
                String::new()
            };
            lines.push(self.quiet(&format!(
                "{done}/{total} done, running {}{more}",
                escape::clean(&names.join(", "))
            )));
        }
        if !lines.is_empty() {
            self.spoke = Instant::now();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::past::NodeDoc;

    fn node(name: &str) -> NodeDoc {
        NodeDoc {
            id: "12D3KooW".to_owned(),
            name: name.to_owned(),
        }
    }

    fn step(label: &str, on: &str, step: StepName, message: &str) -> Event {
        Event::TaskStep {
            task: "build".into(),
            label: label.into(),
            step: StepDoc {
                attempt: 1,
                node: node(on),
                step,
                reason: None,
                message: message.to_owned(),
                hints: Vec::new(),
            },
        }
    }

    fn passed(label: &str, on: &str) -> Event {
        Event::TaskSettled(Instance {
            task: "build".into(),
            label: label.into(),
            state: State::Passed,
            attempts: Some(1),
            wall_ms: 2000,
            fuel: 1,
            digest: None,
            output: None,
            failure: None,
            warnings: Vec::new(),
            node: Some(node(on)),
        })
    }

    fn board(instances: u32, verbose: bool) -> Board {
        let mut board = Board::new(Term::plain(80), verbose);
        let task = PlannedTask {
            name: "build".to_owned(),
            instances,
            selected: instances,
            after: Vec::new(),
        };
        board.planned(&[task]);
        board
    }

    #[test]
    fn what_runs_elsewhere_says_where_when_it_begins_is_lost_and_ends() {
        let mut board = board(1, false);
        let offered = step("build", "dave", StepName::Offered, "offered to dave");
        assert!(board.apply(&offered).is_empty());
        let started = step("build", "da\u{1b}[2Jve", StepName::Started, "began");
        assert_eq!(board.apply(&started), ["build ⚡dave"]);
        assert_eq!(board.running()[0].1.on.as_deref(), Some("dave"));
        let other = step("build", "erin", StepName::Lost, "lost on erin");
        assert_eq!(board.apply(&other), ["warning: build: lost on erin"]);
        assert_eq!(board.running().len(), 1, "dave has it still");
        let lost = step("build", "dave", StepName::Lost, "lost on dave");
        board.apply(&lost);
        assert!(board.running().is_empty());
        board.apply(&step("build", "erin", StepName::Started, "began"));
        assert_eq!(
            board.apply(&passed("build", "erin")),
            ["✓ build in 2.0s on erin"]
        );
    }

    #[test]
    fn of_many_instances_their_number_is_told_and_each_only_when_asked() {
        for verbose in [false, true] {
            let mut board = board(2, verbose);
            let started = board.apply(&step("build[1/2]", "dave", StepName::Started, "began"));
            let declined = step(
                "build[2/2]",
                "dave",
                StepName::Declined,
                "dave declined: busy",
            );
            let declined = board.apply(&declined);
            let (begun, why) = match verbose {
                false => (vec![], vec![]),
                true => (
                    vec!["build[1/2] ⚡dave"],
                    vec!["build[2/2] │ dave declined: busy"],
                ),
            };
            assert_eq!(
                (started, declined),
                (
                    begun.into_iter().map(str::to_owned).collect(),
                    why.into_iter().map(str::to_owned).collect(),
                )
            );
            board.apply(&passed("build[1/2]", "dave"));
            let last = board.apply(&passed("build[2/2]", "erin"));
            let row = last.last().map(String::as_str).unwrap_or_default();
            assert!(row.starts_with("✓ build: 2 instances in "), "{row}");
            assert!(row.ends_with(" on dave (1), erin (1)"), "{row}");
        }
    }
}
