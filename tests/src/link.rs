//! A link between two network namespaces that is as bad as a test wants it: each packet is delayed, some are lost, and
//! now and then nothing gets through at all.
//!
//! ```text
//!   namespace         the test's process                        namespace
//!     process ── tun ──▶ reader ─▶ lost? when? ─▶ writer ──▶ tun ── process
//! ```
//!
//! Both ways are alike, each with a chance of its own from a seed. It works on whole IP packets, so QUIC, TCP and whatever
//! else there is meet the same link, and nothing but `ip` and `/dev/net/tun` is needed: netem is not in every kernel, and
//! loss by nftables would be no different from the writer's. A namespace lives as long as the process that holds it, which
//! ends when the test does, however that ends. Called by tests alone.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::AsRawFd;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The longest packet; what most tunnels carry.
const MTU: usize = 1400;
/// Packets that are under way in one direction; a router drops what comes on top.
const QUEUE: usize = 8192;

/// What a link is like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quality {
    /// There and back, without jitter.
    pub round_trip: Duration,
    /// How much a packet's way may take more or less than half of that. Packets overtake each other.
    pub jitter: Duration,
    /// Of a thousand packets, in each direction.
    pub lost_per_mille: u64,
    /// Of so much time, the last so much nothing gets through.
    pub gaps: Option<(Duration, Duration)>,
}

/// A network namespace of its own. Gone when it is dropped and no process is left in it.
#[derive(Debug)]
pub struct Namespace {
    /// Waits for its standard input to end.
    holder: Child,
    wrapper: Vec<String>,
}

impl Namespace {
    /// A new one in which nothing but the loopback works.
    ///
    /// # Errors
    /// What the system said, where this process may have none.
    pub fn new() -> Result<Namespace, String> {
        let holder = Command::new("unshare")
            .args(["--net", "sh", "-c", "echo in; exec cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut holder = holder.map_err(|error| format!("unshare: {error}"))?;
        let mut said = String::new();
        let out = holder.stdout.take().expect("it is piped");
        let read = BufReader::new(out).read_line(&mut said);
        if read.is_err() || said != "in\n" {
            drop(holder.stdin.take());
            let output = holder.wait_with_output().expect("it can be waited for");
            return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned());
        }
        let wrapper = vec![
            "nsenter".to_owned(),
            format!("--net=/proc/{}/ns/net", holder.id()),
        ];
        let namespace = Namespace { holder, wrapper };
        namespace.sh("ip link set lo up");
        Ok(namespace)
    }

    /// What has to stand before a command for it to run in there.
    #[must_use]
    pub fn wrapper(&self) -> Vec<&str> {
        self.wrapper.iter().map(String::as_str).collect()
    }

    #[track_caller]
    fn sh(&self, script: &str) {
        let [first, rest @ ..] = self.wrapper.as_slice() else {
            unreachable!("a wrapper is a command");
        };
        must(Command::new(first).args(rest).args(["sh", "-c", script]));
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        // It ends by itself now.
        let _ = self.holder.wait();
    }
}

#[track_caller]
fn must(command: &mut Command) {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
}

/// Whether links can be made here. Where not, that is said past what captures a test's output: whoever reads that all is
/// well has to know.
///
/// # Panics
/// Where nothing can be said.
#[must_use]
pub fn possible() -> bool {
    let Err(obstacle) = Link::new(Quality::default(), 0) else {
        return true;
    };
    let said = format!("SKIPPED: no link between network namespaces can be made: {obstacle}");
    writeln!(io::stderr(), "{said}").expect("standard error is there");
    false
}

/// Two namespaces and what is between them. Its threads end with its devices, which end with it or with the process.
#[derive(Debug)]
pub struct Link {
    ends: [Namespace; 2],
    devices: [String; 2],
    quality: Arc<Mutex<Kept>>,
    counts: Arc<Counts>,
}

/// What a link is like, and since when.
#[derive(Debug)]
struct Kept {
    quality: Quality,
    since: Instant,
}

#[derive(Debug, Default)]
struct Counts {
    carried: AtomicU64,
    lost: AtomicU64,
    cut: AtomicU64,
}

impl Link {
    /// Addresses of the two ends, in their namespaces.
    pub const ADDRESSES: [&'static str; 2] = ["10.77.0.1", "10.77.0.2"];

    /// A link between two new namespaces. `seed` is for what is lost and how late the rest is.
    ///
    /// # Errors
    /// What the system said, where this process may have no namespaces or no TUN devices, or there is no `ip`.
    ///
    /// # Panics
    /// Where it may, and `ip` fails.
    pub fn new(quality: Quality, seed: u64) -> Result<Link, String> {
        let asked = Command::new("ip").arg("-V").stdout(Stdio::null()).status();
        asked.map_err(|error| format!("ip, of iproute2: {error}"))?;
        let ends = [Namespace::new()?, Namespace::new()?];
        let opened = |error: io::Error| format!("/dev/net/tun: {error}");
        let (one, other) = (Tun::open().map_err(opened)?, Tun::open().map_err(opened)?);
        let devices = [one.name.clone(), other.name.clone()];
        for ((end, device), address) in ends.iter().zip(&devices).zip(Link::ADDRESSES) {
            let pid = end.holder.id().to_string();
            must(Command::new("ip").args(["link", "set", device, "netns", &pid]));
            end.sh(&format!(
                "ip addr add {address}/24 dev {device} && ip link set {device} mtu {MTU} up"
            ));
        }
        let counts = Arc::new(Counts::default());
        let (one, other) = (Arc::new(one.file), Arc::new(other.file));
        let quality = Arc::new(Mutex::new(Kept {
            quality,
            since: Instant::now(),
        }));
        for (from, to, seed) in [(&one, &other, seed), (&other, &one, !seed)] {
            let way = Way {
                quality: Arc::clone(&quality),
                chance: Chance(seed),
                counts: Arc::clone(&counts),
            };
            way.carry(Arc::clone(from), Arc::clone(to));
        }
        Ok(Link {
            ends,
            devices,
            quality,
            counts,
        })
    }

    /// Makes it another one from now on; its first gap is as far away as with a new one.
    pub fn becomes(&self, quality: Quality) {
        let since = Instant::now();
        *self.quality.lock().unwrap_or_else(PoisonError::into_inner) = Kept { quality, since };
    }

    /// Its namespaces.
    #[must_use]
    pub fn ends(&self) -> &[Namespace; 2] {
        &self.ends
    }

    /// Packets that arrived, that chance took, and that fell into a gap.
    #[must_use]
    pub fn counts(&self) -> [u64; 3] {
        let Counts { carried, lost, cut } = &*self.counts;
        [carried, lost, cut].map(|count| count.load(Ordering::Relaxed))
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // What is left in a namespace would keep the device, and with it the reading thread.
        for (end, device) in self.ends.iter().zip(&self.devices) {
            end.sh(&format!("ip link delete {device}"));
        }
    }
}

/// A packet that is under way, the earliest first; of those the one that came first.
type Packet = Reverse<(Instant, u64, Vec<u8>)>;

/// One direction.
struct Way {
    quality: Arc<Mutex<Kept>>,
    chance: Chance,
    counts: Arc<Counts>,
}

impl Way {
    fn carry(self, from: Arc<File>, to: Arc<File>) {
        let (sender, receiver) = channel();
        let counts = Arc::clone(&self.counts);
        std::thread::spawn(move || self.read(&from, &sender));
        std::thread::spawn(move || write(&receiver, &to, &counts));
    }

