//! `sykli exec`: one component, now, on folders of the user's.
//!
//! Each `--dir` is mounted as a private, writable snapshot: the guest reads the host's files lazily and what it
//! writes lands beside them, never in them. Only `--out` and `--write-back` bring changes to the host, and only when
//! the guest ended well. Nothing is cached, no database is opened: start-up is what a person waits for.
//!
//! Called by the command line; also cargo's runner for `wasm32-wasip2` (`exec/cargo.rs`).

mod cargo;
mod copy_out;
mod host_dir;
mod stdin;

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sykli_runtime::vfs::MemDir;
use sykli_runtime::{
    Access, CancelToken, Component, Engine, Floats, Grant, Inputs, Mount, Observer, Outcome,
    Sandbox, Source, Status, TaskInfo,
};

use crate::events::{FailureReport, Stream};
use crate::interrupt::Interrupt;
use crate::node::{Node, NodeError};
use crate::run::failure::{self, Asker};
use crate::worker::Tails;

/// Where a guest leaves what `--out` brings to the host.
const OUT: &str = "/out";

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
    /// Act as cargo's runner where cargo started this process: the package's folder is mounted (where `dirs` is empty, or
    /// names it too) and cargo's variables are passed on.
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

/// Files a guest may create.
const OUTPUT_ENTRIES: u32 = 1_000_000;
/// Nothing of a guest's output is kept here but the tail of a report: it is streamed as it comes.
const STDIO_BYTES: u64 = failure::TAIL_BYTES as u64;

impl Node {
    /// Runs one component to its end on this thread. `output` is called from it, too.
    ///
    /// # Errors
    /// [`NodeError`] where it could not be started; how the guest ended is in the report.
    pub fn exec(
        &self,
        request: ExecRequest,
        output: ExecOutput,
        interrupt: &Interrupt,
    ) -> Result<ExecReport, NodeError> {
        let request = for_cargo(request);
        let grant = grant(&request)?;
        let engine = self.engine()?;
        let component = load(engine, &request)?;
        let cancel = CancelToken::default();
        let cut = stdin::Cut::default();
        let inputs = inputs(&request, &cancel, &cut)?;
        let to_cancel = cancel.clone();
        let _listening = interrupt.listen(move |_| to_cancel.cancel());
        let watch = Arc::new(Watch::new(output));
        let observer: Arc<dyn Observer> = watch.clone();
        let mut outcome =
            Sandbox::new(engine.clone()).run(&component, &grant, inputs, observer, &cancel);
        // However the guest ended after it, it did not get the input that it waited for.
        if cut.happened() {
            outcome.status = match cancel.is_cancelled() {
                true => Status::Cancelled,
                false => Status::TimedOut {
                    limit: request.limits.timeout,
                },
            };
        }
        Ok(report(&request, &outcome, &watch.tails))
    }
}

