//! What a node says while it runs, for whoever watches it in the foreground or reads its log: one line each.
//!
//! A bounded queue that never holds the node up: what there is no room for is counted, and the count is said as soon as
//! there is room again. Texts of peers' making may be in it; whoever shows a line strips what a terminal could obey. Said
//! by the mesh node, shown by the command line.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::api::AskInfo;
use super::request::Requests;

/// Lines that wait to be shown.
const QUEUE: usize = 1024;

/// One thing that a node says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// It listens on one more address.
    Listening {
        /// Which.
        address: String,
    },
    /// A peer's connection stands.
    Up {
        /// What it calls itself.
        peer: String,
        /// Where it is.
        address: String,
    },
    /// A peer's last connection is gone.
    Down {
        /// What it calls itself.
        peer: String,
    },
    /// A connection was refused.
    Refused {
        /// Whose: a peer id.
        peer: String,
        /// Why.
        why: String,
    },
    /// A foreign task was accepted.
    Accepted {
        /// The instance.
        label: String,
        /// The owner's name.
        owner: String,
    },
    /// A foreign task was declined.
    Declined {
        /// The instance.
        label: String,
        /// The owner's name.
        owner: String,
        /// Why.
        why: String,
    },
    /// A foreign task has ended here.
    Finished {
        /// The instance.
        label: String,
        /// The owner's name.
        owner: String,
        /// How, in a few words.
        how: String,
    },
    /// A foreign task may run here if a person says so.
    Asked(Box<AskInfo>),
    /// A question stands no longer.
    Settled {
        /// [`AskInfo::id`].
        id: String,
        /// What became of it: `approved`, `refused`, `timed out`, `withdrawn`.
        how: String,
    },
    /// A run of this node's has begun.
    RunBegan {
        /// Its id.
        run: String,
        /// The pipeline's name.
        pipeline: String,
    },
    /// A run of this node's has ended.
    RunEnded {
        /// Its id.
        run: String,
        /// How.
        how: String,
    },
    /// Something to know.
    Warning {
        /// One line.
        message: String,
    },
    /// Lines that there was no room for.
    Dropped {
        /// How many.
        lines: u64,
    },
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Notice::Listening { address } => write!(f, "listening on {address}"),
            Notice::Up { peer, address } => write!(f, "{peer} is there ({address})"),
            Notice::Down { peer } => write!(f, "{peer} is gone"),
            Notice::Refused { peer, why } => write!(f, "refused {peer}: {why}"),
            Notice::Accepted { label, owner } => write!(f, "accepted {label} from {owner}"),
            Notice::Declined { label, owner, why } => {
                write!(f, "declined {label} from {owner}: {why}")
            }
            Notice::Finished { label, owner, how } => {
                write!(f, "finished {label} from {owner}: {how}")
            }
            Notice::Asked(ask) => write!(
                f,
                "{} asks to run {} here: `sykli node approve {}`, or refuse",
                ask.owner_name, ask.label, ask.id
            ),
            Notice::Settled { id, how } => write!(f, "question {id}: {how}"),
            Notice::RunBegan { run, pipeline } => write!(f, "run {run} of {pipeline} began"),
            Notice::RunEnded { run, how } => write!(f, "run {run} ended: {how}"),
            Notice::Warning { message } => write!(f, "warning: {message}"),
            Notice::Dropped { lines } => write!(f, "{lines} lines were left out here"),
        }
    }
}

/// Where a node says things. Clones say to the same listener.
#[derive(Clone, Debug)]
pub struct Notices {
    to: SyncSender<Notice>,
    dropped: Arc<Dropped>,
}

#[derive(Debug, Default)]
struct Dropped {
    unsaid: AtomicU64,
    total: AtomicU64,
}

/// Both ends of a queue of notices.
#[must_use]
pub fn notices() -> (Notices, Receiver<Notice>) {
    let (to, from) = sync_channel(QUEUE);
    let dropped = Arc::default();
    (Notices { to, dropped }, from)
}

impl Notices {
    /// Says it, or counts it where there is no room. Nobody may be listening any more.
    pub fn say(&self, notice: Notice) {
        let unsaid = self.dropped.unsaid.swap(0, Ordering::Relaxed);
        if unsaid > 0 && self.to.try_send(Notice::Dropped { lines: unsaid }).is_err() {
            self.dropped.unsaid.fetch_add(unsaid, Ordering::Relaxed);
        }
        if self.to.try_send(notice).is_err() {
            self.dropped.unsaid.fetch_add(1, Ordering::Relaxed);
            self.dropped.total.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many there was no room for, in all.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.total.load(Ordering::Relaxed)
    }
}

/// A node that was started, as whoever started it holds it.
pub struct Launched {
    /// Asks it.
    pub requests: Requests,
    /// What it says; ends when the node has ended.
    pub notices: Receiver<Notice>,
    /// Waits until everything of it is gone; called once `notices` has ended.
    pub join: Box<dyn FnOnce() + Send>,
}

impl fmt::Debug for Launched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Launched").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;

    fn warning(n: usize) -> Notice {
        Notice::Warning {
            message: n.to_string(),
        }
    }

    #[test]
    fn a_slow_listener_holds_nobody_up_and_is_told_what_it_missed() {
        let (notices, from) = notices();
        for n in 0..QUEUE + 3 {
            notices.say(warning(n));
        }
        assert_eq!(notices.dropped(), 3);
        assert_eq!(from.try_iter().count(), QUEUE);
        notices.say(warning(7));
        let rest: Vec<Notice> = from.try_iter().collect();
        assert_eq!(rest, [Notice::Dropped { lines: 3 }, warning(7)]);
        drop(from);
        notices.say(warning(8));
    }
}
