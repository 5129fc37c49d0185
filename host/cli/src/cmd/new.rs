//! `sykli new task NAME`: a task crate beside the others, and the lines that declare it. The pipeline's file is the
//! user's: it is not edited.

use super::init::write_all;
use super::{Context, locate, template};
use crate::args::{NewTaskArgs, PipelineArgs};
use crate::error::{CliError, Exit, Outcome};
use crate::render;

/// See the module.
pub(crate) fn task(context: &Context, args: &NewTaskArgs) -> Outcome {
    check_name(&args.name)?;
    let root = match locate(
        &context.cwd,
        &PipelineArgs {
            pipeline: None,
            from: None,
        },
    ) {
        Ok(found) => found.root,
        Err(_) => context.cwd.clone(),
    };
    let mut files = template::task(&args.name, args.plain);
    if !args.plain && !root.join(template::SDK_FOLDER).exists() {
        files.extend(template::sdk());
    }
    write_all(context, &root, &files)?;
    if !context.format().is_machine() {
        render::err("add to sykli.toml:\n\n");
        render::out(&template::declaration(&args.name, args.plain));
    }
    Ok(Exit::Passed)
}

/// A name that is good for a task, a folder and a package.
fn check_name(name: &str) -> Result<(), CliError> {
    let good = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.len() <= 64
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_'));
    if good && name != "sykli-guest" {
        return Ok(());
    }
    Err(CliError::usage("cli::name", format!("`{name}` is no name for a task"))
        .hint("lower-case letters, digits, `-` and `_`, beginning with a letter, as in `resize-images`"))
}
