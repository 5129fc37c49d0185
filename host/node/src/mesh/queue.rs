//! What waits to be sent to one peer: bounded, and closed with the reason for which its stream ends.
//!
//! A peer that does not take what it is sent has its queue closed rather than held: whoever sends never waits, and what
//! the peer missed it hears again when it is back (the protocol's Resume). Called by the handle, the loop and a pair's
//! writer.

use std::collections::VecDeque;
use std::sync::Mutex;

use sykli_core::consent::Offence;
use tokio::sync::Notify;

use crate::db::lock;

/// Why a pair's stream ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Ended {
    #[error("it closed its stream")]
    Closed,
    #[error("its connection broke: {0}")]
    Broken(String),
    #[error("it did not take its messages")]
    TooSlow,
    #[error("it took too long over a frame")]
    Slow,
    #[error("it sent what no honest node sends: {1}")]
    Offence(Offence, String),
    #[error("another connection took its place")]
    Replaced,
    #[error("it was disconnected")]
    Disconnected,
    #[error("it was expelled")]
    Expelled,
    #[error("the mesh stops")]
    Stopped,
}

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pushed {
    Queued,
    /// It was one too many: the queue is closed.
    Overflowed,
    /// It was closed before.
    Closed,
}

struct State {
    frames: VecDeque<Vec<u8>>,
    bytes: usize,
    ended: Option<Ended>,
}

/// The queue. Frames come with their length prefix.
pub(super) struct Outgoing {
    state: Mutex<State>,
    changed: Notify,
    max_frames: usize,
    max_bytes: usize,
}

impl Outgoing {
    /// For so many frames of so many bytes in all.
    pub(super) fn new(max_frames: usize, max_bytes: usize) -> Outgoing {
        Outgoing {
            state: Mutex::new(State {
                frames: VecDeque::new(),
                bytes: 0,
                ended: None,
            }),
            changed: Notify::new(),
            max_frames,
            max_bytes,
        }
    }

    /// Bytes that it still takes.
    pub(super) fn room(&self) -> usize {
        let state = lock(&self.state);
        match state.ended {
            None if state.frames.len() < self.max_frames / 2 => {
                self.max_bytes.saturating_sub(state.bytes)
            }
            _ => 0,
        }
    }

    /// Queues a frame, or ends the stream of a peer that is too slow.
    pub(super) fn push(&self, frame: Vec<u8>) -> Pushed {
        let mut state = lock(&self.state);
        if state.ended.is_some() {
            return Pushed::Closed;
        }
        let bytes = state.bytes.saturating_add(frame.len());
        if state.frames.len() >= self.max_frames || bytes > self.max_bytes {
            drop(state);
            self.end(Ended::TooSlow);
            return Pushed::Overflowed;
        }
        state.bytes = bytes;
        state.frames.push_back(frame);
        drop(state);
        self.changed.notify_one();
        Pushed::Queued
    }

    /// Ends the stream. The first reason stands; what still waits is dropped, unless this node stops in order: then it is
    /// what peers ought to hear last.
    pub(super) fn end(&self, why: Ended) {
        let mut state = lock(&self.state);
        if state.ended.is_none() {
            if why != Ended::Stopped {
                state.frames = VecDeque::new();
                state.bytes = 0;
            }
            state.ended = Some(why);
        }
        drop(state);
        self.changed.notify_one();
    }

    /// Waits for frames and takes them, in order, at most `most` bytes unless the first alone is longer; or says why the
    /// stream ends. Only one may wait.
    pub(super) async fn take(&self, most: usize) -> Result<Vec<u8>, Ended> {
        loop {
            let changed = self.changed.notified();
            if let Some(taken) = self.try_take(most) {
                return taken;
            }
            changed.await;
        }
    }

    fn try_take(&self, most: usize) -> Option<Result<Vec<u8>, Ended>> {
        let mut state = lock(&self.state);
        if let Some(why) = &state.ended
            && state.frames.is_empty()
        {
            return Some(Err(why.clone()));
        }
        let mut batch = state.frames.pop_front()?;
        while let Some(next) = state.frames.front() {
            if batch.len() + next.len() > most {
                break;
            }
            batch.extend_from_slice(next);
            state.frames.pop_front();
        }
        state.bytes = state.bytes.saturating_sub(batch.len());
        Some(Ok(batch))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;

    #[tokio::test]
    async fn frames_leave_in_order_and_together() {
        let queue = Outgoing::new(10, 100);
        for frame in [vec![1; 4], vec![2; 4], vec![3; 4]] {
            assert_eq!(queue.push(frame), Pushed::Queued);
        }
        assert_eq!(queue.take(8).await.unwrap(), [1, 1, 1, 1, 2, 2, 2, 2]);
        assert_eq!(queue.take(2).await.unwrap(), [3; 4], "one is always taken");
    }

    #[tokio::test]
    async fn too_many_frames_or_bytes_end_it() {
        for (frames, len) in [(2, 1), (10, 40)] {
            let queue = Outgoing::new(frames, 100);
            assert_eq!(queue.push(vec![0; len]), Pushed::Queued);
            assert_eq!(queue.push(vec![0; len]), Pushed::Queued);
            assert_eq!(queue.push(vec![0; len]), Pushed::Overflowed);
            assert_eq!(queue.push(vec![0; len]), Pushed::Closed);
            assert_eq!(queue.take(8).await, Err(Ended::TooSlow));
        }
    }

    #[tokio::test]
    async fn an_end_wakes_who_waits_and_the_first_reason_stands() {
        let queue = Outgoing::new(2, 100);
        let (taken, ()) = tokio::join!(queue.take(8), async {
            queue.end(Ended::Expelled);
            queue.end(Ended::Stopped);
        });
        assert_eq!(taken, Err(Ended::Expelled));
    }
}
