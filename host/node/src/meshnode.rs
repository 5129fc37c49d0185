//! A node of the mesh: core's machine, and the hands that it needs.
//!
//! ```text
//! hub.rs      the one loop: what happens → machine → what is to be done
//! perform.rs  each action to whoever does it
//! owner.rs    own runs: bundles that may be fetched, outputs that are fetched
//! guest.rs    foreign tasks: bundles taken, guests run, results that wait
//! fetch.rs    transfers to this node          serve.rs    transfers from it
//! inline.rs   what goes in messages instead   crew.rs     threads of foreign guests
//! acquaint.rs how members find each other
//! apart.rs    where foreign tasks run
//! book.rs     where nodes were met             join.rs     joining a mesh
//! ports.rs    the ports of last time
//! permits.rs  what may be fetched by whom     run.rs      a run's side of all this
//! restart.rs  what is gone on with
//! status.rs   the node as it is, for people   trail.rs    what passes between nodes, for the log
//! expelled.rs who broke the protocol
//! ```
//!
//! It decides nothing: core does. One of them runs for each user's data folder, in `sykli node start` or, where none is
//! up, for as long as a `sykli run --mesh` lasts. Called by the command line and by `run`.

mod acquaint;
mod apart;
mod book;
mod command;
mod crew;
mod expelled;
mod fetch;
mod guest;
mod hub;
mod inline;
mod join;
mod owner;
mod perform;
mod permits;
mod ports;
mod restart;
pub(crate) mod run;
mod serve;
mod status;
mod trail;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::fs::FlockOperation;
use sykli_core::consent::Capabilities;
use sykli_core::id::NodeId;
use sykli_core::machine::{Event, Setup, Submission};
use sykli_core::policy::Policy;
use sykli_core::profile::ProfileKind;
use tokio::sync::{mpsc, oneshot};

use crate::control::Notices;
use crate::control::api::NodeStatus;
use crate::db::{Guard, lock_file};
use crate::events::NodeRef;
use crate::foreign;
use crate::host_state::{HostProbe, Roots};
use crate::identity::{Identity, IdentityError};
use crate::isolation::{Isolation, Lost};
use crate::journal::Journal;
use crate::ledger::{Ledger, LedgerError};
use crate::membership::{Membership, MembershipError};
use crate::mesh::{Mesh, MeshConfig, MeshError, MeshLimits};
use crate::needs::{Bundles, SizeBook};
use crate::node::{Node, NodeError};
use crate::paths::{PathsError, create_private};
use crate::prepare::{Context, Prepared};
use crate::settings::MeshSettings;
use crate::store::Store;
use crate::transfer::{Compressor, Fair};
use hub::{Done, Ears, Hub};
pub use join::join;
use owner::RunSide;
use run::Picture;
pub(crate) use run::{FromNode, MeshRun, Sink};

/// What the loop's queues hold: from the transport, and from runs and the control socket.
const MESH_QUEUE: usize = 1024;
const COMMAND_QUEUE: usize = 1024;
/// Threads of the node's own: transport and transfers. Guests have theirs.
const THREADS: usize = 2;
/// How long a task that fits no node waits for one.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a peer may take for 16 KiB of a transfer.
const STALL: Duration = Duration::from_secs(60);
/// How long the transport has to end.
const SHUTDOWN: Duration = Duration::from_secs(5);

/// A node by its peer id and the name that it gave itself; the end of its id where it has not said one.
pub(crate) fn node_ref(node: NodeId, name: &str) -> NodeRef {
    let id = crate::identity::show(node);
    let end = id.get(id.len().saturating_sub(8)..).unwrap_or(&id);
    let name = if name.is_empty() { end } else { name }.to_owned();
    NodeRef { id, name }
}

