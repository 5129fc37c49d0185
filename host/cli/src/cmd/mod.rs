//! One file a command, and here what they share: the context that `main` made, finding and reading a pipeline, opening
//! the node, and the node's errors as ours. A command decides what to ask of the node and how to show the answer.

mod build;
mod bundle;
mod cache;
mod config;
mod daemon;
mod doctor;
mod exec;
mod explain;
mod graph;
mod history;
mod id;
mod init;
mod launch;
mod live;
mod logs;
mod mesh;
mod new;
mod node;
mod pages;
mod past;
mod peers;
mod plan;
mod receipts;
mod report;
mod run;
mod status;
mod task;
mod template;
mod validate;

pub(crate) use live::Live;

use std::io::Read;
use std::path::{Path, PathBuf};

use sykli_core::pipeline::{self, MAX_DOCUMENT_BYTES, Pipeline, Task};
use sykli_core::units;
use sykli_node::node::{Node, NodeError, NodeSettings};

use crate::args::{
    BundleCommand, CacheCommand, Command, ConfigCommand, MeshCommand, NewCommand, PeersCommand,
    PipelineArgs,
};
use crate::config::{Files, Flags, Format, Resolved, resolve};
use crate::error::{CliError, Exit, Outcome, Problem, SourceText, plain, plain_text};
use crate::render::diagnose::Shown;
use crate::render::term::Term;

/// What a pipeline's file is called where only its folder is named.
pub(crate) const FILE: &str = "sykli.toml";

/// What every command gets.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) resolved: Resolved,
    pub(crate) files: Files,
    pub(crate) term: Term,
    pub(crate) cwd: PathBuf,
    pub(crate) live: Live,
}

impl Context {
    /// What stdout can show, for renderers that write there.
    pub(crate) fn stdout_term(&self) -> Term {
        Term {
            err: self.term.out,
            ..self.term
        }
    }

    /// How results are written.
    pub(crate) fn format(&self) -> Format {
        self.resolved.settings.format
    }

    /// The same for a project that another process is about: its file narrows what holds there.
    pub(crate) fn for_project(&self, root: &Path) -> Result<Context, CliError> {
        let files = Files {
            user: self.files.user.clone(),
            project: Some(root.join(".sykli/config.toml")),
        };
        let dirs = self.resolved.settings.dirs.clone();
        let env = |name: &str| std::env::var(name).ok();
        let resolved = resolve(&env, &Flags::default(), &files, dirs)?;
        Ok(Context {
            resolved,
            files,
            ..self.clone()
        })
    }

    /// This machine's node.
    pub(crate) fn node(&self) -> Result<Node, CliError> {
        let settings = &self.resolved.settings;
        let offline =
            std::env::var("CARGO_NET_OFFLINE").is_ok_and(|value| value == "true" || value == "1");
        Node::open(NodeSettings {
            dirs: settings.dirs.clone(),
            jobs: settings.jobs,
            offline,
        })
        .map_err(|e| node_error(&e, None))
    }
}

/// Does what was asked.
pub(crate) fn dispatch(context: &Context, command: Command) -> Outcome {
    match command {
        Command::Run(args) => run::run(context, &args),
        Command::Exec(args) => exec::exec(context, args),
        Command::Init(args) => init::init(context, &args),
        Command::New(NewCommand::Task(args)) => new::task(context, &args),
        Command::Build(args) => build::build(context, &args),
        Command::Validate(args) => validate::validate(context, &args),
        Command::Plan(args) => plan::plan(context, &args),
        Command::Graph(args) => graph::graph(context, &args),
        Command::Status(args) => status::status(context, &args),
        Command::Task(args) => task::task(context, &args),
        Command::Logs(args) => logs::logs(context, &args),
        Command::Explain(args) => explain::explain(context, &args),
        Command::History(args) => history::history(context, &args),
        Command::Report(args) => report::report(context, &args),
        Command::Replay(args) => receipts::replay(context, &args),
        Command::Cache(CacheCommand::Stats { .. }) => cache::stats(context),
        Command::Cache(CacheCommand::Gc { max, .. }) => cache::gc(context, max.as_deref()),
        Command::Cache(CacheCommand::Why(args)) => cache::why(context, &args),
        Command::Cache(CacheCommand::Clear { .. }) => cache::clear(context),
        Command::Bundle(BundleCommand::Pack(args)) => bundle::pack(context, &args),
        Command::Bundle(BundleCommand::Inspect { file, .. }) => bundle::inspect(context, &file),
        Command::Bundle(BundleCommand::Verify { file, .. }) => bundle::verify(context, &file),
        Command::Bundle(BundleCommand::Run(args)) => bundle::run(context, args),
        Command::Config(ConfigCommand::Show { origin, .. }) => config::show(context, origin),
        Command::Node(command) => node::node(context, &command),
        Command::Id(_) => id::id(context),
        Command::Mesh(command) => mesh_command(context, &command),
        Command::Peers(args) => match args.command {
            Some(PeersCommand::Trust(args)) => peers::trust(context, &args),
            Some(PeersCommand::Block(args)) => peers::block(context, &args),
            Some(PeersCommand::Ping(args)) => peers::ping(context, &args),
            None | Some(PeersCommand::List { .. }) => peers::list(context),
        },
        Command::Doctor(_) => doctor::doctor(context),
        // Before settings are read: these must work when they are wrong.
        Command::Config(ConfigCommand::Check) => config::check(
            &context.files,
            Shown {
                format: context.format(),
                term: context.term,
            },
        ),
        Command::Config(ConfigCommand::Path) => config::path(&context.files),
        Command::Completions(args) => pages::completions(&args),
        Command::Man(args) => pages::man(&args),
    }
}

