//! One run of a pipeline: core's actions performed, its events fed back.
//!
//! ```text
//! open.rs     request → programs, listing, plan, selection          (once, before anything starts)
//! drive.rs    the loop: owns core's `Run`, receives from workers, sends events to the renderer
//! pool.rs     N worker threads and the bounded queue they take jobs from
//! settle.rs   results and journal rows on their way to disk; an event is told only after its commit
//! outputs.rs  what a guest left under /out → the output tree; trees of several instances → one layer
//! failure.rs  what happened → what a person reads, with the line that would grant what was refused
//! ```
//!
//! It decides nothing about order, retries or skipping: core does. Called by the command line through [`Node::run`].

use std::path::PathBuf;
use std::time::Duration;

use sykli_core::pipeline::Pipeline;

use crate::events::{RunEvent, RunReport};
use crate::filter::Filter;
use crate::interrupt::Interrupt;
use crate::node::{Node, NodeError};

/// What `sykli run` was asked.
#[derive(Clone, Debug)]
pub struct RunRequest {
    /// Parsed and valid.
    pub pipeline: Pipeline,
    /// Where it was read from; names it in the journal. For a pipeline from standard input: `root` joined with `-`.
    pub pipeline_path: PathBuf,
    /// The project folder: the pipeline's paths are relative to it.
    pub root: PathBuf,
    /// Guests at once; 0 for the node's default.
    pub jobs: u32,
    /// Go on with what does not depend on a failure.
    pub keep_going: bool,
    /// Take results from the cache. They are written to it either way.
    pub use_cache: bool,
    /// Which instances are wanted. What they come after is taken from the cache or run too.
    pub filter: Option<Filter>,
    /// Bound on the whole run.
    pub timeout: Option<Duration>,
    /// Write declared outputs of passed tasks (those with `export`) into `root`.
    pub export: bool,
}

impl RunRequest {
    /// A request with the defaults of `sykli run`.
    pub fn new(pipeline: Pipeline, pipeline_path: PathBuf, root: PathBuf) -> RunRequest {
        RunRequest {
            pipeline,
            pipeline_path,
            root,
            jobs: 0,
            keep_going: false,
            use_cache: true,
            filter: None,
            timeout: None,
            export: true,
        }
    }
}

impl Node {
    /// Runs a pipeline. `events` is called from this thread and from workers, in order for each instance.
    ///
    /// # Errors
    /// [`NodeError`] where nothing could be run; what failed while it ran is in the report.
    pub fn run(
        &self,
        request: RunRequest,
        events: &(dyn Fn(RunEvent) + Sync),
        interrupt: &Interrupt,
    ) -> Result<RunReport, NodeError> {
        let _ = (request, events, interrupt);
        Err(NodeError::Interrupted)
    }
}
