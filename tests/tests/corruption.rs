//! Every file that `sykli` keeps, damaged in many ways: the next run gives the same outputs, and the commands that look
//! into the cache still work. Nothing of the cache or the state is worth more than the time to make it again.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use sykli_tests::Project;

/// A large output is a file of the store, a small one a row of its database.
const PIPELINE: &str = r#"
schema = "sykli-wasm/1"
[task.first]
component = "copy.wasm"
inputs = ["large.txt", "small.txt"]
args = ["/in/large.txt", "/out/a/large", "/in/small.txt", "/out/a/small"]
outputs = ["a/*"]
[task.second]
component = "copy.wasm"
after = ["first"]
args = ["/in/first/a", "/out/b"]
outputs = ["b/*"]
"#;

fn project() -> Project {
    let project = Project::new();
    project
        .guest("copy")
        .write("large.txt", "large\n".repeat(20_000))
        .write("small.txt", "small")
        .write("sykli.toml", PIPELINE);
    project.run(&["run"]).expect(0);
    project
}

/// All files below a folder with their bytes.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                found.insert(path.clone(), fs::read(&path).unwrap());
            }
        }
    }
    found
}

/// Puts the home back to what it was.
fn restore(home: &Path, good: &BTreeMap<PathBuf, Vec<u8>>) {
    for path in files(home).keys() {
        fs::remove_file(path).unwrap();
    }
    for (path, bytes) in good {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        put(path, bytes);
    }
}

fn put(path: &Path, bytes: &[u8]) {
    drop(fs::remove_file(path));
    fs::write(path, bytes).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// A way to damage a file, by name; none takes the file away.
fn damages(bytes: &[u8]) -> Vec<(String, Option<Vec<u8>>)> {
    let end = bytes.len();
    let mut places: Vec<usize> = [
        0,
        1,
        17,
        24,
        60,
        61,
        62,
        63,
        100,
        107,
        end / 4,
        end / 3,
        end / 2,
        end * 3 / 4,
        end.saturating_sub(1),
    ]
    .into_iter()
    .filter(|place| *place < end)
    .collect();
    places.dedup();
    let flip = |place: usize| {
        let mut bytes = bytes.to_vec();
        bytes[place] ^= 0x55;
        (format!("flipped at {place} of {end}"), Some(bytes))
    };
    let mut all: Vec<_> = places.into_iter().map(flip).collect();
    let cut = |length: usize| {
        (
            format!("cut to {length} of {end}"),
            bytes.get(..length).map(<[u8]>::to_vec),
        )
    };
    all.extend([0, end / 2, end.saturating_sub(1)].map(cut));
    all.push(("garbage".to_owned(), Some(noise(end.max(64)))));
    all.push(("zeros".to_owned(), Some(vec![0; end])));
    all.push(("longer".to_owned(), Some([bytes, &noise(4096)].concat())));
    all.push(("removed".to_owned(), None));
    all
}

/// Bytes without meaning, always the same.
fn noise(length: usize) -> Vec<u8> {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    (0..length).map(|_| (random.next() >> 33) as u8).collect()
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// After whatever was done: a command that looks first, then a run that gives all outputs anew, then the same again.
#[track_caller]
fn works(project: &Project, number: usize, what: &str) {
    let looks: [&[&str]; 4] = [
        &["cache", "stats"],
        &["cache", "why", "second"],
        &["cache", "gc"],
        &["plan", "--explain"],
    ];
    for folder in ["a", "b"] {
        drop(fs::remove_dir_all(project.path().join(folder)));
    }
    let look = looks[number % looks.len()];
    let ended = |args: &[&str]| {
        let ran = project.run(args);
        assert!(
            ran.code == Some(0) && !ran.stderr.contains("panicked"),
            "{what}, then {args:?}: {ran:?}"
        );
    };
    // In turns: the command that looks meets the damage, or the run does.
    if number % 8 < 4 {
        ended(look);
    }
    ended(&["run", "--json"]);
    ended(look);
    let large = "large\n".repeat(20_000);
    for folder in ["a", "b"] {
        assert_eq!(
            project.read_text(&format!("{folder}/large")),
            large,
            "{what}"
        );
        assert_eq!(
            project.read_text(&format!("{folder}/small")),
            "small",
            "{what}"
        );
    }
}

#[test]
fn any_damage_to_any_file_costs_only_time() {
    let project = project();
    let home = project.home();
    let good = files(&home);
    assert!(
        good.keys().any(|path| path.ends_with("cache.db")),
        "{good:?}"
    );
    let mut number = 0;
    for (path, bytes) in &good {
        for (how, damaged) in damages(bytes) {
            restore(&home, &good);
            match damaged {
                Some(damaged) => put(path, &damaged),
                None => fs::remove_file(path).unwrap(),
            }
            works(&project, number, &format!("{} {how}", path.display()));
            number += 1;
        }
    }
}

#[test]
fn many_files_damaged_at_once_cost_only_time() {
    let project = project();
    let home = project.home();
    let good = files(&home);
    let mut random = Random(7);
    for number in 0..24 {
        restore(&home, &good);
        for (path, bytes) in &good {
            let all = damages(bytes);
            let choice = random.next() as usize % (2 * all.len());
            match all.get(choice) {
                Some((_, Some(damaged))) => put(path, damaged),
                Some((_, None)) => fs::remove_file(path).unwrap(),
                None => {}
            }
        }
        works(&project, number, &format!("round {number}"));
    }
}

#[test]
fn what_lies_where_a_file_should_is_no_matter() {
    let project = project();
    let home = project.home();
    let good = files(&home);
    for (number, path) in good.keys().enumerate() {
        // A folder where a file was; with something in it, so that it cannot just be replaced.
        restore(&home, &good);
        fs::remove_file(path).unwrap();
        fs::create_dir(path).unwrap();
        fs::write(path.join("thing"), "x").unwrap();
        let ran = project.run(&["run"]);
        assert!(
            !ran.stderr.contains("panicked"),
            "{}: {ran:?}",
            path.display()
        );
        // Either it lives with it, or it says which folder is in the way.
        let named = ran.stderr.contains(&*path.to_string_lossy()) && ran.stderr.contains("hint:");
        assert!(ran.code == Some(0) || named, "{}: {ran:?}", path.display());
        if path.is_dir() {
            fs::remove_dir_all(path).unwrap();
        }
        works(
            &project,
            number,
            &format!("{} was a folder", path.display()),
        );
    }
}

#[test]
fn the_whole_home_may_vanish_between_runs() {
    let project = project();
    for (number, folder) in ["cache", "state", "run", "."].into_iter().enumerate() {
        drop(fs::remove_dir_all(project.home().join(folder)));
        works(&project, number, &format!("{folder} removed"));
    }
}
