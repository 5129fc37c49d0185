//! One run: a store made, the guest driven to its end, what it left collected.
//!
//! [`Sandbox::run`] blocks the calling thread and uses nothing beyond it. Whatever the guest does becomes an
//! [`Outcome`]; a panic of ours is caught and becomes one too ([`Status::HostFault`]). What a bound or an end means for a
//! task is the caller's business.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use wasmtime::Store;
use wasmtime::component::ResourceTable;

use crate::drive::{Control, Stop};
use crate::engine::{Component, Engine, Ready};
use crate::grant::Grant;
use crate::host::clocks::{Clock, TimeMode};
use crate::host::random::Random;
use crate::host::sockets::Net;
use crate::host::stdio::Stdio;
use crate::host::task::Reports;
use crate::limits::{self, Meter};
use crate::outcome::{Captured, Limit, Outcome, Refusal, Refusals, Status, Usage};
use crate::state::GuestState;
use crate::verdict;
use crate::vfs::{Collected, Mount, Quota, Source, Vfs};

pub use crate::drive::CancelToken;

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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    ///
    /// The time of the grant includes waiting for one of the engine's slots.
    pub fn run(
        &self,
        component: &Component,
        grant: &Grant,
        inputs: Inputs,
        observer: Arc<dyn Observer>,
        cancel: &CancelToken,
    ) -> Outcome {
        let started = Instant::now();
        let control = Control {
            cancel,
            deadline: started.checked_add(grant.timeout),
        };
        // The store is made and dropped inside, so a panic leaves nothing half-changed behind.
        let run = || self.run_guest(&component.inner, grant, inputs, observer, &control, started);
        let mut outcome = catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
            let message = format!("the sandbox panicked: {}", panic_message(&*panic));
            empty(Status::HostFault { message })
        });
        outcome.usage.wall = started.elapsed();
        outcome
    }

    fn run_guest(
        &self,
        component: &Ready,
        grant: &Grant,
        inputs: Inputs,
        observer: Arc<dyn Observer>,
        control: &Control<'_>,
        started: Instant,
    ) -> Outcome {
        let _slot = match self.engine.slot(control) {
            Ok(slot) => slot,
            Err(stop) => return empty(stopped(stop, grant)),
        };
        if let Some(limit) = beyond_bounds(component, grant) {
            let refusals = match limit {
                Limit::Memory { limit, wanted } => vec![Refusal::Memory { limit, wanted }],
                _ => Vec::new(),
            };
            return Outcome {
                refusals,
                ..empty(Status::Limit(limit))
            };
        }
        let state = self.state(grant, inputs, observer, started);
        let clock = Arc::clone(&state.clock);
        let mut store = Store::new(&component.engine, state);
        if let Err(error) = configure(&mut store, grant) {
            return empty(Status::HostFault {
                message: error.to_string(),
            });
        }
        let ended = control.drive(call(component, &mut store), &clock);
        let left = store.get_fuel().unwrap_or(0);
        let state = store.data_mut();
        let status = match ended {
            Err(stop) => stopped(stop, grant),
            Ok(Ok(())) => Status::Exited(0),
            Ok(Err(error)) => verdict::of(&error, grant, &state.meter),
        };
        let fuel = grant.fuel.saturating_sub(left);
        if let Some(wanted) = state.meter.refused_memory() {
            state.refusals.note(Refusal::Memory {
                limit: grant.memory_bytes,
                wanted,
            });
        }
        let outcome = collect(state, status, fuel);
        self.engine.clear(store);
        outcome
    }

    fn state(
        &self,
        grant: &Grant,
        inputs: Inputs,
        observer: Arc<dyn Observer>,
        started: Instant,
    ) -> GuestState {
        let mode = match (grant.clock, grant.net.is_empty()) {
            (true, _) => TimeMode::Real,
            (false, true) => TimeMode::Virtual,
            (false, false) => TimeMode::VirtualWaiting,
        };
        let quota = Quota {
            bytes: grant.output_bytes,
            entries: grant.output_entries,
            spool: self.engine.spool(),
        };
        let mut table = ResourceTable::new();
        table.set_max_capacity(limits::HANDLES as usize);
        GuestState {
            turn: None,
            table,
            vfs: Vfs::new(inputs.mounts, quota),
            refusals: Refusals::default(),
            meter: Meter::new(grant.memory_bytes),
            fuel_limit: grant.fuel,
            clock: Arc::new(Clock::new(mode, started)),
            random: Random::new(grant.random, inputs.seed),
            stdio: Stdio::new(inputs.stdin, grant),
            args: inputs.args,
            env: inputs.env,
            task: inputs.task,
            reports: Reports::new(grant.stdio_bytes),
            net: Net::new(grant.net.clone()),
            observer,
        }
    }
}

