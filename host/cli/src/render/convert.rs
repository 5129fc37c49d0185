//! The one place where the node's reports and events become the documents of `json.rs`. It maps fields, gathers output
//! bytes into lines (a line is never cut inside a character), and decides nothing.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sykli_node::build::BuildReport;
use sykli_node::events::{
    self, BuildEvent, FailureReport, RunEvent, RunOutcome, RunReport, SettledKind, StepKind,
    TaskSettled,
};
use sykli_node::plan::{PlanReport, PlanState as NodePlanState};
use sykli_node::why::WhyReport;

use crate::error::plain_text;

use super::json::{
    BuildDoc, Built, Counts, Event, EventDoc, Exported, Failure, Instance, PlanDoc, PlanInstance,
    PlanState, PlanTask, PlannedTask, RunDoc, RunProblem, State, Status, Stream, TaskSummary,
    WhyDoc, WhyInstance,
};
use super::past::{NodeDoc, RanOn, StepDoc};
use super::reasons;

/// A guest's line longer than this is shown in pieces.
const MAX_LINE_BYTES: usize = 16 * 1024;

/// Turns a run's events into documents; keeps unfinished lines.
pub(crate) struct Converter {
    began: Instant,
    partial: BTreeMap<(Arc<str>, Stream), Vec<u8>>,
}

impl Converter {
    /// A run begins now.
    pub(crate) fn new() -> Converter {
        Converter {
            began: Instant::now(),
            partial: BTreeMap::new(),
        }
    }

    /// The document around an event that happens now.
    pub(crate) fn doc(&self, event: Event) -> EventDoc {
        EventDoc {
            schema: "sykli.event/1",
            at_ms: millis(self.began.elapsed()),
            event,
        }
    }

    /// What `event` says; several for output, none for what renderers need not know.
    pub(crate) fn events(&mut self, event: RunEvent) -> Vec<Event> {
        match event {
            RunEvent::Warning { message } => vec![warning(&message)],
            RunEvent::Problem(one) => vec![Event::Problem(problem(one))],
            RunEvent::Build(build) => vec![build_event(build)],
            RunEvent::Planned {
                run,
                pipeline,
                tasks,
            } => vec![Event::Planned {
                run,
                pipeline,
                tasks: tasks.into_iter().map(planned).collect(),
            }],
            RunEvent::TaskStarted {
                task,
                label,
                attempt,
            } => vec![Event::TaskStarted {
                task,
                label,
                attempt,
            }],
            RunEvent::TaskStep {
                task,
                label,
                attempt,
                node,
                what,
            } => vec![Event::TaskStep {
                task,
                label,
                step: step(attempt, node, &what),
            }],
            RunEvent::TaskProgress {
                task,
                label,
                done,
                total,
                message,
            } => vec![Event::TaskProgress {
                task,
                label,
                done,
                total,
                message,
            }],
            RunEvent::TaskOutput {
                task,
                label,
                stream,
                bytes,
            } => self.output(&task, &label, stream, &bytes),
            RunEvent::TaskLog {
                task,
                label,
                level,
                message,
                fields,
            } => vec![Event::TaskLog {
                task,
                label,
                level: format!("{level:?}").to_lowercase(),
                message,
                fields: fields.into_iter().collect(),
            }],
            RunEvent::TaskSettled(settled) => self.settled(*settled),
            RunEvent::Snapshot(snapshot) => vec![progress(&snapshot)],
            // The command sums the run up itself: it knows the exported files.
            RunEvent::Finished { .. } => Vec::new(),
        }
    }

    fn settled(&mut self, settled: TaskSettled) -> Vec<Event> {
        let mut all = self.rest_of(&settled.task, &settled.label);
        // Hardly ever more than this one.
        all.reserve_exact(1);
        all.push(Event::TaskSettled(instance(settled)));
        all
    }

