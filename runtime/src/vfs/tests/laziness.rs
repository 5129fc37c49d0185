//! A guest pays for what it touches.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use super::*;

#[derive(Default)]
struct Calls {
    lists: AtomicUsize,
    gets: AtomicUsize,
    reads: AtomicUsize,
}

impl Calls {
    fn counts(&self) -> (usize, usize, usize) {
        (
            self.lists.load(SeqCst),
            self.gets.load(SeqCst),
            self.reads.load(SeqCst),
        )
    }
}

struct CountedDir(Arc<Calls>, MemDir);

impl DirSource for CountedDir {
    fn list(&self) -> io::Result<Vec<(String, Entry)>> {
        self.0.lists.fetch_add(1, SeqCst);
        self.1.list()
    }
    fn get(&self, name: &str) -> io::Result<Option<Entry>> {
        self.0.gets.fetch_add(1, SeqCst);
        self.1.get(name)
    }
}

struct CountedFile(Arc<Calls>);

impl ReadAt for CountedFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.reads.fetch_add(1, SeqCst);
        let rest = usize::try_from(self.len().saturating_sub(offset)).unwrap_or(0);
        let n = buf.len().min(rest).min(7);
        buf[..n].fill(b'.');
        Ok(n)
    }
    fn len(&self) -> u64 {
        21
    }
}

fn counted() -> (Arc<Calls>, CountedDir) {
    let calls = Arc::new(Calls::default());
    let file = || Entry::File {
        source: Source::new(Arc::new(CountedFile(calls.clone()))),
        executable: false,
    };
    let inner = MemDir::new().with("f", file()).with("g", file());
    let dir = MemDir::new()
        .with("f", file())
        .dir("d", CountedDir(calls.clone(), inner));
    (calls.clone(), CountedDir(calls, dir))
}

#[test]
fn looking_up_one_name_asks_for_that_name() {
    let (calls, dir) = counted();
    let mut fs = Fs::of(dir);
    assert_eq!(calls.counts(), (0, 0, 0), "a mount costs nothing");
    fs.stat("d/f").unwrap();
    assert_eq!(calls.counts(), (0, 2, 0));
    fs.stat("d/f").unwrap();
    fs.open("d/f", WRITE).unwrap();
    assert_eq!(
        calls.counts(),
        (0, 2, 0),
        "what is known is not asked again"
    );
    assert_eq!(fs.get("d/f").unwrap().len(), 21);
    assert_eq!(calls.counts(), (0, 2, 3), "short reads are gone on with");
    fs.put("d/new", "").unwrap();
    assert_eq!(calls.counts().0, 0, "making a file lists nothing");
}

#[test]
fn a_directory_is_listed_once() {
    let (calls, dir) = counted();
    let mut fs = Fs::of(dir);
    for _ in 0..3 {
        assert_eq!(fs.ls(".").unwrap(), ["d", "f"]);
        fs.stat("f").unwrap();
        assert_eq!(fs.stat("nope"), err(FsError::NoEntry));
    }
    assert_eq!(calls.counts(), (1, 0, 0), "and then knows its names");
}

#[test]
fn collecting_touches_only_what_changed() {
    let (calls, dir) = counted();
    let mut fs = Fs::of(dir);
    fs.put("d/f", "new").unwrap();
    let before = calls.counts();
    let collected = fs.vfs.finish().unwrap();
    assert_eq!(collected.changes[0].files.len(), 1);
    assert_eq!(calls.counts(), before);
    assert_eq!(
        before,
        (0, 2, 0),
        "a file that is emptied is not copied first"
    );
}

struct CountedIndex(Vec<FlatFile>, Arc<Calls>);

impl FlatIndex for CountedIndex {
    fn len(&self) -> usize {
        self.0.len()
    }
    fn path(&self, index: usize) -> &str {
        self.1.lists.fetch_add(1, SeqCst);
        &self.0[index].path
    }
    fn entry(&self, index: usize) -> Entry {
        self.1.gets.fetch_add(1, SeqCst);
        self.0.entry(index)
    }
}

#[test]
fn one_file_of_fifty_thousand_costs_one() {
    let mut files: Vec<FlatFile> = (0..50_000)
        .map(|at| FlatFile {
            path: format!("dir{}/file{at}.txt", at % 100),
            source: Source::bytes(at.to_string()),
            executable: false,
        })
        .collect();
    files.sort_by(|a, b| a.path.cmp(&b.path));
    let calls = Arc::new(Calls::default());
    let tree = FlatTree::from_index(Arc::new(CountedIndex(files, calls.clone())));
    let mut fs = Fs::new(vec![mount("/in", tree, Access::ReadOnly)]);
    assert_eq!(fs.get("dir34/file1234.txt").unwrap(), b"1234");
    let (paths, entries, _) = calls.counts();
    assert_eq!(entries, 1, "one file is made");
    assert!(paths < 150, "{paths} paths were compared");
    assert_eq!(fs.ls("dir34").unwrap().len(), 500);
    assert_eq!(calls.counts().1, 501);
}
