//! `kill -9` at each operation: a process of its own works a script and kills itself, before or after an answer; what is
//! found then is a beginning of the script that holds all that was answered.

use super::*;
use std::io::Write as _;
use std::process::{Command, Stdio};

enum Step {
    Put(Record),
    Forget(Forget),
}

/// Each kind of operation, each more than once.
fn script() -> Vec<Step> {
    use Step::Put;
    let forget_offer = |key| Step::Forget(Forget::Offered { key });
    let forget_result = |owner, key| {
        let owner = node(owner);
        Step::Forget(Forget::Finished { owner, key })
    };
    vec![
        Put(reserved("a", 5)),
        Put(offered(key("a", 0, 1), 1)),
        Put(offered(key("a", 1, 1), 2)),
        Put(finished(5, key("x", 0, 1), 3)),
        forget_offer(key("a", 0, 1)),
        Put(offered(key("a", 0, 2), 4)),
        Put(committed(key("a", 1, 1), 2)),
        Put(finished(6, key("x", 0, 1), 5)),
        forget_result(5, key("x", 0, 1)),
        Put(committed(key("a", 0, 2), 4)),
        Put(offered(key("b", 0, 1), 6)),
        Step::Forget(Forget::Run { run: run("a") }),
        Put(finished(5, key("x", 1, 1), 7)),
        Put(offered(key("b", 0, 2), 8)),
        forget_result(6, key("x", 0, 1)),
    ]
}

/// Everything that a ledger says.
type Picture = (
    Vec<RunId>,
    Vec<Vec<Spent>>,
    Vec<Attempt>,
    Vec<Vec<(LeaseKey, Box<SignedClaim>)>>,
    Vec<(NodeId, LeaseKey, Box<SignedClaim>)>,
);

fn picture(ledger: &Ledger) -> Picture {
    let runs = [run("a"), run("b")];
    (
        ledger.runs().unwrap(),
        runs.iter().map(|run| ledger.spent(run).unwrap()).collect(),
        runs.iter().map(|run| ledger.fence(run).unwrap()).collect(),
        runs.iter()
            .map(|run| ledger.committed(run).unwrap())
            .collect(),
        ledger.outbox().unwrap(),
    )
}

fn apply(ledger: &Ledger, step: Step, done: impl FnOnce(bool) + Send + 'static) {
    match step {
        Step::Put(record) => ledger.persist(record, done),
        Step::Forget(what) => ledger.forget(what),
    }
}

/// What each beginning of the script makes.
fn pictures() -> Vec<Picture> {
    let temp = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(temp.path()).unwrap();
    let mut all = vec![picture(&ledger)];
    for step in script() {
        apply(&ledger, step, |durable| assert!(durable));
        ledger.flush().unwrap();
        all.push(picture(&ledger));
    }
    all
}

fn die() {
    let me = rustix::process::getpid();
    rustix::process::kill_process(me, rustix::process::Signal::KILL).unwrap();
}

/// Not a test by itself: the process that the next one has killed. Says which steps were answered.
#[test]
fn the_process_that_dies() {
    let Some(folder) = std::env::var_os("SYKLI_TEST_LEDGER") else {
        return;
    };
    let number = |name| std::env::var(name).unwrap().parse::<usize>().unwrap();
    let (at, answered) = (number("SYKLI_TEST_AT"), number("SYKLI_TEST_ANSWERED") == 1);
    let ledger = Ledger::open(Path::new(&folder)).unwrap();
    for (index, step) in script().into_iter().enumerate() {
        apply(&ledger, step, move |durable| {
            let mut stderr = std::io::stderr().lock();
            writeln!(stderr, "ANSWERED {index} {durable}").unwrap();
            if answered && index >= at {
                die();
            }
        });
        if !answered && index == at {
            die();
        }
        // Alone in its commit, or with what comes next.
        if index % 3 == 0 {
            ledger.flush().unwrap();
        }
    }
    die();
}

#[test]
fn after_kill_9_at_any_step_what_was_answered_is_there() {
    let pictures = pictures();
    for at in 0..script().len() {
        for answered in [0, 1] {
            let temp = tempfile::tempdir().unwrap();
            let output = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "ledger::tests::crash::the_process_that_dies"])
                .arg("--nocapture")
                .env("SYKLI_TEST_LEDGER", temp.path())
                .env("SYKLI_TEST_AT", at.to_string())
                .env("SYKLI_TEST_ANSWERED", answered.to_string())
                .stdin(Stdio::null())
                .output()
                .unwrap();
            assert!(!output.status.success());
            let told = String::from_utf8(output.stderr).unwrap();
            let answers = told.lines().filter_map(|line| {
                let (index, durable) = line.strip_prefix("ANSWERED ")?.split_once(' ')?;
                assert_eq!(durable, "true");
                index.parse::<usize>().ok()
            });
            let least = answers.max().map_or(0, |index| index + 1);
            let found = picture(&Ledger::open(temp.path()).unwrap());
            let fits = pictures[least..].contains(&found);
            assert!(fits, "{at} {answered}: answered {least}, found {found:?}");
        }
    }
}
