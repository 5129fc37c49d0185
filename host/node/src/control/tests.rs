//! Both ends of the control socket with a node in between that answers from a script: what goes in comes out, what is too
//! much is refused, and a run ends or goes on as it was asked.
#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::io::{Read, Write};
use std::ops::ControlFlow;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, Sender, channel};

use super::api::{AskInfo, NodeStatus, PeerWish, Pong, Submit};
use super::*;

/// A node that knows one run and one question; it writes down what it is asked to do.
struct Fake {
    temp: tempfile::TempDir,
    did: Receiver<String>,
    /// Ends the node.
    end: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Fake {
    fn start() -> Fake {
        let temp = tempfile::tempdir().unwrap();
        let door = Door::claim(temp.path()).unwrap();
        let (tell, did) = channel();
        let (end, ended) = tokio::sync::oneshot::channel();
        let thread = std::thread::spawn(move || {
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            runtime.enable_all().build().unwrap().block_on(async {
                let (requests, mut asked) = requests();
                let server = door.serve(requests).unwrap();
                let events = Feed::new();
                events.push(r#"{"event":"planned"}"#);
                let looping = async {
                    while let Some(request) = asked.recv().await {
                        answer(request, &events, &tell);
                    }
                };
                tokio::select! {
                    () = looping => {}
                    _ = ended => {}
                }
                server.stop().await;
            });
        });
        Fake {
            temp,
            did,
            end: Some(end),
            thread: Some(thread),
        }
    }

    fn client(&self) -> Client {
        Client::new(self.temp.path())
    }

    /// Sends bytes as they are; what comes back until the end.
    fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = UnixStream::connect(socket_path(self.temp.path())).unwrap();
        stream.write_all(bytes).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        drop(self.end.take());
        self.thread.take().unwrap().join().unwrap();
        assert!(
            !socket_path(self.temp.path()).exists(),
            "the socket is gone"
        );
    }
}

fn answer(request: Request, events: &Feed, did: &Sender<String>) {
    let tell = |text: String| did.send(text).unwrap();
    match request {
        Request::Status(reply) => reply.done(NodeStatus {
            name: "fake".to_owned(),
            ..NodeStatus::default()
        }),
        Request::Pause { on, reply } => {
            tell(format!("pause {on}"));
            reply.done(());
        }
        Request::Drain(reply) => reply.done(()),
        Request::Stop { now, reply } => {
            tell(format!("stop {now}"));
            reply.done(());
        }
        Request::Asks(reply) => reply.done(vec![AskInfo::default()]),
        Request::Decide { id, yes, reply } if id == "7/a" => {
            tell(format!("decide {yes}"));
            reply.done(());
        }
        Request::Decide { id, reply, .. } => reply.refuse(Refused::no_such("question", &id)),
        Request::Submit { submit, reply } => {
            tell(format!("submit {}", submit.path));
            reply.done(Started {
                run: "r1".to_owned(),
                events: events.clone(),
            });
        }
        Request::Events { reply, .. } | Request::Logs { reply, .. } => reply.done(events.clone()),
        Request::Interrupt { run, reply } => {
            events.push(r#"{"event":"finished"}"#);
            events.end();
            tell(format!("interrupt {run}"));
            reply.done(());
        }
        Request::Peer { wish, reply } => {
            tell(format!("{wish:?}"));
            reply.done(());
        }
        Request::Ping { peer, reply } => reply.done(Pong {
            peer,
            rtt_us: 5,
            ..Pong::default()
        }),
        Request::Runs(reply) => reply.done(Vec::new()),
        Request::Peers(reply) => reply.done(Vec::new()),
        // Dropped: a loop that ends without an answer.
        Request::Task { .. } => {}
    }
}

fn submit(detach: bool) -> Submit {
    Submit {
        path: "/p/sykli.toml".to_owned(),
        detach,
        ..Submit::default()
    }
}

#[test]
fn every_call_reaches_the_node_and_its_answer_comes_back() {
    let node = Fake::start();
    let client = node.client();
    assert_eq!(client.status().unwrap().name, "fake");
    client.pause(true).unwrap();
    client.drain().unwrap();
    client.stop(true).unwrap();
    assert_eq!(client.asks().unwrap().asks.len(), 1);
    client.decide("7/a", false).unwrap();
    client
        .peer(&PeerWish::Block {
            peer: "12D3".to_owned(),
        })
        .unwrap();
    assert_eq!(client.ping("dave").unwrap().rtt_us, 5);
    assert!(client.runs().unwrap().runs.is_empty());
    assert!(client.peers().unwrap().peers.is_empty());
    let did: Vec<String> = node.did.try_iter().collect();
    assert_eq!(
        did,
        [
            "pause true",
            "stop true",
            "decide false",
            "Block { peer: \"12D3\" }"
        ]
    );
}

#[test]
fn a_no_comes_back_with_its_code_and_hints() {
    let node = Fake::start();
    let error = node.client().decide("8", true).unwrap_err();
    assert_eq!(error.code(), "control::no-such");
    assert_eq!(error.to_string(), "there is no question `8`");
    let error = node.client().task("x").unwrap_err();
    assert_eq!(error.code(), "control::stopping", "it gave no answer");
}

#[test]
fn an_attached_run_ends_with_its_reader_and_a_detached_one_does_not() {
    let node = Fake::start();
    let mut first = |line: &str| {
        assert_eq!(line, r#"{"event":"planned"}"#);
        ControlFlow::Break(())
    };
    node.client().submit(&submit(true), &mut first).unwrap();
    assert_eq!(node.did.recv().unwrap(), "submit /p/sykli.toml");
    // The question after it is answered before anything is interrupted: nothing was.
    node.client().pause(false).unwrap();
    assert_eq!(node.did.recv().unwrap(), "pause false");

    node.client().submit(&submit(false), &mut first).unwrap();
    assert_eq!(node.did.recv().unwrap(), "submit /p/sykli.toml");
    assert_eq!(node.did.recv().unwrap(), "interrupt r1");
    let mut all = Vec::new();
    let mut keep = |line: &str| {
        all.push(line.to_owned());
        ControlFlow::Continue(())
    };
    node.client().events("r1", &mut keep).unwrap();
    assert_eq!(all, [r#"{"event":"planned"}"#, r#"{"event":"finished"}"#]);
    // It had ended by itself: nothing is interrupted again.
    node.client()
        .submit(&submit(false), &mut |_| ControlFlow::Continue(()))
        .unwrap();
    assert_eq!(node.did.recv().unwrap(), "submit /p/sykli.toml");
    node.client().pause(true).unwrap();
    assert_eq!(node.did.recv().unwrap(), "pause true");
}

#[test]
fn what_is_there_can_be_read_without_waiting_for_more() {
    let node = Fake::start();
    let mut lines = 0;
    let mut count = |_: &str| {
        lines += 1;
        ControlFlow::Continue(())
    };
    node.client().logs("build", false, &mut count).unwrap();
    assert_eq!(
        lines, 1,
        "and the stream has ended although the task has not"
    );
}

#[test]
fn nonsense_is_answered_and_harms_nobody() {
    let node = Fake::start();
    let status = |text: &str| text.split(' ').nth(1).unwrap_or_default().to_owned();
    let post = |path: &str, body: &str| {
        let length = body.len();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
        );
        status(&node.raw(format!("{head}{body}").as_bytes()))
    };
    assert_eq!(post("/v1/pause", r#"{"on":"yes"}"#), "400");
    assert_eq!(post("/v1/pause", r#"{"on":true,"off":1}"#), "400");
    assert_eq!(post("/v1/pause", &"x".repeat(17 << 10)), "400");
    assert_eq!(post("/v1/runs", r#"{"path":3}"#), "400");
    assert_eq!(post("/v1/nothing", ""), "404");
    assert_eq!(post("/v1/stop", ""), "204");
    assert_eq!(status(&node.raw(b"\x16\x03\x01nonsense\r\n\r\n")), "400");
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(80 << 10));
    assert!(!node.raw(long.as_bytes()).contains(" 200 "));
    assert_eq!(node.client().status().unwrap().name, "fake");
}

#[test]
fn connections_beyond_the_bound_are_closed_and_the_others_served() {
    let node = Fake::start();
    let path = socket_path(node.temp.path());
    let mut held: Vec<UnixStream> = (0..server::MAX_CONNECTIONS)
        .map(|_| UnixStream::connect(&path).unwrap())
        .collect();
    let mut byte = [0];
    let mut beyond = UnixStream::connect(&path).unwrap();
    assert_eq!(beyond.read(&mut byte).unwrap(), 0, "closed");
    let first = held.first_mut().unwrap();
    first
        .write_all(b"GET /v1/status HTTP/1.1\r\nhost: x\r\n\r\n")
        .unwrap();
    assert_eq!(first.read(&mut byte).unwrap(), 1);
}

#[test]
fn where_no_node_runs_that_is_said() {
    let temp = tempfile::tempdir().unwrap();
    let client = Client::new(temp.path());
    assert!(client.status().unwrap_err().is_not_running());
    drop(std::os::unix::net::UnixListener::bind(socket_path(temp.path())).unwrap());
    let error = client.status().unwrap_err();
    assert!(error.is_not_running(), "a dead node's socket: {error}");
    assert!(error.hint().contains("node start"));
}
