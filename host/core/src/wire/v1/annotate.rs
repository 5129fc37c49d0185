//! A frame as a hexdump with a comment on each line. It knows CBOR and the fields' names, nothing of the code that it is
//! held against. Called by [`super::golden`].
#![allow(clippy::unwrap_used)]

use std::fmt::Write as _;

use minicbor::Decoder;
use minicbor::data::Type;

/// Where comments begin.
const COLUMN: usize = 40;

const CLAIM: &[&str] = &[
    "executor",
    "task_digest",
    "nonce",
    "outcome",
    "output",
    "output_bytes",
    "fuel",
    "wall_ms",
    "stdout",
    "stderr",
];
const NEEDS: &[&str] = &[
    "digest",
    "label",
    "labels",
    "memory_mb",
    "fuel",
    "timeout_ms",
    "estimate_ms",
    "component_bytes",
    "input_bytes",
    "output_bytes",
    "blobs",
    "imports",
    "grants",
    "engine",
    "pure",
    "secret",
    "mesh",
    "steal",
];

/// The fields of a kind's body, from key 1 on.
fn fields(kind: u64) -> &'static [&'static str] {
    match kind {
        0x10 => &["free"],
        0x11 => &["lease", "have"],
        0x12 => &["lease", "reason"],
        0x13 => &["lease", "ask_ms"],
        0x15 => &["lease", "done", "total", "message"],
        0x16 => &["lease", "claim", "seal", "of", "bytes"],
        0x19 | 0x27 => &["lease", "at", "of", "bytes"],
        0x41 => &["lease", "claim", "seal"],
        0x17 => &["lease", "why"],
        0x18 => &["lease", "stderr", "bytes"],
        0x20 => &[
            "lease",
            "nonce",
            "needs",
            "min_memory_mb",
            "lease_ms",
            "mesh",
        ],
        0x21 => &["retry_ms"],
        0x14 | 0x22..=0x25 => &["lease"],
        0x26 => &["leases"],
        0x30 => &["node", "sequence", "free", "queued", "slots", "paused"],
        0x32 => &["addresses"],
        0x31 => &[
            "name",
            "profile",
            "tick_ms",
            "stealing",
            "artifacts",
            "hidden",
            "labels",
            "memory_mb",
            "engine",
        ],
        0x40 => &["lease", "peer", "nonce"],
        0x42 => &["owner", "lease", "claim", "seal"],
        0x44 => &["run", "below"],
        _ => &[],
    }
}

/// The elements of an array that is the value of a field.
fn elements(field: &str) -> &'static [&'static str] {
    match field {
        "lease" => &["run", "task", "attempt"],
        "blob" => &["digest", "bytes"],
        "reason" => &["code", "argument", "argument"],
        "outcome" => &["code", "failure's code", "message"],
        "artifacts" => &["code", "bytes"],
        _ => &[],
    }
}

pub(super) fn kind(frame: &[u8]) -> u64 {
    let mut decoder = Decoder::new(frame);
    decoder.array().unwrap();
    decoder.u64().unwrap();
    decoder.u64().unwrap()
}

/// The whole dump.
pub(super) fn dump(name: &str, frame: &[u8]) -> String {
    let mut dump = Dump {
        decoder: Decoder::new(frame),
        text: format!("# {name}: {} bytes\n", frame.len()),
        kind: kind(frame),
    };
    let from = dump.at();
    dump.decoder.array().unwrap();
    dump.line(from, 0, "frame");
    for part in ["version", "kind", "body"] {
        dump.value(part, 1);
    }
    assert_eq!(dump.at(), frame.len(), "{name}");
    dump.text
}

struct Dump<'b> {
    decoder: Decoder<'b>,
    text: String,
    kind: u64,
}

impl Dump<'_> {
    fn at(&self) -> usize {
        self.decoder.position()
    }

    /// Adds the bytes since `from`, twelve a line, the comment beside the first.
    fn line(&mut self, from: usize, depth: usize, comment: &str) {
        let indent = "  ".repeat(depth);
        let bytes = &self.decoder.input()[from..self.at()];
        for (n, row) in bytes.chunks(12).enumerate() {
            let hex: String = row.iter().map(|byte| format!("{byte:02x}")).collect();
            let comment = if n == 0 { comment } else { "…" };
            let code = format!("{indent}{hex}");
            writeln!(self.text, "{code:<COLUMN$} # {comment}").unwrap();
        }
    }

    /// One value, named by the field that it is of.
    fn value(&mut self, of: &str, depth: usize) {
        let from = self.at();
        match self.decoder.datatype().unwrap() {
            Type::Array => {
                let len = self.decoder.array().unwrap().unwrap();
                let s = if len == 1 { "" } else { "s" };
                self.line(from, depth, &format!("{of}: {len} element{s}"));
                for n in 0..len {
                    self.value(element(of, n as usize), depth + 1);
                }
            }
            Type::Map => self.map(of, depth),
            Type::String => {
                let text = format!("{of}: {:?}", self.decoder.str().unwrap());
                self.line(from, depth, &text);
            }
            Type::Bytes => {
                let text = format!("{of}: {} bytes", self.decoder.bytes().unwrap().len());
                self.line(from, depth, &text);
            }
            Type::Bool => {
                let text = format!("{of}: {}", self.decoder.bool().unwrap());
                self.line(from, depth, &text);
            }
            Type::Null => {
                self.decoder.null().unwrap();
                self.line(from, depth, &format!("{of}: none"));
            }
            _ => {
                let n = self.decoder.u64().unwrap();
                let text = match of {
                    "kind" => format!("{of} {n:#x}"),
                    _ => format!("{of}: {n}"),
                };
                self.line(from, depth, &text);
            }
        }
    }

    fn map(&mut self, of: &str, depth: usize) {
        let from = self.at();
        let len = self.decoder.map().unwrap().unwrap();
        let s = if len == 1 { "" } else { "s" };
        self.line(from, depth, &format!("{of}: {len} field{s}"));
        let names = match of {
            "claim" => CLAIM,
            "seal" => &["engine", "at_s", "signature"],
            "needs" => NEEDS,
            _ => fields(self.kind),
        };
        assert_eq!(names.len() as u64, len, "{of}");
        for name in names {
            let from = self.at();
            let key = self.decoder.u64().unwrap();
            self.line(from, depth + 1, &format!("key {key}"));
            self.value(name, depth + 1);
        }
    }
}

/// What an array's element is called.
fn element(of: &str, n: usize) -> &'static str {
    match of {
        "leases" => "lease",
        "blobs" => "blob",
        "labels" => "label",
        "imports" => "import",
        "grants" => "grant",
        "addresses" => "address",
        _ => elements(of)[n],
    }
}
