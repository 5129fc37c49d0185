//! What a user would pick instead: other programs, started as a user would start them. A peer that is not installed is
//! left out, with a line that says how to get it.

use crate::measure::{Cost, Round};
use crate::report::Report;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Names the Python that has Ray and HyperQueue, where that is not the one on the path.
const PYTHON: &str = "SYKLI_BENCH_PYTHON";

/// Ray starts two workers, then runs the tasks; it says how long the tasks alone took. They are submitted at once.
const RAY: &str = "
import os, sys, time
os.environ['RAY_DEDUP_LOGS'] = '0'
import ray
ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level='ERROR')
@ray.remote
def noop():
    pass
ray.get([noop.remote() for _ in range(200)])
begin = time.perf_counter()
ray.get([noop.remote() for _ in range(int(sys.argv[1]))])
print('took', time.perf_counter() - begin)
";

/// HyperQueue's own server with one worker of two cores; the tasks are one job.
const HYPERQUEUE: &str = "
import sys, time
from hyperqueue import LocalCluster, Job
from hyperqueue.cluster import WorkerConfig
with LocalCluster() as cluster:
    cluster.start_worker(WorkerConfig(cores=2))
    client = cluster.client()
    def run(tasks):
        job = Job()
        for _ in range(tasks):
            job.program(['/bin/true'])
        client.wait_for_jobs([client.submit(job)])
    run(100)
    begin = time.perf_counter()
    run(int(sys.argv[1]))
    print('took', time.perf_counter() - begin)
";

/// A library of Python's that runs tasks.
#[derive(Clone, Copy)]
pub(crate) enum Python {
    /// Ray.
    Ray,
    /// HyperQueue.
    HyperQueue,
}

impl Python {
    fn module(self) -> &'static str {
        match self {
            Python::Ray => "ray",
            Python::HyperQueue => "hyperqueue",
        }
    }

    /// The Python that has it. Says in the report how to get it where none has.
    pub(crate) fn find(self, report: &mut Report) -> Option<PathBuf> {
        let python = std::env::var_os(PYTHON).map_or_else(|| "python3".into(), PathBuf::from);
        let import = format!("import {}", self.module());
        if quiet(Command::new(&python).args(["-c", &import])) {
            return Some(python);
        }
        report.note(&format!(
            "{0} is not installed (pip install {0}, and {PYTHON}=… for a Python of its own): its row is left out",
            self.module()
        ));
        None
    }

    /// Runs `tasks` tasks; what is measured is what the script measures, its start-up left out.
    pub(crate) fn run(self, python: &Path, tasks: u32) -> Round {
        let script = match self {
            Python::Ray => RAY,
            Python::HyperQueue => HYPERQUEUE,
        };
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut command = Command::new(python);
        command
            .args(["-c", script, &tasks.to_string()])
            .current_dir(folder.path())
            .stdin(Stdio::null());
        let output = command.output().expect("python starts");
        let text = String::from_utf8_lossy(&output.stdout);
        let took = text
            .lines()
            .find_map(|line| line.strip_prefix("took "))
            .and_then(|seconds| seconds.trim().parse().ok());
        let Some(seconds) = took else {
            let said = String::from_utf8_lossy(&output.stderr);
            panic!("{} did not run its tasks: {said}", self.module());
        };
        let wall = Duration::from_secs_f64(seconds);
        // Its workers are processes of their own that this one does not wait for: their processor time is not known.
        let cost = Cost {
            wall,
            cpu: Duration::ZERO,
        };
        Round {
            units: tasks,
            own: Some(cost),
        }
    }
}

/// Whether there is such a program; says in the report how to get it where there is none.
pub(crate) fn found(report: &mut Report, program: &str, how: &str) -> bool {
    let found = installed(program);
    if !found {
        report.note(&format!(
            "{program} is not installed ({how}): its rows are left out"
        ));
    }
    found
}

/// Runs a shell line in `folder`, which must end well; nothing it says is shown.
pub(crate) fn shell(folder: &Path, line: &str) {
    let ended_well = quiet(Command::new("sh").arg("-c").arg(line).current_dir(folder));
    assert!(ended_well, "{line}");
}

/// Runs `command` with nothing shown; true when it ended well.
pub(crate) fn quiet(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|s| s.success())
}

fn installed(program: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(program).is_file()))
}

/// A makefile of `tasks` independent targets that each run `true`.
pub(crate) fn makefile(tasks: u32) -> String {
    let names: Vec<String> = (0..tasks).map(|i| format!("t{i}")).collect();
    let mut text = format!(".PHONY: all {0}\nall: {0}\n", names.join(" "));
    for name in names {
        // The path keeps make from running `true` without a process of its own.
        let _ = write!(text, "{name}:\n\t@/bin/true\n");
    }
    text
}

fn layer(layer: u32, layers: u32) -> String {
    let names: Vec<String> = (0..layers).map(|i| format!("t{layer}_{i}")).collect();
    names.join(" ")
}

/// A makefile of `layers` layers of as many targets, each layer after the whole one before.
pub(crate) fn layered_makefile(layers: u32) -> String {
    let all: Vec<String> = (0..layers).map(|i| layer(i, layers)).collect();
    let mut text = format!(
        ".PHONY: all {}\nall: {}\n",
        all.join(" "),
        all.last().map_or("", String::as_str)
    );
    for (index, names) in all.iter().enumerate() {
        let _ = write!(text, ".PHONY: layer{index}\nlayer{index}: {names}\n");
        let before = index
            .checked_sub(1)
            .map_or_else(String::new, |before| format!("layer{before}"));
        let _ = write!(text, "{names}: {before}\n\t@/bin/true\n");
    }
    text
}

/// The same graph for ninja.
pub(crate) fn layered_ninja(layers: u32) -> String {
    let mut text = String::from("rule t\n  command = /bin/true\n");
    for index in 0..layers {
        let after = index
            .checked_sub(1)
            .map_or_else(String::new, |before| format!(" || layer{before}"));
        for name in layer(index, layers).split(' ') {
            let _ = writeln!(text, "build {name}: t{after}");
        }
        let _ = writeln!(text, "build layer{index}: phony {}", layer(index, layers));
    }
    let _ = writeln!(text, "default layer{}", layers.saturating_sub(1));
    text
}
