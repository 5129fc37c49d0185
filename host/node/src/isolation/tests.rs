//! Children that do what no child does: each costs its task alone, and is understood for what it is. They are threads here that
//! speak the protocol by hand; what real ones have given up is looked at in `tests/tests/isolation.rs`.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use sykli_core::id::Digest;
use sykli_core::tree::{Tree, TreeEntry};
use sykli_runtime::vfs::Lender;
use sykli_runtime::{
    CancelToken, Code, Engine, EngineConfig, Floats, Grant, Outcome, Silent, Status, TaskInfo,
    Usage,
};

use super::child::Program;
use super::frame;
use super::message::{Content, Job, ToParent};
use super::remote::{Channel, Got};
use super::{Confinement, Isolation, Lost, Needed, Task};
use crate::store::{InputFaults, Store};

const BIG: usize = 100_000;

struct Scene {
    _temp: tempfile::TempDir,
    store: Store,
    isolation: Isolation,
}

fn scene(child: fn(&UnixStream)) -> Scene {
    scene_of(|_| Program::like(child), Needed::BestEffort)
}

/// With what is a child made in a folder.
fn scene_of(program: impl FnOnce(&Path) -> Program, needed: Needed) -> Scene {
    let temp = tempfile::tempdir().unwrap();
    let program = program(temp.path());
    let store = Store::open(temp.path()).unwrap();
    let engine = Engine::new(EngineConfig {
        cache_dir: None,
        slots: 1,
        spool_dir: store.spool_dir(),
    });
    let isolation = Isolation::new(&engine.unwrap(), temp.path(), program, needed);
    Scene {
        _temp: temp,
        store,
        isolation: isolation.unwrap(),
    }
}

fn channel(socket: &UnixStream) -> Channel {
    Channel::new(socket.try_clone().unwrap())
}

/// Says that it is ready and waits for its task.
fn begin(socket: &UnixStream) -> Channel {
    let channel = channel(socket);
    let given_up = Confinement::default();
    channel.tell(&ToParent::Ready { given_up }, &[]).unwrap();
    // Where nobody has a task for it, the pool is gone.
    if !matches!(channel.hear(), Ok(Some(_))) {
        std::panic::resume_unwind(Box::new("no task"));
    }
    channel
}

fn end(channel: &Channel, status: Status) {
    let ended = ToParent::Ended {
        status,
        usage: Usage::default(),
        dropped: [0; 2],
        refusals: Vec::new(),
    };
    // The parent may have given up before.
    let _ = channel.tell(&ended, &[]);
}

fn job(component: [u8; 32], grant: Grant) -> Job {
    Job {
        component,
        floats: Floats::Fast,
        grant,
        args: Vec::new(),
        env: Vec::new(),
        seed: [0; 32],
        task: TaskInfo::default(),
        stdin_bytes: 0,
        inputs: Vec::new(),
        tree_bytes: 0,
    }
}

impl Scene {
    /// Has something compiled.
    fn code(&self, component: &[u8]) -> Result<(), Lost> {
        let digest = self.store.put_bytes(component.to_vec()).unwrap();
        let cancel = CancelToken::default();
        let code = self
            .isolation
            .code(&self.store, &digest, Floats::Fast, &cancel);
        code.map(|_| ())
    }

    /// Runs what is compiled, with nothing to read.
    fn run_code(&self, component: [u8; 32], code: Code) -> Result<Outcome, Lost> {
        let task = Task {
            store: &self.store,
            job: job(component, Grant::default()),
            stdin: None,
            trees: Vec::new(),
            faults: &InputFaults::default(),
            observer: &Silent,
            cancel: &CancelToken::default(),
        };
        Ok(self.isolation.run(&task, &code)?.outcome)
    }

