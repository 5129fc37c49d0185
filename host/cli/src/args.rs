//! What can be written on the command line: the grammar and its help texts, nothing else. No value is interpreted
//! here (that is `config`'s part) and nothing is done. `main` parses into [`Cli`]; `completions` and `man` read it.

mod brief;
mod history;
mod mesh;
mod node;
mod receipts;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};

use crate::config::{ColorWhen, Format};
pub(crate) use history::{ExplainArgs, HistoryArgs, LogsArgs, StatusArgs, TaskArgs};
pub(crate) use mesh::{
    Ceiling, IdArgs, InviteArgs, InvitedRole, JoinArgs, MeshCommand, PeerArgs, PeersArgs,
    PeersCommand, RevokeArgs,
};
pub(crate) use node::{NodeCommand, StartArgs, StopArgs};
pub(crate) use receipts::{ReplayArgs, ReportArgs};

/// Run pipelines of sandboxed WebAssembly components.
#[derive(Debug, Parser)]
#[command(
    name = "sykli",
    version,
    about,
    long_about = "Run pipelines of sandboxed WebAssembly components.\n\n\
        A task sees its declared inputs and nothing else: no network, no clock, no host file. What is pure is cached \
        and runs once. `sykli init && sykli run` shows it.",
    after_help = "Exit codes: 0 passed or cached, 1 a task failed, 2 usage or invalid input (nothing was run), \
        130 interrupted; `exec` passes the guest's own code on.\n\
        Settings: `sykli config show --origin` lists each with where it comes from.",
    disable_help_subcommand = true,
    max_term_width = 100
)]
pub(crate) struct Cli {
    /// When to use colours
    #[arg(
        long,
        global = true,
        value_enum,
        value_name = "WHEN",
        help_heading = "Global options"
    )]
    pub(crate) color: Option<ColorWhen>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a pipeline; what is cached is not run again
    Run(RunArgs),
    /// Run one component; works as cargo's runner for wasm32-wasip2
    Exec(ExecArgs),
    /// Write a small pipeline here that runs at once
    Init(InitArgs),
    /// Scaffold a task crate
    #[command(subcommand)]
    New(NewCommand),
    /// Build the pipeline's task crates to components
    Build(BuildArgs),
    /// Check a pipeline without running it
    Validate(ValidateArgs),
    /// Show what would run, what is cached, and why not
    Plan(PlanArgs),
    /// Draw the pipeline
    Graph(GraphArgs),
    /// Show a run as its graph: what each task is at, and where
    Status(StatusArgs),
    /// Show one task: who runs it, whether it was stolen, how far it is
    Task(TaskArgs),
    /// Show what a task wrote
    Logs(LogsArgs),
    /// Say why a task ran where it did, and why not elsewhere
    Explain(ExplainArgs),
    /// List the runs that there were
    History(HistoryArgs),
    /// Show one run, task by task; export what other nodes signed for it
    Report(ReportArgs),
    /// Run a task again that another node ran, and compare what comes out
    Replay(ReplayArgs),
    /// Look into the result cache, or shrink it
    #[command(subcommand)]
    Cache(CacheCommand),
    /// Pack a task into one file, look into such a file, or run it
    #[command(subcommand)]
    Bundle(BundleCommand),
    /// Show and check settings
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Let this machine take part in a mesh
    #[command(subcommand)]
    Node(NodeCommand),
    /// Print this node's peer id, by which others know it
    Id(IdArgs),
    /// Make, join and leave a mesh; let others in and out
    #[command(subcommand)]
    Mesh(MeshCommand),
    /// Trust and block peers; who is connected
    Peers(PeersArgs),
    /// Check this machine: folders, engine, toolchain, node
    Doctor(DoctorArgs),
    /// Print a completion script for a shell
    Completions(CompletionsArgs),
    /// Print the manual page, or write all of them into a folder
    Man(ManArgs),
}

