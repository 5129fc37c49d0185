//! Pipelines written by a program: the same document as `sykli.toml`, printed as JSON for `sykli run --from -`. It only
//! writes down what it is told: sykli validates the document, with the same errors as for one written by hand. Called by
//! programs beside a project, not by tasks.
//!
//! ```
//! use sykli_guest::Pipeline;
//! use sykli_guest::pipeline::{Foreach, Task};
//!
//! let mut pipeline = Pipeline::new("thumbnails");
//! pipeline.task(Task::from_component("list", "tasks/list.wasm").inputs(["photos/**/*.jpg"]).outputs(["index.json"]));
//! pipeline.task(
//!     Task::from_crate("shrink", "tasks/shrink")
//!         .after(["list"])
//!         .foreach(Foreach::glob("photos/**/*.jpg"))
//!         .args(["--width", "320", "{item}"])
//!         .outputs(["thumbs/**"])
//!         .memory("512MB")
//!         .retries(2),
//! );
//! let document = pipeline.to_json().unwrap();
//! assert!(document.contains(r#""foreach": {"#));
//! // fn main() -> std::process::ExitCode { sykli_guest::run(|| pipeline.print()) }
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write as _};

use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};
use serde_json::Value;

use crate::{Error, Result};

/// The version of the document.
pub const SCHEMA: &str = "sykli-wasm/1";

/// A pipeline: named tasks, in the order in which they are shown.
#[derive(Debug, Clone)]
pub struct Pipeline {
    name: String,
    tasks: Vec<Task>,
}

impl Pipeline {
    /// A pipeline without tasks.
    #[must_use]
    pub fn new(name: &str) -> Pipeline {
        Pipeline {
            name: name.to_owned(),
            tasks: Vec::new(),
        }
    }

    /// Adds a task.
    pub fn task(&mut self, task: Task) -> &mut Pipeline {
        self.tasks.push(task);
        self
    }

    /// The document.
    ///
    /// # Errors
    /// [`Error::DuplicateTask`]: JSON would silently keep the last of two.
    pub fn to_json(&self) -> Result<String> {
        let mut names = BTreeSet::new();
        if let Some(twice) = self.tasks.iter().find(|task| !names.insert(&task.name)) {
            return Err(Error::DuplicateTask(twice.name.clone()));
        }
        let document = Document {
            schema: SCHEMA,
            pipeline: Header { name: &self.name },
            task: Tasks(&self.tasks),
        };
        serde_json::to_string_pretty(&document).map_err(|source| Error::Json {
            what: format!("pipeline `{}`", self.name),
            source,
        })
    }

    /// Prints the document on standard output.
    ///
    /// # Errors
    /// As [`Pipeline::to_json`]; [`Error::Io`] where standard output is closed.
    pub fn print(&self) -> Result<()> {
        let text = self.to_json()?;
        let broken = |source| Error::Io {
            action: "write",
            path: "standard output".to_owned(),
            source,
        };
        writeln!(io::stdout(), "{text}").map_err(broken)
    }
}

#[derive(Serialize)]
struct Document<'a> {
    schema: &'a str,
    pipeline: Header<'a>,
    task: Tasks<'a>,
}

#[derive(Serialize)]
struct Header<'a> {
    name: &'a str,
}

/// Written as a map in the order of declaration, which a `BTreeMap` would lose.
struct Tasks<'a>(&'a [Task]);

impl Serialize for Tasks<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for task in self.0 {
            map.serialize_entry(&task.name, task)?;
        }
        map.end()
    }
}

/// One task of a pipeline. What is not set is left out of the document, so that sykli's defaults hold.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Task {
    #[serde(skip)]
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    component: Option<String>,
    #[serde(rename = "crate", skip_serializing_if = "Option::is_none")]
    krate: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    harness: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    inputs: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stdin: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    outputs: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    export: Option<bool>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    after: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    foreach: Option<Foreach>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    args: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    params: BTreeMap<String, Value>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    env: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Limits::is_empty")]
    limits: Limits,
    #[serde(skip_serializing_if = "Grants::is_empty")]
    grants: Grants,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    place: BTreeMap<String, Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retries: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    floats: Option<&'static str>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize)]
