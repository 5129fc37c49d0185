//! The rows of the table: who races whom, over what.

use crate::floor::{Floor, Metering};
use crate::measure::{Contestant, Effort, race};
use crate::peers::{installed, makefile, quiet, shell};
use crate::report::Report;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use sykli_runtime::{
    CancelToken, Component, Engine, EngineConfig, Floats, Grant, Inputs, Sandbox, Silent, Source,
    Status, TaskInfo,
};

/// A row: measures something and adds it to the report.
pub(crate) type Measure = fn(&Effort, &mut Report);

/// Every row, in the order of the page.
pub(crate) const ALL: [(&str, Measure); 4] = [
    ("noop", noop),
    ("pipeline", pipeline),
    ("compute", compute),
    ("exec", exec),
];

/// The sandbox of the product, as the product sets it up.
struct Ours {
    sandbox: Sandbox,
    component: Component,
    _spool: tempfile::TempDir,
}

impl Ours {
    fn new(path: &Path) -> Self {
        let spool = tempfile::tempdir().expect("a temporary folder");
        let config = EngineConfig {
            cache_dir: None,
            slots: 64,
            spool_dir: spool.path().to_path_buf(),
        };
        let engine = Engine::new(config).expect("an engine");
        let bytes = std::fs::read(path).expect("the guest");
        let component = engine.load(&bytes, Floats::Fast).expect("a component");
        Ours {
            sandbox: Sandbox::new(engine),
            component,
            _spool: spool,
        }
    }

    fn run(&self, args: &[&str]) {
        let inputs = Inputs {
            args: args.iter().map(|&arg| arg.to_owned()).collect(),
            env: Vec::new(),
            stdin: Source::empty(),
            mounts: Vec::new(),
            seed: [7; 32],
            task: TaskInfo::default(),
        };
        let outcome = self.sandbox.run(
            &self.component,
            &Grant::default(),
            inputs,
            Arc::new(Silent),
            &CancelToken::default(),
        );
        assert!(
            matches!(outcome.status, Status::Exited(0)),
            "{:?}",
            outcome.status
        );
    }
}

/// A sandboxed no-op against the raw engine with the same settings, on one thread and on two.
fn noop(effort: &Effort, report: &mut Report) {
    let guest = sykli_tests::guest("noop");
    let floor = Floor::new(&guest, Metering::Fuel).expect("the floor");
    let ours = Ours::new(&guest);
    let noops = effort.noops;
    let times = race(
        effort.rounds,
        vec![
            Contestant::new("raw wasmtime, same settings", || {
                (0..noops).for_each(|_| assert!(floor.run(&["noop"]).expect("a run")));
                noops
            }),
            Contestant::new("Sandbox::run", || {
                (0..noops).for_each(|_| ours.run(&["noop"]));
                noops
            }),
            Contestant::new("Sandbox::run, two threads (wall time a run)", || {
                std::thread::scope(|scope| {
                    for _ in 0..2 {
                        scope.spawn(|| (0..noops).for_each(|_| ours.run(&["noop"])));
                    }
                });
                noops * 2
            }),
        ],
    );
    report.group("A sandboxed no-op", times);
}

/// Many no-op tasks: a pipeline against the process starters that a user would pick.
fn pipeline(effort: &Effort, report: &mut Report) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (home, work) = (folder.path().join("home"), folder.path().join("work"));
    std::fs::create_dir_all(&work).expect("a folder");
    std::fs::copy(sykli_tests::guest("noop"), work.join("noop.wasm")).expect("the guest");
    let tasks = effort.tasks;
    let toml = format!(
        "schema = \"sykli-wasm/1\"\n[pipeline]\nname = \"bench\"\n[task.noop]\ncomponent = \"noop.wasm\"\n\
         foreach = {{ shards = {tasks} }}\n"
    );
    std::fs::write(work.join("sykli.toml"), toml).expect("a pipeline");
    std::fs::write(work.join("Makefile"), makefile(tasks)).expect("a makefile");
    let run = |flags: &[&str]| {
        let mut command = sykli(&home);
        assert!(
            quiet(
                command
                    .arg("run")
                    .args(flags)
                    .arg("--jobs")
                    .arg("2")
                    .current_dir(&work)
            ),
            "sykli run"
        );
        tasks
    };
    let wasmtime = format!("seq {tasks} | xargs -P2 -n1 wasmtime run noop.wasm");
    let xargs = format!("seq {tasks} | xargs -P2 -n1 /bin/true");
    let mut contestants = vec![
        Contestant::new("sykli run, nothing cached", || run(&["--no-cache"])),
        Contestant::new("sykli run, all cached", || run(&[])),
        Contestant::new("xargs -P2 /bin/true", || {
            shell(&work, &xargs).then_some(tasks).expect("xargs")
        }),
    ];
    peer(report, "make", "apt-get install make", || {
        contestants.push(Contestant::new("make -j2, /bin/true", || {
            shell(&work, "make -s -j2").then_some(tasks).expect("make")
        }));
    });
    peer(report, "wasmtime", "cargo install wasmtime-cli", || {
        contestants.push(Contestant::new("xargs -P2 wasmtime run", || {
            shell(&work, &wasmtime).then_some(tasks).expect("wasmtime")
        }));
    });
    let times = race(effort.rounds.min(5), contestants);
    report.group(
        &format!("{tasks} no-op tasks, time a task, two at once"),
        times,
    );
}

