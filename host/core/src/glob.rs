//! Paths and patterns of paths, as pipelines write them: `photos/**/*.jpg`.
//!
//! A pattern is matched as text against a relative path with `/` between its segments; nothing here looks at a file
//! system. `?` and `*` stay within a segment, `**` as a whole segment stands for any number of them (at the end: at
//! least one), `[a-z]` and `[!a-z]` are one character, `{a,b}` alternatives, `\` takes the next character as it is.
//! Names that begin with a dot are names like others. A match costs the length of the path times the segments of the
//! pattern, whatever the pattern: there is no backtracking over segments. Callers: [`crate::pipeline`] parses,
//! [`crate::expand`] matches listings, the node walks folders and filters outputs with it.

mod segment;

use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};

use segment::{Alternative, alternatives};

/// The longest path or pattern, in bytes.
pub const MAX_PATH_BYTES: usize = 4096;
/// The most segments of a pattern.
pub const MAX_SEGMENTS: usize = 120;
/// The most patterns that the `{a,b}` of one pattern may stand for.
pub const MAX_ALTERNATIVES: usize = 64;

/// Folders that are never an input, however a pattern spells them.
const NEVER: [&str; 2] = [".git", ".sykli"];
/// The folder that is only an input where a pattern names it.
const UNLESS_NAMED: &str = "target";

/// Why a text is not a path inside the project.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// Nothing at all.
    #[error("is empty")]
    Empty,
    /// Begins with `/`.
    #[error("is absolute; paths are relative to the pipeline's folder")]
    Absolute,
    /// Leaves the folder.
    #[error("holds `..`; paths stay within the pipeline's folder")]
    Parent,
    /// Holds a `.` segment.
    #[error("holds a `.` segment; it can be left out")]
    Dot,
    /// Two slashes in a row, or one at the end.
    #[error("has an empty segment (`//`, or a `/` at the end)")]
    EmptySegment,
    /// Holds a character that no path can have.
    #[error("holds a NUL character")]
    Nul,
    /// Longer than [`MAX_PATH_BYTES`].
    #[error("is longer than {MAX_PATH_BYTES} bytes")]
    TooLong,
}

/// Checks a literal path: relative, `/` between segments, no `..`, no `.`, nothing empty.
///
/// # Errors
/// What is wrong with it, as the end of a sentence that begins with the path.
pub fn check_path(path: &str) -> Result<(), PathError> {
    if path.is_empty() {
        return Err(PathError::Empty);
    }
    if path.len() > MAX_PATH_BYTES {
        return Err(PathError::TooLong);
    }
    if path.starts_with('/') {
        return Err(PathError::Absolute);
    }
    if path.contains('\0') {
        return Err(PathError::Nul);
    }
    for segment in path.split('/') {
        match segment {
            "" => return Err(PathError::EmptySegment),
            "." => return Err(PathError::Dot),
            ".." => return Err(PathError::Parent),
            _ => {}
        }
    }
    Ok(())
}

/// Why a text is not a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GlobError {
    /// It could never match a path inside the project.
    #[error(transparent)]
    Path(#[from] PathError),
    /// A `[` without its `]`, or with nothing inside.
    #[error("has a `[` without its `]`")]
    OpenClass,
    /// A range such as `[z-a]`.
    #[error("has a range that ends before it begins")]
    BadRange,
    /// A `{` without its `}`.
    #[error("has a `{{` without its `}}`")]
    OpenBrace,
    /// A `}` without its `{`.
    #[error("has a `}}` without its `{{`")]
    LoneBrace,
    /// A `\` with nothing after it.
    #[error("ends in a `\\`")]
    TrailingEscape,
    /// More than [`MAX_ALTERNATIVES`].
    #[error("stands for more than {MAX_ALTERNATIVES} alternatives")]
    TooManyAlternatives,
    /// More than [`MAX_SEGMENTS`].
    #[error("has more than {MAX_SEGMENTS} segments")]
    TooManySegments,
}

/// A path, or a pattern of paths. Cheap to clone.
#[derive(Clone)]
pub struct Pattern(Arc<Inner>);

