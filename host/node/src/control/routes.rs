//! What each path means: a method and a path become a [`Route`], a route with its body becomes a [`Request`] to the node's
//! loop, and its answer a document. One table to read beside the list in [`super`]. It reads and writes no connection.
//! Called by `server.rs`.

use bytes::Bytes;
use hyper::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::MAX_BODY_BYTES;
use super::api::{AsksDoc, Decision, Pause, PeerWish, PeersDoc, RunsDoc, Stop, Submit};
use super::feed::Follower;
use super::percent;
use super::request::{Refused, RefusedKind, Reply, Request, Requests, SLOW_ANSWER, Started};

/// The longest body of what is no pipeline.
const SMALL_BODY_BYTES: usize = 16 << 10;
/// The longest name in a path, decoded.
const MAX_NAME_BYTES: usize = 4 << 10;

/// What is asked, before its body is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Route {
    Status,
    Pause,
    Drain,
    Stop,
    Asks,
    Decide { id: String },
    Submit,
    Runs,
    Events { run: String },
    Interrupt { run: String },
    Task { name: String },
    Logs { task: String, follow: bool },
    Peers,
    Peer,
    Ping { peer: String },
}

/// What the node answered.
pub(super) enum Answer {
    /// Nothing more to say.
    Done,
    /// One JSON document.
    Document(Bytes),
    /// JSON documents, one a line.
    Lines(Lines),
}

/// A stream.
pub(super) struct Lines {
    pub(super) from: Follower,
    /// The run that is interrupted when the stream ends before it does.
    pub(super) attached: Option<String>,
}

/// The route of a method and a path.
pub(super) fn find(method: &Method, path: &str, query: Option<&str>) -> Result<Route, Refused> {
    let unknown = || Refused::no_such("path", path).hint("the paths are those of version 1: /v1/…");
    let rest = path.strip_prefix("/v1/").ok_or_else(unknown)?;
    let parts: Vec<&str> = rest.splitn(4, '/').collect();
    let (get, post) = (method == Method::GET, method == Method::POST);
    let route = match parts.as_slice() {
        ["status"] if get => Route::Status,
        ["pause"] if post => Route::Pause,
        ["drain"] if post => Route::Drain,
        ["stop"] if post => Route::Stop,
        ["asks"] if get => Route::Asks,
        ["asks", id] if post => Route::Decide { id: name(id)? },
        ["runs"] if post => Route::Submit,
        ["runs"] if get => Route::Runs,
        ["runs", run, "events"] if get => Route::Events { run: name(run)? },
        ["runs", run] if method == Method::DELETE => Route::Interrupt { run: name(run)? },
        ["tasks", task] if get => Route::Task { name: name(task)? },
        ["logs", task] if get => Route::Logs {
            task: name(task)?,
            follow: follows(query),
        },
        ["peers"] if get => Route::Peers,
        ["peers"] if post => Route::Peer,
        ["ping", peer] if post => Route::Ping { peer: name(peer)? },
        _ => return Err(unknown()),
    };
    Ok(route)
}

fn name(segment: &str) -> Result<String, Refused> {
    percent::decode(segment)
        .filter(|name| !name.is_empty() && name.len() <= MAX_NAME_BYTES)
        .ok_or_else(|| Refused::invalid("a name in the path is empty, too long or badly encoded"))
}

/// `?follow`, `?follow=1`, `?follow=true`.
fn follows(query: Option<&str>) -> bool {
    let mut words = query.unwrap_or_default().split('&');
    words.any(|word| matches!(word, "follow" | "follow=1" | "follow=true"))
}

impl Route {
    /// The longest body that it takes.
    pub(super) fn max_body(&self) -> usize {
        match self {
            Route::Submit => MAX_BODY_BYTES,
            _ => SMALL_BODY_BYTES,
        }
    }

