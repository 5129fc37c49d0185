//! Structured log lines: a level, a message, named values. The executor keeps them beside the task's output and shows them
//! with it. A line is not an output: nothing that a task logs changes its result.
//!
//! ```
//! use sykli_guest::{log, testing::Fake};
//!
//! let host = Fake::new().enter();
//! log::info("shrunk", &[("file", &"a.jpg"), ("width", &320)]);
//! log::warn("no date in the picture", &[]);
//! let line = &host.logs()[0];
//! assert_eq!((line.message.as_str(), line.field("width")), ("shrunk", Some("320")));
//! ```

use std::fmt::Display;

use crate::host;

/// How much a line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Every step: for whoever debugs the task itself.
    Trace,
    /// What helps to understand one run.
    Debug,
    /// What a user wants to know in any case.
    Info,
    /// The task goes on, but something is not as it should be.
    Warn,
    /// Something failed.
    Error,
}

/// Named values of a line, in the order in which they are shown.
pub type Fields<'a> = &'a [(&'a str, &'a dyn Display)];

/// Logs one line at a level chosen at run time.
pub fn log(level: Level, message: impl AsRef<str>, fields: Fields<'_>) {
    let fields: Vec<_> = fields
        .iter()
        .map(|(name, value)| ((*name).to_owned(), value.to_string()))
        .collect();
    host::log(level, message.as_ref(), &fields);
}

/// Logs every step, for whoever debugs the task itself.
pub fn trace(message: impl AsRef<str>, fields: Fields<'_>) {
    log(Level::Trace, message, fields);
}

/// Logs what helps to understand one run.
pub fn debug(message: impl AsRef<str>, fields: Fields<'_>) {
    log(Level::Debug, message, fields);
}

/// Logs what a user wants to know in any case.
pub fn info(message: impl AsRef<str>, fields: Fields<'_>) {
    log(Level::Info, message, fields);
}

/// Logs that the task goes on although something is not as it should be.
pub fn warn(message: impl AsRef<str>, fields: Fields<'_>) {
    log(Level::Warn, message, fields);
}

/// Logs a failure.
pub fn error(message: impl AsRef<str>, fields: Fields<'_>) {
    log(Level::Error, message, fields);
}
