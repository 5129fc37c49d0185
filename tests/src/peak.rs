//! How much memory a process took at most, as the kernel counted it. Only tests call it.

use std::io::{self, Read};
use std::process::{Command, Stdio};
use std::thread;

use crate::Ran;

/// Runs a command to its end; beside what it came to, the most memory that was resident at once, in bytes.
///
/// Until it starts, the new process shares this one's memory, and the kernel counts that too: a test that measures keeps
/// itself small.
#[must_use]
#[allow(
    clippy::zombie_processes,
    reason = "it is waited for, by its number: the standard library's wait does not tell what it used"
)]
pub fn peak(command: &mut Command) -> (Ran, u64) {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command starts");
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let (stdout, stderr) = thread::scope(|scope| {
        let err = scope.spawn(move || text(err));
        (text(out), err.join().expect("a stream can be read"))
    });
    let (status, usage) = wait(child.id()).expect("a child can be waited for");
    let code = libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status));
    let peak = u64::try_from(usage.ru_maxrss).unwrap_or_default() << 10;
    let ran = Ran {
        code,
        stdout,
        stderr,
    };
    (ran, peak)
}

/// The most memory that was resident at once in any process that this one has started and waited for, in bytes; theirs
/// included.
///
/// # Panics
/// Where the system does not tell.
#[must_use]
#[allow(
    unsafe_code,
    reason = "the standard library does not tell what children used"
)]
pub fn children_peak() -> u64 {
    // SAFETY: `rusage` is plain numbers, for which all bits zero is a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a live value of the type asked for.
    let got = unsafe { libc::getrusage(libc::RUSAGE_CHILDREN, &raw mut usage) };
    assert_eq!(got, 0, "a process can ask about its children");
    u64::try_from(usage.ru_maxrss).unwrap_or_default() << 10
}

fn text(stream: Option<impl Read>) -> String {
    let mut bytes = Vec::new();
    stream
        .expect("the stream is a pipe")
        .read_to_end(&mut bytes)
        .expect("a stream can be read");
    String::from_utf8_lossy(&bytes).into_owned()
}

#[allow(
    unsafe_code,
    reason = "the standard library does not tell what a child used"
)]
fn wait(pid: u32) -> io::Result<(libc::c_int, libc::rusage)> {
    let pid = libc::pid_t::try_from(pid).map_err(io::Error::other)?;
    let mut status = 0;
    // SAFETY: `rusage` is plain numbers, for which all bits zero is a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to live values of the types asked for, and nobody else waits for this child.
    let waited = unsafe { libc::wait4(pid, &raw mut status, 0, &raw mut usage) };
    if waited == pid {
        Ok((status, usage))
    } else {
        Err(io::Error::last_os_error())
    }
}
