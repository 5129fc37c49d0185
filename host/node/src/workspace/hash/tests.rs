//! Tests of digests: the same whether remembered or hashed, by however many threads, in the order that was asked in.
#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use super::super::list;
use super::*;
use sykli_core::glob::Pattern;

struct Project {
    root: tempfile::TempDir,
    _cache: tempfile::TempDir,
    store: Store,
}

impl Project {
    fn new(paths: &[String]) -> Project {
        let (root, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let store = Store::open(cache.path()).unwrap();
        for path in paths {
            let whole = root.path().join(path);
            std::fs::create_dir_all(whole.parent().unwrap()).unwrap();
            std::fs::write(whole, path).unwrap();
        }
        // Past the tick in which a change would not show.
        std::thread::sleep(std::time::Duration::from_millis(50));
        Project {
            root,
            _cache: cache,
            store,
        }
    }

    fn listed(&self) -> Listed {
        list(self.root.path(), &[Pattern::new("**").unwrap()]).unwrap()
    }

    fn digest(&self) -> Files {
        let files = digest(&self.store, self.listed(), 3).unwrap();
        self.store.flush().unwrap();
        files
    }
}

fn paths() -> Vec<String> {
    let mut paths: Vec<String> = (0..300).map(|n| format!("d{}/{n}", n % 7)).collect();
    paths.extend(["a", "d1.x/a", "d1/z/a", "d1/zz"].map(str::to_owned));
    paths
}

/// That each file has the digest of its own path, but for one.
fn assert_digests(files: &Files, other: &str, content: &[u8]) {
    for (at, file) in files.listing().files().iter().enumerate() {
        let found = files.digested(at.try_into().unwrap()).unwrap();
        let own = if *file.path == *other {
            Digest::of(content)
        } else {
            Digest::of(file.path.as_bytes())
        };
        assert_eq!(found.digest, own, "{}", file.path);
        assert!(!found.stored, "{}", file.path);
    }
}

#[test]
fn what_is_unchanged_is_remembered_and_what_changed_is_hashed() {
    let project = Project::new(&paths());
    assert_digests(&project.digest(), "", b"");
    assert_digests(&project.digest(), "", b"");
    // What is remembered shows where it is wrong.
    let listed = project.listed();
    let at = listed.listing.find("d1/z/a").unwrap() as usize;
    let wrong = Row::new(
        &listed.root.join("d1/z/a"),
        listed.stamps[at],
        now_ns(),
        Digest::of(b"wrong"),
    );
    project.store.memo_write(vec![wrong]);
    project.store.flush().unwrap();
    assert_digests(&project.digest(), "d1/z/a", b"wrong");
    std::fs::write(project.root.path().join("d1/z/a"), "right!").unwrap();
    std::thread::sleep(std::time::Duration::from_millis(50));
    assert_digests(&project.digest(), "d1/z/a", b"right!");
    assert_digests(&project.digest(), "d1/z/a", b"right!");
}

#[test]
fn paths_are_answered_in_their_order() {
    let project = Project::new(&paths());
    let names = ["d2/2", "none", "d1/1", "d1", "d1/1", "a"];
    let asked: Vec<PathBuf> = names.map(|name| project.root.path().join(name)).to_vec();
    for _ in 0..2 {
        let found = digest_paths(&project.store, &asked, 2);
        project.store.flush().unwrap();
        let digests = found.into_iter().map(|one| one.ok().map(|one| one.digest));
        let expected = names.map(|name| {
            let there = !matches!(name, "none" | "d1");
            there.then(|| Digest::of(name.as_bytes()))
        });
        assert_eq!(digests.collect::<Vec<_>>(), expected);
    }
}

#[test]
fn a_large_file_has_the_digest_that_it_always_had() {
    let project = Project::new(&["small".to_owned(), "large".to_owned()]);
    let len = usize::try_from(LARGE_BYTES).unwrap() + 12_345;
    let bytes: Vec<u8> = (0..len).map(|n| (n % 251) as u8).collect();
    std::fs::write(project.root.path().join("large"), &bytes).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(50));
    assert_digests(&project.digest(), "large", &bytes);
    assert_digests(&project.digest(), "large", &bytes);
}
