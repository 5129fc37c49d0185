//! One child: started, asked, killed.
//!
//! Dropped, it is killed and collected, so that none outlives its use. Reading never waits longer than its caller allows.
//! Called by the pool, and by whoever has taken a child from it.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Signal;
use sykli_runtime::Code;

use super::frame::{self, Reader};
use super::message::{ToChild, ToParent};
use super::{Confinement, Kind, Lost, MARKER, START};

/// How long a child may take to read an answer.
const WRITE: Duration = Duration::from_secs(10);
/// How long a child that has closed its socket may take to be gone.
const END: Duration = Duration::from_secs(1);

/// What a child is a process of.
#[derive(Clone, Debug)]
pub struct Program {
    which: Which,
    /// Whether it knows what a rehearsal is.
    rehearses: bool,
}

#[derive(Clone, Debug)]
enum Which {
    At(PathBuf),
    /// A thread of this process that does this, unconfined.
    #[cfg(test)]
    Thread(fn(&UnixStream)),
}

impl Program {
    /// The program that runs now, also where its file has been replaced meanwhile; it has to ask [`super::child`].
    #[must_use]
    pub fn this() -> Program {
        #[cfg(test)]
        return Program::like(super::guest::serve);
        #[cfg(not(test))]
        Program::at(running())
    }

    /// The program at `path`.
    #[must_use]
    pub fn at(path: PathBuf) -> Program {
        Program {
            which: Which::At(path),
            rehearses: true,
        }
    }

    /// Another program at `path`, which stands for this one.
    #[cfg(test)]
    pub(super) fn instead(path: PathBuf) -> Program {
        Program {
            which: Which::At(path),
            rehearses: false,
        }
    }

    pub(super) fn rehearses(&self) -> bool {
        self.rehearses
    }

    /// A child that is a thread of this process and does this.
    #[cfg(test)]
    pub(super) fn like(what: fn(&UnixStream)) -> Program {
        Program {
            which: Which::Thread(what),
            rehearses: false,
        }
    }
}

#[cfg(not(test))]
fn running() -> PathBuf {
    match cfg!(target_os = "linux") {
        true => PathBuf::from("/proc/self/exe"),
        false => std::env::current_exe().unwrap_or_default(),
    }
}

/// See the module.
pub(super) struct Child {
    process: Option<std::process::Child>,
    socket: UnixStream,
    reader: Reader,
    given_up: Option<Confinement>,
    rehearsing: bool,
}

/// How a child ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Death {
    how: String,
    signal: Option<i32>,
}

impl Death {
    /// Whether its time on a processor was used up.
    pub(super) fn is_of_time(&self) -> bool {
        self.signal == Some(Signal::XCPU.as_raw())
    }
}

impl fmt::Display for Death {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.how)
    }
}

/// What reading came to.
pub(super) enum Heard {
    /// A message and its body.
    Message(ToParent, Vec<u8>),
    /// Nothing yet.
    Nothing,
    /// The child is gone.
    End,
}

