//! The part of a walk that several threads do: folders are read, and what matches in them is looked at.
//!
//! A folder is one job, and so is each further part of a very large one. Files are kept as runs: in order, with no other
//! file between the first and the last of a run, so that putting runs in order puts all files in order. It decides
//! nothing about what may be followed or taken: [`super::walk`] does, and is its only caller.

use super::WorkspaceError;
use super::queue::Queue;
use super::walk::{MAX_PATH_BYTES, Seen, Walk, Why, unreadable};
use crate::db::lock;
use rustix::fs::{AtFlags, Dir, DirEntry, FileType, Mode, OFlags, RawMode, statat};
use rustix::io::{Errno, retry_on_intr};
use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, Mutex};
use sykli_core::glob::{Pattern, Within};

/// The most threads that walk.
const MAX_THREADS: usize = 8;
/// Folders that have to wait before other threads are worth their start: most projects are walked in less time.
const WORTH_THREADS: usize = 8;
/// Files of one folder that one job looks at.
const FILES_A_JOB: usize = 1024;

enum Job<'p> {
    Folder(Folder<'p>),
    Files(Part),
}

/// A folder to be read, and the patterns that can match in it.
struct Folder<'p> {
    path: String,
    patterns: Vec<&'p Pattern>,
}

/// Files that match, in a folder that has too many of them for one job.
struct Part {
    opened: Arc<OwnedFd>,
    path: Arc<str>,
    files: Vec<DirEntry>,
}

/// What one look at a folder gave.
#[derive(Default)]
struct Content<'p> {
    /// What matches and is said to be a file.
    files: Vec<DirEntry>,
    folders: Vec<Folder<'p>>,
}

/// Walks the folders that `patterns` can match in. Each thread gets an empty walk and fills it.
pub(super) fn walk<'a>(
    patterns: Vec<&Pattern>,
    empty: impl Fn() -> Walk<'a> + Sync,
) -> Result<Vec<Walk<'a>>, WorkspaceError> {
    let path = String::new();
    let queue = Queue::new(vec![Job::Folder(Folder { path, patterns })]);
    let failed = Mutex::new(None);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let work = |walk: &mut Walk<'a>, more: &mut dyn FnMut(usize)| {
        while let Some((job, _taken)) = queue.take() {
            match walk.perform(job) {
                Ok(jobs) => more(queue.push(jobs)),
                Err(error) => {
                    lock(&failed).get_or_insert(error);
                    queue.stop();
                }
            }
        }
    };
    let help = || {
        let mut walk = empty();
        work(&mut walk, &mut |_| {});
        walk
    };
    let walks = std::thread::scope(|scope| {
        let mut helpers = Vec::new();
        let mut mine = empty();
        work(&mut mine, &mut |waiting| {
            if waiting >= WORTH_THREADS && helpers.is_empty() {
                // Where the system gives no more threads, fewer do.
                let spawn = |_| std::thread::Builder::new().spawn_scoped(scope, help).ok();
                helpers.extend((1..threads.min(MAX_THREADS)).filter_map(spawn));
            }
        });
        let theirs = helpers.into_iter().map(|helper| {
            // Without what it had found, the list would be wrong.
            let panicked = |panic| std::panic::resume_unwind(panic);
            helper.join().unwrap_or_else(panicked)
        });
        std::iter::once(mine).chain(theirs).collect()
    });
    match lock(&failed).take() {
        Some(error) => Err(error),
        None => Ok(walks),
    }
}

