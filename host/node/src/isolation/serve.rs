//! One task in a child, from here: told what to run, given what it asks for, its outcome put together.
//!
//! **Nothing that the child says is believed.** It gets what belongs to its task, by number. What it sends back is bounded by
//! the task's grant; files that it wrote to are hashed when it is dead. Time is kept here, too: a child that has not ended
//! its guest by itself is killed. Blocks its thread. Called by `foreign`.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sykli_core::id::Digest;
use sykli_core::tree::Tree;
use sykli_runtime::vfs::SpooledFile;
use sykli_runtime::{
    CancelToken, Captured, ChangedFile, Changes, Code, Content as Kept, Grant, Observer, Outcome,
    Refusal, Refusals, Status, Usage,
};
use tempfile::TempPath;

use super::child::{Child, Heard};
use super::message::{Content, Job, ToChild, ToParent};
use super::{Confinement, Isolation, Kind, Lost};
use crate::store::{InputFaults, Lent, Store};

/// How often a cancel is looked for while the child says nothing.
const LOOK: Duration = Duration::from_millis(20);
/// How much longer than its guest's time a child may take: a tenth of it, within these.
const GRACE: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(2));
/// Bytes of files that a child may keep in memory; its sandbox keeps less.
const INLINE_BYTES: u64 = 33 << 20;
/// After so many temporary files it is looked at how much is in them.
const LOOK_AT_SPOOL: u32 = 64;

/// An input tree, and its name in the store.
pub(crate) type InputTree = (Digest, Arc<Tree>);

/// What belongs to a task that is run in a child.
pub(crate) struct Task<'a> {
    pub(crate) store: &'a Store,
    pub(crate) job: Job,
    pub(crate) stdin: Option<Digest>,
    /// The input trees, in the job's order.
    pub(crate) trees: Vec<InputTree>,
    pub(crate) faults: &'a InputFaults,
    pub(crate) observer: &'a dyn Observer,
    pub(crate) cancel: &'a CancelToken,
}

/// What became of a task.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) outcome: Outcome,
    /// What its process had given up.
    pub(crate) given_up: Confinement,
}

/// What came of a task's process.
enum End {
    /// The child said how its guest ended.
    Said(Said),
    /// It was killed from here.
    Killed(Status),
}

struct Said {
    status: Status,
    usage: Usage,
    dropped: [u64; 2],
    refusals: Vec<Refusal>,
}

/// A file that the guest left.
struct Left {
    path: String,
    executable: bool,
    content: At,
}

enum At {
    Inline(usize),
    Spooled(u32),
}

impl Isolation {
    /// Runs a task whose compiled code is `code` to its end.
    ///
    /// # Errors
    /// Where its process could not be started, died, or broke the protocol.
    pub(crate) fn run(&self, task: &Task<'_>, code: &Code) -> Result<Ran, Lost> {
        let kind = match task.job.grant.net.is_empty() {
            true => Kind::Sealed,
            false => Kind::Net,
        };
        let child = match self.pool.take(kind, task.cancel) {
            Err(Lost::Stopped) => {
                return Ok(Ran {
                    outcome: empty(Status::Cancelled),
                    given_up: Confinement::default(),
                });
            }
            taken => taken?,
        };
        let given_up = child.given_up().cloned().unwrap_or_default();
        let mut session = Session::new(child, task);
        let outcome = match session.drive(code)? {
            End::Said(said) => session.outcome(said, self)?,
            End::Killed(status) => empty(status),
        };
        Ok(Ran { outcome, given_up })
    }
}

struct Session<'a> {
    task: &'a Task<'a>,
    began: Instant,
    child: Child,
    spooled: HashMap<u32, TempPath>,
    next_spool: u32,
    /// Kept of standard output and standard error.
    kept: [Vec<u8>; 2],
    files: Vec<Left>,
    inline: Vec<Vec<u8>>,
    inline_bytes: u64,
    /// Bytes of the last inline file that are still to come.
    missing: u64,
}

fn broken(what: impl ToString) -> Lost {
    Lost::Broken(what.to_string())
}

