//! What the mesh lets others cost: the numbers, each with what it bounds, and the deadlines that follow from the profile.
//!
//! Never enforces one: connections are counted by libp2p's limits and by [`super::doors`], streams and frames by whoever
//! holds them. Called by whoever starts a mesh.

use std::time::Duration;

use sykli_core::profile::{Profile, ProfileKind};
use sykli_core::wire::MAX_FRAME_BYTES;

/// Least time that a greeting has.
const HELLO_LEAST: Duration = Duration::from_secs(10);

/// What others may cost. The defaults suit a node of a team; tests narrow them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeshLimits {
    /// Connections that others made.
    pub established_incoming: u32,
    /// Connections that this node made.
    pub established_outgoing: u32,
    /// Connections from others that are still in their handshake.
    pub pending_incoming: u32,
    /// Connections to others that are still in their handshake.
    pub pending_outgoing: u32,
    /// Connections with one peer: one, a second that replaces it, and one that a reachability test makes.
    pub per_peer: u32,
    /// Connections from one address, in their handshake or past it. An IPv6 address counts as its /64.
    pub per_ip: u32,
    /// Connections from one address that are still in their handshake.
    pub pending_per_ip: u32,
    /// New connections that one address may make at once.
    pub burst_per_ip: u32,
    /// New connections that one address may make a second, after that.
    pub rate_per_ip: u32,
    /// Incoming connections that have not greeted yet; the oldest makes room for the newest.
    pub ungreeted: usize,
    /// Memory of this process in bytes above which no connection is made or taken; `None` for half of the machine's.
    pub memory_bytes: Option<usize>,
    /// Streams of one connection, both ways together.
    pub streams: usize,
    /// Bulk streams with one peer that each side may open.
    pub blobs_per_peer: usize,
    /// Bulk streams in all, of each direction.
    pub blobs: usize,
    /// Frames that wait for a peer to take them.
    pub queue_frames: usize,
    /// Bytes that wait for a peer to take them.
    pub queue_bytes: usize,
    /// Frames a second that are read from one peer; beyond that it is read slower.
    pub frames_per_s: u32,
    /// Bytes a second that are read from one peer's messages; beyond that it is read slower.
    pub bytes_per_s: u32,
    /// How long a greeting may take; `None` for what the profile says.
    pub hello_timeout: Option<Duration>,
    /// How long a frame may take once it began; `None` for what the profile says.
    pub frame_timeout: Option<Duration>,
    /// The first wait before a peer is dialled again; each further one is twice as long.
    pub redial_first: Duration,
    /// How long a second connection of a pair is kept before it is closed, so that what just began on it can end.
    pub spare_lasts: Duration,
}

impl Default for MeshLimits {
    fn default() -> MeshLimits {
        MeshLimits {
            established_incoming: 256,
            established_outgoing: 128,
            pending_incoming: 256,
            pending_outgoing: 32,
            per_peer: 3,
            per_ip: 64,
            pending_per_ip: 16,
            burst_per_ip: 64,
            rate_per_ip: 8,
            ungreeted: 16,
            memory_bytes: None,
            streams: 64,
            blobs_per_peer: 8,
            blobs: 64,
            queue_frames: 256,
            queue_bytes: 4 << 20,
            frames_per_s: 2_000,
            bytes_per_s: 8 << 20,
            hello_timeout: None,
            frame_timeout: None,
            redial_first: Duration::from_secs(1),
            spare_lasts: Duration::from_secs(10),
        }
    }
}

/// The deadlines of one mesh: the profile's, unless its limits say otherwise. A link is as slow as its slower end: once it
/// is known who is there, [`Timing::with`] says what holds between the two, and before that `longest`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timing {
    /// A handshake that this node began.
    pub dial: Duration,
    /// Silence after which a connection is given up.
    pub idle: Duration,
    /// From established to greeted, where the handshake was quick.
    pub hello: Duration,
    /// From a frame's first byte to its last.
    pub frame: Duration,
    /// The first wait before dialling again, and the longest.
    pub redial: (Duration, Duration),
    /// What those of the most patient profile are.
    pub longest: Longest,
}

/// The deadlines for a peer that may have any profile.
#[derive(Clone, Copy, Debug)]
pub(super) struct Longest {
    /// A handshake that another one began, and the opening of a stream.
    pub dial: Duration,
    /// Silence after which the transport gives a connection up by itself.
    pub idle: Duration,
    /// From established to greeted, where the handshake was slow.
    pub hello: Duration,
}

