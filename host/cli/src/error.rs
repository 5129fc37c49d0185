//! What can go wrong at the command line: one error type that is a code, a message, hints, places and an exit code.
//! It decides which exit code a failure ends the process with (those numbers are public). It never prints: the
//! renderers do. Every command returns it.

use std::fmt;
use std::io;
use std::ops::{Deref, DerefMut, Range};
use std::path::Path;

use sykli_core::diagnostic::Diagnostic;

/// How the process ends. The numbers are part of the command line's contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Everything passed, or came from the cache.
    Passed,
    /// A task failed.
    TaskFailed,
    /// Wrong usage or invalid input: nothing was run.
    Usage,
    /// What is to be compared was made of something else.
    InputsChanged,
    /// What was compared is not the same.
    Mismatch,
    /// Stopped by the user.
    Interrupted,
    /// What a guest ended with, passed on by `exec`.
    Guest(u8),
}

impl Exit {
    /// The number that the shell sees.
    pub(crate) fn code(self) -> u8 {
        match self {
            Exit::Passed => 0,
            Exit::TaskFailed => 1,
            Exit::Usage => 2,
            Exit::InputsChanged => 3,
            Exit::Mismatch => 4,
            Exit::Interrupted => 130,
            Exit::Guest(code) => code,
        }
    }
}

/// One thing that is wrong in a text that the user wrote.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    pub(crate) code: String,
    pub(crate) message: String,
    /// Byte range in [`SourceText::text`].
    pub(crate) span: Option<Range<usize>>,
    pub(crate) label: String,
    pub(crate) hints: Vec<String>,
}

/// The text that problems point into.
#[derive(Clone, Debug)]
pub(crate) struct SourceText {
    /// The file as the user would name it.
    pub(crate) name: String,
    pub(crate) text: String,
}

/// A failed command: what, why, what to do about it, and the exit code. Boxed, so that results stay small.
#[derive(Clone, Debug)]
pub(crate) struct CliError(Box<Parts>);

/// See [`CliError`].
#[derive(Clone, Debug)]
pub(crate) struct Parts {
    pub(crate) exit: Exit,
    pub(crate) code: String,
    pub(crate) message: String,
    pub(crate) hints: Vec<String>,
    /// What a tool printed that failed for us.
    pub(crate) detail: Option<String>,
    pub(crate) source: Option<SourceText>,
    pub(crate) problems: Vec<Problem>,
}

/// What every command returns.
pub(crate) type Outcome = Result<Exit, CliError>;

impl CliError {
    /// Invalid usage or input: exit code 2.
    pub(crate) fn usage(code: &str, message: impl Into<String>) -> CliError {
        CliError(Box::new(Parts {
            exit: Exit::Usage,
            code: code.to_owned(),
            message: message.into(),
            hints: Vec::new(),
            detail: None,
            source: None,
            problems: Vec::new(),
        }))
    }

    /// The machine let us down while work was being done: exit code 1.
    pub(crate) fn failed(code: &str, message: impl Into<String>) -> CliError {
        let mut error = CliError::usage(code, message);
        error.exit = Exit::TaskFailed;
        error
    }

    /// Reading or writing `path` failed.
    pub(crate) fn io(code: &str, doing: &str, path: &Path, error: &io::Error) -> CliError {
        let failed = CliError::usage(
            code,
            format!("failed to {doing} {}: {}", path.display(), plain(error)),
        );
        match error.kind() {
            io::ErrorKind::PermissionDenied => {
                failed.hint("check who owns it and its permissions (`ls -ld`)")
            }
            io::ErrorKind::NotFound => {
                failed.hint("check the path, and the folder that you are in")
            }
            io::ErrorKind::StorageFull => {
                failed.hint("free some space; `sykli cache gc` gives back what the cache holds")
            }
            _ => failed.hint("`sykli doctor` checks the folders that sykli uses"),
        }
    }

