//! Nodes of a mesh as a user runs them: each a home of its own and the real binary, over loopback. What a node says is
//! read line by line, so that a test waits for what happens and not for time to pass; a wait that is too long ends the
//! test with everything that was said. Every process that is started here ends with its owner.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::{Project, Ran};

/// What is waited for comes, or the test is over: no measure of speed.
const PATIENCE: Duration = Duration::from_secs(120);

/// How often a document is asked for that is waited for.
const LOOK: Duration = Duration::from_millis(100);

/// Settings of a node on this machine alone that takes others' tasks.
pub const WILLING: &str = "[mesh]\nlisten = [\"/ip4/127.0.0.1/udp/0/quic-v1\", \"/ip4/127.0.0.1/tcp/0\"]\nmdns = false\n\
    [consent]\nmode = \"policy\"\n";
/// The same, but it takes none.
pub const UNWILLING: &str =
    "[mesh]\nlisten = [\"/ip4/127.0.0.1/udp/0/quic-v1\", \"/ip4/127.0.0.1/tcp/0\"]\nmdns = false\n";

/// A machine of the mesh: a home with a project in it, and a node where one was started.
#[derive(Debug)]
pub struct Machine {
    name: String,
    project: Project,
    node: Option<Talker>,
    /// Put before every command, such as `ip netns exec one`.
    wrapper: Vec<String>,
}

/// A process whose lines are read while it runs. Killed when it is dropped.
#[derive(Debug)]
pub struct Talker {
    child: Child,
    heard: Arc<Heard>,
    /// Lines that [`Talker::said`] has passed.
    passed: usize,
}

#[derive(Debug, Default)]
struct Heard {
    lines: Mutex<(Vec<String>, usize)>,
    more: Condvar,
}

impl Talker {
    /// Starts a command and listens to both of its streams.
    ///
    /// # Panics
    /// Where it does not start.
    #[track_caller]
    #[must_use]
    pub fn start(command: &mut Command) -> Talker {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        let heard = Arc::new(Heard::default());
        let out = child.stdout.take().expect("it is piped");
        let err = child.stderr.take().expect("it is piped");
        listen(out, &heard);
        listen(err, &heard);
        Talker {
            child,
            heard,
            passed: 0,
        }
    }

    /// The next line that contains `part`, of those after the last one that was asked for.
    ///
    /// # Panics
    /// Where the process ends, or a long time passes, without one.
    #[track_caller]
    pub fn said(&mut self, part: &str) -> String {
        self.said_any(&[part])
    }

    /// The same for whichever of several parts comes first.
    ///
    /// # Panics
    /// Where the process ends, or a long time passes, without one.
    #[track_caller]
    pub fn said_any(&mut self, parts: &[&str]) -> String {
        let until = Instant::now() + PATIENCE;
        let mut held = self.heard.lines.lock().expect("no reader panics");
        loop {
            while let Some(line) = held.0.get(self.passed) {
                self.passed += 1;
                if parts.iter().any(|part| line.contains(part)) {
                    return line.clone();
                }
            }
            let left = until.saturating_duration_since(Instant::now());
            let ended = held.1 == 2;
            assert!(
                !ended && !left.is_zero(),
                "never said {parts:?}, only:\n{}",
                held.0.join("\n")
            );
            held = self
                .heard
                .more
                .wait_timeout(held, left)
                .expect("no reader panics")
                .0;
        }
    }

    /// All that was said until now.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.heard.lines.lock().expect("no reader panics").0.clone()
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// `kill -9`.
    ///
    /// # Panics
    /// Where it cannot be killed.
    pub fn kill(&mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it can be waited for");
    }

    /// Any signal.
    ///
    /// # Panics
    /// Where it cannot be sent.
    pub fn signal(&self, signal: i32) {
        let status = Command::new("kill")
            .arg(format!("-{signal}"))
            .arg(self.pid().to_string())
            .status();
        assert!(status.expect("kill is there").success(), "no such process");
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// Where it does not come for a long time.
    #[track_caller]
    pub fn ended(&mut self) -> ExitStatus {
        let until = Instant::now() + PATIENCE;
        let mut held = self.heard.lines.lock().expect("no reader panics");
        while held.1 < 2 {
            let left = until.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "never ended:\n{}", held.0.join("\n"));
            held = self
                .heard
                .more
                .wait_timeout(held, left)
                .expect("no reader panics")
                .0;
        }
        drop(held);
        self.child.wait().expect("it can be waited for")
    }
}

impl Drop for Talker {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn listen(stream: impl std::io::Read + Send + 'static, heard: &Arc<Heard>) {
    let heard = Arc::clone(heard);
    std::thread::spawn(move || {
        for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).into_owned();
            heard.lines.lock().expect("no reader panics").0.push(line);
            heard.more.notify_all();
        }
        heard.lines.lock().expect("no reader panics").1 += 1;
        heard.more.notify_all();
    });
}

