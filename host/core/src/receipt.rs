//! What an executor signs for a result, and how its owner checks it.
//!
//! A **receipt** binds a result to everything that it could be mistaken for another's by: the mesh, the lease (run, task and
//! attempt) and its nonce, the executor, the manifest, what came out, the engine that it came out of, and when. On the way
//! to the owner only the [`Claim`] and a [`Seal`] travel: mesh and lease are filled in by whoever checks, from what that
//! node itself knows, so that a receipt of another mesh or lease cannot even be said.
//!
//! ```text
//! receipt  [1, mesh | null, run, task, attempt, executor, task_digest, nonce, outcome, output, output_bytes, stdout, stderr,
//!           fuel, wall_ms, engine, at_s]
//! outcome  [0] passed | [1, code, message] failed
//! signed   [receipt, signature]            64 bytes of Ed25519, over the encoding in the domain sykli/receipt/1
//! proof    [signed, signed]                two receipts that contradict each other, the lesser encoding first
//! ```
//!
//! Canonical DAG-CBOR ([`crate::dagcbor`]), arrays of a fixed length: a receipt has one encoding, which is never extended.
//! A change is another number in front, and another domain.
//!
//! No clock and no key here: wall time comes as seconds since 1970, signatures are made and checked by closures. Whether a
//! result is right is another question (that is verification). Called by [`crate::consent::owner`], and by the node, which
//! signs and keeps receipts.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::consent::{Claim, RemoteOutcome};
use crate::dagcbor::{CodecError, Reader, Writer};
use crate::id::{Attempt, Digest, LeaseKey, NodeId, RunId, TaskId};
use crate::signed::{
    FormatError, Payload, SIGNATURE_BYTES, Signed, Verify, expected, read_head, read_node,
    write_head, write_optional,
};
use crate::wire::v1::{MAX_MESSAGE_BYTES, MAX_MESSAGE_CHARS, MAX_NAME_BYTES};

/// The longest receipt with its signature, in bytes: what its texts can be, and 1 KiB for the rest.
pub const MAX_RECEIPT_BYTES: usize = MAX_MESSAGE_BYTES + 3 * MAX_NAME_BYTES + 1024;
/// What follows the version of a receipt.
const FIELDS: usize = 16;

/// What an executor says of one attempt, bound to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The owner's mesh; none where it belongs to none, and the two only trust each other.
    pub mesh: Option<NodeId>,
    /// The lease.
    pub key: LeaseKey,
    /// What came out.
    pub claim: Claim,
    /// The engine class that it came out of: sykli and wasmtime version, settings, architecture.
    pub engine: Arc<str>,
    /// When, by the executor's clock, in seconds since 1970. For people: nothing is decided by it.
    pub at_s: u64,
}

/// What makes a claim a receipt, for whoever knows the mesh and the lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seal {
    /// As in [`Receipt`].
    pub engine: Arc<str>,
    /// As in [`Receipt`].
    pub at_s: u64,
    /// The executor's, on the receipt.
    pub signature: [u8; SIGNATURE_BYTES],
}

/// A claim as it travels and is kept: with its seal. Reads as the claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedClaim {
    /// What is claimed.
    pub claim: Claim,
    /// None where an older node claims it, which signed nothing: no owner takes that.
    pub seal: Option<Seal>,
}

impl std::ops::Deref for SignedClaim {
    type Target = Claim;

    fn deref(&self) -> &Claim {
        &self.claim
    }
}

impl SignedClaim {
    /// Seals what came of a lease; `sign` gets the domain and the bytes.
    #[must_use]
    pub fn seal(
        receipt: Receipt,
        sign: impl FnOnce(&[u8], &[u8]) -> [u8; SIGNATURE_BYTES],
    ) -> SignedClaim {
        let signature = *Signed::new(receipt.clone(), sign).signature();
        let Receipt {
            claim,
            engine,
            at_s,
            ..
        } = receipt;
        let seal = Seal {
            engine,
            at_s,
            signature,
        };
        SignedClaim {
            claim,
            seal: Some(seal),
        }
    }

