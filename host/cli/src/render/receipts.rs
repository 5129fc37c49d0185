//! Documents and texts about what other nodes signed: `report --receipts` and `replay`. As in `past.rs`: plain data, with a
//! schema in `docs/schema/`. Digests and ids are text here; what counts of a receipt are its `signed` bytes. Called by
//! those two commands.

use schemars::JsonSchema;
use serde::Serialize;
use sykli_core::consent::RemoteOutcome;
use sykli_core::id::Digest;
use sykli_core::receipt::{Contradiction, Receipt};
use sykli_core::units::{human_count, human_duration_ms};
use sykli_node::identity;
use sykli_node::journal::Kept;
use sykli_node::receipts::{self, Envelope};
use sykli_node::replay::{Came, Replay};

use super::escape::clean;
use super::json::Failure;
use super::term::{Term, Tone, paint};
use super::{convert, past_text, text};

/// The receipts of a run: `sykli.receipts/1`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct ReceiptsDoc {
    /// Which document this is.
    #[schemars(extend("const" = "sykli.receipts/1"))]
    pub(crate) schema: &'static str,
    pub(crate) run: String,
    pub(crate) pipeline: String,
    /// Whose key the envelopes are signed with; none where this machine has no identity.
    pub(crate) holder: Option<Holder>,
    /// By instance.
    pub(crate) receipts: Vec<ReceiptEntry>,
    /// Nodes that signed two results of one lease, of all runs.
    pub(crate) proofs: Vec<ProofEntry>,
}

/// Who exports.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct Holder {
    /// Its peer id: the `keyid` of envelopes.
    pub(crate) id: String,
    /// Its public key as a PEM file.
    pub(crate) public_key: String,
}

/// One receipt in a file of its own: `sykli.receipt/1`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct ReceiptDoc {
    /// Which document this is.
    #[schemars(extend("const" = "sykli.receipt/1"))]
    pub(crate) schema: &'static str,
    #[serde(flatten)]
    pub(crate) entry: ReceiptEntry,
}

/// What a node signed.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct ReceiptEntry {
    pub(crate) task: String,
    pub(crate) instance: String,
    /// The mesh's key, where the owner belonged to one.
    pub(crate) mesh: Option<String>,
    pub(crate) run: String,
    /// The instance's number in its run.
    pub(crate) number: u32,
    pub(crate) attempt: u32,
    /// The peer id of who signed it.
    pub(crate) executor: String,
    /// The task digest: its manifest's name.
    pub(crate) manifest: String,
    pub(crate) nonce: u64,
    pub(crate) came: CameDoc,
    /// Compressed bytes of its outputs.
    pub(crate) output_bytes: u64,
    pub(crate) wall_ms: u64,
    /// The engine class that it ran in.
    pub(crate) engine: String,
    /// When, by the executor's clock, in seconds since 1970.
    pub(crate) at_s: u64,
    /// Whether the executor signed exactly that.
    pub(crate) holds: bool,
    /// Base 64 of what was signed and its signature, in canonical DAG-CBOR.
    pub(crate) signed: String,
    /// in-toto provenance in a DSSE envelope, signed by the holder; none of what failed.
    pub(crate) provenance: Option<Envelope>,
}

/// What came out of a task.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct CameDoc {
    pub(crate) passed: bool,
    /// Why it failed, where it did.
    pub(crate) code: Option<String>,
    /// The same in words.
    pub(crate) message: Option<String>,
    pub(crate) output: String,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) fuel: u64,
}

/// Two receipts of which an honest node signs one at most.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct ProofEntry {
    /// Who signed both.
    pub(crate) executor: String,
    /// Whether it did.
    pub(crate) holds: bool,
    /// Base 64 of both, in canonical DAG-CBOR.
    pub(crate) signed: String,
}

/// A task that was run again: `sykli.replay/1`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct ReplayDoc {
    /// Which document this is.
    #[schemars(extend("const" = "sykli.replay/1"))]
    pub(crate) schema: &'static str,
    pub(crate) task: String,
    pub(crate) run: String,
    pub(crate) attempt: u32,
    pub(crate) executor: String,
    pub(crate) manifest: String,
    /// The same came out here.
    pub(crate) reproduced: bool,
    /// The executor's engine class is not this node's: fuel was not compared.
    pub(crate) other_engine: bool,
    pub(crate) there: CameDoc,
    pub(crate) here: CameDoc,
    pub(crate) differs: Vec<DifferenceDoc>,
    /// Why the guest failed here.
    pub(crate) failure: Option<Failure>,
    /// How long it took here.
    pub(crate) wall_ms: u64,
}

/// A part of a result that is another one here.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct DifferenceDoc {
    /// `outcome`, `output`, `stdout`, `stderr` or `fuel`.
    pub(crate) what: &'static str,
    pub(crate) there: String,
    pub(crate) here: String,
}

