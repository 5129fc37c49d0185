//! What a node says of itself, its beacon and its capabilities, and where others are: kinds 0x30 and on. Called by [`super`].

use std::collections::BTreeSet;
use std::sync::Arc;

use super::input::Input;
use super::output::{Output, Written};
use super::{ACQUAINTANCES, ADDRESS, ENGINE, LABEL, LABELS, NAME};
use crate::consent::{Beacon, Capabilities};
use crate::profile::{ArtifactLimit, ProfileKind, Stealing};
use crate::wire::WireError;

pub(super) const BEACON: u64 = 0x30;
pub(super) const CAPABILITIES: u64 = 0x31;
pub(super) const ACQUAINT: u64 = 0x32;

pub(super) fn write_beacon(beacon: &Beacon, out: &mut Output) -> Written {
    out.map(6)?;
    out.key(1)?.node(&beacon.node)?;
    out.key(2)?.uint(beacon.sequence)?;
    out.key(3)?.uint(beacon.free.into())?;
    out.key(4)?.uint(beacon.queued.into())?;
    out.key(5)?.uint(beacon.slots.into())?;
    out.key(6)?.bool(beacon.paused)
}

pub(super) fn read_beacon(input: &mut Input<'_>) -> Result<Beacon, WireError> {
    input.map("Beacon", |fields| {
        Ok(Beacon {
            node: fields.get(1, Input::node)?,
            sequence: fields.get(2, Input::uint)?,
            free: fields.get(3, Input::uint32)?,
            queued: fields.get(4, Input::uint32)?,
            slots: fields.get(5, Input::uint32)?,
            paused: fields.get(6, Input::bool)?,
        })
    })
}

pub(super) fn write_capabilities(node: &Capabilities, out: &mut Output) -> Written {
    out.map(9)?;
    out.key(1)?.text(NAME, &node.name)?;
    out.key(2)?.uint(profile_code(node.profile))?;
    out.key(3)?.uint(node.tick_ms)?;
    out.key(4)?.uint(stealing_code(node.stealing))?;
    write_artifacts(node.artifacts, out.key(5)?)?;
    out.key(6)?.bool(node.hidden)?;
    out.key(7)?.list(LABELS, node.labels.iter(), |out, label| {
        out.text(LABEL, label)
    })?;
    out.key(8)?.uint(node.memory_mb)?;
    out.key(9)?.text(ENGINE, &node.engine)
}

pub(super) fn read_capabilities(input: &mut Input<'_>) -> Result<Capabilities, WireError> {
    input.map("Capabilities", |fields| {
        Ok(Capabilities {
            name: fields.get(1, |input| input.text(NAME))?,
            profile: fields.get(2, read_profile)?,
            tick_ms: fields.get(3, Input::uint)?,
            stealing: fields.get(4, read_stealing)?,
            artifacts: fields.get(5, read_artifacts)?,
            hidden: fields.get(6, Input::bool)?,
            labels: fields.get(7, read_labels)?,
            memory_mb: fields.get(8, Input::uint)?,
            engine: fields.get(9, |input| input.text(ENGINE))?,
        })
    })
}

pub(super) fn write_acquaintances(addresses: &[Arc<str>], out: &mut Output) -> Written {
    out.map(1)?;
    out.key(1)?
        .list(ACQUAINTANCES, addresses.iter(), |out, address| {
            out.text(ADDRESS, address)
        })
}

pub(super) fn read_acquaintances(input: &mut Input<'_>) -> Result<Vec<Arc<str>>, WireError> {
    input.map("Acquaint", |fields| {
        fields.get(1, |input| {
            input.list(ACQUAINTANCES, |input| input.text(ADDRESS))
        })
    })
}

/// A set has one order, or it would have several encodings.
fn read_labels(input: &mut Input<'_>) -> Result<BTreeSet<Arc<str>>, WireError> {
    let mut labels: BTreeSet<Arc<str>> = BTreeSet::new();
    input.list(LABELS, |input| {
        let at = input.at();
        let label = input.text(LABEL)?;
        if labels.last().is_some_and(|last| *last >= label) {
            return Err(WireError::NotAscending { at });
        }
        labels.insert(label);
        Ok(())
    })?;
    Ok(labels)
}

fn profile_code(profile: ProfileKind) -> u64 {
    match profile {
        ProfileKind::Lan => 0,
        ProfileKind::Wan => 1,
        ProfileKind::Mobile => 2,
        ProfileKind::Hostile => 3,
    }
}

fn read_profile(input: &mut Input<'_>) -> Result<ProfileKind, WireError> {
    match input.uint()? {
        0 => Ok(ProfileKind::Lan),
        1 => Ok(ProfileKind::Wan),
        2 => Ok(ProfileKind::Mobile),
        3 => Ok(ProfileKind::Hostile),
        code => Err(WireError::UnknownCode {
            what: "a profile",
            code,
        }),
    }
}

fn stealing_code(stealing: Stealing) -> u64 {
    match stealing {
        Stealing::Full => 0,
        Stealing::ReceiveOnly => 1,
        Stealing::Disabled => 2,
    }
}

fn read_stealing(input: &mut Input<'_>) -> Result<Stealing, WireError> {
    match input.uint()? {
        0 => Ok(Stealing::Full),
        1 => Ok(Stealing::ReceiveOnly),
        2 => Ok(Stealing::Disabled),
        code => Err(WireError::UnknownCode {
            what: "a way of stealing",
            code,
        }),
    }
}

fn write_artifacts(limit: ArtifactLimit, out: &mut Output) -> Written {
    let code = match limit {
        ArtifactLimit::Unlimited => 0,
        ArtifactLimit::AtMost(bytes) => {
            out.array(2)?;
            out.uint(1)?;
            return out.uint(bytes);
        }
        ArtifactLimit::Inline => 2,
        ArtifactLimit::StatusOnly => 3,
    };
    out.array(1)?;
    out.uint(code)
}

fn read_artifacts(input: &mut Input<'_>) -> Result<ArtifactLimit, WireError> {
    let at = input.at();
    let expected = "an artifact limit with its argument";
    match input.coded(expected)? {
        (0, 0) => Ok(ArtifactLimit::Unlimited),
        (1, 1) => Ok(ArtifactLimit::AtMost(input.uint()?)),
        (2, 0) => Ok(ArtifactLimit::Inline),
        (3, 0) => Ok(ArtifactLimit::StatusOnly),
        (0..=3, _) => Err(WireError::Expected { at, expected }),
        (code, _) => Err(WireError::UnknownCode {
            what: "an artifact limit",
            code,
        }),
    }
}
