//! Names: open, create, remove, rename, link, list, stat.

use super::Access;
use super::*;
use FsError::*;

fn tree() -> MemDir {
    MemDir::new().file("a", "AAA").dir(
        "d",
        MemDir::new()
            .file("x", "X")
            .dir("e", MemDir::new().file("y", "Y")),
    )
}

/// Path, options, and the error: in `tree` with the links that the test adds.
const OPENS: &[(&str, OpenOptions, Option<FsError>)] = &[
    ("a", READ, None),
    ("a", WRITE, None),
    ("a/", READ, Some(NotDirectory)),
    ("a/.", READ, Some(NotDirectory)),
    ("a/b", READ, Some(NotDirectory)),
    ("a", DIRECTORY, Some(NotDirectory)),
    ("a", EXCLUSIVE, Some(Exist)),
    ("nope", READ, Some(NoEntry)),
    ("nope/a", CREATE, Some(NoEntry)),
    ("nope/", CREATE, Some(IsDirectory)),
    ("", READ, Some(NoEntry)),
    ("d", READ, None),
    ("d/", READ, None),
    ("d//", DIRECTORY, None),
    ("d/.", DIRECTORY, None),
    (".", DIRECTORY, None),
    ("d/e/..", DIRECTORY, None),
    ("d/../d/./e//y", READ, None),
    ("d", WRITE, Some(IsDirectory)),
    ("d", CREATE, Some(IsDirectory)),
    (
        "d",
        OpenOptions {
            truncate: true,
            ..READ
        },
        Some(IsDirectory),
    ),
    ("d", EXCLUSIVE, Some(Exist)),
    (".", EXCLUSIVE, Some(Exist)),
    (
        "d",
        OpenOptions {
            create: true,
            ..DIRECTORY
        },
        Some(Invalid),
    ),
    (
        "d",
        OpenOptions {
            truncate: true,
            ..DIRECTORY
        },
        Some(Invalid),
    ),
    (
        "d",
        OpenOptions {
            exclusive: true,
            ..DIRECTORY
        },
        Some(Invalid),
    ),
    ("l", READ, None),
    (
        "l",
        OpenOptions {
            follow: false,
            ..READ
        },
        Some(Loop),
    ),
    (
        "l",
        OpenOptions {
            follow: false,
            ..DIRECTORY
        },
        Some(NotDirectory),
    ),
    ("l", EXCLUSIVE, Some(Exist)),
    ("l/", READ, Some(NotDirectory)),
    ("ld", DIRECTORY, None),
    (
        "ld/",
        OpenOptions {
            follow: false,
            ..DIRECTORY
        },
        None,
    ),
    (
        "ld/x",
        OpenOptions {
            follow: false,
            ..READ
        },
        None,
    ),
    ("dangling", READ, Some(NoEntry)),
    ("dangling", EXCLUSIVE, Some(Exist)),
    (
        "dangling",
        OpenOptions {
            follow: false,
            ..CREATE
        },
        Some(Loop),
    ),
    ("a\0b", READ, Some(Invalid)),
];

#[test]
fn open_answers_as_posix_does() {
    let mut fs = Fs::of(tree());
    fs.symlink("a", "l").unwrap();
    fs.symlink("d", "ld").unwrap();
    fs.symlink("nowhere", "dangling").unwrap();
    for (path, options, expected) in OPENS {
        let result = fs.open(path, *options);
        assert_eq!(
            result.as_ref().err(),
            expected.as_ref(),
            "{path:?} {options:?}"
        );
        if let Ok(handle) = result {
            fs.vfs.close(handle);
        }
    }
    assert_eq!(
        fs.open("dangling", CREATE).map(drop),
        Ok(()),
        "through the link"
    );
    assert_eq!(fs.stat("nowhere").unwrap().file_type, FileType::File);
}