impl Machine {
    /// A machine that is in no mesh yet, with these settings of its user's (TOML).
    #[must_use]
    pub fn new(name: &str, settings: &str) -> Machine {
        Machine::with(name, settings, Project::new())
    }

    /// The same with a project that is there already.
    #[must_use]
    pub fn with(name: &str, settings: &str, project: Project) -> Machine {
        let machine = Machine {
            name: name.to_owned(),
            project,
            node: None,
            wrapper: Vec::new(),
        };
        machine.configure(settings);
        machine
    }

    /// Has every command of this machine started by another one, such as `ip netns exec one`.
    #[must_use]
    pub fn inside(mut self, wrapper: &[&str]) -> Machine {
        self.wrapper = wrapper.iter().map(|&word| word.to_owned()).collect();
        self
    }

    /// Writes its user's settings anew; a node that runs keeps those that it was started with.
    ///
    /// # Panics
    /// Where the file cannot be written.
    pub fn configure(&self, settings: &str) {
        let folder = self.project.home().join("config/sykli");
        std::fs::create_dir_all(&folder).expect("a folder can be made");
        std::fs::write(folder.join("config.toml"), settings).expect("a file can be written");
    }

    /// Its project.
    #[must_use]
    pub fn project(&self) -> &Project {
        &self.project
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where its keys, ledger and membership are.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.project.home().join("data/sykli")
    }

    /// `sykli` on this machine.
    #[must_use]
    pub fn sykli(&self, args: &[&str]) -> Command {
        let mut command = match self.wrapper.split_first() {
            None => self.project.sykli(),
            Some((first, rest)) => {
                let mut command = Command::new(first);
                command.args(rest).arg(crate::sykli());
                self.project.settle(&mut command);
                command
                    .current_dir(self.project.path())
                    .stdin(Stdio::null());
                command
            }
        };
        command.env("SYKLI_NODE_NAME", &self.name).args(args);
        command
    }

    /// Runs it to its end.
    #[track_caller]
    #[must_use]
    pub fn run(&self, args: &[&str]) -> Ran {
        self.sykli(args).output().expect("sykli starts").into()
    }

    /// Runs it to its end, which is good, and reads the document that it prints.
    ///
    /// # Panics
    /// Where it fails, or prints none.
    #[track_caller]
    #[must_use]
    pub fn json(&self, args: &[&str]) -> Value {
        let ran = self.run(args).expect(0);
        serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran:?}"))
    }

    /// Asks for a document until it says what is waited for.
    ///
    /// # Panics
    /// Where it does not for a long time.
    #[track_caller]
    pub fn until(&self, args: &[&str], holds: impl Fn(&Value) -> bool) -> Value {
        let until = Instant::now() + PATIENCE;
        loop {
            let document = self.json(args);
            if holds(&document) {
                return document;
            }
            assert!(Instant::now() < until, "{args:?} never said so: {document}");
            std::thread::sleep(LOOK);
        }
    }

    /// Its peer id.
    #[track_caller]
    #[must_use]
    pub fn peer(&self) -> String {
        self.run(&["id"]).expect(0).stdout.trim().to_owned()
    }

    /// Starts its node in the foreground and waits until it listens.
    #[track_caller]
    pub fn start(&mut self) -> &mut Talker {
        let mut node = Talker::start(&mut self.sykli(&["node", "start"]));
        node.said("consent:");
        self.node.insert(node)
    }

    /// The node that was started.
    ///
    /// # Panics
    /// Where none was.
    #[track_caller]
    pub fn node(&mut self) -> &mut Talker {
        self.node.as_mut().expect("it was started")
    }

    /// `kill -9` of its node.
    #[track_caller]
    pub fn kill(&mut self) {
        self.node().kill();
        self.node = None;
    }

    /// Lets `other` join this machine's mesh, whose node has to run.
    #[track_caller]
    pub fn admit(&self, other: &Machine) {
        let ticket = self.run(&["mesh", "invite"]).expect(0).stdout;
        let _ = other.run(&["mesh", "join", ticket.trim()]).expect(0);
    }
}

/// A mesh of these machines: the first makes it, and its node runs from then on; the others have joined, and theirs do
/// not run yet.
#[track_caller]
#[must_use]
pub fn mesh<const N: usize>(mut machines: [Machine; N]) -> [Machine; N] {
    let (first, others) = machines.split_first_mut().expect("a mesh has a machine");
    let _ = first.run(&["mesh", "create"]).expect(0);
    first.start();
    for other in others {
        first.admit(other);
    }
    machines
}
