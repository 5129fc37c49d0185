//! A pipeline that computes, on two nodes of one slot each against one node of one slot.

use std::fmt::Write as _;
use std::process::{Command, Stdio};

use super::clock;
use crate::measure::{Cost, Effort};
use crate::nodes::{self, Pair, Way};
use crate::report::{Goal, Report};

const ONE: &str = "one node of one slot";
const TWO: &str = "two nodes of one slot each";
const NATIVE_ONE: &str = "native, one process at a time";
const NATIVE_TWO: &str = "native, two at a time";
const TASKS: u32 = 12;

/// See the module.
pub(super) fn makespan(effort: &Effort, report: &mut Report) {
    // About a second a task.
    let each = if effort.quick { 1 } else { 5 };
    let two = Pair::new(&nodes::memory(), Way::Tcp, 1);
    let mut one = Pair::new(&nodes::memory(), Way::Tcp, 1);
    one.thief.kill();
    let mut rounds = 0;
    for pair in [&one, &two] {
        pair.owner.project().guest("compute");
        // The component gets everywhere, and is compiled there.
        pair.pipeline(&pipeline(4, "", 1));
        pair.run();
    }
    let run = |pair: &Pair, round: &mut u32| {
        *round += 1;
        pair.pipeline(&pipeline(TASKS, &round.to_string(), each));
        pair.run();
    };
    let native = sykli_tests::native_guest("compute");
    let natively = |at_once: u32| {
        let line = format!(
            "seq {TASKS} | xargs -P{at_once} -I_ {} integers {each}",
            native.display()
        );
        let mut shell = Command::new("sh");
        let status = shell.args(["-c", &line]).stdout(Stdio::null()).status();
        assert!(status.is_ok_and(|status| status.success()), "{line}");
    };
    // Once each: they take long, and everything was compiled above.
    let took = |name: &str, work: &mut dyn FnMut()| clock(name, Cost::of(work).1.wall);
    let times = [
        took(ONE, &mut || run(&one, &mut rounds)),
        took(TWO, &mut || run(&two, &mut rounds)),
        took(NATIVE_ONE, &mut || natively(1)),
        took(NATIVE_TWO, &mut || natively(2)),
    ];
    let [alone, both, native_one, native_two] = &times;
    let what = "a pipeline that computes, on two nodes against one";
    report.goal(what, both, alone, Goal::Faster(1.9));
    report.note(&format!(
        "Natively, two processes at a time do the same work {:.2}× as fast as one: what this machine's second core is worth \
         bounds what two nodes on it can gain.",
        native_one.value / native_two.value.max(1e-9)
    ));
    report.table(
        &format!("{TASKS} tasks that compute"),
        "`sykli run --mesh --steal` of independent tasks of about a second each, from its start to its end, nothing \
         cached: with a second node, and without one. Beside it the same program built for this machine, without anything \
         of ours.",
        &times,
    );
}

/// Tasks that compute for a while; another round is another work, of which nobody has the result.
fn pipeline(tasks: u32, round: &str, each: u32) -> String {
    let mut text = String::new();
    for index in 0..tasks {
        let _ = write!(
            text,
            "[task.c{index}]\ncomponent = \"compute.wasm\"\nargs = [\"integers\", \"{each}\", \"{round}\"]\n"
        );
    }
    text
}
