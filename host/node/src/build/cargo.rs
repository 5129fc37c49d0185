//! One `cargo build`: what it is asked, and how its answer is read.
//!
//! Cargo's JSON messages name the component and the packages it was made from; its standard error goes to the user
//! line by line, and its end into the error. Nothing is cached here (`build` does). Called by `build`.

use std::collections::{BTreeSet, VecDeque};
use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;

use super::{BuildError, TARGET, TaskCrate};
use crate::events::BuildEvent;
use crate::interrupt::Interrupt;

/// Vector instructions are in every engine we run on and are worth 2× on the loops that matter.
const FEATURE_FLAG: &str = "target-feature=+simd128";
/// A message of cargo's longer than this is skipped.
const MAX_LINE_BYTES: u64 = 8 << 20;
/// How much of cargo's standard error an error carries.
const TAIL_LINES: usize = 40;
/// A line of it is cut here.
const TAIL_LINE_BYTES: usize = 2_000;

/// What cargo made.
pub(super) struct Answer {
    /// The component.
    pub(super) artifact: PathBuf,
    /// Folders of the packages on this disk that it was made from.
    pub(super) packages: Vec<PathBuf>,
}

#[derive(Deserialize)]
struct Message {
    reason: String,
    #[serde(default)]
    package_id: String,
    manifest_path: Option<PathBuf>,
    target: Option<Target>,
    executable: Option<PathBuf>,
    #[serde(default)]
    profile: Profile,
}

#[derive(Default, Deserialize)]
struct Profile {
    /// Compiled with the test harness.
    test: bool,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

#[derive(Default)]
struct Found {
    bins: Vec<(String, PathBuf)>,
    package: Option<String>,
    packages: BTreeSet<PathBuf>,
}

/// Builds the crate in `folder` and finds its component.
pub(super) fn build(
    folder: &Path,
    of: &TaskCrate,
    offline: bool,
    events: &(dyn Fn(BuildEvent) + Sync),
    interrupt: &Interrupt,
) -> Result<Answer, BuildError> {
    let crate_dir = of.crate_dir.as_str();
    let (mut child, program) = spawn(folder, of, offline)?;
    let stdout = child.stdout.take();
    let stderr = child.stderr.take();
    let running = Arc::new(Mutex::new(
        i32::try_from(child.id()).ok().and_then(Pid::from_raw),
    ));
    let to_kill = running.clone();
    let listening = interrupt.listen(move |_| {
        if let Some(pid) = *to_kill.lock().unwrap_or_else(PoisonError::into_inner) {
            // It may have ended by itself in the same moment: nothing to do then.
            let _ = kill_process(pid, Signal::TERM);
        }
    });
    let (found, tail) = std::thread::scope(|scope| {
        let tail = scope
            .spawn(|| stderr.map_or_else(Vec::new, |stream| forward(stream, crate_dir, events)));
        let found = stdout.map_or_else(Found::default, |stream| {
            read_messages(stream, folder, of.tests)
        });
        (found, tail.join().unwrap_or_default())
    });
    // From here on the process id may be reaped and given to another: no signal may reach it any more.
    *running.lock().unwrap_or_else(PoisonError::into_inner) = None;
    drop(listening);
    let status = child.wait().map_err(|source| BuildError::Spawn {
        crate_dir: crate_dir.to_owned(),
        program,
        source,
    })?;
    if interrupt.is_raised() {
        return Err(BuildError::Interrupted);
    }
    if !status.success() {
        return Err(failed(crate_dir, status, &tail));
    }
    let packages = found.packages.iter().cloned().collect();
    Ok(Answer {
        artifact: pick(found, of)?,
        packages,
    })
}

fn spawn(folder: &Path, of: &TaskCrate, offline: bool) -> Result<(Child, String), BuildError> {
    let program = std::env::var_os("CARGO")
        .filter(|value| !value.is_empty())
        .unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(&program);
    command
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command.args(if of.tests {
        &["test", "--no-run"][..]
    } else {
        &["build"]
    });
    command.args([
        "--release",
        "--target",
        TARGET,
        "--message-format",
        "json-render-diagnostics",
    ]);
    if offline {
        command.arg("--offline");
    }
    add_flags(&mut command, |name| std::env::var(name).ok());
    let program = program.to_string_lossy().into_owned();
    command
        .spawn()
        .map(|child| (child, program.clone()))
        .map_err(|source| BuildError::Spawn {
            crate_dir: of.crate_dir.clone(),
            program,
            source,
        })
}

/// Adds our flag to the user's, wherever those are set: cargo reads only the first of these places. Whoever speaks of
/// simd128 themselves is left alone.
fn add_flags(command: &mut Command, variable: impl Fn(&str) -> Option<String>) {
    if let Some(flags) = variable("CARGO_ENCODED_RUSTFLAGS") {
        if !flags.contains("simd128") {
            let separator = if flags.is_empty() { "" } else { "\u{1f}" };
            command.env(
                "CARGO_ENCODED_RUSTFLAGS",
                format!("{flags}{separator}-C\u{1f}{FEATURE_FLAG}"),
            );
        }
    } else if let Some(flags) = variable("RUSTFLAGS") {
        if !flags.contains("simd128") {
            command.env("RUSTFLAGS", format!("{flags} -C {FEATURE_FLAG}"));
        }
    } else {
        // A list given so is appended to the one in the user's config files.
        command.arg("--config").arg(format!(
            "target.{TARGET}.rustflags=[\"-C\",\"{FEATURE_FLAG}\"]"
        ));
    }
}

fn read_messages(stream: impl Read, folder: &Path, tests: bool) -> Found {
    let mut found = Found::default();
    let mut reader = BufReader::new(stream);
    let mut line = Vec::new();
    while next_line(&mut reader, &mut line) {
        if let Ok(message) = serde_json::from_slice::<Message>(&line) {
            found.take(message, folder, tests);
        }
    }
    found
}

/// Reads a line of any length, keeping at most [`MAX_LINE_BYTES`] of it; false at the end or on an error.
fn next_line(reader: &mut impl BufRead, line: &mut Vec<u8>) -> bool {
    line.clear();
    match reader.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', line) {
        Ok(0) | Err(_) => false,
        Ok(_) if line.ends_with(b"\n") => true,
        Ok(_) => skip_line(reader).is_ok(),
    }
}

