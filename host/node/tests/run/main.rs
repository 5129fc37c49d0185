//! Runs of small pipelines through a whole node: what they leave, what they tell, what they remember.
//!
//! The guest is one Rust program that does what its arguments say, built once with `rustc` for `wasm32-wasip2`. Each
//! test has folders of its own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod build;
mod exec;
mod failures;
mod pipelines;
mod support;
mod survival;
