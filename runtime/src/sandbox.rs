//! One run: a store made, driven to its end and taken apart.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::engine::{Component, Engine};
use crate::grant::Grant;
use crate::outcome::{Captured, Outcome, Status, Usage};
use crate::vfs::{Mount, Source};

/// Everything a run is given.
pub struct Inputs {
    /// Arguments, the program's name first.
    pub args: Vec<String>,
    /// Environment variables.
    pub env: Vec<(String, String)>,
    /// Standard input.
    pub stdin: Source,
    /// The file system.
    pub mounts: Vec<Mount>,
    /// Where random numbers come from without the `random` grant.
    pub seed: [u8; 32],
    /// What `sykli:task` answers.
    pub task: TaskInfo,
}

/// What a task can learn about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskInfo {
    /// Its name in the pipeline.
    pub name: String,
    /// Its parameters, a JSON object.
    pub params_json: String,
    /// Which instance it is, from 0.
    pub shard_index: u32,
    /// How many instances there are, at least 1.
    pub shard_count: u32,
    /// Which attempt it is, from 1.
    pub attempt: u32,
    /// The item of `foreach` it is for.
    pub item: Option<String>,
}

impl Default for TaskInfo {
    fn default() -> Self {
        Self {
            name: String::new(),
            params_json: "{}".to_owned(),
            shard_index: 0,
            shard_count: 1,
            attempt: 1,
            item: None,
        }
    }
}

/// How much a log line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Every step.
    Trace,
    /// What helps to understand one run.
    Debug,
    /// What a user wants to know.
    Info,
    /// Something is not as it should be.
    Warn,
    /// Something failed.
    Error,
}

/// Who watches a run while it goes on. Called on the thread that runs the guest, which waits for it.
pub trait Observer: Send + Sync {
    /// The guest wrote to standard output (the first `stream_bytes` of it).
    fn stdout(&self, _bytes: &[u8]) {}
    /// The guest wrote to standard error (the first `stream_bytes` of it).
    fn stderr(&self, _bytes: &[u8]) {}
    /// The guest said how far it is; at most some twenty times a second, the last one always.
    fn progress(&self, _done: u64, _total: u64, _message: &str) {}
    /// The guest logged a line.
    fn log(&self, _level: LogLevel, _message: &str, _fields: &[(String, String)]) {}
}

/// An observer that watches nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Observer for Silent {}

/// Ends a run from another thread.
#[derive(Clone, Default)]
pub struct CancelToken(Arc<AtomicBool>);

impl CancelToken {
    /// Ends every run that was given this token, and each that will be.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether [`cancel`](Self::cancel) was called.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// Runs guests.
#[derive(Clone)]
pub struct Sandbox {
    engine: Engine,
}

impl Sandbox {
    /// A sandbox on this engine.
    #[must_use]
    pub fn new(engine: Engine) -> Self {
        Self { engine }
    }

    /// Runs one guest to its end. Blocks the calling thread; never panics for anything the guest does.
    pub fn run(
        &self,
        _component: &Component,
        _grant: &Grant,
        _inputs: Inputs,
        _observer: Arc<dyn Observer>,
        _cancel: &CancelToken,
    ) -> Outcome {
        Outcome {
            status: Status::HostFault {
                message: format!("{:?}", self.engine.shared.spool_dir),
            },
            usage: Usage::default(),
            changes: Vec::new(),
            stdout: Captured::default(),
            stderr: Captured::default(),
            refusals: Vec::new(),
        }
    }
}
