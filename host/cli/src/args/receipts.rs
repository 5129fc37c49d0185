//! The grammar of the commands about what other nodes signed.

use std::path::PathBuf;

use clap::{Args, ValueHint};

use super::OutputArgs;

#[derive(Debug, Args)]
pub(crate) struct ReportArgs {
    /// A run, or how its name begins [default: one that goes on, else the last]
    pub(crate) run: Option<String>,
    /// Write what other nodes signed for what they ran, as one JSON document
    #[arg(long)]
    pub(crate) receipts: bool,
    /// Write each receipt into this folder instead, with in-toto provenance beside it
    #[arg(long, value_name = "DIR", requires = "receipts", value_hint = ValueHint::DirPath)]
    pub(crate) out: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 the same came out here, and it passed; 1 the same came out here: it fails; 2 nothing can \
    be said; 3 its inputs have changed since; 4 something else came out here."
)]
pub(crate) struct ReplayArgs {
    /// A file that `sykli report --receipts --out DIR` wrote, or a task of a run: `shrink` or `shrink[3/16]`
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) receipt: String,
    /// A run, or how its name begins [default: one that goes on, else the last]
    pub(crate) run: Option<String>,
    /// End it after this long, as in 90s, 5m
    #[arg(long, value_name = "DURATION", default_value = "10m")]
    pub(crate) timeout: String,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}
