//! The invariants of a whole run, for tests to check after every step.

use super::state::{State, Tally};
use super::{Phase, Run};
use crate::id::TaskId;
use std::cmp::Reverse;

impl Run {
    /// Checks everything that must hold between events, in time proportional to the plan. For tests.
    ///
    /// # Panics
    /// When something does not hold.
    pub fn sanity_check(&self) {
        let mut total = Tally::default();
        for (index, group) in self.groups.iter().enumerate() {
            let mut tally = Tally::default();
            for id in group.instances.clone() {
                let state = &self.tasks[id as usize];
                tally.enter(state);
                total.enter(state);
                self.check_instance(TaskId(id), index, state);
            }
            assert_eq!(
                tally, group.tally,
                "the counts of a task are those of its instances"
            );
            assert_eq!(tally.unsettled(), group.unsettled);
            self.check_dependencies(index);
        }
        assert_eq!(
            total, self.tally,
            "the counts of the run are those of its instances"
        );
        assert!(
            self.running.len() <= self.most_handed_out,
            "no more is handed out than may be"
        );
        assert_eq!(self.running.len(), total.running as usize);
        assert_eq!(self.ready.len(), total.ready as usize);
        // What is tried again waits beside what was prepared meanwhile.
        let retried = self.most_handed_out - self.slots;
        assert!(
            total.prepared_ahead() <= self.most_prepared + retried,
            "preparation is bounded"
        );
        self.check_phase(&total);
    }

    fn check_instance(&self, task: TaskId, index: usize, state: &State) {
        assert_eq!(
            self.plan.tasks[task.index()].task,
            index,
            "an instance is within its task's range"
        );
        let ranked = (Reverse(self.groups[index].priority), task);
        assert_eq!(
            matches!(state, State::Ready { .. }),
            self.ready.contains(&ranked)
        );
        assert_eq!(
            matches!(state, State::Running(_)),
            self.running.contains(&task)
        );
        if let State::Ready { attempt, .. } = state {
            assert!(
                attempt.0 <= self.groups[index].retries + 1,
                "no more attempts than granted"
            );
        }
        if let State::Running(running) = state {
            assert!(
                running.attempt.0 <= self.groups[index].retries + 1,
                "no more attempts than granted"
            );
        }
    }

    fn check_dependencies(&self, index: usize) {
        let group = &self.groups[index];
        if group.tally == Tally::default() {
            return;
        }
        let open = self.plan.pipeline.tasks[index]
            .after
            .iter()
            .filter(|before| {
                let before = &self.groups[**before];
                before.unsettled > 0 || !before.tally.settled.all_good()
            });
        assert_eq!(
            open.count(),
            group.waits_for as usize,
            "what a task waits for is what has not settled well"
        );
        let tally = &group.tally;
        let begun = tally.preparing
            + tally.ready
            + tally.running
            + tally.settled.passed
            + tally.settled.cached;
        assert!(
            group.waits_for == 0 || begun + tally.settled.failed == 0,
            "nothing starts before its dependencies"
        );
    }

    fn check_phase(&self, total: &Tally) {
        match self.phase {
            Phase::NotBegun => assert_eq!(total.unsettled(), total.waiting),
            Phase::Going => {
                assert!(
                    total.unsettled() > 0,
                    "a run with nothing left has finished"
                );
                assert!(
                    total.preparing + total.running > 0,
                    "somebody owes an answer, so the run cannot be stuck"
                );
                let idle = self.running.len() < self.slots;
                assert!(
                    !idle || self.ready.is_empty(),
                    "no slot is idle while something is ready"
                );
            }
            Phase::Stopping(_) => assert!(total.unsettled() == total.running && total.running > 0),
            Phase::Finished(status) => {
                assert_eq!(total.unsettled(), 0, "nothing is lost");
                assert_eq!(status.counts, total.settled);
            }
        }
    }
}
