//! Profiles: what a node's connection allows, as one table of four rows whose fields its user can override.
//!
//! Decides what each row says, how a heartbeat adapts to a link ([`Profile::adapted_tick_ms`]) and how a link's estimates
//! follow what was measured ([`Link::observe`]). A profile comes from the user's configuration alone, never from a
//! project's files. Called by whoever sets up a [`crate::machine`], by the machine for the tick, and by the node for its
//! transport's timeouts. Never measures anything itself.

use std::fmt;
use std::str::FromStr;

/// The rows of the table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProfileKind {
    /// A network of one's own.
    #[default]
    Lan,
    /// The internet, from a place that stays.
    Wan,
    /// A connection that comes and goes, or is paid for by the byte.
    Mobile,
    /// A connection that loses much and must not be noticed.
    Hostile,
}

/// Which way work may flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stealing {
    /// It asks for work, takes offers, and its own work may be taken.
    Full,
    /// It may be offered work; never asks, and gives none away.
    ReceiveOnly,
    /// It sees the mesh's status, takes and gives nothing.
    Disabled,
}

/// How much of tasks and results may flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ArtifactLimit {
    /// Anything.
    Unlimited,
    /// So many compressed bytes at most: what the executor lacks of the bundle, plus the outputs.
    AtMost(u64),
    /// Only what fits into inline messages: component, inputs and outputs of at most [`INLINE_BYTES`] each.
    Inline,
    /// Nothing at all.
    StatusOnly,
}

impl ArtifactLimit {
    /// The most compressed bytes that may flow for one task, both directions together.
    #[must_use]
    pub fn most_bytes(self) -> u64 {
        match self {
            ArtifactLimit::Unlimited => u64::MAX,
            ArtifactLimit::AtMost(bytes) => bytes,
            // A component, inputs and outputs.
            ArtifactLimit::Inline => 3 * INLINE_BYTES,
            ArtifactLimit::StatusOnly => 0,
        }
    }
}

/// The most that goes into one inline message, compressed, in bytes.
pub const INLINE_BYTES: u64 = 64 << 10;

/// How a node finds others and is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Discovery {
    /// Multicast and known addresses.
    Multicast,
    /// Known addresses, relays and hole punching.
    Known,
    /// It dials out only, listens on nothing and is handed out to nobody.
    Hidden,
}

/// A profile with its user's changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// Which row it began as.
    pub kind: ProfileKind,
    /// Heartbeat, in milliseconds, before adaptation.
    pub tick_ms: u64,
    /// Which way work may flow.
    pub stealing: Stealing,
    /// What may flow with it.
    pub artifacts: ArtifactLimit,
    /// How it is found.
    pub discovery: Discovery,
    /// How long a lost connection alone ends no lease, in milliseconds; `None` for as long as the lease runs.
    pub absence_grace_ms: Option<u64>,
}

/// A row of the table: a profile as it is before its user's changes, and what its connection is expected to be like.
struct Row {
    profile: Profile,
    link: Link,
    dial_timeout_ms: u64,
    idle_timeout_ms: u64,
}

/// The one table, in the order of [`ProfileKind`].
const TABLE: [Row; 4] = [
    Row {
        profile: Profile {
            kind: ProfileKind::Lan,
            tick_ms: 60_000,
            stealing: Stealing::Full,
            artifacts: ArtifactLimit::Unlimited,
            discovery: Discovery::Multicast,
            absence_grace_ms: Some(5_000),
        },
        link: Link {
            rtt_ms: 10,
            jitter_ms: 5,
            loss_per_mille: 1,
            bytes_per_s: 20_000_000,
        },
        dial_timeout_ms: 10_000,
        idle_timeout_ms: 10_000,
    },
    Row {
        profile: Profile {
            kind: ProfileKind::Wan,
            tick_ms: 120_000,
            stealing: Stealing::Full,
            artifacts: ArtifactLimit::AtMost(500_000_000),
            discovery: Discovery::Known,
            absence_grace_ms: Some(30_000),
        },
        link: Link {
            rtt_ms: 80,
            jitter_ms: 20,
            loss_per_mille: 5,
            bytes_per_s: 2_500_000,
        },
        dial_timeout_ms: 20_000,
        idle_timeout_ms: 30_000,
    },
    Row {
        profile: Profile {
            kind: ProfileKind::Mobile,
            tick_ms: 300_000,
            stealing: Stealing::Disabled,
            artifacts: ArtifactLimit::StatusOnly,
            discovery: Discovery::Hidden,
            absence_grace_ms: None,
        },
        link: Link {
            rtt_ms: 200,
            jitter_ms: 100,
            loss_per_mille: 20,
            bytes_per_s: 500_000,
        },
        dial_timeout_ms: 30_000,
        idle_timeout_ms: 60_000,
    },
    Row {
        profile: Profile {
            kind: ProfileKind::Hostile,
            tick_ms: 600_000,
            stealing: Stealing::ReceiveOnly,
            artifacts: ArtifactLimit::Inline,
            discovery: Discovery::Hidden,
            absence_grace_ms: None,
        },
        link: Link {
            rtt_ms: 2_000,
            jitter_ms: 500,
            loss_per_mille: 300,
            bytes_per_s: 20_000,
        },
        dial_timeout_ms: 60_000,
        idle_timeout_ms: 60_000,
    },
];

