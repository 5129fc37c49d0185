//! What all instances of a declared task ask for, whatever their inputs.
//!
//! Decides two things that a pipeline does not say outright. **What is a secret**: a value out of the user's environment
//! is one, unless its name says that it is about language, time or display, for nobody can tell a token from a word by
//! looking at it. What may go along is written into the pipeline (`env`), or given another way. **When only one engine
//! will do**: where results from elsewhere are always compared, and could differ without anybody's fault. Called by
//! `needs`, once a declared task.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use sykli_core::consent::BlobRef;
use sykli_core::pipeline::{Floats, Task, Verify};
use sykli_core::wire::v1::{MAX_GRANTS, MAX_IMPORTS, MAX_LABELS, MAX_NAME_BYTES};
use sykli_runtime::{Component, NetRule};

use super::{Bundles, Programs};
use crate::foreign;
use crate::prepare::{Context, NotReady};

/// Bytes of a megabyte, as limits are told to others.
pub(crate) const MB: u64 = 1_000_000;
/// Variables of the user's environment that say how to speak and to show, and beside them all that begin with `LC_`.
const HARMLESS: [&str; 9] = [
    "CI",
    "COLORTERM",
    "LANG",
    "LANGUAGE",
    "NO_COLOR",
    "RUST_BACKTRACE",
    "SOURCE_DATE_EPOCH",
    "TERM",
    "TZ",
];

/// See the module.
pub(super) struct Declared {
    pub(super) labels: Vec<Arc<str>>,
    pub(super) imports: Vec<Arc<str>>,
    pub(super) grants: Vec<Arc<str>>,
    pub(super) engine: Option<Arc<str>>,
    pub(super) memory_mb: u64,
    pub(super) estimate_ms: u64,
    pub(super) secret: bool,
    pub(super) mesh: bool,
    path: Option<PathBuf>,
    component: OnceLock<Result<BlobRef, NotReady>>,
}

impl Declared {
    pub(super) fn new(
        context: &Context,
        (index, task): (usize, &Task),
        component: Option<&Component>,
        programs: &Programs,
    ) -> Declared {
        let imports = component.map(Component::required_imports);
        let mut declared = Declared {
            labels: task
                .place
                .labels
                .iter()
                .map(|one| one.as_str().into())
                .collect(),
            imports: imports.into_iter().flatten().map(Into::into).collect(),
            grants: grants(&task.grants.net, task.grants.clock, task.grants.random),
            engine: engine(task),
            memory_mb: task.limits.memory_bytes.div_ceil(MB),
            // What takes no time at all has been measured all the same: 0 would say that nobody knows.
            estimate_ms: programs
                .durations
                .get(&task.name)
                .map_or(0, |ms| (*ms).max(1)),
            secret: has_secret(context, index, task),
            mesh: false,
            path: programs.paths.get(index).cloned().flatten(),
            component: OnceLock::new(),
        };
        declared.mesh = task.place.mesh && declared.can_be_said();
        declared
    }

    /// Whether an offer can carry it. What it cannot stays here.
    fn can_be_said(&self) -> bool {
        let lists = [
            (&self.labels, MAX_LABELS),
            (&self.imports, MAX_IMPORTS),
            (&self.grants, MAX_GRANTS),
        ];
        lists.into_iter().all(|(list, most)| {
            list.len() <= most && list.iter().all(|text| text.len() <= MAX_NAME_BYTES)
        })
    }
}

impl Bundles {
    /// A declared task's component: put into the store when it is first asked for, so that a later build of it takes
    /// nothing away from the run.
    pub(super) fn component(&self, task: usize) -> Result<BlobRef, NotReady> {
        let declared = self
            .declared
            .get(task)
            .ok_or_else(|| NotReady::lost("the plan"))?;
        let make = || {
            let digest = self
                .context
                .component(task)
                .ok_or_else(|| NotReady::lost("its component"))?;
            let store = &self.context.store;
            if let (None, Some(path)) = (store.get(&digest), &declared.path) {
                store
                    .put_file(path)
                    .map_err(|error| NotReady::store(&error))?;
            }
            let source = store
                .get(&digest)
                .ok_or_else(|| NotReady::lost("its component"))?;
            let bytes = self.measured(Some(&digest), &source)?;
            Ok(BlobRef { digest, bytes })
        };
        declared.component.get_or_init(make).clone()
    }
}

/// Grants as offers and policies write them: `net:example.org:443`, `clock`, `random`. Sorted, each once.
pub(crate) fn grants<'a>(
    net: impl IntoIterator<Item = &'a String>,
    clock: bool,
    random: bool,
) -> Vec<Arc<str>> {
    let rule = |text: &String| match text.parse::<NetRule>() {
        Ok(rule) => format!("net:{rule}"),
        Err(_) => format!("net:{text}"),
    };
    let mut all: Vec<Arc<str>> = net.into_iter().map(|text| rule(text).into()).collect();
    all.extend(clock.then(|| Arc::from("clock")));
    all.extend(random.then(|| Arc::from("random")));
    all.sort();
    all.dedup();
    all
}

/// The one engine class that will do, where only one will. An audit is none of these: it picks what can be compared.
fn engine(task: &Task) -> Option<Arc<str>> {
    let always_compared = matches!(task.place.verify, Verify::Quorum(_) | Verify::Local);
    let may_differ = task.floats == Floats::Fast && task.grants.is_pure();
    (always_compared && may_differ).then(foreign::engine_class)
}

/// Whether a value of the user's own is in its environment.
fn has_secret(context: &Context, index: usize, task: &Task) -> bool {
    let harmless = |name: &str| HARMLESS.contains(&name) || name.starts_with("LC_");
    let granted = |name: &String| task.grants.env.binary_search(name).is_ok();
    context
        .env(index)
        .any(|(name, _)| granted(name) && !harmless(name))
}
