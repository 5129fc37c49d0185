//! Every guest has a test, or this fails: a guest that none runs proves nothing.

use std::fs;
use std::path::Path;

#[test]
fn every_guest_is_used_by_a_test() {
    let mut sources = String::new();
    for folder in ["tests", "host", "runtime"] {
        collect(&sykli_tests::root().join(folder), &mut sources);
    }
    let unused = |name: &String| !sources.contains(&format!("\"{name}\""));
    let unused: Vec<_> = sykli_tests::guests().into_iter().filter(unused).collect();
    assert!(unused.is_empty(), "no test names these guests: {unused:?}");

    let folder = fs::read_dir(sykli_tests::root().join("tests/guests/wat")).unwrap();
    let unused = |path: &Path| {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        (!sources.contains(&format!("\"{name}\""))).then_some(name)
    };
    let unused: Vec<_> = folder
        .filter_map(|entry| unused(&entry.unwrap().path()))
        .collect();
    assert!(
        unused.is_empty(),
        "no test names these components: {unused:?}"
    );
}

/// All Rust sources below a folder but the guests' own.
fn collect(folder: &Path, sources: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let is_other = ["guests", "target"].iter().any(|name| path.ends_with(name));
        if path.is_dir() && !is_other {
            collect(&path, sources);
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            sources.push_str(&fs::read_to_string(&path).unwrap());
        }
    }
}
