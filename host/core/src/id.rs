//! The names of things: content digests, nodes, instances of a plan, attempts, runs and leases.
//!
//! Types only, so that a number of one kind is never taken for another. Digests are computed here and nowhere else in
//! core; nothing here reads what it names.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::de::{self, Deserializer, Visitor};
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};

/// What a digest's text form begins with; it names the hash function.
pub const DIGEST_PREFIX: &str = "b3:";

/// A BLAKE3 digest of some bytes: the name under which a blob, a tree or a manifest is stored.
///
/// In text (and in self-describing formats meant for people) `b3:` and 64 lower-case hexadecimal digits, in binary
/// formats 32 bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// The digest of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Digest {
        Digest(*blake3::hash(bytes).as_bytes())
    }

    /// The 32 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The 64 hexadecimal digits, without the prefix.
    #[must_use]
    pub fn to_hex(&self) -> String {
        blake3::Hash::from_bytes(self.0)
            .to_hex()
            .as_str()
            .to_owned()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(DIGEST_PREFIX)?;
        f.write_str(blake3::Hash::from_bytes(self.0).to_hex().as_str())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a text is not a digest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a digest is `b3:` and 64 lower-case hexadecimal digits")]
pub struct DigestError;

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Digest, DigestError> {
        let hex = text.strip_prefix(DIGEST_PREFIX).ok_or(DigestError)?;
        // One spelling per digest: upper-case digits are refused, so that comparing texts is comparing digests.
        if hex.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(DigestError);
        }
        let hash = blake3::Hash::from_hex(hex).map_err(|_| DigestError)?;
        Ok(Digest(*hash.as_bytes()))
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            serializer.serialize_bytes(&self.0)
        }
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Digest, D::Error> {
        struct DigestVisitor;
        impl Visitor<'_> for DigestVisitor {
            type Value = Digest;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a digest")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Digest, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Digest, E> {
                let bytes = <[u8; 32]>::try_from(bytes)
                    .map_err(|_| E::invalid_length(bytes.len(), &"32 bytes"))?;
                Ok(Digest(bytes))
            }
        }
        if deserializer.is_human_readable() {
            deserializer.deserialize_str(DigestVisitor)
        } else {
            deserializer.deserialize_bytes(DigestVisitor)
        }
    }
}

/// One instance of a plan: its index in [`crate::expand::Plan::tasks`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TaskId(pub u32);

impl TaskId {
    /// As an index.
    #[must_use]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Which try of an instance: 1 is the first. It fences replies: what an earlier attempt says later is recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Attempt(pub u32);

impl Attempt {
    /// The first try.
    pub const FIRST: Attempt = Attempt(1);

    /// The try after this one.
    #[must_use]
    pub fn next(self) -> Attempt {
        Attempt(self.0.saturating_add(1))
    }
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The longest name of a run, in bytes.
pub const MAX_RUN_ID_BYTES: usize = 64;

/// One run of a pipeline, as the journal names it: 1 to [`MAX_RUN_ID_BYTES`] ASCII letters, digits, `-` or `_`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RunId(Arc<str>);

/// Why a text does not name a run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a run's id is 1 to {MAX_RUN_ID_BYTES} letters, digits, `-` or `_`")]
pub struct RunIdError;

impl RunId {
    /// Takes a text as a run's name.
    ///
    /// # Errors
    /// When it is empty, too long, or holds anything but ASCII letters, digits, `-` and `_`.
    pub fn new(text: impl Into<String>) -> Result<RunId, RunIdError> {
        let text = text.into();
        let good = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if text.is_empty() || text.len() > MAX_RUN_ID_BYTES || !text.bytes().all(good) {
            return Err(RunIdError);
        }
        Ok(RunId(text.into()))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for RunId {
    type Err = RunIdError;

    fn from_str(text: &str) -> Result<RunId, RunIdError> {
        RunId::new(text)
    }
}

impl TryFrom<String> for RunId {
    type Error = RunIdError;

    fn try_from(text: String) -> Result<RunId, RunIdError> {
        RunId::new(text)
    }
}

impl From<RunId> for String {
    fn from(id: RunId) -> String {
        id.0.to_string()
    }
}

/// A node of a mesh: the 32 bytes of its Ed25519 public key, which its transport proves.
///
/// In text the first eight bytes as hexadecimal digits: enough to tell nodes apart, never enough to be one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub [u8; 32]);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .take(8)
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The right to run one attempt of one task of one run. Every message of the consent protocol names one.
///
/// Unique at its owner; an executor tells owners apart by the connection, never by what a message claims.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseKey {
    /// The run.
    pub run: RunId,
    /// The instance.
    pub task: TaskId,
    /// The fence: a later grant of the same instance has a greater one.
    pub attempt: Attempt,
}

impl LeaseKey {
    /// Below every lease that there is: where ranges begin.
    pub(crate) fn least() -> LeaseKey {
        LeaseKey {
            run: RunId(Arc::from("")),
            task: TaskId(0),
            attempt: Attempt(0),
        }
    }
}

impl fmt::Display for LeaseKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}#{}", self.run, self.task, self.attempt)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_digest_has_one_spelling() {
        let digest = Digest::of(b"");
        let text = "b3:af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262";
        assert_eq!(digest.to_string(), text);
        assert_eq!(text.parse::<Digest>().unwrap(), digest);
        for bad in [
            &text[3..],
            &text[..66],
            &text.to_uppercase(),
            &format!("{text}0"),
            "b3:",
            "",
            "b3:é",
        ] {
            assert_eq!(bad.parse::<Digest>(), Err(DigestError), "{bad}");
        }
        assert!(text.replace("af", "AF").parse::<Digest>().is_err());
    }

    #[test]
    fn a_digest_is_text_for_people_and_bytes_for_machines() {
        let digest = Digest::of(b"x");
        let json = serde_json::to_string(&digest).unwrap();
        assert_eq!(json, format!("\"{digest}\""));
        assert_eq!(serde_json::from_str::<Digest>(&json).unwrap(), digest);
        let cbor = serde_ipld_dagcbor::to_vec(&digest).unwrap();
        assert_eq!(cbor.len(), 34);
        assert_eq!(
            serde_ipld_dagcbor::from_slice::<Digest>(&cbor).unwrap(),
            digest
        );
    }

    #[test]
    fn a_run_id_is_a_plain_word() {
        assert_eq!(RunId::new("run-2_b").unwrap().as_str(), "run-2_b");
        for bad in ["", "a/b", "..", "a b", &"x".repeat(65)] {
            assert!(RunId::new(bad).is_err(), "{bad}");
        }
        assert!(serde_json::from_str::<RunId>("\"a/b\"").is_err());
    }
}
