//! A node that stays when its user goes: this binary again, in a session of its own, with its output in `node.log`.
//!
//! The one who starts it waits until the control socket answers, or shows the end of the log. The log is bounded: beyond
//! [`MAX_LOG_BYTES`] it is copied to `node.log.1` and begun anew, so that both together never hold more than twice that and
//! what is said between two looks. Decides nothing about the node. Called by [`super`].

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use sykli_node::control::{Client, ControlError, running};
use sykli_node::paths::create_private;

use super::super::Context;
use super::{control_error, runtime};
use crate::error::{CliError, Exit, Outcome, plain};
use crate::render;

/// The log's size beyond which it is begun anew.
const MAX_LOG_BYTES: u64 = 4 << 20;
/// How long the daemon may take until it answers.
const START: Duration = Duration::from_secs(30);
/// How often it is asked.
const LOOK: Duration = Duration::from_millis(50);
/// Lines of the log that are shown where it does not.
const TAIL_LINES: usize = 20;
const TAIL_BYTES: u64 = 16 << 10;

/// The daemon's log.
#[derive(Clone, Debug)]
pub(super) struct Log {
    path: PathBuf,
}

impl Log {
    pub(super) fn of(state: &Path) -> Log {
        Log {
            path: state.join("node.log"),
        }
    }

    /// For the daemon's output, which is always added at the end, wherever that is by then.
    fn open(&self) -> std::io::Result<File> {
        OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(&self.path)
    }

    fn len(&self) -> u64 {
        std::fs::metadata(&self.path).map_or(0, |meta| meta.len())
    }

    /// Begins it anew where it is too long. The file stays, for the daemon's output is open on it; what is said at this very
    /// moment may be lost.
    pub(super) fn keep_bounded(&self) {
        if self.len() <= MAX_LOG_BYTES {
            return;
        }
        let old = self.path.with_extension("log.1");
        let cut = std::fs::copy(&self.path, &old)
            .and_then(|_| OpenOptions::new().write(true).open(&self.path))
            .and_then(|file| file.set_len(0));
        if let Err(error) = cut {
            tracing::warn!(%error, "the log cannot be shortened");
        }
    }

    /// The last lines of what was said beyond `from`.
    pub(super) fn tail(&self, from: u64) -> String {
        let start = from.max(self.len().saturating_sub(TAIL_BYTES));
        let mut bytes = Vec::new();
        let read = File::open(&self.path).and_then(|mut file| {
            file.seek(SeekFrom::Start(start))?;
            file.take(TAIL_BYTES).read_to_end(&mut bytes)
        });
        if let Err(error) = read {
            return format!("{} cannot be read: {}", self.path.display(), plain(&error));
        }
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().collect();
        let skipped = lines.len().saturating_sub(TAIL_LINES);
        lines
            .into_iter()
            .skip(skipped)
            .collect::<Vec<_>>()
            .join("\n")
    }
}

/// In the daemon, before anything else: a session of its own, so that the terminal's end is not its end. Its log.
pub(super) fn settle(context: &Context) -> Log {
    // It fails for the leader of a group, which only somebody is who typed the hidden flag into a shell.
    if let Err(error) = rustix::process::setsid() {
        tracing::debug!(%error, "no session of its own");
    }
    Log::of(&context.resolved.settings.dirs.state)
}

/// `node start --detach`.
pub(super) fn start(context: &Context) -> Outcome {
    let state = &context.resolved.settings.dirs.state;
    create_private(state).map_err(|error| control_error(&error.into()))?;
    if let Some(pid) = running(runtime(context)).map_err(|error| control_error(&error))? {
        return Err(control_error(&ControlError::Running { pid }));
    }
    let log = Log::of(state);
    log.keep_bounded();
    let said_before = log.len();
    let mut child = spawn(&log)?;
    match wait(&mut child, &Client::new(runtime(context))) {
        Ok(()) => {
            render::out(&format!("{}\n", child.id()));
            render::err(&format!(
                "the node runs in the background; it writes to {}\n",
                log.path.display()
            ));
            Ok(Exit::Passed)
        }
        Err(mut error) => {
            error.detail = Some(log.tail(said_before));
            Err(error.hint(format!("all of it is in {}", log.path.display())))
        }
    }
}

fn spawn(log: &Log) -> Result<Child, CliError> {
    let failed = |error: &std::io::Error| {
        let message = format!("the daemon cannot be started: {}", plain(error));
        CliError::failed("node::daemon", message)
            .hint("`sykli node start` runs it in the foreground")
    };
    let program = std::env::current_exe().map_err(|error| failed(&error))?;
    let (out, err) = log
        .open()
        .and_then(|out| Ok((out.try_clone()?, out)))
        .map_err(|error| CliError::io("node::log", "open the log", &log.path, &error))?;
    Command::new(program)
        .args(["node", "start", "--detached", "--color", "never"])
        // It must not keep a folder from being unmounted.
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(err)
        .spawn()
        .map_err(|error| failed(&error))
}

/// Waits until the daemon answers; ends it where it does not come up.
fn wait(child: &mut Child, client: &Client) -> Result<(), CliError> {
    let began = Instant::now();
    loop {
        let ended = child.try_wait().ok().flatten();
        if let Some(status) = ended {
            let message = format!("the node did not come up ({status})");
            return Err(CliError::failed("node::daemon", message));
        }
        // Somebody else's node may have been quicker.
        if client.status().is_ok_and(|status| status.pid == child.id()) {
            return Ok(());
        }
        if began.elapsed() > START {
            // It is ours and unheard: it must not come up behind its user's back.
            let _ = child.kill().and_then(|()| child.wait());
            let message = format!("the node does not answer after {} s", START.as_secs());
            return Err(CliError::failed("node::daemon", message));
        }
        std::thread::sleep(LOOK);
    }
}
