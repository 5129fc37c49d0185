//! What a core module can try by itself: not ending, taking too much, reaching beyond what is its own, and being shaped so
//! that somebody stumbles over it. A row of SECURITY each, in many sizes.

use std::fmt::Write as _;

use crate::{Ends, Hostile, command, component, hostile};

/// A module with these items and this body of `run`, which then returns that all is well.
fn body(items: &str, body: &str) -> Vec<u8> {
    command(&format!(
        "{items} (func $run (export \"run\") (result i32) {body} i32.const 0)"
    ))
}

pub(crate) fn all() -> Vec<Hostile> {
    let mut all = Vec::new();
    endless(&mut all);
    deep(&mut all);
    memory(&mut all);
    tables(&mut all);
    many(&mut all);
    beyond_memory(&mut all);
    in_bulk(&mut all);
    calls(&mut all);
    arithmetic(&mut all);
    beginnings(&mut all);
    shapes(&mut all);
    features(&mut all);
    all
}

/// Loops that never end, alone and inside others, that do nothing or much.
fn endless(all: &mut Vec<Hostile>) {
    for depth in 1..=12 {
        let text = format!(
            "{}br {}{}",
            "loop ".repeat(depth),
            depth - 1,
            " end".repeat(depth)
        );
        all.push(hostile(
            format!("endless {depth} deep"),
            body("", &text),
            Ends::Bound,
        ));
    }
    for (name, work) in [
        ("stores", "(i32.store (i32.const 0) (i32.const 1))"),
        (
            "fills",
            "(memory.fill (i32.const 0) (i32.const 1) (i32.const 65536))",
        ),
        (
            "copies",
            "(memory.copy (i32.const 0) (i32.const 1) (i32.const 65535))",
        ),
        ("grows by nothing", "(drop (memory.grow (i32.const 0)))"),
        ("divides", "(drop (i64.div_u (i64.const 7) (i64.const 3)))"),
        ("calls", "(call $leaf)"),
        (
            "calls by table",
            "(call_indirect (type $leaf_type) (i32.const 0))",
        ),
        ("square roots", "(drop (f64.sqrt (f64.const 2)))"),
    ] {
        let items = "(memory 1) (type $leaf_type (func)) (func $leaf (type $leaf_type)) (table 1 funcref) (elem (i32.const 0) $leaf)";
        let text = format!("(loop {work} (br 0))");
        all.push(hostile(
            format!("endless, {name}"),
            body(items, &text),
            Ends::Bound,
        ));
    }
}

/// Recursion, with frames of all sizes, direct and in turns.
fn deep(all: &mut Vec<Hostile>) {
    for locals in [0, 1, 2, 4, 8, 16, 32, 64, 128, 256] {
        let keep: String = (0..locals)
            .map(|local| format!("(local.set {local} (i64.add (local.get {local}) (call $down)))"))
            .collect();
        let down = format!(
            "(func $down (result i64) (local {}) {keep} (call $down))",
            "i64 ".repeat(locals)
        );
        let run = body(&down, "(drop (call $down))");
        all.push(hostile(
            format!("recursion, {locals} locals"),
            run,
            Ends::Bound,
        ));
    }
    for turns in [2, 3, 5, 10] {
        let functions: String = (0..turns)
            .map(|n| format!("(func $f{n} (call $f{}))", (n + 1) % turns))
            .collect();
        all.push(hostile(
            format!("recursion by {turns}"),
            body(&functions, "(call $f0)"),
            Ends::Bound,
        ));
    }
}

/// Memory: asked for at once, grown in steps, touched or not.
fn memory(all: &mut Vec<Hostile>) {
    for pages in [
        1, 100, 1_000, 1_024, 1_025, 2_000, 16_384, 32_768, 65_535, 65_536,
    ] {
        let module = body(&format!("(memory {pages})"), "");
        all.push(hostile(format!("{pages} pages"), module, Ends::Bound));
    }
    for step in [
        1, 7, 16, 64, 100, 256, 512, 1_023, 1_024, 10_000, 65_535, 65_536,
    ] {
        for touch in [false, true] {
            let touched = match touch {
                true => {
                    "(memory.fill (i32.const 0) (i32.const 1) (i32.mul (memory.size) (i32.const 65536)))"
                }
                false => "",
            };
            let grow = format!(
                "(loop (if (i32.ne (memory.grow (i32.const {step})) (i32.const -1)) (then {touched} (br 1))))"
            );
            all.push(hostile(
                format!("grows by {step}, touched: {touch}"),
                body("(memory 1)", &grow),
                Ends::Bound,
            ));
        }
    }
    for step in [0x8000_0000_u32, 0xffff_ffff, 0x7fff_ffff] {
        let grow = format!("(drop (memory.grow (i32.const {step})))");
        all.push(hostile(
            format!("grows by {step:#x}"),
            body("(memory 1)", &grow),
            Ends::Bound,
        ));
    }
}

