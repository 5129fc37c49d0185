//! This process's standard input as a guest's: read when the guest reads, never ahead, never twice.
//!
//! A guest reads its standard input from the front to the end, so nothing is kept: an offset other than the next is an
//! error. A terminal gives nothing, because a guest that waits for a person cannot be told from one that hangs. While
//! the input has nothing to give, the wait ends when the run is cancelled or its time is over. Called by `exec`.

use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use sykli_runtime::{CancelToken, ReadAt};

/// How long one wait for input lasts before cancellation is looked at again.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Standard input, unless it is a terminal.
pub(super) struct HostStdin {
    next: Mutex<u64>,
    cancel: CancelToken,
    deadline: Option<Instant>,
}

impl HostStdin {
    /// `None` where standard input is a terminal: then there is nothing to read.
    pub(super) fn open(cancel: CancelToken, timeout: Duration) -> Option<HostStdin> {
        if io::stdin().is_terminal() {
            return None;
        }
        Some(HostStdin {
            next: Mutex::new(0),
            cancel,
            deadline: Instant::now().checked_add(timeout),
        })
    }

    fn is_over(&self) -> bool {
        self.cancel.is_cancelled()
            || self
                .deadline
                .is_some_and(|deadline| Instant::now() >= deadline)
    }

    /// Waits until a read would not block; false when the run is over before.
    fn wait(&self, input: &impl AsFd) -> io::Result<bool> {
        let every = Timespec {
            tv_sec: 0,
            tv_nsec: i64::from(LOOK_EVERY.subsec_nanos()),
        };
        while !self.is_over() {
            match poll(&mut [PollFd::new(input, PollFlags::IN)], Some(&every)) {
                Ok(0) | Err(rustix::io::Errno::INTR) => {}
                Ok(_) => return Ok(true),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(false)
    }
}

impl ReadAt for HostStdin {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        if offset != *next {
            return Err(io::Error::other("standard input can only be read forward"));
        }
        let input = io::stdin();
        loop {
            if buf.is_empty() || !self.wait(&input)? {
                return Ok(0);
            }
            match rustix::io::read(&input, &mut *buf) {
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
