//! `cargo xtask profile [--tasks N] [--rounds N] [--binary FILE]`: where the time of a no-op task goes, summed into named
//! parts, as a table and as the book's page.
//!
//! The product is built once more, with names and frame pointers, into a folder of its own (`target/profile`). perf samples
//! whole runs of `sykli run` over many no-op tasks, nothing cached but compiled code; where perf does not work, callgrind
//! counts instructions instead, which knows nothing of the kernel. It never judges: there is no goal here.

mod page;
mod stacks;

use crate::bench::{emit, target, write};
use crate::process::{Result, cargo_command, command, exists, output, root, say};
use crate::setup;
use stacks::{Profile, Sample};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What is profiled, and how much of it.
struct Asked {
    tasks: u32,
    rounds: u32,
    binary: Option<PathBuf>,
}

/// Builds, samples, sums up, writes.
pub fn run(rest: &[String]) -> Result {
    let asked = read(rest)?;
    setup::run()?;
    let binary = match &asked.binary {
        Some(binary) => binary.clone(),
        None => build()?,
    };
    let work = target().join("profile/work");
    let project = Project::make(&work, asked.tasks)?;
    project.run(&binary, "prepared", &mut |sykli| sykli)?;
    let plain = project.plain(&binary)?;
    let profile = if perf_works(&work) {
        let mut samples = Vec::new();
        for _ in 0..asked.rounds {
            samples.extend(project.perf(&binary)?);
        }
        Profile::sum(&samples, u64::from(asked.tasks) * u64::from(asked.rounds))
    } else {
        say("perf does not work here: callgrind counts instructions instead");
        Profile::sum(&project.callgrind(&binary)?, u64::from(asked.tasks)).of_instructions()
    };
    emit(&page::text(&profile));
    let facts = page::Facts {
        tasks: asked.tasks,
        rounds: asked.rounds,
        wall_each: plain / asked.tasks.max(1),
        machine: machine(),
    };
    for (name, content) in page::files(&profile, &facts) {
        write(&root().join("docs/src").join(name), &content)?;
        say(&format!("wrote docs/src/{name}"));
    }
    Ok(())
}

fn read(rest: &[String]) -> Result<Asked> {
    let mut asked = Asked {
        tasks: 10_000,
        rounds: 8,
        binary: None,
    };
    let mut words = rest.iter().filter(|arg| *arg != "--");
    while let Some(word) = words.next() {
        let value = words
            .next()
            .ok_or_else(|| format!("{word} wants a value"))?;
        let count = || {
            value
                .parse()
                .map_err(|_| format!("{word} {value}: no number"))
        };
        match word.as_str() {
            "--tasks" => asked.tasks = count()?,
            "--rounds" => asked.rounds = count()?,
            "--binary" => asked.binary = Some(value.into()),
            _ => return Err(format!("what is {word}?")),
        }
    }
    Ok(asked)
}

/// The release's code with names. Other flags in the usual folder would have cargo build everything there anew.
fn build() -> Result<PathBuf> {
    let folder = target().join("profile");
    say("building with names and frame pointers (minutes, the first time)");
    let mut cargo = cargo_command();
    cargo
        .args([
            "build",
            "--quiet",
            "--profile",
            "profiling",
            "--package",
            "sykli",
        ])
        .env("RUSTFLAGS", "-C force-frame-pointers=yes")
        .env("CARGO_TARGET_DIR", &folder);
    crate::process::run(&mut cargo)?;
    Ok(folder.join("profiling/sykli"))
}

/// perf is installed, and the kernel lets it sample.
fn perf_works(work: &Path) -> bool {
    exists("perf")
        && command("perf")
            .args(["record", "--quiet", "-e", "cpu-clock", "-o"])
            .arg(work.join("try.data"))
            .arg("true")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
}

/// A pipeline of no-ops, and homes beside it.
struct Project {
    folder: PathBuf,
}

impl Project {
    fn make(work: &Path, tasks: u32) -> Result<Project> {
        let problem = |e: std::io::Error| format!("{}: {e}", work.display());
        let _ = std::fs::remove_dir_all(work);
        let folder = work.join("project");
        std::fs::create_dir_all(&folder).map_err(problem)?;
        std::fs::copy(guest()?, folder.join("noop.wasm")).map_err(problem)?;
        let toml = format!(
            "schema = \"sykli-wasm/1\"\n[pipeline]\nname = \"profile\"\n[task.noop]\ncomponent = \"noop.wasm\"\n\
             foreach = {{ shards = {tasks} }}\n"
        );
        write(&folder.join("sykli.toml"), &toml)?;
        Ok(Project {
            folder: work.to_owned(),
        })
    }

