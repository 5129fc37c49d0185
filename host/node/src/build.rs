//! Turns task crates into components.
