//! What a child gives up before it is told anything: descriptors, privileges, network, files, system calls.
//!
//! Each step is tried; what the system does not grant is noted and the rest goes on, for each helps by itself. The first half
//! comes before the engine, while there is one thread; the second after it, for starting an engine opens files. Called by
//! [`super::guest`] alone.

use rustix::process::{Resource, Rlimit, setrlimit};
use serde::{Deserialize, Serialize};

use super::Kind;
use super::message::Job;

/// What compiling a component may take: bytes of memory beyond what the process has, and seconds of a processor.
const COMPILE_BYTES: u64 = 2 << 30;
const COMPILE_SECONDS: u64 = 25;
/// What a guest's process may have beyond the guest's own memory, bytes: the engine, what is kept of files and streams.
const BESIDE_BYTES: u64 = 512 << 20;
/// What a file of a child may have beyond the guest's own bound: images of memories are files, too.
const FILE_BYTES: u64 = 256 << 20;
/// Descriptors of a child, and of one that may connect.
const DESCRIPTORS: u64 = 256;
const DESCRIPTORS_NET: u64 = 8192;

/// What a child gave up. What the system did not grant is false.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema,
)]
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
}

impl Confinement {
    /// Whether everything was granted.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.missing().is_empty()
    }

    /// What was not granted.
    #[must_use]
    pub fn missing(&self) -> Vec<&'static str> {
        let all = [
            (self.limits, "limits"),
            (self.no_new_privileges, "no new privileges"),
            (self.no_network, "an empty network"),
            (self.landlock > 0, "landlock"),
            (self.system_calls, "a filter of system calls"),
        ];
        all.into_iter()
            .filter_map(|(have, what)| (!have).then_some(what))
            .collect()
    }
}

fn limit(resource: Resource, most: u64) -> bool {
    let limit = Rlimit {
        current: Some(most),
        maximum: Some(most),
    };
    setrlimit(resource, limit).is_ok()
}

/// What this process takes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Size {
    /// Bytes of address space.
    total: u64,
    /// Bytes of it that are data.
    data: u64,
}

impl Size {
    fn look() -> Size {
        let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let field = |name: &str| {
            let line = text.lines().find(|line| line.starts_with(name));
            let number = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
            number.unwrap_or(0).saturating_mul(1024)
        };
        Size {
            total: field("VmSize:"),
            data: field("VmData:"),
        }
    }
}

/// The first half: before the engine is started, while this thread is the only one.
pub(super) fn before(kind: Kind) -> Confinement {
    close_inherited();
    let descriptors = match kind {
        Kind::Sealed => DESCRIPTORS,
        Kind::Net => DESCRIPTORS_NET,
    };
    let mut got = Confinement {
        limits: limit(Resource::Core, 0) & limit(Resource::Nofile, descriptors),
        ..Confinement::default()
    };
    system::before(kind, &mut got);
    got
}

/// The second half. Also says what the process takes, for no file says so afterwards.
pub(super) fn after(kind: Kind, got: &mut Confinement) -> Size {
    let size = Size::look();
    system::after(kind, got);
    size
}

/// Bounds what running a guest may take; the guest itself is bounded by its sandbox, this is for what overcomes that.
pub(super) fn for_job(size: Size, job: &Job, code_bytes: u64) {
    if size.data == 0 {
        return;
    }
    let beside = job.tree_bytes.saturating_mul(8);
    let beside = beside.saturating_add(code_bytes.saturating_mul(3));
    let most = [size.data, BESIDE_BYTES, job.grant.memory_bytes];
    let most = most.into_iter().fold(beside, u64::saturating_add);
    limit(Resource::Data, most);
    let file = job.grant.output_bytes.saturating_add(FILE_BYTES);
    limit(Resource::Fsize, file);
}

/// Bounds what compiling a component may take.
pub(super) fn for_compiling(size: Size) {
    if size.total > 0 {
        limit(Resource::As, size.total.saturating_add(COMPILE_BYTES));
    }
    limit(Resource::Cpu, COMPILE_SECONDS);
    limit(Resource::Fsize, FILE_BYTES);
}

/// Closes what this process got from whoever started its parent. Its own are 0 to 2.
fn close_inherited() {
    #[cfg(target_os = "linux")]
    {
        let Ok(entries) = std::fs::read_dir("/proc/self/fd") else {
            return;
        };
        let number = |entry: std::fs::DirEntry| entry.file_name().to_str()?.parse::<i32>().ok();
        let open: Vec<i32> = entries.flatten().filter_map(number).collect();
        for descriptor in open.into_iter().filter(|number| *number > 2) {
            // The one that the list was read from is closed already.
            let _ = nix::unistd::close(descriptor);
        }
    }
}

#[cfg(target_os = "linux")]
mod system {
    use landlock::{
        ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, LandlockStatus, PathBeneath,
        PathFd, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetStatus, Scope,
    };
    use nix::sched::{CloneFlags, unshare};
    use rustix::process::{Signal, set_parent_process_death_signal};
    use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities, set_no_new_privs};

    use super::super::{Kind, filter};
    use super::Confinement;

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
        got.no_new_privileges = set_no_new_privs(true).is_ok();
        // The system should rather end a guest than the node, when memory is short.
        let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
        let others = CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWIPC;
        if kind == Kind::Net {
            let _ = unshare(others);
            return;
        }
        got.no_network = unshare(others | CloneFlags::CLONE_NEWNET).is_ok()
            || unshare(CloneFlags::CLONE_NEWNET).is_ok();
    }

    pub(super) fn after(kind: Kind, got: &mut Confinement) {
        got.landlock = landlock(kind).unwrap_or(0);
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
        got.system_calls = filter::install(kind);
    }

    /// Closes the file system, with nothing open in it but what a look-up of names needs, where that is granted. Answers with
    /// the version that does it.
    fn landlock(kind: Kind) -> Option<u32> {
        let abi = ABI::V6;
        let mut rules = Ruleset::default()
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::from_all(abi))
            .ok()?
            .scope(Scope::from_all(abi))
            .ok()?;
        rules = match kind {
            Kind::Sealed => rules.handle_access(AccessNet::from_all(abi)).ok()?,
            Kind::Net => rules.handle_access(AccessNet::BindTcp).ok()?,
        };
        let mut rules = rules.create().ok()?;
        if kind == Kind::Net {
            for path in RESOLVER {
                let Ok(there) = PathFd::new(path) else {
                    continue;
                };
                let may = AccessFs::ReadFile | AccessFs::ReadDir;
                rules = rules.add_rule(PathBeneath::new(there, may)).ok()?;
            }
        }
        let status = rules.restrict_self().ok()?;
        match (status.ruleset, status.landlock) {
            (RulesetStatus::NotEnforced, _) => None,
            (_, LandlockStatus::Available { effective_abi, .. }) => {
                effective_abi.to_string().parse().ok()
            }
            _ => None,
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use super::super::Kind;
    use super::Confinement;

    pub(super) fn before(_: Kind, _: &mut Confinement) {}

    pub(super) fn after(_: Kind, _: &mut Confinement) {}
}
