//! Brings what a guest changed to the host's folders: `--out` and `--write-back`.
//!
//! Each file appears whole, by `rename`; nothing is written or removed through a link, so that nothing outside the
//! named folders is ever touched. What cannot be brought out is told, the rest is brought out all the same. Called by
//! `exec`, only when the guest ended well.

use std::fs::{File, Permissions};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustix::fs::{AtFlags, Dir, Mode, OFlags, mkdirat, openat, renameat, statat, unlinkat};
use rustix::io::Errno;
use sykli_runtime::{ChangedFile, Changes, Content};

use super::{ExecReport, ExecRequest, OUT};
use crate::materialise::never_written;
use crate::run::failure;

/// Bytes copied at once.
const CHUNK_BYTES: usize = 256 * 1024;
/// Problems that are told one by one.
const MAX_TOLD: usize = 20;
/// Folders nested deeper than this are not removed: a guest's paths are shorter.
const MAX_DEPTH: usize = 2048;

/// Copies what was collected to where the request wants it.
pub(super) fn copy_out(request: &ExecRequest, changes: &[Changes], report: &mut ExecReport) {
    let mut problems = Vec::new();
    for changes in changes {
        let place = match (
            &request.out,
            request
                .dirs
                .iter()
                .find(|dir| dir.guest == changes.guest_path),
        ) {
            (_, Some(dir)) => dir.host.clone(),
            (Some(out), None) if changes.guest_path == OUT => out.clone(),
            _ => continue,
        };
        if let Err(error) = apply(&place, changes, report, &mut problems) {
            problems.push(format!("{}: {error}", place.display()));
        }
    }
    if let Some(first) = problems.first() {
        let message = match problems.len() {
            1 => format!("the guest ended well, but not all it changed could be written: {first}"),
            more => format!("the guest ended well, but {more} files could not be written: {first}"),
        };
        report.exit_code = 1;
        report.failure = Some(failure::plain("exec::copy-out", message, Vec::new()));
        report.warnings.extend(problems.into_iter().take(MAX_TOLD));
    }
}

