//! What a guest can do to its files: the operations of `wasi:filesystem`, with the errors POSIX gives for them.
//!
//! Paths are walked by `resolve.rs` only; here it is decided what is allowed and in which order errors come. Called by
//! `host/filesystem.rs`, each time for one call of a guest.

use std::sync::Arc;

use bytes::Bytes;

use super::error::{FsError, FsResult};
use super::file::FileCell;
use super::node::{FileType, Kind, NodeId};
use super::resolve::{Found, Last, LastLink, check_target};
use super::{Access, DirStream, Handle, Stat, Vfs};

/// How a file is opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "they are the interface's flags, each on its own"
)]
pub struct OpenOptions {
    /// Follow a symbolic link at the end of the path.
    pub follow: bool,
    /// Make the file if there is none.
    pub create: bool,
    /// Refuse anything but a directory.
    pub directory: bool,
    /// With `create`: refuse what exists.
    pub exclusive: bool,
    /// Empty the file.
    pub truncate: bool,
    /// Open for reading. Assumed where `write` is not asked for.
    pub read: bool,
    /// Open for writing.
    pub write: bool,
}

fn follow(follow: bool) -> LastLink {
    if follow {
        LastLink::Follow
    } else {
        LastLink::StopUnlessSlash
    }
}

impl Vfs {
    // --- handles

    /// Opens what `path` leads to from the directory `base`.
    ///
    /// # Errors
    /// As `openat` of POSIX; [`FsError::ReadOnly`] where it would make or change something in a read-only mount.
    pub fn open_at(&mut self, base: &Handle, path: &str, options: OpenOptions) -> FsResult<Handle> {
        if options.directory && (options.create || options.exclusive || options.truncate) {
            return Err(FsError::Invalid);
        }
        let exclusive = options.create && options.exclusive;
        let found = self
            .nodes
            .resolve(base.node, path, follow(options.follow && !exclusive))?;
        let wants_write = options.write || options.truncate;
        match &found.last {
            Last::Name { node: Some(_), .. } | Last::Here(_) | Last::Above(_) if exclusive => {
                Err(FsError::Exist)
            }
            Last::Name {
                parent,
                name,
                node: None,
            } if options.create => {
                if found.wants_dir {
                    return Err(FsError::IsDirectory);
                }
                self.check_writable(*parent)?;
                let node = self.create_file(*parent, name)?;
                self.handle(node, options.read || !options.write, true)
            }
            _ => {
                let node = found.existing(&self.nodes)?;
                self.open_existing(node, options, wants_write)
            }
        }
    }

    fn open_existing(
        &mut self,
        node: NodeId,
        options: OpenOptions,
        wants_write: bool,
    ) -> FsResult<Handle> {
        match &self.nodes.get(node)?.kind {
            Kind::Symlink { .. } if options.directory => Err(FsError::NotDirectory),
            Kind::Symlink { .. } => Err(FsError::Loop),
            Kind::Dir(_) if wants_write || options.create => Err(FsError::IsDirectory),
            Kind::Dir(_) => {
                let write = self.is_writable(node)?;
                self.handle(node, true, write)
            }
            Kind::File { .. } if options.directory => Err(FsError::NotDirectory),
            Kind::File { cell, .. } => {
                let cell = cell.clone();
                if wants_write {
                    self.check_writable(node)?;
                }
                if options.truncate {
                    cell.set_size(0)?;
                }
                // A handle that may create may write: guests count on it where the host is a POSIX one.
                let write = wants_write || (options.create && self.is_writable(node)?);
                self.handle(node, options.read || !options.write, write)
            }
        }
    }

    fn create_file(&mut self, parent: NodeId, name: &str) -> FsResult<NodeId> {
        let cell = FileCell::empty(&self.nodes.ledger, &self.nodes.spool);
        self.create(
            parent,
            name,
            Kind::File {
                cell,
                executable: false,
            },
        )
    }

    /// Puts a new node under a free name, counted as an entry.
    fn create(&mut self, parent: NodeId, name: &str, kind: Kind) -> FsResult<NodeId> {
        self.nodes.ledger.add_entry()?;
        let mount = self.nodes.get(parent)?.mount;
        let node = self.nodes.add(mount, kind)?;
        self.nodes.attach(parent, name, node)?;
        Ok(node)
    }

    fn handle(&mut self, node: NodeId, read: bool, write: bool) -> FsResult<Handle> {
        self.nodes.opened(node)?;
        Ok(Handle { node, read, write })
    }

    /// Gives a handle back. A file without a name goes with its last handle.
    pub fn close(&mut self, handle: Handle) {
        self.nodes.closed(handle.node);
    }

