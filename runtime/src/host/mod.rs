//! The host interfaces a guest may import, one file each, linked once per engine.
//!
//! Each file links one WASI package (or ours) onto [`GuestState`] and holds no state of its own. Nothing here opens a
//! file of the host, reads its environment, its clock or its randomness unless the grant says so; the network is
//! closed unless a rule opens it. Every list that a guest can make grow is bounded.

pub(crate) mod cli;
pub(crate) mod clocks;
pub mod filesystem;
pub(crate) mod io;
pub(crate) mod random;
pub(crate) mod sockets;
pub(crate) mod stdio;
pub(crate) mod task;

use wasmtime::component::Linker;

use crate::state::GuestState;

/// The WASI release whose interfaces are linked. A guest built for any 0.2 release finds them: within one minor
/// version wasmtime matches names by compatibility.
pub(crate) const WASI: &str = "0.2.12";

/// Every interface a guest may import, without its version. `sykli:task/host` has its own.
pub(crate) const WASI_INTERFACES: &[&str] = &[
    "wasi:cli/environment",
    "wasi:cli/exit",
    "wasi:cli/stderr",
    "wasi:cli/stdin",
    "wasi:cli/stdout",
    "wasi:cli/terminal-input",
    "wasi:cli/terminal-output",
    "wasi:cli/terminal-stderr",
    "wasi:cli/terminal-stdin",
    "wasi:cli/terminal-stdout",
    "wasi:clocks/monotonic-clock",
    "wasi:clocks/wall-clock",
    "wasi:filesystem/preopens",
    "wasi:filesystem/types",
    "wasi:io/error",
    "wasi:io/poll",
    "wasi:io/streams",
    "wasi:random/insecure",
    "wasi:random/insecure-seed",
    "wasi:random/random",
    "wasi:sockets/instance-network",
    "wasi:sockets/ip-name-lookup",
    "wasi:sockets/network",
    "wasi:sockets/tcp",
    "wasi:sockets/tcp-create-socket",
    "wasi:sockets/udp",
    "wasi:sockets/udp-create-socket",
];

/// Links every interface.
///
/// # Errors
/// When a name is linked twice.
pub(crate) fn add_to_linker(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    io::add_to_linker(linker)?;
    cli::add_to_linker(linker)?;
    clocks::add_to_linker(linker)?;
    random::add_to_linker(linker)?;
    sockets::add_to_linker(linker)?;
    filesystem::add_to_linker(linker)?;
    task::add_to_linker(linker)
}

/// The full name of a WASI interface.
pub(crate) fn wasi(interface: &str) -> String {
    format!("wasi:{interface}@{WASI}")
}
