//! What a child gives up before it is told anything: descriptors, privileges, network, files, system calls.
//!
//! Each step is tried; what the system does not grant is noted and the rest goes on, for each helps by itself. The first half
//! comes before the engine, while there is one thread; the second after it, for starting an engine opens files. Called by
//! [`super::guest`] alone.

use std::collections::BTreeMap;

use rustix::process::{Resource, Rlimit, setrlimit};
use serde::{Deserialize, Serialize};

use super::Kind;
use super::message::Job;

/// What compiling a component may take: bytes of memory beyond what the process has (which is some ten megabytes, and the
/// space that is set aside for guests), and seconds of a processor.
const COMPILE_BYTES: u64 = 7 << 28;
pub(super) const COMPILE_SECONDS: u64 = 25;
/// What a guest's process may have beyond the guest's own memory, bytes: the engine, what is kept of files and streams.
const BESIDE_BYTES: u64 = 512 << 20;
/// What a file of a child may have beyond the guest's own bound: images of memories are files, too.
const FILE_BYTES: u64 = 256 << 20;
/// Descriptors of a child, and of one that may connect.
const DESCRIPTORS: u64 = 256;
const DESCRIPTORS_NET: u64 = 8192;

/// What a child gave up. What the system did not grant is false, and named with the reason.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Confinement {
    /// Bounds of memory, files and descriptors.
    pub limits: bool,
    /// It can never gain a privilege.
    pub no_new_privileges: bool,
    /// It is in an empty network namespace.
    pub no_network: bool,
    /// The version of landlock that closes the file system; 0 where none does.
    pub landlock: u32,
    /// The system calls that it does not need are refused.
    pub system_calls: bool,
    /// What was not granted, by the name of its field, and why.
    pub not_granted: BTreeMap<String, String>,
}

const LIMITS: &str = "limits";
const PRIVILEGES: &str = "no_new_privileges";
const NETWORK: &str = "no_network";
const LANDLOCK: &str = "landlock";
const CALLS: &str = "system_calls";

impl Confinement {
    /// Whether there is each, its field's name, and what people call it.
    fn parts(&self) -> [(bool, &'static str, &'static str); 5] {
        [
            (self.limits, LIMITS, "limits"),
            (self.no_new_privileges, PRIVILEGES, "no new privileges"),
            (self.no_network, NETWORK, "an empty network"),
            (self.landlock > 0, LANDLOCK, "landlock"),
            (self.system_calls, CALLS, "a filter of system calls"),
        ]
    }

    /// What was not granted, each with the reason where one is known.
    #[must_use]
    pub fn missing(&self) -> Vec<String> {
        let missing = self.parts().into_iter().filter(|(have, ..)| !have);
        missing
            .map(|(_, name, what)| match self.not_granted.get(name) {
                Some(why) => format!("{what} ({why})"),
                None => what.to_owned(),
            })
            .collect()
    }

    /// What was granted, a stable word each, in a fixed order, as a receipt may name it: `limits`, `no-new-privileges`,
    /// `no-network`, `landlock-6`, `system-calls`. Empty where a process of its own was all.
    #[must_use]
    pub fn words(&self) -> Vec<String> {
        let granted = self.parts().into_iter().filter(|(have, ..)| *have);
        granted
            .map(|(_, name, _)| match name {
                LANDLOCK => format!("landlock-{}", self.landlock),
                name => name.replace('_', "-"),
            })
            .collect()
    }

    /// What is missing to everything that a child of this kind is to give up.
    pub(super) fn lacks(&self, kind: Kind) -> Vec<String> {
        match kind {
            Kind::Sealed => self.missing(),
            Kind::Net => Confinement {
                no_network: true,
                ..self.clone()
            }
            .missing(),
        }
    }

    /// Takes note of what was tried; whether it worked.
    fn tried(&mut self, name: &str, tried: Result<(), String>) -> bool {
        if let Err(why) = &tried {
            self.not_granted.insert(name.to_owned(), why.clone());
        }
        tried.is_ok()
    }
}

fn limit(resource: Resource, most: u64) -> Result<(), String> {
    let limit = Rlimit {
        current: Some(most),
        maximum: Some(most),
    };
    setrlimit(resource, limit).map_err(|error| error.to_string())
}

