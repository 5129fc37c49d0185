//! The ledger's promises: what was answered is there, in order, within bounds, whatever became of the file.
#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

mod crash;
mod damage;

use super::*;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::mpsc;
use sykli_core::consent::{Claim, RemoteOutcome};
use sykli_core::id::{Attempt, Digest, TaskId};
use sykli_core::receipt::Seal;

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

fn run(name: &str) -> RunId {
    RunId::new(name).unwrap()
}

fn key(of: &str, task: u32, attempt: u32) -> LeaseKey {
    LeaseKey {
        run: run(of),
        task: TaskId(task),
        attempt: Attempt(attempt),
    }
}

fn node(number: u32) -> NodeId {
    let mut bytes = [7; 32];
    bytes[..4].copy_from_slice(&number.to_le_bytes());
    NodeId(bytes)
}

fn claim(nonce: u64) -> Box<SignedClaim> {
    let claim = Claim {
        executor: node(1),
        task_digest: Digest::of(b"task"),
        nonce,
        outcome: RemoteOutcome::Passed,
        output: Digest::of(&nonce.to_le_bytes()),
        output_bytes: 3,
        stdout: Digest::of(b"out"),
        stderr: Digest::of(b"err"),
        fuel: 5,
        wall_ms: 8,
    };
    let seal = Seal {
        engine: "sykli-1/wasmtime-48".into(),
        at_s: nonce,
        signature: [0x5e; 64],
    };
    Box::new(SignedClaim {
        claim,
        seal: Some(seal),
    })
}

fn offered(key: LeaseKey, nonce: u64) -> Record {
    Record::Offered {
        key,
        peer: node(1),
        nonce,
    }
}

fn reserved(of: &str, below: u32) -> Record {
    Record::Reserved {
        run: run(of),
        below: Attempt(below),
    }
}

fn committed(key: LeaseKey, nonce: u64) -> Record {
    Record::Committed {
        key,
        claim: claim(nonce),
    }
}

fn finished(owner: u32, key: LeaseKey, nonce: u64) -> Record {
    Record::Finished {
        owner: node(owner),
        key,
        claim: claim(nonce),
    }
}

/// Persists, and waits for the answer.
fn persist(ledger: &Ledger, record: Record) -> bool {
    let (told, answer) = mpsc::channel();
    ledger.persist(record, move |durable| told.send(durable).unwrap());
    answer.recv().unwrap()
}

fn spent(task: u32, attempt: u32, open: Option<u64>) -> Spent {
    Spent {
        task: TaskId(task),
        attempt: Attempt(attempt),
        open: open.map(|nonce| (node(1), nonce)),
    }
}

/// A ledger whose clock the test sets, in days.
fn with_clock(data: &Path) -> (Ledger, Arc<AtomicI64>) {
    let now = Arc::new(AtomicI64::new(100 * DAY_MS));
    let told = Arc::clone(&now);
    let clock = Box::new(move || told.load(Ordering::SeqCst));
    (Ledger::open_as(data, &LAYOUT, clock).unwrap(), now)
}

#[test]
fn what_was_offered_stays_spent_until_the_run_is_over() {
    let temp = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(temp.path()).unwrap();
    for record in [
        offered(key("a", 1, 1), 11),
        offered(key("a", 1, 2), 12),
        offered(key("a", 0, 1), 10),
        offered(key("b", 1, 1), 21),
    ] {
        assert!(persist(&ledger, record));
    }
    ledger.forget(Forget::Offered {
        key: key("a", 0, 1),
    });
    // An earlier attempt than the last: that one is under way all the same.
    ledger.forget(Forget::Offered {
        key: key("a", 1, 1),
    });
    ledger.flush().unwrap();
    drop(ledger);
    let ledger = Ledger::open(temp.path()).unwrap();
    assert_eq!(
        ledger.spent(&run("a")).unwrap(),
        [spent(0, 1, None), spent(1, 2, Some(12))]
    );
    assert_eq!(ledger.runs().unwrap(), [run("a"), run("b")]);
    ledger.forget(Forget::Run { run: run("a") });
    ledger.flush().unwrap();
    assert_eq!(ledger.spent(&run("a")).unwrap(), []);
    assert_eq!(ledger.spent(&run("b")).unwrap(), [spent(1, 1, Some(21))]);
    assert_eq!(ledger.runs().unwrap(), [run("b")]);
}

#[test]
fn numbers_that_were_reserved_stay_so_until_the_run_is_over() {
    let temp = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(temp.path()).unwrap();
    assert_eq!(ledger.fence(&run("a")).unwrap(), Attempt::FIRST);
    for below in [5, 9, 7] {
        assert!(persist(&ledger, reserved("a", below)));
    }
    assert!(persist(&ledger, offered(key("b", 0, 1), 1)));
    drop(ledger);
    let ledger = Ledger::open(temp.path()).unwrap();
    assert_eq!(ledger.fence(&run("a")).unwrap(), Attempt(9));
    assert_eq!(ledger.fence(&run("b")).unwrap(), Attempt::FIRST);
    assert_eq!(ledger.runs().unwrap(), [run("a"), run("b")]);
    ledger.forget(Forget::Run { run: run("a") });
    ledger.flush().unwrap();
    assert_eq!(ledger.fence(&run("a")).unwrap(), Attempt::FIRST);
}

