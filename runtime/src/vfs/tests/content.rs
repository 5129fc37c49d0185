//! Content: reading, writing, cutting, and moving to the spool, with the same answers wherever the bytes lie.

use bytes::Bytes;
use std::io::Read as _;

use super::Access;
use super::*;
use FsError::*;

const TINY: Memory = Memory {
    file_bytes: 10,
    total_bytes: 1 << 20,
};
const NONE: Memory = Memory {
    file_bytes: 0,
    total_bytes: 0,
};

fn small(memory: Memory) -> Fs {
    let base = MemDir::new().file("base", "0123456789abcdef");
    Fs::with(
        vec![mount("/w", base, Access::ReadWrite)],
        1 << 30,
        100,
        memory,
    )
}

fn spooled(fs: &Fs) -> usize {
    std::fs::read_dir(fs.spool.path()).unwrap().count()
}

#[test]
fn content_is_the_same_wherever_it_lies() {
    for memory in [Memory::default(), TINY, NONE] {
        let mut fs = small(memory);
        let handle = fs.open("f", CREATE).unwrap();
        fs.vfs.write(&handle, 0, b"hello").unwrap();
        fs.vfs.write(&handle, 5, b" world").unwrap();
        assert_eq!(fs.all(&handle).unwrap(), b"hello world");
        fs.vfs.write(&handle, 0, b"J").unwrap();
        fs.vfs.write(&handle, 13, b"!").unwrap();
        assert_eq!(
            fs.all(&handle).unwrap(),
            b"Jello world\0\0!",
            "a gap is zeros"
        );
        fs.vfs.set_size(&handle, 3).unwrap();
        fs.vfs.set_size(&handle, 6).unwrap();
        assert_eq!(
            fs.all(&handle).unwrap(),
            b"Jel\0\0\0",
            "what was cut does not come back"
        );
        let cell = fs.vfs.writable(&handle).unwrap();
        assert_eq!(cell.write(None, b"end"), Ok(9));
        assert_eq!(fs.all(&handle).unwrap(), b"Jel\0\0\0end");
        // A read may be short where memory and spool meet, never empty before the end.
        let (bytes, at_end) = fs.vfs.read(&handle, 4, 3).unwrap();
        assert!(!bytes.is_empty() && b"\0\0e".starts_with(&bytes) && !at_end);
        assert_eq!(fs.vfs.read(&handle, 9, 3), Ok((Bytes::new(), true)));
        assert_eq!(fs.vfs.read(&handle, u64::MAX, 3), Ok((Bytes::new(), true)));
        assert_eq!(fs.vfs.read(&handle, 0, 0), Ok((Bytes::new(), false)));
        fs.vfs.set_size(&handle, 0).unwrap();
        assert_eq!(fs.all(&handle).unwrap(), b"");
        assert_eq!(
            (fs.vfs.output_bytes(), spooled(&fs)),
            (0, 0),
            "an empty file needs no spool"
        );
        assert!(fs.vfs.host_error().is_none());
    }
}

#[test]
fn a_file_of_the_source_is_copied_when_first_written() {
    for memory in [Memory::default(), TINY, NONE] {
        for (offset, expected) in [
            (0, "XX23456789abcdef"),
            (16, "0123456789abcdefXX"),
            (15, "0123456789abcdeXX"),
        ] {
            let mut fs = small(memory);
            let handle = fs.open("base", WRITE).unwrap();
            assert_eq!(fs.vfs.output_bytes(), 0, "opening copies nothing");
            fs.vfs.write(&handle, offset, b"XX").unwrap();
            assert_eq!(
                String::from_utf8(fs.all(&handle).unwrap()).unwrap(),
                expected
            );
            assert_eq!(fs.vfs.output_bytes(), expected.len() as u64);
        }
        let mut fs = small(memory);
        let handle = fs.open("base", WRITE).unwrap();
        fs.vfs.set_size(&handle, 4).unwrap();
        fs.vfs.set_size(&handle, 5).unwrap();
        assert_eq!(fs.get("base").unwrap(), b"0123\0");
        fs.put("base", "new").unwrap();
        assert_eq!(fs.all(&handle).unwrap(), b"new", "an open handle sees it");
    }
}

#[test]
fn a_source_is_not_changed() {
    let dir = Arc::new(MemDir::new().file("f", "before"));
    for _ in 0..2 {
        let mount = Mount {
            guest_path: "/w".into(),
            dir: dir.clone(),
            access: Access::ReadWrite,
            collect: true,
        };
        let mut fs = Fs::new(vec![mount]);
        assert_eq!(fs.get("f").unwrap(), b"before");
        fs.put("f", "after").unwrap();
        fs.unlink("f").unwrap();
    }
}

#[test]
fn big_files_are_spooled_and_cleaned_up() {
    let mut fs = Fs::empty();
    let data: Vec<u8> = (0..1_000_000_u32).flat_map(u32::to_le_bytes).collect();
    let handle = fs.open("big", CREATE).unwrap();
    for (at, part) in data.chunks(4096).enumerate() {
        fs.vfs.write(&handle, at as u64 * 4096, part).unwrap();
    }
    assert_eq!(spooled(&fs), 1);
    assert!(fs.all(&handle).unwrap() == data);
    let spool_path = fs.spool.path().to_owned();
    let Fs { vfs, spool, .. } = fs;
    let changes = vfs.finish().unwrap().changes;
    let file = &changes[0].files[0];
    assert_eq!(
        (file.path.as_str(), file.content.len()),
        ("big", data.len() as u64)
    );
    assert_eq!(
        file.content.blake3().unwrap(),
        <[u8; 32]>::from(blake3::hash(&data))
    );
    let Content::Spooled(spooled) = &file.content else {
        panic!("{:?}", file.content)
    };
    assert!(std::fs::read(spooled.path().unwrap()).unwrap() == data);
    assert_eq!(
        std::io::read_to_string(spooled.reopen().unwrap().take(0)).unwrap(),
        ""
    );
    drop(changes);
    assert_eq!(
        std::fs::read_dir(spool_path).unwrap().count(),
        0,
        "nothing is left behind"
    );
    drop(spool);
}

