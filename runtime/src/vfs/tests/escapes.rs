//! No path leads out of the directory it starts from, by any route.

use super::*;
use FsError::*;

fn tree() -> MemDir {
    MemDir::new()
        .dir("d", MemDir::new().dir("e", MemDir::new().file("y", "Y")))
        .with("abs", Entry::Symlink("/etc/passwd".to_owned()))
        .with("up", Entry::Symlink("..".to_owned()))
        .with("far", Entry::Symlink("d/../../etc/passwd".to_owned()))
        .with("chain", Entry::Symlink("chain2/x".to_owned()))
        .with("chain2", Entry::Symlink("d/e/../../..".to_owned()))
}

/// Every operation that takes a path, on this one.
fn every_way(fs: &mut Fs, path: &str) -> Vec<(&'static str, FsResult<()>)> {
    vec![
        (
            "open",
            fs.open(path, READ).map(|handle| fs.vfs.close(handle)),
        ),
        (
            "create",
            fs.open(path, CREATE).map(|handle| fs.vfs.close(handle)),
        ),
        ("stat", fs.stat(path).map(drop)),
        ("set_times", fs.vfs.set_times_at(&fs.roots[0], path, true)),
        ("mkdir", fs.mkdir(path)),
        ("rmdir", fs.rmdir(path)),
        ("unlink", fs.unlink(path)),
        ("rename from", fs.rename(path, "new")),
        ("rename to", fs.rename("d/e", path)),
        (
            "link from",
            fs.vfs
                .link_at(&fs.roots[0], path, true, &fs.roots[0], "new"),
        ),
        ("link to", fs.link("d/e/y", path)),
        ("symlink", fs.symlink("x", path)),
        ("readlink", fs.readlink(path).map(drop)),
    ]
}

#[test]
fn a_path_that_leaves_is_refused_by_every_operation() {
    for path in [
        "..",
        "../x",
        "d/../..",
        "d/../../w/d",
        "/",
        "/d",
        "//d",
        "d/e/../../../x",
        "up/x",
        "abs/x",
        "chain2/x",
        "./../x",
    ] {
        let mut fs = Fs::of(tree());
        for (operation, result) in every_way(&mut fs, path) {
            assert_eq!(result, err(NotPermitted), "{operation} {path:?}");
        }
    }
}

#[test]
fn a_link_that_leaves_is_not_followed() {
    for path in ["abs", "up", "far", "chain", "chain2", "up/", "abs/"] {
        let mut fs = Fs::of(tree());
        assert_eq!(fs.stat(path), err(NotPermitted), "{path}");
        assert_eq!(fs.open(path, CREATE).map(drop), err(NotPermitted), "{path}");
        assert_eq!(
            fs.open(path, DIRECTORY).map(drop),
            err(NotPermitted),
            "{path}"
        );
    }
    let mut fs = Fs::of(tree());
    assert_eq!(
        fs.lstat("abs").unwrap().file_type,
        FileType::Symlink,
        "it can be seen"
    );
    assert_eq!(
        fs.readlink("abs"),
        err(NotPermitted),
        "but not where on the host it leads"
    );
    assert_eq!(&*fs.readlink("far").unwrap(), "d/../../etc/passwd");
}

#[test]
fn a_directory_handle_is_a_fence_too() {
    let mut fs = Fs::of(tree());
    let inner = fs.open("d/e", DIRECTORY).unwrap();
    fs.symlink("../../up", "d/e/l").unwrap();
    for path in ["..", "../e/y", "l", "l/x", "/y"] {
        assert_eq!(
            fs.vfs.stat_at(&inner, path, true),
            err(NotPermitted),
            "{path}"
        );
    }
    assert_eq!(
        fs.vfs.rename_at(&inner, "y", &inner, "../y"),
        err(NotPermitted)
    );
    assert_eq!(
        fs.vfs.link_at(&inner, "y", false, &inner, "../y"),
        err(NotPermitted)
    );
    assert_eq!(fs.vfs.symlink_at("y", &inner, "../y"), err(NotPermitted));
    assert_eq!(fs.vfs.stat_at(&inner, "./y", true).unwrap().size, 1);
    fs.rename("d/e", "moved").unwrap();
    assert_eq!(
        fs.vfs.stat_at(&inner, "..", true),
        err(NotPermitted),
        "wherever it is moved"
    );
    assert_eq!(fs.vfs.stat_at(&inner, "y", true).unwrap().size, 1);
}