    fn output(
        &mut self,
        task: &Arc<str>,
        label: &Arc<str>,
        stream: events::Stream,
        bytes: &[u8],
    ) -> Vec<Event> {
        let stream = self::stream(stream);
        let buffer = self.partial.entry((label.clone(), stream)).or_default();
        buffer.extend_from_slice(bytes);
        let whole = buffer
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |end| end + 1);
        let rest = buffer.split_off(whole);
        let mut complete = std::mem::replace(buffer, rest);
        complete.pop();
        let mut lines: Vec<Event> = Vec::new();
        if whole > 0 {
            lines.extend(
                complete
                    .split(|byte| *byte == b'\n')
                    .map(|line| output_line(task, label, stream, line)),
            );
        }
        if buffer.len() > MAX_LINE_BYTES {
            lines.push(output_line(task, label, stream, &std::mem::take(buffer)));
        }
        lines
    }

    /// What an ended instance wrote without a line end.
    fn rest_of(&mut self, task: &Arc<str>, label: &Arc<str>) -> Vec<Event> {
        if self.partial.is_empty() {
            return Vec::new();
        }
        [Stream::Stdout, Stream::Stderr]
            .into_iter()
            .filter_map(|stream| {
                let rest = self.partial.remove(&(label.clone(), stream))?;
                (!rest.is_empty()).then(|| output_line(task, label, stream, &rest))
            })
            .collect()
    }
}

fn output_line(task: &Arc<str>, label: &Arc<str>, stream: Stream, line: &[u8]) -> Event {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    Event::TaskOutput {
        task: task.clone(),
        label: label.clone(),
        stream,
        line: String::from_utf8_lossy(line).into_owned(),
    }
}

fn stream(stream: events::Stream) -> Stream {
    match stream {
        events::Stream::Stdout => Stream::Stdout,
        events::Stream::Stderr => Stream::Stderr,
    }
}

fn progress(snapshot: &events::Snapshot) -> Event {
    Event::Progress {
        counts: counts(snapshot.counts.settled),
        running: snapshot.counts.running,
        total: snapshot.counts.total,
    }
}

/// A building crate's event.
pub(crate) fn build_event(event: BuildEvent) -> Event {
    match event {
        BuildEvent::Started { crate_dir } => Event::BuildStarted { crate_dir },
        BuildEvent::Line { crate_dir, line } => Event::BuildOutput { crate_dir, line },
        BuildEvent::Finished {
            crate_dir,
            built,
            wall_ms,
        } => Event::BuildFinished {
            crate_dir,
            built,
            wall_ms,
        },
    }
}

fn planned(task: events::PlannedTask) -> PlannedTask {
    PlannedTask {
        name: task.name,
        instances: task.instances,
        selected: task.selected,
        after: task.after,
    }
}

fn state(kind: SettledKind) -> State {
    match kind {
        SettledKind::Passed => State::Passed,
        SettledKind::Cached => State::Cached,
        SettledKind::Failed => State::Failed,
        SettledKind::Skipped => State::Skipped,
        SettledKind::Cancelled => State::Cancelled,
    }
}

fn status(outcome: RunOutcome) -> Status {
    match outcome {
        RunOutcome::Passed => Status::Passed,
        RunOutcome::Failed => Status::Failed,
        RunOutcome::TimedOut => Status::TimedOut,
        RunOutcome::Interrupted => Status::Interrupted,
    }
}

/// Instances by how they ended.
pub(crate) fn counts(counts: events::Counts) -> Counts {
    Counts {
        passed: counts.passed,
        cached: counts.cached,
        failed: counts.failed,
        skipped: counts.skipped,
        cancelled: counts.cancelled,
    }
}

fn warning(message: &str) -> Event {
    Event::Warning {
        message: plain_text(message),
    }
}

fn problem(problem: events::Problem) -> RunProblem {
    RunProblem {
        code: problem.code.to_owned(),
        message: plain_text(&problem.message),
        hints: vec![problem.hint],
    }
}

