//! What wasm-smith made: core modules of any shape inside a command that instantiates them and calls what they export, valid
//! ones and ones that are not; modules by themselves. The same ones each time: `tests/fixtures/smith` writes them.

use crate::{Ends, Hostile, component, hostile};

/// The kinds, and how many there are of each, in the order of the file; whether they are put into a command.
const KINDS: [(&str, usize, bool); 4] = [
    ("valid", 280, true),
    ("not valid", 60, true),
    ("of every feature", 60, true),
    ("alone", 40, false),
];

/// The module that a generated one takes the place of: it has the same exports.
const PLACE: &str =
    "(module (func (export \"f\")) (func (export \"g\")) (memory (export \"m\") 1))";

pub(crate) fn all() -> Vec<Hostile> {
    let path = sykli_tests::root().join("tests/fixtures/smith/corpus.bin");
    let corpus = std::fs::read(path).unwrap();
    let mut rest = corpus.as_slice();
    let shell = Shell::new();
    let mut all = Vec::new();
    for (kind, count, inside) in KINDS {
        for seed in 0..count {
            let (len, after) = rest.split_first_chunk().unwrap();
            let (module, after) = after.split_at(u32::from_le_bytes(*len) as usize);
            rest = after;
            let bytes = match inside {
                true => shell.around(module),
                false => module.to_vec(),
            };
            all.push(hostile(
                format!("smith, {kind}, {seed}"),
                bytes,
                Ends::Typed,
            ));
        }
    }
    assert!(rest.is_empty(), "the file has more");
    all
}

/// A command around a module that is put in when it is there.
struct Shell {
    before: Vec<u8>,
    after: Vec<u8>,
}

impl Shell {
    fn new() -> Shell {
        let inner = PLACE.trim_start_matches("(module");
        let whole = component(&format!(
            "(core module $h {inner}
            (core instance $hi (instantiate $h))
            (core module $m (import \"h\" \"f\" (func $f)) (import \"h\" \"g\" (func $g)) (import \"h\" \"m\" (memory 1))
              (func (export \"run\") (result i32)
                (memory.fill (i32.const 0) (i32.const 0xff) (i32.const 0xffff)) (call $f) (call $g) (call $f) i32.const 0))
            (core instance $i (instantiate $m (with \"h\" (instance $hi))))"
        ));
        // After the head comes its first section, that module: a number, a length, and what it is of.
        let (head, sections) = whole.split_at(8);
        assert_eq!(sections[0], 1, "a core module");
        let (mut len, mut at) = (0, 1);
        for shift in (0..).step_by(7) {
            let byte = usize::from(sections[at]);
            at += 1;
            len |= (byte & 0x7f) << shift;
            if byte < 0x80 {
                break;
            }
        }
        Shell {
            before: head.to_vec(),
            after: sections[at + len..].to_vec(),
        }
    }

    fn around(&self, module: &[u8]) -> Vec<u8> {
        [&self.before[..], &Shell::section(module), &self.after].concat()
    }

    fn section(module: &[u8]) -> Vec<u8> {
        let mut section = vec![1];
        let mut len = module.len();
        while len > 0x7f {
            section.push((len & 0x7f) as u8 | 0x80);
            len >>= 7;
        }
        section.push(len as u8);
        section.extend(module);
        section
    }
}
