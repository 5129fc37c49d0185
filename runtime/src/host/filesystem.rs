//! `wasi:filesystem` over the virtual file system: what the interface says, in terms of [`vfs`](crate::vfs).
//!
//! It translates and decides nothing: every answer comes from [`Vfs`], and no call reaches a file system of the host
//! except to read what a mount's source points at, or to spool what was written. All timestamps are the same fixed
//! moment; setting them succeeds and changes nothing. Streams are always ready. Linked once per engine by
//! `host::add_to_linker`.

mod streams;

use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, LinkerInstance, Resource, ResourceType};
use wasmtime_wasi::p2::bindings::clocks::wall_clock::Datetime;
use wasmtime_wasi::p2::bindings::filesystem::types::{
    Advice, DescriptorFlags, DescriptorStat, DescriptorType, DirectoryEntry, ErrorCode,
    MetadataHashValue, NewTimestamp, OpenFlags, PathFlags,
};
use wasmtime_wasi_io::streams::{DynInputStream, DynOutputStream};

use crate::GuestState;
use crate::vfs::{
    DirStream, FileType, FsError, FsResult, Handle, OpenOptions, Stat, TIMESTAMP_SECONDS, Vfs,
};

use streams::{Reader, Writer};

/// Bytes that one call reads, writes or skips at most: what one call of a guest may cost.
const CHUNK_BYTES: usize = 64 * 1024;
/// A listing of more entries than this lets others run (and the run's deadline be seen) once it is made.
const LONG_LISTING: usize = 1024;

type Store<'a> = StoreContextMut<'a, GuestState>;
type Fd = Resource<Handle>;
/// What a host function that can fail with an error code returns.
type Answer<T> = wasmtime::Result<(Result<T, ErrorCode>,)>;

macro_rules! method {
    ($name:literal) => {
        concat!("[method]descriptor.", $name)
    };
}

/// Links `wasi:filesystem/types` and `wasi:filesystem/preopens`.
///
/// # Errors
/// When a name is linked twice.
pub fn add_to_linker(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    let mut preopens = linker.instance("wasi:filesystem/preopens@0.2.12")?;
    preopens.func_wrap("get-directories", |mut store: Store<'_>, (): ()| {
        let state = store.data_mut();
        let mut directories = Vec::new();
        for (handle, path) in state.vfs.preopens()? {
            directories.push((state.table.push(handle)?, path));
        }
        Ok((directories,))
    })?;
    let mut types = linker.instance("wasi:filesystem/types@0.2.12")?;
    link_resources(&mut types)?;
    link_streams(&mut types)?;
    link_files(&mut types)?;
    link_attributes(&mut types)?;
    link_identity(&mut types)?;
    link_directories(&mut types)?;
    link_links(&mut types)
}

fn link_resources(types: &mut LinkerInstance<'_, GuestState>) -> wasmtime::Result<()> {
    types.resource(
        "descriptor",
        ResourceType::host::<Handle>(),
        |mut store, rep| {
            let state = store.data_mut();
            let handle = state.table.delete(Fd::new_own(rep))?;
            state.vfs.close(handle);
            Ok(())
        },
    )?;
    types.resource(
        "directory-entry-stream",
        ResourceType::host::<DirStream>(),
        |mut store, rep| {
            store
                .data_mut()
                .table
                .delete(Resource::<DirStream>::new_own(rep))?;
            Ok(())
        },
    )?;
    types.func_wrap(
        "filesystem-error-code",
        |store: Store<'_>, (error,): (Resource<wasmtime::Error>,)| {
            let error = store.data().table.get(&error)?;
            Ok((error.downcast_ref::<FsError>().map(|error| code(*error)),))
        },
    )
}

fn link_streams(types: &mut LinkerInstance<'_, GuestState>) -> wasmtime::Result<()> {
    types.func_wrap(
        method!("read-via-stream"),
        |mut store: Store<'_>, (fd, position): (Fd, u64)| {
            let state = store.data_mut();
            match state.vfs.readable(state.table.get(&fd)?) {
                Ok(cell) => {
                    let stream: DynInputStream = Box::new(Reader::new(cell, position));
                    Ok((Ok(state.table.push(stream)?),))
                }
                Err(error) => Ok((Err(code(error)),)),
            }
        },
    )?;
    types.func_wrap(
        method!("write-via-stream"),
        |mut store: Store<'_>, (fd, position): (Fd, u64)| writer(&mut store, &fd, Some(position)),
    )?;
    types.func_wrap(
        method!("append-via-stream"),
        |mut store: Store<'_>, (fd,): (Fd,)| writer(&mut store, &fd, None),
    )
}

