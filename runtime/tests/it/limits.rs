//! Every bound, met by a guest that tries to pass it.

use sykli_runtime::{Grant, Limit, Refusal, Status};

use crate::common::*;

/// A component of `count` core modules with one memory of `pages` each.
fn memories(count: usize, pages: u32) -> String {
    let instances = (0..count)
        .map(|n| format!("(core instance $i{n} (instantiate $m))"))
        .collect::<String>();
    format!(
        r#"(component
          (core module $m (memory {pages}) (func (export "run") (result i32) (i32.const 0)))
          {instances}
          (func $run (result (result)) (canon lift (core func $i0 "run")))
          (instance (export "wasi:cli/run@0.2.0") (export "run" (func $run))))"#
    )
}

#[test]
fn fifty_memories_are_refused() {
    let outcome = run(&wat(&memories(50, 1)), &grant());
    assert_eq!(outcome.status, Status::Limit(Limit::Memories { limit: 4 }));
}

#[test]
fn memories_are_summed() {
    assert_eq!(
        run(&wat(&memories(4, 16)), &grant()).status,
        Status::Exited(0)
    );
    let outcome = run(
        &wat(&memories(4, 16)),
        &Grant {
            memory_bytes: 3 << 20,
            ..grant()
        },
    );
    assert_eq!(
        outcome.status,
        Status::Limit(Limit::Memory {
            limit: 3 << 20,
            wanted: 4 << 20
        })
    );
}

#[test]
fn too_many_instances_are_refused() {
    let instances = (0..100)
        .map(|n| format!("(core instance $i{n} (instantiate $m))"))
        .collect::<String>();
    let component = format!(
        r#"(component
          (core module $m (func (export "run") (result i32) (i32.const 0)))
          {instances}
          (func $run (result (result)) (canon lift (core func $i0 "run")))
          (instance (export "wasi:cli/run@0.2.0") (export "run" (func $run))))"#
    );
    assert_eq!(
        run(&wat(&component), &grant()).status,
        Status::Limit(Limit::Instances { limit: 64 })
    );
}

#[test]
fn too_large_a_table_is_refused() {
    let grow = "(module (memory (export \"memory\") 1) (table $t 1 funcref)
        (func (export \"_start\")
          (if (i32.eq (table.grow $t (ref.null func) (i32.const 150000)) (i32.const -1)) (then unreachable))
          (if (i32.eq (table.grow $t (ref.null func) (i32.const 150000)) (i32.const -1)) (then unreachable))))";
    let outcome = run(&wat(grow), &grant());
    assert!(
        matches!(
            outcome.status,
            Status::Limit(Limit::Tables { .. }) | Status::Trapped { .. }
        ),
        "{:?}",
        outcome.status
    );
}

#[test]
fn an_allocation_beyond_the_limit_is_a_memory_limit() {
    let outcome = run_guest(&["allocate"], &grant());
    let Status::Limit(Limit::Memory { limit, wanted }) = outcome.status else {
        panic!("{:?}", outcome.status)
    };
    assert!(limit == 64 << 20 && wanted > limit);
    assert!(
        outcome.usage.peak_memory_bytes <= limit && outcome.usage.peak_memory_bytes > limit / 2
    );
    assert!(matches!(outcome.refusals[..], [Refusal::Memory { .. }]));
}

#[test]
fn a_guest_that_lives_with_refused_memory_succeeds_and_the_refusal_is_told() {
    let outcome = run_guest(&["try-allocate"], &grant());
    assert_eq!(outcome.status, Status::Exited(0));
    assert_eq!(stdout(&outcome), "full\n");
    assert!(matches!(outcome.refusals[..], [Refusal::Memory { .. }]));
}

#[test]
fn endless_recursion_is_a_stack_limit() {
    let stack = Status::Limit(Limit::Stack { limit: 512 << 10 });
    assert_eq!(
        run(
            &wat(&start("(call 0)").replace("(func (export", "(func $s (export")),
            &grant()
        )
        .status,
        stack
    );
    // Rust's own stack lies in linear memory and may end first, as an access out of bounds.
    let outcome = run_guest(&["recurse"], &grant());
    assert!(
        outcome.status == stack || matches!(outcome.status, Status::Trapped { .. }),
        "{:?}",
        outcome.status
    );
}

#[test]
fn a_flood_of_output_is_counted_and_cut() {
    let outcome = run_guest(
        &["flood", "1600"],
        &Grant {
            stdio_bytes: 1000,
            ..grant()
        },
    );
    assert_eq!(outcome.status, Status::Exited(0));
    assert_eq!(outcome.stdout.bytes.len(), 1000);
    assert_eq!(outcome.stdout.dropped_bytes, 1600 * 64 * 1024 - 1000);
}

