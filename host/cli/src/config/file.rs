//! Reads one settings file: TOML in, checked values with their lines out. Unknown keys, wrong types and, in a
//! project's file, whatever does not narrow are errors with the place. A missing file is an empty one. It merges
//! nothing. Called by `resolve.rs` and `config check`.

use std::ops::Range;
use std::path::Path;

use toml::de::{DeTable, DeValue};

use super::keys::{self, InProject, Key};
use super::value::{self, Value};
use crate::error::{CliError, Problem, SourceText, line_column};

/// A settings file longer than this is none.
const MAX_BYTES: u64 = 256 * 1024;

/// One value of a file.
#[derive(Clone, Debug)]
pub(crate) struct Raw {
    pub(crate) key: &'static Key,
    pub(crate) value: Value,
    /// From 1.
    pub(crate) line: usize,
}

/// Whose file it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    User,
    Project,
}

/// Reads and checks `path`.
pub(crate) fn read(path: &Path, owner: Owner) -> Result<Vec<Raw>, CliError> {
    let text = match std::fs::metadata(path) {
        Err(error)
            if matches!(
                error.kind(),
                std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(Vec::new());
        }
        Err(error) => {
            return Err(CliError::io(
                "config::unreadable",
                "read the settings file",
                path,
                &error,
            ));
        }
        Ok(meta) if !meta.is_file() => {
            return Err(CliError::usage(
                "config::unreadable",
                format!("{} is no regular file", path.display()),
            ));
        }
        Ok(meta) if meta.len() > MAX_BYTES => {
            return Err(CliError::usage(
                "config::too-large",
                format!("{} is too large for settings", path.display()),
            ));
        }
        Ok(_) => std::fs::read_to_string(path).map_err(|error| {
            CliError::io("config::unreadable", "read the settings file", path, &error)
        })?,
    };
    check(&text, owner).map_err(|problems| failed(path, text, problems))
}

fn failed(path: &Path, text: String, problems: Vec<Problem>) -> CliError {
    let name = path.display().to_string();
    let first = problems.first();
    let line = first
        .and_then(|p| p.span.as_ref())
        .map_or(1, |span| line_column(&text, span.start).0);
    let message = first.map_or_else(String::new, |problem| {
        format!("{} ({name}:{line})", problem.message)
    });
    let mut error = CliError::usage(
        first.map_or("config::invalid", |problem| &problem.code),
        message,
    );
    error.hints = first
        .map(|problem| problem.hints.clone())
        .unwrap_or_default();
    error.source = Some(SourceText { name, text });
    error.problems = problems;
    error
}

/// The values in `text`, or everything that is wrong with it.
pub(crate) fn check(text: &str, owner: Owner) -> Result<Vec<Raw>, Vec<Problem>> {
    let table = DeTable::parse(text).map_err(|error| {
        vec![problem(
            "config::syntax",
            error.message().to_owned(),
            error.span(),
            "here",
            "see https://toml.io",
        )]
    })?;
    let mut found = Found {
        text,
        owner,
        values: Vec::new(),
        problems: Vec::new(),
    };
    found.table("", table.get_ref());
    if found.problems.is_empty() {
        Ok(found.values)
    } else {
        found
            .problems
            .sort_by_key(|problem| problem.span.as_ref().map_or(0, |span| span.start));
        Err(found.problems)
    }
}

struct Found<'a> {
    text: &'a str,
    owner: Owner,
    values: Vec<Raw>,
    problems: Vec<Problem>,
}

