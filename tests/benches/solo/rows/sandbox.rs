//! The sandbox by itself, in this process: a no-op, loading compiled code, computing. Against the raw engine.

use super::named;
use crate::floor::{Floor, Ready, Settings};
use crate::measure::{Contestant, Cost, Effort, Measured, Round, median, race};
use crate::ours::{Ours, engine};
use crate::peers::quiet;
use crate::report::{Goal, Report};
use std::process::Command;
use std::time::{Duration, Instant};
use sykli_runtime::Floats;

const FLOOR_ONE: &str = "raw wasmtime, same settings, one thread";
const FLOOR_TWO: &str = "raw wasmtime, same settings, two threads";
const TUNED_ONE: &str = "raw wasmtime, nothing of the safety, one thread";
const TUNED_TWO: &str = "raw wasmtime, nothing of the safety, two threads";
const UNCLEARED_ONE: &str = "raw wasmtime, stacks not cleared, one thread";
const UNCLEARED_TWO: &str = "raw wasmtime, stacks not cleared, two threads";
const OURS_ONE: &str = "Sandbox::run, one thread";
const OURS_TWO: &str = "Sandbox::run, two threads";

/// Guests that may live at once, here.
const SLOTS: u32 = 64;

/// Does `once` `times` times on each of two threads at once.
pub(super) fn on_two_threads(times: u32, once: impl Fn() + Sync) -> u32 {
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| (0..times).for_each(|_| once()));
        }
    });
    2 * times
}

/// A run of the floor's that must end well.
pub(super) fn floor_run(floor: &Floor, ready: &Ready, args: &[&str]) {
    assert!(floor.run(ready, args).expect("a run"), "the guest failed");
}

/// A sandboxed no-op against the raw engine with the same settings, on one thread and on two.
pub(super) fn noop(effort: &Effort, report: &mut Report) {
    let guest = sykli_tests::guest("noop");
    let floor = Floor::new(Settings::PRODUCT).expect("the floor");
    let uncleared = Floor::new(Settings::UNCLEARED).expect("a floor");
    let tuned = Floor::new(Settings::TUNED).expect("the tuned floor");
    let (on_floor, on_uncleared, on_tuned) = (
        floor.compile(&guest).expect("a component"),
        uncleared.compile(&guest).expect("a component"),
        tuned.compile(&guest).expect("a component"),
    );
    let ours = Ours::new(&guest, SLOTS);
    let noops = effort.noops;
    let raw = || floor_run(&floor, &on_floor, &["noop"]);
    let dirty = || floor_run(&uncleared, &on_uncleared, &["noop"]);
    let fastest = || floor_run(&tuned, &on_tuned, &["noop"]);
    let run = || ours.run(&["noop"]);
    let times = race(
        effort.rounds,
        vec![
            Contestant::new(FLOOR_ONE, || {
                (0..noops).for_each(|_| raw());
                noops
            }),
            Contestant::new(OURS_ONE, || {
                (0..noops).for_each(|_| run());
                noops
            }),
            Contestant::new(UNCLEARED_ONE, || {
                (0..noops).for_each(|_| dirty());
                noops
            }),
            Contestant::new(TUNED_ONE, || {
                (0..noops).for_each(|_| fastest());
                noops
            }),
            Contestant::new(FLOOR_TWO, || on_two_threads(noops, raw)),
            Contestant::new(OURS_TWO, || on_two_threads(noops, run)),
            Contestant::new(UNCLEARED_TWO, || on_two_threads(noops, dirty)),
            Contestant::new(TUNED_TWO, || on_two_threads(noops, fastest)),
        ],
    );
    noop_goals(&times, report);
    report.table(
        "A sandboxed no-op",
        "A store, an instance, the run of a guest that does nothing, and the end of it all. On two threads the time is \
         wall time over all runs. The raw engine is given the product's settings, those with stacks that are not \
         cleared between two guests, and once nothing of what is there for safety alone (no fuel either): the difference is \
         what safety costs.",
        &times,
    );
}

fn noop_goals(times: &[Measured], report: &mut Report) {
    let of = |name: &str| named(times, name).cloned();
    let (Some(floor), Some(floor_two)) = (of(FLOOR_ONE), of(FLOOR_TWO)) else {
        return;
    };
    let (Some(ours), Some(ours_two)) = (of(OURS_ONE), of(OURS_TWO)) else {
        return;
    };
    report.goal(
        "a sandboxed no-op, one thread",
        &ours,
        &floor,
        Goal::AtMost(1.3),
    );
    report.goal(
        "a sandboxed no-op, two threads",
        &ours_two,
        &floor_two,
        Goal::AtMost(1.3),
    );
    // Processor time says nothing about how two threads get along.
    let wall = |one: &Measured| Measured {
        cpu: None,
        ..one.clone()
    };
    report.goal(
        "what a second thread gives",
        &wall(&ours_two),
        &wall(&ours),
        Goal::Faster(1.6),
    );
    report.note(&format!(
        "A second thread gives the raw engine {:.2}× (with the product's settings), in the same rounds in which it \
         gives the sandbox {:.2}×: what the machine's second core is worth bounds both.",
        floor.value / floor_two.value,
        ours.value / ours_two.value
    ));
}

