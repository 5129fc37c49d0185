//! `sykli node`: starts this machine's node, in the foreground or as a daemon, and speaks to the one that runs.
//!
//! `foreground.rs` shows a node while it runs, `daemon.rs` makes one that stays, `show.rs` is the text of its answers. What
//! a node does is the node's matter; the one that runs is reached through the control socket alone. Decides nothing but
//! the order of these steps and how long each is waited for.

mod daemon;
mod foreground;
mod show;

use std::path::Path;
use std::time::{Duration, Instant};

use sykli_node::control::{Client, ControlError, Door, running};

use super::{Context, launch};
use crate::args::{NodeCommand, StartArgs, StopArgs};
use crate::config::mesh;
use crate::error::{CliError, Exit, Outcome, plain_text};
use crate::render;

pub(super) use show::machine;

/// How long a node may take to finish what it has.
const DRAIN: Duration = Duration::from_secs(600);
/// How long it may take to end at once.
const END: Duration = Duration::from_secs(30);
/// How often it is looked whether it has ended.
const LOOK: Duration = Duration::from_millis(50);

/// See the module.
pub(super) fn node(context: &Context, command: &NodeCommand) -> Outcome {
    let client = || Client::new(runtime(context));
    let asked = |answer: Result<(), ControlError>, said: &str| {
        answer.map_err(|error| control_error(&error))?;
        render::err(&format!("{said}\n"));
        Ok(Exit::Passed)
    };
    match command {
        NodeCommand::Start(args) => start(context, args),
        NodeCommand::Stop(args) => stop(context, args),
        NodeCommand::Status { .. } => {
            let status = client().status().map_err(|error| control_error(&error))?;
            show::status(context, &status);
            Ok(Exit::Passed)
        }
        NodeCommand::Pause { off } => {
            let said = if *off {
                "others' tasks are taken again, as consent allows"
            } else {
                "no more of others' tasks are taken; those that run go on"
            };
            asked(client().pause(!off), said)
        }
        NodeCommand::Drain => asked(
            client().drain(),
            "it finishes what it has and takes nothing new",
        ),
        NodeCommand::Asks { .. } => {
            let asks = client().asks().map_err(|error| control_error(&error))?;
            show::asks(context, &asks);
            Ok(Exit::Passed)
        }
        NodeCommand::Approve(args) => asked(client().decide(&args.id, true), "approved"),
        NodeCommand::Refuse(args) => asked(client().decide(&args.id, false), "refused"),
    }
}

fn runtime(context: &Context) -> &Path {
    &context.resolved.settings.dirs.runtime
}

fn start(context: &Context, args: &StartArgs) -> Outcome {
    // Before a daemon is made, too: its user is here to read what is wrong.
    let settings = mesh(&context.resolved)?;
    if args.detach {
        return daemon::start(context);
    }
    let log = args.detached.then(|| daemon::settle(context));
    let door = Door::claim(runtime(context)).map_err(|error| control_error(&error))?;
    let mode = settings.policy.mode;
    let launched = launch::launch(context, settings, door)?;
    foreground::watch(launched, mode, log.as_ref())
}

fn stop(context: &Context, args: &StopArgs) -> Outcome {
    let runtime = runtime(context);
    let pid = running(runtime).map_err(|error| control_error(&error))?;
    match Client::new(runtime).stop(args.now) {
        Ok(()) => {}
        // It holds its lock and does not answer: what it was at is in its journal.
        Err(ControlError::TimedOut) if args.now => kill(pid.unwrap_or_default())?,
        Err(error) => return Err(control_error(&error)),
    }
    let limit = if args.now { END } else { DRAIN };
    let began = Instant::now();
    while running(runtime).map_err(|error| control_error(&error))? == pid && pid.is_some() {
        if began.elapsed() > limit {
            return Err(CliError::failed(
                "node::not-stopped",
                format!("the node has not stopped within {} s", limit.as_secs()),
            )
            .hint("`sykli node status` says what it has; `sykli node stop --now` ends it"));
        }
        std::thread::sleep(LOOK);
    }
    render::err("the node has stopped\n");
    Ok(Exit::Passed)
}

/// The process that holds the node's lock.
fn kill(pid: u32) -> Result<(), CliError> {
    let unknown = || {
        CliError::failed(
            "node::no-pid",
            "the node does not answer, and does not say which process it is",
        )
        .hint("`pgrep -u $USER sykli` finds it")
    };
    let raw = i32::try_from(pid).map_err(|_| unknown())?;
    let pid = rustix::process::Pid::from_raw(raw).ok_or_else(unknown)?;
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).map_err(|error| {
        CliError::failed(
            "node::kill",
            format!("process {raw} cannot be ended: {error}"),
        )
    })
}

/// What the control socket's client could not do.
pub(super) fn control_error(error: &ControlError) -> CliError {
    let mut out = CliError::failed(error.code(), plain_text(&error.to_string()));
    if let ControlError::Refused(no) = error {
        out.hints.clone_from(&no.hints);
    } else {
        out = out.hint(error.hint());
    }
    out
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
