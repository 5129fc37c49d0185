//! The guest, a project with a home of its own, and what a run of it told.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock};

use sykli_core::pipeline::{Format, parse};
use sykli_core::run::SettledKind;
use sykli_node::events::{RunEvent, RunReport, TaskSettled};
use sykli_node::interrupt::Interrupt;
use sykli_node::node::{Node, NodeSettings};
use sykli_node::paths::Dirs;
use sykli_node::run::RunRequest;

pub(crate) const GUEST: &str = r#"
use std::{env, fs, io::Read, path::Path, process::exit};

fn put(path: &str, text: &str) {
    if let Some(parent) = Path::new(path).parent() { fs::create_dir_all(parent).unwrap(); }
    fs::write(path, text).unwrap();
}

fn walk(dir: &Path, into: &mut Vec<String>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { walk(&path, into) } else { into.push(path.to_str().unwrap().to_owned()) }
    }
}

fn main() {
    for op in env::args().skip(1) {
        let parts: Vec<&str> = op.split('=').collect();
        match parts[..] {
            ["write", path, text] => put(path, text),
            ["copy", from, to] => put(to, &fs::read_to_string(from).unwrap()),
            ["upper", from, to] => put(to, &fs::read_to_string(from).unwrap().to_uppercase()),
            ["remove", path] => fs::remove_file(path).unwrap(),
            ["list", to] => { let mut all = Vec::new(); walk(Path::new("/in"), &mut all); put(to, &all.join("\n")) }
            ["env", name, to] => put(to, &env::var(name).unwrap_or_default()),
            ["stdin", to] => { let mut text = String::new(); std::io::stdin().read_to_string(&mut text).unwrap(); put(to, &text) }
            ["print", text] => println!("{text}"),
            ["eprint", text] => eprintln!("{text}"),
            ["panic", text] => panic!("{text}"),
            ["exit", code] => exit(code.parse().unwrap()),
            ["connect", to] => { let _ = std::net::TcpStream::connect(to); }
            ["grow", mib] => { let v = vec![1u8; mib.parse::<usize>().unwrap() << 20]; println!("{}", v.iter().map(|b| *b as u64).sum::<u64>()) }
            ["spin"] => loop { std::hint::black_box(0); }
            _ => panic!("what is {op}?"),
        }
    }
}
"#;

/// The guest, built once a process.
pub(crate) fn guest() -> &'static Path {
    static GUEST_PATH: OnceLock<PathBuf> = OnceLock::new();
    GUEST_PATH.get_or_init(|| {
        let folder =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("guest-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let source = folder.join("tool.rs");
        fs::write(&source, GUEST).unwrap();
        let built = folder.join("tool.wasm");
        let mut rustc = Command::new("rustc");
        rustc
            .args(["--edition=2021", "-O", "--target", "wasm32-wasip2", "-o"])
            .arg(&built)
            .arg(&source);
        assert!(rustc.status().unwrap().success());
        built
    })
}

pub(crate) struct Project {
    pub(crate) temp: tempfile::TempDir,
}

impl Project {
    pub(crate) fn new() -> Project {
        let temp = tempfile::tempdir().unwrap();
        fs::create_dir(temp.path().join("project")).unwrap();
        let project = Project { temp };
        fs::copy(guest(), project.path("tool.wasm")).unwrap();
        project
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.temp.path().join("project")
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        fs::write(self.path(name), text).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    pub(crate) fn node(&self) -> Node {
        let dirs = Dirs::under(&self.temp.path().join("home"));
        Node::open(NodeSettings {
            dirs,
            jobs: 2,
            offline: true,
        })
        .unwrap()
    }

    pub(crate) fn request(&self, tasks: &str) -> RunRequest {
        let text = format!("schema = \"sykli-wasm/1\"\n[pipeline]\nname = \"p\"\n{tasks}");
        self.write("sykli.toml", &text);
        let pipeline = parse(&text, Format::Toml).unwrap_or_else(|found| panic!("{found:?}"));
        RunRequest::new(pipeline, self.path("sykli.toml"), self.root())
    }

    pub(crate) fn run(&self, tasks: &str) -> Ran {
        run(&self.node(), self.request(tasks))
    }
}

pub(crate) struct Ran {
    pub(crate) report: RunReport,
    pub(crate) events: Vec<RunEvent>,
}

impl Ran {
    pub(crate) fn settled(&self, label: &str) -> &TaskSettled {
        let found = self.events.iter().find_map(|event| match event {
            RunEvent::TaskSettled(settled) if &*settled.label == label => Some(settled),
            _ => None,
        });
        found.unwrap_or_else(|| panic!("{label} never settled: {:?}", self.states()))
    }

    pub(crate) fn states(&self) -> BTreeMap<String, SettledKind> {
        let states = self.events.iter().filter_map(|event| match event {
            RunEvent::TaskSettled(settled) => Some((settled.label.to_string(), settled.state)),
            _ => None,
        });
        states.collect()
    }

    pub(crate) fn attempts(&self, wanted: &str) -> usize {
        let is_start = |event: &&RunEvent| matches!(event, RunEvent::TaskStarted { label, .. } if &**label == wanted);
        self.events.iter().filter(is_start).count()
    }

    pub(crate) fn outputs(&self) -> BTreeMap<String, String> {
        let output = |one: &sykli_node::events::InstanceReport| {
            (one.label.to_string(), one.output.unwrap().to_string())
        };
        self.report.instances.iter().map(output).collect()
    }
}

pub(crate) fn run(node: &Node, request: RunRequest) -> Ran {
    let events = Mutex::new(Vec::new());
    let report = node
        .run(
            request,
            &|event| events.lock().unwrap().push(event),
            &Interrupt::new(),
        )
        .unwrap();
    Ran {
        report,
        events: events.into_inner().unwrap(),
    }
}

pub(crate) const CHAIN: &str = r#"
[task.first]
component = "tool.wasm"
inputs = ["src/**/*.txt"]
args = ["upper=/in/src/a.txt=/out/a.up", "print=hello"]
outputs = ["a.up"]

[task.second]
component = "tool.wasm"
after = ["first"]
args = ["copy=/in/first/a.up=/out/result.txt", "write=/out/extra=x", "list=/tmp/list"]
outputs = ["result.txt"]
"#;
