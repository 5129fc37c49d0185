//! A pipeline document as a tree of values that know where they stand, whatever the notation.
//!
//! TOML and JSON become the same [`Node`]s, so that everything after this file is written once. Only notation is
//! judged here (syntax, size, nesting), never meaning. Callers: [`super::parse`].

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use toml::de::{DeTable, DeValue};

use super::{Format, MAX_DOCUMENT_BYTES, MAX_NESTING};
use crate::diagnostic::{Diagnostic, quote};

/// Where something stands in a document: bytes of a text, or the way to it in a JSON document.
#[derive(Clone, Debug)]
pub struct Origin(Where);

#[derive(Clone, Debug)]
enum Where {
    Text(Range<usize>),
    Tree(Option<Arc<Step>>),
}

/// One step down a JSON document. Linked, so that a place costs the same however deep it is.
#[derive(Debug)]
struct Step {
    parent: Option<Arc<Step>>,
    key: Key,
}

#[derive(Debug)]
enum Key {
    Name(Box<str>),
    Index(usize),
}

impl Origin {
    /// The bytes of the text; none in a JSON document.
    #[must_use]
    pub fn span(&self) -> Option<Range<usize>> {
        match &self.0 {
            Where::Text(range) => Some(range.clone()),
            Where::Tree(_) => None,
        }
    }

    /// A diagnostic about this place. Where there is no span to mark, the message names the place.
    #[must_use]
    pub fn diagnostic(&self, code: &'static str, message: impl Into<String>) -> Diagnostic {
        let mut diagnostic = Diagnostic::new(code, message);
        match &self.0 {
            Where::Text(range) => diagnostic.span = Some(range.clone()),
            Where::Tree(step) => {
                let pointer = pointer(step.as_deref());
                diagnostic.message = format!("{} (at {})", diagnostic.message, quote(&pointer));
            }
        }
        diagnostic
    }

    /// The bytes of a part of the string `text` that stands here; of the whole, where escapes move things.
    pub(super) fn inside(&self, text: &str, part: &Range<usize>) -> Option<Range<usize>> {
        const QUOTE: usize = 1;
        let whole = self.span()?;
        if whole.len() != text.len() + 2 * QUOTE {
            return Some(whole);
        }
        Some(whole.start + QUOTE + part.start..whole.start + QUOTE + part.end)
    }

    /// The order of two places of one document.
    pub(super) fn position(&self) -> usize {
        match &self.0 {
            Where::Text(range) => range.start,
            Where::Tree(_) => 0,
        }
    }

    fn child(&self, key: Key) -> Origin {
        let parent = match &self.0 {
            Where::Tree(step) => step.clone(),
            Where::Text(_) => None,
        };
        Origin(Where::Tree(Some(Arc::new(Step { parent, key }))))
    }
}

/// The place as a JSON pointer.
fn pointer(step: Option<&Step>) -> String {
    let mut keys = Vec::new();
    let mut next = step;
    while let Some(step) = next {
        keys.push(&step.key);
        next = step.parent.as_deref();
    }
    if keys.is_empty() {
        return "/".to_owned();
    }
    let mut pointer = String::new();
    for key in keys.into_iter().rev() {
        pointer.push('/');
        match key {
            Key::Name(name) => pointer.push_str(&name.replace('~', "~0").replace('/', "~1")),
            Key::Index(index) => pointer.push_str(&index.to_string()),
        }
    }
    pointer
}

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) value: Value,
    pub(super) at: Origin,
}

/// A value of either notation.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Integer(i128),
    Float(f64),
    String(String),
    /// TOML only.
    Datetime(String),
    Array(Vec<Node>),
    /// In the order of the document; no key twice.
    Table(Vec<Entry>),
}

/// A key of a table and its value.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) key_at: Origin,
    pub(super) node: Node,
}

impl Value {
    /// What it is, with its article, for "expected …, found …".
    pub(super) fn describe(&self) -> &'static str {
        match self {
            Value::Null => "null",
            Value::Bool(_) => "a boolean",
            Value::Integer(_) => "an integer",
            Value::Float(_) => "a float",
            Value::String(_) => "a string",
            Value::Datetime(_) => "a date",
            Value::Array(_) => "a list",
            Value::Table(_) => "a table",
        }
    }
}

/// Reads a document.
pub(super) fn read(text: &str, format: Format) -> Result<Node, Diagnostic> {
    if text.len() > MAX_DOCUMENT_BYTES {
        let message = format!(
            "the pipeline is {} bytes long, more than {MAX_DOCUMENT_BYTES}",
            text.len()
        );
        return Err(Diagnostic::new("pipeline::too-large", message).hint(
            "repeat a task with `foreach` rather than writing it out: `foreach = { shards = 16 }`",
        ));
    }
    match format {
        Format::Toml => read_toml(text),
        Format::Json => read_json(text),
    }
}

fn read_toml(text: &str) -> Result<Node, Diagnostic> {
    let table = DeTable::parse(text).map_err(|error| {
        let mut diagnostic = Diagnostic::new(
            "pipeline::syntax",
            format!("this is not TOML: {}", error.message()),
        );
        diagnostic.span = error.span();
        diagnostic.label("here".to_owned())
    })?;
    let span = table.span();
    let value = toml_table(table.into_inner(), 0)?;
    Ok(Node {
        value,
        at: Origin(Where::Text(span)),
    })
}

