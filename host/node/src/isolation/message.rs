//! What a process and its child say to each other. Plain data; [`super::frame`] carries it.
//!
//! A child asks, its parent answers; only what a guest writes and how far it is comes unasked. The parent believes none of
//! it. Never part of the wire between nodes: both ends are one program.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use sykli_runtime::{Floats, Grant, Refusal, Status, TaskInfo, Usage};

use super::Confinement;

/// A task as a child gets it. Its inputs are asked for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Job {
    /// Of the component.
    pub(crate) component: [u8; 32],
    pub(crate) floats: Floats,
    pub(crate) grant: Grant,
    pub(crate) args: Vec<String>,
    pub(crate) env: Vec<(String, String)>,
    pub(crate) seed: [u8; 32],
    pub(crate) task: TaskInfo,
    /// Bytes of standard input.
    pub(crate) stdin_bytes: u64,
    /// Where each input tree is seen below `/in`.
    pub(crate) inputs: Vec<String>,
    /// Bytes of all input trees, as they are encoded.
    pub(crate) tree_bytes: u64,
}

/// What a child tries to reach, to see that it cannot.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Ways {
    /// A file that its parent can read and write.
    pub(super) file: String,
    /// Where somebody listens.
    pub(super) address: SocketAddr,
    /// Its parent.
    pub(super) parent: u32,
}

/// From parent to child.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum ToChild {
    /// Compile the component that is the body, or the descriptor.
    Compile {
        floats: Floats,
        /// Where it is the descriptor.
        bytes: Option<u64>,
    },
    /// Run this; the descriptor is its code.
    Run {
        job: Box<Job>,
        description: String,
        code_bytes: u64,
    },
    /// Run this, which is nobody's and does nothing, so that what a task needs has been needed before; the descriptor is its
    /// code.
    Rehearse {
        component: [u8; 32],
        description: String,
        code_bytes: u64,
    },
    /// Try each way out, and say which are open.
    Try(Ways),
    /// What was asked for is the body.
    Here,
    /// What was asked for is the descriptor.
    Lent,
    /// A temporary file: the descriptor.
    Spool { number: u32 },
    /// What was asked for cannot be had.
    Missing {
        message: String,
        /// For want of room.
        full: bool,
    },
}

/// From child to parent.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum ToParent {
    /// It waits to be told what to do.
    Ready { given_up: Confinement },
    /// It has rehearsed.
    Rehearsed,
    /// The ways out that are open.
    Open { ways: Vec<String> },

    /// Asks for an input tree.
    Tree { index: usize },
    /// Asks for standard input.
    Stdin,
    /// Asks for a file of an input tree.
    File { tree: usize, entry: usize },
    /// Asks for a new temporary file.
    NewSpool,
    /// Asks for one again.
    Spool { number: u32 },
    /// Needs one no more.
    DropSpool { number: u32 },

    /// The guest wrote the body to standard output.
    Stdout,
    /// The same to standard error.
    Stderr,
    /// The guest said how far it is.
    Progress {
        done: u64,
        total: u64,
        message: String,
    },

    /// The body is more of what is kept of a stream.
    Kept { stderr: bool },
    /// A file that the guest left.
    Left {
        path: String,
        executable: bool,
        content: Content,
    },
    /// The body is more of the last file.
    More,
    /// How it ended: the last message.
    Ended {
        status: Status,
        usage: Usage,
        /// Bytes of standard output and standard error beyond what was kept.
        dropped: [u64; 2],
        refusals: Vec<Refusal>,
    },

    /// The component is compiled; its code follows.
    Compiled {
        description: String,
        code_bytes: u64,
    },
    /// The body is more of the code.
    Code,
    /// The component cannot be compiled.
    Refused { message: String },
}

/// Where the content of a file is that a guest left.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Content {
    /// In this message's body and those after it.
    Inline { bytes: u64 },
    /// In a temporary file.
    Spooled { number: u32 },
    /// The same as that of an inline file before, counted from 0.
    Same { inline: usize },
}
