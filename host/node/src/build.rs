//! `sykli build`: task crates to components, by cargo, only when something changed.
//!
//! Whether something changed is decided from file stats alone, so that an unchanged crate costs no process
//! (`build/fingerprint.rs`); what cargo is asked and how its answer is read is `build/cargo.rs`. A changed stat only
//! means that cargo is asked: it has the last word. The user's crate is never edited. Called by the command line and
//! by `run`.

mod cargo;
mod fingerprint;

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use serde::{Deserialize, Serialize};
use sykli_core::id::Digest;
use sykli_core::pipeline::Program;

use crate::events::BuildEvent;
use crate::interrupt::Interrupt;
use crate::node::{Node, NodeError};
use fingerprint::Stat;

/// The target that task crates are built for.
pub const TARGET: &str = "wasm32-wasip2";
/// Bumped when what a record means changes: older ones are then ignored.
const RECORD_VERSION: u32 = 2;
/// A record is a few kilobytes; a larger file is none of ours.
const MAX_RECORD_BYTES: u64 = 4 << 20;

/// Which crates to build.
#[derive(Clone, Debug)]
pub struct BuildRequest {
    /// The project folder.
    pub root: PathBuf,
    /// Crates, their folders relative to `root`.
    pub crates: Vec<TaskCrate>,
    /// Ask cargo even where nothing seems to have changed.
    pub force: bool,
}

/// What is built of which crate.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TaskCrate {
    /// Folder, relative to the project.
    pub crate_dir: String,
    /// Its test binary instead of its program.
    pub tests: bool,
}

impl TaskCrate {
    /// What is to be built for a task's program; none for a component that is there already.
    pub fn of(program: &Program) -> Option<TaskCrate> {
        let (crate_dir, tests) = match program {
            Program::Component(_) => return None,
            Program::Crate(path) => (path.clone(), false),
            Program::Tests(path) => (path.clone(), true),
        };
        Some(TaskCrate { crate_dir, tests })
    }
}

/// What was built.
#[derive(Clone, Debug)]
pub struct BuildReport {
    /// In the order asked.
    pub crates: Vec<BuiltCrate>,
}

/// A crate's component.
#[derive(Clone, Debug)]
pub struct BuiltCrate {
    /// Which crate, and what of it.
    pub of: TaskCrate,
    /// Where cargo left the component.
    pub artifact: PathBuf,
    /// Digest of the component.
    pub digest: Digest,
    /// Size of the component, bytes.
    pub size: u64,
    /// False when nothing had changed and cargo was not asked.
    pub built: bool,
    /// Time it took.
    pub wall: Duration,
}

/// Why a crate has no component.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The folder holds no crate.
    #[error("`{crate_dir}` holds no Cargo.toml")]
    NoManifest {
        /// As in the pipeline.
        crate_dir: String,
    },
    /// Cargo could not be started.
    #[error("failed to start `{program}` for `{crate_dir}`: {source}")]
    Spawn {
        /// As in the pipeline.
        crate_dir: String,
        /// What was tried.
        program: String,
        /// The system's answer.
        source: io::Error,
    },
    /// Cargo said no.
    #[error("failed to build `{crate_dir}`: cargo {how}")]
    Failed {
        /// As in the pipeline.
        crate_dir: String,
        /// `exited with 101`, `was killed`.
        how: String,
        /// The end of cargo's standard error.
        stderr_tail: String,
        /// The toolchain lacks the target.
        target_missing: bool,
    },
    /// The crate has no test binary, or several.
    #[error("`{crate_dir}` gives no single test binary: it has [{}]", .bins.join(", "))]
    NoSingleHarness {
        /// As in the pipeline.
        crate_dir: String,
        /// Names of its test binaries.
        bins: Vec<String>,
    },
    /// The crate has no binary, or several and none named like the package.
    #[error("`{crate_dir}` gives no single component: its binaries are [{}]", .bins.join(", "))]
    NoSingleBin {
        /// As in the pipeline.
        crate_dir: String,
        /// Names of its binaries.
        bins: Vec<String>,
    },
    /// A file could not be read or written.
    #[error("failed to read `{path}`: {source}", path = .path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The user asked to stop.
    #[error("the build was interrupted")]
    Interrupted,
}