#[test]
fn a_ledger_of_before_numbers_were_reserved_is_brought_up() {
    const BEFORE: Layout = Layout {
        tables: "
            CREATE TABLE runs (seq INTEGER PRIMARY KEY, run TEXT NOT NULL UNIQUE);
            CREATE TABLE offered (run TEXT NOT NULL, task INTEGER NOT NULL, attempt INTEGER NOT NULL,
                open INTEGER NOT NULL, record BLOB NOT NULL, PRIMARY KEY (run, task)) WITHOUT ROWID;
            CREATE TABLE committed (a INTEGER);
            CREATE TABLE outbox (a INTEGER);
            INSERT INTO runs (run) VALUES ('a');
            INSERT INTO offered VALUES ('a', 3, 2, 0, x'00');",
        version: 1,
        upgrades: &[],
        ..LAYOUT
    };
    let temp = tempfile::tempdir().unwrap();
    drop(DbFile::open(temp.path(), &BEFORE).unwrap());
    let ledger = Ledger::open(temp.path()).unwrap();
    assert_eq!(ledger.set_aside(), None);
    assert_eq!(ledger.spent(&run("a")).unwrap(), [spent(3, 2, None)]);
    assert_eq!(ledger.fence(&run("a")).unwrap(), Attempt::FIRST);
    assert!(persist(&ledger, reserved("a", 5)));
    assert_eq!(ledger.fence(&run("a")).unwrap(), Attempt(5));
}

#[test]
fn a_forgotten_offer_is_spent_even_where_both_are_still_queued() {
    let temp = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(temp.path()).unwrap();
    ledger.persist(offered(key("a", 0, 3), 1), |_| {});
    ledger.forget(Forget::Offered {
        key: key("a", 0, 3),
    });
    ledger.persist(finished(2, key("x", 0, 1), 9), |_| {});
    ledger.forget(Forget::Finished {
        owner: node(2),
        key: key("x", 0, 1),
    });
    ledger.flush().unwrap();
    assert_eq!(ledger.spent(&run("a")).unwrap(), [spent(0, 3, None)]);
    assert_eq!(ledger.outbox().unwrap(), []);
}

#[test]
fn results_and_the_outbox_are_kept_apart_and_by_owner() {
    let temp = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(temp.path()).unwrap();
    assert!(persist(&ledger, committed(key("a", 2, 1), 1)));
    assert!(persist(&ledger, committed(key("a", 1, 4), 2)));
    // The same key at two owners is two leases.
    assert!(persist(&ledger, finished(5, key("a", 1, 1), 3)));
    assert!(persist(&ledger, finished(6, key("a", 1, 1), 4)));
    ledger.forget(Forget::Finished {
        owner: node(5),
        key: key("a", 1, 1),
    });
    ledger.forget(Forget::Run { run: run("b") });
    ledger.flush().unwrap();
    assert_eq!(
        ledger.committed(&run("a")).unwrap(),
        [(key("a", 1, 4), claim(2)), (key("a", 2, 1), claim(1))]
    );
    assert_eq!(
        ledger.outbox().unwrap(),
        [(node(6), key("a", 1, 1), claim(4))]
    );
    // A run that is over is the owner's matter; what waits for another owner waits on.
    ledger.forget(Forget::Run { run: run("a") });
    ledger.flush().unwrap();
    assert_eq!(ledger.committed(&run("a")).unwrap(), []);
    assert_eq!(ledger.outbox().unwrap().len(), 1);
}

#[test]
fn what_waits_is_one_commit_and_each_record_is_answered_once_in_order() {
    let temp = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(temp.path()).unwrap();
    let commits = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&commits);
    ledger.writer.watch(Some(Box::new(move |_, _| {
        counted.fetch_add(1, Ordering::SeqCst);
    })));
    let (open, gate) = mpsc::channel::<()>();
    let (told, answers) = mpsc::channel();
    let (reached, at_gate) = mpsc::channel();
    // The writer is held in the first answer until all others wait.
    ledger.persist(offered(key("a", 0, 1), 0), move |_| {
        reached.send(()).unwrap();
        gate.recv().unwrap();
    });
    at_gate.recv().unwrap();
    for task in 1..=2000u32 {
        let told = told.clone();
        ledger.persist(offered(key("a", task, 1), task.into()), move |durable| {
            told.send((task, durable)).unwrap();
        });
    }
    drop(told);
    open.send(()).unwrap();
    let answers: Vec<_> = answers.iter().collect();
    let expected: Vec<_> = (1..=2000).map(|task| (task, true)).collect();
    assert_eq!(answers, expected);
    drop(ledger);
    assert_eq!(commits.load(Ordering::SeqCst), 2);
}

