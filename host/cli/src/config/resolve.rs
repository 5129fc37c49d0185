//! Decides which value of a setting holds: flag > variable > user file > project file > default, and for what a
//! project may narrow, the narrower of the project's and what stands without it. A flag or variable is the user's own
//! word and holds against the project. Pure: the environment and the files' contents are handed in.

use std::path::PathBuf;

use sykli_node::paths::Dirs;

use super::file::{self, Owner, Raw};
use super::keys::{self, InProject, Key};
use super::mesh;
use super::value::{Value, from_text, narrow};
use super::{Ceilings, ColorWhen, Files, Format, Settings};
use crate::error::CliError;
use crate::render::term::Env;

/// Without `cache.max_size`.
const DEFAULT_CACHE_BYTES: u64 = 20_000_000_000;

/// What the command line says about settings.
#[derive(Clone, Debug, Default)]
pub(crate) struct Flags {
    pub(crate) jobs: Option<String>,
    pub(crate) color: Option<ColorWhen>,
    pub(crate) format: Option<Format>,
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Default,
    Project { file: PathBuf, line: usize },
    User { file: PathBuf, line: usize },
    Variable(&'static str),
    Flag(&'static str),
}

impl Origin {
    /// Its kind in words.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Origin::Default => "default",
            Origin::Project { .. } => "project file",
            Origin::User { .. } => "user file",
            Origin::Variable(_) => "variable",
            Origin::Flag(_) => "flag",
        }
    }

    /// Where exactly.
    pub(crate) fn place(&self) -> Option<String> {
        match self {
            Origin::Default => None,
            Origin::Project { file, line } | Origin::User { file, line } => {
                Some(format!("{}:{line}", file.display()))
            }
            Origin::Variable(name) | Origin::Flag(name) => Some((*name).to_owned()),
        }
    }
}

/// One setting with its value in force, if it has one.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) key: &'static Key,
    pub(crate) value: Value,
    pub(crate) origin: Origin,
}

/// All settings in force.
#[derive(Clone, Debug)]
pub(crate) struct Resolved {
    pub(crate) settings: Settings,
    /// In the order of the table; what nothing sets and nothing needs is absent.
    pub(crate) entries: Vec<Entry>,
}

/// Resolves every setting.
///
/// # Errors
/// The first file or value that is invalid, with its place.
pub(crate) fn resolve(
    env: Env<'_>,
    flags: &Flags,
    files: &Files,
    dirs: Dirs,
) -> Result<Resolved, CliError> {
    let user = file::read(&files.user, Owner::User)?;
    let project = match &files.project {
        Some(path) => file::read(path, Owner::Project)?,
        None => Vec::new(),
    };
    let mut entries = Vec::with_capacity(keys::all().count());
    for key in keys::all() {
        // Only where nothing else says anything: how many cores may be used takes some files of the kernel's to know.
        let default = || default(key, &dirs).or_else(|| mesh::default(key.name, &entries));
        if let Some((value, origin)) = entry(key, env, flags, (&user, &project), files, default)? {
            entries.push(Entry { key, value, origin });
        }
    }
    Ok(Resolved {
        settings: settings(&entries, dirs),
        entries,
    })
}

/// What is wrong with the files, each file for itself.
pub(crate) fn check_files(files: &Files) -> Vec<CliError> {
    let user = file::read(&files.user, Owner::User).err();
    let project = files
        .project
        .as_ref()
        .and_then(|path| file::read(path, Owner::Project).err());
    user.into_iter().chain(project).collect()
}

type Sourced = (Value, Origin);

