//! Any text as a pipeline file, as people write it and as programs do: refused with at least one reason, or expanded over
//! a folder of two files, or refused then. The corpus begins with the examples.
#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use sykli_core::expand::{self, FileEntry, Listing};
use sykli_core::pipeline::{Format, parse};

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    for format in [Format::Toml, Format::Json] {
        match parse(text, format) {
            Ok(pipeline) => {
                let files = ["a.txt", "folder/b.txt"].map(|path| FileEntry {
                    path: path.into(),
                    executable: false,
                });
                let listing = Listing::new(files.to_vec());
                if let Err(reasons) = expand::plan(&pipeline, &listing, &BTreeMap::new()) {
                    assert!(!reasons.is_empty(), "refused for nothing");
                }
            }
            Err(reasons) => assert!(!reasons.is_empty(), "refused for nothing"),
        }
    }
});
