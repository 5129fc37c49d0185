//! What the tests of transfers share: contents, tasks made of them, and pairs of streams.

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::io::{AsyncRead, AsyncWrite};
use sykli_core::id::{Attempt, Digest, LeaseKey, RunId, TaskId};
use sykli_core::manifest::{Manifest, ManifestGrants, SEMANTICS_VERSION, Shard};
use sykli_core::pipeline::Floats;
use sykli_core::tree::{Tree, TreeEntry};
use sykli_runtime::Source;
use tokio_util::compat::TokioAsyncReadCompatExt;

use crate::store::Store;
use crate::transfer::{
    Bounds, Fair, Fetched, Request, Root, Served, Serving, TransferError, What, fetch, serve,
};

pub(crate) const STALL: Duration = Duration::from_secs(30);
pub(crate) const NO_BOUND: Bounds = Bounds {
    cap: u64::MAX,
    raw_cap: u64::MAX,
    stall: STALL,
};

/// Bytes that do not compress, the same for the same length.
pub(crate) fn noise(len: usize) -> Vec<u8> {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&(len as u64).to_le_bytes());
    let mut bytes = vec![0; len];
    hasher.finalize_xof().fill(&mut bytes);
    bytes
}

/// Bytes that do, the same for the same length.
pub(crate) fn text(len: usize) -> Vec<u8> {
    (0..len)
        .map(|n| b"the quick brown fox "[n / 7 % 20])
        .collect()
}

/// Blobs by name: what a provider has.
#[derive(Clone, Default)]
pub(crate) struct Shelf(pub(crate) BTreeMap<Digest, Vec<u8>>);

impl Shelf {
    pub(crate) fn add(&mut self, bytes: Vec<u8>) -> Digest {
        let digest = Digest::of(&bytes);
        self.0.insert(digest, bytes);
        digest
    }

    /// A tree of these files.
    pub(crate) fn tree(&mut self, files: Vec<(String, Vec<u8>)>) -> Digest {
        let entries = files.into_iter().map(|(path, bytes)| TreeEntry {
            path,
            size: bytes.len() as u64,
            digest: self.add(bytes),
            executable: false,
        });
        let tree = Tree::new(entries.collect()).unwrap();
        self.add(tree.encode())
    }

    /// A task with this component, stdin and input tree.
    pub(crate) fn task(
        &mut self,
        component: Vec<u8>,
        stdin: Option<Vec<u8>>,
        inputs: Digest,
    ) -> Digest {
        let manifest = Manifest {
            name: "task".to_owned(),
            component: self.add(component),
            args: Vec::new(),
            env: BTreeMap::new(),
            params: "{}".to_owned(),
            item: None,
            shard: Shard::default(),
            stdin: stdin.map(|stdin| self.add(stdin)),
            inputs: [(String::new(), inputs)].into(),
            outputs: ["**".to_owned()].into(),
            fuel: 1,
            memory_bytes: 1,
            output_bytes: 1,
            grants: ManifestGrants::default(),
            floats: Floats::Fast,
            semantics: SEMANTICS_VERSION,
        };
        self.add(manifest.encode())
    }

    pub(crate) fn serving(&self, cap: u64, level: i32) -> Serving {
        let shelf = self.clone();
        Serving {
            closure: Arc::new(move |digest| shelf.0.get(digest).cloned().map(Source::bytes)),
            cap,
            level,
        }
    }
}

pub(crate) fn request() -> Request {
    Request {
        key: LeaseKey {
            run: RunId::new("run-1").unwrap(),
            task: TaskId(0),
            attempt: Attempt(1),
        },
        what: What::Bundle,
    }
}

/// A store in a folder that goes with it.
pub(crate) fn store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    (dir, store)
}

/// The two ends of a stream that holds so many bytes on their way.
pub(crate) fn pair(bytes: usize) -> (impl Stream, impl Stream) {
    let (one, other) = tokio::io::duplex(bytes);
    (one.compat(), other.compat())
}

pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// A whole transfer.
pub(crate) async fn transfer(
    shelf: &Shelf,
    root: Root,
    store: &Store,
    bounds: Bounds,
    level: i32,
) -> (
    Result<Fetched, TransferError>,
    Result<Served, TransferError>,
) {
    let (here, there) = pair(64 * 1024);
    let fair = Fair::new(2);
    let cap = bounds.cap;
    futures::join!(
        fetch(here, request(), root, store, bounds, &fair, &|_| ()),
        serve(
            there,
            async |_: &Request| Some(shelf.serving(cap, level)),
            &fair,
            STALL
        ),
    )
}

/// A stream that breaks after so many bytes were read from it, or has a bit flipped after so many.
pub(crate) struct Cut<S> {
    pub(crate) stream: S,
    pub(crate) left: usize,
    pub(crate) flip: Option<usize>,
}

impl<S: Stream> AsyncRead for Cut<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        if self.left == 0 {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let most = buf.len().min(self.left);
        let read = Pin::new(&mut self.stream).poll_read(cx, &mut buf[..most]);
        if let Poll::Ready(Ok(read)) = &read {
            self.left -= read;
            match self.flip {
                Some(at) if at < *read => {
                    buf[at] ^= 1 << (at % 8);
                    self.flip = None;
                }
                Some(at) => self.flip = Some(at - read),
                None => {}
            }
        }
        read
    }
}

impl<S: Stream> AsyncWrite for Cut<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(cx)
    }
}
