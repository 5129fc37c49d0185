//! The manifest of a foreign task, the offer that was agreed to, and this node's policy → what the guest is granted.
//!
//! The offer is what somebody consented to; the manifest is what would run. Whatever the second asks beyond the first is
//! refused before anything runs, and the policy is asked once more, for it may have changed since. A task is never run
//! with less than it asks for, either: that would give another result under the same name. Called by `foreign`.

use sykli_core::consent::Offer;
use sykli_core::glob::Pattern;
use sykli_core::id::Digest;
use sykli_core::manifest::{MAX_MANIFEST_BYTES, Manifest, SEMANTICS_VERSION};
use sykli_core::pipeline::{Limits, MAX_FUEL, MAX_MEMORY_BYTES, MAX_OUTPUT_BYTES, MAX_TIMEOUT_MS};
use sykli_core::policy::Policy;
use sykli_runtime::{Code, Grant, NetRule};

use super::ForeignError;
use crate::isolation::Lost;
use crate::needs::{MB, grants};
use crate::store::Store;
use crate::worker::stage::{self, Allowed};

/// Output patterns of a task that is run for others: each is tried on each file, in no guest's time.
pub(crate) const MAX_PATTERNS: usize = 256;

/// What will run.
#[derive(Debug)]
pub(super) struct Terms {
    pub(super) manifest: Manifest,
    pub(super) grant: Grant,
    /// What is kept of what it writes.
    pub(super) outputs: Vec<Pattern>,
}

/// Reads the manifest that the offer names, and says what it is granted.
///
/// # Errors
/// When it is not there, or asks for what was not offered or is not allowed.
pub(super) fn agree(store: &Store, policy: &Policy, offer: &Offer) -> Result<Terms, ForeignError> {
    let manifest = read(store, &offer.needs.digest)?;
    bounds(offer, &manifest)?;
    let allowed = allowed(policy, offer, &manifest)?;
    let limits = Limits {
        fuel: manifest.fuel,
        memory_bytes: manifest.memory_bytes,
        timeout_ms: offer.needs.timeout_ms.min(MAX_TIMEOUT_MS),
        output_bytes: manifest.output_bytes,
    };
    Ok(Terms {
        grant: stage::grant(&limits, allowed),
        outputs: patterns(&manifest)?,
        manifest,
    })
}

fn read(store: &Store, task: &Digest) -> Result<Manifest, ForeignError> {
    let missing = ForeignError::Missing {
        what: "the manifest",
    };
    // The store gives nothing that is not what its name says.
    let bytes = store.manifest(task, MAX_MANIFEST_BYTES as u64);
    let manifest = Manifest::decode(&bytes.ok_or(missing)?)?;
    match manifest.semantics {
        SEMANTICS_VERSION => Ok(manifest),
        theirs => Err(ForeignError::Semantics { theirs }),
    }
}

fn bounds(offer: &Offer, manifest: &Manifest) -> Result<(), ForeignError> {
    let needs = &*offer.needs;
    let memory = needs.memory_mb.saturating_mul(MB).min(MAX_MEMORY_BYTES);
    let patterns = manifest.outputs.len() as u64;
    for (what, asked, agreed) in [
        ("fuel", manifest.fuel, needs.fuel.min(MAX_FUEL)),
        ("memory", manifest.memory_bytes, memory),
        ("output", manifest.output_bytes, MAX_OUTPUT_BYTES),
        ("output patterns", patterns, MAX_PATTERNS as u64),
    ] {
        if asked > agreed {
            return Err(ForeignError::Beyond {
                what,
                asked,
                agreed,
            });
        }
    }
    if needs.pure && !manifest.is_pure() {
        let what = "effects".to_owned();
        return Err(ForeignError::NotOffered { what });
    }
    Ok(())
}

/// The grants of the manifest, each offered before and allowed here.
fn allowed(policy: &Policy, offer: &Offer, manifest: &Manifest) -> Result<Allowed, ForeignError> {
    let asked = &manifest.grants;
    for grant in grants(&asked.net, asked.clock, asked.random) {
        if !offer.needs.grants.contains(&grant) {
            let what = grant.to_string();
            return Err(ForeignError::NotOffered { what });
        }
        if !policy.grants.contains(&grant) {
            let grant = grant.to_string();
            return Err(ForeignError::NotAllowed { grant });
        }
    }
    let mut net = Vec::with_capacity(asked.net.len());
    for text in &asked.net {
        let rule = text.parse::<NetRule>();
        net.push(rule.map_err(|_| ForeignError::NotOffered { what: text.clone() })?);
    }
    Ok(Allowed {
        net,
        clock: asked.clock,
        random: asked.random,
    })
}

fn patterns(manifest: &Manifest) -> Result<Vec<Pattern>, ForeignError> {
    let read = |text: &String| {
        Pattern::new(text).map_err(|why| ForeignError::Pattern {
            pattern: text.chars().take(200).collect(),
            why,
        })
    };
    manifest.outputs.iter().map(read).collect()
}

/// Whether the component imports no more than was offered.
///
/// # Errors
/// The first import that was not.
pub(super) fn imports(offer: &Offer, component: &Code) -> Result<(), ForeignError> {
    let needed = component.required_imports();
    let unreadable = || Lost::Broken("a description that cannot be read".to_owned());
    let mut needed = needed.ok_or_else(unreadable)?.into_iter();
    let offered = |name: &String| offer.needs.imports.iter().any(|one| **one == **name);
    match needed.find(|name| !offered(name)) {
        Some(what) => Err(ForeignError::NotOffered { what }),
        None => Ok(()),
    }
}

/// Whether the disk has the room that the task may fill. What it cannot tell is no obstacle.
///
/// # Errors
/// When it has not.
pub(super) fn room(store: &Store, need: u64) -> Result<(), ForeignError> {
    let Ok(disk) = rustix::fs::statvfs(store.spool_dir()) else {
        return Ok(());
    };
    let have = disk.f_bavail.saturating_mul(disk.f_frsize);
    match need > have {
        true => Err(ForeignError::NoRoom { need, have }),
        false => Ok(()),
    }
}
