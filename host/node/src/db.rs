//! The databases' common ground, and one writer thread for each: callers push operations, the thread commits all that are waiting as one transaction.
//!
//! The queue is bounded by weight (bytes), so that a slow disk slows the callers instead of filling memory. A caller
//! that needs to know waits on its [`Ticket`]. It never looks inside an operation and holds no connection itself: a
//! [`Sink`] does. Called by the store (`cache.db`), the journal (`state.db`) and the ledger (`mesh.db`).

mod file;

pub(crate) use file::{ASIDE, DbFile, FileId, Layout, Opened, probe};

use rustix::fs::FlockOperation;
use std::fs::File;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// Why a commit did not happen, as a value that every waiting caller can have a copy of.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct CommitError {
    /// What kind of failure it was.
    pub kind: FaultKind,
    /// What the database or the system said.
    pub message: String,
}

/// The kinds of failure that callers treat differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// No space left, or a quota is used up.
    Full,
    /// The folder or file cannot be written (permissions, read-only file system, gone).
    Unwritable,
    /// Another process kept the database locked for longer than the busy timeout.
    Busy,
    /// What is stored is not a database of ours any more.
    Corrupt,
    /// The database was made by a newer version.
    Newer,
}

impl CommitError {
    /// Translates what SQLite said. Whatever is neither a full disk, nor rights, nor a lock counts as corruption: a
    /// flipped byte can surface as almost any other code, down to "no such column".
    pub(crate) fn of(error: &rusqlite::Error) -> CommitError {
        use rusqlite::ErrorCode as Code;
        let kind = match error.sqlite_error_code() {
            Some(Code::DiskFull) => FaultKind::Full,
            Some(Code::DatabaseBusy | Code::DatabaseLocked) => FaultKind::Busy,
            Some(
                Code::ReadOnly | Code::CannotOpen | Code::PermissionDenied | Code::SystemIoFailure,
            ) => FaultKind::Unwritable,
            _ => FaultKind::Corrupt,
        };
        CommitError {
            kind,
            message: error.to_string(),
        }
    }

    /// Translates what the file system said.
    pub(crate) fn of_io(error: &std::io::Error) -> CommitError {
        CommitError {
            kind: fault_kind(error),
            message: error.to_string(),
        }
    }
}

/// Full disk or not: the difference between a task that failed here and a cache that cannot be used.
pub(crate) fn fault_kind(error: &std::io::Error) -> FaultKind {
    use std::io::ErrorKind as Kind;
    match error.kind() {
        Kind::StorageFull | Kind::QuotaExceeded | Kind::FileTooLarge => FaultKind::Full,
        _ => FaultKind::Unwritable,
    }
}