fn skip_line(reader: &mut impl BufRead) -> io::Result<()> {
    loop {
        let chunk = reader.fill_buf()?;
        let (used, done) = match chunk.iter().position(|byte| *byte == b'\n') {
            Some(at) => (at + 1, true),
            None => (chunk.len(), chunk.is_empty()),
        };
        reader.consume(used);
        if done {
            return Ok(());
        }
    }
}

impl Found {
    fn take(&mut self, message: Message, folder: &Path, tests: bool) {
        if message.reason != "compiler-artifact" {
            return;
        }
        let package_dir = message.manifest_path.as_deref().and_then(Path::parent);
        if message.package_id.starts_with("path+")
            && let Some(dir) = package_dir
        {
            self.packages.insert(dir.to_owned());
        }
        let Some(target) = message.target else { return };
        let ours = package_dir
            .and_then(|dir| dir.canonicalize().ok())
            .is_some_and(|dir| dir == folder);
        if ours
            && message.profile.test == tests
            && (tests || target.kind.iter().any(|kind| kind == "bin"))
            && let Some(executable) = message.executable
        {
            self.package = package_name(&message.package_id);
            self.bins.push((target.name, executable));
        }
    }
}

/// `path+file:///x/shrink#0.1.0` and `path+file:///x/dir#shrink@0.1.0` are the two forms.
fn package_name(id: &str) -> Option<String> {
    let (url, fragment) = id.rsplit_once('#')?;
    let name = match fragment.split_once('@') {
        Some((name, _)) => name,
        None => url.rsplit('/').next()?,
    };
    Some(name.to_owned())
}

fn pick(mut found: Found, of: &TaskCrate) -> Result<PathBuf, BuildError> {
    found.bins.sort();
    let package = found.package.as_deref();
    let at = match found.bins.len() {
        1 => Some(0),
        // Which tests run must never depend on a name.
        _ if of.tests => None,
        _ => found
            .bins
            .iter()
            .position(|(name, _)| Some(name.as_str()) == package),
    };
    match at {
        Some(at) => Ok(found.bins.swap_remove(at).1),
        None => {
            let bins = found.bins.into_iter().map(|(name, _)| name).collect();
            let crate_dir = of.crate_dir.clone();
            Err(if of.tests {
                BuildError::NoSingleHarness { crate_dir, bins }
            } else {
                BuildError::NoSingleBin { crate_dir, bins }
            })
        }
    }
}

fn forward(
    stream: impl Read,
    crate_dir: &str,
    events: &(dyn Fn(BuildEvent) + Sync),
) -> Vec<String> {
    let mut tail = VecDeque::with_capacity(TAIL_LINES);
    let mut reader = BufReader::new(stream);
    let mut bytes = Vec::new();
    while next_line(&mut reader, &mut bytes) {
        let shown = bytes.get(..TAIL_LINE_BYTES).unwrap_or(&bytes);
        let line = String::from_utf8_lossy(shown).trim_end().to_owned();
        events(BuildEvent::Line {
            crate_dir: crate_dir.to_owned(),
            line: line.clone(),
        });
        if tail.len() == TAIL_LINES {
            tail.pop_front();
        }
        tail.push_back(line);
    }
    tail.into()
}

