//! The control socket's server: takes connections, checks whose they are, reads requests within bounds, writes answers and
//! streams.
//!
//! Bounded: connections by [`MAX_CONNECTIONS`] (one more is closed at once), streams by [`MAX_STREAMS`], heads by 64 KiB and
//! [`HEAD`], bodies by the route's cap and [`BODY`], the node's answers by [`super::request`]. A stream lasts as long as its
//! reader and its source; a slow reader holds nobody else up, for a feed drops what is too old. What a request means is
//! `routes.rs`'s matter. Called by the mesh node, inside its runtime.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::ControlError;
use super::api::{ErrorBody, Skipped};
use super::door::{Door, Held};
use super::feed::{Follower, Item};
use super::request::{Refused, RefusedKind, Request, Requests};
use super::routes::{self, Answer, Lines};

/// Connections at once.
pub(super) const MAX_CONNECTIONS: usize = 64;
/// Of those, streams.
pub(super) const MAX_STREAMS: usize = 48;
/// How long a request's head may take, and how long a connection may be idle.
const HEAD: Duration = Duration::from_secs(10);
/// How long a request's body may take.
const BODY: Duration = Duration::from_secs(10);
/// How long open answers may take when the server stops.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// The longest head of a request, in bytes.
const MAX_HEAD_BYTES: usize = 64 << 10;

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// A server that runs until it is stopped or dropped.
#[derive(Debug)]
pub struct Server {
    stop: DropGuard,
    task: JoinHandle<()>,
}

impl Door {
    /// Serves: what comes in is put to `requests`. Inside a tokio runtime with IO and time.
    ///
    /// # Errors
    /// What the system said.
    pub fn serve(self, requests: Requests) -> Result<Server, ControlError> {
        let (listener, held) = self.open();
        let listener = UnixListener::from_std(listener).map_err(ControlError::Runtime)?;
        let stopping = CancellationToken::new();
        let shared = Arc::new(Shared {
            requests,
            streams: Arc::new(Semaphore::new(MAX_STREAMS)),
            stopping: stopping.clone(),
        });
        Ok(Server {
            stop: stopping.drop_guard(),
            task: tokio::spawn(accept(listener, held, shared)),
        })
    }
}

impl Server {
    /// Takes no more requests, gives open answers two seconds, and removes the socket.
    pub async fn stop(self) {
        drop(self.stop);
        // It only fails where the task panicked or the runtime ends: then it has stopped as well.
        let _ = self.task.await;
    }
}

struct Shared {
    requests: Requests,
    streams: Arc<Semaphore>,
    stopping: CancellationToken,
}

async fn accept(listener: UnixListener, held: Held, shared: Arc<Shared>) {
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut open = JoinSet::new();
    loop {
        let stream = tokio::select! {
            () = shared.stopping.cancelled() => break,
            Some(_) = open.join_next() => continue,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "the control socket takes no connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
        };
        let Ok(permit) = room.clone().try_acquire_owned() else {
            continue;
        };
        if let Err(error) = own_user(&stream) {
            tracing::warn!(%error, "a connection to the control socket was refused");
            continue;
        }
        open.spawn(connection(stream, shared.clone(), permit));
    }
    drop(listener);
    let rest = async { while open.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(LAST_WORDS, rest).await;
    drop(held);
}

/// Whether the other end is this user's process (`SO_PEERCRED`).
fn own_user(stream: &UnixStream) -> io::Result<()> {
    let (theirs, mine) = (
        stream.peer_cred()?.uid(),
        rustix::process::geteuid().as_raw(),
    );
    if theirs == mine {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::PermissionDenied,
        format!("it is user {theirs}'s"),
    ))
}

async fn connection(stream: UnixStream, shared: Arc<Shared>, _room: OwnedSemaphorePermit) {
    let stopping = shared.stopping.clone();
    let service = service_fn(|request| {
        let shared = shared.clone();
        async move { Ok::<_, Infallible>(respond(request, &shared).await) }
    });
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(MAX_HEAD_BYTES);
    let serving = builder.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(serving);
    tokio::select! {
        ended = serving.as_mut() => {
            if let Err(error) = ended {
                tracing::debug!(%error, "a connection to the control socket broke off");
            }
            return;
        }
        () = stopping.cancelled() => serving.as_mut().graceful_shutdown(),
    }
    // What is left is the answer that is being written.
    let _ = serving.await;
}

