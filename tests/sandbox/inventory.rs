//! What is listed in two places is the same in both: every guest has a test (a guest that none runs proves nothing), and
//! the benchmark's floor has the engine's settings.

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

/// The engine's settings are private, so the floor that it is measured against says them again.
#[test]
fn the_floor_of_the_benchmark_has_the_engines_settings() {
    let read = |path: &str| fs::read_to_string(sykli_tests::root().join(path)).unwrap();
    let plain = |line: &str| {
        let line = line.trim().trim_end_matches(';');
        let line = line.trim_start_matches("pub(crate) ");
        line.trim_start_matches("pub(super) ").to_owned()
    };
    let lines = |text: &str| -> Vec<String> { text.lines().map(plain).collect() };
    let (engine, limits) = (
        read("runtime/src/engine/config.rs"),
        lines(&read("runtime/src/limits.rs")),
    );
    let floor = lines(&read("tests/benches/common/floor.rs"));

    let settings = engine.split("\npub(super) fn config(").nth(1).unwrap();
    let settings = settings.split("/// Whether the kernel").next().unwrap();
    // The floor is never asked for canonical NaNs.
    let missing: Vec<String> = lines(settings)
        .into_iter()
        .filter(|line| line.starts_with('.') || line.starts_with("pool."))
        .filter(|line| !line.contains("nan_canonicalization") && !floor.contains(line))
        .collect();
    assert!(
        missing.is_empty(),
        "runtime/src/engine/config.rs has, tests/benches/common/floor.rs has not: {missing:#?}"
    );

    let engine = lines(&engine);
    let stale: Vec<&String> = floor
        .iter()
        .filter(|line| line.starts_with("const ") && !line.contains("Settings"))
        .filter(|line| !engine.contains(line) && !limits.contains(line))
        .collect();
    assert!(
        stale.is_empty(),
        "neither config.rs nor limits.rs of the runtime has what floor.rs has: {stale:#?}"
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
