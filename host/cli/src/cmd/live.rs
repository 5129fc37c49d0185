//! What a node that runs now can tell and the journal cannot: who runs what at this moment, and what is being written.
//!
//! The commands ask here first and then the journal. Where no node runs nobody answers, which is no error. It reads
//! nothing by itself. Made with the [`Context`].

use sykli_node::views::{Piece, RunView, TaskView};

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
    /// No node runs.
    fn default() -> Live {
        Live {
            run: |_, _| None,
            task: |_, _, _| None,
            follow: |_, _, _, _| false,
        }
    }
}
