//! The examples, as a user has them, from their crates to what they leave: that they come to what their READMEs say, that a
//! second run takes everything from the cache, that touching an input re-runs exactly the tasks that it reaches, and that
//! `cache why` says what had changed. One test an example: its copies share a build folder.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use serde_json::Value;
use sykli_tests::{Project, Ran};

/// The line that a run ends with: names, signs and arrows.
#[track_caller]
fn assert_graph(ran: &Ran, line: &str) {
    let found = ran.stderr.lines().filter(|one| *one == line).count();
    assert_eq!(found, 1, "no line `{line}`\n{}", ran.stderr);
}

/// `sykli run --json`: the document.
#[track_caller]
fn run_json(project: &Project, code: i32) -> Value {
    let ran = project.run(&["run", "--json"]).expect(code);
    serde_json::from_str(&ran.stdout).unwrap()
}

/// The instances that ended in this state.
fn labels(doc: &Value, state: &str) -> BTreeSet<String> {
    let instances = doc["instances"].as_array().unwrap().iter();
    instances
        .filter(|one| one["state"] == state)
        .map(|one| one["label"].as_str().unwrap().to_owned())
        .collect()
}

fn set<const N: usize>(labels: [&str; N]) -> BTreeSet<String> {
    labels.map(str::to_owned).into()
}

/// What `cache why` says of a task.
#[track_caller]
fn why(project: &Project, task: &str) -> String {
    project.run(&["cache", "why", task]).expect(0).stdout
}

fn edit(project: &Project, path: &str, from: &str, to: &str) {
    let text = project.read_text(path);
    assert!(text.contains(from), "{path} has no {from}");
    project.write(path, text.replace(from, to));
}

#[test]
fn ci() {
    let project = Project::example("ci");
    let first = project.run(&["run"]).expect(0);
    assert_graph(&first, "lint ✓ → test ✓ → build ✓ → deploy ✓");
    assert_eq!(first.stdout, "");
    let deployed: Value = serde_json::from_slice(&project.read("out/deploy.json")).unwrap();
    assert!(deployed.is_object(), "{deployed}");
    let archives = fs::read_dir(project.path().join("out")).unwrap();
    let archives = archives.filter(|one| {
        let name = one.as_ref().unwrap().file_name();
        name.to_string_lossy().ends_with(".tar")
    });
    assert_eq!(archives.count(), 1);

    let second = project.run(&["run"]).expect(0);
    assert_graph(&second, "lint ○ → test ○ → build ○ → deploy ○");
    assert!(
        second.stderr.contains("everything came from the cache"),
        "{}",
        second.stderr
    );

    ci_reruns_what_a_change_reaches(&project);
    ci_stops_at_what_is_wrong(&project);
}

const TESTS: [&str; 4] = [
    "test[slug::]",
    "test[shorten::]",
    "test[fold::]",
    "test[headlines::]",
];

fn ci_reruns_what_a_change_reaches(project: &Project) {
    // An input of `test` alone; its instances leave the same as before, so what follows stays cached.
    let headlines = project.read_text("project/tests/fixtures/headlines.tsv");
    project.write(
        "project/tests/fixtures/headlines.tsv",
        format!("{headlines}\n"),
    );
    let doc = run_json(project, 0);
    assert_eq!(labels(&doc, "passed"), set(TESTS));
    assert_eq!(labels(&doc, "cached"), set(["lint", "build", "deploy"]));
    let why_test = why(project, "test[slug::]");
    assert!(
        why_test.contains("project/tests/fixtures/headlines.tsv"),
        "{why_test}"
    );

    // An input of `deploy` alone.
    edit(project, "releases.json", "\"0.2.0\"", "\"0.2.1\"");
    let why_deploy = why(project, "deploy");
    assert!(why_deploy.contains("releases.json"), "{why_deploy}");
    assert!(!why(project, "build").contains("releases.json"));
    let doc = run_json(project, 0);
    assert_eq!(labels(&doc, "passed"), set(["deploy"]));
    // Said afterwards too: what made it run.
    assert!(why(project, "deploy").contains("releases.json"));

    // A source file: `lint` reads it and `build` packs it; a comment changes no test.
    let source = project.read_text("project/src/fold.rs");
    project.write(
        "project/src/fold.rs",
        format!("{source}// A last remark.\n"),
    );
    let doc = run_json(project, 0);
    let passed = labels(&doc, "passed");
    assert!(
        passed.is_superset(&set(["lint", "build", "deploy"])),
        "{passed:?}"
    );

    // Nothing at all, but every file's time.
    for file in ["releases.json", "project/src/fold.rs", "project/Cargo.toml"] {
        project.write(file, project.read(file));
    }
    let doc = run_json(project, 0);
    assert_eq!(labels(&doc, "passed"), set([]));
}