fn tables(all: &mut Vec<Hostile>) {
    for elements in [
        1_u64,
        10_000,
        1_000_000,
        9_999_999,
        10_000_001,
        0x7fff_ffff,
        0xffff_ffff,
    ] {
        let module = body(&format!("(table {elements} funcref)"), "");
        // Beyond what the engine could ever make room for, it is refused before it is compiled.
        let ends = match elements > 10_000_000 {
            true => Ends::Refused,
            false => Ends::Bound,
        };
        all.push(hostile(format!("{elements} elements"), module, ends));
    }
    for step in [1_u32, 100, 10_000, 1_000_000, 0x7fff_ffff, 0xffff_ffff] {
        let grow = format!(
            "(loop (br_if 0 (i32.ne (table.grow 0 (ref.null func) (i32.const {step})) (i32.const -1))))"
        );
        all.push(hostile(
            format!("table grows by {step}"),
            body("(table 1 funcref)", &grow),
            Ends::Bound,
        ));
    }
    for count in [1, 4, 8, 9, 16, 40] {
        let tables = "(table 10 funcref)".repeat(count);
        let ends = match count > 8 {
            true => Ends::Refused,
            false => Ends::Bound,
        };
        all.push(hostile(format!("{count} tables"), body(&tables, ""), ends));
    }
}

/// Many memories and instances: each is small, the sum is not.
fn many(all: &mut Vec<Hostile>) {
    for count in [1, 2, 4, 5, 8, 16, 31, 50] {
        for pages in [1, 256, 1_024] {
            let parts = format!(
                "(core module $hog (memory {pages}))\n{}\n(core module $m (func (export \"run\") (result i32) i32.const 0))\n\
                 (core instance $i (instantiate $m))",
                "(core instance (instantiate $hog))\n".repeat(count)
            );
            all.push(hostile(
                format!("{count} memories of {pages} pages"),
                component(&parts),
                Ends::Bound,
            ));
        }
    }
    for count in [1, 16, 32, 63, 64, 65, 200, 1_000] {
        let parts = format!(
            "(core module $e)\n{}\n(core module $m (func (export \"run\") (result i32) i32.const 0))\n\
             (core instance $i (instantiate $m))",
            "(core instance (instantiate $e))\n".repeat(count)
        );
        all.push(hostile(
            format!("{count} instances"),
            component(&parts),
            Ends::Typed,
        ));
    }
}

/// Loads and stores around and beyond the end of memory.
fn beyond_memory(all: &mut Vec<Hostile>) {
    let addresses = [
        0x1_0000_u32,
        0x1_0001,
        0x10_0000,
        0x7fff_ffff,
        0x8000_0000,
        0xffff_0000,
        0xffff_fff8,
        0xffff_ffff,
    ];
    let loads = [
        "i32.load8_s",
        "i32.load16_u",
        "i32.load",
        "i64.load",
        "f32.load",
        "f64.load",
        "v128.load",
    ];
    let stores = [
        ("i32.store8", "i32"),
        ("i32.store16", "i32"),
        ("i64.store", "i64"),
        ("f64.store", "f64"),
    ];
    for address in addresses {
        for load in loads {
            let text = format!("(drop ({load} (i32.const {address})))");
            all.push(hostile(
                format!("{load} at {address:#x}"),
                body("(memory 1)", &text),
                Ends::Trap,
            ));
        }
        for (store, kind) in stores {
            let text = format!("({store} (i32.const {address}) ({kind}.const 1))");
            all.push(hostile(
                format!("{store} at {address:#x}"),
                body("(memory 1)", &text),
                Ends::Trap,
            ));
        }
        for offset in [1_u32, 0xffff, 0xffff_ffff] {
            let text = format!("(drop (i64.load offset={offset} (i32.const {address})))");
            all.push(hostile(
                format!("{address:#x} and {offset:#x}"),
                body("(memory 1)", &text),
                Ends::Trap,
            ));
        }
    }
}

