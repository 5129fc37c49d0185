//! What an ordinary program sees: arguments, environment, streams, time, randomness, the network, the task interface.

use std::io::Write as _;
use std::process::Command;
use std::sync::Arc;

use sykli_runtime::{CancelToken, Floats, Grant, Refusal, Sandbox, Source, Status, TaskInfo};

use crate::common::*;

#[test]
fn a_program_sees_what_it_is_given() {
    let mut inputs = inputs(&["echo", "a b", "é"]);
    inputs.env = vec![("KEY".to_owned(), "value".to_owned())];
    inputs.stdin = Source::bytes(&b"some input"[..]);
    let outcome = run_with(&guest(), &grant(), inputs);
    assert_eq!(outcome.status, Status::Exited(0));
    assert_eq!(
        stdout(&outcome),
        "args [\"a b\", \"é\"]\nenv [(\"KEY\", \"value\")]\nstdin \"some input\"\n"
    );
    assert_eq!(outcome.stderr.bytes, b"to stderr\n");
}

#[test]
fn output_is_passed_on_while_it_is_written() {
    let recorder = Arc::new(Recorder::default());
    let grant = Grant {
        stream_bytes: 3,
        ..grant()
    };
    let sandbox = Sandbox::new(engine());
    let outcome = sandbox.run(
        &guest(),
        &grant,
        inputs(&["hello"]),
        Arc::clone(&recorder) as _,
        &CancelToken::default(),
    );
    assert_eq!(outcome.stdout.bytes, b"hello\n");
    assert_eq!(recorder.events.lock().unwrap().concat(), "out hel");
}

#[test]
fn time_randomness_and_hash_order_are_the_same_every_time() {
    let first = stdout(&run_guest(&["time-and-luck"], &grant()));
    assert!(
        first.contains("wall 9466848") && first.contains("slept 3600."),
        "{first}"
    );
    for _ in 0..3 {
        assert_eq!(stdout(&run_guest(&["time-and-luck"], &grant())), first);
    }
    let mut other_seed = inputs(&["time-and-luck"]);
    other_seed.seed = [2; 32];
    assert_ne!(stdout(&run_with(&guest(), &grant(), other_seed)), first);
}

#[test]
fn fuel_is_the_same_every_time() {
    let fuel = |args: &[&str]| run_guest(args, &grant()).usage.fuel;
    assert_eq!(fuel(&["hello"]), fuel(&["hello"]));
    assert_eq!(fuel(&["flood", "50"]), fuel(&["flood", "50"]));
}

#[test]
fn granted_time_and_randomness_are_the_hosts() {
    let grant = Grant {
        random: true,
        ..grant()
    };
    let order = |outcome| stdout(&outcome).lines().last().unwrap().to_owned();
    let orders: std::collections::BTreeSet<String> = (0..8)
        .map(|_| order(run_guest(&["time-and-luck"], &grant)))
        .collect();
    assert!(orders.len() > 1);
    let clock = Grant {
        clock: true,
        ..grant
    };
    let outcome = run_guest(&["sleep", "0"], &clock);
    assert_eq!(outcome.status, Status::Exited(0));
}

#[test]
fn the_network_is_closed_and_every_try_is_named() {
    let outcome = run_guest(&["connect", "127.0.0.1:9"], &grant());
    assert_eq!(stdout(&outcome), "refused: PermissionDenied\n");
    assert_eq!(
        outcome.refusals,
        [Refusal::Net {
            host: "127.0.0.1".to_owned(),
            port: Some(9)
        }]
    );

    let outcome = run_guest(&["connect", "example.com:443"], &grant());
    assert!(
        stdout(&outcome).starts_with("refused"),
        "{}",
        stdout(&outcome)
    );
    assert_eq!(
        outcome.refusals,
        [Refusal::Net {
            host: "example.com".to_owned(),
            port: None
        }]
    );

    for what in ["listen", "udp"] {
        for address in ["127.0.0.1:0", "0.0.0.0:0"] {
            let outcome = run_guest(&[what, address], &grant());
            assert_eq!(
                stdout(&outcome),
                "Err(PermissionDenied)\n",
                "{what} {address}"
            );
            assert_eq!(outcome.refusals.len(), 1);
        }
    }
}