fn failed(crate_dir: &str, status: ExitStatus, tail: &[String]) -> BuildError {
    let stderr_tail = tail.join("\n");
    let target_missing = stderr_tail.contains("target may not be installed")
        || stderr_tail.contains("error[E0463]: can't find crate for `core`")
        || stderr_tail.contains("error[E0463]: can't find crate for `std`");
    let how = status.code().map_or_else(
        || "was killed".to_owned(),
        |code| format!("exited with {code}"),
    );
    BuildError::Failed {
        crate_dir: crate_dir.to_owned(),
        how,
        stderr_tail,
        target_missing,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn flags_with(set: &[(&str, &str)]) -> (Vec<String>, Vec<(String, String)>) {
        let mut command = Command::new("cargo");
        add_flags(&mut command, |name| {
            set.iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| (*value).to_owned())
        });
        let args = command
            .get_args()
            .map(|arg| arg.to_string_lossy().into_owned())
            .collect();
        let text = |value: &std::ffi::OsStr| value.to_string_lossy().into_owned();
        (
            args,
            command
                .get_envs()
                .map(|(key, value)| (text(key), text(value.unwrap())))
                .collect(),
        )
    }

    #[test]
    fn our_flag_joins_the_users() {
        let (args, env) = flags_with(&[]);
        assert_eq!(
            args,
            [
                "--config",
                "target.wasm32-wasip2.rustflags=[\"-C\",\"target-feature=+simd128\"]"
            ]
        );
        assert!(env.is_empty());
        let (args, env) = flags_with(&[("RUSTFLAGS", "-D warnings")]);
        assert!(args.is_empty());
        assert_eq!(
            env,
            [(
                "RUSTFLAGS".to_owned(),
                "-D warnings -C target-feature=+simd128".to_owned()
            )]
        );
        let (_, env) = flags_with(&[
            ("CARGO_ENCODED_RUSTFLAGS", "-Cx=1"),
            ("RUSTFLAGS", "unread"),
        ]);
        let joined = "-Cx=1\u{1f}-C\u{1f}target-feature=+simd128".to_owned();
        assert_eq!(env, [("CARGO_ENCODED_RUSTFLAGS".to_owned(), joined)]);
        assert_eq!(
            flags_with(&[("RUSTFLAGS", "-C target-feature=-simd128")]),
            (Vec::new(), Vec::new())
        );
    }

    fn task(crate_dir: &str) -> TaskCrate {
        let crate_dir = crate_dir.to_owned();
        TaskCrate {
            crate_dir,
            tests: false,
        }
    }

    fn found(bins: &[&str], package: &str) -> Found {
        let bins = bins
            .iter()
            .map(|name| ((*name).to_owned(), PathBuf::from(name)))
            .collect();
        Found {
            bins,
            package: package_name(package),
            packages: BTreeSet::new(),
        }
    }

    #[test]
    fn the_one_binary_or_the_one_named_like_the_package_is_the_task() {
        let id = "path+file:///x/crates/shrink#0.1.0";
        assert_eq!(
            pick(found(&["other"], id), &task("c")).unwrap(),
            Path::new("other")
        );
        assert_eq!(
            pick(found(&["a", "shrink"], id), &task("c")).unwrap(),
            Path::new("shrink")
        );
        let renamed = "path+file:///x/dir#shrink@0.1.0";
        assert_eq!(
            pick(found(&["a", "shrink"], renamed), &task("c")).unwrap(),
            Path::new("shrink")
        );
        assert!(
            matches!(pick(found(&["a", "b"], id), &task("c")), Err(BuildError::NoSingleBin { bins, .. }) if bins == ["a", "b"])
        );
        assert!(
            matches!(pick(found(&[], id), &task("c")), Err(BuildError::NoSingleBin { bins, .. }) if bins.is_empty())
        );
    }

    #[test]
    fn of_several_test_binaries_none_is_chosen() {
        let of = TaskCrate {
            tests: true,
            ..task("c")
        };
        let id = "path+file:///x/shrink#0.1.0";
        assert_eq!(
            pick(found(&["shrink"], id), &of).unwrap(),
            Path::new("shrink")
        );
        let several = pick(found(&["it", "shrink"], id), &of);
        assert!(
            matches!(several, Err(BuildError::NoSingleHarness { bins, .. }) if bins == ["it", "shrink"])
        );
    }

    #[test]
    fn a_line_beyond_the_bound_is_cut_and_the_next_one_read() {
        let mut text = vec![b'x'; usize::try_from(MAX_LINE_BYTES).unwrap() + 5];
        text.extend_from_slice(b"\nnext\n");
        let mut reader = BufReader::new(text.as_slice());
        let mut line = Vec::new();
        assert!(next_line(&mut reader, &mut line));
        assert_eq!(line.len() as u64, MAX_LINE_BYTES);
        assert!(next_line(&mut reader, &mut line));
        assert_eq!(line, b"next\n");
        assert!(!next_line(&mut reader, &mut line));
    }
}
