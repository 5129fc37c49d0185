//! The owner's hands: bundles that may be fetched, outputs that are fetched, and the runs of this node.
//!
//! Decides nothing. Called by the loop.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sykli_core::consent::{Claim, Piece};
use sykli_core::id::{LeaseKey, NodeId, TaskId};
use sykli_core::machine::{Event, Mode, StepKind};
use sykli_core::policy::Requirements;
use sykli_core::run;
use sykli_core::snapshot::Snapshot;

use super::fetch::Fetch;
use super::hub::Hub;
use super::inline::outputs_of;
use super::run::{FromNode, Picture, Sink};
use crate::needs::Bundles;
use crate::prepare::{Context, Prepared};
use crate::transfer::{Request, Serving, What};

/// Bytes of an instance elsewhere that are shown while it runs; all of them come with its result.
const MAX_HEARD_BYTES: u64 = 4 << 20;

/// An instance whose bundle can be made, and what is asked for it.
#[derive(Clone)]
pub(super) struct Ready {
    pub(super) prepared: Arc<Prepared>,
    pub(super) needs: Arc<Requirements>,
}

/// A run of this node's.
pub(crate) struct RunSide {
    sink: Sink,
    context: Arc<Context>,
    bundles: Arc<Bundles>,
    /// What is prepared and not settled.
    prepared: HashMap<TaskId, Ready>,
    picture: Picture,
    drawn: Option<Instant>,
    stale: bool,
    over: bool,
    mode: Mode,
    /// Instances that other nodes have.
    away: BTreeSet<TaskId>,
    /// Bytes that were passed on of what they wrote.
    heard: HashMap<TaskId, u64>,
}

impl RunSide {
    pub(super) fn new(
        (context, bundles): (Arc<Context>, Arc<Bundles>),
        mode: Mode,
        picture: Picture,
        sink: Sink,
    ) -> RunSide {
        RunSide {
            sink,
            context,
            bundles,
            prepared: HashMap::new(),
            picture,
            drawn: None,
            stale: true,
            over: false,
            mode,
            away: BTreeSet::new(),
            heard: HashMap::new(),
        }
    }

    pub(super) fn say(&self, what: FromNode) {
        (self.sink)(what);
    }

    pub(super) fn perform(&mut self, action: run::Action) {
        match &action {
            run::Action::Settled { task, .. } => {
                self.prepared.remove(task);
                self.away.remove(task);
                self.heard.remove(task);
            }
            run::Action::Finish { .. } => self.over = true,
            _ => {}
        }
        self.say(FromNode::Action(action));
    }

    /// What a guest elsewhere has written is passed on, up to [`MAX_HEARD_BYTES`] of each instance.
    pub(super) fn heard(&mut self, task: TaskId, stderr: bool, bytes: Vec<u8>) {
        let heard = self.heard.entry(task).or_default();
        *heard = heard.saturating_add(bytes.len() as u64);
        if *heard <= MAX_HEARD_BYTES {
            self.say(FromNode::Output {
                task,
                stderr,
                bytes,
            });
        }
    }

    /// An instance is with another node, or no longer.
    pub(super) fn moved(&mut self, task: TaskId, what: &StepKind) {
        match what {
            StepKind::Accepted | StepKind::Started => drop(self.away.insert(task)),
            StepKind::Lost { .. } | StepKind::Ran { .. } => drop(self.away.remove(&task)),
            _ => {}
        }
    }

    /// How many instances other nodes have.
    pub(super) fn elsewhere(&self) -> u32 {
        u32::try_from(self.away.len()).unwrap_or(u32::MAX)
    }

    pub(super) fn prepared(&mut self, prepared: Arc<Prepared>, needs: Arc<Requirements>) {
        self.prepared
            .insert(prepared.task, Ready { prepared, needs });
    }

    pub(super) fn changed(&mut self) {
        self.stale = true;
    }

    pub(super) fn is_stale(&self) -> bool {
        self.stale && !self.over
    }

    pub(super) fn is_over(&self) -> bool {
        self.over
    }

    pub(super) fn is_due(&self, every: Duration) -> bool {
        self.is_stale() && self.drawn.is_none_or(|at| at.elapsed() >= every)
    }

    pub(super) fn draw(&mut self, snapshot: Snapshot) {
        self.stale = false;
        self.drawn = Some(Instant::now());
        self.picture.draw(snapshot);
    }

    /// The pipeline's name and how far the run reaches.
    pub(super) fn about(&self) -> (&str, Mode) {
        (&self.context.plan.pipeline.name, self.mode)
    }

    fn serving(&self, task: TaskId, cap: u64, level: i32) -> Option<(Ready, Serving)> {
        let ready = self.prepared.get(&task)?.clone();
        let serving = Serving {
            closure: Arc::new(self.bundles.closure(&ready.prepared)),
            cap,
            level,
        };
        Some((ready, serving))
    }
}

impl Hub {
    pub(super) fn send_bundle(
        &mut self,
        (peer, key): (NodeId, LeaseKey),
        have: &[u8],
        (cap, inline): (u64, u64),
    ) {
        let level = self.shared.level;
        let run = self.runs.get(&key.run);
        let Some((ready, serving)) = run.and_then(|run| run.serving(key.task, cap, level)) else {
            // The peer asks for it and is refused, and its lease ends as lost.
            return self.bundle_word(peer, &key, &[]);
        };
        self.permits
            .grant(peer, key.clone(), What::Bundle, serving.clone());
        self.say_bundle((peer, key), &ready, have, (serving, inline));
    }

    pub(super) fn fetch_outputs(
        &mut self,
        (peer, key): (NodeId, LeaseKey),
        claim: &Claim,
        piece: Piece,
        cap: u64,
    ) {
        let root = outputs_of(claim);
        let request = Request {
            key: key.clone(),
            what: What::Outputs,
        };
        let fetched = Fetch {
            peer,
            request,
            root,
            cap,
            inline: Vec::new(),
        };
        self.take_piece(fetched, piece, move |ended| match ended {
            Ok(()) => Event::Fetched { peer, key },
            Err(why) => Event::FetchFailed { peer, key, why },
        });
    }
}
