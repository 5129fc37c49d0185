//! One component on folders of the user's.

use crate::support::guest;
use std::fs;
use std::sync::{Arc, Mutex};
use sykli_node::exec::{ExecDir, ExecReport, ExecRequest, ExecStdin};
use sykli_node::interrupt::Interrupt;
use sykli_node::node::{Node, NodeSettings};
use sykli_node::paths::Dirs;

fn exec(request: ExecRequest) -> (ExecReport, String) {
    let home = tempfile::tempdir().unwrap();
    let node = Node::open(NodeSettings {
        dirs: Dirs::under(home.path()),
        jobs: 0,
        offline: true,
    })
    .unwrap();
    let said = Arc::new(Mutex::new(String::new()));
    let copy = said.clone();
    let output = Arc::new(move |_, bytes: &[u8]| {
        copy.lock()
            .unwrap()
            .push_str(&String::from_utf8_lossy(bytes))
    });
    let report = node.exec(request, output, &Interrupt::new()).unwrap();
    let said = said.lock().unwrap().clone();
    (report, said)
}

fn exec_request(args: &[&str]) -> ExecRequest {
    let args = args.iter().map(|arg| (*arg).to_owned()).collect();
    ExecRequest {
        args,
        cargo_runner: false,
        stdin: ExecStdin::Empty,
        ..ExecRequest::new(guest())
    }
}

#[test]
fn exec_works_on_a_snapshot_and_changes_the_host_only_when_asked() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.txt"), "text").unwrap();
    let dirs = vec![ExecDir {
        host: folder.path().to_owned(),
        guest: ".".to_owned(),
    }];
    let ops = [
        "upper=a.txt=b/up.txt",
        "remove=a.txt",
        "print=done",
        "write=/out/o=1",
    ];
    let (report, said) = exec(ExecRequest {
        dirs: dirs.clone(),
        ..exec_request(&ops)
    });
    assert_eq!(
        (report.exit_code, said.as_str()),
        (0, "done\n"),
        "{report:?}"
    );
    assert!(folder.path().join("a.txt").exists() && !folder.path().join("b").exists());
    let out = folder.path().join("out");
    let request = ExecRequest {
        dirs,
        write_back: true,
        out: Some(out.clone()),
        ..exec_request(&ops)
    };
    let (report, _) = exec(request);
    assert_eq!(report.exit_code, 0, "{report:?}");
    assert!(!folder.path().join("a.txt").exists());
    assert_eq!(
        fs::read_to_string(folder.path().join("b/up.txt")).unwrap(),
        "TEXT"
    );
    assert_eq!(fs::read_to_string(out.join("o")).unwrap(), "1");
}

#[test]
fn exec_passes_the_exit_code_stdin_and_environment_on() {
    let out = tempfile::tempdir().unwrap();
    let request = ExecRequest {
        stdin: ExecStdin::Bytes(b"given".to_vec()),
        env: vec![
            ("NAME".to_owned(), "old".to_owned()),
            ("NAME".to_owned(), "value".to_owned()),
        ],
        out: Some(out.path().to_owned()),
        ..exec_request(&["stdin=/out/in", "env=NAME=/out/env", "env=PATH=/out/path"])
    };
    assert_eq!(exec(request).0.exit_code, 0);
    let read = |name: &str| fs::read_to_string(out.path().join(name)).unwrap();
    assert_eq!(
        (read("in"), read("env"), read("path")),
        ("given".to_owned(), "value".to_owned(), String::new())
    );
    let (report, _) = exec(exec_request(&["exit=1"]));
    assert_eq!((report.exit_code, report.failure), (1, None));
    let (report, _) = exec(exec_request(&["panic=boom"]));
    assert_eq!(
        (report.exit_code, report.failure.unwrap().code.as_str()),
        (1, "task::trap")
    );
}
