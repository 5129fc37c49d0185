//! `sykli status`: a run as its graph, with what each task is at and where; once, or until it has ended.

use std::time::Duration;

use sykli_node::views::{RunView, Standing};

use super::{Context, past};
use crate::args::StatusArgs;
use crate::config::Format;
use crate::error::{CliError, Exit, Outcome};
use crate::render::{self, past_text, views};

/// How often a run that is watched is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// See the module.
pub(crate) fn status(context: &Context, args: &StatusArgs) -> Outcome {
    let first = look(context, args.run.as_deref())?;
    if !args.watch {
        show(context, first, 0);
        return Ok(Exit::Passed);
    }
    // From here on it is this run, whatever else begins.
    let name = first.run.clone();
    let (mut view, mut drawn, mut lines) = (first, None, 0);
    loop {
        let goes_on = view.standing == Standing::Running;
        // One document is all there is in JSON: the last.
        let due = !goes_on || context.format() != Format::Json;
        if due && drawn.as_ref() != Some(&fresh(&view)) {
            drawn = Some(fresh(&view));
            lines = show(context, view, lines);
        }
        if !goes_on {
            return Ok(Exit::Passed);
        }
        std::thread::sleep(LOOK_EVERY);
        view = look(context, Some(&name))?;
    }
}

/// The view without what changes by itself: only what has happened is drawn anew.
fn fresh(view: &RunView) -> RunView {
    RunView {
        elapsed_ms: None,
        ..view.clone()
    }
}

fn look(context: &Context, asked: Option<&str>) -> Result<RunView, CliError> {
    if let Some(live) = (context.live.run)(context, asked) {
        return Ok(live);
    }
    let journal = past::journal(context)?;
    let run = past::chosen(context, &journal, asked)?;
    Ok(RunView::recorded(&journal, &run))
}

/// Over the `above` lines that stand there, where the terminal can do that. How many lines stand there now.
fn show(context: &Context, view: RunView, above: usize) -> usize {
    let doc = views::status(view);
    if context.format().is_machine() {
        render::document(&doc, context.format());
        return 0;
    }
    let term = context.stdout_term();
    let lines = past_text::status(&term, &doc);
    let count = lines.len();
    let text = past_text::joined(lines);
    match above {
        1.. if term.out.terminal => render::out(&format!("\u{1b}[{above}A\u{1b}[J{text}")),
        _ => render::out(&text),
    }
    count
}