#[test]
fn one_who_panics_at_its_answer_takes_no_other_with_it() {
    let temp = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(temp.path()).unwrap();
    let (open, gate) = mpsc::channel::<()>();
    ledger.persist(offered(key("a", 0, 1), 0), move |_| gate.recv().unwrap());
    ledger.persist(offered(key("a", 1, 1), 0), |_| {
        std::panic::resume_unwind(Box::new("test"))
    });
    let (told, answer) = mpsc::channel();
    ledger.persist(offered(key("a", 2, 1), 0), move |durable| {
        told.send(durable).unwrap()
    });
    open.send(()).unwrap();
    assert!(answer.recv().unwrap());
    assert!(persist(&ledger, offered(key("a", 3, 1), 0)));
}

#[test]
fn a_record_that_is_too_long_is_refused_at_once() {
    let temp = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(temp.path()).unwrap();
    let mut long = claim(1);
    long.claim.outcome = RemoteOutcome::Failed {
        code: "task::exit".into(),
        message: "x".repeat(100_000).into(),
    };
    let record = Record::Committed {
        key: key("a", 0, 1),
        claim: long,
    };
    assert!(!persist(&ledger, record));
    assert_eq!(ledger.committed(&run("a")).unwrap(), []);
}

#[test]
fn an_owner_with_its_full_share_loses_its_oldest() {
    let temp = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(temp.path()).unwrap();
    ledger.persist(finished(9, key("other", 0, 1), 0), |_| {});
    let share = u32::try_from(MAX_OUTBOX_OF_OWNER).unwrap();
    for task in 0..share + 5 {
        ledger.persist(finished(1, key("a", task, 1), task.into()), |_| {});
    }
    // The same lease again is no other entry.
    assert!(persist(&ledger, finished(1, key("a", share, 1), 77)));
    let mut of_owner = BTreeMap::<NodeId, Vec<u32>>::new();
    for (owner, key, _) in ledger.outbox().unwrap() {
        of_owner.entry(owner).or_default().push(key.task.0);
    }
    assert_eq!(of_owner[&node(9)].len(), 1);
    let left = &of_owner[&node(1)];
    assert_eq!(
        (left.len(), left.iter().min(), left.iter().max()),
        (MAX_OUTBOX_OF_OWNER, Some(&5), Some(&(share + 4)))
    );
}

#[test]
fn a_full_outbox_refuses_a_new_owner_and_says_so() {
    let temp = tempfile::tempdir().unwrap();
    let (ledger, now) = with_clock(temp.path());
    let share = u32::try_from(MAX_OUTBOX_OF_OWNER).unwrap();
    let owners = u32::try_from(MAX_OUTBOX / MAX_OUTBOX_OF_OWNER).unwrap();
    for owner in 0..owners {
        for task in 0..share {
            ledger.persist(finished(owner, key("a", task, 1), 1), |_| {});
        }
    }
    assert!(!persist(&ledger, finished(99, key("b", 0, 1), 2)));
    assert!(persist(&ledger, finished(3, key("b", 0, 1), 2)));
    assert_eq!(ledger.outbox().unwrap().len(), MAX_OUTBOX);
    ledger.forget(Forget::Finished {
        owner: node(3),
        key: key("b", 0, 1),
    });
    assert!(persist(&ledger, finished(99, key("b", 0, 1), 2)));
    // After a week the old ones are gone, on the disk too.
    now.fetch_add(7 * DAY_MS + 1, Ordering::SeqCst);
    assert_eq!(ledger.outbox().unwrap(), []);
    assert!(persist(&ledger, finished(98, key("c", 0, 1), 3)));
    now.fetch_sub(7 * DAY_MS, Ordering::SeqCst);
    assert_eq!(ledger.outbox().unwrap().len(), 1);
}

#[test]
fn the_oldest_of_too_many_runs_is_forgotten() {
    let temp = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(temp.path()).unwrap();
    for number in 0..=MAX_RUNS {
        ledger.persist(offered(key(&format!("run-{number}"), 0, 1), 1), |_| {});
    }
    ledger.flush().unwrap();
    let runs = ledger.runs().unwrap();
    assert_eq!((runs.len(), &runs[0]), (MAX_RUNS, &run("run-1")));
    assert_eq!(ledger.spent(&run("run-0")).unwrap(), []);
}

#[test]
fn two_processes_write_at_once() {
    let temp = tempfile::tempdir().unwrap();
    let (one, other) = (
        Ledger::open(temp.path()).unwrap(),
        Ledger::open(temp.path()).unwrap(),
    );
    for task in 0..50 {
        one.persist(offered(key("a", task, 1), 1), |_| {});
        other.persist(offered(key("b", task, 1), 1), |_| {});
    }
    one.flush().unwrap();
    other.flush().unwrap();
    assert_eq!(one.spent(&run("b")).unwrap().len(), 50);
    assert_eq!(other.spent(&run("a")).unwrap().len(), 50);
}
