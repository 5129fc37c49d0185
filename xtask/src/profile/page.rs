//! A profile for people: the terminal's table, the book's page and its bar chart. Pure. Called by `profile`.

use super::stacks::{PARTS, Profile, WAYS};
use crate::page::{grouped, time};
use crate::svg::{self, Bar, Scale, Tone};
use std::fmt::Write;
use std::time::Duration;

/// How the profile was made.
pub struct Facts {
    /// Tasks a run.
    pub tasks: u32,
    /// Runs.
    pub rounds: u32,
    /// Wall time a task of a run that nothing watched.
    pub wall_each: Duration,
    /// The machine in one line.
    pub machine: String,
}

/// The page and its picture, by their names below `docs/src`.
pub fn files(profile: &Profile, facts: &Facts) -> Vec<(&'static str, String)> {
    vec![
        ("profile.svg", plot(profile)),
        ("profile.md", markdown(profile, facts)),
    ]
}

fn shown(profile: &Profile, weight: f64) -> String {
    if profile.instructions {
        format!("{weight:.0}")
    } else {
        time(weight)
    }
}

fn share(profile: &Profile, weight: f64) -> String {
    format!("{:.1} %", 100.0 * weight / profile.total().max(1e-9))
}

/// For the terminal.
pub fn text(profile: &Profile) -> String {
    let mut out = String::new();
    for (part, name) in PARTS.iter().enumerate() {
        let weight = profile.part(part);
        let _ = writeln!(
            out,
            "{name:<42} {:>10} {:>7}",
            shown(profile, weight),
            share(profile, weight)
        );
    }
    let _ = writeln!(
        out,
        "{:<42} {:>10}",
        "all of it",
        shown(profile, profile.total())
    );
    if profile.instructions {
        return out;
    }
    for (way, name) in WAYS.iter().enumerate() {
        let weight = profile.way(way);
        let _ = writeln!(
            out,
            "  {name:<40} {:>10} {:>7}",
            shown(profile, weight),
            share(profile, weight)
        );
    }
    out
}

fn markdown(profile: &Profile, facts: &Facts) -> String {
    let (unit, how) = if profile.instructions {
        (
            "instructions",
            "callgrind counted instructions, since perf does not work on this machine; what the kernel did is not in them. \
             They count for the nearest function on their stack that belongs to a part.",
        )
    } else {
        (
            "processor time",
            "perf sampled every thread 5,000 times a second of processor time; a sample counts for the nearest function on \
             its stack that belongs to a part, so SQLite under the journal is the journal's.",
        )
    };
    let mut out = format!(
        "# Where the time goes\n\n<!-- Written by `cargo xtask profile`: do not edit. -->\n\nWhat `sykli run` does for a task \
         that does nothing, in {unit} a task: all threads together, the start and the end of the process included. {} runs \
         of {} tasks, two at once, nothing cached but the component's compiled code. {how} Run `cargo xtask profile` for \
         your own; what it comes to against others is on [Performance](performance.md).\n",
        facts.rounds,
        grouped(facts.tasks)
    );
    let _ = write!(
        out,
        "\nMachine: {}. Without the profiler a run took {} of wall time a task. {} samples.\n\n![{unit} a task, by part](profile.svg)\n",
        facts.machine,
        time(facts.wall_each.as_secs_f64() * 1e9),
        grouped(u32::try_from(profile.samples).unwrap_or(u32::MAX))
    );
    parts_table(profile, &mut out);
    out.push_str("\n## By thread\n\n| thread | a task | share |\n|---|---|---|\n");
    let mut threads: Vec<(&String, &f64)> = profile.threads.iter().collect();
    threads.sort_by(|a, b| b.1.total_cmp(a.1));
    for (thread, &weight) in threads {
        let _ = writeln!(
            out,
            "| `{thread}` | {} | {} |",
            shown(profile, weight),
            share(profile, weight)
        );
    }
    out.push_str(
        "\n## What is what\n\n- *Own code* is everything outside the kernel: ours, wasmtime's, SQLite's, the C library's.\n\
         - *Futex* is threads that wake each other and go to sleep; *page faults* are first touches of memory; *memory map* is \
         what the pool asks of the kernel when a guest's memory is cleared; *files* are the journal's and the cache's writes.\n\
         - A virtual machine's kernel costs more than these figures show: what its host does for it is not sampled.\n\
         - Two workers run beside the threads that write, on as many cores as the machine has: processor time is more than \
         wall time where they overlap, and less where they wait.\n",
    );
    out
}

fn parts_table(profile: &Profile, out: &mut String) {
    out.push_str("\n## By part\n\n| part | a task | share |");
    // Where nothing was in the kernel, or nothing is known of it, the columns would say so a hundred times.
    let ways: Vec<usize> = (0..WAYS.len())
        .filter(|&way| !profile.instructions && profile.way(way) > 0.0)
        .collect();
    for &way in &ways {
        let _ = write!(out, " {} |", WAYS[way]);
    }
    let _ = write!(out, "\n|---|---|---|{}\n", "---|".repeat(ways.len()));
    let row = |name: &str, total: f64, of: &dyn Fn(usize) -> f64| {
        let mut line = format!(
            "| {name} | {} | {} |",
            shown(profile, total),
            share(profile, total)
        );
        for &way in &ways {
            let cell = of(way);
            let small = cell < profile.total() * 0.0005;
            let cell = if small {
                String::new()
            } else {
                shown(profile, cell)
            };
            let _ = write!(line, " {cell} |");
        }
        line.push('\n');
        line
    };
    for (part, name) in PARTS.iter().enumerate() {
        let of = |way: usize| profile.parts[part][way];
        out.push_str(&row(name, profile.part(part), &of));
    }
    out.push_str(&row("**all of it**", profile.total(), &|way| {
        profile.way(way)
    }));
}

fn plot(profile: &Profile) -> String {
    let scale = if profile.instructions { 1.0 } else { 1e3 };
    let bars: Vec<Bar> = PARTS
        .iter()
        .enumerate()
        .map(|(part, name)| {
            let weight = profile.part(part);
            Bar {
                label: (*name).to_owned(),
                value: weight / scale,
                shown: format!("{} · {}", shown(profile, weight), share(profile, weight)),
                tone: Tone::Plain,
            }
        })
        .collect();
    let axis = if profile.instructions {
        "instructions a task"
    } else {
        "µs of processor time a task"
    };
    svg::bars(
        "Where a no-op task's time goes",
        axis,
        Scale::Linear,
        &bars,
        None,
    )
}