/// A lock on a file that ends when this is dropped.
pub(crate) struct Guard(#[allow(dead_code, reason = "held, not read")] File);

/// Opens (or makes) the file at `path` and waits for a lock on it.
pub(crate) fn lock_file(path: &Path, operation: FlockOperation) -> std::io::Result<Guard> {
    let open = || {
        File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)
    };
    let file = open().or_else(|error| {
        if error.kind() != std::io::ErrorKind::IsADirectory {
            return Err(error);
        }
        // Where a file of ours should be, a folder is in the way.
        std::fs::remove_dir_all(path)?;
        open()
    })?;
    loop {
        match rustix::fs::flock(&file, operation) {
            Ok(()) => return Ok(Guard(file)),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Performs operations in one transaction. Lives on the writer thread.
pub(crate) trait Sink: Send + 'static {
    /// One operation.
    type Op: Send + 'static;
    /// Commits all of `ops`, or says why not. Leaves `ops` empty, whatever happened.
    fn commit(&mut self, ops: &mut Vec<Self::Op>) -> Result<(), CommitError>;
}

/// A writer's own connection, opened when it is first needed and again where another process has replaced the file.
pub(crate) struct Held {
    db: Arc<DbFile>,
    opened: Option<Opened>,
}

impl Held {
    /// None yet.
    pub(crate) fn new(db: Arc<DbFile>) -> Held {
        Held { db, opened: None }
    }

    /// Has `apply` write and commit; once more, in a new file, where this one turns out to be broken.
    pub(crate) fn write(
        &mut self,
        mut apply: impl FnMut(&mut rusqlite::Connection) -> rusqlite::Result<()>,
    ) -> Result<(), CommitError> {
        // The first time, the connection that read what there was.
        let known = match self.opened.take() {
            Some(opened) => opened,
            None => self.db.take()?,
        };
        let mut opened = match self.db.is_current(known.file) {
            true => known,
            false => self.db.connect()?,
        };
        let outcome = apply(&mut opened.connection);
        let Err(fault) = outcome.map_err(|error| CommitError::of(&error)) else {
            self.opened = Some(opened);
            return Ok(());
        };
        let file = opened.file;
        drop(opened);
        if !self.db.replace_if_broken(&fault, file) {
            return Err(fault);
        }
        let mut opened = self.db.connect()?;
        apply(&mut opened.connection).map_err(|error| CommitError::of(&error))?;
        self.opened = Some(opened);
        Ok(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(opened) = self.opened.take() {
            self.db.put_back(opened);
        }
    }
}

/// A promise that operations pushed so far get committed.
#[derive(Clone)]
pub struct Ticket {
    sequence: u64,
    shared: Arc<dyn Waiting>,
}

impl std::fmt::Debug for Ticket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Ticket({})", self.sequence)
    }
}

impl Ticket {
    /// Blocks until the operation is committed.
    ///
    /// # Errors
    /// Why it could not be committed.
    pub fn wait(&self) -> Result<(), CommitError> {
        self.shared.wait(self.sequence)
    }

    /// The operation's number: operations are committed in this order, and a watcher of commits is told the highest.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }
}

trait Waiting: Send + Sync {
    fn wait(&self, sequence: u64) -> Result<(), CommitError>;
}

/// Told after every commit: the highest sequence number that is settled, and the error when the batch failed.
pub type CommitWatcher = Box<dyn Fn(u64, Result<(), CommitError>) + Send + Sync>;

struct Queue<Op> {
    state: Mutex<State<Op>>,
    work: Condvar,
    done: Condvar,
    watcher: Mutex<Option<Arc<CommitWatcher>>>,
    max_weight: usize,
}

struct State<Op> {
    ops: Vec<Op>,
    weight: usize,
    pushed: u64,
    settled: u64,
    /// Inclusive ranges of sequence numbers that failed, the newest last.
    failed: Vec<(u64, u64, CommitError)>,
    closed: bool,
}

/// Failed ranges that are remembered; consecutive failures of one kind share a range.
const MAX_FAILED_RANGES: usize = 256;

impl<Op: Send> Waiting for Queue<Op> {
    fn wait(&self, sequence: u64) -> Result<(), CommitError> {
        let mut state = lock(&self.state);
        while state.settled < sequence {
            state = self
                .done
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        match state
            .failed
            .iter()
            .find(|(from, to, _)| (*from..=*to).contains(&sequence))
        {
            Some((_, _, error)) => Err(error.clone()),
            None => Ok(()),
        }
    }
}

/// A mutex whose holder panicked is still usable here: every critical section leaves its data whole.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The writer thread and its queue. Dropping it commits what is queued.
pub(crate) struct Writer<Op: Send + 'static> {
    queue: Arc<Queue<Op>>,
    thread: Option<JoinHandle<()>>,
}

impl<Op: Send + 'static> Writer<Op> {
    /// Starts the thread. `max_weight` bounds what may wait in the queue, in the unit that callers push with.
    pub(crate) fn start(
        name: &str,
        max_weight: usize,
        sink: impl Sink<Op = Op>,
    ) -> std::io::Result<Writer<Op>> {
        let queue = Arc::new(Queue {
            state: Mutex::new(State {
                ops: Vec::new(),
                weight: 0,
                pushed: 0,
                settled: 0,
                failed: Vec::new(),
                closed: false,
            }),
            work: Condvar::new(),
            done: Condvar::new(),
            watcher: Mutex::new(None),
            max_weight,
        });
        let theirs = Arc::clone(&queue);
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || serve(&theirs, sink))?;
        Ok(Writer {
            queue,
            thread: Some(thread),
        })
    }

    /// Queues one operation; waits first while the queue is full.
    pub(crate) fn push(&self, op: Op, weight: usize) -> Ticket {
        self.push_all(std::iter::once(op), weight)
    }

    /// Queues operations that one ticket stands for; waits first while the queue is full.
    pub(crate) fn push_all(&self, ops: impl IntoIterator<Item = Op>, weight: usize) -> Ticket {
        let mut state = lock(&self.queue.state);
        while state.weight > 0 && state.weight.saturating_add(weight) > self.queue.max_weight {
            state = self
                .queue
                .done
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        let was_idle = state.ops.is_empty();
        let before = state.ops.len();
        state.ops.extend(ops);
        state.pushed += (state.ops.len() - before) as u64;
        state.weight = state.weight.saturating_add(weight);
        if was_idle {
            self.queue.work.notify_one();
        }
        self.ticket(state.pushed)
    }

    /// A ticket for everything pushed so far.
    pub(crate) fn barrier(&self) -> Ticket {
        let pushed = lock(&self.queue.state).pushed;
        self.ticket(pushed)
    }

    fn ticket(&self, sequence: u64) -> Ticket {
        Ticket {
            sequence,
            shared: Arc::clone(&self.queue) as Arc<dyn Waiting>,
        }
    }

    /// Has `watcher` told after each commit, on the writer thread. Replaces the one before.
    pub(crate) fn watch(&self, watcher: Option<CommitWatcher>) {
        *lock(&self.queue.watcher) = watcher.map(Arc::new);
    }
}

impl<Op: Send + 'static> Drop for Writer<Op> {
    fn drop(&mut self) {
        lock(&self.queue.state).closed = true;
        self.queue.work.notify_one();
        if let Some(thread) = self.thread.take() {
            // A panic there was already reported by the panic hook; there is nobody left to tell.
            let _ = thread.join();
        }
    }
}

