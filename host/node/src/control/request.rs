//! What the control socket asks of the node's loop, and how it answers.
//!
//! The server turns each HTTP request into one [`Request`] on a bounded queue, and the loop answers each through its
//! [`Reply`]: one place decides, in order, and no lock is shared. A request that the loop does not take or answer in time is
//! told so; a reply that nobody waits for any more is dropped. It decides nothing and knows no HTTP. Called by
//! [`super::server`], by the command line in the foreground, and by the mesh node, which holds the other end.

use std::borrow::Cow;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::api::{AskInfo, NodeStatus, PeerView, PeerWish, Pong, RunView, Submit, TaskView};
use super::feed::Feed;

/// Requests that wait for the loop.
const QUEUE: usize = 64;
/// How long the loop may take to answer what it knows.
pub(super) const ANSWER: Duration = Duration::from_secs(10);
/// How long it may take where the answer comes from elsewhere: a peer, a pipeline's files.
pub(super) const SLOW_ANSWER: Duration = Duration::from_secs(60);

/// One thing that is asked of the node.
#[derive(Debug)]
pub enum Request {
    /// How it is.
    Status(Reply<NodeStatus>),
    /// To take no foreign task, or to take them again.
    Pause {
        /// Whether they wait from now on.
        on: bool,
        /// Done.
        reply: Reply<()>,
    },
    /// To finish what it has and take nothing new; it goes on serving its own runs.
    Drain(Reply<()>),
    /// To end: `now`, or after what it has is finished.
    Stop {
        /// At once.
        now: bool,
        /// It will.
        reply: Reply<()>,
    },
    /// Which questions wait for a person.
    Asks(Reply<Vec<AskInfo>>),
    /// The answer to one.
    Decide {
        /// Which: [`AskInfo::id`].
        id: String,
        /// Whether the task may run here.
        yes: bool,
        /// Done, or there is no such question (any more).
        reply: Reply<()>,
    },
    /// To make a run.
    Submit {
        /// Which.
        submit: Box<Submit>,
        /// It has begun.
        reply: Reply<Started>,
    },
    /// Which runs there are, the newest first.
    Runs(Reply<Vec<RunView>>),
    /// The events of a run, those that happened before included.
    Events {
        /// Which.
        run: String,
        /// Lines of `sykli.event/1`.
        reply: Reply<Feed>,
    },
    /// To end a run as Ctrl-C would.
    Interrupt {
        /// Which.
        run: String,
        /// It will end.
        reply: Reply<()>,
    },
    /// How a task is, in the newest run that has it.
    Task {
        /// A declared task, or an instance's label.
        name: String,
        /// How it is.
        reply: Reply<TaskView>,
    },
    /// What a task wrote, in the newest run that has it.
    Logs {
        /// A declared task, or an instance's label.
        task: String,
        /// Lines of [`super::api::LogLine`].
        reply: Reply<Feed>,
    },
    /// Which peers there are.
    Peers(Reply<Vec<PeerView>>),
    /// How long a peer takes to answer.
    Ping {
        /// A peer id, or a name that only one peer has.
        peer: String,
        /// So long.
        reply: Reply<Pong>,
    },
    /// What is wanted of a peer.
    Peer {
        /// What.
        wish: PeerWish,
        /// Done.
        reply: Reply<()>,
    },
}

/// A run that has begun.
#[derive(Debug)]
pub struct Started {
    /// Its id.
    pub run: String,
    /// Its events from the first on.
    pub events: Feed,
}

/// Where an answer goes.
#[derive(Debug)]
pub struct Reply<T>(oneshot::Sender<Result<T, Refused>>);

impl<T> Reply<T> {
    /// Answers. Whoever asked may have gone away: then nobody hears it.
    pub fn send(self, answer: Result<T, Refused>) {
        let _ = self.0.send(answer);
    }

    /// The answer that was asked for.
    pub fn done(self, answer: T) {
        self.send(Ok(answer));
    }

