//! What a user would pick instead: other programs, started as a user would start them. A peer that is not installed is
//! left out, with a line that says how to get it.

use std::path::Path;
use std::process::{Command, Stdio};

/// Runs a shell line in `folder`; true when it ended well.
pub(crate) fn shell(folder: &Path, line: &str) -> bool {
    quiet(Command::new("sh").arg("-c").arg(line).current_dir(folder))
}

/// Runs `command` with nothing shown; true when it ended well.
pub(crate) fn quiet(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|s| s.success())
}

/// Is there such a program?
pub(crate) fn installed(program: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(program).is_file()))
}

/// A makefile of `tasks` independent targets that each run `true`.
pub(crate) fn makefile(tasks: u32) -> String {
    let names: Vec<String> = (0..tasks).map(|i| format!("t{i}")).collect();
    let mut text = format!(".PHONY: all {0}\nall: {0}\n", names.join(" "));
    for name in names {
        // The redirection keeps make from running `true` without a process of its own.
        text.push_str(&format!("{name}:\n\t@/bin/true\n"));
    }
    text
}