/// Adds what cargo's runner needs, where cargo started us.
fn for_cargo(mut request: ExecRequest) -> ExecRequest {
    if request.cargo_runner {
        let text = |(name, value): (OsString, OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        let added = cargo::additions(&request.dirs, std::env::vars_os().filter_map(text));
        request.dirs.extend(added.dirs);
        // What was asked for explicitly comes last and so wins.
        request.env.splice(0..0, added.env);
    }
    request
}

fn grant(request: &ExecRequest) -> Result<Grant, NodeError> {
    let net = request
        .grants
        .net
        .iter()
        .map(|rule| rule.parse())
        .collect::<Result<Vec<_>, _>>()?;
    Ok(Grant {
        fuel: request.limits.fuel,
        memory_bytes: request.limits.memory_bytes,
        timeout: request.limits.timeout,
        output_bytes: request.limits.output_bytes,
        output_entries: OUTPUT_ENTRIES,
        stdio_bytes: STDIO_BYTES,
        stream_bytes: u64::MAX,
        clock: request.grants.clock,
        random: request.grants.random,
        net,
    })
}

fn load(engine: &Engine, request: &ExecRequest) -> Result<Component, NodeError> {
    let path = &request.component;
    let missing = |message: String| NodeError::NoComponent {
        task: String::new(),
        path: path.clone(),
        message,
    };
    // A pipe or a device has no end, and an opener of one may wait for ever.
    let regular = std::fs::metadata(path).map(|found| found.is_file() || found.is_dir());
    if regular.is_ok_and(|regular| !regular) {
        return Err(missing("it is no regular file".to_owned()));
    }
    let bytes = std::fs::read(path).map_err(|error| {
        missing(match error.kind() {
            io::ErrorKind::NotFound => "there is no such file".to_owned(),
            io::ErrorKind::IsADirectory => "it is a folder".to_owned(),
            _ => error.to_string(),
        })
    })?;
    let floats = if request.portable_floats {
        Floats::Portable
    } else {
        Floats::Fast
    };
    engine
        .load(&bytes, floats)
        .map_err(|source| NodeError::Component {
            task: String::new(),
            path: path.clone(),
            source: Box::new(source),
        })
}

fn name(request: &ExecRequest) -> String {
    let file = || {
        request
            .component
            .file_name()
            .map_or("component".into(), |name| name.to_string_lossy())
    };
    request.name.clone().unwrap_or_else(|| file().into_owned())
}

fn inputs(
    request: &ExecRequest,
    cancel: &CancelToken,
    cut: &stdin::Cut,
) -> Result<Inputs, NodeError> {
    let mut mounts = Vec::with_capacity(request.dirs.len() + 2);
    for dir in &request.dirs {
        let source = host_dir::HostDir::open(&dir.host).map_err(|error| NodeError::Folder {
            path: dir.host.clone(),
            message: error.to_string(),
        })?;
        mounts.push(Mount {
            guest_path: dir.guest.clone(),
            dir: Arc::new(source),
            access: Access::ReadWrite,
            collect: request.write_back,
        });
    }
    for (guest_path, collect) in [(OUT, request.out.is_some()), ("/tmp", false)] {
        if !request.dirs.iter().any(|dir| dir.guest == guest_path) {
            let (guest_path, dir) = (guest_path.to_owned(), Arc::new(MemDir::new()));
            mounts.push(Mount {
                guest_path,
                dir,
                access: Access::ReadWrite,
                collect,
            });
        }
    }
    let mut args = vec![name(request)];
    args.extend(request.args.iter().cloned());
    let stdin = match &request.stdin {
        ExecStdin::Empty => Source::empty(),
        ExecStdin::Bytes(bytes) => Source::bytes(bytes.clone()),
        ExecStdin::Host => {
            stdin::HostStdin::open(cancel.clone(), request.limits.timeout, cut.clone())
                .map_or_else(Source::empty, |input| Source::new(Arc::new(input)))
        }
    };
    Ok(Inputs {
        seed: seed(request, &args),
        args,
        env: last_wins(&request.env),
        stdin,
        mounts,
        task: TaskInfo {
            name: name(request),
            ..TaskInfo::default()
        },
    })
}

/// The same command gives a guest the same random numbers, as far as the command goes.
fn seed(request: &ExecRequest, args: &[String]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key("sykli exec seed v1");
    for text in args
        .iter()
        .chain(request.env.iter().flat_map(|(name, value)| [name, value]))
    {
        hasher
            .update(&(text.len() as u64).to_le_bytes())
            .update(text.as_bytes());
    }
    *hasher.finalize().as_bytes()
}

fn last_wins(env: &[(String, String)]) -> Vec<(String, String)> {
    let last: std::collections::BTreeMap<_, _> =
        env.iter().map(|(name, value)| (name, value)).collect();
    last.into_iter()
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

fn report(request: &ExecRequest, outcome: &Outcome, tails: &Tails) -> ExecReport {
    let mut failure = failure::of_status(Some(Asker::Exec), &outcome.status, &outcome.refusals);
    if let Some(failure) = &mut failure {
        tails.fill(failure);
    }
    let mut report = ExecReport {
        exit_code: match outcome.status {
            Status::Exited(code) => code,
            Status::Cancelled => 130,
            _ => 1,
        },
        failure: failure.filter(|_| !matches!(outcome.status, Status::Exited(_))),
        written: Vec::new(),
        removed: Vec::new(),
        warnings: failure::warnings(Some(Asker::Exec), &outcome.refusals),
        fuel: outcome.usage.fuel,
        peak_memory_bytes: outcome.usage.peak_memory_bytes,
        wall: outcome.usage.wall,
    };
    if outcome.status.is_success() {
        copy_out::copy_out(request, &outcome.changes, &mut report);
    }
    report
}

/// Passes on what a guest says.
pub(crate) struct Watch {
    output: ExecOutput,
    tails: Tails,
}

impl Watch {
    pub(crate) fn new(output: ExecOutput) -> Watch {
        Watch {
            output,
            tails: Tails::default(),
        }
    }

    /// Fills in the tails of a report.
    pub(crate) fn fill(&self, report: &mut FailureReport) {
        self.tails.fill(report);
    }
}

impl ExecReport {
    /// Notes that what the guest did well came to nothing.
    pub(crate) fn fail(&mut self, code: &str, message: String, hint: &str) {
        self.exit_code = 1;
        self.failure = Some(failure::plain(code, message, vec![hint.to_owned()]));
    }
}

impl Observer for Watch {
    fn stdout(&self, bytes: &[u8]) {
        self.tails.stdout(bytes);
        (self.output)(Stream::Stdout, bytes);
    }

    fn stderr(&self, bytes: &[u8]) {
        self.tails.stderr(bytes);
        (self.output)(Stream::Stderr, bytes);
    }
}
