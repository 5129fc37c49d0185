//! Samples with their call stacks, and which named part of a task each belongs to. Pure: text in, sums out.
//!
//! A sample belongs to the part of the nearest frame that names one, counted from where the processor was: SQLite under the
//! journal is the journal's. How it got there through the kernel (a futex, a page fault, a file) is kept beside the part.

use std::collections::BTreeMap;

/// One moment of one thread.
pub struct Sample {
    /// The thread's name, without its number.
    pub thread: String,
    /// Where it was, and who had called that, innermost first.
    pub frames: Vec<Frame>,
    /// Nanoseconds that it stands for; instructions where those were counted.
    pub weight: f64,
}

/// One function on a stack.
pub struct Frame {
    /// Whether it is the kernel's.
    pub kernel: bool,
    /// Its name.
    pub name: String,
}

/// What a thread was doing when it was in the kernel, or that it was not.
pub const WAYS: [&str; 6] = [
    "own code",
    "futex",
    "page faults",
    "memory map",
    "files",
    "other kernel",
];

/// The parts, in the order in which a task meets them; the last takes what no pattern names.
pub const PARTS: [&str; 13] = [
    "start: plan, component, listing",
    "scheduler: run machine, channels",
    "prepare: manifest and digest",
    "look up: result cache",
    "worker: grant, inputs, outcome",
    "sandbox: instantiate",
    "sandbox: run the guest",
    "sandbox: tear down",
    "result rows: blobs and results written",
    "journal",
    "events: lines, live view, documents",
    "allocator, for callers that are not known",
    "rest",
];
const START: usize = 0;
const SCHEDULER: usize = 1;
const PREPARE: usize = 2;
const LOOK_UP: usize = 3;
const WORKER: usize = 4;
const INSTANTIATE: usize = 5;
const RUN: usize = 6;
const TEAR_DOWN: usize = 7;
const ROWS: usize = 8;
const JOURNAL: usize = 9;
const EVENTS: usize = 10;
const ALLOCATOR: usize = 11;
const REST: usize = 12;
/// A frame that serves several parts: what is further out says which.
const SERVES: usize = usize::MAX;

/// What is in a function's name, and which part that is. The first that fits a frame counts, so the narrow come first.
const PATTERNS: [(&str, usize); 40] = [
    ("drop_in_place<wasmtime::", TEAR_DOWN),
    ("as core::ops::drop::Drop>::drop", TEAR_DOWN),
    ("::deallocate", TEAR_DOWN),
    ("decommit", TEAR_DOWN),
    ("clear_and_remain_ready", TEAR_DOWN),
    ("sandbox::collect", TEAR_DOWN),
    ("::instantiate", INSTANTIATE),
    ("InstancePre", INSTANTIATE),
    ("Instantiator", INSTANTIATE),
    ("InstanceAllocator>::allocate", INSTANTIATE),
    ("Store<T>::new", INSTANTIATE),
    ("Store<T>>::new", INSTANTIATE),
    ("Sandbox>::state", INSTANTIATE),
    ("Sandbox::state", INSTANTIATE),
    ("cranelift_codegen", START),
    ("wasmtime_internal_cranelift", START),
    ("sykli_core::expand", START),
    ("sykli_core::pipeline", START),
    ("sykli_node::plan", START),
    ("sykli_node::build", START),
    ("sykli_node::workspace", START),
    ("sykli_runtime::engine", START),
    ("sykli_core::manifest", PREPARE),
    ("sykli_node::store::results", LOOK_UP),
    ("::look_up", LOOK_UP),
    ("sykli_node::store::read", LOOK_UP),
    ("sykli_node::prepare", PREPARE),
    ("sykli_node::store::", ROWS),
    ("CacheSink", ROWS),
    ("sykli_node::journal", JOURNAL),
    ("JournalSink", JOURNAL),
    ("sykli_node::worker", WORKER),
    ("sykli_node::run::crew", WORKER),
    ("sykli_core::run", SCHEDULER),
    ("sykli_node::run", SCHEDULER),
    ("sykli_node::db", SERVES),
    ("sykli_node::events", EVENTS),
    ("sykli_node::", START),
    ("sykli::render", EVENTS),
    ("sykli::", START),
];

/// Frames of the sandbox that say nothing nearer; a frame further out may.
const SANDBOX: [&str; 4] = ["wasmtime", "sykli_runtime::", "fiber", "cranelift_"];

