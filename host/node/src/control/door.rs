//! Who serves: one node a runtime folder, held by a lock, and the socket at which it is reached.
//!
//! The lock is the system's, on `node.lock`: it ends with its process, however that ends. So a socket that a killed node
//! left behind is told from a living node's without asking it, and is replaced. The folder is 0700 and the socket 0600;
//! [`super::server`] asks each peer's user id besides. The lock file stays when a node ends: removing it could let two
//! nodes hold locks on two files of the same name. Called by the command line before a node is started, and to see whether
//! one runs.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::ControlError;
use crate::paths::create_private;

const SOCKET: &str = "control.sock";
const LOCK: &str = "node.lock";
/// How often the lock is tried, a hundredth of a second apart.
const LOOKERS: u32 = 5;

/// Where a node that uses this runtime folder is reached.
#[must_use]
pub fn socket_path(runtime: &Path) -> PathBuf {
    runtime.join(SOCKET)
}

/// The right to be this runtime folder's node, and its socket, which takes connections from now on (they wait until
/// somebody serves). Dropped, the socket is gone and the lock is free.
#[derive(Debug)]
pub struct Door {
    pub(super) listener: UnixListener,
    held: Held,
}

/// What goes away with the node: separate, so that the listener can be taken out.
#[derive(Debug)]
pub(super) struct Held {
    socket: PathBuf,
    lock: File,
}

impl Drop for Held {
    fn drop(&mut self) {
        // The lock is still held: nobody else's socket can be at this path. The file's content is no more than a hint.
        let _ = std::fs::remove_file(&self.socket);
        let _ = self.lock.set_len(0);
    }
}

impl Door {
    /// Takes the lock and makes the socket.
    ///
    /// # Errors
    /// [`ControlError::Running`] where another node holds the lock; otherwise what the system said.
    pub fn claim(runtime: &Path) -> Result<Door, ControlError> {
        create_private(runtime)?;
        let path = runtime.join(LOCK);
        let mut lock = open_lock(&path).map_err(|source| ControlError::socket(&path, source))?;
        match take(&lock) {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(ControlError::Running {
                    pid: written_pid(&mut lock),
                });
            }
            Err(TryLockError::Error(source)) => return Err(ControlError::socket(&path, source)),
        }
        let pid = format!("{}\n", std::process::id());
        lock.set_len(0)
            .and_then(|()| lock.write_all(pid.as_bytes()))
            .map_err(|source| ControlError::socket(&path, source))?;
        let socket = socket_path(runtime);
        let listener = bind(&socket)?;
        Ok(Door {
            listener,
            held: Held { socket, lock },
        })
    }

    /// The listener, and what must be held on to while it serves.
    pub(super) fn open(self) -> (UnixListener, Held) {
        (self.listener, self.held)
    }
}

/// The process that is this runtime folder's node: nothing where none is, 0 where it does not say which.
///
/// # Errors
/// What the system said.
pub fn running(runtime: &Path) -> Result<Option<u32>, ControlError> {
    let path = runtime.join(LOCK);
    let mut lock = match OpenOptions::new().read(true).open(&path) {
        Ok(lock) => lock,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(ControlError::socket(&path, source)),
    };
    // Shared, so that two who only look do not take each other for a node.
    match lock.try_lock_shared() {
        Ok(()) => Ok(None),
        Err(TryLockError::WouldBlock) => Ok(Some(written_pid(&mut lock))),
        Err(TryLockError::Error(source)) => Err(ControlError::socket(&path, source)),
    }
}

/// Somebody who only looks ([`running`]) holds the lock for an instant: that is waited out.
fn take(lock: &File) -> Result<(), TryLockError> {
    for _ in 0..LOOKERS {
        match lock.try_lock() {
            Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(10)),
            answer => return answer,
        }
    }
    lock.try_lock()
}

fn open_lock(path: &Path) -> std::io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
}

fn written_pid(lock: &mut File) -> u32 {
    let mut text = String::new();
    let read = lock.take(32).read_to_string(&mut text);
    read.ok()
        .and_then(|_| text.trim().parse().ok())
        .unwrap_or_default()
}

/// A listening socket where nothing, or a socket that nobody serves, stands. The caller holds the lock.
fn bind(socket: &Path) -> Result<UnixListener, ControlError> {
    let failed = |source| ControlError::socket(socket, source);
    match std::fs::symlink_metadata(socket) {
        Ok(there) if there.file_type().is_socket() => {
            std::fs::remove_file(socket).map_err(failed)?;
        }
        Ok(_) => {
            return Err(ControlError::InTheWay {
                path: socket.to_owned(),
            });
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(source) => return Err(failed(source)),
    }
    let listener = UnixListener::bind(socket).map_err(failed)?;
    // Nobody else can enter the folder, so that there is no moment in which it stood open.
    std::fs::set_permissions(socket, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn one_node_a_folder_and_a_dead_ones_socket_is_replaced() {
        let temp = tempfile::tempdir().unwrap();
        let runtime = temp.path().join("run");
        assert_eq!(running(&runtime).unwrap(), None);
        let door = Door::claim(&runtime).unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!(mode(&runtime), 0o700);
        assert_eq!(mode(&socket_path(&runtime)), 0o600);
        assert_eq!(running(&runtime).unwrap(), Some(std::process::id()));
        let second = Door::claim(&runtime).unwrap_err();
        assert!(matches!(second, ControlError::Running { pid } if pid == std::process::id()));

        drop(door);
        assert!(!socket_path(&runtime).exists());
        assert_eq!(running(&runtime).unwrap(), None);
        // As a killed node leaves it: the socket is there, and nobody holds the lock.
        drop(UnixListener::bind(socket_path(&runtime)).unwrap());
        Door::claim(&runtime).unwrap();
    }

    #[test]
    fn what_is_no_socket_is_left_alone() {
        let temp = tempfile::tempdir().unwrap();
        std::fs::write(socket_path(temp.path()), "mine").unwrap();
        let error = Door::claim(temp.path()).unwrap_err();
        assert_eq!(error.code(), "control::in-the-way");
        assert_eq!(std::fs::read(socket_path(temp.path())).unwrap(), b"mine");
    }

    #[test]
    fn a_path_too_long_for_a_socket_is_said_so() {
        let temp = tempfile::tempdir().unwrap();
        let deep = temp.path().join("x".repeat(120));
        let error = Door::claim(&deep).unwrap_err();
        assert!(error.hint().contains("XDG_RUNTIME_DIR"), "{error}");
    }
}
