//! Drives one guest on the calling thread until it ends, its time is over or somebody cancels it.
//!
//! Guests run on wasmtime's async fibers and are polled here, by a loop of some thirty lines instead of an executor:
//! - Fuel is metered anyway (it is a verdict), and a fuel yield hands control back every [`YIELD_FUEL`] units. That is
//!   where deadline and cancel are looked at, so no epochs, no ticker thread and no signal are paid for.
//! - A guest that waits (a real sleep, a socket) is a future that is pending: the thread parks until the waker, the
//!   next sleep's end or the deadline, and a dropped future ends the guest wherever it waits. A synchronous host call
//!   could not be ended at all.
//!
//! No tokio runtime is made for a run; sockets bring their own, once per process, when a guest first uses one.
//!
//! [`YIELD_FUEL`]: crate::limits::YIELD_FUEL

use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Instant;

use crate::host::clocks::Clock;

/// Ends a run from another thread.
#[derive(Clone, Default)]
pub struct CancelToken(Arc<Cancel>);

#[derive(Default)]
struct Cancel {
    flag: AtomicBool,
    waiting: Mutex<Vec<Waker>>,
}

impl CancelToken {
    /// Ends every run that was given this token, and each that will be.
    pub fn cancel(&self) {
        self.0.flag.store(true, Ordering::SeqCst);
        let waiting = std::mem::take(
            &mut *self
                .0
                .waiting
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
        for waker in waiting {
            waker.wake();
        }
    }

    /// Whether [`cancel`](Self::cancel) was called.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.flag.load(Ordering::SeqCst)
    }

    /// Has `waker` woken by `cancel`, until it is forgotten.
    pub(crate) fn register(&self, waker: &Waker) {
        let mut waiting = self
            .0
            .waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if !waiting.iter().any(|known| known.will_wake(waker)) {
            waiting.push(waker.clone());
        }
    }

    pub(crate) fn forget(&self, waker: &Waker) {
        self.0
            .waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|known| !known.will_wake(waker));
    }
}

/// Why a guest was ended from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The token was cancelled.
    Cancelled,
    /// The deadline is over.
    Deadline,
}

/// What ends a guest from outside, and when it next wants to be polled.
pub(crate) struct Control<'a> {
    pub(crate) cancel: &'a CancelToken,
    /// None where the granted time ends after the clock does.
    pub(crate) deadline: Option<Instant>,
}

impl Control<'_> {
    /// What there is to stop for, now.
    pub(crate) fn check(&self) -> Option<Stop> {
        if self.cancel.is_cancelled() {
            return Some(Stop::Cancelled);
        }
        match self.deadline {
            Some(deadline) if Instant::now() >= deadline => Some(Stop::Deadline),
            _ => None,
        }
    }

    /// Polls `future` until it is ready or there is something to stop for. The clock knows when the guest's earliest
    /// real sleep ends.
    ///
    /// # Errors
    /// With what there was to stop for; `future` is dropped then, which unwinds the guest.
    pub(crate) fn drive<F: Future>(&self, future: F, clock: &Clock) -> Result<F::Output, Stop> {
        PARKER.with(|(parker, waker)| {
            let mut future = pin!(future);
            let mut context = Context::from_waker(waker);
            let mut registered = false;
            let ended = loop {
                parker.woken.store(false, Ordering::SeqCst);
                clock.forget_sleeps();
                if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
                    break Ok(output);
                }
                if let Some(stop) = self.check() {
                    break Err(stop);
                }
                // A fuel yield wakes itself at once: go on without parking.
                if parker.woken.load(Ordering::SeqCst) {
                    continue;
                }
                if !registered {
                    self.cancel.register(waker);
                    registered = true;
                }
                self.park(parker, clock.next_wake());
            };
            if registered {
                self.cancel.forget(waker);
            }
            ended
        })
    }

    /// Parks until woken, cancelled, or the earlier of `wake` and the deadline.
    fn park(&self, parker: &Parker, wake: Option<Instant>) {
        let until = match (wake, self.deadline) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        while !parker.woken.load(Ordering::SeqCst) && !self.cancel.is_cancelled() {
            match until {
                None => thread::park(),
                Some(until) => {
                    let left = until.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return;
                    }
                    thread::park_timeout(left);
                }
            }
        }
    }
}

/// Wakes the thread it was made on.
struct Parker {
    thread: Thread,
    woken: AtomicBool,
}

impl Wake for Parker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.store(true, Ordering::SeqCst);
        // A wake from this very thread is a yield; it is running, so there is nobody to unpark.
        if thread::current().id() != self.thread.id() {
            self.thread.unpark();
        }
    }
}

thread_local! {
    /// One a thread, not one a run: a waker that outlives its run only wakes the next one for nothing.
    static PARKER: (Arc<Parker>, Waker) = {
        let parker = Arc::new(Parker { thread: thread::current(), woken: AtomicBool::new(false) });
        (Arc::clone(&parker), Waker::from(parker))
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::clocks::TimeMode;
    use std::time::Duration;

    fn clock() -> Clock {
        Clock::new(TimeMode::Virtual, Instant::now())
    }

    fn control(cancel: &CancelToken, timeout: Duration) -> Control<'_> {
        Control {
            cancel,
            deadline: Instant::now().checked_add(timeout),
        }
    }

    #[test]
    fn a_cancel_wakes_a_parked_run_and_is_forgotten_after() {
        let cancel = CancelToken::default();
        let other = cancel.clone();
        let canceller = thread::spawn(move || {
            // Waits for the run to have parked at least once.
            while other
                .0
                .waiting
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .is_empty()
            {
                thread::yield_now();
            }
            other.cancel();
        });
        let ended = control(&cancel, Duration::from_secs(3600))
            .drive(std::future::pending::<()>(), &clock());
        assert_eq!(ended, Err(Stop::Cancelled));
        assert!(canceller.join().is_ok());
    }

    #[test]
    fn the_deadline_ends_what_never_wakes() {
        let cancel = CancelToken::default();
        let ended = control(&cancel, Duration::from_millis(5))
            .drive(std::future::pending::<()>(), &clock());
        assert_eq!(ended, Err(Stop::Deadline));
    }

    #[test]
    fn a_finished_run_leaves_no_waker_behind() {
        let cancel = CancelToken::default();
        let mut polls = 0;
        let future = std::future::poll_fn(|context| {
            polls += 1;
            let waker = context.waker().clone();
            match polls {
                1 => drop(thread::spawn(move || waker.wake())),
                2 => waker.wake(),
                _ => return Poll::Ready(()),
            }
            Poll::Pending
        });
        assert_eq!(
            control(&cancel, Duration::from_secs(3600)).drive(future, &clock()),
            Ok(())
        );
        assert!(
            cancel
                .0
                .waiting
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .is_empty()
        );
    }
}
