//! Has the linker pack the binary's relocations, where the C library of this machine can unpack them (glibc 2.36).
//!
//! A position-independent binary of this size has some sixty thousand of them, of 24 bytes each, that every start reads and
//! applies before anything else: packed they are a few kilobytes. It decides nothing else, and nothing depends on it. Called
//! by cargo.

#![allow(clippy::print_stdout, reason = "that is how cargo is told")]

use std::env::var;
use std::process::Command;

/// The first glibc that knows packed relocations.
const GLIBC: (u32, u32) = (2, 36);

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // Elsewhere nobody knows where it will run.
    let here = var("HOST").is_ok() && var("HOST") == var("TARGET");
    let gnu = var("CARGO_CFG_TARGET_OS").as_deref() == Ok("linux")
        && var("CARGO_CFG_TARGET_ENV").as_deref() == Ok("gnu");
    if here && gnu && glibc().is_some_and(|version| version >= GLIBC) {
        println!("cargo:rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}

/// The version of this machine's, as `glibc 2.36` says it.
fn glibc() -> Option<(u32, u32)> {
    let said = Command::new("getconf")
        .arg("GNU_LIBC_VERSION")
        .output()
        .ok()?;
    let text = String::from_utf8(said.stdout).ok()?;
    let (major, minor) = text.trim().strip_prefix("glibc ")?.split_once('.')?;
    let minor = minor.split('.').next()?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}
