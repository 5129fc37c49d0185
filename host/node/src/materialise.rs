//! materialise