#[derive(Debug)]
enum Inner {
    /// No wildcard in it. `text` is only there where it differs from the path, by escapes.
    Literal {
        path: Box<str>,
        text: Option<Box<str>>,
    },
    Glob(Box<Glob>),
}

#[derive(Debug)]
struct Glob {
    text: Box<str>,
    base: Box<str>,
    names_target: bool,
    alternatives: Box<[Alternative]>,
}

impl Pattern {
    /// Parses a pattern; a leading `./` is dropped.
    ///
    /// # Errors
    /// What is wrong with it, as the end of a sentence that begins with the pattern.
    pub fn new(text: &str) -> Result<Pattern, GlobError> {
        let text = text.strip_prefix("./").unwrap_or(text);
        if !text.contains(['*', '?', '[', ']', '{', '}', '\\']) {
            check_path(text)?;
            return Ok(Pattern(Arc::new(Inner::Literal {
                path: text.into(),
                text: None,
            })));
        }
        if text.len() > MAX_PATH_BYTES {
            return Err(PathError::TooLong.into());
        }
        let alternatives = alternatives(text)?;
        if let [only] = &alternatives[..]
            && let Some(path) = only.literal()
        {
            return Ok(Pattern(Arc::new(Inner::Literal {
                path: path.into(),
                text: Some(text.into()),
            })));
        }
        let base = common_base(&alternatives).into();
        let names_target = alternatives.iter().all(|one| one.names(UNLESS_NAMED));
        let glob = Glob {
            text: text.into(),
            base,
            names_target,
            alternatives: alternatives.into(),
        };
        Ok(Pattern(Arc::new(Inner::Glob(Box::new(glob)))))
    }

    /// The pattern that matches just `path`, whatever characters it holds.
    ///
    /// # Errors
    /// When it is no path inside the project.
    pub fn literal(path: &str) -> Result<Pattern, GlobError> {
        Pattern::new(&escape(path))
    }

    /// The text, as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match &*self.0 {
            Inner::Literal { path, text } => text.as_deref().unwrap_or(path),
            Inner::Glob(glob) => &glob.text,
        }
    }

    /// The one path that it matches, where it has no wildcard.
    #[must_use]
    pub fn as_literal(&self) -> Option<&str> {
        match &*self.0 {
            Inner::Literal { path, .. } => Some(path),
            Inner::Glob(_) => None,
        }
    }

    /// Whether it has no wildcard.
    #[must_use]
    pub fn is_literal(&self) -> bool {
        self.as_literal().is_some()
    }

    /// The deepest folder that holds everything it can match, `""` for the project's own; for a literal, its folder.
    #[must_use]
    pub fn base(&self) -> &str {
        match &*self.0 {
            Inner::Literal { path, .. } => path.rsplit_once('/').map_or("", |(folder, _)| folder),
            Inner::Glob(glob) => &glob.base,
        }
    }

    /// Whether it matches a path.
    #[must_use]
    pub fn matches(&self, path: &str) -> bool {
        match &*self.0 {
            Inner::Literal { path: own, .. } => **own == *path,
            Inner::Glob(glob) => {
                below(path, &glob.base) && glob.alternatives.iter().any(|one| one.matches(path))
            }
        }
    }

    /// The pattern as seen from inside the folder `dir` (`""` for the project's own): for whoever matches many files of
    /// one folder. As [`Pattern::matches`], it does not speak of the folders that [`Pattern::skips`].
    #[must_use]
    pub fn within(&self, dir: &str) -> Within<'_> {
        match &*self.0 {
            Inner::Literal { path, .. } => {
                let (folder, name) = folder_and_name(path);
                Within {
                    name: (folder == dir).then_some(name),
                    alternatives: Vec::new(),
                }
            }
            Inner::Glob(glob) => {
                let reached = glob.alternatives.iter().map(|one| (one, one.enter(dir)));
                Within {
                    name: None,
                    alternatives: reached.filter(|(_, states)| *states != 0).collect(),
                }
            }
        }
    }

    /// Whether it could match something inside the folder `dir` (`""` for the project's own), so that a walk has to go
    /// in. It does not speak of the folders that [`Pattern::skips`].
    #[must_use]
    pub fn may_match_below(&self, dir: &str) -> bool {
        if dir.is_empty() {
            return true;
        }
        match &*self.0 {
            Inner::Literal { path, .. } => path.len() > dir.len() && below(path, dir),
            Inner::Glob(glob) => glob.alternatives.iter().any(|one| one.may_match_below(dir)),
        }
    }

    /// Whether a folder of this name is never looked into for this pattern: `.git` and `.sykli` always, `target` unless
    /// the pattern names it.
    #[must_use]
    pub fn skips(&self, folder_name: &str) -> bool {
        if folder_name == UNLESS_NAMED {
            return match &*self.0 {
                Inner::Literal { path, .. } => {
                    !path.split('/').any(|segment| segment == UNLESS_NAMED)
                }
                Inner::Glob(glob) => !glob.names_target,
            };
        }
        NEVER.contains(&folder_name)
    }

    /// Whether one of the folders on the way to `path` is one that it [`Pattern::skips`].
    #[must_use]
    pub fn skips_path(&self, path: &str) -> bool {
        self.skips_folder(folder_and_name(path).0)
    }

    /// Whether the folder at `path`, or one on the way to it, is one that it [`Pattern::skips`].
    #[must_use]
    pub fn skips_folder(&self, path: &str) -> bool {
        path.split('/').any(|segment| self.skips(segment))
    }
}

