//! What the machine says of itself: whether somebody is using it, whether it runs on its battery, whether its connection is
//! paid for by the byte, how much memory is free, how busy it is.
//!
//! Every answer is told or not: where this system does not say, [`Told::CannotTell`] says why, and a person reads it in
//! `sykli doctor` and `sykli node status`. It only reads small files of `/proc`, `/sys`, `/dev` and `/run`, opens no device
//! and asks no service, so that a look every few seconds costs next to nothing; every file is read up to a bound. It
//! decides nothing: [`sykli_core::policy`] does, to which [`HostReport::state`] speaks. Called by the mesh node on its
//! tick and by the command line.
//!
//! ```text
//! input.rs    when somebody last touched a terminal, a keyboard, a mouse
//! power.rs    mains or battery
//! network.rs  metered or not
//! memory.rs   free and total memory, the container's limit included; load
//! ```

mod input;
mod memory;
mod network;
mod power;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use sykli_core::policy::HostState;

use input::Hands;

/// No file that is read here is longer than this; what is beyond is not looked at.
const MAX_FILE_BYTES: u64 = 256 << 10;
/// Entries of a folder that are looked at.
const MAX_ENTRIES: usize = 4096;

/// Where the system's files are: the real ones, or a test's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roots {
    /// `/proc`
    pub proc: PathBuf,
    /// `/sys`
    pub sys: PathBuf,
    /// `/dev`
    pub dev: PathBuf,
    /// `/run`
    pub run: PathBuf,
}

impl Roots {
    /// This machine's.
    #[must_use]
    pub fn system() -> Roots {
        Roots::under(Path::new("/"))
    }

    /// Those below a folder.
    #[must_use]
    pub fn under(root: &Path) -> Roots {
        Roots {
            proc: root.join("proc"),
            sys: root.join("sys"),
            dev: root.join("dev"),
            run: root.join("run"),
        }
    }
}

/// An answer of the machine's, or why there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told<T> {
    /// So it is.
    Is(T),
    /// It does not say.
    CannotTell(Why),
}

impl<T: Copy> Told<T> {
    /// The answer, if there is one.
    #[must_use]
    pub fn known(&self) -> Option<T> {
        match self {
            Told::Is(value) => Some(*value),
            Told::CannotTell(_) => None,
        }
    }
}

/// Why the machine does not say something; a fragment for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// A file is not there, or says something else than expected.
    NoFile {
        /// Which.
        path: PathBuf,
    },
    /// Nobody has a terminal and no input device reports.
    NoInput,
    /// There is no way out of this machine.
    NoRoute,
    /// The connection is of a kind whose cost is not known here.
    Connection {
        /// The interface.
        interface: String,
    },
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::NoFile { path } => write!(f, "{} is not there or not readable", path.display()),
            Why::NoInput => f.write_str("no terminal and no input device reports"),
            Why::NoRoute => f.write_str("no default route"),
            Why::Connection { interface } => {
                write!(f, "nothing says what {interface} costs")
            }
        }
    }
}

/// One look at the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostReport {
    /// How long nobody has touched it, in milliseconds.
    pub untouched_ms: Told<u64>,
    /// It runs on its battery.
    pub on_battery: Told<bool>,
    /// Its connection is paid for by the byte.
    pub metered: Told<bool>,
    /// Memory that tasks could have now, in MB.
    pub free_memory_mb: Told<u64>,
    /// Runnable processes a core over the last minute, in thousandths: 1000 is a machine that is just busy.
    pub load_per_mille: Told<u64>,
}

impl HostReport {
    /// As the policy wants it.
    #[must_use]
    pub fn state(&self, paused: bool, draining: bool) -> HostState {
        HostState {
            untouched_ms: self.untouched_ms.known(),
            on_battery: self.on_battery.known(),
            metered: self.metered.known(),
            free_memory_mb: self.free_memory_mb.known(),
            paused,
            draining,
        }
    }
}

/// Looks at the machine; remembers what input devices reported at the last look.
#[derive(Debug)]
pub struct HostProbe {
    roots: Roots,
    hands: Hands,
}

impl HostProbe {
    /// Of the machine with these files.
    #[must_use]
    pub fn new(roots: Roots) -> HostProbe {
        HostProbe {
            roots,
            hands: Hands::default(),
        }
    }

    /// How it is at `now`, which is compared with files' times.
    pub fn look(&mut self, now: SystemTime) -> HostReport {
        HostReport {
            untouched_ms: self.hands.untouched_ms(&self.roots, now),
            on_battery: power::on_battery(&self.roots),
            metered: network::metered(&self.roots),
            free_memory_mb: memory::free_mb(&self.roots),
            load_per_mille: memory::load_per_mille(&self.roots),
        }
    }
}

/// All memory that this process may use, in MB: the machine's, or the container's where that is less.
#[must_use]
pub fn total_memory_mb(roots: &Roots) -> Told<u64> {
    memory::total_mb(roots)
}

/// A small text file; nothing where it is not there or not readable.
fn read(path: &Path) -> Option<String> {
    let mut text = Vec::new();
    let file = std::fs::File::open(path).ok()?;
    file.take(MAX_FILE_BYTES).read_to_end(&mut text).ok()?;
    Some(String::from_utf8_lossy(&text).into_owned())
}

/// [`read`] without the white space around it.
fn word(path: &Path) -> Option<String> {
    read(path).map(|text| text.trim().to_owned())
}

/// The entries of a folder, at most [`MAX_ENTRIES`]; none where it cannot be read.
fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let listed = std::fs::read_dir(folder).into_iter().flatten();
    listed.flatten().map(|entry| entry.path()).take(MAX_ENTRIES)
}

/// A path's last part as text.
fn name(path: &Path) -> &str {
    path.file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default()
}

fn no_file<T>(path: PathBuf) -> Told<T> {
    Told::CannotTell(Why::NoFile { path })
}
