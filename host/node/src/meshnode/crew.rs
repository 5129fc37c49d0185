//! The threads that foreign guests run on: one a guest, kept for the next when it has ended.
//!
//! Starting a thread costs more than a short guest does. Core bounds how many guests there are, so as many threads are kept at
//! most, each for [`KEPT`] without work. Decides nothing. Called by the loop.

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::db::lock;

/// How long a thread waits for its next guest.
const KEPT: Duration = Duration::from_secs(60);

type Job = Box<dyn FnOnce() + Send>;

/// See the module. Those who wait end with it.
#[derive(Default)]
pub(super) struct Crew(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    work: Condvar,
}

#[derive(Default)]
struct State {
    /// Never more than there are threads that wait.
    jobs: VecDeque<Job>,
    waiting: usize,
    over: bool,
}

impl Crew {
    /// Has a thread do it: one that waits, else a new one.
    ///
    /// # Errors
    /// Where there can be no other thread.
    pub(super) fn begin(&self, job: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let mut state = lock(&self.0.state);
        if state.waiting > state.jobs.len() {
            state.jobs.push_back(Box::new(job));
            self.0.work.notify_one();
            return Ok(());
        }
        drop(state);
        let shared = Arc::clone(&self.0);
        let thread = std::thread::Builder::new().name("sykli-foreign".to_owned());
        thread
            .spawn(move || serve(&shared, Box::new(job)))
            .map(drop)
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        lock(&self.0.state).over = true;
        self.0.work.notify_all();
    }
}

fn serve(shared: &Shared, first: Job) {
    let mut job = Some(first);
    while let Some(next) = job.take() {
        // The hook has told of it; the thread is as good as before.
        let _ = catch_unwind(AssertUnwindSafe(next));
        job = wait(shared);
    }
}

/// The next job; none where none comes.
fn wait(shared: &Shared) -> Option<Job> {
    let mut state = lock(&shared.state);
    state.waiting += 1;
    let idle = |state: &mut State| state.jobs.is_empty() && !state.over;
    let waited = shared.work.wait_timeout_while(state, KEPT, idle);
    (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
    state.waiting -= 1;
    state.jobs.pop_front()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;
    use std::sync::mpsc;
    use std::thread::{ThreadId, current};

    /// Waits until so many threads wait.
    fn settled(crew: &Crew, waiting: usize) {
        while lock(&crew.0.state).waiting != waiting {
            std::thread::yield_now();
        }
    }

    fn whose(crew: &Crew) -> ThreadId {
        let (say, heard) = mpsc::channel();
        crew.begin(move || say.send(current().id()).unwrap())
            .unwrap();
        heard.recv().unwrap()
    }

    #[test]
    fn a_thread_that_waits_is_taken_and_one_that_works_is_not() {
        let crew = Crew::default();
        let first = whose(&crew);
        settled(&crew, 1);
        assert_eq!(whose(&crew), first);
        settled(&crew, 1);
        let (open, gate) = mpsc::channel::<()>();
        crew.begin(move || gate.recv().unwrap()).unwrap();
        assert_ne!(whose(&crew), first);
        open.send(()).unwrap();
        settled(&crew, 2);
    }

    #[test]
    fn one_that_panics_takes_the_next_all_the_same() {
        let crew = Crew::default();
        crew.begin(|| std::panic::resume_unwind(Box::new("test")))
            .unwrap();
        settled(&crew, 1);
        whose(&crew);
        settled(&crew, 1);
        let shared = Arc::clone(&crew.0);
        drop(crew);
        while lock(&shared.state).waiting != 0 {
            std::thread::yield_now();
        }
    }
}
