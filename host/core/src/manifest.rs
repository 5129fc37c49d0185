//! What a task is: everything that determines a pure task's result, and nothing else.
//!
//! The **task digest** is BLAKE3 of the canonical DAG-CBOR encoding. It is the key of the result cache, so a field
//! that is missing here means a wrong result out of the cache, and one too many means work done twice.
//!
//! In it: the component's bytes, every string that the guest can read (arguments, environment, parameters, item, shard,
//! its own name), its input trees and stdin, which outputs are kept, the bounds that end a guest at the same instruction
//! on every machine (fuel, memory, output), the grants, how floats behave, and the version of our own runtime semantics.
//!
//! Not in it, and why:
//! - *attempt, retries*: an attempt that passes gives the same result as the first would have; a pure guest is always
//!   told that it is attempt 1.
//! - *timeout*: where it strikes depends on the machine. A task that it ends has no result at all (a non-result), so
//!   it cannot determine one.
//! - *place, labels*: where a task runs must not be seen in what it gives.
//! - *priority, the pipeline's name, the `after` edges as such*: what those tasks left is in the input trees, by content.
//! - *the bound on captured stdout and stderr, tables, handles, stack*: constants of the runtime, so part of `semantics`.
//!
//! Never reads anything: the caller brings digests. Called by the node, which makes one [`Template`] a declared task and
//! from it the manifest of each instance.
//!
//! ```text
//! {"env": {name: value}, "args": [text], "fuel": uint, "item": text | null, "name": text, "shard": [index, count],
//!  "stdin": bytes(32) | null, "floats": "fast" | "portable", "grants": {"net": [text], "clock": bool, "random": bool},
//!  "inputs": {prefix: bytes(32)}, "params": text, "schema": "sykli-manifest/1", "outputs": [text],
//!  "component": bytes(32), "semantics": uint, "memory_bytes": uint, "output_bytes": uint}
//! ```

use crate::dagcbor::{CodecError, Reader, Writer};
use crate::id::Digest;
use crate::pipeline::Floats;
use crate::tree;
use std::collections::{BTreeMap, BTreeSet};
use thiserror::Error;

mod template;

pub use template::{Own, Template};

/// The first thing said by an encoded manifest: what it is, and which version of this format.
pub const MANIFEST_SCHEMA: &str = "sykli-manifest/1";

/// Version of what a guest can observe of our runtime besides its inputs: the file system, the clock, randomness, fuel
/// costs, fixed bounds. Raised when any of it changes, which makes every earlier result unknown.
pub const SEMANTICS_VERSION: u32 = 1;

/// The longest encoding that [`Manifest::decode`] looks at, in bytes.
pub const MAX_MANIFEST_BYTES: usize = 16 << 20;

const FIELDS: usize = 17;

/// Everything that determines a pure task's result; see the module.
///
/// Collections whose order means nothing are sets and maps, so that equal tasks are equal manifests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// The task's name, as the guest can ask for it.
    pub name: String,
    /// Digest of the component as it was given (a core module before it is adapted).
    pub component: Digest,
    /// Arguments, with placeholders filled in, without `argv[0]` (which is the name).
    pub args: Vec<String>,
    /// The environment: granted names with their values.
    pub env: BTreeMap<String, String>,
    /// Parameters: a JSON object, as the very text that the guest is given.
    pub params: String,
    /// The item of a task that is fanned out over items.
    pub item: Option<String>,
    /// Which part of how many.
    pub shard: Shard,
    /// Digest of what is given on stdin; empty without.
    pub stdin: Option<Digest>,
    /// Digests of the input trees by where they appear under `/in`: `""` for the workspace, else a task's name.
    pub inputs: BTreeMap<String, Digest>,
    /// Patterns of the outputs that are kept.
    pub outputs: BTreeSet<String>,
    /// Fuel limit.
    pub fuel: u64,
    /// Memory limit in bytes.
    pub memory_bytes: u64,
    /// Limit of what is written under `/out` and `/tmp`, in bytes.
    pub output_bytes: u64,
    /// What the task may do that a pure task may not.
    pub grants: ManifestGrants,
    /// Whether NaNs are canonicalised.
    pub floats: Floats,
    /// [`SEMANTICS_VERSION`] of the runtime that is to run it.
    pub semantics: u32,
}

