//! What a run tells whoever renders it.
