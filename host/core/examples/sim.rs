//! The simulator's driver: plays seeds, draws one, hunts faults, measures swarms. `cargo xtask sim` builds and calls it.
//!
//! ```text
//! sim [--scenario NAME|FILE]… [--seeds N] [--from N] [--threads N]   play seeds of every scenario, or of these
//! sim --scenario NAME --from SEED --trace [--task RUN/TASK]         one play as a diagram
//! sim --mutants [--seeds N]                                         put each fault in, until a rule is broken
//! sim --scale [--nodes N,N…]                                        swarms; JSON on stdout
//! sim --rate                                                        events a second through one machine
//! ```
//!
//! Ends with 1 where a rule was broken, or where a fault survived. Decides nothing: the simulator does.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program, not core: it reads arguments, starts threads, measures and prints"
)]

use std::collections::BTreeMap;
use std::fmt::Write;
use std::process::ExitCode;
use std::time::Instant;

use sykli_core::id::{RunId, TaskId};
use sykli_core::machine::Fault;
use sykli_core::sim::rate::Rate;
use sykli_core::sim::{self, Report, Scenario, Setting, scale};

/// Of each rule, so many plays that broke it are printed.
const MOST_PRINTED: usize = 2;

struct Asked {
    scenarios: Vec<String>,
    seeds: u64,
    from: u64,
    threads: u64,
    trace: bool,
    mutants: bool,
    scale: bool,
    rate: bool,
    task: Option<(RunId, TaskId)>,
    nodes: Vec<usize>,
}

fn main() -> ExitCode {
    let asked = match asked(std::env::args().skip(1)) {
        Ok(asked) => asked,
        Err(problem) => {
            eprintln!("sim: {problem}");
            return ExitCode::from(2);
        }
    };
    // A panic is a broken rule here, and is told as one.
    std::panic::set_hook(Box::new(|_| {}));
    let done = match () {
        () if asked.mutants => mutants(&asked),
        () if asked.scale => swarms(&asked),
        () if asked.rate => rate(),
        () if asked.trace => draw(&asked),
        () => seeds(&asked),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(problem) => {
            eprintln!("sim: {problem}");
            ExitCode::from(2)
        }
    }
}

fn asked(mut words: impl Iterator<Item = String>) -> Result<Asked, String> {
    let mut asked = Asked {
        scenarios: Vec::new(),
        seeds: 0,
        from: 0,
        threads: 2,
        trace: false,
        mutants: false,
        scale: false,
        rate: false,
        task: None,
        nodes: vec![10, 100, 1_000, 10_000],
    };
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} wants a value"));
        let number = |text: String| {
            text.parse::<u64>()
                .map_err(|_| format!("{text} is no number"))
        };
        match word.as_str() {
            "--" => {}
            "--scenario" => asked.scenarios.push(value()?),
            "--seeds" => asked.seeds = number(value()?)?,
            "--from" => asked.from = number(value()?)?,
            "--threads" => asked.threads = number(value()?)?.max(1),
            "--trace" => asked.trace = true,
            "--mutants" => asked.mutants = true,
            "--scale" => asked.scale = true,
            "--rate" => asked.rate = true,
            "--task" => asked.task = Some(task(&value()?)?),
            "--nodes" => {
                let text = value()?;
                let each = text
                    .split(',')
                    .map(|n| number(n.to_owned()).map(|n| n as usize));
                asked.nodes = each.collect::<Result<_, _>>()?;
            }
            _ => return Err(format!("what is {word}?")),
        }
    }
    if asked.scenarios.is_empty() {
        asked.scenarios = sim::names();
    }
    Ok(asked)
}

/// Sizes of the run for `--rate`, and how often each is driven: the median counts.
const RATES: [u32; 3] = [10, 1_000, 100_000];
const RATE_ROUNDS: usize = 5;

/// Events a second through `Machine::handle`, for runs of different sizes. Small runs are driven many times over.
fn rate() -> Result<bool, String> {
    let mut first = None;
    for tasks in RATES {
        let again = (100_000 / tasks).max(1);
        let mut each: Vec<f64> = Vec::new();
        let mut events = 0;
        for _ in 0..RATE_ROUNDS {
            let runs: Option<Vec<_>> = (0..again).map(|_| Rate::of(tasks)).collect();
            let mut runs = runs.ok_or("no such run")?;
            let began = Instant::now();
            events = runs.iter_mut().map(Rate::drive).sum::<u64>();
            each.push(began.elapsed().as_secs_f64() * 1e9 / events as f64);
        }
        each.sort_by(f64::total_cmp);
        let median = each[RATE_ROUNDS / 2];
        let first = *first.get_or_insert(median);
        println!(
            "{tasks:>7} tasks: {events} events, {median:.0} ns each, {:.2} million a second, {:.2}x of the first",
            1e3 / median,
            median / first
        );
    }
    Ok(true)
}