#[test]
fn handles_allow_what_they_were_opened_for() {
    let mut fs = Fs::of(tree());
    let read = fs.open("a", READ).unwrap();
    assert_eq!(fs.vfs.write(&read, 0, b"x"), err(BadDescriptor));
    assert_eq!(fs.vfs.set_size(&read, 0), err(Invalid));
    let write = fs
        .open(
            "a",
            OpenOptions {
                read: false,
                ..WRITE
            },
        )
        .unwrap();
    assert_eq!(fs.vfs.read(&write, 0, 1), err(BadDescriptor));
    assert_eq!(fs.vfs.write(&write, 0, b"B"), Ok(()));
    let neither = fs
        .open(
            "a",
            OpenOptions {
                read: false,
                ..READ
            },
        )
        .unwrap();
    assert_eq!(fs.vfs.read(&neither, 0, 9).unwrap().0, "BAA");
    let dir = fs.open("d", READ).unwrap();
    assert_eq!(fs.vfs.read(&dir, 0, 1), err(IsDirectory));
    assert_eq!(fs.vfs.write(&dir, 0, b"x"), err(IsDirectory));
    assert!(matches!(fs.vfs.read_dir(&read), Err(NotDirectory)));
    assert_eq!(fs.vfs.stat_at(&read, "x", true), err(NotDirectory));
    assert!((dir.can_write(), read.can_write(), write.can_read()) == (true, false, false));
}

#[test]
fn directories_are_made_and_removed() {
    let mut fs = Fs::of(tree());
    assert_eq!(fs.mkdir("new/"), Ok(()));
    for (path, error) in [
        ("new", Exist),
        ("a", Exist),
        (".", Exist),
        ("d/..", Exist),
        ("", NoEntry),
        ("no/x", NoEntry),
        ("a/x", NotDirectory),
    ] {
        assert_eq!(fs.mkdir(path), err(error), "{path:?}");
    }
    for (path, error) in [
        ("a", NotDirectory),
        ("a/", NotDirectory),
        ("d", NotEmpty),
        ("nope", NoEntry),
        (".", Invalid),
        ("d/.", Invalid),
        ("d/e/..", NotEmpty),
    ] {
        assert_eq!(fs.rmdir(path), err(error), "{path:?}");
    }
    assert_eq!(fs.rmdir("new/"), Ok(()));
    fs.unlink("d/e/y").unwrap();
    assert_eq!(
        fs.rmdir("d/e"),
        Ok(()),
        "a directory of the source, once it is empty"
    );
    assert_eq!(fs.ls("d").unwrap(), ["x"]);
    assert_eq!(fs.mkdir("d/e"), Ok(()));
    assert_eq!(
        fs.ls("d/e").unwrap(),
        [""; 0],
        "nothing of the source comes back"
    );
}

#[test]
fn a_link_to_a_directory_is_removed_as_a_link() {
    let mut fs = Fs::of(tree());
    fs.symlink("d", "l").unwrap();
    assert_eq!(fs.rmdir("l"), err(NotDirectory));
    assert_eq!(fs.rmdir("l/"), err(NotDirectory));
    assert_eq!(fs.unlink("l/"), err(NotDirectory));
    assert_eq!(fs.mkdir("l"), err(Exist));
    assert_eq!(fs.unlink("l"), Ok(()));
    assert_eq!(fs.ls(".").unwrap(), ["a", "d"]);
}

#[test]
fn unlink_takes_files_only() {
    let mut fs = Fs::of(tree());
    for (path, error) in [
        ("d", IsDirectory),
        ("d/", IsDirectory),
        (".", IsDirectory),
        ("a/", NotDirectory),
        ("nope", NoEntry),
        ("nope/", NoEntry),
        ("a/x", NotDirectory),
    ] {
        assert_eq!(fs.unlink(path), err(error), "{path:?}");
    }
    assert_eq!(fs.unlink("a"), Ok(()));
    assert_eq!(fs.stat("a"), err(NoEntry));
    fs.put("a", "again").unwrap();
    assert_eq!(fs.get("a").unwrap(), b"again");
}

#[test]
fn an_open_file_lives_on_without_its_name() {
    let mut fs = Fs::of(tree());
    let handle = fs.open("a", WRITE).unwrap();
    fs.unlink("a").unwrap();
    fs.put("a", "other").unwrap();
    assert_eq!(fs.all(&handle).unwrap(), b"AAA");
    fs.vfs.write(&handle, 3, b"BBB").unwrap();
    assert_eq!(fs.all(&handle).unwrap(), b"AAABBB");
    assert_eq!(fs.vfs.stat(&handle).unwrap().links, 0);
    assert_eq!(fs.get("a").unwrap(), b"other");
    assert_eq!(fs.vfs.output_bytes(), 11);
    fs.vfs.close(handle);
    assert_eq!(
        fs.vfs.output_bytes(),
        5,
        "what has neither name nor handle counts no more"
    );
}

