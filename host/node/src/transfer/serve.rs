//! The provider's end: reads what is asked, and writes what the sender makes of it.
//!
//! Wants are read while parts are written, so a requester never waits to be heard; those that are not answered yet are
//! bounded, and one that asks for more is at fault. While one buffer is being written the next is being made. Called by
//! the mesh node for each stream that a peer opens.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::sync::Notify;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::fair::Fair;
use super::pace::{Asks, Pace};
use super::send::{Outbox, Sender};
use super::{Request, Served, Serving, TransferError};
use crate::db::lock;
use sykli_core::blob::{Ask, FrameError, HEADER_BYTES, MAX_OUTSTANDING, Reply, Want};

/// Answers one stream to its end. `lookup` says what the requester may have, if anything; `stall` is how long the peer
/// may take for 16 KiB, and may leave a provider without work that has answered everything.
///
/// # Errors
/// When not everything was given that was asked for; see [`TransferError`].
pub async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send>(
    stream: S,
    lookup: impl AsyncFnOnce(&Request) -> Option<Serving>,
    budget: &Fair,
    stall: Duration,
) -> Result<Served, TransferError> {
    let (reader, mut writer) = stream.split();
    let mut asks = Asks::new(reader);
    let stalled = |_| TransferError::Stalled(stall);
    let first = timeout(stall, asks.next()).await.map_err(stalled)??;
    let Ask::Request(request) = first else {
        return Err(FrameError::Body("a stream that does not begin with a request").into());
    };
    let mut pace = Pace::new(stall);
    let Some(serving) = lookup(&request).await else {
        let mut refused = Vec::with_capacity(HEADER_BYTES);
        Reply::Refused.encode(&mut refused);
        pace.write(&mut writer, &refused).await?;
        pace.close(&mut writer).await?;
        return Err(TransferError::Refused);
    };
    let wants = Arc::new(Wants::default());
    let listen = listen(asks, &wants);
    let speak = speak(writer, pace, Sender::new(serving), &wants, budget, stall);
    tokio::pin!(listen, speak);
    tokio::select! {
        // Everything was asked, or the requester is gone: which it may be because of what it was told.
        heard = &mut listen => match (heard, wants.told()) {
            (Err(TransferError::Broken(_)), Some(told)) => return Err(told),
            (heard, _) => heard?,
        },
        said = &mut speak => return said,
    }
    speak.await
}

/// What is asked for and not yet answered.
#[derive(Default)]
struct Wants {
    state: Mutex<(VecDeque<Want>, bool)>,
    news: Notify,
    /// That the requester cannot get everything.
    told: Mutex<Option<TransferError>>,
}

impl Wants {
    fn add(&self, more: Vec<Want>) -> Result<(), TransferError> {
        let mut state = lock(&self.state);
        if state.0.len() + more.len() > MAX_OUTSTANDING {
            return Err(FrameError::Body("more wants than may be under way").into());
        }
        state.0.extend(more);
        self.news.notify_one();
        Ok(())
    }

    fn end(&self) {
        lock(&self.state).1 = true;
        self.news.notify_one();
    }

    fn take(&self) -> Option<Want> {
        lock(&self.state).0.pop_front()
    }

    fn tell(&self, verdict: Result<(), TransferError>) {
        if let Err(error) = verdict {
            *lock(&self.told) = Some(error);
        }
    }

    fn told(&self) -> Option<TransferError> {
        lock(&self.told).clone()
    }

    /// Waits until there is a want; whether there is one, or never will be.
    async fn any(&self) -> bool {
        loop {
            let news = self.news.notified();
            {
                let state = lock(&self.state);
                if !state.0.is_empty() || state.1 {
                    return !state.0.is_empty();
                }
            }
            news.await;
        }
    }
}

async fn listen<R: AsyncRead + Unpin>(
    mut asks: Asks<R>,
    wants: &Wants,
) -> Result<(), TransferError> {
    loop {
        match asks.next().await? {
            Ask::Want(more) => wants.add(more)?,
            Ask::End => {
                wants.end();
                return Ok(());
            }
            Ask::Request(_) => return Err(FrameError::Body("a second request").into()),
        }
    }
}

async fn speak<W: AsyncWrite + Unpin>(
    mut writer: W,
    mut pace: Pace,
    mut sender: Sender,
    wants: &Arc<Wants>,
    budget: &Fair,
    stall: Duration,
) -> Result<Served, TransferError> {
    let (mut full, mut empty) = (Outbox::new(), Outbox::new());
    let mut flown = 0;
    loop {
        let making = make(sender, empty, wants, budget, stall);
        let writing = async {
            let began = Instant::now();
            pace.write(&mut writer, full.bytes()).await?;
            Ok::<_, TransferError>(began.elapsed())
        };
        let (made, took) = futures::future::try_join(making, writing).await?;
        let wrote = full.bytes().len();
        flown += wrote as u64;
        let more;
        (sender, empty, more) = made;
        sender.wrote(wrote, took);
        wants.tell(sender.verdict());
        full.clear();
        std::mem::swap(&mut full, &mut empty);
        if !more && full.bytes().is_empty() {
            break;
        }
    }
    pace.close(&mut writer).await?;
    sender.verdict().map(|()| Served { bytes: flown })
}

/// Fills a buffer; whether more can follow.
async fn make(
    mut sender: Sender,
    mut out: Outbox,
    wants: &Arc<Wants>,
    budget: &Fair,
    stall: Duration,
) -> Result<(Sender, Outbox, bool), TransferError> {
    if sender.is_over() {
        return Ok((sender, out, false));
    }
    if !sender.is_busy() {
        let any = timeout(stall, wants.any()).await;
        if !any.map_err(|_| TransferError::Stalled(stall))? {
            return Ok((sender, out, false));
        }
    }
    let mut turn = budget.turn().await;
    let wants = Arc::clone(wants);
    let work = spawn_blocking(move || {
        let filled = sender.fill(|| wants.take(), &mut out, &mut turn.tools);
        filled.map(|()| (sender, out, true))
    });
    work.await.map_err(|_| TransferError::Host)?
}
