//! The tickets that this issuer has given out, in `$data/mesh/tickets.json`: the hash of each one's secret, what it gives,
//! and by whom it was used.
//!
//! A ticket is bound to the first node that shows it, durably, before that node gets anything. The same node may show it
//! again, where the answer was lost on the way; any other is refused, also after a restart. A damaged file makes every
//! ticket unknown. Called by the membership, which holds its lock meanwhile.

use std::path::Path;

use serde::{Deserialize, Serialize};
use sykli_core::id::{Digest, NodeId};
use sykli_core::membership::{Refusal, Roles};
use sykli_core::profile::ProfileKind;

use super::MembershipError;
use crate::{durable, identity};

/// Most tickets that have not expired, used ones included.
pub const MAX_TICKETS: usize = 256;
const MAX_FILE_BYTES: usize = MAX_TICKETS * 512;
const SCHEMA: &str = "sykli.tickets/1";

/// What a ticket gives to whoever uses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Grant {
    pub(super) roles: Roles,
    pub(super) ceiling: ProfileKind,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    schema: String,
    tickets: Vec<Entry>,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    /// The secret's digest.
    secret: Digest,
    /// In seconds since 1970.
    expires: u64,
    issuer: bool,
    relay: bool,
    ceiling: String,
    /// The peer id of the node that it is bound to.
    used_by: Option<String>,
}

impl Entry {
    fn grant(&self) -> Option<Grant> {
        Some(Grant {
            roles: Roles {
                member: true,
                issuer: self.issuer,
                relay: self.relay,
            },
            ceiling: self.ceiling.parse().ok()?,
        })
    }
}

/// Notes a ticket.
pub(super) fn add(
    path: &Path,
    secret: Digest,
    expires: u64,
    grant: Grant,
    now: u64,
) -> Result<(), MembershipError> {
    let mut entries = unexpired(path, now);
    if entries.len() >= MAX_TICKETS {
        return Err(MembershipError::TooMany {
            what: "tickets that have not expired",
            max: MAX_TICKETS,
        });
    }
    entries.push(Entry {
        secret,
        expires,
        issuer: grant.roles.issuer,
        relay: grant.roles.relay,
        ceiling: grant.ceiling.name().to_owned(),
        used_by: None,
    });
    store(path, entries).map_err(|error| MembershipError::io(path, &error))
}

/// Binds a ticket to `peer`, durably, and says what it gives.
pub(super) fn burn(path: &Path, secret: Digest, peer: NodeId, now: u64) -> Result<Grant, Refusal> {
    let mut entries = unexpired(path, now);
    let found = entries.iter_mut().find(|entry| entry.secret == secret);
    let entry = found.ok_or(Refusal::BadTicket)?;
    let grant = entry.grant().ok_or(Refusal::BadTicket)?;
    let peer = identity::show(peer);
    match &entry.used_by {
        Some(by) if *by == peer => return Ok(grant),
        Some(_) => return Err(Refusal::BadTicket),
        None => entry.used_by = Some(peer),
    }
    store(path, entries).map_err(|error| {
        tracing::warn!(path = %path.display(), %error, "a ticket cannot be burnt, so it is refused");
        Refusal::Unavailable
    })?;
    Ok(grant)
}

/// How many could still be used.
pub(super) fn open(path: &Path, now: u64) -> usize {
    let unused = |entry: &Entry| entry.used_by.is_none();
    unexpired(path, now).iter().filter(|e| unused(e)).count()
}

fn unexpired(path: &Path, now: u64) -> Vec<Entry> {
    let bytes = match durable::read(path, MAX_FILE_BYTES) {
        Ok(bytes) => bytes.unwrap_or_default(),
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "tickets cannot be read: all are unknown");
            return Vec::new();
        }
    };
    let document: Option<Document> = serde_json::from_slice(&bytes).ok();
    let entries = document
        .filter(|document| document.schema == SCHEMA)
        .map(|document| document.tickets)
        .unwrap_or_default();
    let good = |entry: &Entry| now <= entry.expires;
    entries.into_iter().filter(good).take(MAX_TICKETS).collect()
}

fn store(path: &Path, tickets: Vec<Entry>) -> std::io::Result<()> {
    let document = Document {
        schema: SCHEMA.to_owned(),
        tickets,
    };
    let mut text = serde_json::to_string_pretty(&document)?;
    text.push('\n');
    durable::replace(path, text.as_bytes())
}