    /// `sykli run` with the home of this name, started by what `start` makes of it.
    fn run(
        &self,
        binary: &Path,
        home: &str,
        start: &mut dyn FnMut(Command) -> Command,
    ) -> Result<Duration> {
        let mut sykli = command(binary);
        sykli.args(["run", "--jobs", "2"]);
        let mut started = start(sykli);
        let home = self.folder.join(home);
        for (variable, folder) in [
            ("CONFIG", "config"),
            ("DATA", "data"),
            ("CACHE", "cache"),
            ("STATE", "state"),
        ] {
            started.env(format!("XDG_{variable}_HOME"), home.join(folder));
        }
        started
            .env("XDG_RUNTIME_DIR", home.join("runtime"))
            .current_dir(self.folder.join("project"));
        let begin = Instant::now();
        output(&mut started)?;
        Ok(begin.elapsed())
    }

    /// A home that has compiled code and nothing else.
    fn fresh(&self) -> Result<&'static str> {
        let code = Path::new("cache/sykli/code");
        let (from, home) = (
            self.folder.join("prepared").join(code),
            self.folder.join("fresh"),
        );
        let _ = std::fs::remove_dir_all(&home);
        let cache = home.join("cache/sykli");
        std::fs::create_dir_all(&cache).map_err(|e| format!("{}: {e}", cache.display()))?;
        // Rights are kept: code is taken from folders that are their owner's alone.
        output(command("cp").arg("-pr").arg(&from).arg(&cache))?;
        output(command("chmod").args(["-R", "go="]).arg(&home))?;
        Ok("fresh")
    }

    /// The median time of a run that nothing watches.
    fn plain(&self, binary: &Path) -> Result<Duration> {
        let mut times = Vec::new();
        for _ in 0..5 {
            times.push(self.run(binary, self.fresh()?, &mut |sykli| sykli)?);
        }
        times.sort();
        Ok(times[times.len() / 2])
    }

    fn perf(&self, binary: &Path) -> Result<Vec<Sample>> {
        let data = self.folder.join("perf.data");
        self.run(binary, self.fresh()?, &mut |sykli| {
            let mut perf = command("perf");
            perf.args(["record", "--quiet", "-e", "cpu-clock", "-F", "5000"]);
            perf.args(["--call-graph", "fp", "-o"]).arg(&data).arg("--");
            perf.arg(sykli.get_program()).args(sykli.get_args());
            perf
        })?;
        let script = output(
            command("perf")
                .args(["script", "-F", "comm,period,ip,sym", "-i"])
                .arg(&data),
        )?;
        Ok(stacks::of_perf(&script))
    }

    fn callgrind(&self, binary: &Path) -> Result<Vec<Sample>> {
        let counts = self.folder.join("callgrind.out");
        // Code is compiled for the processor that valgrind shows, so a run under it brings the home what it wants.
        self.run(binary, "prepared", &mut |sykli| {
            let mut valgrind = command("valgrind");
            valgrind.args(["--tool=none", "--quiet"]);
            valgrind.arg(sykli.get_program()).args(sykli.get_args());
            valgrind.arg("--no-cache");
            valgrind
        })?;
        self.run(binary, self.fresh()?, &mut |sykli| {
            let mut valgrind = command("valgrind");
            valgrind
                .args(["--tool=callgrind", "--quiet", "--separate-callers=12"])
                .arg(format!("--callgrind-out-file={}", counts.display()))
                .arg(sykli.get_program())
                .args(sykli.get_args());
            valgrind
        })?;
        let listed = output(
            command("callgrind_annotate")
                .args(["--threshold=99.9", "--show-percs=no"])
                .arg(&counts),
        )?;
        Ok(stacks::of_callgrind(&listed))
    }
}

/// The no-op guest, built where the tests build theirs.
fn guest() -> Result<PathBuf> {
    let folder = target().join("guests");
    crate::process::run(
        cargo_command()
            .args(["build", "--release", "--locked", "--quiet", "--bin", "noop"])
            .args(["--target", "wasm32-wasip2"])
            .args(["--manifest-path", "tests/guests/Cargo.toml", "--target-dir"])
            .arg(&folder)
            .env_remove("CARGO_TARGET_DIR"),
    )?;
    Ok(folder.join("wasm32-wasip2/release/noop.wasm"))
}

/// The machine in one line.
fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let model = cpu
        .lines()
        .find(|line| line.starts_with("model name"))
        .and_then(|line| line.split_once(':'))
        .map_or("unknown processor", |(_, name)| name.trim());
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = read("/proc/sys/kernel/osrelease");
    format!("{model}, {cores} cores, Linux {}", kernel.trim())
}
