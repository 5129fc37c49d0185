//! A process that is held at a line of its log: what it says on standard error goes through a pipe with room for one line,
//! which is looked at before it is taken out. While the line in question stays in there, the process can do what it does
//! up to its next line, and no more. So a test can kill it, or cut its link, exactly between two steps, without a hook in
//! the product. Linux only; called by tests alone.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What is waited for comes, or the test is over: no measure of speed.
const PATIENCE: Duration = Duration::from_secs(120);
/// The longest line: what a pipe with one page holds.
const LINE: usize = 4096;

/// See the module. Killed when it is dropped.
#[derive(Debug)]
pub struct Halting {
    child: Child,
    said: Arc<Said>,
}

#[derive(Debug, Default)]
struct Said {
    now: Mutex<Now>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Now {
    /// Its log.
    log: Vec<String>,
    /// Its standard output.
    out: Vec<String>,
    /// The part of a line of the log at which it is held next.
    at: Option<String>,
    held: bool,
    /// Streams that have ended.
    ended: usize,
}

impl Said {
    fn lock(&self) -> MutexGuard<'_, Now> {
        // Whoever waits in vain panics with it.
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `is` finds what it looks for.
    #[track_caller]
    fn wait<T>(&self, what: &str, mut is: impl FnMut(&Now) -> Option<T>) -> T {
        let until = Instant::now() + PATIENCE;
        let mut now = self.lock();
        loop {
            if let Some(found) = is(&now) {
                return found;
            }
            let left = until.saturating_duration_since(Instant::now());
            let over = left.is_zero() || now.ended == 2;
            assert!(
                !over,
                "never {what}:\n{}\n{}",
                now.log.join("\n"),
                now.out.join("\n")
            );
            let waited = self.changed.wait_timeout(now, left);
            now = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn tell(&self, change: impl FnOnce(&mut Now)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }
}

impl Halting {
    /// Starts a command; with a part of a line of its log at which it is held for the first time.
    ///
    /// # Panics
    /// Where it does not start.
    #[track_caller]
    #[must_use]
    pub fn start(mut command: Command, at: Option<&str>) -> Halting {
        let (log, writes) = narrow_pipe().expect("a pipe can be made");
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(writes)
            .spawn()
            .expect("it starts");
        // With it goes this process's own end of the pipe.
        drop(command);
        let said = Arc::new(Said::default());
        said.lock().at = at.map(str::to_owned);
        let out = child.stdout.take().expect("it is piped");
        let (to, log_to) = (Arc::clone(&said), Arc::clone(&said));
        std::thread::spawn(move || {
            for line in BufReader::new(out).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).into_owned();
                to.tell(|now| now.out.push(line));
            }
            to.tell(|now| now.ended += 1);
        });
        std::thread::spawn(move || {
            let read = watch(&log, &log_to);
            log_to.tell(|now| {
                now.ended += 1;
                if let Err(error) = read {
                    now.log.push(format!("the log cannot be read: {error}"));
                }
            });
        });
        Halting { child, said }
    }

    /// Holds it at the next line of its log with this in it.
    pub fn halt_at(&self, part: &str) {
        self.said.tell(|now| now.at = Some(part.to_owned()));
    }

    /// Waits until it is held.
    ///
    /// # Panics
    /// Where it ends, or a long time passes, before that.
    #[track_caller]
    pub fn halted(&self) {
        self.said.wait("held", |now| now.held.then_some(()));
    }

    /// Lets it go on.
    pub fn go_on(&self) {
        self.said.tell(|now| now.held = false);
    }

    /// Holds it nowhere any more.
    fn let_go(&self) {
        self.said.tell(|now| {
            now.held = false;
            now.at = None;
        });
    }

    /// Waits for a line of its log, after the first `from` of them, with this in it.
    ///
    /// # Panics
    /// Where it ends, or a long time passes, without one.
    #[track_caller]
    pub fn logged(&self, from: usize, part: &str) -> String {
        self.said.wait(part, |now| {
            let mut lines = now.log.iter().skip(from);
            lines.find(|line| line.contains(part)).cloned()
        })
    }

    /// The same, or until it ends.
    ///
    /// # Panics
    /// Where a long time passes without either.
    #[track_caller]
    pub fn logged_or_ended(&self, from: usize, part: &str) {
        self.said.wait(part, |now| {
            let mut lines = now.log.iter().skip(from);
            let there = lines.any(|line| line.contains(part));
            (there || now.ended == 2).then_some(())
        });
    }

    /// The same for its standard output.
    ///
    /// # Panics
    /// Where it ends, or a long time passes, without one.
    #[track_caller]
    pub fn said(&self, part: &str) -> String {
        self.said.wait(part, |now| {
            now.out.iter().find(|line| line.contains(part)).cloned()
        })
    }

