//! The end of a run: what the guest left in the mounts that are collected.
//!
//! Only what was touched is walked, except in directories that were moved, whose every file is somewhere else now.
//! Paths too long to be used and links that lead nowhere are left out and said so. Called once, when a run is over.

use std::collections::BTreeMap;
use std::io;

use super::changes::{ChangedFile, Changes, Collected, Content};
use super::error::FsError;
use super::node::{FileType, Kind, NodeId, Now};
use super::quota::HostError;
use super::resolve::LastLink;
use super::{MAX_PATH_BYTES, Vfs};
use crate::outcome::{Refusal, Refusals};

/// A directory still to be walked.
struct Todo {
    dir: NodeId,
    /// Its path with a `/` at the end; empty for the root.
    path: String,
    /// It is not where the source has it: everything in it is new here.
    moved: bool,
}

/// The walk of one mount.
struct Walk<'a> {
    vfs: &'a mut Vfs,
    changes: Changes,
    todo: Vec<Todo>,
    links: Vec<String>,
    /// Contents already taken, for files of several names.
    taken: BTreeMap<NodeId, Content>,
    dropped: Vec<Refusal>,
}

impl Vfs {
    /// Ends the run: what the guest changed in the mounts that are collected. Handles and streams still open lose
    /// their files.
    ///
    /// # Errors
    /// When the host failed, now or during the run.
    pub fn finish(mut self) -> Result<Collected, HostError> {
        let (output_bytes, output_entries) = (self.output_bytes(), self.output_entries());
        let wanted: Vec<_> = self
            .mounts
            .iter()
            .filter(|mount| mount.collect)
            .map(|m| (m.root, m.guest_path.clone()))
            .collect();
        let mut changes = Vec::with_capacity(wanted.len());
        let mut dropped = Vec::new();
        for (root, guest_path) in wanted {
            let mut walk = Walk {
                vfs: &mut self,
                changes: Changes {
                    guest_path,
                    files: Vec::new(),
                    removed: Vec::new(),
                },
                todo: vec![Todo {
                    dir: root,
                    path: String::new(),
                    moved: false,
                }],
                links: Vec::new(),
                taken: BTreeMap::new(),
                dropped: Vec::new(),
            };
            walk.run(root)
                .map_err(|error| HostError::new("collecting outputs", &error))?;
            let Walk {
                changes: mut found,
                dropped: mut lost,
                ..
            } = walk;
            found.files.sort_by(|a, b| a.path.cmp(&b.path));
            found.removed.sort();
            changes.push(found);
            dropped.append(&mut lost);
        }
        if let Some(error) = self.host_error() {
            return Err(error);
        }
        let mut refusals = Refusals::default();
        for refusal in self.refusals().into_iter().chain(dropped) {
            refusals.note(refusal);
        }
        Ok(Collected {
            changes,
            refusals: refusals.into_vec(),
            output_bytes,
            output_entries,
        })
    }
}

impl From<FsError> for io::Error {
    fn from(error: FsError) -> io::Error {
        io::Error::other(error)
    }
}

/// What one name of a directory asks of the walk.
struct Visit {
    name: std::sync::Arc<str>,
    /// It is not what the source has there.
    is_new: bool,
    /// The source has something else there, and what.
    replaces: Option<FileType>,
}

impl Walk<'_> {
    fn run(&mut self, root: NodeId) -> io::Result<()> {
        while let Some(todo) = self.todo.pop() {
            self.dir(&todo)?;
        }
        let mut total = self.vfs.output_bytes();
        for path in std::mem::take(&mut self.links) {
            self.link(root, path, &mut total)?;
        }
        Ok(())
    }

    fn dir(&mut self, todo: &Todo) -> io::Result<()> {
        if todo.moved {
            self.vfs.nodes.expand(todo.dir)?;
        }
        let mut visits = Vec::new();
        for (name, slot) in &self.vfs.nodes.dir(todo.dir)?.slots {
            let base = slot.base.filter(|_| !todo.moved);
            let is_new = match slot.now {
                Now::Gone => {
                    if base.is_some() {
                        self.changes.removed.push(format!("{}{name}", todo.path));
                    }
                    continue;
                }
                Now::Untouched(_) if !todo.moved => continue,
                Now::Untouched(_) => true,
                Now::Node { original, .. } => todo.moved || !original,
            };
            visits.push(Visit {
                name: name.clone(),
                is_new,
                replaces: base.filter(|_| is_new),
            });
        }
        for visit in visits {
            let path = format!("{}{}", todo.path, visit.name);
            if let Some(id) = self.vfs.nodes.lookup(todo.dir, &visit.name)? {
                let is_file = self.node(id, &path, visit.is_new)?;
                if visit
                    .replaces
                    .is_some_and(|base| !(is_file && base == FileType::File))
                {
                    self.changes.removed.push(path);
                }
            }
        }
        Ok(())
    }

    /// Takes what is at `path`; answers whether it is a file.
    fn node(&mut self, id: NodeId, path: &str, is_new: bool) -> io::Result<bool> {
        if path.len() > MAX_PATH_BYTES {
            let target = format!("a path of {} bytes", path.len());
            self.drop_link(path.chars().take(80).collect(), target);
            return Ok(false);
        }
        match &self.vfs.nodes.get(id)?.kind {
            Kind::Dir(_) => self.todo.push(Todo {
                dir: id,
                path: format!("{path}/"),
                moved: is_new,
            }),
            Kind::Symlink { .. } if is_new => self.links.push(path.to_owned()),
            Kind::Symlink { .. } => {}
            Kind::File { cell, .. } if !is_new && !cell.is_own() => return Ok(true),
            Kind::File { executable, .. } => {
                let executable = *executable;
                let content = self.content(id)?;
                self.changes.files.push(ChangedFile {
                    path: path.to_owned(),
                    content,
                    executable,
                });
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn drop_link(&mut self, path: String, target: String) {
        if self.dropped.len() < Refusals::MAX {
            let path = format!("{}/{path}", self.changes.guest_path.trim_end_matches('/'));
            self.dropped.push(Refusal::Link { path, target });
        }
    }

    fn content(&mut self, id: NodeId) -> io::Result<Content> {
        if let Some(content) = self.taken.get(&id) {
            return Ok(content.clone());
        }
        let Kind::File { cell, .. } = &self.vfs.nodes.get(id)?.kind else {
            return Err(FsError::BadDescriptor.into());
        };
        let content = cell.content()?;
        self.taken.insert(id, content.clone());
        Ok(content)
    }

    /// A link the guest made becomes the file it leads to, as far as the quota goes.
    fn link(&mut self, root: NodeId, path: String, total: &mut u64) -> io::Result<()> {
        let nodes = &mut self.vfs.nodes;
        let found = nodes
            .resolve(root, &path, LastLink::Follow)
            .and_then(|found| found.existing(nodes));
        if let Ok(id) = found
            && let Kind::File { executable, .. } = &nodes.get(id)?.kind
        {
            let executable = *executable;
            let content = self.content(id)?;
            *total = total.saturating_add(content.len());
            if !self.vfs.nodes.ledger.exceeds(*total) {
                self.changes.files.push(ChangedFile {
                    path,
                    content,
                    executable,
                });
            }
            return Ok(());
        }
        let link = nodes
            .resolve(root, &path, LastLink::Stop)?
            .existing(nodes)?;
        let target = match &nodes.get(link)?.kind {
            Kind::Symlink { target, .. } => target.to_string(),
            _ => String::new(),
        };
        self.drop_link(path, target);
        Ok(())
    }
}
