//! Every difference of two manifests or trees is told, and nothing else.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::manifest::tests::example;
use crate::manifest::{ManifestGrants, Shard};
use crate::pipeline::Floats;

fn lines(edit: fn(&mut Manifest)) -> Vec<String> {
    let (old, mut new) = (example(), example());
    edit(&mut new);
    diff(&old, &new).iter().map(Change::to_string).collect()
}

#[test]
fn equal_manifests_have_no_differences() {
    assert_eq!(diff(&example(), &example()), []);
}

type Edit = fn(&mut Manifest);

const CASES: [(Edit, &str); 20] = [
    (|m| m.component = Digest([9; 32]), "component changed"),
    (
        |m| {
            m.inputs.insert(String::new(), Digest([9; 32]));
        },
        "workspace inputs changed",
    ),
    (
        |m| {
            m.inputs.insert("list".into(), Digest([9; 32]));
        },
        "outputs of task \"list\" changed",
    ),
    (
        |m| {
            m.inputs.remove("list");
        },
        "outputs of task \"list\" removed",
    ),
    (|m| m.stdin = Some(Digest([9; 32])), "stdin added"),
    (
        |m| m.args[1] = "640".into(),
        "arguments from position 2 changed: \"320\" → \"640\"",
    ),
    (
        |m| m.args.insert(0, "-v".into()),
        "arguments from position 1 changed: (none) → \"-v\"",
    ),
    (
        |m| {
            m.env.insert("LANG".into(), "secret".into());
        },
        "environment variable \"LANG\" changed",
    ),
    (
        |m| {
            m.env.remove("TZ");
        },
        "environment variable \"TZ\" removed",
    ),
    (
        |m| m.params = r#"{"quality":90}"#.into(),
        "parameter \"quality\" changed: 80 → 90",
    ),
    (|m| m.item = None, "item changed: photos/a.jpg → (none)"),
    (
        |m| {
            m.shard = Shard {
                index: 1,
                count: 301,
            }
        },
        "shard changed: 1/300 → 1/301",
    ),
    (
        |m| m.name = "grow".into(),
        "task name changed: \"shrink\" → \"grow\"",
    ),
    (
        |m| {
            m.outputs.insert("x".into());
        },
        "output \"x\" added",
    ),
    (|m| m.fuel = 7, "fuel limit changed: 5000000000 → 7"),
    (
        |m| m.memory_bytes = 1 << 20,
        "memory limit changed: 536870912 → 1048576 bytes",
    ),
    (
        |m| m.output_bytes = 9,
        "output limit changed: 100000000 → 9 bytes",
    ),
    (
        |m| {
            m.grants = ManifestGrants {
                random: true,
                ..m.grants.clone()
            }
        },
        "grant \"random\" added",
    ),
    (
        |m| m.floats = Floats::Fast,
        "floats changed between fast and portable",
    ),
    (
        |m| m.semantics = 2,
        "sykli's runtime semantics changed: version 1 → 2",
    ),
];

#[test]
fn each_change_is_one_line() {
    for (edit, line) in CASES {
        assert_eq!(lines(edit), [line]);
    }
    let both = [
        "grant \"clock\" removed",
        "grant \"net example.org:443\" removed",
    ];
    assert_eq!(lines(|m| m.grants = ManifestGrants::default()), both);
    let form = lines(|m| m.params = r#"{"quality": 80}"#.into());
    assert_eq!(form.len(), 1, "the guest sees another text");
}

#[test]
fn the_values_of_the_environment_are_not_repeated() {
    let (old, mut new) = (example(), example());
    new.env.insert("LANG".into(), "hunter2".into());
    let json = serde_json::to_string(&diff(&old, &new)).unwrap();
    assert_eq!(
        json,
        r#"[{"what":"env","name":"LANG","difference":"changed"}]"#
    );
}

#[test]
fn many_arguments_are_shortened() {
    let line = lines(|m| m.args = (0..9).map(|n| n.to_string()).collect()).remove(0);
    assert!(line.ends_with(r#"→ "0" "1" "2" "3" and 5 more"#), "{line}");
}

#[test]
fn trees_differ_by_file() {
    let tree = |files: &[(&str, &[u8], bool)]| {
        let entries = files.iter().map(|(path, content, executable)| TreeEntry {
            path: (*path).to_owned(),
            digest: Digest::of(content),
            size: content.len() as u64,
            executable: *executable,
        });
        Tree::new(entries.collect()).unwrap()
    };
    let old = tree(&[
        ("a", b"1", false),
        ("b", b"1", false),
        ("c", b"1", false),
        ("d", b"1", false),
    ]);
    let new = tree(&[
        ("a", b"1", false),
        ("a2", b"1", false),
        ("c", b"2", false),
        ("d", b"1", true),
        ("e", b"", false),
    ]);
    let told: Vec<String> = diff_trees(&old, &new)
        .iter()
        .map(FileChange::to_string)
        .collect();
    assert_eq!(
        told,
        [
            "\"a2\" added",
            "\"b\" removed",
            "\"c\" changed",
            "\"d\" changed",
            "\"e\" added"
        ]
    );
    assert_eq!(diff_trees(&new, &new), []);
    assert_eq!(diff_trees(&Tree::default(), &old).len(), 4);
    assert_eq!(diff_trees(&old, &Tree::default()).len(), 4);
}
