//! Two ends of a transfer in memory: what arrives, what is sent again, what a liar gets, and who waits for whom.
#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

mod ends;
mod inline;
mod liars;
mod resume;
mod shapes;

pub(crate) use support::{Shelf, noise, store, text};

mod support;