fn came(outcome: &RemoteOutcome, digests: [&Digest; 3], fuel: u64) -> CameDoc {
    let (code, message) = match outcome {
        RemoteOutcome::Passed => (None, None),
        RemoteOutcome::Failed { code, message } => {
            (Some(code.to_string()), Some(message.to_string()))
        }
    };
    let [output, stdout, stderr] = digests.map(ToString::to_string);
    CameDoc {
        passed: code.is_none(),
        code,
        message,
        output,
        stdout,
        stderr,
        fuel,
    }
}

fn came_there(receipt: &Receipt) -> CameDoc {
    let claim = &receipt.claim;
    let digests = [&claim.output, &claim.stdout, &claim.stderr];
    came(&claim.outcome, digests, claim.fuel)
}

fn came_here(here: &Came) -> CameDoc {
    let digests = [&here.output, &here.stdout, &here.stderr];
    came(&here.outcome, digests, here.fuel)
}

/// A receipt in words, with its bytes.
pub(crate) fn entry(kept: Kept, holder: Option<&identity::Identity>) -> ReceiptEntry {
    let provenance = holder.and_then(|holder| receipts::envelope(&kept, holder));
    let receipt = kept.receipt.claimed();
    let claim = &receipt.claim;
    ReceiptEntry {
        mesh: receipt.mesh.map(identity::show),
        run: receipt.key.run.to_string(),
        number: receipt.key.task.0,
        attempt: receipt.key.attempt.0,
        executor: identity::show(claim.executor),
        manifest: claim.task_digest.to_string(),
        nonce: claim.nonce,
        came: came_there(receipt),
        output_bytes: claim.output_bytes,
        wall_ms: claim.wall_ms,
        engine: receipt.engine.to_string(),
        at_s: receipt.at_s,
        holds: receipts::holds(&kept.receipt),
        signed: receipts::text(&kept.receipt),
        provenance,
        task: kept.task,
        instance: kept.label,
    }
}

/// A proof in words, with its bytes.
pub(crate) fn proof(proof: &Contradiction) -> ProofEntry {
    ProofEntry {
        executor: identity::show(proof.executor()),
        holds: receipts::proves(proof),
        signed: receipts::proof_text(proof),
    }
}

/// What a replay came to.
pub(crate) fn replay(receipt: &Receipt, replay: Replay) -> ReplayDoc {
    let differs = replay.differs.into_iter();
    ReplayDoc {
        schema: "sykli.replay/1",
        task: replay.task,
        run: receipt.key.run.to_string(),
        attempt: receipt.key.attempt.0,
        executor: identity::show(receipt.claim.executor),
        manifest: receipt.claim.task_digest.to_string(),
        reproduced: differs.len() == 0,
        other_engine: replay.other_engine,
        there: came_there(receipt),
        here: came_here(&replay.here),
        differs: differs
            .map(|one| DifferenceDoc {
                what: one.what,
                there: one.there,
                here: one.here,
            })
            .collect(),
        failure: replay.failure.map(convert::failure),
        wall_ms: replay.wall_ms,
    }
}

/// The same as text.
pub(crate) fn replayed(term: &Term, doc: &ReplayDoc) -> String {
    let verdict = match doc.reproduced {
        true => paint("reproduced", Tone::Good, term.err.color),
        false => paint("not reproduced", Tone::Bad, term.err.color),
    };
    let mut lines = vec![format!(
        "{} of run {}, attempt {}: {verdict}",
        clean(&doc.task),
        doc.run,
        doc.attempt
    )];
    lines.push(format!("  signed by {}", doc.executor));
    let outcome = match (&doc.here.code, &doc.here.message) {
        (Some(code), Some(message)) => format!("failed: {} [{code}]", clean(message)),
        _ => "passed".to_owned(),
    };
    for (name, value) in [
        ("outcome", outcome),
        ("output", doc.here.output.clone()),
        ("stdout", doc.here.stdout.clone()),
        ("stderr", doc.here.stderr.clone()),
        ("fuel", human_count(doc.here.fuel)),
    ] {
        let differs = doc.differs.iter().find(|one| one.what == name);
        lines.push(match differs {
            None if name == "fuel" && doc.other_engine => {
                format!("  {name:<8} {value}, not compared: it ran in another engine class")
            }
            None => format!("  {name:<8} {value}"),
            Some(one) => format!(
                "  {name:<8} {}, there {}",
                clean(&one.here),
                clean(&one.there)
            ),
        });
    }
    if let Some(failure) = &doc.failure {
        let block = text::failure(term, &doc.task, Some(doc.wall_ms), failure, true);
        lines.extend(block);
    } else {
        lines.push(format!("  took {} here", human_duration_ms(doc.wall_ms)));
    }
    past_text::joined(lines)
}
