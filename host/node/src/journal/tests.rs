//! What the journal keeps of runs that reach further than this machine, and how an older one is brought up.
#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use super::*;
use crate::events::PlannedTask;
use sykli_core::consent::{Claim, RemoteOutcome};
use sykli_core::id::{Attempt, Digest, LeaseKey, NodeId, TaskId};
use sykli_core::machine::{Mode, StepKind};
use sykli_core::policy::Reason;
use sykli_core::receipt::{Contradiction, Receipt};
use sykli_core::signed::Signed;

fn node(name: &str) -> NodeRef {
    NodeRef {
        id: format!("12D3{name}"),
        name: name.to_owned(),
    }
}

fn new_run(mode: Mode) -> NewRun {
    let task = |name: &str, after: &[&str]| PlannedTask {
        name: name.to_owned(),
        instances: 1,
        selected: 1,
        after: after.iter().map(|name| (*name).to_owned()).collect(),
    };
    NewRun {
        pipeline: PathBuf::from("/p/sykli.toml"),
        name: "p".to_owned(),
        instances: 2,
        started: SystemTime::now(),
        mode,
        tasks: vec![task("lint", &[]), task("build", &["lint"])],
    }
}

fn settled(label: &str, outcome: Outcome, on: Option<&str>) -> Settled {
    Settled {
        label: label.into(),
        task: label.into(),
        outcome,
        digest: None,
        attempt: 1,
        wall_ms: 5,
        fuel: 7,
        failure: None,
        node: on.map(node),
        stolen: on.is_some(),
        said: None,
        receipt: None,
    }
}

fn step(label: &str, on: &str, what: StepKind) -> NewStep {
    NewStep {
        label: label.into(),
        at_ms: 1000,
        attempt: 2,
        node: node(on),
        what,
    }
}

#[test]
fn a_run_elsewhere_is_read_as_it_was_told() {
    let temp = tempfile::tempdir().unwrap();
    let journal = Journal::open(temp.path()).unwrap();
    let run = journal.begin_run(new_run(Mode::Swarm)).unwrap();
    let declined = StepKind::Declined(Reason::MaxConcurrent { n: 2 });
    let steps = [
        ("dave", StepKind::Offered { asked: false }),
        ("dave", declined.clone()),
        ("sarah", StepKind::Accepted),
    ];
    let steps = steps.map(|(on, what)| step("build", on, what));
    journal.note(&run, steps.into());
    journal.met(&run, vec![node("erin"), node("dave")]);
    let settled = vec![
        settled("lint", Outcome::Cached, None),
        settled("build", Outcome::Passed, Some("sarah")),
    ];
    journal.settle(&run, settled).wait().unwrap();
    assert_eq!(journal.run(&run).unwrap().mode, Mode::Swarm);
    let instances = journal.instances(&run);
    let on: Vec<_> = instances
        .iter()
        .map(|one| (one.node.clone(), one.stolen))
        .collect();
    assert_eq!(on, [(Some(node("sarah")), true), (None, false)]);
    let tally = journal.tally(&run);
    assert_eq!((tally.counts.passed, tally.counts.cached), (1, 1));
    assert_eq!(tally.elsewhere, [(node("sarah"), 1)]);
    let names: Vec<_> = journal
        .nodes(&run)
        .into_iter()
        .map(|one| one.name)
        .collect();
    assert_eq!(names, ["dave", "erin", "sarah"]);
    let noted = journal.steps(&run, Some("build"));
    assert_eq!((noted.len(), &noted[1].what), (3, &declined));
    assert_eq!((&noted[1].node, noted[1].attempt), (&node("dave"), 2));
    assert!(journal.steps(&run, Some("lint")).is_empty());
    assert_eq!(journal.planned(&run), new_run(Mode::Swarm).tasks);
}

/// What `dave` signed for the task `number` of a run.
fn receipt(number: u32, fuel: u64) -> Signed<Receipt> {
    let receipt = Receipt {
        mesh: None,
        key: LeaseKey {
            run: RunId::new("r").unwrap(),
            task: TaskId(number),
            attempt: Attempt(1),
        },
        claim: Claim {
            executor: NodeId([7; 32]),
            task_digest: Digest([1; 32]),
            nonce: 1,
            outcome: RemoteOutcome::Passed,
            output: Digest([2; 32]),
            output_bytes: 3,
            stdout: Digest([4; 32]),
            stderr: Digest([5; 32]),
            fuel,
            wall_ms: 6,
        },
        engine: "e".into(),
        at_s: 7,
    };
    Signed::new(receipt, |_, _| [9; 64])
}

