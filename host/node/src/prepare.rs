//! Makes an instance's manifest from its inputs, and looks its result up.
//!
//! A [`Context`] is what one run knows: the plan, the digested files, the components, and the outputs that settled so
//! far. From it, [`Context::prepare`] makes everything that determines an instance's result, and
//! [`Context::look_up`] asks the store for results, many at a time. It runs nothing and decides nothing about order.
//! Called by the workers of a run, by `plan` and by `why`.

mod merge;
pub(crate) mod overlay;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use sykli_core::expand::{Instance, Plan, Stdin};
use sykli_core::glob::Pattern;
use sykli_core::id::{Digest, TaskId};
use sykli_core::manifest::{Manifest, ManifestGrants, Own, SEMANTICS_VERSION, Shard, Template};
use sykli_core::pipeline::Task;
use sykli_core::tree::{Tree, TreeEntry, TreeError};

use crate::events::FailureReport;
use crate::run::failure;
use crate::store::{Delta, Record, Store, StoreError};
use crate::workspace::Files;

/// Up to this many files, an instance's item joins the tree of its task's `inputs`; beyond it, it gets a tree of its
/// own, so that ten thousand instances do not make ten thousand large trees.
const MAX_JOINED_FILES: usize = 32;

/// What one run, or one look at a pipeline, knows.
pub(crate) struct Context {
    pub(crate) plan: Arc<Plan>,
    pub(crate) store: Store,
    pub(crate) files: Files,
    /// By declared task; `None` where its component is not known (its crate is not built).
    components: Vec<Option<Digest>>,
    /// By declared task: what the guest finds in its environment.
    env: Vec<BTreeMap<String, String>>,
    /// By declared task: its name.
    names: Vec<Arc<str>>,
    /// By declared task: what its instances share, once the first one can be prepared.
    shared: Vec<OnceLock<Result<Arc<Shared>, NotReady>>>,
    /// By declared task: the tree of its `inputs`.
    workspace: Vec<OnceLock<Result<Arc<WorkspaceTree>, NotReady>>>,
    /// By declared task: the outputs of all its instances as one tree.
    merged: Vec<OnceLock<Result<Digest, NotReady>>>,
    /// By instance: the output tree, once it settled well.
    outputs: Mutex<Vec<Option<Digest>>>,
}

/// The tree of a declared task's `inputs`. Its digest is all that a look at the cache wants, so it is only made for
/// what runs.
struct WorkspaceTree {
    digest: Digest,
    tree: OnceLock<Option<Arc<Tree>>>,
    kept: OnceLock<()>,
}

/// What the instances of a declared task share of all that determines their results.
#[derive(Debug)]
struct Shared {
    template: Template,
    /// The input trees by where they appear under `/in`, without an item's own.
    inputs: Arc<BTreeMap<String, Digest>>,
    params: Arc<str>,
    outputs: Arc<[Pattern]>,
    /// The manifest that the others are stored as differences from: the first one that was kept.
    base: OnceLock<(Digest, Box<[u8]>)>,
}

/// Why an instance cannot be run or looked up.
#[derive(Clone, Debug)]
pub(crate) struct NotReady {
    pub(crate) report: Box<FailureReport>,
    pub(crate) code: &'static str,
    /// A blob of an earlier result is gone: another round makes it anew.
    pub(crate) lost: bool,
}

impl NotReady {
    pub(super) fn new(code: &'static str, message: String, hint: Option<String>) -> NotReady {
        NotReady {
            report: Box::new(failure::plain(code, message, hint.into_iter().collect())),
            code,
            lost: false,
        }
    }

    pub(super) fn lost(what: &str) -> NotReady {
        let message = format!("{what} is not in the cache any more");
        NotReady {
            lost: true,
            ..NotReady::new("cache::lost", message, None)
        }
    }

    pub(super) fn store(error: &StoreError) -> NotReady {
        NotReady::new(error.code(), error.to_string(), Some(error.hint()))
    }
}

/// An instance whose inputs are known, and with them its task digest.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) task: TaskId,
    pub(crate) digest: Digest,
    /// The manifest's canonical encoding.
    pub(crate) encoded: Box<[u8]>,
    pub(crate) pure: bool,
    /// The digests of the input trees by where they appear under `/in`.
    pub(crate) inputs: Arc<BTreeMap<String, Digest>>,
    /// A look-up has found that there is no result of it.
    pub(crate) unknown: bool,
    /// The tree of the item alone, where it has one of its own.
    item_tree: Option<Tree>,
}

impl Prepared {
    /// The manifest, for whoever looks into it: running a task needs only its digest.
    pub(crate) fn manifest(&self) -> Option<Manifest> {
        Manifest::decode(&self.encoded).ok()
    }