    fn is_writable(&self, node: NodeId) -> FsResult<bool> {
        let mount = usize::from(self.nodes.get(node)?.mount);
        Ok(self
            .mounts
            .get(mount)
            .is_some_and(|mount| mount.access == Access::ReadWrite))
    }

    fn check_writable(&mut self, node: NodeId) -> FsResult<()> {
        if self.is_writable(node)? {
            return Ok(());
        }
        let mount = usize::from(self.nodes.get(node)?.mount);
        if let Some(mount) = self.mounts.get_mut(mount) {
            mount.change_refused = true;
        }
        Err(FsError::ReadOnly)
    }

    // --- what something is

    /// What the handle is open on.
    ///
    /// # Errors
    /// None that a guest can cause.
    pub fn file_type(&self, handle: &Handle) -> FsResult<FileType> {
        Ok(self.nodes.get(handle.node)?.file_type())
    }

    /// What is known of an open file or directory.
    ///
    /// # Errors
    /// None that a guest can cause.
    pub fn stat(&self, handle: &Handle) -> FsResult<Stat> {
        self.stat_node(handle.node)
    }

    /// What is known of what `path` leads to.
    ///
    /// # Errors
    /// As `fstatat` of POSIX.
    pub fn stat_at(&mut self, base: &Handle, path: &str, follow_link: bool) -> FsResult<Stat> {
        let node = self
            .nodes
            .resolve(base.node, path, follow(follow_link))?
            .existing(&self.nodes)?;
        self.stat_node(node)
    }

    fn stat_node(&self, id: NodeId) -> FsResult<Stat> {
        let node = self.nodes.get(id)?;
        let size = match &node.kind {
            Kind::File { cell, .. } => cell.len(),
            Kind::Dir(_) => 0,
            Kind::Symlink { target, .. } => target.len() as u64,
        };
        Ok(Stat {
            file_type: node.file_type(),
            links: node.links,
            size,
            inode: node.inode,
        })
    }

    /// Whether two handles are open on the same file or directory.
    pub fn is_same(&self, a: &Handle, b: &Handle) -> bool {
        a.node == b.node
    }

    /// Answers for a change of an open file's or directory's timestamps. All timestamps stay
    /// [`super::TIMESTAMP_SECONDS`]: only whether it is allowed is answered.
    ///
    /// # Errors
    /// [`FsError::ReadOnly`] in a read-only mount.
    pub fn set_times(&mut self, handle: &Handle) -> FsResult<()> {
        self.check_writable(handle.node)
    }

    /// As [`Vfs::set_times`], for what `path` leads to.
    ///
    /// # Errors
    /// As `utimensat` of POSIX.
    pub fn set_times_at(&mut self, base: &Handle, path: &str, follow_link: bool) -> FsResult<()> {
        let node = self
            .nodes
            .resolve(base.node, path, follow(follow_link))?
            .existing(&self.nodes)?;
        self.check_writable(node)
    }

    // --- content

    fn cell(&self, handle: &Handle) -> FsResult<Arc<FileCell>> {
        match &self.nodes.get(handle.node)?.kind {
            Kind::File { cell, .. } => Ok(cell.clone()),
            Kind::Dir(_) => Err(FsError::IsDirectory),
            Kind::Symlink { .. } => Err(FsError::BadDescriptor),
        }
    }

    /// The content of a file open for reading.
    ///
    /// # Errors
    /// [`FsError::BadDescriptor`] when it is not, [`FsError::IsDirectory`] for a directory.
    pub fn readable(&self, handle: &Handle) -> FsResult<Arc<FileCell>> {
        let cell = self.cell(handle)?;
        if handle.read {
            Ok(cell)
        } else {
            Err(FsError::BadDescriptor)
        }
    }

    /// The content of a file open for writing.
    ///
    /// # Errors
    /// [`FsError::ReadOnly`] in a read-only mount, [`FsError::BadDescriptor`] when it is not open for writing,
    /// [`FsError::IsDirectory`] for a directory.
    pub fn writable(&mut self, handle: &Handle) -> FsResult<Arc<FileCell>> {
        let cell = self.cell(handle)?;
        self.check_writable(handle.node)?;
        if handle.write {
            Ok(cell)
        } else {
            Err(FsError::BadDescriptor)
        }
    }

    /// Up to `max` bytes from `offset`, and whether the end was reached.
    ///
    /// # Errors
    /// As [`Vfs::readable`] and [`FileCell::read`].
    pub fn read(&self, handle: &Handle, offset: u64, max: usize) -> FsResult<(Bytes, bool)> {
        let cell = self.readable(handle)?;
        let bytes = cell.read(offset, max)?;
        let at_end = offset.saturating_add(bytes.len() as u64) >= cell.len();
        Ok((bytes, at_end))
    }

