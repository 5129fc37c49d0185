//! `sykli history`: which runs there were, how they ended, and how much of them ran where.

use super::{Context, past};
use crate::args::HistoryArgs;
use crate::error::{Exit, Outcome};
use crate::render::past::HistoryDoc;
use crate::render::{self, past_text, views};

/// The most runs that are listed: as many as the journal keeps.
const MAX_LISTED: usize = 500;

/// See the module.
pub(crate) fn history(context: &Context, args: &HistoryArgs) -> Outcome {
    let journal = past::journal(context)?;
    let of = &args.pipeline;
    let file = match of.pipeline.is_some() || of.from.is_some() {
        true => Some(past::pipeline_file(context, of)?),
        false => None,
    };
    let runs = journal.runs(file.as_deref(), args.limit.min(MAX_LISTED));
    let runs = runs.iter().map(|run| {
        let tally = journal.tally(&run.id);
        views::past_run(run, tally)
    });
    let doc = HistoryDoc {
        schema: "sykli.history/1",
        runs: runs.collect(),
    };
    if context.format().is_machine() {
        render::document(&doc, context.format());
    } else {
        let lines = past_text::history(&context.stdout_term(), &doc, views::now_ms());
        render::out(&past_text::joined(lines));
    }
    Ok(Exit::Passed)
}
