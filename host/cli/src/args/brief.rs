//! The grammar of the commands that run something, alone, for what they are mostly given. It understands nothing that the
//! whole grammar does not and says nothing by itself: what is wrong, and every help text, is the whole grammar's. Called by
//! `main`.

use std::ffi::OsString;

use clap::{Parser, Subcommand};

use super::{Cli, Command, ExecArgs, RunArgs};
use crate::config::ColorWhen;

/// The commands that run something, alone: setting up the whole grammar takes as long as running a hundred short tasks.
#[derive(Debug, Parser)]
#[command(name = "sykli", disable_help_subcommand = true)]
struct Brief {
    #[arg(long, global = true, value_enum)]
    color: Option<ColorWhen>,
    #[command(subcommand)]
    command: BriefCommand,
}

#[derive(Debug, Subcommand)]
enum BriefCommand {
    Run(RunArgs),
    Exec(ExecArgs),
}

impl Cli {
    /// Understands a command line, its first word being the program's name. What is wrong with one, and every help text,
    /// is said by the whole grammar.
    ///
    /// # Errors
    /// What clap says of it.
    pub(crate) fn of(words: &[OsString]) -> Result<Cli, clap::Error> {
        let brief = words
            .get(1)
            .is_some_and(|word| word == "run" || word == "exec");
        if brief && let Ok(Brief { color, command }) = Brief::try_parse_from(words) {
            let command = match command {
                BriefCommand::Run(args) => Command::Run(args),
                BriefCommand::Exec(args) => Command::Exec(args),
            };
            return Ok(Cli { color, command });
        }
        Cli::try_parse_from(words)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_brief_grammar_understands_what_the_whole_one_does() {
        for line in [
            "sykli run",
            "sykli run there --jobs 3 -k --no-cache --filter a,b --timeout 5m -v",
            "sykli run --from - --format ndjson --color never",
            "sykli run --mesh --steal --resume --detach --json",
            "sykli exec --dir .::/w --env A=b --net h:1 --fuel 5G --clock a.wasm --json -- x",
            "sykli exec --color always a.wasm",
            // What is wrong, and what asks for help, is the whole grammar's.
            "sykli --color never run",
            "sykli run --jbos 3",
            "sykli run --steal",
            "sykli run --json --format text",
            "sykli run --help",
            "sykli exec",
            "sykli exec -h",
            "sykli rum",
            "sykli",
        ] {
            let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            let said = |parsed: Result<Cli, clap::Error>| match parsed {
                Ok(cli) => format!("{cli:?}"),
                Err(error) => error.render().to_string(),
            };
            assert_eq!(
                said(Cli::of(&words)),
                said(Cli::try_parse_from(&words)),
                "{line}"
            );
        }
        let words = ["sykli", "run", "--jobs", "3"].map(OsString::from);
        assert!(Brief::try_parse_from(words).is_ok());
    }
}
