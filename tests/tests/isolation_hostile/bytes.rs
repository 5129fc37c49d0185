//! What is no component at all, is only the beginning of one, is an honest one with some bytes changed, or is compiled code
//! that somebody offers as a component.

use wasmtime::{Config, Engine};

use crate::{Ends, Hostile, command, hostile};

pub(crate) fn all() -> Vec<Hostile> {
    let mut all = Vec::new();
    for (name, bytes) in [
        ("nothing", &b""[..]),
        ("text", b"(component)"),
        (
            "a program of this machine's",
            b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0",
        ),
        ("a script", b"#!/bin/sh\nexit 0\n"),
        ("a module of another version", b"\0asm\x02\0\0\0"),
        ("a component of another layer", b"\0asm\x0d\0\x02\0"),
        ("an empty module", b"\0asm\x01\0\0\0"),
        ("an empty component", b"\0asm\x0d\0\x01\0"),
        (
            "a section without an end",
            b"\0asm\x0d\0\x01\0\x01\xff\xff\xff\xff\x0f",
        ),
        (
            "a number without an end",
            b"\0asm\x0d\0\x01\0\x01\x80\x80\x80\x80\x80\x80",
        ),
    ] {
        all.push(hostile(name, bytes.to_vec(), Ends::Refused));
    }
    compiled(&mut all);
    let honest = command("(memory 1) (func (export \"run\") (result i32) i32.const 0)");
    for cut in (8..honest.len()).step_by(4) {
        all.push(hostile(
            format!("cut at {cut}"),
            honest.get(..cut).unwrap_or_default().to_vec(),
            Ends::Typed,
        ));
    }
    for at in 0..honest.len() {
        let mut bytes = honest.clone();
        if let Some(byte) = bytes.get_mut(at) {
            *byte ^= 0x40;
        }
        all.push(hostile(format!("changed at {at}"), bytes, Ends::Typed));
    }
    all
}

/// Compiled code, of a component and of a module: never loaded from where it comes from, whoever made it.
fn compiled(all: &mut Vec<Hostile>) {
    let component = command("(func (export \"run\") (result i32) i32.const 0)");
    let module = wat::parse_str("(module (func (export \"_start\")))").unwrap();
    for fuel in [false, true] {
        let engine = Engine::new(Config::new().consume_fuel(fuel)).unwrap();
        let codes = [
            (
                "a component",
                engine.precompile_component(&component).unwrap(),
            ),
            ("a module", engine.precompile_module(&module).unwrap()),
        ];
        for (what, code) in codes {
            let name = format!("compiled code of {what}, fuel: {fuel}");
            all.push(hostile(name, code, Ends::Refused));
        }
    }
}
