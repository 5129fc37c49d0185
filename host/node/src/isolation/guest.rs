//! A child: gives up what it does not need, is told one thing to do, does it and ends.
//!
//! What it is told to do is its parent's word; the component, its code and the task's inputs are strangers'. It runs them with
//! the same sandbox as the node its own tasks, on the same stage (`worker::stage`), so that a guest cannot tell. It opens
//! no file, starts no process, and reads no setting. Called by [`super::child`], as the whole of a process.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::Arc;

use sykli_core::tree::Tree;
use sykli_runtime::vfs::FlatTree;
use sykli_runtime::{
    CancelToken, Captured, Component, Content as Kept, Engine, Floats, Grant, Inputs, Observer,
    Outcome, Sandbox, Silent, Source, Status, TaskInfo,
};

use super::attempt;
use super::confine::{self, Size};
use super::frame::MAX_BODY;
use super::message::{Content, Job, ToChild, ToParent};
use super::remote::{Channel, Got, Remote, RemoteTree, Told};
use super::{Confinement, Kind};
use crate::prepare::overlay::Overlay;
use crate::worker::stage;

/// The largest component that is looked at, bytes: what the checks before compiling accept.
const MAX_COMPONENT_BYTES: u64 = 256 << 20;
/// Room that is ready for code, bytes; there is more where it takes more.
const ROOM: usize = 1 << 20;
/// Bytes of a tree that are read at once.
const READ_AT_ONCE: usize = 256 << 10;
/// Bytes of a guest's output that are passed on at once.
const PASSED_ON: usize = 64 << 10;

/// All that a child does.
pub(super) fn main(kind: Kind) -> ExitCode {
    let mut given_up = confine::before(kind);
    let socket = io::stdin().as_fd().try_clone_to_owned();
    let Ok(channel) = socket.map(|socket| Arc::new(Channel::new(UnixStream::from(socket)))) else {
        return ExitCode::FAILURE;
    };
    let Ok(engine) = Engine::apart(channel.clone()) else {
        return ExitCode::FAILURE;
    };
    let size = confine::after(kind, &mut given_up);
    match work(&channel, &engine, size, given_up) {
        Ok(()) => ExitCode::SUCCESS,
        // The parent is gone, or has broken off.
        Err(_) => ExitCode::FAILURE,
    }
}

/// The same on a thread of a test, which gives up nothing.
#[cfg(test)]
pub(super) fn serve(socket: &UnixStream) {
    let channel = Arc::new(Channel::new(
        socket.try_clone().unwrap_or_else(|e| panic!("{e}")),
    ));
    let engine = Engine::apart(channel.clone()).unwrap_or_else(|e| panic!("{e}"));
    // A parent that breaks off is what some tests are about.
    let _ = work(&channel, &engine, Size::default(), Confinement::default());
    let _ = socket.shutdown(std::net::Shutdown::Both);
}

