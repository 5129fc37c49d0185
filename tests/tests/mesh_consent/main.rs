//! Who runs whose tasks, between real nodes over loopback: work that is dispatched and work that is asked for, a person
//! who is asked (`ask`), each reason to decline (`declines`), floors and caps (`caps`), and what its user sees of all that.
//!
//! What a node does is waited for by what it says, never by time. Where a test needs a task that this machine cannot take
//! itself, the task asks for a label that only the other one has.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

mod ask;
mod caps;
mod declines;
mod moves;
mod watched;
