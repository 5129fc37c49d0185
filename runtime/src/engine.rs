//! The shared engine: the two kinds of floating point, and components ready to run.
//!
//! One [`Engine`] serves a process. Its settings, which are part of what a result means (see [`Engine::class`]), are
//! decided by `config`.
//!
//! Compiled code is kept in memory, and on disk by [`cache`](crate::cache). This is the only place that turns bytes into
//! native code without compiling them, and it does so with what that cache vouches for alone, in this process or in the one
//! that started it to run a guest apart ([`handed`]).

mod clear;
mod config;
pub(crate) mod handed;

use std::borrow::Cow;
use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use wasmtime::component::types::{ComponentItem, Type};
use wasmtime::component::{Component as Compiled, ComponentExportIndex, InstancePre, Linker};
use wasmtime::{InstanceAllocationStrategy, Store};

use crate::cache::{Cached, CodeCache, Key};
use crate::drive::{Control, Stop};
use crate::load::{self, Description, LoadError};
use crate::state::GuestState;
use crate::vfs::{Lender, SpoolPlace};
use clear::Clearing;
pub(crate) use clear::Turn;

/// The wasmtime that is built in; a test compares it with the lock file.
const WASMTIME: &str = "48.0.8";
/// Raised when settings or host interfaces change in a way that can change what a guest computes.
const SETTINGS: u32 = 1;
/// Components kept in memory; beyond it the one used longest ago goes.
const MAX_LOADED: usize = 256;
/// Most guests that may live at once, whatever is asked for: each reserves address space.
const MAX_SLOTS: u32 = 1024;

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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Floats {
    /// NaN bit patterns as the processor makes them: comparable within one architecture.
    Fast,
    /// NaN bit patterns made canonical: comparable everywhere, slower on float-heavy code.
    Portable,
}

/// Why there is no engine.
#[derive(Clone, Debug, Error)]
pub enum EngineError {
    /// wasmtime refused the settings on this machine.
    #[error("cannot start the WebAssembly engine: {0}")]
    Wasmtime(String),
}

impl From<wasmtime::Error> for EngineError {
    fn from(error: wasmtime::Error) -> Self {
        Self::Wasmtime(format!("{error:#}"))
    }
}

/// The shared WebAssembly engine. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    shared: Arc<Shared>,
}

struct Shared {
    slots: u32,
    spool: SpoolPlace,
    cache: Option<CodeCache>,
    /// Whether compiling uses every core.
    parallel: bool,
    fast: Flavour,
    portable: OnceLock<Result<Flavour, EngineError>>,
    loaded: Mutex<Loaded>,
    turns: Turns,
    clearing: Clearing,
}

/// One wasmtime engine and what is linked for it.
struct Flavour {
    engine: wasmtime::Engine,
    linker: Linker<GuestState>,
    /// Everything that shapes compiled code: wasmtime's version, its settings, this processor.
    compatibility: [u8; 32],
}

/// How many more may live, and who waits to. Taking a turn while one is free, and giving it back while nobody waits, is
/// one atomic step: no lock is shared by threads that run guests.
struct Turns {
    free: AtomicU32,
    waiting: AtomicU32,
    lock: Mutex<()>,
    freed: Condvar,
}

impl Turns {
    fn new(free: u32) -> Self {
        Self {
            free: AtomicU32::new(free),
            waiting: AtomicU32::new(0),
            lock: Mutex::new(()),
            freed: Condvar::new(),
        }
    }

    fn try_take(&self) -> bool {
        let less = |free: u32| free.checked_sub(1);
        self.free
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, less)
            .is_ok()
    }

    fn give_back(&self) {
        self.free.fetch_add(1, Ordering::SeqCst);
        if self.waiting.load(Ordering::SeqCst) > 0 {
            // Under the lock, so that nobody is between looking and waiting.
            let _lock = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
            self.freed.notify_one();
        }
    }
}

/// Components in memory. Each has a lock of its own, so that two threads that want the same compile it once and two that
/// want others do not wait for each other.
#[derive(Default)]
struct Loaded {
    entries: HashMap<([u8; 32], Floats), Entry>,
    clock: u64,
}

struct Entry {
    component: Arc<Mutex<Option<Component>>>,
    used: u64,
}

impl Engine {
    /// Starts an engine.
    ///
    /// # Errors
    /// When this machine cannot run one.
    pub fn new(config: EngineConfig) -> Result<Self, EngineError> {
        let slots = config.slots.clamp(1, MAX_SLOTS);
        let cache = config.cache_dir.as_deref().and_then(|path| {
            CodeCache::open(path)
                .inspect_err(|error| tracing::warn!(path = %path.display(), %error, "compiled code is not kept"))
                .ok()
        });
        let spool = SpoolPlace::Folder(config.spool_dir.into());
        Engine::with(slots, spool, cache, true)
    }

