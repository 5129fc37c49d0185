//! `sykli completions` and `sykli man`: what the grammar says, in the forms that shells and `man` read. Needs no settings.

use clap::CommandFactory;
use clap_complete::Shell;

use crate::args::{Cli, CompletionsArgs, ManArgs};
use crate::error::{CliError, Exit, Outcome};
use crate::render;

/// `sykli completions`.
pub(crate) fn completions(args: &CompletionsArgs) -> Outcome {
    let Some(shell) = args.shell.or_else(Shell::from_env) else {
        return Err(
            CliError::usage("cli::shell", "which shell? SHELL names none that is known")
                .hint("sykli completions bash|zsh|fish|elvish|powershell"),
        );
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "sykli", &mut script);
    render::out_bytes(&script);
    Ok(Exit::Passed)
}

/// `sykli man`.
pub(crate) fn man(args: &ManArgs) -> Outcome {
    let failed = |error: &std::io::Error, path: &std::path::Path| {
        CliError::io("cli::write", "write", path, error)
    };
    let Some(folder) = &args.out else {
        let mut page = Vec::new();
        let rendered = clap_mangen::Man::new(Cli::command()).render(&mut page);
        rendered.map_err(|error| failed(&error, std::path::Path::new("the page")))?;
        render::out_bytes(&page);
        return Ok(Exit::Passed);
    };
    std::fs::create_dir_all(folder).map_err(|error| failed(&error, folder))?;
    clap_mangen::generate_to(Cli::command(), folder).map_err(|error| failed(&error, folder))?;
    render::err(&format!("wrote the pages into {}\n", folder.display()));
    Ok(Exit::Passed)
}
