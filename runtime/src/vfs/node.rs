//! The tree: nodes in a slab, directories as a lazy source with what the guest changed laid over it.
//!
//! A directory's source is asked for one name when one is looked up, and for all of them once, when it is listed or has
//! to be known empty. Nodes exist for what was touched. A node goes when neither a name nor a handle holds it. Nothing
//! here checks permissions or paths: that is `ops.rs` and `resolve.rs`.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use super::error::{FsError, FsResult};
use super::file::FileCell;
use super::quota::{Ledger, ListingHold};
use super::spool::Spool;
use super::tree::{DirSource, Entry, is_valid_name};

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileType {
    /// A directory.
    Directory,
    /// A regular file.
    File,
    /// A symbolic link.
    Symlink,
}

/// A slot of the slab.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct NodeId(u32);

pub(crate) struct Node {
    pub(crate) kind: Kind,
    /// Which mount it belongs to.
    pub(crate) mount: u16,
    /// Unique in a run, by order of first touch: the same for the same run.
    pub(crate) inode: u64,
    /// Names it has (a mount's root counts as named).
    pub(crate) links: u64,
    /// Handles open on it.
    pub(crate) opens: u32,
}

pub(crate) enum Kind {
    File {
        cell: Arc<FileCell>,
        executable: bool,
    },
    Dir(Dir),
    /// `made` by the guest: its target is then counted.
    Symlink {
        target: Arc<str>,
        made: bool,
    },
}

pub(crate) struct Dir {
    /// The directory it is in; itself for a root.
    pub(crate) parent: Option<NodeId>,
    /// What is asked for names that are not in `slots`; none once everything is there.
    pub(crate) source: Option<Arc<dyn DirSource>>,
    pub(crate) slots: BTreeMap<Arc<str>, Slot>,
    snapshot: Weak<Snapshot>,
}

/// What is known of one name in a directory.
pub(crate) struct Slot {
    /// What the source has under it.
    pub(crate) base: Option<FileType>,
    pub(crate) now: Now,
}

pub(crate) enum Now {
    /// The guest took it away.
    Gone,
    /// As the source has it, not touched.
    Untouched(Entry),
    /// A node; `original` while it is what the source has under this name.
    Node { id: NodeId, original: bool },
}

/// The entries of a directory when it was opened for reading, by name.
pub(crate) struct Snapshot {
    pub(crate) entries: Vec<(Arc<str>, FileType)>,
    _hold: ListingHold,
}

pub(crate) struct Nodes {
    slab: Vec<Option<Node>>,
    free: Vec<NodeId>,
    next_inode: u64,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) spool: Arc<Spool>,
}

fn type_of(entry: &Entry) -> FileType {
    match entry {
        Entry::File { .. } => FileType::File,
        Entry::Dir(_) => FileType::Directory,
        Entry::Symlink(_) => FileType::Symlink,
    }
}

impl Node {
    pub(crate) fn file_type(&self) -> FileType {
        match &self.kind {
            Kind::File { .. } => FileType::File,
            Kind::Dir(_) => FileType::Directory,
            Kind::Symlink { .. } => FileType::Symlink,
        }
    }
}

impl Nodes {
    pub(crate) fn new(ledger: Arc<Ledger>, spool: Arc<Spool>) -> Nodes {
        Nodes {
            slab: Vec::new(),
            free: Vec::new(),
            next_inode: 1,
            ledger,
            spool,
        }
    }

    /// None of the nodes, with the same bounds.
    pub(crate) fn emptied(&self) -> Nodes {
        Nodes::new(Arc::clone(&self.ledger), Arc::clone(&self.spool))
    }

    /// Slots in use or once used; what the tree holds in memory.
    #[cfg(test)]
    pub(crate) fn slots(&self) -> usize {
        self.slab.len()
    }

    pub(crate) fn get(&self, id: NodeId) -> FsResult<&Node> {
        self.slab
            .get(id.0 as usize)
            .and_then(Option::as_ref)
            .ok_or(FsError::BadDescriptor)
    }

    pub(crate) fn get_mut(&mut self, id: NodeId) -> FsResult<&mut Node> {
        self.slab
            .get_mut(id.0 as usize)
            .and_then(Option::as_mut)
            .ok_or(FsError::BadDescriptor)
    }

