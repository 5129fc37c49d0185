//! The loop of a run: owns core's machine, performs its actions, feeds it what the threads say.
//!
//! One thread, which looks into the threads' boxes when their bell rings, and often by itself while short tasks end. It
//! never blocks on anything else (but the settler, when the disk cannot keep up), decides nothing, and touches no file.
//! What a lost blob of an earlier result makes fail is not told but left to another round, in which the result is made
//! anew. Called by `run`.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use sykli_core::id::{Attempt, TaskId};
use sykli_core::run::{Action, Event, Failure, RunStatus, SettledKind, Verdict};
use sykli_core::time::Tick;
use sykli_runtime::CancelToken;

use super::crew::{Crew, Execute, Message, Ready};
use super::decider::Decider;
use super::mailbox::Mailbox;
use super::pool::Pool;
use super::reach::SignedFor;
use super::settle::{Posted, Settlement};
use crate::events::{FailureReport, InstanceReport, NodeRef, RunEvent, TaskSettled};
use crate::interrupt::Interrupt;
use crate::journal::Said;
use crate::prepare::{Context, NotReady, Prepared};
use crate::store::NewResult;
use crate::worker::Attempted;

/// How often renderers are given the whole picture, at most.
const SNAPSHOT_EVERY: Duration = Duration::from_millis(100);
/// Messages taken before jobs are handed out again.
const MAX_BATCH: usize = 64;
/// How often the boxes are looked into while messages come: what does not ring the bell waits no longer.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// How often they are looked into while guests run and say nothing: their first word is told no later than this.
const LISTEN_EVERY: Duration = Duration::from_millis(25);
/// How often they are looked into while nothing runs, in case that no thread is left to ring.
const IDLE: Duration = Duration::from_secs(1);
/// A wait without any deadline.
const LONG: Duration = Duration::from_secs(3600);

/// What a run has told so far; outlives the rounds.
#[derive(Default)]
pub(super) struct Told {
    /// By instance.
    pub(super) instances: Vec<Option<InstanceReport>>,
    /// In the order they happened.
    pub(super) failures: Vec<(Arc<str>, FailureReport)>,
    pub(super) warnings: Vec<String>,
    /// What was signed for results of before this run was interrupted, until they are settled again.
    pub(super) signed: SignedFor,
}

impl Told {
    /// Keeps what an instance has to say, while there is room.
    fn keep(&mut self, label: &Arc<str>, failure: Option<&FailureReport>, warnings: &[String]) {
        if let Some(failure) = failure.filter(|_| self.failures.len() < MAX_TOLD) {
            self.failures.push((label.clone(), failure.clone()));
        }
        let room = MAX_TOLD.saturating_sub(self.warnings.len());
        let told = warnings.iter().take(room);
        self.warnings
            .extend(told.map(|warning| format!("{label}: {warning}")));
    }
}

/// Failures and warnings that a report carries; all of them are told as events.
const MAX_TOLD: usize = 1000;

/// How a round ended.
pub(super) struct End {
    pub(super) status: RunStatus,
    /// Something failed only because a blob of an earlier result was gone.
    pub(super) lost: bool,
    /// No guest is running any more.
    pub(super) quiet: bool,
}

/// One round of a run.
pub(super) struct Drive<'a> {
    pub(super) context: Arc<Context>,
    pub(super) machine: Decider,
    pool: &'a Pool<Crew>,
    pub(super) events: &'a (dyn Fn(RunEvent) + Sync),
    settler: SyncSender<Posted>,
    /// On their way to the settler.
    settled: Vec<Settlement>,
    told: &'a mut Told,
    began: Instant,
    /// What the clock said when this batch of messages was begun.
    now: Tick,
    /// Messages came when the boxes were last looked into.
    busy: bool,
    pub(super) active: HashMap<TaskId, Box<Active>>,
    actions: Vec<Action>,
    prepare: Vec<TaskId>,
    execute: Vec<Execute>,
    interrupt: &'a Interrupt,
    interrupts: u32,
    running: usize,
    lost: bool,
    changed: bool,
    shown: Option<Instant>,
}

