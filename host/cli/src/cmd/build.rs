//! `sykli build`: the pipeline's task crates to components, those that changed.

use std::collections::BTreeSet;
use std::sync::Arc;

use sykli_core::pipeline::Pipeline;
use sykli_core::units;
use sykli_node::build::{BuildRequest, TaskCrate};

use super::{Context, load, node_error};
use crate::args::BuildArgs;
use crate::config::Format;
use crate::error::{Exit, Outcome};
use crate::render::json::Event;
use crate::render::text::plural;
use crate::render::{self, Reporter, convert, escape};

/// See the module.
pub(crate) fn build(context: &Context, args: &BuildArgs) -> Outcome {
    let loaded = load(context, &args.pipeline)?;
    let request = BuildRequest {
        root: loaded.at.root.clone(),
        crates: crates(&loaded.pipeline),
        force: false,
    };
    let format = context.format();
    let node = context.node()?;
    let reporter = Arc::new(Reporter::new(format, context.term, false));
    let interrupt = crate::interrupt::watch({
        let reporter = reporter.clone();
        move || {
            reporter.own(Event::Warning {
                message: "ending the build; once more stops at once".to_owned(),
            })
        }
    });
    let result = node.build(
        &request,
        &|event| reporter.own(convert::build_event(event)),
        &interrupt,
    );
    reporter.finish();
    let doc = convert::build_doc(result.map_err(|error| node_error(&error, Some(&loaded)))?);
    if format != Format::Text {
        render::document(&doc, format);
        return Ok(Exit::Passed);
    }
    for one in &doc.crates {
        let state = if one.built { "built" } else { "unchanged" };
        let (dir, size) = (escape::clean(&one.crate_dir), units::human_bytes(one.bytes));
        render::out(&format!(
            "{dir}: {state}, {} ({size})\n",
            escape::clean(&one.component)
        ));
    }
    let built = doc.crates.iter().filter(|one| one.built).count();
    let total = plural(doc.crates.len() as u64, "crate");
    render::err(&format!(
        "{total}: {built} built, {} unchanged\n",
        doc.crates.len() - built
    ));
    Ok(Exit::Passed)
}

/// Each crate once, however many tasks share it, in the order of the pipeline.
fn crates(pipeline: &Pipeline) -> Vec<TaskCrate> {
    let mut seen = BTreeSet::new();
    let crates = pipeline
        .tasks
        .iter()
        .filter_map(|task| TaskCrate::of(&task.program));
    crates.filter(|of| seen.insert(of.clone())).collect()
}
