//! The executor behind a component: the imports of `wit/task.wit`, and where the sandbox mounts inputs and outputs.

use std::path::PathBuf;

use crate::Shard;
use crate::log::Level;

// What the generator writes crosses the component boundary with raw pointers, and documents nothing.
#[allow(unsafe_code, missing_docs, unreachable_pub, clippy::all)]
mod bindings {
    wit_bindgen::generate!({ world: "task", path: "wit" });
}
use bindings::sykli::task::host;

pub(crate) fn progress(done: u64, total: u64, message: &str) {
    host::progress(done, total, message);
}

pub(crate) fn log(level: Level, message: &str, fields: &[(String, String)]) {
    let level = match level {
        Level::Trace => host::Level::Trace,
        Level::Debug => host::Level::Debug,
        Level::Info => host::Level::Info,
        Level::Warn => host::Level::Warn,
        Level::Error => host::Level::Error,
    };
    host::log(level, message, fields);
}

pub(crate) fn params() -> String {
    host::params()
}

pub(crate) fn shard() -> Shard {
    let host::ShardInfo { index, count } = host::shard();
    Shard { index, count }
}

pub(crate) fn item() -> Option<String> {
    host::item()
}

pub(crate) fn attempt() -> u32 {
    host::attempt()
}

pub(crate) fn name() -> String {
    host::name()
}

pub(crate) fn input_root() -> PathBuf {
    PathBuf::from("/in")
}

pub(crate) fn output_root() -> PathBuf {
    PathBuf::from("/out")
}
