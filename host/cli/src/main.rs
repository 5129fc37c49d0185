//! The `sykli` binary: parses the command line, resolves settings, starts one command and turns its outcome into an
//! exit code. It shows errors once, in the format that was asked for. Everything else is in the modules: `args.rs` is
//! the grammar, `config/` the settings, `cmd/` the commands, `render/` what is shown.

mod args;
mod cmd;
mod config;
mod error;
mod interrupt;
mod render;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::error::ErrorKind;
use sykli_node::paths::Dirs;

use args::{
    BundleCommand, CacheCommand, Cli, Command, ConfigCommand, NewCommand, NodeCommand, OutputArgs,
    PipelineArgs,
};
use cmd::Context;
use config::{ColorWhen, Files, Flags, Format};
use error::{CliError, Exit, Outcome};
use render::diagnose::Shown;
use render::term::Term;

fn main() -> ExitCode {
    // A process that runs a task of somebody else's knows nothing of what follows.
    if let Some(exit) = sykli_node::isolation::child(std::env::args_os()) {
        return exit;
    }
    init_tracing();
    let words: Vec<OsString> = std::env::args_os().collect();
    let (outcome, shown) = match Cli::of(&words) {
        Ok(cli) => start(cli),
        Err(error) => not_understood(&error),
    };
    let exit = outcome.unwrap_or_else(|error| {
        shown.error(&error);
        error.exit
    });
    ExitCode::from(exit.code())
}

fn env(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Resolves settings and does what was asked; and how an error of that is shown.
fn start(cli: Cli) -> (Outcome, Shown) {
    let flags = Flags {
        jobs: jobs(&cli.command),
        color: cli.color,
        format: output(&cli.command).and_then(OutputArgs::asked),
    };
    // Until settings are resolved: what flags and variables say.
    let format = flags.format.or_else(format_variable).unwrap_or_default();
    let early = Shown {
        format,
        term: Term::detect(&env, cli.color.unwrap_or_default()),
    };
    match prepare(&cli.command) {
        Err(error) => (Err(error), early),
        Ok((files, dirs, cwd)) => {
            if let Some(outcome) = cmd::without_settings(&files, &cli.command, early) {
                return (outcome, early);
            }
            match config::resolve(&env, &flags, &files, dirs) {
                Err(error) => (Err(error), early),
                Ok(resolved) => {
                    let term = Term::detect(&env, resolved.settings.color);
                    let shown = Shown {
                        format: resolved.settings.format,
                        term,
                    };
                    (
                        cmd::dispatch(
                            &Context {
                                resolved,
                                files,
                                term,
                                cwd,
                                live: cmd::Live::default(),
                            },
                            cli.command,
                        ),
                        shown,
                    )
                }
            }
        }
    }
}

fn prepare(command: &Command) -> Result<(Files, Dirs, PathBuf), CliError> {
    let cwd = std::env::current_dir().map_err(|error| {
        CliError::io(
            "cli::cwd",
            "find the current folder",
            Path::new("."),
            &error,
        )
    })?;
    let dirs = Dirs::resolve(|name| std::env::var_os(name)).map_err(|error| {
        CliError::usage("config::no-home", error.to_string())
            .hint("set HOME, or each of the XDG_*_HOME variables")
    })?;
    Ok((files(&cwd, &dirs, command), dirs, cwd))
}

/// The user's file, and that of the project which the command is about.
fn files(cwd: &Path, dirs: &Dirs, command: &Command) -> Files {
    let none = PipelineArgs {
        pipeline: None,
        from: None,
    };
    let project = match command {
        // A component is no project: `exec` must start quickly and the same everywhere. Nor is a machine's node: it
        // serves all projects, and the folder that it was started in must not decide how.
        Command::Exec(_) | Command::Node(_) => None,
        // Nor is a file from elsewhere.
        Command::Bundle(command) if !matches!(command, BundleCommand::Pack(_)) => None,
        _ => {
            let found = cmd::locate(cwd, pipeline(command).unwrap_or(&none));
            Some(found.map_or_else(|_| cwd.to_owned(), |found| found.root))
        }
    };
    Files {
        user: dirs.config.join("config.toml"),
        project: project.map(|root| root.join(".sykli/config.toml")),
    }
}

fn jobs(command: &Command) -> Option<String> {
    match command {
        Command::Run(args) => args.jobs.clone(),
        _ => None,
    }
}

fn pipeline(command: &Command) -> Option<&PipelineArgs> {
    match command {
        Command::Run(args) => Some(&args.pipeline),
        Command::Build(args) => Some(&args.pipeline),
        Command::Validate(args) => Some(&args.pipeline),
        Command::Plan(args) => Some(&args.pipeline),
        Command::Graph(args) => Some(&args.pipeline),
        Command::Cache(CacheCommand::Why(args)) => Some(&args.pipeline),
        Command::History(args) => Some(&args.pipeline),
        Command::Bundle(BundleCommand::Pack(args)) => Some(&args.pipeline),
        _ => None,
    }
}

fn output(command: &Command) -> Option<OutputArgs> {
    Some(match command {
        Command::Run(args) => args.output,
        Command::Exec(args) => args.output,
        Command::Init(args) => args.output,
        Command::New(NewCommand::Task(args)) => args.output,
        Command::Build(args) => args.output,
        Command::Validate(args) => args.output,
        Command::Plan(args) => args.output,
        Command::Id(args) => args.output,
        Command::Mesh(command) => command.output(),
        Command::Peers(args) => args.output(),
        Command::Doctor(args) => args.output,
        Command::Status(args) => args.output,
        Command::Task(args) => args.output,
        Command::Logs(args) => args.output,
        Command::Explain(args) => args.output,
        Command::History(args) => args.output,
        Command::Report(args) => args.output,
        Command::Replay(args) => args.output,
        Command::Cache(CacheCommand::Why(args)) => args.output,
        Command::Bundle(BundleCommand::Pack(args)) => args.output,
        Command::Bundle(BundleCommand::Run(args)) => args.output,
        Command::Bundle(
            BundleCommand::Inspect { output, .. } | BundleCommand::Verify { output, .. },
        ) => *output,
        Command::Cache(
            CacheCommand::Stats { output }
            | CacheCommand::Gc { output, .. }
            | CacheCommand::Clear { output },
        ) => *output,
        Command::Config(ConfigCommand::Show { output, .. }) => *output,
        Command::Node(NodeCommand::Status { output } | NodeCommand::Asks { output }) => *output,
        Command::Graph(_)
        | Command::Config(_)
        | Command::Node(_)
        | Command::Completions(_)
        | Command::Man(_) => return None,
    })
}

fn format_variable() -> Option<Format> {
    env("SYKLI_FORMAT").and_then(|text| clap::ValueEnum::from_str(&text, false).ok())
}

/// What clap says: help and version on stdout, everything else an error of ours with its hints.
fn not_understood(error: &clap::Error) -> (Outcome, Shown) {
    let term = Term::detect(&env, ColorWhen::Auto);
    let format = asked_format(std::env::args_os())
        .or_else(format_variable)
        .unwrap_or_default();
    let shown = Shown { format, term };
    if matches!(
        error.kind(),
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
    ) {
        let text = error.render();
        render::out(&if term.out.color {
            text.ansi().to_string()
        } else {
            text.to_string()
        });
        return (Ok(Exit::Passed), shown);
    }
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        let text = error.render();
        render::err(&if term.err.color {
            text.ansi().to_string()
        } else {
            text.to_string()
        });
        return (Ok(Exit::Usage), shown);
    }
    (Err(usage(&error.render().to_string())), shown)
}

