//! Everything that sykli decides, as data in and data out: what a pipeline says, which instances it expands to, what
//! determines a task's result, and what runs next.
//!
//! **Architecture invariant:** nothing here reads a clock, a file, the environment or a random source, starts a thread
//! or awaits anything; every collection that is iterated has an order of its own, so the same events always give the
//! same decisions. `clippy.toml` beside this crate's manifest refuses the rest. `sykli-node` performs what is decided
//! here, `sykli` shows it; `sykli-runtime` and this crate never see each other.

pub mod blob;
pub mod consent;
pub mod dagcbor;
pub mod diagnostic;
pub mod expand;
pub mod explain;
pub mod glob;
pub mod id;
pub mod machine;
pub mod manifest;
pub mod membership;
pub mod pipeline;
pub mod policy;
pub mod profile;
pub mod receipt;
pub mod rng;
pub mod roster;
pub mod run;
pub mod signed;
#[cfg(any(test, feature = "sim"))]
pub mod sim;
pub mod snapshot;
pub mod template;
pub mod time;
pub mod tree;
pub mod units;
pub mod wire;