    /// The digest of the one input tree that is this instance's alone, where it has one.
    pub(crate) fn own_tree(&self) -> Option<Digest> {
        self.item_tree.as_ref().map(Tree::digest)
    }
}

impl Context {
    /// A context in which nothing has settled yet. `components` and `env` are by declared task.
    pub(crate) fn new(
        plan: Arc<Plan>,
        store: Store,
        files: Files,
        components: Vec<Option<Digest>>,
        env: Vec<BTreeMap<String, String>>,
    ) -> Context {
        let declared = plan.pipeline.tasks.len();
        Context {
            workspace: (0..declared).map(|_| OnceLock::new()).collect(),
            merged: (0..declared).map(|_| OnceLock::new()).collect(),
            shared: (0..declared).map(|_| OnceLock::new()).collect(),
            names: plan
                .pipeline
                .tasks
                .iter()
                .map(|task| task.name.as_str().into())
                .collect(),
            outputs: Mutex::new(vec![None; plan.tasks.len()]),
            plan,
            store,
            files,
            components,
            env,
        }
    }

    /// A context for another round of the same run: what settled is forgotten.
    pub(crate) fn again(&self) -> Context {
        let (components, env) = (self.components.clone(), self.env.clone());
        Context::new(
            self.plan.clone(),
            self.store.clone(),
            self.files.clone(),
            components,
            env,
        )
    }

    /// The digest of a declared task's component, where that is known.
    pub(crate) fn component(&self, task: usize) -> Option<Digest> {
        self.components.get(task).copied().flatten()
    }

    /// The name of a declared task.
    pub(crate) fn name(&self, task: usize) -> Option<Arc<str>> {
        self.names.get(task).cloned()
    }

    /// What a guest of a declared task finds in its environment.
    pub(crate) fn env(&self, task: usize) -> impl Iterator<Item = (&String, &String)> {
        self.env.get(task).into_iter().flatten()
    }

    /// The instance and its declared task.
    pub(crate) fn instance(&self, id: TaskId) -> Option<(&Instance, &Task)> {
        let instance = self.plan.tasks.get(id.index())?;
        Some((instance, self.plan.pipeline.tasks.get(instance.task)?))
    }

    /// Notes the outputs of an instance that settled well. What comes after it may be prepared from now on.
    pub(crate) fn settle(&self, id: TaskId, output: Digest) {
        let mut outputs = self.outputs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = outputs.get_mut(id.index()) {
            *slot = Some(output);
        }
    }

    /// The output tree of an instance that settled well.
    pub(crate) fn output(&self, instance: u32) -> Option<Digest> {
        let outputs = self.outputs.lock().unwrap_or_else(PoisonError::into_inner);
        outputs.get(instance as usize).copied().flatten()
    }

    /// Makes the manifest of an instance whose predecessors have all settled well.
    pub(crate) fn prepare(&self, id: TaskId) -> Result<Prepared, NotReady> {
        let gone = || {
            NotReady::new(
                "run::internal",
                "the instance is not in the plan".to_owned(),
                None,
            )
        };
        let (instance, task) = self.instance(id).ok_or_else(gone)?;
        let shared = self
            .shared
            .get(instance.task)
            .ok_or_else(gone)?
            .get_or_init(|| self.share(instance, task).map(Arc::new))
            .clone()?;
        let (item_tree, inputs) = match self.item_tree(instance)? {
            None => (None, None),
            Some((place, tree)) => {
                let mut inputs = (*shared.inputs).clone();
                inputs.insert(place, tree.digest());
                (Some(tree), Some(Arc::new(inputs)))
            }
        };
        let outputs: Option<BTreeSet<&str>> = (!Arc::ptr_eq(&shared.outputs, &instance.outputs))
            .then(|| instance.outputs.iter().map(Pattern::as_str).collect());
        let own = Own {
            item: instance.item.as_deref(),
            shard: shard(instance),
            stdin: self.stdin(instance)?.map(|(digest, _)| digest),
            inputs: inputs.as_deref(),
            params: (*shared.params != *instance.params_json).then_some(&*instance.params_json),
            outputs: outputs.as_ref(),
        };
        let mut encoded = Vec::with_capacity(512);
        let args = instance.args.iter().map(|arg| &**arg);
        shared.template.encode_into(args, &own, &mut encoded);
        Ok(Prepared {
            task: id,
            digest: Digest::of(&encoded),
            pure: shared.template.is_pure(),
            encoded: encoded.into(),
            inputs: inputs.unwrap_or_else(|| Arc::clone(&shared.inputs)),
            unknown: false,
            item_tree,
        })
    }

