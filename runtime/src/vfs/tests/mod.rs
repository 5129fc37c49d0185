//! Each operation of the virtual file system, and each error it can answer.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod collecting;
mod content;
mod escapes;
mod laziness;
mod names;
mod quotas;

use std::sync::Arc;

use super::quota::Memory;
use super::*;

pub(super) const READ: OpenOptions = OpenOptions {
    follow: true,
    create: false,
    directory: false,
    exclusive: false,
    truncate: false,
    read: true,
    write: false,
};
pub(super) const WRITE: OpenOptions = OpenOptions {
    write: true,
    ..READ
};
pub(super) const CREATE: OpenOptions = OpenOptions {
    create: true,
    ..WRITE
};
pub(super) const TRUNCATE: OpenOptions = OpenOptions {
    truncate: true,
    ..CREATE
};
pub(super) const EXCLUSIVE: OpenOptions = OpenOptions {
    exclusive: true,
    ..CREATE
};
pub(super) const DIRECTORY: OpenOptions = OpenOptions {
    directory: true,
    ..READ
};

/// A file system under test; paths are relative to the first mount.
pub(super) struct Fs {
    pub(super) vfs: Vfs,
    pub(super) roots: Vec<Handle>,
    pub(super) spool: tempfile::TempDir,
}

pub(super) fn mount(guest_path: &str, dir: impl DirSource + 'static, access: Access) -> Mount {
    Mount {
        guest_path: guest_path.to_owned(),
        dir: Arc::new(dir),
        access,
        collect: true,
    }
}

impl Fs {
    pub(super) fn new(mounts: Vec<Mount>) -> Fs {
        Fs::with(mounts, 1 << 30, 10_000, Memory::default())
    }

    pub(super) fn with(mounts: Vec<Mount>, bytes: u64, entries: u32, memory: Memory) -> Fs {
        let spool = tempfile::tempdir().unwrap();
        let quota = Quota {
            bytes,
            entries,
            spool: SpoolPlace::Folder(spool.path().into()),
        };
        let mut vfs = Vfs::with_memory(mounts, &quota, memory);
        let roots = vfs
            .preopens()
            .unwrap()
            .into_iter()
            .map(|(handle, _)| handle)
            .collect();
        Fs { vfs, roots, spool }
    }

    /// One empty writable mount.
    pub(super) fn empty() -> Fs {
        Fs::of(MemDir::new())
    }

    /// One writable mount of this.
    pub(super) fn of(dir: impl DirSource + 'static) -> Fs {
        Fs::new(vec![mount("/w", dir, Access::ReadWrite)])
    }

    pub(super) fn open(&mut self, path: &str, options: OpenOptions) -> FsResult<Handle> {
        self.vfs.open_at(&self.roots[0], path, options)
    }

    pub(super) fn put(&mut self, path: &str, data: impl AsRef<[u8]>) -> FsResult<()> {
        let handle = self.open(path, TRUNCATE)?;
        let result = self.vfs.write(&handle, 0, data.as_ref());
        self.vfs.close(handle);
        result
    }

    pub(super) fn get(&mut self, path: &str) -> FsResult<Vec<u8>> {
        let handle = self.open(path, READ)?;
        let data = self.all(&handle);
        self.vfs.close(handle);
        data
    }

    pub(super) fn all(&mut self, handle: &Handle) -> FsResult<Vec<u8>> {
        let mut data = Vec::new();
        loop {
            let (bytes, at_end) = self.vfs.read(handle, data.len() as u64, 10_000)?;
            data.extend_from_slice(&bytes);
            if at_end {
                return Ok(data);
            }
            assert!(!bytes.is_empty(), "no end and no bytes");
        }
    }

    pub(super) fn ls(&mut self, path: &str) -> FsResult<Vec<String>> {
        let handle = self.open(path, DIRECTORY)?;
        let names = self
            .vfs
            .read_dir(&handle)
            .map(|stream| stream.map(|(name, _)| name.to_string()).collect());
        self.vfs.close(handle);
        names
    }

    pub(super) fn mkdir(&mut self, path: &str) -> FsResult<()> {
        self.vfs.create_dir_at(&self.roots[0], path)
    }

    pub(super) fn rmdir(&mut self, path: &str) -> FsResult<()> {
        self.vfs.remove_dir_at(&self.roots[0], path)
    }

    pub(super) fn unlink(&mut self, path: &str) -> FsResult<()> {
        self.vfs.unlink_file_at(&self.roots[0], path)
    }

    pub(super) fn rename(&mut self, from: &str, to: &str) -> FsResult<()> {
        self.vfs.rename_at(&self.roots[0], from, &self.roots[0], to)
    }

    pub(super) fn symlink(&mut self, target: &str, path: &str) -> FsResult<()> {
        self.vfs.symlink_at(target, &self.roots[0], path)
    }

    pub(super) fn readlink(&mut self, path: &str) -> FsResult<Arc<str>> {
        self.vfs.readlink_at(&self.roots[0], path)
    }

    pub(super) fn link(&mut self, from: &str, to: &str) -> FsResult<()> {
        self.vfs
            .link_at(&self.roots[0], from, false, &self.roots[0], to)
    }

    pub(super) fn stat(&mut self, path: &str) -> FsResult<Stat> {
        self.vfs.stat_at(&self.roots[0], path, true)
    }

    pub(super) fn lstat(&mut self, path: &str) -> FsResult<Stat> {
        self.vfs.stat_at(&self.roots[0], path, false)
    }
}

pub(super) fn err<T>(error: FsError) -> FsResult<T> {
    Err(error)
}