/// Which part a stack belongs to.
fn part(sample: &Sample) -> usize {
    let mut sandbox = false;
    for frame in sample.frames.iter().filter(|frame| !frame.kernel) {
        let found = PATTERNS
            .iter()
            .find(|(pattern, _)| frame.name.contains(pattern))
            .map(|(_, part)| *part);
        match found {
            // Within the sandbox, only its own parts are nearer than "run"; what encloses it is not.
            Some(TEAR_DOWN) if !sandbox && !of_sandbox(&frame.name) => {}
            Some(SERVES) => {}
            Some(part @ (INSTANTIATE | TEAR_DOWN)) => return part,
            Some(_) if sandbox => return RUN,
            Some(part) => return part,
            None => sandbox |= of_sandbox(&frame.name),
        }
    }
    let innermost = sample.frames.iter().find(|frame| !frame.kernel);
    match sample.thread.as_str() {
        _ if sandbox => RUN,
        // The C library keeps no frame pointers, and its allocator is where that loses the callers.
        _ if innermost.is_some_and(|frame| of_allocator(&frame.name)) => ALLOCATOR,
        // A guest's own code has no name, and its stack ends where its fiber begins.
        "sykli-worker" if sample.frames.iter().all(|frame| frame.name == "[unknown]") => RUN,
        "sykli-cache" => ROWS,
        "sykli-journal" => JOURNAL,
        "sykli-worker" => WORKER,
        _ => REST,
    }
}

fn of_allocator(name: &str) -> bool {
    ["malloc", "calloc", "free", "unlink_chunk"]
        .iter()
        .any(|word| name.contains(word))
}

fn of_sandbox(name: &str) -> bool {
    SANDBOX.iter().any(|pattern| name.contains(pattern))
}

/// How the thread was in the kernel, if it was: by the call or the fault that brought it there.
fn way(sample: &Sample) -> usize {
    let kernel = || sample.frames.iter().filter(|frame| frame.kernel);
    if !sample.frames.first().is_some_and(|frame| frame.kernel) {
        return 0;
    }
    let has =
        |words: &[&str]| kernel().any(|frame| words.iter().any(|word| frame.name.contains(word)));
    match () {
        () if has(&["sys_futex"]) => 1,
        () if has(&[
            "sys_madvise",
            "sys_munmap",
            "sys_mmap",
            "sys_mprotect",
            "sys_ioctl",
            "sys_brk",
        ]) =>
        {
            3
        }
        () if has(&[
            "write",
            "fsync",
            "fdatasync",
            "fcntl",
            "pread",
            "sys_open",
            "unlink",
            "stat",
            "sys_read",
        ]) && !has(&["exc_page_fault"]) =>
        {
            4
        }
        () if has(&["page_fault", "do_mem_abort"]) => 2,
        () => 5,
    }
}

/// Sums of many samples.
pub struct Profile {
    /// By part, then by way: weight a task.
    pub parts: [[f64; WAYS.len()]; PARTS.len()],
    /// By thread: weight a task.
    pub threads: BTreeMap<String, f64>,
    /// How many samples there were.
    pub samples: usize,
    /// Whether instructions were counted instead of nanoseconds.
    pub instructions: bool,
}

impl Profile {
    /// What `samples` of `tasks` tasks say of one.
    pub fn sum(samples: &[Sample], tasks: u64) -> Profile {
        let mut profile = Profile {
            parts: [[0.0; WAYS.len()]; PARTS.len()],
            threads: BTreeMap::new(),
            samples: samples.len(),
            instructions: false,
        };
        for sample in samples {
            let weight = sample.weight / tasks.max(1) as f64;
            profile.parts[part(sample)][way(sample)] += weight;
            *profile.threads.entry(sample.thread.clone()).or_default() += weight;
        }
        profile
    }

    /// The same, of instructions.
    pub fn of_instructions(self) -> Profile {
        Profile {
            instructions: true,
            ..self
        }
    }

    /// A part's weight a task.
    pub fn part(&self, part: usize) -> f64 {
        self.parts.get(part).map_or(0.0, |ways| ways.iter().sum())
    }

    /// Everything, a task.
    pub fn total(&self) -> f64 {
        (0..PARTS.len()).map(|part| self.part(part)).sum()
    }

