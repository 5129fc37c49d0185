//! Reading what a task may see and where it may run: `env`, `grants`, `place`.

use std::collections::BTreeMap;

use super::Context;
use crate::diagnostic::quote;
use crate::pipeline::document::{Node, Origin};
use crate::pipeline::fields::{Fields, Keys};
use crate::pipeline::{Grants, MAX_NAME_BYTES, MAX_QUORUM, Place, Verify};

/// The longest name of an environment variable, in bytes.
const MAX_ENV_NAME_BYTES: usize = 256;

const GRANTS: Keys = Keys {
    known: &["env", "net", "clock", "random"],
    instead: &[],
};
const PLACE: Keys = Keys {
    known: &["labels", "mesh", "steal", "verify"],
    instead: &[],
};

impl Context<'_> {
    pub(super) fn env(&mut self, fields: Fields<'_>, grants: &Grants) -> BTreeMap<String, String> {
        let mut env = BTreeMap::new();
        let place = format!("{}.env", self.place);
        let Some(table) = fields
            .get("env")
            .and_then(|node| self.reader.table(node, &place))
        else {
            return env;
        };
        for entry in table.entries() {
            if !self.env_name(&entry.key, &entry.key_at) {
                continue;
            }
            let Some(value) = self
                .reader
                .string(&entry.node, &format!("{place}.{}", entry.key))
            else {
                continue;
            };
            if value.contains('\0') {
                let message = format!("the value of {} holds a NUL character", quote(&entry.key));
                self.reader
                    .report(entry.node.at.diagnostic("pipeline::bad-value", message));
            }
            if grants.env.contains(&entry.key) {
                let message = format!(
                    "{} has a value here, and is granted from the user's environment",
                    quote(&entry.key)
                );
                let diagnostic = entry
                    .key_at
                    .diagnostic("pipeline::duplicate-env", message)
                    .label("which of them?");
                self.reader
                    .report(diagnostic.hint("leave it out here or in `grants.env`"));
            }
            env.insert(entry.key.clone(), value.to_owned());
        }
        env
    }

    fn env_name(&mut self, name: &str, at: &Origin) -> bool {
        let good =
            !name.is_empty() && name.len() <= MAX_ENV_NAME_BYTES && !name.contains(['=', '\0']);
        if !good {
            let message = format!("{} is not a name for an environment variable", quote(name));
            let hint = format!(
                "1 to {MAX_ENV_NAME_BYTES} bytes, without `=`; values go into `env = {{ NAME = \"value\" }}`"
            );
            self.reader.report(
                at.diagnostic("pipeline::bad-name", message)
                    .label("not a name")
                    .hint(hint),
            );
        }
        good
    }

    pub(super) fn grants(&mut self, fields: Fields<'_>) -> Grants {
        let place = format!("{}.grants", self.place);
        let Some(table) = fields
            .get("grants")
            .and_then(|node| self.reader.fields(node, &place, &GRANTS))
        else {
            return Grants::default();
        };
        let mut inner = Context {
            reader: &mut *self.reader,
            place,
            names: Vec::new(),
        };
        let mut grants = Grants {
            clock: inner.boolean(table, "clock", false),
            random: inner.boolean(table, "random", false),
            ..Grants::default()
        };
        for (name, at) in inner.strings(table, "env") {
            if inner.env_name(name, at) {
                grants.env.push(name.to_owned());
            }
        }
        for (rule, at) in inner.strings(table, "net") {
            if is_net_rule(rule) {
                grants.net.push(rule.to_owned());
            } else {
                let message = format!("{} is not a host, or a host and a port", quote(rule));
                let diagnostic = at
                    .diagnostic("pipeline::bad-net", message)
                    .label("not a host");
                inner
                    .reader
                    .report(diagnostic.hint("name each host: `net = [\"example.org:443\"]`"));
            }
        }
        for list in [&mut grants.env, &mut grants.net] {
            list.sort();
            list.dedup();
        }
        grants
    }

    pub(super) fn placement(&mut self, fields: Fields<'_>) -> Place {
        let mut place = Place::default();
        let path = format!("{}.place", self.place);
        let Some(table) = fields
            .get("place")
            .and_then(|node| self.reader.fields(node, &path, &PLACE))
        else {
            return place;
        };
        let mut inner = Context {
            reader: &mut *self.reader,
            place: path,
            names: Vec::new(),
        };
        place.mesh = inner.boolean(table, "mesh", place.mesh);
        place.steal = inner.boolean(table, "steal", place.steal);
        for (label, at) in inner.strings(table, "labels") {
            let good = |b: u8| b.is_ascii_alphanumeric() || b"-_.=/".contains(&b);
            if label.is_empty() || label.len() > MAX_NAME_BYTES || !label.bytes().all(good) {
                let message = format!("{} is not a label", quote(label));
                let hint = format!("1 to {} letters, digits or `-_.=/`", MAX_NAME_BYTES);
                inner.reader.report(
                    at.diagnostic("pipeline::bad-name", message)
                        .label("not a label")
                        .hint(hint),
                );
            }
            place.labels.push(label.to_owned());
        }
        place.labels.sort();
        place.labels.dedup();
        if let Some(node) = table.get("verify") {
            place.verify = inner.verify(node).unwrap_or(place.verify);
        }
        place
    }

    fn verify(&mut self, node: &Node) -> Option<Verify> {
        let text = self
            .reader
            .string(node, &format!("{}.verify", self.place))?;
        let quorum = text
            .strip_prefix("quorum:")
            .and_then(|count| count.parse().ok());
        match (text, quorum) {
            ("none", _) => Some(Verify::None),
            ("audit", _) => Some(Verify::Audit),
            ("local", _) => Some(Verify::Local),
            (_, Some(count @ 2..=MAX_QUORUM)) => Some(Verify::Quorum(count)),
            (_, Some(count)) => {
                let message =
                    format!("a quorum of {count} cannot be: it takes from 2 to {MAX_QUORUM}");
                self.reader.report(
                    node.at
                        .diagnostic("pipeline::out-of-range", message)
                        .label("out of range"),
                );
                None
            }
            _ => {
                self.bad_choice(node, text, &["none", "audit", "quorum:2", "local"]);
                None
            }
        }
    }
}

/// `host`, `host:port` or `[v6 address]:port`; no wildcards.
fn is_net_rule(rule: &str) -> bool {
    const MAX_HOST_BYTES: usize = 253;
    let (host, port) = match rule.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, "")) => (address, None),
        Some((address, port)) => match port.strip_prefix(':') {
            Some(port) => (address, Some(port)),
            None => return false,
        },
        None => match rule.split_once(':') {
            // More than one colon is a bare IPv6 address.
            Some((_, port)) if port.contains(':') => (rule, None),
            Some((host, port)) => (host, Some(port)),
            None => (rule, None),
        },
    };
    let good = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'.' || b == b'_';
    let is_host = if host.contains(':') {
        host.parse::<std::net::Ipv6Addr>().is_ok()
    } else {
        !host.is_empty() && host.len() <= MAX_HOST_BYTES && host.bytes().all(good)
    };
    is_host && port.is_none_or(|port| port.parse::<std::num::NonZeroU16>().is_ok())
}
