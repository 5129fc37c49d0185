//! Placeholders in what a pipeline says of each instance: `{item}`, `{item.name}`, `{item.stem}`, `{index}`, `{count}`
//! and the keys of a matrix; `{{` and `}}` are braces.
//!
//! A template is checked when the pipeline is parsed, so that filling it in cannot fail. Values are put in as data:
//! where the text around them is a pattern or JSON, they are escaped. Callers: [`crate::pipeline`] parses,
//! [`crate::expand`] fills in.

use std::ops::Range;
use std::sync::Arc;

use crate::diagnostic::suggestion;
use crate::glob::escape_into;

/// Something that differs between the instances of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Placeholder {
    /// The item as it is: a path, a value, or a matrix combination such as `arch=arm64,os=linux`.
    Item,
    /// The item after its last `/`.
    ItemName,
    /// The item's name without its last extension.
    ItemStem,
    /// The instance's index, from 0.
    Index,
    /// How many instances the task has.
    Count,
    /// The value of a matrix key.
    Key(Arc<str>),
}

/// The names of placeholders that are not matrix keys.
pub const RESERVED: [&str; 5] = ["item", "item.name", "item.stem", "index", "count"];

/// A text with placeholders. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    text: Arc<str>,
    parts: Arc<[Part]>,
}

/// A piece of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Text(Box<str>),
    Value(Placeholder),
}

/// What the placeholders stand for in one instance.
#[derive(Clone, Copy, Debug)]
pub struct Bindings<'a> {
    /// `{item}`; empty where there is none.
    pub item: &'a str,
    /// `{index}`
    pub index: u32,
    /// `{count}`
    pub count: u32,
    /// Matrix keys and their values.
    pub keys: &'a [(&'a str, &'a str)],
}

/// How values are written into the text around them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Escape {
    /// As they are.
    Plain,
    /// As literal text inside a pattern.
    Glob,
    /// As text inside a JSON string.
    Json,
}

/// Why a text is not a template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// A placeholder that means nothing here.
    #[error("there is no `{{{name}}}` here")]
    Unknown {
        /// What is between the braces.
        name: String,
        /// The known name that is nearest.
        suggestion: Option<String>,
        /// Where in the text, braces included.
        at: Range<usize>,
    },
    /// A `{` without its `}`.
    #[error("a `{{` is not closed")]
    Open {
        /// Where in the text.
        at: Range<usize>,
    },
    /// A `}` without its `{`.
    #[error("a `}}` closes nothing")]
    Lone {
        /// Where in the text.
        at: Range<usize>,
    },
}

impl Template {
    /// Parses a text; `names` are the placeholders that mean something for this task.
    ///
    /// # Errors
    /// The first brace that is not right.
    pub fn parse(text: &str, names: &[&str]) -> Result<Template, TemplateError> {
        let mut parts = Vec::new();
        parse_into(&mut parts, text, names)?;
        Ok(Template {
            text: text.into(),
            parts: merged(parts),
        })
    }

    /// A template of ready parts.
    pub(crate) fn from_parts(text: &str, parts: Vec<Part>) -> Template {
        Template {
            text: text.into(),
            parts: merged(parts),
        }
    }

