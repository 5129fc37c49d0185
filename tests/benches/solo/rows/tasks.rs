//! Whole runs of the binary: many no-op tasks, independent, cached and in layers, and one component by itself. Against
//! what a user would pick instead.

use super::named;
use super::sandbox::{floor_run, on_two_threads};
use crate::floor::{Floor, Settings};
use crate::measure::{Contestant, Effort, Measured, race};
use crate::ours::{self, Project, sykli};
use crate::peers::{self, Python, found, quiet, shell};
use crate::report::{Goal, Report, grouped};
use std::path::Path;
use std::process::Command;

const OURS: &str = "sykli run, nothing cached";
const FLOOR: &str = "raw wasmtime, same settings, two threads, in one process";
const MAKE: &str = "make -j2, /bin/true";
const NINJA: &str = "ninja -j2, /bin/true";
const RAY: &str = "Ray, an empty function";
const HYPERQUEUE: &str = "HyperQueue, /bin/true";
const WASMTIME: &str = "wasmtime run of precompiled code, two at once";
const MICROSECOND: f64 = 1e3;

/// Another program whose round is one line of a shell.
struct Peer<'a> {
    /// What its row is called.
    row: &'a str,
    program: &'a str,
    /// How to get it.
    how: &'a str,
    line: &'a str,
    tasks: u32,
}

impl<'a> Peer<'a> {
    fn make(tasks: u32) -> Peer<'a> {
        Peer {
            row: MAKE,
            program: "make",
            how: "apt-get install make",
            line: "make -s -j2",
            tasks,
        }
    }

    /// The peer in the folder `work`, where it is installed.
    fn find(self, work: &'a Path, report: &mut Report) -> Option<Contestant<'a>> {
        found(report, self.program, self.how).then(|| {
            Contestant::new(self.row, move || {
                shell(work, self.line);
                self.tasks
            })
        })
    }
}

/// Many no-op tasks that wait for nothing, none of them cached, against everything else that starts tasks.
pub(super) fn independent(effort: &Effort, report: &mut Report) {
    let tasks = effort.tasks;
    let project = Project::new(&ours::independent(tasks));
    project.write("Makefile", &peers::makefile(tasks));
    let (work, fresh) = (project.path(), project.home("fresh"));
    let guest = sykli_tests::guest("noop");
    let floor = Floor::new(Settings::PRODUCT).expect("the floor");
    let ready = floor.compile(&guest).expect("a component");
    let xargs = format!("seq {tasks} | xargs -P2 -n1 /bin/true");
    let processes = effort.processes;
    let wasmtime =
        format!("seq {processes} | xargs -P2 -n1 wasmtime run --allow-precompiled noop.cwasm");
    let mut contestants = vec![
        Contestant::new(FLOOR, || {
            on_two_threads(tasks / 2, || floor_run(&floor, &ready, &["noop"]))
        }),
        Contestant::new(OURS, || {
            project.run(&fresh);
            tasks
        })
        .prepared(|| project.uncached_home(&fresh)),
    ];
    let xargs = Peer {
        row: "xargs -P2, /bin/true",
        program: "xargs",
        how: "apt-get install findutils",
        line: &xargs,
        tasks,
    };
    contestants.extend(Peer::make(tasks).find(&work, report));
    contestants.extend(xargs.find(&work, report));
    let wasmtime = Peer {
        row: WASMTIME,
        program: "wasmtime",
        how: "cargo install wasmtime-cli",
        line: &wasmtime,
        tasks: processes,
    };
    if let Some(wasmtime) = wasmtime.find(&work, report) {
        shell(&work, "wasmtime compile noop.wasm -o noop.cwasm");
        contestants.push(wasmtime);
    }
    for (name, which) in [(RAY, Python::Ray), (HYPERQUEUE, Python::HyperQueue)] {
        if let Some(python) = which.find(report) {
            let round = move || which.run(&python, tasks);
            contestants.push(Contestant::new(name, round).at_most(if effort.quick {
                1
            } else {
                2
            }));
        }
    }
    let mut times = race(effort.at_most(5), contestants);
    for one in &mut times {
        // Their workers are processes that nobody here waits for, so their processor time is not known.
        one.cpu = one
            .cpu
            .filter(|_| ![RAY, HYPERQUEUE].contains(&one.name.as_str()));
    }
    independent_goals(tasks, &times, report);
    report.table(
        &format!("{} independent no-op tasks, a task", grouped(tasks)),
        &format!(
            "Two at once. `sykli run` is a whole process with its journal and its result cache empty and the component's \
             compiled code at hand, as on every day but the first. `wasmtime run` is measured over {processes} processes. \
             Ray and HyperQueue are timed from their first task to their last, without their start-up; HyperQueue looks \
             once a second whether all is done."
        ),
        &times,
    );
}