fn task(text: &str) -> Result<(RunId, TaskId), String> {
    let wrong = || format!("{text} is no RUN/TASK");
    let (run, task) = text.split_once('/').ok_or_else(wrong)?;
    let run = RunId::new(run).map_err(|_| wrong())?;
    Ok((run, TaskId(task.parse().map_err(|_| wrong())?)))
}

/// A scenario by name, or from a file.
fn scenario(name: &str) -> Result<Scenario, String> {
    if let Some(scenario) = Scenario::named(name) {
        return Ok(scenario);
    }
    let text =
        std::fs::read_to_string(name).map_err(|e| format!("there is no scenario {name}: {e}"))?;
    Scenario::parse(name, &text)
}

/// What one thread found.
#[derive(Default)]
struct Found {
    played: u64,
    events: u64,
    virtual_ms: u64,
    heard: BTreeMap<&'static str, u64>,
    /// By rule: scenario, seed and what happened.
    broken: BTreeMap<String, Vec<(u64, String, String)>>,
    /// Runs with a node that must not slow them, and without it, in milliseconds.
    beside: Vec<(u64, u64)>,
}

/// What all threads found.
fn together(found: Vec<Found>) -> Found {
    let mut all = Found::default();
    for part in found {
        all.played += part.played;
        all.events += part.events;
        all.virtual_ms += part.virtual_ms;
        all.beside.extend(part.beside);
        for (kind, count) in part.heard {
            *all.heard.entry(kind).or_default() += count;
        }
        for (rule, plays) in part.broken {
            all.broken.entry(rule).or_default().extend(plays);
        }
    }
    all
}

/// Plays seeds, each of the next scenario; every thread takes its share.
fn seeds(asked: &Asked) -> Result<bool, String> {
    let scenarios: Vec<Scenario> = asked
        .scenarios
        .iter()
        .map(|name| scenario(name))
        .collect::<Result<_, _>>()?;
    let count = if asked.seeds == 0 {
        scenarios.len() as u64
    } else {
        asked.seeds
    };
    let began = Instant::now();
    let share = |thread: u64| {
        let mut found = Found::default();
        for seed in (asked.from..asked.from + count)
            .skip(thread as usize)
            .step_by(asked.threads as usize)
        {
            let scenario = &scenarios[seed as usize % scenarios.len()];
            note(&mut found, seed, sim::judge(scenario, seed));
        }
        found
    };
    let found: Vec<Found> = std::thread::scope(|scope| {
        let each: Vec<_> = (0..asked.threads)
            .map(|thread| scope.spawn(move || share(thread)))
            .collect();
        each.into_iter()
            .filter_map(|thread| thread.join().ok())
            .collect()
    });
    let mut all = together(found);
    for plays in all.broken.values_mut() {
        plays.sort();
        for (seed, scenario, words) in plays.iter().take(MOST_PRINTED) {
            println!(
                "{scenario}, seed {seed}: {words}\n  {}",
                sim::again(scenario, *seed)
            );
        }
    }
    for (rule, plays) in &all.broken {
        println!("{} × {rule}", plays.len());
    }
    let broken: usize = all.broken.values().map(Vec::len).sum();
    let heard = all
        .heard
        .iter()
        .map(|(kind, count)| format!("{count} {kind}"));
    println!("heard: {}", heard.collect::<Vec<_>>().join(", "));
    let took = began.elapsed();
    println!(
        "{} seeds of {} scenarios, {} broken; {} events, {:.1} virtual hours in {:.1} s ({:.2} ms a seed and thread)",
        all.played,
        scenarios.len(),
        broken,
        all.events,
        all.virtual_ms as f64 / 3.6e6,
        took.as_secs_f64(),
        took.as_secs_f64() * 1e3 * asked.threads as f64 / all.played.max(1) as f64
    );
    let slowed = slowed(&all.beside);
    Ok(broken == 0 && all.played == count && !slowed)
}

/// Whether runs took longer with Manfred in their mesh than without him, all together.
fn slowed(beside: &[(u64, u64)]) -> bool {
    let sum = |of: fn(&(u64, u64)) -> u64| beside.iter().map(of).sum::<u64>();
    let (with, without) = (sum(|both| both.0), sum(|both| both.1));
    if without == 0 {
        return false;
    }
    let percent = (with as f64 / without as f64 - 1.0) * 100.0;
    let longer = beside.iter().filter(|(with, without)| with > without);
    println!(
        "manfred: {} runs took {percent:+.1}% with him, {} of them longer (limit +{}%)",
        beside.len(),
        longer.count(),
        sim::SLOWED_PERCENT
    );
    percent > sim::SLOWED_PERCENT as f64
}

