//! Very many tasks that do nothing, all of them over one other node.

use super::clock;
use crate::measure::{Effort, Measured};
use crate::nodes::{self, Pair, THERE, Way};
use crate::report::{Report, grouped};
use std::time::{Duration, Instant};

/// Tasks that the other node takes at once: as many as it does where nobody says otherwise.
const AT_ONCE: u32 = 2;

/// See the module.
pub(super) fn throughput(effort: &Effort, report: &mut Report) {
    let tasks = effort.tasks;
    let pair = Pair::new(&nodes::memory(), Way::Tcp, AT_ONCE);
    pair.owner.project().guest("noop");
    let run = |tasks: u32, round: u32| {
        pair.pipeline(&format!(
            "[task.noop]\ncomponent = \"noop.wasm\"\nargs = [\"{round}\"]\nforeach = {{ shards = {tasks} }}\n{THERE}\n"
        ));
        let began = Instant::now();
        pair.run();
        began.elapsed()
    };
    // The component gets there, and is compiled there.
    run(2, 0);
    let took: Duration = run(tasks, 1);
    let each: Measured = clock("a task", took / tasks.max(1));
    report.cells(
        &format!("{} no-op tasks over one other node", grouped(tasks)),
        &format!(
            "Tasks that only the other node may run, {AT_ONCE} there at once, nothing cached: `sykli run --mesh --steal` \
             from its start to its end. Each is offered, accepted, fetched, run, recorded by who ran it, fetched back and \
             committed by its owner; two processes over TCP on loopback, homes in memory."
        ),
        &["tasks", "time", "a task", "tasks a second"],
        vec![vec![
            grouped(tasks),
            format!("{:.2} s", took.as_secs_f64()),
            format!("{:.0} µs", each.value / 1e3),
            grouped((1e9 / each.value) as u32),
        ]],
    );
}
