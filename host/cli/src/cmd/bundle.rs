//! `sykli bundle`: a task in one file. `pack` makes it, `inspect` and `verify` look into it, `run` runs it. What is in a
//! bundle comes from elsewhere: nothing of it is shown before all of it was verified, and no text of it as it is.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sykli_core::units;
use sykli_node::bundle::{Bundle, BundleBlob, BundleRun, Role};
use sykli_node::events::Stream;

use super::exec::{self, Sink};
use super::run::request;
use super::{Context, load, node_error};
use crate::args::{BundleRunArgs, PackArgs};
use crate::config::parse_duration_ms;
use crate::error::{CliError, Exit, Outcome};
use crate::render::json::{self, BundleDoc, BundleTask};
use crate::render::text::plural;
use crate::render::{self, escape};

/// Blobs that are listed one by one for people.
const LISTED: usize = 40;
/// Where nothing else was said: as long as a task of a pipeline may take at most.
const TIMEOUT: Duration = Duration::from_secs(24 * 3600);

/// `bundle pack`.
pub(crate) fn pack(context: &Context, args: &PackArgs) -> Outcome {
    let loaded = load(context, &args.pipeline)?;
    let file = args.out.clone().unwrap_or_else(|| default_name(&args.task));
    let out = context.cwd.join(&file);
    let packed = context
        .node()?
        .pack_bundle(&request(&loaded), &args.task, &out, args.level);
    let bundle = packed.map_err(|error| node_error(&error, Some(&loaded)))?;
    if context.format().is_machine() {
        render::document(&document(&file, &bundle, false), context.format());
    } else {
        render::err(&format!(
            "packed {} into {}: {}, {} of {}\n",
            escape::clean(&bundle.manifest.name),
            file.display(),
            plural(bundle.blobs.len() as u64, "blob"),
            units::human_bytes(bundle.file_bytes),
            units::human_bytes(bundle.content_bytes()),
        ));
    }
    Ok(Exit::Passed)
}

/// `shrink[3/16]` → `shrink-3-16.bundle`.
fn default_name(task: &str) -> PathBuf {
    let plain = |c: char| c.is_alphanumeric() || c == '-' || c == '_';
    let parts = task.split(|c| !plain(c)).filter(|part| !part.is_empty());
    let name: Vec<&str> = parts.collect();
    PathBuf::from(format!("{}.bundle", name.join("-")))
}

/// `bundle inspect`.
pub(crate) fn inspect(context: &Context, file: &Path) -> Outcome {
    let bundle = verified(context, file)?;
    let doc = document(file, &bundle, true);
    if context.format().is_machine() {
        render::document(&doc, context.format());
    } else {
        render::out(&text(&doc));
    }
    Ok(Exit::Passed)
}

/// `bundle verify`.
pub(crate) fn verify(context: &Context, file: &Path) -> Outcome {
    let bundle = verified(context, file)?;
    if context.format().is_machine() {
        render::document(&document(file, &bundle, false), context.format());
    } else {
        render::out(&format!(
            "{} is whole: task {}, {}\n",
            file.display(),
            bundle.task,
            plural(bundle.blobs.len() as u64, "blob")
        ));
    }
    Ok(Exit::Passed)
}

fn verified(context: &Context, file: &Path) -> Result<Bundle, CliError> {
    let bundle = context.node()?.verify_bundle(&context.cwd.join(file));
    bundle.map_err(|error| node_error(&error, None))
}

/// `bundle run`.
pub(crate) fn run(context: &Context, args: BundleRunArgs) -> Outcome {
    let settings = &context.resolved.settings;
    let most = &settings.ceilings;
    let wrong = |why: String| {
        CliError::usage("cli::value", format!("--timeout: {why}")).hint("as in --timeout 5m")
    };
    let timeout = args.timeout.as_deref().map(parse_duration_ms).transpose();
    let timeout = timeout
        .map_err(wrong)?
        .map_or(TIMEOUT, Duration::from_millis);
    let request = BundleRun {
        path: context.cwd.join(&args.file),
        out: args.out.map(|out| context.cwd.join(out)),
        grant: args.grant,
        timeout: timeout.min(Duration::from_millis(most.timeout_ms)),
        max_fuel: most.fuel,
        max_memory_bytes: most.memory_bytes,
        max_output_bytes: most.output_bytes,
        max_bytes: settings.cache_max_bytes,
    };
    let machine = context.format().is_machine();
    let sink = Arc::new(Sink::new(context, machine));
    let interrupt = crate::interrupt::watch(|| ());
    let output = {
        let sink = sink.clone();
        Arc::new(move |stream: Stream, bytes: &[u8]| sink.write(stream, bytes))
    };
    let report = context.node()?.run_bundle(&request, output, &interrupt);
    let report = report.map_err(|error| node_error(&error, None))?;
    Ok(exec::ended(context, report, &sink))
}