    /// What all instances of the declared task of `instance` share.
    fn share(&self, instance: &Instance, task: &Task) -> Result<Shared, NotReady> {
        let component = self.component(instance.task).ok_or_else(|| {
            let hint = Some("sykli build".to_owned());
            NotReady::new(
                "build::stale",
                format!("`{}` is not built", task.program.path()),
                hint,
            )
        })?;
        let mut inputs = BTreeMap::new();
        if self
            .plan
            .groups
            .get(instance.task)
            .is_some_and(|group| !group.inputs.is_empty())
        {
            inputs.insert(String::new(), self.workspace_tree(instance.task)?.digest);
        }
        for &after in &task.after {
            if let Some(earlier) = self.plan.pipeline.tasks.get(after) {
                inputs.insert(earlier.name.clone(), self.merged(after)?);
            }
        }
        let manifest = Manifest {
            name: task.name.clone(),
            component,
            args: Vec::new(),
            env: self.env.get(instance.task).cloned().unwrap_or_default(),
            params: instance.params_json.to_string(),
            item: None,
            shard: Shard::default(),
            stdin: None,
            inputs,
            outputs: instance
                .outputs
                .iter()
                .map(|pattern| pattern.as_str().to_owned())
                .collect(),
            fuel: task.limits.fuel,
            memory_bytes: task.limits.memory_bytes,
            output_bytes: task.limits.output_bytes,
            grants: ManifestGrants {
                net: task
                    .grants
                    .net
                    .iter()
                    .cloned()
                    .collect::<BTreeSet<String>>(),
                clock: task.grants.clock,
                random: task.grants.random,
            },
            floats: task.floats,
            semantics: SEMANTICS_VERSION,
        };
        Ok(Shared {
            template: Template::new(&manifest),
            inputs: Arc::new(manifest.inputs),
            params: Arc::clone(&instance.params_json),
            outputs: Arc::clone(&instance.outputs),
            base: OnceLock::new(),
        })
    }

    /// The tree with an instance's item, where that is a file which is not among the shared ones, and its place under
    /// `/in`, where it may replace a shared one.
    fn item_tree(&self, instance: &Instance) -> Result<Option<(String, Tree)>, NotReady> {
        let shared: &[u32] = self
            .plan
            .groups
            .get(instance.task)
            .map_or(&[], |group| &group.inputs);
        let Some(file) = instance
            .item_file
            .filter(|file| shared.binary_search(file).is_err())
        else {
            return Ok(None);
        };
        let folder = instance.item_input().and_then(|path| path.rsplit_once('/'));
        Ok(Some(match folder {
            // No task is called like the first folder of an input (validation refuses it), so this is no task's.
            Some((folder, name)) if shared.len() > MAX_JOINED_FILES => {
                (folder.to_owned(), self.file_as(file, name)?)
            }
            _ => (String::new(), self.tree(self.plan.input_files(instance))?),
        }))
    }

    fn workspace_tree(&self, task: usize) -> Result<Arc<WorkspaceTree>, NotReady> {
        let make = || {
            let shared: &[u32] = self
                .plan
                .groups
                .get(task)
                .map_or(&[], |group| &group.inputs);
            let digest = self.files.tree_digest(shared.iter().copied());
            Ok(Arc::new(WorkspaceTree {
                digest: digest.map_err(|error| no_tree(&error))?,
                tree: OnceLock::new(),
                kept: OnceLock::new(),
            }))
        };
        match self.workspace.get(task) {
            Some(slot) => slot.get_or_init(make).clone(),
            None => make(),
        }
    }

    /// The tree itself; whatever has a digest has one.
    fn made(&self, task: usize, shared: &WorkspaceTree) -> Option<Arc<Tree>> {
        let make = || {
            let inputs = self.plan.groups.get(task).map(|group| &group.inputs)?;
            self.tree(inputs.iter().copied()).ok().map(Arc::new)
        };
        shared.tree.get_or_init(make).clone()
    }

    fn tree(&self, files: impl IntoIterator<Item = u32>) -> Result<Tree, NotReady> {
        self.files.tree(files).map_err(|error| no_tree(&error))
    }

    /// A tree of one file of the project, under another name.
    fn file_as(&self, file: u32, name: &str) -> Result<Tree, NotReady> {
        let entries = self.tree([file])?.into_entries();
        let entries = entries
            .into_iter()
            .map(|entry| TreeEntry {
                path: name.to_owned(),
                ..entry
            })
            .collect();
        Tree::new(entries)
            .map_err(|error| NotReady::new("workspace::names", error.to_string(), None))
    }

    /// Digest and size of what an instance reads as standard input.
    pub(crate) fn stdin(&self, instance: &Instance) -> Result<Option<(Digest, u64)>, NotReady> {
        match &instance.stdin {
            None => Ok(None),
            Some(Stdin::File(file)) => Ok(self
                .files
                .digested(*file)
                .map(|found| (found.digest, found.stamp.size))),
            Some(Stdin::Output { task, path }) => {
                let digest = self.merged(*task)?;
                let tree = self
                    .store
                    .tree(&digest)
                    .ok_or_else(|| NotReady::lost("an output that it comes after"))?;
                let name = self
                    .plan
                    .pipeline
                    .tasks
                    .get(*task)
                    .map_or("", |task| task.name.as_str());
                let entry = tree.get(path).ok_or_else(|| {
                    let message = format!("its stdin `{name}/{path}` was not produced by `{name}`");
                    NotReady::new("task::stdin-missing", message, None)
                })?;
                Ok(Some((entry.digest, entry.size)))
            }
        }
    }

