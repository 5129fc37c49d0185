//! What happened, in order: as a hash that says whether two plays were the same, and on demand as lines to be drawn.
//!
//! The hash is over compact encodings, not over debug text, so that it costs little. Called by the world for everything
//! that a machine is told, wants or says; drawn by [`super::trace`].

use crate::consent::{Forget, Record};
use crate::id::{Digest, LeaseKey, NodeId, RunId, TaskId};
use crate::machine::{Action, Event};
use crate::run;

/// Something to draw.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) at: u64,
    pub(super) task: Option<(RunId, TaskId)>,
    pub(super) what: Drawn,
}

#[derive(Clone, Debug)]
pub(super) enum Drawn {
    /// A message was heard; or was not, and never will be.
    Arrow {
        from: usize,
        to: usize,
        text: String,
        lost: bool,
    },
    /// Something happened at a node.
    Note { node: usize, text: String },
}

/// See the module.
#[derive(Debug)]
pub(super) struct Tape {
    hasher: blake3::Hasher,
    buffer: Vec<u8>,
    lines: Option<Vec<Line>>,
}

const BUFFER: usize = 16 << 10;

impl Tape {
    pub(super) fn new(draws: bool) -> Tape {
        Tape {
            hasher: blake3::Hasher::new(),
            buffer: Vec::with_capacity(BUFFER + 1024),
            lines: draws.then(Vec::new),
        }
    }

    /// Takes a line, where lines are wanted: `line` is only then made.
    pub(super) fn line(&mut self, line: impl FnOnce() -> Line) {
        if let Some(lines) = &mut self.lines {
            lines.push(line());
        }
    }

    /// As [`Tape::line`], where there may be nothing to draw.
    pub(super) fn line_if(&mut self, line: impl FnOnce() -> Option<Line>) {
        if let Some(lines) = &mut self.lines {
            lines.extend(line());
        }
    }

    pub(super) fn note(&mut self, at: u64, node: usize, text: impl FnOnce() -> String) {
        self.line(|| Line {
            at,
            task: None,
            what: Drawn::Note { node, text: text() },
        });
    }

    pub(super) fn bytes(&mut self, at: u64, node: usize, bytes: &[u8]) {
        self.head(at, node, 1, bytes.len() as u64);
        self.buffer.extend_from_slice(bytes);
        self.spill();
    }

    /// Something of the world's: `tag` says what.
    pub(super) fn mark(&mut self, at: u64, node: usize, tag: u8, number: u64) {
        self.head(at, node, tag, number);
        self.spill();
    }

    pub(super) fn event(&mut self, at: u64, node: usize, event: &Event) {
        use Event::{
            BundleArrived, BundleFailed, Connected, Decided, Disconnected, FetchFailed, Fetched,
            Finished, ForeignEnded, ForeignOutput, ForeignProgress, ForeignStarted, Gossip, Host,
            Interrupt, Measured, Offended, PersistFailed, Persisted, PrepareFailed, Prepared,
            Progress, Received, Submit, Timeout,
        };
        let (tag, number): (u8, u64) = match event {
            Submit(_) => (10, 0),
            Prepared { task, hit, .. } => (11, u64::from(task.0) * 2 + u64::from(*hit)),
            PrepareFailed { task, .. } => (12, task.0.into()),
            Finished { task, attempt, .. } => (13, pair(*task, attempt.0)),
            Progress { task, done, .. } => (14, pair(*task, *done as u32)),
            Interrupt { .. } => (15, 0),
            Connected { peer, .. } => (16, short(peer)),
            Disconnected { peer } => (17, short(peer)),
            Measured { peer, .. } => (18, short(peer)),
            Received { peer, .. } => (19, short(peer)),
            Gossip(beacon) => (20, short(&beacon.node) ^ beacon.sequence),
            Offended { peer, offence } => (21, short(peer) ^ *offence as u64),
            Persisted(token) => (22, token.0),
            PersistFailed(token) => (23, token.0),
            BundleArrived { key, .. } => (24, lease(key)),
            BundleFailed { key, .. } => (25, lease(key)),
            ForeignStarted { key, .. } => (26, lease(key)),
            ForeignOutput { key, bytes, .. } => (34, lease(key) ^ bytes.len() as u64),
            ForeignProgress { key, done, .. } => (27, lease(key) ^ *done),
            ForeignEnded { key, outcome, .. } => (28, lease(key) ^ u64::from(outcome.is_ok())),
            Decided { key, yes, .. } => (29, lease(key) ^ u64::from(*yes)),
            Fetched { key, .. } => (30, lease(key)),
            FetchFailed { key, .. } => (31, lease(key)),
            Host(host) => (32, u64::from(host.paused)),
            Timeout => (33, 0),
        };
        self.head(at, node, tag, number);
        self.spill();
    }