#[test]
fn a_removed_directory_stays_empty_for_its_handle() {
    let mut fs = Fs::empty();
    fs.mkdir("d").unwrap();
    let dir = fs.open("d", DIRECTORY).unwrap();
    fs.rmdir("d").unwrap();
    assert_eq!(fs.vfs.create_dir_at(&dir, "x"), err(NoEntry));
    assert_eq!(fs.vfs.open_at(&dir, "x", CREATE).map(drop), err(NoEntry));
    assert_eq!(fs.vfs.rename_at(&fs.roots[0], "x", &dir, "y"), err(NoEntry));
    assert_eq!(fs.vfs.stat_at(&dir, ".", true).unwrap().links, 0);
    assert!(fs.vfs.read_dir(&dir).unwrap().is_empty());
}

#[test]
fn rename_moves_and_replaces() {
    let mut fs = Fs::of(tree());
    fs.put("b", "B").unwrap();
    fs.mkdir("empty").unwrap();
    for (from, to, error) in [
        ("nope", "x", NoEntry),
        ("a", "nope/x", NoEntry),
        ("a", "d", IsDirectory),
        ("d", "a", NotDirectory),
        ("empty", "d", NotEmpty),
        ("d", "d/e/sub", Invalid),
        ("d", "d/sub", Invalid),
        ("d/e", "d", NotEmpty),
        ("a/", "c", NotDirectory),
        ("a", "c/", NotDirectory),
        ("a", "b/", NotDirectory),
        (".", "c", Busy),
        ("d/..", "c", Busy),
        ("a", ".", Busy),
        ("", "c", NoEntry),
    ] {
        assert_eq!(fs.rename(from, to), err(error), "{from:?} to {to:?}");
    }
    assert_eq!(fs.rename("a", "a"), Ok(()));
    assert_eq!(fs.rename("d", "d/"), Ok(()));
    assert_eq!(fs.rename("a", "b"), Ok(()), "over a file");
    assert_eq!(fs.get("b").unwrap(), b"AAA");
    assert_eq!(fs.rename("d/", "empty/"), Ok(()), "over an empty directory");
    assert_eq!(
        fs.get("empty/e/y").unwrap(),
        b"Y",
        "what was never touched moved too"
    );
    assert_eq!(fs.rename("empty/e", "e"), Ok(()));
    assert_eq!(
        fs.get("e/../e/y").unwrap(),
        b"Y",
        "a moved directory knows where it is"
    );
    assert_eq!(fs.ls(".").unwrap(), ["b", "e", "empty"]);
    fs.link("b", "c").unwrap();
    assert_eq!(
        fs.rename("b", "c"),
        Ok(()),
        "two names of one file: nothing happens"
    );
    assert_eq!(fs.ls(".").unwrap(), ["b", "c", "e", "empty"]);
}

#[test]
fn rename_moves_links_and_not_what_they_lead_to() {
    let mut fs = Fs::of(tree());
    fs.symlink("a", "l").unwrap();
    fs.rename("l", "m").unwrap();
    assert_eq!(&*fs.readlink("m").unwrap(), "a");
    fs.put("b", "B").unwrap();
    fs.rename("b", "m").unwrap();
    assert_eq!(
        fs.get("a").unwrap(),
        b"AAA",
        "the link was replaced, not its target"
    );
}

