//! Drives one run: core's actions in, events out.