/// What this process takes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Size {
    /// Bytes of address space.
    total: u64,
    /// Bytes of it that are data.
    data: u64,
    threads: u64,
}

impl Size {
    fn look() -> Size {
        let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let field = |name: &str| {
            let line = text.lines().find(|line| line.starts_with(name));
            let number = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
            number.unwrap_or(0)
        };
        Size {
            total: field("VmSize:").saturating_mul(1024),
            data: field("VmData:").saturating_mul(1024),
            threads: field("Threads:"),
        }
    }
}

/// The first half: before the engine is started, while this thread is the only one.
pub(super) fn before(kind: Kind) -> Confinement {
    let descriptors = match kind {
        Kind::Sealed => DESCRIPTORS,
        Kind::Net => DESCRIPTORS_NET,
    };
    let bounds = close_inherited()
        .and_then(|()| limit(Resource::Core, 0))
        .and_then(|()| limit(Resource::Nofile, descriptors));
    let mut got = Confinement::default();
    got.limits = got.tried(LIMITS, bounds);
    system::before(kind, &mut got);
    got
}

/// The second half. Also says what the process takes, for no file says so afterwards.
pub(super) fn after(kind: Kind, got: &mut Confinement) -> Size {
    let size = Size::look();
    if size.data == 0 {
        // Lowering a bound always works; without this there is none to lower to.
        let unknown = "how much it takes cannot be read in /proc/self/status".to_owned();
        got.limits = got.tried(LIMITS, Err(unknown));
    }
    system::after(kind, size.threads, got);
    size
}

/// Bounds what running a guest may take; the guest itself is bounded by its sandbox, this is for what overcomes that.
pub(super) fn for_job(size: Size, job: &Job, code_bytes: u64) {
    if size.data == 0 {
        return;
    }
    let beside = job.tree_bytes.saturating_mul(8);
    let beside = beside.saturating_add(code_bytes.saturating_mul(3));
    // The engine makes a memory before it asks whether the guest may have it: all that it may, and as much again.
    let memory = job.grant.memory_bytes.saturating_mul(2);
    let most = [size.data, BESIDE_BYTES, memory];
    let most = most.into_iter().fold(beside, u64::saturating_add);
    lower(Resource::Data, most);
    let file = job.grant.output_bytes.saturating_add(FILE_BYTES);
    lower(Resource::Fsize, file);
}

/// Bounds what compiling a component may take.
///
/// Nothing where it is not known what the process takes: that was said (`limits`).
pub(super) fn for_compiling(size: Size) {
    if size.total == 0 {
        return;
    }
    lower(Resource::As, size.total.saturating_add(COMPILE_BYTES));
    // A signal of its own first: by that, its parent knows what it died of.
    let seconds = Rlimit {
        current: Some(COMPILE_SECONDS),
        maximum: Some(COMPILE_SECONDS + 2),
    };
    let _ = setrlimit(Resource::Cpu, seconds);
    lower(Resource::Fsize, FILE_BYTES);
}

/// Lowering a bound that was granted before needs nobody's leave.
fn lower(resource: Resource, most: u64) {
    let _ = limit(resource, most);
}

/// Closes what this process got from whoever started its parent. Its own are 0 to 2.
fn close_inherited() -> Result<(), String> {
    #[cfg(target_os = "linux")]
    {
        let listed = std::fs::read_dir("/proc/self/fd");
        let entries = listed.map_err(|error| format!("/proc/self/fd: {error}"))?;
        let number = |entry: std::fs::DirEntry| entry.file_name().to_str()?.parse::<i32>().ok();
        let open: Vec<i32> = entries.flatten().filter_map(number).collect();
        for descriptor in open.into_iter().filter(|number| *number > 2) {
            // The one that the list was read from is closed already.
            let _ = nix::unistd::close(descriptor);
        }
    }
    Ok(())
}

