//! Writes the declared outputs of a run into the project's folder.
//!
//! A file appears whole, by `rename`, or not at all; one that has the right content already is left alone, times and
//! all. Nothing is written through a symbolic link that leaves the project, nothing over the pipeline, a task's component
//! or crate, `.git` or `.sykli`, and nothing that two tasks claim. What cannot be written is named with the reason, and
//! the rest is written all the same. There is no sync: contents are compared again on the next run, so what a power cut
//! tears is mended then. Called by the run loop when a run is over, and for the outputs of a bundle.

mod temp;

use crate::store::{InputFaults, Store};
use crate::workspace::digest_paths;
use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use sykli_core::id::Digest;
use sykli_core::tree::check_path;
use sykli_runtime::vfs::Source;

use temp::Temp;

const COPY_BYTES: usize = 256 * 1024;

/// One declared output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// The instance that made it.
    pub label: String,
    /// Where it goes, below the project.
    pub path: String,
    /// Its content.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
    /// Whether it may be executed.
    pub executable: bool,
}

/// Why an output was not written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Two instances made it.
    #[error("both {first} and {second} make it")]
    Twice {
        /// One of them.
        first: String,
        /// The other.
        second: String,
    },
    /// It is, or lies in, something that no output may replace.
    #[error("{0} is never written over")]
    Protected(String),
    /// It is no plain path below the project.
    #[error("it is not a path inside the project")]
    BadPath,
    /// A symbolic link on the way leads out of the project.
    #[error("{0} is a link to a place outside the project")]
    LeavesProject(String),
    /// A symbolic link lies where the file goes.
    #[error("a symbolic link is in its place: remove it first")]
    Link,
    /// A folder lies where the file goes, or a file where a folder has to be.
    #[error("{0} is in the way")]
    InTheWay(String),
    /// Its content is not in the store any more.
    #[error("its content is not in the cache any more: run again")]
    Lost(Digest),
    /// The disk is full.
    #[error("no space left on device")]
    Full,
    /// The system did not let it be written.
    #[error("{0}")]
    Failed(String),
}

impl Refused {
    /// The stable code of this reason.
    pub fn code(&self) -> &'static str {
        match self {
            Refused::Twice { .. } => "export::twice",
            Refused::Protected(_) => "export::protected",
            Refused::BadPath => "export::bad-path",
            Refused::LeavesProject(_) | Refused::Link => "export::link",
            Refused::InTheWay(_) => "export::in-the-way",
            Refused::Lost(_) => "export::lost",
            Refused::Full => "export::full",
            Refused::Failed(_) => "export::failed",
        }
    }

    /// What the user can do.
    pub fn hint(&self) -> String {
        match self {
            Refused::Twice { .. } => {
                "let each instance write a name of its own, for instance one with `{item}` in it"
            }
            Refused::Protected(_) | Refused::BadPath => "let the task write another name",
            Refused::LeavesProject(_) | Refused::Link => {
                "remove the link, or let the task write another name"
            }
            Refused::InTheWay(_) => "move it away, or let the task write another name",
            Refused::Lost(_) => "run again",
            Refused::Full => {
                "free some space there and run again: the results are kept in the cache"
            }
            Refused::Failed(_) => {
                "see that you may write there, and run again: the results are kept in the cache"
            }
        }
        .to_owned()
    }

    fn io(error: &io::Error) -> Refused {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Refused::Full,
            _ => Refused::Failed(error.to_string()),
        }
    }
}

/// What was done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Materialised {
    /// Paths that were written, sorted.
    pub written: Vec<String>,
    /// Paths that were right already, sorted.
    pub unchanged: Vec<String>,
    /// Paths that were not written, sorted, and why.
    pub refused: Vec<(String, Refused)>,
}

/// What no output may replace.
#[derive(Debug, Clone, Default)]
pub struct Protected {
    /// Files and folders below the project (relative, `/`-separated); what lies in such a folder is meant too.
    pub paths: Vec<String>,
}

