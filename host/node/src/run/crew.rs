//! What the threads of a run do: prepare batches, run attempts, and tell the loop what came of it.
//!
//! Everything a guest says on the way goes through its thread's bounded box, so that a guest that talks faster than the
//! renderer listens waits for it. A panic of ours costs the one attempt, not the run. Called by `pool`.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use sykli_core::id::{Attempt, TaskId};
use sykli_core::policy::Requirements;
use sykli_runtime::{CancelToken, Component, LogLevel, Observer, Sandbox};

use super::mailbox::Mailbox;
use super::pool::Work;
use crate::events::Stream;
use crate::meshnode::FromNode;
use crate::needs::Bundles;
use crate::prepare::{Context, Known, NotReady, Prepared};
use crate::store::Record;
use crate::worker::{self, Attempted, Tails};

/// Bytes of each output stream of an attempt that renderers are told of; the rest is only kept.
const MAX_FORWARDED_BYTES: u64 = 4 << 20;

/// What the loop is told: by a thread, or by the mesh node.
pub(super) enum Message {
    Node(FromNode),
    Prepared(Vec<(TaskId, Result<Ready, NotReady>)>),
    Finished {
        id: TaskId,
        attempt: Attempt,
        attempted: Box<Attempted>,
        /// How long the attempt took, in microseconds.
        ran_us: u64,
    },
    Progress {
        id: TaskId,
        attempt: Attempt,
        done: u64,
        total: u64,
        message: String,
    },
    Output {
        id: TaskId,
        stream: Stream,
        bytes: Vec<u8>,
    },
    Log {
        id: TaskId,
        level: LogLevel,
        message: String,
        fields: Vec<(String, String)>,
    },
}

/// A prepared instance, and its result where that is known.
pub(super) struct Ready {
    pub(super) prepared: Arc<Prepared>,
    pub(super) hit: Option<Record>,
    /// What it asks of a node, where nodes will be asked.
    pub(super) needs: Option<Arc<Requirements>>,
}

/// One attempt to run.
pub(super) struct Execute {
    pub(super) prepared: Arc<Prepared>,
    pub(super) attempt: Attempt,
    pub(super) cancel: CancelToken,
    /// It was asked back: not begun any more.
    pub(super) recall: Arc<AtomicBool>,
}

/// What asks for instances in a run that reaches other nodes.
pub(super) struct Asking {
    pub(super) bundles: Arc<Bundles>,
    /// The most compressed bytes that may flow for one task.
    pub(super) cap: u64,
}

impl Asking {
    fn needs(&self, prepared: &Prepared) -> Option<Requirements> {
        let asked = self.bundles.needs(prepared, 0, self.cap);
        asked
            .inspect_err(|why| tracing::debug!(code = why.code, "an instance stays here"))
            .ok()
    }
}

/// What all threads share.
pub(super) struct Crew {
    pub(super) context: Arc<Context>,
    pub(super) sandbox: Sandbox,
    /// By declared task.
    pub(super) components: Vec<Option<Component>>,
    pub(super) use_cache: bool,
    /// Says what an instance asks of a node, in a run that reaches others.
    pub(super) asking: Option<Asking>,
    pub(super) mailbox: Mailbox<Message>,
}

impl Work for Crew {
    type Prepare = TaskId;
    type Execute = Execute;

    fn prepare(&self, thread: usize, batch: Vec<TaskId>) {
        let answer = catch_unwind(AssertUnwindSafe(|| self.prepare_all(&batch)));
        let answer = answer.unwrap_or_else(|panic| {
            let fault = || {
                NotReady::new(
                    "run::internal",
                    format!("the preparation panicked: {}", words(&panic)),
                    None,
                )
            };
            batch.iter().map(|id| (*id, Err(fault()))).collect()
        });
        self.mailbox.post(thread, Message::Prepared(answer));
        // What is prepared may be what an idle slot waits for.
        self.mailbox.ring();
    }

    fn execute(&self, thread: usize, job: Execute) {
        let (id, began) = (job.prepared.task, Instant::now());
        let attempted = catch_unwind(AssertUnwindSafe(|| self.attempt(thread, &job)));
        let attempted = attempted.unwrap_or_else(|panic| {
            let message = format!(
                "could not be run by this machine: a panic: {}",
                words(&panic)
            );
            Attempted::not_run(NotReady::new("task::host-fault", message, None))
        });
        let message = Message::Finished {
            id,
            attempt: job.attempt,
            attempted: Box::new(attempted),
            ran_us: u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX),
        };
        self.mailbox.post(thread, message);
    }

    fn idle(&self, thread: usize) {
        self.mailbox.flush(thread);
    }
}

