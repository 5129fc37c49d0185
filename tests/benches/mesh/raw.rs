//! What ours is held against: a libp2p stream and a plain TCP connection, with nothing of ours on them, between this
//! process and another one.
//!
//! `raw` is the other process: it echoes what a stream brings, or counts it, or writes it to a file. libp2p has the
//! settings that its makers chose. Only the benchmark uses it.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use futures::StreamExt;
use futures::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use libp2p::swarm::SwarmEvent;
use libp2p::{Multiaddr, PeerId, Stream, StreamProtocol, Swarm, SwarmBuilder, noise, tcp, yamux};
use libp2p_stream::Control;
use tokio::runtime::Runtime;

use crate::nodes::Way;

/// Bytes of a message that is echoed.
pub(crate) const ECHO_BYTES: usize = 64;
/// What is written at once of a bulk.
const CHUNK_BYTES: usize = 256 << 10;
const PROTOCOL: StreamProtocol = StreamProtocol::new("/bench/raw/1");
/// Longer than any row: a connection is kept although nothing flows for a while.
const IDLE: Duration = Duration::from_secs(3600);

/// What is done with what a stream brings: its first byte.
const ECHO: u8 = 0;
const COUNT: u8 = 1;
const KEEP: u8 = 2;

/// The other process, and ways to it. It ends with this.
pub(crate) struct Other {
    child: Child,
    _ends: ChildStdin,
    runtime: Runtime,
    peer: PeerId,
    control: Control,
    plain: String,
}

/// Two worker threads, as a node has.
fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime")
}

fn swarm() -> Swarm<libp2p_stream::Behaviour> {
    SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(
            tcp::Config::default().nodelay(true),
            noise::Config::new,
            yamux::Config::default,
        )
        .expect("TCP")
        .with_quic()
        .with_behaviour(|_| libp2p_stream::Behaviour::new())
        .expect("streams")
        .with_swarm_config(|config| config.with_idle_connection_timeout(IDLE))
        .build()
}

impl Other {
    /// Starts it; what it is to keep it writes to `kept`.
    pub(crate) fn start(way: Way, kept: &Path) -> Other {
        let mut child = Command::new(std::env::current_exe().expect("a path"))
            .args(["--part", "raw", way.listen()])
            .arg(kept)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the bench starts");
        let ends = child.stdin.take().expect("it is piped");
        let mut said = String::new();
        BufReader::new(child.stdout.take().expect("it is piped"))
            .read_line(&mut said)
            .expect("it says where it is");
        let words: Vec<&str> = said.split_whitespace().collect();
        let &[peer, address, plain] = words.as_slice() else {
            panic!("it said {said:?}");
        };
        let (peer, address): (PeerId, Multiaddr) = (
            peer.parse().expect("a peer"),
            address.parse().expect("an address"),
        );
        let runtime = runtime();
        let control = runtime.block_on(async {
            let mut swarm = swarm();
            let control = swarm.behaviour().new_control();
            swarm.dial(address).expect("it can be dialled");
            loop {
                let event = swarm.select_next_some().await;
                if matches!(event, SwarmEvent::ConnectionEstablished { .. }) {
                    break;
                }
            }
            tokio::spawn(async move {
                loop {
                    swarm.select_next_some().await;
                }
            });
            control
        });
        Other {
            child,
            _ends: ends,
            runtime,
            peer,
            control,
            plain: plain.to_owned(),
        }
    }

    fn open(&self, what: u8) -> Stream {
        let (mut control, peer) = (self.control.clone(), self.peer);
        self.runtime.block_on(async move {
            let mut stream = control.open_stream(peer, PROTOCOL).await.expect("a stream");
            stream.write_all(&[what]).await.expect("it takes a byte");
            stream.flush().await.expect("it takes a byte");
            stream
        })
    }

