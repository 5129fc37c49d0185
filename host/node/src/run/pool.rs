//! The threads that prepare and run guests, and the queues they take jobs from.
//!
//! The queues are bounded by core: it asks for no more preparations and executions at once than its options allow, so
//! nothing waits here that nobody counted. They are lock-free: a thread that takes a job waits for no other. Preparations
//! are taken many at a time, so that look-ups in the store are batched; executions one at a time, in the order in which
//! they were handed out, and first, because they are what the slots are for. There are as many executors as slots, and
//! one helper that only prepares, so that what is in the cache is found while all slots run something long. It knows
//! nothing of what a job does. Called by `drive`.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Thread};

use crossbeam_deque::{Injector, Steal};

/// Preparations taken at once.
const MAX_BATCH: usize = 64;

/// What the threads do; lives as long as they. Each call names its thread, from 0.
pub(super) trait Work: Send + Sync + 'static {
    /// What is looked up before it runs.
    type Prepare: Send;
    /// What runs.
    type Execute: Send;
    /// Prepares a batch.
    fn prepare(&self, thread: usize, batch: Vec<Self::Prepare>);
    /// Runs one to its end.
    fn execute(&self, thread: usize, job: Self::Execute);
    /// There is nothing to do for this thread.
    fn idle(&self, thread: usize);
}

/// The queues' front end. Dropping it lets the threads end once they are done with what they hold.
pub(super) struct Pool<W: Work> {
    queue: Arc<Queue<W>>,
    threads: Vec<thread::JoinHandle<()>>,
}

struct Queue<W: Work> {
    prepare: Injector<Vec<W::Prepare>>,
    execute: Injector<W::Execute>,
    executors: Sleepers,
    helpers: Sleepers,
    closed: AtomicBool,
    threads: usize,
}

/// Threads that wait for work. Nobody takes the lock while none does.
#[derive(Default)]
struct Sleepers {
    count: AtomicUsize,
    threads: Mutex<Vec<Thread>>,
}

enum Taken<W: Work> {
    Prepare(Vec<W::Prepare>),
    Execute(W::Execute),
}

impl<W: Work> Pool<W> {
    /// Starts `executors` threads that do everything and `helpers` that only prepare.
    ///
    /// # Errors
    /// Where the system gives no thread.
    pub(super) fn start(
        executors: usize,
        helpers: usize,
        work: &Arc<W>,
    ) -> std::io::Result<Pool<W>> {
        let queue = Arc::new(Queue {
            prepare: Injector::new(),
            execute: Injector::new(),
            executors: Sleepers::default(),
            helpers: Sleepers::default(),
            closed: AtomicBool::new(false),
            threads: executors + helpers,
        });
        let mut pool = Pool {
            queue,
            threads: Vec::with_capacity(executors + helpers),
        };
        for index in 0..executors + helpers {
            let (queue, work) = (pool.queue.clone(), work.clone());
            let executes = index < executors;
            let name = format!("sykli-worker-{index}");
            pool.threads.push(
                thread::Builder::new()
                    .name(name)
                    .spawn(move || serve(&queue, work.as_ref(), index, executes))?,
            );
        }
        Ok(pool)
    }

    /// Queues jobs; never blocks.
    pub(super) fn push(&self, prepare: &mut Vec<W::Prepare>, execute: &mut Vec<W::Execute>) {
        let queue = &*self.queue;
        let executions = execute.len();
        execute.drain(..).for_each(|job| queue.execute.push(job));
        // A fair share, so that a handful of preparations is not done by one thread while others sleep.
        let share = prepare.len().div_ceil(queue.threads).clamp(1, MAX_BATCH);
        let mut batches = 0;
        while !prepare.is_empty() {
            let rest = prepare.split_off(share.min(prepare.len()));
            queue.prepare.push(std::mem::replace(prepare, rest));
            batches += 1;
        }
        // Before looking who sleeps: a thread that is about to looks at the queues after it has said so.
        fence(Ordering::SeqCst);
        let woken = queue.executors.wake(executions + batches);
        let helpers = (executions + batches - woken).min(batches);
        queue.helpers.wake(helpers);
    }

    /// Whether no thread is left to answer anything.
    pub(super) fn is_dead(&self) -> bool {
        self.threads.iter().all(thread::JoinHandle::is_finished)
    }

    /// Drops what is queued, and has the threads end. What it gives waits for them.
    pub(super) fn finish(mut self) -> Ending {
        self.close();
        Ending(std::mem::take(&mut self.threads))
    }

    fn close(&self) {
        self.queue.closed.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        self.queue.executors.wake(usize::MAX);
        self.queue.helpers.wake(usize::MAX);
    }
}

/// Threads that end.
pub(super) struct Ending(Vec<thread::JoinHandle<()>>);

impl Ending {
    /// Waits until they have.
    pub(super) fn wait(self) {
        for thread in self.0 {
            // A panic there was already reported by the panic hook.
            let _ = thread.join();
        }
    }
}