#[test]
fn loops_end() {
    let mut fs = Fs::empty();
    fs.symlink("self", "self").unwrap();
    fs.symlink("b", "a").unwrap();
    fs.symlink("a", "b").unwrap();
    fs.symlink("grow/x", "grow").unwrap();
    for path in ["self", "a", "b/", "self/x", "grow"] {
        assert_eq!(fs.stat(path), err(Loop), "{path}");
        assert_eq!(fs.open(path, CREATE).map(drop), err(Loop), "{path}");
    }
    fs.mkdir("d").unwrap();
    fs.symlink("d", "l0").unwrap();
    for at in 1..=41 {
        fs.symlink(&format!("l{}", at - 1), &format!("l{at}"))
            .unwrap();
    }
    assert_eq!(fs.stat("l39").unwrap().file_type, FileType::Directory);
    assert_eq!(fs.stat("l40"), err(Loop));
}

#[test]
fn one_path_costs_a_bounded_number_of_steps() {
    let mut fs = Fs::empty();
    fs.mkdir("d").unwrap();
    let long = "d/../".repeat(800);
    assert_eq!(fs.stat(&long).unwrap().file_type, FileType::Directory);
    fs.symlink(&long, "a").unwrap();
    fs.symlink("a/a/a/a", "b").unwrap();
    assert_eq!(fs.stat("b"), err(Loop), "links that multiply a path");
    let target = "x/".repeat(2048);
    fs.symlink(&target, "l").unwrap();
    let path = format!("l/{}", "y/".repeat(2047));
    assert_eq!(fs.stat(&path), err(NoEntry));
}

#[test]
fn names_and_paths_are_bounded() {
    let mut fs = Fs::empty();
    let (most, more) = ("n".repeat(255), "n".repeat(256));
    assert_eq!(fs.put(&most, ""), Ok(()));
    for (operation, result) in every_way(&mut fs, &more) {
        if operation != "rename to" && operation != "link to" {
            assert_eq!(result, err(NameTooLong), "{operation}");
        }
    }
    let long = "a/".repeat(2049);
    assert_eq!(fs.stat(&long), err(NameTooLong));
    assert_eq!(fs.symlink(&long, "l"), err(NameTooLong));
    for (operation, result) in every_way(&mut fs, "a\0b") {
        if !operation.ends_with("to") {
            assert_eq!(result, err(Invalid), "{operation}");
        }
    }
}

#[test]
fn a_tree_deeper_than_any_path_is_bounded() {
    let mut fs = Fs::empty();
    let mut at = fs.open(".", DIRECTORY).unwrap();
    for _ in 0..5000 {
        fs.vfs.create_dir_at(&at, "d").unwrap();
        let next = fs.vfs.open_at(&at, "d", DIRECTORY).unwrap();
        fs.vfs.close(std::mem::replace(&mut at, next));
    }
    fs.mkdir("other").unwrap();
    assert_eq!(
        fs.vfs.rename_at(&fs.roots[0], "other", &at, "x"),
        err(NameTooLong)
    );
    let file = fs.vfs.open_at(&at, "f", CREATE).unwrap();
    fs.vfs.write(&file, 0, b"deep").unwrap();
    let collected = fs.vfs.finish().unwrap();
    assert!(collected.changes[0].files.is_empty());
    assert_eq!(
        collected.refusals.len(),
        1,
        "what cannot be kept is said: {:?}",
        collected.refusals
    );
}

#[test]
fn names_a_guest_could_not_use_are_not_shown() {
    let bad = ["", ".", "..", "a/b", "a\0b", &"x".repeat(256)];
    let mut dir = MemDir::new().file("good", "");
    for name in bad {
        dir = dir.file(name, "");
    }
    let mut fs = Fs::of(dir);
    assert_eq!(fs.ls(".").unwrap(), ["good"]);
}
