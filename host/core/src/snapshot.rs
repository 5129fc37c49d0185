//! The room of `snapshot`.