fn ci_stops_at_what_is_wrong(project: &Project) {
    let source = project.read_text("project/src/slug.rs");
    let wrong = "\n/// The first character.\npub fn first(text: &str) -> char {\n    text.chars().next().unwrap()\n}\n";
    project.write(
        "project/src/slug.rs",
        source.replacen("\n#[cfg(test)]", &format!("{wrong}\n#[cfg(test)]"), 1),
    );
    let ran = project.run(&["run"]).expect(1);
    assert_graph(&ran, "lint ✗ → test ⊘ → build ⊘ → deploy ⊘");
    assert!(
        ran.stderr.contains("project/src/slug.rs:"),
        "{}",
        ran.stderr
    );
    project.write("project/src/slug.rs", &source);
    let doc = run_json(project, 0);
    assert_eq!(
        labels(&doc, "passed"),
        set([]),
        "as it was: still in the cache"
    );

    // A mistake: the tests that see it fail and say what they expected, the others pass.
    edit(
        project,
        "project/src/slug.rs",
        "slug.push('-')",
        "slug.push('_')",
    );
    let ran = project.run(&["run", "--keep-going"]).expect(1);
    assert_graph(&ran, "lint ✓ → test ✗ → build ⊘ → deploy ⊘");
    assert!(
        ran.stderr
            .contains("failed: test[slug::], test[headlines::]"),
        "{}",
        ran.stderr
    );
    assert!(
        ran.stderr
            .contains("right: [\"news\", \"news-2\", \"news-2-2\""),
        "{}",
        ran.stderr
    );
    project.write("project/src/slug.rs", &source);

    // A release that is older than the last.
    edit(project, "releases.json", "\"0.3.0\"", "\"0.9.0\"");
    let ran = project.run(&["run"]).expect(1);
    assert_graph(&ran, "lint ○ → test ○ → build ○ → deploy ✗");
    assert!(ran.stderr.contains("0.9.0"), "{}", ran.stderr);
}

#[test]
fn wordcount() {
    let project = Project::example("wordcount");
    fs::remove_dir_all(project.path().join("texts")).unwrap();
    project.write("texts/one.txt", "The cat and the CAT's hat.\n");
    project.write("texts/deep/two.txt", "A hat, a hat; \"THE\" hat!\n");
    let first = project.run(&["run"]).expect(0);
    assert_graph(&first, "map ✓ → reduce ✓");
    let counts = || -> (Value, BTreeMap<String, u64>) {
        let doc: Value = serde_json::from_slice(&project.read("counts.json")).unwrap();
        (
            doc.clone(),
            serde_json::from_value(doc["counts"].clone()).unwrap(),
        )
    };
    let expected = [
        ("a", 2),
        ("and", 1),
        ("cat", 1),
        ("cat's", 1),
        ("hat", 4),
        ("the", 3),
    ];
    let mut expected: BTreeMap<String, u64> = expected.map(|(word, n)| (word.to_owned(), n)).into();
    assert_eq!(counts().1, expected);
    assert_eq!(
        (&counts().0["texts"], &counts().0["words"]),
        (&2.into(), &12.into())
    );
    assert!(
        !project.exists("counts"),
        "what only `reduce` needs is not exported"
    );

    let second = project.run(&["run"]).expect(0);
    assert_graph(&second, "map ○ → reduce ○");

    // One text more: one instance and the sum.
    project.write("texts/three.txt", "cat? hat!\n");
    let doc = run_json(&project, 0);
    assert_eq!(labels(&doc, "passed"), set(["map[three.txt]", "reduce"]));
    assert_eq!(doc["counts"]["cached"], 2);
    expected.insert("cat".to_owned(), 2);
    expected.insert("hat".to_owned(), 5);
    assert_eq!(counts().1, expected);

    // The same words in another order: that text again, and the sum stays.
    project.write("texts/three.txt", "hat cat\n");
    let doc = run_json(&project, 0);
    assert_eq!(labels(&doc, "passed"), set(["map[three.txt]"]));

    // A text less: only the sum, and nothing is left of it.
    fs::remove_file(project.path().join("texts/deep/two.txt")).unwrap();
    let doc = run_json(&project, 0);
    assert_eq!(labels(&doc, "passed"), set(["reduce"]));
    assert_eq!(counts().1.get("a"), None);
}