/// Where the pipeline comes from.
#[derive(Debug, Args)]
pub(crate) struct PipelineArgs {
    /// A pipeline file, or a folder with a sykli.toml [default: the sykli.toml of this folder or, in a repository,
    /// of one above it]
    #[arg(value_name = "PIPELINE", value_hint = ValueHint::AnyPath)]
    pub(crate) pipeline: Option<PathBuf>,
    /// Read the pipeline as JSON from a file, or from standard input with `-`; paths in it are relative to the
    /// current folder
    #[arg(long, value_name = "FILE|-", conflicts_with = "pipeline", value_hint = ValueHint::FilePath)]
    pub(crate) from: Option<PathBuf>,
}

/// How the result is written.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct OutputArgs {
    /// How to write the result: text, one JSON document, or one JSON event a line
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub(crate) format: Option<Format>,
    /// Short for --format json
    #[arg(long, conflicts_with = "format")]
    pub(crate) json: bool,
}

impl OutputArgs {
    /// What was asked for, if anything.
    pub(crate) fn asked(self) -> Option<Format> {
        if self.json {
            Some(Format::Json)
        } else {
            self.format
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) pipeline: PipelineArgs,
    /// Run only the tasks that match, and what they need: names or globs, separated by commas
    #[arg(long, value_name = "EXPR")]
    pub(crate) filter: Option<String>,
    /// Run everything again; new results are still stored
    #[arg(long)]
    pub(crate) no_cache: bool,
    /// How many tasks run at once [default: the number of cores]
    #[arg(long, short, value_name = "N")]
    pub(crate) jobs: Option<String>,
    /// After a failure, still run what does not depend on it
    #[arg(long, short)]
    pub(crate) keep_going: bool,
    /// Stop the whole run after this long, as in 90s, 5m, 1h30m
    #[arg(long, value_name = "DURATION")]
    pub(crate) timeout: Option<String>,
    /// Stream the tasks' own output, not only that of failed ones
    #[arg(long, short)]
    pub(crate) verbose: bool,
    #[command(flatten)]
    pub(crate) reach: ReachArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// How far a run reaches. Without any of these it stays here and opens no socket.
#[derive(Debug, Clone, Copy, Default, Args)]
#[command(next_help_heading = "Beyond this machine")]
pub(crate) struct ReachArgs {
    /// Join the mesh: ready tasks are offered to idle nodes that consent
    #[arg(long)]
    pub(crate) mesh: bool,
    /// Let idle nodes ask for tasks too
    #[arg(long, requires = "mesh")]
    pub(crate) steal: bool,
    /// Go on with the last run of this pipeline that did not end: leases that still stand are kept, nothing runs twice
    #[arg(long)]
    pub(crate) resume: bool,
    /// Hand the run to the node that runs here (`sykli node start`) and return; `sykli status` shows it
    #[arg(long)]
    pub(crate) detach: bool,
}

/// What `exec` also takes between COMPONENT and `--`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub(crate) struct ExecFolders {
    /// A folder that the guest gets, as a private writable snapshot, at its own path or at GUEST
    #[arg(long = "dir", value_name = "HOST[::GUEST]")]
    pub(crate) dirs: Vec<String>,
    /// Keep what the guest writes to /out in this folder
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) out: Option<PathBuf>,
    /// A variable for the guest; without a value, this process's own is passed on
    #[arg(long = "env", value_name = "NAME[=VALUE]")]
    pub(crate) env: Vec<String>,
    /// When the guest has ended well, copy what it changed under --dir back to the host
    #[arg(long)]
    pub(crate) write_back: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "--dir, --out, --env and --write-back may also stand between COMPONENT and ARGS; everything else \
    after COMPONENT is the guest's, and so is all that follows a `--`.\n\
    As cargo's runner: CARGO_TARGET_WASM32_WASIP2_RUNNER=\"sykli exec\" cargo test --target wasm32-wasip2. There, all \
    that follows COMPONENT is the guest's."
)]
pub(crate) struct ExecArgs {
    #[command(flatten)]
    pub(crate) folders: ExecFolders,
    /// Let the guest connect to this host and port
    #[arg(long = "net", value_name = "HOST[:PORT]")]
    pub(crate) net: Vec<String>,
    /// Let the guest read the real clock
    #[arg(long)]
    pub(crate) clock: bool,
    /// Give the guest real randomness
    #[arg(long)]
    pub(crate) random: bool,
    /// End the guest after this much work, as in 5G
    #[arg(long, value_name = "FUEL")]
    pub(crate) fuel: Option<String>,
    /// The most memory that the guest may use, as in 512MB
    #[arg(long, value_name = "SIZE")]
    pub(crate) memory: Option<String>,
    /// End the guest after this long, as in 90s, 5m
    #[arg(long, value_name = "DURATION")]
    pub(crate) timeout: Option<String>,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    /// The component (or core wasip1 module), then the guest's own arguments
    #[arg(
        value_names = ["COMPONENT", "ARGS"],
        required = true,
        num_args = 1..,
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_hint = ValueHint::FilePath
    )]
    pub(crate) command: Vec<OsString>,
}

