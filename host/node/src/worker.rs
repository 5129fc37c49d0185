//! Turns a task's limits and grants into a sandbox run.
