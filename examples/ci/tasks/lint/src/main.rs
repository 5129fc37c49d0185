//! Lints a Rust crate: parses every source file among the inputs, prints what the rules forbid as `file:line:column`, and
//! fails where there is anything. Leaves `out/lint.json`. The rules are in `rules.rs`; this file reads, reports and decides.

mod rules;

use std::process::ExitCode;

use serde::{Deserialize, Serialize};
use sykli_guest::{Result, inputs, log, outputs, params, progress};

use crate::rules::Finding;

#[derive(Debug, Deserialize)]
struct Params {
    /// Where the crate is among the inputs.
    folder: String,
    /// The longest function, in lines.
    #[serde(default = "Params::max_lines")]
    max_lines: usize,
    /// The filters by which the tests are shared out; none where they are not.
    #[serde(default)]
    shards: Vec<String>,
}

impl Params {
    fn max_lines() -> usize {
        60
    }
}

/// What is left for later tasks: changes only where the findings do, so that they can stay cached.
#[derive(Debug, Serialize)]
struct Report {
    files: usize,
    tests: usize,
    findings: Vec<Finding>,
}

fn main() -> ExitCode {
    match task() {
        Ok(report) if report.findings.is_empty() => {
            println!(
                "{} files, {} tests: nothing to say",
                report.files, report.tests
            );
            ExitCode::SUCCESS
        }
        Ok(report) => {
            for Finding {
                file,
                line,
                column,
                rule,
                message,
            } in &report.findings
            {
                eprintln!("{file}:{line}:{column}: {rule}: {message}");
            }
            eprintln!(
                "findings: {}, files: {}",
                report.findings.len(),
                report.files
            );
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

fn task() -> Result<Report> {
    let params: Params = params()?;
    let files: Vec<_> = inputs::list(&params.folder)?
        .into_iter()
        .filter(|path| path.ends_with(".rs"))
        .collect();
    let (mut findings, mut tests) = (Vec::new(), Vec::new());
    for (done, file) in files.iter().enumerate() {
        progress(done as u64, files.len() as u64, file);
        let found = rules::check(file, &inputs::read_string(file)?, params.max_lines);
        log::debug(
            "linted",
            &[("file", file), ("findings", &found.findings.len())],
        );
        findings.extend(found.findings);
        tests.extend(found.tests);
    }
    findings.extend(rules::unshared(&tests, &params.shards));
    let report = Report {
        files: files.len(),
        tests: tests.len(),
        findings,
    };
    outputs::json("out/lint.json", &report)?;
    Ok(report)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sykli_guest::testing::Fake;

    #[test]
    fn findings_carry_their_place_and_are_left_as_json() {
        let host = Fake::new()
            .param("folder", "project")
            .input("project/src/lib.rs", "//! Doc.\n\npub fn bare() {}\n")
            .input("project/src/notes.txt", "pub fn not_rust() {}")
            .enter();
        let report = task().unwrap();
        assert_eq!(report.files, 1);
        let Finding {
            file, line, rule, ..
        } = &report.findings[0];
        assert_eq!(
            (file.as_str(), *line, *rule),
            ("project/src/lib.rs", 3, "missing-docs")
        );
        assert!(
            String::from_utf8(host.output("out/lint.json").unwrap())
                .unwrap()
                .contains("missing-docs")
        );
    }

    #[test]
    fn a_test_that_no_shard_runs_is_a_finding() {
        let source = "//! Far.\n#[test]\nfn lonely() {}\n";
        let fake = || {
            Fake::new()
                .param("folder", "p")
                .input("p/tests/far.rs", source)
        };
        let _host = fake().param("shards", ["near::"]).enter();
        assert_eq!(task().unwrap().findings[0].rule, "unshared-test");
        let _host = fake().param("shards", ["near::", "far::"]).enter();
        assert!(task().unwrap().findings.is_empty());
    }
}
