//! Compiled code that one process hands to another: a shelf of it on disk, and its two ends.
//!
//! Components of strangers are not compiled in this process: what compiles them may be overcome by them. A process that is
//! confined compiles ([`Engine::compile_apart`]), this one keeps what comes back on a shelf of its own and **never loads it**,
//! and a process that is confined loads it to run one guest ([`Engine::take`]). What this user's own engine compiled is handed
//! over too, but nothing from the shelf ever gets into the cache that this process loads from. Called by whoever starts
//! such processes (`sykli-node`), and in them.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use super::{Component, Engine, Floats, LoadError, compile, load_handed};
use crate::cache::{Cached, CodeCache};
use crate::load::Description;

/// Entries that are kept open, checked.
const MAX_OPEN: usize = 32;
/// The most code that is kept of a component, bytes.
const MAX_CODE_BYTES: u64 = 1 << 30;

/// What a process that compiles hands back.
#[derive(Debug)]
pub struct Compilation {
    /// What is known of the component besides its code.
    pub description: Vec<u8>,
    /// Its code.
    pub code: Vec<u8>,
}

/// Compiled code as it is handed over: open, and checked.
#[derive(Clone)]
pub struct Code(Arc<Cached>);

impl Code {
    /// What is known of the component besides its code.
    #[must_use]
    pub fn description(&self) -> &[u8] {
        &self.0.description
    }

    /// The file that its code begins. It never changes.
    #[must_use]
    pub fn file(&self) -> &File {
        self.0.file()
    }

    /// How many bytes of the file are code.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.0.code_len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What the component needs its host to provide, as [`provided_imports`](crate::provided_imports) names it; none where
    /// the description cannot be read.
    #[must_use]
    pub fn required_imports(&self) -> Option<Vec<String>> {
        let description = Description::decode(self.description())?;
        Some(crate::imports::normalised(&description.imports))
    }
}

/// Whose code, and how it was compiled.
type Id = ([u8; 32], Floats);

/// Compiled code of strangers' components.
pub struct CodeShelf {
    engine: Engine,
    cache: CodeCache,
    /// Lately used entries, the latest first.
    open: Mutex<Vec<(Id, Code)>>,
}

impl CodeShelf {
    /// The shelf in `folder`, which is made if it is missing, for code that is compatible with `engine`.
    ///
    /// # Errors
    /// When it is not a folder that this user alone can write.
    pub fn open(engine: Engine, folder: &Path) -> io::Result<CodeShelf> {
        Ok(CodeShelf {
            engine,
            cache: CodeCache::open(folder)?,
            open: Mutex::default(),
        })
    }

    /// The code of a component, if it is known: compiled for this user's own tasks, or put here before.
    #[must_use]
    pub fn get(&self, digest: [u8; 32], floats: Floats) -> Option<Code> {
        let id = (digest, floats);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = open.iter().position(|(have, _)| *have == id) {
            open.get_mut(..=at)?.rotate_right(1);
            return open.first().map(|(_, code)| code.clone());
        }
        drop(open);
        let key = self.engine.flavour(floats).ok()?.key(&digest);
        let own = self.engine.shared.cache.as_ref();
        let found = own.and_then(|own| own.get(key));
        let code = Code(Arc::new(found.or_else(|| self.cache.get(key))?));
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.truncate(MAX_OPEN - 1);
        open.insert(0, (id, code.clone()));
        Some(code)
    }

    /// Keeps what a process compiled: the description, and `len` bytes of code from `code`.
    ///
    /// # Errors
    /// When it is more than is kept, cannot be read, or cannot be written.
    pub fn put(
        &self,
        digest: [u8; 32],
        floats: Floats,
        description: &[u8],
        len: u64,
        code: &mut dyn Read,
    ) -> io::Result<Code> {
        if len > MAX_CODE_BYTES {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let flavour = self.engine.flavour(floats).map_err(io::Error::other)?;
        let key = flavour.key(&digest);
        self.cache.put_from(key, description, len, code)?;
        let gone = || io::Error::other("compiled code is gone as soon as it was written");
        self.get(digest, floats).ok_or_else(gone)
    }
}

impl Engine {
    /// Checks and compiles `bytes` to be handed to another process.
    ///
    /// # Errors
    /// When it is no component that can run here.
    pub fn compile_apart(&self, bytes: &[u8], floats: Floats) -> Result<Compilation, LoadError> {
        let digest = *blake3::hash(bytes).as_bytes();
        let (component, compiled) = compile(self.flavour(floats)?, digest, bytes)?;
        let code = compiled.serialize();
        Ok(Compilation {
            description: component.inner.description.encode(),
            code: code.map_err(|error| LoadError::Compile(error.to_string()))?,
        })
    }

    /// Makes a component ready that the process that started this one handed over: `len` bytes of `file`, which are read into
    /// `room`.
    ///
    /// # Errors
    /// When it cannot be read or does not fit this engine.
    pub fn take(
        &self,
        digest: [u8; 32],
        floats: Floats,
        description: &[u8],
        file: &File,
        len: u64,
        room: &mut Vec<u8>,
    ) -> Result<Component, LoadError> {
        let unfit = |what: &str| LoadError::Compile(format!("handed over, but {what}"));
        let description =
            Description::decode(description).ok_or_else(|| unfit("not with a description"))?;
        let len = usize::try_from(len).map_err(|_| unfit("too large"))?;
        room.resize(len, 0);
        file.read_exact_at(room, 0).map_err(LoadError::Io)?;
        let flavour = self.flavour(floats)?;
        let compiled =
            load_handed(&flavour.engine, room).map_err(|error| unfit(&error.to_string()))?;
        Component::new(flavour, &compiled, digest, description)
    }
}
