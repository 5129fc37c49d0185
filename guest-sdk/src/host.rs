//! The door to the executor: the imports of `sykli:task/host` in a component, the fake of `testing` everywhere else. Both
//! have the same functions; nothing above this module knows which one answers.

#[cfg(all(target_os = "wasi", target_env = "p2"))]
mod wasi;
#[cfg(all(target_os = "wasi", target_env = "p2"))]
pub(crate) use wasi::*;

#[cfg(not(all(target_os = "wasi", target_env = "p2")))]
pub(crate) use crate::testing::host::*;
