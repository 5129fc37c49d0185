//! What a node that runs now can tell and the journal cannot: who runs what at this moment, and what is being written.
//!
//! The commands ask here first and then the journal. Where no node runs nobody answers, which is no error. It reads
//! nothing by itself. Made with the [`Context`], in which tests put others.

use std::ops::ControlFlow;

use sykli_node::control::api::{InstanceView, LogLine};
use sykli_node::control::{Client, running};
use sykli_node::events::{NodeRef, Stream};
use sykli_node::views::{Piece, RunView, Standing, TaskView};

use super::Context;

/// Takes a piece of output.
pub(crate) type Heard<'a> = &'a mut dyn FnMut(Piece);

/// How a running node is asked. Each answers nothing where none runs, or it does not know the run.
#[derive(Clone, Copy)]
pub(crate) struct Live {
    /// The run of this name, else the one that goes on.
    pub(crate) run: fn(&Context, Option<&str>) -> Option<RunView>,
    /// The instances of a task, or the one of this label, in that run.
    pub(crate) task: fn(&Context, Option<&str>, &str) -> Option<Vec<TaskView>>,
    /// Hands on what the instances of a task write until all have ended; whether that was done.
    pub(crate) follow: fn(&Context, Option<&str>, &str, Heard<'_>) -> bool,
}

impl Default for Live {
    /// Asks the node that runs here, by its control socket.
    fn default() -> Live {
        Live {
            // The journal knows as much of a run as a node does: what has settled, and where what is on its way is.
            run: |_, _| None,
            task,
            follow,
        }
    }
}

fn client(context: &Context) -> Option<Client> {
    let runtime = &context.resolved.settings.dirs.runtime;
    let runs = running(runtime).ok().flatten();
    runs.map(|_| Client::new(runtime))
}

fn task(context: &Context, run: Option<&str>, name: &str) -> Option<Vec<TaskView>> {
    let live = client(context)?.task(name).ok()?;
    if run.is_some_and(|run| !live.run.starts_with(run)) {
        return None;
    }
    // Of what has ended the journal knows more.
    let goes_on = |one: &InstanceView| is_under_way(standing(&one.state));
    if !live.instances.iter().any(goes_on) {
        return None;
    }
    let one = |one: InstanceView| TaskView {
        run: live.run.clone(),
        task: live.task.clone(),
        label: one.label,
        standing: standing(&one.state),
        address: one
            .executor
            .as_ref()
            .map(|by| by.address.clone())
            .filter(|address| !address.is_empty()),
        executor: one.executor.filter(|by| !by.here).map(|by| NodeRef {
            id: by.id,
            name: by.name,
        }),
        stolen: one.stolen,
        owner: None,
        attempt: one.attempt,
        done: one.progress.done,
        total: one.progress.total,
        message: one.progress.message,
        wall_ms: one.elapsed_ms,
        fuel: 0,
        failure: None,
    };
    Some(live.instances.into_iter().map(one).collect())
}

fn is_under_way(standing: Standing) -> bool {
    matches!(
        standing,
        Standing::Waiting | Standing::Offered | Standing::Running
    )
}

fn standing(word: &str) -> Standing {
    match word {
        "offered" => Standing::Offered,
        "running" | "sending" | "fetching" => Standing::Running,
        "passed" => Standing::Passed,
        "cached" => Standing::Cached,
        "failed" => Standing::Failed,
        "skipped" => Standing::Skipped,
        "cancelled" => Standing::Cancelled,
        _ => Standing::Waiting,
    }
}

fn follow(context: &Context, _run: Option<&str>, name: &str, heard: Heard<'_>) -> bool {
    let Some(client) = client(context) else {
        return false;
    };
    let mut line = |line: &str| {
        if let Ok(said) = serde_json::from_str::<LogLine>(line)
            && (said.label == name || said.label.split('[').next() == Some(name))
        {
            heard(Piece {
                label: said.label.into(),
                stream: match said.stream.as_str() {
                    "stderr" => Stream::Stderr,
                    _ => Stream::Stdout,
                },
                bytes: said.text.into_bytes(),
            });
        }
        ControlFlow::Continue(())
    };
    client.logs(name, true, &mut line).is_ok()
}