fn entry(
    key: &'static Key,
    env: Env<'_>,
    flags: &Flags,
    (user, project): (&[Raw], &[Raw]),
    files: &Files,
    default: impl FnOnce() -> Option<Value>,
) -> Result<Option<Sourced>, CliError> {
    if let Some(found) = from_flag(key, flags)? {
        return Ok(Some(found));
    }
    if let Some(found) = from_variable(key, env)? {
        return Ok(Some(found));
    }
    let of = |raws: &[Raw]| raws.iter().find(|raw| raw.key.name == key.name).cloned();
    let wide = of(user)
        .map(|raw| {
            let (file, line) = (files.user.clone(), raw.line);
            (raw.value, Origin::User { file, line })
        })
        .or_else(|| default().map(|value| (value, Origin::Default)));
    let Some((said, file)) = of(project).zip(files.project.clone()) else {
        return Ok(wide);
    };
    let narrower = match &wide {
        Some((wide, _)) => narrow(key.project, key.kind, wide, &said.value),
        // Any bound is narrower than none. Nothing else has no value, or a project's word would be the only one.
        None => (key.project == InProject::Lowers).then_some(said.value),
    };
    let line = said.line;
    Ok(narrower
        .map(|value| (value, Origin::Project { file, line }))
        .or(wide))
}

fn from_flag(key: &Key, flags: &Flags) -> Result<Option<Sourced>, CliError> {
    let given = match key.name {
        "jobs" => flags.jobs.clone().map(|text| (text, "--jobs")),
        "color" => flags.color.map(|when| (name_of(&when), "--color")),
        "format" => flags.format.map(|format| (name_of(&format), "--format")),
        _ => None,
    };
    let Some((text, flag)) = given else {
        return Ok(None);
    };
    let value = from_text(key.kind, &text).map_err(|expected| {
        CliError::usage("cli::value", format!("{flag}: {expected}")).hint("see `sykli help`")
    })?;
    Ok(Some((value, Origin::Flag(flag))))
}

fn name_of(value: &impl clap::ValueEnum) -> String {
    value
        .to_possible_value()
        .map(|value| value.get_name().to_owned())
        .unwrap_or_default()
}

fn from_variable(key: &Key, env: Env<'_>) -> Result<Option<Sourced>, CliError> {
    let Some(name) = key.env else { return Ok(None) };
    let Some(text) = env(name).filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let value = from_text(key.kind, &text).map_err(|expected| {
        CliError::usage("config::variable", format!("{name}: {expected}")).hint(format!(
            "unset it (`unset {name}`) or give it a value that is"
        ))
    })?;
    Ok(Some((value, Origin::Variable(name))))
}

fn default(key: &Key, dirs: &Dirs) -> Option<Value> {
    Some(match key.name {
        "jobs" => {
            Value::Count(std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64))
        }
        "color" => Value::Text("auto".to_owned()),
        "format" => Value::Text("text".to_owned()),
        "cache.dir" => Value::Text(dirs.cache.display().to_string()),
        "cache.max_size" => Value::Size(DEFAULT_CACHE_BYTES),
        _ => return None,
    })
}

fn settings(entries: &[Entry], dirs: Dirs) -> Settings {
    let value = |name: &str| {
        entries
            .iter()
            .find(|entry| entry.key.name == name)
            .map(|entry| &entry.value)
    };
    let number = |name: &str| value(name).and_then(Value::number);
    let text = |name: &str| match value(name) {
        Some(Value::Text(text)) => text.as_str(),
        _ => "",
    };
    let dirs = match text("cache.dir") {
        "" => dirs,
        cache => Dirs {
            cache: PathBuf::from(cache),
            ..dirs
        },
    };
    Settings {
        jobs: number("jobs")
            .and_then(|jobs| u32::try_from(jobs).ok())
            .unwrap_or(1),
        color: enumerated(text("color")),
        format: enumerated(text("format")),
        cache_max_bytes: number("cache.max_size").unwrap_or(DEFAULT_CACHE_BYTES),
        ceilings: Ceilings {
            fuel: number("limits.fuel").unwrap_or(u64::MAX),
            memory_bytes: number("limits.memory").unwrap_or(u64::MAX),
            timeout_ms: number("limits.timeout").unwrap_or(u64::MAX),
            output_bytes: number("limits.output").unwrap_or(u64::MAX),
        },
        dirs,
    }
}

