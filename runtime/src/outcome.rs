//! What one run came to: how it ended, what it used, what it left behind and what it was refused.
//!
//! Plain data made by the sandbox, read by its caller. It says what happened and never what to do about it: whether an
//! end is a verdict, worth a retry or worth a cache entry is decided elsewhere.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::vfs::Changes;

/// Everything one run came to.
#[derive(Debug)]
pub struct Outcome {
    /// How it ended.
    pub status: Status,
    /// What it used.
    pub usage: Usage,
    /// What it changed, one item per mount with `collect`.
    pub changes: Vec<Changes>,
    /// The first bytes of its standard output.
    pub stdout: Captured,
    /// The first bytes of its standard error.
    pub stderr: Captured,
    /// What it asked for and was refused, each once, in order of the first time.
    pub refusals: Vec<Refusal>,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    /// The guest returned or exited with this code; 0 is success.
    Exited(i32),
    /// The guest did what WebAssembly or a host interface forbids.
    Trapped {
        /// What it did.
        kind: TrapKind,
        /// One line for a person.
        message: String,
        /// Innermost frame first, one line each, names demangled.
        backtrace: Vec<String>,
    },
    /// The guest met a bound of its grant.
    Limit(Limit),
    /// The wall time of the grant was over. Not a verdict about the guest.
    TimedOut {
        /// The time that was granted.
        limit: Duration,
    },
    /// The caller cancelled the run.
    Cancelled,
    /// The host failed the guest (out of memory, a fault of ours). Not a verdict about the guest.
    HostFault {
        /// One line for a person.
        message: String,
    },
    /// The host had no space left for the files that the guest wrote. Not a verdict about the guest.
    NoSpace {
        /// One line for a person.
        message: String,
    },
}

impl Status {
    /// Whether the guest ended by itself with success.
    #[must_use]
    pub fn is_success(&self) -> bool {
        matches!(self, Self::Exited(0))
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(0) => f.write_str("succeeded"),
            Self::Exited(code) => write!(f, "exited with code {code}"),
            Self::Trapped { message, .. } => write!(f, "trapped: {message}"),
            Self::Limit(limit) => limit.fmt(f),
            Self::TimedOut { limit } => write!(f, "timed out after {limit:?}"),
            Self::Cancelled => f.write_str("cancelled"),
            Self::HostFault { message } => write!(f, "the host failed: {message}"),
            Self::NoSpace { message } => write!(f, "the host has no space left: {message}"),
        }
    }
}

/// What a trapped guest did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TrapKind {
    /// `unreachable`: a panic or abort of the guest's own language.
    Unreachable,
    /// An access beyond its linear memory.
    MemoryOutOfBounds,
    /// An access beyond a table.
    TableOutOfBounds,
    /// A call through a null or wrongly typed function pointer.
    BadIndirectCall,
    /// A division by zero, an overflow or a conversion that has no result.
    Arithmetic,
    /// A host interface used against its contract (a dropped handle, a buffer too large).
    HostCall,
    /// Anything else.
    Other,
}

/// The bound of a grant, or of every run, that a guest met.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Limit {
    /// Every unit of fuel is used.
    Fuel {
        /// Granted units.
        limit: u64,
    },
    /// Growing memory was refused, and the guest ended because of it.
    Memory {
        /// Granted bytes over all memories.
        limit: u64,
        /// Bytes it would have taken.
        wanted: u64,
    },
    /// The call stack is used up (endless recursion, or frames too large).
    Stack {
        /// Bytes of stack a guest has.
        limit: u64,
    },
    /// Too many open handles: files, streams, sockets, pollables.
    Handles {
        /// Handles a guest may have open.
        limit: u32,
    },
    /// Too many linear memories.
    Memories {
        /// Memories a guest may have.
        limit: u32,
    },
    /// Too many tables, or too many elements in them.
    Tables {
        /// Tables a guest may have.
        limit: u32,
        /// Elements all of them may have together.
        elements: u32,
    },
    /// Too many core instances in the component.
    Instances {
        /// Instances a guest may have.
        limit: u32,
    },
    /// More data than one call to the host may carry.
    CallData {
        /// Bytes one call may carry.
        limit: u64,
    },
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fuel { limit } => write!(f, "used all of its {limit} units of fuel"),
            Self::Memory { limit, wanted } => {
                write!(
                    f,
                    "needs {wanted} bytes of memory, more than its limit of {limit}"
                )
            }
            Self::Stack { limit } => write!(f, "used all of its stack ({limit} bytes)"),
            Self::Handles { limit } => write!(f, "opened more than {limit} handles"),
            Self::Memories { limit } => write!(f, "has more than {limit} linear memories"),
            Self::Tables { limit, elements } => {
                write!(
                    f,
                    "has more than {limit} tables or {elements} table elements"
                )
            }
            Self::Instances { limit } => write!(f, "has more than {limit} core instances"),
            Self::CallData { limit } => {
                write!(f, "passed more than {limit} bytes to the host in one call")
            }
        }
    }
}

