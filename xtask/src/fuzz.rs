//! `cargo xtask fuzz [--seconds N] [TARGET…]`: libFuzzer on every format that a stranger may send, and on the order in
//! which things happen to a node; each target begins with its committed corpus, in tests/fuzz/corpus.
//!
//! libFuzzer finds its way by counters that the compiler puts into our crates. Those flags are stable ones, so no other
//! toolchain is needed; they are given to this workspace's crates alone, by this program in the compiler's place, so that
//! what they stand on is built once for the tests and this. What libFuzzer finds on its way stays in target/fuzz. Where
//! there is no C++ compiler it says so and passes. CI calls it.

use crate::process::{Result, cargo_command, command, exists, root, run as finish, say, words};
use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};

/// How long each target runs where nothing else is said, in seconds.
const SECONDS: u64 = 20;
/// What one input may take, in seconds and MiB: the pre-checks' own bounds are below.
const INPUT_SECONDS: u32 = 20;
const INPUT_MIB: u32 = 2048;
/// Says that this program is called in the compiler's place.
const COMPILER: &str = "SYKLI_FUZZ_COMPILER";
/// Crates that are given counters.
const WATCHED: [&str; 3] = ["sykli_core", "sykli_node", "sykli_runtime"];
/// What it takes to have them.
const COUNTERS: [&str; 8] = [
    "--cfg=fuzzing",
    "-Cdebug-assertions",
    "-Ccodegen-units=1",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
];

/// See the module.
pub fn run(rest: &[String]) -> Result {
    let (seconds, mut chosen) = options(rest)?;
    if !exists("c++") {
        say("fuzz: skipped, there is no C++ compiler for libFuzzer (apt-get install g++)");
        return Ok(());
    }
    let all = targets()?;
    if let Some(unknown) = chosen.iter().find(|name| !all.contains(name)) {
        return Err(format!("no target {unknown}: there are {}", all.join(", ")));
    }
    if chosen.is_empty() {
        chosen = all;
    }
    build(&chosen)?;
    for target in &chosen {
        say(&format!("fuzz {target}, {seconds} s"));
        fuzz(target, seconds)?;
    }
    Ok(())
}

/// Where this program is called in the compiler's place: does its work, and says how it went.
pub fn as_compiler() -> Option<ExitCode> {
    std::env::var_os(COMPILER)?;
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (compiler, args) = args.split_first()?;
    let name = args.iter().skip_while(|arg| *arg != "--crate-name").nth(1);
    let watched = name.is_some_and(|name| WATCHED.contains(&name.as_str()));
    let mut command = Command::new(compiler);
    command.args(args);
    if watched {
        command.args(COUNTERS);
    } else if name.is_some_and(|name| targets().is_ok_and(|all| all.contains(name))) {
        command.arg("--cfg=fuzzing");
    }
    let done = command.status().is_ok_and(|status| status.success());
    Some(if done {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn options(rest: &[String]) -> Result<(u64, Vec<String>)> {
    let (mut seconds, mut targets) = (SECONDS, Vec::new());
    let mut words = words(rest).into_iter();
    while let Some(word) = words.next() {
        if word == "--seconds" {
            let number = words.next().and_then(|number| number.parse().ok());
            seconds = number.ok_or("--seconds wants a number")?;
        } else {
            targets.push(word.to_owned());
        }
    }
    Ok((seconds, targets))
}

/// Every target, by name.
fn targets() -> Result<Vec<String>> {
    let folder = root().join("tests/fuzz/fuzz_targets");
    let files = fs::read_dir(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let stem = |path: &Path| path.file_stem().map(|stem| stem.to_string_lossy().into());
    let mut names: Vec<String> = files.filter_map(|file| stem(&file.ok()?.path())).collect();
    names.sort();
    Ok(names)
}

/// The whole workspace is selected so that features unify as they do for the tests.
fn build(targets: &[String]) -> Result {
    let own = std::env::current_exe().map_err(|e| format!("cannot find this program: {e}"))?;
    let mut cargo = cargo_command();
    cargo
        .env("RUSTC_WORKSPACE_WRAPPER", own)
        .env(COMPILER, "1")
        .args(["build", "--quiet", "--workspace"])
        .args(["--features", "sykli-fuzz/libfuzzer"]);
    for target in targets {
        cargo.args(["--bin", target]);
    }
    finish(&mut cargo)
}

fn fuzz(target: &str, seconds: u64) -> Result {
    let folder = root().join("target/fuzz");
    let (found, faults) = (folder.join("corpus").join(target), folder.join("faults"));
    for folder in [&found, &faults] {
        fs::create_dir_all(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    }
    let mut fuzzer = command(root().join("target/debug").join(target));
    fuzzer
        .arg(&found)
        .arg(root().join("tests/fuzz/corpus").join(target))
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-timeout={INPUT_SECONDS}"))
        .arg(format!("-rss_limit_mb={INPUT_MIB}"))
        .arg(format!("-artifact_prefix={}/{target}-", faults.display()))
        .args(["-max_len=65536", "-print_final_stats=1", "-verbosity=0"]);
    finish(&mut fuzzer)
}
