//! What the manifests of a fan-out share, encoded once.
//!
//! The instances of a declared task differ in a few fields: arguments, item, shard, stdin, and sometimes the input trees,
//! parameters and output patterns. A [`Template`] holds the canonical encoding of everything else, so that the manifest
//! of one more instance is a handful of copies. It decides nothing and gives exactly the bytes that
//! [`Manifest::encode`] would (a property test compares them). Called by the node's preparation.

use super::{FIELDS, MANIFEST_SCHEMA, Manifest, Shard, floats_name, write_texts};
use crate::dagcbor::Writer;
use crate::id::Digest;
use std::collections::{BTreeMap, BTreeSet};

/// The shared part of the manifests of a task's instances; see the module.
#[derive(Debug, Clone)]
pub struct Template {
    /// From the beginning to the arguments' key.
    until_args: Vec<u8>,
    /// From fuel to the item's key.
    until_item: Vec<u8>,
    /// From the name to the shard's key.
    until_shard: Vec<u8>,
    /// From floats to the inputs' key.
    until_inputs: Vec<u8>,
    inputs: Vec<u8>,
    params: Vec<u8>,
    /// From the schema to the outputs' key.
    until_outputs: Vec<u8>,
    outputs: Vec<u8>,
    /// From the component to the end.
    rest: Vec<u8>,
    pure: bool,
}

/// What is an instance's own. Where something is `None` it is as in the manifest that the template was made of.
#[derive(Debug, Clone, Default)]
pub struct Own<'a> {
    /// [`Manifest::item`].
    pub item: Option<&'a str>,
    /// [`Manifest::shard`].
    pub shard: Shard,
    /// [`Manifest::stdin`].
    pub stdin: Option<Digest>,
    /// [`Manifest::inputs`], where they are not the shared ones.
    pub inputs: Option<&'a BTreeMap<String, Digest>>,
    /// [`Manifest::params`], where they are not the shared ones.
    pub params: Option<&'a str>,
    /// [`Manifest::outputs`], where they are not the shared ones.
    pub outputs: Option<&'a BTreeSet<&'a str>>,
}

fn encoded(write: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut Writer::new(&mut out));
    out
}

impl Template {
    /// The template of everything that is like `manifest`.
    #[must_use]
    pub fn new(manifest: &Manifest) -> Template {
        Template {
            until_args: encoded(|writer| {
                writer.map(FIELDS);
                writer.text("env");
                manifest.write_env(writer);
                writer.text("args");
            }),
            until_item: encoded(|writer| {
                writer.text("fuel");
                writer.uint(manifest.fuel);
                writer.text("item");
            }),
            until_shard: encoded(|writer| {
                writer.text("name");
                writer.text(&manifest.name);
                writer.text("shard");
            }),
            until_inputs: encoded(|writer| {
                writer.text("floats");
                writer.text(floats_name(manifest.floats));
                manifest.write_grants(writer);
                writer.text("inputs");
            }),
            inputs: encoded(|writer| write_inputs(writer, &manifest.inputs)),
            params: encoded(|writer| writer.text(&manifest.params)),
            until_outputs: encoded(|writer| {
                writer.text("schema");
                writer.text(MANIFEST_SCHEMA);
                writer.text("outputs");
            }),
            outputs: encoded(|writer| {
                write_texts(writer, manifest.outputs.len(), &manifest.outputs);
            }),
            rest: encoded(|writer| manifest.write_bounds(writer)),
            pure: manifest.is_pure(),
        }
    }

    /// Whether the tasks may be cached: see [`Manifest::is_pure`].
    #[must_use]
    pub fn is_pure(&self) -> bool {
        self.pure
    }

    /// Appends the canonical encoding of an instance's manifest.
    pub fn encode_into<'t>(
        &self,
        args: impl ExactSizeIterator<Item = &'t str>,
        own: &Own<'_>,
        out: &mut Vec<u8>,
    ) {
        out.extend_from_slice(&self.until_args);
        let mut writer = Writer::new(out);
        writer.array(args.len());
        args.for_each(|arg| writer.text(arg));
        writer.encoded(&self.until_item);
        match own.item {
            Some(item) => writer.text(item),
            None => writer.null(),
        }
        writer.encoded(&self.until_shard);
        write_shard(&mut writer, own.shard);
        writer.text("stdin");
        match &own.stdin {
            Some(digest) => writer.bytes(digest.as_bytes()),
            None => writer.null(),
        }
        writer.encoded(&self.until_inputs);
        match own.inputs {
            Some(inputs) => write_inputs(&mut writer, inputs),
            None => writer.encoded(&self.inputs),
        }
        writer.text("params");
        match own.params {
            Some(params) => writer.text(params),
            None => writer.encoded(&self.params),
        }
        writer.encoded(&self.until_outputs);
        match own.outputs {
            Some(outputs) => {
                writer.array(outputs.len());
                outputs.iter().for_each(|pattern| writer.text(pattern));
            }
            None => writer.encoded(&self.outputs),
        }
        writer.encoded(&self.rest);
    }
}

pub(super) fn write_shard(writer: &mut Writer<'_>, shard: Shard) {
    writer.array(2);
    writer.uint(shard.index.into());
    writer.uint(shard.count.into());
}

pub(super) fn write_inputs(writer: &mut Writer<'_>, inputs: &BTreeMap<String, Digest>) {
    writer.sorted_map(
        inputs.iter().map(|(prefix, tree)| (prefix.as_str(), tree)),
        |writer, tree| writer.bytes(tree.as_bytes()),
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::tests::any_manifest;
    use proptest::prelude::*;

    proptest! {
        /// `of` gives the shared part, `own` the rest: the template gives what the manifest of both would.
        #[test]
        fn a_template_encodes_what_a_manifest_does(of in any_manifest(), own in any_manifest(), shared: bool) {
            let both = Manifest {
                args: own.args.clone(),
                item: own.item.clone(),
                shard: own.shard,
                stdin: own.stdin,
                inputs: if shared { of.inputs.clone() } else { own.inputs.clone() },
                params: if shared { of.params.clone() } else { own.params.clone() },
                outputs: if shared { of.outputs.clone() } else { own.outputs.clone() },
                ..of.clone()
            };
            let outputs: BTreeSet<&str> = both.outputs.iter().map(String::as_str).collect();
            let own = Own {
                item: both.item.as_deref(),
                shard: both.shard,
                stdin: both.stdin,
                inputs: (!shared).then_some(&both.inputs),
                params: (!shared).then_some(&both.params),
                outputs: (!shared).then_some(&outputs),
            };
            let template = Template::new(&of);
            let mut out = Vec::new();
            template.encode_into(both.args.iter().map(String::as_str), &own, &mut out);
            prop_assert_eq!(out, both.encode());
            prop_assert_eq!(template.is_pure(), of.is_pure());
        }
    }
}
