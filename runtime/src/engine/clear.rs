//! Has threads clear the stacks of guests that have ended one after the other, where waiting for that is short.
//!
//! Clearing gives pages of a stack back to the kernel (decisions 14 and 24). Two threads of a process that do so at once
//! interrupt each other's processors, even where there is no page to give: the kernel cannot tell whether one of them has
//! seen what the other took away, so it has all of them forget every address they know. One after the other, neither is
//! disturbed, and a second thread is worth what it should be. It is a courtesy and no lock that anything depends on:
//! whoever has waited for [`MOST_LOOKS`] goes ahead, so that nobody is held up by a thread that the system has put to sleep.
//! Called by [`engine`](super) alone.

use std::hint::spin_loop;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Looks at whether it is one's turn: together some microseconds, a few times what clearing takes.
const MOST_LOOKS: u32 = 512;

/// Whose turn it is.
#[derive(Default)]
pub(super) struct Clearing(Arc<AtomicBool>);

/// This thread's turn, until it is dropped.
pub(crate) struct Turn(Arc<AtomicBool>);

impl Clearing {
    /// Waits for this thread's turn; not for long.
    pub(super) fn turn(&self) -> Option<Turn> {
        for _ in 0..MOST_LOOKS {
            let taken = self.0.load(Ordering::Relaxed) || self.0.swap(true, Ordering::Acquire);
            if !taken {
                return Some(Turn(Arc::clone(&self.0)));
            }
            spin_loop();
        }
        None
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_that_does_not_end_holds_nobody_up() {
        let clearing = Clearing::default();
        let first = clearing.turn();
        assert!(first.is_some());
        assert!(clearing.turn().is_none(), "gone ahead without");
        drop(first);
        assert!(clearing.turn().is_some());
    }
}
