//! The walls that the compiler does not keep: core's purity, one place for compiled code, files that introduce
//! themselves, a book whose links hold. Only reads. Called by `cargo xtask walls` and by CI.

use crate::process::{Result, cargo, cargo_command, command, output, root, say};
use std::fs;
use std::path::{Path, PathBuf};

/// What sykli-core may never stand on: IO, async, a clock or a generator behind its back.
const IMPURE: [&str; 9] = [
    "tokio",
    "libp2p",
    "wasmtime",
    "rand",
    "getrandom",
    "fastrand",
    "rustix",
    "libc",
    "async-std",
];
/// About 600 is the house's measure; this is where it stops being "about".
const MOST_LINES: usize = 700;

/// Every wall, all findings at once.
pub fn run() -> Result {
    let mut findings = Vec::new();
    purity(&mut findings)?;
    sources(&mut findings)?;
    book(&mut findings);
    promises(&mut findings)?;
    if findings.is_empty() {
        say("walls hold");
        Ok(())
    } else {
        Err(format!(
            "{} findings\n  {}",
            findings.len(),
            findings.join("\n  ")
        ))
    }
}

fn purity(findings: &mut Vec<String>) -> Result {
    let tree = output(cargo_command().args([
        "tree",
        "-p",
        "sykli-core",
        "--edges",
        "normal",
        "--prefix",
        "none",
        "--format",
        "{p}",
    ]))?;
    for line in tree.lines() {
        let name = line.split(' ').next().unwrap_or_default();
        if IMPURE.contains(&name) {
            findings.push(format!("sykli-core depends on {name}: core is pure"));
        }
    }
    cargo(&[
        "check",
        "--quiet",
        "-p",
        "sykli-core",
        "--target",
        "wasm32-wasip2",
    ])
}

/// Every promise of the specification names a test that is there: `path::function`, in code spans of its tables.
fn promises(findings: &mut Vec<String>) -> Result {
    let page = root().join("docs/src/specification.md");
    let text = fs::read_to_string(&page).map_err(|e| format!("{}: {e}", page.display()))?;
    let rows = text.lines().filter(|line| line.starts_with("| "));
    let named: Vec<(&str, &str)> = rows
        .flat_map(|row| row.split('`').skip(1).step_by(2))
        .filter_map(|span| span.split_once(".rs::"))
        .collect();
    if named.is_empty() {
        findings.push(format!("{} names no test", page.display()));
    }
    for (file, test) in named {
        let source = fs::read_to_string(root().join(format!("{file}.rs"))).unwrap_or_default();
        if !source.contains(&format!("fn {test}(")) {
            findings.push(format!(
                "the specification names {file}.rs::{test}: there is none"
            ));
        }
    }
    Ok(())
}

fn sources(findings: &mut Vec<String>) -> Result {
    let listed = output(command("git").args([
        "ls-files",
        "--cached",
        "--others",
        "--exclude-standard",
        "*.rs",
    ]))?;
    let product = ["runtime/src", "host/", "guest-sdk/src"];
    let outside = concat!("../", "shared");
    // Under whatever name the type is imported: `Component::deserialize`, `Compiled::deserialize_file`, ….
    let loading = [
        concat!("::deserial", "ize("),
        concat!("::deserial", "ize_file("),
        concat!("::deserial", "ize_raw("),
    ];
    let loads = |line: &str| {
        !line.trim_start().starts_with("//") && loading.iter().any(|call| line.contains(call))
    };
    let mut loaders = Vec::new();
    for path in listed.lines() {
        let Ok(text) = fs::read_to_string(root().join(path)) else {
            continue;
        };
        if !text.starts_with("//!") && !text.starts_with("#!") {
            findings.push(format!(
                "{path} does not open with //!: what it does, what it never does, who calls it"
            ));
        }
        let lines = text.lines().count();
        if lines > MOST_LINES {
            findings.push(format!(
                "{path} has {lines} lines: split it (at most {MOST_LINES})"
            ));
        }
        if product.iter().any(|folder| path.starts_with(folder)) {
            if text.contains(outside) {
                findings.push(format!("{path} reads {outside}: the product may not"));
            }
            if text.lines().any(loads) && text.contains("wasmtime") {
                loaders.push(path.to_owned());
            }
        }
    }
    if loaders != ["runtime/src/engine.rs"] {
        findings.push(format!(
            "compiled code is loaded in [{}]: runtime/src/engine.rs alone does that",
            loaders.join(", ")
        ));
    }
    Ok(())
}

/// Every relative link of the book, the README and the examples' READMEs leads to a file.
fn book(findings: &mut Vec<String>) {
    let mut pages = vec![root().join("README.md"), root().join("CHANGELOG.md")];
    for folder in ["docs", "examples"] {
        markdown_below(&root().join(folder), &mut pages);
    }
    for page in pages {
        let Ok(text) = fs::read_to_string(&page) else {
            findings.push(format!("{} cannot be read", page.display()));
            continue;
        };
        for link in links(&text) {
            let path = link.split('#').next().unwrap_or_default();
            let folder = page.parent().unwrap_or(root());
            if !path.is_empty() && !folder.join(path).exists() {
                findings.push(format!("{}: {link} leads nowhere", page.display()));
            }
        }
    }
}

fn markdown_below(folder: &Path, pages: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for path in entries.flatten().map(|entry| entry.path()) {
        let skipped = path
            .file_name()
            .is_some_and(|name| name == "target" || name == "book");
        if path.is_dir() && !skipped {
            markdown_below(&path, pages);
        } else if path.extension().is_some_and(|e| e == "md") {
            pages.push(path);
        }
    }
}

/// The targets of `[text](target)` that are paths of this repository.
fn links(text: &str) -> Vec<&str> {
    text.split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
        .filter(|target| {
            !target.contains("://") && !target.starts_with('#') && !target.starts_with("mailto:")
        })
        .collect()
}