impl Child {
    /// Starts one. It is not ready then.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn start(program: &Program, kind: Kind) -> io::Result<Child> {
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_write_timeout(Some(WRITE))?;
        let process = match &program.which {
            Which::At(path) => Some(spawn(path, kind, theirs.into())?),
            #[cfg(test)]
            Which::Thread(what) => {
                let what = *what;
                std::thread::spawn(move || what(&theirs));
                None
            }
        };
        Ok(Child {
            process,
            socket: ours,
            reader: Reader::default(),
            given_up: None,
            rehearsing: false,
        })
    }

    /// Has it run what does nothing, as soon as it has given up what it can; it is ready after that.
    ///
    /// # Errors
    /// Where it is gone.
    pub(super) fn rehearse(&mut self, component: [u8; 32], code: &Code) -> io::Result<()> {
        let rehearse = ToChild::Rehearse {
            component,
            description: String::from_utf8_lossy(code.description()).into_owned(),
            code_bytes: code.len(),
        };
        self.tell(&rehearse, &[], Some(code.file().as_fd()))?;
        self.rehearsing = true;
        Ok(())
    }

    /// Waits until it is ready; what it gave up.
    ///
    /// # Errors
    /// Where it does not get ready.
    pub(super) fn ready(&mut self) -> Result<Confinement, Lost> {
        let until = Instant::now() + START;
        while self.given_up.is_none() || self.rehearsing {
            let left = until.saturating_duration_since(Instant::now());
            match self.hear(left) {
                Ok(Heard::Message(ToParent::Ready { given_up }, _)) => {
                    self.given_up = Some(given_up);
                }
                Ok(Heard::Message(ToParent::Rehearsed, _)) => self.rehearsing = false,
                Ok(Heard::Nothing) if !left.is_zero() => {}
                Ok(Heard::End) => return Err(Lost::NotStarted(self.death().to_string())),
                Ok(_) => return Err(Lost::NotStarted("it does not get ready".to_owned())),
                Err(error) => return Err(Lost::NotStarted(error.to_string())),
            }
        }
        Ok(self.given_up.clone().unwrap_or_default())
    }

    /// What it gave up, once it is ready.
    pub(super) fn given_up(&self) -> Option<&Confinement> {
        self.given_up.as_ref()
    }

    /// Whether it lives, as far as the system tells.
    pub(super) fn is_alive(&mut self) -> bool {
        let process = self.process.as_mut();
        process.is_none_or(|process| matches!(process.try_wait(), Ok(None)))
    }

    /// Tells it something, with a descriptor where one is named.
    ///
    /// # Errors
    /// Where it is gone, or does not read.
    pub(super) fn tell(
        &self,
        message: &ToChild,
        body: &[u8],
        file: Option<BorrowedFd<'_>>,
    ) -> io::Result<()> {
        frame::send(&self.socket, message, body, file)
    }

    /// The next message, waited for as long as said.
    ///
    /// # Errors
    /// Where it sends what is no message.
    pub(super) fn hear(&mut self, wait: Duration) -> io::Result<Heard> {
        if let Some((message, body)) = self.reader.next()? {
            return Ok(Heard::Message(message, body));
        }
        let mut polled = [PollFd::new(&self.socket, PollFlags::IN)];
        let wait = Timespec::try_from(wait).ok();
        match poll(&mut polled, wait.as_ref()) {
            Ok(0) | Err(rustix::io::Errno::INTR) => return Ok(Heard::Nothing),
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        match self.reader.fill(&self.socket) {
            Ok(true) => {}
            Ok(false) => return Ok(Heard::End),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(Heard::End),
            Err(error) => return Err(error),
        }
        Ok(match self.reader.next()? {
            Some((message, body)) => Heard::Message(message, body),
            None => Heard::Nothing,
        })
    }

    /// Kills it, and says how it ended: by itself, or by this.
    pub(super) fn death(&mut self) -> Death {
        // Whoever closed the socket by itself is about to be gone.
        let _ = self.socket.shutdown(std::net::Shutdown::Both);
        let ended = self.process.as_mut().and_then(|process| {
            gone(process);
            process.try_wait().ok().flatten()
        });
        self.kill();
        let signal = ended.and_then(|status| status.signal());
        let how = match (signal, ended.and_then(|status| status.code())) {
            (Some(signal), _) => format!("killed by signal {signal}"),
            (None, Some(code)) => format!("it exited with code {code}"),
            (None, None) => "it said nothing more".to_owned(),
        };
        Death { how, signal }
    }

    /// Kills it and waits until it is gone: nobody writes to what it was lent any more.
    pub(super) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            // It may be gone already.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill();
    }
}

fn spawn(path: &Path, kind: Kind, socket: OwnedFd) -> io::Result<std::process::Child> {
    Command::new(path)
        .arg0("sykli-task")
        .arg(MARKER)
        .arg(match kind {
            Kind::Sealed => "sealed",
            Kind::Net => "net",
        })
        .env_clear()
        .current_dir("/")
        // Ctrl-C is for the node, which lets its guests finish.
        .process_group(0)
        .stdin(Stdio::from(socket))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
}

/// Waits until the process has ended, or a moment.
#[cfg(target_os = "linux")]
fn gone(process: &std::process::Child) {
    use rustix::process::{Pid, PidfdFlags, pidfd_open};
    if let Ok(ends) = pidfd_open(Pid::from_child(process), PidfdFlags::empty()) {
        let mut polled = [PollFd::new(&ends, PollFlags::IN)];
        // What came of it is asked for in any case.
        let _ = poll(&mut polled, Timespec::try_from(END).ok().as_ref());
    }
}

#[cfg(not(target_os = "linux"))]
fn gone(_: &std::process::Child) {}
