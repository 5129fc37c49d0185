//! The guest's file system, through `std::fs` as programs use it.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use sykli_runtime::{ReadAt, Source};

use crate::common::{case, stderr, stdout, succeeded};

#[test]
fn the_tour_reads_as_it_does_on_a_real_file_system() {
    let real = tempfile::tempdir().unwrap();
    let native = Command::new(sykli_tests::native_guest("fs-tour"))
        .arg(real.path())
        .output()
        .unwrap();
    let native = String::from_utf8(native.stdout).unwrap();
    assert!(native.contains("cleaned: true"), "{native}");
    for folder in ["/tmp", "/out"] {
        let inside = succeeded(&case("fs-tour", &[folder]).run());
        for (inside, native) in inside.lines().zip(native.lines()) {
            assert_eq!(inside, native, "in {folder}");
        }
        assert_eq!(inside.lines().count(), native.lines().count());
    }
}

#[test]
fn what_is_written_to_out_is_collected_and_what_is_written_to_tmp_is_not() {
    let outcome = case(
        "copy",
        &["/in/photos", "/out/kept", "/in/photos/a.txt", "/tmp/gone"],
    )
    .file("photos/a.txt", "a")
    .file("photos/old/b.txt", "b")
    .run();
    succeeded(&outcome);
    let paths: Vec<_> = outcome
        .changes
        .iter()
        .flat_map(|changes| &changes.files)
        .map(|file| &file.path)
        .collect();
    assert_eq!(paths, ["kept/a.txt", "kept/old/b.txt"]);
}

#[test]
fn large_and_many_outputs_come_out_whole() {
    let outcome = case("big-output", &["20000001", "1500"]).run();
    succeeded(&outcome);
    let files: Vec<_> = outcome
        .changes
        .iter()
        .flat_map(|changes| &changes.files)
        .collect();
    assert_eq!(files.len(), 1501);
    assert_eq!(
        files.iter().map(|file| file.content.len()).max(),
        Some(20_000_001)
    );
    assert!(
        files.windows(2).all(|pair| pair[0].path < pair[1].path),
        "paths are sorted"
    );
    let again = case("big-output", &["20000001", "1500"]).run();
    let digests = |outcome: &sykli_runtime::Outcome| {
        let files = outcome.changes.iter().flat_map(|changes| &changes.files);
        files
            .map(|file| file.content.blake3().unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(digests(&outcome), digests(&again));
}

/// Counts how often it is asked for its content.
struct Counted(Arc<AtomicUsize>);

impl ReadAt for Counted {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> std::io::Result<usize> {
        self.0.fetch_add(1, Ordering::Relaxed);
        let rest = b"first line\nsecond\n"
            .get(usize::try_from(offset).unwrap()..)
            .unwrap_or(&[]);
        let length = rest.len().min(buf.len());
        buf[..length].copy_from_slice(&rest[..length]);
        Ok(length)
    }
    fn len(&self) -> u64 {
        18
    }
}

#[test]
fn who_reads_one_file_of_many_pays_for_one() {
    let reads = Arc::new(AtomicUsize::new(0));
    let mut reader = case("read-one-of-many", &["/in/many/4711.txt"]);
    for i in 0..20_000 {
        let untouched = i != 4711;
        let counter = if untouched {
            Arc::clone(&reads)
        } else {
            Arc::default()
        };
        reader.files.push((
            format!("many/{i}.txt"),
            Source::new(Arc::new(Counted(counter))),
        ));
    }
    assert_eq!(succeeded(&reader.run()), "18 bytes: first line\n");
    assert_eq!(reads.load(Ordering::Relaxed), 0);
}

#[test]
fn a_missing_file_is_an_ordinary_error() {
    let outcome = case("read-one-of-many", &["/in/none.txt"]).run();
    assert!(!outcome.status.is_success() && stdout(&outcome).is_empty());
    assert!(
        stderr(&outcome).contains("No such file"),
        "{}",
        stderr(&outcome)
    );
}
