//! Full disks, torn ends, foreign and flipped bytes.

use super::*;
use std::fs;

/// As if the disk were full after a few pages.
static SMALL: Layout = Layout {
    pragmas: "PRAGMA synchronous = FULL; PRAGMA max_page_count = 24;",
    ..LAYOUT
};

#[test]
fn a_full_disk_refuses_what_does_not_fit_and_keeps_the_rest() {
    let temp = tempfile::tempdir().unwrap();
    let ledger = Ledger::open_as(temp.path(), &SMALL, Box::new(|| 0)).unwrap();
    let mut kept = Vec::new();
    let mut refused = None;
    for task in 0..2_000u32 {
        match persist(&ledger, offered(key("a", task, 1), task.into())) {
            true => kept.push(spent(task, 1, Some(task.into()))),
            false => {
                refused = Some(task);
                break;
            }
        }
    }
    assert!(refused.is_some() && !kept.is_empty());
    assert!(matches!(ledger.flush(), Err(LedgerError::Full { .. })));
    assert_eq!(ledger.spent(&run("a")).unwrap(), kept);
    assert_eq!(ledger.set_aside(), None, "a full disk is no broken file");
    // Room again, in place: what could not be written then can be now.
    ledger.forget(Forget::Run { run: run("a") });
    assert!(persist(&ledger, offered(key("b", 0, 1), 1)));
    drop(ledger);
    let again = Ledger::open(temp.path()).unwrap();
    assert_eq!(again.runs().unwrap(), [run("b")]);
}

#[test]
fn a_torn_end_costs_no_more_than_what_it_held() {
    let temp = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(temp.path()).unwrap();
    for task in 0..4 {
        assert!(persist(&ledger, offered(key("a", task, 1), 1)));
    }
    let log = fs::read(temp.path().join("mesh.db-wal")).unwrap();
    let file = fs::read(temp.path().join("mesh.db")).unwrap();
    assert!(log.len() > 4096);
    let mut last = 4;
    for cut in 0..16 {
        let copy = tempfile::tempdir().unwrap();
        let left = log.len() - log.len() * cut / 16;
        fs::write(copy.path().join("mesh.db"), &file).unwrap();
        fs::write(copy.path().join("mesh.db-wal"), &log[..left]).unwrap();
        let torn = Ledger::open(copy.path()).unwrap();
        let found = torn.spent(&run("a")).unwrap();
        let tasks: Vec<u32> = found.iter().map(|spent| spent.task.0).collect();
        let expected: Vec<u32> = (0..u32::try_from(tasks.len()).unwrap()).collect();
        assert_eq!(tasks, expected, "a beginning of what was written");
        assert!(tasks.len() <= last);
        last = tasks.len();
        assert_eq!(torn.set_aside(), None);
        assert!(persist(&torn, offered(key("a", 9, 1), 1)));
    }
}

#[test]
fn a_foreign_file_is_moved_aside_and_told() {
    let temp = tempfile::tempdir().unwrap();
    fs::write(
        temp.path().join("mesh.db"),
        "no database at all".repeat(500),
    )
    .unwrap();
    let ledger = Ledger::open(temp.path()).unwrap();
    let aside = ledger.set_aside().unwrap();
    assert!(
        fs::read_to_string(aside)
            .unwrap()
            .starts_with("no database")
    );
    assert!(persist(&ledger, offered(key("a", 0, 1), 1)));
}

#[test]
fn whatever_is_flipped_what_is_read_was_written() {
    let temp = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(temp.path()).unwrap();
    for task in 0..20 {
        assert!(persist(
            &ledger,
            finished(2, key("a", task, 1), task.into())
        ));
    }
    drop(ledger);
    // All of it in the file itself.
    let connection = rusqlite::Connection::open(temp.path().join("mesh.db")).unwrap();
    connection
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        .unwrap();
    drop(connection);
    let whole = fs::read(temp.path().join("mesh.db")).unwrap();
    for at in (0..whole.len()).step_by(211) {
        let copy = tempfile::tempdir().unwrap();
        let mut bytes = whole.clone();
        bytes[at] ^= 0x5a;
        fs::write(copy.path().join("mesh.db"), bytes).unwrap();
        let Ok(ledger) = Ledger::open(copy.path()) else {
            continue;
        };
        for (_, key, found) in ledger.outbox().unwrap_or_default() {
            assert_eq!((&key.run, key.attempt), (&run("a"), Attempt(1)), "{at}");
            assert_eq!(found.nonce, u64::from(key.task.0), "{at}");
        }
        let _ = persist(&ledger, offered(key("a", 0, 1), 1));
    }
}

#[test]
fn a_newer_file_is_left_alone() {
    static NEWER: Layout = Layout {
        version: LAYOUT.version + 1,
        ..LAYOUT
    };
    let temp = tempfile::tempdir().unwrap();
    drop(Ledger::open_as(temp.path(), &NEWER, Box::new(|| 0)).unwrap());
    let refused = Ledger::open(temp.path()).unwrap_err();
    assert_eq!(refused.code(), "ledger::newer");
    assert!(!refused.hint().is_empty());
}

#[test]
fn results_that_nobody_signed_are_forgotten_when_their_file_is_brought_up_and_offers_are_not() {
    let tables = LAYOUT
        .tables
        .replace(", fence INTEGER NOT NULL DEFAULT 1", "");
    let older = Box::leak(Box::new(Layout {
        version: 1,
        tables: tables.leak(),
        upgrades: &[],
        ..LAYOUT
    }));
    let temp = tempfile::tempdir().unwrap();
    let older = Ledger::open_as(temp.path(), older, Box::new(|| 0)).unwrap();
    for record in [
        offered(key("a", 0, 1), 1),
        committed(key("a", 1, 1), 2),
        finished(7, key("b", 0, 1), 3),
    ] {
        assert!(persist(&older, record));
    }
    drop(older);
    let (ledger, _) = with_clock(temp.path());
    assert_eq!(ledger.spent(&run("a")).unwrap(), [spent(0, 1, Some(1))]);
    assert_eq!(ledger.committed(&run("a")).unwrap(), []);
    assert_eq!(ledger.outbox().unwrap(), []);
}
