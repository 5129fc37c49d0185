//! What the tests of the binary share: a private home, the binary's answer, the published schemas. Each test starts real
//! processes and never touches the user's own folders.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    missing_docs,
    unreachable_pub
)]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

/// A home and a project folder, gone afterwards.
pub struct Home {
    pub dir: tempfile::TempDir,
}

/// What the binary answered.
#[derive(Debug)]
pub struct Answer {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Home {
    pub fn new() -> Home {
        let home = Home {
            dir: tempfile::tempdir().unwrap(),
        };
        std::fs::create_dir(home.project()).unwrap();
        home
    }

    pub fn project(&self) -> PathBuf {
        self.dir.path().join("project")
    }

    pub fn user_config(&self) -> PathBuf {
        self.dir.path().join("config/sykli/config.toml")
    }

    pub fn write(&self, path: &str, text: &str) {
        write(&self.project().join(path), text);
    }

    /// The binary in the project folder, with nothing of this process's environment that could change its answer.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sykli"));
        command
            .args(args)
            .current_dir(self.project())
            .stdin(Stdio::null())
            .env_clear();
        for name in ["PATH", "CARGO_HOME", "RUSTUP_HOME", "RUSTUP_TOOLCHAIN"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        if let Some(home) = std::env::var_os("HOME") {
            let rustup = |name: &str| Path::new(&home).join(name);
            if std::env::var_os("CARGO_HOME").is_none() {
                command.env("CARGO_HOME", rustup(".cargo"));
            }
            if std::env::var_os("RUSTUP_HOME").is_none() {
                command.env("RUSTUP_HOME", rustup(".rustup"));
            }
        }
        command.env("HOME", self.dir.path());
        for (name, folder) in [
            ("XDG_CONFIG_HOME", "config"),
            ("XDG_DATA_HOME", "data"),
            ("XDG_CACHE_HOME", "cache"),
            ("XDG_STATE_HOME", "state"),
            ("XDG_RUNTIME_DIR", "run"),
        ] {
            command.env(name, self.dir.path().join(folder));
        }
        command
    }

    pub fn run(&self, args: &[&str]) -> Answer {
        answer(&mut self.command(args))
    }
}

pub fn write(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

pub fn answer(command: &mut Command) -> Answer {
    let output = command.output().unwrap();
    Answer {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// `text` is one document that the published schema of this name allows.
pub fn valid(schema: &str, text: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join(format!("../../docs/schema/{schema}.schema.json"));
    let schema: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let document: Value = serde_json::from_str(text).unwrap();
    if let Err(error) = jsonschema::validate(&schema, &document) {
        panic!("{error}\n{text}");
    }
    document
}