/// What a run used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Units of fuel.
    pub fuel: u64,
    /// The most linear memory at any time, in bytes over all memories.
    pub peak_memory_bytes: u64,
    /// Wall time from the first byte of set-up to the last of tear-down.
    pub wall: Duration,
    /// Bytes in the files it wrote.
    pub output_bytes: u64,
    /// Files, folders and links it created.
    pub output_entries: u32,
}

/// The kept beginning of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Captured {
    /// What was kept.
    pub bytes: Vec<u8>,
    /// How many bytes came after it.
    pub dropped_bytes: u64,
}

/// Something a guest asked for and was refused without being ended; enough to print the line that would grant it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// A connection or a name look-up.
    Net {
        /// The name or address.
        host: String,
        /// The port; none for a name look-up.
        port: Option<u16>,
    },
    /// Memory beyond the grant.
    Memory {
        /// Granted bytes.
        limit: u64,
        /// Bytes it would have taken.
        wanted: u64,
    },
    /// Bytes beyond the output quota.
    OutputBytes {
        /// Granted bytes.
        limit: u64,
    },
    /// Entries beyond the output quota.
    OutputEntries {
        /// Granted entries.
        limit: u32,
    },
    /// A write to what is mounted read-only.
    ReadOnly {
        /// The path as the guest sees it.
        path: String,
    },
    /// A link in a collected mount that points to no file inside it: it is left out of what is collected.
    Link {
        /// The path as the guest sees it.
        path: String,
        /// Where it points.
        target: String,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Net {
                host,
                port: Some(port),
            } => write!(f, "network access to {host}:{port} is not granted"),
            Self::Net { host, port: None } => write!(f, "network access to {host} is not granted"),
            Self::Memory { limit, wanted } => {
                write!(
                    f,
                    "{wanted} bytes of memory were refused: the limit is {limit}"
                )
            }
            Self::OutputBytes { limit } => write!(
                f,
                "a write was refused: the limit of {limit} bytes is reached"
            ),
            Self::OutputEntries { limit } => {
                write!(
                    f,
                    "a new entry was refused: the limit of {limit} entries is reached"
                )
            }
            Self::ReadOnly { path } => write!(f, "`{path}` is read-only"),
            Self::Link { path, target } => {
                write!(
                    f,
                    "the link `{path}` points to `{target}`, no file of this mount: left out"
                )
            }
        }
    }
}

/// The refusals of one run: each once, a bounded number of them.
#[derive(Debug, Default)]
pub struct Refusals(Vec<Refusal>);

impl Refusals {
    /// How many different refusals are kept.
    pub const MAX: usize = 64;

    /// Notes one, unless it is known or the list is full. Of memory only the largest request is kept.
    pub fn note(&mut self, refusal: Refusal) {
        if let Refusal::Memory { wanted: new, .. } = refusal {
            for known in &mut self.0 {
                if let Refusal::Memory { wanted, .. } = known {
                    *wanted = new.max(*wanted);
                    return;
                }
            }
        }
        if self.0.len() < Self::MAX && !self.0.contains(&refusal) {
            self.0.push(refusal);
        }
    }

    /// The list, in order of the first time.
    #[must_use]
    pub fn into_vec(self) -> Vec<Refusal> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_deduplicated_and_bounded() {
        let mut refusals = Refusals::default();
        for port in 0..1000u16 {
            for _ in 0..2 {
                refusals.note(Refusal::Net {
                    host: "h".into(),
                    port: Some(port),
                });
            }
        }
        assert_eq!(refusals.into_vec().len(), Refusals::MAX);
    }

    #[test]
    fn the_largest_memory_request_is_kept() {
        let mut refusals = Refusals::default();
        for wanted in [5, 9, 7] {
            refusals.note(Refusal::Memory { limit: 1, wanted });
        }
        assert_eq!(
            refusals.into_vec(),
            [Refusal::Memory {
                limit: 1,
                wanted: 9
            }]
        );
    }
}
