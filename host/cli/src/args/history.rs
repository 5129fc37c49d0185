//! The grammar of the commands that look at runs which were, or go on.

use clap::Args;

use super::{OutputArgs, PipelineArgs};

#[derive(Debug, Args)]
pub(crate) struct HistoryArgs {
    #[command(flatten)]
    pub(crate) pipeline: PipelineArgs,
    /// How many runs
    #[arg(long, short = 'n', value_name = "N", default_value_t = 20)]
    pub(crate) limit: usize,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// A run, or how its name begins [default: one that goes on, else the last]
    pub(crate) run: Option<String>,
    /// Go on showing it until it has ended
    #[arg(long, short)]
    pub(crate) watch: bool,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct TaskArgs {
    /// A task, or one instance of it: `shrink` or `shrink[3/16]`
    pub(crate) name: String,
    /// A run, or how its name begins [default: one that goes on, else the last]
    pub(crate) run: Option<String>,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct LogsArgs {
    /// A task, or one instance of it: `shrink` or `shrink[3/16]`
    pub(crate) task: String,
    /// A run, or how its name begins [default: one that goes on, else the last]
    pub(crate) run: Option<String>,
    /// Go on showing what is written until the task has ended
    #[arg(long, short)]
    pub(crate) follow: bool,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// A task, or one instance of it: `shrink` or `shrink[3/16]`
    pub(crate) task: String,
    /// A run, or how its name begins [default: one that goes on, else the last]
    pub(crate) run: Option<String>,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}