    /// The receipt that it is in `mesh` for the lease `key`, whoever may have signed it. None without a seal.
    #[must_use]
    pub fn receipt(&self, mesh: Option<NodeId>, key: &LeaseKey) -> Option<Signed<Receipt>> {
        let seal = self.seal.as_ref()?;
        let receipt = Receipt {
            mesh,
            key: key.clone(),
            claim: self.claim.clone(),
            engine: Arc::clone(&seal.engine),
            at_s: seal.at_s,
        };
        Some(Signed::of_parts(receipt, seal.signature))
    }
}

impl Signed<Receipt> {
    /// Whether the executor that it names signed it.
    #[must_use]
    pub fn holds(&self, verify: Verify<'_>) -> bool {
        self.is_by(self.claimed().claim.executor, verify)
    }
}

/// Two receipts of which an honest node signs one at most: a proof of that for anybody, without a word of whoever shows it.
///
/// They are by one executor for one lease of one task, and say that different things came out. That they only differ in what
/// may differ from one time to another (how long it took, the time of day) is not enough: an owner that grants a lease
/// twice could have that of an honest node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contradiction {
    one: Signed<Receipt>,
    other: Signed<Receipt>,
}

impl Contradiction {
    /// The proof that two receipts make together. None where they do not contradict each other.
    #[must_use]
    pub fn between(one: Signed<Receipt>, other: Signed<Receipt>) -> Option<Contradiction> {
        let (a, b) = (one.claimed(), other.claimed());
        let about = |receipt: &Receipt| {
            let claim = &receipt.claim;
            (receipt.mesh, claim.executor, claim.task_digest, claim.nonce)
        };
        let says = |receipt: &Receipt| {
            let claim = &receipt.claim;
            (
                claim.outcome.clone(),
                claim.output,
                claim.stdout,
                claim.stderr,
            )
        };
        // Another engine may count fuel in another way.
        let counts_alike = a.engine != b.engine || a.claim.fuel == b.claim.fuel;
        let same = about(a) == about(b) && a.key == b.key;
        if !same || says(a) == says(b) && counts_alike {
            return None;
        }
        let (one, other) = match one.encode() <= other.encode() {
            true => (one, other),
            false => (other, one),
        };
        Some(Contradiction { one, other })
    }

    /// Whose.
    #[must_use]
    pub fn executor(&self) -> NodeId {
        self.one.claimed().claim.executor
    }

    /// Both.
    #[must_use]
    pub fn receipts(&self) -> [&Signed<Receipt>; 2] {
        [&self.one, &self.other]
    }

    /// Whether the executor signed both.
    #[must_use]
    pub fn holds(&self, verify: Verify<'_>) -> bool {
        self.one.holds(verify) && self.other.holds(verify)
    }

    /// Its one encoding.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut writer = Writer::new(&mut out);
        writer.array(2);
        self.one.write(&mut writer);
        self.other.write(&mut writer);
        out
    }

    /// Reads one.
    ///
    /// # Errors
    /// Whatever is not the canonical encoding of one.
    pub fn decode(bytes: &[u8]) -> Result<Contradiction, FormatError> {
        const WHAT: &str = "two receipts that contradict each other";
        if bytes.len() > 2 * MAX_RECEIPT_BYTES {
            let max = 2 * MAX_RECEIPT_BYTES;
            return Err(FormatError::TooLong { what: WHAT, max });
        }
        let mut input = Reader::new(bytes);
        input.array_of(2, WHAT)?;
        let (one, other) = (Signed::read(&mut input)?, Signed::read(&mut input)?);
        input.finish()?;
        let proof = Contradiction::between(one, other).ok_or_else(|| expected(0, WHAT))?;
        match proof.encode() == bytes {
            true => Ok(proof),
            false => Err(expected(0, "the lesser receipt first")),
        }
    }
}

#[allow(private_interfaces)]
impl Payload for Receipt {
    const DOMAIN: &'static [u8] = b"sykli/receipt/1";
    const MAX_BYTES: usize = MAX_RECEIPT_BYTES;