fn toml_table(table: DeTable<'_>, depth: usize) -> Result<Value, Diagnostic> {
    let mut entries = Vec::with_capacity(table.len());
    for (key, value) in table {
        let key_at = Origin(Where::Text(key.span()));
        let at = Origin(Where::Text(value.span()));
        let value = toml_value(value.into_inner(), depth + 1, &at)?;
        entries.push(Entry {
            key: key.into_inner().into_owned(),
            key_at,
            node: Node { value, at },
        });
    }
    // The library sorts by name; people read from the top.
    entries.sort_by_key(|entry| entry.key_at.position());
    Ok(Value::Table(entries))
}

fn toml_value(value: DeValue<'_>, depth: usize, at: &Origin) -> Result<Value, Diagnostic> {
    if depth > MAX_NESTING {
        return Err(too_deep(at));
    }
    Ok(match value {
        DeValue::String(text) => Value::String(text.into_owned()),
        DeValue::Integer(number) => {
            let parsed = i64::from_str_radix(number.as_str(), number.radix());
            let parsed = parsed.map_err(|_| {
                at.diagnostic("pipeline::syntax", "this integer does not fit 64 bits")
            })?;
            Value::Integer(parsed.into())
        }
        DeValue::Float(number) => {
            let parsed = number.as_str().parse();
            Value::Float(
                parsed.map_err(|_| at.diagnostic("pipeline::syntax", "this is not a number"))?,
            )
        }
        DeValue::Boolean(flag) => Value::Bool(flag),
        DeValue::Datetime(date) => Value::Datetime(date.to_string()),
        DeValue::Array(items) => {
            let mut nodes = Vec::with_capacity(items.len());
            for item in items {
                let at = Origin(Where::Text(item.span()));
                nodes.push(Node {
                    value: toml_value(item.into_inner(), depth + 1, &at)?,
                    at,
                });
            }
            Value::Array(nodes)
        }
        DeValue::Table(table) => toml_table(table, depth)?,
    })
}

fn too_deep(at: &Origin) -> Diagnostic {
    at.diagnostic(
        "pipeline::too-large",
        format!("lists and tables are nested deeper than {MAX_NESTING}"),
    )
}

fn read_json(text: &str) -> Result<Node, Diagnostic> {
    // The library's own recursion limit (128) keeps the stack.
    let json: Json = serde_json::from_str(text).map_err(|error| {
        let mut diagnostic = Diagnostic::new(
            "pipeline::syntax",
            format!("this is not a JSON document: {error}"),
        );
        let at = byte_of(text, error.line(), error.column());
        diagnostic.span = Some(at..at);
        diagnostic.label("here".to_owned())
    })?;
    json_node(json, Origin(Where::Tree(None)), 0)
}

/// The byte offset of a line and column, both from 1, the column in bytes.
fn byte_of(text: &str, line: usize, column: usize) -> usize {
    let before: usize = text
        .split_inclusive('\n')
        .take(line.saturating_sub(1))
        .map(str::len)
        .sum();
    let mut at = before
        .saturating_add(column.saturating_sub(1))
        .min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

fn json_node(json: Json, at: Origin, depth: usize) -> Result<Node, Diagnostic> {
    if depth > MAX_NESTING {
        return Err(too_deep(&at));
    }
    let value = match json {
        Json::Null => Value::Null,
        Json::Bool(flag) => Value::Bool(flag),
        Json::Integer(number) => Value::Integer(number),
        Json::Float(number) => Value::Float(number),
        Json::String(text) => Value::String(text),
        Json::Array(items) => {
            let mut nodes = Vec::with_capacity(items.len());
            for (index, item) in items.into_iter().enumerate() {
                nodes.push(json_node(item, at.child(Key::Index(index)), depth + 1)?);
            }
            Value::Array(nodes)
        }
        Json::Object(members) => {
            let mut entries = Vec::with_capacity(members.len());
            for (key, member) in members {
                let key_at = at.child(Key::Name(key.as_str().into()));
                let node = json_node(member, key_at.clone(), depth + 1)?;
                entries.push(Entry { key, key_at, node });
            }
            Value::Table(entries)
        }
    };
    Ok(Node { value, at })
}

/// JSON as it stands: members keep their order, and none is there twice.
enum Json {
    Null,
    Bool(bool),
    Integer(i128),
    Float(f64),
    String(String),
    Array(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Json, D::Error> {
        deserializer.deserialize_any(JsonVisitor)
    }
}

struct JsonVisitor;

impl<'de> Visitor<'de> for JsonVisitor {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Json, E> {
        Ok(Json::Bool(flag))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Json, E> {
        Ok(Json::Integer(number.into()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Json, E> {
        Ok(Json::Integer(number.into()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Json, E> {
        Ok(Json::Float(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Json, E> {
        Ok(Json::String(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Json, E> {
        Ok(Json::String(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
        let mut array = Vec::new();
        while let Some(item) = items.next_element()? {
            array.push(item);
        }
        Ok(Json::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Json, A::Error> {
        let mut object = Vec::new();
        let mut seen = std::collections::BTreeSet::new();
        while let Some(key) = members.next_key::<String>()? {
            if !seen.insert(key.clone()) {
                return Err(de::Error::custom(format!(
                    "the key {} is there twice",
                    quote(&key)
                )));
            }
            object.push((key, members.next_value()?));
        }
        Ok(Json::Object(object))
    }
}
