//! What a run's tasks ask of whoever runs them, and the bundles that they would be run from.
//!
//! An offer says everything before a byte moves: bounds, imports, grants, and what the bundle costs on the wire. A
//! [`Bundles`] says it for the instances of one run, and finds the blobs once somebody has agreed. Ten thousand instances
//! that share a component and input trees cost one look at these: what a declared task says, and what a set of trees
//! costs, is remembered.
//!
//! ```text
//! declared.rs  what all instances of a declared task ask for
//! parts.rs     what the blobs of a bundle cost together
//! reach.rs     a digest → the blob of a bundle
//! sizes.rs     a blob → its compressed size
//! ```
//!
//! It never decides whether a task is offered (core does) and never opens a connection. Called by the mesh node.

mod declared;
mod parts;
mod reach;
mod sizes;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use sykli_core::consent::{BlobRef, MAX_NAMED_BLOBS};
use sykli_core::expand::Instance;
use sykli_core::id::Digest;
use sykli_core::policy::Requirements;
use sykli_core::tree::MAX_TREE_ENTRIES;
use sykli_core::wire::v1::MAX_NAME_BYTES;
use sykli_runtime::{Component, Source};

use crate::db::lock;
use crate::foreign::MAX_PATTERNS;
use crate::prepare::{Context, NotReady, Prepared};
use crate::store::{InputFaults, Recent};
use crate::worker;
use declared::Declared;
pub(crate) use declared::{MB, grants};
use parts::Parts;
use reach::Reach;
pub(crate) use sizes::SizeBook;

/// Entries of trees whose blobs are indexed, at least; twice that at most, 4 bytes each beside the trees. So many that the
/// largest tree there can be is indexed once, and not once a blob.
const INDEXED_ENTRIES: usize = 2 * (MAX_TREE_ENTRIES + 1);
/// Sets of input trees whose cost is remembered, at least. A set holds some kilobytes.
const KNOWN_SETS: usize = 512;

/// What a run knows of its declared tasks' programs besides their digests.
#[derive(Clone, Debug, Default)]
pub(crate) struct Programs {
    /// By declared task: where its component is, where it is part of the run and known.
    pub(crate) paths: Vec<Option<PathBuf>>,
    /// How long tasks took lately, in milliseconds, by name.
    pub(crate) durations: BTreeMap<String, u64>,
}

/// The bundles of one run's instances. Shared by its threads.
pub(crate) struct Bundles {
    context: Arc<Context>,
    sizes: Arc<SizeBook>,
    declared: Vec<Declared>,
    /// By the digests of the trees.
    parts: Mutex<Recent<Vec<Digest>, Arc<Parts>>>,
    /// By the digest of the tree.
    reach: Mutex<Recent<[u8; 32], Arc<Reach>>>,
    /// Held by whoever measures what instances share.
    measuring: Mutex<()>,
}

/// What a bundle costs on the wire, in compressed bytes.
#[derive(Default)]
struct Cost {
    component: u64,
    /// The manifest, too.
    inputs: u64,
    blobs: Vec<BlobRef>,
}

impl Bundles {
    /// The bundles of the instances of `context`. `components` are by declared task. Measures nothing yet.
    pub(crate) fn new(
        context: &Arc<Context>,
        components: &[Option<Component>],
        programs: &Programs,
        sizes: &Arc<SizeBook>,
    ) -> Bundles {
        let tasks = context.plan.pipeline.tasks.iter().enumerate();
        let declared = tasks.map(|(index, task)| {
            let component = components.get(index).and_then(Option::as_ref);
            Declared::new(context, (index, task), component, programs)
        });
        Bundles {
            declared: declared.collect(),
            context: Arc::clone(context),
            sizes: Arc::clone(sizes),
            parts: Mutex::new(Recent::new(KNOWN_SETS)),
            reach: Mutex::new(Recent::new(INDEXED_ENTRIES)),
            measuring: Mutex::new(()),
        }
    }

    /// What a prepared instance asks for. What stays here is not measured: its bundle costs 0. `output_bytes`: what its outputs are expected to be, compressed, 0 where nobody
    /// knows. `exact_over`: the smallest cap in play, in bytes; a bundle that would not fit by its largest blobs' plain
    /// sizes has these measured too.
    ///
    /// # Errors
    /// When a blob of the bundle is gone or has changed: then it can only be tried here.
    pub(crate) fn needs(
        &self,
        prepared: &Prepared,
        output_bytes: u64,
        exact_over: u64,
    ) -> Result<Requirements, NotReady> {
        let (instance, task) = self
            .context
            .instance(prepared.task)
            .ok_or_else(|| NotReady::lost("the plan"))?;
        let declared = self
            .declared
            .get(instance.task)
            .ok_or_else(|| NotReady::lost("the plan"))?;
        // Patterns beyond that are tried by no other node.
        let mesh = declared.mesh && instance.outputs.len() <= MAX_PATTERNS;
        let cost = match mesh && !declared.secret {
            true => self.cost(prepared, instance, exact_over)?,
            false => Cost::default(),
        };
        Ok(Requirements {
            digest: prepared.digest,
            label: name(&instance.label),
            labels: declared.labels.clone(),
            memory_mb: declared.memory_mb,
            fuel: task.limits.fuel,
            timeout_ms: task.limits.timeout_ms,
            estimate_ms: declared.estimate_ms,
            component_bytes: cost.component,
            input_bytes: cost.inputs,
            output_bytes,
            blobs: cost.blobs,
            imports: declared.imports.clone(),
            grants: declared.grants.clone(),
            engine: declared.engine.clone(),
            pure: prepared.pure,
            secret: declared.secret,
            mesh,
            steal: task.place.steal,
        })
    }