fn writer(
    store: &mut Store<'_>,
    fd: &Fd,
    position: Option<u64>,
) -> Answer<Resource<DynOutputStream>> {
    let state = store.data_mut();
    match state.vfs.writable(state.table.get(fd)?) {
        Ok(cell) => {
            let stream: DynOutputStream = Box::new(Writer::new(cell, position));
            Ok((Ok(state.table.push(stream)?),))
        }
        Err(error) => Ok((Err(code(error)),)),
    }
}

fn link_files(types: &mut LinkerInstance<'_, GuestState>) -> wasmtime::Result<()> {
    types.func_wrap(
        method!("advise"),
        |mut store: Store<'_>, (fd, _offset, _length, _advice): (Fd, u64, u64, Advice)| {
            with(&mut store, &fd, |vfs, handle| {
                match vfs.file_type(handle)? {
                    FileType::File => Ok(()),
                    _ => Err(FsError::BadDescriptor),
                }
            })
        },
    )?;
    for sync in [method!("sync"), method!("sync-data")] {
        // Nothing outlives the run but what is collected at its end: there is nothing to wait for.
        types.func_wrap(sync, |mut store: Store<'_>, (fd,): (Fd,)| {
            with(&mut store, &fd, |vfs, handle| {
                vfs.file_type(handle).map(drop)
            })
        })?;
    }
    types.func_wrap(
        method!("set-size"),
        |mut store: Store<'_>, (fd, size): (Fd, u64)| {
            with(&mut store, &fd, |vfs, handle| vfs.set_size(handle, size))
        },
    )?;
    types.func_wrap(
        method!("read"),
        |mut store: Store<'_>, (fd, length, offset): (Fd, u64, u64)| {
            with(&mut store, &fd, |vfs, handle| {
                let (bytes, at_end) = vfs.read(handle, offset, chunk(length))?;
                let at_end = at_end || bytes.is_empty();
                Ok((Vec::from(bytes), at_end))
            })
        },
    )?;
    types.func_wrap(
        method!("write"),
        |mut store: Store<'_>, (fd, bytes, offset): (Fd, Vec<u8>, u64)| {
            with(&mut store, &fd, |vfs, handle| {
                let part = bytes.get(..CHUNK_BYTES).unwrap_or(&bytes);
                vfs.write(handle, offset, part)?;
                Ok(part.len() as u64)
            })
        },
    )
}

fn link_attributes(types: &mut LinkerInstance<'_, GuestState>) -> wasmtime::Result<()> {
    types.func_wrap(
        method!("get-flags"),
        |mut store: Store<'_>, (fd,): (Fd,)| {
            with(&mut store, &fd, |vfs, handle| {
                Ok(flags(vfs.file_type(handle)?, handle))
            })
        },
    )?;
    types.func_wrap(method!("get-type"), |mut store: Store<'_>, (fd,): (Fd,)| {
        with(&mut store, &fd, |vfs, handle| {
            Ok(descriptor_type(vfs.file_type(handle)?))
        })
    })?;
    types.func_wrap(method!("stat"), |mut store: Store<'_>, (fd,): (Fd,)| {
        with(&mut store, &fd, |vfs, handle| {
            vfs.stat(handle).map(descriptor_stat)
        })
    })?;
    types.func_wrap(
        method!("stat-at"),
        |mut store: Store<'_>, (fd, how, path): (Fd, PathFlags, String)| {
            with(&mut store, &fd, |vfs, base| {
                vfs.stat_at(base, &path, follows(how)).map(descriptor_stat)
            })
        },
    )?;
    types.func_wrap(
        method!("set-times"),
        |mut store: Store<'_>, (fd, _accessed, _modified): (Fd, NewTimestamp, NewTimestamp)| {
            with(&mut store, &fd, Vfs::set_times)
        },
    )?;
    types.func_wrap(
        method!("set-times-at"),
        |mut store: Store<'_>,
         (fd, how, path, _accessed, _modified): (
            Fd,
            PathFlags,
            String,
            NewTimestamp,
            NewTimestamp,
        )| {
            with(&mut store, &fd, |vfs, base| {
                vfs.set_times_at(base, &path, follows(how))
            })
        },
    )?;
    Ok(())
}