/// Memories and tables are known before anything is made, so their bound is met without making any. That matters for the size
/// of memories, too: the engine makes one before it asks whether it may, and a process that runs a guest apart could not.
fn beyond_bounds(component: &Ready, grant: &Grant) -> Option<Limit> {
    /// Bytes of a page; others are switched off.
    const PAGE: u64 = 65_536;
    let required = component.pre.component().resources_required()?;
    if required.num_memories > limits::MEMORIES {
        return Some(Limit::Memories {
            limit: limits::MEMORIES,
        });
    }
    let wanted = required.max_initial_memory_size.unwrap_or(0);
    let wanted = wanted.saturating_mul(PAGE);
    if wanted > grant.memory_bytes {
        let limit = grant.memory_bytes;
        return Some(Limit::Memory { limit, wanted });
    }
    let tables = required.num_tables > limits::TABLES;
    tables.then_some(Limit::Tables {
        limit: limits::TABLES,
        elements: limits::TABLE_ELEMENTS,
    })
}

fn configure(store: &mut Store<GuestState>, grant: &Grant) -> wasmtime::Result<()> {
    store.limiter(|state| &mut state.meter);
    store.set_fuel(grant.fuel)?;
    store.fuel_async_yield_interval(Some(limits::YIELD_FUEL))?;
    store.set_hostcall_fuel(usize::try_from(limits::CALL_DATA_BYTES)?);
    store.set_max_component_handles(limits::HANDLES as usize);
    Ok(())
}

/// Instantiates the component and calls its `wasi:cli/run`. A guest that returns an error exits with 1.
async fn call(component: &Ready, store: &mut Store<GuestState>) -> wasmtime::Result<()> {
    let instance = component.pre.instantiate_async(&mut *store).await?;
    let run = instance.get_typed_func::<(), (Result<(), ()>,)>(&mut *store, &component.run)?;
    let (result,) = run.call_async(&mut *store, ()).await?;
    result.map_err(|()| crate::state::End::Exit(1).into())
}

fn stopped(stop: Stop, grant: &Grant) -> Status {
    match stop {
        Stop::Cancelled => Status::Cancelled,
        Stop::Deadline => Status::TimedOut {
            limit: grant.timeout,
        },
    }
}

/// Takes out of the state what is left of the run.
fn collect(state: &mut GuestState, status: Status, fuel: u64) -> Outcome {
    state.reports.finish(&*state.observer);
    let (left, status) = match state.vfs.take().finish() {
        Ok(left) => (left, status),
        // Whatever the guest made of it: its files are not what it wrote.
        Err(error) if error.no_space => (
            Collected::default(),
            Status::NoSpace {
                message: error.message,
            },
        ),
        Err(error) => (
            Collected::default(),
            Status::HostFault {
                message: error.to_string(),
            },
        ),
    };
    for refusal in state.net.refusals().into_iter().chain(left.refusals) {
        state.refusals.note(refusal);
    }
    let (stdout, stderr) = state.stdio.finish();
    let usage = Usage {
        fuel,
        peak_memory_bytes: state.meter.peak_memory(),
        wall: std::time::Duration::ZERO,
        output_bytes: left.output_bytes,
        output_entries: left.output_entries,
    };
    Outcome {
        status,
        usage,
        changes: left.changes,
        stdout,
        stderr,
        refusals: std::mem::take(&mut state.refusals).into_vec(),
    }
}

/// The outcome of a run in which no guest came to live.
fn empty(status: Status) -> Outcome {
    Outcome {
        status,
        usage: Usage::default(),
        changes: Vec::new(),
        stdout: Captured::default(),
        stderr: Captured::default(),
        refusals: Vec::new(),
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a message")
}
