//! The control socket's other end: what the command line asks a node that runs.
//!
//! Blocking, for commands are: each call makes a connection and a small runtime of its own, gets one answer or follows one
//! stream, and is gone. Every answer but a stream has a bound in time and bytes; a stream lasts as long as its source and is
//! ended by its reader. Before anything is said the server's user id is checked. It shows nothing. Called by the command
//! line.

use std::io::ErrorKind;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use super::ControlError;
use super::api::{
    AsksDoc, Decision, ErrorBody, NodeStatus, Pause, PeerWish, PeersDoc, Pong, RunsDoc, Stop,
    Submit, TaskView,
};
use super::door::socket_path;
use super::feed::MAX_LINE_BYTES;
use super::percent::encode;
use super::request::{ANSWER, SLOW_ANSWER};

/// The longest answer that is no stream, in bytes.
const MAX_ANSWER_BYTES: usize = 32 << 20;
/// How much longer than the node itself may think its answer is waited for.
const GRACE: Duration = Duration::from_secs(5);

/// Asks the node of a runtime folder. Holds no connection.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
}

/// What a stream's reader does with a line, without its line end; `Break` ends the stream.
pub type OnLine<'a> = &'a mut dyn FnMut(&str) -> ControlFlow<()>;

impl Client {
    /// For the node of this runtime folder.
    #[must_use]
    pub fn new(runtime: &Path) -> Client {
        Client {
            socket: socket_path(runtime),
        }
    }

    /// How the node is.
    ///
    /// # Errors
    /// As every call: [`ControlError::NotRunning`] where none runs, the node's no, or a broken connection.
    pub fn status(&self) -> Result<NodeStatus, ControlError> {
        self.get("/v1/status")
    }

    /// Has it take no foreign task, or take them again.
    ///
    /// # Errors
    /// See [`Client::status`].
    pub fn pause(&self, on: bool) -> Result<(), ControlError> {
        self.post("/v1/pause", Some(&Pause { on }))
    }

    /// Has it finish what it has and take nothing new.
    ///
    /// # Errors
    /// See [`Client::status`].
    pub fn drain(&self) -> Result<(), ControlError> {
        self.post("/v1/drain", None::<&()>)
    }

    /// Has it end, after that or now. It has not ended yet when this returns.
    ///
    /// # Errors
    /// See [`Client::status`].
    pub fn stop(&self, now: bool) -> Result<(), ControlError> {
        self.post("/v1/stop", Some(&Stop { now }))
    }

    /// Which questions wait for a person.
    ///
    /// # Errors
    /// See [`Client::status`].
    pub fn asks(&self) -> Result<AsksDoc, ControlError> {
        self.get("/v1/asks")
    }

    /// Answers one.
    ///
    /// # Errors
    /// See [`Client::status`]; a no where there is no such question (any more).
    pub fn decide(&self, id: &str, yes: bool) -> Result<(), ControlError> {
        self.post(&format!("/v1/asks/{}", encode(id)), Some(&Decision { yes }))
    }

    /// Which runs it has.
    ///
    /// # Errors
    /// See [`Client::status`].
    pub fn runs(&self) -> Result<RunsDoc, ControlError> {
        self.get("/v1/runs")
    }

    /// Ends a run as Ctrl-C would.
    ///
    /// # Errors
    /// See [`Client::status`]; a no where there is no such run.
    pub fn interrupt(&self, run: &str) -> Result<(), ControlError> {
        let path = format!("/v1/runs/{}", encode(run));
        self.call(Method::DELETE, &path, None, ANSWER).map(drop)
    }

    /// How a task is in the newest run that has it.
    ///
    /// # Errors
    /// See [`Client::status`]; a no where no run has it.
    pub fn task(&self, name: &str) -> Result<TaskView, ControlError> {
        self.get(&format!("/v1/tasks/{}", encode(name)))
    }

    /// Which peers it knows.
    ///
    /// # Errors
    /// See [`Client::status`].
    pub fn peers(&self) -> Result<PeersDoc, ControlError> {
        self.get("/v1/peers")
    }

    /// What is wanted of a peer.
    ///
    /// # Errors
    /// See [`Client::status`].
    pub fn peer(&self, wish: &PeerWish) -> Result<(), ControlError> {
        self.post("/v1/peers", Some(wish))
    }

    /// How long a peer takes to answer.
    ///
    /// # Errors
    /// See [`Client::status`]; a no where it does not.
    pub fn ping(&self, peer: &str) -> Result<Pong, ControlError> {
        let path = format!("/v1/ping/{}", encode(peer));
        let body = self.call(Method::POST, &path, None, SLOW_ANSWER)?;
        serde_json::from_slice(&body).map_err(ControlError::answer)
    }

    /// Makes a run and follows its events (`sykli.event/1`). Unless it is detached, it ends with this stream.
    ///
    /// # Errors
    /// See [`Client::status`]; a no where it cannot begin.
    pub fn submit(&self, submit: &Submit, line: OnLine<'_>) -> Result<(), ControlError> {
        let body = serde_json::to_vec(submit).map_err(ControlError::answer)?;
        self.stream(Method::POST, "/v1/runs", Some(body.into()), line)
    }