    /// Writes all of `data` at `offset`.
    ///
    /// # Errors
    /// As [`Vfs::writable`] and [`FileCell::write`].
    pub fn write(&mut self, handle: &Handle, offset: u64, data: &[u8]) -> FsResult<()> {
        self.writable(handle)?.write(Some(offset), data).map(drop)
    }

    /// Cuts an open file to `size` bytes or extends it with zeros.
    ///
    /// # Errors
    /// As [`Vfs::writable`] and [`FileCell::set_size`]; [`FsError::Invalid`] when it is not open for writing.
    pub fn set_size(&mut self, handle: &Handle, size: u64) -> FsResult<()> {
        match self.writable(handle) {
            Ok(cell) => cell.set_size(size),
            Err(FsError::BadDescriptor) => Err(FsError::Invalid),
            Err(error) => Err(error),
        }
    }

    // --- directories

    /// The entries of an open directory.
    ///
    /// # Errors
    /// [`FsError::NotDirectory`]; [`FsError::InsufficientMemory`] when too many listings are held open.
    pub fn read_dir(&mut self, handle: &Handle) -> FsResult<DirStream> {
        let (snapshot, fresh) = self.nodes.snapshot(handle.node)?;
        Ok(DirStream {
            snapshot,
            next: 0,
            fresh,
        })
    }

    /// Makes a directory.
    ///
    /// # Errors
    /// As `mkdirat` of POSIX.
    pub fn create_dir_at(&mut self, base: &Handle, path: &str) -> FsResult<()> {
        let found = self.nodes.resolve(base.node, path, LastLink::Stop)?;
        let (parent, name) = self.free_name(&found)?;
        self.nodes.ledger.add_entry()?;
        let mount = self.nodes.get(parent)?.mount;
        let node = self.nodes.add_dir(mount, Some(parent), None)?;
        self.nodes.attach(parent, name, node)
    }