impl Timing {
    /// What `profile` and `limits` say.
    pub(super) fn of(profile: &Profile, limits: &MeshLimits) -> Timing {
        let dial = Duration::from_millis(profile.dial_timeout_ms());
        let first = limits.redial_first;
        let longest = Duration::from_millis(profile.tick_ms / 4).max(first);
        Timing {
            dial,
            idle: Duration::from_millis(profile.idle_timeout_ms()),
            hello: limits.hello_timeout.unwrap_or(dial.max(HELLO_LEAST)),
            // A full frame over the slowest link that a profile expects (20 kB/s, a third of it lost) takes some 10 s.
            frame: limits.frame_timeout.unwrap_or(dial.max(HELLO_LEAST)),
            redial: (first, longest),
            longest: Longest::of(limits),
        }
    }

    /// What holds between this node and one of that profile.
    pub(super) fn with(self, other: ProfileKind, limits: &MeshLimits) -> Timing {
        let theirs = Timing::of(&Profile::of(other), limits);
        Timing {
            dial: self.dial.max(theirs.dial),
            idle: self.idle.max(theirs.idle),
            hello: self.hello.max(theirs.hello),
            frame: self.frame.max(theirs.frame),
            ..self
        }
    }
}

impl Longest {
    fn of(limits: &MeshLimits) -> Longest {
        let most = |of: fn(&Profile) -> u64| {
            let all = ProfileKind::ALL.into_iter().map(Profile::of);
            Duration::from_millis(all.map(|profile| of(&profile)).max().unwrap_or(0))
        };
        let dial = most(Profile::dial_timeout_ms);
        Longest {
            dial,
            idle: most(Profile::idle_timeout_ms),
            hello: limits.hello_timeout.unwrap_or(dial.max(HELLO_LEAST)),
        }
    }
}

/// What one write to a consent stream holds at most: many small frames, or one large one.
pub(super) const BATCH_BYTES: usize = MAX_FRAME_BYTES + 4;
/// Bytes that a QUIC peer may have sent on one stream before they are read, and on all streams of a connection. Enough
/// for 1 Gbit/s at 15 ms; what a hostile peer can make this node hold is the latter.
pub(super) const QUIC_STREAM_BYTES: u32 = 2 << 20;
/// See [`QUIC_STREAM_BYTES`].
pub(super) const QUIC_CONNECTION_BYTES: u32 = 3 << 20;
/// The longest datagram that QUIC looks for a path to take, and that is read. Networks with jumbo frames and the loopback
/// take more than Ethernet's 1,500 bytes, and a large transfer costs a fraction there. quinn hands the kernel ten at once,
/// which takes no more than 65,507 bytes.
pub(super) const QUIC_DATAGRAM_BYTES: u16 = 6_500;
const _: () = assert!(10 * (QUIC_DATAGRAM_BYTES as u32) < 65_507);
/// Bytes that a connection of another node's may bring before it was greeted: the greeting, and what it comes wrapped in.
pub(super) const UNGREETED_BYTES: usize = 256 << 10;
/// Streams of one connection whose protocol is being negotiated.
pub(super) const NEGOTIATING: usize = 16;
/// Commands and notes that wait for the mesh's loop; what finds no room there is refused or waits.
pub(super) const WAITING: usize = 1024;
/// Bytes that one circuit through this node's relay carries: greetings and messages, never bundles.
pub(super) const CIRCUIT_BYTES: u64 = 1 << 20;
/// How long one circuit through this node's relay lasts.
pub(super) const CIRCUIT_LASTS: Duration = Duration::from_secs(600);

#[cfg(test)]
mod tests {
    use super::*;

    fn timing(kind: ProfileKind, limits: &MeshLimits) -> Timing {
        Timing::of(&Profile::of(kind), limits)
    }

    #[test]
    fn a_pair_is_as_patient_as_its_more_patient_end() {
        let limits = MeshLimits::default();
        let [lan, hostile] = [ProfileKind::Lan, ProfileKind::Hostile].map(|k| timing(k, &limits));
        assert!(lan.idle < hostile.idle && lan.hello < hostile.hello);
        let there = lan.with(ProfileKind::Hostile, &limits);
        let back = hostile.with(ProfileKind::Lan, &limits);
        for between in [there, back] {
            let Timing {
                idle, hello, frame, ..
            } = between;
            let expected = (hostile.idle, hostile.hello, hostile.frame);
            assert_eq!((idle, hello, frame), expected);
        }
        assert_eq!(there.redial, lan.redial, "whom to dial when is its own");
    }

    #[test]
    fn before_a_peer_is_known_it_may_have_any_profile() {
        let limits = MeshLimits::default();
        for kind in ProfileKind::ALL {
            let Timing {
                dial,
                idle,
                hello,
                longest,
                ..
            } = timing(kind, &limits);
            assert!(dial <= longest.dial && idle <= longest.idle && hello <= longest.hello);
        }
        let limits = MeshLimits {
            hello_timeout: Some(Duration::from_secs(2)),
            ..limits
        };
        let longest = timing(ProfileKind::Lan, &limits).longest;
        assert_eq!(longest.hello, Duration::from_secs(2), "what is said holds");
    }
}
