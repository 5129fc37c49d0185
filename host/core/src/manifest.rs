//! The room of `manifest`.
