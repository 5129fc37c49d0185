//! One setting's value: read from text or TOML by its kind, and shown again as people write it. It knows bounds and
//! units, not precedence. Called by `file.rs`, `resolve.rs` and by commands for flags with units.

use std::path::Path;

use sykli_core::units;
use toml::de::DeValue;

use super::keys::Kind;

/// A checked value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Count(u64),
    /// Bytes.
    Size(u64),
    /// Milliseconds.
    Duration(u64),
    Bool(bool),
    /// Units of work.
    Fuel(u64),
    Text(String),
    Texts(Vec<String>),
}

impl Value {
    /// As a person writes it.
    pub(crate) fn show(&self) -> String {
        match self {
            Value::Count(n) => n.to_string(),
            Value::Size(bytes) => units::exact_bytes(*bytes),
            Value::Duration(ms) => units::exact_duration_ms(*ms),
            Value::Fuel(fuel) => units::exact_count(*fuel),
            Value::Bool(on) => on.to_string(),
            Value::Text(text) => text.clone(),
            Value::Texts(texts) => texts.join(", "),
        }
    }

    /// The number that narrowing compares; nothing where a value has no order.
    pub(crate) fn number(&self) -> Option<u64> {
        match self {
            Value::Count(n) | Value::Size(n) | Value::Duration(n) | Value::Fuel(n) => Some(*n),
            Value::Bool(_) | Value::Text(_) | Value::Texts(_) => None,
        }
    }
}

/// What a kind accepts, for messages.
fn expected(kind: Kind) -> String {
    match kind {
        Kind::Count { min, max } => format!("a whole number from {min} to {max}"),
        Kind::Size => "a size such as \"500MB\" or \"2GiB\"".to_owned(),
        Kind::Duration => "a duration such as \"90s\", \"5m\" or \"1h30m\"".to_owned(),
        Kind::Fuel => "an amount of work such as \"5G\"".to_owned(),
        Kind::Choice(words) => format!("one of {}", words.join(", ")),
        Kind::Folder => "an absolute path of a folder".to_owned(),
        Kind::Bool => "true or false".to_owned(),
        Kind::Text => "a text".to_owned(),
        Kind::Texts => "a list of texts, such as [\"gpu\"]".to_owned(),
    }
}

/// Reads `text` (of a flag or a variable) as `kind`; an error says what is expected.
pub(crate) fn from_text(kind: Kind, text: &str) -> Result<Value, String> {
    let wrong = || format!("`{text}` is not {}", expected(kind));
    let unit = |error: units::UnitError| format!("{} ({error})", wrong());
    match kind {
        Kind::Count { min, max } => parse_count(text, min, max).map(Value::Count),
        Kind::Size => units::parse_bytes(text).map(Value::Size).map_err(unit),
        Kind::Duration => units::parse_duration_ms(text)
            .map(Value::Duration)
            .map_err(unit),
        Kind::Fuel => units::parse_count(text).map(Value::Fuel).map_err(unit),
        Kind::Choice(words) if words.contains(&text) => Ok(Value::Text(text.to_owned())),
        Kind::Folder if Path::new(text).is_absolute() => Ok(Value::Text(text.to_owned())),
        Kind::Bool => text.parse().map(Value::Bool).map_err(|_| wrong()),
        Kind::Text => Ok(Value::Text(text.to_owned())),
        Kind::Texts => Ok(Value::Texts(
            text.split(',').map(|part| part.trim().to_owned()).collect(),
        )),
        Kind::Choice(_) | Kind::Folder => Err(wrong()),
    }
}

/// Reads a TOML value as `kind`.
pub(crate) fn from_toml(kind: Kind, value: &DeValue<'_>) -> Result<Value, String> {
    let wrong = || format!("expected {}", expected(kind));
    match (kind, value) {
        (Kind::Count { .. }, DeValue::Integer(number)) => {
            u64::from_str_radix(number.as_str(), number.radix())
                .map_err(|_| wrong())
                .and_then(|number| from_text(kind, &number.to_string()).map_err(|_| wrong()))
        }
        (Kind::Bool, DeValue::Boolean(on)) => Ok(Value::Bool(*on)),
        (Kind::Texts, DeValue::Array(items)) => items
            .iter()
            .map(|item| item.get_ref().as_str().map(str::to_owned).ok_or_else(wrong))
            .collect::<Result<_, _>>()
            .map(Value::Texts),
        (Kind::Count { .. } | Kind::Bool | Kind::Texts, _) => Err(wrong()),
        (_, DeValue::String(text)) => from_text(kind, text),
        _ => Err(wrong()),
    }
}

/// A whole number within bounds.
fn parse_count(text: &str, min: u64, max: u64) -> Result<u64, String> {
    text.parse::<u64>()
        .ok()
        .filter(|n| (min..=max).contains(n))
        .ok_or_else(|| format!("`{text}` is not {}", expected(Kind::Count { min, max })))
}

/// Bytes of a flag.
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    from_text(Kind::Size, text).map(|value| value.number().unwrap_or_default())
}

/// Milliseconds of a flag.
pub(crate) fn parse_duration_ms(text: &str) -> Result<u64, String> {
    from_text(Kind::Duration, text).map(|value| value.number().unwrap_or_default())
}

/// Fuel of a flag.
pub(crate) fn parse_fuel(text: &str) -> Result<u64, String> {
    from_text(Kind::Fuel, text).map(|value| value.number().unwrap_or_default())
}
