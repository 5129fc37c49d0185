//! A node in the foreground that is no more than a script: what is shown of it, and how it ends. The log within its bound.

use std::sync::mpsc::Receiver;
use std::time::{Duration, SystemTime};

use sykli_core::policy::ConsentMode;
use sykli_node::control::api::{AskInfo, HostView, NodeStatus, PeerView};
use sykli_node::control::{Launched, Notice, Request, notices, requests};
use sykli_node::isolation::Confinement;

use super::daemon::Log;
use super::foreground::{utc, watch};
use super::show::{question, status_text};
use crate::error::Exit;

fn ask() -> AskInfo {
    AskInfo {
        id: "3".to_owned(),
        owner_name: "sarah\u{1b}[2J".to_owned(),
        label: "build".to_owned(),
        memory_mb: 512,
        timeout_ms: 60_000,
        bytes: 3_200_000,
        grants: vec!["clock".to_owned()],
        ..AskInfo::default()
    }
}

/// A node that answers one question and ends; the thread says when it was joined.
fn scripted() -> (Launched, Receiver<()>) {
    let (requests, mut asked) = requests();
    let (say, notices) = notices();
    let (joined, was_joined) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        if let Some(Request::Status(reply)) = asked.blocking_recv() {
            reply.done(NodeStatus::default());
        }
        say.say(Notice::Asked(Box::new(ask())));
        say.say(Notice::Settled {
            id: "3".to_owned(),
            how: "timed out".to_owned(),
        });
    });
    let launched = Launched {
        requests,
        notices,
        join: Box::new(move || joined.send(()).unwrap()),
    };
    (launched, was_joined)
}

#[test]
fn the_foreground_ends_with_its_node() {
    let (launched, joined) = scripted();
    let exit = watch(launched, ConsentMode::Never, None).unwrap();
    assert_eq!(exit, Exit::Passed);
    joined.recv().unwrap();
}

#[test]
fn a_node_that_ends_before_it_answers_is_an_error() {
    let (requests, asked) = requests();
    let (say, notices) = notices();
    drop((asked, say));
    let launched = Launched {
        requests,
        notices,
        join: Box::new(|| {}),
    };
    let error = watch(launched, ConsentMode::Never, None).unwrap_err();
    assert_eq!(error.code, "control::stopping");
}

#[test]
fn questions_and_peers_are_shown_without_their_escapes() {
    let text = question(&ask());
    assert_eq!(
        text,
        "may build of sarah run here? 512 MB of memory, 3.2 MB to fetch, at most 1m 0s, wants clock"
    );
    let status = NodeStatus {
        name: "here".to_owned(),
        consent: "ask".to_owned(),
        host: HostView {
            on_battery: Some(true),
            cannot_tell: [("metered".to_owned(), "no default route".to_owned())].into(),
            ..HostView::default()
        },
        isolation: Some(Confinement {
            landlock: 7,
            ..Confinement::default()
        }),
        peers: vec![PeerView {
            name: "dave\u{7}".to_owned(),
            connected: true,
            rtt_ms: Some(12),
            trusted: true,
            has_of_ours: 2,
            ..PeerView::default()
        }],
        asks: vec![ask()],
        ..NodeStatus::default()
    };
    let text = status_text(&status, false);
    for part in [
        "here",
        "ask, each of others' tasks waits",
        "power        battery",
        "isolation    others' tasks run apart, without limits, no new privileges, an empty network, a filter",
        "cannot tell: no default route",
        "connected for 0ms, 12 ms, 2 tasks of ours",
        "3  may build",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains(['\u{1b}', '\u{7}']));
}

#[test]
fn the_log_is_begun_anew_beyond_its_bound_and_its_end_is_shown() {
    let temp = tempfile::tempdir().unwrap();
    let log = Log::of(temp.path());
    let path = temp.path().join("node.log");
    let line = "x".repeat(99) + "\n";
    std::fs::write(&path, line.repeat(1000)).unwrap();
    log.keep_bounded();
    assert_eq!(std::fs::metadata(&path).unwrap().len(), 100_000);
    assert_eq!(log.tail(0).lines().count(), 20);
    assert_eq!(log.tail(99_900).lines().count(), 1);
    std::fs::write(&path, line.repeat(50_000)).unwrap();
    log.keep_bounded();
    assert_eq!(std::fs::metadata(&path).unwrap().len(), 0);
    let old = temp.path().join("node.log.1");
    assert_eq!(std::fs::metadata(old).unwrap().len(), 5_000_000);
    assert_eq!(log.tail(0), "");
}

#[test]
fn moments_are_shown_as_the_calendar_has_them() {
    let at = |seconds| utc(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
    assert_eq!(at(0), "1970-01-01T00:00:00Z");
    assert_eq!(at(951_782_399), "2000-02-28T23:59:59Z");
    assert_eq!(at(951_782_400), "2000-02-29T00:00:00Z");
    assert_eq!(at(1_709_251_200), "2024-03-01T00:00:00Z");
    assert_eq!(at(4_102_444_799), "2099-12-31T23:59:59Z");
}