/// Why a guest failed.
pub(crate) fn failure(report: FailureReport) -> Failure {
    Failure {
        code: report.code,
        message: plain_text(&report.message),
        hints: report.hints,
        exit_code: report.exit_code,
        stdout_tail: report.stdout_tail,
        stderr_tail: report.stderr_tail,
        backtrace: report.backtrace,
    }
}

fn instance(settled: TaskSettled) -> Instance {
    Instance {
        task: settled.task,
        label: settled.label,
        state: state(settled.state),
        attempts: Some(settled.attempts),
        wall_ms: settled.wall_ms,
        fuel: settled.fuel,
        digest: settled.digest,
        output: settled.output,
        failure: settled.failure.map(failure),
        warnings: settled.warnings,
        node: settled.node.map(node),
    }
}

/// Which instances of a run a document lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Listed {
    /// Every one.
    All,
    /// Those that failed: all that is told to people.
    Failed,
}

/// The whole of a run. Sizes of exported files are looked up below `root`.
pub(crate) fn run_doc(report: RunReport, root: &Path, listed: Listed) -> RunDoc {
    let status = status(report.status.outcome);
    let mut failures: BTreeMap<Arc<str>, FailureReport> = report.failures.into_iter().collect();
    let size = |path: &str| std::fs::metadata(root.join(path)).map_or(0, |meta| meta.len());
    let elsewhere = elsewhere(&report.instances);
    RunDoc {
        schema: "sykli.run/1",
        elsewhere,
        run: report.run,
        pipeline: report.pipeline,
        status,
        exit_code: exit_of(status).code(),
        wall_ms: millis(report.wall),
        counts: counts(report.status.counts),
        tasks: report
            .tasks
            .into_iter()
            .map(|task| {
                let counts = counts(task.counts);
                TaskSummary {
                    name: task.name,
                    state: counts.worst(),
                    counts,
                    wall_ms: task.wall_ms,
                    fuel: task.fuel,
                }
            })
            .collect(),
        instances: report
            .instances
            .into_iter()
            .filter(|one| listed == Listed::All || one.state == SettledKind::Failed)
            .map(|one| Instance {
                failure: failures.remove(&one.label).map(failure),
                task: one.task,
                label: one.label,
                state: state(one.state),
                attempts: None,
                wall_ms: one.wall_ms,
                fuel: one.fuel,
                digest: one.digest,
                output: one.output,
                warnings: Vec::new(),
                node: one.node.map(node),
            })
            .collect(),
        exported: report
            .exported
            .into_iter()
            .map(|path| Exported {
                bytes: size(&path),
                path,
            })
            .collect(),
        unchanged: report.unchanged,
        warnings: report.warnings.iter().map(|one| plain_text(one)).collect(),
        problems: report.problems.into_iter().map(problem).collect(),
    }
}

/// How many instances ran on which other node, most first.
fn elsewhere(instances: &[events::InstanceReport]) -> Vec<RanOn> {
    let mut counts = BTreeMap::<&events::NodeRef, u32>::new();
    for one in instances.iter().filter_map(|one| one.node.as_ref()) {
        *counts.entry(one).or_default() += 1;
    }
    ran_on(counts.into_iter().map(|(of, count)| (of.clone(), count)))
}

/// Nodes with how many instances each ran, most first.
pub(crate) fn ran_on(counts: impl IntoIterator<Item = (events::NodeRef, u32)>) -> Vec<RanOn> {
    let counts = counts.into_iter().map(|(of, instances)| RanOn {
        node: node(of),
        instances,
    });
    let mut all: Vec<RanOn> = counts.collect();
    all.sort_by(|a, b| (b.instances, &a.node.name).cmp(&(a.instances, &b.node.name)));
    all
}

