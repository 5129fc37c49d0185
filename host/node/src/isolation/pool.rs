//! Children that are kept ready, so that starting a task takes no longer than telling one what to run.
//!
//! One thread starts them and collects those that are used; children die with the thread that started them, so it lives as
//! long as the pool. A child is taken once and never comes back. Called by `isolation`.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use sykli_runtime::{CancelToken, Code};

use super::child::{Child, Program};
use super::{Confinement, Kind, Lost};

/// How often somebody who waits for a child looks whether it is still wanted.
const LOOK: Duration = Duration::from_millis(50);
/// After a child could not be started, the next try comes when somebody wants one, or after this.
const RETRY: Duration = Duration::from_secs(5);
/// Another child is started this long after one was taken, unless somebody waits for it.
const FIRST_STEPS: Duration = Duration::from_millis(3);
/// Dead children that are passed over before a task is given up: who kills them kills more.
const DEAD: usize = 8;

/// What a child runs before it is ready: its digest, and its code.
pub(super) type Rehearsal = ([u8; 32], Code);

/// See the module.
pub(super) struct Pool {
    shared: Arc<Shared>,
    starter: Option<JoinHandle<()>>,
}

struct Shared {
    program: Program,
    keep: usize,
    /// Whether a child that could not give up everything is of no use.
    whole: bool,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    ready: VecDeque<Child>,
    net: VecDeque<Child>,
    /// Who waits for one.
    waiting: usize,
    waiting_net: usize,
    /// When one was taken last.
    taken: Option<Instant>,
    /// Used ones, to be collected.
    used: Vec<Child>,
    warm: bool,
    /// How many could not be started, and why not the last one.
    failures: u64,
    failure: Option<String>,
    given_up: Option<Confinement>,
    ended: bool,
}

impl State {
    fn queue(&mut self, kind: Kind) -> (&mut VecDeque<Child>, &mut usize) {
        match kind {
            Kind::Sealed => (&mut self.ready, &mut self.waiting),
            Kind::Net => (&mut self.net, &mut self.waiting_net),
        }
    }

    /// Whether somebody waits for a child that is not there.
    fn is_short(&self) -> bool {
        self.ready.len() < self.waiting || self.net.len() < self.waiting_net
    }

    /// How long nothing is done yet: what begins a task has the processors first.
    fn pause(&self) -> Option<Duration> {
        let since = self.taken.filter(|_| !self.is_short())?.elapsed();
        FIRST_STEPS
            .checked_sub(since)
            .filter(|left| !left.is_zero())
    }