impl<'a> Walk<'a> {
    /// Does one job; answers with those that it makes, the one to go on with last.
    fn perform<'p>(&mut self, job: Job<'p>) -> Result<Vec<Job<'p>>, WorkspaceError> {
        match job {
            Job::Folder(folder) => self.folder(&folder),
            Job::Files(part) => {
                self.files(part.opened.as_fd(), &part.path, &part.files)?;
                Ok(Vec::new())
            }
        }
    }

    fn folder<'p>(&mut self, folder: &Folder<'p>) -> Result<Vec<Job<'p>>, WorkspaceError> {
        let absolute = self.root.join(&folder.path);
        let failed = |error: Errno| unreadable(&absolute, error.into());
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let opened = retry_on_intr(|| rustix::fs::open(&absolute, flags, Mode::empty()));
        let mut dir = match opened.and_then(Dir::new) {
            Ok(dir) => dir,
            // The base of a pattern need not be there: the plan says that the pattern matches nothing.
            Err(Errno::NOENT) => return Ok(Vec::new()),
            Err(error) => return Err(failed(error)),
        };
        let content = self.read(&mut dir, folder, &absolute)?;
        let Content { mut files, folders } = content;
        files.sort_unstable_by(|a, b| a.file_name().cmp(b.file_name()));
        let mut parts = Vec::new();
        for run in runs(files, &folder.path, &folders) {
            parts.extend(parts_of(run));
        }
        // What waits keeps the folder open.
        let mut jobs: Vec<Job<'p>> = folders.into_iter().map(Job::Folder).collect();
        let fd = dir.fd().map_err(failed)?;
        if parts.iter().map(Vec::len).sum::<usize>() > FILES_A_JOB {
            let opened = Arc::new(rustix::io::fcntl_dupfd_cloexec(fd, 0).map_err(failed)?);
            let path: Arc<str> = folder.path.as_str().into();
            jobs.extend(parts.into_iter().map(|files| {
                Job::Files(Part {
                    opened: Arc::clone(&opened),
                    path: Arc::clone(&path),
                    files,
                })
            }));
        } else {
            for files in parts {
                self.files(fd, &folder.path, &files)?;
            }
        }
        Ok(jobs)
    }

    /// Reads a folder; links are followed, or skipped, at once.
    fn read<'p>(
        &mut self,
        dir: &mut Dir,
        folder: &Folder<'p>,
        absolute: &Path,
    ) -> Result<Content<'p>, WorkspaceError> {
        let patterns = &folder.patterns;
        let within: Vec<Within<'_>> = patterns
            .iter()
            .map(|pattern| pattern.within(&folder.path))
            .collect();
        let failed = |error: Errno| unreadable(absolute, error.into());
        let mut content = Content::default();
        while let Some(entry) = dir.read() {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            let kind = match entry.file_type() {
                FileType::Unknown => match kind_of(dir.fd().map_err(failed)?, name) {
                    Err(Errno::NOENT) => continue,
                    kind => kind.map_err(failed)?,
                },
                kind => kind,
            };
            let Ok(name) = name.to_str() else {
                let shown = name.to_string_lossy();
                self.skip(join(&folder.path, &shown), Why::NotUtf8);
                continue;
            };
            match kind {
                FileType::Directory => {
                    let path = join(&folder.path, name);
                    let inside: Vec<&Pattern> = patterns
                        .iter()
                        .copied()
                        .filter(|pattern| !pattern.skips(name) && pattern.may_match_below(&path))
                        .collect();
                    if path.len() >= MAX_PATH_BYTES {
                        self.skip(path, Why::TooLong);
                    } else if !inside.is_empty() {
                        content.folders.push(Folder {
                            path,
                            patterns: inside,
                        });
                    }
                }
                FileType::Symlink => {
                    self.link(join(&folder.path, name), &absolute.join(name), patterns)?;
                }
                _ if within.iter().any(|pattern| pattern.matches(name)) => {
                    content.files.push(entry);
                }
                _ => {}
            }
        }
        Ok(content)
    }

    /// Looks at files of an open folder, and names them.
    fn files(
        &mut self,
        opened: BorrowedFd<'_>,
        folder: &str,
        files: &[DirEntry],
    ) -> Result<(), WorkspaceError> {
        let mut run = Vec::with_capacity(files.len());
        let mut path = join(folder, "");
        let names_at = path.len();
        for file in files {
            let name = file.file_name();
            let Ok(text) = name.to_str() else {
                continue;
            };
            path.truncate(names_at);
            path.push_str(text);
            match retry_on_intr(|| statat(opened, name, AtFlags::SYMLINK_NOFOLLOW)) {
                // Made one after the other, the paths lie in memory in the order in which they will be looked at.
                Ok(found) => self.take(&mut run, path.as_str().into(), &Seen::from(&found))?,
                // Gone since the folder was listed.
                Err(Errno::NOENT) => {}
                Err(error) => return Err(unreadable(&self.root.join(&path), error.into())),
            }
        }
        self.keep(run);
        Ok(())
    }
}

/// What a name stands for, where the folder does not say.
fn kind_of(folder: BorrowedFd<'_>, name: &CStr) -> Result<FileType, Errno> {
    let found = retry_on_intr(|| statat(folder, name, AtFlags::SYMLINK_NOFOLLOW))?;
    Ok(FileType::from_raw_mode(found.st_mode as RawMode))
}

/// Cuts the sorted files of a folder where what is in one of its folders comes between them.
fn runs(mut files: Vec<DirEntry>, path: &str, folders: &[Folder<'_>]) -> Vec<Vec<DirEntry>> {
    let below = join(path, "");
    let name_of = |folder: &Folder<'_>| Some(format!("{}/", folder.path.strip_prefix(&below)?));
    let mut cuts: Vec<String> = folders.iter().filter_map(name_of).collect();
    cuts.sort_unstable();
    let mut runs = Vec::new();
    for cut in cuts.iter().rev() {
        let at = files.partition_point(|file| file.file_name().to_bytes() < cut.as_bytes());
        if at < files.len() {
            runs.push(files.split_off(at));
        }
    }
    runs.push(files);
    runs
}

fn parts_of(mut run: Vec<DirEntry>) -> Vec<Vec<DirEntry>> {
    let mut parts = Vec::new();
    while run.len() > FILES_A_JOB {
        parts.push(run.split_off(run.len() - FILES_A_JOB));
    }
    parts.push(run);
    parts
}

fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() {
        name.to_owned()
    } else {
        format!("{folder}/{name}")
    }
}