fn apply(
    place: &Path,
    changes: &Changes,
    report: &mut ExecReport,
    problems: &mut Vec<String>,
) -> io::Result<()> {
    std::fs::create_dir_all(place)?;
    let root = rustix::fs::open(
        place,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    for path in &changes.removed {
        if never_written(path).is_some() {
            problems.push(format!("`{path}` was not removed: {PROTECTED}"));
            continue;
        }
        match remove(&root, path) {
            Ok(()) => report.removed.push(place.join(path)),
            Err(error) => problems.push(format!("`{path}` could not be removed: {error}")),
        }
    }
    for file in &changes.files {
        if never_written(&file.path).is_some() {
            problems.push(format!("`{}` was not written: {PROTECTED}", file.path));
            continue;
        }
        match write(&root, file) {
            Ok(()) => report.written.push(place.join(&file.path)),
            Err(error) => problems.push(format!("`{}`: {error}", file.path)),
        }
    }
    Ok(())
}

const PROTECTED: &str = "no guest writes below .git or .sykli";

/// The folder of `path` below `root`, and the last name. Links on the way are refused; `make` makes what is missing.
fn parent<'a>(root: &OwnedFd, path: &'a str, make: bool) -> io::Result<(OwnedFd, &'a str)> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut folder = openat(root, ".", flags, Mode::empty())?;
    let (folders, name) = path.rsplit_once('/').unwrap_or(("", path));
    for part in folders.split('/').filter(|part| !part.is_empty()) {
        if part == ".." || part == "." {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        folder = match openat(&folder, part, flags, Mode::empty()) {
            Err(Errno::NOENT) if make => {
                mkdirat(&folder, part, Mode::from_raw_mode(0o777))?;
                openat(&folder, part, flags, Mode::empty())?
            }
            Err(Errno::LOOP | Errno::NOTDIR) => {
                return Err(io::Error::other(format!(
                    "`{part}` on the way is no folder"
                )));
            }
            other => other?,
        };
    }
    if name.is_empty() || name == "." || name == ".." {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    Ok((folder, name))
}

fn write(root: &OwnedFd, file: &ChangedFile) -> io::Result<()> {
    let (folder, name) = parent(root, &file.path, true)?;
    // A name of its own for this process: two that write the same folder do not meet.
    let temporary = format!(".sykli-{}.tmp", std::process::id());
    // What has the name already is removed, never written through: it may be a link to something else.
    let _ = unlinkat(&folder, &temporary, AtFlags::empty());
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut to = File::from(openat(
        &folder,
        &temporary,
        flags,
        Mode::from_raw_mode(0o666),
    )?);
    let written = copy(&file.content, &mut to).and_then(|()| {
        if file.executable {
            let mode = to.metadata()?.permissions().mode();
            to.set_permissions(Permissions::from_mode(mode | ((mode & 0o444) >> 2)))?;
        }
        Ok(renameat(&folder, &temporary, &folder, name)?)
    });
    if written.is_err() {
        // The error that matters is the first one.
        let _ = unlinkat(&folder, &temporary, AtFlags::empty());
    }
    written
}

fn copy(content: &Content, to: &mut File) -> io::Result<()> {
    match content {
        Content::Bytes(bytes) => to.write_all(bytes),
        Content::Spooled(spooled) => {
            let mut from = spooled.reopen()?;
            io::copy(&mut from, to).map(drop)
        }
        Content::Unchanged(source) => {
            let mut buffer = vec![0; CHUNK_BYTES];
            let mut offset = 0;
            loop {
                let read = source.read_at(&mut buffer, offset)?;
                if read == 0 {
                    return Ok(());
                }
                to.write_all(buffer.get(..read).unwrap_or_default())?;
                offset += read as u64;
            }
        }
    }
}

fn remove(root: &OwnedFd, path: &str) -> io::Result<()> {
    let (folder, name) = match parent(root, path, false) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    remove_at(&folder, name, 0)
}

/// Removes a file, a link (not what it points to) or a whole folder.
fn remove_at(folder: &OwnedFd, name: &str, depth: usize) -> io::Result<()> {
    if depth > MAX_DEPTH {
        return Err(io::Error::other("folders nested too deeply"));
    }
    let stat = match statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => return Ok(()),
        other => other?,
    };
    if rustix::fs::FileType::from_raw_mode(stat.st_mode) != rustix::fs::FileType::Directory {
        return Ok(unlinkat(folder, name, AtFlags::empty())?);
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let inside = openat(folder, name, flags, Mode::empty())?;
    for entry in Dir::read_from(&inside)? {
        let entry = entry?;
        // What the guest could not see, it has not removed: a folder that holds such a name stays.
        let Ok(child) = entry.file_name().to_str() else {
            continue;
        };
        if child != "." && child != ".." {
            remove_at(&inside, child, depth + 1)?;
        }
    }
    Ok(unlinkat(folder, name, AtFlags::REMOVEDIR)?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::exec::ExecDir;
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::time::Duration;

    fn file(path: &str, bytes: &'static [u8]) -> ChangedFile {
        ChangedFile {
            path: path.to_owned(),
            content: Content::Bytes(bytes.into()),
            executable: false,
        }
    }

    fn bring_out(place: &Path, files: Vec<ChangedFile>, removed: &[&str]) -> ExecReport {
        let mut request = ExecRequest::new("x.wasm");
        request.dirs = vec![ExecDir {
            host: place.to_owned(),
            guest: ".".to_owned(),
        }];
        let removed = removed.iter().map(|path| (*path).to_owned()).collect();
        let changes = [Changes {
            guest_path: ".".to_owned(),
            files,
            removed,
        }];
        let mut report = ExecReport {
            exit_code: 0,
            failure: None,
            written: Vec::new(),
            removed: Vec::new(),
            warnings: Vec::new(),
            fuel: 0,
            peak_memory_bytes: 0,
            wall: Duration::ZERO,
        };
        copy_out(&request, &changes, &mut report);
        report
    }

    #[test]
    fn changes_arrive_and_removals_too() {
        let place = tempfile::tempdir().unwrap();
        fs::write(place.path().join("old"), "old").unwrap();
        fs::create_dir_all(place.path().join("gone/deep")).unwrap();
        fs::write(place.path().join("gone/deep/x"), "x").unwrap();
        let report = bring_out(
            place.path(),
            vec![file("a/b/new", b"new"), file("old", b"newer")],
            &["gone", "never"],
        );
        assert_eq!(report.exit_code, 0, "{:?}", report.failure);
        assert_eq!(fs::read(place.path().join("a/b/new")).unwrap(), b"new");
        assert_eq!(fs::read(place.path().join("old")).unwrap(), b"newer");
        assert!(!place.path().join("gone").exists());
        let names: Vec<_> = fs::read_dir(place.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(names.len(), 2, "no temporary file is left: {names:?}");
    }

    #[test]
    fn nothing_is_written_or_removed_through_a_link() {
        let (place, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(outside.path().join("canary"), "alive").unwrap();
        symlink(outside.path(), place.path().join("link")).unwrap();
        symlink(outside.path().join("canary"), place.path().join("file")).unwrap();
        let report = bring_out(
            place.path(),
            vec![file("link/new", b"x"), file("file", b"mine")],
            &["link/canary"],
        );
        assert_eq!(report.exit_code, 1);
        assert_eq!(report.warnings.len(), 2, "{:?}", report.warnings);
        assert_eq!(fs::read(outside.path().join("canary")).unwrap(), b"alive");
        assert!(!outside.path().join("new").exists());
        assert_eq!(
            fs::read(place.path().join("file")).unwrap(),
            b"mine",
            "the link itself was replaced"
        );
        let report = bring_out(place.path(), Vec::new(), &["link"]);
        assert_eq!(report.exit_code, 0);
        assert!(outside.path().join("canary").exists() && !place.path().join("link").exists());
    }
}
