//! Random sequences of operations against a reference that is simple enough to be right.