#[test]
fn a_flood_of_handles_is_a_handle_limit() {
    // Asks for stdout again and again and keeps every handle.
    let component = r#"
    (component
      (import "wasi:io/streams@0.2.0" (instance $streams (export "output-stream" (type (sub resource)))))
      (alias export $streams "output-stream" (type $stream))
      (import "wasi:cli/stdout@0.2.0" (instance $stdout
        (alias outer 1 $stream (type $s))
        (export "output-stream" (type $t (eq $s)))
        (export "get-stdout" (func (result (own $t))))))
      (core func $get (canon lower (func $stdout "get-stdout")))
      (core module $m
        (import "" "get" (func $get (result i32)))
        (func (export "run") (result i32) (loop $l (drop (call $get)) (br $l)) (i32.const 0)))
      (core instance $i (instantiate $m (with "" (instance (export "get" (func $get))))))
      (func $run (result (result)) (canon lift (core func $i "run")))
      (instance (export "wasi:cli/run@0.2.0") (export "run" (func $run))))"#;
    assert_eq!(
        run(&wat(component), &grant()).status,
        Status::Limit(Limit::Handles { limit: 10_000 })
    );
}

/// A component that hands a list of `len` bytes to `write` of stdout.
fn writes(len: u32) -> String {
    format!(
        r#"
    (component
      (import "wasi:io/error@0.2.0" (instance $error (export "error" (type (sub resource)))))
      (alias export $error "error" (type $e))
      (import "wasi:io/streams@0.2.0" (instance $streams
        (export "output-stream" (type $os (sub resource)))
        (alias outer 1 $e (type $e1))
        (export "error" (type $e2 (eq $e1)))
        (type $se (variant (case "last-operation-failed" (own $e2)) (case "closed")))
        (export "stream-error" (type $se2 (eq $se)))
        (export "[method]output-stream.write"
          (func (param "self" (borrow $os)) (param "contents" (list u8)) (result (result (error $se2)))))))
      (alias export $streams "output-stream" (type $stream))
      (import "wasi:cli/stdout@0.2.0" (instance $stdout
        (alias outer 1 $stream (type $s))
        (export "output-stream" (type $t (eq $s)))
        (export "get-stdout" (func (result (own $t))))))
      (core module $memory (memory (export "memory") 256))
      (core instance $memory (instantiate $memory))
      (core func $get (canon lower (func $stdout "get-stdout")))
      (core func $write (canon lower (func $streams "[method]output-stream.write") (memory $memory "memory")))
      (core module $m
        (import "" "get" (func $get (result i32)))
        (import "" "write" (func $write (param i32 i32 i32 i32)))
        (func (export "run") (result i32)
          (call $write (call $get) (i32.const 0) (i32.const {len}) (i32.const 0))
          (i32.const 0)))
      (core instance $i (instantiate $m (with "" (instance
        (export "get" (func $get)) (export "write" (func $write))))))
      (func $run (result (result)) (canon lift (core func $i "run")))
      (instance (export "wasi:cli/run@0.2.0") (export "run" (func $run))))"#
    )
}

#[test]
fn one_call_carries_a_bounded_amount_of_data() {
    assert_eq!(run(&wat(&writes(10)), &grant()).status, Status::Exited(0));
    let outcome = run(&wat(&writes(9 << 20)), &grant());
    assert_eq!(
        outcome.status,
        Status::Limit(Limit::CallData { limit: 8 << 20 })
    );
    let outcome = run(&wat(&writes(100_000)), &grant());
    assert!(
        matches!(
            outcome.status,
            Status::Trapped {
                kind: sykli_runtime::TrapKind::HostCall,
                ..
            }
        ),
        "{:?}",
        outcome.status
    );
}

#[test]
fn many_random_bytes_at_once_are_refused() {
    let module = |len: u32| {
        format!(
            r#"(module (import "wasi_snapshot_preview1" "random_get" (func $get (param i32 i32) (result i32)))
            (memory (export "memory") 100)
            (func (export "_start") (drop (call $get (i32.const 65536) (i32.const {len})))))"#
        )
    };
    assert_eq!(
        run(&wat(&module(1 << 20)), &grant()).status,
        Status::Exited(0)
    );
    let outcome = run(&wat(&module(2 << 20)), &grant());
    assert_eq!(
        outcome.status,
        Status::Limit(Limit::CallData { limit: 1 << 20 })
    );
}