    /// The name at the end of a path, if it is free and may be taken.
    fn free_name<'a>(&mut self, found: &'a Found) -> FsResult<(NodeId, &'a str)> {
        match &found.last {
            Last::Name {
                parent,
                name,
                node: None,
            } => {
                self.check_writable(*parent)?;
                Ok((*parent, name))
            }
            _ => Err(FsError::Exist),
        }
    }

    /// Removes an empty directory.
    ///
    /// # Errors
    /// As `rmdir` of POSIX.
    pub fn remove_dir_at(&mut self, base: &Handle, path: &str) -> FsResult<()> {
        let found = self.nodes.resolve(base.node, path, LastLink::Stop)?;
        let (parent, name, node) = match &found.last {
            Last::Name { parent, name, node } => (*parent, name, node.ok_or(FsError::NoEntry)?),
            Last::Here(_) => return Err(FsError::Invalid),
            Last::Above(_) => return Err(FsError::NotEmpty),
        };
        self.nodes.dir(node)?;
        self.check_writable(parent)?;
        if !self.nodes.is_dir_empty(node)? {
            return Err(FsError::NotEmpty);
        }
        self.remove_name(parent, name, node)
    }

    /// Removes the name of a file or link.
    ///
    /// # Errors
    /// As `unlinkat` of POSIX; [`FsError::IsDirectory`] for a directory.
    pub fn unlink_file_at(&mut self, base: &Handle, path: &str) -> FsResult<()> {
        let found = self.nodes.resolve(base.node, path, LastLink::Stop)?;
        let Last::Name { parent, name, node } = &found.last else {
            return Err(FsError::IsDirectory);
        };
        let node = node.ok_or(FsError::NoEntry)?;
        match self.nodes.get(node)?.kind {
            Kind::Dir(_) => return Err(FsError::IsDirectory),
            _ if found.wants_dir => return Err(FsError::NotDirectory),
            _ => self.check_writable(*parent)?,
        }
        self.remove_name(*parent, name, node)
    }

    fn remove_name(&mut self, parent: NodeId, name: &str, node: NodeId) -> FsResult<()> {
        if !self.nodes.is_original(parent, name)? {
            self.nodes.ledger.remove_entry();
        }
        self.nodes.detach(parent, name)?;
        self.nodes.remove_link(node)
    }

    /// Moves a file, directory or link to another name in the same mount, over what is there.
    ///
    /// # Errors
    /// As `renameat` of POSIX; [`FsError::CrossDevice`] between mounts.
    pub fn rename_at(
        &mut self,
        base: &Handle,
        path: &str,
        new_base: &Handle,
        new_path: &str,
    ) -> FsResult<()> {
        let from = self.nodes.resolve(base.node, path, LastLink::Stop)?;
        let to = self
            .nodes
            .resolve(new_base.node, new_path, LastLink::Stop)?;
        let Last::Name { parent, name, node } = &from.last else {
            return Err(FsError::Busy);
        };
        let node = node.ok_or(FsError::NoEntry)?;
        let Last::Name {
            parent: new_parent,
            name: new_name,
            node: replaced,
        } = &to.last
        else {
            return Err(FsError::Busy);
        };
        let is_dir = self.nodes.get(node)?.file_type() == FileType::Directory;
        if !is_dir && (from.wants_dir || to.wants_dir) {
            return Err(FsError::NotDirectory);
        }
        if self.nodes.get(*parent)?.mount != self.nodes.get(*new_parent)?.mount {
            return Err(FsError::CrossDevice);
        }
        self.check_writable(*parent)?;
        if is_dir && self.nodes.is_within(*new_parent, node)? {
            return if *replaced == Some(node) {
                Ok(())
            } else {
                Err(FsError::Invalid)
            };
        }
        if let Some(replaced) = *replaced {
            if replaced == node {
                return Ok(());
            }
            self.check_replaceable(replaced, is_dir)?;
        }
        if self.nodes.is_original(*parent, name)? {
            self.nodes.ledger.add_entry()?;
        }
        if let Some(replaced) = *replaced {
            self.remove_name(*new_parent, new_name, replaced)?;
        }
        self.nodes.detach(*parent, name)?;
        self.nodes.attach(*new_parent, new_name, node)
    }

    fn check_replaceable(&mut self, replaced: NodeId, by_dir: bool) -> FsResult<()> {
        let has_dir = self.nodes.get(replaced)?.file_type() == FileType::Directory;
        match (by_dir, has_dir) {
            (true, false) => Err(FsError::NotDirectory),
            (false, true) => Err(FsError::IsDirectory),
            (true, true) if !self.nodes.is_dir_empty(replaced)? => Err(FsError::NotEmpty),
            _ => Ok(()),
        }
    }

    // --- links

    /// Gives a file a second name in the same mount.
    ///
    /// # Errors
    /// As `linkat` of POSIX; [`FsError::NotPermitted`] for a directory, [`FsError::CrossDevice`] between mounts.
    pub fn link_at(
        &mut self,
        base: &Handle,
        path: &str,
        follow_link: bool,
        new_base: &Handle,
        new_path: &str,
    ) -> FsResult<()> {
        let node = self
            .nodes
            .resolve(base.node, path, follow(follow_link))?
            .existing(&self.nodes)?;
        if self.nodes.get(node)?.file_type() == FileType::Directory {
            return Err(FsError::NotPermitted);
        }
        let to = self
            .nodes
            .resolve(new_base.node, new_path, LastLink::Stop)?;
        if let Last::Name { node: None, .. } = to.last
            && to.wants_dir
        {
            return Err(FsError::NoEntry);
        }
        let (parent, name) = self.free_name(&to)?;
        if self.nodes.get(parent)?.mount != self.nodes.get(node)?.mount {
            return Err(FsError::CrossDevice);
        }
        self.nodes.ledger.add_entry()?;
        if let Err(error) = self.nodes.add_link(node) {
            self.nodes.ledger.remove_entry();
            return Err(error);
        }
        self.nodes.attach(parent, name, node)
    }

    /// Makes a symbolic link to `target`, which need not exist. One that leads out of the mount cannot be followed.
    ///
    /// # Errors
    /// As `symlinkat` of POSIX; [`FsError::NotPermitted`] for an absolute target.
    pub fn symlink_at(&mut self, target: &str, base: &Handle, path: &str) -> FsResult<()> {
        check_target(target)?;
        let found = self.nodes.resolve(base.node, path, LastLink::Stop)?;
        let (parent, name) = self.free_name(&found)?;
        if found.wants_dir {
            return Err(FsError::NoEntry);
        }
        self.nodes.ledger.change_bytes(0, target.len() as u64)?;
        let made = self.create(
            parent,
            name,
            Kind::Symlink {
                target: target.into(),
                made: true,
            },
        );
        if made.is_err() {
            let _shrinks = self.nodes.ledger.change_bytes(target.len() as u64, 0);
        }
        made.map(drop)
    }

    /// Where a symbolic link leads, as written.
    ///
    /// # Errors
    /// As `readlinkat` of POSIX; [`FsError::NotPermitted`] for an absolute target, which would tell of the host.
    pub fn readlink_at(&mut self, base: &Handle, path: &str) -> FsResult<Arc<str>> {
        let found = self
            .nodes
            .resolve(base.node, path, LastLink::StopUnlessSlash)?;
        let node = found.existing(&self.nodes)?;
        match &self.nodes.get(node)?.kind {
            Kind::Symlink { target, .. } => {
                check_target(target)?;
                Ok(target.clone())
            }
            _ => Err(FsError::Invalid),
        }
    }
}
