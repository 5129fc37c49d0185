//! What a guest that waits inside a host call holds in memory, ours against the raw engine's. Each count is made in a
//! process of its own.

use super::{part, resident};
use crate::floor::{Floor, Settings, executor};
use crate::measure::{Effort, Measured};
use crate::ours::Ours;
use crate::report::{Goal, Report, grouped};
use std::sync::Arc;
use std::time::Duration;
use sykli_runtime::{Grant, Silent};
use wasmtime_wasi::WasiCtx;

/// What the design's floor says a parked guest costs besides its own heap.
const FLOOR_KIB: f64 = 43.0;
const SLOTS: u32 = 1024;
const GUEST: &str = "sleep-forever";

/// Memory of a guest that sleeps, among many.
pub(super) fn parked(effort: &Effort, report: &mut Report) {
    let count = effort.parked.to_string();
    let lines: Vec<Measured> = [
        ("raw wasmtime, same settings, all on one thread", "raw"),
        ("raw wasmtime, same settings, a thread each", "raw-threads"),
        ("Sandbox::run, a thread each", "ours"),
        ("a parked thread alone", "threads"),
    ]
    .into_iter()
    .map(|(name, way)| {
        let numbers = part(&["parked", way, &count]);
        Measured::bytes(name, numbers.first().copied().unwrap_or(0.0))
    })
    .collect();
    for (other, how) in [(0, "all on one thread"), (1, "a thread each")] {
        let what = format!("memory a parked task, against the floor {how}");
        report.goal(&what, &lines[2], &lines[other], Goal::AtMost(1.25));
    }
    report.note(&format!(
        "The raw engine's parked guest is {FLOOR_KIB} KiB and its heap, here {:.0} KiB in all; the heap of this guest is \
         what its start-up wrote to. The product runs each guest on a thread of its own, whose stack is counted.",
        lines[0].value / 1024.0
    ));
    report.table(
        &format!("Memory a parked guest, {} at once", grouped(effort.parked)),
        "Guests that wait inside a host call (they sleep without end): what the process has resident with all of them \
         alive, less what it had before, for each.",
        &lines,
    );
}

/// `parked WAY COUNT`: bytes a parked guest.
pub(super) fn parked_part(args: &[&str]) -> Vec<f64> {
    let [way, count] = args else {
        panic!("parked WAY COUNT");
    };
    let count: u32 = count.parse().expect("a number");
    let grown = match *way {
        "ours" => ours(count),
        "raw" => raw(count),
        "raw-threads" => raw_threads(count),
        "threads" => grown_by(|| spawn(count, |_| loop_parked())),
        _ => panic!("no such way: {way}"),
    };
    vec![grown / f64::from(count)]
}

fn ours(count: u32) -> f64 {
    let ours = Arc::new(Ours::new(&sykli_tests::guest(GUEST), SLOTS));
    ours_once();
    grown_by(|| {
        spawn(count, move |_| {
            let grant = Grant {
                clock: true,
                timeout: Duration::from_secs(3600),
                ..Grant::default()
            };
            ours.run_with(&grant, &[GUEST], Vec::new(), Arc::new(Silent));
        });
    })
}

/// What is made once a process, such as tables of the engine, is no guest's.
fn ours_once() {
    Ours::new(&sykli_tests::guest("noop"), 1).run(&["noop"]);
}

fn raw(count: u32) -> f64 {
    let floor = Floor::new(Settings::keeping(None, SLOTS)).expect("the floor");
    let ready = floor
        .compile(&sykli_tests::guest(GUEST))
        .expect("a component");
    let (floor, ready): (&'static Floor, _) =
        (Box::leak(Box::new(floor)), Box::leak(Box::new(ready)));
    let runtime = executor();
    grown_by(|| {
        for _ in 0..count {
            let wasi = WasiCtx::builder().args(&[GUEST]).build();
            runtime.spawn(floor.future(ready, wasi));
        }
        runtime.block_on(async { tokio::time::sleep(Duration::from_secs(1)).await });
    })
}

fn raw_threads(count: u32) -> f64 {
    let floor = Floor::new(Settings::keeping(None, SLOTS)).expect("the floor");
    let ready = floor
        .compile(&sykli_tests::guest(GUEST))
        .expect("a component");
    let shared = Arc::new((floor, ready));
    grown_by(|| {
        spawn(count, move |_| {
            let (floor, ready) = &*shared;
            let _ = floor.run(ready, &[GUEST]);
        });
    })
}

/// `count` threads that outlive this call and end with the process.
fn spawn(count: u32, work: impl Fn(u32) + Send + Sync + Clone + 'static) {
    for index in 0..count {
        let work = work.clone();
        std::thread::spawn(move || work(index));
    }
}

fn loop_parked() {
    loop {
        std::thread::park();
    }
}

/// By how much more is resident once `start` has started everything and it has settled.
fn grown_by(start: impl FnOnce()) -> f64 {
    let before = resident();
    start();
    let mut last = 0.0;
    // Guests come to rest one after the other: when nothing grows any more, all of them have.
    for _ in 0..200 {
        std::thread::sleep(Duration::from_millis(300));
        let now = resident();
        if (now - last).abs() < 64.0 * 1024.0 {
            break;
        }
        last = now;
    }
    resident() - before
}
