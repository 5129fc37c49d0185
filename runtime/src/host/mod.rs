//! The host interfaces a guest may import, one file each, linked once per engine.
//!
//! Each file links one WASI package (or ours) by hand onto [`GuestState`](crate::GuestState) and holds no state of its
//! own. Nothing here opens a file of the host, reads its environment or its clock unless the grant says so.

pub mod filesystem;
