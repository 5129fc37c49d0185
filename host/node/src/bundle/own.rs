//! A task of this user's own pipeline → a bundle: found by name, packed from the project's files and the store.

use std::collections::HashMap;
use std::path::Path;

use sykli_core::expand::Stdin;
use sykli_core::id::Digest;
use sykli_runtime::Source;

use super::read::{self, Sink};
use super::{Bundle, BundleError, write};
use crate::node::{Node, NodeError};
use crate::plan::{PlanState, Seen};
use crate::prepare::Prepared;
use crate::run::RunRequest;
use crate::run::open::{Opened, Purpose};
use crate::store::InputFaults;

/// Instances that are named where one was meant.
const MAX_TOLD: usize = 4;

impl Node {
    /// Packs one instance (a declared name, or an instance's label) into the file `out`, which appears whole or not at
    /// all, at a zstd level from 1 to 19.
    ///
    /// # Errors
    /// Where there is no such instance or several, where its inputs are not known yet, and where the file cannot be
    /// written.
    pub fn pack_bundle(
        &self,
        request: &RunRequest,
        name: &str,
        out: &Path,
        level: i32,
    ) -> Result<Bundle, NodeError> {
        let opened = self.open_run(request, Purpose::Look)?;
        let wanted = self.instances(&opened, name)?;
        let seen = match wanted.as_slice() {
            [only] => only,
            several => return Err(ambiguous(&opened, name, several).into()),
        };
        let Some(prepared) = &seen.prepared else {
            return Err(BundleError::NotReady(not_ready(name, &seen.state)).into());
        };
        let find = own_blobs(&opened, prepared);
        let folder = out.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        let unwritable = |error: &std::io::Error| BundleError::write(out, error);
        let temp = tempfile::NamedTempFile::new_in(folder).map_err(|error| unwritable(&error))?;
        let bundle = write::write(temp.as_file(), out, prepared.digest, level, &find)?;
        temp.as_file()
            .sync_all()
            .map_err(|error| unwritable(&error))?;
        temp.persist(out)
            .map_err(|error| unwritable(&error.error))?;
        Ok(bundle)
    }

    /// Reads and verifies a bundle to its last byte, without keeping any of it.
    ///
    /// # Errors
    /// Where the file is not exactly a bundle.
    pub fn verify_bundle(&self, path: &Path) -> Result<Bundle, NodeError> {
        Ok(read::open(path, u64::MAX, &mut Sink::Nowhere)?)
    }

    fn instances(&self, opened: &Opened, name: &str) -> Result<Vec<Seen>, NodeError> {
        let wanted = crate::why::wanted(&opened.context, Some(name))?;
        let survey = self.survey(opened, true)?;
        let is_wanted = |seen: &Seen| wanted.get(seen.id.index()) == Some(&true);
        Ok(survey.into_iter().filter(is_wanted).collect())
    }
}

fn ambiguous(opened: &Opened, name: &str, several: &[Seen]) -> BundleError {
    let label = |seen: &Seen| Some(opened.context.instance(seen.id)?.0.label.to_string());
    BundleError::Several {
        name: name.to_owned(),
        count: several.len(),
        some: several.iter().filter_map(label).take(MAX_TOLD).collect(),
    }
}

fn not_ready(name: &str, state: &PlanState) -> String {
    match state {
        PlanState::Unknown { waits_for } => format!(
            "the inputs of `{name}` are known once {} has run",
            waits_for.join(", ")
        ),
        PlanState::Run { reasons } => reasons.first().cloned().unwrap_or_default(),
        PlanState::Cached => format!("`{name}` cannot be prepared"),
    }
}

/// Every blob that a prepared instance reaches, and no other.
fn own_blobs<'a>(
    opened: &'a Opened,
    prepared: &'a Prepared,
) -> impl Fn(&Digest) -> Option<Source> + 'a {
    let context = &opened.context;
    let faults = InputFaults::default();
    let mut own: HashMap<Digest, Source> = HashMap::new();
    own.insert(prepared.digest, Source::bytes(prepared.encoded.to_vec()));
    if let Some((instance, _)) = context.instance(prepared.task) {
        let stdin = match instance.stdin {
            Some(Stdin::File(file)) => Some(file),
            _ => None,
        };
        for file in context.plan.input_files(instance).chain(stdin) {
            if let (Some(digested), Some(source)) = (
                context.files.digested(file),
                context.files.source(file, &faults),
            ) {
                own.insert(digested.digest, source);
            }
        }
        let program = opened.program(instance.task);
        let size = program.and_then(|path| Some(std::fs::metadata(path).ok()?.len()));
        if let (Some(component), Some(path), Some(size)) =
            (context.component(instance.task), program, size)
        {
            own.insert(component, Source::file(path, size));
        }
    }
    for (prefix, digest) in prepared.inputs.iter() {
        if let Some(tree) = context.input_tree(prepared, prefix) {
            own.insert(*digest, Source::bytes(tree.encode()));
        }
    }
    move |digest| {
        own.get(digest)
            .cloned()
            .or_else(|| context.store.get(digest))
    }
}
