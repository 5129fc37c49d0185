//! What an isolated process may take, with real processes and the project's own hostile guests: memory within the guest's
//! limit and 64 MiB, an end to what does not end, components that are dear to compile refused or compiled within bounds,
//! routes that lead out closed, compiled code from elsewhere never loaded.
//!
//! The kernel tells the most memory that any child took so far, so all of it is one test, in order, in a process that starts
//! no other children. No time is asserted.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

use std::io::{Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use sykli_node::isolation::{Apart, Loaded, Lost, Needed, Program};
use sykli_runtime::{Captured, Floats, Grant, Limit, Outcome, Status};
use sykli_tests::{Ran, bombs, children_peak, guest, sykli, wat_guest};

/// Where that process finds the guests: asking for them would start cargo.
const GUESTS: &str = "SYKLI_TEST_GUESTS";

/// What every guest may have.
const LIMIT: u64 = 64 << 20;
/// What its process may take for itself beyond that.
const SLACK: u64 = 64 << 20;
/// What compiling may take.
const COMPILING: u64 = 2 << 30;

fn grant() -> Grant {
    Grant {
        fuel: 2_000_000_000,
        memory_bytes: LIMIT,
        timeout: Duration::from_secs(300),
        output_bytes: 8 << 20,
        output_entries: 20_000,
        ..Grant::default()
    }
}

struct Scene {
    _folder: tempfile::TempDir,
    apart: Apart,
}

impl Scene {
    fn new() -> Scene {
        let folder = tempfile::tempdir().unwrap();
        let program = Program::at(sykli());
        let apart = Apart::new(folder.path(), program, 1, Needed::BestEffort).unwrap();
        Scene {
            _folder: folder,
            apart,
        }
    }

    fn load(&self, bytes: &[u8]) -> Result<Loaded, Lost> {
        self.apart.load(bytes, Floats::Fast)
    }

    fn run(&self, grant: &Grant, command: &[&str]) -> Outcome {
        let guests = PathBuf::from(std::env::var_os(GUESTS).unwrap());
        let bytes = std::fs::read(guests.join(format!("{}.wasm", command[0]))).unwrap();
        let loaded = self.load(&bytes).unwrap();
        self.apart.run(&loaded, grant, command).unwrap().0
    }
}

fn text(captured: &Captured) -> String {
    String::from_utf8_lossy(&captured.bytes).into_owned()
}

#[test]
fn a_process_takes_no_more_than_it_may_and_leads_nowhere() {
    let mut part = Command::new(std::env::current_exe().unwrap());
    part.args(["--ignored", "--exact", "part", "--nocapture"]);
    let hello = guest("hello");
    part.env("SYKLI_TEST_BIN", sykli());
    part.env(GUESTS, hello.parent().unwrap());
    let ran = Ran::from(part.output().unwrap()).expect(0);
    eprintln!("{}", ran.stderr);
    assert!(ran.stdout.contains("1 passed"), "{}", ran.stdout);
}

#[test]
#[ignore = "what the other test does, in a process of its own"]
fn part() {
    let scene = Scene::new();
    what_takes_much(&scene);
    what_never_ends(&scene);
    what_leads_out(&scene);
    let most = children_peak();
    eprintln!(
        "at most {} MiB were resident in a process of a guest's",
        most >> 20
    );
    assert!(most <= LIMIT + SLACK, "{} MiB", most >> 20);
    what_is_dear_to_compile(&scene);
    let most = children_peak();
    eprintln!(
        "at most {} MiB were resident in one that compiled",
        most >> 20
    );
    assert!(most < COMPILING, "{} MiB", most >> 20);
}

fn what_takes_much(scene: &Scene) {
    let memory = |status: &Status| matches!(status, Status::Limit(Limit::Memory { .. }));
    let bomb = scene.run(&grant(), &["memory-bomb"]).status;
    assert!(memory(&bomb), "{bomb}");
    let hog = scene.run(&grant(), &["memory-hog"]);
    assert!(text(&hog.stdout).starts_with("refused after"), "{hog:?}");
    for name in ["memories-50", "memory-huge", "tables-9", "instances-100"] {
        match scene.load(&wat_guest(name)) {
            Ok(loaded) => {
                let ran = scene.apart.run(&loaded, &grant(), &[name]).unwrap().0;
                assert!(
                    matches!(ran.status, Status::Limit(_)),
                    "{name}: {}",
                    ran.status
                );
            }
            Err(error) => assert!(matches!(error, Lost::Component(_)), "{name}: {error}"),
        }
    }
    for stream in ["stdout", "stderr"] {
        let flood = scene.run(&grant(), &["stdout-flood", stream, "1073741824"]);
        let captured = if stream == "stdout" {
            flood.stdout
        } else {
            flood.stderr
        };
        assert_eq!(captured.bytes.len(), 1 << 20);
        assert_eq!(captured.dropped_bytes, (1 << 30) - (1 << 20));
    }
    for way in [
        "big", "many", "folders", "sparse", "hole", "links", "rewrite",
    ] {
        let fill = scene.run(&grant(), &["disk-fill", way, "/out"]);
        assert!(fill.status.is_success(), "{way}: {}", fill.status);
        assert!(
            fill.usage.output_bytes <= 8 << 20,
            "{way}: {:?}",
            fill.usage
        );
    }
    let stack = scene.run(&grant(), &["stack-bomb"]).status;
    assert!(
        matches!(stack, Status::Limit(Limit::Stack { .. })),
        "{stack}"
    );
    let panic = scene.run(&grant(), &["panic"]).status;
    assert!(matches!(panic, Status::Trapped { .. }), "{panic}");
}

fn what_never_ends(scene: &Scene) {
    let spin = scene.run(&grant(), &["spin"]).status;
    assert!(matches!(spin, Status::Limit(Limit::Fuel { .. })), "{spin}");
    let sleep = scene.run(&grant(), &["sleep-forever"]).status;
    assert!(
        matches!(sleep, Status::Limit(Limit::Fuel { .. })),
        "{sleep}"
    );
    let short = Grant {
        fuel: i64::MAX as u64,
        timeout: Duration::from_millis(300),
        clock: true,
        ..grant()
    };
    for name in ["spin", "sleep-forever"] {
        let late = scene.run(&short, &[name]).status;
        assert!(matches!(late, Status::TimedOut { .. }), "{name}: {late}");
    }
}

fn what_leads_out(scene: &Scene) {
    let outside = tempfile::tempdir().unwrap();
    let canary = outside.path().join("canary.txt");
    std::fs::write(&canary, "untouched").unwrap();
    let escape = scene.run(&grant(), &["escape", canary.to_str().unwrap()]);
    let said = text(&escape.stdout);
    assert!(
        escape.status.is_success() && !said.contains("ESCAPED"),
        "{said}"
    );
    assert!(said.lines().count() > 100, "every route was tried: {said}");
    assert_eq!(std::fs::read_to_string(&canary).unwrap(), "untouched");

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let datagrams = UdpSocket::bind(address).unwrap();
    datagrams.set_nonblocking(true).unwrap();
    let net = text(&scene.run(&grant(), &["net", &address.to_string()]).stdout);
    assert!(net.contains("connect: refused"), "{net}");
    assert!(listener.accept().is_err(), "nobody has connected");
    assert!(datagrams.recv(&mut [0; 8]).is_err(), "nothing has arrived");
    // One that is granted the address gets a process that may connect, to there and nowhere else.
    let granted = Grant {
        net: vec![address.to_string().parse().unwrap()],
        ..grant()
    };
    listener.set_nonblocking(false).unwrap();
    let answering = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.read_exact(&mut [0; 5]).unwrap();
        stream.write_all(b"pong\n").unwrap();
    });
    let net = text(&scene.run(&granted, &["net", &address.to_string()]).stdout);
    assert!(net.contains("connect: ok: pong"), "{net}");
    answering.join().unwrap();
    assert!(net.contains("listen everywhere: refused"), "{net}");
}

fn what_is_dear_to_compile(scene: &Scene) {
    for (name, bytes) in [
        ("many-live-locals", bombs::many_live_locals(5_000, 2_000)),
        ("wide-branches", bombs::wide_branches(5_000, 10)),
        ("many-functions", bombs::many_functions(260_000, 1)),
        ("huge-body", bombs::huge_body(200_000)),
        ("deep-nesting", bombs::deep_nesting(50_000)),
    ] {
        for _ in 0..2 {
            match scene.load(&bytes) {
                Ok(_) => {}
                Err(Lost::Component(why)) => eprintln!("{name}: {why}"),
                Err(error) => panic!("{name}: {error}"),
            }
        }
    }
    let hello = scene.run(&grant(), &["hello"]).status;
    assert_eq!(hello, Status::Exited(0));
}
