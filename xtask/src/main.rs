//! The project's own chores, as `cargo xtask CHORE`: everything that the README, CI and a new clone need, in one place.
//!
//! It never ships: the product does not depend on it. Developers and `.ci/run` call it.

mod bench;
mod checks;
mod deps;
mod fuzz;
mod instructions;
mod page;
mod process;
mod profile;
mod setup;
mod sim;
mod svg;
mod tools;

use process::{Result, cargo, root, say};
use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask CHORE

  setup         make this machine able to build task components (wasm32-wasip2)
  demo          build sykli and run examples/gallery: ends with a contact sheet
  test          every test, on a machine made ready by setup
  bench         the benchmarks, as ratios in one run [--quick] [--json] [--only solo|mesh] [ROW…]; in full, writes
                docs/src/performance.md
  profile       where a no-op task's time goes; writes docs/src/profile.md [--tasks N]
  instructions  the hot path's instructions against tests/benches/instructions.toml [--update]
  sim           the mesh in virtual time [--seeds N] [--scenario S] [--trace] [--mutants] [--rate]; --scale writes docs/src/scale.md
  fuzz          libFuzzer on each format and on a node's decisions [--seconds N] [TARGET…]
  ci            what CI runs: fmt, clippy, docs, dependencies, walls, instructions, sim, fuzz, test
  deps          licences, bans and sources of every dependency (deny.toml)
  walls         core stays pure, compiled code is loaded in one place, the book's links hold
";

fn main() -> ExitCode {
    if let Some(code) = fuzz::as_compiler() {
        return code;
    }
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (chore, rest) = match args.split_first() {
        Some((chore, rest)) => (chore.as_str(), rest),
        None => ("help", &[][..]),
    };
    let done = match chore {
        "setup" => setup::run(),
        "demo" => demo(rest),
        "test" => test(rest),
        "bench" => bench::run(rest),
        "profile" => profile::run(rest),
        "instructions" => instructions::run(rest),
        "sim" => sim::run(rest),
        "fuzz" => fuzz::run(rest),
        "ci" => ci(),
        "deps" => deps::run(),
        "walls" => checks::run(),
        _ => {
            eprint!("{USAGE}");
            return if chore == "help" || chore == "--help" {
                ExitCode::SUCCESS
            } else {
                ExitCode::from(2)
            };
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("xtask {chore}: {problem}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the gallery as a user would: the task crates are built, rendered in the sandbox, and the sheet is written.
fn demo(rest: &[String]) -> Result {
    setup::run()?;
    // The whole workspace is selected so that features unify as they do for the tests: one build of the engine serves both.
    cargo(&["build", "--quiet", "--workspace", "--bin", "sykli"])?;
    let sykli = root()
        .join("target/debug")
        .join(format!("sykli{}", std::env::consts::EXE_SUFFIX));
    let gallery = root().join("examples/gallery");
    process::run(process::command(&sykli).arg("run").arg(&gallery).args(rest))?;
    let sheet = gallery.join("contact-sheet.png");
    if !sheet.is_file() {
        return Err(format!("{} was not written", sheet.display()));
    }
    say(&format!("the contact sheet is {}", sheet.display()));
    Ok(())
}

/// Every test there is; `rest` goes to `cargo test` (a filter, say).
fn test(rest: &[String]) -> Result {
    setup::run()?;
    tools::prepare();
    // Native unit tests of the example task crates first: they are quick to fail.
    cargo(&[
        "test",
        "--quiet",
        "--manifest-path",
        "examples/Cargo.toml",
        "--target-dir",
        "target/examples-native",
    ])?;
    let mut args = vec!["test", "--workspace", "--no-fail-fast"];
    args.extend(rest.iter().map(String::as_str));
    cargo(&args)
}

fn ci() -> Result {
    say("fmt");
    cargo(&["fmt", "--all", "--check"])?;
    for workspace in ["examples/Cargo.toml", "tests/guests/Cargo.toml"] {
        cargo(&["fmt", "--all", "--check", "--manifest-path", workspace])?;
    }
    say("clippy");
    cargo(&[
        "clippy",
        "--workspace",
        "--all-targets",
        "--quiet",
        "--",
        "-D",
        "warnings",
    ])?;
    // The simulator is no part of the product, so no other build has its feature.
    cargo(&[
        "clippy",
        "--package",
        "sykli-core",
        "--features",
        "sim",
        "--all-targets",
        "--quiet",
        "--",
        "-D",
        "warnings",
    ])?;
    say("docs");
    process::run(
        process::cargo_command()
            .args(["doc", "--workspace", "--no-deps", "--quiet"])
            .env("RUSTDOCFLAGS", "-D warnings"),
    )?;
    say("dependencies");
    deps::run()?;
    say("walls");
    setup::run()?;
    checks::run()?;
    say("instructions");
    instructions::run(&[])?;
    say("the mesh in virtual time");
    let words = |words: &[&str]| words.iter().map(ToString::to_string).collect::<Vec<_>>();
    sim::run(&words(&["--seeds", "10000"]))?;
    sim::run(&words(&["--mutants", "--seeds", "20000"]))?;
    say("fuzz");
    fuzz::run(&[])?;
    // Last, so that the test runner's own lines close what CI prints.
    say("test");
    test(&[])
}