/// Writes `outputs` below `root`.
///
/// # Errors
/// When `root` itself cannot be opened. What befalls single outputs is in [`Materialised::refused`].
pub fn materialise(
    store: &Store,
    root: &Path,
    outputs: Vec<Output>,
    protected: &Protected,
) -> io::Result<Materialised> {
    let root = root.canonicalize()?;
    let root_fd = rustix::fs::openat(
        CWD,
        &root,
        OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let mut done = Materialised::default();
    let wanted = sort_out(outputs, protected, &mut done);
    let wanted = unchanged(store, &root, wanted, &mut done);
    let place = Place {
        store,
        root: &root,
        root_fd,
        protected,
        swept: RefCell::default(),
    };
    for output in wanted {
        match place.write(&output) {
            Ok(()) => done.written.push(output.path),
            Err(reason) => done.refused.push((output.path, reason)),
        }
    }
    done.unchanged.sort();
    done.refused.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(done)
}

/// Refuses what no look at the disk is needed for. What is left is sorted by path.
fn sort_out(outputs: Vec<Output>, protected: &Protected, done: &mut Materialised) -> Vec<Output> {
    let mut by_path: BTreeMap<String, Output> = BTreeMap::new();
    let mut twice: BTreeMap<String, Refused> = BTreeMap::new();
    for output in outputs {
        if check_path(&output.path).is_err() {
            done.refused.push((output.path, Refused::BadPath));
        } else if let Some(what) = protector(&output.path, protected) {
            done.refused.push((output.path, Refused::Protected(what)));
        } else if let Some(other) = by_path.get(&output.path) {
            let (first, second) = (other.label.clone(), output.label);
            twice
                .entry(output.path)
                .or_insert(Refused::Twice { first, second });
        } else {
            by_path.insert(output.path.clone(), output);
        }
    }
    // Neither is right: which of them would win would depend on nothing.
    twice.keys().for_each(|path| drop(by_path.remove(path)));
    done.refused.extend(twice);
    by_path.into_values().collect()
}

/// The part of `path` below which no guest's file is ever written: code of its own would run outside the sandbox by the
/// next commit or run.
pub(crate) fn never_written(path: &str) -> Option<&str> {
    // On file systems without case, `.GIT` is `.git`.
    path.split('/')
        .find(|name| name.eq_ignore_ascii_case(".git") || name.eq_ignore_ascii_case(".sykli"))
}

/// What keeps `path` from being written, if anything does.
fn protector(path: &str, protected: &Protected) -> Option<String> {
    if let Some(name) = never_written(path) {
        return Some(name.to_owned());
    }
    let covers = |what: &&String| {
        let what = what.trim_end_matches('/');
        let inside = |outer: &str, inner: &str| {
            inner
                .strip_prefix(outer)
                .is_some_and(|rest| rest.starts_with('/'))
        };
        path == what || inside(what, path) || inside(path, what)
    };
    protected.paths.iter().find(covers).cloned()
}

/// Takes out what is there already with the right content; sets the executable bit where only that differs.
fn unchanged(
    store: &Store,
    root: &Path,
    wanted: Vec<Output>,
    done: &mut Materialised,
) -> Vec<Output> {
    let paths: Vec<PathBuf> = wanted
        .iter()
        .map(|output| root.join(&output.path))
        .collect();
    let same_size = |(output, path): &(&Output, &PathBuf)| {
        std::fs::symlink_metadata(path)
            .is_ok_and(|found| found.is_file() && found.len() == output.size)
    };
    let candidates: Vec<PathBuf> = wanted
        .iter()
        .zip(&paths)
        .filter(same_size)
        .map(|(_, path)| path.clone())
        .collect();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let digests = digest_paths(store, &candidates, threads);
    let known: BTreeMap<&PathBuf, Digest> = candidates
        .iter()
        .zip(digests)
        .filter_map(|(path, found)| Some((path, found.ok()?.digest)))
        .collect();
    let mut rest = Vec::new();
    for (output, path) in wanted.into_iter().zip(&paths) {
        // Reached through a link, it would not be where it belongs.
        let in_place = known.get(path) == Some(&output.digest)
            && path.parent().is_some_and(|folder| {
                folder
                    .canonicalize()
                    .is_ok_and(|real| real.starts_with(root))
            });
        if in_place && set_executable(path, output.executable).is_ok() {
            done.unchanged.push(output.path);
        } else {
            rest.push(output);
        }
    }
    rest
}

fn set_executable(path: &Path, executable: bool) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::symlink_metadata(path)?.permissions().mode();
    // Whoever may read it may execute it.
    let wanted = if executable {
        mode | ((mode & 0o444) >> 2)
    } else {
        mode & !0o111
    };
    if wanted == mode || (executable && mode & 0o100 != 0) {
        return Ok(());
    }
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(wanted))
}

struct Place<'a> {
    store: &'a Store,
    root: &'a Path,
    root_fd: OwnedFd,
    protected: &'a Protected,
    /// Folders in which what killed processes left is removed.
    swept: RefCell<BTreeSet<String>>,
}

