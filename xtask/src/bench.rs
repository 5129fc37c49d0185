//! `cargo xtask bench [--quick] [--json] [--only BENCH] [ROW…]`: builds the product and the benches in release, runs them
//! one after the other, and makes of what they say a table for the terminal or JSON; of a full run also the book's page and
//! its plots.
//!
//! `--render FILE…` makes the page of what earlier runs said (`target/bench.json`, or a part of each bench), without
//! measuring. What is measured is the benches' business (`tests/benches/solo` and `tests/benches/mesh`), how it looks is
//! `page`'s.

use crate::page;
use crate::process::{self, Result, cargo, cargo_command, root, say};
use crate::setup;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// In the order of the page.
const BENCHES: [&str; 2] = ["solo", "mesh"];
/// What is a list in what a bench says, and is put one after the other.
const LISTS: [&str; 4] = ["goals", "tables", "curves", "notes"];

/// Measures, or renders what was measured.
pub fn run(rest: &[String]) -> Result {
    let mut rest = process::words(rest);
    if let ["--render", files @ ..] = rest.as_slice() {
        let texts: Result<Vec<String>> = files.iter().map(|file| process::text(file)).collect();
        return write_page(&parse(&texts?)?);
    }
    let only = rest.iter().position(|word| *word == "--only").map(|at| {
        rest.remove(at);
        (at < rest.len()).then(|| rest.remove(at))
    });
    let benches: Vec<&str> = match only {
        None => BENCHES.to_vec(),
        Some(Some(one)) if BENCHES.contains(&one) => vec![one],
        Some(_) => return Err(format!("--only is one of {}", BENCHES.join(", "))),
    };
    let whole = only.is_none() && rest.iter().all(|arg| *arg == "--json");
    let texts = measure(&benches, &rest)?;
    let said = parse(&texts)?;
    let name = match only {
        Some(Some(one)) => format!("bench-{one}.json"),
        _ => "bench.json".to_owned(),
    };
    let kept = target().join(name);
    let text = format!("{said:#}");
    write(&kept, &text)?;
    if rest.contains(&"--json") {
        emit(&text);
    } else {
        emit(&page::text(&said));
    }
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

fn measure(benches: &[&str], rest: &[&str]) -> Result<Vec<String>> {
    setup::run()?;
    let sykli = [
        "build",
        "--release",
        "--quiet",
        "--workspace",
        "--bin",
        "sykli",
    ];
    cargo(&sykli)?;
    benches
        .iter()
        .map(|name| {
            let mut bench = cargo_command();
            bench.args(["bench", "--quiet", "--workspace", "--bench", name, "--"]);
            bench.args(rest.iter().filter(|arg| **arg != "--json"));
            // The rows' names come on stderr while it measures.
            bench.stderr(std::process::Stdio::inherit());
            process::output(&mut bench)
        })
        .collect()
}

/// What several benches said, as one document: the machine is the same.
fn parse(texts: &[String]) -> Result<Value> {
    let mut documents = texts.iter().map(|text| parse_one(text));
    let mut all = documents.next().ok_or("nothing to render")??;
    for document in documents {
        let mut more = document?;
        if more["effort"] != all["effort"] {
            return Err("one of them is of a quick run, the other is not".to_owned());
        }
        for list in LISTS {
            if let (Some(all), Some(more)) = (all[list].as_array_mut(), more[list].as_array_mut()) {
                all.append(more);
            }
        }
    }
    Ok(all)
}

fn parse_one(text: &str) -> Result<Value> {
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
