//! A run that goes through its machine's node, watched by its events; and settings and tasks that the tests share.

use serde_json::Value;
use sykli_tests::mesh::{Machine, Talker};

/// Where nodes of a test listen: on this machine, without calling out.
pub(super) const LISTEN: &str =
    "[mesh]\nlisten = [\"/ip4/127.0.0.1/udp/0/quic-v1\", \"/ip4/127.0.0.1/tcp/0\"]\nmdns = false\n";

/// Settings of a node: what is below `[node]`, and below `[consent]`.
pub(super) fn settings(node: &str, consent: &str) -> String {
    format!("[node]\n{node}\n[consent]\n{consent}\n{LISTEN}")
}

/// A pipeline of these tasks.
pub(super) fn pipeline(tasks: &str) -> String {
    format!("schema = \"sykli-wasm/1\"\n{tasks}")
}

/// Waits until a node has said of each of these that it is there.
#[track_caller]
pub(super) fn meets(node: &mut Talker, names: &[&str]) {
    let mut missing = names.to_vec();
    while !missing.is_empty() {
        let said = node.said(" is there (");
        missing.retain(|name| !said.starts_with(&format!("{name} ")));
    }
}

/// See the module. The run ends with it.
pub(super) struct Watched {
    talker: Talker,
    seen: Vec<Value>,
}

impl Watched {
    /// Runs a pipeline of the machine's project.
    #[track_caller]
    pub(super) fn run(machine: &Machine, file: &str, reach: &[&str]) -> Watched {
        let args = [&["run", file, "--format", "ndjson"], reach].concat();
        let mut watched = Watched {
            talker: Talker::start(machine.sykli(&args).env("TOKEN", "s3cret")),
            seen: Vec::new(),
        };
        watched.until(|event| event["event"] == "planned");
        watched
    }

    /// The next event, waited for, that is the one.
    #[track_caller]
    pub(super) fn until(&mut self, is: impl Fn(&Value) -> bool) -> Value {
        loop {
            let line = self.talker.said("\"event\":");
            let event: Value = serde_json::from_str(&line).unwrap();
            self.seen.push(event.clone());
            if is(&event) {
                return event;
            }
        }
    }

    /// Waits for such an event, which may have been already.
    #[track_caller]
    pub(super) fn until_seen(&mut self, is: impl Fn(&Value) -> bool) {
        if !self.seen.iter().any(&is) {
            self.until(is);
        }
    }

    /// Waits until each of these has happened to a task: its label, the node, the step and the reason; none for any.
    #[track_caller]
    pub(super) fn steps(&mut self, wanted: &[(&str, &str, &str, Option<&str>)]) {
        let is = |event: &Value, (label, node, step, reason): &(&str, &str, &str, Option<&str>)| {
            event["event"] == "task_step"
                && event["label"] == *label
                && event["node"]["name"] == *node
                && event["step"] == *step
                && reason.is_none_or(|reason| event["reason"] == reason)
        };
        let mut missing = wanted.to_vec();
        missing.retain(|one| !self.seen.iter().any(|event| is(event, one)));
        while !missing.is_empty() {
            let event = self.until(|event| event["event"] == "task_step");
            missing.retain(|one| !is(&event, one));
        }
    }

    /// The run's name.
    pub(super) fn name(&self) -> String {
        let planned = self.seen.iter().find(|event| event["event"] == "planned");
        planned.unwrap()["run"].as_str().unwrap().to_owned()
    }

    /// Waits for its end, which is good.
    #[track_caller]
    pub(super) fn passed(&mut self) {
        let end = self.until(|event| event["event"] == "finished");
        assert_eq!(end["status"], "passed", "{end}");
        // Its last lines are in its history when the process has ended.
        assert!(self.talker.ended().success());
    }

    /// All that has happened to a task on its way so far.
    pub(super) fn steps_of(&self, label: &str) -> Vec<&Value> {
        let seen = self.seen.iter();
        seen.filter(|event| event["event"] == "task_step" && event["label"] == label)
            .collect()
    }
}