#[test]
fn mounts_are_apart() {
    let mut fs = Fs::new(vec![
        mount(".", tree(), Access::ReadWrite),
        mount("/work", tree(), Access::ReadWrite),
        mount("/in", tree(), Access::ReadOnly),
    ]);
    assert_eq!(
        fs.vfs.rename_at(&fs.roots[0], "a", &fs.roots[1], "b"),
        err(CrossDevice)
    );
    assert_eq!(
        fs.vfs.link_at(&fs.roots[0], "a", false, &fs.roots[1], "b"),
        err(CrossDevice)
    );
    assert_eq!(
        fs.vfs.rename_at(&fs.roots[0], "a", &fs.roots[2], "b"),
        err(CrossDevice)
    );
    assert_eq!(fs.unlink("a"), Ok(()));
    assert_eq!(fs.vfs.stat_at(&fs.roots[1], "a", true).unwrap().size, 3);
    assert_eq!(fs.vfs.unlink_file_at(&fs.roots[2], "a"), err(ReadOnly));
    assert!(
        fs.vfs.is_same(&fs.roots[1], &fs.roots[1]) && !fs.vfs.is_same(&fs.roots[0], &fs.roots[1])
    );
}

#[test]
fn a_read_only_mount_refuses_every_change() {
    let dir = tree().with("l", Entry::Symlink("a".to_owned()));
    let mut fs = Fs::new(vec![mount("/in", dir, Access::ReadOnly)]);
    assert_eq!(fs.vfs.refusals(), []);
    assert_eq!(fs.open("a", CREATE).map(drop), err(ReadOnly));
    assert_eq!(
        fs.vfs.refusals(),
        [Refusal::ReadOnly {
            path: "/in".to_owned()
        }]
    );
    assert_eq!(
        fs.open(
            "a",
            OpenOptions {
                truncate: true,
                ..READ
            }
        )
        .map(drop),
        err(ReadOnly)
    );
    assert_eq!(fs.open("new", CREATE).map(drop), err(ReadOnly));
    assert_eq!(fs.open("a", EXCLUSIVE).map(drop), err(Exist));
    assert_eq!(fs.mkdir("new"), err(ReadOnly));
    assert_eq!(fs.mkdir("d"), err(Exist));
    assert_eq!(fs.rmdir("d/e"), err(ReadOnly));
    assert_eq!(fs.unlink("a"), err(ReadOnly));
    assert_eq!(fs.rename("a", "b"), err(ReadOnly));
    assert_eq!(fs.symlink("a", "m"), err(ReadOnly));
    assert_eq!(fs.link("a", "m"), err(ReadOnly));
    assert_eq!(fs.vfs.set_times_at(&fs.roots[0], "a", true), err(ReadOnly));
    let handle = fs
        .open(
            "a",
            OpenOptions {
                create: true,
                ..READ
            },
        )
        .unwrap();
    assert!(!handle.can_write());
    assert_eq!(fs.vfs.write(&handle, 0, b"x"), err(ReadOnly));
    assert_eq!(fs.vfs.set_size(&handle, 0), err(ReadOnly));
    assert_eq!(fs.vfs.set_times(&handle), err(ReadOnly));
    assert_eq!(fs.get("l").unwrap(), b"AAA");
    assert_eq!(fs.vfs.refusals().len(), 1, "recorded once");
    assert!(fs.vfs.finish().unwrap().changes[0].files.is_empty());
}

#[test]
fn listings_are_sorted_and_as_they_were_when_opened() {
    let mut fs = Fs::of(tree());
    for name in ["z", "B", "ä", "b", "10", "9"] {
        fs.put(name, "").unwrap();
    }
    let sorted = ["10", "9", "B", "a", "b", "d", "z", "ä"];
    assert_eq!(fs.ls(".").unwrap(), sorted);
    let stream = fs.vfs.read_dir(&fs.roots[0]).unwrap();
    fs.unlink("z").unwrap();
    fs.put("new", "").unwrap();
    assert_eq!(
        stream.map(|(name, _)| name.to_string()).collect::<Vec<_>>(),
        sorted
    );
    assert_eq!(
        fs.ls(".").unwrap(),
        ["10", "9", "B", "a", "b", "d", "new", "ä"]
    );
    let again = fs.vfs.read_dir(&fs.roots[0]).unwrap();
    assert!(again.was_made());
    assert!(
        !fs.vfs.read_dir(&fs.roots[0]).unwrap().was_made(),
        "one that has not changed is shared"
    );
    fs.symlink("a", "l").unwrap();
    let types: Vec<_> = fs
        .vfs
        .read_dir(&fs.roots[0])
        .unwrap()
        .map(|(_, file_type)| file_type)
        .collect();
    assert!(types.contains(&FileType::Directory) && types.contains(&FileType::Symlink));
}

