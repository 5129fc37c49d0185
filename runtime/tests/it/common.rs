//! An engine for all tests, ways to make guests, and a run with nothing granted.

use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use sykli_runtime::{
    CancelToken, Component, Engine, EngineConfig, Floats, Grant, Inputs, LogLevel, Observer,
    Outcome, Sandbox, Silent, Source, TaskInfo,
};

/// A folder of the build's own.
pub(crate) fn scratch() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
}

pub(crate) fn engine() -> Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    let start = || {
        Engine::new(EngineConfig {
            cache_dir: None,
            slots: 16,
            spool_dir: scratch(),
        })
        .unwrap()
    };
    ENGINE.get_or_init(start).clone()
}

/// A component from WebAssembly text: of a component, or of a core module to be adapted.
pub(crate) fn wat(text: &str) -> Component {
    engine()
        .load(&wat::parse_str(text).unwrap(), Floats::Fast)
        .unwrap()
}

/// A core module of WASI preview 1 whose `_start` is `body`.
pub(crate) fn start(body: &str) -> String {
    format!("(module (memory (export \"memory\") 1) (func (export \"_start\") {body}))")
}

/// The bytes of `guest.rs`, compiled once.
pub(crate) fn guest_bytes() -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    BYTES.get_or_init(|| {
        let out = tempfile::tempdir_in(scratch()).unwrap();
        let wasm = out.path().join("guest.wasm");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/guest.rs");
        let status = Command::new("rustc")
            .args(["--edition=2024", "--target=wasm32-wasip2", "-O", "-o"])
            .arg(&wasm)
            .arg(source)
            .status()
            .unwrap();
        assert!(status.success(), "guest.rs does not compile");
        std::fs::read(wasm).unwrap()
    })
}

pub(crate) fn guest() -> Component {
    engine().load(guest_bytes(), Floats::Fast).unwrap()
}

pub(crate) fn inputs(args: &[&str]) -> Inputs {
    Inputs {
        args: std::iter::once("guest")
            .chain(args.iter().copied())
            .map(str::to_owned)
            .collect(),
        env: Vec::new(),
        stdin: Source::empty(),
        mounts: Vec::new(),
        seed: [1; 32],
        task: TaskInfo::default(),
    }
}

/// Bounds that let a bad test end.
pub(crate) fn grant() -> Grant {
    Grant {
        timeout: Duration::from_secs(120),
        fuel: 20_000_000_000,
        memory_bytes: 64 << 20,
        ..Grant::default()
    }
}

pub(crate) fn run_with(component: &Component, grant: &Grant, inputs: Inputs) -> Outcome {
    Sandbox::new(engine()).run(
        component,
        grant,
        inputs,
        Arc::new(Silent),
        &CancelToken::default(),
    )
}

pub(crate) fn run(component: &Component, grant: &Grant) -> Outcome {
    run_with(component, grant, inputs(&[]))
}

/// Runs `guest.rs` with these arguments.
pub(crate) fn run_guest(args: &[&str], grant: &Grant) -> Outcome {
    run_with(&guest(), grant, inputs(args))
}

pub(crate) fn stdout(outcome: &Outcome) -> String {
    String::from_utf8(outcome.stdout.bytes.clone()).unwrap()
}

/// Records what it is told; cancels a token at the first line of standard output.
#[derive(Default)]
pub(crate) struct Recorder {
    pub(crate) events: Mutex<Vec<String>>,
    pub(crate) cancel_at_output: Option<CancelToken>,
}

impl Recorder {
    fn note(&self, event: String) {
        self.events.lock().unwrap().push(event);
    }
}

impl Observer for Recorder {
    fn stdout(&self, bytes: &[u8]) {
        self.note(format!("out {}", String::from_utf8_lossy(bytes)));
        if let Some(cancel) = &self.cancel_at_output {
            let cancel = cancel.clone();
            // From another thread, as a caller does.
            std::thread::spawn(move || cancel.cancel());
        }
    }
    fn stderr(&self, bytes: &[u8]) {
        self.note(format!("err {}", String::from_utf8_lossy(bytes)));
    }
    fn progress(&self, done: u64, total: u64, message: &str) {
        self.note(format!("progress {done}/{total} {message}"));
    }
    fn log(&self, level: LogLevel, message: &str, fields: &[(String, String)]) {
        self.note(format!("{level:?} {message} {fields:?}"));
    }
}
