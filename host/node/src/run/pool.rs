//! The threads that prepare and run guests, and the queue they take jobs from.
//!
//! The queue is bounded by core: it asks for no more preparations and executions at once than its slots allow, so
//! nothing waits here that nobody counted. Preparations are taken many at a time, so that look-ups in the store are
//! batched; executions one at a time, and first, because they are what the slots are for. It knows nothing of what a
//! job does. Called by `drive`.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

/// Preparations taken at once.
const MAX_BATCH: usize = 64;

/// What the threads do; lives as long as they.
pub(super) trait Work: Send + Sync + 'static {
    /// What is looked up before it runs.
    type Prepare: Send;
    /// What runs.
    type Execute: Send;
    /// Prepares a batch.
    fn prepare(&self, batch: Vec<Self::Prepare>);
    /// Runs one to its end.
    fn execute(&self, job: Self::Execute);
}

/// The queue's front end. Dropping it lets the threads end once they are done with what they hold.
pub(super) struct Pool<W: Work> {
    queue: Arc<Queue<W>>,
    threads: Vec<thread::JoinHandle<()>>,
}

struct Queue<W: Work> {
    state: Mutex<State<W>>,
    work: Condvar,
    threads: usize,
}

struct State<W: Work> {
    prepare: VecDeque<W::Prepare>,
    execute: VecDeque<W::Execute>,
    idle: usize,
    closed: bool,
}

enum Taken<W: Work> {
    Prepare(Vec<W::Prepare>),
    Execute(W::Execute),
}

impl<W: Work> Pool<W> {
    /// Starts `threads` threads for `work`.
    ///
    /// # Errors
    /// Where the system gives no thread.
    pub(super) fn start(threads: usize, work: &Arc<W>) -> std::io::Result<Pool<W>> {
        let state = State {
            prepare: VecDeque::new(),
            execute: VecDeque::new(),
            idle: 0,
            closed: false,
        };
        let queue = Arc::new(Queue {
            state: Mutex::new(state),
            work: Condvar::new(),
            threads,
        });
        let mut pool = Pool {
            queue,
            threads: Vec::with_capacity(threads),
        };
        for index in 0..threads {
            let (queue, work) = (pool.queue.clone(), work.clone());
            let name = format!("sykli-worker-{index}");
            pool.threads.push(
                thread::Builder::new()
                    .name(name)
                    .spawn(move || serve(&queue, work.as_ref()))?,
            );
        }
        Ok(pool)
    }

    /// Queues jobs; never blocks.
    pub(super) fn push(&self, prepare: &mut Vec<W::Prepare>, execute: &mut Vec<W::Execute>) {
        let jobs = prepare.len() + execute.len();
        if jobs == 0 {
            return;
        }
        let mut state = self.queue.lock();
        state.prepare.extend(prepare.drain(..));
        state.execute.extend(execute.drain(..));
        let idle = state.idle;
        drop(state);
        for _ in 0..idle.min(jobs) {
            self.queue.work.notify_one();
        }
    }

    /// Drops what is queued, and has the threads end; waits for them.
    pub(super) fn finish(mut self) {
        self.close();
        for thread in std::mem::take(&mut self.threads) {
            // A panic there was already reported by the panic hook.
            let _ = thread.join();
        }
    }

    fn close(&self) {
        let mut state = self.queue.lock();
        state.closed = true;
        state.prepare.clear();
        state.execute.clear();
        drop(state);
        self.queue.work.notify_all();
    }
}

impl<W: Work> Drop for Pool<W> {
    fn drop(&mut self) {
        self.close();
    }
}

impl<W: Work> Queue<W> {
    fn lock(&self) -> MutexGuard<'_, State<W>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> Option<Taken<W>> {
        let mut state = self.lock();
        loop {
            if state.closed {
                return None;
            }
            if let Some(job) = state.execute.pop_front() {
                return Some(Taken::Execute(job));
            }
            if !state.prepare.is_empty() {
                // A fair share, so that a handful of preparations is not done by one thread while others sleep.
                let share = state.prepare.len().div_ceil(self.threads).min(MAX_BATCH);
                return Some(Taken::Prepare(state.prepare.drain(..share).collect()));
            }
            state.idle += 1;
            state = self
                .work
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
            state.idle -= 1;
        }
    }
}

fn serve<W: Work>(queue: &Queue<W>, work: &W) {
    while let Some(taken) = queue.take() {
        match taken {
            Taken::Prepare(batch) => work.prepare(batch),
            Taken::Execute(job) => work.execute(job),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::sync::mpsc;

    struct Echo {
        gate: Mutex<mpsc::Receiver<()>>,
        done: mpsc::Sender<String>,
    }

    impl Work for Echo {
        type Prepare = u32;
        type Execute = u32;
        fn prepare(&self, batch: Vec<u32>) {
            self.gate.lock().unwrap().recv().unwrap();
            self.done.send(format!("prepare {batch:?}")).unwrap();
        }
        fn execute(&self, job: u32) {
            self.gate.lock().unwrap().recv().unwrap();
            self.done.send(format!("execute {job}")).unwrap();
        }
    }

    #[test]
    fn executions_go_first_and_preparations_go_together() {
        let (open, gate) = mpsc::channel();
        let (done, seen) = mpsc::channel();
        let pool = Pool::start(
            1,
            &Arc::new(Echo {
                gate: Mutex::new(gate),
                done,
            }),
        )
        .unwrap();
        pool.push(&mut vec![1], &mut Vec::new());
        // The thread holds the first one, or will take all: either way the order below is fixed from here on.
        open.send(()).unwrap();
        assert_eq!(seen.recv().unwrap(), "prepare [1]");
        pool.push(&mut (0..70).collect(), &mut vec![7, 8]);
        for _ in 0..4 {
            open.send(()).unwrap();
        }
        let first = format!("prepare {:?}", (0..64).collect::<Vec<_>>());
        let second = format!("prepare {:?}", (64..70).collect::<Vec<_>>());
        assert_eq!(
            seen.iter().take(4).collect::<Vec<_>>(),
            [
                "execute 7".to_owned(),
                "execute 8".to_owned(),
                first,
                second
            ]
        );
        pool.finish();
    }

    #[test]
    fn what_is_queued_when_it_finishes_is_dropped() {
        let (open, gate) = mpsc::channel();
        let (done, seen) = mpsc::channel();
        let pool = Pool::start(
            2,
            &Arc::new(Echo {
                gate: Mutex::new(gate),
                done,
            }),
        )
        .unwrap();
        drop(open);
        drop(pool);
        assert!(seen.recv().is_err());
    }
}
