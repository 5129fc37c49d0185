//! `sykli report`: one run, task by task: how each ended, where it ran, and why there.

use std::collections::BTreeMap;

use sykli_node::journal::Noted;
use sykli_node::views::TaskView;

use super::{Context, past, receipts};
use crate::args::ReportArgs;
use crate::error::{Exit, Outcome};
use crate::render::past::{ReportDoc, ReportTask};
use crate::render::{self, convert, past_text, views};

/// See the module.
pub(crate) fn report(context: &Context, args: &ReportArgs) -> Outcome {
    let journal = past::journal(context)?;
    let run = past::chosen(context, &journal, args.run.as_deref())?;
    if args.receipts {
        return receipts::export(context, &journal, &run, args);
    }
    let mut steps: BTreeMap<String, Vec<Noted>> = past::by_label(journal.steps(&run.id, None))
        .into_iter()
        .collect();
    let tasks = journal.instances(&run.id).into_iter().map(|one| {
        let steps = steps.remove(&one.label).unwrap_or_default();
        let view = TaskView::recorded(&run, one);
        ReportTask {
            why: views::why(run.mode.into(), &view, &steps),
            moves: views::moves(&steps),
            view: views::task(view),
        }
    });
    let doc = ReportDoc {
        schema: "sykli.report/1",
        of: views::past_run(&run, journal.tally(&run.id)),
        nodes: journal
            .nodes(&run.id)
            .into_iter()
            .map(convert::node)
            .collect(),
        tasks: tasks.collect(),
    };
    if context.format().is_machine() {
        render::document(&doc, context.format());
    } else {
        let lines = past_text::report(&context.stdout_term(), &doc);
        render::out(&past_text::joined(lines));
    }
    Ok(Exit::Passed)
}