fn document(file: &Path, bundle: &Bundle, listed: bool) -> BundleDoc {
    let manifest = &bundle.manifest;
    let grants = manifest.grants.net.iter().map(|rule| format!("net {rule}"));
    let others = [
        ("clock", manifest.grants.clock),
        ("random", manifest.grants.random),
    ];
    let others = others.into_iter().filter(|(_, asked)| *asked);
    let inputs = manifest.inputs.iter();
    BundleDoc {
        schema: "sykli.bundle/1",
        file: file.display().to_string(),
        file_bytes: bundle.file_bytes,
        content_bytes: bundle.content_bytes(),
        task: BundleTask {
            name: manifest.name.clone(),
            digest: bundle.task.to_string(),
            component: manifest.component.to_string(),
            args: manifest.args.clone(),
            env: manifest.env.keys().cloned().collect(),
            item: manifest.item.clone(),
            inputs: inputs
                .map(|(prefix, tree)| (prefix.clone(), tree.to_string()))
                .collect(),
            outputs: manifest.outputs.iter().cloned().collect(),
            fuel: manifest.fuel,
            memory_bytes: manifest.memory_bytes,
            output_bytes: manifest.output_bytes,
            pure: manifest.is_pure(),
            grants: grants
                .chain(others.map(|(name, _)| name.to_owned()))
                .collect(),
        },
        blobs: listed.then(|| bundle.blobs.iter().map(blob).collect()),
        blob_count: bundle.blobs.len() as u64,
    }
}

fn blob(blob: &BundleBlob) -> json::BundleBlob {
    json::BundleBlob {
        digest: blob.digest.to_string(),
        role: match blob.role {
            Role::Manifest => "manifest",
            Role::Component => "component",
            Role::Stdin => "stdin",
            Role::Tree => "tree",
            Role::File => "file",
        },
        bytes: blob.size,
        packed_bytes: blob.packed,
    }
}

fn text(doc: &BundleDoc) -> String {
    let task = &doc.task;
    let list = |items: &[String], none: &str| match items {
        [] => none.to_owned(),
        items => {
            let items: Vec<String> = items.iter().map(|item| escape::clean(item)).collect();
            items.join(" ")
        }
    };
    let limits = format!(
        "fuel {}, memory {}, output {}",
        units::human_count(task.fuel),
        units::human_bytes(task.memory_bytes),
        units::human_bytes(task.output_bytes)
    );
    let content = format!(
        "{} in {}, {} packed",
        units::human_bytes(doc.content_bytes),
        plural(doc.blob_count, "blob"),
        units::human_bytes(doc.file_bytes)
    );
    let lines = [
        ("task", escape::clean(&task.name)),
        ("digest", task.digest.clone()),
        ("args", list(&task.args, "none")),
        ("env", list(&task.env, "none")),
        ("outputs", list(&task.outputs, "none")),
        ("limits", limits),
        ("grants", list(&task.grants, "none: it is pure")),
        ("content", content),
    ];
    let mut out = String::new();
    for (name, value) in lines {
        out.push_str(&format!("{name:<9} {value}\n"));
    }
    let blobs = doc.blobs.as_deref().unwrap_or_default();
    for blob in blobs.iter().take(LISTED) {
        let size = units::human_bytes(blob.bytes);
        out.push_str(&format!("  {:<9} {size:>9}  {}\n", blob.role, blob.digest));
    }
    let more = blobs.len().saturating_sub(LISTED);
    if more > 0 {
        out.push_str(&format!("  and {} more\n", plural(more as u64, "blob")));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_is_called_after_its_instance() {
        assert_eq!(default_name("build"), Path::new("build.bundle"));
        assert_eq!(
            default_name("shrink[3/16]"),
            Path::new("shrink-3-16.bundle")
        );
        assert_eq!(
            default_name("a[photos/x.jpg]"),
            Path::new("a-photos-x-jpg.bundle")
        );
    }
}
