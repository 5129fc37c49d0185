//! Quotas: bytes and entries of all mounts together, refused before anything happens, and given back.

use super::Access;
use super::*;
use FsError::*;

fn two(bytes: u64, entries: u32) -> Fs {
    let base = || MemDir::new().file("base", vec![b'b'; 100]);
    let mounts = vec![
        mount("/out", base(), Access::ReadWrite),
        mount("/tmp", base(), Access::ReadWrite),
    ];
    Fs::with(
        mounts,
        bytes,
        entries,
        Memory {
            file_bytes: 64,
            total_bytes: 128,
        },
    )
}

#[test]
fn bytes_count_for_all_mounts_together() {
    let mut fs = two(1000, 10);
    let tmp = fs.vfs.open_at(&fs.roots[1], "t", CREATE).unwrap();
    fs.vfs.write(&tmp, 0, &[1; 600]).unwrap();
    assert_eq!(fs.put("f", [2; 401]), err(InsufficientSpace));
    assert_eq!(
        fs.stat("f").unwrap().size,
        0,
        "a refused write writes nothing"
    );
    assert_eq!(fs.vfs.refusals(), [Refusal::OutputBytes { limit: 1000 }]);
    assert_eq!(fs.put("f", [2; 400]), Ok(()));
    let f = fs.open("f", WRITE).unwrap();
    assert_eq!(fs.vfs.write(&f, 400, b"x"), err(InsufficientSpace));
    assert_eq!(
        fs.vfs.write(&f, 399, b"x"),
        Ok(()),
        "writing over costs nothing"
    );
    assert_eq!(fs.vfs.set_size(&f, 401), err(InsufficientSpace));
    fs.vfs.set_size(&tmp, 100).unwrap();
    assert_eq!(fs.vfs.write(&f, 400, &[3; 500]), Ok(()));
    assert_eq!(fs.vfs.output_bytes(), 1000);
    assert_eq!(fs.vfs.refusals().len(), 1, "recorded once");
    assert!(fs.vfs.host_error().is_none());
}

#[test]
fn a_sparse_file_counts_by_its_length() {
    let mut fs = two(1 << 30, 10);
    let f = fs.open("f", CREATE).unwrap();
    for size in [1 << 50, i64::MAX as u64, u64::MAX] {
        assert_eq!(fs.vfs.set_size(&f, size), err(InsufficientSpace));
    }
    assert_eq!(fs.vfs.write(&f, 1 << 50, b"x"), err(InsufficientSpace));
    assert_eq!(fs.vfs.write(&f, u64::MAX, b"x"), err(FileTooLarge));
    assert_eq!(fs.vfs.write(&f, u64::MAX, b""), Ok(()));
    assert_eq!(fs.vfs.set_size(&f, 1 << 29), Ok(()));
    assert_eq!(
        fs.vfs.read(&f, (1 << 29) - 3, 10).unwrap().0.as_ref(),
        [0; 3]
    );
    assert_eq!(fs.vfs.output_bytes(), 1 << 29);
    let unbounded = &mut two(u64::MAX, 10);
    let f = unbounded.open("f", CREATE).unwrap();
    assert_eq!(unbounded.vfs.set_size(&f, u64::MAX), err(InsufficientSpace));
}

#[test]
fn a_private_copy_counts_and_an_untouched_file_does_not() {
    let mut fs = two(150, 10);
    fs.get("base").unwrap();
    fs.rename("base", "moved").unwrap();
    assert_eq!(fs.vfs.output_bytes(), 0);
    let moved = fs.open("moved", WRITE).unwrap();
    fs.vfs.write(&moved, 0, b"x").unwrap();
    assert_eq!(fs.vfs.output_bytes(), 100);
    let other = fs.vfs.open_at(&fs.roots[1], "base", WRITE).unwrap();
    assert_eq!(
        fs.vfs.write(&other, 0, b"x"),
        err(InsufficientSpace),
        "no room for the copy"
    );
    assert_eq!(
        fs.vfs.read(&other, 0, 1).unwrap().0,
        "b",
        "and nothing happened"
    );
    assert_eq!(
        fs.vfs.set_size(&other, 50),
        Ok(()),
        "a shorter copy has room"
    );
}