impl<'a> Session<'a> {
    fn new(child: Child, task: &'a Task<'a>) -> Session<'a> {
        Session {
            task,
            began: Instant::now(),
            child,
            spooled: HashMap::new(),
            next_spool: 0,
            kept: [Vec::new(), Vec::new()],
            files: Vec::new(),
            inline: Vec::new(),
            inline_bytes: 0,
            missing: 0,
        }
    }

    fn grant(&self) -> &Grant {
        &self.task.job.grant
    }

    /// Has the task run and answers the child until it has ended, or has to.
    fn drive(&mut self, code: &Code) -> Result<End, Lost> {
        let description = std::str::from_utf8(code.description()).map_err(broken)?;
        let run = ToChild::Run {
            job: Box::new(self.task.job.clone()),
            description: description.to_owned(),
            code_bytes: code.len(),
        };
        if self
            .child
            .tell(&run, &[], Some(code.file().as_fd()))
            .is_err()
        {
            return Err(Lost::Died(self.child.death().to_string()));
        }
        let limit = self.grant().timeout;
        let grace = (limit / 10).clamp(GRACE.0, GRACE.1);
        let until = self.began.checked_add(limit.saturating_add(grace));
        loop {
            if self.task.cancel.is_cancelled() {
                self.child.kill();
                return Ok(End::Killed(Status::Cancelled));
            }
            if until.is_some_and(|until| Instant::now() >= until) {
                self.child.kill();
                return Ok(End::Killed(Status::TimedOut { limit }));
            }
            match self.child.hear(LOOK).map_err(broken)? {
                Heard::Message(message, body) => {
                    if let Some(said) = self.heard(message, body)? {
                        return Ok(End::Said(said));
                    }
                }
                Heard::Nothing => {}
                Heard::End => return Err(Lost::Died(self.child.death().to_string())),
            }
        }
    }

    fn heard(&mut self, message: ToParent, body: Vec<u8>) -> Result<Option<Said>, Lost> {
        match message {
            ToParent::Stdout => self.task.observer.stdout(&body),
            ToParent::Stderr => self.task.observer.stderr(&body),
            ToParent::Progress {
                done,
                total,
                message,
            } => self.task.observer.progress(done, total, &message),
            ToParent::Kept { stderr } => self.keep(stderr, &body)?,
            ToParent::Left {
                path,
                executable,
                content,
            } => self.left(path, executable, &content, body)?,
            ToParent::More => self.more(&body)?,
            ToParent::DropSpool { number } => drop(self.spooled.remove(&number)),
            ToParent::Ended {
                status,
                usage,
                dropped,
                refusals,
            } => {
                return self.ended(Said {
                    status,
                    usage,
                    dropped,
                    refusals,
                });
            }
            asked => self.answer(&asked)?,
        }
        Ok(None)
    }

    fn answer(&mut self, asked: &ToParent) -> Result<(), Lost> {
        let trees = &self.task.trees;
        let digest = match asked {
            ToParent::NewSpool => return self.new_spool(),
            ToParent::Spool { number } => return self.spool_again(*number),
            ToParent::Stdin => self.task.stdin,
            ToParent::Tree { index } => trees.get(*index).map(|(digest, _)| *digest),
            ToParent::File { tree, entry } => trees
                .get(*tree)
                .and_then(|(_, tree)| tree.entries().get(*entry))
                .map(|entry| entry.digest),
            _ => return Err(broken("something that is not asked for now")),
        };
        let digest = digest.ok_or_else(|| broken("it asks for what its task has not"))?;
        let told = match self.task.store.lend(&digest, self.task.faults) {
            Some(Lent::Bytes(bytes)) => self.child.tell(&ToChild::Here, &bytes, None),
            Some(Lent::File(file)) => self.child.tell(&ToChild::Lent, &[], Some(file.as_fd())),
            None => self.missing("it is not in the store any more", false),
        };
        told.map_err(broken)
    }

    fn missing(&self, message: &str, full: bool) -> io::Result<()> {
        let message = message.to_owned();
        self.child
            .tell(&ToChild::Missing { message, full }, &[], None)
    }

    fn new_spool(&mut self) -> Result<(), Lost> {
        let number = self.next_spool;
        if self.spooled.len() >= self.grant().output_entries as usize {
            return Err(broken("more temporary files than it may have files"));
        }
        if number % LOOK_AT_SPOOL == LOOK_AT_SPOOL - 1 {
            // What is gone by the end counts, too.
            self.check_spool(self.grant().output_bytes.saturating_mul(2))?;
        }
        self.next_spool = number
            .checked_add(1)
            .ok_or_else(|| broken("too many files"))?;
        let dir = self.task.store.spool_dir();
        let made = tempfile::Builder::new().prefix("spool-").tempfile_in(dir);
        let told = match made {
            Ok(made) => {
                let (file, path) = made.into_parts();
                self.spooled.insert(number, path);
                self.lend_spool(number, &file)
            }
            Err(error) => self.cannot(&error),
        };
        told.map_err(broken)
    }

    fn spool_again(&mut self, number: u32) -> Result<(), Lost> {
        let path = self.spooled.get(&number);
        let path = path.ok_or_else(|| broken("a temporary file that is none"))?;
        let told = match File::options().read(true).write(true).open(path) {
            Ok(file) => self.lend_spool(number, &file),
            Err(error) => self.cannot(&error),
        };
        told.map_err(broken)
    }

    fn lend_spool(&self, number: u32, file: &File) -> io::Result<()> {
        self.child
            .tell(&ToChild::Spool { number }, &[], Some(file.as_fd()))
    }

    fn cannot(&self, error: &io::Error) -> io::Result<()> {
        let full = matches!(
            error.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        );
        self.missing(&error.to_string(), full)
    }

    /// Its sandbox keeps the quota; this is for a child that has lost its own.
    fn check_spool(&self, most: u64) -> Result<(), Lost> {
        let len = |path: &TempPath| std::fs::metadata(path).map_or(0, |found| found.len());
        let total: u64 = self.spooled.values().map(len).fold(0, u64::saturating_add);
        match total > most {
            true => Err(broken("more in temporary files than it may write")),
            false => Ok(()),
        }
    }

    fn keep(&mut self, stderr: bool, body: &[u8]) -> Result<(), Lost> {
        let most = self.grant().stdio_bytes;
        let [out, err] = &mut self.kept;
        let kept = if stderr { err } else { out };
        kept.extend_from_slice(body);
        match kept.len() as u64 > most {
            true => Err(broken("more output than is kept")),
            false => Ok(()),
        }
    }

    fn left(
        &mut self,
        path: String,
        executable: bool,
        content: &Content,
        body: Vec<u8>,
    ) -> Result<(), Lost> {
        self.whole()?;
        if self.files.len() >= self.grant().output_entries as usize {
            return Err(broken("more files than it may have"));
        }
        let content = match *content {
            Content::Spooled { number } if self.spooled.contains_key(&number) => {
                At::Spooled(number)
            }
            Content::Same { inline } if inline < self.inline.len() => At::Inline(inline),
            Content::Inline { bytes } => {
                self.inline_bytes = self.inline_bytes.saturating_add(bytes);
                if self.inline_bytes > INLINE_BYTES.min(self.grant().output_bytes) {
                    return Err(broken("more in memory than it may have"));
                }
                self.missing = bytes;
                self.inline.push(Vec::new());
                self.more(&body)?;
                At::Inline(self.inline.len() - 1)
            }
            _ => return Err(broken("a file of nothing")),
        };
        self.files.push(Left {
            path,
            executable,
            content,
        });
        Ok(())
    }

    fn more(&mut self, body: &[u8]) -> Result<(), Lost> {
        let left = self.missing.checked_sub(body.len() as u64);
        self.missing = left.ok_or_else(|| broken("a file longer than it said"))?;
        if let Some(last) = self.inline.last_mut() {
            last.extend_from_slice(body);
        }
        Ok(())
    }

    fn whole(&self) -> Result<(), Lost> {
        match self.missing {
            0 => Ok(()),
            _ => Err(broken("a file shorter than it said")),
        }
    }

    fn ended(&self, said: Said) -> Result<Option<Said>, Lost> {
        self.whole()?;
        let fuel = said.usage.fuel > self.grant().fuel;
        if fuel || said.refusals.len() > Refusals::MAX {
            return Err(broken("an end that no guest comes to"));
        }
        Ok(Some(said))
    }

    /// Puts together what the guest left.
    fn outcome(mut self, said: Said, isolation: &Isolation) -> Result<Outcome, Lost> {
        let spooled = |left: &Left| match left.content {
            At::Spooled(number) => Some(number),
            At::Inline(_) => None,
        };
        let left: BTreeSet<u32> = self.files.iter().filter_map(spooled).collect();
        let mut adopted = HashMap::new();
        if !left.is_empty() {
            // It could still write to them.
            self.child.kill();
            self.spooled.retain(|number, _| left.contains(number));
            self.check_spool(self.grant().output_bytes)?;
            for (number, path) in self.spooled {
                adopted.insert(number, SpooledFile::adopt(path).map_err(Lost::Disk)?);
            }
        }
        isolation.pool.retire(self.child);
        let inline: Vec<bytes::Bytes> = self.inline.into_iter().map(Into::into).collect();
        let mut files = Vec::with_capacity(self.files.len());
        for left in self.files {
            let content = match left.content {
                At::Inline(at) => inline.get(at).cloned().map(Kept::Bytes),
                At::Spooled(number) => adopted.get(&number).cloned().map(Kept::Spooled),
            };
            files.push(ChangedFile {
                path: left.path,
                content: content.ok_or_else(|| broken("a file of nothing"))?,
                executable: left.executable,
            });
        }
        files.sort_by(|a, b| a.path.cmp(&b.path));
        let [stdout, stderr] = self.kept;
        let [dropped_stdout, dropped_stderr] = said.dropped;
        Ok(Outcome {
            status: said.status,
            usage: Usage {
                wall: said.usage.wall.min(self.began.elapsed()),
                ..said.usage
            },
            changes: vec![Changes {
                guest_path: "/out".to_owned(),
                files,
                removed: Vec::new(),
            }],
            stdout: Captured {
                bytes: stdout,
                dropped_bytes: dropped_stdout,
            },
            stderr: Captured {
                bytes: stderr,
                dropped_bytes: dropped_stderr,
            },
            refusals: said.refusals,
        })
    }
}

/// The outcome of a guest that was ended from here.
fn empty(status: Status) -> Outcome {
    Outcome {
        status,
        usage: Usage::default(),
        changes: Vec::new(),
        stdout: Captured::default(),
        stderr: Captured::default(),
        refusals: Vec::new(),
    }
}
