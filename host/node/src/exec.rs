//! Runs one component, outside any pipeline.
