//! What is wrong with a pipeline, where, and what to write instead.
//!
//! A diagnostic is data: a stable code, one message, the place and hints. Nothing is printed or coloured here; the
//! command line renders it over the pipeline's text, or as JSON.

use std::fmt;
use std::ops::Range;

use serde::Serialize;

/// The most diagnostics that are reported at once: beyond these, they are noise.
pub const MAX_DIAGNOSTICS: usize = 20;

/// The most characters of a user's text that a message repeats.
const MAX_QUOTED_CHARS: usize = 60;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// Stable and public, for instance `pipeline::cycle`.
    pub code: &'static str,
    /// One sentence, lower case, without a full stop. Names the place itself where there is no span (JSON documents).
    pub message: String,
    /// The bytes of the pipeline's text that it is about.
    pub span: Option<Range<usize>>,
    /// What to write beside the marked text.
    pub label: String,
    /// What to do about it; where possible a line that can be pasted.
    pub hints: Vec<String>,
}

impl Diagnostic {
    /// A diagnostic without a place.
    #[must_use]
    pub fn new(code: &'static str, message: impl Into<String>) -> Diagnostic {
        Diagnostic {
            code,
            message: message.into(),
            span: None,
            label: String::new(),
            hints: Vec::new(),
        }
    }

    /// Says what to write beside the marked text.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Diagnostic {
        self.label = label.into();
        self
    }

    /// Adds a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Diagnostic {
        self.hints.push(hint.into());
        self
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Diagnostic {}

/// A user's text inside a message: between backquotes, without control characters, cut when it is long.
#[must_use]
pub fn quote(text: &str) -> String {
    let mut quoted = String::from("`");
    for (count, c) in text.chars().enumerate() {
        if count == MAX_QUOTED_CHARS {
            quoted.push('…');
            break;
        }
        if c.is_control() {
            quoted.extend(c.escape_default());
        } else {
            quoted.push(c);
        }
    }
    quoted.push('`');
    quoted
}

/// The known name that `wrong` was probably meant to be.
#[must_use]
pub fn suggestion<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // The cost is the product of the lengths: a name that long is no slip of the fingers.
    const MAX_NAME_BYTES: usize = 64;
    if wrong.len() > MAX_NAME_BYTES {
        return None;
    }
    let folded = wrong.to_lowercase().replace('-', "_");
    known
        .into_iter()
        .filter(|name| name.len() <= MAX_NAME_BYTES)
        .map(|name| {
            (
                strsim::damerau_levenshtein(&folded, &name.to_lowercase().replace('-', "_")),
                name,
            )
        })
        .filter(|(distance, name)| *distance <= (wrong.len().min(name.len()) / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quoted_text_is_short_and_plain() {
        assert_eq!(quote("a b"), "`a b`");
        assert_eq!(quote("a\u{1b}[2J\n"), "`a\\u{1b}[2J\\n`");
        assert_eq!(
            quote(&"é".repeat(1000)).chars().count(),
            MAX_QUOTED_CHARS + 3
        );
    }

    #[test]
    fn the_nearest_name_is_suggested_and_a_far_one_is_not() {
        let known = ["inputs", "outputs", "after", "args"];
        assert_eq!(suggestion("input", known), Some("inputs"));
        assert_eq!(suggestion("Outptus", known), Some("outputs"));
        assert_eq!(suggestion("zebra", known), None);
        assert_eq!(suggestion(&"inputs".repeat(1000), known), None);
        assert_eq!(suggestion("", known), None);
    }
}