    /// What kind is to be started next.
    fn wanted(&self, keep: usize) -> Option<Kind> {
        if self.net.len() < self.waiting_net {
            return Some(Kind::Net);
        }
        let keep = if self.warm { keep } else { 0 };
        (self.ready.len() < self.waiting.max(keep)).then_some(Kind::Sealed)
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pool {
    /// A pool that keeps so many children ready once it is warm. With `whole`, only a child that has given up everything
    /// will do.
    ///
    /// # Errors
    /// When there is no thread for it.
    pub(super) fn new(
        program: Program,
        keep: usize,
        whole: bool,
        rehearsal: impl FnOnce() -> Option<Rehearsal> + Send + 'static,
    ) -> io::Result<Pool> {
        let shared = Arc::new(Shared {
            program,
            keep,
            whole,
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let own = Arc::clone(&shared);
        let starter = std::thread::Builder::new()
            .name("sykli-children".to_owned())
            .spawn(move || serve(&own, rehearsal))?;
        Ok(Pool {
            shared,
            starter: Some(starter),
        })
    }

    pub(super) fn warm(&self) {
        self.shared.lock().warm = true;
        self.shared.changed.notify_all();
    }

    pub(super) fn confinement(&self) -> Option<Result<Confinement, String>> {
        let state = self.shared.lock();
        let failed = state.failure.clone().map(Err);
        failed.or_else(|| state.given_up.clone().map(Ok))
    }

    /// A child that lives, for the caller alone. It may still have to get ready.
    ///
    /// # Errors
    /// Where none can be started, or the caller does not want it any more.
    pub(super) fn take(&self, kind: Kind, cancel: &CancelToken) -> Result<Child, Lost> {
        let mut dead = 0;
        loop {
            let mut child = self.next(kind, cancel)?;
            if child.is_alive()
                && let Ok(given_up) = child.ready()
            {
                let lacks = given_up.lacks(kind);
                if kind == Kind::Sealed {
                    self.shared.lock().given_up = Some(given_up);
                }
                if self.shared.whole && !lacks.is_empty() {
                    self.retire(child);
                    return Err(Lost::NotGranted(lacks.join(", ")));
                }
                return Ok(child);
            }
            let how = child.death().to_string();
            self.retire(child);
            dead += 1;
            if dead > DEAD {
                return Err(Lost::NotStarted(how));
            }
        }
    }

    /// Waits until a child is ready, and keeps it for whoever comes next. What it gave up.
    ///
    /// # Errors
    /// As [`Pool::take`].
    pub(super) fn ready(&self) -> Result<Confinement, Lost> {
        let mut state = self.shared.lock();
        state.warm = true;
        let before = state.failures;
        self.shared.changed.notify_all();
        while state.ready.is_empty() && state.failures == before && !state.ended {
            let waited = self.shared.changed.wait_timeout(state, LOOK);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        drop(state);
        let child = self.take(Kind::Sealed, &CancelToken::default())?;
        let given_up = child.given_up().cloned().unwrap_or_default();
        self.shared.lock().ready.push_front(child);
        self.shared.changed.notify_all();
        Ok(given_up)
    }

    /// Has a used child collected, without waiting for it.
    pub(super) fn retire(&self, child: Child) {
        self.shared.lock().used.push(child);
        self.shared.changed.notify_all();
    }

    fn next(&self, kind: Kind, cancel: &CancelToken) -> Result<Child, Lost> {
        let mut state = self.shared.lock();
        state.warm = true;
        let before = state.failures;
        *state.queue(kind).1 += 1;
        self.shared.changed.notify_all();
        let found = loop {
            if let Some(child) = state.queue(kind).0.pop_front() {
                break Ok(child);
            }
            if state.failures > before {
                break Err(Lost::NotStarted(state.failure.clone().unwrap_or_default()));
            }
            if cancel.is_cancelled() || state.ended {
                break Err(Lost::Stopped);
            }
            let waited = self.shared.changed.wait_timeout(state, LOOK);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        };
        *state.queue(kind).1 -= 1;
        state.taken = Some(Instant::now());
        drop(state);
        // One is missing now.
        self.shared.changed.notify_all();
        found
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.lock().ended = true;
        self.shared.changed.notify_all();
        if let Some(starter) = self.starter.take() {
            // It ends by itself, or has panicked, which has been told.
            let _ = starter.join();
        }
    }
}

/// Starts what is wanted and collects what is used, until the pool is dropped.
fn serve(shared: &Shared, rehearsal: impl FnOnce() -> Option<Rehearsal>) {
    let mut rehearsal = Some(rehearsal).filter(|_| shared.program.rehearses());
    let mut rehearsed = None;
    let mut state = shared.lock();
    while !state.ended {
        if let Some(pause) = state.pause() {
            let waited = shared.changed.wait_timeout(state, pause);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            continue;
        }
        let used = std::mem::take(&mut state.used);
        let wanted = state.wanted(shared.keep);
        if let Some(kind) = wanted {
            let in_a_hurry = state.is_short();
            drop(state);
            let mut started = Child::start(&shared.program, kind);
            drop(used);
            if !in_a_hurry {
                // While the first one starts.
                if let Some(make) = rehearsal.take() {
                    rehearsed = make();
                }
                if let (Ok(child), Some((component, code))) = (&mut started, &rehearsed) {
                    // One that is gone is found out when it is taken.
                    let _ = child.rehearse(*component, code);
                }
            }
            state = shared.lock();
            match started {
                Ok(child) => {
                    state.failure = None;
                    state.queue(kind).0.push_back(child);
                    shared.changed.notify_all();
                }
                Err(error) => {
                    tracing::warn!(%error, "no process for tasks of others can be started");
                    state.failures += 1;
                    state.failure = Some(error.to_string());
                    state = pause(shared, state);
                }
            }
        } else if !used.is_empty() {
            drop(state);
            drop(used);
            state = shared.lock();
        } else if state.given_up.is_none()
            && let Some(mut child) = state.ready.pop_front()
        {
            // What children can give up here is known once one is ready.
            drop(state);
            let learnt = child.ready();
            state = shared.lock();
            match learnt {
                Ok(given_up) => {
                    state.given_up = Some(given_up);
                    state.ready.push_front(child);
                }
                Err(lost) => {
                    state.failures += 1;
                    state.failure = Some(lost.to_string());
                    state.used.push(child);
                    state = pause(shared, state);
                }
            }
            shared.changed.notify_all();
        } else {
            let waited = shared.changed.wait(state);
            state = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }
    state.ready.clear();
    state.net.clear();
    state.used.clear();
}

/// After a failure: whoever waits is told, and the next try comes when somebody wants it, or some time later.
fn pause<'a>(shared: &'a Shared, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
    shared.changed.notify_all();
    let waited = shared.changed.wait_timeout(state, RETRY);
    waited.unwrap_or_else(PoisonError::into_inner).0
}
