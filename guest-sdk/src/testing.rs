//! A fake executor for native tests: what a task would be given, set beforehand; what it reported and wrote, read
//! afterwards. It belongs to one thread, so tests run side by side. It checks no limits and hides nothing of the machine:
//! for that, run the component. Not there in a component.
//!
//! ```
//! use sykli_guest::{item, param, shard, testing::Fake};
//!
//! let host = Fake::new().name("shrink").item("photos/a.jpg").shard(2, 4).param("width", 320).enter();
//! assert_eq!(item().as_deref(), Some("photos/a.jpg"));
//! assert_eq!((shard().index, param::<u32>("width").unwrap()), (2, 320));
//! assert!(host.logs().is_empty());
//! ```

use std::cell::RefCell;
use std::fs;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;
use serde_json::{Map, Value};

use crate::inputs::{Inputs, below, io_error};
use crate::log::Level;
use crate::{Result, Shard};

/// One call of [`crate::progress()`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// Units finished.
    pub done: u64,
    /// Units in all, 0 where not known.
    pub total: u64,
    /// What was being done.
    pub message: String,
}

/// One line of [`crate::log`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// How much it matters.
    pub level: Level,
    /// The line itself.
    pub message: String,
    /// Its named values, in order.
    pub fields: Vec<(String, String)>,
}

impl Line {
    /// The value of this name, where the line has one.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }
}

/// What a task is going to be given. Its setters panic where the machine refuses a temporary file: it is for tests only.
#[derive(Debug)]
#[must_use = "nothing is faked before `enter`"]
pub struct Fake {
    state: State,
}

impl Default for Fake {
    fn default() -> Fake {
        Fake::new()
    }
}

impl Fake {
    /// An executor that gives nothing: no params, no item, shard 0 of 1, attempt 1, empty folders of its own.
    pub fn new() -> Fake {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let scratch = std::env::temp_dir().join(format!("sykli-guest-{}-{number}", process::id()));
        let state = State {
            inputs: scratch.join("in"),
            outputs: scratch.join("out"),
            ..State::default()
        };
        for folder in [&state.inputs, &state.outputs] {
            must(fs::create_dir_all(folder).map_err(io_error("create", folder)));
        }
        Fake {
            state: State {
                _scratch: Some(Scratch(scratch)),
                ..state
            },
        }
    }

    /// One more of the task's `params`.
    pub fn param(mut self, key: &str, value: impl Serialize) -> Fake {
        let what = || format!("param `{key}`");
        let value = serde_json::to_value(value).map_err(|source| crate::Error::Json {
            what: what(),
            source,
        });
        self.state.params.insert(key.to_owned(), must(value));
        self
    }

    /// The task's name in the pipeline.
    pub fn name(mut self, name: &str) -> Fake {
        name.clone_into(&mut self.state.name);
        self
    }

    /// Which instance of a fanned-out task this is.
    pub fn shard(mut self, index: u32, count: u32) -> Fake {
        self.state.shard = Shard { index, count };
        self
    }

    /// The item that this instance is for.
    pub fn item(mut self, item: &str) -> Fake {
        self.state.item = Some(item.to_owned());
        self
    }

    /// Which attempt this is, from 1.
    pub fn attempt(mut self, attempt: u32) -> Fake {
        self.state.attempt = attempt;
        self
    }

    /// A workspace input of this content.
    pub fn input(self, path: &str, content: impl AsRef<[u8]>) -> Fake {
        let path = must(below(&self.state.inputs, path));
        put(&path, content.as_ref());
        self
    }

    /// An output that the task of this name, one of `after`, left.
    pub fn input_from(self, task: &str, path: &str, content: impl AsRef<[u8]>) -> Fake {
        let path = must(below(&self.state.inputs.join(task), path));
        put(&path, content.as_ref());
        self
    }

    /// Reads inputs from this folder instead of an empty one. It is not written to unless `input` is called after this.
    pub fn input_folder(mut self, folder: impl Into<PathBuf>) -> Fake {
        self.state.inputs = folder.into();
        self
    }

    /// Writes outputs into this folder, which stays, instead of a temporary one.
    pub fn output_folder(mut self, folder: impl Into<PathBuf>) -> Fake {
        self.state.outputs = folder.into();
        self
    }

    /// Puts the fake in place for this thread until what is returned is dropped; an outer one comes back then.
    pub fn enter(self) -> Host {
        Host {
            outer: Some(HOST.replace(self.state)),
            _not_send: PhantomData,
        }
    }
}

/// A fake in place: what the task reported and wrote. Its temporary folders go with it.
#[derive(Debug)]
#[must_use = "the fake is removed when this is dropped"]
pub struct Host {
    outer: Option<State>,
    // The fake is one thread's: dropped on another it would restore the wrong one.
    _not_send: PhantomData<*const ()>,
}

