//! Bundles and outputs on their way between two nodes: pulled by who needs them, verified while they arrive.
//!
//! [`fetch`] asks over a stream for what a manifest or a tree reaches and the store lacks; [`serve`] answers. What goes
//! over the stream is [`sykli_core::blob`]'s. Any stream does: the node hands in libp2p's, tests a pair in memory.
//!
//! # What is verified, and when
//!
//! Digests are of the raw content, so that is what is verified. A blob of at most a part (256 KiB) is hashed whole. A
//! larger one is preceded by its outline, the BLAKE3 values of its chunk groups, which is held against the digest before
//! any content; then each group is held against its value as it arrives. Compression is per part, below verification:
//! each part is a zstd frame of its own or goes as it is, so a part is decompressed into exactly the bytes that it
//! announces, and resuming needs no state of a decompressor. A group is a part or, beyond 2 GiB, some parts.
//!
//! What is verified of a blob survives a broken connection and this process, and is not sent again.
//!
//! # What is bounded
//!
//! Bytes that flow (`cap`), at both ends by what really flows, frames and outlines included; what they unpack to
//! (`raw_cap`); wants under way; memory, less than 1 MiB a transfer beside the tools of whoever has a turn at [`Fair`];
//! and patience: each 16 KiB must move within `stall`. Hashing, compression and disk are never done on an async thread.
//!
//! What is small goes in messages instead (`inline.rs`), in the same frames and without a question before them.
//!
//! It never decides who may have what (`serve`'s `lookup` does) nor what a refusal means for a lease. Called by the
//! mesh node; bundle files are made of the same parts.

mod fair;
mod fetch;
mod inline;
mod pace;
mod pack;
mod pays;
mod reach;
mod receive;
mod send;
mod serve;
#[cfg(test)]
pub(crate) mod tests;

use std::sync::Arc;
use std::time::Duration;

use sykli_core::blob::FrameError;
use sykli_core::consent::{LostWhy, Offence};
use sykli_core::id::Digest;
use sykli_runtime::Source;

use crate::store::StoreError;

pub use fair::Fair;
pub use fetch::fetch;
pub(crate) use inline::{Opener, Taken, announced, frame, pack, take};
pub use pack::compressed_size;
pub(crate) use pack::most_bytes;
pub(crate) use pack::{Compressor, Scale, Unpacker};
pub(crate) use reach::{Item, Kind, Reach};
pub use serve::serve;
pub use sykli_core::blob::{Request, What};

/// Finds a blob that a request entitles to, and no other.
pub type Closure = Arc<dyn Fn(&Digest) -> Option<Source> + Send + Sync>;

/// What a provider gives for one request.
#[derive(Clone)]
pub struct Serving {
    /// Every blob that the requester may have.
    pub closure: Closure,
    /// The most bytes that may flow; `u64::MAX` for no bound, which also lets a part go as it is where the link is
    /// faster than compression.
    pub cap: u64,
    /// zstd level; 0 to compress nothing.
    pub level: i32,
}

/// What a requester gets itself into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The most bytes that may flow.
    pub cap: u64,
    /// The most bytes that they may unpack to.
    pub raw_cap: u64,
    /// How long the peer may take for 16 KiB.
    pub stall: Duration,
}

/// What is fetched, by what it begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Root {
    /// A task: its manifest, component, stdin, input trees and their files.
    Manifest(Digest),
    /// Outputs: a tree and its files.
    Tree(Digest),
    /// A result: the output tree and its files, where there is one, and what was written on both streams.
    Result {
        /// The output tree.
        tree: Option<Digest>,
        /// Standard output and standard error.
        streams: [Digest; 2],
    },
}

/// What a provider gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Served {
    /// Bytes that flowed.
    pub bytes: u64,
}

/// What a requester got: everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// Bytes that flowed.
    pub bytes: u64,
}

/// Why a transfer did not come to its end.
#[derive(Clone, Debug, thiserror::Error)]
pub enum TransferError {
    /// The stream ended or failed.
    #[error("the connection broke: {0}")]
    Broken(String),
    /// The peer neither sent nor took anything for too long.
    #[error("the peer stood still for {} ms", .0.as_millis())]
    Stalled(Duration),
    /// Nothing is given for this request.
    #[error("nothing is given for this lease")]
    Refused,
    /// A blob is not to be had from the provider.
    #[error("{0} is not to be had from the peer")]
    Gone(Digest),
    /// It would have been more than agreed, and so was ended.
    #[error("there is more than was agreed to flow")]
    Capped,
    /// The peer sent more than it may.
    #[error("the peer sent {0}")]
    Oversize(&'static str),
    /// What the peer sent is not what was asked for.
    #[error("what the peer sent for {0} is something else")]
    Wrong(Digest),
    /// The peer sent what is no frame, or none that can stand there.
    #[error("the peer does not keep to the protocol: {0}")]
    Malformed(#[from] FrameError),
    /// The store does not take it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// This process let it down.
    #[error("a worker thread ended")]
    Host,
}

impl TransferError {
    /// The stable code of this error.
    pub fn code(&self) -> &'static str {
        match self {
            TransferError::Broken(_) => "transfer::broken",
            TransferError::Stalled(_) => "transfer::stalled",
            TransferError::Refused => "transfer::refused",
            TransferError::Gone(_) => "transfer::gone",
            TransferError::Capped => "transfer::capped",
            TransferError::Oversize(_) => "transfer::oversize",
            TransferError::Wrong(_) => "transfer::wrong",
            TransferError::Malformed(_) => "transfer::malformed",
            TransferError::Store(error) => error.code(),
            TransferError::Host => "transfer::host",
        }
    }

    /// What a person can do.
    pub fn hint(&self) -> String {
        match self {
            TransferError::Broken(_) | TransferError::Stalled(_) => {
                "nothing: it goes on where it ended when the peer is back".to_owned()
            }
            TransferError::Refused | TransferError::Gone(_) => {
                "nothing: the lease ended meanwhile, or a file changed; the task is offered again"
                    .to_owned()
            }
            TransferError::Capped => {
                "raise max_artifact_mb under [consent], or let the task read and write less"
                    .to_owned()
            }
            TransferError::Oversize(_) | TransferError::Wrong(_) | TransferError::Malformed(_) => {
                "the peer is faulty or hostile; it is not dealt with again".to_owned()
            }
            TransferError::Store(error) => error.hint(),
            TransferError::Host => "report it, with the log of SYKLI_LOG=debug".to_owned(),
        }
    }

    /// Whether another attempt goes on where this one ended.
    pub fn is_resumable(&self) -> bool {
        matches!(self, TransferError::Broken(_) | TransferError::Stalled(_))
    }

    /// What it says of the peer, where no honest one would have let it come to this.
    pub fn offence(&self) -> Option<Offence> {
        match self {
            TransferError::Oversize(_) => Some(Offence::Oversize),
            TransferError::Wrong(_) | TransferError::Malformed(_) => Some(Offence::Malformed),
            _ => None,
        }
    }

    /// What an executor says of the attempt whose bundle this was.
    pub fn lost(&self) -> LostWhy {
        match self {
            TransferError::Store(_) => LostWhy::DiskFull,
            TransferError::Host => LostWhy::Unknown,
            _ => LostWhy::Bundle,
        }
    }
}

impl From<std::io::Error> for TransferError {
    fn from(error: std::io::Error) -> TransferError {
        TransferError::Broken(error.to_string())
    }
}