/// A node.
pub(crate) fn node(node: events::NodeRef) -> NodeDoc {
    NodeDoc {
        id: node.id,
        name: node.name,
    }
}

/// What happened to an instance on its way.
pub(crate) fn step(attempt: u32, on: events::NodeRef, what: &StepKind) -> StepDoc {
    let said = reasons::of(what, &on.name);
    StepDoc {
        attempt,
        node: node(on),
        step: reasons::name(what),
        reason: said.code,
        message: said.message,
        hints: said.hint.into_iter().collect(),
    }
}

/// How a process ends that ran this.
pub(crate) fn exit_of(status: Status) -> crate::error::Exit {
    match status {
        Status::Passed => crate::error::Exit::Passed,
        Status::Failed | Status::TimedOut => crate::error::Exit::TaskFailed,
        Status::Interrupted => crate::error::Exit::Interrupted,
    }
}

/// What a run would do.
pub(crate) fn plan_doc(report: PlanReport) -> PlanDoc {
    PlanDoc {
        schema: "sykli.plan/1",
        pipeline: report.pipeline,
        tasks: report
            .tasks
            .into_iter()
            .map(|task| PlanTask {
                name: task.name,
                after: task.after,
                pure: task.pure,
                cached: task.cached,
                would_run: task.would_run,
                unknown: task.unknown,
            })
            .collect(),
        instances: report
            .instances
            .into_iter()
            .map(|one| PlanInstance {
                task: one.task,
                label: one.label,
                digest: one.digest.map(|digest| digest.to_string()),
                state: match one.state {
                    NodePlanState::Cached => PlanState::Cached,
                    NodePlanState::Run { reasons } => PlanState::Run { reasons },
                    NodePlanState::Unknown { waits_for } => PlanState::Unknown { waits_for },
                },
                expected_ms: one.expected_ms,
            })
            .collect(),
        warnings: report.warnings,
    }
}

/// Why tasks are, or are not, in the cache.
pub(crate) fn why_doc(report: WhyReport) -> WhyDoc {
    WhyDoc {
        schema: "sykli.cache-why/1",
        pipeline: report.pipeline,
        instances: report
            .instances
            .into_iter()
            .map(|one| WhyInstance {
                task: one.task,
                label: one.label,
                cached: one.cached,
                digest: one.digest.map(|digest| digest.to_string()),
                previous: one.previous.map(|digest| digest.to_string()),
                reasons: one.reasons,
            })
            .collect(),
    }
}

/// What was built.
pub(crate) fn build_doc(report: BuildReport) -> BuildDoc {
    BuildDoc {
        schema: "sykli.build/1",
        crates: report
            .crates
            .into_iter()
            .map(|one| Built {
                crate_dir: one.of.crate_dir,
                component: one.artifact.display().to_string(),
                digest: one.digest.to_string(),
                bytes: one.size,
                built: one.built,
                wall_ms: millis(one.wall),
            })
            .collect(),
    }
}

/// Whole milliseconds.
pub(crate) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(converter: &mut Converter, bytes: &[u8]) -> Vec<String> {
        let event = RunEvent::TaskOutput {
            task: "t".into(),
            label: "t".into(),
            stream: events::Stream::Stdout,
            bytes: bytes.to_vec(),
        };
        converter
            .events(event)
            .into_iter()
            .map(|event| match event {
                Event::TaskOutput { line, .. } => line,
                other => format!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn output_becomes_whole_lines_however_it_was_cut() {
        let mut converter = Converter::new();
        let e = "é".as_bytes();
        assert!(lines(&mut converter, &[b"caf", &e[..1]].concat()).is_empty());
        assert_eq!(
            lines(&mut converter, &[&e[1..], b"\r\n\nrest"].concat()),
            ["café", ""]
        );
        let name = Arc::from("t");
        assert_eq!(converter.rest_of(&name, &name).len(), 1);
        assert!(converter.rest_of(&name, &name).is_empty());
    }
}
