//! The guest's whole file system, as a plain data structure: mounts made from lazy sources, changes kept aside, quotas.
//!
//! **Invariants.** No path of the host exists here for a guest, in no argument, result or error. A source never
//! changes. What is answered depends only on the sources and on what the guest did before (order of entries, inode
//! numbers, timestamps), never on the host or the time. Nothing a guest does costs more than its quotas. There is no
//! wasmtime in it: `host/filesystem.rs` puts it behind `wasi:filesystem`, `sandbox.rs` makes it and collects from it.

mod changes;
mod collect;
mod error;
mod file;
mod node;
mod ops;
mod quota;
mod resolve;
mod source;
mod spool;
mod tree;

#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod tests;

pub use changes::{ChangedFile, Changes, Collected, Content};
pub use error::{FsError, FsResult};
pub use file::FileCell;
pub use node::FileType;
pub use ops::OpenOptions;
pub use quota::{HostError, Quota};
pub use source::{ReadAt, Source, read_file_onto};
pub use spool::{Lender, SpoolPlace, SpooledFile};
pub use tree::{DirSource, Entry, FlatFile, FlatIndex, FlatTree, MemDir, TreeError};

use std::sync::Arc;

use node::{NodeId, Nodes, Snapshot};
use quota::{Ledger, Memory};
use spool::Spool;

use crate::outcome::{Refusal, Refusals};

/// The longest name of an entry, in bytes.
pub const MAX_NAME_BYTES: usize = 255;
/// The longest path, in bytes.
pub const MAX_PATH_BYTES: usize = 4096;
/// Every timestamp a guest sees: 2000-01-01T00:00:00Z, in seconds since 1970.
pub const TIMESTAMP_SECONDS: u64 = 946_684_800;

/// Whether a guest may change a mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Every change is refused.
    ReadOnly,
    /// Changes are kept aside; the source never changes.
    ReadWrite,
}

/// A directory the guest is given.
#[derive(Clone)]
pub struct Mount {
    /// Where the guest finds it: `/in`, `.`, `/home/me/crate`, `/`. Mounts do not see each other, whatever their paths.
    pub guest_path: String,
    /// What it shows to begin with.
    pub dir: Arc<dyn DirSource>,
    /// Whether the guest may change it.
    pub access: Access,
    /// Whether what the guest changed is handed back ([`Vfs::finish`]).
    pub collect: bool,
}

struct MountState {
    guest_path: String,
    root: NodeId,
    access: Access,
    collect: bool,
    change_refused: bool,
}

/// An open file or directory. It has to be given back to [`Vfs::close`].
#[derive(Debug)]
pub struct Handle {
    node: NodeId,
    read: bool,
    write: bool,
}

impl Handle {
    /// Whether it is open for reading.
    pub fn can_read(&self) -> bool {
        self.read
    }

    /// Whether it is open for writing; for a directory, whether entries may be made in it.
    pub fn can_write(&self) -> bool {
        self.write
    }
}

/// What is known of a file, directory or link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// What it is.
    pub file_type: FileType,
    /// Names it has.
    pub links: u64,
    /// Length in bytes: of a file's content, of a link's target; 0 for a directory.
    pub size: u64,
    /// Unique in a run, and the same in every run that does the same.
    pub inode: u64,
}

/// A directory being read: its entries as they were when reading began, sorted by name.
pub struct DirStream {
    snapshot: Arc<Snapshot>,
    next: usize,
    fresh: bool,
}

impl DirStream {
    /// How many entries there were in all.
    pub fn len(&self) -> usize {
        self.snapshot.entries.len()
    }

    /// Whether there were none.
    pub fn is_empty(&self) -> bool {
        self.snapshot.entries.is_empty()
    }

    /// Whether the listing had to be made, which takes time in proportion to [`DirStream::len`].
    pub fn was_made(&self) -> bool {
        self.fresh
    }
}

impl Iterator for DirStream {
    type Item = (Arc<str>, FileType);

    fn next(&mut self) -> Option<Self::Item> {
        let (name, file_type) = self.snapshot.entries.get(self.next)?;
        self.next += 1;
        Some((name.clone(), *file_type))
    }
}

/// The file system of one run.
pub struct Vfs {
    nodes: Nodes,
    mounts: Vec<MountState>,
}

impl Vfs {
    /// A file system of these mounts.
    #[must_use]
    pub fn new(mounts: Vec<Mount>, quota: Quota) -> Vfs {
        Vfs::with_memory(mounts, &quota, Memory::default())
    }

    pub(crate) fn with_memory(mounts: Vec<Mount>, quota: &Quota, memory: Memory) -> Vfs {
        let mut nodes = Nodes::new(Ledger::new(quota, memory), Spool::new(quota.spool.clone()));
        let mut states = Vec::with_capacity(mounts.len());
        for (index, mount) in (0..u16::MAX).zip(mounts) {
            // Only ids run out, and not with 65,535 mounts.
            if let Ok(root) = nodes.add_dir(index, None, Some(mount.dir)) {
                states.push(MountState {
                    guest_path: mount.guest_path,
                    root,
                    access: mount.access,
                    collect: mount.collect,
                    change_refused: false,
                });
            }
        }
        Vfs {
            nodes,
            mounts: states,
        }
    }

    /// Takes the whole of it away; what stays is empty.
    pub(crate) fn take(&mut self) -> Vfs {
        let empty = Vfs {
            nodes: self.nodes.emptied(),
            mounts: Vec::new(),
        };
        std::mem::replace(self, empty)
    }

    /// A handle on each mount with the path the guest knows it by, in the order they were mounted.
    ///
    /// # Errors
    /// None that a run can cause.
    pub fn preopens(&mut self) -> FsResult<Vec<(Handle, String)>> {
        let mut handles = Vec::with_capacity(self.mounts.len());
        for mount in &self.mounts {
            self.nodes.opened(mount.root)?;
            let write = mount.access == Access::ReadWrite;
            handles.push((
                Handle {
                    node: mount.root,
                    read: true,
                    write,
                },
                mount.guest_path.clone(),
            ));
        }
        Ok(handles)
    }

    /// Whether the host failed to keep a guest's files. The run is then no result, whatever the guest made of it.
    pub fn host_error(&self) -> Option<HostError> {
        self.nodes.ledger.host_error()
    }

    /// Bytes the guest has written that count now, in all mounts.
    pub fn output_bytes(&self) -> u64 {
        self.nodes.ledger.bytes()
    }

    /// Entries the guest has made that count now, in all mounts.
    pub fn output_entries(&self) -> u32 {
        self.nodes.ledger.entries()
    }

    /// What was refused up to now: each once, bounded.
    pub fn refusals(&self) -> Vec<Refusal> {
        let mut refusals = Refusals::default();
        for refusal in self.nodes.ledger.refusals() {
            refusals.note(refusal);
        }
        for mount in self.mounts.iter().filter(|mount| mount.change_refused) {
            refusals.note(Refusal::ReadOnly {
                path: mount.guest_path.clone(),
            });
        }
        refusals.into_vec()
    }
}
