//! `sykli graph`: a pipeline drawn, as declared: nothing is listed, built or run.

use sykli_core::pipeline::Foreach;

use super::{Context, load};
use crate::args::{GraphArgs, GraphFormat};
use crate::error::{Exit, Outcome};
use crate::render::graph::{self, Drawn};
use crate::render::{self, text};

/// See the module.
pub(crate) fn graph(context: &Context, args: &GraphArgs) -> Outcome {
    let loaded = load(context, &args.pipeline)?;
    let tasks: Vec<Drawn> = loaded
        .pipeline
        .tasks
        .iter()
        .map(|task| Drawn {
            name: task.name.clone(),
            after: task.after.clone(),
            fan: task.foreach.as_ref().map(fan),
        })
        .collect();
    render::out(&match args.format {
        GraphFormat::Text => graph::text(&tasks, context.term.unicode),
        GraphFormat::Mermaid => graph::mermaid(&tasks),
        GraphFormat::Dot => graph::dot(&tasks),
        GraphFormat::Svg => graph::svg(&tasks),
    });
    Ok(Exit::Passed)
}

fn fan(foreach: &Foreach) -> String {
    match foreach {
        Foreach::Glob(pattern) => format!("each of {}", pattern.as_str()),
        Foreach::Shards(count) => text::plural((*count).into(), "shard"),
        Foreach::Values(values) => text::plural(values.len() as u64, "value"),
        Foreach::Matrix(axes) => {
            let axes: Vec<String> = axes
                .iter()
                .map(|(name, values)| format!("{} {name}", values.len()))
                .collect();
            axes.join(" x ")
        }
    }
}
