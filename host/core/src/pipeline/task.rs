//! Reading one task.
