//! How a run ends when somebody or something ends it: fuel, deadline, cancel, traps, exits.

use std::sync::Arc;
use std::time::Duration;

use sykli_runtime::{CancelToken, Grant, Limit, Sandbox, Silent, Status, TrapKind};

use crate::common::*;

/// A component that waits for a sleep of `u64::MAX` nanoseconds.
const SLEEP_FOR_EVER: &str = r#"
(component
  (import "wasi:io/poll@0.2.0" (instance $poll
    (export "pollable" (type $p (sub resource)))
    (export "[method]pollable.block" (func (param "self" (borrow $p))))))
  (alias export $poll "pollable" (type $pollable))
  (import "wasi:clocks/monotonic-clock@0.2.0" (instance $clock
    (alias outer 1 $pollable (type $p))
    (export "pollable" (type $q (eq $p)))
    (export "subscribe-duration" (func (param "when" u64) (result (own $q))))))
  (core func $block (canon lower (func $poll "[method]pollable.block")))
  (core func $subscribe (canon lower (func $clock "subscribe-duration")))
  (core module $m
    (import "" "block" (func $block (param i32)))
    (import "" "subscribe" (func $subscribe (param i64) (result i32)))
    (func (export "run") (result i32)
      (call $block (call $subscribe (i64.const -1)))
      (i32.const 0)))
  (core instance $i (instantiate $m (with "" (instance
    (export "block" (func $block)) (export "subscribe" (func $subscribe))))))
  (func $run (result (result)) (canon lift (core func $i "run")))
  (instance (export "wasi:cli/run@0.2.0") (export "run" (func $run))))
"#;

#[test]
fn a_loop_ends_with_its_fuel() {
    let fuel = 50_000_000;
    let outcome = run(
        &wat(&start("(loop $l (br $l))")),
        &Grant { fuel, ..grant() },
    );
    assert_eq!(outcome.status, Status::Limit(Limit::Fuel { limit: fuel }));
    assert_eq!(outcome.usage.fuel, fuel);
}

#[test]
fn a_loop_ends_at_its_deadline() {
    let timeout = Duration::from_millis(50);
    let outcome = run(
        &wat(&start("(loop $l (br $l))")),
        &Grant {
            fuel: u64::MAX,
            timeout,
            ..grant()
        },
    );
    assert_eq!(outcome.status, Status::TimedOut { limit: timeout });
    assert!(outcome.usage.fuel > 0 && outcome.usage.wall >= timeout);
}

#[test]
fn an_endless_sleep_is_over_at_once_in_virtual_time() {
    let outcome = run(&wat(SLEEP_FOR_EVER), &grant());
    assert_eq!(outcome.status, Status::Exited(0));
}

#[test]
fn an_endless_sleep_in_real_time_ends_at_the_deadline() {
    let timeout = Duration::from_millis(50);
    let outcome = run(
        &wat(SLEEP_FOR_EVER),
        &Grant {
            clock: true,
            timeout,
            ..grant()
        },
    );
    assert_eq!(outcome.status, Status::TimedOut { limit: timeout });
}

#[test]
fn real_sleeps_take_their_time() {
    let outcome = run_guest(
        &["sleep", "30"],
        &Grant {
            clock: true,
            ..grant()
        },
    );
    assert_eq!(outcome.status, Status::Exited(0));
    assert!(outcome.usage.wall >= Duration::from_millis(30));
}

#[test]
fn a_run_is_cancelled_from_another_thread_while_it_computes_and_while_it_waits() {
    for what in ["print-then-loop", "print-then-sleep"] {
        let cancel = CancelToken::default();
        let recorder = Arc::new(Recorder {
            cancel_at_output: Some(cancel.clone()),
            ..Recorder::default()
        });
        let grant = Grant {
            clock: true,
            fuel: u64::MAX,
            ..grant()
        };
        let outcome =
            Sandbox::new(engine()).run(&guest(), &grant, inputs(&[what]), recorder, &cancel);
        assert_eq!(outcome.status, Status::Cancelled, "{what}");
        assert_eq!(stdout(&outcome), "started\n");
    }
}

