//! This process's standard input as a guest's: read when the guest reads, never ahead, never twice.
//!
//! A guest reads its standard input from the front to the end, so nothing is kept: an offset other than the next is an
//! error. A terminal gives nothing, because a guest that waits for a person cannot be told from one that hangs. While
//! the input has nothing to give, the wait ends when the run is cancelled or its time is over; the read fails then, and
//! [`Cut`] remembers it, because a guest that makes the best of a failed read has still been cut short. Called by `exec`.

use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use sykli_runtime::{CancelToken, ReadAt};

/// How long one wait for input lasts before cancellation is looked at again.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Whether a read was given up because the run was over.
#[derive(Clone, Default)]
pub(super) struct Cut(Arc<AtomicBool>);

impl Cut {
    /// Whether any was.
    pub(super) fn happened(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// Standard input, unless it is a terminal.
pub(super) struct HostStdin {
    input: OwnedFd,
    next: Mutex<u64>,
    cancel: CancelToken,
    deadline: Option<Instant>,
    cut: Cut,
}

impl HostStdin {
    /// `None` where standard input is a terminal, or closed: then there is nothing to read.
    pub(super) fn open(cancel: CancelToken, timeout: Duration, cut: Cut) -> Option<HostStdin> {
        let input = io::stdin();
        if input.is_terminal() {
            return None;
        }
        Some(HostStdin::new(
            input.as_fd().try_clone_to_owned().ok()?,
            cancel,
            timeout,
            cut,
        ))
    }

    fn new(input: OwnedFd, cancel: CancelToken, timeout: Duration, cut: Cut) -> HostStdin {
        HostStdin {
            input,
            next: Mutex::new(0),
            cancel,
            deadline: Instant::now().checked_add(timeout),
            cut,
        }
    }

    fn is_over(&self) -> bool {
        self.cancel.is_cancelled()
            || self
                .deadline
                .is_some_and(|deadline| Instant::now() >= deadline)
    }

    /// Waits until a read would not block.
    fn wait(&self) -> io::Result<()> {
        let every = Timespec {
            tv_sec: 0,
            tv_nsec: i64::from(LOOK_EVERY.subsec_nanos()),
        };
        while !self.is_over() {
            match poll(&mut [PollFd::new(&self.input, PollFlags::IN)], Some(&every)) {
                Ok(0) | Err(rustix::io::Errno::INTR) => {}
                Ok(_) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
        self.cut.0.store(true, Ordering::Release);
        Err(io::ErrorKind::TimedOut.into())
    }
}

impl ReadAt for HostStdin {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        if offset != *next {
            return Err(io::Error::other("standard input can only be read forward"));
        }
        if buf.is_empty() {
            return Ok(0);
        }
        loop {
            self.wait()?;
            match rustix::io::read(&self.input, &mut *buf) {
                Ok(read) => {
                    *next = next.saturating_add(read as u64);
                    return Ok(read);
                }
                Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Nobody knows before the end is there.
    fn len(&self) -> u64 {
        u64::MAX
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::io::Write;

    const LONG: Duration = Duration::from_secs(3600);

    #[test]
    fn what_is_written_is_read_once_and_forward() {
        let (reader, mut writer) = io::pipe().unwrap();
        let cut = Cut::default();
        let stdin = HostStdin::new(reader.into(), CancelToken::default(), LONG, cut.clone());
        writer.write_all(b"some text").unwrap();
        let mut buf = [0; 4];
        assert_eq!((stdin.read_at(&mut buf, 0).unwrap(), &buf), (4, b"some"));
        assert!(stdin.read_at(&mut buf, 0).is_err());
        assert_eq!((stdin.read_at(&mut buf, 4).unwrap(), &buf), (4, b" tex"));
        drop(writer);
        assert_eq!(stdin.read_at(&mut buf, 8).unwrap(), 1);
        assert_eq!(stdin.read_at(&mut buf, 9).unwrap(), 0);
        assert!(!cut.happened());
    }

    #[test]
    fn waiting_for_input_ends_with_the_run_and_that_is_remembered() {
        for cancelled in [true, false] {
            let (reader, _writer) = io::pipe().unwrap();
            let (cut, cancel) = (Cut::default(), CancelToken::default());
            let timeout = if cancelled { LONG } else { Duration::ZERO };
            let stdin = HostStdin::new(reader.into(), cancel.clone(), timeout, cut.clone());
            if cancelled {
                cancel.cancel();
            }
            assert_eq!(
                stdin.read_at(&mut [0; 4], 0).unwrap_err().kind(),
                io::ErrorKind::TimedOut
            );
            assert!(cut.happened());
        }
    }
}
