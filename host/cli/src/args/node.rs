//! The grammar of `sykli node`: the daemon that lets this machine take part in a mesh. See [`super`].

use clap::{Args, Subcommand};

use super::OutputArgs;

#[derive(Debug, Subcommand)]
pub(crate) enum NodeCommand {
    /// Take part in the mesh: in the foreground until Ctrl-C, or as a daemon
    Start(StartArgs),
    /// End the node that runs here, after what it has is finished
    Stop(StopArgs),
    /// Say how the node is: peers, runs, others' tasks, the machine
    Status {
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Take no more of others' tasks for now; those that run go on
    Pause {
        /// Take them again
        #[arg(long)]
        off: bool,
    },
    /// Finish what it has and take nothing new
    Drain,
    /// List the questions that wait for an answer (consent.mode = "ask")
    Asks {
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Let a task run here that waits for an answer
    Approve(AnswerArgs),
    /// Refuse one
    Refuse(AnswerArgs),
}

#[derive(Debug, Args)]
#[command(
    after_help = "Others' tasks run here only where `consent.mode` in your own settings is \"ask\" or \"policy\"; a project's \
    settings are not looked at.\n\
    Ctrl-C once finishes what runs and ends; twice ends at once, and nothing is lost."
)]
pub(crate) struct StartArgs {
    /// Go on in the background; what the node says is in node.log in the state folder
    #[arg(long)]
    pub(crate) detach: bool,
    /// This process is the daemon that --detach starts
    #[arg(long, hide = true, conflicts_with = "detach")]
    pub(crate) detached: bool,
}

#[derive(Debug, Args)]
pub(crate) struct StopArgs {
    /// End at once: leases are given back, and nothing is lost
    #[arg(long)]
    pub(crate) now: bool,
}

#[derive(Debug, Args)]
pub(crate) struct AnswerArgs {
    /// The question, as `sykli node asks` names it
    #[arg(value_name = "ID")]
    pub(crate) id: String,
}