impl BuildError {
    /// Stable name of the kind of error.
    pub fn code(&self) -> &'static str {
        match self {
            BuildError::NoManifest { .. } => "build::no-manifest",
            BuildError::Spawn { .. } => "build::cargo-missing",
            BuildError::Failed {
                target_missing: true,
                ..
            } => "build::target-missing",
            BuildError::Failed { .. } => "build::failed",
            BuildError::NoSingleBin { .. } => "build::no-single-bin",
            BuildError::NoSingleHarness { .. } => "build::no-single-harness",
            BuildError::Io { .. } => "build::io",
            BuildError::Interrupted => "build::interrupted",
        }
    }

    /// Ways out.
    pub fn hints(&self) -> Vec<String> {
        match self {
            BuildError::NoManifest { crate_dir } => {
                vec![format!(
                    "`crate` names a folder with a Cargo.toml; `sykli new task` makes one, or build the component yourself and set `component` in place of `crate = \"{crate_dir}\"`"
                )]
            }
            BuildError::Spawn { .. } => vec![
                "install Rust from https://rustup.rs, or set CARGO to the cargo to use".to_owned(),
            ],
            BuildError::Failed {
                target_missing: true,
                ..
            } => vec![format!("rustup target add {TARGET}")],
            BuildError::Failed { crate_dir, .. } => {
                vec![format!(
                    "see it all with: (cd {crate_dir} && cargo build --release --target {TARGET})"
                )]
            }
            BuildError::NoSingleBin { bins, .. } if bins.is_empty() => {
                vec!["a task crate is a binary crate: add src/main.rs".to_owned()]
            }
            BuildError::NoSingleBin { .. } => vec![
                "name one binary like the package, or give each task a crate of its own".to_owned(),
            ],
            BuildError::NoSingleHarness { .. } => vec![
                "set `autotests = false` under [package] and compile tests/ into the library's tests, or turn off what is not meant with `test = false`".to_owned(),
            ],
            BuildError::Io { .. } | BuildError::Interrupted => Vec::new(),
        }
    }

    /// The end of what cargo printed, where it is cargo that failed.
    pub fn stderr_tail(&self) -> Option<&str> {
        match self {
            BuildError::Failed { stderr_tail, .. } => Some(stderr_tail),
            _ => None,
        }
    }
}

/// What is remembered of a crate's last build, in the cache folder. A record that does not fit is as good as none.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    version: u32,
    crate_dir: PathBuf,
    /// Folders of the packages the build was made from, the crate's own and its path dependencies'.
    packages: Vec<PathBuf>,
    /// Over the packages' files, cargo's settings and the toolchain.
    fingerprint: String,
    /// Whether all of them are surely older than the build. Where not, cargo is asked again before anything runs, but what
    /// only looks takes the build for what it most likely is: the last.
    settled: bool,
    artifact: PathBuf,
    artifact_stat: Stat,
    digest: String,
    size: u64,
}

impl Node {
    /// Builds crates that changed; the others cost a few stats each.
    ///
    /// # Errors
    /// [`NodeError::Build`] for the first crate that has no component.
    pub fn build(
        &self,
        request: &BuildRequest,
        events: &(dyn Fn(BuildEvent) + Sync),
        interrupt: &Interrupt,
    ) -> Result<BuildReport, NodeError> {
        let mut crates = Vec::with_capacity(request.crates.len());
        for of in &request.crates {
            crates.push(self.build_one(&request.root, of, request.force, events, interrupt)?);
        }
        Ok(BuildReport { crates })
    }