#[test]
fn hard_links_count_as_the_files_they_become() {
    let mut fs = two(250, 10);
    fs.link("base", "copy").unwrap();
    assert_eq!(fs.vfs.output_bytes(), 100);
    assert_eq!(fs.link("base", "copy2"), Ok(()));
    assert_eq!(fs.link("base", "copy3"), err(InsufficientSpace));
    assert_eq!(fs.vfs.output_entries(), 2, "a refused link leaves nothing");
    let f = fs.open("base", WRITE).unwrap();
    assert_eq!(
        fs.vfs.write(&f, 0, b"x"),
        err(InsufficientSpace),
        "written, it is three files"
    );
    fs.unlink("copy2").unwrap();
    assert_eq!(fs.vfs.write(&f, 0, b"x"), Ok(()));
    assert_eq!(fs.vfs.output_bytes(), 200);
    assert_eq!(fs.vfs.write(&f, 100, &[0; 26]), err(InsufficientSpace));
    assert_eq!(fs.vfs.write(&f, 100, &[0; 25]), Ok(()));
    fs.unlink("copy").unwrap();
    fs.unlink("base").unwrap();
    assert_eq!(fs.vfs.output_bytes(), 125, "open, it still counts once");
    fs.vfs.close(f);
    assert_eq!(fs.vfs.output_bytes(), 0);
}

#[test]
fn copies_of_symbolic_links_keep_to_the_quota() {
    let mut fs = two(1000, 100);
    fs.put("f", [1; 400]).unwrap();
    for at in 0..5 {
        fs.symlink("f", &format!("l{at}")).unwrap();
    }
    let collected = fs.vfs.finish().unwrap();
    let total: u64 = collected.changes[0]
        .files
        .iter()
        .map(|file| file.content.len())
        .sum();
    assert_eq!(total, 800, "{:?}", collected.changes[0].files);
    assert!(
        collected
            .refusals
            .contains(&Refusal::OutputBytes { limit: 1000 })
    );
}

#[test]
fn link_targets_count() {
    let mut fs = two(100, 10);
    fs.symlink(&"x".repeat(60), "l").unwrap();
    assert_eq!(fs.symlink(&"x".repeat(60), "m"), err(InsufficientSpace));
    assert_eq!(fs.lstat("m"), err(NoEntry));
    fs.unlink("l").unwrap();
    assert_eq!(fs.vfs.output_bytes(), 0);
}

#[test]
fn entries_count_while_they_exist() {
    let mut fs = two(1 << 20, 4);
    fs.put("f", "").unwrap();
    fs.mkdir("d").unwrap();
    fs.symlink("f", "l").unwrap();
    fs.vfs.create_dir_at(&fs.roots[1], "d").unwrap();
    assert_eq!(fs.put("g", ""), err(Quota));
    assert_eq!(fs.mkdir("e"), err(Quota));
    assert_eq!(fs.symlink("f", "m"), err(Quota));
    assert_eq!(fs.link("f", "m"), err(Quota));
    assert_eq!(
        fs.rename("base", "moved"),
        err(Quota),
        "a file of the source under a new name is a new entry"
    );
    assert_eq!(fs.get("base").unwrap().len(), 100);
    assert_eq!(fs.vfs.refusals(), [Refusal::OutputEntries { limit: 4 }]);
    assert_eq!(
        fs.rename("f", "d/f"),
        Ok(()),
        "moving what counts already costs nothing"
    );
    fs.unlink("l").unwrap();
    fs.rename("base", "moved").unwrap();
    assert_eq!(fs.vfs.output_entries(), 4);
    fs.rename("d/f", "moved").unwrap();
    assert_eq!(fs.vfs.output_entries(), 3);
    fs.unlink("moved").unwrap();
    fs.rmdir("d").unwrap();
    fs.vfs.remove_dir_at(&fs.roots[1], "d").unwrap();
    assert_eq!(fs.vfs.output_entries(), 0);
    fs.vfs.unlink_file_at(&fs.roots[1], "base").unwrap();
    assert_eq!(
        fs.vfs.output_entries(),
        0,
        "removing what never counted gives nothing"
    );
}

#[test]
fn making_and_removing_in_a_loop_grows_nothing() {
    let mut fs = two(1 << 20, 4);
    for _ in 0..1000 {
        fs.put("f", "x").unwrap();
        fs.mkdir("d").unwrap();
        fs.symlink("f", "l").unwrap();
        fs.unlink("l").unwrap();
        fs.rmdir("d").unwrap();
        fs.unlink("f").unwrap();
    }
    assert_eq!((fs.vfs.output_bytes(), fs.vfs.output_entries()), (0, 0));
    assert!(fs.vfs.nodes.slots() < 10, "{}", fs.vfs.nodes.slots());
}

#[test]
fn listings_held_open_are_bounded() {
    let paths = (0..600_000).map(|at| FlatFile {
        path: format!("{at:06}"),
        source: Source::empty(),
        executable: false,
    });
    let mut fs = Fs::of(FlatTree::new(paths.collect()).unwrap());
    let first = fs.vfs.read_dir(&fs.roots[0]).unwrap();
    let second = fs.vfs.read_dir(&fs.roots[0]).unwrap();
    fs.put("changed", "").unwrap();
    assert!(matches!(
        fs.vfs.read_dir(&fs.roots[0]),
        Err(InsufficientMemory)
    ));
    drop((first, second));
    assert_eq!(fs.vfs.read_dir(&fs.roots[0]).unwrap().len(), 600_001);
}
