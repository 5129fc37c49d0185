//! Opens a node: its folders, store, journal and engine.