#[test]
fn a_token_that_is_cancelled_already_ends_the_run_at_its_first_yield() {
    let cancel = CancelToken::default();
    cancel.cancel();
    let outcome = Sandbox::new(engine()).run(
        &wat(&start("(loop $l (br $l))")),
        &Grant {
            fuel: u64::MAX,
            ..grant()
        },
        inputs(&[]),
        Arc::new(Silent),
        &cancel,
    );
    assert_eq!(outcome.status, Status::Cancelled);
}

#[test]
fn the_next_run_is_unaffected() {
    let module = wat(&start("(loop $l (br $l))"));
    for _ in 0..40 {
        let outcome = run(
            &module,
            &Grant {
                fuel: 1_000_000,
                ..grant()
            },
        );
        assert!(matches!(outcome.status, Status::Limit(Limit::Fuel { .. })));
        assert_eq!(run_guest(&["hello"], &grant()).status, Status::Exited(0));
    }
}

#[test]
fn a_panic_has_a_backtrace_with_readable_names() {
    let outcome = run_guest(&["panic"], &grant());
    let Status::Trapped {
        kind,
        message,
        backtrace,
    } = &outcome.status
    else {
        panic!("{:?}", outcome.status)
    };
    assert_eq!(*kind, TrapKind::Unreachable);
    assert!(message.contains("unreachable"), "{message}");
    assert!(
        backtrace
            .iter()
            .any(|frame| frame.contains("guest::innermost")),
        "{backtrace:#?}"
    );
    assert!(
        String::from_utf8_lossy(&outcome.stderr.bytes)
            .contains("this guest panics with 2 arguments")
    );
}

#[test]
fn every_trap_has_its_kind() {
    for (body, expected) in [
        ("unreachable", TrapKind::Unreachable),
        (
            "(drop (i32.load (i32.const -1)))",
            TrapKind::MemoryOutOfBounds,
        ),
        (
            "(drop (i32.div_u (i32.const 1) (i32.const 0)))",
            TrapKind::Arithmetic,
        ),
    ] {
        let outcome = run(&wat(&start(body)), &grant());
        assert!(
            matches!(&outcome.status, Status::Trapped { kind, .. } if *kind == expected),
            "{:?}",
            outcome.status
        );
    }
    let table = "(module (memory (export \"memory\") 1) (table 1 funcref)
        (func (export \"_start\") (call_indirect (i32.const 0))))";
    let outcome = run(&wat(table), &grant());
    assert!(
        matches!(
            outcome.status,
            Status::Trapped {
                kind: TrapKind::BadIndirectCall,
                ..
            }
        ),
        "{:?}",
        outcome.status
    );
}

#[test]
fn exit_codes_are_passed_on() {
    assert_eq!(
        run_guest(&["exit", "0"], &grant()).status,
        Status::Exited(0)
    );
    assert_eq!(
        run_guest(&["exit", "1"], &grant()).status,
        Status::Exited(1)
    );
    // WASI 0.2 as Rust uses it knows success and failure alone.
    assert_eq!(
        run_guest(&["exit", "42"], &grant()).status,
        Status::Exited(1)
    );
}

#[test]
fn a_panicking_observer_is_a_host_fault_and_nothing_more() {
    struct Panics;
    impl sykli_runtime::Observer for Panics {
        fn stdout(&self, _: &[u8]) {
            panic!("an observer of a test");
        }
    }
    let outcome = Sandbox::new(engine()).run(
        &guest(),
        &grant(),
        inputs(&["hello"]),
        Arc::new(Panics),
        &CancelToken::default(),
    );
    let Status::HostFault { message } = &outcome.status else {
        panic!("{:?}", outcome.status)
    };
    assert!(message.contains("an observer of a test"), "{message}");
    assert_eq!(run_guest(&["hello"], &grant()).status, Status::Exited(0));
}