impl Host {
    /// Every progress report so far.
    #[must_use]
    pub fn progress(&self) -> Vec<Progress> {
        HOST.with_borrow(|state| state.progress.clone())
    }

    /// Every log line so far.
    #[must_use]
    pub fn logs(&self) -> Vec<Line> {
        HOST.with_borrow(|state| state.logs.clone())
    }

    /// The content of one output.
    ///
    /// # Errors
    /// [`crate::Error::Io`] where the task wrote no such file.
    pub fn output(&self, path: &str) -> Result<Vec<u8>> {
        self.output_files().read(path)
    }

    /// The paths of all outputs, sorted.
    ///
    /// # Errors
    /// [`crate::Error::Io`] where the folder cannot be listed.
    pub fn outputs(&self) -> Result<Vec<String>> {
        self.output_files().list("")
    }

    fn output_files(&self) -> Inputs {
        Inputs::at(host::output_root())
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Some(outer) = self.outer.take() {
            HOST.set(outer);
        }
    }
}

#[derive(Debug)]
struct State {
    params: Map<String, Value>,
    name: String,
    shard: Shard,
    item: Option<String>,
    attempt: u32,
    inputs: PathBuf,
    outputs: PathBuf,
    progress: Vec<Progress>,
    logs: Vec<Line>,
    _scratch: Option<Scratch>,
}

impl Default for State {
    /// Without a fake: what an unsharded task without params is given, at the paths of the sandbox.
    fn default() -> State {
        State {
            params: Map::new(),
            name: "task".to_owned(),
            shard: Shard { index: 0, count: 1 },
            item: None,
            attempt: 1,
            inputs: PathBuf::from("/in"),
            outputs: PathBuf::from("/out"),
            progress: Vec::new(),
            logs: Vec::new(),
            _scratch: None,
        }
    }
}

/// The temporary folder of one fake.
#[derive(Debug)]
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed is the temporary folder's business.
        let _ = fs::remove_dir_all(&self.0);
    }
}

thread_local! {
    static HOST: RefCell<State> = RefCell::default();
}

fn put(path: &Path, content: &[u8]) {
    if let Some(folder) = path.parent() {
        must(fs::create_dir_all(folder).map_err(io_error("create", folder)));
    }
    must(fs::write(path, content).map_err(io_error("write", path)));
}

/// A test that cannot set up its fake must fail there, with the reason.
#[track_caller]
fn must<T>(result: Result<T>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("fake executor: {error}"),
    }
}

/// The same functions as `host/wasi.rs`, answered by the fake.
pub(crate) mod host {
    use super::{HOST, Level, Line, PathBuf, Progress, Shard};

    pub(crate) fn progress(done: u64, total: u64, message: &str) {
        HOST.with_borrow_mut(|state| {
            state.progress.push(Progress {
                done,
                total,
                message: message.to_owned(),
            })
        });
    }

    pub(crate) fn log(level: Level, message: &str, fields: &[(String, String)]) {
        let line = Line {
            level,
            message: message.to_owned(),
            fields: fields.to_vec(),
        };
        HOST.with_borrow_mut(|state| state.logs.push(line));
    }

    pub(crate) fn params() -> String {
        HOST.with_borrow(|state| serde_json::Value::from(state.params.clone()).to_string())
    }

    pub(crate) fn shard() -> Shard {
        HOST.with_borrow(|state| state.shard)
    }

    pub(crate) fn item() -> Option<String> {
        HOST.with_borrow(|state| state.item.clone())
    }

    pub(crate) fn attempt() -> u32 {
        HOST.with_borrow(|state| state.attempt)
    }

    pub(crate) fn name() -> String {
        HOST.with_borrow(|state| state.name.clone())
    }

    pub(crate) fn input_root() -> PathBuf {
        HOST.with_borrow(|state| state.inputs.clone())
    }

    pub(crate) fn output_root() -> PathBuf {
        HOST.with_borrow(|state| state.outputs.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{attempt, item, name, outputs, shard};

    #[test]
    fn a_fake_nests_and_leaves_nothing_behind() {
        let outer = Fake::new().name("outer").enter();
        let folder = host::output_root();
        {
            let _inner = Fake::new().name("inner").attempt(3).item("x").enter();
            assert_eq!(
                (name().as_str(), attempt(), item().as_deref()),
                ("inner", 3, Some("x"))
            );
        }
        assert_eq!((name().as_str(), attempt(), item()), ("outer", 1, None));
        assert!(folder.exists());
        drop(outer);
        assert!(!folder.exists());
        assert_eq!(shard(), Shard { index: 0, count: 1 });
    }

    #[test]
    fn each_thread_has_its_own() {
        let host = Fake::new().name("here").enter();
        std::thread::scope(|scope| {
            scope.spawn(|| assert_eq!(name(), "task"));
        });
        assert!(outputs::write("a", "1").is_ok());
        assert_eq!(host.outputs().ok(), Some(vec!["a".to_owned()]));
    }
}
