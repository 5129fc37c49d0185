//! One engine for all tests, and a run as a task has it.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use sykli_runtime::vfs::{FlatFile, FlatTree};
use sykli_runtime::{
    Access, CancelToken, Component, Engine, EngineConfig, Floats, Grant, Inputs, LogLevel, Mount,
    Observer, Outcome, Sandbox, Source, TaskInfo,
};

pub(crate) fn engine() -> Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    let start = || {
        Engine::new(EngineConfig {
            cache_dir: None,
            slots: 8,
            spool_dir: PathBuf::from(env!("CARGO_TARGET_TMPDIR")),
        })
        .unwrap()
    };
    ENGINE.get_or_init(start).clone()
}

/// A run of one guest: set what differs, then `run`.
pub(crate) struct Case {
    pub(crate) component: Component,
    pub(crate) args: Vec<String>,
    pub(crate) env: Vec<(String, String)>,
    pub(crate) stdin: Source,
    pub(crate) files: Vec<(String, Source)>,
    pub(crate) grant: Grant,
    pub(crate) task: TaskInfo,
    pub(crate) cancel: CancelToken,
    pub(crate) observer: Arc<Recorder>,
}

/// The guest of this name with these arguments, and nothing granted.
pub(crate) fn case(guest: &str, args: &[&str]) -> Case {
    let bytes = std::fs::read(sykli_tests::guest(guest)).unwrap();
    Case::of(&bytes, guest, args)
}

impl Case {
    pub(crate) fn of(bytes: &[u8], name: &str, args: &[&str]) -> Case {
        let grant = Grant {
            fuel: 200_000_000_000,
            memory_bytes: 256 << 20,
            timeout: Duration::from_secs(300),
            output_bytes: 64 << 20,
            output_entries: 20_000,
            stdio_bytes: 1 << 20,
            ..Grant::default()
        };
        Case {
            component: engine().load(bytes, Floats::Fast).unwrap(),
            args: [name]
                .iter()
                .chain(args)
                .map(|&arg| arg.to_owned())
                .collect(),
            env: Vec::new(),
            stdin: Source::empty(),
            files: Vec::new(),
            grant,
            task: TaskInfo::default(),
            cancel: CancelToken::default(),
            observer: Arc::default(),
        }
    }

    /// Adds a file below `/in`.
    pub(crate) fn file(mut self, path: &str, content: &str) -> Case {
        self.files
            .push((path.to_owned(), Source::bytes(content.as_bytes().to_vec())));
        self
    }

    pub(crate) fn run(self) -> Outcome {
        let files = self.files.into_iter().map(|(path, source)| FlatFile {
            path,
            source,
            executable: false,
        });
        let inputs = FlatTree::new(files.collect()).unwrap();
        let empty = || Arc::new(FlatTree::new(Vec::new()).unwrap());
        let mount = |path: &str, dir, access, collect| Mount {
            guest_path: path.to_owned(),
            dir,
            access,
            collect,
        };
        let inputs = Inputs {
            args: self.args,
            env: self.env,
            stdin: self.stdin,
            mounts: vec![
                mount("/in", Arc::new(inputs), Access::ReadOnly, false),
                mount("/out", empty(), Access::ReadWrite, true),
                mount("/tmp", empty(), Access::ReadWrite, false),
            ],
            seed: [7; 32],
            task: self.task,
        };
        Sandbox::new(engine()).run(
            &self.component,
            &self.grant,
            inputs,
            self.observer,
            &self.cancel,
        )
    }
}

pub(crate) fn stdout(outcome: &Outcome) -> String {
    String::from_utf8_lossy(&outcome.stdout.bytes).into_owned()
}

pub(crate) fn stderr(outcome: &Outcome) -> String {
    String::from_utf8_lossy(&outcome.stderr.bytes).into_owned()
}

/// Asserts success, and shows what the guest said where there is none.
#[track_caller]
pub(crate) fn succeeded(outcome: &Outcome) -> String {
    let (out, err) = (stdout(outcome), stderr(outcome));
    assert!(
        outcome.status.is_success(),
        "{}\n--- stdout\n{out}\n--- stderr\n{err}",
        outcome.status
    );
    out
}

/// Keeps what it is told; cancels a token at the first output, where there is one.
#[derive(Default)]
pub(crate) struct Recorder {
    pub(crate) events: Mutex<Vec<String>>,
    pub(crate) cancel: Option<CancelToken>,
}

impl Observer for Recorder {
    fn stdout(&self, _: &[u8]) {
        if let Some(cancel) = &self.cancel {
            cancel.cancel();
        }
    }
    fn progress(&self, done: u64, total: u64, message: &str) {
        self.events
            .lock()
            .unwrap()
            .push(format!("progress {done}/{total} {message}"));
    }
    fn log(&self, level: LogLevel, message: &str, fields: &[(String, String)]) {
        self.events
            .lock()
            .unwrap()
            .push(format!("{level:?} {message} {fields:?}"));
    }
}