/// Part `index` of `count`; 0 of 1 where a task is not sharded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    /// From 0.
    pub index: u32,
    /// At least 1.
    pub count: u32,
}

impl Default for Shard {
    fn default() -> Self {
        Shard { index: 0, count: 1 }
    }
}

/// The grants that make a task impure. (Environment variables do not: their values are in the manifest.)
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ManifestGrants {
    /// Hosts (`host:port`, `host`) that may be connected to.
    pub net: BTreeSet<String>,
    /// The real clock.
    pub clock: bool,
    /// Real randomness.
    pub random: bool,
}

/// Why bytes are not a manifest.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ManifestError {
    /// The bytes are not the canonical encoding.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// Longer than [`MAX_MANIFEST_BYTES`].
    #[error("{have} bytes, more than the {MAX_MANIFEST_BYTES} that a manifest may have")]
    TooLong {
        /// Length in bytes.
        have: usize,
    },
    /// A field decodes but holds what no task has.
    #[error("field {field:?} {why}")]
    Invalid {
        /// The field.
        field: &'static str,
        /// What is wrong with it, to follow the field in a sentence.
        why: &'static str,
    },
}

impl Manifest {
    /// Whether the result depends on nothing but this manifest: only then may it be cached and compared.
    #[must_use]
    pub fn is_pure(&self) -> bool {
        self.grants.net.is_empty() && !self.grants.clock && !self.grants.random
    }

    /// The canonical encoding.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(512 + self.params.len());
        self.encode_into(&mut out);
        out
    }

    /// Appends the canonical encoding to a buffer.
    pub fn encode_into(&self, out: &mut Vec<u8>) {
        let own = Own {
            item: self.item.as_deref(),
            shard: self.shard,
            stdin: self.stdin,
            ..Own::default()
        };
        Template::new(self).encode_into(self.args.iter().map(String::as_str), &own, out);
    }

    fn write_env(&self, writer: &mut Writer<'_>) {
        writer.sorted_map(
            self.env.iter().map(|(name, value)| (name.as_str(), value)),
            |writer, value| writer.text(value),
        );
    }

    fn write_grants(&self, writer: &mut Writer<'_>) {
        writer.text("grants");
        writer.map(3);
        writer.text("net");
        write_texts(writer, self.grants.net.len(), &self.grants.net);
        writer.text("clock");
        writer.bool(self.grants.clock);
        writer.text("random");
        writer.bool(self.grants.random);
    }

    /// The last fields: the component and what bounds it.
    fn write_bounds(&self, writer: &mut Writer<'_>) {
        writer.text("component");
        writer.bytes(self.component.as_bytes());
        writer.text("semantics");
        writer.uint(self.semantics.into());
        writer.text("memory_bytes");
        writer.uint(self.memory_bytes);
        writer.text("output_bytes");
        writer.uint(self.output_bytes);
    }

    /// The manifest that `bytes` encode.
    ///
    /// # Errors
    /// When they are not the canonical encoding of a manifest that a task can have. The semantics version may be
    /// another than ours: whether to run such a task is the caller's decision.
    pub fn decode(bytes: &[u8]) -> Result<Manifest, ManifestError> {
        if bytes.len() > MAX_MANIFEST_BYTES {
            return Err(ManifestError::TooLong { have: bytes.len() });
        }
        let mut reader = Reader::new(bytes);
        let manifest = read(&mut reader)?;
        reader.finish()?;
        manifest.check()?;
        Ok(manifest)
    }

    /// BLAKE3 of the encoding.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(&self.encode())
    }

    /// What the types do not say already.
    fn check(&self) -> Result<(), ManifestError> {
        let invalid = |field, why| Err(ManifestError::Invalid { field, why });
        if self.shard.index >= self.shard.count {
            return invalid("shard", "is not a part of its count");
        }
        if self
            .inputs
            .keys()
            .any(|prefix| !prefix.is_empty() && tree::check_path(prefix).is_err())
        {
            return invalid("inputs", "has a prefix that is not a relative path");
        }
        if self.env.iter().any(|(name, value)| {
            name.is_empty() || name.contains(['=', '\0']) || value.contains('\0')
        }) {
            return invalid(
                "env",
                "has a name that is no environment variable's, or a NUL",
            );
        }
        if serde_json::from_str::<BTreeMap<String, serde::de::IgnoredAny>>(&self.params).is_err() {
            return invalid("params", "is not a JSON object");
        }
        Ok(())
    }
}

