//! Reading a task's `params`: any JSON, and the canonical text of it that placeholders are filled into.

use std::collections::BTreeMap;

use serde_json::{Map, Number, Value as JsonValue};

use super::Context;
use crate::pipeline::document::{Node, Value};
use crate::template::{Part, Template, parse_into, push_json_escaped};

impl Context<'_> {
    pub(super) fn params(
        &mut self,
        node: Option<&Node>,
    ) -> (BTreeMap<String, JsonValue>, Template) {
        let mut params = BTreeMap::new();
        let place = format!("{}.params", self.place);
        if let Some(fields) = node.and_then(|node| self.reader.table(node, &place)) {
            for entry in fields.entries() {
                if let Some(value) = self.param(&entry.node) {
                    params.insert(entry.key.clone(), value);
                }
            }
        }
        let mut parts = vec![Part::Text("{".into())];
        for (index, (key, value)) in params.iter().enumerate() {
            self.write_key(&mut parts, index, key);
            self.write(&mut parts, value);
        }
        parts.push(Part::Text("}".into()));
        (params, Template::from_parts("", parts))
    }

    /// Takes a value as JSON and checks the placeholders of its strings.
    fn param(&mut self, node: &Node) -> Option<JsonValue> {
        Some(match &node.value {
            Value::Null => JsonValue::Null,
            Value::Bool(flag) => JsonValue::Bool(*flag),
            Value::Integer(number) => {
                // Both notations hold no more than 64 bits.
                let signed = i64::try_from(*number).map(Number::from);
                JsonValue::Number(
                    signed
                        .or_else(|_| u64::try_from(*number).map(Number::from))
                        .ok()?,
                )
            }
            Value::Float(number) => match Number::from_f64(*number) {
                Some(number) => JsonValue::Number(number),
                None => {
                    let message =
                        format!("{number} cannot be a parameter: JSON has no such number");
                    self.reader.report(
                        node.at
                            .diagnostic("pipeline::bad-value", message)
                            .label("not finite"),
                    );
                    return None;
                }
            },
            Value::String(text) => {
                self.template(text, &node.at)?;
                JsonValue::String(text.clone())
            }
            Value::Datetime(text) => JsonValue::String(text.clone()),
            Value::Array(items) => {
                JsonValue::Array(items.iter().filter_map(|item| self.param(item)).collect())
            }
            Value::Table(entries) => {
                let mut map = Map::new();
                for entry in entries {
                    if let Some(value) = self.param(&entry.node) {
                        map.insert(entry.key.clone(), value);
                    }
                }
                JsonValue::Object(map)
            }
        })
    }

    /// Writes a value without white space, its keys sorted, placeholders left to be filled in.
    fn write(&self, parts: &mut Vec<Part>, value: &JsonValue) {
        match value {
            JsonValue::String(text) => {
                let names: Vec<&str> = self.names.iter().map(String::as_str).collect();
                let mut inner = Vec::new();
                // What is wrong with it was reported when it was read.
                let _ = parse_into(&mut inner, text, &names);
                parts.push(Part::Text("\"".into()));
                parts.extend(inner.into_iter().map(json_part));
                parts.push(Part::Text("\"".into()));
            }
            JsonValue::Array(items) => {
                parts.push(Part::Text("[".into()));
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        parts.push(Part::Text(",".into()));
                    }
                    self.write(parts, item);
                }
                parts.push(Part::Text("]".into()));
            }
            JsonValue::Object(map) => {
                // Sorted here: whether the map itself is depends on how the library was built.
                let sorted: BTreeMap<&String, &JsonValue> = map.iter().collect();
                parts.push(Part::Text("{".into()));
                for (index, (key, item)) in sorted.into_iter().enumerate() {
                    self.write_key(parts, index, key);
                    self.write(parts, item);
                }
                parts.push(Part::Text("}".into()));
            }
            plain => parts.push(Part::Text(plain.to_string().into())),
        }
    }

    fn write_key(&self, parts: &mut Vec<Part>, index: usize, key: &str) {
        let comma = if index > 0 { "," } else { "" };
        parts.push(Part::Text(
            format!("{comma}{}:", JsonValue::from(key)).into(),
        ));
    }
}

/// The text of a part as it stands inside a JSON string. Values are escaped when they are filled in.
fn json_part(part: Part) -> Part {
    match part {
        Part::Text(text) => {
            let mut escaped = String::with_capacity(text.len());
            push_json_escaped(&mut escaped, &text);
            Part::Text(escaped.into())
        }
        value @ Part::Value(_) => value,
    }
}
