//! A node's identity: an Ed25519 key in `$data/identity.key`, made when it is missing and never overwritten; and what
//! other nodes are called.
//!
//! A `NodeId` is the raw public key; in configuration and for people it is written as the libp2p peer id that holds the
//! same key (`12D3Koo…`). The secret half leaves its file only into this process's memory, is never shown and never
//! logged. A key file that others can read is refused: whoever read it is this node too. Called by `membership`, the
//! mesh's transport, and the command line.

use std::fmt;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use libp2p::PeerId;
use libp2p::identity::{Keypair, PublicKey, ed25519};
use sykli_core::id::NodeId;
use sykli_core::membership::{SIGNATURE_BYTES, signing_input};

use crate::durable;

/// What the file is called.
const FILE: &str = "identity.key";
/// More bytes than libp2p's encoding of an Ed25519 key pair takes (68).
const MAX_FILE_BYTES: usize = 256;
/// What libp2p puts before the 32 bytes of an Ed25519 public key: the type, and the length.
const PUBLIC_KEY_HEAD: [u8; 4] = [0x08, 0x01, 0x12, 0x20];
/// The multihash code of a peer id that holds its key itself.
const IDENTITY_CODE: u64 = 0;

/// What can be wrong with an identity, or with a name for one.
#[derive(Debug, Clone, thiserror::Error)]
pub enum IdentityError {
    /// The key file cannot be read or written.
    #[error("cannot use the key {}: {message}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        message: String,
    },
    /// Others than its owner can get at the key file, or it is somebody else's.
    #[error("the key {} is not private: its mode is {mode:03o}, its owner {owner}", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// Its owner's number.
        owner: u32,
    },
    /// The key file holds no key. It is left as it is.
    #[error("the key {} is damaged: it holds no Ed25519 key", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// The system gives no random bytes.
    #[error("the system gives no random bytes: {message}")]
    NoRandomness {
        /// What it said.
        message: String,
    },
    /// A text that names no node.
    #[error("`{text}` is no peer id of a sykli node")]
    NotAPeerId {
        /// The text, or the key's first bytes.
        text: String,
    },
}

impl IdentityError {
    /// The stable code of this error.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            IdentityError::Unusable { .. } => "identity::unusable",
            IdentityError::Exposed { .. } => "identity::exposed",
            IdentityError::Damaged { .. } => "identity::damaged",
            IdentityError::NoRandomness { .. } => "identity::no-randomness",
            IdentityError::NotAPeerId { .. } => "identity::not-a-peer-id",
        }
    }

    /// What the user can do.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            IdentityError::Unusable { path, .. } => format!(
                "see that {} is in a folder that you own and can write, or set XDG_DATA_HOME to another one",
                path.display()
            ),
            IdentityError::Exposed { path, .. } => format!(
                "`chmod 600 {0}`; if somebody else may have read it, delete it instead: a new identity is made, which \
                 is to be invited anew",
                path.display()
            ),
            IdentityError::Damaged { path } => format!(
                "restore {} from a backup, or move it away: a new identity is made, which is to be invited anew",
                path.display()
            ),
            IdentityError::NoRandomness { .. } => "try again once the system is up".to_owned(),
            IdentityError::NotAPeerId { .. } => {
                "`sykli id` on that machine prints its peer id, which begins with 12D3Koo"
                    .to_owned()
            }
        }
    }

    fn io(path: &Path, error: &io::Error) -> IdentityError {
        IdentityError::Unusable {
            path: path.to_owned(),
            message: error.to_string(),
        }
    }
}

/// A key pair of this machine's, and the node that it is.
#[derive(Clone)]
pub struct Identity {
    keypair: Keypair,
    key: ed25519::Keypair,
}

impl fmt::Debug for Identity {
    /// Its name, never its secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.node_id())
    }
}

impl Identity {
    /// This node's identity, made where there is none yet. `data` is made (0700) where it is missing.
    ///
    /// # Errors
    /// When the key file is not private, holds no key, or cannot be read or written.
    pub fn open(data: &Path) -> Result<Identity, IdentityError> {
        Identity::open_file(&data.join(FILE))
    }

    /// This node's identity, where there is one.
    ///
    /// # Errors
    /// When the key file is not private, holds no key, or cannot be read.
    pub fn existing(data: &Path) -> Result<Option<Identity>, IdentityError> {
        Identity::read_file(&data.join(FILE))
    }