#[cfg(target_os = "linux")]
mod system {
    use landlock::{
        ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, LandlockStatus, PathBeneath,
        PathFd, RestrictionStatus, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError,
        RulesetStatus, Scope,
    };
    use nix::sched::{CloneFlags, unshare};
    use rustix::process::{Signal, set_parent_process_death_signal};
    use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities, set_no_new_privs};

    use super::super::{Kind, filter};
    use super::{CALLS, Confinement, LANDLOCK, NETWORK, PRIVILEGES};

    /// What looking a name up reads.
    const RESOLVER: [&str; 9] = [
        "/etc/resolv.conf",
        "/etc/hosts",
        "/etc/host.conf",
        "/etc/nsswitch.conf",
        "/etc/gai.conf",
        "/etc/ld.so.cache",
        "/run/systemd/resolve",
        "/lib",
        "/usr/lib",
    ];

    pub(super) fn before(kind: Kind, got: &mut Confinement) {
        // Whoever would collect its result is gone then.
        let _ = set_parent_process_death_signal(Some(Signal::KILL));
        let privileges = set_no_new_privs(true).map_err(|error| error.to_string());
        got.no_new_privileges = got.tried(PRIVILEGES, privileges);
        // The system should rather end a guest than the node, when memory is short.
        let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
        let others = CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWIPC;
        if kind == Kind::Net {
            let _ = unshare(others);
            got.not_granted
                .insert(NETWORK.to_owned(), "the task may connect".to_owned());
            return;
        }
        let network = unshare(others | CloneFlags::CLONE_NEWNET)
            .or_else(|_| unshare(CloneFlags::CLONE_NEWNET))
            .map_err(|error| format!("network namespaces: {}", error.desc()));
        got.no_network = got.tried(NETWORK, network);
    }

    pub(super) fn after(kind: Kind, threads: u64, got: &mut Confinement) {
        let alone = match threads {
            1 => Ok(()),
            _ => Err(format!("{threads} threads run already, and it binds one")),
        };
        let closed = alone.and_then(|()| landlock(kind));
        got.landlock = *closed.as_ref().unwrap_or(&0);
        got.tried(LANDLOCK, closed.map(|_| ()));
        let none = CapabilitySet::empty();
        // Where this fails there were none.
        let _ = set_capabilities(
            None,
            CapabilitySets {
                effective: none,
                permitted: none,
                inheritable: none,
            },
        );
        got.system_calls = got.tried(CALLS, filter::install(kind));
    }

    /// Closes the file system, with nothing open in it but what a look-up of names needs, where that is granted. Answers with
    /// the version that does it.
    fn landlock(kind: Kind) -> Result<u32, String> {
        let status = restrict(kind).map_err(|error| error.to_string())?;
        match (status.ruleset, status.landlock) {
            (_, LandlockStatus::NotEnabled) => Err("switched off in this kernel".to_owned()),
            (_, LandlockStatus::NotImplemented) => Err("not built into this kernel".to_owned()),
            (RulesetStatus::NotEnforced, _) => Err("not enforced".to_owned()),
            (_, LandlockStatus::Available { effective_abi, .. }) => {
                let version = effective_abi.to_string().parse();
                version.map_err(|_| "of an unknown version".to_owned())
            }
        }
    }

    fn restrict(kind: Kind) -> Result<RestrictionStatus, RulesetError> {
        let abi = ABI::V6;
        let rules = Ruleset::default()
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::from_all(abi))?
            .scope(Scope::from_all(abi))?;
        let rules = match kind {
            Kind::Sealed => rules.handle_access(AccessNet::from_all(abi))?,
            Kind::Net => rules.handle_access(AccessNet::BindTcp)?,
        };
        let mut rules = rules.create()?;
        if kind == Kind::Net {
            for path in RESOLVER {
                let Ok(there) = PathFd::new(path) else {
                    continue;
                };
                let may = AccessFs::ReadFile | AccessFs::ReadDir;
                rules = rules.add_rule(PathBeneath::new(there, may))?;
            }
        }
        rules.restrict_self()
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use super::super::Kind;
    use super::{CALLS, Confinement, LANDLOCK, NETWORK, PRIVILEGES};

    pub(super) fn before(_: Kind, got: &mut Confinement) {
        for name in [PRIVILEGES, NETWORK, LANDLOCK, CALLS] {
            got.tried(name, Err("only Linux has it".to_owned()));
        }
    }

    pub(super) fn after(_: Kind, _: u64, _: &mut Confinement) {}
}