    pub(super) fn action(&mut self, at: u64, node: usize, action: &Action) {
        use Action::{
            Ask, Dial, DropForeign, Expel, FetchOutputs, Forget as Drop, Heard, KeepProof, Persist,
            Publish, Run, Send, SendBundle, StartForeign, StopTransfer, TakeBundle, Told, Unask,
        };
        let (tag, number): (u8, u64) = match action {
            Run { action, .. } => (40, of_run(action)),
            Send { peer, .. } => (41, short(peer)),
            Publish(beacon) => (42, beacon.sequence),
            Persist { token, record } => (43, token.0 ^ key_of(record).map_or(0, lease)),
            Drop(what) => (44, forgotten(what)),
            Dial { peer } => (45, short(peer)),
            Expel { peer, offence } => (46, short(peer) ^ *offence as u64),
            SendBundle { key, cap, .. } => (47, lease(key) ^ cap),
            TakeBundle { offer, cap, .. } => (48, lease(&offer.key) ^ cap),
            StartForeign { offer, .. } => (49, lease(&offer.key)),
            DropForeign { key, .. } => (50, lease(key)),
            Ask { offer, .. } => (51, lease(&offer.key)),
            Unask { key, .. } => (52, lease(key)),
            FetchOutputs { key, cap, .. } => (53, lease(key) ^ cap),
            KeepProof(proof) => (57, short(&proof.executor())),
            StopTransfer { key, .. } => (54, lease(key)),
            Heard { task, bytes, .. } => (56, u64::from(task.0) ^ bytes.len() as u64),
            Told { task, step, .. } => (55, u64::from(task.0) ^ short(&step.peer)),
        };
        self.head(at, node, tag, number);
        self.spill();
    }

    fn head(&mut self, at: u64, node: usize, tag: u8, number: u64) {
        self.buffer.extend_from_slice(&at.to_le_bytes());
        self.buffer.extend_from_slice(&(node as u32).to_le_bytes());
        self.buffer.push(tag);
        self.buffer.extend_from_slice(&number.to_le_bytes());
    }

    fn spill(&mut self) {
        if self.buffer.len() >= BUFFER {
            self.hasher.update(&self.buffer);
            self.buffer.clear();
        }
    }

    /// The hash, and the lines where they were wanted.
    pub(super) fn end(mut self) -> (Digest, Vec<Line>) {
        self.hasher.update(&self.buffer);
        let hash = Digest(*self.hasher.finalize().as_bytes());
        (hash, self.lines.unwrap_or_default())
    }
}

/// The lease that a record is about, if it is about one.
pub(super) fn key_of(record: &Record) -> Option<&LeaseKey> {
    match record {
        Record::Reserved { .. } => None,
        Record::Offered { key, .. }
        | Record::Committed { key, .. }
        | Record::Finished { key, .. } => Some(key),
    }
}

fn of_run(action: &run::Action) -> u64 {
    match action {
        run::Action::Prepare { task } => pair(*task, 0),
        run::Action::Execute { task, attempt } => pair(*task, attempt.0) ^ 1 << 60,
        run::Action::Recall { task, attempt } => pair(*task, attempt.0) ^ 2 << 60,
        run::Action::Cancel { task, attempt } => pair(*task, attempt.0) ^ 3 << 60,
        run::Action::Settled { task, state } => pair(*task, *state as u32) ^ 4 << 60,
        run::Action::Finish { status } => u64::from(status.counts.settled()) ^ 5 << 60,
    }
}

fn forgotten(what: &Forget) -> u64 {
    match what {
        Forget::Offered { key } => lease(key),
        Forget::Finished { key, owner } => lease(key) ^ short(owner),
        Forget::Run { run } => run.as_str().len() as u64,
    }
}

fn pair(task: TaskId, low: u32) -> u64 {
    u64::from(task.0) << 32 | u64::from(low)
}

fn lease(key: &LeaseKey) -> u64 {
    let run = key.run.as_str().bytes();
    let run = run.fold(0u64, |sum, byte| {
        sum.wrapping_mul(31).wrapping_add(byte.into())
    });
    pair(key.task, key.attempt.0) ^ run << 16
}

fn short(id: &NodeId) -> u64 {
    id.0.last_chunk::<8>()
        .map_or(0, |last| u64::from_be_bytes(*last))
}
