//! Reading one task: every key of `[task.NAME]`, its default and its bounds.
//!
//! Each field is judged on its own; what concerns several tasks is [`super::validate`]'s, names in `after` are resolved
//! by [`super::parse`], which calls this.

use super::document::{Entry, Node, Origin};
use super::fields::{Fields, Keys, Reader};
use super::parse::{SHELL_HINT, SHELL_KEYS};
use super::{Floats, Foreach, MAX_RETRIES, Origins, Program, Task};
use crate::diagnostic::{Diagnostic, quote, suggestion};
use crate::glob::{GlobError, Pattern, check_path};
use crate::template::{Bindings, Escape, RESERVED, Template, TemplateError};

mod foreach;
mod grants;
mod limits;
mod params;

const TASK: Keys = Keys {
    known: &[
        "component",
        "crate",
        "harness",
        "inputs",
        "stdin",
        "outputs",
        "export",
        "after",
        "foreach",
        "args",
        "params",
        "env",
        "limits",
        "grants",
        "place",
        "retries",
        "floats",
    ],
    instead: &[
        ("needs", "write `after = [\"…\"]`"),
        ("depends", "write `after = [\"…\"]`"),
        ("depends_on", "write `after = [\"…\"]`"),
        ("dependencies", "write `after = [\"…\"]`"),
        ("name", "the name is in the header: `[task.NAME]`"),
        ("fuel", "write `limits = { fuel = \"5G\" }`"),
        ("memory", "write `limits = { memory = \"512MB\" }`"),
        ("timeout", "write `limits = { timeout = \"5m\" }`"),
        (
            "output",
            "did you mean `outputs`? The limit is `limits = { output = \"100MB\" }`",
        ),
        ("net", "write `grants = { net = [\"example.org:443\"] }`"),
        ("clock", "write `grants = { clock = true }`"),
        ("random", "write `grants = { random = true }`"),
        ("labels", "write `place = { labels = [\"gpu\"] }`"),
        ("mesh", "write `place = { mesh = true }`"),
        ("steal", "write `place = { steal = true }`"),
        ("verify", "write `place = { verify = \"audit\" }`"),
        ("shards", "write `foreach = { shards = 16 }`"),
        ("glob", "write `foreach = { glob = \"photos/**/*.jpg\" }`"),
        ("values", "write `foreach = { values = [\"a\", \"b\"] }`"),
        (
            "matrix",
            "write `foreach = { matrix = { os = [\"linux\"] } }`",
        ),
        ("cache", "a task without impure grants is cached by itself"),
    ],
};

/// A task whose `after` are still names.
pub(super) struct Draft {
    pub(super) task: Task,
    pub(super) after: Vec<(String, Origin)>,
}

/// A task that is being read: where mistakes go, and how it is called in them.
struct Context<'r> {
    reader: &'r mut Reader,
    /// `task.NAME`
    place: String,
    /// The placeholders that mean something in it.
    names: Vec<String>,
}

