//! Tasks of others run in processes of their own, which have given up what a guest must never reach.
//!
//! ```text
//! this process                          a child: this program again, one task, then gone
//!   pool.rs     children kept ready       guest.rs    runs a guest, or compiles a component
//!   child.rs    one of them               remote.rs   its inputs and temporary files, by asking
//!   serve.rs    what it asks for          confine.rs  what it gives up before it is told anything
//!   compile.rs  what it compiles          filter.rs   the system calls that are left
//!                   frame.rs, message.rs: what passes between them
//! ```
//!
//! **What holds.** A child sees one task and dies with it. It gives up files, network, privileges and most system calls
//! before it reads a byte that is not this process's own, and gets blobs as bytes or as open descriptors, never a path. What
//! it sends is read as a stranger's: bounded, checked, and never waited for without end. What it wrote is hashed after it is
//! dead. Whatever ends it costs its task alone. What a system does not grant is said ([`Confinement`]), not hidden; that a
//! child cannot be started is never a reason to run a guest here. Called by `foreign` and `meshnode`; the command line asks
//! [`child`] first of all, and `doctor` asks [`probe`].

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
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sykli_runtime::{CodeShelf, Engine, Floats};

pub use child::Program;
pub use confine::Confinement;
pub(crate) use message::Job;
pub(crate) use serve::{InputTree, Task};

use pool::Pool;

/// What a child is started with, so that it knows that it is one.
const MARKER: &str = "--sykli-child";
/// Children that are kept ready, at most.
const MAX_READY: usize = 4;
/// How long a child may take until it is ready.
const START: Duration = Duration::from_secs(30);

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
pub(crate) enum Lost {
    /// No child can be had. It says nothing of the task.
    #[error("cannot start a process for it: {0}")]
    NotStarted(String),
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

/// What runs the tasks of others apart from this process. Cheap to share.
pub(crate) struct Isolation {
    pool: Pool,
    shelf: CodeShelf,
    /// Components that are being compiled: who wants the same waits.
    compiling: Mutex<BTreeMap<([u8; 32], Floats), Arc<Mutex<()>>>>,
}

impl Isolation {
    /// With compiled code in `cache`, for code that fits `engine`. Starts nothing yet.
    ///
    /// # Errors
    /// When the folder or a thread cannot be had.
    pub(crate) fn new(engine: &Engine, cache: &Path, program: Program) -> io::Result<Isolation> {
        let shelf = CodeShelf::open(engine.clone(), &cache.join("code-foreign"))?;
        Ok(Isolation {
            pool: Pool::new(program, engine.slots().min(MAX_READY))?,
            shelf,
            compiling: Mutex::default(),
        })
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

/// Starts a child, to see what it can give up here.
///
/// # Errors
/// Why none can be started.
pub fn probe(program: &Program) -> Result<Confinement, String> {
    let mut child = child::Child::start(program, Kind::Sealed).map_err(|e| e.to_string())?;
    child.ready().map_err(|lost| lost.to_string())
}
