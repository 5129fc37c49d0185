//! The sandbox and the project's own guests: what an ordinary program can do in it, and what becomes of hostile ones.
//!
//! Each guest is run here by the sandbox itself, with the mounts that a task of a pipeline has (`/in`, `/out`, `/tmp`), and
//! held to the end that an outcome names. No time is asserted: a guest that does not end hangs the test.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod bombs;
mod common;
mod deterministic;
mod files;
mod hostile;
mod inventory;
mod ordinary;