    /// A stream that is kept, for echoes.
    pub(crate) fn echoes(&self) -> Echoes<'_> {
        Echoes {
            other: self,
            stream: self.open(ECHO),
        }
    }

    /// Sends all of `bytes` over a new libp2p stream, and waits until the other process has them.
    pub(crate) fn send(&self, bytes: &[u8]) {
        let mut stream = self.open(COUNT);
        self.runtime.block_on(async move {
            for chunk in bytes.chunks(CHUNK_BYTES) {
                stream.write_all(chunk).await.expect("it takes bytes");
            }
            end(stream).await;
        });
    }

    /// The same from a file to a file.
    pub(crate) fn send_file(&self, path: &Path) {
        let mut stream = self.open(KEEP);
        let mut file = File::open(path).expect("a file");
        self.runtime.block_on(async move {
            let mut chunk = vec![0; CHUNK_BYTES];
            loop {
                let read = file.read(&mut chunk).expect("it can be read");
                if read == 0 {
                    break;
                }
                let chunk = chunk.get(..read).unwrap_or_default();
                stream.write_all(chunk).await.expect("it takes bytes");
            }
            end(stream).await;
        });
    }

    /// Sends all of `bytes` over a new plain connection, and waits until the other process has them.
    pub(crate) fn send_plain(&self, bytes: &[u8]) {
        let mut socket = TcpStream::connect(&self.plain).expect("it listens");
        for chunk in bytes.chunks(CHUNK_BYTES) {
            socket.write_all(chunk).expect("it takes bytes");
        }
        socket
            .shutdown(std::net::Shutdown::Write)
            .expect("it can be ended");
        let mut last = [0];
        socket
            .read_exact(&mut last)
            .expect("it says that it has them");
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn end(mut stream: Stream) {
    stream.close().await.expect("it can be ended");
    let mut last = [0];
    stream
        .read_exact(&mut last)
        .await
        .expect("it says that it has them");
}

/// See [`Other::echoes`].
pub(crate) struct Echoes<'a> {
    other: &'a Other,
    stream: Stream,
}

impl Echoes<'_> {
    /// So many echoes, one after the other.
    pub(crate) fn run(&mut self, times: u32) {
        let stream = &mut self.stream;
        self.other.runtime.block_on(async move {
            let mut message = [7; ECHO_BYTES];
            for _ in 0..times {
                stream.write_all(&message).await.expect("it takes bytes");
                stream.flush().await.expect("it takes bytes");
                stream.read_exact(&mut message).await.expect("it echoes");
            }
        });
    }
}

/// `raw ADDRESS FILE`: the other process. Says who and where it is, and serves until its standard input ends.
pub(crate) fn part(args: &[String]) {
    let [listen, kept] = args else {
        panic!("raw ADDRESS FILE");
    };
    let plain = TcpListener::bind("127.0.0.1:0").expect("a port");
    let plain_at = plain.local_addr().expect("an address");
    std::thread::spawn(move || serve_plain(&plain));
    let runtime = runtime();
    runtime.block_on(async {
        let mut swarm = swarm();
        let mut control = swarm.behaviour().new_control();
        let mut streams = control.accept(PROTOCOL).expect("it is the first");
        let peer = *swarm.local_peer_id();
        let listen: Multiaddr = listen.parse().expect("an address");
        swarm.listen_on(listen).expect("it can be listened on");
        let address = loop {
            if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
                break address;
            }
        };
        println!("{peer} {address} {plain_at}");
        let kept = kept.clone();
        tokio::spawn(async move {
            while let Some((_, stream)) = streams.next().await {
                let kept = kept.clone();
                // Who breaks a stream has ended.
                tokio::spawn(async move { drop(serve(stream, kept).await) });
            }
        });
        tokio::spawn(async move {
            loop {
                swarm.select_next_some().await;
            }
        });
    });
    // Ends with whoever started it.
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}

async fn serve(mut stream: Stream, kept: String) -> std::io::Result<()> {
    let mut what = [0];
    stream.read_exact(&mut what).await?;
    if what[0] == ECHO {
        let mut message = [0; ECHO_BYTES];
        loop {
            stream.read_exact(&mut message).await?;
            stream.write_all(&message).await?;
            stream.flush().await?;
        }
    }
    match what[0] {
        KEEP => drain(&mut stream, Some(File::create(kept)?)).await?,
        _ => drain(&mut stream, None).await?,
    }
    stream.write_all(&[0]).await?;
    stream.close().await
}

async fn drain<R: AsyncRead + Unpin>(
    reader: &mut R,
    mut file: Option<File>,
) -> std::io::Result<()> {
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let read = reader.read(&mut chunk).await?;
        if read == 0 {
            return Ok(());
        }
        if let Some(file) = &mut file {
            file.write_all(chunk.get(..read).unwrap_or_default())?;
        }
    }
}

fn serve_plain(listener: &TcpListener) {
    for socket in listener.incoming().flatten() {
        std::thread::spawn(move || -> std::io::Result<()> {
            let mut socket = socket;
            let mut chunk = vec![0; CHUNK_BYTES];
            while socket.read(&mut chunk)? > 0 {}
            socket.write_all(&[0])
        });
    }
}
