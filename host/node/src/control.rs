//! How a running node is spoken to on its machine: HTTP/1.1 with JSON over the Unix socket `control.sock` in the runtime
//! folder.
//!
//! ```text
//! GET    /v1/status             NodeStatus      how it is
//! POST   /v1/pause              Pause           take no foreign task, or take them again
//! POST   /v1/drain                              finish what it has, take nothing new
//! POST   /v1/stop               Stop            end, after that or now
//! GET    /v1/asks               AsksDoc         questions that wait for a person
//! POST   /v1/asks/ID            Decision        the answer to one
//! POST   /v1/runs               Submit          make a run; the answer is a stream of its events
//! GET    /v1/runs               RunsDoc         its runs
//! GET    /v1/runs/ID/events                     the stream of a run's events, from the first that is kept
//! DELETE /v1/runs/ID                            end a run as Ctrl-C would
//! GET    /v1/tasks/NAME         TaskView        a task, live
//! GET    /v1/logs/TASK[?follow] LogLine…        the stream of what a task wrote
//! GET    /v1/peers              PeersDoc        its peers
//! POST   /v1/peers              PeerWish        trust, block, dial, disconnect
//! POST   /v1/ping/PEER          Pong            how long a peer takes to answer
//! ```
//!
//! Names in a path are percent-encoded. What has no answer but "done" is answered 204. A stream is one JSON document a
//! line; a line `{"skipped": N}` stands for lines that are missing. A no is status 400 or above with an
//! [`api::ErrorBody`].
//!
//! Whoever may connect may do everything, so the wall is around the socket: a folder of mode 0700, a socket of mode 0600,
//! and each peer's user id must be this process's own. There is no network here, no token, no other user. Everything is
//! bounded: connections, streams, headers, bodies, and the time that each may take.
//!
//! ```text
//! api.rs      the documents
//! request.rs  what the server asks the node's loop, one enum
//! feed.rs     lines with followers: a run's events
//! notice.rs   what a node says while it runs
//! door.rs     who serves: the lock and the socket
//! server.rs   connections → requests
//! routes.rs   paths and bodies → requests, answers → documents
//! client.rs   the other end, for the command line
//! ```
//!
//! It decides nothing about the mesh: the node's loop answers each [`Request`].

pub mod api;
mod client;
mod door;
mod feed;
mod notice;
mod percent;
mod request;
mod routes;
mod server;
#[cfg(test)]
mod tests;

pub use client::{Client, OnLine};
pub use door::{Door, running, socket_path};
pub use feed::{Feed, Follower, Item, MAX_BYTES, MAX_LINE_BYTES, MAX_LINES};
pub use notice::{Launched, Notice, Notices, notices};
pub use request::{Refused, RefusedKind, Reply, Request, Requests, Started, requests};
pub use server::Server;

use std::io;
use std::path::{Path, PathBuf};

use crate::paths::PathsError;

/// The longest body of a request, in bytes: a pipeline's text is the largest thing in one.
pub const MAX_BODY_BYTES: usize = 2 << 20;

/// Why a node cannot be spoken to, or what it said no to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// Nobody serves there.
    #[error("no node runs here ({} is not served)", socket.display())]
    NotRunning {
        /// The socket.
        socket: PathBuf,
    },
    /// Another node is this runtime folder's.
    #[error("a node runs here already{}", pid_text(*pid))]
    Running {
        /// Its process; 0 where it does not say.
        pid: u32,
    },
    /// Something that is no socket is where the socket should be.
    #[error("{} is no socket", path.display())]
    InTheWay {
        /// What.
        path: PathBuf,
    },
    /// The socket or the lock cannot be used.
    #[error("cannot use {}: {source}", path.display())]
    Socket {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The folder cannot be used.
    #[error(transparent)]
    Paths(#[from] PathsError),
    /// Whoever serves there is another user's process.
    #[error("{} is served by user {uid}, not by this one", socket.display())]
    Foreign {
        /// The socket.
        socket: PathBuf,
        /// Whose.
        uid: u32,
    },
    /// No answer in time.
    #[error("the node does not answer")]
    TimedOut,
    /// An answer that is none of this protocol's, or one that broke off.
    #[error("the node's answer cannot be used: {why}")]
    Answer {
        /// What is wrong with it.
        why: String,
    },
    /// The node said no.
    #[error("{}", .0.message)]
    Refused(Box<api::ErrorBody>),
    /// No runtime to serve or ask with.
    #[error("cannot start: {0}")]
    Runtime(io::Error),
}

fn pid_text(pid: u32) -> String {
    match pid {
        0 => String::new(),
        pid => format!(" (pid {pid})"),
    }
}

impl ControlError {
    fn socket(path: &Path, source: io::Error) -> ControlError {
        ControlError::Socket {
            path: path.to_owned(),
            source,
        }
    }

    fn answer(why: impl ToString) -> ControlError {
        ControlError::Answer {
            why: why.to_string(),
        }
    }

    /// Stable name of the kind of error; of a refusal, the node's own.
    #[must_use]
    pub fn code(&self) -> &str {
        match self {
            ControlError::NotRunning { .. } => "control::not-running",
            ControlError::Running { .. } => "control::running",
            ControlError::InTheWay { .. } => "control::in-the-way",
            ControlError::Socket { .. } => "control::socket",
            ControlError::Paths(_) => "node::folders",
            ControlError::Foreign { .. } => "control::foreign",
            ControlError::TimedOut => "control::timed-out",
            ControlError::Answer { .. } => "control::answer",
            ControlError::Refused(body) => &body.code,
            ControlError::Runtime(_) => "control::runtime",
        }
    }

    /// A way out; empty where the node gave none with its no.
    #[must_use]
    pub fn hint(&self) -> &str {
        match self {
            ControlError::NotRunning { .. } => "`sykli node start` starts one",
            ControlError::Running { .. } => {
                "`sykli node status` shows it, `sykli node stop` ends it"
            }
            ControlError::InTheWay { .. } => "move it away",
            ControlError::Socket { source, .. } if source.kind() == io::ErrorKind::InvalidInput => {
                "a socket's path is at most 107 bytes long: set XDG_RUNTIME_DIR to a shorter folder"
            }
            ControlError::Socket { .. } | ControlError::Paths(_) => {
                "make the runtime folder one that you own (chmod 0700), or set XDG_RUNTIME_DIR to another"
            }
            ControlError::Foreign { .. } => "set XDG_RUNTIME_DIR to a folder of your own",
            ControlError::TimedOut => "try again; `sykli node stop --now` ends it",
            ControlError::Answer { .. } => {
                "another version of sykli may be running: `sykli node stop`, then start it again"
            }
            ControlError::Refused(body) => body.hints.first().map_or("", String::as_str),
            ControlError::Runtime(_) => "the system gives no more threads or files: `ulimit -a`",
        }
    }

    /// Whether it means that no node runs here.
    #[must_use]
    pub fn is_not_running(&self) -> bool {
        matches!(self, ControlError::NotRunning { .. })
    }
}