fn row(kind: ProfileKind) -> &'static Row {
    let [lan, wan, mobile, hostile] = &TABLE;
    match kind {
        ProfileKind::Lan => lan,
        ProfileKind::Wan => wan,
        ProfileKind::Mobile => mobile,
        ProfileKind::Hostile => hostile,
    }
}

impl ProfileKind {
    /// All of them, from the most to the least generous.
    pub const ALL: [ProfileKind; 4] = [
        ProfileKind::Lan,
        ProfileKind::Wan,
        ProfileKind::Mobile,
        ProfileKind::Hostile,
    ];

    /// Its name, as it is configured and shown.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            ProfileKind::Lan => "lan",
            ProfileKind::Wan => "wan",
            ProfileKind::Mobile => "mobile",
            ProfileKind::Hostile => "hostile",
        }
    }
}

impl fmt::Display for ProfileKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A text that names no profile.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no profile `{text}`, only lan, wan, mobile and hostile")]
pub struct UnknownProfile {
    /// The text.
    pub text: String,
}

impl FromStr for ProfileKind {
    type Err = UnknownProfile;

    fn from_str(text: &str) -> Result<ProfileKind, UnknownProfile> {
        ProfileKind::ALL
            .into_iter()
            .find(|kind| kind.name() == text)
            .ok_or_else(|| UnknownProfile {
                text: text.to_owned(),
            })
    }
}

/// What a user changes of a profile; `None` leaves the row's value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// Heartbeat, in milliseconds; 0 counts as 1.
    pub tick_ms: Option<u64>,
    /// Which way work may flow.
    pub stealing: Option<Stealing>,
    /// What may flow with it.
    pub artifacts: Option<ArtifactLimit>,
    /// How it is found.
    pub discovery: Option<Discovery>,
    /// How long a lost connection alone ends no lease, in milliseconds; `Some(None)` for as long as the lease runs.
    pub absence_grace_ms: Option<Option<u64>>,
}

impl Default for Profile {
    /// The row of the default kind.
    fn default() -> Profile {
        Profile::of(ProfileKind::default())
    }
}

impl Profile {
    /// The table's row.
    #[must_use]
    pub fn of(kind: ProfileKind) -> Profile {
        row(kind).profile.clone()
    }

    /// This profile with its user's changes.
    #[must_use]
    pub fn with(self, changes: Overrides) -> Profile {
        Profile {
            kind: self.kind,
            tick_ms: changes.tick_ms.unwrap_or(self.tick_ms).max(1),
            stealing: changes.stealing.unwrap_or(self.stealing),
            artifacts: changes.artifacts.unwrap_or(self.artifacts),
            discovery: changes.discovery.unwrap_or(self.discovery),
            absence_grace_ms: changes.absence_grace_ms.unwrap_or(self.absence_grace_ms),
        }
    }

    /// How long a lease runs without a word, in milliseconds: two ticks, or the absence grace where that is longer.
    ///
    /// Two, so that one lost heartbeat ends no lease.
    #[must_use]
    pub fn lease_ms(&self) -> u64 {
        let two_ticks = self.tick_ms.saturating_mul(2);
        two_ticks.max(self.absence_grace_ms.unwrap_or(0))
    }

    /// The heartbeat for a link as it was measured, in milliseconds: between ¼ and 2 times [`Profile::tick_ms`].
    ///
    /// `tick × clamp(strain(measured) ÷ strain(expected), ¼, 2)`, where a link's strain is `rtt + 4 × jitter + 10 × loss`,
    /// in milliseconds and lost packets a thousand, and the expected link is the kind's ([`Link::of`]). The first two terms
    /// are the retransmission timeout of RFC 6298; ten milliseconds for each lost packet in a thousand make 30% loss weigh
    /// as much as three seconds. So a link as expected keeps the preset, a quick and quiet one gets news sooner, a slow,
    /// unsteady or lossy one is not burdened further; and the tick never falls when any of the three rises.
    #[must_use]
    pub fn adapted_tick_ms(&self, link: &Link) -> u64 {
        let expected = Link::of(self.kind).strain().max(1);
        let per_mille = (link.strain().saturating_mul(1000) / expected).clamp(250, 2000);
        let adapted = u128::from(self.tick_ms) * u128::from(per_mille) / 1000;
        u64::try_from(adapted).unwrap_or(u64::MAX).max(1)
    }

