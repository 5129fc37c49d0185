//! What is handed back at the end of a run.

use super::*;

fn base() -> MemDir {
    let tool = Entry::File {
        source: Source::bytes("tool"),
        executable: true,
    };
    MemDir::new()
        .file("keep", "keep")
        .file("edit", "edit")
        .with("tool", tool)
        .dir(
            "d",
            MemDir::new()
                .file("x", "X")
                .dir("e", MemDir::new().file("y", "Y")),
        )
        .with("link", Entry::Symlink("keep".to_owned()))
}

struct Result {
    files: Vec<(String, String)>,
    executable: Vec<String>,
    removed: Vec<String>,
    refusals: Vec<Refusal>,
}

fn finish(fs: Fs) -> Result {
    let mut collected = fs.vfs.finish().unwrap();
    let changes = collected.changes.remove(0);
    let text = |content: &Content| match content {
        Content::Bytes(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
        Content::Spooled(file) => std::io::read_to_string(file.reopen().unwrap()).unwrap(),
        Content::Unchanged(source) => format!(
            "={}",
            String::from_utf8(source.as_bytes().unwrap().to_vec()).unwrap()
        ),
    };
    for file in &changes.files {
        let bytes = text(&file.content);
        let bytes = bytes.strip_prefix('=').unwrap_or(&bytes);
        assert_eq!(
            file.content.blake3().unwrap(),
            <[u8; 32]>::from(blake3::hash(bytes.as_bytes()))
        );
        assert_eq!(file.content.len(), bytes.len() as u64);
    }
    Result {
        executable: changes
            .files
            .iter()
            .filter(|file| file.executable)
            .map(|file| file.path.clone())
            .collect(),
        files: changes
            .files
            .iter()
            .map(|file| (file.path.clone(), text(&file.content)))
            .collect(),
        removed: changes.removed,
        refusals: collected.refusals,
    }
}

fn files(of: &[(&str, &str)]) -> Vec<(String, String)> {
    of.iter()
        .map(|(path, text)| ((*path).to_owned(), (*text).to_owned()))
        .collect()
}

#[test]
fn nothing_touched_is_nothing_changed() {
    let mut fs = Fs::of(base());
    fs.ls("d/e").unwrap();
    fs.get("keep").unwrap();
    let handle = fs.open("edit", WRITE).unwrap();
    fs.vfs.close(handle);
    let result = finish(fs);
    assert!(result.files.is_empty() && result.removed.is_empty() && result.refusals.is_empty());
}

#[test]
fn new_and_changed_files_are_sorted_by_path() {
    let mut fs = Fs::of(base());
    fs.put("edit", "edited").unwrap();
    fs.mkdir("z").unwrap();
    fs.mkdir("z/empty").unwrap();
    fs.put("z/new", "N").unwrap();
    fs.put("d/e/y", "YY").unwrap();
    fs.put("d-", "").unwrap();
    let result = finish(fs);
    assert_eq!(
        result.files,
        files(&[
            ("d-", ""),
            ("d/e/y", "YY"),
            ("edit", "edited"),
            ("z/new", "N")
        ])
    );
    assert!(result.removed.is_empty() && result.executable.is_empty());
}

#[test]
fn the_executable_bit_stays_with_its_file() {
    let mut fs = Fs::of(base());
    fs.put("tool", "better tool").unwrap();
    fs.put("edit", "script").unwrap();
    assert_eq!(finish(fs).executable, ["tool"]);
    let mut fs = Fs::of(base());
    fs.rename("tool", "d/tool").unwrap();
    fs.link("d/tool", "copy").unwrap();
    assert_eq!(finish(fs).executable, ["copy", "d/tool"]);
    let mut fs = Fs::of(base());
    fs.unlink("tool").unwrap();
    fs.put("tool", "a new file").unwrap();
    assert!(finish(fs).executable.is_empty());
}

#[test]
fn what_is_gone_is_said_once() {
    let mut fs = Fs::of(base());
    fs.unlink("keep").unwrap();
    fs.unlink("link").unwrap();
    fs.unlink("d/x").unwrap();
    fs.put("new", "").unwrap();
    fs.unlink("new").unwrap();
    assert_eq!(finish(fs).removed, ["d/x", "keep", "link"]);
    let mut fs = Fs::of(base());
    fs.unlink("d/x").unwrap();
    fs.unlink("d/e/y").unwrap();
    fs.rmdir("d/e").unwrap();
    fs.rmdir("d").unwrap();
    assert_eq!(
        finish(fs).removed,
        ["d"],
        "a directory stands for everything beneath"
    );
}

#[test]
fn a_file_made_anew_is_changed_and_not_removed() {
    let mut fs = Fs::of(base());
    fs.unlink("keep").unwrap();
    fs.put("keep", "K").unwrap();
    fs.put("tmp", "E").unwrap();
    fs.rename("tmp", "edit").unwrap();
    let result = finish(fs);
    assert_eq!(result.files, files(&[("edit", "E"), ("keep", "K")]));
    assert!(result.removed.is_empty());
}

#[test]
fn another_kind_in_its_place_is_both() {
    let mut fs = Fs::of(base());
    fs.unlink("keep").unwrap();
    fs.mkdir("keep").unwrap();
    fs.put("keep/in", "I").unwrap();
    fs.rename("d", "gone").unwrap();
    fs.put("d", "file").unwrap();
    let result = finish(fs);
    assert_eq!(
        result.files,
        files(&[
            ("d", "file"),
            ("gone/e/y", "=Y"),
            ("gone/x", "=X"),
            ("keep/in", "I")
        ])
    );
    assert_eq!(result.removed, ["d", "keep"]);
}

#[test]
fn a_directory_made_anew_hides_what_was_there() {
    let mut fs = Fs::of(base());
    fs.unlink("d/x").unwrap();
    fs.unlink("d/e/y").unwrap();
    fs.rmdir("d/e").unwrap();
    fs.rmdir("d").unwrap();
    fs.mkdir("d").unwrap();
    fs.put("d/new", "N").unwrap();
    let result = finish(fs);
    assert_eq!(
        (result.files, result.removed),
        (files(&[("d/new", "N")]), vec!["d".to_owned()])
    );
}

#[test]
fn moved_files_are_unchanged_elsewhere() {
    let mut fs = Fs::of(base());
    fs.rename("d", "m").unwrap();
    fs.put("m/e/y", "YY").unwrap();
    fs.unlink("m/x").unwrap();
    fs.rename("keep", "kept").unwrap();
    let result = finish(fs);
    assert_eq!(result.files, files(&[("kept", "=keep"), ("m/e/y", "YY")]));
    assert_eq!(result.removed, ["d", "keep"]);
}

#[test]
fn a_file_moved_away_and_back_is_where_it_was() {
    let mut fs = Fs::of(base());
    fs.rename("keep", "k").unwrap();
    fs.rename("k", "keep").unwrap();
    let result = finish(fs);
    assert_eq!(
        (result.files, result.removed),
        (files(&[("keep", "=keep")]), Vec::new())
    );
}

#[test]
fn links_become_files() {
    let mut fs = Fs::of(base());
    fs.put("new", "N").unwrap();
    fs.link("new", "hard").unwrap();
    fs.link("keep", "hard2").unwrap();
    fs.symlink("new", "soft").unwrap();
    fs.symlink("../keep", "d/soft").unwrap();
    fs.symlink("soft", "chain").unwrap();
    fs.symlink("d", "dir").unwrap();
    fs.symlink("nowhere", "dangling").unwrap();
    fs.symlink("../out", "escape").unwrap();
    let result = finish(fs);
    let expected = [
        ("chain", "N"),
        ("d/soft", "=keep"),
        ("hard", "N"),
        ("hard2", "=keep"),
        ("new", "N"),
        ("soft", "N"),
    ];
    assert_eq!(result.files, files(&expected));
    let dropped = |path: &str, target: &str| Refusal::Link {
        path: format!("/w/{path}"),
        target: target.to_owned(),
    };
    assert_eq!(result.refusals.len(), 3);
    for refusal in [
        dropped("dangling", "nowhere"),
        dropped("dir", "d"),
        dropped("escape", "../out"),
    ] {
        assert!(
            result.refusals.contains(&refusal),
            "{refusal:?} in {:?}",
            result.refusals
        );
    }
    assert!(
        result.removed.is_empty(),
        "a link of the source that stays is nothing new"
    );
}

#[test]
fn a_spooled_file_of_two_names_is_there_twice() {
    let memory = Memory {
        file_bytes: 1,
        total_bytes: 1,
    };
    let mut fs = Fs::with(
        vec![mount("/w", base(), Access::ReadWrite)],
        1000,
        10,
        memory,
    );
    fs.put("new", "NN").unwrap();
    fs.link("new", "hard").unwrap();
    fs.symlink("new", "soft").unwrap();
    assert_eq!(
        finish(fs).files,
        files(&[("hard", "NN"), ("new", "NN"), ("soft", "NN")])
    );
}

#[test]
fn only_what_is_asked_for_is_collected() {
    let out = mount("/out", MemDir::new(), Access::ReadWrite);
    let tmp = Mount {
        collect: false,
        ..mount("/tmp", MemDir::new(), Access::ReadWrite)
    };
    let mut fs = Fs::new(vec![tmp, mount("/in", base(), Access::ReadOnly), out]);
    fs.put("scratch", "S").unwrap();
    fs.vfs.open_at(&fs.roots[2], "f", CREATE).unwrap();
    let collected = fs.vfs.finish().unwrap();
    let paths: Vec<_> = collected
        .changes
        .iter()
        .map(|changes| changes.guest_path.as_str())
        .collect();
    assert_eq!(paths, ["/in", "/out"]);
    assert_eq!((collected.output_bytes, collected.output_entries), (1, 2));
    assert_eq!(collected.changes[1].files.len(), 1);
}