struct Limits {
    #[serde(skip_serializing_if = "Option::is_none")]
    fuel: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<String>,
}

impl Limits {
    fn is_empty(&self) -> bool {
        *self == Limits::default()
    }
}

#[derive(Debug, Clone, Default, PartialEq, Serialize)]
struct Grants {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    env: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    net: Vec<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    clock: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    random: bool,
}

impl Grants {
    fn is_empty(&self) -> bool {
        *self == Grants::default()
    }
}

/// What a task is fanned out over: one instance for each.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Foreach {
    /// Every workspace file that matches.
    Glob(String),
    /// This many equal parts, numbered.
    Shards(u32),
    /// Every one of these texts.
    Values(Vec<String>),
    /// Every combination of the named values.
    Matrix(BTreeMap<String, Vec<String>>),
}

impl Foreach {
    /// Every workspace file that matches.
    #[must_use]
    pub fn glob(pattern: &str) -> Foreach {
        Foreach::Glob(pattern.to_owned())
    }

    /// Every one of these texts.
    pub fn values<T: Into<String>>(values: impl IntoIterator<Item = T>) -> Foreach {
        Foreach::Values(owned(values))
    }

    /// Every combination of the named values: `{os}` and `{arch}` stand for them in args, outputs and params.
    #[must_use]
    pub fn matrix(axes: &[(&str, &[&str])]) -> Foreach {
        Foreach::Matrix(
            axes.iter()
                .map(|(name, values)| ((*name).to_owned(), owned(values.iter().copied())))
                .collect(),
        )
    }
}

impl Task {
    /// A task that runs a WASI component, or a core module for WASI preview 1.
    #[must_use]
    pub fn from_component(name: &str, path: &str) -> Task {
        Task {
            name: name.to_owned(),
            component: Some(path.to_owned()),
            ..Task::default()
        }
    }

    /// A task that runs the binary of a Rust crate, which sykli builds when its sources change.
    #[must_use]
    pub fn from_crate(name: &str, path: &str) -> Task {
        Task {
            name: name.to_owned(),
            krate: Some(path.to_owned()),
            ..Task::default()
        }
    }

    /// Runs the crate's test harness (what `cargo test` builds) instead of its binary.
    #[must_use]
    pub fn harness(mut self) -> Task {
        self.harness = true;
        self
    }

    /// Adds patterns of workspace files that it reads, at `/in/<path>`.
    #[must_use]
    pub fn inputs<T: Into<String>>(mut self, patterns: impl IntoIterator<Item = T>) -> Task {
        self.inputs.extend(owned(patterns));
        self
    }

    /// The workspace file that is its standard input.
    #[must_use]
    pub fn stdin(mut self, path: &str) -> Task {
        self.stdin = Some(path.to_owned());
        self
    }

    /// Adds patterns of files below `/out` that are kept.
    #[must_use]
    pub fn outputs<T: Into<String>>(mut self, patterns: impl IntoIterator<Item = T>) -> Task {
        self.outputs.extend(owned(patterns));
        self
    }

    /// Whether its outputs are also written into the project folder.
    #[must_use]
    pub fn export(mut self, export: bool) -> Task {
        self.export = Some(export);
        self
    }

    /// Adds tasks that it waits for, whose outputs it sees at `/in/<task>/`.
    #[must_use]
    pub fn after<T: Into<String>>(mut self, tasks: impl IntoIterator<Item = T>) -> Task {
        self.after.extend(owned(tasks));
        self
    }

    /// Fans it out.
    #[must_use]
    pub fn foreach(mut self, foreach: Foreach) -> Task {
        self.foreach = Some(foreach);
        self
    }

    /// Fans it out over this many numbered parts.
    #[must_use]
    pub fn shards(self, count: u32) -> Task {
        self.foreach(Foreach::Shards(count))
    }

    /// Adds arguments; `{item}`, `{index}` and `{count}` stand for the instance's.
    #[must_use]
    pub fn args<T: Into<String>>(mut self, args: impl IntoIterator<Item = T>) -> Task {
        self.args.extend(owned(args));
        self
    }