    fn run_as(&self, grant: Grant, cancel: &CancelToken) -> Result<Outcome, Lost> {
        // Its code is never looked at by these children.
        let digest = [1; 32];
        let shelf = &self.isolation.shelf;
        let code = shelf.put(
            digest,
            Floats::Fast,
            b"component\nrun",
            4,
            &mut &b"code"[..],
        );
        let entry = |path: &str, content: Vec<u8>| {
            let size = content.len() as u64;
            let digest = self.store.put_bytes(content).unwrap();
            TreeEntry {
                path: path.to_owned(),
                digest,
                size,
                executable: false,
            }
        };
        let tree = vec![
            entry("big", vec![7; BIG]),
            entry("small", b"small".to_vec()),
        ];
        let tree = Tree::new(tree).unwrap();
        let faults = InputFaults::default();
        let task = Task {
            store: &self.store,
            job: Job {
                inputs: vec![String::new()],
                ..job(digest, grant)
            },
            stdin: None,
            trees: vec![(self.store.put_tree(&tree).unwrap(), Arc::new(tree))],
            faults: &faults,
            observer: &Silent,
            cancel,
        };
        let ran = self.isolation.run(&task, &code.unwrap())?;
        Ok(ran.outcome)
    }

    fn run(&self) -> Result<Outcome, Lost> {
        self.run_as(Grant::default(), &CancelToken::default())
    }
}

