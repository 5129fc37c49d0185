//! What a run knows of a declared task: who waits for it, and how its instances stand.
//!
//! Dependencies are counted here, by declared task: a task is released when the last instance of the last task that it
//! comes after has settled well. Called by [`super::Run::new`]; decides which instances a selection needs.

use super::SHORT_US;
use super::state::{State, Tally};
use crate::expand::Plan;
use crate::time::Tick;
use std::ops::Range;

/// A declared task in a run.
#[derive(Debug)]
pub(super) struct Group {
    /// Its instances by id, those outside the run included.
    pub(super) instances: Range<u32>,
    /// The next instance to look at once they may be prepared.
    pub(super) next: u32,
    /// Longest way to the end of the run, in milliseconds.
    pub(super) priority: u64,
    pub(super) retries: u32,
    /// How many tasks of its `after` have not settled well in full.
    pub(super) waits_for: u32,
    /// The tasks of the run that wait for it.
    pub(super) dependants: Vec<usize>,
    pub(super) dependants_skipped: bool,
    /// Instances of the run that have not settled.
    pub(super) unsettled: u32,
    pub(super) tally: Tally,
    pub(super) retried: u32,
    /// Time of all its ended attempts together, as their workers measured it, in microseconds.
    pub(super) busy_us: u64,
    pub(super) ended_attempts: u32,
    pub(super) started: Option<Tick>,
    pub(super) ended: Option<Tick>,
}

impl Group {
    /// Whether its attempts were so short until now that asking for the next one would cost more than they do.
    pub(super) fn is_short(&self) -> bool {
        self.ended_attempts > 0 && self.busy_us / u64::from(self.ended_attempts) < SHORT_US
    }
}

/// The groups by declared task and the states by id, as they are before a run begins.
pub(super) fn build(plan: &Plan, selected: Option<&[bool]>) -> (Vec<Group>, Vec<State>) {
    let states = initial_states(plan, selected);
    let mut groups: Vec<Group> = Vec::with_capacity(plan.groups.len());
    for (planned, declared) in plan.groups.iter().zip(&plan.pipeline.tasks) {
        let range = planned.instances.start as usize..planned.instances.end as usize;
        let included = states[range]
            .iter()
            .filter(|state| matches!(state, State::Waiting))
            .count() as u32;
        groups.push(Group {
            instances: planned.instances.clone(),
            next: planned.instances.start,
            priority: planned.priority,
            retries: declared.retries,
            waits_for: 0,
            dependants: Vec::new(),
            dependants_skipped: false,
            unsettled: included,
            tally: Tally {
                waiting: included,
                ..Tally::default()
            },
            retried: 0,
            busy_us: 0,
            ended_attempts: 0,
            started: None,
            ended: None,
        });
    }
    // Only edges within the run: a task outside waits for nothing and is waited for by nobody.
    for (index, declared) in plan.pipeline.tasks.iter().enumerate() {
        if groups[index].unsettled > 0 {
            groups[index].waits_for = declared.after.len() as u32;
            for &before in &declared.after {
                groups[before].dependants.push(index);
            }
        }
    }
    (groups, states)
}

/// Selected instances wait, and so do all instances of every task that one of them comes after, directly or not.
fn initial_states(plan: &Plan, selected: Option<&[bool]>) -> Vec<State> {
    let Some(selected) = selected else {
        return vec![State::Waiting; plan.tasks.len()];
    };
    let mut included: Vec<bool> = (0..plan.tasks.len())
        .map(|id| selected.get(id).copied().unwrap_or(false))
        .collect();
    for &index in plan.order.iter().rev() {
        let own = plan.groups[index].instances.clone();
        if !included[own.start as usize..own.end as usize].contains(&true) {
            continue;
        }
        for &before in &plan.pipeline.tasks[index].after {
            let needed = plan.groups[before].instances.clone();
            included[needed.start as usize..needed.end as usize].fill(true);
        }
    }
    included
        .into_iter()
        .map(|included| {
            if included {
                State::Waiting
            } else {
                State::Outside
            }
        })
        .collect()
}
