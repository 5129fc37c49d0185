//! A project folder of a test, with a home beside it: nothing that `sykli` does in a test touches the user's own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// A throw-away project. Removed with all that is in it when it is dropped.
#[derive(Debug)]
pub struct Project {
    folder: TempDir,
    path: PathBuf,
    /// Where cargo builds task crates to, where that is not inside the project.
    target: Option<PathBuf>,
}

/// What a command came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ran {
    /// The exit code; none where a signal ended it.
    pub code: Option<i32>,
    /// What it printed.
    pub stdout: String,
    /// What it said on standard error.
    pub stderr: String,
}

impl Ran {
    /// Panics with both streams where the exit code is another.
    #[track_caller]
    pub fn expect(self, code: i32) -> Ran {
        let Ran {
            code: got,
            stdout,
            stderr,
        } = &self;
        assert_eq!(
            *got,
            Some(code),
            "exit code\n--- stdout\n{stdout}\n--- stderr\n{stderr}"
        );
        self
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Ran {
        Ran {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Default for Project {
    fn default() -> Project {
        Project::new()
    }
}

impl Project {
    /// An empty project.
    #[must_use]
    pub fn new() -> Project {
        Project::below(&std::env::temp_dir())
    }

    /// An empty project in a folder of its own below another one.
    #[must_use]
    pub fn below(parent: &Path) -> Project {
        let folder = tempfile::tempdir_in(parent).expect("there is room for a temporary folder");
        let path = folder.path().join("project");
        for folder in [&path, &folder.path().join("home")] {
            fs::create_dir(folder).expect("a folder can be made");
        }
        Project {
            folder,
            path,
            target: None,
        }
    }

    /// A project that is a copy of `examples/<name>` as it is in the repository, ready to be run and changed. Its crates build
    /// into the target folder of the original, so that their dependencies are compiled once.
    #[must_use]
    pub fn example(name: &str) -> Project {
        let mut project = Project::new();
        let original = crate::root().join("examples");
        let copied = project.folder.path().join("examples");
        copy(&original.join(name), &copied.join(name));
        let manifest = fs::read_to_string(original.join("Cargo.toml")).expect("it is there");
        let sdk = format!("path = {:?}", crate::root().join("guest-sdk"));
        let moved = manifest.replace("path = \"../guest-sdk\"", &sdk);
        assert_ne!(moved, manifest, "the examples use the SDK beside them");
        fs::write(copied.join("Cargo.toml"), moved).expect("a file can be written");
        fs::copy(original.join("Cargo.lock"), copied.join("Cargo.lock")).expect("it is there");
        project.path = copied.join(name);
        project.target = Some(original.join("target"));
        project
    }

    /// The project's folder.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.path.clone()
    }

    /// The home of the user that `sykli` believes in: `cache/`, `state/`, `config/`, `data/`, `run/` are below it.
    #[must_use]
    pub fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    /// Writes a file of the project, folders included.
    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) -> &Project {
        let path = self.path().join(path);
        fs::create_dir_all(path.parent().expect("a file is in a folder"))
            .expect("a folder can be made");
        fs::write(path, content).expect("a file can be written");
        self
    }

    /// Puts a guest into the project as `<name>.wasm`.
    pub fn guest(&self, name: &str) -> &Project {
        fs::copy(crate::guest(name), self.path().join(format!("{name}.wasm")))
            .expect("a file can be copied");
        self
    }

    /// A file of the project.
    ///
    /// # Panics
    /// Where there is none.
    #[track_caller]
    #[must_use]
    pub fn read(&self, path: &str) -> Vec<u8> {
        fs::read(self.path().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// The same as text.
    ///
    /// # Panics
    /// Where there is none, or it is not UTF-8.
    #[track_caller]
    #[must_use]
    pub fn read_text(&self, path: &str) -> String {
        String::from_utf8(self.read(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// Whether the project has such a file or folder.
    #[must_use]
    pub fn exists(&self, path: &str) -> bool {
        self.path().join(path).exists()
    }

    /// `sykli` in the project's folder: plain output, no settings but the test's, home as of [`Project::home`].
    #[must_use]
    pub fn sykli(&self) -> Command {
        let mut command = Command::new(crate::sykli());
        self.settle(&mut command);
        command.current_dir(self.path()).stdin(Stdio::null());
        command
    }

    /// Gives any command this project's home, and takes away what would change how `sykli` behaves.
    pub fn settle(&self, command: &mut Command) {
        for (name, _) in std::env::vars_os() {
            // Cargo's own would make every `exec` one of its test runs.
            let theirs = ["SYKLI_", "CARGO_MANIFEST_", "CARGO_PKG_"];
            if theirs
                .iter()
                .any(|prefix| name.to_string_lossy().starts_with(prefix))
            {
                command.env_remove(name);
            }
        }
        for name in [
            "CLICOLOR_FORCE",
            "FORCE_COLOR",
            "CI",
            "COLUMNS",
            "RUST_LOG",
            "RUSTFLAGS",
            "CARGO_ENCODED_RUSTFLAGS",
        ] {
            command.env_remove(name);
        }
        let home = self.home();
        command.env("NO_COLOR", "1").env("LC_ALL", "C.UTF-8");
        if let Some(target) = &self.target {
            command.env("CARGO_TARGET_DIR", target);
        }
        for (name, folder) in [
            ("XDG_CONFIG_HOME", "config"),
            ("XDG_DATA_HOME", "data"),
            ("XDG_CACHE_HOME", "cache"),
            ("XDG_STATE_HOME", "state"),
            ("XDG_RUNTIME_DIR", "run"),
        ] {
            command.env(name, home.join(folder));
        }
    }

    /// Runs `sykli` with these arguments in the project's folder to its end.
    #[track_caller]
    #[must_use]
    pub fn run(&self, args: &[&str]) -> Ran {
        self.sykli()
            .args(args)
            .output()
            .expect("sykli starts")
            .into()
    }
}

/// Copies a folder, less what git ignores there: build folders and written outputs.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder can be made");
    for entry in fs::read_dir(from).expect("the folder can be listed") {
        let path = entry.expect("the folder can be listed").path();
        let name = path.file_name().expect("it has a name").to_owned();
        if path.is_dir() {
            if name != "target" && name != ".sykli" {
                copy(&path, &to.join(name));
            }
        } else {
            fs::copy(&path, to.join(name)).expect("a file can be copied");
        }
    }
}