/// Compiled code from disk to a component that can run, against wasmtime's own way to load the same.
pub(super) fn load(effort: &Effort, report: &mut Report) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let guest = sykli_tests::guest("noop");
    let bytes = std::fs::read(&guest).expect("the guest");
    let digest = *blake3::hash(&bytes).as_bytes();
    let (cache, code) = (folder.path().join("code"), folder.path().join("noop.cwasm"));
    engine(Some(&cache), SLOTS, folder.path())
        .load(&bytes, Floats::Fast)
        .expect("a component");
    let floor = Floor::new(Settings::PRODUCT).expect("the floor");
    std::fs::write(&code, floor.precompile(&guest).expect("code")).expect("a file can be written");
    let loads = if effort.quick { 20 } else { 100 };
    // A load of a fresh engine's each time, as a new process has it; making the engine and dropping both is off the
    // clock. The median, since one load is short and what interrupts it is long.
    let fresh_floor = || {
        let fresh = Floor::new(Settings::PRODUCT).expect("the floor");
        let begin = Instant::now();
        let component = fresh.load(&code).expect("a component");
        let took = begin.elapsed();
        drop(component);
        took
    };
    let linked = || {
        let fresh = Floor::new(Settings::PRODUCT).expect("the floor");
        let begin = Instant::now();
        let ready = fresh.link(&fresh.load(&code).expect("a component"));
        let took = begin.elapsed();
        drop(ready);
        took
    };
    let ours = || {
        let fresh = engine(Some(&cache), SLOTS, folder.path());
        let begin = Instant::now();
        let component = fresh.load_by_digest(digest, Floats::Fast, || {
            unreachable!("its compiled code is on disk")
        });
        let took = begin.elapsed();
        drop(component.expect("a component"));
        took
    };
    let mut times = race(
        effort.rounds,
        vec![
            Contestant::new("Component::deserialize_file", || middle(loads, fresh_floor)),
            Contestant::new("deserialize_file, then linked", || middle(loads, linked)),
            Contestant::new("Engine::load_by_digest, code on disk", || {
                middle(loads, ours)
            }),
        ],
    );
    // Too short for the kernel's accounting of processor time.
    times.iter_mut().for_each(|one| one.cpu = None);
    report.goal(
        "component look-up and load, warm",
        &times[2],
        &times[0],
        Goal::AtMost(1.5),
    );
    report.table(
        "Loading compiled code",
        "The no-op guest, compiled before, its file in the page cache; a fresh engine for each load. Ours checks who \
         owns the file and that its checksum holds before wasmtime sees it, and links the component.",
        &times,
    );
}

/// The median of what `times` calls say they took.
pub(super) fn middle(times: u32, once: impl Fn() -> Duration) -> Round {
    let cost = |wall| Cost {
        wall,
        cpu: Duration::ZERO,
    };
    let costs: Vec<Cost> = (0..times).map(|_| cost(once())).collect();
    Round {
        units: 1,
        own: Some(median(&costs)),
    }
}

/// Compute-heavy guests: what fuel costs, what we add to it, and WebAssembly itself.
pub(super) fn compute(effort: &Effort, report: &mut Report) {
    let guest = sykli_tests::guest("compute");
    let native = sykli_tests::native_guest("compute");
    let plain = Floor::new(Settings::TUNED).expect("plain wasmtime");
    let fuel = Floor::new(Settings::PRODUCT).expect("wasmtime with fuel");
    let (on_plain, on_fuel) = (
        plain.compile(&guest).expect("a component"),
        fuel.compile(&guest).expect("a component"),
    );
    let ours = Ours::new(&guest, SLOTS);
    for (kind, rounds) in [
        ("integers", effort.kernel),
        ("floats", 16 * effort.kernel),
        ("hash", 8 * effort.kernel),
    ] {
        let rounds = rounds.to_string();
        let args = ["compute", kind, rounds.as_str()];
        let times = race(
            effort.at_most(5),
            vec![
                Contestant::new("plain wasmtime", || {
                    floor_run(&plain, &on_plain, &args);
                    1
                }),
                Contestant::new("wasmtime with fuel", || {
                    floor_run(&fuel, &on_fuel, &args);
                    1
                }),
                Contestant::new("Sandbox::run", || {
                    ours.run(&args);
                    1
                }),
                Contestant::new("native", || {
                    assert!(quiet(Command::new(&native).args(&args[1..])));
                    1
                }),
            ],
        );
        report.goal(
            &format!("computing: {kind}, beyond what fuel costs"),
            &times[2],
            &times[1],
            Goal::AtMost(1.1),
        );
        report.table(
            &format!("Computing: {kind}"),
            "The same Rust program as a guest and built for this machine.",
            &times,
        );
    }
}
