//! Random sequences of operations against a reference that is right by definition: the host's own file system, in a
//! temporary folder. Both must agree on what succeeds and on everything that can be seen afterwards.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::Path;

use proptest::prelude::*;

use super::tests::{CREATE, Fs, WRITE};

/// One operation; paths come from a small set, so that they meet.
#[derive(Clone, Debug)]
enum Op {
    Mkdir(String),
    Rmdir(String),
    Put(String, Vec<u8>),
    Append(String, Vec<u8>),
    WriteAt(String, u64, Vec<u8>),
    SetLen(String, u64),
    Unlink(String),
    Rename(String, String),
    Link(String, String),
    List(String),
    Get(String),
}

fn path() -> impl Strategy<Value = String> {
    let name = prop::sample::select(vec!["a", "b", "c"]);
    prop::collection::vec(name, 1..4).prop_map(|names| names.join("/"))
}

fn data() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..40)
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => path().prop_map(Op::Mkdir),
        1 => path().prop_map(Op::Rmdir),
        3 => (path(), data()).prop_map(|(path, data)| Op::Put(path, data)),
        1 => (path(), data()).prop_map(|(path, data)| Op::Append(path, data)),
        1 => (path(), 0..100u64, data()).prop_map(|(path, at, data)| Op::WriteAt(path, at, data)),
        1 => (path(), 0..100u64).prop_map(|(path, len)| Op::SetLen(path, len)),
        1 => path().prop_map(Op::Unlink),
        3 => (path(), path()).prop_map(|(from, to)| Op::Rename(from, to)),
        1 => (path(), path()).prop_map(|(from, to)| Op::Link(from, to)),
        1 => path().prop_map(Op::List),
        1 => path().prop_map(Op::Get),
    ]
}

/// What an operation showed, where it succeeded.
type Seen = Option<Vec<u8>>;

fn on_ours(fs: &mut Fs, op: &Op) -> Seen {
    let nothing = |_| Vec::new();
    let result = match op {
        Op::Mkdir(path) => fs.mkdir(path).map(nothing),
        Op::Rmdir(path) => fs.rmdir(path).map(nothing),
        Op::Put(path, data) => fs.put(path, data).map(nothing),
        Op::Append(path, data) => fs.open(path, CREATE).and_then(|handle| {
            let len = fs.vfs.stat(&handle)?.size;
            let done = fs.vfs.write(&handle, len, data);
            fs.vfs.close(handle);
            done.map(nothing)
        }),
        Op::WriteAt(path, at, data) => fs.open(path, WRITE).and_then(|handle| {
            let done = fs.vfs.write(&handle, *at, data);
            fs.vfs.close(handle);
            done.map(nothing)
        }),
        Op::SetLen(path, len) => fs.open(path, WRITE).and_then(|handle| {
            let done = fs.vfs.set_size(&handle, *len);
            fs.vfs.close(handle);
            done.map(nothing)
        }),
        Op::Unlink(path) => fs.unlink(path).map(nothing),
        Op::Rename(from, to) => fs.rename(from, to).map(nothing),
        Op::Link(from, to) => fs.link(from, to).map(nothing),
        Op::List(path) => fs.ls(path).map(|names| names.join("\n").into_bytes()),
        Op::Get(path) => fs.get(path),
    };
    result.ok()
}

fn on_hosts(root: &Path, op: &Op) -> Seen {
    let nothing = |()| Vec::new();
    let open = |path: &str, create| {
        fs::OpenOptions::new()
            .write(true)
            .create(create)
            .open(root.join(path))
    };
    let result = match op {
        Op::Mkdir(path) => fs::create_dir(root.join(path)).map(nothing),
        Op::Rmdir(path) => fs::remove_dir(root.join(path)).map(nothing),
        Op::Put(path, data) => fs::write(root.join(path), data).map(nothing),
        Op::Append(path, data) => {
            let file = fs::OpenOptions::new()
                .append(true)
                .create(true)
                .open(root.join(path));
            file.and_then(|mut file| file.write_all(data)).map(nothing)
        }
        Op::WriteAt(path, at, data) => {
            use std::os::unix::fs::FileExt as _;
            open(path, false)
                .and_then(|file| file.write_all_at(data, *at))
                .map(nothing)
        }
        Op::SetLen(path, len) => open(path, false)
            .and_then(|file| file.set_len(*len))
            .map(nothing),
        Op::Unlink(path) => fs::remove_file(root.join(path)).map(nothing),
        Op::Rename(from, to) => fs::rename(root.join(from), root.join(to)).map(nothing),
        Op::Link(from, to) => fs::hard_link(root.join(from), root.join(to)).map(nothing),
        Op::List(path) => fs::read_dir(root.join(path)).map(|entries| {
            let name = |entry: fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
            let mut names: Vec<String> = entries.map(|entry| name(entry.unwrap())).collect();
            names.sort();
            names.join("\n").into_bytes()
        }),
        Op::Get(path) => fs::read(root.join(path)),
    };
    result.ok()
}

/// Everything below: None for a folder, bytes for a file.
fn hosts_tree(folder: &Path, prefix: &str, seen: &mut BTreeMap<String, Seen>) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let path = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.file_type().unwrap().is_dir() {
            hosts_tree(&entry.path(), &format!("{path}/"), seen);
            seen.insert(path, None);
        } else {
            seen.insert(path, Some(fs::read(entry.path()).unwrap()));
        }
    }
}

fn our_tree(fs: &mut Fs, folder: &str, prefix: &str, seen: &mut BTreeMap<String, Seen>) {
    for name in fs.ls(folder).unwrap() {
        let path = format!("{prefix}{name}");
        if fs.ls(&path).is_ok() {
            our_tree(fs, &path, &format!("{path}/"), seen);
            seen.insert(path, None);
        } else {
            let content = fs.get(&path).unwrap();
            seen.insert(path, Some(content));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn it_does_what_the_hosts_file_system_does(ops in prop::collection::vec(op(), 1..60)) {
        let host = tempfile::tempdir().unwrap();
        let mut ours = Fs::empty();
        for (step, op) in ops.iter().enumerate() {
            let (seen, expected) = (on_ours(&mut ours, op), on_hosts(host.path(), op));
            prop_assert_eq!(seen, expected, "step {} of {:?}", step, ops);
        }
        let (mut seen, mut expected) = (BTreeMap::new(), BTreeMap::new());
        our_tree(&mut ours, ".", "", &mut seen);
        hosts_tree(host.path(), "", &mut expected);
        prop_assert_eq!(seen, expected, "after {:?}", ops);
    }
}
