//! Isolation without a mesh: a component that nobody trusts is compiled and run as a node does it with a task of somebody
//! else's, for a caller that has its bytes and no offer.
//!
//! It is the same pool, the same children and the same judge of what they say. It decides nothing: grants are its caller's.
//! Called by benchmarks and by the tests that send hostile components through.

use std::io;
use std::path::Path;

use sykli_core::id::Digest;
use sykli_runtime::{
    CancelToken, Code, Engine, EngineConfig, EngineError, Floats, Grant, Outcome, Silent, TaskInfo,
};

use super::serve::Ran;
use super::{Confinement, Isolation, Job, Lost, Needed, Program, Task};
use crate::store::{InputFaults, Store, StoreError};

/// Why there is no such place.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ApartError {
    /// The folder cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is no engine to compile for.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The folder of compiled code, or a thread.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// See the module.
pub struct Apart {
    store: Store,
    isolation: Isolation,
}

/// A component that is compiled and not loaded.
#[derive(Clone)]
pub struct Loaded {
    digest: [u8; 32],
    floats: Floats,
    code: Code,
}

impl Apart {
    /// With what it keeps in `folder`, and as many children ready as so many tasks at once would have.
    ///
    /// # Errors
    /// Where something that it stands on cannot be had.
    pub fn new(
        folder: &Path,
        program: Program,
        slots: u32,
        wanted: Needed,
    ) -> Result<Apart, ApartError> {
        let store = Store::open(&folder.join("store"))?;
        let engine = Engine::new(EngineConfig {
            cache_dir: None,
            slots,
            spool_dir: store.spool_dir(),
        })?;
        let isolation = Isolation::new(&engine, folder, program, wanted)?;
        Ok(Apart { store, isolation })
    }

    /// Waits until a child is ready; what it gave up.
    ///
    /// # Errors
    /// Where none can be had.
    pub fn ready(&self) -> Result<Confinement, Lost> {
        self.isolation.ready()
    }

    /// Has a component compiled.
    ///
    /// # Errors
    /// Where it is refused, or its compiler came to nothing.
    pub fn load(&self, component: &[u8], floats: Floats) -> Result<Loaded, Lost> {
        let stored = self.store.put_bytes(component.to_vec());
        let digest = stored.map_err(|error| Lost::Disk(io::Error::other(error.to_string())))?;
        let never = CancelToken::default();
        let code = self.isolation.code(&self.store, &digest, floats, &never)?;
        Ok(Loaded {
            digest: digest.0,
            floats,
            code,
        })
    }

    /// Runs one with these arguments, and nothing else that it could read. What came of it, and what its process had given
    /// up.
    ///
    /// # Errors
    /// Where its process came to nothing.
    pub fn run(
        &self,
        component: &Loaded,
        grant: &Grant,
        args: &[&str],
    ) -> Result<(Outcome, Confinement), Lost> {
        let task = Task {
            store: &self.store,
            job: Job {
                component: component.digest,
                floats: component.floats,
                grant: grant.clone(),
                args: args.iter().map(|&arg| arg.to_owned()).collect(),
                env: Vec::new(),
                seed: Digest::of(&component.digest).0,
                task: TaskInfo::default(),
                stdin_bytes: 0,
                inputs: Vec::new(),
                tree_bytes: 0,
            },
            stdin: None,
            trees: Vec::new(),
            faults: &InputFaults::default(),
            observer: &Silent,
            cancel: &CancelToken::default(),
        };
        let Ran { outcome, given_up } = self.isolation.run(&task, &component.code)?;
        Ok((outcome, given_up))
    }
}
