//! Starting other programs from the repository's root, and saying so when they fail. Decides nothing.
//! Called by every chore.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What a chore answers: nothing, or one line that says what went wrong.
pub type Result<T = ()> = std::result::Result<T, String>;

/// The repository's root: this package's parent folder.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap_or(Path::new("."))
}

/// One line for a person, on stderr, so that a chore's stdout stays its program's own.
pub fn say(line: &str) {
    eprintln!("xtask: {line}");
}

/// A command that runs in the repository's root.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(root()).stdin(Stdio::null());
    command
}

/// `cargo`, the one that runs this chore. What it has told this program of its own package is no concern of what is built
/// then: build scripts look at some of it, and half of all crates would be built anew.
pub fn cargo_command() -> Command {
    let mut cargo = command(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            cargo.env_remove(&*name);
        }
    }
    cargo
}

/// A chore's words, without the separator that cargo's aliases pass on.
pub fn words(rest: &[String]) -> Vec<&str> {
    rest.iter()
        .map(String::as_str)
        .filter(|word| *word != "--")
        .collect()
}

/// The text of a file that was named to us.
pub fn text(file: &str) -> Result<String> {
    std::fs::read_to_string(file).map_err(|e| format!("cannot read {file}: {e}"))
}

/// Runs `cargo` with `args`, its output shown.
pub fn cargo(args: &[&str]) -> Result {
    run(cargo_command().args(args))
}

/// Runs `command` to its end, its output shown; anything but success is an error that names the command.
pub fn run(command: &mut Command) -> Result {
    let status = command
        .status()
        .map_err(|e| format!("cannot start {}: {e}", shown(command)))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("{} ended with {status}", shown(command)))
    }
}

/// Runs `command` and returns its stdout; its stderr comes with the error.
pub fn output(command: &mut Command) -> Result<String> {
    let output = command
        .output()
        .map_err(|e| format!("cannot start {}: {e}", shown(command)))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        let reason = String::from_utf8_lossy(&output.stderr);
        Err(format!(
            "{} ended with {}: {}",
            shown(command),
            output.status,
            reason.trim()
        ))
    }
}

/// Runs `command` quietly, for at most `limit`: a download on a machine without network must not hang a setup.
pub fn succeeds_within(command: &mut Command, limit: Duration) -> bool {
    let Ok(mut child) = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn() else {
        return false;
    };
    let deadline = Instant::now() + limit;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return status.success(),
            Ok(None) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(50)),
            _ => {
                let _ = child.kill();
                let _ = child.wait();
                return false;
            }
        }
    }
}

/// Is there a program of this name to run?
pub fn exists(program: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| {
        std::env::split_paths(&path).any(|folder: PathBuf| folder.join(program).is_file())
    })
}

fn shown(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    words.extend(
        command
            .get_args()
            .map(|arg| arg.to_string_lossy().into_owned()),
    );
    words.join(" ")
}
