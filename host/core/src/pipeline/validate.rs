//! Judging a pipeline as a whole.
