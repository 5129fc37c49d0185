//! What one running guest carries: the data of its store.
//!
//! Made by the sandbox for each run and dropped with it. The host interfaces read and write it; it decides nothing.

use wasmtime::component::ResourceTable;

use crate::outcome::Refusals;
use crate::vfs::Vfs;

/// The store data of one run.
pub struct GuestState {
    /// Every resource the guest holds a handle to.
    pub table: ResourceTable,
    /// Its file system.
    pub vfs: Vfs,
    /// What it was refused so far.
    pub refusals: Refusals,
}