    /// An engine for one guest at a time, in a process that may open no file and should need no thread: it keeps no compiled
    /// code, spools into files that it is lent, and compiles on the calling thread.
    ///
    /// # Errors
    /// When this machine cannot run one.
    pub fn apart(lender: Arc<dyn Lender>) -> Result<Self, EngineError> {
        Engine::with(1, SpoolPlace::Lent(lender), None, false)
    }

    fn with(
        slots: u32,
        spool: SpoolPlace,
        cache: Option<CodeCache>,
        parallel: bool,
    ) -> Result<Self, EngineError> {
        let shared = Shared {
            slots,
            spool,
            cache,
            parallel,
            fast: Flavour::new(Floats::Fast, slots, parallel)?,
            portable: OnceLock::new(),
            loaded: Mutex::default(),
            turns: Turns::new(slots),
            clearing: Clearing::default(),
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// Checks and compiles `bytes`, or finds its compiled code.
    ///
    /// # Errors
    /// When it is no component that can run here.
    pub fn load(&self, bytes: &[u8], floats: Floats) -> Result<Component, LoadError> {
        let digest = *blake3::hash(bytes).as_bytes();
        self.find(digest, floats, || Ok(Cow::Borrowed(bytes)))
    }

    /// As [`load`](Self::load), but `bytes` is only asked for where neither memory nor disk holds the compiled code.
    ///
    /// # Errors
    /// When it is no component that can run here, or its bytes cannot be read or are not those of `digest`.
    pub fn load_by_digest(
        &self,
        digest: [u8; 32],
        floats: Floats,
        bytes: impl FnOnce() -> io::Result<Vec<u8>>,
    ) -> Result<Component, LoadError> {
        self.find(digest, floats, || {
            let bytes = bytes()?;
            if *blake3::hash(&bytes).as_bytes() != digest {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "its content is not that of its digest",
                ));
            }
            Ok(Cow::Owned(bytes))
        })
    }

    /// How many guests may live at once.
    #[must_use]
    pub fn slots(&self) -> usize {
        self.shared.slots as usize
    }

    /// The engine class of every engine of this build: results that depend on the engine are comparable within it.
    #[must_use]
    pub fn class(floats: Floats) -> String {
        let version = env!("CARGO_PKG_VERSION");
        match floats {
            // Canonical NaNs leave nothing that differs between architectures.
            Floats::Portable => {
                format!("sykli-{version} wasmtime-{WASMTIME} settings-{SETTINGS} portable")
            }
            Floats::Fast => {
                let architecture = std::env::consts::ARCH;
                format!(
                    "sykli-{version} wasmtime-{WASMTIME} settings-{SETTINGS} fast-{architecture}"
                )
            }
        }
    }

    pub(crate) fn spool(&self) -> SpoolPlace {
        self.shared.spool.clone()
    }

    /// Waits until another guest may live.
    ///
    /// # Errors
    /// With what there was to stop for.
    pub(crate) fn slot(&self, control: &Control<'_>) -> Result<Slot<'_>, Stop> {
        let turns = &self.shared.turns;
        if turns.try_take() {
            return Ok(Slot(turns));
        }
        let mut lock = turns.lock.lock().unwrap_or_else(PoisonError::into_inner);
        turns.waiting.fetch_add(1, Ordering::SeqCst);
        let taken = loop {
            if turns.try_take() {
                break Ok(Slot(turns));
            }
            if let Some(stop) = control.check() {
                break Err(stop);
            }
            // A cancel does not notify this variable, so it is looked at now and then.
            let waited = turns.freed.wait_timeout(lock, Duration::from_millis(20));
            lock = waited.unwrap_or_else(PoisonError::into_inner).0;
        };
        turns.waiting.fetch_sub(1, Ordering::SeqCst);
        taken
    }

    /// Drops the store of a guest that has ended: first its stack, in turn, then its data, which ends the turn, then the
    /// instances.
    pub(crate) fn clear(&self, mut store: Store<GuestState>) {
        store.data_mut().turn = self.shared.clearing.turn();
    }

    fn flavour(&self, floats: Floats) -> Result<&Flavour, EngineError> {
        match floats {
            Floats::Fast => Ok(&self.shared.fast),
            Floats::Portable => self
                .shared
                .portable
                .get_or_init(|| {
                    Flavour::new(Floats::Portable, self.shared.slots, self.shared.parallel)
                })
                .as_ref()
                .map_err(Clone::clone),
        }
    }

    fn find<'a>(
        &self,
        digest: [u8; 32],
        floats: Floats,
        bytes: impl FnOnce() -> io::Result<Cow<'a, [u8]>>,
    ) -> Result<Component, LoadError> {
        let entry = self
            .shared
            .loaded
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry((digest, floats));
        let mut component = entry.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(component) = &*component {
            return Ok(component.clone());
        }
        let flavour = self.flavour(floats)?;
        let key = flavour.key(&digest);
        let found = self.cached(flavour, key, digest);
        let made = match found {
            Some(found) => found,
            None => self.compile(flavour, key, digest, &bytes().map_err(LoadError::Io)?)?,
        };
        Ok(component.insert(made).clone())
    }

