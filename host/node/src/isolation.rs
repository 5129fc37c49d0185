//! Tasks of others run in processes of their own, which have given up what a guest must never reach.
//!
//! ```text
//! this process                          a child: this program again, one task, then gone
//!   pool.rs     children kept ready       guest.rs    runs a guest, or compiles a component
//!   child.rs    one of them               remote.rs   its inputs and temporary files, by asking
//!   serve.rs    what it asks for          confine.rs  what it gives up before it is told anything
//!   compile.rs  what it compiles          filter.rs   the system calls that are left
//!   apart.rs    all of it without a mesh  attempt.rs  tries each way out
//!                   frame.rs, message.rs: what passes between them
//! ```
//!
//! **What holds.** A child sees one task and dies with it. It gives up files, network, privileges and most system calls
//! before it reads a byte that is not this process's own, and gets blobs as bytes or as open descriptors, never a path. What
//! it sends is read as a stranger's: bounded, checked, and never waited for without end. What it wrote is hashed after it is
//! dead. Whatever ends it costs its task alone. What a system does not grant is said ([`Confinement`]), not hidden; that a
//! child cannot be started is never a reason to run a guest here. Called by `foreign` and `meshnode`; the command line asks
//! [`child`] first of all, `doctor` asks [`probe`], and tests and benchmarks go by [`Apart`].

mod apart;
mod attempt;
mod child;
mod compile;
mod confine;
#[cfg(target_os = "linux")]
mod filter;
mod frame;
mod guest;
mod message;
mod pool;
mod remote;
mod serve;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::net::TcpListener;
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use sykli_core::id::Digest;
use sykli_runtime::{CodeShelf, Engine, Floats};

pub use apart::{Apart, ApartError, Loaded};
pub use child::Program;
pub use confine::Confinement;
pub(crate) use message::Job;
pub(crate) use serve::{InputTree, Ran, Task};

use compile::Refused;
use message::{ToChild, ToParent, Ways};
use pool::{Pool, Rehearsal};

/// What a child is started with, so that it knows that it is one.
const MARKER: &str = "--sykli-child";
/// Children that are kept ready, at most.
const MAX_READY: usize = 4;
/// How long a child may take until it is ready.
const START: Duration = Duration::from_secs(30);

/// What a node's user wants of the processes that tasks of others run in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Needed {
    /// They give up all that the system grants, and say what it does not.
    #[default]
    BestEffort,
    /// They give up everything, or no task of another node runs here.
    Required,
}

/// What kind of child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Reaches nothing.
    Sealed,
    /// May connect to the network and look names up, for a task that is granted hosts.
    Net,
}

/// Why there is no outcome.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Lost {
    /// No child can be had. It says nothing of the task.
    #[error("cannot start a process for it: {0}")]
    NotStarted(String),
    /// A child can be had that has not given up everything, and that will not do here.
    #[error("`consent.isolation` is \"required\", and this system does not grant {0}")]
    NotGranted(String),
    /// The child died under it.
    #[error("its process died: {0}")]
    Died(String),
    /// The child said what no child says.
    #[error("its process broke the protocol: {0}")]
    Broken(String),
    /// It was stopped meanwhile.
    #[error("it was stopped")]
    Stopped,
    /// The component cannot be used.
    #[error("its component: {0}")]
    Component(String),
    /// The component is not there.
    #[error("its component is not there")]
    Missing,
    /// The disk cannot take what was compiled.
    #[error("compiled code: {0}")]
    Disk(io::Error),
}

/// Whose code, and how it is compiled.
type CodeOf = ([u8; 32], Floats);

/// What runs the tasks of others apart from this process. Cheap to share.
pub(crate) struct Isolation {
    pool: Pool,
    shelf: Arc<CodeShelf>,
    /// Components that are being compiled: who wants the same waits.
    compiling: Mutex<BTreeMap<CodeOf, Arc<Mutex<()>>>>,
    refused: Mutex<Refused>,
}

impl Isolation {
    /// With compiled code in `cache`, for code that fits `engine`. Starts nothing yet.
    ///
    /// # Errors
    /// When the folder or a thread cannot be had.
    pub(crate) fn new(
        engine: &Engine,
        cache: &Path,
        program: Program,
        wanted: Needed,
    ) -> io::Result<Isolation> {
        let shelf = CodeShelf::open(engine.clone(), &cache.join("code-foreign"))?;
        let shelf = Arc::new(shelf);
        let keep = engine.slots().min(MAX_READY);
        let (own, on) = (engine.clone(), Arc::clone(&shelf));
        let rehearsal = move || rehearsal(&own, &on);
        Ok(Isolation {
            pool: Pool::new(program, keep, wanted == Needed::Required, rehearsal)?,
            shelf,
            compiling: Mutex::default(),
            refused: Mutex::default(),
        })
    }