pub(super) fn read(reader: &mut Reader, entry: &Entry) -> Draft {
    let place = format!("task.{}", entry.key);
    let name_at = &entry.key_at;
    let fields = reader.table(&entry.node, &place);
    let fields = fields.unwrap_or_default();
    let is_shell = shell_line(reader, &entry.key, fields);
    let mut cx = Context {
        reader,
        place,
        names: Vec::new(),
    };
    if !is_shell {
        cx.reader.fields(&entry.node, &cx.place, &TASK);
    }
    let (program, program_at) = cx.program(&entry.key, name_at, fields, is_shell);
    let foreach = fields.get("foreach").and_then(|node| cx.foreach(node));
    cx.names = placeholder_names(fields.get("foreach").is_some(), foreach.as_ref());
    let (inputs, input_origins) = cx.inputs(fields);
    let (outputs, output_origins) = cx.outputs(fields);
    let stdin = fields.get("stdin").and_then(|node| cx.stdin(node));
    let (params, params_json) = cx.params(fields.get("params"));
    let after = cx
        .strings(fields, "after")
        .into_iter()
        .map(|(name, at)| (name.to_owned(), at.clone()))
        .collect();
    let origin_of = |key: &str| {
        fields
            .get(key)
            .map_or_else(|| name_at.clone(), |node| node.at.clone())
    };
    let origins = Origins {
        name: name_at.clone(),
        program: program_at,
        inputs: input_origins,
        outputs: output_origins,
        foreach: origin_of("foreach"),
        stdin: origin_of("stdin"),
    };
    let grants = cx.grants(fields);
    let task = Task {
        name: entry.key.clone(),
        program,
        inputs,
        stdin,
        outputs,
        export: cx.boolean(fields, "export", true),
        after: Vec::new(),
        foreach,
        args: cx.args(fields),
        params,
        params_json,
        env: cx.env(fields, &grants),
        limits: cx.limits(fields),
        grants,
        place: cx.placement(fields),
        retries: fields
            .get("retries")
            .and_then(|node| {
                cx.reader
                    .integer(node, &format!("{}.retries", cx.place), 0..=MAX_RETRIES)
            })
            .unwrap_or(0),
        floats: cx.floats(fields),
        origins: Box::new(origins),
    };
    Draft { task, after }
}

/// Reports a task that is a shell line. Its other keys are another program's, so they are not judged.
fn shell_line(reader: &mut Reader, name: &str, fields: Fields<'_>) -> bool {
    let Some(entry) = fields
        .entries()
        .iter()
        .find(|entry| SHELL_KEYS.contains(&entry.key.as_str()))
    else {
        return false;
    };
    let message = format!(
        "task {} says {}, a shell line",
        quote(name),
        quote(&entry.key)
    );
    let diagnostic = entry
        .key_at
        .diagnostic("pipeline::shell-task", message)
        .label("not run here");
    reader.report(diagnostic.hint(SHELL_HINT));
    true
}

fn placeholder_names(declared: bool, foreach: Option<&Foreach>) -> Vec<String> {
    let mut names: Vec<&str> = Vec::new();
    match foreach {
        Some(Foreach::Glob(_) | Foreach::Values(_)) => names.extend(RESERVED),
        Some(Foreach::Matrix(keys)) => {
            names.extend(["item", "index", "count"]);
            names.extend(keys.keys().map(String::as_str));
        }
        Some(Foreach::Shards(_)) => names.extend(["index", "count"]),
        // A foreach that could not be read: nothing is to be said of placeholders on top of that.
        None if declared => names.extend(RESERVED),
        None => {}
    }
    names.into_iter().map(str::to_owned).collect()
}

