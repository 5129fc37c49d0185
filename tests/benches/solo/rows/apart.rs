//! A no-op in a process of its own, as a node runs tasks of others: with one kept ready, without, and as fast as they come.
//! Against starting any program at all, and against the sandbox in this process.

use std::process::Command;
use std::time::{Duration, Instant};

use sykli_node::isolation::{Apart, Loaded, Needed, Program};
use sykli_runtime::{Floats, Grant, Status};

use super::named;
use super::sandbox::middle;
use crate::measure::{Contestant, Effort, race};
use crate::ours::Ours;
use crate::peers::quiet;
use crate::report::{Goal, Report};

const NATIVE: &str = "a native process: /bin/true";
const INSIDE: &str = "Sandbox::run, in this process";
const WARM: &str = "isolated, a process was ready";
const COLD: &str = "isolated, none was ready";
const ROW: &str = "isolated, one after the other";

fn run(apart: &Apart, noop: &Loaded) {
    let (outcome, _) = apart
        .run(noop, &Grant::default(), &["noop"])
        .expect("a run");
    assert_eq!(outcome.status, Status::Exited(0), "the guest failed");
}

fn timed(work: impl FnOnce()) -> Duration {
    let begin = Instant::now();
    work();
    begin.elapsed()
}

/// A no-op of somebody else's.
pub(super) fn apart(effort: &Effort, report: &mut Report) {
    let guest = sykli_tests::guest("noop");
    let bytes = std::fs::read(&guest).expect("the guest");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let place = || {
        let program = Program::at(sykli_tests::sykli());
        Apart::new(folder.path(), program, 1, Needed::BestEffort).expect("isolation")
    };
    let load = |apart: &Apart| apart.load(&bytes, Floats::Fast).expect("a component");
    let kept = place();
    let noop = load(&kept);
    let ours = Ours::new(&guest, 1);
    let times = effort.processes;
    let warm = || {
        kept.ready().expect("a process");
        timed(|| run(&kept, &noop))
    };
    let cold = || {
        // Compiled before; the first process of this one is started when it is wanted.
        let fresh = place();
        let noop = load(&fresh);
        let took = timed(|| run(&fresh, &noop));
        drop(fresh);
        took
    };
    let mut found = race(
        effort.rounds,
        vec![
            Contestant::new(NATIVE, || {
                middle(times, || {
                    timed(|| assert!(quiet(&mut Command::new("/bin/true"))))
                })
            }),
            Contestant::new(INSIDE, || middle(times, || timed(|| ours.run(&["noop"])))),
            Contestant::new(WARM, || middle(times, warm)),
            Contestant::new(COLD, || middle(times, cold)),
            Contestant::new(ROW, || {
                (0..times).for_each(|_| run(&kept, &noop));
                times
            }),
        ],
    );
    // Other processes do the work, and are collected at another time.
    found.iter_mut().for_each(|one| one.cpu = None);
    if let (Some(native), Some(warm)) = (named(&found, NATIVE), named(&found, WARM)) {
        report.goal(
            "an isolated no-op, a process was ready",
            warm,
            native,
            Goal::AtMost(1.0),
        );
    }
    report.table(
        "A no-op in a process of its own",
        "How a task of another node runs: its process is started before it is wanted, has given up files, network, privileges \
         and most system calls, is told one task, and ends. Ready is one that waits to be told; without one its start is on \
         the clock; one after the other, processes are wanted faster than they are started.",
        &found,
    );
}
