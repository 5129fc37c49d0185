//! `sykli run`: asks the node for a run, shows it while it goes on, and sums it up once. A run that reaches other nodes
//! goes through the node that runs here, where one does (`through.rs`).

mod through;

use std::sync::Arc;
use std::time::Duration;

use sykli_node::control::running;
use sykli_node::filter::Filter;
use sykli_node::run::RunRequest;

use super::{Context, Loaded, launch, load, node_error};
use crate::args::RunArgs;
use crate::config::{Format, parse_duration_ms};
use crate::error::{CliError, Outcome};
use crate::render::convert::Listed;
use crate::render::json::{Event, RunDoc};
use crate::render::{self, Reporter, convert, text};

/// See the module.
pub(crate) fn run(context: &Context, args: &RunArgs) -> Outcome {
    let loaded = load(context, &args.pipeline)?;
    let running = running(&context.resolved.settings.dirs.runtime);
    if launch::reaches(args.reach) && running.is_ok_and(|pid| pid.is_some()) {
        return through::run(context, args, &loaded);
    }
    if args.reach.detach {
        return Err(no_node());
    }
    let request = RunRequest {
        jobs: context.resolved.settings.jobs,
        keep_going: args.keep_going,
        use_cache: !args.no_cache,
        filter: filter(args.filter.as_deref())?,
        timeout: args.timeout.as_deref().map(timeout).transpose()?,
        ..request(&loaded)
    };
    let format = context.format();
    let node = context.node()?;
    let joined = match launch::reaches(args.reach) {
        true => Some(launch::join(context, args.reach, &node, &loaded)?),
        false => None,
    };
    let reporter = Arc::new(Reporter::new(format, context.term, args.verbose));
    let interrupt = crate::interrupt::watch({
        let reporter = reporter.clone();
        move || {
            reporter.own(Event::Warning {
                message: "ending the run; once more stops at once".to_owned(),
            })
        }
    });
    let events = |event| reporter.event(event);
    let result = match &joined {
        None => node.run(request, &events, &interrupt),
        Some(joined) => node.run_in_mesh(request, &joined.reach, &events, &interrupt),
    };
    if let Some(joined) = joined {
        joined.leave();
    }
    let report = match result {
        Ok(report) => report,
        Err(error) => {
            reporter.finish();
            return Err(node_error(&error, Some(&loaded)));
        }
    };
    let listed = match format {
        Format::Json => Listed::All,
        Format::Text | Format::Ndjson => Listed::Failed,
    };
    let doc = convert::run_doc(report, &loaded.at.root, listed);
    let status = doc.status;
    conclude(context, &reporter, doc);
    node.end();
    Ok(convert::exit_of(status))
}

/// A run can only be handed over where there is a node.
fn no_node() -> CliError {
    CliError::usage(
        "run::no-node",
        "no node runs here that the run could be handed to",
    )
    .hint("sykli node start --detach")
}

/// The one summary, in the format that was asked for.
fn conclude(context: &Context, reporter: &Reporter, doc: RunDoc) {
    match context.format() {
        Format::Json => {
            reporter.finish();
            render::document(&doc, Format::Json);
        }
        Format::Ndjson => {
            reporter.own(Event::Finished {
                status: doc.status,
                exit_code: doc.exit_code,
                wall_ms: doc.wall_ms,
                counts: doc.counts,
                exported: doc.exported,
                elsewhere: doc.elsewhere,
            });
            reporter.finish();
        }
        Format::Text => {
            let nodes = reporter.finish();
            for line in text::summary(&context.term, &doc, &nodes) {
                render::err(&format!("{line}\n"));
            }
        }
    }
}

/// A request with defaults for a loaded pipeline.
pub(crate) fn request(loaded: &Loaded) -> RunRequest {
    RunRequest::new(
        loaded.pipeline.clone(),
        loaded.at.path.clone(),
        loaded.at.root.clone(),
    )
}

/// The flag's expression.
pub(crate) fn filter(expression: Option<&str>) -> Result<Option<Filter>, CliError> {
    expression
        .map(|text| {
            Filter::parse(text).map_err(|error| {
                CliError::usage("run::filter", error.to_string()).hint(error.hint())
            })
        })
        .transpose()
}

fn timeout(text: &str) -> Result<Duration, CliError> {
    parse_duration_ms(text)
        .map(Duration::from_millis)
        .map_err(|wrong| {
            CliError::usage("cli::value", format!("--timeout: {wrong}")).hint("as in --timeout 5m")
        })
}