fn link_identity(types: &mut LinkerInstance<'_, GuestState>) -> wasmtime::Result<()> {
    types.func_wrap(
        method!("is-same-object"),
        |mut store: Store<'_>, (a, b): (Fd, Fd)| {
            let state = store.data_mut();
            Ok((state
                .vfs
                .is_same(state.table.get(&a)?, state.table.get(&b)?),))
        },
    )?;
    types.func_wrap(
        method!("metadata-hash"),
        |mut store: Store<'_>, (fd,): (Fd,)| {
            with(&mut store, &fd, |vfs, handle| {
                vfs.stat(handle).map(metadata_hash)
            })
        },
    )?;
    types.func_wrap(
        method!("metadata-hash-at"),
        |mut store: Store<'_>, (fd, how, path): (Fd, PathFlags, String)| {
            with(&mut store, &fd, |vfs, base| {
                vfs.stat_at(base, &path, follows(how)).map(metadata_hash)
            })
        },
    )
}

fn link_directories(types: &mut LinkerInstance<'_, GuestState>) -> wasmtime::Result<()> {
    types.func_wrap_async(
        method!("read-directory"),
        |mut store: Store<'_>, (fd,): (Fd,)| {
            Box::new(async move {
                let state = store.data_mut();
                match state.vfs.read_dir(state.table.get(&fd)?) {
                    Ok(stream) => {
                        let is_long = stream.was_made() && stream.len() > LONG_LISTING;
                        let stream = state.table.push(stream)?;
                        if is_long {
                            tokio::task::yield_now().await;
                        }
                        Ok((Ok(stream),))
                    }
                    Err(error) => Ok((Err(code(error)),)),
                }
            })
        },
    )?;
    types.func_wrap(
        "[method]directory-entry-stream.read-directory-entry",
        |mut store: Store<'_>, (stream,): (Resource<DirStream>,)| {
            let entry = store.data_mut().table.get_mut(&stream)?.next();
            let entry = entry.map(|(name, file_type)| DirectoryEntry {
                type_: descriptor_type(file_type),
                name: name.to_string(),
            });
            Ok((Ok::<_, ErrorCode>(entry),))
        },
    )?;
    types.func_wrap(
        method!("create-directory-at"),
        |mut store: Store<'_>, (fd, path): (Fd, String)| {
            with(&mut store, &fd, |vfs, base| vfs.create_dir_at(base, &path))
        },
    )?;
    types.func_wrap(
        method!("remove-directory-at"),
        |mut store: Store<'_>, (fd, path): (Fd, String)| {
            with(&mut store, &fd, |vfs, base| vfs.remove_dir_at(base, &path))
        },
    )?;
    types.func_wrap(
        method!("unlink-file-at"),
        |mut store: Store<'_>, (fd, path): (Fd, String)| {
            with(&mut store, &fd, |vfs, base| vfs.unlink_file_at(base, &path))
        },
    )?;
    types.func_wrap(
        method!("open-at"),
        |mut store: Store<'_>, (fd, how, path, open, flags): (Fd, PathFlags, String, OpenFlags, DescriptorFlags)| {
            let state = store.data_mut();
            let options = open_options(how, open, flags);
            match state.vfs.open_at(state.table.get(&fd)?, &path, options) {
                Ok(handle) => Ok((Ok(state.table.push(handle)?),)),
                Err(error) => Ok((Err(code(error)),)),
            }
        },
    )
}

fn link_links(types: &mut LinkerInstance<'_, GuestState>) -> wasmtime::Result<()> {
    types.func_wrap(
        method!("rename-at"),
        |mut store: Store<'_>, (fd, path, new_fd, new_path): (Fd, String, Fd, String)| {
            let state = store.data_mut();
            let (base, new_base) = (state.table.get(&fd)?, state.table.get(&new_fd)?);
            answer(state.vfs.rename_at(base, &path, new_base, &new_path))
        },
    )?;
    types.func_wrap(
        method!("link-at"),
        |mut store: Store<'_>,
         (fd, how, path, new_fd, new_path): (Fd, PathFlags, String, Fd, String)| {
            let state = store.data_mut();
            let (base, new_base) = (state.table.get(&fd)?, state.table.get(&new_fd)?);
            answer(
                state
                    .vfs
                    .link_at(base, &path, follows(how), new_base, &new_path),
            )
        },
    )?;
    types.func_wrap(
        method!("symlink-at"),
        |mut store: Store<'_>, (fd, target, path): (Fd, String, String)| {
            with(&mut store, &fd, |vfs, base| {
                vfs.symlink_at(&target, base, &path)
            })
        },
    )?;
    types.func_wrap(
        method!("readlink-at"),
        |mut store: Store<'_>, (fd, path): (Fd, String)| {
            with(&mut store, &fd, |vfs, base| {
                vfs.readlink_at(base, &path)
                    .map(|target| target.to_string())
            })
        },
    )
}