    /// Finds the blobs that the bundle of an instance reaches, and no other: its manifest, component, standard input and
    /// input trees, and the files of these. A file that has changed reads as an error.
    pub(crate) fn closure(
        self: &Arc<Self>,
        prepared: &Arc<Prepared>,
    ) -> impl Fn(&Digest) -> Option<Source> + Send + Sync + 'static {
        let (bundles, prepared) = (Arc::clone(self), Arc::clone(prepared));
        move |digest| bundles.find(&prepared, digest)
    }

    fn cost(
        &self,
        prepared: &Prepared,
        instance: &Instance,
        exact_over: u64,
    ) -> Result<Cost, NotReady> {
        let component = self.component(instance.task)?;
        let inputs = self.inputs(prepared, instance)?;
        let manifest = BlobRef {
            digest: prepared.digest,
            bytes: self.measured(None, &Source::bytes(prepared.encoded.to_vec()))?,
        };
        let beside = component.bytes.saturating_add(manifest.bytes);
        let inputs = inputs.settled(&self.sizes, exact_over.saturating_sub(beside))?;
        Ok(Cost {
            component: component.bytes,
            inputs: manifest.bytes.saturating_add(inputs.bytes),
            blobs: largest(inputs.largest.into_iter().chain([component, manifest])),
        })
    }

    /// All that the guest reads: the trees, their files, and standard input.
    fn inputs(&self, prepared: &Prepared, instance: &Instance) -> Result<Parts, NotReady> {
        let own = prepared.own_tree();
        let mut shared = Vec::with_capacity(prepared.inputs.len());
        let mut alone = None;
        for (prefix, digest) in &*prepared.inputs {
            match own == Some(*digest) {
                true => alone = Some(prefix.as_str()),
                false => shared.push((prefix.as_str(), *digest)),
            }
        }
        let mut parts = (*self.shared(prepared, &shared)?).clone();
        if let (Some(prefix), Some(digest)) = (alone, own) {
            self.add_tree(&mut parts, prepared, prefix, &digest)?;
        }
        if let Some((digest, _)) = self.context.stdin(instance)?
            && !self.holds(prepared, shared.iter().map(|(prefix, _)| *prefix), &digest)
        {
            let faults = InputFaults::default();
            let source = worker::stdin(&self.context, instance, &faults)?;
            parts.add(&self.sizes, digest, &source)?;
        }
        Ok(parts)
    }

    /// What several instances have in common: measured by one thread, while others that want it wait.
    fn shared(
        &self,
        prepared: &Prepared,
        trees: &[(&str, Digest)],
    ) -> Result<Arc<Parts>, NotReady> {
        let key: Vec<Digest> = trees.iter().map(|(_, digest)| *digest).collect();
        let known = || lock(&self.parts).get(&key);
        if let Some(known) = known() {
            return Ok(known);
        }
        let _measuring = lock(&self.measuring);
        if let Some(known) = known() {
            return Ok(known);
        }
        let mut parts = Parts::default();
        for (prefix, digest) in trees {
            self.add_tree(&mut parts, prepared, prefix, digest)?;
        }
        let made = Arc::new(parts.without_names());
        lock(&self.parts).insert(key, Arc::clone(&made), 1);
        Ok(made)
    }

    /// Adds a tree and its files.
    fn add_tree(
        &self,
        parts: &mut Parts,
        prepared: &Prepared,
        prefix: &str,
        digest: &Digest,
    ) -> Result<(), NotReady> {
        let lost = || NotReady::lost("an input");
        let reach = self.reach(prepared, prefix).ok_or_else(lost)?;
        let faults = InputFaults::default();
        for entry in reach.tree().entries() {
            let source = self.content(prepared, prefix, entry, &faults);
            parts.add(&self.sizes, entry.digest, &source.ok_or_else(lost)?)?;
        }
        let encoded = self.encoded(prepared, prefix, digest).ok_or_else(lost)?;
        parts.add(&self.sizes, *digest, &encoded)
    }

    fn measured(&self, digest: Option<&Digest>, source: &Source) -> Result<u64, NotReady> {
        let measured = match digest {
            Some(digest) => self.sizes.exact(digest, source),
            None => self.sizes.measure(source),
        };
        measured.map_err(|error| unreadable(&error))
    }
}

/// An input that cannot be read as what it was.
fn unreadable(error: &std::io::Error) -> NotReady {
    NotReady::new(
        "task::input-changed",
        format!("an input cannot be read: {error}"),
        Some("run again when nothing writes it any more".to_owned()),
    )
}

/// The blobs that an offer names, the largest first; equal ones by digest, so that the order is always the same.
fn largest(blobs: impl Iterator<Item = BlobRef>) -> Vec<BlobRef> {
    let mut blobs: Vec<BlobRef> = blobs.collect();
    blobs.sort_unstable_by_key(|blob| (std::cmp::Reverse(blob.bytes), blob.digest));
    blobs.dedup_by_key(|blob| blob.digest);
    blobs.truncate(MAX_NAMED_BLOBS);
    blobs
}

/// A label as an offer can say it.
fn name(label: &Arc<str>) -> Arc<str> {
    const CUT: &str = "…";
    if label.len() <= MAX_NAME_BYTES {
        return Arc::clone(label);
    }
    let end = label.floor_char_boundary(MAX_NAME_BYTES - CUT.len());
    format!("{}{CUT}", label.get(..end).unwrap_or_default()).into()
}