impl<W: Work> Drop for Pool<W> {
    fn drop(&mut self) {
        self.close();
    }
}

impl<W: Work> Queue<W> {
    fn take(&self, executes: bool) -> Option<Taken<W>> {
        if executes && let Some(job) = steal(&self.execute) {
            return Some(Taken::Execute(job));
        }
        steal(&self.prepare).map(Taken::Prepare)
    }

    fn has_work(&self, executes: bool) -> bool {
        (executes && !self.execute.is_empty()) || !self.prepare.is_empty()
    }

    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }
}

fn steal<T>(queue: &Injector<T>) -> Option<T> {
    loop {
        match queue.steal() {
            Steal::Success(job) => return Some(job),
            Steal::Empty => return None,
            Steal::Retry => {}
        }
    }
}

impl Sleepers {
    fn lock(&self) -> MutexGuard<'_, Vec<Thread>> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes at most `wanted` threads; how many it woke.
    fn wake(&self, wanted: usize) -> usize {
        if wanted == 0 || self.count.load(Ordering::SeqCst) == 0 {
            return 0;
        }
        let mut threads = self.lock();
        let keep = threads.len().saturating_sub(wanted);
        let woken = threads.split_off(keep);
        self.count.store(keep, Ordering::SeqCst);
        drop(threads);
        woken.iter().for_each(Thread::unpark);
        woken.len()
    }

    /// Sleeps until woken, unless `awake` says that there is a reason not to.
    fn sleep(&self, awake: impl Fn() -> bool) {
        let me = thread::current();
        {
            let mut threads = self.lock();
            threads.push(me.clone());
            self.count.store(threads.len(), Ordering::SeqCst);
        }
        // After saying so: a push that did not see this thread is seen by it.
        fence(Ordering::SeqCst);
        if awake() {
            let mut threads = self.lock();
            threads.retain(|thread| thread.id() != me.id());
            self.count.store(threads.len(), Ordering::SeqCst);
            return;
        }
        // A thread that was woken is not listed any more.
        while self.lock().iter().any(|thread| thread.id() == me.id()) {
            thread::park();
        }
    }
}

fn serve<W: Work>(queue: &Queue<W>, work: &W, thread: usize, executes: bool) {
    while !queue.is_closed() {
        match queue.take(executes) {
            Some(Taken::Prepare(batch)) => work.prepare(thread, batch),
            Some(Taken::Execute(job)) => {
                // Whoever was woken for a preparation may have found something to execute first, as this thread has.
                if !queue.prepare.is_empty() {
                    queue.helpers.wake(1);
                }
                work.execute(thread, job);
            }
            None => {
                work.idle(thread);
                let sleepers = if executes {
                    &queue.executors
                } else {
                    &queue.helpers
                };
                sleepers.sleep(|| queue.has_work(executes) || queue.is_closed());
            }
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
        fn prepare(&self, _: usize, batch: Vec<u32>) {
            self.gate.lock().unwrap().recv().unwrap();
            self.done.send(format!("prepare {batch:?}")).unwrap();
        }
        fn execute(&self, _: usize, job: u32) {
            self.gate.lock().unwrap().recv().unwrap();
            self.done.send(format!("execute {job}")).unwrap();
        }
        fn idle(&self, _: usize) {}
    }

    fn echo(
        executors: usize,
        helpers: usize,
    ) -> (Pool<Echo>, mpsc::Sender<()>, mpsc::Receiver<String>) {
        let (open, gate) = mpsc::channel();
        let (done, seen) = mpsc::channel();
        let echo = Echo {
            gate: Mutex::new(gate),
            done,
        };
        (
            Pool::start(executors, helpers, &Arc::new(echo)).unwrap(),
            open,
            seen,
        )
    }

    #[test]
    fn executions_go_first_and_preparations_go_together() {
        let (pool, open, seen) = echo(1, 0);
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
        pool.finish().wait();
    }

    #[test]
    fn what_is_queued_when_it_finishes_is_dropped() {
        let (pool, open, seen) = echo(2, 0);
        drop(open);
        drop(pool);
        assert!(seen.recv().is_err());
    }

    #[test]
    fn a_helper_prepares_and_never_executes() {
        let (pool, open, seen) = echo(0, 1);
        pool.push(&mut vec![3], &mut vec![9]);
        open.send(()).unwrap();
        assert_eq!(seen.recv().unwrap(), "prepare [3]");
        assert!(!pool.queue.execute.is_empty());
        pool.finish().wait();
    }

    #[test]
    fn no_push_is_slept_through() {
        let (pool, open, seen) = echo(2, 1);
        for n in 0..2000 {
            open.send(()).unwrap();
            pool.push(&mut Vec::new(), &mut vec![n]);
            assert_eq!(seen.recv().unwrap(), format!("execute {n}"));
        }
        pool.finish().wait();
    }
}