fn note(found: &mut Found, seed: u64, report: Report) {
    found.played += 1;
    found.events += report.stats.events;
    found.virtual_ms += report.stats.ended_ms;
    found.beside.extend(report.beside);
    for (kind, count) in report.stats.heard {
        *found.heard.entry(kind).or_default() += count;
    }
    if let Some(violation) = report.violation {
        let plays = found
            .broken
            .entry(format!("{:?}", violation.invariant))
            .or_default();
        plays.push((seed, report.scenario, violation.to_string()));
    }
}

fn draw(asked: &Asked) -> Result<bool, String> {
    let [name] = &asked.scenarios[..] else {
        return Err("--trace wants one --scenario".into());
    };
    let scenario = scenario(name)?;
    let setting = Setting {
        draws: true,
        ..Setting::default()
    };
    let (report, panicked) = (
        sim::attempt(&scenario, asked.from, setting),
        "the play panicked: no diagram",
    );
    let text = report.diagram(asked.task.as_ref());
    println!("{}", text.as_deref().unwrap_or(panicked));
    if let Some(violation) = &report.violation {
        println!("{violation}");
    }
    println!("hash {}", report.hash);
    Ok(report.violation.is_none())
}

/// Every fault, and which rule caught it.
fn mutants(asked: &Asked) -> Result<bool, String> {
    let seeds = if asked.seeds == 0 { 4_000 } else { asked.seeds };
    let caught = |thread: u64| {
        let mine = Fault::ALL
            .iter()
            .skip(thread as usize)
            .step_by(asked.threads as usize);
        mine.map(|fault| (*fault, sim::hunt(*fault, seeds)))
            .collect::<Vec<_>>()
    };
    let mut all: Vec<_> = std::thread::scope(|scope| {
        let each: Vec<_> = (0..asked.threads)
            .map(|thread| scope.spawn(move || caught(thread)))
            .collect();
        each.into_iter()
            .filter_map(|thread| thread.join().ok())
            .flatten()
            .collect()
    });
    all.sort_by_key(|(fault, _)| *fault);
    println!(
        "{:<22} {:<22} {:<20} {:>5}",
        "fault", "caught by", "scenario", "seed"
    );
    let mut survivors = 0;
    for (fault, catch) in &all {
        match catch {
            Some(catch) => println!(
                "{:<22} {:<22} {:<20} {:>5}",
                format!("{fault:?}"),
                format!("{:?}", catch.violation.invariant),
                catch.scenario,
                catch.seed
            ),
            None => {
                survivors += 1;
                println!("{:<22} survived {seeds} seeds", format!("{fault:?}"));
            }
        }
    }
    println!("{} faults, {survivors} survived", all.len());
    Ok(survivors == 0 && all.len() == Fault::ALL.len())
}

/// Swarms of several sizes, as JSON.
fn swarms(asked: &Asked) -> Result<bool, String> {
    let mut rows = Vec::new();
    let mut good = true;
    for &nodes in &asked.nodes {
        let began = Instant::now();
        let swarm = scale::swarm(nodes, asked.from + 1);
        let took = began.elapsed();
        if let Some(violation) = &swarm.report.violation {
            eprintln!("{nodes} nodes: {violation}");
            good = false;
        }
        eprintln!("{nodes} nodes took {:.1} s", took.as_secs_f64());
        rows.push(row(&swarm, took.as_millis() as u64));
    }
    println!(
        "{{\"schema\":\"sykli.scale/1\",\"rtt_ms\":{},\"mean_task_ms\":{},\"rows\":[{}]}}",
        2 * scale::LATENCY_MS,
        scale::MEAN_TASK_MS,
        rows.join(",")
    );
    Ok(good)
}

fn row(swarm: &scale::Swarm, real_ms: u64) -> String {
    let stats = &swarm.report.stats;
    let mut steals = stats.steals_ms.clone();
    steals.sort_unstable();
    let at = |percent: usize| {
        steals
            .get(steals.len() * percent / 100)
            .or(steals.last())
            .copied()
            .unwrap_or(0)
    };
    let mut text = String::new();
    let mut put = |name: &str, value: u64| {
        let comma = if text.is_empty() { "" } else { "," };
        let _ = write!(text, "{comma}\"{name}\":{value}");
    };
    put("nodes", swarm.nodes as u64);
    put("owners", swarm.owners as u64);
    put("tasks", swarm.tasks as u64);
    put("messages", stats.messages);
    put("bytes", stats.bytes);
    put("gossip_messages", stats.gossip_messages);
    put("gossip_bytes", stats.gossip_bytes);
    put("makespan_ms", swarm.makespan_ms);
    put("bound_ms", swarm.bound_ms);
    put("steals", steals.len() as u64);
    put("steal_p50_ms", at(50));
    put("steal_p99_ms", at(99));
    put("events", stats.events);
    put("real_ms", real_ms);
    format!("{{{text}}}")
}