    fn write(&self, out: &mut Writer<'_>) {
        let Receipt {
            mesh,
            key,
            claim,
            engine,
            at_s,
        } = self;
        write_head(out, FIELDS);
        write_optional(out, mesh.as_ref(), |mesh, out| out.bytes(&mesh.0));
        out.text(key.run.as_str());
        out.uint(key.task.0.into());
        out.uint(key.attempt.0.into());
        out.bytes(&claim.executor.0);
        out.bytes(&claim.task_digest.0);
        out.uint(claim.nonce);
        write_outcome(&claim.outcome, out);
        out.bytes(&claim.output.0);
        out.uint(claim.output_bytes);
        out.bytes(&claim.stdout.0);
        out.bytes(&claim.stderr.0);
        out.uint(claim.fuel);
        out.uint(claim.wall_ms);
        out.text(engine);
        out.uint(*at_s);
    }

    fn read(input: &mut Reader<'_>) -> Result<Receipt, FormatError> {
        read_head(input, "a receipt", FIELDS)?;
        let mesh = input.optional(read_node)?;
        let key = LeaseKey {
            run: read_run(input)?,
            task: TaskId(input.uint32()?),
            attempt: Attempt(input.uint32()?),
        };
        let claim = Claim {
            executor: read_node(input)?,
            task_digest: Digest(input.bytes32()?),
            nonce: input.uint()?,
            outcome: read_outcome(input)?,
            output: Digest(input.bytes32()?),
            output_bytes: input.uint()?,
            stdout: Digest(input.bytes32()?),
            stderr: Digest(input.bytes32()?),
            fuel: input.uint()?,
            wall_ms: input.uint()?,
        };
        Ok(Receipt {
            mesh,
            key,
            claim,
            engine: read_text(input, "an engine class", MAX_NAME_BYTES)?,
            at_s: input.uint()?,
        })
    }
}

fn read_run(input: &mut Reader<'_>) -> Result<RunId, FormatError> {
    let at = input.at();
    RunId::new(input.text()?).map_err(|_| expected(at, "a run's id"))
}

/// A text within its cap, which is looked at before anything is kept of it.
fn read_text(
    input: &mut Reader<'_>,
    what: &'static str,
    max: usize,
) -> Result<Arc<str>, FormatError> {
    match input.text()? {
        text if text.len() <= max => Ok(text.into()),
        _ => Err(FormatError::TooLong { what, max }),
    }
}

fn write_outcome(outcome: &RemoteOutcome, out: &mut Writer<'_>) {
    match outcome {
        RemoteOutcome::Passed => {
            out.array(1);
            out.uint(0);
        }
        RemoteOutcome::Failed { code, message } => {
            out.array(3);
            out.uint(1);
            out.text(code);
            out.text(message);
        }
    }
}

fn read_outcome(input: &mut Reader<'_>) -> Result<RemoteOutcome, FormatError> {
    const WHAT: &str = "an outcome with its arguments";
    let at = input.at();
    let elements = input.array()?;
    match (input.uint()?, elements) {
        (0, 1) => Ok(RemoteOutcome::Passed),
        (1, 3) => {
            let code = read_text(input, "a failure's code", MAX_NAME_BYTES)?;
            let message = read_text(input, "a message", MAX_MESSAGE_BYTES)?;
            // Bounded as on the wire, so that what was received can be kept and what is kept be sent.
            if message.chars().count() > MAX_MESSAGE_CHARS {
                let (what, max) = ("a message", MAX_MESSAGE_CHARS);
                return Err(FormatError::TooLong { what, max });
            }
            Ok(RemoteOutcome::Failed { code, message })
        }
        (0 | 1, _) => Err(CodecError::Expected { at, expected: WHAT }.into()),
        (code, _) => Err(FormatError::UnknownCode {
            what: "an outcome",
            code,
        }),
    }
}

/// What must hold of any bytes: they are refused, or they are the one encoding of what they mean. The property tests and
/// `fuzz/` call it.
///
/// # Panics
/// When it does not hold.
#[cfg(any(test, fuzzing))]
pub fn check(bytes: &[u8]) {
    if let Ok(receipt) = Signed::<Receipt>::decode(bytes) {
        assert_eq!(receipt.encode(), bytes, "{receipt:?}");
    }
    if let Ok(proof) = Contradiction::decode(bytes) {
        assert_eq!(proof.encode(), bytes, "{proof:?}");
    }
}
