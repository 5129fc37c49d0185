//! `sykli exec`: one component now. The guest's own streams are passed through (stripped of what drives a terminal where
//! one is there), and its exit code becomes ours. Also what cargo calls as a runner.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sykli_node::events::Stream;
use sykli_node::exec::{ExecDir, ExecGrants, ExecLimits, ExecReport, ExecRequest};

use super::{Context, node_error};
use crate::args::{ExecArgs, ExecFolders, leading_folders};
use crate::config::{parse_duration_ms, parse_fuel, parse_size};
use crate::error::{CliError, Exit, Outcome};
use crate::render::json::ExecDoc;
use crate::render::term::{Tone, paint};
use crate::render::{self, convert, escape, text};

/// What a JSON document carries of each stream.
const CAPTURE_BYTES: usize = 4 << 20;

/// See the module.
pub(crate) fn exec(context: &Context, args: ExecArgs) -> Outcome {
    let by_cargo = std::env::var_os("CARGO_MANIFEST_DIR").is_some();
    let (component, folders, guest_args) = command(args.command, args.folders, by_cargo)?;
    let request = ExecRequest {
        args: guest_args,
        env: folders
            .env
            .iter()
            .map(|one| variable(one))
            .collect::<Result<_, _>>()?,
        dirs: folders
            .dirs
            .iter()
            .map(|one| directory(one))
            .collect::<Result<_, _>>()?,
        out: folders.out,
        write_back: folders.write_back,
        limits: limits(
            context,
            [
                args.fuel.as_deref(),
                args.memory.as_deref(),
                args.timeout.as_deref(),
            ],
        )?,
        grants: ExecGrants {
            clock: args.clock,
            random: args.random,
            net: args.net,
        },
        ..ExecRequest::new(component)
    };
    let machine = context.format().is_machine();
    let sink = Arc::new(Sink::new(context, machine));
    let interrupt = crate::interrupt::watch(|| ());
    let output = {
        let sink = sink.clone();
        Arc::new(move |stream: Stream, bytes: &[u8]| sink.write(stream, bytes))
    };
    let node = context.node()?;
    let report = node
        .exec(request, output, &interrupt)
        .map_err(|error| node_error(&error, None))?;
    let exit = ended(context, report, &sink);
    node.end();
    Ok(exit)
}

/// Says how a guest ended, which also decides how this process does.
pub(super) fn ended(context: &Context, report: ExecReport, sink: &Sink) -> Exit {
    let exit = Exit::Guest(exit_code(report.exit_code));
    if sink.machine {
        render::document(&document(report, sink, exit), context.format());
    } else {
        tell(context, report);
    }
    exit
}

/// The component, the folder flags (those before it and those directly after it) and the guest's arguments. A `--` ends
/// our flags and is no argument of the guest. Called by cargo, only a `--` makes what stands before it ours: a test's own
/// arguments must arrive.
fn command(
    words: Vec<OsString>,
    before: ExecFolders,
    by_cargo: bool,
) -> Result<(PathBuf, ExecFolders, Vec<String>), CliError> {
    let mut words = words.into_iter();
    let component = PathBuf::from(words.next().unwrap_or_default());
    // Whatever begins with a dash and is none of our flags arrives here as if it were the component.
    if component.as_os_str().as_encoded_bytes().starts_with(b"-") {
        return Err(CliError::usage(
            "cli::usage",
            format!("unexpected argument '{}' found", component.display()),
        )
        .hint("usage: sykli exec [OPTIONS] COMPONENT [ARGS]…; the guest's own flags come after COMPONENT")
        .hint("see `sykli exec --help`"));
    }
    let mut rest: Vec<OsString> = words.collect();
    let (after, taken) = leading_folders(&rest);
    let dashes = rest.get(taken).is_some_and(|word| word == "--");
    let mut folders = before;
    if dashes || !by_cargo {
        rest.drain(..taken + usize::from(dashes));
        folders.dirs.extend(after.dirs);
        folders.env.extend(after.env);
        folders.out = after.out.or(folders.out);
        folders.write_back |= after.write_back;
    }
    let args = rest.into_iter().map(|word| {
        word.into_string().map_err(|word| {
            CliError::usage(
                "exec::args",
                format!("an argument is not UTF-8: {}", word.display()),
            )
            .hint("a guest's arguments are text; hand it such a name in a file")
        })
    });
    Ok((component, folders, args.collect::<Result<_, _>>()?))
}

