//! The product as the rows use it: its sandbox in this process, its binary in a process of its own with a home that is
//! thrown away, and pipelines of no-ops. Sets things up; measures nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use sykli_runtime::vfs::{FlatFile, FlatTree};
use sykli_runtime::{
    Access, CancelToken, Component, Engine, EngineConfig, Floats, Grant, Inputs, Mount, Observer,
    Sandbox, Silent, Source, Status, TaskInfo,
};
use tempfile::TempDir;

/// The sandbox of the product, as the product sets it up.
pub(crate) struct Ours {
    sandbox: Sandbox,
    component: Component,
    _spool: TempDir,
}

impl Ours {
    /// An engine for `slots` guests at once, and the component at `path`.
    pub(crate) fn new(path: &Path, slots: u32) -> Self {
        let spool = tempfile::tempdir().expect("a temporary folder");
        let engine = engine(None, slots, spool.path());
        let bytes = fs::read(path).expect("the guest");
        let component = engine.load(&bytes, Floats::Fast).expect("a component");
        Ours {
            sandbox: Sandbox::new(engine),
            component,
            _spool: spool,
        }
    }

    /// One run with nothing granted and nothing to read.
    pub(crate) fn run(&self, args: &[&str]) {
        self.run_with(&Grant::default(), args, Vec::new(), Arc::new(Silent));
    }

    /// One run that sees `files` as its `/in`.
    pub(crate) fn run_reading(&self, args: &[&str], files: &[FlatFile]) {
        let tree = FlatTree::new(files.to_vec()).expect("a tree");
        let mount = Mount {
            guest_path: "/in".to_owned(),
            dir: Arc::new(tree),
            access: Access::ReadOnly,
            collect: false,
        };
        self.run_with(&Grant::default(), args, vec![mount], Arc::new(Silent));
    }

    /// One run that must end well.
    pub(crate) fn run_with(
        &self,
        grant: &Grant,
        args: &[&str],
        mounts: Vec<Mount>,
        observer: Arc<dyn Observer>,
    ) {
        let inputs = Inputs {
            args: args.iter().map(|&arg| arg.to_owned()).collect(),
            env: Vec::new(),
            stdin: Source::empty(),
            mounts,
            seed: [7; 32],
            task: TaskInfo::default(),
        };
        let cancel = CancelToken::default();
        let outcome = self
            .sandbox
            .run(&self.component, grant, inputs, observer, &cancel);
        let ended_well = matches!(outcome.status, Status::Exited(0));
        assert!(ended_well, "{:?}", outcome.status);
    }
}

/// An engine of the product's.
pub(crate) fn engine(cache: Option<&Path>, slots: u32, spool: &Path) -> Engine {
    let config = EngineConfig {
        cache_dir: cache.map(Path::to_owned),
        slots,
        spool_dir: spool.to_owned(),
    };
    Engine::new(config).expect("an engine")
}

/// Every file directly in `folder`, as a tree's.
pub(crate) fn files_of(folder: &Path) -> Vec<FlatFile> {
    let entries = fs::read_dir(folder).expect("a folder");
    let file = |path: PathBuf| FlatFile {
        path: path
            .file_name()
            .expect("a name")
            .to_string_lossy()
            .into_owned(),
        source: Source::file(&path, fs::metadata(&path).expect("a file").len()),
        executable: false,
    };
    entries
        .map(|entry| file(entry.expect("an entry").path()))
        .collect()
}

/// Folders that are done with. They are deleted when everything is measured and not before: ext4 looks at every inode that
/// was freed in the last minutes before it gives one away, which would make whoever is timed next pay for them.
static SPENT: Mutex<Vec<TempDir>> = Mutex::new(Vec::new());

/// Has a folder deleted at the end.
pub(crate) fn spend(folder: TempDir) {
    let mut spent = SPENT.lock().unwrap_or_else(PoisonError::into_inner);
    spent.push(folder);
}

/// Deletes what was done with when it is dropped.
pub(crate) struct CleanUp;

impl Drop for CleanUp {
    fn drop(&mut self) {
        let mut spent = SPENT.lock().unwrap_or_else(PoisonError::into_inner);
        spent.clear();
    }
}

/// A project folder with the no-op guest in it, and homes beside it.
pub(crate) struct Project {
    folder: Option<TempDir>,
    /// Homes that were begun anew.
    renewed: AtomicU32,
}

impl Drop for Project {
    fn drop(&mut self) {
        self.folder.take().into_iter().for_each(spend);
    }
}

