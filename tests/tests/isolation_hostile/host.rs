//! What can be tried with the host's functions: lengths and pointers that lead nowhere, handles that are none, allocators
//! that lie, sleeps without end, paths and addresses that lead out.

use crate::{Ends, Hostile, component, hostile};

pub(crate) fn all(port: u16, canary: &str) -> Vec<Hostile> {
    let mut all = Vec::new();
    random(&mut all);
    sleeps(&mut all);
    handles(&mut all);
    exits(&mut all);
    pointers(&mut all);
    paths(canary, &mut all);
    unknown(port, &mut all);
    all
}

/// Lists of every length, into memory that an allocator of every kind gives.
fn random(all: &mut Vec<Hostile>) {
    let allocators = [
        (
            "bump",
            "(global.get $at) (global.set $at (i32.add (global.get $at) (local.get 3)))",
        ),
        ("nothing", "i32.const 0"),
        ("the end", "i32.const 0xffffffff"),
        ("beyond", "i32.const 0x10000"),
        ("trap", "unreachable"),
        ("loop", "(loop (br 0)) i32.const 0"),
        (
            "recursion",
            "(call $realloc (i32.const 0) (i32.const 0) (i32.const 1) (local.get 3))",
        ),
    ];
    for (name, give) in allocators {
        for len in [
            "0",
            "1",
            "65536",
            "1048576",
            "8388609",
            "0x80000000",
            "0xffffffff",
            "0x7fffffffffffffff",
            "0xffffffffffffffff",
        ] {
            let parts = format!(
                "(import \"wasi:random/random@0.2.0\" (instance $r (export \"get-random-bytes\" (func (param \"len\" u64) (result (list u8))))))
                (core module $libc (memory (export \"memory\") 1) (global $at (mut i32) (i32.const 1024))
                  (func $realloc (export \"realloc\") (param i32 i32 i32 i32) (result i32) {give}))
                (core instance $l (instantiate $libc))
                (alias core export $l \"memory\" (core memory $memory))
                (core func $get (canon lower (func $r \"get-random-bytes\") (memory $memory) (realloc (func $l \"realloc\"))))
                (core module $m (import \"r\" \"get\" (func $get (param i64 i32)))
                  (func (export \"run\") (result i32) (call $get (i64.const {len}) (i32.const 64)) i32.const 0))
                (core instance $i (instantiate $m (with \"r\" (instance (export \"get\" (func $get))))))"
            );
            all.push(hostile(
                format!("{len} random bytes, allocator: {name}"),
                component(&parts),
                Ends::Typed,
            ));
        }
    }
}

/// Imports of a clock and of what waits for it, lowered as `$later`, `$block` and `$drop`.
const CLOCK: &str = "(import \"wasi:io/poll@0.2.0\" (instance $poll
      (export \"pollable\" (type $p (sub resource)))
      (export \"[method]pollable.block\" (func (param \"self\" (borrow $p))))))
    (alias export $poll \"pollable\" (type $pollable))
    (import \"wasi:clocks/monotonic-clock@0.2.0\" (instance $clock
      (alias outer 1 $pollable (type $outer))
      (export \"pollable\" (type $p (eq $outer)))
      (export \"subscribe-duration\" (func (param \"when\" u64) (result (own $p))))))
    (core func $later (canon lower (func $clock \"subscribe-duration\")))
    (core func $block (canon lower (func $poll \"[method]pollable.block\")))
    (core func $drop (canon resource.drop $pollable))";

/// A component with the clock whose `run` has this body.
fn with_clock(body: &str) -> Vec<u8> {
    component(&format!(
        "{CLOCK}
        (core module $m (import \"c\" \"later\" (func $later (param i64) (result i32)))
          (import \"c\" \"block\" (func $block (param i32))) (import \"c\" \"drop\" (func $drop (param i32)))
          (func (export \"run\") (result i32) (local i32) {body} i32.const 0))
        (core instance $i (instantiate $m (with \"c\" (instance (export \"later\" (func $later))
          (export \"block\" (func $block)) (export \"drop\" (func $drop))))))"
    ))
}

/// Sleeps that no clock was granted for: virtual time jumps, or fuel ends them.
fn sleeps(all: &mut Vec<Hostile>) {
    for nanos in [
        "0",
        "1",
        "1000000000",
        "3600000000000",
        "0x7fffffffffffffff",
        "0xffffffffffffffff",
    ] {
        let once = format!("(call $block (call $later (i64.const {nanos})))");
        all.push(hostile(
            format!("sleeps {nanos} ns"),
            with_clock(&once),
            Ends::Typed,
        ));
        let ever = format!(
            "(loop (local.set 0 (call $later (i64.const {nanos}))) (call $block (local.get 0)) (call $drop (local.get 0)) (br 0))"
        );
        all.push(hostile(
            format!("sleeps {nanos} ns for ever"),
            with_clock(&ever),
            Ends::Bound,
        ));
    }
    let flood = "(loop (drop (call $later (i64.const 1))) (br 0))";
    all.push(hostile("a flood of clocks", with_clock(flood), Ends::Bound));
}

/// Handles that were never given, or are gone.
fn handles(all: &mut Vec<Hostile>) {
    for handle in [
        "0",
        "1",
        "2",
        "100",
        "0x3fffffff",
        "0x7fffffff",
        "0x80000000",
        "0xffffffff",
    ] {
        for (name, call) in [("block", "$block"), ("drop", "$drop")] {
            let text = format!("(call {call} (i32.const {handle}))");
            all.push(hostile(
                format!("{name} of handle {handle}"),
                with_clock(&text),
                Ends::Trap,
            ));
        }
    }
    for (name, text) in [
        (
            "dropped twice",
            "(local.set 0 (call $later (i64.const 0))) (call $drop (local.get 0)) (call $drop (local.get 0))",
        ),
        (
            "used when dropped",
            "(local.set 0 (call $later (i64.const 0))) (call $drop (local.get 0)) (call $block (local.get 0))",
        ),
        (
            "its neighbour",
            "(local.set 0 (call $later (i64.const 0))) (call $block (i32.add (local.get 0) (i32.const 1)))",
        ),
    ] {
        all.push(hostile(name, with_clock(text), Ends::Trap));
    }
}

fn exits(all: &mut Vec<Hostile>) {
    for status in ["0", "1", "2", "0xffffffff"] {
        let parts = format!(
            "(import \"wasi:cli/exit@0.2.0\" (instance $e (export \"exit\" (func (param \"status\" (result))))))
            (core func $exit (canon lower (func $e \"exit\")))
            (core module $m (import \"e\" \"exit\" (func $exit (param i32)))
              (func (export \"run\") (result i32) (call $exit (i32.const {status})) unreachable))
            (core instance $i (instantiate $m (with \"e\" (instance (export \"exit\" (func $exit))))))"
        );
        all.push(hostile(
            format!("exits with {status}"),
            component(&parts),
            Ends::Typed,
        ));
    }
}

/// A core module of WASI preview 1 with these imports, this data at 1024, and this body of `_start`.
fn preview1(imports: &[(&str, &str)], data: &str, body: &str) -> Vec<u8> {
    let imports: String = imports
        .iter()
        .map(|(name, kind)| {
            format!("(import \"wasi_snapshot_preview1\" \"{name}\" (func ${name} {kind}))")
        })
        .collect();
    let text = format!(
        "(module {imports} (memory (export \"memory\") 1) (data (i32.const 1024) \"{data}\")
         (func (export \"_start\") (local i32) {body}))"
    );
    wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// Buffers that are not all in memory.
fn pointers(all: &mut Vec<Hostile>) {
    for (start, len) in [
        ("0x10000", "1"),
        ("0", "0xffffffff"),
        ("0xffffffff", "0xffffffff"),
        ("0xfff0", "0x100"),
        ("0x80000000", "0x80000000"),
    ] {
        let buffer = format!(
            "(i32.store (i32.const 0) (i32.const {start})) (i32.store (i32.const 4) (i32.const {len}))"
        );
        for (name, kind, call) in [
            (
                "fd_write",
                "(param i32 i32 i32 i32) (result i32)",
                "(i32.const 1) (i32.const 0) (i32.const 1) (i32.const 16)",
            ),
            (
                "fd_read",
                "(param i32 i32 i32 i32) (result i32)",
                "(i32.const 0) (i32.const 0) (i32.const 1) (i32.const 16)",
            ),
        ] {
            let body = format!("{buffer} (drop (call ${name} {call}))");
            all.push(hostile(
                format!("{name} of {len} at {start}"),
                preview1(&[(name, kind)], "", &body),
                Ends::Typed,
            ));
        }
        let body = format!("(drop (call $random_get (i32.const {start}) (i32.const {len})))");
        let module = preview1(&[("random_get", "(param i32 i32) (result i32)")], "", &body);
        all.push(hostile(
            format!("random_get of {len} at {start}"),
            module,
            Ends::Typed,
        ));
    }
}

/// Files of the host's, by every name, through every folder that may be there; `unreachable` where one opens.
fn paths(canary: &str, all: &mut Vec<Hostile>) {
    let up = "../".repeat(12);
    let relative = canary.trim_start_matches('/');
    let names = [
        "etc/passwd".to_owned(),
        "/etc/passwd".to_owned(),
        format!("{up}etc/passwd"),
        format!("./{up}etc/passwd"),
        "../../../../proc/self/environ".to_owned(),
        "/proc/self/mem".to_owned(),
        "/dev/mem".to_owned(),
        canary.to_owned(),
        format!("{up}{relative}"),
        format!("{canary}/"),
        format!("/proc/self/root{canary}"),
        "..".to_owned(),
    ];
    for name in names {
        let kind = "(param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)";
        let mut body = String::new();
        // Folders that were opened before have the numbers from 3 on.
        for folder in 3..7 {
            let call = format!(
                "(call $path_open (i32.const {folder}) (i32.const 1) (i32.const 1024) (i32.const {}) (i32.const 0) (i64.const 0x1fffffff) (i64.const 0x1fffffff) (i32.const 0) (i32.const 8))",
                name.len()
            );
            body.push_str(&format!("(if (i32.eqz {call}) (then unreachable))"));
        }
        all.push(hostile(
            format!("opens {name}"),
            preview1(&[("path_open", kind)], &name, &body),
            Ends::Well,
        ));
    }
}

/// Functions that the interfaces of the host's do not have, with what would be reached by them.
fn unknown(port: u16, all: &mut Vec<Hostile>) {
    for (interface, function) in [
        ("wasi:sockets/tcp-create-socket@0.2.0", "create"),
        ("wasi:sockets/network@0.2.0", "connect"),
        ("wasi:filesystem/preopens@0.2.0", "get-everything"),
        ("wasi:cli/environment@0.2.0", "set"),
        ("wasi:random/random@0.2.0", "seed"),
        ("wasi:http/outgoing-handler@0.2.0", "handle"),
        ("acme:host/native@1.0.0", "exec"),
    ] {
        let parts = format!(
            "(import \"{interface}\" (instance $t (export \"{function}\" (func (param \"n\" u16)))))
            (core func $f (canon lower (func $t \"{function}\")))
            (core module $m (import \"t\" \"f\" (func $f (param i32)))
              (func (export \"run\") (result i32) (call $f (i32.const {port})) i32.const 0))
            (core instance $i (instantiate $m (with \"t\" (instance (export \"f\" (func $f))))))"
        );
        all.push(hostile(
            format!("{interface} {function}"),
            component(&parts),
            Ends::Refused,
        ));
    }
}