/// Much at once, where there is not so much.
fn in_bulk(all: &mut Vec<Hostile>) {
    for (start, len) in [
        (0, 0x1_0001_u64),
        (0xffff, 2),
        (1, 0xffff_ffff),
        (0xffff_ffff_u32, 1),
        (0x8000_0000, 0x8000_0000),
    ] {
        // What is moved costs fuel, and that is looked at first.
        let ends = match len > 1 << 20 {
            true => Ends::Bound,
            false => Ends::Trap,
        };
        for operation in ["fill", "copy"] {
            let text =
                format!("(memory.{operation} (i32.const {start}) (i32.const 0) (i32.const {len}))");
            all.push(hostile(
                format!("memory.{operation} {len:#x} at {start:#x}"),
                body("(memory 1)", &text),
                ends,
            ));
        }
        let text = format!("(memory.init $d (i32.const 0) (i32.const {start}) (i32.const {len}))");
        all.push(hostile(
            format!("memory.init {len:#x} at {start:#x}"),
            body("(memory 1) (data $d \"abc\")", &text),
            ends,
        ));
    }
}

/// Calls through tables: of nothing, of something else, beyond the end.
fn calls(all: &mut Vec<Hostile>) {
    let items = "(type $v (func)) (type $i (func (param i64 i64) (result i64))) (table 3 funcref) (elem (i32.const 0) $f) (func $f (type $v))";
    for (name, text) in [
        ("null", "(call_indirect (type $v) (i32.const 1))"),
        (
            "another type",
            "(drop (call_indirect (type $i) (i64.const 1) (i64.const 2) (i32.const 0)))",
        ),
        ("beyond the end", "(call_indirect (type $v) (i32.const 3))"),
        (
            "far beyond",
            "(call_indirect (type $v) (i32.const 0xffffffff))",
        ),
        ("table.get beyond", "(drop (table.get 0 (i32.const 3)))"),
        (
            "table.set far beyond",
            "(table.set 0 (i32.const 0x80000000) (ref.null func))",
        ),
        (
            "table.fill beyond",
            "(table.fill 0 (i32.const 1) (ref.null func) (i32.const 3))",
        ),
        (
            "table.copy beyond",
            "(table.copy (i32.const 1) (i32.const 0) (i32.const 3))",
        ),
        (
            "table.init beyond",
            "(table.init $e (i32.const 0) (i32.const 0) (i32.const 2))",
        ),
    ] {
        let items = format!("{items} (elem $e func $f)");
        all.push(hostile(
            format!("table: {name}"),
            body(&items, text),
            Ends::Trap,
        ));
    }
}

fn arithmetic(all: &mut Vec<Hostile>) {
    for (name, text) in [
        ("unreachable", "unreachable"),
        ("by zero", "(drop (i32.div_s (i32.const 1) (i32.const 0)))"),
        (
            "rest by zero",
            "(drop (i64.rem_u (i64.const 1) (i64.const 0)))",
        ),
        (
            "overflow",
            "(drop (i32.div_s (i32.const 0x80000000) (i32.const -1)))",
        ),
        (
            "overflow of 64",
            "(drop (i64.div_s (i64.const 0x8000000000000000) (i64.const -1)))",
        ),
        (
            "a NaN as a number",
            "(drop (i32.trunc_f32_s (f32.const nan)))",
        ),
        (
            "infinity as a number",
            "(drop (i64.trunc_f64_u (f64.const inf)))",
        ),
        (
            "a large float",
            "(drop (i32.trunc_f64_s (f64.const 1e300)))",
        ),
    ] {
        all.push(hostile(name, body("", text), Ends::Trap));
    }
}

