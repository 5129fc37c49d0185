//! `sykli task`: how one task stands: who has it, whether it was stolen, how far it is.

use super::{Context, past};
use crate::args::TaskArgs;
use crate::error::{Exit, Outcome};
use crate::render::past::TaskDoc;
use crate::render::{self, past_text, views};

/// See the module.
pub(crate) fn task(context: &Context, args: &TaskArgs) -> Outcome {
    let live = (context.live.task)(context, args.run.as_deref(), &args.name);
    let found = match live {
        Some(found) => found,
        None => {
            let journal = past::journal(context)?;
            let run = past::chosen(context, &journal, args.run.as_deref())?;
            past::views(&journal, &run, &args.name)?
        }
    };
    let doc = TaskDoc {
        schema: "sykli.task/1",
        instances: found.into_iter().map(views::task).collect(),
    };
    if context.format().is_machine() {
        render::document(&doc, context.format());
    } else {
        let lines = past_text::task(&context.stdout_term(), &doc);
        render::out(&past_text::joined(lines));
    }
    Ok(Exit::Passed)
}
