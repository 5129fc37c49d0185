//! The user's wish to stop, shared between a signal thread and whatever runs.
//!
//! Decides nothing: it counts how often it was raised and wakes those that listen. It never touches signals itself
//! (the command line owns them) and is not async-signal-safe: raise it from a thread, never from a signal handler.
//! Called by the command line (raise) and by `run` and `exec` (listen).

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// How often a run was asked to stop. Clones share the count.
///
/// Raised once: running guests are cancelled and the run ends in order. Raised twice: the run returns at once and
/// leaves its guests to die with the process.
#[derive(Clone, Default)]
pub struct Interrupt {
    shared: Arc<Shared>,
}

type Listener = Box<dyn Fn(u32) + Send>;

#[derive(Default)]
struct Shared {
    raised: AtomicU32,
    listeners: Mutex<Listeners>,
}

#[derive(Default)]
struct Listeners {
    next_key: u64,
    entries: Vec<(u64, Listener)>,
}

impl Interrupt {
    /// An interrupt nobody has raised yet.
    pub fn new() -> Interrupt {
        Interrupt::default()
    }

    /// Asks to stop; returns how often that has happened, this time included.
    pub fn raise(&self) -> u32 {
        let count = self
            .shared
            .raised
            .fetch_add(1, Ordering::SeqCst)
            .saturating_add(1);
        let listeners = self
            .shared
            .listeners
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        for (_, listener) in &listeners.entries {
            listener(count);
        }
        count
    }

    /// How often it was raised.
    pub fn count(&self) -> u32 {
        self.shared.raised.load(Ordering::SeqCst)
    }

    /// Whether it was raised at all.
    pub fn is_raised(&self) -> bool {
        self.count() > 0
    }

    /// Calls `listener` with the count at each raise until the returned guard is dropped; at once if it was raised
    /// before. The listener must be quick and must not raise or listen itself.
    pub(crate) fn listen(&self, listener: impl Fn(u32) + Send + 'static) -> Listening {
        let mut listeners = self
            .shared
            .listeners
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // Under the lock, so that a raise is seen here or by the loop over the listeners, or harmlessly by both.
        let before = self.count();
        if before > 0 {
            listener(before);
        }
        let key = listeners.next_key;
        listeners.next_key = listeners.next_key.wrapping_add(1);
        listeners.entries.push((key, Box::new(listener)));
        Listening {
            interrupt: self.clone(),
            key,
        }
    }
}

impl fmt::Debug for Interrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Interrupt")
            .field("raised", &self.count())
            .finish()
    }
}

/// Ends the listening when dropped.
pub(crate) struct Listening {
    interrupt: Interrupt,
    key: u64,
}

impl Drop for Listening {
    fn drop(&mut self) {
        let mut listeners = self
            .interrupt
            .shared
            .listeners
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        listeners.entries.retain(|(key, _)| *key != self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_hears_every_raise_until_it_is_dropped() {
        let interrupt = Interrupt::new();
        let heard = Arc::new(AtomicU32::new(0));
        let copy = heard.clone();
        let listening = interrupt.listen(move |count| copy.store(count, Ordering::SeqCst));
        interrupt.clone().raise();
        assert_eq!(heard.load(Ordering::SeqCst), 1);
        interrupt.raise();
        assert_eq!(heard.load(Ordering::SeqCst), 2);
        drop(listening);
        interrupt.raise();
        assert_eq!(heard.load(Ordering::SeqCst), 2);
        assert_eq!(interrupt.count(), 3);
    }

    #[test]
    fn a_late_listener_is_told_at_once() {
        let interrupt = Interrupt::new();
        interrupt.raise();
        let heard = Arc::new(AtomicU32::new(0));
        let copy = heard.clone();
        let _listening = interrupt.listen(move |count| copy.store(count, Ordering::SeqCst));
        assert_eq!(heard.load(Ordering::SeqCst), 1);
    }
}
