//! What moving a task costs: whether its bytes may flow at all, and whether that is worth the time.
//!
//! Decides on announced sizes only; the bytes themselves are counted by the node while they flow. Called by both judges
//! ([`super::may_offer`], [`super::may_accept`]) and by [`crate::consent::owner`].

use super::Reason;
use crate::consent::{MAX_INLINE_BYTES, MAX_PIECE_BYTES};
use crate::profile::{ArtifactLimit, INLINE_BYTES, Link};

/// What moves with a task, in compressed bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Its component, whether the executor has it already or not.
    pub component: u64,
    /// Its inputs, whether the executor has them already or not.
    pub inputs: u64,
    /// Its outputs, as far as they are known or expected.
    pub outputs: u64,
    /// What the executor lacks of component and inputs.
    pub missing: u64,
}

/// Whether so much may move between two ends with these limits and this cap in bytes: the strictest of the three decides.
///
/// Limits and cap bound what is missing plus the outputs. [`ArtifactLimit::Inline`] also bounds each of component, inputs
/// and outputs by [`INLINE_BYTES`], whatever is missing; [`ArtifactLimit::StatusOnly`] refuses even nothing at all, for the
/// announcement of a result would be something.
///
/// # Errors
/// [`Reason::ArtifactOverCap`] with what is too much, and what may be.
pub fn artifact_check(limits: [ArtifactLimit; 2], cap: u64, sizes: Sizes) -> Result<(), Reason> {
    let flow = sizes.missing.saturating_add(sizes.outputs);
    let over = |bytes, cap| Err(Reason::ArtifactOverCap { bytes, cap });
    if limits.contains(&ArtifactLimit::StatusOnly) {
        return over(flow, 0);
    }
    if limits.contains(&ArtifactLimit::Inline) {
        let parts = [sizes.component, sizes.inputs, sizes.outputs];
        if let Some(large) = parts.into_iter().find(|bytes| *bytes > INLINE_BYTES) {
            return over(large, INLINE_BYTES);
        }
    }
    let cap = limits.into_iter().fold(cap, |cap, limit| match limit {
        ArtifactLimit::AtMost(bytes) => cap.min(bytes),
        ArtifactLimit::Unlimited | ArtifactLimit::Inline | ArtifactLimit::StatusOnly => cap,
    });
    if flow > cap {
        return over(flow, cap);
    }
    Ok(())
}

/// The most bytes that go in messages for one lease, one way, between two ends with these limits: what fits into one, or all
/// that may flow where one of them takes nothing else.
#[must_use]
pub fn inline_bytes(limits: [ArtifactLimit; 2]) -> u64 {
    match limits.contains(&ArtifactLimit::Inline) {
        true => MAX_INLINE_BYTES,
        false => MAX_PIECE_BYTES as u64,
    }
}

/// How long so many bytes take over a link, in milliseconds: one round trip and what its rate says, rounded up.
///
/// A link without a rate moves nothing: [`u64::MAX`], unless there is nothing to move.
#[must_use]
pub fn transfer_ms(bytes: u64, link: &Link) -> u64 {
    if bytes == 0 {
        return u64::from(link.rtt_ms);
    }
    if link.bytes_per_s == 0 {
        return u64::MAX;
    }
    let ms = (u128::from(bytes) * 1000).div_ceil(u128::from(link.bytes_per_s));
    u64::try_from(ms)
        .unwrap_or(u64::MAX)
        .saturating_add(u64::from(link.rtt_ms))
}

/// How long a task is taken to run of which nobody knows, in milliseconds.
pub const ASSUMED_REMAINING_MS: u64 = 60_000;

/// Whether a move of `transfer_ms` pays for a task that has `remaining_ms` to go: not if moving takes longer than running.
///
/// A remaining time of 0 is none that is known: [`ASSUMED_REMAINING_MS`], so that a first run may move, but not gigabytes
/// over a thin link.
#[must_use]
pub fn worth_moving(transfer_ms: u64, remaining_ms: u64) -> bool {
    let remaining_ms = match remaining_ms {
        0 => ASSUMED_REMAINING_MS,
        known => known,
    };
    transfer_ms <= remaining_ms
}
