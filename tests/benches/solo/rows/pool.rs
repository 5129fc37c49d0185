//! What the pool's settings cost and keep: the choice in `runtime/src/engine/config.rs` is made from this. Each candidate is
//! measured in a process of its own, on the raw engine with the product's other settings.

use super::sandbox::floor_run;
use super::{part, resident};
use crate::floor::{Floor, Keep, Ready, Settings, scan_exists};
use crate::measure::{Contestant, Effort, race};
use crate::report::Report;

/// Guests that are alive at once while they write to their memory.
const AT_ONCE: u32 = 16;
/// Distinct components that take turns in the slots.
const COMPONENTS: usize = 32;
const DIRTY_MIB: &str = "16";

/// The candidates; the first is what the product has.
fn candidates() -> Vec<(String, Option<Keep>)> {
    let keep = |memory: usize, table, scan| {
        Some(Keep {
            memory,
            table,
            scan,
        })
    };
    let mut all = vec![("as the product".to_owned(), None)];
    for (name, memory, table) in [
        ("keep nothing", 0, 0),
        ("keep 1 MiB", 1 << 20, 64 << 10),
        ("keep 4 MiB", 4 << 20, 64 << 10),
        ("keep 16 MiB", 16 << 20, 64 << 10),
    ] {
        for scan in [true, false] {
            // Nothing kept is nothing to scan for; and a kernel that cannot scan has only the other half.
            if scan && (memory == 0 || !scan_exists()) {
                continue;
            }
            let how = if scan { "scan" } else { "no scan" };
            all.push((format!("{name}, {how}"), keep(memory, table, scan)));
        }
    }
    all
}

/// Time and memory under each candidate.
pub(super) fn pool(effort: &Effort, report: &mut Report) {
    let guests = if effort.quick { "100" } else { "1000" };
    let noops = effort.noops.to_string();
    let rounds = effort.at_most(5).to_string();
    let lines = candidates()
        .iter()
        .enumerate()
        .map(|(index, (name, _))| {
            let numbers = part(&["pool", &index.to_string(), &noops, &rounds, guests]);
            let number = |at: usize| numbers.get(at).copied().unwrap_or(f64::NAN);
            vec![
                name.clone(),
                format!("{:.2} µs", number(0) / 1e3),
                format!("{:.2} µs", number(1) / 1e3),
                format!("{:.2} µs", number(2) / 1e3),
                format!("{:.2} ms", number(3) / 1e6),
                format!("{:.0} MiB", number(4) / f64::from(1 << 20)),
            ]
        })
        .collect();
    report.cells(
        "The pool's settings",
        &format!(
            "What a slot keeps resident between two guests, and whether the kernel is asked which pages were written \
             (`pagemap_scan`, Linux 6.7): without it, as on an older kernel, kept pages are cleared whole. Processor time \
             of a no-op on one thread, wall time on two, processor time with {COMPONENTS} components that take \
             turns in the slots, wall time of a guest that writes to {DIRTY_MIB} MiB, and what stays resident after {guests} of those, {AT_ONCE} at a time."
        ),
        &[
            "setting",
            "no-op",
            "no-op, two threads",
            "many components",
            "a guest that writes",
            "kept",
        ],
        lines,
    );
}

/// `pool CANDIDATE NOOPS ROUNDS GUESTS`: nanoseconds of a no-op on one thread, on two, with many components, of a guest
/// that writes; bytes that stay.
pub(super) fn pool_part(args: &[&str]) -> Vec<f64> {
    let numbers: Vec<u32> = args
        .iter()
        .map(|text| text.parse().expect("a number"))
        .collect();
    let [candidate, noops, rounds, guests] = numbers[..] else {
        panic!("pool CANDIDATE NOOPS ROUNDS GUESTS");
    };
    let keep = candidates()[candidate as usize].1;
    let floor = Floor::new(Settings::keeping(keep, 64)).expect("an engine");
    let noop = sykli_tests::guest("noop");
    let ready = floor.compile(&noop).expect("a component");
    let many = several(&floor, &noop);
    let run = || floor_run(&floor, &ready, &["noop"]);
    let times = race(
        rounds as usize,
        vec![
            Contestant::new("one", || {
                (0..noops).for_each(|_| run());
                noops
            }),
            Contestant::new("two", || super::sandbox::on_two_threads(noops, run)),
            Contestant::new("many", || {
                for index in 0..noops {
                    floor_run(&floor, &many[index as usize % COMPONENTS], &["noop"]);
                }
                noops
            }),
        ],
    );
    let before = resident();
    let writes = writers(&floor, guests);
    // On one thread processor time is what a quiet machine's clock would show; two threads also wait for each other.
    let mut numbers: Vec<f64> = times
        .iter()
        .map(|time| match time.name.as_str() {
            "two" => time.value,
            _ => time.cpu.unwrap_or(time.value),
        })
        .collect();
    numbers.push(writes);
    numbers.push((resident() - before).max(0.0));
    numbers
}

/// The same component many times: each has an image of its own, as different ones have.
fn several(floor: &Floor, guest: &std::path::Path) -> Vec<Ready> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let code = folder.path().join("noop.cwasm");
    std::fs::write(&code, floor.precompile(guest).expect("code")).expect("a file");
    (0..COMPONENTS)
        .map(|_| {
            let component = floor.load(&code).expect("a component");
            floor.link(&component).expect("it links")
        })
        .collect()
}

/// Guests that write to much of their memory, many at a time; nanoseconds of one, as two cores do them.
fn writers(floor: &Floor, guests: u32) -> f64 {
    let ready = floor
        .compile(&sykli_tests::guest("compute"))
        .expect("a component");
    let begin = std::time::Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                for _ in 0..guests / AT_ONCE {
                    floor_run(floor, &ready, &["compute", "dirty", DIRTY_MIB]);
                }
            });
        }
    });
    begin.elapsed().as_secs_f64() * 1e9 / f64::from(guests)
}
