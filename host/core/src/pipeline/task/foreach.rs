//! Reading a task's `foreach`.

use std::collections::{BTreeMap, BTreeSet};

use super::Context;
use crate::diagnostic::{Diagnostic, quote};
use crate::expand::MAX_INSTANCES;
use crate::pipeline::document::{Entry, Node, Value};
use crate::pipeline::fields::Keys;
use crate::pipeline::{Foreach, MAX_MATRIX_KEYS, MAX_NAME_BYTES, MAX_VALUE_BYTES};
use crate::template::RESERVED;

const FOREACH: Keys = Keys {
    known: &["glob", "shards", "values", "matrix"],
    instead: &[
        ("items", "write `foreach = { values = [\"a\", \"b\"] }`"),
        ("files", "write `foreach = { glob = \"photos/**/*.jpg\" }`"),
        ("count", "write `foreach = { shards = 16 }`"),
    ],
};
const HINT: &str = "one of `{ glob = \"photos/**/*.jpg\" }`, `{ shards = 16 }`, `{ values = [\"a\"] }`, `{ matrix = { os = [\"linux\"] } }`";

impl Context<'_> {
    pub(super) fn foreach(&mut self, node: &Node) -> Option<Foreach> {
        let place = format!("{}.foreach", self.place);
        if let Value::String(text) = &node.value {
            let message = format!("`{place}` must be a table, found a string");
            let diagnostic = node
                .at
                .diagnostic("pipeline::wrong-type", message)
                .label("expected a table");
            self.reader
                .report(diagnostic.hint(format!("write `foreach = {{ glob = {text:?} }}`")));
            return None;
        }
        let fields = self.reader.fields(node, &place, &FOREACH)?;
        let mut chosen = fields
            .entries()
            .iter()
            .filter(|entry| FOREACH.known.contains(&entry.key.as_str()));
        match (chosen.next(), chosen.next()) {
            (Some(entry), None) => self.chosen(entry, &format!("{place}.{}", entry.key)),
            (None, _) if !fields.entries().is_empty() => None,
            (_, second) => {
                let at = second.map_or(&node.at, |entry| &entry.key_at);
                let message = format!(
                    "`{place}` says {} of what to repeat for",
                    if second.is_some() { "several" } else { "none" }
                );
                self.reader.report(
                    at.diagnostic("pipeline::bad-foreach", message)
                        .label("exactly one")
                        .hint(HINT),
                );
                None
            }
        }
    }

    fn chosen(&mut self, entry: &Entry, place: &str) -> Option<Foreach> {
        match entry.key.as_str() {
            "glob" => {
                let text = self.reader.string(&entry.node, place)?;
                self.workspace_pattern(text, &entry.node.at)
                    .map(Foreach::Glob)
            }
            "shards" => {
                let most = u32::try_from(MAX_INSTANCES).unwrap_or(u32::MAX);
                self.reader
                    .integer(&entry.node, place, 1..=most)
                    .map(Foreach::Shards)
            }
            "values" => self.values(&entry.node, place).map(Foreach::Values),
            _ => self.matrix(&entry.node, place),
        }
    }

    fn matrix(&mut self, node: &Node, place: &str) -> Option<Foreach> {
        let fields = self.reader.table(node, place)?;
        if fields.entries().is_empty() {
            self.reader.report(empty(node, place));
            return None;
        }
        if fields.entries().len() > MAX_MATRIX_KEYS {
            let message = format!("`{place}` has more than {MAX_MATRIX_KEYS} keys");
            self.reader
                .report(node.at.diagnostic("pipeline::too-large", message));
            return None;
        }
        let mut keys = BTreeMap::new();
        let mut good = true;
        for entry in fields.entries() {
            good &= self.matrix_key(entry);
            match self.values(&entry.node, &format!("{place}.{}", entry.key)) {
                Some(values) => {
                    good &= self.no_commas(&entry.node, &values);
                    keys.insert(entry.key.clone(), values);
                }
                None => good = false,
            }
        }
        good.then_some(Foreach::Matrix(keys))
    }

    fn matrix_key(&mut self, entry: &Entry) -> bool {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        let key = &entry.key;
        let named = !key.is_empty() && key.len() <= MAX_NAME_BYTES && key.bytes().all(allowed);
        if named && !RESERVED.contains(&key.as_str()) {
            return true;
        }
        let message = format!("{} is not a name for a matrix key", quote(key));
        let hint = if named {
            format!("`{{{key}}}` is a placeholder already: choose another name")
        } else {
            format!("1 to {MAX_NAME_BYTES} letters, digits, `-` or `_`")
        };
        self.reader.report(
            entry
                .key_at
                .diagnostic("pipeline::bad-name", message)
                .label("not a name")
                .hint(hint),
        );
        false
    }

    /// Values of a matrix are joined by commas in an instance's name, which has to stay unique.
    fn no_commas(&mut self, node: &Node, values: &[String]) -> bool {
        let Some(value) = values.iter().find(|value| value.contains(',')) else {
            return true;
        };
        let message = format!("the matrix value {} holds a comma", quote(value));
        self.reader.report(
            node.at
                .diagnostic("pipeline::bad-value", message)
                .label("a comma"),
        );
        false
    }

    /// A list of values, none twice; integers are taken as text.
    fn values(&mut self, node: &Node, place: &str) -> Option<Vec<String>> {
        let Value::Array(items) = &node.value else {
            self.reader.wrong_type(node, place, "a list of values");
            return None;
        };
        if items.is_empty() {
            self.reader.report(empty(node, place));
            return None;
        }
        let mut seen = BTreeSet::new();
        let mut good = true;
        for (index, item) in items.iter().enumerate() {
            let value = match &item.value {
                Value::String(text) => text.clone(),
                Value::Integer(number) => number.to_string(),
                _ => {
                    self.reader.wrong_type(
                        item,
                        &format!("{place}[{index}]"),
                        "a string or an integer",
                    );
                    good = false;
                    continue;
                }
            };
            if value.is_empty()
                || value.len() > MAX_VALUE_BYTES
                || value.chars().any(char::is_control)
            {
                let message = format!("{} cannot be a value", quote(&value));
                let hint = format!("1 to {MAX_VALUE_BYTES} bytes, without control characters");
                self.reader.report(
                    item.at
                        .diagnostic("pipeline::bad-value", message)
                        .label("not a value")
                        .hint(hint),
                );
                good = false;
            } else if !seen.insert(value.clone()) {
                let message = format!("the value {} is there twice", quote(&value));
                self.reader.report(
                    item.at
                        .diagnostic("pipeline::duplicate-value", message)
                        .label("again"),
                );
                good = false;
            }
        }
        // In the order of the document, which is the order of the instances.
        good.then(|| items.iter().filter_map(text_of).collect())
    }
}

fn text_of(item: &Node) -> Option<String> {
    match &item.value {
        Value::String(text) => Some(text.clone()),
        Value::Integer(number) => Some(number.to_string()),
        _ => None,
    }
}

fn empty(node: &Node, place: &str) -> Diagnostic {
    let message = format!("`{place}` is empty: the task would never run");
    node.at
        .diagnostic("pipeline::bad-foreach", message)
        .label("empty")
}
