//! Opens a node: its folders, and its store, journal and engine when first needed.
//!
//! Everything is opened lazily because commands differ: `exec` needs the engine and no database, `plan` the databases
//! and no engine, and each costs milliseconds. Called by the command line; every operation is a method of [`Node`].

use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, OnceLock};

use sykli_core::diagnostic::Diagnostic;
use sykli_runtime::{Engine, EngineConfig, EngineError, LoadError};

use crate::build::BuildError;
use crate::bundle::BundleError;
use crate::filter::FilterError;
use crate::journal::{Journal, JournalError};
use crate::ledger::LedgerError;
use crate::paths::{Dirs, PathsError, create_private};
use crate::store::{Store, StoreError};
use crate::workspace::WorkspaceError;

/// How a node is set up.
#[derive(Clone, Debug)]
pub struct NodeSettings {
    /// Where it keeps its files.
    pub dirs: Dirs,
    /// Guests at once by default; 0 for one a core.
    pub jobs: u32,
    /// Cargo may not use the network.
    pub offline: bool,
}

/// This machine's node: what every command works with.
pub struct Node {
    settings: NodeSettings,
    store: Lazy<Store>,
    journal: Lazy<Journal>,
    engine: Lazy<Engine>,
}

/// Why an operation could not be done at all. A task's failure is none: it is in the operation's report.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NodeError {
    /// The pipeline does not fit the project folder; nothing was run.
    #[error("{}", .0.first().map_or("the pipeline is invalid", |d| d.message.as_str()))]
    Pipeline(Vec<Diagnostic>),
    /// The filter selects nothing or cannot be read.
    #[error(transparent)]
    Filter(#[from] FilterError),
    /// There is no task of that name.
    #[error("there is no task `{name}`")]
    UnknownTask {
        /// As asked.
        name: String,
        /// The nearest known name.
        suggestion: Option<String>,
    },
    /// A task crate has no component.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// A task's component cannot be read.
    #[error("{}: {message}", component(.task, .path))]
    NoComponent {
        /// Declared task; empty for `exec`.
        task: String,
        /// Where it should be.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// A component cannot run.
    #[error("{}: {source}", component(.task, .path))]
    Component {
        /// Declared task; empty for `exec`.
        task: String,
        /// Where it is.
        path: PathBuf,
        /// Why.
        source: Box<LoadError>,
    },
    /// A folder for `exec` cannot be used.
    #[error("the folder {}: {message}", path.display())]
    Folder {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// A network rule of `exec` cannot be read.
    #[error(transparent)]
    Net(#[from] sykli_runtime::NetRuleError),
    /// A bundle cannot be packed, or a file is none.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The project's files cannot be used.
    #[error(transparent)]
    Workspace(#[from] WorkspaceError),
    /// The cache cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The journal cannot be used.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The engine cannot be made.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The system gives no threads.
    #[error("failed to start worker threads: {0}")]
    Threads(io::Error),
    /// The ledger of what was promised to other nodes cannot be used.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The user asked to stop before anything ran.
    #[error("interrupted")]
    Interrupted,
    /// The node's folders cannot be used.
    #[error(transparent)]
    Paths(#[from] PathsError),
}

fn component(task: &str, path: &std::path::Path) -> String {
    let path = path.display();
    if task.is_empty() {
        format!("the component {path}")
    } else {
        format!("the component {path} of task `{task}`")
    }
}

impl NodeError {
    /// Stable name of the kind of error, e.g. `"component::malformed"`.
    pub fn code(&self) -> &'static str {
        match self {
            NodeError::Pipeline(diagnostics) => {
                diagnostics.first().map_or("pipeline::invalid", |d| d.code)
            }
            NodeError::Filter(_) => "run::filter",
            NodeError::UnknownTask { .. } => "run::unknown-task",
            NodeError::Build(error) => error.code(),
            NodeError::NoComponent { .. } => "component::missing",
            NodeError::Component { .. } => "component::unusable",
            NodeError::Folder { .. } => "exec::folder",
            NodeError::Net(_) => "exec::net",
            NodeError::Bundle(error) => error.code(),
            NodeError::Workspace(error) => error.code(),
            NodeError::Store(error) => error.code(),
            NodeError::Journal(error) => error.code(),
            NodeError::Engine(_) => "node::engine",
            NodeError::Threads(_) => "node::threads",
            NodeError::Ledger(error) => error.code(),
            NodeError::Interrupted => "node::interrupted",
            NodeError::Paths(_) => "node::folders",
        }
    }

    /// Ways out.
    pub fn hints(&self) -> Vec<String> {
        match self {
            NodeError::Pipeline(diagnostics) => {
                diagnostics.first().map_or(Vec::new(), |d| d.hints.clone())
            }
            NodeError::Filter(error) => vec![error.hint()],
            NodeError::UnknownTask { suggestion, .. } => suggestion
                .iter()
                .map(|name| format!("did you mean `{name}`?"))
                .collect(),
            NodeError::Build(error) => error.hints(),
            NodeError::NoComponent { task, .. } if task.is_empty() => vec![
                "name the file of a component, for instance target/wasm32-wasip2/release/NAME.wasm"
                    .to_owned(),
            ],
            NodeError::NoComponent { .. } => {
                vec!["build it, or name its crate with `crate = \"…\"` to have it built".to_owned()]
            }
            NodeError::Component { source, .. } => source.hint().into_iter().collect(),
            NodeError::Bundle(error) => error.hints(),
            NodeError::Workspace(error) => vec![error.hint()],
            NodeError::Store(error) => vec![error.hint()],
            NodeError::Journal(error) => vec![error.hint()],
            NodeError::Ledger(error) => vec![error.hint()],
            NodeError::Paths(_) => vec![
                "make it a folder that you own and can write (chmod u+rwx), or set XDG_CACHE_HOME to another one"
                    .to_owned(),
            ],
            NodeError::Folder { .. } => {
                vec!["name a folder that exists and that you may read".to_owned()]
            }
            NodeError::Net(_)
            | NodeError::Engine(_)
            | NodeError::Threads(_)
            | NodeError::Interrupted => Vec::new(),
        }
    }

    /// Diagnostics with places in the pipeline, where there are some.
    pub fn diagnostics(&self) -> &[Diagnostic] {
        match self {
            NodeError::Pipeline(diagnostics) => diagnostics,
            _ => &[],
        }
    }

    /// Whether what the user gave is at fault, or the folders that they let sykli use (exit code 2: nothing was run),
    /// rather than this machine (1).
    pub fn is_invalid_input(&self) -> bool {
        match self {
            NodeError::Build(BuildError::Interrupted) => false,
            NodeError::Pipeline(_)
            | NodeError::Filter(_)
            | NodeError::UnknownTask { .. }
            | NodeError::Build(_)
            | NodeError::NoComponent { .. }
            | NodeError::Component { .. }
            | NodeError::Folder { .. }
            | NodeError::Net(_)
            | NodeError::Bundle(_)
            | NodeError::Workspace(_)
            | NodeError::Store(_)
            | NodeError::Journal(_)
            | NodeError::Ledger(_)
            | NodeError::Paths(_) => true,
            NodeError::Engine(_) | NodeError::Threads(_) | NodeError::Interrupted => false,
        }
    }

    /// The declared task whose program is at fault.
    pub fn task(&self) -> Option<&str> {
        match self {
            NodeError::NoComponent { task, .. } | NodeError::Component { task, .. } => {
                Some(task.as_str()).filter(|task| !task.is_empty())
            }
            _ => None,
        }
    }

    /// Whether the user stopped it (exit code 130).
    pub fn is_interrupted(&self) -> bool {
        matches!(
            self,
            NodeError::Interrupted | NodeError::Build(BuildError::Interrupted)
        )
    }
}

impl Node {
    /// A node with these settings. Opens nothing yet.
    ///
    /// # Errors
    /// None today; whoever opens a node is ready for one that cannot be.
    pub fn open(settings: NodeSettings) -> Result<Node, NodeError> {
        Ok(Node {
            settings,
            store: Lazy::new(),
            journal: Lazy::new(),
            engine: Lazy::new(),
        })
    }

    /// Ends it together with its process: waits until all that was put and told is written, and leaves everything else
    /// (threads, connections, the memory of the engine) to the system, which takes it back at once.
    pub fn end(self) {
        let (store, journal) = (self.store.cell.get(), self.journal.cell.get());
        let rested = store.is_none_or(Store::rest) && journal.is_none_or(Journal::rest);
        if rested {
            std::mem::forget(self);
        }
    }

    /// How it is set up.
    pub fn settings(&self) -> &NodeSettings {
        &self.settings
    }

    /// Guests at once: as asked, else the node's default, else one a core. At least 1.
    pub fn jobs(&self, asked: u32) -> usize {
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        match (asked, self.settings.jobs) {
            (0, 0) => cores(),
            (0, jobs) | (jobs, _) => jobs as usize,
        }
    }

    /// The content-addressed store and result cache.
    ///
    /// # Errors
    /// Where its folder cannot be used.
    pub fn store(&self) -> Result<&Store, NodeError> {
        self.store
            .get_or_try_init(|| Ok(Store::open(&self.settings.dirs.cache)?))
    }

    /// The journal of runs.
    ///
    /// # Errors
    /// Where its folder cannot be used.
    pub fn journal(&self) -> Result<&Journal, NodeError> {
        self.journal
            .get_or_try_init(|| Ok(Journal::open(&self.settings.dirs.state)?))
    }

    /// The engine that guests run on.
    ///
    /// # Errors
    /// Where this machine cannot run one.
    pub(crate) fn engine(&self) -> Result<&Engine, NodeError> {
        self.engine.get_or_try_init(|| {
            let cache = &self.settings.dirs.cache;
            let (code, spool) = (cache.join("code"), cache.join("tmp"));
            for folder in [cache, &code, &spool] {
                create_private(folder)?;
            }
            let slots = u32::try_from(self.jobs(0)).unwrap_or(u32::MAX);
            Ok(Engine::new(EngineConfig {
                cache_dir: Some(code),
                slots,
                spool_dir: spool,
            })?)
        })
    }
}

/// What is opened when it is first needed; whoever comes meanwhile waits for it.
struct Lazy<T> {
    cell: OnceLock<T>,
    opening: Mutex<()>,
}

impl<T> Lazy<T> {
    fn new() -> Lazy<T> {
        Lazy {
            cell: OnceLock::new(),
            opening: Mutex::new(()),
        }
    }

    fn get_or_try_init(
        &self,
        open: impl FnOnce() -> Result<T, NodeError>,
    ) -> Result<&T, NodeError> {
        if let Some(open) = self.cell.get() {
            return Ok(open);
        }
        let _opening = crate::db::lock(&self.opening);
        if let Some(open) = self.cell.get() {
            return Ok(open);
        }
        let opened = open()?;
        Ok(self.cell.get_or_init(|| opened))
    }
}