/// A pattern as seen from inside one folder: its files are matched by name alone, whatever the way to the folder cost.
#[derive(Clone, Debug)]
pub struct Within<'a> {
    /// For a literal in this folder, its name.
    name: Option<&'a str>,
    /// The alternatives that can match something in here, and how far each has come.
    alternatives: Vec<(&'a Alternative, u128)>,
}

impl Within<'_> {
    /// Whether the pattern matches the file of this name in the folder.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        self.name == Some(name)
            || self
                .alternatives
                .iter()
                .any(|(one, states)| one.matches_in(*states, name))
    }
}

/// The folder of a path, empty at the top, and the name in it.
pub(crate) fn folder_and_name(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

/// The name of the file at `path`, if `folder` is the one that it is in: for neighbours a cheaper question than where
/// the path's last `/` is.
pub(crate) fn name_in<'p>(folder: &str, path: &'p str) -> Option<&'p str> {
    let name = if folder.is_empty() {
        path
    } else {
        path.strip_prefix(folder)?.strip_prefix('/')?
    };
    (!name.contains('/')).then_some(name)
}

/// Whether `path` is `folder` itself or inside it; everything is inside `""`.
fn below(path: &str, folder: &str) -> bool {
    folder.is_empty()
        || path
            .strip_prefix(folder)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The folder that all alternatives have in common at their beginning.
fn common_base(alternatives: &[Alternative]) -> String {
    let mut bases = alternatives.iter().map(Alternative::base);
    let mut common = bases.next().unwrap_or_default();
    for base in bases {
        let same = common.iter().zip(&base).take_while(|(a, b)| a == b).count();
        common.truncate(same);
    }
    common.join("/")
}

/// The text of the pattern that matches just `text`: its wildcards escaped.
#[must_use]
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    escape_into(&mut escaped, text);
    escaped
}

/// Appends `text`, its wildcards escaped.
pub(crate) fn escape_into(escaped: &mut String, text: &str) {
    for c in text.chars() {
        if matches!(c, '*' | '?' | '[' | ']' | '{' | '}' | '\\') {
            escaped.push('\\');
        }
        escaped.push(c);
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Pattern) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Pattern {}

impl PartialOrd for Pattern {
    fn partial_cmp(&self, other: &Pattern) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Pattern {
    fn cmp(&self, other: &Pattern) -> std::cmp::Ordering {
        self.as_str().cmp(other.as_str())
    }
}

impl Serialize for Pattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

#[cfg(test)]
mod tests;