    /// How long an attempt to connect may take, in milliseconds.
    ///
    /// A QUIC or Noise handshake takes a few round trips, and each lost packet doubles the wait. At two seconds and 30%
    /// loss (hostile) the usual 5 s connected 48 of 100 dials, 60 s connected 98. On a lan 10 s are hundreds of round
    /// trips: who does not answer by then is not there. In between stand wan (20 s: six retransmissions, relays and hole
    /// punching included) and mobile (30 s: a sleeping radio has to wake first).
    #[must_use]
    pub fn dial_timeout_ms(&self) -> u64 {
        row(self.kind).dial_timeout_ms
    }

    /// How long a connection may be silent before the transport gives it up, in milliseconds.
    ///
    /// lan: 10 s, so that a pulled cable is noticed soon. wan: 30 s, its absence grace: what is back within it need not
    /// dial again. mobile: 60 s, for tunnels and changes of cell. hostile: 60 s, for keep-alives that are lost in a row.
    #[must_use]
    pub fn idle_timeout_ms(&self) -> u64 {
        row(self.kind).idle_timeout_ms
    }

    /// Whether it dials out only.
    #[must_use]
    pub fn is_hidden(&self) -> bool {
        self.discovery == Discovery::Hidden
    }
}

/// What a link is like, estimated from what was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Round trip, smoothed, in milliseconds.
    pub rtt_ms: u32,
    /// Mean deviation of the round trip, in milliseconds.
    pub jitter_ms: u32,
    /// Probes that went unanswered, of a thousand.
    pub loss_per_mille: u16,
    /// What got through while something was moved, in bytes a second.
    pub bytes_per_s: u64,
}

impl Default for Link {
    /// What is expected of the default kind's.
    fn default() -> Link {
        Link::of(ProfileKind::default())
    }
}

impl Link {
    /// What is expected where nothing was measured yet.
    #[must_use]
    pub fn of(kind: ProfileKind) -> Link {
        row(kind).link
    }

    /// The worse of two in each respect: what is expected between two ends, since a link is as bad as its worse end.
    #[must_use]
    pub fn worse(self, other: Link) -> Link {
        Link {
            rtt_ms: self.rtt_ms.max(other.rtt_ms),
            jitter_ms: self.jitter_ms.max(other.jitter_ms),
            loss_per_mille: self.loss_per_mille.max(other.loss_per_mille),
            bytes_per_s: self.bytes_per_s.min(other.bytes_per_s),
        }
    }

    /// Takes a probe into account: its round trip in milliseconds, or `None` where it was not answered.
    ///
    /// As RFC 6298 has it, in whole numbers: the deviation moves a quarter of the way to `|rtt − sample|`, then the round
    /// trip an eighth of the way to the sample. The loss moves a sixteenth of the way to 0 or 1000. Steps are rounded away
    /// from zero, so that a steady input is reached, not only approached.
    pub fn observe(&mut self, rtt_ms: Option<u32>) {
        if let Some(sample) = rtt_ms {
            let deviation = self.rtt_ms.abs_diff(sample);
            self.jitter_ms = narrow(towards(self.jitter_ms.into(), deviation.into(), 4));
            self.rtt_ms = narrow(towards(self.rtt_ms.into(), sample.into(), 8));
        }
        let outcome = if rtt_ms.is_some() { 0 } else { 1000 };
        let loss = towards(self.loss_per_mille.into(), outcome, 16);
        self.loss_per_mille = u16::try_from(loss).unwrap_or(1000).min(1000);
    }

    /// Takes a transfer into account: so many bytes in so many milliseconds (0 counts as 1). A quarter of the way, for
    /// transfers are few and long.
    pub fn observe_transfer(&mut self, bytes: u64, took_ms: u64) {
        let rate = u128::from(bytes) * 1000 / u128::from(took_ms.max(1));
        let rate = u64::try_from(rate).unwrap_or(u64::MAX);
        self.bytes_per_s = towards(self.bytes_per_s, rate, 4);
    }

    fn strain(&self) -> u64 {
        u64::from(self.rtt_ms) + 4 * u64::from(self.jitter_ms) + 10 * u64::from(self.loss_per_mille)
    }
}

/// One `parts`-th of the way from `old` to `sample`, rounded away from `old`.
fn towards(old: u64, sample: u64, parts: u64) -> u64 {
    let step = old.abs_diff(sample).div_ceil(parts);
    if sample >= old {
        old + step
    } else {
        old - step
    }
}

/// Of values that lie between two of 32 bits.
fn narrow(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
