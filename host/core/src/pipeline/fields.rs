//! Reading the fields of tables: types, unknown keys, and the list of what was wrong.
//!
//! A reader goes on after a mistake, so that one look shows several; what could not be read is left out and the
//! pipeline as a whole is refused at the end. It knows nothing of what fields mean. Callers: [`super::parse`],
//! [`super::task`].

use super::MAX_ENTRIES;
use super::document::{Entry, Node, Origin, Value};
use crate::diagnostic::{Diagnostic, MAX_DIAGNOSTICS, quote, suggestion};

/// Collects what is wrong.
#[derive(Default)]
pub(super) struct Reader {
    found: Vec<Diagnostic>,
}

/// The entries of a table.
#[derive(Clone, Copy, Default)]
pub(super) struct Fields<'a> {
    entries: &'a [Entry],
}

/// Keys that a table knows, and what to say of others that people try.
pub(super) struct Keys {
    pub(super) known: &'static [&'static str],
    /// A key that is no key here, and what to write instead.
    pub(super) instead: &'static [(&'static str, &'static str)],
}

impl<'a> Fields<'a> {
    /// The value of a key.
    pub(super) fn get(&self, key: &str) -> Option<&'a Node> {
        self.entries
            .iter()
            .find(|entry| entry.key == key)
            .map(|entry| &entry.node)
    }

    /// All entries, in the order of the document.
    pub(super) fn entries(&self) -> &'a [Entry] {
        self.entries
    }
}

impl Reader {
    /// Takes note of a mistake, as long as there are not too many.
    pub(super) fn report(&mut self, diagnostic: Diagnostic) {
        if self.found.len() < MAX_DIAGNOSTICS {
            self.found.push(diagnostic);
        }
    }

    /// Whether nothing was wrong so far.
    pub(super) fn is_clean(&self) -> bool {
        self.found.is_empty()
    }

    /// Whether anything more would not be noted.
    pub(super) fn is_full(&self) -> bool {
        self.found.len() >= MAX_DIAGNOSTICS
    }

    /// What was wrong, in the order of the document.
    pub(super) fn into_found(mut self) -> Vec<Diagnostic> {
        self.found
            .sort_by_key(|one| one.span.as_ref().map_or(0, |span| span.start));
        self.found
    }

    /// A table with only known keys. `place` is its way from the top, such as `task.list.limits`.
    pub(super) fn fields<'a>(
        &mut self,
        node: &'a Node,
        place: &str,
        keys: &Keys,
    ) -> Option<Fields<'a>> {
        let fields = self.table(node, place)?;
        for entry in fields.entries {
            if !keys.known.contains(&entry.key.as_str()) && !self.is_full() {
                self.report(unknown_key(entry, place, keys));
            }
        }
        Some(fields)
    }

    /// A table whose keys are names.
    pub(super) fn table<'a>(&mut self, node: &'a Node, place: &str) -> Option<Fields<'a>> {
        let Value::Table(entries) = &node.value else {
            self.wrong_type(node, place, "a table");
            return None;
        };
        self.bounded(entries.len(), node, place)?;
        Some(Fields { entries })
    }

    pub(super) fn string<'a>(&mut self, node: &'a Node, place: &str) -> Option<&'a str> {
        if let Value::String(text) = &node.value {
            return Some(text);
        }
        self.wrong_type(node, place, "a string");
        None
    }

    pub(super) fn boolean(&mut self, node: &Node, place: &str) -> Option<bool> {
        if let Value::Bool(flag) = node.value {
            return Some(flag);
        }
        self.wrong_type(node, place, "`true` or `false`");
        None
    }

    /// An integer within `range`.
    pub(super) fn integer(
        &mut self,
        node: &Node,
        place: &str,
        range: std::ops::RangeInclusive<u32>,
    ) -> Option<u32> {
        let Value::Integer(number) = node.value else {
            self.wrong_type(node, place, "an integer");
            return None;
        };
        match u32::try_from(number) {
            Ok(number) if range.contains(&number) => Some(number),
            _ => {
                let (low, high) = (range.start(), range.end());
                let message = format!("`{place}` is {number}, and must be from {low} to {high}");
                self.report(
                    node.at
                        .diagnostic("pipeline::out-of-range", message)
                        .label("out of range"),
                );
                None
            }
        }
    }

    /// A list of strings, each with its place; those that are none are reported and left out.
    pub(super) fn strings<'a>(
        &mut self,
        node: &'a Node,
        place: &str,
    ) -> Vec<(&'a str, &'a Origin)> {
        let Value::Array(items) = &node.value else {
            let mut diagnostic = type_diagnostic(node, place, "a list of strings");
            if let Value::String(text) = &node.value {
                let key = place.rsplit('.').next().unwrap_or(place);
                diagnostic = diagnostic.hint(format!("write a list: `{key} = [{text:?}]`"));
            }
            self.report(diagnostic);
            return Vec::new();
        };
        if self.bounded(items.len(), node, place).is_none() {
            return Vec::new();
        }
        let mut strings = Vec::with_capacity(items.len());
        for item in items {
            if let Value::String(text) = &item.value {
                strings.push((text.as_str(), &item.at));
            } else {
                self.wrong_type(item, &format!("{place}[{}]", strings.len()), "a string");
            }
        }
        strings
    }

    pub(super) fn wrong_type(&mut self, node: &Node, place: &str, expected: &str) {
        self.report(type_diagnostic(node, place, expected));
    }

    fn bounded(&mut self, entries: usize, node: &Node, place: &str) -> Option<()> {
        if entries <= MAX_ENTRIES {
            return Some(());
        }
        let message = format!("`{place}` has {entries} entries, more than {MAX_ENTRIES}");
        self.report(node.at.diagnostic("pipeline::too-large", message));
        None
    }
}

fn type_diagnostic(node: &Node, place: &str, expected: &str) -> Diagnostic {
    let found = node.value.describe();
    let place = if place.is_empty() {
        "the document".to_owned()
    } else {
        quote(place)
    };
    let diagnostic = node.at.diagnostic(
        "pipeline::wrong-type",
        format!("{place} must be {expected}, found {found}"),
    );
    diagnostic.label(format!("expected {expected}"))
}

fn unknown_key(entry: &Entry, place: &str, keys: &Keys) -> Diagnostic {
    let key = quote(&entry.key);
    let of = if place.is_empty() {
        "a pipeline".to_owned()
    } else {
        quote(place)
    };
    let diagnostic = entry
        .key_at
        .diagnostic("pipeline::unknown-key", format!("{of} has no key {key}"))
        .label("unknown key");
    if let Some((_, hint)) = keys.instead.iter().find(|(wrong, _)| *wrong == entry.key) {
        return diagnostic.hint(*hint);
    }
    match suggestion(&entry.key, keys.known.iter().copied()) {
        Some(near) => diagnostic.hint(format!("did you mean `{near}`?")),
        None => diagnostic.hint(format!("known keys: {}", keys.known.join(", "))),
    }
}
