//! Reading one task: every key of `[task.NAME]`, its default and its bounds.
//!
//! Each field is judged on its own; what concerns several tasks is [`super::validate`]'s, names in `after` are resolved
//! by [`super::parse`], which calls this.

use std::collections::BTreeMap;

use super::document::{Entry, Node, Origin, Value};
use super::fields::{Fields, Keys, Reader};
use super::parse::{SHELL_HINT, SHELL_KEYS};
use super::{Floats, Foreach, Grants, Limits, Origins, Place, Program, Task, Verify};
use super::{
    MAX_FUEL, MAX_MEMORY_BYTES, MAX_OUTPUT_BYTES, MAX_QUORUM, MAX_RETRIES, MAX_TIMEOUT_MS,
};
use crate::diagnostic::{Diagnostic, quote, suggestion};
use crate::glob::{GlobError, Pattern, check_path};
use crate::template::{Bindings, Escape, RESERVED, Template, TemplateError};
use crate::units::{self, UnitError};

mod foreach;
mod params;

/// The memory of the smallest module that has any, in bytes.
const MIN_MEMORY_BYTES: u64 = 64 * 1024;
/// The longest name of an environment variable, in bytes.
const MAX_ENV_NAME_BYTES: usize = 256;

const TASK: Keys = Keys {
    known: &[
        "component",
        "crate",
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
const LIMITS: Keys = Keys {
    known: &["fuel", "memory", "timeout", "output"],
    instead: &[],
};
const GRANTS: Keys = Keys {
    known: &["env", "net", "clock", "random"],
    instead: &[],
};
const PLACE: Keys = Keys {
    known: &["labels", "mesh", "steal", "verify"],
    instead: &[],
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
        match (fields.get("component"), fields.get("crate")) {
            (Some(node), None) => (
                Program::Component(self.path(node, "component")),
                node.at.clone(),
            ),
            (None, Some(node)) => (Program::Crate(self.path(node, "crate")), node.at.clone()),
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

    fn env(&mut self, fields: Fields<'_>, grants: &Grants) -> BTreeMap<String, String> {
        let mut env = BTreeMap::new();
        let place = format!("{}.env", self.place);
        let Some(table) = fields
            .get("env")
            .and_then(|node| self.reader.table(node, &place))
        else {
            return env;
        };
        for entry in table.entries() {
            if !self.env_name(&entry.key, &entry.key_at) {
                continue;
            }
            let Some(value) = self
                .reader
                .string(&entry.node, &format!("{place}.{}", entry.key))
            else {
                continue;
            };
            if value.contains('\0') {
                let message = format!("the value of {} holds a NUL character", quote(&entry.key));
                self.reader
                    .report(entry.node.at.diagnostic("pipeline::bad-value", message));
            }
            if grants.env.contains(&entry.key) {
                let message = format!(
                    "{} has a value here, and is granted from the user's environment",
                    quote(&entry.key)
                );
                let diagnostic = entry
                    .key_at
                    .diagnostic("pipeline::duplicate-env", message)
                    .label("which of them?");
                self.reader
                    .report(diagnostic.hint("leave it out here or in `grants.env`"));
            }
            env.insert(entry.key.clone(), value.to_owned());
        }
        env
    }

    fn env_name(&mut self, name: &str, at: &Origin) -> bool {
        let good =
            !name.is_empty() && name.len() <= MAX_ENV_NAME_BYTES && !name.contains(['=', '\0']);
        if !good {
            let message = format!("{} is not a name for an environment variable", quote(name));
            let hint = format!(
                "1 to {MAX_ENV_NAME_BYTES} bytes, without `=`; values go into `env = {{ NAME = \"value\" }}`"
            );
            self.reader.report(
                at.diagnostic("pipeline::bad-name", message)
                    .label("not a name")
                    .hint(hint),
            );
        }
        good
    }

    fn limits(&mut self, fields: Fields<'_>) -> Limits {
        let mut limits = Limits::default();
        let place = format!("{}.limits", self.place);
        let Some(table) = fields
            .get("limits")
            .and_then(|node| self.reader.fields(node, &place, &LIMITS))
        else {
            return limits;
        };
        let mut read = |key: &str, kind: &Kind| {
            let node = table.get(key)?;
            self.figure(node, &format!("{place}.{key}"), kind)
        };
        limits.fuel = read("fuel", &FUEL).unwrap_or(limits.fuel);
        limits.memory_bytes = read("memory", &MEMORY).unwrap_or(limits.memory_bytes);
        limits.timeout_ms = read("timeout", &TIMEOUT).unwrap_or(limits.timeout_ms);
        limits.output_bytes = read("output", &OUTPUT).unwrap_or(limits.output_bytes);
        limits
    }

    /// A figure with a unit; a plain integer where that is clear.
    fn figure(&mut self, node: &Node, place: &str, kind: &Kind) -> Option<u64> {
        let bad = |message: String| {
            node.at
                .diagnostic(kind.code, message)
                .label(kind.expected)
                .hint(kind.hint)
        };
        let number = match &node.value {
            Value::String(text) => match (kind.parse)(text) {
                Ok(number) => number,
                Err(error) => {
                    self.reader.report(bad(format!(
                        "{} is not {}: {error}",
                        quote(text),
                        kind.expected
                    )));
                    return None;
                }
            },
            Value::Integer(number) if kind.plain => match u64::try_from(*number) {
                Ok(number) => number,
                Err(_) => {
                    self.reader
                        .report(bad(format!("{number} is not {}", kind.expected)));
                    return None;
                }
            },
            Value::Integer(number) => {
                self.reader.report(bad(format!("{number} has no unit")));
                return None;
            }
            _ => {
                self.reader.wrong_type(
                    node,
                    place,
                    &format!("{} such as {}", kind.expected, kind.example),
                );
                return None;
            }
        };
        if number < kind.min || number > kind.max {
            let (low, high) = ((kind.show)(kind.min), (kind.show)(kind.max));
            let message = format!(
                "`{place}` is {}, and must be from {low} to {high}",
                (kind.show)(number)
            );
            self.reader.report(
                node.at
                    .diagnostic("pipeline::out-of-range", message)
                    .label("out of range"),
            );
            return None;
        }
        Some(number)
    }

    fn grants(&mut self, fields: Fields<'_>) -> Grants {
        let place = format!("{}.grants", self.place);
        let Some(table) = fields
            .get("grants")
            .and_then(|node| self.reader.fields(node, &place, &GRANTS))
        else {
            return Grants::default();
        };
        let mut inner = Context {
            reader: &mut *self.reader,
            place,
            names: Vec::new(),
        };
        let mut grants = Grants {
            clock: inner.boolean(table, "clock", false),
            random: inner.boolean(table, "random", false),
            ..Grants::default()
        };
        for (name, at) in inner.strings(table, "env") {
            if inner.env_name(name, at) {
                grants.env.push(name.to_owned());
            }
        }
        for (rule, at) in inner.strings(table, "net") {
            if is_net_rule(rule) {
                grants.net.push(rule.to_owned());
            } else {
                let message = format!("{} is not a host, or a host and a port", quote(rule));
                let diagnostic = at
                    .diagnostic("pipeline::bad-net", message)
                    .label("not a host");
                inner
                    .reader
                    .report(diagnostic.hint("name each host: `net = [\"example.org:443\"]`"));
            }
        }
        for list in [&mut grants.env, &mut grants.net] {
            list.sort();
            list.dedup();
        }
        grants
    }

    fn placement(&mut self, fields: Fields<'_>) -> Place {
        let mut place = Place::default();
        let path = format!("{}.place", self.place);
        let Some(table) = fields
            .get("place")
            .and_then(|node| self.reader.fields(node, &path, &PLACE))
        else {
            return place;
        };
        let mut inner = Context {
            reader: &mut *self.reader,
            place: path,
            names: Vec::new(),
        };
        place.mesh = inner.boolean(table, "mesh", place.mesh);
        place.steal = inner.boolean(table, "steal", place.steal);
        for (label, at) in inner.strings(table, "labels") {
            let good = |b: u8| b.is_ascii_alphanumeric() || b"-_.=/".contains(&b);
            if label.is_empty() || label.len() > super::MAX_NAME_BYTES || !label.bytes().all(good) {
                let message = format!("{} is not a label", quote(label));
                let hint = format!("1 to {} letters, digits or `-_.=/`", super::MAX_NAME_BYTES);
                inner.reader.report(
                    at.diagnostic("pipeline::bad-name", message)
                        .label("not a label")
                        .hint(hint),
                );
            }
            place.labels.push(label.to_owned());
        }
        place.labels.sort();
        place.labels.dedup();
        if let Some(node) = table.get("verify") {
            place.verify = inner.verify(node).unwrap_or(place.verify);
        }
        place
    }

    fn verify(&mut self, node: &Node) -> Option<Verify> {
        let text = self
            .reader
            .string(node, &format!("{}.verify", self.place))?;
        let quorum = text
            .strip_prefix("quorum:")
            .and_then(|count| count.parse().ok());
        match (text, quorum) {
            ("none", _) => Some(Verify::None),
            ("audit", _) => Some(Verify::Audit),
            ("local", _) => Some(Verify::Local),
            (_, Some(count @ 2..=MAX_QUORUM)) => Some(Verify::Quorum(count)),
            (_, Some(count)) => {
                let message =
                    format!("a quorum of {count} cannot be: it takes from 2 to {MAX_QUORUM}");
                self.reader.report(
                    node.at
                        .diagnostic("pipeline::out-of-range", message)
                        .label("out of range"),
                );
                None
            }
            _ => {
                self.bad_choice(node, text, &["none", "audit", "quorum:2", "local"]);
                None
            }
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

/// What a limit is counted in.
struct Kind {
    code: &'static str,
    expected: &'static str,
    example: &'static str,
    hint: &'static str,
    parse: fn(&str) -> Result<u64, UnitError>,
    show: fn(u64) -> String,
    /// Whether a plain integer is clear enough.
    plain: bool,
    min: u64,
    max: u64,
}

const FUEL: Kind = Kind {
    code: "pipeline::bad-count",
    expected: "a count",
    example: "`\"5G\"`",
    hint: "for instance `fuel = \"5G\"`; k, M, G and T are thousands, millions and so on",
    parse: units::parse_count,
    show: units::exact_count,
    plain: true,
    min: 1,
    max: MAX_FUEL,
};
const MEMORY: Kind = Kind {
    code: "pipeline::bad-size",
    expected: "a size",
    example: "`\"512MB\"`",
    hint: "for instance `memory = \"512MB\"`; or kB, GB, KiB, MiB, GiB",
    parse: units::parse_bytes,
    show: units::exact_bytes,
    plain: true,
    min: MIN_MEMORY_BYTES,
    max: MAX_MEMORY_BYTES,
};
const OUTPUT: Kind = Kind {
    hint: "for instance `output = \"100MB\"`; or kB, GB, KiB, MiB, GiB",
    min: 0,
    max: MAX_OUTPUT_BYTES,
    ..MEMORY
};
const TIMEOUT: Kind = Kind {
    code: "pipeline::bad-duration",
    expected: "a duration",
    example: "`\"5m\"`",
    hint: "for instance `timeout = \"5m\"`; or ms, s, h, d, also `\"1h30m\"`",
    parse: units::parse_duration_ms,
    show: units::exact_duration_ms,
    plain: false,
    min: 1,
    max: MAX_TIMEOUT_MS,
};

/// `host`, `host:port` or `[v6 address]:port`; no wildcards.
fn is_net_rule(rule: &str) -> bool {
    const MAX_HOST_BYTES: usize = 253;
    let (host, port) = match rule.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, "")) => (address, None),
        Some((address, port)) => match port.strip_prefix(':') {
            Some(port) => (address, Some(port)),
            None => return false,
        },
        None => match rule.split_once(':') {
            // More than one colon is a bare IPv6 address.
            Some((_, port)) if port.contains(':') => (rule, None),
            Some((host, port)) => (host, Some(port)),
            None => (rule, None),
        },
    };
    let good = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'.' || b == b'_';
    let is_host = if host.contains(':') {
        host.parse::<std::net::Ipv6Addr>().is_ok()
    } else {
        !host.is_empty() && host.len() <= MAX_HOST_BYTES && host.bytes().all(good)
    };
    is_host && port.is_none_or(|port| port.parse::<std::num::NonZeroU16>().is_ok())
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