/// Why a node could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MeshNodeError {
    /// Another process of this user is this node.
    #[error("a node of this user is running already ({})", path.display())]
    Running {
        /// The lock that it holds.
        path: PathBuf,
    },
    /// The lock could not be taken.
    #[error("cannot use {}: {message}", path.display())]
    Lock {
        /// The lock.
        path: PathBuf,
        /// What the system said.
        message: String,
    },
    /// The folders cannot be used.
    #[error(transparent)]
    Paths(#[from] PathsError),
    /// The key cannot be used.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The membership cannot be used.
    #[error(transparent)]
    Membership(#[from] MembershipError),
    /// The ledger cannot be used.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The transport could not be started.
    #[error(transparent)]
    Mesh(#[from] MeshError),
    /// The store or the engine cannot be used.
    #[error(transparent)]
    Node(#[from] Box<NodeError>),
    /// The system gives no threads.
    #[error("failed to start the node's threads: {0}")]
    Threads(std::io::Error),
    /// Tasks of others cannot run in processes that have given up what its user wants.
    #[error("cannot take tasks of others: {0}")]
    Isolation(Lost),
}

impl MeshNodeError {
    /// Stable name of the kind of error.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            MeshNodeError::Running { .. } => "node::running",
            MeshNodeError::Lock { .. } => "node::lock",
            MeshNodeError::Paths(_) => "node::folders",
            MeshNodeError::Identity(error) => error.code(),
            MeshNodeError::Membership(error) => error.code(),
            MeshNodeError::Ledger(error) => error.code(),
            MeshNodeError::Mesh(error) => error.code(),
            MeshNodeError::Node(error) => error.code(),
            MeshNodeError::Threads(_) => "node::threads",
            MeshNodeError::Isolation(_) => "node::isolation",
        }
    }

    /// Ways out.
    #[must_use]
    pub fn hints(&self) -> Vec<String> {
        match self {
            MeshNodeError::Running { .. } => vec![
                "`sykli node status` shows it; runs go through it where its control socket answers".to_owned(),
            ],
            MeshNodeError::Lock { .. } | MeshNodeError::Paths(_) => vec![
                "make it a folder that you own and can write (chmod u+rwx), or set XDG_DATA_HOME to another one"
                    .to_owned(),
            ],
            MeshNodeError::Identity(error) => vec![error.hint()],
            MeshNodeError::Membership(error) => vec![error.hint()],
            MeshNodeError::Ledger(error) => vec![error.hint()],
            MeshNodeError::Mesh(error) => vec![error.hint()],
            MeshNodeError::Node(error) => error.hints(),
            MeshNodeError::Threads(_) => Vec::new(),
            MeshNodeError::Isolation(_) => vec![
                "`sykli doctor` says what is granted here; consent.isolation = \"best-effort\" takes tasks with that, consent.mode = \"never\" none"
                    .to_owned(),
            ],
        }
    }
}

/// What the loop is told from within this process.
pub(crate) enum Command {
    /// A run begins.
    Submit(Box<Submission>, Box<RunSide>),
    /// Something happened in it.
    Own(Event),
    /// An instance of it is prepared; with what its bundle is made of, where it has no result.
    Prepared {
        event: Event,
        prepared: Option<Arc<Prepared>>,
    },
    /// How is the node?
    Status(oneshot::Sender<Box<NodeStatus>>),
    /// Take nothing new, or again.
    Pause(bool),
    /// Finish what is there, take nothing new.
    Drain,
    /// A person has answered a question; whether there was one.
    Decide {
        id: u64,
        yes: bool,
        answer: oneshot::Sender<bool>,
    },
    /// End: at once, or after what is there is finished.
    Stop { now: bool },
}

/// What the loop and what runs beside it share.
pub(super) struct Shared {
    me: NodeId,
    /// Signs receipts.
    identity: Identity,
    /// The mesh that it belongs to.
    house: Option<NodeId>,
    name: String,
    profile: ProfileKind,
    policy: Policy,
    labels: BTreeSet<Arc<str>>,
    slots: u32,
    memory_mb: u64,
    store: Store,
    isolation: Arc<Isolation>,
    /// Compressed sizes of blobs.
    sizes: Arc<SizeBook>,
    ledger: Arc<Ledger>,
    journal: Journal,
    mesh: Mesh,
    fair: Fair,
    /// zstd's level for what is sent.
    level: i32,
    /// For what goes in messages and is packed beside the loop.
    compressor: Mutex<Compressor>,
    notices: Notices,
    /// Where what is remembered is kept.
    data: PathBuf,
}

/// What a node's transport is made of.
struct Wanted<'a> {
    identity: &'a Identity,
    membership: &'a Membership,
    settings: &'a MeshSettings,
    data: &'a Path,
}

impl Wanted<'_> {
    /// Starts it; also whether there is somebody to meet. Inside the runtime.
    fn transport(
        &self,
        heard: mpsc::Sender<crate::mesh::MeshEvent>,
    ) -> Result<(Mesh, bool), MeshNodeError> {
        let settings = self.settings;
        let mut known = settings.known.clone();
        known.extend(book::known(self.data));
        let knows_somebody = settings.mdns || !known.is_empty();
        let mesh = self.membership.mesh();
        let config = MeshConfig {
            identity: self.identity.keypair().clone(),
            mesh: mesh.map_or_else(|| "none".to_owned(), crate::identity::show),
            gate: self.membership.gate(capabilities(settings))?,
            joining: None,
            profile: settings.profile.clone(),
            listen: ports::again(self.data, &settings.listen),
            known,
            mdns: settings.mdns,
            relay_server: settings.relay_server,
            limits: MeshLimits::default(),
        };
        let mesh = match Mesh::start(config.clone(), heard.clone()) {
            // A port of last time is taken.
            Err(MeshError::Listen { .. }) if config.listen != settings.listen => {
                let listen = settings.listen.clone();
                Mesh::start(MeshConfig { listen, ..config }, heard)?
            }
            started => started?,
        };
        Ok((mesh, knows_somebody))
    }
}