#[test]
fn the_hash_is_right_however_a_file_was_written() {
    let writes: &[&[(u64, usize)]] = &[
        &[(0, 300_000), (300_000, 5), (300_005, 100_000)],
        &[(0, 300_000), (10, 5), (300_000, 7)],
        &[(500_000, 3)],
        &[(0, 70_000), (100_000, 200_000), (350_000, 1)],
        &[
            (0, 100),
            (100, 100_000),
            (100_100, 65_536),
            (165_636, 65_537),
            (231_173, 300_000),
        ],
    ];
    for memory in [Memory::default(), NONE] {
        for parts in writes {
            let mut fs = small(memory);
            let handle = fs.open("f", CREATE).unwrap();
            let mut model = Vec::new();
            for (round, (at, len)) in parts.iter().enumerate() {
                let data = vec![round as u8 + 1; *len];
                fs.vfs.write(&handle, *at, &data).unwrap();
                let at = *at as usize;
                model.resize(model.len().max(at + len), 0);
                model[at..at + len].copy_from_slice(&data);
            }
            let files = fs.vfs.finish().unwrap().changes.remove(0).files;
            assert_eq!(files[0].content.len(), model.len() as u64);
            assert_eq!(
                files[0].content.blake3().unwrap(),
                <[u8; 32]>::from(blake3::hash(&model)),
                "{parts:?}"
            );
        }
    }
}

#[test]
fn many_small_files_beyond_the_memory_share_few_descriptors() {
    let memory = Memory {
        file_bytes: 1000,
        total_bytes: 10_000,
    };
    let mut fs = Fs::with(
        vec![mount("/w", MemDir::new(), Access::ReadWrite)],
        1 << 20,
        1000,
        memory,
    );
    let handles: Vec<_> = (0..300)
        .map(|at| fs.open(&format!("f{at}"), CREATE).unwrap())
        .collect();
    for round in 0..3_u8 {
        for (at, handle) in handles.iter().enumerate() {
            fs.vfs
                .write(handle, u64::from(round) * 100, &[at as u8 ^ round; 100])
                .unwrap();
        }
    }
    assert!(spooled(&fs) > 200);
    for (at, handle) in handles.iter().enumerate() {
        let at = at as u8;
        assert_eq!(
            fs.all(handle).unwrap(),
            [[at; 100], [at ^ 1; 100], [at ^ 2; 100]].concat()
        );
    }
    let files = fs.vfs.finish().unwrap().changes.remove(0).files;
    assert!(files.iter().all(|file| file.content.len() == 300) && files.len() == 300);
}

#[test]
fn a_full_or_lost_spool_is_the_hosts_fault() {
    let mut fs = small(NONE);
    std::fs::remove_dir(fs.spool.path()).unwrap();
    assert_eq!(fs.put("f", "x"), err(Io));
    let error = fs.vfs.host_error().unwrap();
    assert!(fs.vfs.finish().is_err());
    assert!(error.message.starts_with("keeping a file"), "{error}");
    assert!(!error.no_space, "{error}");
}

#[test]
fn a_source_that_cannot_be_read_is_the_hosts_fault() {
    let gone = Entry::File {
        source: Source::file("/nowhere/at/all", 5),
        executable: false,
    };
    let mut fs = Fs::of(MemDir::new().with("gone", gone));
    assert_eq!(fs.stat("gone").unwrap().size, 5);
    assert!(fs.vfs.host_error().is_none());
    assert_eq!(fs.get("gone"), err(Io));
    assert!(fs.vfs.host_error().is_some());
}

#[test]
fn a_source_that_may_not_be_read_is_the_guests_to_see() {
    struct Forbidden;
    impl ReadAt for Forbidden {
        fn read_at(&self, _: &mut [u8], _: u64) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::PermissionDenied.into())
        }
        fn len(&self) -> u64 {
            1
        }
    }
    let source = Source::new(Arc::new(Forbidden));
    let mut fs = Fs::of(MemDir::new().with(
        "f",
        Entry::File {
            source,
            executable: false,
        },
    ));
    assert_eq!(fs.get("f"), err(FsError::Access));
    assert!(fs.vfs.host_error().is_none());
}

#[test]
fn timestamps_can_be_set_and_stay() {
    let mut fs = small(TINY);
    let handle = fs.open("base", READ).unwrap();
    assert_eq!(fs.vfs.set_times(&handle), Ok(()));
    assert_eq!(fs.vfs.set_times_at(&fs.roots[0], "base", true), Ok(()));
    assert_eq!(
        fs.vfs.set_times_at(&fs.roots[0], "nope", true),
        err(NoEntry)
    );
    assert!(
        fs.vfs.finish().unwrap().changes[0].files.is_empty(),
        "it is no change"
    );
}