/// Takes the flags of [`ExecFolders`] off the front of `words`; how many words that were.
pub(crate) fn leading_folders(words: &[OsString]) -> (ExecFolders, usize) {
    let mut flags = ExecFolders::default();
    let mut at = 0;
    while let Some(word) = words.get(at).and_then(|word| word.to_str()) {
        let (name, joined) = word
            .split_once('=')
            .map_or((word, None), |(name, value)| (name, Some(value.to_owned())));
        if name == "--write-back" && joined.is_none() {
            flags.write_back = true;
            at += 1;
            continue;
        }
        let next = || {
            words
                .get(at + 1)
                .and_then(|word| word.to_str())
                .map(str::to_owned)
        };
        let width = if joined.is_some() { 1 } else { 2 };
        let Some(value) = joined.clone().or_else(next) else {
            break;
        };
        match name {
            "--dir" => flags.dirs.push(value),
            "--out" => flags.out = Some(PathBuf::from(value)),
            "--env" => flags.env.push(value),
            _ => break,
        }
        at += width;
    }
    (flags, at)
}

#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    /// The folder to write into
    #[arg(value_name = "DIR", default_value = ".", value_hint = ValueHint::DirPath)]
    pub(crate) dir: PathBuf,
    /// Write a task that uses the SDK (progress, parameters), vendored beside it
    #[arg(long)]
    pub(crate) sdk: bool,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum NewCommand {
    /// Write a task crate into tasks/NAME, and say what to add to sykli.toml
    Task(NewTaskArgs),
}