/// Clap's text, taken apart into message and hints.
fn usage(text: &str) -> CliError {
    let mut parts = text
        .split("\n\n")
        .map(str::trim)
        .filter(|part| !part.is_empty());
    let message = parts.next().unwrap_or("the command line is not understood");
    let mut error = CliError::usage(
        "cli::usage",
        message.strip_prefix("error: ").unwrap_or(message),
    );
    for part in parts {
        for line in part.lines().map(str::trim) {
            let hint = match line.strip_prefix("For more information, try '") {
                Some(rest) => format!("see `sykli {}`", rest.trim_end_matches("'.")),
                None => line
                    .strip_prefix("tip: ")
                    .map_or_else(|| line.replacen("Usage: ", "usage: ", 1), str::to_owned),
            };
            error = error.hint(hint);
        }
    }
    error
}

/// Whether a command line that was not understood asks for a document.
fn asked_format(args: impl Iterator<Item = OsString>) -> Option<Format> {
    let mut args = args
        .take_while(|arg| arg != "--")
        .filter_map(|arg| arg.into_string().ok());
    while let Some(arg) = args.next() {
        let value = match arg.as_str() {
            "--json" => return Some(Format::Json),
            "--format" => args.next(),
            other => other.strip_prefix("--format=").map(str::to_owned),
        };
        if let Some(format) = value.and_then(|text| clap::ValueEnum::from_str(&text, false).ok()) {
            return Some(format);
        }
    }
    None
}

/// `SYKLI_LOG=debug`: what happens inside, to stderr. Nothing is set up without it.
fn init_tracing() {
    let Some(filter) = env("SYKLI_LOG").filter(|text| !text.is_empty()) else {
        return;
    };
    match tracing_subscriber::EnvFilter::try_new(&filter) {
        Ok(filter) => {
            let ansi = Term::detect(&env, ColorWhen::Auto).err.color;
            let subscriber = tracing_subscriber::fmt()
                .with_env_filter(filter)
                .with_writer(std::io::stderr)
                .with_ansi(ansi);
            // Only this binary sets one up, here: it cannot be there already.
            let _ = subscriber.try_init();
        }
        Err(error) => render::err(&format!("warning: SYKLI_LOG is not understood: {error}\n")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claps_words_become_message_and_hints() {
        let text = "error: unexpected argument '--jbos' found\n\n  tip: a similar argument exists: '--jobs'\n\n\
                    Usage: sykli run --jobs <N> [PIPELINE]\n\nFor more information, try '--help'.\n";
        let error = usage(text);
        assert_eq!(error.message, "unexpected argument '--jbos' found");
        assert_eq!(
            error.hints,
            [
                "a similar argument exists: '--jobs'",
                "usage: sykli run --jobs <N> [PIPELINE]",
                "see `sykli --help`"
            ]
        );
    }

    #[test]
    fn a_wrong_line_may_still_ask_for_a_document() {
        let asked = |line: &[&str]| asked_format(line.iter().map(OsString::from));
        assert_eq!(
            asked(&["sykli", "run", "--json", "--x"]),
            Some(Format::Json)
        );
        assert_eq!(
            asked(&["sykli", "run", "--format", "ndjson"]),
            Some(Format::Ndjson)
        );
        assert_eq!(asked(&["sykli", "exec", "--", "a.wasm", "--json"]), None);
    }
}
