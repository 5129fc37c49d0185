//! The room of `tree`.