    pub(crate) fn dir(&self, id: NodeId) -> FsResult<&Dir> {
        match &self.get(id)?.kind {
            Kind::Dir(dir) => Ok(dir),
            _ => Err(FsError::NotDirectory),
        }
    }

    pub(crate) fn dir_mut(&mut self, id: NodeId) -> FsResult<&mut Dir> {
        match &mut self.get_mut(id)?.kind {
            Kind::Dir(dir) => Ok(dir),
            _ => Err(FsError::NotDirectory),
        }
    }

    pub(crate) fn add(&mut self, mount: u16, kind: Kind) -> FsResult<NodeId> {
        let node = Node {
            kind,
            mount,
            inode: self.next_inode,
            links: 1,
            opens: 0,
        };
        self.next_inode += 1;
        if let Some(id) = self.free.pop()
            && let Some(slot) = self.slab.get_mut(id.0 as usize)
        {
            *slot = Some(node);
            return Ok(id);
        }
        let id = NodeId(u32::try_from(self.slab.len()).map_err(|_| FsError::Quota)?);
        self.slab.push(Some(node));
        Ok(id)
    }

    pub(crate) fn add_dir(
        &mut self,
        mount: u16,
        parent: Option<NodeId>,
        source: Option<Arc<dyn DirSource>>,
    ) -> FsResult<NodeId> {
        let dir = Dir {
            parent,
            source,
            slots: BTreeMap::new(),
            snapshot: Weak::new(),
        };
        self.add(mount, Kind::Dir(dir))
    }

    fn add_entry(&mut self, mount: u16, parent: NodeId, entry: Entry) -> FsResult<NodeId> {
        match entry {
            Entry::File { source, executable } => {
                let cell = FileCell::base(source, &self.ledger, &self.spool);
                self.add(mount, Kind::File { cell, executable })
            }
            Entry::Dir(source) => self.add_dir(mount, Some(parent), Some(source)),
            Entry::Symlink(target) => self.add(
                mount,
                Kind::Symlink {
                    target: target.into(),
                    made: false,
                },
            ),
        }
    }

    pub(crate) fn opened(&mut self, id: NodeId) -> FsResult<()> {
        self.get_mut(id)?.opens += 1;
        Ok(())
    }

    pub(crate) fn closed(&mut self, id: NodeId) {
        if let Ok(node) = self.get_mut(id) {
            node.opens = node.opens.saturating_sub(1);
        }
        self.drop_if_unused(id);
    }

    fn drop_if_unused(&mut self, id: NodeId) {
        let Some(slot) = self.slab.get_mut(id.0 as usize) else {
            return;
        };
        if let Some(node) = slot.take_if(|node| node.links == 0 && node.opens == 0) {
            if let Kind::Symlink { target, made: true } = &node.kind {
                let _shrinks = self.ledger.change_bytes(target.len() as u64, 0);
            }
            self.free.push(id);
        }
    }

    /// The node under `name`, made from the source when it is first touched.
    pub(crate) fn lookup(&mut self, dir: NodeId, name: &str) -> FsResult<Option<NodeId>> {
        let mount = self.get(dir)?.mount;
        let found = self.dir(dir)?;
        let entry = match found.slots.get(name) {
            Some(Slot {
                now: Now::Node { id, .. },
                ..
            }) => return Ok(Some(*id)),
            Some(Slot { now: Now::Gone, .. }) => return Ok(None),
            Some(Slot {
                now: Now::Untouched(entry),
                ..
            }) => entry.clone(),
            None => {
                let Some(source) = &found.source else {
                    return Ok(None);
                };
                match source.get(name).map_err(|e| self.ledger.read_failed(&e))? {
                    Some(entry) => entry,
                    None => return Ok(None),
                }
            }
        };
        let base = Some(type_of(&entry));
        let id = self.add_entry(mount, dir, entry)?;
        let slot = Slot {
            base,
            now: Now::Node { id, original: true },
        };
        self.dir_mut(dir)?.slots.insert(name.into(), slot);
        Ok(Some(id))
    }

