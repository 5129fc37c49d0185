//! Files: what a guest reads through the virtual file system against the same program reading natively, and a second
//! run over many unchanged input files against `git status`.

use super::named;
use super::sandbox::floor_run;
use crate::floor::{Floor, Settings};
use crate::measure::{Contestant, Effort, Measured, race};
use crate::ours::{Ours, Project, files_of, spend};
use crate::peers::{found, quiet, shell};
use crate::report::{Goal, Report, grouped};
use std::fs;
use std::path::Path;
use std::process::Command;

const SMALL_FILE_BYTES: usize = 4 << 10;
const TREE_FILE_BYTES: usize = 20 << 10;
const TREE_FOLDERS: u32 = 250;

/// Reading through `/in`: one large file, and many small ones.
pub(super) fn read(effort: &Effort, report: &mut Report) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (large, small) = (folder.path().join("large"), folder.path().join("small"));
    fs::create_dir_all(&large).expect("a folder");
    fs::create_dir_all(&small).expect("a folder");
    let content = noise(effort.file_mib as usize * (1 << 20), 1);
    fs::write(large.join("file"), content).expect("a file");
    let count = if effort.quick { 500 } else { 4_000 };
    for index in 0..count {
        let content = noise(SMALL_FILE_BYTES, index);
        fs::write(small.join(format!("f{index}")), content).expect("a file");
    }
    let about = "The same program, as a guest through `/in` and natively, 64 KiB a call; the file is in the page cache. \
                 Each figure is a whole run, which is a process of its own for the native one.";
    for (what, folder) in [
        (format!("one file of {} MiB", effort.file_mib), &large),
        (format!("{} files of 4 KiB", grouped(count)), &small),
    ] {
        let times = read_race(effort, folder);
        report.goal(
            &format!("reading {what} through `/in`"),
            &times[1],
            &times[0],
            Goal::AtMost(1.5),
        );
        report.table(&format!("Reading {what}"), about, &times);
    }
    spend(folder);
}

fn read_race(effort: &Effort, folder: &Path) -> Vec<Measured> {
    let guest = sykli_tests::guest("compute");
    let native = sykli_tests::native_guest("compute");
    let floor = Floor::new(Settings::PRODUCT).expect("the floor");
    let ready = floor.compile(&guest).expect("a component");
    let ours = Ours::new(&guest, 4);
    let files = files_of(folder);
    let args = ["compute", "read", "1", "/in"];
    // A guest that reads nothing first: starting one is no part of reading.
    floor_run(&floor, &ready, &["compute", "hash", "0"]);
    race(
        effort.rounds,
        vec![
            Contestant::new("native `read`", || {
                assert!(quiet(Command::new(&native).args(["read", "1"]).arg(folder)));
                1
            }),
            Contestant::new("Sandbox::run, `/in`", || {
                ours.run_reading(&args, &files);
                1
            }),
            Contestant::new("raw wasmtime, stock WASI, a folder of the host's", || {
                let ended_well = floor.run_reading(&ready, &args, folder).expect("a run");
                assert!(ended_well, "the guest failed");
                1
            }),
        ],
    )
}

/// A second run in which none of many input files has changed, against `git status` in the same folder.
pub(super) fn files(effort: &Effort, report: &mut Report) {
    const OURS: &str = "sykli run, nothing changed";
    const GIT: &str = "git status, nothing changed";
    let project = Project::new(
        "schema = \"sykli-wasm/1\"\n[pipeline]\nname = \"files\"\n[task.all]\ncomponent = \"noop.wasm\"\n\
         inputs = [\"data/**\"]\n",
    );
    let count = effort.files;
    for folder in 0..TREE_FOLDERS {
        let path = project.path().join(format!("data/d{folder:03}"));
        fs::create_dir_all(&path).expect("a folder");
        for index in 0..count / TREE_FOLDERS {
            let content = noise(TREE_FILE_BYTES, folder * 10_000 + index);
            fs::write(path.join(format!("f{index:05}.bin")), content).expect("a file");
        }
    }
    let home = project.home("home");
    let git = found(report, "git", "apt-get install git");
    if git {
        let identity = "-c user.name=bench -c user.email=bench@localhost";
        let line = format!(
            "git init -q . && git -c core.looseCompression=0 add -A && git {identity} commit -q -m tree && git status"
        );
        shell(&project.path(), &line);
    }
    // Twice: what changed a moment ago is read again, since its time stamp alone proves nothing yet.
    project.run(&home);
    std::thread::sleep(std::time::Duration::from_secs(3));
    project.run(&home);
    let mut contestants = vec![Contestant::new(OURS, || {
        project.run(&home);
        1
    })];
    if git {
        contestants.push(Contestant::new(GIT, || {
            shell(&project.path(), "git status");
            1
        }));
    }
    let times = race(effort.rounds, contestants);
    if let Some(git) = named(&times, GIT) {
        report.goal(
            &format!("a second run over {} unchanged files", grouped(count)),
            &times[0],
            git,
            Goal::AtMost(1.5),
        );
    }
    let mib = (u64::from(count) * TREE_FILE_BYTES as u64) >> 20;
    report.table(
        &format!("{} unchanged input files, {mib} MiB", grouped(count)),
        "A pipeline of one task that sees them all; its result is known. The whole process, as with git.",
        &times,
    );
}

/// Bytes that do not compress, the same for the same seed (xorshift).
fn noise(bytes: usize, seed: u32) -> Vec<u8> {
    let mut state = u64::from(seed) * 2 + 0x9e37_79b9_7f4a_7c15;
    let mut content = Vec::with_capacity(bytes + 8);
    while content.len() < bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        content.extend_from_slice(&state.to_le_bytes());
    }
    content.truncate(bytes);
    content
}