/// A running node; see the module. Dropped, it is stopped.
pub struct MeshNode {
    handle: Handle,
    mesh: Mesh,
    knows_somebody: bool,
    runtime: Option<tokio::runtime::Runtime>,
    serving: Option<tokio::task::JoinHandle<()>>,
    // Released last.
    _lock: Guard,
}

/// Speaks to a running node. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    commands: mpsc::Sender<Command>,
    ledger: Arc<Ledger>,
    sizes: Arc<SizeBook>,
    house: Option<NodeId>,
    /// The most bytes that may flow for one task.
    cap: u64,
    runtime: tokio::runtime::Handle,
}

impl MeshNode {
    /// Starts the node of `node`'s data folder.
    ///
    /// # Errors
    /// Where another process is this node, or something that it stands on cannot be used.
    pub fn start(
        node: &Node,
        settings: MeshSettings,
        notices: Notices,
    ) -> Result<MeshNode, MeshNodeError> {
        let data = &node.settings().dirs.data;
        create_private(data)?;
        let lock = take_lock(data.join("mesh.lock"))?;
        let identity = Identity::open(data)?;
        let me = identity.node_id();
        let membership = Membership::open(data, &identity, settings.trust.clone())?;
        let ledger = Arc::new(Ledger::open(data)?);
        let store = node.store().map_err(Box::new)?.clone();
        let isolation = apart::isolation(node, &settings)?;
        let runtime = runtime().map_err(MeshNodeError::Threads)?;
        let cap = cap(&settings);
        let (heard, mesh_events) = mpsc::channel(MESH_QUEUE);
        let wanted = Wanted {
            identity: &identity,
            membership: &membership,
            settings: &settings,
            data,
        };
        let (mesh, knows_somebody) = runtime.block_on(async { wanted.transport(heard) })?;
        let level = level(settings.profile.kind);
        let sizes = Arc::new(SizeBook::new(level));
        let shared = Arc::new(Shared {
            me,
            identity: identity.clone(),
            house: membership.mesh(),
            name: settings.name.clone(),
            profile: settings.profile.kind,
            policy: settings.policy.clone(),
            labels: settings.labels.clone(),
            slots: settings.slots,
            memory_mb: settings.memory_mb,
            store,
            isolation,
            sizes: Arc::clone(&sizes),
            ledger: ledger.clone(),
            journal: node.journal().map_err(Box::new)?.clone(),
            mesh: mesh.clone(),
            fair: Fair::new(THREADS),
            level,
            compressor: Mutex::default(),
            notices,
            data: data.clone(),
        });
        let (machine, permits) = restart::restored(&shared, setup(me, shared.house, settings))?;
        let (commands, commanded) = mpsc::channel(COMMAND_QUEUE);
        let (done, answers) = mpsc::unbounded_channel();
        let hub = Hub::new(shared, machine, done, permits);
        let ears = Ears {
            mesh: mesh_events,
            commands: commanded,
            done: answers,
            probe: HostProbe::new(Roots::system()),
        };
        let serving = runtime.spawn(hub.serve(ears));
        let handle = Handle {
            commands,
            ledger,
            sizes,
            house: membership.mesh(),
            cap,
            runtime: runtime.handle().clone(),
        };
        Ok(MeshNode {
            handle,
            mesh,
            knows_somebody,
            runtime: Some(runtime),
            serving: Some(serving),
            _lock: lock,
        })
    }

    /// For those who speak to it.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Whether there is somebody to meet: known addresses, or neighbours that can be called.
    #[must_use]
    pub fn knows_somebody(&self) -> bool {
        self.knows_somebody
    }

    /// Its transport.
    #[must_use]
    pub fn mesh(&self) -> &Mesh {
        &self.mesh
    }

    /// The runtime that it lives on.
    #[must_use]
    pub fn runtime(&self) -> tokio::runtime::Handle {
        self.handle.runtime.clone()
    }

    /// Waits until it has ended by itself: it was stopped or drained.
    pub fn wait(mut self) {
        self.join();
    }

    /// Stops it: guests are given up, peers are told.
    pub fn stop(mut self) {
        self.handle.stop(true);
        self.join();
    }

    fn join(&mut self) {
        let (Some(runtime), Some(serving)) = (self.runtime.take(), self.serving.take()) else {
            return;
        };
        // It fails only by a panic, which has been told.
        let _ = runtime.block_on(serving);
        runtime.shutdown_timeout(SHUTDOWN);
    }
}