fn mesh_command(context: &Context, command: &MeshCommand) -> Outcome {
    match command {
        MeshCommand::Create { .. } => mesh::create(context),
        MeshCommand::Invite(args) => mesh::invite(context, args),
        MeshCommand::Join(args) => mesh::join(context, args, |data, ticket| {
            launch::carry(context, data, ticket)
        }),
        MeshCommand::Leave { .. } => mesh::leave(context),
        MeshCommand::Revoke(args) => mesh::revoke(context, args),
        MeshCommand::Show { .. } => mesh::show_command(context),
    }
}

/// The commands that need no settings. Nothing where `command` is none of them.
pub(crate) fn without_settings(files: &Files, command: &Command, shown: Shown) -> Option<Outcome> {
    match command {
        Command::Config(ConfigCommand::Check) => Some(config::check(files, shown)),
        Command::Config(ConfigCommand::Path) => Some(config::path(files)),
        Command::Completions(args) => Some(pages::completions(args)),
        Command::Man(args) => Some(pages::man(args)),
        _ => None,
    }
}

/// Where a pipeline is, before it is read.
#[derive(Clone, Debug)]
pub(crate) struct Located {
    /// Its file; for standard input, the folder joined with `-`.
    pub(crate) path: PathBuf,
    /// What its paths are relative to.
    pub(crate) root: PathBuf,
    /// The file as the user would name it.
    shown: String,
    format: pipeline::Format,
    stdin: bool,
}

/// Finds the pipeline that `args` mean; looks at names only.
pub(crate) fn locate(cwd: &Path, args: &PipelineArgs) -> Result<Located, CliError> {
    if let Some(from) = &args.from {
        let stdin = from.as_os_str() == "-";
        return Ok(Located {
            path: cwd.join(from),
            root: cwd.to_owned(),
            shown: if stdin {
                "<stdin>".to_owned()
            } else {
                from.display().to_string()
            },
            format: pipeline::Format::Json,
            stdin,
        });
    }
    match &args.pipeline {
        Some(given) => {
            let path = cwd.join(given);
            if path.is_dir() {
                in_folder(&path, given).ok_or_else(|| missing(&path.join(FILE)))
            } else {
                let root = path.parent().unwrap_or(cwd).to_owned();
                Ok(located(path, root, given.display().to_string()))
            }
        }
        None => above(cwd).ok_or_else(|| missing(&cwd.join(FILE))),
    }
}

fn located(path: PathBuf, root: PathBuf, shown: String) -> Located {
    let json = path
        .extension()
        .is_some_and(|extension| extension.eq_ignore_ascii_case("json"));
    let format = if json {
        pipeline::Format::Json
    } else {
        pipeline::Format::Toml
    };
    Located {
        path,
        root,
        shown,
        format,
        stdin: false,
    }
}

fn in_folder(folder: &Path, shown: &Path) -> Option<Located> {
    [FILE, "sykli.json"].iter().find_map(|name| {
        let path = folder.join(name);
        path.is_file().then(|| {
            located(
                path,
                folder.to_owned(),
                shown.join(name).display().to_string(),
            )
        })
    })
}