/// Does one thing to an open file or directory. An unknown handle is a fault of the guest and ends it.
fn with<T>(
    store: &mut Store<'_>,
    fd: &Fd,
    operation: impl FnOnce(&mut Vfs, &Handle) -> FsResult<T>,
) -> Answer<T> {
    let state = store.data_mut();
    answer(operation(&mut state.vfs, state.table.get(fd)?))
}

fn answer<T>(result: FsResult<T>) -> Answer<T> {
    Ok((result.map_err(code),))
}

fn chunk(length: u64) -> usize {
    usize::try_from(length)
        .unwrap_or(usize::MAX)
        .min(CHUNK_BYTES)
}

fn follows(how: PathFlags) -> bool {
    how.contains(PathFlags::SYMLINK_FOLLOW)
}

fn open_options(how: PathFlags, open: OpenFlags, flags: DescriptorFlags) -> OpenOptions {
    // The flags that ask for synchronous writes ask for nothing here; that a directory may be changed is the mount's
    // to say, as guests built against earlier hosts expect.
    OpenOptions {
        follow: follows(how),
        create: open.contains(OpenFlags::CREATE),
        directory: open.contains(OpenFlags::DIRECTORY),
        exclusive: open.contains(OpenFlags::EXCLUSIVE),
        truncate: open.contains(OpenFlags::TRUNCATE),
        read: flags.contains(DescriptorFlags::READ),
        write: flags.contains(DescriptorFlags::WRITE),
    }
}

fn flags(file_type: FileType, handle: &Handle) -> DescriptorFlags {
    let mut flags = DescriptorFlags::empty();
    if handle.can_read() {
        flags |= DescriptorFlags::READ;
    }
    if handle.can_write() {
        flags |= match file_type {
            FileType::Directory => DescriptorFlags::MUTATE_DIRECTORY,
            FileType::File | FileType::Symlink => DescriptorFlags::WRITE,
        };
    }
    flags
}

fn descriptor_type(file_type: FileType) -> DescriptorType {
    match file_type {
        FileType::Directory => DescriptorType::Directory,
        FileType::File => DescriptorType::RegularFile,
        FileType::Symlink => DescriptorType::SymbolicLink,
    }
}

fn descriptor_stat(stat: Stat) -> DescriptorStat {
    let timestamp = Some(Datetime {
        seconds: TIMESTAMP_SECONDS,
        nanoseconds: 0,
    });
    DescriptorStat {
        type_: descriptor_type(stat.file_type),
        link_count: stat.links,
        size: stat.size,
        data_access_timestamp: timestamp,
        data_modification_timestamp: timestamp,
        status_change_timestamp: timestamp,
    }
}

/// C libraries make this the inode number (its lower half), so it must stay when the file is written.
fn metadata_hash(stat: Stat) -> MetadataHashValue {
    MetadataHashValue {
        lower: stat.inode,
        upper: !stat.inode,
    }
}

fn code(error: FsError) -> ErrorCode {
    match error {
        FsError::Access => ErrorCode::Access,
        FsError::BadDescriptor => ErrorCode::BadDescriptor,
        FsError::Busy => ErrorCode::Busy,
        FsError::CrossDevice => ErrorCode::CrossDevice,
        FsError::Exist => ErrorCode::Exist,
        FsError::FileTooLarge => ErrorCode::FileTooLarge,
        FsError::InsufficientMemory => ErrorCode::InsufficientMemory,
        FsError::InsufficientSpace => ErrorCode::InsufficientSpace,
        FsError::Invalid => ErrorCode::Invalid,
        FsError::Io => ErrorCode::Io,
        FsError::IsDirectory => ErrorCode::IsDirectory,
        FsError::Loop => ErrorCode::Loop,
        FsError::NameTooLong => ErrorCode::NameTooLong,
        FsError::NoEntry => ErrorCode::NoEntry,
        FsError::NotDirectory => ErrorCode::NotDirectory,
        FsError::NotEmpty => ErrorCode::NotEmpty,
        FsError::NotPermitted => ErrorCode::NotPermitted,
        FsError::Quota => ErrorCode::Quota,
        FsError::ReadOnly => ErrorCode::ReadOnly,
    }
}