    /// Puts it to the node and waits for the answer.
    pub(super) async fn ask(self, body: &Bytes, to: &Requests) -> Result<Answer, Refused> {
        match self {
            Route::Status => document(&to.ask(Request::Status).await?),
            Route::Pause => {
                let Pause { on } = parse(body)?;
                done(to.ask(|reply| Request::Pause { on, reply }).await)
            }
            Route::Drain => done(to.ask(Request::Drain).await),
            Route::Stop => {
                let Stop { now } = if body.is_empty() {
                    Stop::default()
                } else {
                    parse(body)?
                };
                done(to.ask(|reply| Request::Stop { now, reply }).await)
            }
            Route::Asks => document(&AsksDoc {
                schema: "sykli.asks/1".to_owned(),
                asks: to.ask(Request::Asks).await?,
            }),
            Route::Decide { id } => {
                let Decision { yes } = parse(body)?;
                done(to.ask(|reply| Request::Decide { id, yes, reply }).await)
            }
            Route::Submit => submit(parse(body)?, to).await,
            Route::Runs => document(&RunsDoc {
                schema: "sykli.runs/1".to_owned(),
                runs: to.ask(Request::Runs).await?,
            }),
            Route::Events { run } => {
                let events = to.ask(|reply| Request::Events { run, reply }).await?;
                Ok(lines(events.follow(), None))
            }
            Route::Interrupt { run } => {
                done(to.ask(|reply| Request::Interrupt { run, reply }).await)
            }
            Route::Task { name } => document(&to.ask(|reply| Request::Task { name, reply }).await?),
            Route::Logs { task, follow } => {
                let log = to.ask(|reply| Request::Logs { task, reply }).await?;
                let from = if follow { log.follow() } else { log.so_far() };
                Ok(lines(from, None))
            }
            Route::Peers => document(&PeersDoc {
                schema: "sykli.peers/1".to_owned(),
                peers: to.ask(Request::Peers).await?,
            }),
            Route::Peer => {
                let wish: PeerWish = parse(body)?;
                done(to.ask(|reply| Request::Peer { wish, reply }).await)
            }
            Route::Ping { peer } => {
                let ask = |reply| Request::Ping { peer, reply };
                document(&to.ask_within(SLOW_ANSWER, ask).await?)
            }
        }
    }
}

async fn submit(submit: Submit, to: &Requests) -> Result<Answer, Refused> {
    let detach = submit.detach;
    let ask = |reply: Reply<Started>| Request::Submit {
        submit: Box::new(submit),
        reply,
    };
    let Started { run, events } = to.ask_within(SLOW_ANSWER, ask).await?;
    Ok(lines(events.follow(), (!detach).then_some(run)))
}

fn lines(from: Follower, attached: Option<String>) -> Answer {
    Answer::Lines(Lines { from, attached })
}

fn done(answer: Result<(), Refused>) -> Result<Answer, Refused> {
    answer.map(|()| Answer::Done)
}

fn document(document: &impl Serialize) -> Result<Answer, Refused> {
    let mut json = serde_json::to_vec(document)
        .map_err(|e| Refused::new(RefusedKind::Failed, "control::answer", e.to_string()))?;
    json.push(b'\n');
    Ok(Answer::Document(json.into()))
}

fn parse<T: DeserializeOwned>(body: &Bytes) -> Result<T, Refused> {
    serde_json::from_slice(body)
        .map_err(|error| Refused::invalid(format!("the request's body: {error}")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;

    #[test]
    fn each_path_has_its_method_and_names_are_decoded() {
        let get = |path: &str, query| find(&Method::GET, path, query);
        assert_eq!(get("/v1/status", None).unwrap(), Route::Status);
        assert_eq!(
            get("/v1/logs/shrink%5B3%2F16%5D", Some("follow")).unwrap(),
            Route::Logs {
                task: "shrink[3/16]".to_owned(),
                follow: true
            }
        );
        let run = "r1".to_owned();
        assert_eq!(
            find(&Method::DELETE, "/v1/runs/r1", None).unwrap(),
            Route::Interrupt { run: run.clone() }
        );
        assert_eq!(
            get("/v1/runs/r1/events", Some("follow=no")).unwrap(),
            Route::Events { run }
        );
        for path in [
            "/",
            "/v1",
            "/v1/",
            "/v2/status",
            "/v1/stop",
            "/v1/runs/a/b/events",
        ] {
            assert_eq!(
                get(path, None).unwrap_err().kind,
                RefusedKind::Missing,
                "{path}"
            );
        }
        for path in [
            "/v1/tasks/",
            "/v1/tasks/%ff",
            &format!("/v1/tasks/{}", "x".repeat(5000)),
        ] {
            assert_eq!(
                get(path, None).unwrap_err().kind,
                RefusedKind::Invalid,
                "{path}"
            );
        }
    }
}
