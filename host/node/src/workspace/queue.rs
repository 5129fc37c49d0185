//! Jobs that make more jobs, shared by several threads.
//!
//! Last in, first out: a walk goes down one way before it begins the next, so that what waits is the siblings along
//! that way and not a whole level of the tree. It knows nothing of what a job is and starts no thread. Called by the
//! walk of the project's folders.

use crate::db::lock;
use std::sync::{Condvar, Mutex, PoisonError};

/// The jobs that wait.
pub(super) struct Queue<J> {
    state: Mutex<State<J>>,
    wake: Condvar,
}

struct State<J> {
    jobs: Vec<J>,
    /// Jobs that were taken and are not done: each may still make others.
    busy: usize,
    stopped: bool,
}

/// A job that was taken. Until this is dropped, also by a panic, the others wait for what it may make.
pub(super) struct Taken<'q, J> {
    queue: &'q Queue<J>,
}

impl<J> Queue<J> {
    pub(super) fn new(jobs: Vec<J>) -> Queue<J> {
        Queue {
            state: Mutex::new(State {
                jobs,
                busy: 0,
                stopped: false,
            }),
            wake: Condvar::new(),
        }
    }

    /// Adds jobs, the last of them to be taken first. Returns how many wait.
    pub(super) fn push(&self, jobs: Vec<J>) -> usize {
        let mut state = lock(&self.state);
        match jobs.len() {
            0 => {}
            1 => self.wake.notify_one(),
            _ => self.wake.notify_all(),
        }
        state.jobs.extend(jobs);
        state.jobs.len()
    }

    /// The next job; waits for one while others are busy. `None` once all is done, or stopped.
    pub(super) fn take(&self) -> Option<(J, Taken<'_, J>)> {
        let mut state = lock(&self.state);
        loop {
            if state.stopped {
                return None;
            }
            if let Some(job) = state.jobs.pop() {
                state.busy += 1;
                return Some((job, Taken { queue: self }));
            }
            if state.busy == 0 {
                return None;
            }
            state = self
                .wake
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Nothing more is taken: what is found cannot be used any more.
    pub(super) fn stop(&self) {
        lock(&self.state).stopped = true;
        self.wake.notify_all();
    }
}

impl<J> Drop for Taken<'_, J> {
    fn drop(&mut self) {
        let mut state = lock(&self.queue.state);
        state.busy -= 1;
        if state.busy == 0 && state.jobs.is_empty() {
            self.queue.wake.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[test]
    fn every_job_is_done_once_and_all_threads_end() {
        let queue = Queue::new(vec![10_u32]);
        let done = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while let Some((job, _taken)) = queue.take() {
                        done.fetch_add(1, Ordering::Relaxed);
                        queue.push(if job > 0 {
                            vec![job - 1; 2]
                        } else {
                            Vec::new()
                        });
                    }
                });
            }
        });
        assert_eq!(done.into_inner(), (1 << 11) - 1);
    }

    #[test]
    fn one_that_waits_ends_when_the_last_busy_one_stops_or_dies() {
        let queue = Queue::new(vec![()]);
        std::thread::scope(|scope| {
            let (_, taken) = queue.take().unwrap();
            let waiting = scope.spawn(|| queue.take().is_none());
            drop(taken);
            assert!(waiting.join().unwrap());
        });
        let queue = Queue::new(vec![(), ()]);
        let (_, _taken) = queue.take().unwrap();
        queue.stop();
        assert!(queue.take().is_none(), "what is stopped gives nothing out");
    }
}
