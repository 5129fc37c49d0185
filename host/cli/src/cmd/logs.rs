//! `sykli logs`: what a task wrote: from the result in the cache, or its end from the journal; with `-f` until it ends.

use std::collections::BTreeSet;
use std::time::Duration;

use sykli_core::id::Digest;
use sykli_node::events::Stream;
use sykli_node::journal::{Instance, Journal, Run, RunState};
use sykli_node::store::Store;
use sykli_node::views::Piece;

use super::{Context, cache, past};
use crate::args::LogsArgs;
use crate::error::{CliError, Exit, Outcome};
use crate::render::past::{InstanceLogs, Kept, LogsDoc};
use crate::render::{self, escape, past_text};

/// What is kept of a stream is no longer than this, in bytes.
const MAX_STREAM_BYTES: u64 = 2 << 20;
/// What one document carries of all streams together, in bytes.
const MAX_DOCUMENT_BYTES: usize = 64 << 20;
/// How often the journal is looked into while a run goes on.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// See the module.
pub(crate) fn logs(context: &Context, args: &LogsArgs) -> Outcome {
    let (asked, wanted) = (args.run.as_deref(), args.task.as_str());
    if args.follow && followed(context, asked, wanted) {
        return Ok(Exit::Passed);
    }
    let journal = past::journal(context)?;
    let run = past::chosen(context, &journal, asked)?;
    // Says so where there is no such task.
    let many = past::views(&journal, &run, wanted)?.len() > 1;
    let store = cache::open(context)?;
    let reader = Reader {
        journal: &journal,
        run: &run,
        store: &store,
    };
    if context.format().is_machine() {
        if args.follow {
            wait(&journal, &run, wanted, |_| {})?;
        }
        render::document(&reader.document(wanted), context.format());
        return Ok(Exit::Passed);
    }
    let mut seen = BTreeSet::new();
    let mut print = |settled: Vec<Instance>| {
        for one in settled {
            if seen.insert(one.label.clone()) {
                show(context, &reader.read(&one), many);
            }
        }
    };
    match args.follow {
        true => wait(&journal, &run, wanted, print)?,
        false => print(past::settled(&journal, &run, wanted)),
    }
    if seen.is_empty() {
        render::err(&format!(
            "{} has not ended: -f waits for it\n",
            escape::clean(wanted)
        ));
    }
    Ok(Exit::Passed)
}

/// What a running node hands on, as it comes.
fn followed(context: &Context, run: Option<&str>, wanted: &str) -> bool {
    if context.format().is_machine() {
        return false;
    }
    let mut lines = past_text::Lines::default();
    let term = context.term;
    let done = (context.live.follow)(context, run, wanted, &mut |piece: Piece| {
        let text = lines.push(&piece.label, piece.stream, &piece.bytes, &term);
        match piece.stream {
            Stream::Stdout => render::out(&text),
            Stream::Stderr => render::err(&text),
        }
    });
    let (out, err) = lines.rest(&term);
    render::out(&out);
    render::err(&err);
    done
}

/// Hands on what has settled of the wanted, again and again, until all has or the run is over.
fn wait(
    journal: &Journal,
    run: &Run,
    wanted: &str,
    mut told: impl FnMut(Vec<Instance>),
) -> Result<(), CliError> {
    let planned = journal.planned(&run.id);
    let of = planned.iter().find(|task| task.name == wanted);
    let expected = of.map_or(1, |task| task.selected as usize);
    loop {
        let state = journal.run(&run.id).map(|run| run.state);
        let settled = past::settled(journal, run, wanted);
        let all = settled.len() >= expected;
        told(settled);
        if all || state != Some(RunState::Running) {
            return Ok(());
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

struct Reader<'a> {
    journal: &'a Journal,
    run: &'a Run,
    store: &'a Store,
}

impl Reader<'_> {
    fn read(&self, one: &Instance) -> InstanceLogs {
        if let Some(whole) = one.digest.and_then(|task| self.cached(&one.label, task)) {
            return whole;
        }
        let said = self.journal.said(&self.run.id, &one.label);
        let kept = match said {
            Some(_) => Kept::End,
            None => Kept::Nothing,
        };
        let said = said.unwrap_or_default();
        InstanceLogs {
            label: one.label.clone(),
            kept,
            stdout: said.stdout,
            stderr: said.stderr,
        }
    }

    fn cached(&self, label: &str, task: Digest) -> Option<InstanceLogs> {
        let record = self.store.results(&[task]).pop().flatten()?;
        let text = |digest: &Digest| {
            let bytes = self.store.read(digest, MAX_STREAM_BYTES)?;
            Some(String::from_utf8_lossy(&bytes).into_owned())
        };
        Some(InstanceLogs {
            label: label.to_owned(),
            kept: Kept::Whole,
            stdout: text(&record.stdout)?,
            stderr: text(&record.stderr)?,
        })
    }

    fn document(&self, wanted: &str) -> LogsDoc {
        let (mut instances, mut bytes, mut left_out) = (Vec::new(), 0usize, 0);
        for one in past::settled(self.journal, self.run, wanted) {
            if bytes > MAX_DOCUMENT_BYTES {
                left_out += 1;
                continue;
            }
            let logs = self.read(&one);
            bytes = bytes.saturating_add(logs.stdout.len() + logs.stderr.len());
            instances.push(logs);
        }
        LogsDoc {
            schema: "sykli.logs/1",
            run: self.run.id.to_string(),
            instances,
            left_out,
        }
    }
}

/// What a task wrote to stdout goes to stdout, the rest to stderr.
fn show(context: &Context, logs: &InstanceLogs, many: bool) {
    let label = many.then_some(logs.label.as_str());
    render::out(&past_text::log(&context.stdout_term(), label, &logs.stdout));
    render::err(&past_text::log(&context.term, label, &logs.stderr));
    let note = match logs.kept {
        Kept::Whole => return,
        Kept::End => "only the end of what it wrote is kept",
        Kept::Nothing => "it wrote nothing, or nothing of it is kept",
    };
    render::err(&format!("{}: {note}\n", escape::clean(&logs.label)));
}
