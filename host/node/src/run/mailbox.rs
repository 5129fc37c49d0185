//! What the threads of a run tell its loop: a box for each thread, so that none of them waits for another, and one bell.
//!
//! A thread that posts does not wake the loop for each message: a wake costs more than a short task. The bell is rung
//! when a box holds [`RING_AT`] messages, when its thread has nothing left to do, and when somebody asks for it; apart
//! from that the loop looks by itself, often while much is going on. A box holds at most [`MOST`] messages: whoever
//! posts more (a guest that talks faster than the renderer listens) waits. It knows nothing of what a message means.
//! Posted to by `crew`, emptied by `drive`.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use crossbeam_utils::CachePadded;

/// Messages in one box at which the loop is woken.
const RING_AT: usize = 32;
/// Messages that may wait in one box.
const MOST: usize = 1024;

/// All boxes of a run. Cheap to clone.
pub(super) struct Mailbox<M>(Arc<Boxes<M>>);

struct Boxes<M> {
    boxes: Box<[CachePadded<Slot<M>>]>,
    bell: Bell,
    closed: AtomicBool,
}

struct Slot<M> {
    messages: Mutex<Vec<M>>,
    room: Condvar,
}

/// Wakes the thread that waits, at most once for each time that it looks.
#[derive(Default)]
struct Bell {
    rung: AtomicBool,
    listener: OnceLock<Thread>,
}

impl<M> Clone for Mailbox<M> {
    fn clone(&self) -> Self {
        Mailbox(Arc::clone(&self.0))
    }
}

impl<M> Mailbox<M> {
    /// Boxes for `threads` threads, numbered from 0.
    pub(super) fn new(threads: usize) -> Self {
        let slot = || Slot {
            messages: Mutex::new(Vec::new()),
            room: Condvar::new(),
        };
        Mailbox(Arc::new(Boxes {
            boxes: (0..threads.max(1))
                .map(|_| CachePadded::new(slot()))
                .collect(),
            bell: Bell::default(),
            closed: AtomicBool::new(false),
        }))
    }

    /// Puts a message into the box of `thread`; waits first while it is full. Dropped where nobody reads any more.
    pub(super) fn post(&self, thread: usize, message: M) {
        let Some(slot) = self.0.boxes.get(thread) else {
            return;
        };
        let mut messages = slot.lock();
        while messages.len() >= MOST && !self.is_closed() {
            self.ring();
            messages = slot
                .room
                .wait(messages)
                .unwrap_or_else(PoisonError::into_inner);
        }
        if self.is_closed() {
            return;
        }
        messages.push(message);
        let full = messages.len() == RING_AT;
        drop(messages);
        if full {
            self.ring();
        }
    }

    /// Puts a message into the box of `thread` and has the loop look; never waits. For what is bounded where it comes
    /// from.
    pub(super) fn put(&self, thread: usize, message: M) {
        if let Some(slot) = self.0.boxes.get(thread).filter(|_| !self.is_closed()) {
            slot.lock().push(message);
            self.ring();
        }
    }

    /// The thread has nothing left to do: what it posted is wanted now.
    pub(super) fn flush(&self, thread: usize) {
        let waiting = |slot: &CachePadded<Slot<M>>| !slot.lock().is_empty();
        if self.0.boxes.get(thread).is_some_and(waiting) {
            self.ring();
        }
    }

    /// Has the loop look now.
    pub(super) fn ring(&self) {
        let bell = &self.0.bell;
        if !bell.rung.swap(true, Ordering::AcqRel)
            && let Some(listener) = bell.listener.get()
        {
            listener.unpark();
        }
    }

    /// Waits until the bell rings, at most `longest`; returns at once where it rang since the last time. Always called
    /// by one and the same thread.
    pub(super) fn wait(&self, longest: Duration) {
        let bell = &self.0.bell;
        bell.listener.get_or_init(thread::current);
        let until = Instant::now() + longest;
        while !bell.rung.swap(false, Ordering::AcqRel) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            thread::park_timeout(left);
        }
    }

    /// Takes everything that is in the boxes, each thread's in its order. `into` is empty.
    pub(super) fn collect(&self, into: &mut Vec<M>) {
        for slot in &self.0.boxes {
            let mut messages = slot.lock();
            let was_full = messages.len() >= MOST;
            into.append(&mut messages);
            drop(messages);
            if was_full {
                slot.room.notify_all();
            }
        }
    }

    /// Nobody reads any more: what is posted from now on is dropped, and nobody waits for room.
    pub(super) fn close(&self) {
        self.0.closed.store(true, Ordering::Release);
        for slot in &self.0.boxes {
            // Under the lock, so that nobody is between looking and waiting.
            slot.lock().clear();
            slot.room.notify_all();
        }
    }

    fn is_closed(&self) -> bool {
        self.0.closed.load(Ordering::Acquire)
    }
}

impl<M> Slot<M> {
    fn lock(&self) -> MutexGuard<'_, Vec<M>> {
        self.messages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    fn taken(mailbox: &Mailbox<u32>) -> Vec<u32> {
        let mut all = Vec::new();
        mailbox.collect(&mut all);
        all
    }

    #[test]
    fn a_thread_without_work_wakes_the_loop_and_one_with_work_does_not() {
        let mailbox = Mailbox::new(2);
        mailbox.post(0, 1);
        assert!(!mailbox.0.bell.rung.load(Ordering::SeqCst));
        mailbox.flush(1);
        assert!(
            !mailbox.0.bell.rung.load(Ordering::SeqCst),
            "its box is empty"
        );
        mailbox.flush(0);
        mailbox.wait(LONG);
        assert_eq!(taken(&mailbox), [1]);
        for n in 0..RING_AT as u32 {
            mailbox.post(1, n);
        }
        mailbox.wait(LONG);
        assert_eq!(taken(&mailbox).len(), RING_AT);
    }

    #[test]
    fn a_ring_while_nobody_waits_is_not_lost() {
        let mailbox: Mailbox<u32> = Mailbox::new(1);
        mailbox.ring();
        mailbox.ring();
        mailbox.wait(LONG);
        thread::scope(|scope| {
            let waiting = scope.spawn(|| Mailbox::<u32>::new(1).wait(Duration::ZERO));
            assert!(waiting.join().is_ok(), "a wait of no time ends");
        });
        let other = mailbox.clone();
        let ringing = thread::spawn(move || other.ring());
        mailbox.wait(LONG);
        assert!(ringing.join().is_ok());
    }

    #[test]
    fn a_full_box_holds_its_thread_back_until_the_loop_reads_or_ends() {
        let mailbox = Mailbox::new(1);
        let posting = |from: u32, count: u32| {
            let mailbox = mailbox.clone();
            thread::spawn(move || (from..from + count).for_each(|n| mailbox.post(0, n)))
        };
        let thread = posting(0, 2 * MOST as u32);
        let mut all = Vec::new();
        while all.len() < 2 * MOST {
            mailbox.wait(Duration::from_millis(10));
            let part = taken(&mailbox);
            assert!(part.len() <= MOST, "never more than it holds");
            all.extend(part);
        }
        assert!(thread.join().is_ok());
        assert!(all.is_sorted());
        let thread = posting(0, 2 * MOST as u32);
        mailbox.wait(LONG);
        mailbox.close();
        assert!(
            thread.join().is_ok(),
            "nobody waits for a loop that is gone"
        );
        assert!(taken(&mailbox).is_empty());
    }
}
