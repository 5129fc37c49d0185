//! `sykli:task/host`: progress and log lines out, what the task was started with in.
//!
//! Reports are bounded: progress is passed on some twenty times a second and the last one always, log lines are counted
//! against the same number of bytes as a standard stream. Nothing that is answered here differs between two runs of the
//! same pure task (the caller fills [`TaskInfo`](crate::TaskInfo) accordingly).

use std::time::{Duration, Instant};

use wasmtime::component::{HasSelf, Linker};

use crate::sandbox::{LogLevel, Observer};
use crate::state::GuestState;

mod bindings {
    #![allow(missing_docs, unreachable_pub, clippy::all)]
    wasmtime::component::bindgen!({
        path: "../guest-sdk/wit",
        world: "task",
        imports: { default: trappable },
    });
}

use bindings::sykli::task::host::{self, Level, ShardInfo};

/// The interface as components name it.
pub(crate) const INTERFACE: &str = "sykli:task/host";
/// The version that is linked.
pub(crate) const VERSION: &str = "0.1.0";

/// Between two progress reports that are passed on.
const PROGRESS_EVERY: Duration = Duration::from_millis(50);
/// Bytes kept of a progress or log message, and of a field.
const MESSAGE_BYTES: usize = 4 << 10;
/// Fields kept of a log line.
const FIELDS: usize = 32;

/// The reports of one run: what is passed on already and what waits.
pub(crate) struct Reports {
    last_progress: Option<Instant>,
    waiting: Option<(u64, u64, String)>,
    /// Bytes of log lines still passed on.
    log_budget: u64,
}

impl Reports {
    pub(crate) fn new(log_budget: u64) -> Self {
        Self {
            last_progress: None,
            waiting: None,
            log_budget,
        }
    }

    fn progress(
        &mut self,
        now: Instant,
        observer: &dyn Observer,
        done: u64,
        total: u64,
        mut message: String,
    ) {
        shorten(&mut message);
        match self.last_progress {
            Some(last) if now.saturating_duration_since(last) < PROGRESS_EVERY => {
                self.waiting = Some((done, total, message));
            }
            _ => {
                self.last_progress = Some(now);
                self.waiting = None;
                observer.progress(done, total, &message);
            }
        }
    }

    fn log(
        &mut self,
        observer: &dyn Observer,
        level: LogLevel,
        mut message: String,
        mut fields: Vec<(String, String)>,
    ) {
        shorten(&mut message);
        fields.truncate(FIELDS);
        for (name, value) in &mut fields {
            shorten(name);
            shorten(value);
        }
        let bytes = fields
            .iter()
            .map(|(name, value)| name.len() + value.len())
            .sum::<usize>()
            + message.len()
            + 1;
        let Some(left) = self.log_budget.checked_sub(bytes as u64) else {
            self.log_budget = 0;
            return;
        };
        self.log_budget = left;
        observer.log(level, &message, &fields);
    }

    /// Passes on the progress that still waits.
    pub(crate) fn finish(&mut self, observer: &dyn Observer) {
        if let Some((done, total, message)) = self.waiting.take() {
            observer.progress(done, total, &message);
        }
    }
}

fn shorten(text: &mut String) {
    if text.len() > MESSAGE_BYTES {
        text.truncate(text.floor_char_boundary(MESSAGE_BYTES));
    }
}

impl host::Host for GuestState {
    fn progress(&mut self, done: u64, total: u64, message: String) -> wasmtime::Result<()> {
        self.reports
            .progress(Instant::now(), &*self.observer, done, total, message);
        Ok(())
    }

    fn log(
        &mut self,
        level: Level,
        message: String,
        fields: Vec<(String, String)>,
    ) -> wasmtime::Result<()> {
        let level = match level {
            Level::Trace => LogLevel::Trace,
            Level::Debug => LogLevel::Debug,
            Level::Info => LogLevel::Info,
            Level::Warn => LogLevel::Warn,
            Level::Error => LogLevel::Error,
        };
        self.reports.log(&*self.observer, level, message, fields);
        Ok(())
    }

    fn params(&mut self) -> wasmtime::Result<String> {
        Ok(self.task.params_json.clone())
    }

    fn shard(&mut self) -> wasmtime::Result<ShardInfo> {
        Ok(ShardInfo {
            index: self.task.shard_index,
            count: self.task.shard_count,
        })
    }

    fn item(&mut self) -> wasmtime::Result<Option<String>> {
        Ok(self.task.item.clone())
    }

    fn attempt(&mut self) -> wasmtime::Result<u32> {
        Ok(self.task.attempt)
    }

    fn name(&mut self) -> wasmtime::Result<String> {
        Ok(self.task.name.clone())
    }
}

/// Links `sykli:task/host`.
pub(crate) fn add_to_linker(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    host::add_to_linker::<GuestState, HasSelf<GuestState>>(linker, |state| state)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::sync::Mutex;

    #[derive(Default)]
    struct Recorder(Mutex<Vec<String>>);

    impl Observer for Recorder {
        fn progress(&self, done: u64, total: u64, message: &str) {
            self.0
                .lock()
                .unwrap()
                .push(format!("{done}/{total} {message}"));
        }
        fn log(&self, _level: LogLevel, message: &str, fields: &[(String, String)]) {
            self.0
                .lock()
                .unwrap()
                .push(format!("{} {}", message.len(), fields.len()));
        }
    }

    #[test]
    fn progress_is_coalesced_and_the_last_one_kept() {
        let recorder = Recorder::default();
        let mut reports = Reports::new(0);
        let start = Instant::now();
        for done in 0..1000 {
            reports.progress(
                start + Duration::from_micros(done),
                &recorder,
                done,
                1000,
                String::new(),
            );
        }
        reports.finish(&recorder);
        assert_eq!(*recorder.0.lock().unwrap(), ["0/1000 ", "999/1000 "]);
    }

    #[test]
    fn log_lines_are_bounded_each_and_together() {
        let recorder = Recorder::default();
        let mut reports = Reports::new(MESSAGE_BYTES as u64 + 10);
        let fields = vec![(String::new(), String::new()); 1000];
        for _ in 0..3 {
            reports.log(
                &recorder,
                LogLevel::Info,
                "é".repeat(100_000),
                fields.clone(),
            );
        }
        assert_eq!(
            *recorder.0.lock().unwrap(),
            [format!("{MESSAGE_BYTES} {FIELDS}")]
        );
    }

    #[test]
    fn the_linked_version_is_the_one_of_the_wit() {
        let wit = include_str!("../../../guest-sdk/wit/task.wit");
        assert!(wit.contains(&format!("package sykli:task@{VERSION};")));
    }
}