#[test]
fn links_are_counted() {
    let mut fs = Fs::of(tree());
    fs.link("a", "b").unwrap();
    assert_eq!(
        (fs.stat("a").unwrap().links, fs.stat("b").unwrap().links),
        (2, 2)
    );
    assert_eq!(fs.stat("a").unwrap().inode, fs.stat("b").unwrap().inode);
    fs.put("b", "written").unwrap();
    assert_eq!(fs.get("a").unwrap(), b"written");
    fs.unlink("a").unwrap();
    assert_eq!(
        (fs.stat("b").unwrap().links, fs.get("b").unwrap().len()),
        (1, 7)
    );
    for (from, to, error) in [
        ("d", "dd", NotPermitted),
        ("b", "d", Exist),
        ("b", "b", Exist),
        ("b", "x/", NoEntry),
        ("b", "nope/x", NoEntry),
        ("nope", "x", NoEntry),
        ("b/", "x", NotDirectory),
        ("d/", "x", NotPermitted),
    ] {
        assert_eq!(fs.link(from, to), err(error), "{from:?} {to:?}");
    }
    fs.symlink("b", "l").unwrap();
    fs.link("l", "l2").unwrap();
    assert_eq!(fs.lstat("l2").unwrap().file_type, FileType::Symlink);
    fs.vfs
        .link_at(&fs.roots[0], "l", true, &fs.roots[0], "hard")
        .unwrap();
    assert_eq!(fs.lstat("hard").unwrap().inode, fs.stat("b").unwrap().inode);
}

#[test]
fn symbolic_links_answer_as_posix_does() {
    let mut fs = Fs::of(tree());
    for (target, path, error) in [
        ("", "l", NoEntry),
        ("x", "a", Exist),
        ("x", "d", Exist),
        ("x", "d/", Exist),
        ("x", "l/", NoEntry),
        ("x", "nope/l", NoEntry),
        ("x\0", "l", Invalid),
        ("/a", "l", NotPermitted),
    ] {
        assert_eq!(fs.symlink(target, path), err(error), "{target:?} {path:?}");
    }
    fs.symlink("d/e", "l").unwrap();
    fs.symlink("../a", "d/up").unwrap();
    assert_eq!(
        fs.lstat("l").map(|stat| (stat.file_type, stat.size)),
        Ok((FileType::Symlink, 3))
    );
    assert_eq!(fs.stat("l").unwrap().file_type, FileType::Directory);
    assert_eq!(fs.get("l/y").unwrap(), b"Y");
    assert_eq!(
        fs.get("l/../up").unwrap(),
        b"AAA",
        "`..` after a link is of where it leads"
    );
    assert_eq!(&*fs.readlink("d/up").unwrap(), "../a");
    assert_eq!(fs.readlink("a"), err(Invalid));
    assert_eq!(fs.readlink("l/"), err(Invalid));
    assert_eq!(fs.readlink("nope"), err(NoEntry));
}

#[test]
fn what_identifies_a_file_is_the_same_in_every_run() {
    let run = || {
        let mut fs = Fs::of(tree());
        fs.put("n", "").unwrap();
        fs.rename("n", "m").unwrap();
        ["d/e/y", "a", "m", "d"].map(|path| fs.stat(path).unwrap().inode)
    };
    assert_eq!(run(), run());
    let mut sorted = run();
    sorted.sort_unstable();
    assert!(sorted.windows(2).all(|pair| pair[0] != pair[1]));
    let mut fs = Fs::of(tree());
    let before = fs.stat("a").unwrap().inode;
    fs.put("a", "longer than before").unwrap();
    fs.rename("a", "z").unwrap();
    assert_eq!(
        fs.stat("z").unwrap().inode,
        before,
        "writing and moving keep it"
    );
    fs.unlink("z").unwrap();
    fs.put("z", "").unwrap();
    assert_ne!(
        fs.stat("z").unwrap().inode,
        before,
        "a new file has a new one"
    );
}