/// Width and height of a PNG.
fn png_size(bytes: &[u8]) -> (u32, u32) {
    let number = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
    assert_eq!(&bytes[..8], b"\x89PNG\r\n\x1a\n");
    assert_eq!(&bytes[12..16], b"IHDR");
    assert_eq!(&bytes[bytes.len() - 8..bytes.len() - 4], b"IEND", "whole");
    (number(16), number(20))
}

#[test]
fn gallery() {
    let project = Project::example("gallery");
    // A picture like the real one, but soon rendered.
    edit(
        &project,
        "sykli.toml",
        "width = 1200, height = 600, samples = 16",
        "width = 600, height = 300, samples = 1",
    );
    let first = project.run(&["run"]).expect(0);
    assert_graph(&first, "render ✓, thumbs ✓ → sheet ✓");
    assert!(
        first.stderr.contains("contact-sheet.png"),
        "the result is named: {}",
        first.stderr
    );
    let sheet = project.read("contact-sheet.png");
    let (width, height) = png_size(&sheet);
    assert!(
        (600..4000).contains(&width) && (600..8000).contains(&height),
        "{width} × {height}"
    );
    assert!(
        sheet.len() > 100_000,
        "pictures do not pack well: {}",
        sheet.len()
    );
    assert!(!project.exists("tiles") && !project.exists("thumbs"));

    let second = project.run(&["run"]).expect(0);
    assert_graph(&second, "render ○, thumbs ○ → sheet ○");
    assert!(
        second.stderr.contains("everything came from the cache"),
        "{}",
        second.stderr
    );
    assert_eq!(project.read("contact-sheet.png"), sheet);

    // A result that was deleted is written again, from the cache.
    fs::remove_file(project.path().join("contact-sheet.png")).unwrap();
    project.run(&["run"]).expect(0);
    assert_eq!(project.read("contact-sheet.png"), sheet);

    // One picture more: its thumbnail and the sheet.
    project.write("photos/more/Again.JPG", project.read("photos/leaf.jpg"));
    let doc = run_json(&project, 0);
    assert_eq!(
        labels(&doc, "passed"),
        set(["thumbs[more/Again.JPG]", "sheet"])
    );
    assert_ne!(project.read("contact-sheet.png"), sheet);

    // One that is no picture is marked on the sheet, not fatal.
    project.write("photos/broken.png", "not a picture");
    let doc = run_json(&project, 0);
    assert_eq!(labels(&doc, "passed"), set(["thumbs[broken.png]", "sheet"]));

    // Another title is the sheet's matter alone.
    edit(&project, "sykli.toml", "Seeds of light", "Another title");
    assert!(
        why(&project, "sheet").contains("param"),
        "{}",
        why(&project, "sheet")
    );
    let doc = run_json(&project, 0);
    assert_eq!(labels(&doc, "passed"), set(["sheet"]));
}