    /// Sets one of its params.
    #[must_use]
    pub fn param(mut self, key: &str, value: impl Into<Value>) -> Task {
        self.params.insert(key.to_owned(), value.into());
        self
    }

    /// Sets one of its environment variables.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Task {
        self.env.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Its fuel, about one unit an instruction: `"5G"`.
    #[must_use]
    pub fn fuel(mut self, fuel: &str) -> Task {
        self.limits.fuel = Some(fuel.to_owned());
        self
    }

    /// Its memory: `"512MB"`.
    #[must_use]
    pub fn memory(mut self, bytes: &str) -> Task {
        self.limits.memory = Some(bytes.to_owned());
        self
    }

    /// How long it may take: `"5m"`.
    #[must_use]
    pub fn timeout(mut self, duration: &str) -> Task {
        self.limits.timeout = Some(duration.to_owned());
        self
    }

    /// How much it may write: `"100MB"`.
    #[must_use]
    pub fn output_limit(mut self, bytes: &str) -> Task {
        self.limits.output = Some(bytes.to_owned());
        self
    }

    /// Adds environment variables of the user that it sees.
    #[must_use]
    pub fn grant_env<T: Into<String>>(mut self, names: impl IntoIterator<Item = T>) -> Task {
        self.grants.env.extend(owned(names));
        self
    }

    /// Adds hosts (`"example.org:443"`) that it may connect to. It is not pure then, so never cached.
    #[must_use]
    pub fn grant_net<T: Into<String>>(mut self, hosts: impl IntoIterator<Item = T>) -> Task {
        self.grants.net.extend(owned(hosts));
        self
    }

    /// Gives it the real time. It is not pure then, so never cached.
    #[must_use]
    pub fn grant_clock(mut self) -> Task {
        self.grants.clock = true;
        self
    }

    /// Gives it real randomness. It is not pure then, so never cached.
    #[must_use]
    pub fn grant_random(mut self) -> Task {
        self.grants.random = true;
        self
    }

    /// Sets a key of `place`: `labels`, `mesh`, `steal`, `verify`.
    #[must_use]
    pub fn place(mut self, key: &str, value: impl Into<Value>) -> Task {
        self.place.insert(key.to_owned(), value.into());
        self
    }

    /// How many more attempts a failure gets.
    #[must_use]
    pub fn retries(mut self, retries: u32) -> Task {
        self.retries = Some(retries);
        self
    }

    /// Makes its floating-point results comparable between architectures, at a price in speed.
    #[must_use]
    pub fn portable_floats(mut self) -> Task {
        self.floats = Some("portable");
        self
    }
}

fn owned<T: Into<String>>(texts: impl IntoIterator<Item = T>) -> Vec<String> {
    texts.into_iter().map(Into::into).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_keeps_the_order_and_leaves_out_what_is_not_set() -> Result<()> {
        let mut pipeline = Pipeline::new("p");
        pipeline.task(
            Task::from_crate("z", "tasks/z")
                .shards(3)
                .param("width", 320)
                .env("TZ", "UTC")
                .grant_env(["LANG"])
                .fuel("5G"),
        );
        pipeline.task(
            Task::from_component("a", "a.wasm")
                .after(["z"])
                .foreach(Foreach::matrix(&[("os", &["x", "y"])])),
        );
        let compact: String = pipeline.to_json()?.split_whitespace().collect();
        assert_eq!(
            compact,
            concat!(
                r#"{"schema":"sykli-wasm/1","pipeline":{"name":"p"},"task":{"#,
                r#""z":{"crate":"tasks/z","foreach":{"shards":3},"params":{"width":320},"#,
                r#""env":{"TZ":"UTC"},"limits":{"fuel":"5G"},"grants":{"env":["LANG"]}},"#,
                r#""a":{"component":"a.wasm","after":["z"],"foreach":{"matrix":{"os":["x","y"]}}}}}"#,
            )
        );
        Ok(())
    }

    #[test]
    fn two_tasks_of_one_name_are_refused() {
        let mut pipeline = Pipeline::new("p");
        pipeline
            .task(Task::from_crate("a", "x"))
            .task(Task::from_crate("a", "y"));
        assert!(matches!(pipeline.to_json(), Err(Error::DuplicateTask(name)) if name == "a"));
    }
}
