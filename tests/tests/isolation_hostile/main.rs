//! More than a thousand hostile components through one pool of isolated processes: each is refused or comes to a typed end,
//! none takes its process with it, none reaches what was laid out for it, and honest work between them runs as ever.
//!
//! ```text
//! modules.rs  written by hand: what a core module can try
//! host.rs     written by hand: what can be tried with the host's functions
//! bytes.rs    what is no component, or ours but for some bytes
//! smith.rs    made by wasm-smith, valid and not
//! ```
//!
//! The processes are children of the real binary, as a node has them; compiling happens in them too. No time is asserted:
//! fuel ends what does not end.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

mod bytes;
mod host;
mod modules;
mod smith;

use std::collections::BTreeMap;
use std::net::{TcpListener, UdpSocket};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use sykli_node::isolation::{Apart, Loaded, Lost, Needed, Program};
use sykli_runtime::{Floats, Grant, Limit, Status};

/// Components at once: as many processes run, and as many are made ready.
const AT_ONCE: usize = 4;
/// After so many, an honest one.
const HONEST_EVERY: usize = 50;

/// A hostile component.
pub(crate) struct Hostile {
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
    pub(crate) ends: Ends,
}

/// How one has to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ends {
    /// Nothing of it is compiled.
    Refused,
    /// In a trap of its own.
    Trap,
    /// At a bound, or where its own code gives up because of one.
    Bound,
    /// In any typed way, being refused included: what a generator makes is not known before.
    Typed,
    /// It only tries, and is told no.
    Well,
}

pub(crate) fn hostile(name: impl Into<String>, bytes: Vec<u8>, ends: Ends) -> Hostile {
    let name = name.into();
    Hostile { name, bytes, ends }
}

/// A component whose `wasi:cli/run` is `run` of the core module with these items.
pub(crate) fn command(items: &str) -> Vec<u8> {
    component(&format!(
        "(core module $m {items})\n(core instance $i (instantiate $m))"
    ))
}

/// A component of these parts, with a core instance `$i` whose `run` is called.
pub(crate) fn component(parts: &str) -> Vec<u8> {
    let text = format!(
        "(component\n{parts}\n(func $run (result (result)) (canon lift (core func $i \"run\")))\n\
         (instance $c (export \"run\" (func $run)))\n(export \"wasi:cli/run@0.2.0\" (instance $c)))"
    );
    wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn grant() -> Grant {
    Grant {
        fuel: 5_000_000,
        memory_bytes: 64 << 20,
        timeout: Duration::from_secs(300),
        output_bytes: 1 << 20,
        output_entries: 100,
        stdio_bytes: 64 << 10,
        ..Grant::default()
    }
}

/// How one ended, in a word or two.
fn ended(apart: &Apart, one: &Hostile) -> Result<&'static str, String> {
    let said = |error: Lost| match error {
        Lost::Component(_) => Ok("refused"),
        other => Err(format!("{other:?}")),
    };
    let loaded = match apart.load(&one.bytes, Floats::Fast) {
        Ok(loaded) => loaded,
        Err(error) => return said(error),
    };
    let (outcome, _) = match apart.run(&loaded, &grant(), &["hostile"]) {
        Ok(ran) => ran,
        Err(error) => return said(error),
    };
    match outcome.status {
        Status::Exited(0) => Ok("ended well"),
        Status::Exited(_) => Ok("failed"),
        Status::Trapped { .. } => Ok("trapped"),
        Status::Limit(Limit::Fuel { .. }) => Ok("out of fuel"),
        Status::Limit(_) => Ok("at a bound"),
        other => Err(other.to_string()),
    }
}

fn holds(ends: Ends, how: &str) -> bool {
    match ends {
        Ends::Refused => how == "refused",
        Ends::Trap => how == "trapped",
        Ends::Bound => matches!(how, "out of fuel" | "at a bound" | "ended well"),
        Ends::Typed => true,
        Ends::Well => matches!(how, "ended well" | "failed"),
    }
}

#[test]
fn a_thousand_hostile_components_leave_nothing_behind() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    let datagrams = UdpSocket::bind(("127.0.0.1", port)).unwrap();
    datagrams.set_nonblocking(true).unwrap();
    let outside = tempfile::tempdir().unwrap();
    let canary = outside.path().join("canary.txt");
    std::fs::write(&canary, "untouched").unwrap();

    let folder = tempfile::tempdir().unwrap();
    let program = Program::at(sykli_tests::sykli());
    let apart = Apart::new(folder.path(), program, 4, Needed::BestEffort).unwrap();
    let given_up = apart.ready().unwrap();
    eprintln!(
        "given up: {:?}, not: {:?}",
        given_up.words(),
        given_up.missing()
    );

    let mut all = modules::all();
    all.extend(host::all(port, canary.to_str().unwrap()));
    all.extend(bytes::all());
    all.extend(smith::all());
    assert!(all.len() >= 1_000, "{}", all.len());
    let honest = apart.load(
        &command("(func (export \"run\") (result i32) i32.const 0)"),
        Floats::Fast,
    );
    let honest = honest.unwrap();

    let wrong = send(&apart, &all, &honest);
    assert!(
        wrong.is_empty(),
        "{} of {}:\n{}",
        wrong.len(),
        all.len(),
        wrong.join("\n")
    );

    assert!(listener.accept().is_err(), "nobody has connected");
    assert!(datagrams.recv(&mut [0; 8]).is_err(), "nothing has arrived");
    assert_eq!(std::fs::read_to_string(&canary).unwrap(), "untouched");
    let beside = std::fs::read_dir(outside.path()).unwrap().count();
    assert_eq!(beside, 1, "nothing was put beside it");
    drop(apart);
    let spooled = walk(folder.path())
        .into_iter()
        .filter(|name| name.starts_with("spool-"));
    assert_eq!(spooled.count(), 0, "no temporary file is left");
}

/// Sends them all through, and an honest one now and then; what did not end as it has to.
fn send(apart: &Apart, all: &[Hostile], honest: &Loaded) -> Vec<String> {
    let (next, tally) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
    let wrong = Mutex::new(Vec::new());
    let one_after_another = || {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(one) = all.get(at) else { break };
            match ended(apart, one) {
                Ok(how) if holds(one.ends, how) => {
                    *tally.lock().unwrap().entry(how).or_insert(0) += 1;
                }
                how => {
                    let line = format!("{}: {how:?}, not {:?}", one.name, one.ends);
                    wrong.lock().unwrap().push(line);
                }
            }
            if at % HONEST_EVERY == 0 {
                let ran = apart.run(honest, &grant(), &["honest"]);
                let status = ran.map(|(outcome, _)| outcome.status);
                if !matches!(status, Ok(Status::Exited(0))) {
                    let line = format!("an honest one after {}: {status:?}", one.name);
                    wrong.lock().unwrap().push(line);
                }
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(one_after_another);
        }
    });
    eprintln!("{} components: {:?}", all.len(), tally.lock().unwrap());
    wrong.into_inner().unwrap()
}

/// The names of all files below a folder.
fn walk(folder: &std::path::Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        match entry.file_type().unwrap().is_dir() {
            true => names.extend(walk(&entry.path())),
            false => names.push(entry.file_name().to_string_lossy().into_owned()),
        }
    }
    names
}