impl Context<'_> {
    fn program(
        &mut self,
        name: &str,
        name_at: &Origin,
        fields: Fields<'_>,
        is_shell: bool,
    ) -> (Program, Origin) {
        let missing = (Program::Component(String::new()), name_at.clone());
        if let (Some(harness), None) = (fields.get("harness"), fields.get("crate")) {
            let message = format!("task {} has a `harness` but no `crate`", quote(name));
            let diagnostic = harness
                .at
                .diagnostic("pipeline::harness-without-crate", message)
                .label("a harness is a crate's");
            self.reader.report(
                diagnostic.hint("name the crate whose tests are to run: `crate = \"project\"`"),
            );
        }
        match (fields.get("component"), fields.get("crate")) {
            (Some(node), None) => (
                Program::Component(self.path(node, "component")),
                node.at.clone(),
            ),
            (None, Some(node)) => {
                let path = self.path(node, "crate");
                let tests = self.boolean(fields, "harness", false);
                let program = if tests {
                    Program::Tests(path)
                } else {
                    Program::Crate(path)
                };
                (program, node.at.clone())
            }
            (Some(_), Some(node)) => {
                let message = format!(
                    "task {} has a `component` and a `crate`: which of them is it?",
                    quote(name)
                );
                let diagnostic = node
                    .at
                    .diagnostic("pipeline::two-programs", message)
                    .label("one is enough");
                self.reader.report(diagnostic.hint("leave one of them out"));
                missing
            }
            (None, None) if is_shell => missing,
            (None, None) => {
                let message = format!("task {} does not say what it runs", quote(name));
                let diagnostic = name_at
                    .diagnostic("pipeline::missing-program", message)
                    .label("runs nothing");
                self.reader.report(
                    diagnostic
                        .hint("a component: `component = \"tasks/NAME.wasm\"`")
                        .hint("or a Rust crate that is built to one: `crate = \"tasks/NAME\"`"),
                );
                missing
            }
        }
    }

    fn path(&mut self, node: &Node, key: &str) -> String {
        let place = format!("{}.{key}", self.place);
        let Some(path) = self.reader.string(node, &place) else {
            return String::new();
        };
        let trimmed = path.strip_prefix("./").unwrap_or(path);
        let trimmed = trimmed.strip_suffix('/').unwrap_or(trimmed);
        if let Err(error) = check_path(trimmed) {
            self.reader
                .report(bad_path(&node.at, path, error.to_string()));
        }
        trimmed.to_owned()
    }

    fn strings<'a>(&mut self, fields: Fields<'a>, key: &str) -> Vec<(&'a str, &'a Origin)> {
        let Some(node) = fields.get(key) else {
            return Vec::new();
        };
        self.reader.strings(node, &format!("{}.{key}", self.place))
    }

    fn boolean(&mut self, fields: Fields<'_>, key: &str, default: bool) -> bool {
        let read = fields
            .get(key)
            .and_then(|node| self.reader.boolean(node, &format!("{}.{key}", self.place)));
        read.unwrap_or(default)
    }

    fn inputs(&mut self, fields: Fields<'_>) -> (Vec<Pattern>, Vec<Origin>) {
        let (mut patterns, mut origins) = (Vec::new(), Vec::new());
        for (text, at) in self.strings(fields, "inputs") {
            if let Some(pattern) = self.workspace_pattern(text, at) {
                patterns.push(pattern);
                origins.push(at.clone());
            }
        }
        (patterns, origins)
    }

    /// A pattern over the project's files: it holds no placeholder.
    fn workspace_pattern(&mut self, text: &str, at: &Origin) -> Option<Pattern> {
        if let Some(name) = RESERVED
            .iter()
            .find(|name| text.contains(&format!("{{{name}}}")))
        {
            let message = format!(
                "{} holds the placeholder `{{{name}}}`, which is not filled in here",
                quote(text)
            );
            let diagnostic = at
                .diagnostic("pipeline::bad-glob", message)
                .label("a pattern of files");
            self.reader.report(
                diagnostic
                    .hint("an instance sees its item by itself; `inputs` are for all instances"),
            );
            return None;
        }
        match Pattern::new(text) {
            Ok(pattern) => Some(pattern),
            Err(error) => {
                self.reader.report(bad_glob(at, text, error));
                None
            }
        }
    }

    fn outputs(&mut self, fields: Fields<'_>) -> (Vec<Template>, Vec<Origin>) {
        let (mut outputs, mut origins) = (Vec::new(), Vec::new());
        for (text, at) in self.strings(fields, "outputs") {
            let Some(template) = self.template(text, at) else {
                continue;
            };
            let keys: Vec<(&str, &str)> =
                self.names.iter().map(|name| (name.as_str(), "x")).collect();
            let sample = Bindings {
                item: "x",
                index: 0,
                count: 1,
                keys: &keys,
            };
            if let Err(error) = Pattern::new(&template.fill(&sample, Escape::Glob)) {
                self.reader.report(bad_glob(at, text, error));
                continue;
            }
            outputs.push(template);
            origins.push(at.clone());
        }
        (outputs, origins)
    }

    fn args(&mut self, fields: Fields<'_>) -> Vec<Template> {
        let strings = self.strings(fields, "args");
        strings
            .into_iter()
            .filter_map(|(text, at)| self.template(text, at))
            .collect()
    }

    fn stdin(&mut self, node: &Node) -> Option<Template> {
        let text = self.reader.string(node, &format!("{}.stdin", self.place))?;
        let template = self.template(text, &node.at)?;
        if let Some(Err(error)) = template.as_constant().map(check_path) {
            self.reader
                .report(bad_path(&node.at, text, error.to_string()));
            return None;
        }
        Some(template)
    }

    fn template(&mut self, text: &str, at: &Origin) -> Option<Template> {
        if text.contains('\0') {
            let message = format!("{} holds a NUL character", quote(text));
            self.reader
                .report(at.diagnostic("pipeline::bad-value", message));
            return None;
        }
        let names: Vec<&str> = self.names.iter().map(String::as_str).collect();
        match Template::parse(text, &names) {
            Ok(template) => Some(template),
            Err(error) => {
                let diagnostic = self.bad_placeholder(text, at, &error);
                self.reader.report(diagnostic);
                None
            }
        }
    }

    fn bad_placeholder(&self, text: &str, at: &Origin, error: &TemplateError) -> Diagnostic {
        let diagnostic = at.diagnostic(
            "pipeline::bad-placeholder",
            format!("in {}: {error}", quote(text)),
        );
        let (TemplateError::Unknown { at: range, .. }
        | TemplateError::Open { at: range }
        | TemplateError::Lone { at: range }) = error;
        let mut diagnostic = diagnostic.label("placeholder");
        diagnostic.span = at.inside(text, range);
        let literal = "a brace that is meant as it is, is written twice: `{{` or `}}`";
        let TemplateError::Unknown { suggestion, .. } = error else {
            return diagnostic.hint(literal);
        };
        if let Some(near) = suggestion {
            return diagnostic.hint(format!("did you mean `{{{near}}}`?"));
        }
        if self.names.is_empty() {
            diagnostic
                .hint("a task without `foreach` has no placeholders")
                .hint(literal)
        } else {
            diagnostic
                .hint(format!(
                    "placeholders here: {{{}}}",
                    self.names.join("}, {")
                ))
                .hint(literal)
        }
    }

    fn floats(&mut self, fields: Fields<'_>) -> Floats {
        let Some(node) = fields.get("floats") else {
            return Floats::default();
        };
        match self.reader.string(node, &format!("{}.floats", self.place)) {
            Some("portable") => Floats::Portable,
            Some("fast") | None => Floats::Fast,
            Some(other) => {
                self.bad_choice(node, other, &["fast", "portable"]);
                Floats::Fast
            }
        }
    }

    fn bad_choice(&mut self, node: &Node, text: &str, choices: &[&str]) {
        let message = format!("{} is not known here", quote(text));
        let diagnostic = node
            .at
            .diagnostic("pipeline::bad-value", message)
            .label("unknown value");
        self.reader
            .report(match suggestion(text, choices.iter().copied()) {
                Some(near) => diagnostic.hint(format!("did you mean `\"{near}\"`?")),
                None => diagnostic.hint(format!("one of \"{}\"", choices.join("\", \""))),
            });
    }
}

fn bad_path(at: &Origin, path: &str, problem: String) -> Diagnostic {
    at.diagnostic(
        "pipeline::bad-path",
        format!("the path {} {problem}", quote(path)),
    )
    .label("not a path in the project")
}

fn bad_glob(at: &Origin, text: &str, error: GlobError) -> Diagnostic {
    let code = if matches!(error, GlobError::Path(_)) {
        "pipeline::bad-path"
    } else {
        "pipeline::bad-glob"
    };
    let diagnostic = at
        .diagnostic(code, format!("the pattern {} {error}", quote(text)))
        .label("not a pattern");
    match error {
        GlobError::Path(crate::glob::PathError::EmptySegment) if text.ends_with('/') => {
            diagnostic.hint(format!("everything in a folder: `{text}**`"))
        }
        GlobError::OpenClass | GlobError::OpenBrace | GlobError::LoneBrace => {
            diagnostic.hint("a character that is meant as it is, has `\\` before it")
        }
        _ => diagnostic,
    }
}
