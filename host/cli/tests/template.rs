//! The task crate that `new task` writes compiles against the SDK, and its own test passes: it is compiled here as it is
//! written, natively. That the plain one runs is shown by `run.rs`.

#[path = "../src/cmd/template/sdk_main.rs"]
#[allow(
    dead_code,
    clippy::unwrap_used,
    reason = "it is a program of its own, in a user's project"
)]
mod sdk_main;
