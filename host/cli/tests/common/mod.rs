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

/// Core wasip1 modules, put together by hand: what these tests need of a guest is a few instructions.
pub mod guest {
    fn leb(mut n: u32) -> Vec<u8> {
        let mut out = Vec::new();
        loop {
            let low = u8::try_from(n & 0x7f).unwrap();
            n >>= 7;
            if n == 0 {
                out.push(low);
                return out;
            }
            out.push(low | 0x80);
        }
    }

    fn sized(bytes: &[u8]) -> Vec<u8> {
        [leb(u32::try_from(bytes.len()).unwrap()), bytes.to_vec()].concat()
    }

    fn section(id: u8, bytes: &[u8]) -> Vec<u8> {
        [vec![id], sized(bytes)].concat()
    }

    /// `_start` with this body; function 0 is `proc_exit`, function 1 `fd_write`; `data` lies at 64 and a vector over it
    /// at 0.
    fn module(data: &[u8], body: &[u8]) -> Vec<u8> {
        let import = |name: &str, kind: u8| {
            [
                sized(b"wasi_snapshot_preview1"),
                sized(name.as_bytes()),
                vec![0, kind],
            ]
            .concat()
        };
        let memory = [
            64u32.to_le_bytes(),
            u32::try_from(data.len()).unwrap().to_le_bytes(),
        ]
        .concat();
        let code = [&[0x00], body, &[0x0b]].concat();
        [
            b"\0asm\x01\0\0\0".to_vec(),
            section(
                1,
                &[
                    3, 0x60, 1, 0x7f, 0, 0x60, 4, 0x7f, 0x7f, 0x7f, 0x7f, 1, 0x7f, 0x60, 0, 0,
                ],
            ),
            section(
                2,
                &[vec![2], import("proc_exit", 0), import("fd_write", 1)].concat(),
            ),
            section(3, &[1, 2]),
            section(5, &[1, 0, 1]),
            section(
                7,
                &[
                    vec![2],
                    sized(b"memory"),
                    vec![2, 0],
                    sized(b"_start"),
                    vec![0, 2],
                ]
                .concat(),
            ),
            section(10, &[vec![1], sized(&code)].concat()),
            section(
                11,
                &[
                    vec![2, 0, 0x41, 0, 0x0b],
                    sized(&memory),
                    vec![0, 0x41, 0xc0, 0, 0x0b],
                    sized(data),
                ]
                .concat(),
            ),
        ]
        .concat()
    }

    fn print() -> Vec<u8> {
        // fd_write(1, 0, 1, 16)
        vec![0x41, 1, 0x41, 0, 0x41, 1, 0x41, 16, 0x10, 1, 0x1a]
    }

    /// Writes `text` and ends with `code` (at most 63).
    pub fn says(text: &str, code: u8) -> Vec<u8> {
        module(
            text.as_bytes(),
            &[print(), vec![0x41, code, 0x10, 0]].concat(),
        )
    }

    /// Writes `text`, then traps.
    pub fn traps(text: &str) -> Vec<u8> {
        module(text.as_bytes(), &[print(), vec![0x00]].concat())
    }

    /// Never ends.
    pub fn spins() -> Vec<u8> {
        module(b"", &[0x03, 0x40, 0x0c, 0, 0x0b])
    }
}
