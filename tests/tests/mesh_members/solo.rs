//! A run that stays on this machine opens no socket: seen by the process's descriptors while a task runs, and by the
//! system calls of a whole run where they can be traced.

use std::fs;
use std::process::Command;

use sykli_tests::mesh::{Machine, Talker, UNWILLING, mesh};

/// What the descriptors of a process lead to.
fn descriptors(pid: u32) -> Vec<String> {
    let open = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let links = open.filter_map(|one| fs::read_link(one.unwrap().path()).ok());
    links.map(|link| link.display().to_string()).collect()
}

fn is_socket(link: &str) -> bool {
    link.starts_with("socket:")
}

/// A member of a mesh, which could open one; its node and its project.
fn member() -> [Machine; 2] {
    let machines = mesh([
        Machine::new("anna", UNWILLING),
        Machine::new("olga", UNWILLING),
    ]);
    let pipeline = "schema = \"sykli-wasm/1\"\n[task.long]\ncomponent = \"sleep-forever.wasm\"\n";
    let short = pipeline.replace("sleep-forever", "noop");
    let project = machines[1].project();
    project.guest("sleep-forever").write("sykli.toml", pipeline);
    project.guest("noop").write("short.toml", short);
    machines
}

#[test]
fn a_run_that_stays_here_has_no_socket_open() {
    let [_anna, olga] = member();
    let open_during = |reach: &[&str]| {
        let args = [&["run", "--format", "ndjson"], reach].concat();
        let mut run = Talker::start(&mut olga.sykli(&args));
        run.said("\"task_output\"");
        let open = descriptors(run.pid());
        // In order, as a user ends it: what listens for that is among what was looked at.
        run.signal(2);
        assert_eq!(run.ended().code(), Some(130));
        open
    };
    let open = open_during(&[]);
    assert!(!open.is_empty());
    assert!(!open.iter().any(|link| is_socket(link)), "{open:?}");
    let open = open_during(&["--mesh"]);
    assert!(
        open.iter().any(|link| is_socket(link)),
        "nothing is seen here: {open:?}"
    );
}

/// What system calls about sockets a command makes, its children's included; nothing where they cannot be traced.
fn socket_calls(olga: &Machine, args: &[&str]) -> Option<String> {
    let log = olga.data().join("calls");
    let traced = |command: &mut Command| {
        let done = command.output();
        done.is_ok_and(|done| done.status.success())
    };
    if !traced(Command::new("strace").args(["-o", "/dev/null", "true"])) {
        eprintln!("system calls cannot be traced here");
        return None;
    }
    let plain = olga.sykli(args);
    let mut command = Command::new("strace");
    let calls = "trace=socket,socketpair,connect,bind,listen,accept,accept4,sendto,recvfrom,sendmsg,recvmsg";
    command
        .args(["-f", "-qq", "-e", calls, "-e", "signal=none", "-o"])
        .arg(&log);
    command.arg(plain.get_program()).args(plain.get_args());
    olga.project().settle(&mut command);
    command.current_dir(olga.project().path());
    assert!(traced(&mut command), "{args:?}");
    Some(fs::read_to_string(&log).unwrap())
}

#[test]
fn a_run_that_stays_here_makes_no_call_about_sockets() {
    let [_anna, olga] = member();
    let Some(calls) = socket_calls(&olga, &["run", "short.toml", "--no-cache"]) else {
        return;
    };
    // What listens for signals asks of its pipe whether it is a socket.
    let asks = |line: &&str| !line.contains("sendto(") || !line.contains("ENOTSOCK");
    let calls: Vec<&str> = calls
        .lines()
        .filter(asks)
        .filter(|line| !line.contains("+++"))
        .collect();
    assert_eq!(calls, Vec::<&str>::new());
    let calls = socket_calls(&olga, &["run", "short.toml", "--no-cache", "--mesh"]);
    assert!(calls.unwrap().contains("socket("), "nothing is seen here");
}
