//! Whom this user trusts and refuses beyond any mesh, in `$data/peers.json`: what `peers trust` and `peers block` write.
//!
//! A file that cannot be read is an error, never an empty list: a block must not vanish by damage. Called by the
//! membership, and by the command line.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sykli_core::id::NodeId;

use super::MembershipError;
use crate::{durable, identity};

/// Most nodes of both lists together.
pub const MAX_PEERS: usize = 4_096;
/// More bytes than so many peer ids take.
const MAX_FILE_BYTES: usize = MAX_PEERS * 96 + 256;
const SCHEMA: &str = "sykli.peers/1";

/// The user's two lists. No node is on both.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peers {
    /// Let in without a certificate.
    pub trusted: BTreeSet<NodeId>,
    /// Not let in, whatever else says so.
    pub blocked: BTreeSet<NodeId>,
}

/// How the file looks.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    schema: String,
    trusted: Vec<String>,
    blocked: Vec<String>,
}

/// Where the file is, below the data folder.
pub(super) fn file(data: &Path) -> PathBuf {
    data.join("peers.json")
}

impl Peers {
    /// Reads the lists; both empty where there is no file.
    ///
    /// # Errors
    /// When the file cannot be read or is damaged.
    pub fn open(data: &Path) -> Result<Peers, MembershipError> {
        let path = file(data);
        let bytes = durable::read(&path, MAX_FILE_BYTES);
        let Some(bytes) = bytes.map_err(|error| MembershipError::io(&path, &error))? else {
            return Ok(Peers::default());
        };
        read(&bytes).map_err(|why| MembershipError::Damaged { path, why })
    }

    /// Trusts `node` from now on, blocked or not; whether that changes anything.
    ///
    /// # Errors
    /// When the file cannot be read or written, or the lists are full.
    pub fn trust(data: &Path, node: NodeId) -> Result<bool, MembershipError> {
        change(data, |peers| {
            peers.blocked.remove(&node) | peers.trusted.insert(node)
        })
    }

    /// Refuses `node` from now on, trusted or not; whether that changes anything.
    ///
    /// # Errors
    /// When the file cannot be read or written, or the lists are full.
    pub fn block(data: &Path, node: NodeId) -> Result<bool, MembershipError> {
        change(data, |peers| {
            peers.trusted.remove(&node) | peers.blocked.insert(node)
        })
    }
}

fn change(data: &Path, change: impl FnOnce(&mut Peers) -> bool) -> Result<bool, MembershipError> {
    let path = file(data);
    let io = |error: std::io::Error| MembershipError::io(&path, &error);
    crate::paths::create_private(data).map_err(|e| io(std::io::Error::other(e.to_string())))?;
    let _lock = durable::Lock::exclusive(&data.join("peers.lock")).map_err(io)?;
    let mut peers = Peers::open(data)?;
    if !change(&mut peers) {
        return Ok(false);
    }
    if peers.trusted.len() + peers.blocked.len() > MAX_PEERS {
        return Err(MembershipError::TooMany {
            what: "trusted and blocked peers",
            max: MAX_PEERS,
        });
    }
    durable::replace(&path, &write(&peers)).map_err(io)?;
    Ok(true)
}

fn write(peers: &Peers) -> Vec<u8> {
    let names = |nodes: &BTreeSet<NodeId>| nodes.iter().copied().map(identity::show).collect();
    let document = Document {
        schema: SCHEMA.to_owned(),
        trusted: names(&peers.trusted),
        blocked: names(&peers.blocked),
    };
    // Plain data with text keys always serialises.
    let mut text = serde_json::to_string_pretty(&document).unwrap_or_default();
    text.push('\n');
    text.into_bytes()
}

fn read(bytes: &[u8]) -> Result<Peers, String> {
    let document: Document = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    if document.schema != SCHEMA {
        return Err(format!("its schema is `{}`", document.schema));
    }
    let nodes = |names: &[String]| {
        let parsed = names.iter().map(|name| identity::parse(name));
        parsed
            .collect::<Result<BTreeSet<_>, _>>()
            .map_err(|error| error.to_string())
    };
    Ok(Peers {
        trusted: nodes(&document.trusted)?,
        blocked: nodes(&document.blocked)?,
    })
}
