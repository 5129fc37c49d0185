//! Receipts as files: the document that `sykli report --receipts` writes, in-toto provenance in DSSE envelopes for tools
//! that know no receipts, and the way back from either to what was signed.
//!
//! A receipt's own form are the canonical bytes that its executor signed (`sykli_core::receipt`); documents carry them in
//! base 64 beside what they say in words. Only the bytes count: words are never read back. An **envelope** holds an in-toto
//! statement with SLSA's provenance as its predicate, signed by the node that exports it: it says "I hold this receipt",
//! and the receipt is in it, so that what the executor said can be checked to the end. Failures made nothing, so there is no
//! provenance of them.
//!
//! It decides nothing and stores nothing. Called by the command line.

mod base64;

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sykli_core::consent::RemoteOutcome;
use sykli_core::id::{Digest, NodeId};
use sykli_core::receipt::{Contradiction, Receipt};
use sykli_core::signed::{FormatError, Signed};

use crate::identity::{self, Identity};
use crate::journal::Kept;

/// What an envelope holds.
const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";
/// A receipt's bytes, in an envelope.
const MEDIA_TYPE: &str = "application/vnd.sykli.receipt.v1+cbor";
/// The longest file that is read, in bytes.
const MAX_FILE_BYTES: u64 = 1 << 20;
/// What an Ed25519 key in a public key file begins with.
const SPKI_HEAD: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];

/// Why a file is no receipt.
#[derive(Debug, thiserror::Error)]
pub enum ReceiptError {
    /// It cannot be read.
    #[error("failed to read {}: {message}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// What the system said.
        message: String,
    },
    /// It holds none.
    #[error("{} holds no receipt", .0.display())]
    Absent(PathBuf),
    /// It holds several.
    #[error("{} holds {count} receipts", path.display())]
    Several {
        /// Which.
        path: PathBuf,
        /// How many.
        count: usize,
    },
    /// What it holds is not in the one form.
    #[error("{} holds no receipt: {source}", path.display())]
    Malformed {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        source: FormatError,
    },
}

impl ReceiptError {
    /// Stable name of the kind of error.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            ReceiptError::Unreadable { .. } => "receipt::unreadable",
            ReceiptError::Absent(_) => "receipt::none",
            ReceiptError::Several { .. } => "receipt::several",
            ReceiptError::Malformed { .. } => "receipt::malformed",
        }
    }

    /// What the user can do.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            ReceiptError::Unreadable { .. } => "check the path, and that you may read it",
            ReceiptError::Several { .. } => {
                "write each to a file of its own: `sykli report --receipts --out DIR`"
            }
            ReceiptError::Absent(_) | ReceiptError::Malformed { .. } => {
                "name a file that `sykli report --receipts --out DIR` wrote, or a task of a run"
            }
        }
    }
}

/// A DSSE envelope.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Envelope {
    /// Base 64 of the in-toto statement.
    pub payload: String,
    /// `application/vnd.in-toto+json`.
    #[serde(rename = "payloadType")]
    pub payload_type: String,
    /// One: the exporting node's.
    pub signatures: Vec<EnvelopeSignature>,
}

/// A signature of an envelope.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct EnvelopeSignature {
    /// The peer id of whose key it is.
    pub keyid: String,
    /// Base 64 of 64 bytes: Ed25519 over the pre-authentication encoding.
    pub sig: String,
}

/// Whether the executor that a receipt names signed it.
#[must_use]
pub fn holds(receipt: &Signed<Receipt>) -> bool {
    receipt.holds(&identity::verify)
}

/// Whether the executor of a proof signed both receipts.
#[must_use]
pub fn proves(proof: &Contradiction) -> bool {
    proof.holds(&identity::verify)
}

/// A receipt's canonical bytes as text.
#[must_use]
pub fn text(receipt: &Signed<Receipt>) -> String {
    base64::encode(&receipt.encode())
}

/// A proof's canonical bytes as text.
#[must_use]
pub fn proof_text(proof: &Contradiction) -> String {
    base64::encode(&proof.encode())
}

/// A node's public key as the PEM file that other tools take.
#[must_use]
pub fn public_key(node: NodeId) -> String {
    let key = base64::encode(&[&SPKI_HEAD[..], &node.0].concat());
    format!("-----BEGIN PUBLIC KEY-----\n{key}\n-----END PUBLIC KEY-----\n")
}

/// The receipt that a file holds, alone or in an envelope. Whether it is signed is for the caller to see.
///
/// # Errors
/// Where it cannot be read, or holds no receipt or several.
pub fn read(path: &Path) -> Result<Signed<Receipt>, ReceiptError> {
    let unreadable = |message: String| ReceiptError::Unreadable {
        path: path.to_owned(),
        message,
    };
    let about = std::fs::metadata(path).map_err(|error| unreadable(error.to_string()))?;
    if about.len() > MAX_FILE_BYTES {
        return Err(unreadable("it is larger than 1 MiB".to_owned()));
    }
    let bytes = std::fs::read(path).map_err(|error| unreadable(error.to_string()))?;
    parse(path, &bytes)
}

