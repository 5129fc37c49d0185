//! From a document to a pipeline: the top level, and the order in which things are judged.
//!
//! Tasks are read by [`super::task`], judged together by [`super::validate`].

use std::collections::BTreeMap;

use super::document::{self, Entry, Node, Value};
use super::fields::{Fields, Keys, Reader};
use super::task::{self, Draft};
use super::{
    Format, MAX_EDGES, MAX_NAME_BYTES, MAX_PIPELINE_NAME_BYTES, MAX_TASKS, Pipeline, SCHEMA,
    validate,
};
use crate::diagnostic::{Diagnostic, quote, suggestion};

const TOP: Keys = Keys {
    known: &["schema", "pipeline", "task"],
    instead: &[
        ("tasks", "each task is a table of its own: `[task.NAME]`"),
        ("name", "write `[pipeline]` and below it `name = \"…\"`"),
        ("version", "the version is in `schema = \"sykli-wasm/1\"`"),
    ],
};
const PIPELINE: Keys = Keys {
    known: &["name"],
    instead: &[],
};

/// Keys by which a task of a shell pipeline says what to run.
pub(super) const SHELL_KEYS: [&str; 6] = ["run", "cmd", "command", "script", "shell", "steps"];
/// What to do instead.
pub(super) const SHELL_HINT: &str = "a task is a WebAssembly component, not a shell line: write `component = \"tasks/NAME.wasm\"`, or \
     `crate = \"tasks/NAME\"` after `sykli new task NAME`";

pub(super) fn pipeline(text: &str, format: Format) -> Result<Pipeline, Vec<Diagnostic>> {
    let root = document::read(text, format).map_err(|one| vec![one])?;
    let mut reader = Reader::default();
    let read = document_fields(&mut reader, &root, format);
    match read {
        Some(pipeline) if reader.is_clean() => Ok(pipeline),
        _ => Err(reader.into_found()),
    }
}

/// Reads the whole document. What comes back is only a pipeline if the reader is clean.
fn document_fields(reader: &mut Reader, root: &Node, format: Format) -> Option<Pipeline> {
    let top = reader.table(root, "")?;
    if let Some(shell) = shell_pipeline(top) {
        reader.report(shell);
        return None;
    }
    if !schema(reader, root, top, format) {
        return None;
    }
    reader.fields(root, "", &TOP);
    let name = top
        .get("pipeline")
        .and_then(|node| pipeline_name(reader, node))
        .unwrap_or("pipeline");
    let drafts = tasks(reader, root, top)?;
    let tasks = connect(reader, drafts);
    let pipeline = Pipeline {
        name: name.to_owned(),
        tasks,
    };
    validate::whole(reader, &pipeline);
    Some(pipeline)
}

/// Recognises a pipeline of shell lines, as a whole: nothing else that could be said of it would help.
fn shell_pipeline(top: Fields<'_>) -> Option<Diagnostic> {
    let is_shell = |node: &Node| {
        let Value::Table(entries) = &node.value else {
            return false;
        };
        entries
            .iter()
            .any(|entry| SHELL_KEYS.contains(&entry.key.as_str()))
    };
    for entry in top.entries() {
        let shell = match (entry.key.as_str(), &entry.node.value) {
            ("task" | "tasks" | "steps" | "jobs", Value::Array(items)) => {
                items.iter().any(is_shell)
            }
            ("tasks" | "jobs", Value::Table(tasks)) => {
                tasks.iter().any(|task| is_shell(&task.node))
            }
            _ => false,
        };
        if shell {
            let message = format!(
                "{} holds shell lines, which are not run here",
                quote(&entry.key)
            );
            let diagnostic = entry
                .key_at
                .diagnostic("pipeline::shell-task", message)
                .label("shell lines");
            return Some(
                diagnostic
                    .hint(SHELL_HINT)
                    .hint("`sykli init` writes a pipeline to begin with"),
            );
        }
    }
    None
}

/// Checks the schema. False where reading on makes no sense.
fn schema(reader: &mut Reader, root: &Node, top: Fields<'_>, format: Format) -> bool {
    let line = match format {
        Format::Toml => format!("schema = \"{SCHEMA}\""),
        Format::Json => format!("\"schema\": \"{SCHEMA}\""),
    };
    let Some(node) = top.get("schema") else {
        let mut missing = root.at.diagnostic(
            "pipeline::missing-schema",
            "the pipeline does not say its `schema`",
        );
        missing.span = missing.span.map(|span| span.start..span.start);
        let place = if format == Format::Toml {
            "as its first line"
        } else {
            "at its top level"
        };
        reader.report(
            missing
                .label("missing here")
                .hint(format!("write `{line}` {place}")),
        );
        return true;
    };
    let Some(found) = reader.string(node, "schema") else {
        return false;
    };
    if found != SCHEMA {
        let message = format!("the schema {} is not known", quote(found));
        let diagnostic = node
            .at
            .diagnostic("pipeline::bad-schema", message)
            .label("unknown schema");
        reader.report(diagnostic.hint(format!("this version reads `{line}`")));
        return false;
    }
    true
}

