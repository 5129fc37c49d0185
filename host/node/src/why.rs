//! Tells why a task is cached or not.
