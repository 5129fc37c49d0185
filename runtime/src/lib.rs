//! The sandbox: bytes of a component and a [`Grant`] in, an [`Outcome`] out.
//!
//! This crate runs one WebAssembly component at a time per calling thread, with nothing of the host visible unless
//! the grant names it: its file system is [`vfs`], its time is virtual, its randomness is derived from a seed and its
//! network is closed. It never reads a pipeline, never opens a store and knows no other machine; whoever calls it
//! (`sykli-node`'s worker) translates what a task asked into a [`Grant`] and an [`Outcome`] into a verdict.
//!
//! The way of one run: [`Engine::load`] checks and compiles (or finds the compiled code) → [`Sandbox::run`] makes one
//! store, links the host interfaces of [`mod@host`], drives the guest until it exits, traps or meets a bound, and
//! collects what it left behind.

mod cache;
mod drive;
mod engine;
mod grant;
pub mod host;
mod imports;
mod limits;
mod load;
mod outcome;
mod sandbox;
mod state;
mod verdict;
pub mod vfs;

pub use engine::handed::{Code, CodeShelf, Compilation};
pub use engine::{Component, Engine, EngineConfig, EngineError, Floats};
pub use grant::{Grant, NetRule, NetRuleError};
pub use imports::provided_imports;
pub use load::LoadError;
pub use outcome::{Captured, Limit, Outcome, Refusal, Refusals, Status, TrapKind, Usage};
pub use sandbox::{CancelToken, Inputs, LogLevel, Observer, Sandbox, Silent, TaskInfo};
pub use state::GuestState;
pub use vfs::{Access, ChangedFile, Changes, Content, DirSource, Entry, Mount, ReadAt, Source};

/// The property that fuzzing holds to what is decided before anything is compiled: any bytes are refused with a reason, or
/// are a component, perhaps one that they were adapted to, which is then accepted for what it is.
///
/// # Panics
/// Where that does not hold.
#[cfg(any(test, fuzzing))]
pub fn check(bytes: &[u8]) {
    if let Ok((component, description)) = load::prepare(bytes) {
        match load::prepare(&component) {
            Ok((_, again)) => assert_eq!(again.imports, description.imports),
            Err(refused) => panic!("what was adapted is refused: {refused}"),
        }
    }
}
