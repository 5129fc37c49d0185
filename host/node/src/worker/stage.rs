//! The stage that every guest of a task finds, own or foreign: `/in`, `/out` and `/tmp`, and the bounds that no task chooses.
//!
//! Constants and their assembly only: what goes under `/in`, and what is granted, is said by the caller. What is here is
//! part of the runtime's semantics: own and foreign guests must not be able to tell that they are run for different nodes.
//! Called by `worker`, `foreign`, `bundle` and `replay`.

use std::sync::Arc;
use std::time::Duration;

use sykli_core::id::Digest;
use sykli_core::manifest::Manifest;
use sykli_core::pipeline::Limits;
use sykli_runtime::vfs::MemDir;
use sykli_runtime::{Access, DirSource, Grant, Inputs, Mount, NetRule, Source, TaskInfo};

use crate::prepare::overlay::Overlay;
use crate::store::{InputFaults, Store};

/// Files a task may create.
pub(crate) const OUTPUT_ENTRIES: u32 = 100_000;
/// Bytes kept of each of a task's output streams.
const STDIO_BYTES: u64 = 1 << 20;
/// Bytes of each stream that are looked at for the tail of a report.
pub(crate) const STREAM_BYTES: u64 = 1 << 30;

/// What a task is allowed beyond its inputs.
#[derive(Debug, Default)]
pub(crate) struct Allowed {
    /// Hosts that it may connect to.
    pub(crate) net: Vec<NetRule>,
    /// The real clock.
    pub(crate) clock: bool,
    /// Real randomness.
    pub(crate) random: bool,
}

/// These limits and permissions, with the bounds of every task.
pub(crate) fn grant(limits: &Limits, allowed: Allowed) -> Grant {
    Grant {
        fuel: limits.fuel,
        memory_bytes: limits.memory_bytes,
        timeout: Duration::from_millis(limits.timeout_ms),
        output_bytes: limits.output_bytes,
        output_entries: OUTPUT_ENTRIES,
        stdio_bytes: STDIO_BYTES,
        stream_bytes: STREAM_BYTES,
        clock: allowed.clock,
        random: allowed.random,
        net: allowed.net,
    }
}

/// The guest's file system with `inputs` at `/in`.
pub(crate) fn mounts(inputs: Arc<dyn DirSource>) -> Vec<Mount> {
    vec![
        mount("/in", inputs, Access::ReadOnly, false),
        mount("/out", Arc::new(MemDir::new()), Access::ReadWrite, true),
        mount("/tmp", Arc::new(MemDir::new()), Access::ReadWrite, false),
    ]
}

fn mount(guest_path: &str, dir: Arc<dyn DirSource>, access: Access, collect: bool) -> Mount {
    Mount {
        guest_path: guest_path.to_owned(),
        dir,
        access,
        collect,
    }
}

/// All that the guest of a manifest finds, from the store, in its first attempt.
///
/// # Errors
/// A tree or the standard input that is not there. Files are looked for when they are read.
pub(crate) fn of_manifest(
    store: &Store,
    task: &Digest,
    manifest: &Manifest,
    faults: &InputFaults,
) -> Result<Inputs, Digest> {
    let mut dir = Overlay::default();
    for (prefix, digest) in &manifest.inputs {
        let tree = store.tree(digest).ok_or(*digest)?;
        dir.add(prefix, Arc::new(store.layer(tree, faults)));
    }
    let stdin = match manifest.stdin {
        Some(digest) => store.get(&digest).ok_or(digest)?,
        None => Source::empty(),
    };
    Ok(Inputs {
        args: arguments(&manifest.name, manifest.args.iter().map(String::as_str)),
        env: manifest.env.clone().into_iter().collect(),
        stdin,
        mounts: mounts(dir.into_dir()),
        seed: task.0,
        task: TaskInfo {
            name: manifest.name.clone(),
            params_json: manifest.params.clone(),
            shard_index: manifest.shard.index,
            shard_count: manifest.shard.count,
            attempt: 1,
            item: manifest.item.clone(),
        },
    })
}

/// The guest's arguments: what it is called, then what it is told.
pub(crate) fn arguments<'a>(
    name: &str,
    args: impl ExactSizeIterator<Item = &'a str>,
) -> Vec<String> {
    let mut all = Vec::with_capacity(args.len() + 1);
    all.push(name.to_owned());
    all.extend(args.map(str::to_owned));
    all
}
