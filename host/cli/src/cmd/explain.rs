//! `sykli explain`: why a task ran where it did: every node that was asked or was not, what it said, and what to change.

use sykli_node::journal::{Noted, Run};
use sykli_node::views::TaskView;

use super::{Context, past};
use crate::args::ExplainArgs;
use crate::error::{Exit, Outcome};
use crate::render::past::{ExplainDoc, ExplainInstance, TimedStep};
use crate::render::{self, convert, past_text, views};

/// Instances that one answer carries.
const MAX_INSTANCES: usize = 1000;

/// See the module.
pub(crate) fn explain(context: &Context, args: &ExplainArgs) -> Outcome {
    let journal = past::journal(context)?;
    let run = past::chosen(context, &journal, args.run.as_deref())?;
    let found = past::views(&journal, &run, &args.task)?;
    let left_out = found.len().saturating_sub(MAX_INSTANCES);
    let instances = found.into_iter().take(MAX_INSTANCES).map(|view| {
        let steps = journal.steps(&run.id, Some(&view.label));
        instance(&run, view, steps)
    });
    let doc = ExplainDoc {
        schema: "sykli.explain/1",
        run: run.id.to_string(),
        reach: views::reach(run.mode.into()),
        instances: instances.collect(),
        left_out: left_out as u64,
    };
    if context.format().is_machine() {
        render::document(&doc, context.format());
    } else {
        let lines = past_text::explain(&context.stdout_term(), &doc);
        render::out(&past_text::joined(lines));
    }
    Ok(Exit::Passed)
}

fn instance(run: &Run, view: TaskView, steps: Vec<Noted>) -> ExplainInstance {
    let why = views::why(run.mode.into(), &view, &steps);
    let steps = steps.into_iter().map(|step| TimedStep {
        after_ms: step.at_ms.saturating_sub(run.started_ms),
        step: convert::step(step.attempt, step.node, &step.what),
    });
    ExplainInstance {
        why: why.unwrap_or_else(|| views::no_choice(run.mode.into(), view.standing)),
        steps: steps.collect(),
        standing: views::standing(view.standing),
        executor: view.executor.map(convert::node),
        label: view.label,
    }
}