    fn cached(&self, flavour: &Flavour, key: Key, digest: [u8; 32]) -> Option<Component> {
        let cache = self.shared.cache.as_ref()?;
        let cached = cache.get(key)?;
        let component = Description::decode(&cached.description).and_then(|description| {
            let compiled = load_checked(&flavour.engine, &cached)?;
            Component::new(flavour, &compiled, digest, description).ok()
        });
        if component.is_none() {
            cache.remove(key);
        }
        component
    }

    fn compile(
        &self,
        flavour: &Flavour,
        key: Key,
        digest: [u8; 32],
        bytes: &[u8],
    ) -> Result<Component, LoadError> {
        let (component, compiled) = compile(flavour, digest, bytes)?;
        if let Some(cache) = &self.shared.cache
            && let Ok(code) = compiled.serialize()
        {
            cache.put(key, &component.inner.description.encode(), &code);
        }
        Ok(component)
    }
}

/// Checks and compiles.
fn compile(
    flavour: &Flavour,
    digest: [u8; 32],
    bytes: &[u8],
) -> Result<(Component, Compiled), LoadError> {
    let (bytes, description) = load::prepare(bytes)?;
    let compiled =
        Compiled::from_binary(&flavour.engine, &bytes).map_err(|error| load::refused(&error))?;
    let component = Component::new(flavour, &compiled, digest, description)?;
    Ok((component, compiled))
}

/// The code that the process that started this one handed over.
#[allow(unsafe_code)]
fn load_handed(engine: &wasmtime::Engine, code: &[u8]) -> Result<Compiled, wasmtime::Error> {
    // SAFETY: it asks for what `serialize` of an engine like this one made. This process was started by the same program to
    // run one guest and is handed code by its parent alone, which took it from an entry of a folder that only this user can
    // write, under a key of wasmtime's version, settings and processor, after the checksum over key and content held
    // (`handed::CodeShelf`). Where a process of ours that compiled it was overcome by what it compiled, the code is as hostile as
    // the guest that it belongs to, and this process is confined for that: docs/src/adr/0026.
    unsafe { Compiled::deserialize(engine, code) }
}

/// The code of an entry, mapped from its file; copied where the system gives no path to an open file.
#[allow(unsafe_code)]
fn load_checked(engine: &wasmtime::Engine, cached: &Cached) -> Option<Compiled> {
    // SAFETY: both ask for what `serialize` of this same engine made, the first also that the file does not change while
    // it is mapped. The cache gives only what this user alone could have written to its folder, under a key of wasmtime's
    // version, settings and processor, and only after the checksum over key and content held; its entries are written
    // under another name, renamed, and never written to again. The path leads to the open file that was checked.
    unsafe {
        Compiled::deserialize_file(engine, cached.path())
            .or_else(|_| Compiled::deserialize(engine, cached.code()?))
            .ok()
    }
}

/// The permission to have one guest live.
pub(crate) struct Slot<'a>(&'a Turns);

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.0.give_back();
    }
}

impl Loaded {
    fn entry(&mut self, key: ([u8; 32], Floats)) -> Arc<Mutex<Option<Component>>> {
        self.clock += 1;
        if !self.entries.contains_key(&key) && self.entries.len() >= MAX_LOADED {
            let oldest = self
                .entries
                .iter()
                .min_by_key(|(_, entry)| entry.used)
                .map(|(key, _)| *key);
            oldest.map(|oldest| self.entries.remove(&oldest));
        }
        let clock = self.clock;
        let entry = self.entries.entry(key).or_insert_with(|| Entry {
            component: Arc::default(),
            used: clock,
        });
        entry.used = clock;
        Arc::clone(&entry.component)
    }
}