/// In this folder or, within a repository, in the nearest one above it. Beyond a repository nothing is searched: a file
/// that somebody else left in a folder above must not decide what runs.
fn above(cwd: &Path) -> Option<Located> {
    let repository = cwd.ancestors().find(|folder| folder.join(".git").exists());
    let folders = cwd.ancestors().take_while(|folder| match repository {
        Some(top) => folder.starts_with(top),
        None => *folder == cwd,
    });
    folders.into_iter().find_map(|folder| {
        let shown = if folder == cwd { Path::new("") } else { folder };
        in_folder(folder, shown)
    })
}

fn missing(path: &Path) -> CliError {
    CliError::usage(
        "cli::no-pipeline",
        format!("there is no pipeline: {} does not exist", path.display()),
    )
    .hint("`sykli init` writes one here, or name its file or folder: `sykli run FOLDER`")
}

/// A pipeline that was read and is valid.
pub(crate) struct Loaded {
    pub(crate) pipeline: Pipeline,
    pub(crate) at: Located,
    pub(crate) source: SourceText,
}

/// Checks a pipeline whose text somebody else has read: `path` names it, its paths are relative to `root`.
pub(crate) fn loaded(
    context: &Context,
    path: PathBuf,
    root: PathBuf,
    text: String,
) -> Result<Loaded, CliError> {
    let format = match path.extension().is_some_and(|end| end == "toml") {
        true => pipeline::Format::Toml,
        false => pipeline::Format::Json,
    };
    let at = Located {
        shown: path.display().to_string(),
        path,
        root,
        format,
        stdin: false,
    };
    checked(context, at, text)
}

/// Finds, reads and checks a pipeline.
pub(crate) fn load(context: &Context, args: &PipelineArgs) -> Result<Loaded, CliError> {
    let at = locate(&context.cwd, args)?;
    let text = read(&at)?;
    checked(context, at, text)
}

fn checked(context: &Context, at: Located, text: String) -> Result<Loaded, CliError> {
    let source = SourceText {
        name: at.shown.clone(),
        text,
    };
    match pipeline::parse(&source.text, at.format) {
        Ok(pipeline) => {
            within_ceilings(context, &pipeline, &source)?;
            Ok(Loaded {
                pipeline,
                at,
                source,
            })
        }
        Err(found) => Err(CliError::diagnostics(source, found)),
    }
}

fn read(at: &Located) -> Result<String, CliError> {
    let mut bytes = Vec::new();
    let limit = MAX_DOCUMENT_BYTES as u64 + 1;
    let result = if at.stdin {
        std::io::stdin().lock().take(limit).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(&at.path).and_then(|file| file.take(limit).read_to_end(&mut bytes))
    };
    if let Err(error) = result {
        return Err(match error.kind() {
            std::io::ErrorKind::NotFound => missing(&at.path),
            _ => CliError::io("cli::unreadable", "read the pipeline", &at.path, &error),
        });
    }
    if bytes.len() > MAX_DOCUMENT_BYTES {
        let bound = units::exact_bytes(MAX_DOCUMENT_BYTES as u64);
        return Err(CliError::usage(
            "pipeline::too-large",
            format!("{} is larger than {bound}", at.shown),
        )
        .hint("a pipeline names files by patterns and fans out with foreach: it stays short"));
    }
    String::from_utf8(bytes).map_err(|error| {
        let place = error.utf8_error().valid_up_to();
        CliError::usage(
            "pipeline::encoding",
            format!("{} is not UTF-8 text (byte {place})", at.shown),
        )
        .hint("is this the pipeline's file? A component is run by `sykli exec`")
    })
}

/// What the user's settings allow tasks to ask for.
fn within_ceilings(
    context: &Context,
    pipeline: &Pipeline,
    source: &SourceText,
) -> Result<(), CliError> {
    let problems: Vec<Problem> = pipeline
        .tasks
        .iter()
        .flat_map(|task| beyond(context, task))
        .collect();
    let Some(first) = problems.first() else {
        return Ok(());
    };
    let mut error = CliError::usage(&first.code, first.message.clone());
    error.hints.clone_from(&first.hints);
    error.source = Some(source.clone());
    error.problems = problems;
    Err(error)
}

/// A limit as a pipeline writes it.
type Show = fn(u64) -> String;