    /// Asks the source for everything it has, once.
    pub(crate) fn expand(&mut self, id: NodeId) -> FsResult<()> {
        let Some(source) = &self.dir(id)?.source else {
            return Ok(());
        };
        let listed = source.list().map_err(|e| self.ledger.read_failed(&e))?;
        let dir = self.dir_mut(id)?;
        let mut slots: BTreeMap<Arc<str>, Slot> = listed
            .into_iter()
            .filter(|(name, _)| is_valid_name(name))
            .map(|(name, entry)| {
                (
                    name.into(),
                    Slot {
                        base: Some(type_of(&entry)),
                        now: Now::Untouched(entry),
                    },
                )
            })
            .collect();
        slots.append(&mut dir.slots);
        dir.slots = slots;
        dir.source = None;
        Ok(())
    }

    pub(crate) fn is_dir_empty(&mut self, id: NodeId) -> FsResult<bool> {
        let is_there = |slot: &Slot| !matches!(slot.now, Now::Gone);
        if self.dir(id)?.slots.values().any(is_there) {
            return Ok(false);
        }
        self.expand(id)?;
        Ok(!self.dir(id)?.slots.values().any(is_there))
    }

    /// The entries of a directory as they are now; shared while it does not change. Answers too whether it was made
    /// anew, which takes time in proportion.
    pub(crate) fn snapshot(&mut self, id: NodeId) -> FsResult<(Arc<Snapshot>, bool)> {
        if let Some(snapshot) = self.dir(id)?.snapshot.upgrade() {
            return Ok((snapshot, false));
        }
        self.expand(id)?;
        let dir = self.dir(id)?;
        let hold = self.ledger.hold_listing(dir.slots.len())?;
        let mut entries = Vec::with_capacity(dir.slots.len());
        for (name, slot) in &dir.slots {
            match &slot.now {
                Now::Gone => {}
                Now::Untouched(entry) => entries.push((name.clone(), type_of(entry))),
                Now::Node { id, .. } => entries.push((name.clone(), self.get(*id)?.file_type())),
            }
        }
        let snapshot = Arc::new(Snapshot {
            entries,
            _hold: hold,
        });
        self.dir_mut(id)?.snapshot = Arc::downgrade(&snapshot);
        Ok((snapshot, true))
    }

    /// Gives `dir` the name `name` for node `id`; the name must be free. The caller counts the link.
    pub(crate) fn attach(&mut self, dir: NodeId, name: &str, id: NodeId) -> FsResult<()> {
        if let Kind::Dir(moved) = &mut self.get_mut(id)?.kind {
            moved.parent = Some(dir);
        }
        let parent = self.dir_mut(dir)?;
        parent.snapshot = Weak::new();
        let now = Now::Node {
            id,
            original: false,
        };
        match parent.slots.get_mut(name) {
            Some(slot) => slot.now = now,
            None => {
                parent.slots.insert(name.into(), Slot { base: None, now });
            }
        }
        Ok(())
    }

    /// Whether the name is still what the source has; if not, it counts as an entry made.
    pub(crate) fn is_original(&self, dir: NodeId, name: &str) -> FsResult<bool> {
        let slot = self.dir(dir)?.slots.get(name).ok_or(FsError::NoEntry)?;
        Ok(!matches!(
            slot.now,
            Now::Gone
                | Now::Node {
                    original: false,
                    ..
                }
        ))
    }

    /// Takes the name away, not the node. A name the source has is remembered as gone.
    pub(crate) fn detach(&mut self, dir: NodeId, name: &str) -> FsResult<()> {
        let parent = self.dir_mut(dir)?;
        parent.snapshot = Weak::new();
        match parent.slots.get_mut(name) {
            Some(slot) if slot.base.is_some() => slot.now = Now::Gone,
            _ => {
                parent.slots.remove(name);
            }
        }
        Ok(())
    }

    /// Counts one more name for a node.
    pub(crate) fn add_link(&mut self, id: NodeId) -> FsResult<()> {
        let node = self.get_mut(id)?;
        if let Kind::File { cell, .. } = &node.kind {
            cell.add_link()?;
        }
        node.links += 1;
        Ok(())
    }

    /// Counts one name less for a node, which goes when that was the last and no handle holds it.
    pub(crate) fn remove_link(&mut self, id: NodeId) -> FsResult<()> {
        let node = self.get_mut(id)?;
        node.links = node.links.saturating_sub(1);
        if let Kind::File { cell, .. } = &node.kind {
            cell.remove_link();
        }
        self.drop_if_unused(id);
        Ok(())
    }
}