    /// Until the device is gone.
    fn read(mut self, mut from: &File, sender: &Sender<Packet>) {
        let mut number = 0;
        let mut buffer = vec![0; 65_536];
        while let Ok(length) = from.read(&mut buffer) {
            let now = Instant::now();
            if let Some(after) = self.judge(now) {
                number += 1;
                let packet = buffer[..length].to_vec();
                if sender.send(Reverse((now + after, number, packet))).is_err() {
                    return;
                }
            }
        }
    }

    /// How long a packet's way takes, unless it is lost.
    fn judge(&mut self, now: Instant) -> Option<Duration> {
        let kept = self.quality.lock().unwrap_or_else(PoisonError::into_inner);
        let Quality {
            round_trip,
            jitter,
            lost_per_mille,
            gaps,
        } = kept.quality;
        let old = now.duration_since(kept.since);
        drop(kept);
        if let Some((every, lasts)) = gaps {
            let at = old.as_nanos() % every.as_nanos();
            if at >= (every - lasts).as_nanos() {
                self.counts.cut.fetch_add(1, Ordering::Relaxed);
                return None;
            }
        }
        if self.chance.below(1000) < lost_per_mille {
            self.counts.lost.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        let spread = u64::try_from(jitter.as_micros()).expect("it is short");
        let more = Duration::from_micros(self.chance.below(2 * spread + 1));
        Some((round_trip / 2 + more).saturating_sub(jitter))
    }
}

/// Hands packets out when their time has come. Until nobody sends any more, or the device is gone.
fn write(receiver: &Receiver<Packet>, mut to: &File, counts: &Counts) {
    let mut under_way = BinaryHeap::<Packet>::new();
    loop {
        let now = Instant::now();
        while let Some(Reverse((due, _, packet))) = under_way.peek() {
            if *due > now {
                break;
            }
            // The device may not be up yet; whoever speaks says it again.
            if to.write_all(packet).is_ok() {
                counts.carried.fetch_add(1, Ordering::Relaxed);
            }
            under_way.pop();
        }
        let next = match under_way.peek() {
            Some(Reverse((due, ..))) => receiver.recv_timeout(due.duration_since(now)),
            None => receiver.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match next {
            Ok(packet) if under_way.len() < QUEUE => under_way.push(packet),
            Ok(_) | Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// SplitMix64: the same numbers from the same seed.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

/// A TUN device of this process's own namespace.
struct Tun {
    file: File,
    name: String,
}

impl Tun {
    fn open() -> io::Result<Tun> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/net/tun")?;
        let name = attach(&file)?;
        Ok(Tun { file, name })
    }
}

/// Makes an open `/dev/net/tun` a device with a name of the kernel's choice.
#[allow(unsafe_code, reason = "the standard library knows no devices")]
fn attach(file: &File) -> io::Result<String> {
    // SAFETY: `ifreq` is plain numbers, for which all bits zero is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"sykli%d") {
        *to = libc::c_char::from_ne_bytes([*from]);
    }
    let flags = libc::IFF_TUN | libc::IFF_NO_PI;
    request.ifr_ifru.ifru_flags = libc::c_short::try_from(flags).map_err(io::Error::other)?;
    // SAFETY: the request wants a pointer to an `ifreq`, which lives and which nobody else has.
    let done = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
    if done < 0 {
        return Err(io::Error::last_os_error());
    }
    let name = request.ifr_name.iter().take_while(|&&byte| byte != 0);
    let name: Vec<u8> = name.flat_map(|byte| byte.to_ne_bytes()).collect();
    String::from_utf8(name).map_err(io::Error::other)
}