impl Flavour {
    fn new(floats: Floats, slots: u32, parallel: bool) -> Result<Self, EngineError> {
        let mut config = config::config(floats);
        config.parallel_compilation(parallel);
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(config::pool(slots)));
        let engine = match wasmtime::Engine::new(&config) {
            Ok(engine) => engine,
            Err(error) => {
                // A limit on address space forbids the pool's reservation; guests run the same without, only slower.
                tracing::warn!(%error, "no pool of instances");
                config.allocation_strategy(InstanceAllocationStrategy::OnDemand);
                wasmtime::Engine::new(&config)?
            }
        };
        let mut linker = Linker::new(&engine);
        crate::host::add_to_linker(&mut linker)?;
        let mut hasher = Fingerprint(blake3::Hasher::new());
        engine.precompile_compatibility_hash().hash(&mut hasher);
        Ok(Self {
            engine,
            linker,
            compatibility: *hasher.0.finalize().as_bytes(),
        })
    }

    fn key(&self, digest: &[u8; 32]) -> Key {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.compatibility).update(digest);
        hasher
            .update(&SETTINGS.to_le_bytes())
            .update(env!("CARGO_PKG_VERSION").as_bytes());
        Key(*hasher.finalize().as_bytes())
    }
}

/// A [`Hasher`] that keeps all it is given, for a fingerprint of 32 bytes.
struct Fingerprint(blake3::Hasher);

impl Hasher for Fingerprint {
    fn finish(&self) -> u64 {
        0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0
            .update(&(bytes.len() as u64).to_le_bytes())
            .update(bytes);
    }
}

/// A component that can run. Cheap to clone.
#[derive(Clone)]
pub struct Component {
    pub(crate) inner: Arc<Ready>,
}

/// What a run needs of a component.
pub(crate) struct Ready {
    digest: [u8; 32],
    description: Description,
    pub(crate) engine: wasmtime::Engine,
    pub(crate) pre: InstancePre<GuestState>,
    pub(crate) run: ComponentExportIndex,
}

/// The export `run` of the instance of this name, where its type is that of `wasi:cli/run`.
fn run_of(compiled: &Compiled, instance: &str) -> Option<ComponentExportIndex> {
    let instance = compiled.get_export_index(None, instance)?;
    let (item, index) = compiled.get_export(Some(&instance), "run")?;
    let ComponentItem::ComponentFunc(function) = item else {
        return None;
    };
    let mut results = function.results();
    let (Some(Type::Result(result)), None) = (results.next(), results.next()) else {
        return None;
    };
    let is_run = function.params().len() == 0 && result.ok().is_none() && result.err().is_none();
    is_run.then_some(index)
}

impl Component {
    fn new(
        flavour: &Flavour,
        compiled: &Compiled,
        digest: [u8; 32],
        description: Description,
    ) -> Result<Self, LoadError> {
        let pre = flavour
            .linker
            .instantiate_pre(compiled)
            .map_err(|error| load::unlinkable(&error))?;
        let run =
            run_of(compiled, &description.run).ok_or(LoadError::NotACommand { core: false })?;
        let engine = flavour.engine.clone();
        Ok(Self {
            inner: Arc::new(Ready {
                digest,
                description,
                engine,
                pre,
                run,
            }),
        })
    }

    /// BLAKE3 of the bytes as given (before adapting).
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        self.inner.digest
    }

    /// Interfaces it imports, as it names them.
    #[must_use]
    pub fn imports(&self) -> &[String] {
        &self.inner.description.imports
    }

    /// The same as [`provided_imports`](crate::provided_imports) names them: what a host must provide for it, sorted.
    #[must_use]
    pub fn required_imports(&self) -> Vec<String> {
        crate::imports::normalised(self.imports())
    }

    /// Whether it was a core module of WASI preview 1, adapted when loaded.
    #[must_use]
    pub fn adapted(&self) -> bool {
        self.inner.description.adapted
    }

    /// Whether it imports `sykli:task`, so that it runs only under this executor.
    #[must_use]
    pub fn uses_task_interface(&self) -> bool {
        self.imports()
            .iter()
            .any(|name| name.starts_with("sykli:task/"))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_class_names_the_wasmtime_that_is_built_in() {
        let lock = include_str!("../../Cargo.lock");
        assert!(lock.contains(&format!("name = \"wasmtime\"\nversion = \"{WASMTIME}\"\n")));
    }

    #[test]
    fn components_used_longest_ago_leave_memory_first() {
        let mut loaded = Loaded::default();
        let key = |n: usize| (*blake3::hash(&n.to_le_bytes()).as_bytes(), Floats::Fast);
        for n in 0..MAX_LOADED {
            loaded.entry(key(n));
        }
        loaded.entry(key(0));
        loaded.entry(key(MAX_LOADED));
        assert_eq!(loaded.entries.len(), MAX_LOADED);
        assert!(loaded.entries.contains_key(&key(0)) && !loaded.entries.contains_key(&key(1)));
    }
}
