//! Components made to be expensive before they run a single instruction: each is small, valid, and grows somewhere in
//! the compiler. Core modules for WASI preview 1, which are adapted when loaded. They are generated, since a compiler
//! that wrote them would be at fault.

use std::fmt::Write as _;

/// A core module whose `_start` has this body, and these items beside it.
fn module(items: &str, locals: &str, body: &str) -> Vec<u8> {
    let text = format!(
        "(module (memory (export \"memory\") 1) {items} (func (export \"_start\") {locals} {body}))"
    );
    wat::parse_str(text).expect("the generated text is a module")
}

/// One function with `locals` variables, all alive over `blocks` nested loops: every loop header merges every variable.
#[must_use]
pub fn many_live_locals(locals: usize, blocks: usize) -> Vec<u8> {
    let declared = format!("(local {})", "i32 ".repeat(locals));
    let mut body = String::new();
    for i in 0..blocks {
        let _ = write!(
            body,
            "(loop (local.set {} (i32.add (local.get {}) (i32.const {i})))",
            i % locals,
            (i * 7 + 1) % locals
        );
        let _ = write!(body, "(br_if 0 (local.get {}))", (i * 3) % locals);
    }
    body.push_str(&")".repeat(blocks));
    for i in 0..locals {
        let _ = write!(body, "(i32.store (i32.const 0) (local.get {i}))");
    }
    module("", &declared, &body)
}

/// One function with a `br_table` of `targets` entries inside as many blocks, `times` over.
#[must_use]
pub fn wide_branches(targets: usize, times: usize) -> Vec<u8> {
    let mut body = String::new();
    let labels: String = (0..=targets).map(|i| format!("{i} ")).collect();
    for _ in 0..times {
        body.push_str(&"(block ".repeat(targets + 1));
        let _ = write!(body, "(br_table {labels} (i32.load (i32.const 0)))");
        for i in 0..=targets {
            let _ = write!(body, ") (i32.store (i32.const 4) (i32.const {i}))");
        }
    }
    module("", "", &body)
}

/// `count` functions, each with a body of `instructions`.
#[must_use]
pub fn many_functions(count: usize, instructions: usize) -> Vec<u8> {
    let line = "(i32.store (i32.const 0) (i32.mul (i32.load (i32.const 0)) (i32.const 3)))"
        .repeat(instructions);
    let functions = format!("(func {line})").repeat(count);
    module(&functions, "", "")
}

/// One function of `instructions` in a straight line, each needing the one before.
#[must_use]
pub fn huge_body(instructions: usize) -> Vec<u8> {
    let mut body = String::from("(i32.load (i32.const 0))");
    body = format!(
        "{body} {}",
        "i32.const 3 i32.mul i32.const 0 i32.load i32.add ".repeat(instructions)
    );
    // Folded and plain instructions mix; the value ends in memory, so that nothing is dead.
    let text = format!(
        "(module (memory (export \"memory\") 1) (func (export \"_start\") (local i32) {body} local.set 0 (i32.store (i32.const 0) (local.get 0))))"
    );
    wat::parse_str(text).expect("the generated text is a module")
}

/// Expressions nested `depth` deep.
#[must_use]
pub fn deep_nesting(depth: usize) -> Vec<u8> {
    let body = format!("{}{}", "block ".repeat(depth), "end ".repeat(depth));
    module("", "", &body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bomb_is_a_module() {
        for bomb in [
            many_live_locals(10, 10),
            wide_branches(10, 2),
            many_functions(10, 2),
            huge_body(10),
            deep_nesting(10),
        ] {
            assert!(bomb.starts_with(b"\0asm\x01\0\0\0"));
        }
    }
}
