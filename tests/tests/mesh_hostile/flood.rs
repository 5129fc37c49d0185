//! Floods: thousands of connects, writers of a byte a second, garbage, handshakes that are begun and left, strangers that
//! never greet; all of it at once, while a member has its work done by the node that is attacked.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::join_all;
use libp2p::core::Endpoint;
use libp2p::core::transport::{DialOpts, PortUse};
use libp2p::identity::Keypair;
use libp2p::{Multiaddr, Transport, quic};
use sykli_tests::mesh::{Machine, WILLING, mesh};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream, UdpSocket};
use tokio::time::{sleep, timeout};

use super::attacker::{Outsider, PATIENCE, Target, loopback, socket};
use super::honest::{self, ATTACKED, TASKS, counted, most_memory};

/// TCP connections that are made and left, so many at once.
const CONNECTS: usize = 5_000;
const WAVE: usize = 100;
/// Connections that write a byte a second.
const SLOW: usize = 64;
/// Handshakes of QUIC's that are begun and left.
const HANDSHAKES: usize = 5_000;
/// How often all of them are begun.
const ROUNDS: usize = 3;
/// Datagrams that are nothing.
const DATAGRAMS: usize = 5_000;
/// Strangers that complete their handshake and then say nothing.
const SILENT: usize = 100;
/// What the node may have in memory, ever. The processes that tasks of others run in are bounded each for itself
/// (`isolation_limits.rs`) and not counted here: no stranger has one started.
const MOST_BYTES: u64 = 200_000_000;

/// Connects from an address of one's own.
async fn connect(from: Ipv4Addr, to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((from, 0).into())?;
    timeout(PATIENCE, socket.connect(to)).await?
}

/// Bytes that mean nothing, other ones for each number.
fn noise(number: usize, bytes: usize) -> Vec<u8> {
    let mut noise = vec![0; bytes];
    let mut hasher = blake3::Hasher::new();
    hasher.update(&number.to_le_bytes());
    hasher.finalize_xof().fill(&mut noise);
    noise
}

/// Waits until the other end has closed it.
async fn is_closed(stream: &mut TcpStream) {
    let read = async { while stream.read(&mut [0; 64]).await.is_ok_and(|read| read > 0) {} };
    let closed = timeout(PATIENCE, read).await;
    assert!(closed.is_ok(), "it is still connected");
}

/// Connects in waves; each connection is closed with its wave.
async fn waves(to: SocketAddr) {
    for wave in 0..CONNECTS / WAVE {
        let connects = (0..WAVE).map(|number| connect(loopback(2 + (number % 8) as u8), to));
        let connected = join_all(connects).await;
        let made = connected.iter().filter(|made| made.is_ok()).count();
        assert!(made > 0, "nobody listens any more, in wave {wave}");
    }
}

/// Writes a byte a second until it is cut off, as it must be.
async fn slow(number: usize, to: SocketAddr) {
    let Ok(stream) = connect(loopback(10 + (number % 2) as u8), to).await else {
        return;
    };
    let (mut read, mut write) = stream.into_split();
    let drip = async {
        // The beginning of a negotiation that never gets to its end.
        for byte in [&b"\x13/multistream/1.0.0\n"[..], &[0x7f; 4096]].concat() {
            if write.write_all(&[byte]).await.is_err() {
                return;
            }
            sleep(Duration::from_secs(1)).await;
        }
    };
    let closed = async { while read.read(&mut [0; 64]).await.is_ok_and(|read| read > 0) {} };
    let cut = timeout(PATIENCE, async {
        tokio::select! {
            () = drip => {}
            () = closed => {}
        }
    });
    assert!(cut.await.is_ok(), "a byte a second keeps a connection");
}

/// Writes what is no protocol, and is cut off.
async fn garbage(number: usize, to: SocketAddr) {
    let Ok(mut stream) = connect(loopback(12), to).await else {
        return;
    };
    // It may be cut off before it has all.
    let _ = stream.write_all(&noise(number, 64 << 10)).await;
    is_closed(&mut stream).await;
}

/// Sends datagrams that are nothing, and some that look like the beginning of a handshake.
async fn datagrams(to: SocketAddr) {
    let socket = UdpSocket::bind((loopback(13), 0)).await.unwrap();
    for number in 0..DATAGRAMS {
        let mut datagram = noise(number, 1200);
        if number % 2 == 0 {
            // A long header, version 1, an id of eight bytes.
            datagram[..6].copy_from_slice(&[0xc3, 0, 0, 0, 1, 8]);
        }
        let _ = socket.send_to(&datagram, to).await;
        if number % 50 == 0 {
            sleep(Duration::from_millis(5)).await;
        }
    }
}

