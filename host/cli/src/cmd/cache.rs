//! `sykli cache`: what the cache holds, why something is or is not in it, and how it becomes smaller.

use sykli_core::units;
use sykli_node::store::{Stats, Store, StoreError};

use super::run::request;
use super::{Context, load, node_error};
use crate::args::WhyArgs;
use crate::config::parse_size;
use crate::error::{CliError, Exit, Outcome, plain_text};
use crate::render::json::{CacheDoc, Removed, WhyDoc};
use crate::render::term::{Tone, paint};
use crate::render::text::plural;
use crate::render::{self, convert, escape};

/// The store, or why it cannot be used.
pub(super) fn open(context: &Context) -> Result<Store, CliError> {
    Store::open(&context.resolved.settings.dirs.cache).map_err(|error| store_error(&error))
}

fn store_error(error: &StoreError) -> CliError {
    CliError::usage(error.code(), plain_text(&error.to_string())).hint(error.hint())
}

/// `cache stats`.
pub(crate) fn stats(context: &Context) -> Outcome {
    let store = open(context)?;
    show(context, &store.stats(), None);
    Ok(Exit::Passed)
}

/// `cache gc`.
pub(crate) fn gc(context: &Context, max: Option<&str>) -> Outcome {
    let max = match max {
        None => context.resolved.settings.cache_max_bytes,
        Some(text) => parse_size(text).map_err(|wrong| {
            CliError::usage("cli::value", format!("--max: {wrong}")).hint("as in --max 10GB")
        })?,
    };
    let store = open(context)?;
    let report = store.gc(max).map_err(|error| store_error(&error))?;
    let removed = Removed {
        blobs: report.removed_blobs,
        bytes: report.freed_bytes,
        results: report.removed_results,
    };
    show(context, &store.stats(), Some(removed));
    Ok(Exit::Passed)
}

/// `cache clear`.
pub(crate) fn clear(context: &Context) -> Outcome {
    let store = open(context)?;
    let cleared = store.clear().map_err(|error| store_error(&error))?;
    let removed = Removed {
        blobs: cleared.blobs,
        bytes: cleared.bytes,
        results: cleared.results,
    };
    show(context, &store.stats(), Some(removed));
    Ok(Exit::Passed)
}

fn show(context: &Context, stats: &Stats, removed: Option<Removed>) {
    let settings = &context.resolved.settings;
    let doc = CacheDoc {
        schema: "sykli.cache-stats/1",
        dir: settings.dirs.cache.display().to_string(),
        blobs: stats
            .large_blobs
            .count
            .saturating_add(stats.small_blobs.count),
        blob_bytes: stats
            .large_blobs
            .bytes
            .saturating_add(stats.small_blobs.bytes),
        results: stats.results.count,
        compiled: stats.code.count,
        compiled_bytes: stats.code.bytes,
        database_bytes: stats.database_bytes,
        total_bytes: stats.total_bytes(),
        max_bytes: settings.cache_max_bytes,
        processes: stats.processes,
        removed,
    };
    if context.format().is_machine() {
        render::document(&doc, context.format());
        return;
    }
    if let Some(removed) = &doc.removed {
        let what = [
            plural(removed.results, "result"),
            plural(removed.blobs, "blob"),
        ]
        .join(" and ");
        render::out(&format!(
            "removed {what}, {}\n",
            units::human_bytes(removed.bytes)
        ));
    }
    render::out(&text(&doc));
}

fn text(doc: &CacheDoc) -> String {
    let size = units::human_bytes;
    let blobs = format!("{} ({})", doc.blobs, size(doc.blob_bytes));
    let compiled = format!("{} ({})", doc.compiled, size(doc.compiled_bytes));
    let total = format!(
        "{} of {} (cache.max_size)",
        size(doc.total_bytes),
        size(doc.max_bytes)
    );
    format!(
        "folder    {}\nresults   {}\nblobs     {blobs}\ncompiled  {compiled}\ndatabase  {}\non disk   {total}\n",
        escape::clean(&doc.dir),
        doc.results,
        size(doc.database_bytes),
    )
}

/// `cache why`.
pub(crate) fn why(context: &Context, args: &WhyArgs) -> Outcome {
    let loaded = load(context, &args.pipeline)?;
    let report = context.node()?.why(&request(&loaded), Some(&args.task));
    let doc = convert::why_doc(report.map_err(|error| node_error(&error, Some(&loaded)))?);
    if context.format().is_machine() {
        render::document(&doc, context.format());
    } else {
        render::out(&why_text(&doc, context.term.out.color));
    }
    Ok(Exit::Passed)
}

fn why_text(doc: &WhyDoc, color: bool) -> String {
    let mut out = String::new();
    for one in &doc.instances {
        let (state, tone) = if one.cached {
            ("cached", Tone::Good)
        } else {
            ("would run", Tone::Warn)
        };
        out.push_str(&format!(
            "{}: {}\n",
            escape::clean(&one.label),
            paint(state, tone, color)
        ));
        for reason in &one.reasons {
            out.push_str(&format!("  {}\n", escape::clean(reason)));
        }
    }
    out
}
