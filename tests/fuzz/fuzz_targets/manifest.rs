//! Any bytes as a task's manifest or as a tree: refused, or the one encoding of what they say.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sykli_core::manifest::Manifest;
use sykli_core::tree::Tree;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(manifest) = Manifest::decode(bytes) {
        assert_eq!(manifest.encode(), bytes, "{manifest:?}");
    }
    if let Ok(tree) = Tree::decode(bytes) {
        assert_eq!(tree.encode(), bytes, "{tree:?}");
    }
});