#[track_caller]
fn is_broken(child: fn(&UnixStream), what: &str) {
    match scene(child).run() {
        Err(Lost::Broken(said)) => assert!(said.contains(what), "{said}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_child_that_ends_before_it_is_ready_is_no_fault_of_the_task() {
    let lost = scene(|_| {}).run().unwrap_err();
    assert!(matches!(lost, Lost::NotStarted(_)), "{lost:?}");
    let nowhere = Program::at("/nowhere/sykli".into());
    assert!(super::probe(&nowhere).is_err());
}

#[test]
fn a_child_that_ends_under_its_task_has_died() {
    let lost = scene(|socket| {
        begin(socket);
        let _ = socket.shutdown(std::net::Shutdown::Both);
    });
    assert!(matches!(lost.run(), Err(Lost::Died(_))));
    // The next one gets a child of its own.
    assert!(matches!(lost.run(), Err(Lost::Died(_))));
}

/// A process that says that it is ready, and when it is told something does `then`, a line of a shell's.
fn script(folder: &Path, then: &str) -> Program {
    let mut ready = Vec::new();
    let given_up = Confinement::default();
    frame::put(&mut ready, &ToParent::Ready { given_up }, &[]).unwrap();
    std::fs::write(folder.join("ready"), ready).unwrap();
    let path = folder.join("child");
    let text = format!(
        "#!/bin/sh\ncat '{0}/ready' >&0\nhead -c 8 <&0 >/dev/null || exit 0\n{then}\n",
        folder.display()
    );
    // Written by another process: while this one has it open for writing, what it starts beside would keep it from being run.
    let mut writer = Command::new("sh");
    writer.args(["-c", "cat > \"$1\" && chmod +x \"$1\"", "sh"]);
    let mut writer = writer.arg(&path).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = writer.stdin.take().unwrap();
    stdin.write_all(text.as_bytes()).unwrap();
    drop(stdin);
    assert!(writer.wait().unwrap().success());
    Program::instead(path)
}

#[test]
fn what_is_rehearsed_is_a_command_that_does_nothing() {
    let real = scene(super::guest::serve);
    let engine = Engine::new(EngineConfig {
        cache_dir: None,
        slots: 1,
        spool_dir: real.store.spool_dir(),
    });
    let (digest, code) = super::rehearsal(&engine.unwrap(), &real.isolation.shelf).unwrap();
    assert_eq!(digest, Digest::of(super::NOTHING).0);
    assert_eq!(code.required_imports().unwrap(), [""; 0]);
    assert!(real.isolation.shelf.get(digest, Floats::Fast).is_some());
    let outcome = real.run_code(digest, code).unwrap();
    assert_eq!(outcome.status, Status::Exited(0));
}

#[test]
fn a_process_that_aborts_or_panics_costs_its_task_and_says_what_it_died_of() {
    for (then, what) in [
        ("kill -ABRT $$", "killed by signal 6"),
        ("kill -KILL $$", "killed by signal 9"),
        // As of a panic that nobody caught.
        ("exit 101", "it exited with code 101"),
    ] {
        let dies = scene_of(|folder| script(folder, then), Needed::BestEffort);
        for _ in 0..2 {
            match dies.run() {
                Err(Lost::Died(said)) => assert!(said.contains(what), "{said}"),
                other => panic!("{other:?}"),
            }
        }
    }
}

#[test]
fn what_takes_too_long_to_compile_is_refused_once_and_for_all() {
    let then = "echo told >> \"$(dirname \"$0\")/log\"; kill -XCPU $$";
    let mut log = None;
    let dear = scene_of(
        |folder| {
            log = Some(folder.join("log"));
            script(folder, then)
        },
        Needed::BestEffort,
    );
    for _ in 0..3 {
        match dear.code(b"dear") {
            Err(Lost::Component(said)) => assert!(said.contains("of a processor"), "{said}"),
            other => panic!("{other:?}"),
        }
    }
    let told = std::fs::read_to_string(log.unwrap()).unwrap();
    assert_eq!(told.lines().count(), 1, "nothing was compiled again");
}

#[test]
fn where_everything_is_required_a_child_that_has_not_given_it_up_runs_nothing() {
    let child: fn(&UnixStream) = |socket| drop(begin(socket));
    let poor = scene_of(|_| Program::like(child), Needed::Required);
    for lost in [poor.run().map(|_| ()), poor.code(b"whatever")] {
        match lost {
            Err(Lost::NotGranted(said)) => assert!(said.contains("landlock"), "{said}"),
            other => panic!("{other:?}"),
        }
    }
    assert!(matches!(poor.isolation.ready(), Err(Lost::NotGranted(_))));
}

#[test]
fn what_no_child_says_is_not_believed() {
    is_broken(
        |socket| {
            begin(socket);
            let _ = (&*socket).write_all(&[255; 64]);
        },
        "too long",
    );
    is_broken(
        |socket| {
            begin(socket);
            let _ = (&*socket).write_all(b"\x02\0\0\0\0\0\0\0{}");
        },
        "line 1",
    );
    is_broken(
        |socket| drop(begin(socket).get(&ToParent::Tree { index: 1 })),
        "asks for what its task has not",
    );
    is_broken(
        |socket| drop(begin(socket).get(&ToParent::File { tree: 0, entry: 2 })),
        "asks for what its task has not",
    );
    is_broken(
        |socket| drop(begin(socket).get(&ToParent::Stdin)),
        "has not",
    );
    is_broken(|socket| drop(begin(socket).open(0)), "temporary file");
    let compiled = |socket: &UnixStream| drop(begin(socket).tell(&ToParent::Code, &[]));
    is_broken(compiled, "not asked for now");
}

#[test]
fn a_child_sends_no_more_than_its_task_may_leave() {
    fn left(channel: &Channel, content: Content, body: &[u8]) {
        let left = ToParent::Left {
            path: "a".to_owned(),
            executable: false,
            content,
        };
        let _ = channel.tell(&left, body);
    }
    is_broken(
        |socket| left(&begin(socket), Content::Inline { bytes: 1 }, b"ab"),
        "longer",
    );
    is_broken(
        |socket| left(&begin(socket), Content::Inline { bytes: 1 << 40 }, b"a"),
        "in memory",
    );
    is_broken(
        |socket| {
            let channel = begin(socket);
            left(&channel, Content::Inline { bytes: 2 }, b"a");
            end(&channel, Status::Exited(0));
        },
        "shorter",
    );
    is_broken(
        |socket| left(&begin(socket), Content::Same { inline: 0 }, b""),
        "of nothing",
    );
    is_broken(
        |socket| left(&begin(socket), Content::Spooled { number: 3 }, b""),
        "of nothing",
    );
    is_broken(
        |socket| {
            let channel = begin(socket);
            for _ in 0..3 {
                let _ = channel.tell(&ToParent::Kept { stderr: true }, &vec![0; 1 << 20]);
            }
        },
        "more output",
    );
}

#[test]
fn a_child_that_never_ends_is_ended() {
    let silent = scene(|socket| {
        let channel = begin(socket);
        // Until the other end is gone.
        let _ = channel.hear();
    });
    let short = Grant {
        timeout: Duration::from_millis(1),
        ..Grant::default()
    };
    let late = silent.run_as(short, &CancelToken::default()).unwrap();
    assert!(matches!(late.status, Status::TimedOut { .. }));
    let cancel = CancelToken::default();
    let other = cancel.clone();
    let cancelling = std::thread::spawn(move || other.cancel());
    let stopped = silent.run_as(Grant::default(), &cancel).unwrap();
    assert_eq!(stopped.status, Status::Cancelled);
    cancelling.join().unwrap();
}

#[test]
fn a_child_gets_its_inputs_and_what_it_wrote_is_hashed_here() {
    let scene = scene(|socket| {
        let channel = begin(socket);
        let size = |entry| match channel.get(&ToParent::File { tree: 0, entry }).unwrap() {
            Got::Bytes(bytes) => (bytes.len(), "bytes"),
            Got::File(file) => (file.metadata().unwrap().len() as usize, "file"),
        };
        assert_eq!([size(0), size(1)], [(BIG, "file"), (5, "bytes")]);
        let (number, mut file) = channel.create().unwrap();
        file.write_all(&vec![9; BIG]).unwrap();
        let again = channel.open(number).unwrap();
        assert_eq!(again.metadata().unwrap().len(), BIG as u64);
        let file = |path: &str, content| ToParent::Left {
            path: path.to_owned(),
            executable: false,
            content,
        };
        let spooled = || Content::Spooled { number };
        channel.say(&file("b/big", spooled()), &[]).unwrap();
        channel.say(&file("a", spooled()), &[]).unwrap();
        let inline = Content::Inline { bytes: 5 };
        channel.say(&file("c", inline), b"he").unwrap();
        channel.say(&ToParent::More, b"llo").unwrap();
        let same = Content::Same { inline: 0 };
        channel.say(&file("d", same), &[]).unwrap();
        end(&channel, Status::Exited(0));
    });
    let outcome = scene.run().unwrap();
    assert_eq!(outcome.status, Status::Exited(0));
    let files = &outcome.changes[0].files;
    let found: Vec<_> = files
        .iter()
        .map(|file| (file.path.as_str(), Digest(file.content.blake3().unwrap())))
        .collect();
    let (big, hello) = (Digest::of(&vec![9; BIG]), Digest::of(b"hello"));
    let expected = [("a", big), ("b/big", big), ("c", hello), ("d", hello)];
    assert_eq!(found, expected);
    for file in files {
        scene.store.put_content(&file.content).unwrap();
    }
    assert_eq!(scene.store.get(&big).unwrap().len(), BIG as u64);
    drop(outcome);
    let left = std::fs::read_dir(scene.store.spool_dir()).unwrap().count();
    assert_eq!(left, 0, "temporary files are gone");
}

#[test]
fn what_cannot_be_compiled_is_the_bundles_and_what_dies_compiling_is_not() {
    let real = scene(super::guest::serve);
    let refused = real.code(b"no component");
    assert!(matches!(refused, Err(Lost::Component(_))), "{refused:?}");
    let missing = real.isolation.code(
        &real.store,
        &Digest::of(b"elsewhere"),
        Floats::Fast,
        &CancelToken::default(),
    );
    assert!(matches!(missing.map(|_| ()), Err(Lost::Missing)));
    let dies = scene(|socket| {
        begin(socket);
        let _ = socket.shutdown(std::net::Shutdown::Both);
    });
    let died = dies.code(b"whatever");
    assert!(matches!(died, Err(Lost::Died(_))), "{died:?}");
}