/// What is known of an instance between its preparation and its end.
#[derive(Default)]
pub(super) struct Active {
    pub(super) prepared: Option<Arc<Prepared>>,
    cancel: Option<CancelToken>,
    recall: Option<Arc<AtomicBool>>,
    pub(super) attempts: u32,
    /// The node that has it, or had it last, had asked for work.
    pub(super) stolen: bool,
    pub(super) last: Last,
}

/// What came of it last.
#[derive(Default)]
pub(super) struct Last {
    pub(super) wall_ms: u64,
    pub(super) fuel: u64,
    pub(super) output: Option<sykli_core::id::Digest>,
    pub(super) failure: Option<FailureReport>,
    pub(super) warnings: Vec<String>,
    pub(super) stored: Option<Box<NewResult>>,
    pub(super) said: Option<Box<Said>>,
    /// The node that it ran on, where that was not this one.
    pub(super) node: Option<NodeRef>,
    pub(super) stolen: bool,
    /// What that node signed, in its one encoding.
    pub(super) receipt: Option<Box<[u8]>>,
}

impl<'a> Drive<'a> {
    pub(super) fn new(
        context: Arc<Context>,
        machine: Decider,
        pool: &'a Pool<Crew>,
        events: &'a (dyn Fn(RunEvent) + Sync),
        settler: SyncSender<Posted>,
        told: &'a mut Told,
        interrupt: &'a Interrupt,
    ) -> Drive<'a> {
        Drive {
            context,
            machine,
            pool,
            events,
            settler,
            settled: Vec::new(),
            told,
            began: Instant::now(),
            now: Tick(0),
            busy: true,
            active: HashMap::new(),
            actions: Vec::new(),
            prepare: Vec::new(),
            execute: Vec::new(),
            interrupt,
            interrupts: 0,
            running: 0,
            lost: false,
            changed: true,
            shown: None,
        }
    }

    /// Drives the machine until it has finished.
    pub(super) fn run(mut self, mailbox: &Mailbox<Message>) -> End {
        self.feed(Event::Begin);
        let mut messages = Vec::new();
        loop {
            self.hand_out();
            self.show(false);
            if let Some(status) = self.machine.finished() {
                self.show(true);
                return End {
                    status,
                    lost: self.lost,
                    quiet: self.running == 0,
                };
            }
            mailbox.wait(self.wait());
            mailbox.collect(&mut messages);
            self.busy = !messages.is_empty();
            self.read_clock();
            for (at, message) in messages.drain(..).enumerate() {
                if at % MAX_BATCH == MAX_BATCH - 1 {
                    self.hand_out();
                    self.read_clock();
                }
                self.take(message);
            }
            self.heed_interrupt();
            if self.machine.next_timeout().is_some_and(|at| at <= self.now) {
                self.feed(Event::Timeout);
            }
            // Every thread is gone: nothing will ever be answered again.
            if !self.busy && self.pool.is_dead() {
                self.feed(Event::Interrupt);
            }
        }
    }

    /// Passes on what there is to do, and what is done.
    fn hand_out(&mut self) {
        self.pool.push(&mut self.prepare, &mut self.execute);
        if !self.settled.is_empty() {
            // Gone only when its thread panicked: the run goes on without being told.
            let settled = std::mem::take(&mut self.settled);
            let _ = self.settler.send(Posted::Settled(settled));
        }
    }

    /// The bell only has the loop look.
    fn heed_interrupt(&mut self) {
        while self.interrupts < self.interrupt.count().min(2) {
            self.interrupts += 1;
            self.feed(Event::Interrupt);
        }
    }

    fn read_clock(&mut self) {
        self.now = Tick(u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX));
    }

    /// Until the machine's deadline, or until the picture is due again while something goes on, or a look.
    fn wait(&self) -> Duration {
        let deadline = self
            .machine
            .next_timeout()
            .map_or(LONG, |at| Duration::from_millis(at.ms_since(self.now)));
        let picture = match self.shown {
            Some(at) if self.changed || self.running > 0 => {
                SNAPSHOT_EVERY.saturating_sub(at.elapsed())
            }
            _ => LONG,
        };
        let look = match (self.busy, self.running) {
            (true, _) => LOOK_EVERY,
            (false, 1..) => LISTEN_EVERY,
            (false, 0) => IDLE,
        };
        deadline.min(picture).min(look)
    }

    fn show(&mut self, last: bool) {
        let due = self.shown.is_none_or(|at| at.elapsed() >= SNAPSHOT_EVERY);
        if last || (due && (self.changed || self.running > 0)) {
            self.changed = false;
            self.shown = Some(Instant::now());
            if let Some(snapshot) = self.machine.snapshot(self.now) {
                (self.events)(RunEvent::Snapshot(Box::new(snapshot)));
            }
        }
    }

    fn feed(&mut self, event: Event) {
        self.changed = true;
        let mut actions = std::mem::take(&mut self.actions);
        self.machine.handle_into(self.now, event, &mut actions);
        self.follow(actions);
    }

    fn follow(&mut self, mut actions: Vec<Action>) {
        for action in actions.drain(..) {
            self.perform(action);
        }
        self.actions = actions;
    }

    pub(super) fn perform(&mut self, action: Action) {
        match action {
            Action::Prepare { task } => self.prepare.push(task),
            Action::Execute { task, attempt } => self.start(task, attempt),
            Action::Recall { task, .. } => {
                let active = self.active.get(&task);
                if let Some(recall) = active.and_then(|active| active.recall.as_ref()) {
                    recall.store(true, Ordering::Relaxed);
                }
            }
            Action::Cancel { task, .. } => {
                if let Some(cancel) = self
                    .active
                    .get(&task)
                    .and_then(|active| active.cancel.as_ref())
                {
                    cancel.cancel();
                }
            }
            Action::Settled { task, state } => self.settled(task, state),
            // The loop looks at the machine itself.
            Action::Finish { .. } => {}
        }
    }

    fn start(&mut self, id: TaskId, attempt: Attempt) {
        let active = self.active.entry(id).or_default();
        // The machine executes only what it was told is prepared.
        let Some(prepared) = active.prepared.clone() else {
            return;
        };
        let cancel = CancelToken::default();
        let recall = Arc::new(AtomicBool::new(false));
        active.cancel = Some(cancel.clone());
        active.recall = Some(recall.clone());
        active.attempts = match &self.machine {
            Decider::Own(_) => attempt.0,
            // Offers that came to nothing spend numbers too, and are no attempts to run it.
            Decider::Mesh(_) => active.attempts + 1,
        };
        let number = active.attempts;
        self.running += 1;
        self.execute.push(Execute {
            prepared,
            attempt,
            cancel,
            recall,
        });
        if let Some((task, label)) = self.names(id) {
            (self.events)(RunEvent::TaskStarted {
                task,
                label,
                attempt: number,
            });
        }
    }

    pub(super) fn names(&self, id: TaskId) -> Option<(Arc<str>, Arc<str>)> {
        let (instance, _) = self.context.instance(id)?;
        let task = self.context.name(instance.task)?;
        Some((task, instance.label.clone()))
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Node(said) => self.hear(said),
            Message::Prepared(batch) => {
                for (id, ready) in batch {
                    self.prepared(id, ready);
                }
            }
            Message::Finished {
                id,
                attempt,
                attempted,
                ran_us,
            } => self.finished(id, attempt, *attempted, ran_us),
            Message::Progress {
                id,
                attempt,
                done,
                total,
                message,
            } => {
                if let Some((task, label)) = self.names(id) {
                    (self.events)(RunEvent::TaskProgress {
                        task,
                        label,
                        done,
                        total,
                        message: message.clone(),
                    });
                }
                self.feed(Event::Progress {
                    task: id,
                    attempt,
                    done,
                    total,
                    message,
                });
            }
            Message::Output { id, stream, bytes } => {
                if let Some((task, label)) = self.names(id) {
                    (self.events)(RunEvent::TaskOutput {
                        task,
                        label,
                        stream,
                        bytes,
                    });
                }
            }
            Message::Log {
                id,
                level,
                message,
                fields,
            } => {
                if let Some((task, label)) = self.names(id) {
                    (self.events)(RunEvent::TaskLog {
                        task,
                        label,
                        level,
                        message,
                        fields,
                    });
                }
            }
        }
    }

    fn prepared(&mut self, id: TaskId, ready: Result<Ready, NotReady>) {
        let ready = match ready {
            Ok(ready) => ready,
            Err(not_ready) => return self.not_ready(id, not_ready),
        };
        let prepared = ready.prepared;
        let hit = ready.hit.is_some();
        let last = match ready.hit {
            Some(record) => {
                self.context.settle(id, record.outputs);
                Last {
                    wall_ms: record.wall_ms,
                    fuel: record.fuel,
                    output: Some(record.outputs),
                    warnings: record.warnings,
                    ..Last::default()
                }
            }
            None => Last::default(),
        };
        let active = Active {
            prepared: Some(prepared.clone()),
            last,
            ..Active::default()
        };
        self.active.insert(id, Box::new(active));
        self.changed = true;
        let mut actions = std::mem::take(&mut self.actions);
        self.machine
            .prepared(self.now, (&prepared, hit), ready.needs, &mut actions);
        self.follow(actions);
    }

    fn not_ready(&mut self, id: TaskId, not_ready: NotReady) {
        self.note_lost(not_ready.lost);
        let reason = Failure {
            code: not_ready.code,
            message: not_ready.report.message.clone(),
        };
        self.active.entry(id).or_default().last.failure = Some(*not_ready.report);
        self.feed(Event::PrepareFailed { task: id, reason });
    }

    fn finished(&mut self, id: TaskId, attempt: Attempt, attempted: Attempted, ran_us: u64) {
        self.running = self.running.saturating_sub(1);
        self.note_lost(attempted.lost);
        if let (Verdict::Passed, Some(output)) = (&attempted.verdict, attempted.output) {
            self.context.settle(id, output);
        }
        // An instance that the machine has given up on meanwhile is told already.
        if let Some(active) = self.active.get_mut(&id) {
            if !attempted.begun {
                active.attempts = active.attempts.saturating_sub(1);
            }
            active.last = Last {
                wall_ms: attempted.wall_ms,
                fuel: attempted.fuel,
                output: attempted.output,
                failure: attempted.failure,
                warnings: attempted.warnings,
                stored: attempted.stored,
                said: attempted.said,
                node: None,
                stolen: false,
                receipt: None,
            };
        }
        self.feed(Event::Finished {
            task: id,
            attempt,
            verdict: attempted.verdict,
            ran_us,
        });
    }

    /// With a result gone, this round cannot end well: it is ended, and the next one makes the result anew.
    fn note_lost(&mut self, lost: bool) {
        if lost && !self.lost {
            self.lost = true;
            self.feed(Event::Interrupt);
        }
    }

    /// Told in an earlier round; what it made anew is kept all the same.
    fn keep_only(&mut self, stored: Option<Box<NewResult>>) {
        if stored.is_some() {
            self.settled.push(Settlement {
                event: None,
                stored,
                said: None,
                receipt: None,
            });
        }
    }

    fn settled(&mut self, id: TaskId, state: SettledKind) {
        let active = *self.active.remove(&id).unwrap_or_default();
        if self.lost && !state.is_good() {
            return;
        }
        let known = self
            .told
            .instances
            .get(id.index())
            .is_some_and(Option::is_some);
        if known {
            return self.keep_only(active.last.stored.filter(|_| state.is_good()));
        }
        let Some((task, label)) = self.names(id) else {
            return;
        };
        let Last {
            wall_ms,
            fuel,
            output,
            failure,
            warnings,
            stored,
            said,
            node,
            stolen,
            receipt,
        } = active.last;
        let failure = failure.filter(|_| state == SettledKind::Failed);
        let digest = active.prepared.map(|prepared| prepared.digest);
        let before = digest.and_then(|digest| self.told.signed.remove(&digest));
        let receipt = receipt.or(before.filter(|_| state == SettledKind::Cached));
        if let Some(slot) = self.told.instances.get_mut(id.index()) {
            let (task, label) = (task.clone(), label.clone());
            *slot = Some(InstanceReport {
                task,
                label,
                state,
                digest,
                output,
                wall_ms,
                fuel,
                node: node.clone(),
            });
        }
        self.told.keep(&label, failure.as_ref(), &warnings);
        let attempts = active.attempts;
        let event = TaskSettled {
            task,
            label,
            state,
            attempts,
            wall_ms,
            fuel,
            digest,
            output,
            failure,
            warnings,
            node,
            stolen,
        };
        self.settled.push(Settlement {
            event: Some(Box::new(event)),
            stored,
            said,
            receipt,
        });
    }
}
