//! `stdout-flood [stdout|stderr] [BYTES]`: writes 10 GiB, or so many bytes, and ends well whether or not they were kept.

use std::io::{self, Write};

fn main() {
    let to_stderr = std::env::args().nth(1).is_some_and(|name| name == "stderr");
    let bytes = std::env::args()
        .nth(2)
        .and_then(|text| text.parse().ok())
        .unwrap_or(10u64 << 30);
    let line = [
        b"0123456789abcdef".repeat(4095),
        b"0123456789abcde\n".to_vec(),
    ]
    .concat();
    let mut left = bytes;
    while left > 0 {
        let part = &line[..(line.len() as u64).min(left) as usize];
        let written = if to_stderr {
            io::stderr().write_all(part)
        } else {
            io::stdout().write_all(part)
        };
        if written.is_err() {
            std::process::exit(9);
        }
        left -= part.len() as u64;
    }
}
