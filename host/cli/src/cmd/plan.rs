//! `sykli plan`: what a run would do now, and with `--explain` why.

use sykli_core::units;

use super::run::{filter, request};
use super::{Context, load, node_error};
use crate::args::PlanArgs;
use crate::error::{Exit, Outcome};
use crate::render::json::{PlanDoc, PlanInstance, PlanState, PlanTask};
use crate::render::term::{Term, Tone, paint};
use crate::render::text::plural;
use crate::render::{self, convert, escape};
use sykli_node::run::RunRequest;

/// Reasons that one instance shows.
const REASONS: usize = 6;
/// Instances of one task that an explanation shows one by one.
const EXPLAINED: usize = 20;

/// See the module.
pub(crate) fn plan(context: &Context, args: &PlanArgs) -> Outcome {
    let loaded = load(context, &args.pipeline)?;
    let request = RunRequest {
        filter: filter(args.filter.as_deref())?,
        ..request(&loaded)
    };
    let report = context
        .node()?
        .plan(&request)
        .map_err(|error| node_error(&error, Some(&loaded)))?;
    let doc = convert::plan_doc(report);
    if context.format().is_machine() {
        render::document(&doc, context.format());
    } else {
        render::out(&text(&doc, args.explain, &context.term));
    }
    Ok(Exit::Passed)
}

fn text(doc: &PlanDoc, explain: bool, term: &Term) -> String {
    let mut out = String::new();
    for task in &doc.tasks {
        out.push_str(&task_line(task, term));
        if explain {
            let of_task = doc.instances.iter().filter(|one| one.task == task.name);
            out.push_str(&explained(of_task, task, term));
        }
    }
    for warning in &doc.warnings {
        out.push_str(&format!(
            "{} {}\n",
            paint("warning:", Tone::Warn, term.out.color),
            escape::clean(warning)
        ));
    }
    out.push_str(&summary(doc));
    out
}

fn task_line(task: &PlanTask, term: &Term) -> String {
    let color = term.out.color;
    let parts = [
        (task.would_run, "to run", Tone::Good),
        (task.cached, "cached", Tone::Quiet),
        (task.unknown, "not known yet", Tone::Warn),
    ];
    let single = task.would_run + task.cached + task.unknown == 1;
    let parts: Vec<String> = parts
        .iter()
        .filter(|(count, ..)| *count > 0)
        .map(|(count, name, tone)| {
            let text = if single {
                (*name).to_owned()
            } else {
                format!("{count} {name}")
            };
            paint(&text, *tone, color)
        })
        .collect();
    let impure = if task.pure {
        ""
    } else {
        " (not pure: never cached)"
    };
    format!(
        "{}: {}{impure}\n",
        paint(&task.name, Tone::Strong, color),
        parts.join(", ")
    )
}

/// Why each instance runs; cached ones need no reason.
fn explained<'a>(
    instances: impl Iterator<Item = &'a PlanInstance>,
    task: &PlanTask,
    term: &Term,
) -> String {
    let mut out = String::new();
    let mut hidden = 0u64;
    let mut shown = 0;
    for one in instances {
        let reasons: Vec<String> = match &one.state {
            PlanState::Cached => continue,
            PlanState::Run { reasons } => {
                reasons.iter().map(|reason| escape::clean(reason)).collect()
            }
            PlanState::Unknown { waits_for } => {
                vec![format!("depends on what {} gives", waits_for.join(", "))]
            }
        };
        if shown == EXPLAINED {
            hidden += 1;
            continue;
        }
        shown += 1;
        let expected = one.expected_ms.map_or_else(String::new, |ms| {
            format!(" (took {})", units::human_duration_ms(ms))
        });
        let lead = if one.label == task.name {
            String::new()
        } else {
            format!("{}: ", escape::clean(&one.label))
        };
        let more = reasons.len().saturating_sub(REASONS);
        for (index, reason) in reasons.iter().take(REASONS).enumerate() {
            let tail = if index == 0 { expected.as_str() } else { "" };
            out.push_str(&format!(
                "  {lead}{reason}{}\n",
                paint(tail, Tone::Quiet, term.out.color)
            ));
        }
        if more > 0 {
            out.push_str(&format!("  {lead}and {more} more\n"));
        }
    }
    if hidden > 0 {
        out.push_str(&format!("  and {} more\n", plural(hidden, "instance")));
    }
    out
}

fn summary(doc: &PlanDoc) -> String {
    let sum = |of: fn(&PlanTask) -> u32| {
        doc.tasks
            .iter()
            .fold(0u64, |sum, task| sum.saturating_add(of(task).into()))
    };
    let (run, cached, unknown) = (sum(|t| t.would_run), sum(|t| t.cached), sum(|t| t.unknown));
    let expected = doc
        .instances
        .iter()
        .filter(|one| matches!(one.state, PlanState::Run { .. }));
    let expected = expected
        .filter_map(|one| one.expected_ms)
        .fold(0u64, u64::saturating_add);
    if run == 0 && unknown == 0 {
        return format!("{}: everything is cached\n", plural(cached, "task"));
    }
    let unknown = if unknown > 0 {
        format!(", {unknown} not known yet")
    } else {
        String::new()
    };
    let expected = if expected > 0 {
        format!("; about {} of work", units::human_duration_ms(expected))
    } else {
        String::new()
    };
    format!(
        "{} to run, {cached} cached{unknown}{expected}\n",
        plural(run, "task")
    )
}