fn read(reader: &mut Reader<'_>) -> Result<Manifest, CodecError> {
    reader.map_of(FIELDS, "a manifest of 17 fields")?;
    reader.exactly("env")?;
    let env = reader.sorted_map(|reader, _| reader.text())?;
    reader.exactly("args")?;
    let args = read_texts(reader)?;
    reader.exactly("fuel")?;
    let fuel = reader.uint()?;
    reader.exactly("item")?;
    let item = reader.optional(Reader::text)?;
    reader.exactly("name")?;
    let name = reader.text()?;
    reader.exactly("shard")?;
    reader.array_of(2, "a shard of index and count")?;
    let shard = Shard {
        index: reader.uint32()?,
        count: reader.uint32()?,
    };
    reader.exactly("stdin")?;
    let stdin = reader.optional(Reader::bytes32)?;
    reader.exactly("floats")?;
    let floats = read_floats(reader)?;
    reader.exactly("grants")?;
    let grants = read_grants(reader)?;
    reader.exactly("inputs")?;
    let inputs = reader.sorted_map(|reader, _| reader.bytes32())?;
    reader.exactly("params")?;
    let params = reader.text()?;
    reader.exactly("schema")?;
    reader.exactly(MANIFEST_SCHEMA)?;
    reader.exactly("outputs")?;
    let outputs = read_text_set(reader)?;
    reader.exactly("component")?;
    let component = Digest(reader.bytes32()?);
    reader.exactly("semantics")?;
    let semantics = reader.uint32()?;
    reader.exactly("memory_bytes")?;
    let memory_bytes = reader.uint()?;
    reader.exactly("output_bytes")?;
    let output_bytes = reader.uint()?;
    Ok(Manifest {
        name: name.to_owned(),
        component,
        args,
        env: env
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
        params: params.to_owned(),
        item: item.map(str::to_owned),
        shard,
        stdin: stdin.map(Digest),
        inputs: inputs
            .into_iter()
            .map(|(prefix, tree)| (prefix.to_owned(), Digest(tree)))
            .collect(),
        outputs,
        fuel,
        memory_bytes,
        output_bytes,
        grants,
        floats,
        semantics,
    })
}

fn read_grants(reader: &mut Reader<'_>) -> Result<ManifestGrants, CodecError> {
    reader.map_of(3, "grants of three fields")?;
    reader.exactly("net")?;
    let net = read_text_set(reader)?;
    reader.exactly("clock")?;
    let clock = reader.bool()?;
    reader.exactly("random")?;
    let random = reader.bool()?;
    Ok(ManifestGrants { net, clock, random })
}

fn read_floats(reader: &mut Reader<'_>) -> Result<Floats, CodecError> {
    let at = reader.at();
    let name = reader.text()?;
    [Floats::Fast, Floats::Portable]
        .into_iter()
        .find(|floats| floats_name(*floats) == name)
        .ok_or(CodecError::Expected {
            at,
            expected: "`fast` or `portable`",
        })
}

fn floats_name(floats: Floats) -> &'static str {
    match floats {
        Floats::Fast => "fast",
        Floats::Portable => "portable",
    }
}

fn write_texts<'a>(
    writer: &mut Writer<'_>,
    len: usize,
    texts: impl IntoIterator<Item = &'a String>,
) {
    writer.array(len);
    for text in texts {
        writer.text(text);
    }
}

fn read_texts(reader: &mut Reader<'_>) -> Result<Vec<String>, CodecError> {
    let len = reader.array()?;
    (0..len).map(|_| reader.text().map(str::to_owned)).collect()
}

/// An array that stands for a set: ascending bytewise, each text once.
fn read_text_set(reader: &mut Reader<'_>) -> Result<BTreeSet<String>, CodecError> {
    let mut last: Option<&str> = None;
    let mut set = BTreeSet::new();
    for _ in 0..reader.array()? {
        let at = reader.at();
        let text = reader.text()?;
        if last.is_some_and(|last| last >= text) {
            return Err(CodecError::NotCanonical {
                at,
                why: "a set that is not sorted or not unique",
            });
        }
        last = Some(text);
        set.insert(text.to_owned());
    }
    Ok(set)
}

#[cfg(test)]
pub(crate) mod tests;
