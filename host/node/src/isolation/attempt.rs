//! The ways out of a child, each tried: what `doctor` says of the confinement is what was seen, not what was asked for.
//!
//! In a child, after it has given up what it can. A way that is open changes nothing that stays. Called by [`super::guest`],
//! for [`super::probe`].

use std::fs::File;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, test_kill_process};

use super::MARKER;
use super::message::Ways;

/// How long a connection is tried: what it is tried with is on this machine.
const CONNECT: Duration = Duration::from_secs(2);

/// A way out: what it is called, and whether it is open.
type Way = (&'static str, fn(&Ways) -> bool);

const ALL: [Way; 10] = [
    ("read a file", |ways| File::open(&ways.file).is_ok()),
    ("write a file", |ways| {
        File::options().append(true).open(&ways.file).is_ok()
    }),
    ("list a folder", |_| std::fs::read_dir("/").is_ok()),
    ("look into its parent", |ways| {
        File::open(format!("/proc/{}/environ", ways.parent)).is_ok()
    }),
    ("connect", |ways| {
        TcpStream::connect_timeout(&ways.address, CONNECT).is_ok()
    }),
    ("listen", |_| TcpListener::bind("127.0.0.1:0").is_ok()),
    ("send a datagram", |ways| {
        let bound = UdpSocket::bind("127.0.0.1:0");
        bound.is_ok_and(|socket| socket.send_to(b"x", ways.address).is_ok())
    }),
    ("use a local socket", |_| UnixDatagram::unbound().is_ok()),
    ("start a process", |_| starts()),
    ("signal its parent", |ways| {
        let parent = i32::try_from(ways.parent).ok().and_then(Pid::from_raw);
        parent.is_some_and(|parent| test_kill_process(parent).is_ok())
    }),
];

/// The ways that are open, and its environment where it has one.
pub(super) fn open(ways: &Ways) -> Vec<String> {
    let open = ALL.iter().filter(|(_, way)| way(ways));
    let mut open: Vec<String> = open.map(|(name, _)| (*name).to_owned()).collect();
    if std::env::vars_os().next().is_some() {
        open.push("read an environment".to_owned());
    }
    open
}

/// This program again, as a child that nobody talks to: it ends at once.
fn starts() -> bool {
    let started = Command::new("/proc/self/exe")
        .args([MARKER, "sealed"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    started.is_ok_and(|mut child| child.wait().is_ok())
}
