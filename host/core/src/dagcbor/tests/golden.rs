//! Golden files of canonical encodings: annotated hexdumps that `SYKLI_BLESS=1` writes. Called by the tests of formats.
#![allow(clippy::disallowed_methods)] // golden files are what this is about: core itself reads none

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use minicbor::Decoder;
use minicbor::data::Type;

/// A file of this crate.
pub(crate) fn path(of: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(of)
}

/// That a file holds `expected`; or, asked for it, writes it.
pub(crate) fn golden(path: &Path, expected: &[u8]) {
    if std::env::var_os("SYKLI_BLESS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, expected).unwrap();
    }
    let found = std::fs::read(path).unwrap_or_default();
    assert!(
        found == expected,
        "{} is not what is written today; SYKLI_BLESS=1 renews it, and that is a change of the format:\n{}",
        path.display(),
        String::from_utf8_lossy(expected)
    );
}

/// One value a line, its bytes and what they are.
pub(crate) fn dump(bytes: &[u8]) -> String {
    let mut decoder = Decoder::new(bytes);
    let mut text = String::new();
    let mut open: Vec<u64> = Vec::new();
    while decoder.position() < bytes.len() {
        while open.last() == Some(&0) {
            open.pop();
        }
        let depth = open.len();
        if let Some(left) = open.last_mut() {
            *left -= 1;
        }
        let from = decoder.position();
        let comment = match decoder.datatype().unwrap() {
            Type::Array => {
                let len = decoder.array().unwrap().unwrap();
                open.push(len);
                format!("{len} elements")
            }
            Type::Bytes => format!("{} bytes", decoder.bytes().unwrap().len()),
            Type::String => format!("\"{}\"", decoder.str().unwrap()),
            Type::Null => {
                decoder.null().unwrap();
                "null".to_owned()
            }
            _ => decoder.u64().unwrap().to_string(),
        };
        for (n, row) in bytes[from..decoder.position()].chunks(16).enumerate() {
            let hex: String = row.iter().map(|byte| format!("{byte:02x}")).collect();
            let code = format!("{}{hex}", "  ".repeat(depth));
            let comment = if n == 0 { &comment } else { "…" };
            writeln!(text, "{code:<44} # {comment}").unwrap();
        }
    }
    text
}
