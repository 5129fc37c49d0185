//! Free and total memory, and load. Called by [`super::HostProbe`].
//!
//! In a container the control group's limit counts where it is below the machine's; every group on the way up may set one.
//! Pages that the kernel would give back under pressure (a group's inactive file cache) count as free, as they do in
//! `MemAvailable`. Never changes a limit.

use std::path::{Path, PathBuf};

use super::{Roots, Told, no_file, read, word};

/// Groups are nested no deeper than this.
const MAX_DEPTH: usize = 64;
const MB: u64 = 1_000_000;

/// A group's files: of version 2, and of version 1.
struct Layout {
    limit: &'static str,
    usage: &'static str,
    inactive: &'static str,
}

const V2: Layout = Layout {
    limit: "memory.max",
    usage: "memory.current",
    inactive: "inactive_file",
};
const V1: Layout = Layout {
    limit: "memory.limit_in_bytes",
    usage: "memory.usage_in_bytes",
    inactive: "total_inactive_file",
};

pub(super) fn free_mb(roots: &Roots) -> Told<u64> {
    let Some(machine) = meminfo(roots, "MemAvailable:") else {
        return no_file(roots.proc.join("meminfo"));
    };
    let group = limits(roots).map(|(limit, used)| limit.saturating_sub(used));
    Told::Is(group.min().unwrap_or(u64::MAX).min(machine) / MB)
}

pub(super) fn total_mb(roots: &Roots) -> Told<u64> {
    let Some(machine) = meminfo(roots, "MemTotal:") else {
        return no_file(roots.proc.join("meminfo"));
    };
    let group = limits(roots).map(|(limit, _)| limit).min();
    Told::Is(group.unwrap_or(u64::MAX).min(machine) / MB)
}

pub(super) fn load_per_mille(roots: &Roots) -> Told<u64> {
    let path = roots.proc.join("loadavg");
    let load = word(&path).and_then(|text| {
        let first = text.split_whitespace().next()?;
        let (whole, hundredths) = first.split_once('.')?;
        let whole: u64 = whole.parse().ok()?;
        let hundredths: u64 = hundredths.parse().ok()?;
        whole
            .checked_mul(1000)?
            .checked_add(hundredths.checked_mul(10)?)
    });
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    match load {
        Some(load) => Told::Is(load / u64::try_from(cores).unwrap_or(1).max(1)),
        None => no_file(path),
    }
}

/// A line of `/proc/meminfo`, in bytes.
fn meminfo(roots: &Roots, key: &str) -> Option<u64> {
    let text = read(&roots.proc.join("meminfo"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    kib.checked_mul(1024)
}

/// Limit and use, in bytes, of every control group that this process is in and that has a limit.
fn limits(roots: &Roots) -> impl Iterator<Item = (u64, u64)> {
    let groups = read(&roots.proc.join("self/cgroup")).unwrap_or_default();
    let mounted = roots.sys.join("fs/cgroup");
    let own: Vec<(PathBuf, PathBuf, &Layout)> = groups
        .lines()
        .filter_map(|line| {
            let mut parts = line.splitn(3, ':');
            let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
            let (top, layout) = match controllers {
                "" => (mounted.clone(), &V2),
                "memory" => (mounted.join("memory"), &V1),
                _ => return None,
            };
            // In a container with its own view the path may not exist below the mount: its top is the group then.
            let inner = top.join(path.trim_start_matches('/'));
            let folder = if inner.is_dir() { inner } else { top.clone() };
            Some((top, folder, layout))
        })
        .collect();
    own.into_iter()
        .flat_map(|(top, folder, layout)| upwards(&top, &folder, layout))
}

fn upwards(top: &Path, folder: &Path, layout: &Layout) -> Vec<(u64, u64)> {
    let groups = folder
        .ancestors()
        .take(MAX_DEPTH)
        .take_while(|group| group.starts_with(top));
    groups.filter_map(|group| limit(group, layout)).collect()
}

/// A group's limit and what of it cannot be given back; nothing where it has none (`max`).
fn limit(group: &Path, layout: &Layout) -> Option<(u64, u64)> {
    let number = |file: &str| word(&group.join(file))?.parse::<u64>().ok();
    let limit = number(layout.limit)?;
    let used = number(layout.usage)?;
    let cached = read(&group.join("memory.stat"))
        .and_then(|stat| {
            stat.lines()
                .filter_map(|line| line.split_once(' '))
                .find(|(key, _)| *key == layout.inactive)
                .and_then(|(_, bytes)| bytes.trim().parse::<u64>().ok())
        })
        .unwrap_or(0);
    Some((limit, used.saturating_sub(cached)))
}
