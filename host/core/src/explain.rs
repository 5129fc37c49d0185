//! The room of `explain`.