fn independent_goals(tasks: u32, times: &[Measured], report: &mut Report) {
    let Some(ours) = named(times, OURS) else {
        return;
    };
    let what = |against: &str| format!("{} uncached no-op tasks, {against}", grouped(tasks));
    if let Some(floor) = named(times, FLOOR) {
        let what = what("against the floor on two threads");
        report.goal(&what, ours, floor, Goal::AtMost(4.0));
    }
    report.goal(&what("a task"), ours, ours, Goal::Below(25.0 * MICROSECOND));
    // HyperQueue stands in the table alone: the goal is against its scheduler without its timers, which nobody can install.
    for (short, peer, bound) in [
        ("make", MAKE, 10.0),
        ("Ray", RAY, 20.0),
        ("wasmtime run", WASMTIME, 200.0),
    ] {
        if let Some(peer) = named(times, peer) {
            let what = what(&format!("against {short}"));
            report.goal(&what, ours, peer, Goal::Faster(bound));
        }
    }
}

/// The same tasks again: every result is known.
pub(super) fn cached(effort: &Effort, report: &mut Report) {
    let tasks = effort.tasks;
    let project = Project::new(&ours::independent(tasks));
    let home = project.home("home");
    project.run(&home);
    let times = race(
        effort.rounds,
        vec![Contestant::new("sykli run, all cached", || {
            project.run(&home);
            tasks
        })],
    );
    report.goal(
        &format!("{} no-op tasks from the cache, a task", grouped(tasks)),
        &times[0],
        &times[0],
        Goal::Below(15.0 * MICROSECOND),
    );
    report.table(
        &format!("{} no-op tasks from the cache, a task", grouped(tasks)),
        "The whole process of a second run in which every result is known.",
        &times,
    );
}

/// Layers of tasks, each after the whole layer before: what waiting for each other costs.
pub(super) fn layered(effort: &Effort, report: &mut Report) {
    let layers = effort.grid;
    let tasks = layers * layers;
    let project = Project::new(&ours::layered(layers));
    project.write("Makefile", &peers::layered_makefile(layers));
    project.write("build.ninja", &peers::layered_ninja(layers));
    let (work, fresh) = (project.path(), project.home("fresh"));
    let mut contestants = vec![
        Contestant::new(OURS, || {
            project.run(&fresh);
            tasks
        })
        .prepared(|| project.uncached_home(&fresh)),
    ];
    contestants.extend(Peer::make(tasks).find(&work, report));
    let ninja = Peer {
        row: NINJA,
        program: "ninja",
        how: "apt-get install ninja-build",
        line: "ninja -j2",
        tasks,
    };
    contestants.extend(ninja.find(&work, report).map(|ninja| {
        ninja.prepared(|| {
            let _ = std::fs::remove_file(work.join(".ninja_log"));
        })
    }));
    let times = race(effort.at_most(5), contestants);
    for (short, peer) in [("make", MAKE), ("ninja", NINJA)] {
        if let Some(peer) = named(&times, peer) {
            let what = format!("a graph of {layers} × {layers} no-ops, against {short}");
            report.goal(&what, &times[0], peer, Goal::Faster(10.0));
        }
    }
    report.table(
        &format!("A graph of {layers} layers of {layers} no-ops, a task"),
        "Each layer starts when the whole layer before has ended. Two at once.",
        &times,
    );
}

/// One component from the command line: the whole process, with a cold and a warm cache of compiled code.
pub(super) fn exec(effort: &Effort, report: &mut Report) {
    const WARM: &str = "sykli exec, compiled before";
    const PRECOMPILED: &str = "wasmtime run, precompiled";
    let folder = tempfile::tempdir().expect("a temporary folder");
    let guest = sykli_tests::guest("noop");
    let compiled = folder.path().join("noop.cwasm");
    let (warm, cold) = (folder.path().join("warm"), folder.path().join("cold"));
    let times_each = if effort.quick { 2 } else { 10 };
    let each = |command: &mut dyn FnMut() -> Command| {
        (0..times_each).for_each(|_| assert!(quiet(&mut command()), "it failed"));
        times_each
    };
    let mut contestants = vec![
        Contestant::new("a native no-op process", || {
            each(&mut || Command::new("/bin/true"))
        }),
        Contestant::new(WARM, || {
            each(&mut || {
                let mut command = sykli(&warm);
                command.arg("exec").arg(&guest);
                command
            })
        }),
        Contestant::new("sykli exec, compiles", || {
            assert!(quiet(sykli(&cold).arg("exec").arg(&guest)));
            1
        })
        .prepared(|| {
            let _ = std::fs::remove_dir_all(&cold);
        }),
    ];
    if found(report, "wasmtime", "cargo install wasmtime-cli") {
        let mut compile = Command::new("wasmtime");
        let made = quiet(compile.arg("compile").arg(&guest).arg("-o").arg(&compiled));
        assert!(made, "wasmtime compile");
        contestants.push(Contestant::new(PRECOMPILED, || {
            each(&mut || {
                let mut command = Command::new("wasmtime");
                command.args(["run", "--allow-precompiled"]).arg(&compiled);
                command
            })
        }));
    }
    let times = race(effort.rounds, contestants);
    if let (Some(ours), Some(peer)) = (named(&times, WARM), named(&times, PRECOMPILED)) {
        report.goal(
            "`sykli exec` of a cached component, whole process",
            ours,
            peer,
            Goal::AtMost(1.0),
        );
    }
    report.table(
        "One component from the command line, whole process",
        "The no-op guest.",
        &times,
    );
}