async fn respond(request: hyper::Request<Incoming>, shared: &Shared) -> Response<Body> {
    let (head, body) = request.into_parts();
    let answer = match routes::find(&head.method, head.uri.path(), head.uri.query()) {
        Err(refused) => Err(refused),
        Ok(route) => match read(body, route.max_body()).await {
            Err(refused) => Err(refused),
            Ok(body) => route.ask(&body, &shared.requests).await,
        },
    };
    match answer {
        Ok(Answer::Done) => plain(StatusCode::NO_CONTENT, Bytes::new()),
        Ok(Answer::Document(json)) => plain(StatusCode::OK, json),
        Ok(Answer::Lines(lines)) => lines_of(lines, shared).unwrap_or_else(|no| refusal(&no)),
        Err(no) => refusal(&no),
    }
}

async fn read(body: Incoming, most: usize) -> Result<Bytes, Refused> {
    let whole = tokio::time::timeout(BODY, Limited::new(body, most).collect());
    match whole.await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) => Err(Refused::invalid(format!(
            "the request's body cannot be read (at most {most} bytes): {error}"
        ))),
        Err(_) => Err(Refused::invalid("the request's body did not come in time")),
    }
}

fn response(status: StatusCode, kind: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let kind = hyper::header::HeaderValue::from_static(kind);
    response
        .headers_mut()
        .insert(hyper::header::CONTENT_TYPE, kind);
    response
}

fn plain(status: StatusCode, body: Bytes) -> Response<Body> {
    response(status, "application/json", Full::new(body).boxed_unsync())
}

fn refusal(no: &Refused) -> Response<Body> {
    let status = match no.kind {
        RefusedKind::Invalid => StatusCode::BAD_REQUEST,
        RefusedKind::Missing => StatusCode::NOT_FOUND,
        RefusedKind::Conflict => StatusCode::CONFLICT,
        RefusedKind::Busy => StatusCode::SERVICE_UNAVAILABLE,
        RefusedKind::Failed => StatusCode::INTERNAL_SERVER_ERROR,
    };
    let body = ErrorBody {
        schema: "sykli.control-error/1".to_owned(),
        code: no.code.clone().into_owned(),
        message: no.message.clone(),
        hints: no.hints.clone(),
    };
    // Plain data with text keys: it always serialises.
    plain(status, serde_json::to_vec(&body).unwrap_or_default().into())
}

/// A stream's state: its source, its share of [`MAX_STREAMS`], and the run that ends with it.
struct Streaming {
    from: Follower,
    stopping: CancellationToken,
    run: Option<Attached>,
    _room: OwnedSemaphorePermit,
}

fn lines_of(lines: Lines, shared: &Shared) -> Result<Response<Body>, Refused> {
    // From here on a run that is attached ends with whatever goes wrong.
    let run = lines.attached.map(|run| Attached {
        run,
        requests: shared.requests.clone(),
    });
    let room = shared.streams.clone().try_acquire_owned().map_err(|_| {
        Refused::new(
            RefusedKind::Busy,
            "control::streams",
            format!("{MAX_STREAMS} streams are open"),
        )
    })?;
    let state = Streaming {
        from: lines.from,
        stopping: shared.stopping.clone(),
        run,
        _room: room,
    };
    let body = StreamBody::new(stream::unfold(state, next_line)).boxed_unsync();
    Ok(response(StatusCode::OK, "application/x-ndjson", body))
}

async fn next_line(mut state: Streaming) -> Option<(Result<Frame<Bytes>, Infallible>, Streaming)> {
    let item = tokio::select! {
        item = state.from.next() => item,
        () = state.stopping.cancelled() => return None,
    };
    let mut line = match item {
        Some(Item::Line(line)) => line.to_vec(),
        Some(Item::Skipped(skipped)) => {
            serde_json::to_vec(&Skipped { skipped }).unwrap_or_default()
        }
        None => {
            // It has ended by itself.
            if let Some(run) = state.run.take() {
                run.let_go();
            }
            return None;
        }
    };
    line.push(b'\n');
    Some((Ok(Frame::data(line.into())), state))
}

/// A run that ends when its stream does, however that ends.
struct Attached {
    run: String,
    requests: Requests,
}

impl Attached {
    /// The run has ended: nothing is to be interrupted any more.
    fn let_go(mut self) {
        self.run.clear();
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        let run = std::mem::take(&mut self.run);
        let (requests, runtime) = (self.requests.clone(), tokio::runtime::Handle::try_current());
        if let (false, Ok(runtime)) = (run.is_empty(), runtime) {
            runtime.spawn(async move {
                // Where the node is stopping, its runs end anyway.
                let _ = requests
                    .ask(|reply| Request::Interrupt { run, reply })
                    .await;
            });
        }
    }
}
