//! `cargo xtask bench [--quick] [--json] [ROW…]`: builds the product and the bench in release, runs the bench, and makes of
//! what it says a table for the terminal or JSON; of a full run also the book's page and its plots.
//!
//! `--render FILE` makes the page of what an earlier run said (`target/bench.json`), without measuring. What is measured is
//! the bench's business (`tests/benches/solo`), how it looks is `page`'s.

use crate::page;
use crate::process::{self, Result, cargo, cargo_command, root, say};
use crate::setup;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Measures, or renders what was measured.
pub fn run(rest: &[String]) -> Result {
    let rest = process::words(rest);
    if let ["--render", file] = rest[..] {
        return write_page(&parse(&process::text(file)?)?);
    }
    let text = measure(&rest)?;
    let said = parse(&text)?;
    let kept = target().join("bench.json");
    write(&kept, &text)?;
    if rest.contains(&"--json") {
        emit(&text);
    } else {
        emit(&page::text(&said));
    }
    let whole = rest.iter().all(|arg| *arg == "--json");
    if whole {
        write_page(&said)
    } else {
        say(&format!(
            "the book's page is written by a full run alone; this one is in {}",
            kept.display()
        ));
        Ok(())
    }
}

fn measure(rest: &[&str]) -> Result<String> {
    setup::run()?;
    cargo(&[
        "build",
        "--release",
        "--quiet",
        "--workspace",
        "--bin",
        "sykli",
    ])?;
    let mut bench = cargo_command();
    bench.args(["bench", "--quiet", "--workspace", "--bench", "solo", "--"]);
    bench.args(rest.iter().filter(|arg| **arg != "--json"));
    // The rows' names come on stderr while it measures.
    bench.stderr(std::process::Stdio::inherit());
    process::output(&mut bench)
}

fn parse(text: &str) -> Result<Value> {
    let said: Value =
        serde_json::from_str(text).map_err(|e| format!("the bench said something else: {e}"))?;
    if said["schema"] == "sykli.bench/2" {
        Ok(said)
    } else {
        Err(format!("what is {}?", said["schema"]))
    }
}

fn write_page(said: &Value) -> Result {
    for (name, content) in page::files(said) {
        write(&root().join("docs/src").join(name), &content)?;
        say(&format!("wrote docs/src/{name}"));
    }
    Ok(())
}

/// Where this build goes: beside the products of everything else.
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// Writes a file, or says which could not be.
pub fn write(path: &Path, content: &str) -> Result {
    std::fs::write(path, content).map_err(|e| format!("cannot write {}: {e}", path.display()))
}

/// A chore's own output, as far as somebody reads it.
pub fn emit(text: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stdout(), "{}", text.trim_end());
}