    /// Waits until a child is ready. What it gave up.
    ///
    /// # Errors
    /// Where none can be had, or it has not given up what it has to.
    pub(crate) fn ready(&self) -> Result<Confinement, Lost> {
        self.pool.ready()
    }

    /// Has children made ready, now and whenever one is used.
    pub(crate) fn warm(&self) {
        self.pool.warm();
    }

    /// What the last child that was started could give up; none where none was, or an error where that failed.
    pub(crate) fn confinement(&self) -> Option<Result<Confinement, String>> {
        self.pool.confinement()
    }
}

/// The component that does nothing, compiled once and kept where children's code is. It is this program's own, so that this
/// process compiles it.
fn rehearsal(engine: &Engine, shelf: &CodeShelf) -> Option<Rehearsal> {
    let digest = Digest::of(NOTHING).0;
    if let Some(code) = shelf.get(digest, Floats::Fast) {
        return Some((digest, code));
    }
    let made = engine.compile_apart(NOTHING, Floats::Fast).ok()?;
    let len = made.code.len() as u64;
    let kept = shelf.put(
        digest,
        Floats::Fast,
        &made.description,
        len,
        &mut made.code.as_slice(),
    );
    // Without one, the first steps of each task take longer.
    kept.ok().map(|code| (digest, code))
}

/// A command whose `wasi:cli/run` returns at once.
const NOTHING: &[u8] = b"\0asm\x0d\0\x01\0\
    \x01\x24\0asm\x01\0\0\0\x01\x05\x01\x60\0\x01\x7f\x03\x02\x01\0\x07\x07\x01\x03run\0\0\x0a\x06\x01\x04\0\x41\0\x0b\
    \x02\x04\x01\0\0\0\
    \x06\x09\x01\0\0\x01\0\x03run\
    \x07\x08\x02\x6a\0\0\x40\0\0\0\
    \x08\x06\x01\0\0\0\0\x01\
    \x05\x0a\x01\x01\x01\0\x03run\x01\0\
    \x0b\x18\x01\0\x12wasi:cli/run@0.2.0\x05\0\0";

/// Whether this process was started as a child, and if so all that it does. To be asked before anything else is done.
#[must_use]
pub fn child(mut args: impl Iterator<Item = OsString>) -> Option<ExitCode> {
    if args.nth(1)? != MARKER {
        return None;
    }
    let kind = match args.next()?.to_str()? {
        "sealed" => Kind::Sealed,
        _ => Kind::Net,
    };
    Some(guest::main(kind))
}

/// What a child was seen to have given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probed {
    /// What it says.
    pub given_up: Confinement,
    /// The ways out that it tried and that are open.
    pub open: Vec<String>,
}

/// Starts a child, to see what it can give up here, and has it try each way out.
///
/// # Errors
/// Why none can be started.
pub fn probe(program: &Program) -> Result<Probed, String> {
    let mut child = child::Child::start(program, Kind::Sealed).map_err(|e| e.to_string())?;
    let given_up = child.ready().map_err(|lost| lost.to_string())?;
    let open = try_ways(&mut child).map_err(|error| error.to_string())?;
    Ok(Probed { given_up, open })
}

fn try_ways(child: &mut child::Child) -> io::Result<Vec<String>> {
    // Something of each that could be reached: it is open to whoever is not confined.
    let file = tempfile::NamedTempFile::new()?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let ways = Ways {
        file: file.path().to_string_lossy().into_owned(),
        address: listener.local_addr()?,
        parent: std::process::id(),
    };
    child.tell(&ToChild::Try(ways), &[], None)?;
    let until = Instant::now() + START;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        match child.hear(left)? {
            child::Heard::Message(ToParent::Open { ways }, _) => return Ok(ways),
            child::Heard::Nothing if !left.is_zero() => {}
            child::Heard::End => {
                let how = child.death();
                return Err(io::Error::other(format!("it died as it tried: {how}")));
            }
            _ => return Err(io::Error::other("it does not say what it tried")),
        }
    }
}
