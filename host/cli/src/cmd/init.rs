//! `sykli init`: a pipeline with one task crate, which runs at once. Overwrites nothing.

use std::path::Path;

use super::{Context, FILE, exists, template, write_new};
use crate::args::InitArgs;
use crate::error::{CliError, Exit, Outcome};
use crate::render;
use crate::render::json::CreatedDoc;

/// See the module.
pub(crate) fn init(context: &Context, args: &InitArgs) -> Outcome {
    let folder = context.cwd.join(&args.dir);
    let plain = !args.sdk;
    let mut files = vec![(
        FILE.to_owned(),
        template::pipeline(&project(&folder), "hello", plain),
    )];
    files.extend(template::task("hello", plain));
    if !plain {
        files.extend(template::sdk());
    }
    write_all(context, &folder, &files)?;
    if !context.format().is_machine() {
        render::err("`sykli run` builds and runs it\n");
    }
    Ok(Exit::Passed)
}

/// Writes all files or, where one is in the way, none.
pub(crate) fn write_all(
    context: &Context,
    folder: &Path,
    files: &[template::File],
) -> Result<(), CliError> {
    if let Some((path, _)) = files
        .iter()
        .find(|(path, _)| folder.join(path).symlink_metadata().is_ok())
    {
        return Err(exists(&folder.join(path)));
    }
    for (path, text) in files {
        write_new(&folder.join(path), text)?;
    }
    let shown = |path: &str| {
        let path = folder.join(path);
        path.strip_prefix(&context.cwd)
            .unwrap_or(&path)
            .display()
            .to_string()
    };
    if context.format().is_machine() {
        let files = files.iter().map(|(path, _)| shown(path)).collect();
        render::document(
            &CreatedDoc {
                schema: "sykli.created/1",
                files,
            },
            context.format(),
        );
        return Ok(());
    }
    let (sdk, own): (Vec<_>, Vec<_>) = files
        .iter()
        .partition(|(path, _)| path.starts_with(template::SDK_FOLDER));
    for (path, _) in own {
        render::err(&format!("wrote {}\n", shown(path)));
    }
    if !sdk.is_empty() {
        render::err(&format!(
            "wrote {}/, the SDK\n",
            shown(template::SDK_FOLDER)
        ));
    }
    Ok(())
}

/// The pipeline's name: the folder's, as far as a name may look like it.
fn project(folder: &Path) -> String {
    let absolute = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    let name = absolute
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    let name: String = name
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
        .take(64)
        .collect();
    if name.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        name
    } else {
        "pipeline".to_owned()
    }
}
