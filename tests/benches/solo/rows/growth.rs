//! How time and memory a task grow with the number of tasks: both should stay flat. The runs are started from a small
//! process of its own, since a child's peak includes what its parent had when it started it.

use super::part;
use crate::measure::{Cost, Effort, Measured, median};
use crate::ours::{self, Project};
use crate::report::{Goal, Report, grouped};
use std::time::Duration;

/// The most that the figure of one size may be above the least.
const FLAT: f64 = 1.3;

struct Point {
    tasks: u32,
    wall_ns: f64,
    cpu_ns: f64,
    peak_bytes: f64,
}

/// No-op tasks, nothing cached, ten times as many each time.
pub(super) fn growth(effort: &Effort, report: &mut Report) {
    let points: Vec<Point> = effort
        .growth
        .iter()
        .filter_map(|&tasks| {
            eprintln!("bench:   {tasks} tasks");
            let rounds = if tasks <= 100_000 { 3 } else { 1 };
            let numbers = part(&["growth", &tasks.to_string(), &rounds.to_string()]);
            let &[wall_ns, cpu_ns, peak_bytes] = numbers.as_slice() else {
                return None;
            };
            Some(Point {
                tasks,
                wall_ns,
                cpu_ns,
                peak_bytes,
            })
        })
        .collect();
    goals(&points, report);
    table(&points, report);
    let each = |value: fn(&Point) -> f64| {
        points
            .iter()
            .map(|point| {
                (
                    f64::from(point.tasks),
                    value(point) / f64::from(point.tasks),
                )
            })
            .collect::<Vec<_>>()
    };
    report.curves(
        "Time a task",
        "no-op tasks in the pipeline",
        "µs a task",
        &[
            ("wall time", each(|point| point.wall_ns / 1e3)),
            ("processor time", each(|point| point.cpu_ns / 1e3)),
        ],
    );
    let whole = points.iter().map(|point| {
        (
            f64::from(point.tasks),
            point.peak_bytes / f64::from(1 << 20),
        )
    });
    report.curves(
        "Peak memory of the run",
        "no-op tasks in the pipeline",
        "MiB resident at most",
        &[("sykli run", whole.collect())],
    );
}

/// What the last size costs a task, against the least of all sizes; and the memory of each further task.
fn goals(points: &[Point], report: &mut Report) {
    let figure = |point: &Point| {
        let cost = |ns: f64| Duration::from_secs_f64(ns / 1e9 / f64::from(point.tasks));
        Measured::time(
            &format!("{} tasks", grouped(point.tasks)),
            Cost {
                wall: cost(point.wall_ns),
                cpu: cost(point.cpu_ns),
            },
        )
    };
    let figures: Vec<Measured> = points.iter().map(figure).collect();
    let least = figures.iter().min_by(|a, b| a.value.total_cmp(&b.value));
    if let (Some(last), Some(least)) = (figures.last(), least) {
        let what = "time a task as a run grows, largest against best";
        report.goal(what, last, least, Goal::AtMost(FLAT));
    }
    let further: Vec<Measured> = points
        .windows(2)
        .map(|pair| {
            let tasks = f64::from(pair[1].tasks - pair[0].tasks);
            let bytes = (pair[1].peak_bytes - pair[0].peak_bytes) / tasks;
            let (from, to) = (grouped(pair[0].tasks), grouped(pair[1].tasks));
            let name = format!("each task from {from} to {to}");
            Measured::bytes(&name, bytes.max(1.0))
        })
        .collect();
    if let [_, .., last] = further.as_slice()
        && let Some(least) = further.iter().min_by(|a, b| a.value.total_cmp(&b.value))
    {
        let what = "memory of a further task, largest run against best";
        report.goal(what, last, least, Goal::AtMost(FLAT));
    }
}

fn table(points: &[Point], report: &mut Report) {
    let lines = points
        .iter()
        .enumerate()
        .map(|(index, point)| {
            let tasks = f64::from(point.tasks);
            let further = index.checked_sub(1).and_then(|before| {
                let before = points.get(before)?;
                let bytes = point.peak_bytes - before.peak_bytes;
                Some(format!(
                    "{:.0} B",
                    bytes / f64::from(point.tasks - before.tasks)
                ))
            });
            vec![
                grouped(point.tasks),
                format!("{:.2} s", point.wall_ns / 1e9),
                format!("{:.1} µs", point.wall_ns / 1e3 / tasks),
                format!("{:.1} µs", point.cpu_ns / 1e3 / tasks),
                format!("{:.0} MiB", point.peak_bytes / f64::from(1 << 20)),
                further.unwrap_or_default(),
            ]
        })
        .collect();
    report.cells(
        "Growth",
        "No-op tasks that wait for nothing, nothing cached, two at once: the whole process. The peak is what the kernel \
         counted as resident; the last column is what each task beyond the line above added to it.",
        &[
            "tasks",
            "time",
            "a task",
            "processor time a task",
            "peak memory",
            "each further task",
        ],
        lines,
    );
}

/// `growth TASKS ROUNDS`: nanoseconds of wall and of processor time, and bytes at most, of a whole run.
pub(super) fn growth_part(args: &[&str]) -> Vec<f64> {
    let [tasks, rounds] = args else {
        panic!("growth TASKS ROUNDS");
    };
    let (tasks, rounds): (u32, u32) = (
        tasks.parse().expect("a number"),
        rounds.parse().expect("a number"),
    );
    let project = Project::new(&ours::independent(tasks));
    let fresh = project.home("fresh");
    // The code is compiled by a run of one task: a whole run would only take longer to leave the same.
    project.write("sykli.toml", &ours::independent(1));
    project.uncached_home(&fresh);
    project.write("sykli.toml", &ours::independent(tasks));
    let (mut costs, mut peaks) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        project.uncached_home(&fresh);
        let ((ran, peak), cost) = Cost::of(|| sykli_tests::peak(&mut project.command(&fresh)));
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        costs.push(cost);
        peaks.push(peak);
    }
    peaks.sort_unstable();
    let cost = median(&costs);
    vec![
        cost.wall.as_secs_f64() * 1e9,
        cost.cpu.as_secs_f64() * 1e9,
        peaks[peaks.len() / 2] as f64,
    ]
}