#[test]
fn a_granted_host_is_reached_and_no_other() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"hi").unwrap();
    });
    let grant = Grant {
        net: vec![address.parse().unwrap()],
        ..grant()
    };
    let outcome = run_guest(&["connect", &address], &grant);
    assert_eq!(stdout(&outcome), "connected: hi\n", "{:?}", outcome.status);
    server.join().unwrap();

    let outcome = run_guest(&["connect", "127.0.0.1:1"], &grant);
    assert_eq!(stdout(&outcome), "refused: PermissionDenied\n");
    let outcome = run_guest(&["listen", "127.0.0.1:0"], &grant);
    assert_eq!(stdout(&outcome), "Err(PermissionDenied)\n");
}

#[test]
fn a_wait_for_a_granted_host_ends_at_the_deadline() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let timeout = std::time::Duration::from_millis(200);
    let grant = Grant {
        net: vec![address.parse().unwrap()],
        timeout,
        ..grant()
    };
    // Nobody accepts or answers: the guest waits for bytes that do not come.
    let outcome = run_guest(&["connect", &address], &grant);
    assert_eq!(outcome.status, Status::TimedOut { limit: timeout });
}

/// Reports through `sykli:task/host`, then checks what it is told and traps where that is wrong.
const TASK: &str = r#"
(component
  (import "sykli:task/host@0.1.0" (instance $host
    (type $r (record (field "index" u32) (field "count" u32)))
    (export "shard-info" (type $shard (eq $r)))
    (export "progress" (func (param "done" u64) (param "total" u64) (param "message" string)))
    (export "attempt" (func (result u32)))))
  (core module $memory (memory (export "memory") 1) (data (i32.const 0) "half"))
  (core instance $memory (instantiate $memory))
  (core func $progress (canon lower (func $host "progress") (memory $memory "memory")))
  (core func $attempt (canon lower (func $host "attempt")))
  (core module $m
    (import "" "progress" (func $progress (param i64 i64 i32 i32)))
    (import "" "attempt" (func $attempt (result i32)))
    (func (export "run") (result i32)
      (call $progress (i64.const 1) (i64.const 2) (i32.const 0) (i32.const 4))
      (i32.ne (call $attempt) (i32.const 3))))
  (core instance $i (instantiate $m (with "" (instance
    (export "progress" (func $progress)) (export "attempt" (func $attempt))))))
  (func $run (result (result)) (canon lift (core func $i "run")))
  (instance (export "wasi:cli/run@0.2.0") (export "run" (func $run))))
"#;

#[test]
fn a_task_reports_and_learns_about_itself() {
    let component = wat(TASK);
    assert!(component.uses_task_interface());
    assert!(!guest().uses_task_interface());
    let recorder = Arc::new(Recorder::default());
    let mut inputs = inputs(&[]);
    inputs.task = TaskInfo {
        attempt: 3,
        ..TaskInfo::default()
    };
    let sandbox = Sandbox::new(engine());
    let outcome = sandbox.run(
        &component,
        &grant(),
        inputs,
        Arc::clone(&recorder) as _,
        &CancelToken::default(),
    );
    assert_eq!(outcome.status, Status::Exited(0));
    assert_eq!(recorder.events.lock().unwrap()[..], ["progress 1/2 half"]);
}

#[test]
fn a_c_program_of_preview_1_runs_adapted() {
    let dir = tempfile::tempdir().unwrap();
    let (source, wasm) = (dir.path().join("hello.c"), dir.path().join("hello.wasm"));
    std::fs::write(
        &source,
        "#include <stdio.h>\n#include <stdlib.h>\nint main(int c, char **v) { printf(\"%d %s %s\\n\", c, v[1], getenv(\"KEY\")); return 7; }",
    )
    .unwrap();
    let compiled = Command::new("clang")
        .args(["--target=wasm32-wasi", "-O1", "-o"])
        .arg(&wasm)
        .arg(&source)
        .status();
    if !compiled.is_ok_and(|status| status.success()) {
        // No clang for WASI on this machine; the same way of loading is taken by every test of a core module in text.
        return;
    }
    let component = engine()
        .load(&std::fs::read(wasm).unwrap(), Floats::Fast)
        .unwrap();
    assert!(component.adapted());
    let mut inputs = inputs(&["x"]);
    inputs.env = vec![("KEY".to_owned(), "value".to_owned())];
    let outcome = run_with(&component, &grant(), inputs);
    assert_eq!(stdout(&outcome), "2 x value\n");
    assert_eq!(outcome.status, Status::Exited(7));
}