    /// Follows a run's events from the first that is kept.
    ///
    /// # Errors
    /// See [`Client::status`]; a no where there is no such run.
    pub fn events(&self, run: &str, line: OnLine<'_>) -> Result<(), ControlError> {
        let path = format!("/v1/runs/{}/events", encode(run));
        self.stream(Method::GET, &path, None, line)
    }

    /// What a task wrote, as far as it is kept, and what it writes while `follow`ed (lines of [`super::api::LogLine`]).
    ///
    /// # Errors
    /// See [`Client::status`]; a no where no run has it.
    pub fn logs(&self, task: &str, follow: bool, line: OnLine<'_>) -> Result<(), ControlError> {
        let query = if follow { "?follow" } else { "" };
        let path = format!("/v1/logs/{}{query}", encode(task));
        self.stream(Method::GET, &path, None, line)
    }

    fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ControlError> {
        let body = self.call(Method::GET, path, None, ANSWER)?;
        serde_json::from_slice(&body).map_err(ControlError::answer)
    }

    fn post(&self, path: &str, body: Option<&impl Serialize>) -> Result<(), ControlError> {
        let body = body.map(serde_json::to_vec).transpose();
        let body = body.map_err(ControlError::answer)?.map(Bytes::from);
        self.call(Method::POST, path, body, ANSWER).map(drop)
    }

    /// One request, one whole answer.
    fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<Bytes>,
        limit: Duration,
    ) -> Result<Bytes, ControlError> {
        let call = async {
            let response = self.send(method, path, body).await?;
            let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect();
            Ok(body.await.map_err(ControlError::answer)?.to_bytes())
        };
        runtime()?.block_on(async {
            tokio::time::timeout(limit + GRACE, call)
                .await
                .unwrap_or(Err(ControlError::TimedOut))
        })
    }

    /// One request, an answer of many lines.
    fn stream(
        &self,
        method: Method,
        path: &str,
        body: Option<Bytes>,
        line: OnLine<'_>,
    ) -> Result<(), ControlError> {
        runtime()?.block_on(async {
            let response = tokio::time::timeout(SLOW_ANSWER + GRACE, self.send(method, path, body));
            let mut body = response
                .await
                .map_err(|_| ControlError::TimedOut)??
                .into_body();
            let mut partial = BytesMut::new();
            while let Some(frame) = body.frame().await {
                let frame = frame.map_err(ControlError::answer)?;
                let Ok(data) = frame.into_data() else {
                    continue;
                };
                partial.extend_from_slice(&data);
                if whole_lines(&mut partial, line)?.is_break() {
                    return Ok(());
                }
            }
            if partial.is_empty() {
                Ok(())
            } else {
                Err(ControlError::answer("it ends within a line"))
            }
        })
    }

    /// Connects, asks, and waits for the head of a good answer; a bad one becomes an error.
    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<Bytes>,
    ) -> Result<Response<Incoming>, ControlError> {
        let stream = self.connect().await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(ControlError::answer)?;
        // Ends with its runtime, which lives as long as this call.
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "the connection to the node broke off");
            }
        });
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(hyper::header::HOST, "sykli")
            .body(Full::new(body.unwrap_or_default()))
            .map_err(ControlError::answer)?;
        let response = sender
            .send_request(request)
            .await
            .map_err(ControlError::answer)?;
        if matches!(response.status(), StatusCode::OK | StatusCode::NO_CONTENT) {
            return Ok(response);
        }
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect();
        let body = body.await.map_err(ControlError::answer)?.to_bytes();
        match serde_json::from_slice::<ErrorBody>(&body) {
            Ok(no) => Err(ControlError::Refused(Box::new(no))),
            Err(_) => Err(ControlError::answer(format!("status {status}"))),
        }
    }

    async fn connect(&self) -> Result<UnixStream, ControlError> {
        let stream =
            UnixStream::connect(&self.socket)
                .await
                .map_err(|source| match source.kind() {
                    ErrorKind::NotFound | ErrorKind::ConnectionRefused => {
                        ControlError::NotRunning {
                            socket: self.socket.clone(),
                        }
                    }
                    _ => ControlError::socket(&self.socket, source),
                })?;
        let uid = stream
            .peer_cred()
            .map_err(|source| ControlError::socket(&self.socket, source))?
            .uid();
        if uid != rustix::process::geteuid().as_raw() {
            let socket = self.socket.clone();
            return Err(ControlError::Foreign { socket, uid });
        }
        Ok(stream)
    }
}

/// Hands over the lines that have come whole, and keeps the rest.
fn whole_lines(
    partial: &mut BytesMut,
    line: &mut dyn FnMut(&str) -> ControlFlow<()>,
) -> Result<ControlFlow<()>, ControlError> {
    while let Some(end) = partial.iter().position(|byte| *byte == b'\n') {
        let whole = partial.split_to(end + 1);
        let text = std::str::from_utf8(&whole).map_err(ControlError::answer)?;
        if line(text.trim_end_matches('\n')).is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    if partial.len() > MAX_LINE_BYTES {
        return Err(ControlError::answer("a line is too long"));
    }
    Ok(ControlFlow::Continue(()))
}

fn runtime() -> Result<tokio::runtime::Runtime, ControlError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(ControlError::Runtime)
}
