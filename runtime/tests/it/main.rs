//! The sandbox from outside: real guests, run to each of the ends that an outcome names.
//!
//! Guests are WebAssembly text of a few lines, `guest.rs` compiled with the pinned toolchain, and a C program where clang
//! is installed. What `wasi:filesystem` does is tested beside the virtual file system and by the project's own guests.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;
mod ends;
mod limits;
mod load;
mod program;