impl Project {
    /// A project whose pipeline is `toml`, to which nothing but the no-op guest is added.
    pub(crate) fn new(toml: &str) -> Project {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let project = Project {
            folder: Some(folder),
            renewed: AtomicU32::new(0),
        };
        fs::create_dir_all(project.path()).expect("a folder");
        project.write("sykli.toml", toml);
        fs::copy(sykli_tests::guest("noop"), project.path().join("noop.wasm")).expect("the guest");
        project
    }

    /// Where the pipeline is.
    pub(crate) fn path(&self) -> PathBuf {
        self.home("project")
    }

    /// Writes a file of the project.
    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.path().join(name), text).expect("a file can be written");
    }

    /// A home of this name: caches, journal and settings of the runs that are given it.
    pub(crate) fn home(&self, name: &str) -> PathBuf {
        let folder = self.folder.as_ref().expect("until it is dropped");
        folder.path().join(name)
    }

    /// `sykli run` with this home, two tasks at once; ends well or the benchmark does not.
    pub(crate) fn run(&self, home: &Path) {
        let mut command = self.command(home);
        let output = command.output().expect("sykli starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "sykli run: {said}");
    }

    /// The same, not yet started.
    pub(crate) fn command(&self, home: &Path) -> Command {
        let mut command = sykli(home);
        command
            .args(["run", "--jobs", "2"])
            .current_dir(self.path())
            .stdin(std::process::Stdio::null());
        command
    }

    /// Makes `fresh` a home that has compiled code and nothing else: no result, no journal. The first call runs the
    /// pipeline once, to have the code compiled.
    pub(crate) fn uncached_home(&self, fresh: &Path) {
        let prepared = self.home("prepared");
        if !prepared.exists() {
            self.run(&prepared);
        }
        let number = self.renewed.fetch_add(1, Ordering::Relaxed);
        // The first time there is none.
        let _ = fs::rename(fresh, self.home(&format!("spent-{number}")));
        let code = Path::new("cache/sykli/code");
        copy_folder(&prepared.join(code), &fresh.join(code));
    }
}

/// Compiled code is only taken from folders that are their owner's alone, so rights are kept.
fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder can be made");
    for parent in to.ancestors().take(3) {
        let rights = fs::metadata(from).expect("a folder").permissions();
        fs::set_permissions(parent, rights).expect("rights can be set");
    }
    for entry in fs::read_dir(from).expect("a folder") {
        let path = entry.expect("an entry").path();
        let target = to.join(path.file_name().expect("a name"));
        if path.is_dir() {
            copy_folder(&path, &target);
        } else {
            fs::copy(&path, &target).expect("a file can be copied");
        }
    }
}

/// A pipeline of `tasks` no-ops that wait for nothing.
pub(crate) fn independent(tasks: u32) -> String {
    format!(
        "schema = \"sykli-wasm/1\"\n[pipeline]\nname = \"bench\"\n[task.noop]\ncomponent = \"noop.wasm\"\n\
         foreach = {{ shards = {tasks} }}\n"
    )
}

/// `layers` layers of as many no-ops, each layer after the whole one before.
pub(crate) fn layered(layers: u32) -> String {
    let mut text = String::from("schema = \"sykli-wasm/1\"\n[pipeline]\nname = \"grid\"\n");
    for layer in 0..layers {
        text.push_str(&format!(
            "[task.l{layer}]\ncomponent = \"noop.wasm\"\nforeach = {{ shards = {layers} }}\n"
        ));
        if layer > 0 {
            text.push_str(&format!("after = [\"l{}\"]\n", layer - 1));
        }
    }
    text
}

/// The binary with a home of its own.
pub(crate) fn sykli(home: &Path) -> Command {
    let mut command = Command::new(release_binary());
    for (variable, folder) in [
        ("CONFIG", "config"),
        ("DATA", "data"),
        ("CACHE", "cache"),
        ("STATE", "state"),
    ] {
        command.env(format!("XDG_{variable}_HOME"), home.join(folder));
    }
    command
        .env("XDG_RUNTIME_DIR", home.join("runtime"))
        .env("NO_COLOR", "1");
    command
}

/// `cargo xtask bench` builds it beside this benchmark: target/release/deps/solo-… → target/release/sykli.
fn release_binary() -> PathBuf {
    let bench = std::env::current_exe().expect("a path");
    let folder = bench.ancestors().nth(2).expect("a target folder");
    folder.join("sykli")
}
