//! Tests of listings: what is found, in which order, and what is left out, however many threads look.
#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use super::*;
use std::os::unix::fs::{PermissionsExt, symlink};

fn patterns(texts: &[&str]) -> Vec<Pattern> {
    texts
        .iter()
        .map(|text| Pattern::new(text).unwrap())
        .collect()
}

fn write(root: &Path, path: &str) {
    let path = root.join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, "x").unwrap();
}

fn paths(listed: &Listed) -> Vec<&str> {
    let files = listed.listing.files();
    files.iter().map(|file| &*file.path).collect()
}

/// Files beside folders whose names sort around theirs, enough folders for several threads, and one large folder.
fn tree(root: &Path) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for folder in 0..20 {
        for name in ["a", "a.b", "a/x", "a/y/z", "a0", "b-c", "b/c", "é/ü"] {
            all.insert(format!("d{folder}/{name}"));
        }
    }
    all.retain(|path| !path.ends_with("/a"));
    all.extend((0..3000).map(|n| format!("large/{}", n * 7919 % 3000)));
    all.insert("large/1234x/in".to_owned());
    all.iter().for_each(|path| write(root, path));
    all
}

#[test]
fn a_listing_is_in_the_order_of_paths_and_complete() {
    let temp = tempfile::tempdir().unwrap();
    let all = tree(temp.path());
    let listed = list(temp.path(), &patterns(&["**"])).unwrap();
    assert!(paths(&listed).iter().copied().eq(all.iter()));
    assert_eq!(listed.skipped, []);
    let some = list(
        temp.path(),
        &patterns(&["d1*/**/[xz]", "large/1*", "d7/a0"]),
    )
    .unwrap();
    let expected = all.iter().filter(|path| {
        (path.starts_with("d1") && path.ends_with(['x', 'z']))
            || (path.starts_with("large/1") && !path.ends_with("/in"))
            || *path == "d7/a0"
    });
    assert!(paths(&some).iter().copied().eq(expected));
}

#[test]
fn stamps_are_those_of_the_files_that_they_stand_beside() {
    let temp = tempfile::tempdir().unwrap();
    tree(temp.path());
    let run = temp.path().join("d3/a.b");
    std::fs::set_permissions(&run, std::fs::Permissions::from_mode(0o755)).unwrap();
    let listed = list(temp.path(), &patterns(&["**"])).unwrap();
    assert_eq!(listed.stamps.len(), listed.listing.files().len());
    for (file, stamp) in listed.listing.files().iter().zip(&listed.stamps) {
        let found = std::fs::symlink_metadata(listed.root.join(&*file.path)).unwrap();
        assert_eq!(*stamp, Stamp::of(&found), "{}", file.path);
        assert_eq!(file.executable, &*file.path == "d3/a.b", "{}", file.path);
    }
}

#[test]
fn a_file_that_several_patterns_and_links_reach_is_listed_once() {
    let temp = tempfile::tempdir().unwrap();
    for name in ["a/1", "a/3", "b/1"] {
        write(temp.path(), name);
    }
    symlink("../b/1", temp.path().join("a/2")).unwrap();
    let listed = list(temp.path(), &patterns(&["a/*", "a/1", "a/2", "**/[123]"])).unwrap();
    assert_eq!(paths(&listed), ["a/1", "a/2", "a/3", "b/1"]);
    let linked = std::fs::metadata(temp.path().join("b/1")).unwrap();
    assert_eq!(listed.stamps[1], Stamp::of(&linked));
}

#[test]
fn what_is_no_file_of_the_project_is_skipped_and_told() {
    use std::os::unix::ffi::OsStrExt;
    let (temp, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let root = temp.path();
    for name in [
        "a/file",
        ".git/x",
        "a/.sykli/x",
        "target/x",
        "named/target/x",
    ] {
        write(root, name);
    }
    write(outside.path(), "secret");
    symlink(outside.path().join("secret"), root.join("a/out")).unwrap();
    symlink("nowhere", root.join("a/broken")).unwrap();
    symlink("../.git/x", root.join("a/hidden")).unwrap();
    symlink("../a", root.join("a/folder")).unwrap();
    std::fs::write(
        root.join("a").join(std::ffi::OsStr::from_bytes(b"\xff")),
        "",
    )
    .unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, root.join("a/pipe"), 0o600.into()).unwrap();
    let listed = list(root, &patterns(&["**", "named/target/*"])).unwrap();
    assert_eq!(paths(&listed), ["a/file", "named/target/x"]);
    let skipped: Vec<(&str, Why)> = listed
        .skipped
        .iter()
        .map(|one| (one.path.as_str(), one.why))
        .collect();
    assert_eq!(
        skipped,
        [
            ("a/broken", Why::BrokenLink),
            ("a/folder", Why::LinkedFolder),
            ("a/hidden", Why::LeavesProject),
            ("a/out", Why::LeavesProject),
            ("a/pipe", Why::Special),
            ("a/\u{fffd}", Why::NotUtf8),
        ]
    );
}

#[test]
fn of_much_that_is_skipped_the_first_is_told_whoever_met_it() {
    let temp = tempfile::tempdir().unwrap();
    let mut all = BTreeSet::new();
    for folder in 0..40 {
        std::fs::create_dir(temp.path().join(format!("d{folder}"))).unwrap();
        for link in 0..5 {
            let path = format!("d{folder}/{link}");
            symlink("nowhere", temp.path().join(&path)).unwrap();
            all.insert(path);
        }
    }
    // One more than may be told, in a folder that comes in the middle of them.
    for link in 0..=MAX_SKIPPED {
        let path = format!("d2/many-{link}");
        symlink("nowhere", temp.path().join(&path)).unwrap();
        all.insert(path);
    }
    for _ in 0..10 {
        let listed = list(temp.path(), &patterns(&["**", "d9/0"])).unwrap();
        let told = listed.skipped.iter().map(|one| &one.path);
        assert!(told.eq(all.iter().take(MAX_SKIPPED)));
    }
}

#[test]
fn a_folder_that_cannot_be_read_fails_and_one_that_is_not_there_does_not() {
    let temp = tempfile::tempdir().unwrap();
    tree(temp.path());
    assert_eq!(
        paths(&list(temp.path(), &patterns(&["none/**"])).unwrap()),
        [""; 0]
    );
    let real = temp.path().canonicalize().unwrap();
    let loops = real.join("d5/loops");
    std::fs::create_dir(&loops).unwrap();
    let private = std::fs::Permissions::from_mode(0o000);
    std::fs::set_permissions(&loops, private).unwrap();
    let outcome = list(temp.path(), &patterns(&["**"]));
    let readable = std::fs::read_dir(&loops).is_ok();
    std::fs::set_permissions(&loops, std::fs::Permissions::from_mode(0o700)).unwrap();
    match outcome {
        // Root may read everything.
        Ok(_) => assert!(readable),
        Err(WorkspaceError::Unreadable { path, .. }) => assert_eq!(path, loops),
        Err(other) => panic!("{other}"),
    }
}