/// `NAME=VALUE`, or `NAME` for this process's own value.
fn variable(text: &str) -> Result<(String, String), CliError> {
    let wrong = |why: &str| {
        CliError::usage("exec::env", format!("--env {text}: {why}"))
            .hint("as in --env LANG=en_US.UTF-8, or --env LANG")
    };
    match text.split_once('=') {
        Some(("", _)) => Err(wrong("the name is empty")),
        Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
        None => match std::env::var(text) {
            Ok(value) => Ok((text.to_owned(), value)),
            Err(std::env::VarError::NotPresent) => Err(wrong("it is not set here")),
            Err(std::env::VarError::NotUnicode(_)) => Err(wrong("its value is not UTF-8")),
        },
    }
}

/// `HOST` or `HOST::GUEST`.
fn directory(text: &str) -> Result<ExecDir, CliError> {
    let (host, guest) = text.split_once("::").unwrap_or((text, text));
    if host.is_empty() || guest.is_empty() {
        return Err(CliError::usage(
            "exec::dir",
            format!("--dir {text}: a folder's name is empty"),
        )
        .hint("as in --dir photos, or --dir ./photos::/data"));
    }
    if !std::path::Path::new(host).is_dir() {
        return Err(
            CliError::usage("exec::dir", format!("--dir {text}: {host} is not a folder"))
                .hint("a single file is given by its folder: the guest reads only what it opens"),
        );
    }
    Ok(ExecDir {
        host: PathBuf::from(host),
        guest: guest.to_owned(),
    })
}

/// The flags, and what settings allow at most.
fn limits(
    context: &Context,
    [fuel, memory, timeout]: [Option<&str>; 3],
) -> Result<ExecLimits, CliError> {
    let wrong = |flag: &str| {
        let flag = flag.to_owned();
        move |why: String| {
            CliError::usage("cli::value", format!("{flag}: {why}")).hint("see `sykli exec --help`")
        }
    };
    let most = &context.resolved.settings.ceilings;
    let own = ExecLimits::default();
    let fuel = fuel
        .map(parse_fuel)
        .transpose()
        .map_err(wrong("--fuel"))?
        .unwrap_or(own.fuel);
    let memory = memory
        .map(parse_size)
        .transpose()
        .map_err(wrong("--memory"))?
        .unwrap_or(own.memory_bytes);
    let timeout = timeout
        .map(parse_duration_ms)
        .transpose()
        .map_err(wrong("--timeout"))?;
    let timeout = timeout.map_or(own.timeout, Duration::from_millis);
    Ok(ExecLimits {
        fuel: fuel.min(most.fuel),
        memory_bytes: memory.min(most.memory_bytes),
        timeout: timeout.min(Duration::from_millis(most.timeout_ms)),
        output_bytes: own.output_bytes.min(most.output_bytes),
    })
}

/// Receives the guest's streams: shows them, or keeps them for the document.
pub(super) struct Sink {
    machine: bool,
    streams: [Mutex<Side>; 2],
}

struct Side {
    /// Only where the stream is a terminal: a file or a pipe gets the bytes as they are.
    filter: Option<escape::Filter>,
    kept: Vec<u8>,
    dropped: u64,
}

impl Sink {
    pub(super) fn new(context: &Context, machine: bool) -> Sink {
        let side = |terminal: bool| {
            let filter = terminal.then(escape::Filter::default);
            Mutex::new(Side {
                filter,
                kept: Vec::new(),
                dropped: 0,
            })
        };
        Sink {
            machine,
            streams: [
                side(context.term.out.terminal),
                side(context.term.err.terminal),
            ],
        }
    }

    fn side(&self, stream: Stream) -> &Mutex<Side> {
        let [out, err] = &self.streams;
        match stream {
            Stream::Stdout => out,
            Stream::Stderr => err,
        }
    }

    pub(super) fn write(&self, stream: Stream, bytes: &[u8]) {
        let mut side = self
            .side(stream)
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if self.machine {
            let room = CAPTURE_BYTES
                .saturating_sub(side.kept.len())
                .min(bytes.len());
            let (kept, dropped) = bytes.split_at(room);
            side.kept.extend_from_slice(kept);
            side.dropped = side.dropped.saturating_add(dropped.len() as u64);
            return;
        }
        match &mut side.filter {
            Some(filter) => raw(stream, filter.push(bytes).as_bytes()),
            None => raw(stream, bytes),
        }
    }

    fn kept(&self, stream: Stream) -> (String, u64) {
        let side = self
            .side(stream)
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        (
            String::from_utf8_lossy(&side.kept).into_owned(),
            side.dropped,
        )
    }
}

