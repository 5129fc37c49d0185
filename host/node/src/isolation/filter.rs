//! The system calls that a child is left with.
//!
//! A list of what running a guest takes; everything else is refused with "not permitted", which code that merely tries
//! something gets along with. Nothing that takes a path is in it: what a child opens, its parent hands over. It may not start
//! processes, signal others or look into them, nor use a socket: a guest without a network may make one, and learns that nobody is
//! there. A child that may connect has the calls for that, and for reading the resolver's files, which landlock bounds.
//! Called by [`super::confine`] alone.

use std::collections::BTreeMap;

use libc::c_long;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter_all_threads,
};

use super::Kind;

type Rules = BTreeMap<i64, Vec<SeccompRule>>;
type Result<T> = std::result::Result<T, seccompiler::BackendError>;

/// `PAGEMAP_SCAN`: which pages of this process were written.
const PAGEMAP_SCAN: u64 = 0xc060_6610;

/// Without conditions, on every architecture.
const PLAIN: &[c_long] = &[
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_pread64,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_pwrite64,
    libc::SYS_lseek,
    libc::SYS_fstat,
    libc::SYS_ftruncate,
    libc::SYS_close,
    libc::SYS_recvmsg,
    libc::SYS_ppoll,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_memfd_create,
    libc::SYS_membarrier,
    libc::SYS_futex,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_gettimeofday,
    libc::SYS_getrandom,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    libc::SYS_exit,
    libc::SYS_exit_group,
    // What the engine's sockets need before they do anything.
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_eventfd2,
    libc::SYS_socketpair,
    libc::SYS_setsockopt,
    libc::SYS_getsockopt,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_shutdown,
];

/// Older names of some of them.
#[cfg(target_arch = "x86_64")]
const OLDER: &[c_long] = &[libc::SYS_poll, libc::SYS_epoll_wait, libc::SYS_time];
#[cfg(not(target_arch = "x86_64"))]
const OLDER: &[c_long] = &[];

/// What connecting and looking names up takes.
const NET: &[c_long] = &[
    libc::SYS_connect,
    libc::SYS_bind,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_sendmmsg,
    libc::SYS_recvfrom,
    libc::SYS_recvmmsg,
    libc::SYS_openat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_uname,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
];

/// Installs the filter for this process.
///
/// # Errors
/// Why that is not granted.
pub(super) fn install(kind: Kind) -> std::result::Result<(), String> {
    let arch = TargetArch::try_from(std::env::consts::ARCH).map_err(|error| error.to_string())?;
    let programs = programs(kind, arch).map_err(|error| error.to_string())?;
    for program in &programs {
        apply_filter_all_threads(program).map_err(|error| error.to_string())?;
    }
    Ok(())
}

fn programs(kind: Kind, arch: TargetArch) -> Result<[BpfProgram; 2]> {
    let refused = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let allowed = SeccompFilter::new(rules(kind)?, refused, SeccompAction::Allow, arch)?;
    // Its flags are behind a pointer, where no filter can look: without it, threads are made by `clone`.
    let unknown = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
    let clone3: Rules = [(libc::SYS_clone3, Vec::new())].into();
    let without = SeccompFilter::new(clone3, SeccompAction::Allow, unknown, arch)?;
    // The list is the last one: it has no call that installs another.
    Ok([without.try_into()?, allowed.try_into()?])
}

fn rules(kind: Kind) -> Result<Rules> {
    let net: &[c_long] = match kind {
        Kind::Sealed => &[],
        Kind::Net => NET,
    };
    let plain = PLAIN.iter().chain(OLDER).chain(net);
    let mut rules: Rules = plain.map(|call| (*call, Vec::new())).collect();
    rules.insert(libc::SYS_clone3, Vec::new());
    let thread = u64::from((libc::CLONE_THREAD | libc::CLONE_VM).unsigned_abs());
    rules.insert(
        libc::SYS_clone,
        vec![one_of(0, SeccompCmpOp::MaskedEq(thread), thread)?],
    );
    // Its own bounds, not those of others.
    rules.insert(libc::SYS_prlimit64, vec![one_of(0, SeccompCmpOp::Eq, 0)?]);
    // Aborting, so that its parent sees what it died of; no other signal, to nobody else.
    let own = u64::from(std::process::id());
    let abort = [(0, own), (2, u64::from(libc::SIGABRT.unsigned_abs()))];
    let abort = abort.map(|(index, value)| condition(index, SeccompCmpOp::Eq, value));
    let abort = abort.into_iter().collect::<Result<Vec<_>>>()?;
    rules.insert(libc::SYS_tgkill, vec![SeccompRule::new(abort)?]);
    let families = [libc::AF_INET, libc::AF_INET6];
    rules.insert(libc::SYS_socket, any_of(0, families)?);
    // Not F_SETOWN, which sends signals.
    let flags = [
        libc::F_GETFD,
        libc::F_SETFD,
        libc::F_GETFL,
        libc::F_SETFL,
        libc::F_DUPFD_CLOEXEC,
        libc::F_ADD_SEALS,
        libc::F_GET_SEALS,
    ];
    rules.insert(libc::SYS_fcntl, any_of(1, flags)?);
    let requests = [PAGEMAP_SCAN, libc::FIONBIO, libc::FIOCLEX, libc::FIONREAD];
    let requests = requests.map(|request| one_of(1, SeccompCmpOp::Eq, request));
    rules.insert(
        libc::SYS_ioctl,
        requests.into_iter().collect::<Result<_>>()?,
    );
    Ok(rules)
}

/// Where argument `index` is one of these.
fn any_of<const N: usize>(index: u8, values: [i32; N]) -> Result<Vec<SeccompRule>> {
    let one = |value: i32| one_of(index, SeccompCmpOp::Eq, u64::from(value.unsigned_abs()));
    values.into_iter().map(one).collect()
}

/// Where argument `index` compares with `value`.
fn one_of(index: u8, how: SeccompCmpOp, value: u64) -> Result<SeccompRule> {
    SeccompRule::new(vec![condition(index, how, value)?])
}

fn condition(index: u8, how: SeccompCmpOp, value: u64) -> Result<SeccompCondition> {
    SeccompCondition::new(index, SeccompCmpArgLen::Dword, how, value)
}