#[derive(Debug, Args)]
pub(crate) struct NewTaskArgs {
    /// The task's name: letters, digits, `-` and `_`
    pub(crate) name: String,
    /// Without the SDK and its import: runs on any WASI runtime
    #[arg(long)]
    pub(crate) plain: bool,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct BuildArgs {
    #[command(flatten)]
    pub(crate) pipeline: PipelineArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ValidateArgs {
    #[command(flatten)]
    pub(crate) pipeline: PipelineArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    #[command(flatten)]
    pub(crate) pipeline: PipelineArgs,
    /// Say for each task why it would run
    #[arg(long)]
    pub(crate) explain: bool,
    /// Only the tasks that match, and what they need
    #[arg(long, value_name = "EXPR")]
    pub(crate) filter: Option<String>,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// What `graph` can draw.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum GraphFormat {
    /// One task a line, with what it needs
    Text,
    /// A Mermaid flowchart
    Mermaid,
    /// A Graphviz digraph
    Dot,
    /// A picture
    Svg,
}

#[derive(Debug, Args)]
pub(crate) struct GraphArgs {
    #[command(flatten)]
    pub(crate) pipeline: PipelineArgs,
    /// What to draw
    #[arg(long, value_enum, default_value = "text", value_name = "FORMAT")]
    pub(crate) format: GraphFormat,
}

#[derive(Debug, Subcommand)]
pub(crate) enum CacheCommand {
    /// How much the cache holds
    Stats {
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Remove what was unused longest, down to a size
    Gc {
        /// The size to keep to, as in 10GB [default: the setting cache.max_size]
        #[arg(long, value_name = "SIZE")]
        max: Option<String>,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Say what changed since a task last ran
    Why(WhyArgs),
    /// Remove everything that the cache holds
    Clear {
        #[command(flatten)]
        output: OutputArgs,
    },
}

#[derive(Debug, Args)]
pub(crate) struct WhyArgs {
    /// A task, or one instance of it: `shrink` or `shrink[3/16]`
    pub(crate) task: String,
    #[command(flatten)]
    pub(crate) pipeline: PipelineArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum BundleCommand {
    /// Pack a task with everything that it needs into one file
    Pack(PackArgs),
    /// Say what is in a bundle
    Inspect {
        /// The bundle
        #[arg(value_hint = ValueHint::FilePath)]
        file: PathBuf,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Check that a bundle is whole
    Verify {
        /// The bundle
        #[arg(value_hint = ValueHint::FilePath)]
        file: PathBuf,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Run the task in a bundle, within the limits that it was packed with
    Run(BundleRunArgs),
}

#[derive(Debug, Args)]
pub(crate) struct PackArgs {
    /// A task, or one instance of it: `build` or `shrink[3/16]`
    pub(crate) task: String,
    #[command(flatten)]
    pub(crate) pipeline: PipelineArgs,
    /// The file to write [default: the task's name, with .bundle]
    #[arg(long, short, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) out: Option<PathBuf>,
    /// How hard to compress, from 1 to 19
    #[arg(long, value_name = "LEVEL", default_value_t = 9, value_parser = clap::value_parser!(i32).range(1..=19))]
    pub(crate) level: i32,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct BundleRunArgs {
    /// The bundle
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) file: PathBuf,
    /// Keep the task's outputs in this folder
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) out: Option<PathBuf>,
    /// Give it the network, the clock and the randomness that it asks for
    #[arg(long)]
    pub(crate) grant: bool,
    /// End the guest after this long, as in 90s, 5m
    #[arg(long, value_name = "DURATION")]
    pub(crate) timeout: Option<String>,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// The settings in force
    Show {
        /// Say where each value comes from
        #[arg(long)]
        origin: bool,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Check the settings files and variables
    Check,
    /// Where the settings files are
    Path,
}

#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell [default: the one that SHELL names]
    #[arg(value_enum)]
    pub(crate) shell: Option<clap_complete::Shell>,
}

#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// Write one page a command into this folder, instead of sykli(1) to standard output
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) out: Option<PathBuf>,
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_grammar_is_consistent() {
        Cli::command().debug_assert();
    }

    fn exec(line: &[&str]) -> ExecArgs {
        match Cli::try_parse_from([&["sykli", "exec"], line].concat())
            .unwrap()
            .command
        {
            Command::Exec(args) => args,
            other => panic!("not exec: {other:?}"),
        }
    }

    #[test]
    fn folder_flags_are_taken_off_the_front_alone() {
        let words: Vec<OsString> = ["--dir", ".", "--env=A=b", "--write-back", "x", "--out", "y"]
            .map(OsString::from)
            .into();
        let (flags, taken) = leading_folders(&words);
        assert_eq!(
            (flags.dirs, flags.env, flags.write_back, flags.out),
            (vec![".".into()], vec!["A=b".into()], true, None)
        );
        assert_eq!(taken, 4);
        assert_eq!(
            leading_folders(&["--dir".into()]).1,
            0,
            "a flag without its value is the guest's"
        );
    }

    #[test]
    fn what_follows_the_component_is_the_guests() {
        let args = exec(&[
            "--dir",
            ".",
            "a.wasm",
            "--nocapture",
            "--test-threads=1",
            "--dir",
            "x",
            "--json",
        ]);
        assert_eq!(args.folders.dirs, ["."]);
        assert_eq!(
            args.command,
            [
                "a.wasm",
                "--nocapture",
                "--test-threads=1",
                "--dir",
                "x",
                "--json"
            ]
        );
        assert_eq!(exec(&["--", "a.wasm", "-v"]).command, ["a.wasm", "-v"]);
    }
}