    /// The text as it was written, placeholders and all.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The text, where there is no placeholder in it: the same in every instance.
    #[must_use]
    pub fn as_constant(&self) -> Option<&str> {
        match &*self.parts {
            [] => Some(""),
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// Its pieces.
    pub(crate) fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// Whether the placeholder is in it.
    #[must_use]
    pub fn uses(&self, placeholder: &Placeholder) -> bool {
        self.parts
            .iter()
            .any(|part| matches!(part, Part::Value(own) if own == placeholder))
    }

    /// Fills in the placeholders.
    #[must_use]
    pub fn fill(&self, bindings: &Bindings<'_>, escape: Escape) -> String {
        let mut filled = String::with_capacity(self.text.len() + bindings.item.len());
        self.fill_into(&mut filled, bindings, escape);
        filled
    }

    /// Fills in the placeholders, into a buffer that the caller uses again; what it held is dropped.
    pub(crate) fn fill_into(&self, filled: &mut String, bindings: &Bindings<'_>, escape: Escape) {
        filled.clear();
        for part in &*self.parts {
            match part {
                Part::Text(text) => filled.push_str(text),
                Part::Value(placeholder) => bindings.write(filled, placeholder, escape),
            }
        }
    }
}

impl Bindings<'_> {
    fn write(&self, filled: &mut String, placeholder: &Placeholder, escape: Escape) {
        use std::fmt::Write as _;
        let value = match placeholder {
            Placeholder::Item => self.item,
            Placeholder::ItemName => name_of(self.item),
            Placeholder::ItemStem => stem_of(self.item),
            Placeholder::Key(key) => self
                .keys
                .iter()
                .find(|(own, _)| *own == &**key)
                .map_or("", |(_, value)| value),
            Placeholder::Index | Placeholder::Count => {
                let number = if *placeholder == Placeholder::Index {
                    self.index
                } else {
                    self.count
                };
                // Writing to a String cannot fail.
                let _ = write!(filled, "{number}");
                return;
            }
        };
        match escape {
            Escape::Plain => filled.push_str(value),
            Escape::Glob => escape_into(filled, value),
            Escape::Json => push_json_escaped(filled, value),
        }
    }
}

/// Reads `text` into parts.
pub(crate) fn parse_into(
    parts: &mut Vec<Part>,
    text: &str,
    names: &[&str],
) -> Result<(), TemplateError> {
    let mut literal = String::new();
    let mut rest = text;
    while let Some(found) = rest.find(['{', '}']) {
        let at = text.len() - rest.len() + found;
        let (before, braces) = rest.split_at(found);
        literal.push_str(before);
        if let Some(after) = braces.strip_prefix("{{") {
            literal.push('{');
            rest = after;
        } else if let Some(after) = braces.strip_prefix("}}") {
            literal.push('}');
            rest = after;
        } else if braces.starts_with('}') {
            return Err(TemplateError::Lone { at: at..at + 1 });
        } else {
            let Some((name, after)) = braces.get(1..).and_then(|inner| inner.split_once('}'))
            else {
                return Err(TemplateError::Open { at: at..at + 1 });
            };
            let placeholder = named(name, names).map_err(|suggestion| TemplateError::Unknown {
                name: name.to_owned(),
                suggestion,
                at: at..at + name.len() + 2,
            })?;
            parts.push(Part::Text(std::mem::take(&mut literal).into()));
            parts.push(Part::Value(placeholder));
            rest = after;
        }
    }
    literal.push_str(rest);
    parts.push(Part::Text(literal.into()));
    Ok(())
}

/// The placeholder of this name, or the nearest name.
fn named(name: &str, names: &[&str]) -> Result<Placeholder, Option<String>> {
    if !names.contains(&name) {
        return Err(suggestion(name, names.iter().copied()).map(str::to_owned));
    }
    Ok(match name {
        "item" => Placeholder::Item,
        "item.name" => Placeholder::ItemName,
        "item.stem" => Placeholder::ItemStem,
        "index" => Placeholder::Index,
        "count" => Placeholder::Count,
        key => Placeholder::Key(key.into()),
    })
}

/// Joins texts that follow one another and drops empty ones.
fn merged(parts: Vec<Part>) -> Arc<[Part]> {
    let mut merged: Vec<Part> = Vec::with_capacity(parts.len());
    let mut text = String::new();
    for part in parts {
        match part {
            Part::Text(more) => text.push_str(&more),
            value @ Part::Value(_) => {
                if !text.is_empty() {
                    merged.push(Part::Text(std::mem::take(&mut text).into()));
                }
                merged.push(value);
            }
        }
    }
    if !text.is_empty() {
        merged.push(Part::Text(text.into()));
    }
    merged.into()
}

/// What comes after the last `/`.
pub(crate) fn name_of(item: &str) -> &str {
    item.rsplit_once('/').map_or(item, |(_, name)| name)
}

/// The name without its last extension; a name that begins with its only dot is all stem.
pub(crate) fn stem_of(item: &str) -> &str {
    let name = name_of(item);
    match name.rsplit_once('.') {
        Some((stem, _)) if !stem.is_empty() => stem,
        _ => name,
    }
}

/// Appends `value` as it stands between the quotes of a JSON string.
pub(crate) fn push_json_escaped(text: &mut String, value: &str) {
    let quoted = serde_json::Value::from(value).to_string();
    text.push_str(
        quoted
            .get(1..quoted.len().saturating_sub(1))
            .unwrap_or_default(),
    );
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const BINDINGS: Bindings<'_> = Bindings {
        item: "photos/a [1].tar.gz",
        index: 3,
        count: 16,
        keys: &[("os", "linux")],
    };

