//! One setting's value: read from text or TOML by its kind, shown again as people write it, and narrowed by a project's. It
//! knows bounds and units, not precedence. Called by `file.rs`, `resolve.rs` and by commands for flags with units.

use std::path::Path;

use sykli_core::units;
use sykli_node::settings::{self, SettingsError};
use toml::de::DeValue;

use super::keys::{InProject, Kind};

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
        Kind::Name => "a name such as \"dave-macbook\"".to_owned(),
        Kind::Labels => "a list of labels, such as [\"gpu\"]".to_owned(),
        Kind::Texts => "a list of texts, such as [\"clock\"]".to_owned(),
        Kind::Addresses => {
            "a list of addresses, such as [\"/ip4/192.168.1.42/udp/4001/quic-v1\"]".to_owned()
        }
        Kind::Listen => {
            "a list of addresses, such as [\"/ip4/0.0.0.0/udp/4001/quic-v1\"]".to_owned()
        }
        Kind::Peers => "a list of peer ids, such as [\"12D3Koo…\"]".to_owned(),
        Kind::SizeOr(words) => format!("a size such as \"500MB\", or one of {}", words.join(", ")),
        Kind::DurationOr(words) => {
            format!("a duration such as \"30s\", or {}", words.join(", "))
        }
    }
}

/// What is wrong with a text of this kind, beyond its being one; nothing for kinds without rules of their own.
fn rule(kind: Kind) -> fn(&str) -> Result<(), SettingsError> {
    match kind {
        Kind::Name => settings::check_name,
        Kind::Labels => settings::check_label,
        Kind::Addresses => |text| settings::parse_address(text).map(drop),
        Kind::Listen => |text| settings::parse_listen(text).map(drop),
        Kind::Peers => |text| settings::parse_peer(text).map(drop),
        _ => |_| Ok(()),
    }
}

/// A list whose every item keeps the kind's rule, each once, in the order written.
fn list(kind: Kind, items: impl Iterator<Item = String>) -> Result<Value, String> {
    let rule = rule(kind);
    let mut texts: Vec<String> = Vec::new();
    for item in items {
        rule(&item).map_err(|wrong| wrong.to_string())?;
        if !texts.contains(&item) {
            texts.push(item);
        }
    }
    Ok(Value::Texts(texts))
}

/// Whether a project's value of this key could narrow any user's: what cannot is a wish for more.
pub(crate) fn can_narrow(project: InProject, kind: Kind, value: &Value) -> bool {
    match (project, kind, value) {
        (InProject::Refused, _, _) => false,
        (InProject::SwitchesOff, _, Value::Bool(on)) => !on,
        // The last word is the widest.
        (InProject::Restricts, Kind::Choice(words), Value::Text(word)) => {
            words.last().is_none_or(|widest| widest != word)
        }
        _ => true,
    }
}

/// What holds where a project says something about a value: nothing where the value without it is as narrow already.
pub(crate) fn narrow(project: InProject, kind: Kind, wide: &Value, said: &Value) -> Option<Value> {
    let narrower = match (project, wide, said) {
        (InProject::Lowers, wide, said) => said.number() < wide.number(),
        (InProject::Raises, wide, said) => said.number() > wide.number(),
        (InProject::SwitchesOff, Value::Bool(wide), Value::Bool(said)) => *wide && !said,
        (InProject::Restricts, Value::Text(wide), Value::Text(said)) => {
            let Kind::Choice(words) = kind else {
                return None;
            };
            let place = |word: &String| words.iter().position(|there| there == word);
            place(said) < place(wide)
        }
        (InProject::Adds, Value::Texts(wide), Value::Texts(said)) => {
            let more = said.iter().filter(|text| !wide.contains(text));
            let all: Vec<String> = wide.iter().chain(more).cloned().collect();
            return (all.len() > wide.len()).then_some(Value::Texts(all));
        }
        (InProject::Keeps, Value::Texts(wide), Value::Texts(said)) => {
            let both = wide.iter().filter(|text| said.contains(text));
            let both: Vec<String> = both.cloned().collect();
            return (both.len() < wide.len()).then_some(Value::Texts(both));
        }
        _ => false,
    };
    narrower.then(|| said.clone())
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
        Kind::Name => rule(kind)(text)
            .map(|()| Value::Text(text.to_owned()))
            .map_err(|wrong| wrong.to_string()),
        Kind::Labels | Kind::Texts | Kind::Addresses | Kind::Listen | Kind::Peers => {
            let items = text
                .split(',')
                .map(str::trim)
                .filter(|item| !item.is_empty());
            list(kind, items.map(str::to_owned))
        }
        Kind::SizeOr(words) | Kind::DurationOr(words) if words.contains(&text) => {
            Ok(Value::Text(text.to_owned()))
        }
        Kind::SizeOr(_) => units::parse_bytes(text).map(Value::Size).map_err(unit),
        Kind::DurationOr(_) => units::parse_duration_ms(text)
            .map(Value::Duration)
            .map_err(unit),
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
        (
            Kind::Labels | Kind::Texts | Kind::Addresses | Kind::Listen | Kind::Peers,
            DeValue::Array(items),
        ) => {
            let texts = items
                .iter()
                .map(|item| item.get_ref().as_str().map(str::to_owned).ok_or_else(wrong));
            list(kind, texts.collect::<Result<Vec<String>, _>>()?.into_iter())
        }
        (
            Kind::Count { .. }
            | Kind::Bool
            | Kind::Labels
            | Kind::Texts
            | Kind::Addresses
            | Kind::Listen
            | Kind::Peers,
            _,
        ) => Err(wrong()),
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