    /// Not done, and why.
    pub fn refuse(self, why: Refused) {
        self.send(Err(why));
    }
}

/// What kind of no it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusedKind {
    /// What was asked makes no sense.
    Invalid,
    /// There is no such thing.
    Missing,
    /// Not now: the node's state is against it.
    Conflict,
    /// There is no room or no time for it.
    Busy,
    /// It was tried, and failed.
    Failed,
}

/// Why something was not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refused {
    /// What kind of no.
    pub kind: RefusedKind,
    /// Stable name of the kind of error.
    pub code: Cow<'static, str>,
    /// One line.
    pub message: String,
    /// Ways out.
    pub hints: Vec<String>,
}

impl Refused {
    /// A no of this kind, with its code and one line.
    pub fn new(
        kind: RefusedKind,
        code: impl Into<Cow<'static, str>>,
        message: impl Into<String>,
    ) -> Refused {
        Refused {
            kind,
            code: code.into(),
            message: message.into(),
            hints: Vec::new(),
        }
    }

    /// What was asked makes no sense.
    pub fn invalid(message: impl Into<String>) -> Refused {
        Refused::new(RefusedKind::Invalid, "control::invalid", message)
    }

    /// There is no such thing: `no_such("run", "r7")`.
    pub fn no_such(what: &str, name: &str) -> Refused {
        Refused::new(
            RefusedKind::Missing,
            "control::no-such",
            format!("there is no {what} `{name}`"),
        )
    }

    /// Adds a way out.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Refused {
        self.hints.push(hint.into());
        self
    }

    fn busy() -> Refused {
        Refused::new(
            RefusedKind::Busy,
            "control::busy",
            "the node does not answer in time",
        )
        .hint("try again; `sykli node stop --now` ends it")
    }

    fn stopping() -> Refused {
        Refused::new(
            RefusedKind::Conflict,
            "control::stopping",
            "the node is stopping",
        )
    }
}

/// Puts requests to the node's loop. Clones ask the same node.
#[derive(Clone, Debug)]
pub struct Requests(mpsc::Sender<Request>);

/// A queue of requests: the end that asks, and the end that the loop reads.
#[must_use]
pub fn requests() -> (Requests, mpsc::Receiver<Request>) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    (Requests(sender), receiver)
}

impl Requests {
    /// Asks and waits for the answer, at most for the time that a node may take; inside a tokio runtime.
    ///
    /// # Errors
    /// The node's no, or that it does not answer.
    pub async fn ask<T>(&self, ask: impl FnOnce(Reply<T>) -> Request) -> Result<T, Refused> {
        self.ask_within(ANSWER, ask).await
    }

    /// [`Requests::ask`] where the answer may take longer.
    pub(super) async fn ask_within<T>(
        &self,
        limit: Duration,
        ask: impl FnOnce(Reply<T>) -> Request,
    ) -> Result<T, Refused> {
        let (sender, receiver) = oneshot::channel();
        let answered = async {
            let sent = self.0.send(ask(Reply(sender))).await;
            sent.map_err(|_| Refused::stopping())?;
            receiver.await.unwrap_or_else(|_| Err(Refused::stopping()))
        };
        tokio::time::timeout(limit, answered)
            .await
            .unwrap_or_else(|_| Err(Refused::busy()))
    }

    /// Asks from a thread that is none of the runtime's, and waits for the answer; the loop is trusted to give one or to
    /// end.
    ///
    /// # Errors
    /// The node's no, or that it is gone.
    pub fn ask_blocking<T>(&self, ask: impl FnOnce(Reply<T>) -> Request) -> Result<T, Refused> {
        let (sender, receiver) = oneshot::channel();
        let sent = self.0.blocking_send(ask(Reply(sender)));
        sent.map_err(|_| Refused::stopping())?;
        receiver
            .blocking_recv()
            .unwrap_or_else(|_| Err(Refused::stopping()))
    }
}