impl Place<'_> {
    fn write(&self, output: &Output) -> Result<(), Refused> {
        let (folder, name) = output.path.rsplit_once('/').unwrap_or(("", &output.path));
        let folder_fd = self.folder(folder, name)?;
        if self.swept.borrow_mut().insert(folder.to_owned()) {
            temp::sweep(&folder_fd);
        }
        match rustix::fs::statat(&folder_fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) => match rustix::fs::FileType::from_raw_mode(found.st_mode) {
                rustix::fs::FileType::Symlink => return Err(Refused::Link),
                rustix::fs::FileType::Directory => {
                    return Err(Refused::InTheWay(output.path.clone()));
                }
                _ => {}
            },
            Err(Errno::NOENT) => {}
            Err(error) => return Err(failed(error)),
        }
        let faults = InputFaults::default();
        let source = self.store.source(output.digest, output.size, &faults);
        let temp = Temp::create(&folder_fd, output.executable).map_err(failed)?;
        let copied = copy(&source, &temp.file);
        if !faults.found().is_empty() {
            return Err(Refused::Lost(output.digest));
        }
        copied.map_err(|error| Refused::io(&error))?;
        temp.rename(name).map_err(|error| match error {
            Errno::ISDIR | Errno::NOTDIR | Errno::EXIST | Errno::NOTEMPTY => {
                Refused::InTheWay(output.path.clone())
            }
            error => failed(error),
        })
    }

    /// Opens the folder that an output goes to, making what is missing. No step follows a link: where one is on the way
    /// and ends inside the project, its end is walked to instead.
    fn folder(&self, folder: &str, name: &str) -> Result<OwnedFd, Refused> {
        match self.walk(folder) {
            Err(Step::Link(at)) => {
                let real = self
                    .root
                    .join(&at)
                    .canonicalize()
                    .map_err(|_| Refused::InTheWay(at.clone()))?;
                let Some(real) = real.strip_prefix(self.root).ok().and_then(Path::to_str) else {
                    return Err(Refused::LeavesProject(at));
                };
                let rest = folder.get(at.len()..).unwrap_or_default();
                let resolved = format!("{real}{rest}");
                let resolved = resolved.trim_start_matches('/');
                // What is protected is so by every name: a link must not lead around it.
                let real_path = format!("{resolved}/{name}");
                let real_path = real_path.trim_start_matches('/');
                if let Some(what) = protector(real_path, self.protected) {
                    return Err(Refused::Protected(what));
                }
                // One more link after that is one too many: nobody needs it, and a circle ends here.
                self.walk(resolved).map_err(|step| match step {
                    Step::Link(at) => Refused::LeavesProject(at),
                    Step::Refused(reason) => reason,
                })
            }
            Err(Step::Refused(reason)) => Err(reason),
            Ok(fd) => Ok(fd),
        }
    }

    fn walk(&self, folder: &str) -> Result<OwnedFd, Step> {
        let mut at = self
            .root_fd
            .try_clone()
            .map_err(|error| Step::Refused(Refused::io(&error)))?;
        let mut end = 0;
        for name in folder.split('/').filter(|name| !name.is_empty()) {
            end = folder
                .get(end..)
                .and_then(|rest| rest.find(name))
                .map_or(end, |found| end + found)
                + name.len();
            let path = || folder.get(..end).unwrap_or(folder).to_owned();
            let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let open = || rustix::fs::openat(&at, name, flags, Mode::empty());
            let opened = match open() {
                Err(Errno::NOENT) => {
                    match rustix::fs::mkdirat(&at, name, Mode::from_raw_mode(0o777)) {
                        Ok(()) | Err(Errno::EXIST) => open(),
                        Err(error) => Err(error),
                    }
                }
                outcome => outcome,
            };
            at = match opened {
                Ok(next) => next,
                Err(Errno::LOOP | Errno::NOTDIR) => {
                    let link = rustix::fs::statat(&at, name, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(
                        |found| rustix::fs::FileType::from_raw_mode(found.st_mode).is_symlink(),
                    );
                    return Err(if link {
                        Step::Link(path())
                    } else {
                        Step::Refused(Refused::InTheWay(path()))
                    });
                }
                Err(error) => return Err(Step::Refused(failed(error))),
            };
        }
        Ok(at)
    }
}

enum Step {
    Link(String),
    Refused(Refused),
}

fn failed(error: Errno) -> Refused {
    Refused::io(&io::Error::from(error))
}

fn copy(source: &Source, mut file: &File) -> io::Result<()> {
    let mut buffer =
        vec![0; COPY_BYTES.min(usize::try_from(source.len()).unwrap_or(COPY_BYTES).max(1))];
    let mut offset = 0;
    while offset < source.len() {
        let count = source.read_at(&mut buffer, offset)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        file.write_all(buffer.get(..count).unwrap_or_default())?;
        offset += count as u64;
    }
    Ok(())
}