fn raw(stream: Stream, bytes: &[u8]) {
    match stream {
        Stream::Stdout => render::out_bytes(bytes),
        Stream::Stderr => render::err_bytes(bytes),
    }
}

/// A guest's code as the shell can see it: the low byte, but never 0 for a failure.
fn exit_code(code: i32) -> u8 {
    match u8::try_from(code & 0xff).unwrap_or(1) {
        0 if code != 0 => 1,
        low => low,
    }
}

fn document(report: ExecReport, sink: &Sink, exit: Exit) -> ExecDoc {
    let paths = |paths: Vec<PathBuf>| {
        paths
            .into_iter()
            .map(|path| path.display().to_string())
            .collect()
    };
    let ((stdout, lost_out), (stderr, lost_err)) =
        (sink.kept(Stream::Stdout), sink.kept(Stream::Stderr));
    ExecDoc {
        schema: "sykli.exec/1",
        exit_code: exit.code(),
        failure: report.failure.map(convert::failure),
        stdout,
        stderr,
        dropped_bytes: lost_out.saturating_add(lost_err),
        written: paths(report.written),
        removed: paths(report.removed),
        warnings: report.warnings,
        fuel: report.fuel,
        peak_memory_bytes: report.peak_memory_bytes,
        wall_ms: convert::millis(report.wall),
    }
}

/// A guest that ends by itself has said what it wanted: only what it cannot say is added.
fn tell(context: &Context, report: ExecReport) {
    let mut lines: Vec<String> = Vec::new();
    let color = context.term.err.color;
    for warning in &report.warnings {
        lines.push(format!(
            "{} {}",
            paint("warning:", Tone::Warn, color),
            escape::clean(warning)
        ));
    }
    if let Some(report) = report.failure {
        let failure = convert::failure(report);
        lines.extend(text::failure(&context.term, "exec", None, &failure, false));
    }
    for line in lines {
        render::err(&format!("{line}\n"));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn words(line: &[&str], by_cargo: bool) -> (Vec<String>, Vec<String>) {
        let line = line.iter().map(OsString::from).collect();
        let (_, folders, args) = command(line, ExecFolders::default(), by_cargo).unwrap();
        (folders.dirs, args)
    }

    fn texts(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn folder_flags_may_follow_the_component_and_everything_else_is_the_guests() {
        for by_cargo in [false, true] {
            assert_eq!(
                words(&["a.wasm", "--", "x", "--", "y"], by_cargo),
                (vec![], texts(&["x", "--", "y"]))
            );
            assert_eq!(
                words(&["a.wasm", "--nocapture", "--dir", "x"], by_cargo),
                (vec![], texts(&["--nocapture", "--dir", "x"]))
            );
            assert_eq!(
                words(&["a.wasm", "--dir", ".", "--", "-h"], by_cargo),
                (texts(&["."]), texts(&["-h"]))
            );
        }
        assert_eq!(
            words(&["a.wasm", "--dir", ".", "-h"], false),
            (texts(&["."]), texts(&["-h"]))
        );
        assert_eq!(
            words(&["a.wasm", "--dir", "."], true),
            (vec![], texts(&["--dir", "."])),
            "cargo passes a test's own"
        );
    }

    #[test]
    fn an_unknown_flag_is_no_component() {
        let line = vec![OsString::from("--mesh"), OsString::from("a.wasm")];
        let error = command(line, ExecFolders::default(), false).unwrap_err();
        assert_eq!(error.code, "cli::usage");
    }

    #[test]
    fn a_failed_guest_never_looks_like_success() {
        assert_eq!(
            [0, 1, 3, 255, 256, 512, -1].map(exit_code),
            [0, 1, 3, 255, 1, 1, 255]
        );
    }

    #[test]
    fn folders_and_variables_are_read_as_written() {
        assert_eq!(directory("/tmp::/data").unwrap().guest, "/data");
        assert_eq!(directory("/tmp").unwrap().guest, "/tmp");
        assert_eq!(directory("/no/such/folder").unwrap_err().code, "exec::dir");
        assert_eq!(
            variable("A=b=c").unwrap(),
            ("A".to_owned(), "b=c".to_owned())
        );
        assert_eq!(variable("=x").unwrap_err().code, "exec::env");
        assert_eq!(
            variable("SYKLI_SURELY_NOT_SET").unwrap_err().code,
            "exec::env"
        );
    }
}