impl Found<'_> {
    fn table(&mut self, prefix: &str, table: &DeTable<'_>) {
        for (name, value) in table {
            let dotted = match prefix {
                "" => name.get_ref().to_string(),
                _ => format!("{prefix}.{}", name.get_ref()),
            };
            match (value.get_ref(), keys::find(&dotted)) {
                (DeValue::Table(inner), None) if keys::is_table(&dotted) => {
                    self.table(&dotted, inner)
                }
                (_, Some(key)) => self.value(key, name.span(), value.get_ref(), value.span()),
                (_, None) => self.unknown(&dotted, name.span()),
            }
        }
    }

    fn value(
        &mut self,
        key: &'static Key,
        name: Range<usize>,
        value: &DeValue<'_>,
        at: Range<usize>,
    ) {
        let line = line_column(self.text, name.start).0;
        if self.owner == Owner::Project && key.project == InProject::Refused {
            let message = format!("`{}` cannot be set by a project, on line {line}", key.name);
            self.widens(message, name);
            return;
        }
        match value::from_toml(key.kind, value) {
            Ok(value)
                if self.owner == Owner::Project
                    && !value::can_narrow(key.project, key.kind, &value) =>
            {
                let value = value.show();
                let name = key.name;
                self.widens(
                    format!("`{name}` cannot be set to {value} by a project, on line {line}"),
                    at,
                );
            }
            Ok(value) => self.values.push(Raw { key, value, line }),
            Err(expected) => self.problems.push(problem(
                "config::value",
                format!("`{}`: {expected}", key.name),
                Some(at),
                "this value",
                &format!("{} is {}", key.name, key.about),
            )),
        }
    }

    /// A project wants more than narrowing.
    fn widens(&mut self, message: String, at: Range<usize>) {
        self.problems.push(problem(
            "config::project-widens",
            message,
            Some(at),
            "belongs into the user's file",
            "a project's .sykli/config.toml only narrows: jobs, limits.* and consent.*; put this into your own file \
             (`sykli config path`)",
        ));
    }

    fn unknown(&mut self, dotted: &str, at: Range<usize>) {
        let hint = match keys::suggest(dotted) {
            _ if dotted.rsplit('.').next() == Some("identity") => {
                "a machine's identity is its key in $XDG_DATA_HOME/sykli, and no setting (`sykli id`)".to_owned()
            }
            Some(near) => format!("did you mean `{near}`?"),
            None => "`sykli config show` lists all settings".to_owned(),
        };
        let message = format!("there is no setting `{dotted}`");
        self.problems.push(problem(
            "config::unknown-key",
            message,
            Some(at),
            "unknown",
            &hint,
        ));
    }
}

fn problem(
    code: &str,
    message: String,
    span: Option<Range<usize>>,
    label: &str,
    hint: &str,
) -> Problem {
    Problem {
        code: code.to_owned(),
        message,
        span,
        label: label.to_owned(),
        hints: vec![hint.to_owned()],
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn codes(text: &str, owner: Owner) -> Vec<String> {
        check(text, owner)
            .unwrap_err()
            .into_iter()
            .map(|problem| format!("{} {}", problem.code, problem.message))
            .collect()
    }

    #[test]
    fn a_project_may_narrow_and_nothing_else() {
        let text = "jobs = 2\n\n[consent]\nmode = \"policy\"\n";
        assert_eq!(
            codes(text, Owner::Project),
            [
                "config::project-widens `consent.mode` cannot be set to policy by a project, on line 4"
            ]
        );
        let user = check(text, Owner::User).unwrap();
        assert_eq!(
            user.iter()
                .map(|raw| (raw.key.name, raw.line))
                .collect::<Vec<_>>(),
            [("consent.mode", 4), ("jobs", 1)]
        );
        let narrow =
            "[consent]\nmode = \"ask\"\nwhen = { on_battery = false, idle_for = \"5m\" }\n";
        assert_eq!(check(narrow, Owner::Project).unwrap().len(), 3);
    }

    #[test]
    fn who_this_machine_is_and_whom_it_meets_is_no_projects_matter() {
        for line in [
            "node.name = \"x\"",
            "node.profile = \"lan\"",
            "node.labels = []",
            "node.stealing = \"disabled\"",
            "node.slots = 1",
            "mesh.trust = []",
            "mesh.listen = []",
            "mesh.known = []",
            "mesh.mdns = false",
            "consent.when.metered = true",
            "consent.when = { on_battery = true }",
        ] {
            let problems = check(&format!("jobs = 1\n{line}\n"), Owner::Project).unwrap_err();
            let [problem] = problems.as_slice() else {
                panic!("{line}: {problems:?}")
            };
            assert_eq!(problem.code, "config::project-widens", "{line}");
            assert!(
                problem.message.ends_with("on line 2"),
                "{}",
                problem.message
            );
            assert!(problem.hints[0].contains("config path"));
        }
        let problems = check("[node]\nidentity = \"/k\"\n", Owner::Project).unwrap_err();
        assert!(problems[0].hints[0].contains("sykli id"), "{problems:?}");
    }

    #[test]
    fn everything_wrong_is_said_at_once_in_order() {
        let text = "jbos = 2\ncolor = \"pink\"\n[cache]\nmax_size = 5\n";
        assert_eq!(
            codes(text, Owner::User),
            [
                "config::unknown-key there is no setting `jbos`",
                "config::value `color`: `pink` is not one of auto, always, never",
                "config::value `cache.max_size`: expected a size such as \"500MB\" or \"2GiB\"",
            ]
        );
        assert!(codes("jobs = \n", Owner::User)[0].starts_with("config::syntax"));
    }

    #[test]
    fn the_example_of_the_documentation_is_valid() {
        let text = include_str!("example.toml");
        let values = check(text, Owner::User).unwrap();
        assert!(values.len() > 10, "{values:?}");
    }
}
