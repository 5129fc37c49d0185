//! The hands of a sykli node: it performs what `sykli-core` decides, on this machine.
//!
//! Here live the files, the databases, the worker threads and the compiler runs: the content-addressed store and the
//! result cache, the journal of runs, the ledger of leases, the listing and digesting of a project's files, the run loop that drives
//! `sykli_core::run::Run`, and the one place that turns what a task asks for into what the sandbox grants.
//!
//! It never decides what runs next (core does), never touches wasmtime (`sykli-runtime` does) and never prints (the
//! command line does). Called by `sykli`, the binary, alone.

// The parts that keep things on disk.
mod db;
mod durable;
pub mod journal;
pub mod ledger;
pub mod materialise;
pub mod memo;
pub mod paths;
pub mod store;
pub mod transfer;
pub mod workspace;

// Who this node is, and whom it lets in.
pub mod identity;
pub mod membership;

// The parts that run things.
pub mod build;
pub mod bundle;
pub mod control;
pub mod events;
pub mod exec;
pub mod filter;
mod foreign;
pub mod host_state;
pub mod interrupt;
pub mod isolation;
pub mod mesh;
pub mod meshnode;
mod needs;
pub mod node;
pub mod plan;
mod prepare;
pub mod receipts;
pub mod replay;
pub mod run;
pub mod settings;
#[cfg(test)]
mod two_nodes;
pub mod views;
pub mod why;
mod worker;
