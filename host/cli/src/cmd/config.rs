//! `sykli config`: the settings in force, whether the files are right, where they are.

use super::Context;
use crate::config::{Files, check_files, strange_variables};
use crate::error::{CliError, Exit, Outcome};
use crate::render;
use crate::render::diagnose::Shown;
use crate::render::json::{ConfigDoc, Setting};
use crate::render::term::{Tone, paint};

/// `config show`.
pub(crate) fn show(context: &Context, origin: bool) -> Outcome {
    let settings: Vec<Setting> = context
        .resolved
        .entries
        .iter()
        .map(|entry| Setting {
            key: entry.key.name.to_owned(),
            value: entry.value.show(),
            origin: entry.origin.kind().to_owned(),
            place: entry.origin.place(),
        })
        .collect();
    if context.format().is_machine() {
        render::document(
            &ConfigDoc {
                schema: "sykli.config/1",
                settings,
            },
            context.format(),
        );
        return Ok(Exit::Passed);
    }
    let width = |of: fn(&Setting) -> usize| settings.iter().map(of).max().unwrap_or(0);
    let (keys, values) = (
        width(|setting| setting.key.chars().count()),
        width(|setting| setting.value.chars().count()),
    );
    for setting in &settings {
        let line = format!("{:keys$} = {:values$}", setting.key, setting.value);
        let from = match (&setting.place, origin) {
            (_, false) => String::new(),
            (None, true) => format!("  {}", setting.origin),
            (Some(place), true) => format!("  {} {place}", setting.origin),
        };
        let line = if from.is_empty() {
            line.trim_end()
        } else {
            line.as_str()
        };
        render::out(&format!(
            "{line}{}\n",
            paint(&from, Tone::Quiet, context.term.out.color)
        ));
    }
    Ok(Exit::Passed)
}

/// `config check`: every problem of both files and of the variables.
pub(crate) fn check(files: &Files, shown: Shown) -> Outcome {
    let mut errors = check_files(files);
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    for (name, near) in strange_variables(names) {
        let hint = near.map_or(
            "`sykli config show` lists all settings".to_owned(),
            |near| format!("did you mean {near}?"),
        );
        errors.push(
            CliError::usage(
                "config::unknown-variable",
                format!("no setting reads {name}"),
            )
            .hint(hint),
        );
    }
    // All but the last are shown here; the last one is this command's error.
    let last = errors.pop();
    for error in errors {
        shown.error(&error);
    }
    match last {
        Some(error) => Err(error),
        None => {
            render::out("settings are valid\n");
            Ok(Exit::Passed)
        }
    }
}

/// `config path`.
pub(crate) fn path(files: &Files) -> Outcome {
    let there = |path: &std::path::Path| if path.exists() { "" } else { " (not there)" };
    render::out(&format!("{}{}\n", files.user.display(), there(&files.user)));
    if let Some(project) = &files.project {
        render::out(&format!("{}{}\n", project.display(), there(project)));
    }
    Ok(Exit::Passed)
}