fn work(
    channel: &Arc<Channel>,
    engine: &Engine,
    size: Size,
    given_up: Confinement,
) -> io::Result<()> {
    channel.tell(&ToParent::Ready { given_up }, &[])?;
    let mut told = channel.hear()?;
    let mut room = Vec::new();
    if let Some((ToChild::Rehearse { .. }, ..)) = &told {
        // Written to once, it is there when a task's code is read into it.
        room = vec![1; ROOM];
        rehearse(engine, &mut room, told.take());
        channel.tell(&ToParent::Rehearsed, &[])?;
        told = channel.hear()?;
    }
    match told {
        None => Ok(()),
        Some((ToChild::Try(ways), ..)) => {
            let ways = attempt::open(&ways);
            channel.tell(&ToParent::Open { ways }, &[])
        }
        Some((ToChild::Compile { floats, bytes }, body, file)) => {
            confine::for_compiling(size);
            let component = match (bytes, file) {
                (Some(len), Some(file)) => whole(&file, len)?,
                _ => body,
            };
            compile(channel, engine, floats, &component)
        }
        Some((
            ToChild::Run {
                job,
                description,
                code_bytes,
            },
            _,
            Some(code),
        )) => {
            confine::for_job(size, &job, code_bytes);
            let taken = engine.take(
                job.component,
                job.floats,
                description.as_bytes(),
                &code,
                code_bytes,
                &mut room,
            );
            match taken {
                Ok(component) => run(channel, engine, *job, &component),
                Err(error) => fault(channel, error.to_string()),
            }
        }
        Some(_) => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// Runs what does nothing: pages, tables and paths that a run needs are there when a task comes. What it comes to does not
/// matter.
fn rehearse(engine: &Engine, room: &mut Vec<u8>, told: Option<Told>) {
    let Some((
        ToChild::Rehearse {
            component,
            description,
            code_bytes,
        },
        _,
        Some(code),
    )) = told
    else {
        return;
    };
    let description = description.as_bytes();
    let taken = engine.take(
        component,
        Floats::Fast,
        description,
        &code,
        code_bytes,
        room,
    );
    if let Ok(component) = taken {
        let given = Inputs {
            args: Vec::new(),
            env: Vec::new(),
            stdin: Source::empty(),
            mounts: stage::mounts(Overlay::default().into_dir()),
            seed: [0; 32],
            task: TaskInfo::default(),
        };
        let never = CancelToken::default();
        let sandbox = Sandbox::new(engine.clone());
        sandbox.run(
            &component,
            &Grant::default(),
            given,
            Arc::new(Silent),
            &never,
        );
    }
}

fn whole(file: &File, len: u64) -> io::Result<Vec<u8>> {
    let len = usize::try_from(len.min(MAX_COMPONENT_BYTES + 1));
    let mut bytes = vec![0; len.map_err(io::Error::other)?];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

fn compile(channel: &Channel, engine: &Engine, floats: Floats, component: &[u8]) -> io::Result<()> {
    match engine.compile_apart(component, floats) {
        Ok(made) => {
            let description = String::from_utf8(made.description).map_err(io::Error::other)?;
            let code_bytes = made.code.len() as u64;
            let compiled = ToParent::Compiled {
                description,
                code_bytes,
            };
            channel.say(&compiled, &[])?;
            for part in made.code.chunks(MAX_BODY) {
                channel.tell(&ToParent::Code, part)?;
            }
            Ok(())
        }
        Err(error) => {
            let message = error.to_string().chars().take(1000).collect();
            channel.tell(&ToParent::Refused { message }, &[])
        }
    }
}

fn run(channel: &Arc<Channel>, engine: &Engine, job: Job, component: &Component) -> io::Result<()> {
    let mut inputs = Overlay::default();
    for (index, prefix) in job.inputs.iter().enumerate() {
        let tree = match tree(channel, index) {
            Ok(tree) => tree,
            Err(error) => return fault(channel, format!("an input tree: {error}")),
        };
        let tree = RemoteTree {
            channel: Arc::clone(channel),
            index,
            tree,
        };
        inputs.add(prefix, Arc::new(FlatTree::from_index(Arc::new(tree))));
    }
    let given = Inputs {
        args: job.args,
        env: job.env,
        stdin: Remote::source(channel, ToParent::Stdin, job.stdin_bytes, None),
        mounts: stage::mounts(inputs.into_dir()),
        seed: job.seed,
        task: job.task,
    };
    let observer = Arc::new(PassOn(Arc::clone(channel)));
    // Whoever cancels kills this process.
    let never = CancelToken::default();
    let sandbox = Sandbox::new(engine.clone());
    let outcome = sandbox.run(component, &job.grant, given, observer, &never);
    report(channel, outcome)
}

fn tree(channel: &Channel, index: usize) -> io::Result<Tree> {
    let bytes = match channel.get(&ToParent::Tree { index })? {
        Got::Bytes(bytes) => bytes.to_vec(),
        Got::File(file) => to_end(&file)?,
    };
    Tree::decode(&bytes).map_err(io::Error::other)
}

/// All of a file. Where it stands is shared with others, so it is not read from there; how long it is cannot be asked here.
fn to_end(file: &File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    loop {
        let old = bytes.len();
        bytes.resize(old + READ_AT_ONCE, 0);
        let part = bytes.get_mut(old..).unwrap_or_default();
        let read = file.read_at(part, old as u64);
        bytes.truncate(old + *read.as_ref().unwrap_or(&0));
        if read? == 0 {
            return Ok(bytes);
        }
    }
}

/// No guest came to live.
fn fault(channel: &Channel, message: String) -> io::Result<()> {
    let ended = ToParent::Ended {
        status: Status::HostFault { message },
        usage: sykli_runtime::Usage::default(),
        dropped: [0; 2],
        refusals: Vec::new(),
    };
    channel.tell(&ended, &[])
}

fn report(channel: &Channel, outcome: Outcome) -> io::Result<()> {
    for (stderr, captured) in [(false, &outcome.stdout), (true, &outcome.stderr)] {
        kept(channel, stderr, captured)?;
    }
    let mut inline: Vec<*const u8> = Vec::new();
    for file in outcome.changes.iter().flat_map(|changes| &changes.files) {
        let mut rest: &[u8] = &[];
        let content = match &file.content {
            Kept::Bytes(bytes) => {
                // Files that are one file under several names are sent once.
                let known = inline.iter().position(|known| *known == bytes.as_ptr());
                match known.filter(|_| !bytes.is_empty()) {
                    Some(inline) => Content::Same { inline },
                    None => {
                        inline.push(bytes.as_ptr());
                        rest = bytes;
                        let bytes = bytes.len() as u64;
                        Content::Inline { bytes }
                    }
                }
            }
            Kept::Spooled(spooled) => match spooled.number() {
                Some(number) => Content::Spooled { number },
                None => return fault(channel, "a file that nobody lent".to_owned()),
            },
            Kept::Unchanged(_) => {
                return fault(channel, "a file of an input among the outputs".to_owned());
            }
        };
        let (first, more) = rest.split_at(rest.len().min(MAX_BODY));
        let left = ToParent::Left {
            path: file.path.clone(),
            executable: file.executable,
            content,
        };
        channel.say(&left, first)?;
        for part in more.chunks(MAX_BODY) {
            channel.say(&ToParent::More, part)?;
        }
    }
    let ended = ToParent::Ended {
        status: outcome.status,
        usage: outcome.usage,
        dropped: [outcome.stdout.dropped_bytes, outcome.stderr.dropped_bytes],
        refusals: outcome.refusals,
    };
    channel.tell(&ended, &[])
}

fn kept(channel: &Channel, stderr: bool, captured: &Captured) -> io::Result<()> {
    let mut parts = captured.bytes.chunks(MAX_BODY);
    parts.try_for_each(|part| channel.say(&ToParent::Kept { stderr }, part))
}

/// Passes on what a guest says while it runs.
struct PassOn(Arc<Channel>);

impl PassOn {
    fn tell(&self, message: &ToParent, bytes: &[u8]) {
        for part in bytes.chunks(PASSED_ON) {
            // A parent that is gone has this process killed.
            let _ = self.0.tell(message, part);
        }
    }
}

impl Observer for PassOn {
    fn stdout(&self, bytes: &[u8]) {
        self.tell(&ToParent::Stdout, bytes);
    }

    fn stderr(&self, bytes: &[u8]) {
        self.tell(&ToParent::Stderr, bytes);
    }

    fn progress(&self, done: u64, total: u64, message: &str) {
        let progress = ToParent::Progress {
            done,
            total,
            message: message.to_owned(),
        };
        // As above.
        let _ = self.0.tell(&progress, &[]);
    }
}
