//! Opens a node: its folders, and its store, journal and engine when first needed.
//!
//! Everything is opened lazily because commands differ: `exec` needs the engine and no database, `plan` the databases
//! and no engine, and each costs milliseconds. Called by the command line; every operation is a method of [`Node`].

use sykli_core::diagnostic::Diagnostic;

use crate::build::BuildError;
use crate::filter::FilterError;
use crate::paths::{Dirs, PathsError};

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
    /// A task crate has no component.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The user asked to stop before anything ran.
    #[error("interrupted")]
    Interrupted,
    /// The node's folders cannot be used.
    #[error(transparent)]
    Paths(#[from] PathsError),
}

impl NodeError {
    /// Stable name of the kind of error, e.g. `"node::component"`.
    pub fn code(&self) -> &'static str {
        match self {
            NodeError::Pipeline(diagnostics) => {
                diagnostics.first().map_or("pipeline::invalid", |d| d.code)
            }
            NodeError::Filter(_) => "run::filter",
            NodeError::Build(error) => error.code(),
            NodeError::Paths(_) => "node::folders",
            NodeError::Interrupted => "node::interrupted",
        }
    }

    /// Ways out.
    pub fn hints(&self) -> Vec<String> {
        match self {
            NodeError::Pipeline(diagnostics) => {
                diagnostics.first().map_or(Vec::new(), |d| d.hints.clone())
            }
            NodeError::Filter(error) => vec![error.hint()],
            NodeError::Build(error) => error.hints(),
            NodeError::Paths(_) | NodeError::Interrupted => Vec::new(),
        }
    }

    /// Diagnostics with places in the pipeline, where there are some.
    pub fn diagnostics(&self) -> &[Diagnostic] {
        match self {
            NodeError::Pipeline(diagnostics) => diagnostics,
            _ => &[],
        }
    }

    /// Whether what the user gave is at fault (exit code 2: nothing was run) rather than this machine (1).
    pub fn is_invalid_input(&self) -> bool {
        match self {
            NodeError::Pipeline(_) | NodeError::Filter(_) | NodeError::Build(_) => true,
            NodeError::Paths(_) | NodeError::Interrupted => false,
        }
    }
}

impl Node {
    /// A node with these settings. Makes the folders, opens nothing yet.
    ///
    /// # Errors
    /// Where a folder cannot be made.
    pub fn open(settings: NodeSettings) -> Result<Node, NodeError> {
        Ok(Node { settings })
    }

    /// How it is set up.
    pub fn settings(&self) -> &NodeSettings {
        &self.settings
    }
}