#[test]
fn receipts_are_kept_with_their_instances() {
    let temp = tempfile::tempdir().unwrap();
    let journal = Journal::open(temp.path()).unwrap();
    let run = journal.begin_run(new_run(Mode::Mesh)).unwrap();
    let with = |label: &str, receipt: &[u8]| Settled {
        receipt: Some(receipt.into()),
        ..settled(label, Outcome::Passed, Some("dave"))
    };
    let rows = vec![
        with("b", &receipt(2, 10).encode()),
        with("a", &receipt(1, 10).encode()),
        settled("here", Outcome::Passed, None),
        with("broken", b"no receipt"),
    ];
    journal.settle(&run, rows).wait().unwrap();
    let kept = journal.receipts(&run);
    let of: Vec<_> = kept
        .iter()
        .map(|one| (one.label.as_str(), one.receipt.claimed().key.task.0))
        .collect();
    assert_eq!(of, [("a", 1), ("b", 2)]);
    assert_eq!(kept[0].receipt, receipt(1, 10));
    // Gone on with: one is known by now, the other runs here.
    let rows = vec![
        settled("a", Outcome::Cached, None),
        settled("b", Outcome::Passed, None),
    ];
    journal.settle(&run, rows).wait().unwrap();
    let kept = journal.receipts(&run);
    assert_eq!((kept.len(), kept[0].label.as_str()), (1, "a"));
    assert_eq!(journal.receipts(&RunId::new("other").unwrap()), []);
}

#[test]
fn proofs_are_kept_once() {
    let temp = tempfile::tempdir().unwrap();
    let journal = Journal::open(temp.path()).unwrap();
    let proof = |fuel| Contradiction::between(receipt(1, 10), receipt(1, fuel)).unwrap();
    for fuel in [11, 12, 11] {
        journal.keep_proof(&proof(fuel)).wait().unwrap();
    }
    assert_eq!(journal.proofs(), [proof(11), proof(12)]);
}

#[test]
fn steps_of_an_instance_are_bounded() {
    let temp = tempfile::tempdir().unwrap();
    let journal = Journal::open(temp.path()).unwrap();
    let run = journal.begin_run(new_run(Mode::Mesh)).unwrap();
    let many =
        |label| (0..100).map(move |_| step(label, "dave", StepKind::Offered { asked: false }));
    journal.note(&run, many("a").collect());
    journal.note(&run, many("b").collect()).wait().unwrap();
    assert_eq!(journal.steps(&run, None).len(), 2 * MAX_STEPS);
}

#[test]
fn last_words_are_kept_of_the_first_and_no_longer_than_their_end() {
    let temp = tempfile::tempdir().unwrap();
    let journal = Journal::open(temp.path()).unwrap();
    let run = journal.begin_run(new_run(Mode::Solo)).unwrap();
    let said = Said {
        stdout: format!("{}é end", "x".repeat(100_000)),
        stderr: String::new(),
    };
    let rows = (0..200).map(|at| Settled {
        said: Some(Box::new(said.clone())),
        ..settled(&format!("t{at}"), Outcome::Failed, None)
    });
    journal.settle(&run, rows.collect()).wait().unwrap();
    let kept = journal.said(&run, "t0").unwrap();
    assert!(kept.stdout.ends_with("é end") && kept.stdout.len() <= 8192);
    assert_eq!(kept.stderr, "");
    assert!(journal.said(&run, "t127").is_some());
    assert_eq!(journal.said(&run, "t128"), None);
    assert_eq!(journal.said(&run, "nothing"), None);
}