fn beyond(context: &Context, task: &Task) -> Vec<Problem> {
    let (limits, most) = (&task.limits, &context.resolved.settings.ceilings);
    let asked: [(&str, u64, u64, Show); 4] = [
        ("fuel", limits.fuel, most.fuel, units::exact_count),
        (
            "memory",
            limits.memory_bytes,
            most.memory_bytes,
            units::exact_bytes,
        ),
        (
            "timeout",
            limits.timeout_ms,
            most.timeout_ms,
            units::exact_duration_ms,
        ),
        (
            "output",
            limits.output_bytes,
            most.output_bytes,
            units::exact_bytes,
        ),
    ];
    let over = asked.into_iter().filter(|(_, asked, most, _)| asked > most);
    over.map(|(name, asked, most, show)| Problem {
        code: "config::limit".to_owned(),
        message: format!("`{}` asks for {} of {name}, settings allow {}", task.name, show(asked), show(most)),
        span: task.span(),
        label: "this task".to_owned(),
        hints: vec![format!(
            "set limits = {{ {name} = \"{}\" }} for the task, or raise limits.{name} (`sykli config show --origin`)",
            show(most)
        )],
    })
    .collect()
}

/// What the node could not do, with places where it has some.
pub(crate) fn node_error(error: &NodeError, loaded: Option<&Loaded>) -> CliError {
    if let (Some(loaded), [_, ..]) = (loaded, error.diagnostics()) {
        return CliError::diagnostics(loaded.source.clone(), error.diagnostics().to_vec());
    }
    let message = plain_text(&error.to_string());
    let mut out = if error.is_invalid_input() {
        CliError::usage(error.code(), message)
    } else {
        CliError::failed(error.code(), message)
    };
    if matches!(
        error,
        NodeError::Interrupted | NodeError::Build(sykli_node::build::BuildError::Interrupted)
    ) {
        out.exit = Exit::Interrupted;
    }
    if let NodeError::Build(build) = error
        && let Some(tail) = build.stderr_tail()
    {
        out.detail = Some(tail.to_owned());
    }
    out.hints = error.hints();
    if out.hints.is_empty() {
        out.hints
            .push("`sykli doctor` checks this machine".to_owned());
    }
    if let Some(loaded) = loaded {
        place(&mut out, error, loaded);
    }
    out
}

/// Where in the pipeline the task stands whose program is at fault.
fn place(out: &mut CliError, error: &NodeError, loaded: &Loaded) {
    let named = |task: &&Task| Some(task.name.as_str()) == error.task();
    let Some(task) = loaded.pipeline.tasks.iter().find(named) else {
        return;
    };
    let problem = Problem {
        code: out.code.clone(),
        message: out.message.clone(),
        span: task.span(),
        label: format!("runs {}", task.program.path()),
        hints: out.hints.clone(),
    };
    out.problems.push(problem);
    out.source = Some(loaded.source.clone());
}

/// Writes a file that must not exist yet, with its folders.
pub(crate) fn write_new(path: &Path, text: &str) -> Result<(), CliError> {
    let failed = |error: &std::io::Error| {
        CliError::usage(
            "cli::write",
            format!("failed to write {}: {}", path.display(), plain(error)),
        )
        .hint("check the folder's permissions")
    };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(|error| failed(&error))?;
    }
    let mut file = std::fs::File::create_new(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => exists(path),
        _ => failed(&error),
    })?;
    std::io::Write::write_all(&mut file, text.as_bytes()).map_err(|error| failed(&error))
}

/// Something is in the way.
pub(crate) fn exists(path: &Path) -> CliError {
    CliError::usage(
        "cli::exists",
        format!("{} exists already: nothing was written", path.display()),
    )
    .hint("choose another folder or name, or move it away")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn only_within_a_repository_folders_above_are_searched() {
        let temp = tempfile::tempdir().unwrap();
        let (top, inner) = (temp.path().join("repo"), temp.path().join("repo/a/b"));
        std::fs::create_dir_all(&inner).unwrap();
        std::fs::write(temp.path().join(FILE), "").unwrap();
        assert!(above(&inner).is_none(), "no repository: only this folder");
        std::fs::create_dir(top.join(".git")).unwrap();
        assert!(above(&inner).is_none(), "never beyond the repository");
        std::fs::write(top.join(FILE), "").unwrap();
        assert_eq!(above(&inner).unwrap().root, top);
        std::fs::write(inner.join("sykli.json"), "").unwrap();
        assert_eq!(above(&inner).unwrap().path, inner.join("sykli.json"));
    }
}
