//! What one running guest carries: the data of its store.
//!
//! Made by the sandbox for each run and dropped with it. The host interfaces read and write it; it decides nothing.

use std::fmt;
use std::sync::Arc;

use wasmtime::component::ResourceTable;

use crate::engine::Turn;
use crate::host::clocks::Clock;
use crate::host::random::Random;
use crate::host::sockets::Net;
use crate::host::stdio::Stdio;
use crate::host::task::Reports;
use crate::limits::Meter;
use crate::outcome::{Limit, Refusals};
use crate::sandbox::{Observer, TaskInfo};
use crate::vfs::Vfs;

/// The store data of one run.
pub struct GuestState {
    /// Held while the stack is cleared, and let go before anything else is dropped.
    pub(crate) turn: Option<Turn>,
    /// Every resource the guest holds a handle to.
    pub table: ResourceTable,
    /// Its file system.
    pub vfs: Vfs,
    /// What it was refused so far.
    pub refusals: Refusals,
    pub(crate) meter: Meter,
    /// Fuel it was given, to tell how much is consumed.
    pub(crate) fuel_limit: u64,
    pub(crate) clock: Arc<Clock>,
    pub(crate) random: Random,
    pub(crate) stdio: Stdio,
    pub(crate) args: Vec<String>,
    pub(crate) env: Vec<(String, String)>,
    pub(crate) task: TaskInfo,
    pub(crate) reports: Reports,
    pub(crate) net: Net,
    pub(crate) observer: Arc<dyn Observer>,
}

/// Ends a guest from inside a host function, as a result or as a fault. Returned as the error of the call, found again
/// by type when the run is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The guest asked to exit.
    Exit(i32),
    /// The guest met a bound.
    Limit(Limit),
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exit(code) => write!(f, "exited with code {code}"),
            Self::Limit(limit) => limit.fmt(f),
        }
    }
}

impl std::error::Error for End {}
