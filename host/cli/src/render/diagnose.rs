//! Shows a failed command: for people with the place in their own text, for programs as a `sykli.error/1` document.
//! Decides the layout only.

use miette::{
    GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteDiagnostic, NamedSource, Report,
};

use super::escape;
use super::json::{ErrorDoc, ProblemDoc};
use super::term::{Term, Tone, paint};
use super::text::hint_line;
use crate::config::Format;
use crate::error::{CliError, Problem};

/// How errors are shown.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shown {
    pub(crate) format: Format,
    pub(crate) term: Term,
}

impl Shown {
    /// A document on stdout for programs, text on stderr for people.
    pub(crate) fn error(self, error: &CliError) {
        if self.format.is_machine() {
            super::document(&doc(error), self.format);
        } else {
            super::err(&text(&self.term, error));
        }
    }
}

/// The document of an error.
fn doc(error: &CliError) -> ErrorDoc {
    ErrorDoc {
        schema: "sykli.error/1",
        code: error.code.clone(),
        message: error.message.clone(),
        hints: error.hints.clone(),
        detail: error.detail.clone(),
        exit_code: error.exit.code(),
        problems: error
            .problems
            .iter()
            .map(|problem| problem_doc(error, problem))
            .collect(),
    }
}

fn problem_doc(error: &CliError, problem: &Problem) -> ProblemDoc {
    let place = error.place(problem);
    ProblemDoc {
        code: problem.code.clone(),
        message: problem.message.clone(),
        hints: problem.hints.clone(),
        file: error.source.as_ref().map(|source| source.name.clone()),
        line: place.as_ref().map(|(_, line, _)| *line),
        column: place.map(|(_, _, column)| column),
    }
}

/// Text for stderr, with line ends.
fn text(term: &Term, error: &CliError) -> String {
    let mut out = String::new();
    if error.problems.is_empty() {
        let bar = if term.unicode { "│" } else { "|" };
        for line in error.detail.iter().flat_map(|detail| detail.lines()) {
            out.push_str(&format!("  {bar} {}\n", escape::clean(line)));
        }
        out.push_str(&heading(term, &error.message, &error.code));
        for hint in &error.hints {
            out.push_str(&hint_line(term, hint));
            out.push('\n');
        }
        return out;
    }
    for problem in &error.problems {
        out.push_str(&heading(term, &problem.message, &problem.code));
        if let Some(snippet) = snippet(term, error, problem) {
            out.push_str(&snippet);
        }
        for hint in &problem.hints {
            out.push_str(&hint_line(term, hint));
            out.push('\n');
        }
    }
    out
}

fn heading(term: &Term, message: &str, code: &str) -> String {
    let color = term.err.color;
    let message: Vec<String> = message.lines().map(escape::clean).collect();
    let code = paint(&format!("[{code}]"), Tone::Quiet, color);
    format!(
        "{} {} {code}\n",
        paint("error:", Tone::Bad, color),
        message.join("\n  ")
    )
}

/// The lines around the problem, with file, line and column; only the place where there is no span.
fn snippet(term: &Term, error: &CliError, problem: &Problem) -> Option<String> {
    let source = error.source.as_ref()?;
    let Some(span) = problem.span.clone() else {
        return Some(format!("  in {}\n", source.name));
    };
    let (start, end) = (
        span.start.min(source.text.len()),
        span.end.min(source.text.len()),
    );
    let label = LabeledSpan::new(
        Some(problem.label.clone()),
        start,
        end.saturating_sub(start),
    );
    // The message is in the heading already: the handler draws the source alone.
    let diagnostic = MietteDiagnostic::new(String::new()).with_label(label);
    let text = harmless(&source.text);
    let report = Report::new(diagnostic).with_source_code(NamedSource::new(&source.name, text));
    let mut theme = if term.unicode {
        GraphicalTheme::unicode_nocolor()
    } else {
        GraphicalTheme::none()
    };
    if term.err.color {
        theme = if term.unicode {
            GraphicalTheme::unicode()
        } else {
            GraphicalTheme::ascii()
        };
    }
    let handler = GraphicalReportHandler::new_themed(theme)
        .with_width(term.width)
        .with_context_lines(1);
    let mut drawn = String::new();
    handler.render_report(&mut drawn, report.as_ref()).ok()?;
    let lines: Vec<&str> = drawn
        .lines()
        .skip_while(|line| !line.contains('[') || !line.contains(&source.name))
        .collect();
    Some(
        lines
            .iter()
            .map(|line| format!("{}\n", line.trim_end()))
            .collect(),
    )
}

/// The text without what drives a terminal, every byte in its place so that spans stay right.
fn harmless(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\t' => out.push(c),
            c if c.is_control() => out.extend(std::iter::repeat_n(' ', c.len_utf8())),
            c => out.push(c),
        }
    }
    out
}