/// The first datagrams of so many handshakes, as a peer of libp2p's begins one.
async fn beginnings(count: usize) -> Vec<Vec<u8>> {
    let sink = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let at: Multiaddr = format!(
        "/ip4/127.0.0.1/udp/{}/quic-v1",
        sink.local_addr().unwrap().port()
    )
    .parse()
    .unwrap();
    let own = Keypair::generate_ed25519();
    let mut transport = quic::tokio::Transport::new(quic::Config::new(&own));
    let mut seen = BTreeSet::new();
    let mut datagrams = Vec::new();
    while seen.len() < count {
        let how = DialOpts {
            role: Endpoint::Dialer,
            port_use: PortUse::Reuse,
        };
        let dial = transport.dial(at.clone(), how).unwrap();
        let before = seen.len();
        let capture = async {
            let mut buffer = [0; 2048];
            while seen.len() == before {
                let (length, _) = sink.recv_from(&mut buffer).await.unwrap();
                let datagram = buffer[..length].to_vec();
                // Of a long header: flags, version, the length of the id that names the handshake, the id.
                let id = datagram[6..6 + usize::from(datagram[5])].to_vec();
                seen.insert(id);
                datagrams.push(datagram);
            }
        };
        tokio::select! {
            () = capture => {}
            _ = dial => panic!("nobody answers there"),
        }
    }
    datagrams
}

/// Begins handshakes and leaves them.
async fn handshakes(to: SocketAddr, datagrams: Vec<Vec<u8>>) {
    for round in 0..ROUNDS {
        let mut sockets = Vec::new();
        for last in 14..22 {
            sockets.push(UdpSocket::bind((loopback(last), 0)).await.unwrap());
        }
        for (number, datagram) in datagrams.iter().enumerate() {
            let socket = &sockets[(round + number / 2) % sockets.len()];
            let _ = socket.send_to(datagram, to).await;
            if number % 40 == 0 {
                sleep(Duration::from_millis(8)).await;
            }
        }
    }
}

/// Somebody who completes the handshake and then says nothing, on either transport.
async fn silent(number: usize, target: &Target) {
    let own = Keypair::generate_ed25519();
    let to = [&target.tcp, &target.quic][number % 2];
    let from = loopback(22 + (number % 4) as u8);
    let connected = timeout(PATIENCE, Outsider::connect(&own, from, target.peer, to)).await;
    // Many are turned away before that.
    if let Ok(Ok(mut outsider)) = connected {
        outsider.is_cut_off().await;
    }
}

/// All of it at once.
async fn attack(target: &Target, beginnings: Vec<Vec<u8>>) {
    let (tcp, udp) = (socket(&target.tcp), socket(&target.quic));
    tokio::join!(
        waves(tcp),
        join_all((0..SLOW).map(|number| slow(number, tcp))),
        join_all((0..64).map(|number| garbage(number, tcp))),
        datagrams(udp),
        handshakes(udp, beginnings),
        join_all((0..SILENT).map(|number| silent(number, target))),
    );
}

#[test]
fn floods_leave_the_node_small_and_its_members_served() {
    let settings = format!("{WILLING}{ATTACKED}");
    let [mut attacked, mut member, late] = mesh([
        Machine::new("attacked", &settings),
        honest::machine("member"),
        honest::machine("late"),
    ]);
    member.start();
    honest::work(&member);
    let before = most_memory(attacked.node().pid());
    let target = Target::of(&attacked);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let beginnings = runtime.block_on(beginnings(HANDSHAKES));
    let over = AtomicBool::new(false);
    let mut runs = 1;
    std::thread::scope(|scope| {
        let attacking = scope.spawn(|| {
            runtime.block_on(attack(&target, beginnings));
            over.store(true, Ordering::Relaxed);
        });
        while !over.load(Ordering::Relaxed) && !attacking.is_finished() {
            honest::work(&member);
            // A member that comes only now, with a node for this run alone.
            honest::work(&late);
            runs += 2;
        }
        attacking.join().expect("who attacks is cut off");
    });
    let most = most_memory(attacked.node().pid());
    println!("{runs} runs; {before} bytes at most before, {most} in all");
    assert!(most < MOST_BYTES, "{most} bytes");
    let refused = counted(&attacked, "refused");
    assert!(
        refused > CONNECTS as u64 / 2,
        "{refused} refused of {CONNECTS} and more"
    );
    let status = honest::status(&attacked);
    assert_eq!(status["counters"]["offences"], serde_json::json!({}));
    assert_eq!(status["counters"]["delivered"], runs * TASKS);
}