    /// The key pair of that file, made where it is missing.
    pub(crate) fn open_file(path: &Path) -> Result<Identity, IdentityError> {
        if let Some(there) = Identity::read_file(path)? {
            return Ok(there);
        }
        let io = |error: &io::Error| IdentityError::io(path, error);
        if let Some(folder) = path.parent() {
            crate::paths::create_private(folder)
                .map_err(|error| io(&io::Error::other(error.to_string())))?;
        }
        let made = Identity::generate()?;
        let bytes = made.keypair.to_protobuf_encoding();
        let bytes = bytes.map_err(|error| io(&io::Error::other(error.to_string())))?;
        // Another process may have been quicker: then its key is the one.
        if durable::create(path, &bytes).map_err(|error| io(&error))? {
            return Ok(made);
        }
        Identity::read_file(path)?.ok_or_else(|| IdentityError::Damaged {
            path: path.to_owned(),
        })
    }

    /// The key pair of that file, where there is one.
    pub(crate) fn read_file(path: &Path) -> Result<Option<Identity>, IdentityError> {
        let io = |error: io::Error| IdentityError::io(path, &error);
        let found = match std::fs::metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(io)?,
        };
        let (mode, owner) = (found.mode() & 0o7777, found.uid());
        if mode & 0o077 != 0 || owner != rustix::process::geteuid().as_raw() {
            let path = path.to_owned();
            return Err(IdentityError::Exposed { path, mode, owner });
        }
        let Some(bytes) = durable::read(path, MAX_FILE_BYTES).map_err(io)? else {
            return Ok(None);
        };
        Keypair::from_protobuf_encoding(&bytes)
            .ok()
            .and_then(Identity::of)
            .map(Some)
            .ok_or_else(|| IdentityError::Damaged {
                path: path.to_owned(),
            })
    }

    fn of(keypair: Keypair) -> Option<Identity> {
        let key = keypair.clone().try_into_ed25519().ok()?;
        Some(Identity { keypair, key })
    }

    /// A new one, in memory only.
    pub(crate) fn generate() -> Result<Identity, IdentityError> {
        let secret = ed25519::SecretKey::try_from_bytes(random::<32>()?);
        let secret = secret.map_err(|error| IdentityError::NoRandomness {
            message: error.to_string(),
        })?;
        let key = ed25519::Keypair::from(secret);
        Ok(Identity {
            keypair: key.clone().into(),
            key,
        })
    }

    /// Which node it is.
    #[must_use]
    pub fn node_id(&self) -> NodeId {
        NodeId(self.key.public().to_bytes())
    }

    /// For the transport, which proves with it who this node is.
    #[must_use]
    pub fn keypair(&self) -> &Keypair {
        &self.keypair
    }

    /// A signature on `bytes` in `domain`, 64 bytes; [`verify`] checks it.
    #[must_use]
    pub fn sign(&self, domain: &[u8], bytes: &[u8]) -> Vec<u8> {
        self.key.sign(&signing_input(domain, bytes))
    }

    /// The same, as the array that it is.
    pub(crate) fn signature(&self, domain: &[u8], bytes: &[u8]) -> [u8; SIGNATURE_BYTES] {
        // An Ed25519 signature is never of another length; zeros would be a signature that nobody takes.
        let signature = self.sign(domain, bytes).try_into();
        signature.unwrap_or([0; SIGNATURE_BYTES])
    }

    /// A signature on DSSE's encoding of an envelope, which begins like nothing else that this key signs.
    pub(crate) fn sign_envelope(&self, encoding: &[u8]) -> Vec<u8> {
        self.key.sign(encoding)
    }
}

/// Whether `signature` is `node`'s on `bytes` in `domain`.
#[must_use]
pub fn verify(node: NodeId, domain: &[u8], bytes: &[u8], signature: &[u8]) -> bool {
    ed25519::PublicKey::try_from_bytes(&node.0)
        .is_ok_and(|key| key.verify(&signing_input(domain, bytes), signature))
}

/// A node as libp2p names it.
///
/// # Errors
/// When its bytes are no Ed25519 public key.
pub fn peer_id(node: NodeId) -> Result<PeerId, IdentityError> {
    ed25519::PublicKey::try_from_bytes(&node.0)
        .map(|key| PublicKey::from(key).to_peer_id())
        .map_err(|_| IdentityError::NotAPeerId {
            text: node.to_string(),
        })
}

/// The node that a peer id names. `None` where it holds no Ed25519 key.
#[must_use]
pub fn node_id(peer: &PeerId) -> Option<NodeId> {
    let hash = peer.as_ref();
    let key = hash.digest().strip_prefix(&PUBLIC_KEY_HEAD)?;
    let known = hash.code() == IDENTITY_CODE;
    key.try_into().ok().filter(|_| known).map(NodeId)
}

