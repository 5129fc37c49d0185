//! Everything that reaches the user's eyes or another program: machine output to stdout, everything else to stderr.
//!
//! `json.rs` names the documents, `convert.rs` fills them from the node's reports, `text.rs`, `graph_line.rs`,
//! `board.rs`, `live.rs` and `graph.rs` turn documents into text; `past.rs`, `views.rs` and `past_text.rs` do the same for
//! past runs, `receipts.rs` for what was signed, `reasons.rs` knows why a task went where, `qr.rs` draws a line as a code, `when.rs` shows wall time,
//! `diagnose.rs` shows errors, `escape.rs` keeps guests from driving the terminal.
//! Nothing here starts work or decides an exit code.

mod board;
pub(crate) mod convert;
pub(crate) mod diagnose;
pub(crate) mod escape;
pub(crate) mod graph;
mod graph_line;
pub(crate) mod json;
mod live;
pub(crate) mod past;
pub(crate) mod past_text;
pub(crate) mod qr;
pub(crate) mod reasons;
pub(crate) mod receipts;
#[cfg(test)]
mod schema;
pub(crate) mod term;
pub(crate) mod text;
pub(crate) mod views;
pub(crate) mod when;

use std::fmt::Write as _;
use std::io::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use sykli_node::events::RunEvent;

use crate::config::Format;
use board::Board;
use convert::Converter;
use json::Event;
use live::Live;
pub(crate) use live::restore_terminal;
use term::Term;

/// Writes to stdout. A reader that went away (`sykli … | head`) is no error: the rest is not wanted.
pub(crate) fn out(text: &str) {
    out_bytes(text.as_bytes());
}

/// Writes to stderr, likewise.
pub(crate) fn err(text: &str) {
    err_bytes(text.as_bytes());
}

/// [`out`] for a guest's own bytes.
pub(crate) fn out_bytes(bytes: &[u8]) {
    let mut stdout = std::io::stdout().lock();
    let _ = stdout.write_all(bytes).and_then(|()| stdout.flush());
}

/// [`err`] for a guest's own bytes.
pub(crate) fn err_bytes(bytes: &[u8]) {
    let mut stderr = std::io::stderr().lock();
    let _ = stderr.write_all(bytes).and_then(|()| stderr.flush());
}

/// One JSON document on stdout: indented for `json`, on one line for `ndjson`.
pub(crate) fn document(doc: &impl Serialize, format: Format) {
    let text = match format {
        Format::Ndjson => serde_json::to_string(doc),
        Format::Json | Format::Text => serde_json::to_string_pretty(doc),
    };
    // Our documents are plain data with text keys: they always serialise.
    out(&format!("{}\n", without_c1(text.unwrap_or_default())));
}

/// JSON may hold the control characters from U+007F to U+009F as they are, but a terminal may obey them.
fn without_c1(json: String) -> String {
    let is_c1 = |c: char| ('\u{7f}'..='\u{9f}').contains(&c);
    if !json.contains(is_c1) {
        return json;
    }
    let mut escaped = String::with_capacity(json.len() + 16);
    for c in json.chars() {
        if is_c1(c) {
            // Only strings can hold one.
            let _ = write!(escaped, "\\u{:04x}", u32::from(c));
        } else {
            escaped.push(c);
        }
    }
    escaped
}

/// Shows a run while it goes on.
pub(crate) struct Reporter {
    state: Mutex<Converter>,
    view: View,
}

enum View {
    /// `json` shows nothing before the end.
    Silent,
    Lines,
    Plain(Box<Mutex<Board>>),
    Live(Live),
}

impl Reporter {
    /// For this format and terminal.
    pub(crate) fn new(format: Format, term: Term, verbose: bool) -> Reporter {
        let view = match format {
            Format::Json => View::Silent,
            Format::Ndjson => View::Lines,
            Format::Text if term.live => View::Live(Live::start(term, verbose)),
            Format::Text => View::Plain(Box::new(Mutex::new(Board::new(term, verbose)))),
        };
        Reporter {
            state: Mutex::new(Converter::new()),
            view,
        }
    }

    /// Takes one of the node's events in; callable from any thread.
    pub(crate) fn event(&self, event: RunEvent) {
        let mut state = lock(&self.state);
        for event in state.events(event) {
            self.show(&state, event);
        }
    }

    /// Takes an event of our own in.
    pub(crate) fn own(&self, event: Event) {
        self.show(&lock(&self.state), event);
    }

    fn show(&self, state: &Converter, event: Event) {
        match &self.view {
            View::Silent => {}
            View::Lines => document(&state.doc(event), Format::Ndjson),
            View::Plain(board) => {
                for line in lock(board).apply(&event) {
                    err(&format!("{line}\n"));
                }
            }
            View::Live(live) => live.event(&event),
        }
    }

    /// Ends the view; what the graph line shows.
    pub(crate) fn finish(&self) -> Vec<graph_line::Node> {
        match &self.view {
            View::Silent | View::Lines => Vec::new(),
            View::Plain(board) => lock(board).nodes(),
            View::Live(live) => live.finish(),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