/// Compute-heavy guests: what fuel and the determinism settings cost, and WebAssembly itself.
fn compute(effort: &Effort, report: &mut Report) {
    let guest = sykli_tests::guest("compute");
    let native = sykli_tests::native_guest("compute");
    let plain = Floor::new(&guest, Metering::None).expect("plain wasmtime");
    let fuel = Floor::new(&guest, Metering::Fuel).expect("wasmtime with fuel");
    let ours = Ours::new(&guest);
    for (kind, rounds) in [
        ("integers", effort.kernel),
        ("floats", 16 * effort.kernel),
        ("hash", 8 * effort.kernel),
    ] {
        let rounds = rounds.to_string();
        let args = ["compute", kind, rounds.as_str()];
        let times = race(
            effort.rounds.min(5),
            vec![
                Contestant::new("plain wasmtime", || {
                    u32::from(plain.run(&args).expect("a run"))
                }),
                Contestant::new("wasmtime with fuel", || {
                    u32::from(fuel.run(&args).expect("a run"))
                }),
                Contestant::new("Sandbox::run", || {
                    ours.run(&args);
                    1
                }),
                Contestant::new("native", || {
                    u32::from(quiet(Command::new(&native).args(&args[1..])))
                }),
            ],
        );
        report.group(&format!("Compute: {kind}"), times);
    }
}

/// One component from the command line: the whole process, with a cold and a warm compile cache.
fn exec(effort: &Effort, report: &mut Report) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let guest = sykli_tests::guest("noop");
    let compiled = folder.path().join("noop.cwasm");
    let warm = folder.path().join("warm");
    let cold = folder.path().join("cold");
    let mut contestants = vec![
        Contestant::new("a native no-op process", || {
            u32::from(quiet(&mut Command::new("/bin/true")))
        }),
        Contestant::new("sykli exec, warm", || {
            u32::from(quiet(sykli(&warm).arg("exec").arg(&guest)))
        }),
        Contestant::new("sykli exec, cold (compiles)", || {
            let _ = std::fs::remove_dir_all(&cold);
            u32::from(quiet(sykli(&cold).arg("exec").arg(&guest)))
        }),
    ];
    peer(report, "wasmtime", "cargo install wasmtime-cli", || {
        if quiet(
            Command::new("wasmtime")
                .arg("compile")
                .arg(&guest)
                .arg("-o")
                .arg(&compiled),
        ) {
            contestants.push(Contestant::new("wasmtime run, precompiled", || {
                u32::from(quiet(
                    Command::new("wasmtime")
                        .args(["run", "--allow-precompiled"])
                        .arg(&compiled),
                ))
            }));
        }
    });
    let times = race(effort.rounds * 3, contestants);
    report.group("One component from the command line, whole process", times);
}

fn sykli(home: &Path) -> Command {
    let mut command = Command::new(release_binary());
    for (variable, folder) in [
        ("CONFIG", "config"),
        ("DATA", "data"),
        ("CACHE", "cache"),
        ("STATE", "state"),
    ] {
        command.env(format!("XDG_{variable}_HOME"), home.join(folder));
    }
    command
        .env("XDG_RUNTIME_DIR", home.join("runtime"))
        .env("NO_COLOR", "1");
    command
}

/// `cargo xtask bench` builds it beside this benchmark: target/release/deps/solo-… → target/release/sykli.
fn release_binary() -> PathBuf {
    let bench = std::env::current_exe().expect("a path");
    let folder = bench.ancestors().nth(2).expect("a target folder");
    folder.join("sykli")
}

fn peer(report: &mut Report, program: &str, how: &str, add: impl FnOnce()) {
    if installed(program) {
        add();
    } else {
        report.note(&format!(
            "{program} is not installed ({how}): its rows are left out"
        ));
    }
}