impl Drop for MeshNode {
    fn drop(&mut self) {
        if self.serving.is_some() {
            self.handle.stop(true);
            self.join();
        }
    }
}

impl Handle {
    /// Begins a run; what happens in it is told to what comes back.
    pub(crate) fn submit(
        &self,
        submission: Submission,
        parts: (Arc<Context>, Arc<Bundles>),
        sink: Sink,
    ) -> MeshRun {
        let (run, picture) = (submission.run.clone(), Picture::default());
        let bundles = Arc::clone(&parts.1);
        let side = RunSide::new(parts, submission.mode, picture.clone(), sink);
        // Where the node has ended, the run finds out by itself.
        let _ = self
            .commands
            .blocking_send(Command::Submit(Box::new(submission), Box::new(side)));
        MeshRun::new(run, self.commands.clone(), picture, bundles)
    }

    /// How the node is; none where it has ended.
    pub async fn status(&self) -> Option<Box<NodeStatus>> {
        let (answer, status) = oneshot::channel();
        self.commands.send(Command::Status(answer)).await.ok()?;
        status.await.ok()
    }

    /// Takes nothing new, or again.
    pub async fn pause(&self, on: bool) {
        // Without a node there is nothing to pause.
        let _ = self.commands.send(Command::Pause(on)).await;
    }

    /// Comes back when it has ended.
    pub async fn ended(&self) {
        self.commands.closed().await;
    }

    /// Finishes what is there, takes nothing new.
    pub async fn drain(&self) {
        let _ = self.commands.send(Command::Drain).await;
    }

    /// A person's answer to a question; false where it no longer stands.
    pub async fn decide(&self, id: u64, yes: bool) -> bool {
        let (answer, decided) = oneshot::channel();
        let command = Command::Decide { id, yes, answer };
        self.commands.send(command).await.is_ok() && decided.await.unwrap_or(false)
    }

    /// Ends it, at once or after what it has is finished. Does not wait.
    pub fn stop(&self, now: bool) {
        let commands = self.commands.clone();
        self.runtime.spawn(async move {
            let _ = commands.send(Command::Stop { now }).await;
        });
    }

    /// What was promised to peers and is not settled.
    pub(crate) fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The mesh that the node belongs to.
    pub(crate) fn house(&self) -> Option<NodeId> {
        self.house
    }

    pub(crate) fn sizes(&self) -> &Arc<SizeBook> {
        &self.sizes
    }

    /// The most compressed bytes that may flow for one task.
    pub(crate) fn cap(&self) -> u64 {
        self.cap
    }
}

fn take_lock(path: PathBuf) -> Result<Guard, MeshNodeError> {
    lock_file(&path, FlockOperation::NonBlockingLockExclusive).map_err(|error| {
        if error.kind() == std::io::ErrorKind::WouldBlock {
            MeshNodeError::Running { path }
        } else {
            let message = error.to_string();
            MeshNodeError::Lock { path, message }
        }
    })
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .thread_name("sykli-mesh")
        .enable_all()
        .build()
}

/// The most bytes that may flow for one task.
fn cap(settings: &MeshSettings) -> u64 {
    let most = settings.profile.artifacts.most_bytes();
    most.min(settings.policy.max_artifact_bytes)
}

/// Faster links are not worth the time that a higher level takes.
fn level(profile: ProfileKind) -> i32 {
    match profile {
        ProfileKind::Lan => 1,
        ProfileKind::Wan | ProfileKind::Mobile | ProfileKind::Hostile => 9,
    }
}

fn capabilities(settings: &MeshSettings) -> Capabilities {
    Capabilities {
        name: settings.name.as_str().into(),
        profile: settings.profile.kind,
        tick_ms: settings.profile.tick_ms,
        stealing: settings.profile.stealing,
        artifacts: settings.profile.artifacts,
        hidden: settings.profile.is_hidden(),
        labels: settings.labels.clone(),
        memory_mb: settings.memory_mb,
        engine: foreign::engine_class(),
    }
}

fn setup(me: NodeId, mesh: Option<NodeId>, settings: MeshSettings) -> Setup {
    let mut seed = [0; 8];
    // Without randomness the seed only makes choices predictable; the id differs from node to node.
    if getrandom::fill(&mut seed).is_err() {
        seed.copy_from_slice(me.0.first_chunk::<8>().unwrap_or(&[0; 8]));
    }
    Setup {
        id: me,
        mesh,
        verify: crate::identity::verify,
        capabilities: capabilities(&settings),
        profile: settings.profile,
        policy: settings.policy,
        slots: settings.slots,
        imports: foreign::host_imports(),
        seed: u64::from_le_bytes(seed),
        patience_ms: u64::try_from(PATIENCE.as_millis()).unwrap_or(u64::MAX),
    }
}

#[cfg(test)]
mod tests;