    fn fill(text: &str, escape: Escape) -> String {
        let names: Vec<&str> = RESERVED.into_iter().chain(["os"]).collect();
        Template::parse(text, &names)
            .unwrap()
            .fill(&BINDINGS, escape)
    }

    #[test]
    fn placeholders_are_filled_in() {
        for (text, filled) in [
            ("", ""),
            ("plain", "plain"),
            ("{item}", "photos/a [1].tar.gz"),
            ("out/{item.name}", "out/a [1].tar.gz"),
            ("{item.stem}.png", "a [1].tar.png"),
            ("{index}/{count}", "3/16"),
            ("--os={os}", "--os=linux"),
            ("{{\"a\": {{\"b\": {index}}}}}", "{\"a\": {\"b\": 3}}"),
            ("{{item}}", "{item}"),
            ("é{os}é", "élinuxé"),
        ] {
            assert_eq!(fill(text, Escape::Plain), filled, "{text}");
        }
        assert_eq!(fill("**/{item.stem}.*", Escape::Glob), "**/a \\[1\\].tar.*");
    }

    #[test]
    fn values_are_escaped_inside_json() {
        let template = Template::parse("{item}", &["item"]).unwrap();
        let bindings = Bindings {
            item: "a\"b\\\n",
            ..BINDINGS
        };
        assert_eq!(template.fill(&bindings, Escape::Json), "a\\\"b\\\\\\n");
    }

    #[test]
    fn the_first_wrong_brace_is_named() {
        let parse = |text: &str| Template::parse(text, &["item", "index"]).unwrap_err();
        assert_eq!(
            parse("é {itme}"),
            TemplateError::Unknown {
                name: "itme".into(),
                suggestion: Some("item".into()),
                at: 3..9
            }
        );
        assert_eq!(
            parse("{os}"),
            TemplateError::Unknown {
                name: "os".into(),
                suggestion: None,
                at: 0..4
            }
        );
        assert_eq!(parse("a{item"), TemplateError::Open { at: 1..2 });
        assert_eq!(parse("a}"), TemplateError::Lone { at: 1..2 });
    }

    #[test]
    fn a_template_without_placeholders_is_constant() {
        let parse = |text: &str| Template::parse(text, &["item"]).unwrap();
        assert_eq!(parse("a{{b}}").as_constant(), Some("a{b}"));
        assert_eq!(parse("").as_constant(), Some(""));
        assert_eq!(parse("a{item}").as_constant(), None);
        assert!(parse("a{item}").uses(&Placeholder::Item));
    }

    #[test]
    fn a_stem_keeps_hidden_names() {
        assert_eq!(stem_of("a/.bashrc"), ".bashrc");
        assert_eq!(stem_of("a/b"), "b");
        assert_eq!(stem_of("b."), "b");
    }
}
