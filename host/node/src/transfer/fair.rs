//! Turns: how transfers share this machine's work.
//!
//! What costs a machine something (reading, hashing, compressing, writing a part) is done in a turn, one part at a
//! time, and turns are handed out in the order in which they were asked for. So transfers that have work share equally,
//! by parts; one that waits for its peer has no turn and delays nobody. The network shares itself out: each transfer
//! has a stream with its own flow control. The tools that work needs (zstd contexts, a buffer) belong to turns, not to
//! transfers, so there are as many as turns at once, however many transfers there are.
//!
//! Called by both ends of every transfer.

use std::sync::{Arc, Mutex};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::pack::{Compressor, Unpacker};
use crate::db::lock;
use sykli_core::blob::PART_BYTES;

/// Hands out turns. Clones share them.
#[derive(Clone)]
pub struct Fair {
    turns: Arc<Semaphore>,
    tools: Arc<Mutex<Vec<Tools>>>,
}

impl std::fmt::Debug for Fair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Fair({} free)", self.turns.available_permits())
    }
}

impl Fair {
    /// `at_once` turns at the same time, at least one: as many as there are cores to spare.
    pub fn new(at_once: usize) -> Fair {
        Fair {
            turns: Arc::new(Semaphore::new(at_once.clamp(1, 64))),
            tools: Arc::new(Mutex::new(Vec::new())),
        }
    }

    /// Waits for a turn, which ends when it is dropped.
    pub(super) async fn turn(&self) -> Turn {
        // It is never closed; a turn without a permit would only be one more.
        let permit = Arc::clone(&self.turns).acquire_owned().await.ok();
        let tools = lock(&self.tools).pop().unwrap_or_default();
        Turn {
            tools,
            back: Arc::clone(&self.tools),
            _permit: permit,
        }
    }
}

/// What a part is worked on with.
pub(super) struct Tools {
    pub(super) compressor: Compressor,
    pub(super) unpacker: Unpacker,
    /// Room for one part's content.
    pub(super) raw: Vec<u8>,
}

impl Default for Tools {
    fn default() -> Tools {
        Tools {
            compressor: Compressor::default(),
            unpacker: Unpacker::default(),
            raw: vec![0; PART_BYTES],
        }
    }
}

/// The right to do one part's work.
pub(super) struct Turn {
    pub(super) tools: Tools,
    back: Arc<Mutex<Vec<Tools>>>,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        let spent = Tools {
            compressor: Compressor::default(),
            unpacker: Unpacker::default(),
            raw: Vec::new(),
        };
        lock(&self.back).push(std::mem::replace(&mut self.tools, spent));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn turns_go_round() {
        let fair = Fair::new(1);
        let order = Arc::new(Mutex::new(Vec::new()));
        let transfer = |name: u32| {
            let (fair, order) = (fair.clone(), Arc::clone(&order));
            async move {
                for _ in 0..4 {
                    let turn = fair.turn().await;
                    lock(&order).push(name);
                    tokio::task::yield_now().await;
                    drop(turn);
                }
            }
        };
        futures::join!(transfer(1), transfer(2), transfer(3));
        assert_eq!(*lock(&order), [1, 2, 3].repeat(4));
        assert_eq!(
            lock(&fair.tools).len(),
            1,
            "tools are as many as turns at once"
        );
    }

    #[tokio::test]
    async fn one_without_work_delays_nobody() {
        let fair = Fair::new(1);
        let idle = fair.turn();
        drop(fair.turn().await);
        drop(idle);
        drop(fair.turn().await);
    }
}
