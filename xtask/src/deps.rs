//! Licences, bans and sources of every dependency, by the rules in `deny.toml`.
//!
//! cargo-deny does it where it is installed (with advisories, where its database can be had). Elsewhere the same file's
//! licences, bans and sources are checked here over `cargo metadata`, so that the rules hold on every machine and CI
//! need not compile another tool. Decides nothing that `deny.toml` does not say.

use crate::process::{Result, cargo_command, exists, output, root, say};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;

/// Checks the workspaces' lock files; the first finding of each crate is shown.
pub fn run() -> Result {
    if exists("cargo-deny") {
        let mut deny = cargo_command();
        deny.args([
            "deny",
            "--all-features",
            "check",
            "licenses",
            "bans",
            "sources",
        ]);
        return crate::process::run(&mut deny);
    }
    let text = fs::read_to_string(root().join("deny.toml"))
        .map_err(|e| format!("cannot read deny.toml: {e}"))?;
    let rules: toml::Table = text.parse().map_err(|e| format!("deny.toml: {e}"))?;
    let mut findings = Vec::new();
    let mut count = 0;
    for manifest in [
        "Cargo.toml",
        "examples/Cargo.toml",
        "tests/guests/Cargo.toml",
    ] {
        let metadata = output(cargo_command().args([
            "metadata",
            "--format-version=1",
            "--all-features",
            "--locked",
            "--manifest-path",
            manifest,
        ]))?;
        let metadata: Value =
            serde_json::from_str(&metadata).map_err(|e| format!("cargo metadata: {e}"))?;
        let built = built(manifest)?;
        let packages = metadata["packages"].as_array().into_iter().flatten();
        for package in packages.filter(|package| built.contains(&named(package))) {
            count += 1;
            findings.extend(finding(package, &rules));
        }
    }
    findings.sort();
    findings.dedup();
    if findings.is_empty() {
        say(&format!(
            "{count} packages: licences, bans and sources as deny.toml asks (cargo-deny is not installed)"
        ));
        Ok(())
    } else {
        Err(format!(
            "{} findings\n  {}",
            findings.len(),
            findings.join("\n  ")
        ))
    }
}

/// The packages that something of ours is built from, as `name version`. The lock file and cargo's metadata also name those
/// behind features that nobody turns on.
fn built(manifest: &str) -> Result<BTreeSet<String>> {
    let tree = output(cargo_command().args([
        "tree",
        "--workspace",
        "--all-features",
        "--target=all",
        "--edges=all",
        "--prefix=none",
        "--format={p}",
        "--locked",
        "--manifest-path",
        manifest,
    ]))?;
    // `name v1.2.3`, and perhaps where it is.
    let package = |line: &str| {
        let mut words = line.split_whitespace();
        let (name, version) = (words.next()?, words.next()?);
        Some(format!("{name} {}", version.trim_start_matches('v')))
    };
    Ok(tree.lines().filter_map(package).collect())
}

fn named(package: &Value) -> String {
    let text = |key: &str| package[key].as_str().unwrap_or("?").to_owned();
    format!("{} {}", text("name"), text("version"))
}

fn finding(package: &Value, rules: &toml::Table) -> Option<String> {
    let name = package["name"].as_str().unwrap_or("?");
    let version = package["version"].as_str().unwrap_or("?");
    let allowed = strings(rules, &["licenses", "allow"]);
    let licence = package["license"].as_str().unwrap_or_default();
    if !satisfied(licence, &allowed) {
        return Some(format!(
            "{name} {version}: licence \"{licence}\" is not allowed"
        ));
    }
    if strings(rules, &["bans", "deny"])
        .iter()
        .any(|banned| banned == name)
    {
        return Some(format!("{name} {version} is banned"));
    }
    // Paths of our own have no source; everything else comes from the registry.
    let registries = strings(rules, &["sources", "allow-registry"]);
    match package["source"].as_str() {
        Some(source) if !registries.iter().any(|r| source == format!("registry+{r}")) => {
            Some(format!("{name} {version} comes from {source}"))
        }
        _ => None,
    }
}

/// Does an SPDX expression hold with only `allowed` licences? Flat expressions, as crates write them: an AND of ORs in
/// parentheses, or an OR of ANDs without.
fn satisfied(expression: &str, allowed: &[String]) -> bool {
    let ok = |licence: &str| {
        allowed
            .iter()
            .any(|a| a == licence.trim_matches(['(', ')', ' ']))
    };
    let expression = expression.replace('/', " OR ");
    if expression.contains('(') {
        expression
            .split(" AND ")
            .all(|part| part.split(" OR ").any(ok))
    } else {
        expression
            .split(" OR ")
            .any(|part| part.split(" AND ").all(ok))
    }
}

fn strings(rules: &toml::Table, path: &[&str]) -> Vec<String> {
    let mut value = rules.get(path[0]);
    for key in &path[1..] {
        value = value.and_then(|v| v.get(key));
    }
    let names = value.and_then(toml::Value::as_array).into_iter().flatten();
    names
        .filter_map(|v| {
            v.as_str()
                .or_else(|| v.get("crate").and_then(toml::Value::as_str))
                .map(str::to_owned)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::satisfied;

    #[test]
    fn expressions() {
        let allowed = ["MIT".to_owned(), "Unicode-3.0".to_owned()];
        assert!(satisfied("MIT OR Apache-2.0", &allowed));
        assert!(satisfied("Apache-2.0/MIT", &allowed));
        assert!(satisfied("(MIT OR Apache-2.0) AND Unicode-3.0", &allowed));
        assert!(!satisfied("(MIT OR Apache-2.0) AND GPL-3.0", &allowed));
        assert!(!satisfied("MIT AND GPL-3.0", &allowed));
        assert!(!satisfied("", &allowed));
    }
}