fn parse(path: &Path, bytes: &[u8]) -> Result<Signed<Receipt>, ReceiptError> {
    let none = || ReceiptError::Absent(path.to_owned());
    let document: Value = serde_json::from_slice(bytes).map_err(|_| none())?;
    let several = document.get("receipts").and_then(Value::as_array);
    let document = match several.map(Vec::as_slice) {
        None => &document,
        Some([only]) => only,
        Some([]) => return Err(none()),
        Some(all) => {
            return Err(ReceiptError::Several {
                path: path.to_owned(),
                count: all.len(),
            });
        }
    };
    let signed = match document.get("payload").and_then(Value::as_str) {
        Some(payload) => in_envelope(payload),
        None => document
            .get("signed")
            .and_then(Value::as_str)
            .map(str::to_owned),
    };
    let signed = signed
        .and_then(|text| base64::decode(&text))
        .ok_or_else(none)?;
    Signed::decode(&signed).map_err(|source| ReceiptError::Malformed {
        path: path.to_owned(),
        source,
    })
}

/// The receipt among the by-products of a statement.
fn in_envelope(payload: &str) -> Option<String> {
    let statement: Value = serde_json::from_slice(&base64::decode(payload)?).ok()?;
    let made = statement.pointer("/predicate/runDetails/byproducts")?;
    let mut made = made.as_array()?.iter();
    let receipt = made.find(|one| one["mediaType"] == MEDIA_TYPE)?;
    receipt["content"].as_str().map(str::to_owned)
}

/// The provenance of what a task made, signed by the node that holds its receipt. None of a task that failed.
#[must_use]
pub fn envelope(kept: &Kept, holder: &Identity) -> Option<Envelope> {
    let passed = kept.receipt.claimed().claim.outcome == RemoteOutcome::Passed;
    let payload = passed.then(|| statement(kept).to_string())?;
    let signed = encoding(PAYLOAD_TYPE, payload.as_bytes());
    Some(Envelope {
        payload: base64::encode(payload.as_bytes()),
        payload_type: PAYLOAD_TYPE.to_owned(),
        signatures: vec![EnvelopeSignature {
            keyid: identity::show(holder.node_id()),
            sig: base64::encode(&holder.sign_envelope(&signed)),
        }],
    })
}

/// DSSE's pre-authentication encoding: what an envelope's signature is on.
fn encoding(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let head = format!(
        "DSSEv1 {} {payload_type} {} ",
        payload_type.len(),
        payload.len()
    );
    [head.as_bytes(), payload].concat()
}

/// in-toto's statement, with SLSA's provenance.
fn statement(kept: &Kept) -> Value {
    let receipt = kept.receipt.claimed();
    let claim = &receipt.claim;
    let stream = |name: &str, digest: &Digest| json!({ "name": name, "digest": set(digest) });
    let node = |node: NodeId| format!("urn:sykli:node:{}", identity::show(node));
    json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{ "name": kept.label, "digest": set(&claim.output) }],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": "urn:sykli:task:1",
                "externalParameters": { "task": kept.task, "instance": kept.label },
                "internalParameters": {
                    "mesh": receipt.mesh.map(identity::show),
                    "run": receipt.key.run.as_str(),
                    "attempt": receipt.key.attempt.0,
                    "fuel": claim.fuel,
                },
                "resolvedDependencies": [stream("manifest", &claim.task_digest)],
            },
            "runDetails": {
                "builder": {
                    "id": node(claim.executor),
                    "version": { "engine": &*receipt.engine },
                },
                "metadata": {
                    "invocationId": receipt.key.to_string(),
                    "startedOn": time(receipt.at_s.saturating_sub(claim.wall_ms / 1000)),
                    "finishedOn": time(receipt.at_s),
                },
                "byproducts": [
                    stream("stdout", &claim.stdout),
                    stream("stderr", &claim.stderr),
                    { "name": "receipt", "mediaType": MEDIA_TYPE, "content": text(&kept.receipt) },
                ],
            },
        },
    })
}

/// in-toto's digest set.
fn set(digest: &Digest) -> Value {
    let text = digest.to_string();
    json!({ "blake3": text.strip_prefix("b3:").unwrap_or(&text) })
}

/// Seconds since 1970 as RFC 3339 has them; a year of more than four digits is its last one.
fn time(unix_s: u64) -> String {
    const DAY: u64 = 24 * 60 * 60;
    let unix_s = unix_s.min(253_402_300_799);
    let of_day = unix_s % DAY;
    // Days are counted from the first of March, so that a leap day comes last.
    let days = unix_s / DAY + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 {
        from_march + 3
    } else {
        from_march - 9
    };
    let year = era * 400 + year + u64::from(month <= 2);
    let (hour, minute, second) = (of_day / 3_600, of_day % 3_600 / 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests;