fn serve<Op: Send + 'static>(queue: &Queue<Op>, mut sink: impl Sink<Op = Op>) {
    let mut batch = Vec::new();
    loop {
        let (last, weight) = {
            let mut state = lock(&queue.state);
            while state.ops.is_empty() && !state.closed {
                state = queue
                    .work
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
            }
            if state.ops.is_empty() {
                return;
            }
            std::mem::swap(&mut state.ops, &mut batch);
            (state.pushed, state.weight)
        };
        // A panic must not leave callers waiting for a thread that is gone.
        let outcome =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| sink.commit(&mut batch)))
                .unwrap_or_else(|_| {
                    Err(CommitError {
                        kind: FaultKind::Corrupt,
                        message: "the writer panicked".into(),
                    })
                });
        batch.clear();
        settle(queue, last, weight, outcome);
    }
}

fn settle<Op>(queue: &Queue<Op>, last: u64, weight: usize, outcome: Result<(), CommitError>) {
    {
        let mut state = lock(&queue.state);
        if let Err(error) = &outcome {
            let from = state.settled + 1;
            match state.failed.last_mut() {
                Some((_, to, known)) if *to + 1 == from && known == error => *to = last,
                _ => state.failed.push((from, last, error.clone())),
            }
            if state.failed.len() > MAX_FAILED_RANGES {
                state.failed.remove(0);
            }
        }
        state.settled = last;
        state.weight -= weight;
        queue.done.notify_all();
    }
    let watcher = lock(&queue.watcher).clone();
    if let Some(watcher) = watcher {
        watcher(last, outcome);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;
    use std::sync::mpsc;

    struct Collect {
        gate: mpsc::Receiver<Result<(), CommitError>>,
        batches: mpsc::Sender<Vec<u32>>,
    }

    impl Sink for Collect {
        type Op = u32;
        fn commit(&mut self, ops: &mut Vec<u32>) -> Result<(), CommitError> {
            let outcome = self.gate.recv().unwrap();
            self.batches.send(std::mem::take(ops)).unwrap();
            outcome
        }
    }

    type Parts = (
        Writer<u32>,
        mpsc::Sender<Result<(), CommitError>>,
        mpsc::Receiver<Vec<u32>>,
    );

    fn writer(max_weight: usize) -> Parts {
        let (open, gate) = mpsc::channel();
        let (batches, seen) = mpsc::channel();
        (
            Writer::start("test", max_weight, Collect { gate, batches }).unwrap(),
            open,
            seen,
        )
    }

    fn full() -> CommitError {
        CommitError {
            kind: FaultKind::Full,
            message: "full".into(),
        }
    }

    #[test]
    fn what_waits_is_committed_together_and_in_order() {
        let (writer, open, seen) = writer(100);
        let first = writer.push(1, 1);
        open.send(Ok(())).unwrap();
        first.wait().unwrap();
        assert_eq!(seen.recv().unwrap(), [1]);
        let tickets: Vec<Ticket> = (2..=5).map(|op| writer.push(op, 1)).collect();
        for _ in 0..4 {
            open.send(Ok(())).unwrap();
        }
        tickets.iter().for_each(|ticket| ticket.wait().unwrap());
        drop(writer);
        assert_eq!(seen.iter().flatten().collect::<Vec<_>>(), [2, 3, 4, 5]);
    }

    #[test]
    fn a_failed_batch_fails_its_own_tickets_only() {
        let (writer, open, _seen) = writer(100);
        let bad = writer.push(1, 1);
        open.send(Err(full())).unwrap();
        assert_eq!(bad.wait(), Err(full()));
        let good = writer.push(2, 1);
        open.send(Ok(())).unwrap();
        assert_eq!(good.wait(), Ok(()));
        assert_eq!(
            bad.wait(),
            Err(full()),
            "asked again, the answer is the same"
        );
    }

    #[test]
    fn a_full_queue_holds_the_caller_back_until_a_commit() {
        let (writer, open, seen) = writer(10);
        writer.push(1, 10);
        let told = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&told);
        writer.watch(Some(Box::new(move |last, _| lock(&log).push(last))));
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| writer.push(2, 10).wait());
            open.send(Ok(())).unwrap();
            assert_eq!(
                seen.recv().unwrap(),
                [1],
                "the second was not let in beside the first"
            );
            open.send(Ok(())).unwrap();
            assert_eq!(waiting.join().unwrap(), Ok(()));
        });
        drop(writer);
        assert_eq!(*lock(&told), [1, 2]);
    }

    #[test]
    fn dropping_the_writer_commits_what_is_queued() {
        let (writer, open, seen) = writer(100);
        open.send(Ok(())).unwrap();
        open.send(Ok(())).unwrap();
        writer.push_all([7, 8], 2);
        drop(writer);
        assert_eq!(seen.iter().flatten().collect::<Vec<_>>(), [7, 8]);
    }
}