    /// What the pipeline's parser or planner found in `source`.
    pub(crate) fn diagnostics(source: SourceText, found: Vec<Diagnostic>) -> CliError {
        let problems: Vec<Problem> = found.into_iter().map(Problem::from).collect();
        let mut error = match problems.as_slice() {
            [] => CliError::usage("pipeline::invalid", "the pipeline is not valid"),
            [one] => CliError::usage(&one.code, one.message.clone()),
            [first, rest @ ..] => CliError::usage(
                &first.code,
                format!("{} (and {} more)", first.message, rest.len()),
            ),
        };
        if let [one] = problems.as_slice() {
            error.hints = one.hints.clone();
        } else if let Some(first) = problems.first() {
            error.hints = first.hints.clone();
        }
        error.source = Some(source);
        error.problems = problems;
        error
    }

    /// Adds a line that says what to do.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> CliError {
        self.hints.push(hint.into());
        self
    }

    /// Line and column of a problem, both from 1.
    pub(crate) fn place(&self, problem: &Problem) -> Option<(String, usize, usize)> {
        let source = self.source.as_ref()?;
        let span = problem.span.as_ref()?;
        let (line, column) = line_column(&source.text, span.start);
        Some((source.name.clone(), line, column))
    }
}

impl Deref for CliError {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl DerefMut for CliError {
    fn deref_mut(&mut self) -> &mut Parts {
        &mut self.0
    }
}

impl From<Diagnostic> for Problem {
    fn from(mut found: Diagnostic) -> Problem {
        if found.hints.is_empty() {
            found.hints.push(way_out(found.code).to_owned());
        }
        Problem {
            code: found.code.to_owned(),
            message: found.message,
            span: found.span,
            label: found.label,
            hints: found.hints,
        }
    }
}

/// What to do about a problem whose finder knows nothing better.
fn way_out(code: &str) -> &'static str {
    match code {
        "pipeline::syntax" => {
            "text stands in quotes (`key = \"value\"`), lists in brackets, and a task begins with `[task.NAME]`"
        }
        "pipeline::bad-path" => {
            "write it relative to the pipeline's folder, with `/` and without `..`"
        }
        "pipeline::out-of-range" => "write a number within these bounds",
        "pipeline::too-large" => {
            "say it with fewer: patterns instead of names, `foreach` instead of tasks"
        }
        _ => "`sykli init` writes a valid pipeline to compare with",
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.message)
    }
}

impl std::error::Error for CliError {}

/// Line and column (in characters, both from 1) of a byte offset.
pub(crate) fn line_column(text: &str, offset: usize) -> (usize, usize) {
    let mut end = offset.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let before = text.get(..end).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let column = before
        .rsplit('\n')
        .next()
        .unwrap_or_default()
        .chars()
        .count()
        + 1;
    (line, column)
}

/// The system's words without the number that Rust appends.
pub(crate) fn plain(error: &io::Error) -> String {
    plain_text(&error.to_string())
}

/// The same of a message that ends with, or holds, the system's words.
pub(crate) fn plain_text(text: &str) -> String {
    const MARK: &str = " (os error ";
    let Some((words, rest)) = text.split_once(MARK) else {
        return text.to_owned();
    };
    let Some((number, rest)) = rest.split_once(')') else {
        return text.to_owned();
    };
    if number.parse::<u32>().is_err() {
        return text.to_owned();
    }
    let (before, words) = match words.rfind(": ") {
        Some(at) => words.split_at(at + 2),
        None => ("", words),
    };
    format!("{before}{}{}", words.to_lowercase(), plain_text(rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_systems_words_lose_their_number() {
        let full = "cannot write /A/b: No space left on device (os error 28) [x] (os error)";
        assert_eq!(
            plain_text(full),
            "cannot write /A/b: no space left on device [x] (os error)"
        );
        assert_eq!(plain_text("Nothing of it"), "Nothing of it");
    }

    #[test]
    fn line_and_column_count_characters_from_one() {
        let text = "a = 1\nbé = 2\n";
        assert_eq!(line_column(text, 0), (1, 1));
        assert_eq!(line_column(text, 6), (2, 1));
        assert_eq!(line_column(text, 9), (2, 3));
        assert_eq!(
            line_column(text, 8),
            (2, 2),
            "inside a character: its start"
        );
        assert_eq!(line_column(text, 999), (3, 1));
    }
}
