//! The room of `run`.