    fn build_one(
        &self,
        root: &Path,
        of: &TaskCrate,
        force: bool,
        events: &(dyn Fn(BuildEvent) + Sync),
        interrupt: &Interrupt,
    ) -> Result<BuiltCrate, BuildError> {
        let start = Instant::now();
        let crate_dir = of.crate_dir.as_str();
        let folder = root.join(crate_dir);
        if !folder.join("Cargo.toml").is_file() {
            return Err(BuildError::NoManifest {
                crate_dir: crate_dir.to_owned(),
            });
        }
        let folder = folder.canonicalize().map_err(|source| BuildError::Io {
            path: folder,
            source,
        })?;
        let record_path = self.record_path(&folder, of.tests);
        if !force
            && let Some((record, found)) = up_to_date(&record_path, &folder, of.clone())
            && record.settled
        {
            let built = BuiltCrate {
                wall: start.elapsed(),
                ..found
            };
            events(finished(&built));
            return Ok(built);
        }
        if interrupt.is_raised() {
            return Err(BuildError::Interrupted);
        }
        events(BuildEvent::Started {
            crate_dir: crate_dir.to_owned(),
        });
        let asked_at = SystemTime::now();
        let answer = cargo::build(&folder, of, self.settings().offline, events, interrupt)?;
        let bytes = std::fs::read(&answer.artifact).map_err(|source| BuildError::Io {
            path: answer.artifact.clone(),
            source,
        })?;
        let built = BuiltCrate {
            of: of.clone(),
            digest: Digest::of(&bytes),
            size: bytes.len() as u64,
            artifact: answer.artifact,
            built: true,
            wall: start.elapsed(),
        };
        remember(&record_path, &folder, answer.packages, &built, asked_at);
        events(finished(&built));
        Ok(built)
    }

    /// The component of a crate whose last build is still good, as far as file times can tell; nothing is built.
    pub(crate) fn built(&self, root: &Path, of: TaskCrate) -> Option<BuiltCrate> {
        let folder = root.join(&of.crate_dir).canonicalize().ok()?;
        let (_, built) = up_to_date(&self.record_path(&folder, of.tests), &folder, of)?;
        Some(built)
    }

    fn record_path(&self, folder: &Path, tests: bool) -> PathBuf {
        let name = blake3::hash(folder.as_os_str().as_encoded_bytes()).to_hex();
        let name = if tests {
            format!("{name}-tests")
        } else {
            name.to_string()
        };
        self.settings()
            .dirs
            .cache
            .join("builds")
            .join(format!("{name}.json"))
    }
}

fn finished(built: &BuiltCrate) -> BuildEvent {
    BuildEvent::Finished {
        crate_dir: built.of.crate_dir.clone(),
        built: built.built,
        wall_ms: u64::try_from(built.wall.as_millis()).unwrap_or(u64::MAX),
    }
}

/// The crate's last component, where nothing that it was made from has changed since the record was written.
fn up_to_date(record_path: &Path, folder: &Path, of: TaskCrate) -> Option<(Record, BuiltCrate)> {
    if std::fs::metadata(record_path).ok()?.len() > MAX_RECORD_BYTES {
        return None;
    }
    let record: Record = serde_json::from_slice(&std::fs::read(record_path).ok()?).ok()?;
    if record.version != RECORD_VERSION || record.crate_dir != folder {
        return None;
    }
    if fingerprint::stat(&record.artifact)? != record.artifact_stat {
        return None;
    }
    if fingerprint::of(folder, &record.packages, None)? != record.fingerprint {
        return None;
    }
    let built = BuiltCrate {
        of,
        artifact: record.artifact.clone(),
        digest: record.digest.parse().ok()?,
        size: record.size,
        built: false,
        wall: Duration::ZERO,
    };
    Some((record, built))
}

/// Remembers a build, best effort: without the record cargo is asked again, which is only slower.
fn remember(
    record_path: &Path,
    folder: &Path,
    packages: Vec<PathBuf>,
    built: &BuiltCrate,
    asked_at: SystemTime,
) {
    let older_than = |time| fingerprint::of(folder, &packages, Some(time));
    let surely = asked_at
        .checked_sub(fingerprint::TIME_GRANULARITY)
        .and_then(older_than);
    let settled = surely.is_some();
    // A source touched since cargo was asked may not be in the component: no record then.
    let Some(fingerprint) = surely.or_else(|| older_than(asked_at)) else {
        return;
    };
    let Some(artifact_stat) = fingerprint::stat(&built.artifact) else {
        return;
    };
    let record = Record {
        version: RECORD_VERSION,
        crate_dir: folder.to_owned(),
        packages,
        fingerprint,
        settled,
        artifact: built.artifact.clone(),
        artifact_stat,
        digest: built.digest.to_string(),
        size: built.size,
    };
    if let Err(error) = write_record(record_path, &record) {
        tracing::debug!(%error, path = %record_path.display(), "a build record could not be written");
    }
}

fn write_record(path: &Path, record: &Record) -> io::Result<()> {
    let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    std::fs::create_dir_all(folder)?;
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    serde_json::to_writer(file.as_file_mut(), record)?;
    file.persist(path)?;
    Ok(())
}