    /// Waits until its log is as it should be.
    ///
    /// # Panics
    /// Where it ends, or a long time passes, before that.
    #[track_caller]
    pub fn log_is(&self, what: &str, mut is: impl FnMut(&[String]) -> bool) {
        self.said.wait(what, |now| is(&now.log).then_some(()));
    }

    /// All that it said until now, for whoever looks for what went wrong.
    #[must_use]
    pub fn text(&self) -> String {
        let now = self.said.lock();
        format!("{}\n{}", now.log.join("\n"), now.out.join("\n"))
    }

    /// Its log until now.
    #[must_use]
    pub fn log(&self) -> Vec<String> {
        self.said.lock().log.clone()
    }

    /// Its standard output until now.
    #[must_use]
    pub fn out(&self) -> Vec<String> {
        self.said.lock().out.clone()
    }

    /// `kill -9`. What it has said until then can be read all the same.
    ///
    /// # Panics
    /// Where it cannot be killed.
    pub fn kill(&mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it can be waited for");
        self.let_go();
        self.read_to_the_end();
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// Where it does not come for a long time.
    #[track_caller]
    pub fn ended(&mut self) -> ExitStatus {
        self.read_to_the_end();
        self.child.wait().expect("it can be waited for")
    }

    #[track_caller]
    fn read_to_the_end(&self) {
        let until = Instant::now() + PATIENCE;
        let mut now = self.said.lock();
        while now.ended < 2 {
            let left = until.saturating_duration_since(Instant::now());
            assert!(
                !left.is_zero(),
                "never ended:\n{}\n{}",
                now.log.join("\n"),
                now.out.join("\n")
            );
            let waited = self.said.changed.wait_timeout(now, left);
            now = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Drop for Halting {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.let_go();
    }
}

/// Takes lines out of the pipe, once they may be. Until its last writer is gone.
fn watch(mut log: &File, said: &Said) -> io::Result<()> {
    let (mut copy, copies) = pipe(0)?;
    let mut line = vec![0; LINE];
    loop {
        let length = tee(log, &copies)?;
        if length == 0 {
            return Ok(());
        }
        let bytes = line.get_mut(..length).unwrap_or_default();
        copy.read_exact(bytes)?;
        let text = String::from_utf8_lossy(bytes).trim_end().to_owned();
        let mut now = said.lock();
        now.held = now.at.take_if(|at| text.contains(at.as_str())).is_some();
        now.log.push(text);
        said.changed.notify_all();
        while now.held {
            now = said
                .changed
                .wait(now)
                .unwrap_or_else(PoisonError::into_inner);
        }
        drop(now);
        log.read_exact(bytes)?;
    }
}

/// A pipe with room for one write; and what a process writes to it with.
fn narrow_pipe() -> io::Result<(File, OwnedFd)> {
    let (reads, writes) = pipe(libc::O_DIRECT)?;
    let size = libc::c_int::try_from(LINE).map_err(io::Error::other)?;
    set_size(&reads, size)?;
    Ok((reads, OwnedFd::from(writes)))
}

#[allow(unsafe_code, reason = "the standard library's pipes have no flags")]
fn pipe(flags: libc::c_int) -> io::Result<(File, File)> {
    let mut ends = [0; 2];
    // SAFETY: the kernel writes two numbers there.
    if unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC | flags) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: both are new and nobody else's.
    Ok(unsafe { (File::from_raw_fd(ends[0]), File::from_raw_fd(ends[1])) })
}

#[allow(unsafe_code, reason = "the standard library knows no such call")]
fn set_size(pipe: &File, size: libc::c_int) -> io::Result<()> {
    // SAFETY: it takes a number, and touches no memory of ours.
    let done = unsafe { libc::fcntl(pipe.as_raw_fd(), libc::F_SETPIPE_SZ, size) };
    match done < 0 {
        true => Err(io::Error::last_os_error()),
        false => Ok(()),
    }
}

/// Copies what is next in a pipe to another one, and leaves it there. Waits for it; 0 where nobody will write any more.
#[allow(unsafe_code, reason = "the standard library knows no such call")]
fn tee(from: &File, to: &File) -> io::Result<usize> {
    loop {
        // SAFETY: it takes numbers, and touches no memory of ours.
        let length = unsafe { libc::tee(from.as_raw_fd(), to.as_raw_fd(), LINE, 0) };
        match usize::try_from(length) {
            Ok(length) => return Ok(length),
            Err(_) => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_held_between_two_lines() {
        let script = "for n in 1 2 3 4; do echo line $n >&2; echo done $n; done";
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        let mut process = Halting::start(command, Some("line 2"));
        process.halted();
        process.said("done 2");
        assert_eq!(process.log(), ["line 1", "line 2"]);
        assert_eq!(process.out(), ["done 1", "done 2"]);
        process.halt_at("line 4");
        process.go_on();
        process.halted();
        assert_eq!(process.log().len(), 4);
        process.go_on();
        assert!(process.ended().success());
        assert_eq!(process.out().len(), 4);
    }
}