/// The table allows only names that the types know.
fn enumerated<T: clap::ValueEnum + Default>(text: &str) -> T {
    T::from_str(text, false).unwrap_or_default()
}

/// Variables that look like ours and are none, with the one that was probably meant.
pub(crate) fn strange_variables(
    names: impl Iterator<Item = String>,
) -> Vec<(String, Option<&'static str>)> {
    let known = || keys::all().filter_map(|key| key.env).chain(["SYKLI_LOG"]);
    names
        .filter(|name| name.starts_with("SYKLI_") && !known().any(|known| known == name))
        .map(|name| {
            let near = keys::closest(&name, known());
            (name, near)
        })
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::path::Path;

    fn with(
        user: &str,
        project: &str,
        vars: &[(&str, &str)],
        flags: &Flags,
    ) -> Result<Resolved, CliError> {
        let temp = tempfile::tempdir().unwrap();
        let files = Files {
            user: temp.path().join("user.toml"),
            project: Some(temp.path().join("project.toml")),
        };
        std::fs::write(&files.user, user).unwrap();
        std::fs::write(files.project.as_ref().unwrap(), project).unwrap();
        let env = |name: &str| {
            vars.iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| (*value).to_owned())
        };
        resolve(&env, flags, &files, Dirs::under(Path::new("/x")))
    }

    fn jobs(resolved: &Resolved) -> (u32, &'static str) {
        let origin = &resolved
            .entries
            .iter()
            .find(|entry| entry.key.name == "jobs")
            .unwrap()
            .origin;
        (resolved.settings.jobs, origin.kind())
    }

    #[test]
    fn the_nearest_word_holds_and_a_project_only_narrows() {
        let none = Flags::default();
        let flag = Flags {
            jobs: Some("9".to_owned()),
            ..Flags::default()
        };
        let env = [("SYKLI_JOBS", "7")];
        assert_eq!(
            jobs(&with("jobs = 5", "jobs = 3", &env, &flag).unwrap()),
            (9, "flag")
        );
        assert_eq!(
            jobs(&with("jobs = 5", "jobs = 3", &env, &none).unwrap()),
            (7, "variable")
        );
        assert_eq!(
            jobs(&with("jobs = 5", "jobs = 3", &[], &none).unwrap()),
            (3, "project file")
        );
        assert_eq!(
            jobs(&with("jobs = 5", "jobs = 50", &[], &none).unwrap()),
            (5, "user file")
        );
        assert_eq!(jobs(&with("", "", &[], &none).unwrap()).1, "default");
    }

    #[test]
    fn an_unset_ceiling_is_narrowed_by_whatever_a_project_says() {
        let resolved = with("", "[limits]\nmemory = \"1GB\"", &[], &Flags::default()).unwrap();
        assert_eq!(resolved.settings.ceilings.memory_bytes, 1_000_000_000);
        assert_eq!(resolved.settings.ceilings.fuel, u64::MAX);
    }

    #[test]
    fn wrong_values_name_their_flag_or_variable() {
        let flag = Flags {
            jobs: Some("many".to_owned()),
            ..Flags::default()
        };
        assert_eq!(with("", "", &[], &flag).unwrap_err().code, "cli::value");
        let error = with("", "", &[("SYKLI_COLOR", "red")], &Flags::default()).unwrap_err();
        assert_eq!(error.code, "config::variable");
        assert!(error.message.contains("SYKLI_COLOR"), "{error}");
    }

    #[test]
    fn misspelt_variables_are_noticed() {
        let names = ["SYKLI_JBOS", "SYKLI_LOG", "HOME", "SYKLI_JOBS"].map(str::to_owned);
        assert_eq!(
            strange_variables(names.into_iter()),
            [("SYKLI_JBOS".to_owned(), Some("SYKLI_JOBS"))]
        );
    }
}