    /// The outputs of all instances of a declared task as one tree. All of them have settled well.
    pub(crate) fn merged(&self, task: usize) -> Result<Digest, NotReady> {
        match self.merged.get(task) {
            Some(slot) => slot.get_or_init(|| merge::merge(self, task)).clone(),
            None => Err(NotReady::lost("an output")),
        }
    }

    /// An input tree of a prepared instance, where it is at hand.
    pub(crate) fn input_tree(&self, prepared: &Prepared, prefix: &str) -> Option<Arc<Tree>> {
        let digest = prepared.inputs.get(prefix)?;
        if let Some(tree) = prepared
            .item_tree
            .as_ref()
            .filter(|tree| tree.digest() == *digest)
        {
            return Some(Arc::new(tree.clone()));
        }
        let (instance, _) = self.instance(prepared.task)?;
        match self.workspace.get(instance.task).map(OnceLock::get) {
            Some(Some(Ok(shared))) if shared.digest == *digest => self.made(instance.task, shared),
            _ => self.store.tree(digest),
        }
    }

    /// Keeps the input trees of what is about to run, so that a later look at what changed can compare them. Best effort:
    /// what cannot be kept only costs an explanation.
    pub(crate) fn keep_inputs(&self, prepared: &Prepared) {
        if let Some(tree) = &prepared.item_tree {
            let _ = self.store.put_tree(tree);
        }
        let Some((instance, _)) = self.instance(prepared.task) else {
            return;
        };
        if let Some(Some(Ok(shared))) = self.workspace.get(instance.task).map(OnceLock::get) {
            shared.kept.get_or_init(|| {
                let tree = self.made(instance.task, shared);
                drop(tree.map(|tree| self.store.put_tree(&tree)));
            });
        }
    }

    /// Keeps the manifest of what has run and left no result, likewise.
    pub(crate) fn keep_manifest(&self, prepared: &Prepared) {
        // The manifest's digest is the task's.
        let _ = self.store.put_bytes(prepared.encoded.to_vec());
    }

    /// The manifest as its difference from the first one of its declared task, which is kept for it.
    pub(crate) fn manifest_delta(&self, prepared: &Prepared) -> Option<Delta> {
        let (instance, _) = self.instance(prepared.task)?;
        let shared = self.shared.get(instance.task)?.get()?.as_ref().ok()?;
        let (base, bytes) = shared.base.get_or_init(|| {
            self.keep_manifest(prepared);
            (prepared.digest, prepared.encoded.clone())
        });
        Some(Delta::between(*base, bytes, &prepared.encoded))
    }

    /// What is known of the results of prepared instances. Those of impure ones are never known.
    pub(crate) fn look_up(&self, prepared: &[&Prepared]) -> Vec<Known> {
        let pure: Vec<&Prepared> = prepared.iter().copied().filter(|one| one.pure).collect();
        let digests: Vec<Digest> = pure.iter().map(|one| one.digest).collect();
        let mut records = self.store.results(&digests).into_iter();
        let known = |one: &&Prepared| match one.pure.then(|| records.next().flatten()).flatten() {
            Some(record) if self.store.complete(&record) => Known::Result(Box::new(record)),
            Some(_) => Known::Incomplete,
            None => Known::Nothing,
        };
        prepared.iter().map(known).collect()
    }
}

/// What the cache has of a task.
pub(crate) enum Known {
    /// Its result, complete with the blobs it names.
    Result(Box<Record>),
    /// A result without all of its blobs.
    Incomplete,
    /// Nothing.
    Nothing,
}

impl Known {
    /// The result, where there is one that can be used.
    pub(crate) fn result(self) -> Option<Record> {
        match self {
            Known::Result(record) => Some(*record),
            Known::Incomplete | Known::Nothing => None,
        }
    }
}

fn no_tree(error: &TreeError) -> NotReady {
    let hint = "rename one of the files, or leave it out of `inputs`".to_owned();
    NotReady::new(
        "workspace::names",
        format!("the input files cannot be given to a task: {error}"),
        Some(hint),
    )
}

/// What an instance is told of its place among the others: one of items is told its item, so that another item more or
/// less changes nothing for it.
pub(crate) fn shard(instance: &Instance) -> Shard {
    if instance.item.is_some() {
        return Shard::default();
    }
    Shard {
        index: instance.index,
        count: instance.count,
    }
}