    /// A way's weight a task, over all parts.
    pub fn way(&self, way: usize) -> f64 {
        self.parts.iter().filter_map(|ways| ways.get(way)).sum()
    }
}

/// The samples of `perf script -F comm,period,ip,sym`: a line of thread and weight, one a frame, an empty one.
pub fn of_perf(script: &str) -> Vec<Sample> {
    let mut samples = Vec::new();
    for block in script.split("\n\n") {
        let mut lines = block.lines().filter(|line| !line.trim().is_empty());
        let Some((thread, weight)) = lines
            .next()
            .and_then(|line| line.trim().rsplit_once(char::is_whitespace))
        else {
            continue;
        };
        let frames = lines.filter_map(|line| {
            let (address, name) = line.trim().split_once(' ')?;
            Some(Frame {
                kernel: address.len() == 16 && address.starts_with("ffff"),
                name: name.trim().to_owned(),
            })
        });
        samples.push(Sample {
            // "sykli-worker-1": which of them it was says nothing.
            thread: thread
                .trim()
                .trim_end_matches(|c: char| c.is_ascii_digit())
                .trim_end_matches('-')
                .to_owned(),
            frames: frames.collect(),
            weight: weight.trim_end_matches(':').parse().unwrap_or(1.0),
        });
    }
    samples
}

/// The functions of `callgrind_annotate`, with who called them: `  1,234  file:function'caller'caller [object]`.
pub fn of_callgrind(listed: &str) -> Vec<Sample> {
    listed
        .lines()
        .filter_map(|line| {
            let (count, rest) = line.trim().split_once("  ")?;
            let weight = count.replace(',', "").parse().ok()?;
            let (_, name) = rest.split_once(':')?;
            let stack = name.split(" [/").next().unwrap_or(name);
            let frames = stack.split('\'').map(|name| Frame {
                kernel: false,
                name: name.to_owned(),
            });
            Some(Sample {
                thread: "all threads".to_owned(),
                frames: frames.collect(),
                weight,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCRIPT: &str = "sykli-worker     200000 \n\tffffffff815a07be clear_page\n\tffffffff815a07bf exc_page_fault\n\
        \t    55c5 wasmtime::runtime::vm::mmap\n\t    55c6 <P as InstanceAllocator>::deallocate_memory\n\
        \t    55c7 sykli_runtime::sandbox::Sandbox::run\n\t    55c8 sykli_node::worker::attempt\n\n\
        sykli-journal     100000 \n\tffffffff82000000 vfs_write\n\tffffffff82000001 __x64_sys_pwrite64\n\
        \t    7f01 __libc_pwrite\n\t    55c9 sqlite3_step\n\t    55ca sykli_node::journal::write::apply_all\n\n\
        sykli-worker     100000 \n\t    7f9a [unknown]\n\n";

    fn place(sample: &Sample) -> (&'static str, &'static str) {
        (PARTS[part(sample)], WAYS[way(sample)])
    }

    #[test]
    fn a_sample_belongs_to_the_nearest_part_that_is_named() {
        let samples = of_perf(SCRIPT);
        assert_eq!(samples.len(), 3);
        assert_eq!(place(&samples[0]), ("sandbox: tear down", "page faults"));
        assert_eq!(place(&samples[1]), ("journal", "files"));
        assert_eq!(place(&samples[2]), ("sandbox: run the guest", "own code"));
    }

    #[test]
    fn sums_are_a_task_and_lose_nothing() {
        let profile = Profile::sum(&of_perf(SCRIPT), 4);
        assert!((profile.total() - 100_000.0).abs() < 1e-6);
        assert!((profile.threads["sykli-worker"] - 75_000.0).abs() < 1e-6);
        let ways: f64 = (0..WAYS.len()).map(|way| profile.way(way)).sum();
        assert!((ways - profile.total()).abs() < 1e-6);
    }

    #[test]
    fn functions_of_callgrind_are_samples() {
        let listed = "1,000,000  PROGRAM TOTALS\n  600,000  ???:sykli_core::run::Run::handle [/x/sykli]\n  \
             400,000  ???:memcpy'sykli_node::journal::write::row'main [/usr/lib/libc.so]\n";
        let samples = of_callgrind(listed);
        assert_eq!(samples.len(), 2);
        assert_eq!(place(&samples[0]).0, "scheduler: run machine, channels");
        assert_eq!(place(&samples[1]).0, "journal");
    }
}