#[test]
fn an_unfinished_run_is_found_and_gone_on_with() {
    let temp = tempfile::tempdir().unwrap();
    let first = Journal::open(temp.path()).unwrap();
    let run = first.begin_run(new_run(Mode::Mesh)).unwrap();
    let other = Journal::open(temp.path()).unwrap();
    assert_eq!(other.run(&run).unwrap().state, RunState::Running);
    assert_eq!(other.last_unfinished(None), None, "it goes on");
    let refused = other.resume_run(&run, new_run(Mode::Mesh)).unwrap_err();
    assert_eq!(refused.code(), "journal::running");
    first.settle(&run, vec![settled("lint", Outcome::Passed, None)]);
    drop(first);

    let path = Path::new("/p/sykli.toml");
    assert_eq!(other.last_unfinished(Some(path)).unwrap().id, run);
    assert_eq!(other.last_unfinished(Some(Path::new("/q"))), None);
    other.resume_run(&run, new_run(Mode::Mesh)).unwrap();
    assert_eq!(other.run(&run).unwrap().state, RunState::Running);
    other.settle(&run, vec![settled("build", Outcome::Passed, Some("dave"))]);
    let finished = other.finish_run(&run, true, SystemTime::now());
    finished.wait().unwrap();
    assert_eq!(other.tally(&run).counts.passed, 2);
    assert_eq!(other.runs_named(&run.as_str()[..20], 2).len(), 1);
    assert_eq!(other.runs_named("%", 2), []);
    let over = other.resume_run(&run, new_run(Mode::Mesh)).unwrap_err();
    assert_eq!(over.code(), "journal::no-run");
}

/// What version 1 made.
const V1: Layout = Layout {
    tables: "
        CREATE TABLE runs (seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, pipeline BLOB NOT NULL, name TEXT NOT NULL,
            started_ms INTEGER NOT NULL, finished_ms INTEGER, passed INTEGER, instances INTEGER NOT NULL);
        CREATE INDEX runs_of_pipeline ON runs (pipeline, seq);
        CREATE TABLE instances (run INTEGER NOT NULL, label TEXT NOT NULL, task TEXT NOT NULL, outcome INTEGER NOT NULL,
            digest BLOB, attempt INTEGER NOT NULL, wall_ms INTEGER NOT NULL, fuel INTEGER NOT NULL, failure TEXT,
            PRIMARY KEY (run, label)) WITHOUT ROWID;
        CREATE TABLE durations (pipeline BLOB NOT NULL, task TEXT NOT NULL, wall_ms INTEGER NOT NULL,
            PRIMARY KEY (pipeline, task)) WITHOUT ROWID;",
    table_count: 3,
    version: 1,
    upgrades: &[],
    ..LAYOUT
};
static OLD: Layout = V1;

fn columns(dir: &Path) -> Vec<(String, String, String)> {
    let db = DbFile::open(dir, &LAYOUT).unwrap();
    let all = db.query(|connection| {
        let mut statement = connection.prepare(
            "SELECT t.name, c.name, c.type || c.\"notnull\" || coalesce(c.dflt_value, '') || c.pk FROM sqlite_schema t
             JOIN pragma_table_info(t.name) c WHERE t.type = 'table' ORDER BY t.name, c.cid",
        )?;
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        rows.collect()
    });
    all.unwrap()
}

#[test]
fn a_journal_of_version_1_is_brought_up_and_keeps_its_runs() {
    let temp = tempfile::tempdir().unwrap();
    let old = DbFile::open(temp.path(), &OLD).unwrap();
    let wrote = old.query(|connection| {
        connection.execute_batch(
            "INSERT INTO runs (id, pipeline, name, started_ms, finished_ms, passed, instances)
                VALUES ('old', x'2f70', 'p', 1, 2, 1, 1);
             INSERT INTO instances (run, label, task, outcome, attempt, wall_ms, fuel) VALUES (1, 'a', 'a', 0, 1, 2, 3);",
        )
    });
    wrote.unwrap();
    drop(old);
    let journal = Journal::open(temp.path()).unwrap();
    assert_eq!(journal.set_aside(), None);
    let run = journal.run(&RunId::new("old").unwrap()).unwrap();
    assert_eq!((run.mode, run.state), (Mode::Solo, RunState::Passed));
    assert_eq!(journal.tally(&run.id).counts.passed, 1);
    assert_eq!(journal.planned(&run.id), []);
    let new = journal.begin_run(new_run(Mode::Mesh)).unwrap();
    journal.note(
        &new,
        vec![step("build", "dave", StepKind::Offered { asked: false })],
    );
    journal.flush().unwrap();
    assert_eq!(journal.steps(&new, None).len(), 1);
    drop(journal);
    let fresh = tempfile::tempdir().unwrap();
    assert_eq!(columns(temp.path()), columns(fresh.path()));
}