impl Crew {
    fn prepare_all(&self, batch: &[TaskId]) -> Vec<(TaskId, Result<Ready, NotReady>)> {
        let prepared: Vec<_> = batch
            .iter()
            .map(|id| (*id, self.context.prepare(*id)))
            .collect();
        let wanted: Vec<&Prepared> = match self.use_cache {
            true => prepared
                .iter()
                .filter_map(|(_, one)| one.as_ref().ok())
                .collect(),
            false => Vec::new(),
        };
        let mut known = self.context.look_up(&wanted).into_iter();
        let mut ready = |mut prepared: Prepared| {
            let known = known.next();
            prepared.unknown = matches!(known, Some(Known::Nothing));
            let hit = known.and_then(Known::result);
            let asking = self.asking.as_ref().filter(|_| hit.is_none());
            // What cannot be asked for is only tried here.
            let needs = asking
                .and_then(|asking| asking.needs(&prepared))
                .map(Arc::new);
            Ready {
                prepared: Arc::new(prepared),
                hit,
                needs,
            }
        };
        prepared
            .into_iter()
            .map(|(id, one)| (id, one.map(&mut ready)))
            .collect()
    }

    fn attempt(&self, thread: usize, job: &Execute) -> Attempted {
        if job.recall.load(Ordering::Relaxed) || job.cancel.is_cancelled() {
            return Attempted::not_begun();
        }
        let task = self
            .context
            .instance(job.prepared.task)
            .map(|(instance, _)| instance.task);
        let Some(component) = task
            .and_then(|task| self.components.get(task))
            .and_then(Option::as_ref)
        else {
            return Attempted::not_run(NotReady::new(
                "run::internal",
                "its component is not loaded".to_owned(),
                None,
            ));
        };
        let watch = Arc::new(Watch {
            id: job.prepared.task,
            attempt: job.attempt,
            mailbox: self.mailbox.clone(),
            thread,
            tails: Tails::default(),
            forwarded: [AtomicU64::new(0), AtomicU64::new(0)],
        });
        let observer: Arc<dyn Observer> = watch.clone();
        let (context, sandbox) = (&self.context, &self.sandbox);
        worker::attempt(
            context,
            sandbox,
            component,
            &job.prepared,
            job.attempt.0,
            (observer, &watch.tails),
            &job.cancel,
        )
    }
}

fn words(panic: &Box<dyn Any + Send>) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a message")
}

/// Listens to one attempt.
struct Watch {
    id: TaskId,
    attempt: Attempt,
    mailbox: Mailbox<Message>,
    thread: usize,
    tails: Tails,
    /// Bytes told of each stream so far.
    forwarded: [AtomicU64; 2],
}

impl Watch {
    fn forward(&self, stream: Stream, bytes: &[u8]) {
        let [stdout, stderr] = &self.forwarded;
        let told = match stream {
            Stream::Stdout => stdout,
            Stream::Stderr => stderr,
        };
        if told.fetch_add(bytes.len() as u64, Ordering::Relaxed) < MAX_FORWARDED_BYTES {
            self.tell(Message::Output {
                id: self.id,
                stream,
                bytes: bytes.to_vec(),
            });
        }
    }

    fn tell(&self, message: Message) {
        self.mailbox.post(self.thread, message);
    }
}

impl Observer for Watch {
    fn stdout(&self, bytes: &[u8]) {
        self.tails.stdout(bytes);
        self.forward(Stream::Stdout, bytes);
    }

    fn stderr(&self, bytes: &[u8]) {
        self.tails.stderr(bytes);
        self.forward(Stream::Stderr, bytes);
    }

    fn progress(&self, done: u64, total: u64, message: &str) {
        self.tell(Message::Progress {
            id: self.id,
            attempt: self.attempt,
            done,
            total,
            message: message.to_owned(),
        });
    }

    fn log(&self, level: LogLevel, message: &str, fields: &[(String, String)]) {
        self.tell(Message::Log {
            id: self.id,
            level,
            message: message.to_owned(),
            fields: fields.to_vec(),
        });
    }
}
