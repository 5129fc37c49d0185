//! What executors sign, end to end with real processes: results that are run again at their owner's come out the same
//! (`replay`), and whoever lies about what it signed is found out before anything of it is used (`liars`).

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod liars;
mod replay;

use serde_json::Value;
use sykli_tests::mesh::{Machine, UNWILLING, WILLING, mesh};

/// Settings of a machine that runs what asks for this label.
fn willing(label: &str) -> String {
    format!("[node]\nlabels = [\"{label}\"]\n{WILLING}max_concurrent = 4\n")
}

/// An owner whose node runs, and one that runs tasks labelled `there` for it.
fn owner_and_executor() -> [Machine; 2] {
    let [mut owner, mut executor] = mesh([
        Machine::new("owner", UNWILLING),
        Machine::new("executor", &willing("there")),
    ]);
    executor.start();
    owner.node().said("executor is there (");
    [owner, executor]
}

/// What other nodes signed for the owner's last run.
fn receipts(owner: &Machine) -> Value {
    owner.json(&["report", "--receipts"])
}