/// What happens before `run`: at instantiation.
fn beginnings(all: &mut Vec<Hostile>) {
    let run = "(func (export \"run\") (result i32) i32.const 0)";
    for (name, items, ends) in [
        (
            "starts with a trap",
            "(func $s unreachable) (start $s)",
            Ends::Trap,
        ),
        (
            "starts and never ends",
            "(func $s (loop (br 0))) (start $s)",
            Ends::Bound,
        ),
        (
            "starts with recursion",
            "(func $s (call $s)) (start $s)",
            Ends::Bound,
        ),
        (
            "starts by growing",
            "(memory 1) (func $s (loop (br_if 0 (i32.ne (memory.grow (i32.const 64)) (i32.const -1))))) (start $s)",
            Ends::Bound,
        ),
        (
            "data beyond",
            "(memory 1) (data (i32.const 65535) \"ab\")",
            Ends::Trap,
        ),
        (
            "data far beyond",
            "(memory 1) (data (i32.const 0xffffffff) \"a\")",
            Ends::Trap,
        ),
        (
            "data without memory",
            "(memory 0) (data (i32.const 0) \"a\")",
            Ends::Trap,
        ),
        (
            "elements beyond",
            "(table 1 funcref) (func $f) (elem (i32.const 1) $f)",
            Ends::Trap,
        ),
        (
            "elements far beyond",
            "(table 1 funcref) (func $f) (elem (i32.const 0xffffffff) $f)",
            Ends::Trap,
        ),
    ] {
        all.push(hostile(name, command(&format!("{items} {run}")), ends));
    }
    // One instance whose start reaches into another's memory.
    let parts = "(core module $a (memory (export \"m\") 1))\n(core instance $ai (instantiate $a))\n\
        (core module $b (import \"a\" \"m\" (memory 1)) (func $s (i32.store (i32.const 0x20000) (i32.const 1))) (start $s)\n\
        (func (export \"run\") (result i32) i32.const 0))\n\
        (core instance $i (instantiate $b (with \"a\" (instance $ai))))";
    all.push(hostile(
        "beyond another's memory",
        component(parts),
        Ends::Trap,
    ));
}

/// Shapes that are legal and strange.
fn shapes(all: &mut Vec<Hostile>) {
    for depth in [10, 100, 1_000, 5_000] {
        let text = format!("{}{}", "block ".repeat(depth), "end ".repeat(depth));
        all.push(hostile(
            format!("{depth} blocks deep"),
            body("", &text),
            Ends::Typed,
        ));
    }
    for targets in [10, 100, 1_000] {
        let labels = "0 ".repeat(targets);
        let text = format!("(block (br_table {labels} 0 (i32.const 0xffffffff)))");
        all.push(hostile(
            format!("{targets} targets"),
            body("", &text),
            Ends::Well,
        ));
    }
    for locals in [1_000, 10_000, 49_000] {
        let function = format!("(func (local {}))", "i64 ".repeat(locals));
        all.push(hostile(
            format!("{locals} locals"),
            body(&function, ""),
            Ends::Typed,
        ));
    }
    for functions in [100, 2_000] {
        let mut text = String::new();
        for n in 0..functions {
            let _ = write!(text, "(func (export \"f{n}\") (result i32) i32.const {n})");
        }
        all.push(hostile(
            format!("{functions} exports"),
            body(&text, ""),
            Ends::Well,
        ));
    }
    for values in [10, 100, 255, 1_000] {
        let function = format!("(func (param {}))", "i64 ".repeat(values));
        all.push(hostile(
            format!("{values} parameters"),
            body(&function, ""),
            Ends::Typed,
        ));
    }
    for status in [1, 2, -1] {
        let text = format!("(func (export \"run\") (result i32) i32.const {status})");
        let ends = if status == 1 { Ends::Well } else { Ends::Trap };
        all.push(hostile(format!("ends with {status}"), command(&text), ends));
    }
}

/// What is not built in, or switched off.
fn features(all: &mut Vec<Hostile>) {
    let run = "(func (export \"run\") (result i32) i32.const 0)";
    for (name, items) in [
        (
            "threads",
            "(memory 1 1 shared) (func (drop (i32.atomic.rmw.add (i32.const 0) (i32.const 1))))",
        ),
        ("memory64", "(memory i64 1)"),
        ("two memories", "(memory 1) (memory 1)"),
        ("tail calls", "(func $f (return_call $f))"),
        (
            "relaxed simd",
            "(func (param v128 v128) (result v128) (i8x16.relaxed_swizzle (local.get 0) (local.get 1)))",
        ),
        (
            "garbage collection",
            "(type $s (struct (field i32))) (func (result (ref $s)) (struct.new_default $s))",
        ),
        (
            "typed references",
            "(type $f (func)) (func (param (ref null $f)) (call_ref $f (local.get 0)))",
        ),
        ("exceptions", "(tag $e) (func (throw $e))"),
        ("custom page sizes", "(memory 1 (pagesize 1))"),
        (
            "wide arithmetic",
            "(func (param i64 i64 i64 i64) (result i64 i64) (i64.add128 (local.get 0) (local.get 1) (local.get 2) (local.get 3)))",
        ),
    ] {
        all.push(hostile(
            name,
            command(&format!("{items} {run}")),
            Ends::Refused,
        ));
    }
}