/// The node that a peer id in text names.
///
/// # Errors
/// When it is none, or not one of a sykli node.
pub fn parse(text: &str) -> Result<NodeId, IdentityError> {
    let node = text.trim().parse().ok().and_then(|peer| node_id(&peer));
    // A key that is no point of the curve names nobody.
    node.filter(|node| peer_id(*node).is_ok())
        .ok_or_else(|| IdentityError::NotAPeerId {
            text: text.chars().take(80).collect(),
        })
}

/// A node as people are shown it: its peer id, or the first digits of what is none.
#[must_use]
pub fn show(node: NodeId) -> String {
    peer_id(node).map_or_else(|_| node.to_string(), |peer| peer.to_base58())
}

/// So many random bytes of the system's.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], IdentityError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| IdentityError::NoRandomness {
        message: error.to_string(),
    })?;
    Ok(bytes)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn key_file(data: &Path) -> PathBuf {
        data.join(FILE)
    }

    #[test]
    fn an_identity_is_made_once_and_stays() {
        let temp = tempfile::tempdir().unwrap();
        let data = temp.path().join("data");
        assert!(Identity::existing(&data).unwrap().is_none());
        let made = Identity::open(&data).unwrap();
        let again = Identity::open(&data).unwrap();
        assert_eq!(made.node_id(), again.node_id());
        let there = Identity::existing(&data).unwrap().unwrap();
        assert_eq!(made.node_id(), there.node_id());
        let mode = std::fs::metadata(key_file(&data)).unwrap().mode() & 0o777;
        assert_eq!(mode, 0o600);
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        let temp = tempfile::tempdir().unwrap();
        Identity::open(temp.path()).unwrap();
        let file = key_file(temp.path());
        for mode in [0o640, 0o604, 0o620] {
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
            let refused = Identity::open(temp.path()).unwrap_err();
            assert_eq!(refused.code(), "identity::exposed");
            assert!(refused.hint().contains("chmod 600"), "{}", refused.hint());
        }
    }

    #[test]
    fn a_damaged_key_is_refused_and_kept() {
        let temp = tempfile::tempdir().unwrap();
        Identity::open(temp.path()).unwrap();
        let file = key_file(temp.path());
        let whole = std::fs::read(&file).unwrap();
        for bytes in [&whole[..40], b"", &whole.repeat(9)] {
            std::fs::write(&file, bytes).unwrap();
            assert!(Identity::open(temp.path()).is_err());
            assert_eq!(std::fs::read(&file).unwrap(), bytes, "left as it is");
        }
    }

    #[test]
    fn nodes_and_peer_ids_name_each_other() {
        let node = Identity::generate().unwrap().node_id();
        let peer = peer_id(node).unwrap();
        assert_eq!(node_id(&peer), Some(node));
        assert!(show(node).starts_with("12D3Koo"));
        assert_eq!(parse(&format!(" {}\n", show(node))).unwrap(), node);
        for bad in [
            "",
            "12D3Koo",
            "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N",
            "/ip4",
        ] {
            let refused = parse(bad).unwrap_err();
            assert_eq!(refused.code(), "identity::not-a-peer-id", "{bad}");
        }
    }

    #[test]
    fn a_signature_holds_for_its_key_domain_and_bytes() {
        let (one, two) = (Identity::generate().unwrap(), Identity::generate().unwrap());
        let signature = one.sign(b"sykli/test/1", b"bytes");
        let holds = |node, domain: &[u8], bytes: &[u8]| verify(node, domain, bytes, &signature);
        assert!(holds(one.node_id(), b"sykli/test/1", b"bytes"));
        assert!(!holds(two.node_id(), b"sykli/test/1", b"bytes"));
        assert!(!holds(one.node_id(), b"sykli/test/2", b"bytes"));
        assert!(!holds(one.node_id(), b"sykli/test/1", b"byte"));
        assert!(!verify(one.node_id(), b"sykli/test/1", b"bytes", &[0; 64]));
        assert!(!verify(
            NodeId([0xff; 32]),
            b"sykli/test/1",
            b"bytes",
            &signature
        ));
        assert!(one.keypair().public().to_peer_id() == peer_id(one.node_id()).unwrap());
    }

    #[test]
    fn secrets_are_not_shown() {
        let one = Identity::generate().unwrap();
        assert_eq!(format!("{one:?}"), format!("Identity({})", one.node_id()));
    }
}