fn pipeline_name<'a>(reader: &mut Reader, node: &'a Node) -> Option<&'a str> {
    let fields = reader.fields(node, "pipeline", &PIPELINE)?;
    let node = fields.get("name")?;
    let name = reader.string(node, "pipeline.name")?;
    if name.is_empty() || name.len() > MAX_PIPELINE_NAME_BYTES || name.chars().any(char::is_control)
    {
        let message = format!("{} is not a name", quote(name));
        let hint = format!("1 to {MAX_PIPELINE_NAME_BYTES} bytes, without control characters");
        reader.report(node.at.diagnostic("pipeline::bad-name", message).hint(hint));
    }
    Some(name)
}

/// Reads the tasks, each on its own.
fn tasks(reader: &mut Reader, root: &Node, top: Fields<'_>) -> Option<Vec<Draft>> {
    let entries =
        match top.get("task") {
            Some(node) => match &node.value {
                Value::Array(_) => {
                    let message = "`task` must be a table, found a list";
                    let diagnostic = node
                        .at
                        .diagnostic("pipeline::wrong-type", message)
                        .label("expected a table");
                    reader.report(diagnostic.hint(
                        "a task's name is in its header: `[task.NAME]` instead of `[[task]]`",
                    ));
                    return None;
                }
                _ => reader.table(node, "task")?.entries(),
            },
            None => &[],
        };
    if entries.is_empty() {
        let diagnostic = root
            .at
            .diagnostic("pipeline::no-tasks", "the pipeline has no task");
        let diagnostic = Diagnostic {
            span: None,
            ..diagnostic
        };
        reader.report(
            diagnostic
                .hint("add one: `[task.hello]` and below it `component = \"tasks/hello.wasm\"`"),
        );
        return None;
    }
    if entries.len() > MAX_TASKS {
        let message = format!(
            "the pipeline declares {} tasks, more than {MAX_TASKS}",
            entries.len()
        );
        let diagnostic = root.at.diagnostic("pipeline::too-large", message);
        let diagnostic = Diagnostic {
            span: None,
            ..diagnostic
        };
        reader.report(diagnostic.hint("repeat a task with `foreach` rather than writing it out"));
        return None;
    }
    Some(
        entries
            .iter()
            .filter_map(|entry| draft(reader, entry))
            .collect(),
    )
}

fn draft(reader: &mut Reader, entry: &Entry) -> Option<Draft> {
    if !matches!(entry.node.value, Value::Table(_)) {
        // Mostly a key of a task whose header lacks the name.
        let message = format!(
            "{} must be a table, found {}",
            quote(&format!("task.{}", entry.key)),
            entry.node.value.describe()
        );
        let diagnostic = entry.node.at.diagnostic("pipeline::wrong-type", message);
        let diagnostic = diagnostic.label("expected a table");
        reader.report(diagnostic.hint("a task's name is in its header: `[task.NAME]`"));
        return None;
    }
    let good = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    let name = &entry.key;
    if name.is_empty() || name.len() > MAX_NAME_BYTES || !name.bytes().all(good) {
        let message = format!("{} is not a name for a task", quote(name));
        let hint = format!("1 to {MAX_NAME_BYTES} letters, digits, `-` or `_`");
        reader.report(
            entry
                .key_at
                .diagnostic("pipeline::bad-name", message)
                .label("not a name")
                .hint(hint),
        );
    }
    Some(task::read(reader, entry))
}

/// Turns the names in `after` into indices.
fn connect(reader: &mut Reader, drafts: Vec<Draft>) -> Vec<super::Task> {
    let edges: usize = drafts.iter().map(|draft| draft.after.len()).sum();
    if edges > MAX_EDGES {
        let message = format!("the tasks name {edges} others in `after`, more than {MAX_EDGES}");
        reader.report(Diagnostic::new("pipeline::too-large", message));
        return Vec::new();
    }
    let names: Vec<String> = drafts.iter().map(|draft| draft.task.name.clone()).collect();
    let index_of: BTreeMap<&str, usize> = names
        .iter()
        .enumerate()
        .map(|(index, name)| (name.as_str(), index))
        .collect();
    let mut tasks = Vec::with_capacity(drafts.len());
    for Draft { mut task, after } in drafts {
        for (name, at) in after {
            if let Some(index) = index_of.get(name.as_str()) {
                task.after.push(*index);
            } else if !reader.is_full() {
                let message = format!(
                    "task `{}` comes after {}, which is not a task",
                    task.name,
                    quote(&name)
                );
                let diagnostic = at
                    .diagnostic("pipeline::unknown-task", message)
                    .label("no such task");
                reader.report(match suggestion(&name, names.iter().map(String::as_str)) {
                    Some(near) => diagnostic.hint(format!("did you mean `{near}`?")),
                    None => diagnostic.hint(known_tasks(&names)),
                });
            }
        }
        task.after.sort_unstable();
        task.after.dedup();
        tasks.push(task);
    }
    tasks
}

fn known_tasks(names: &[String]) -> String {
    const SHOWN: usize = 10;
    let mut list: Vec<&str> = names.iter().take(SHOWN).map(String::as_str).collect();
    if names.len() > SHOWN {
        list.push("…");
    }
    format!("tasks: {}", list.join(", "))
}
