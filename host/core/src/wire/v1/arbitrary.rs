//! Any message and any record, within the caps of the wire. Called by the property tests.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use proptest::collection::{btree_set, vec};
use proptest::prelude::*;
use proptest::sample::select;

use super::{
    MAX_GRANTS, MAX_IMPORTS, MAX_LABELS, MAX_MESSAGE_CHARS, MAX_NAME_BYTES, reason, samples,
};
use crate::consent::{
    Beacon, BlobRef, Capabilities, Claim, LostWhy, MAX_NAMED_BLOBS, MAX_RESUMED, Message, Offer,
    Piece, Record, RemoteOutcome, ToExecutor, ToOwner,
};
use crate::id::{Attempt, Digest, LeaseKey, MAX_RUN_ID_BYTES, NodeId, RunId, TaskId};
use crate::policy::{Reason, Requirements};
use crate::profile::{ArtifactLimit, ProfileKind, Stealing};
use crate::receipt::{Seal, SignedClaim};
use crate::signed::SIGNATURE_BYTES;

/// Any number, as likely of each length.
pub(crate) fn number() -> impl Strategy<Value = u64> {
    (any::<u64>(), 0..64u32).prop_map(|(n, shift)| n >> shift)
}

fn number32() -> impl Strategy<Value = u32> {
    (any::<u32>(), 0..32u32).prop_map(|(n, shift)| n >> shift)
}

/// Short words mostly, but any that a name may be.
pub(crate) fn name() -> impl Strategy<Value = Arc<str>> {
    let word = "[a-z:/@.0-9-]{0,12}";
    let long = vec(any::<char>(), 0..MAX_NAME_BYTES).prop_map(|chars| cut(chars, MAX_NAME_BYTES));
    prop_oneof![8 => word.prop_map(Arc::from), 1 => long]
}

fn message() -> impl Strategy<Value = Arc<str>> {
    let long = vec(any::<char>(), 0..=MAX_MESSAGE_CHARS).prop_map(|chars| cut(chars, usize::MAX));
    prop_oneof![8 => ".{0,40}".prop_map(Arc::from), 1 => long]
}

/// As many of the characters as fit into so many bytes.
fn cut(chars: Vec<char>, max_bytes: usize) -> Arc<str> {
    let mut text = String::new();
    for c in chars {
        if text.len() + c.len_utf8() > max_bytes {
            break;
        }
        text.push(c);
    }
    text.into()
}

/// A few names mostly; full lists of them still fit into a frame beside each other.
fn names(max: usize) -> impl Strategy<Value = Vec<Arc<str>>> {
    let full = vec("[a-z:]{0,12}".prop_map(Arc::from), max);
    prop_oneof![8 => vec(name(), 0..5), 1 => full]
}

fn digest() -> impl Strategy<Value = Digest> {
    any::<[u8; 32]>().prop_map(Digest)
}

pub(crate) fn node() -> impl Strategy<Value = NodeId> {
    any::<[u8; 32]>().prop_map(NodeId)
}

pub(crate) fn lease() -> impl Strategy<Value = LeaseKey> {
    let plain: Vec<char> = ('a'..='z').chain('A'..='Z').chain('0'..='9').collect();
    let run = vec(
        select([plain, vec!['-', '_']].concat()),
        1..=MAX_RUN_ID_BYTES,
    );
    let run = run.prop_map(String::from_iter);
    (run, number32(), number32()).prop_map(|(run, task, attempt)| LeaseKey {
        run: RunId::new(run).unwrap(),
        task: TaskId(task),
        attempt: Attempt(attempt),
    })
}

fn outcome() -> impl Strategy<Value = RemoteOutcome> {
    let failed =
        (name(), message()).prop_map(|(code, message)| RemoteOutcome::Failed { code, message });
    prop_oneof![Just(RemoteOutcome::Passed), failed]
}

pub(crate) fn claim() -> impl Strategy<Value = Claim> {
    let whose = (node(), digest(), number());
    let what = (outcome(), digest(), number(), number(), number());
    let streams = (digest(), digest());
    (whose, what, streams).prop_map(
        |(
            (executor, task_digest, nonce),
            (outcome, output, output_bytes, fuel, wall_ms),
            (stdout, stderr),
        )| {
            Claim {
                executor,
                task_digest,
                nonce,
                outcome,
                output,
                output_bytes,
                fuel,
                wall_ms,
                stdout,
                stderr,
            }
        },
    )
}

fn sealed() -> impl Strategy<Value = Box<SignedClaim>> {
    let signature = vec(any::<u8>(), SIGNATURE_BYTES).prop_map(|bytes| bytes.try_into().unwrap());
    let seal = (name(), number(), signature).prop_map(|(engine, at_s, signature)| Seal {
        engine,
        at_s,
        signature,
    });
    // Mostly there: only an older node's is not.
    let seal = proptest::option::weighted(0.9, seal);
    (claim(), seal).prop_map(|(claim, seal)| Box::new(SignedClaim { claim, seal }))
}

fn any_reason() -> impl Strategy<Value = Reason> {
    // Those without arguments come from the samples, of which there is one for each code.
    let samples: Vec<Reason> = samples::reasons();
    assert_eq!(samples.len() as u64, reason::LAST + 1);
    prop_oneof![
        select(samples),
        name().prop_map(|label| Reason::LabelMissing { label }),
        name().prop_map(|label| Reason::LabelNotAsked { label }),
        name().prop_map(|name| Reason::UnknownImport { name }),
        name().prop_map(|grant| Reason::GrantRefused { grant }),
        (number(), number()).prop_map(|(need, have)| Reason::MemoryBelow { need, have }),
        (number(), number()).prop_map(|(bytes, cap)| Reason::ArtifactOverCap { bytes, cap }),
        number32().prop_map(|n| Reason::MaxConcurrent { n }),
        number32().prop_map(|n| Reason::LeaseCap { n }),
    ]
}

fn blob() -> impl Strategy<Value = BlobRef> {
    (digest(), number()).prop_map(|(digest, bytes)| BlobRef { digest, bytes })
}

fn needs() -> impl Strategy<Value = Arc<Requirements>> {
    let lists = (
        names(MAX_LABELS),
        vec(blob(), 0..=MAX_NAMED_BLOBS),
        names(MAX_IMPORTS),
        names(MAX_GRANTS),
    );
    let numbers = prop::array::uniform7(number());
    let names = (digest(), name(), prop::option::of(name()));
    (names, lists, numbers, any::<[bool; 4]>()).prop_map(|(names, lists, numbers, flags)| {
        let (digest, label, engine) = names;
        let (labels, blobs, imports, grants) = lists;
        let [
            memory_mb,
            fuel,
            timeout_ms,
            estimate_ms,
            component_bytes,
            input_bytes,
            output_bytes,
        ] = numbers;
        let [pure, secret, mesh, steal] = flags;
        Arc::new(Requirements {
            digest,
            label,
            labels,
            memory_mb,
            fuel,
            timeout_ms,
            estimate_ms,
            component_bytes,
            input_bytes,
            output_bytes,
            blobs,
            imports,
            grants,
            engine,
            pure,
            secret,
            mesh,
            steal,
        })
    })
}

fn offer() -> impl Strategy<Value = Box<Offer>> {
    let bounds = (number(), number(), proptest::option::of(node()));
    (lease(), number(), needs(), bounds).prop_map(
        |(key, nonce, needs, (min_memory_mb, lease_ms, mesh))| {
            Box::new(Offer {
                key,
                nonce,
                needs,
                min_memory_mb,
                lease_ms,
                mesh,
            })
        },
    )
}

/// Of any size, also of one that no honest node sends.
fn piece() -> impl Strategy<Value = Piece> {
    (number(), number(), vec(any::<u8>(), 0..200)).prop_map(|(at, of, bytes)| Piece {
        at,
        of,
        bytes,
    })
}

fn to_owner() -> impl Strategy<Value = ToOwner> {
    let whys = vec![
        LostWhy::Unknown,
        LostWhy::HostFault,
        LostWhy::TimedOut,
        LostWhy::DiskFull,
        LostWhy::Bundle,
        LostWhy::Drained,
    ];
    let progress = (lease(), number(), number(), message());
    prop_oneof![
        number32().prop_map(|free| ToOwner::Idle { free }),
        (lease(), vec(any::<u8>(), 0..=MAX_NAMED_BLOBS))
            .prop_map(|(key, have)| ToOwner::Accept { key, have }),
        (lease(), any_reason()).prop_map(|(key, reason)| ToOwner::Decline { key, reason }),
        (lease(), number()).prop_map(|(key, ask_ms)| ToOwner::Pending { key, ask_ms }),
        lease().prop_map(|key| ToOwner::Started { key }),
        progress.prop_map(|(key, done, total, message)| ToOwner::Progress {
            key,
            done,
            total,
            message,
        }),
        (lease(), any::<bool>(), vec(any::<u8>(), 0..100))
            .prop_map(|(key, stderr, bytes)| ToOwner::Output { key, stderr, bytes }),
        (lease(), sealed(), piece()).prop_map(|(key, claim, piece)| ToOwner::Completed {
            key,
            claim,
            outputs: Piece { at: 0, ..piece },
        }),
        (lease(), piece()).prop_map(|(key, piece)| ToOwner::Outputs { key, piece }),
        (lease(), select(whys)).prop_map(|(key, why)| ToOwner::Lost { key, why }),
    ]
}

fn to_executor() -> impl Strategy<Value = ToExecutor> {
    let few = vec(lease(), 0..4);
    let many = vec(lease(), 0..=MAX_RESUMED);
    prop_oneof![
        2 => offer().prop_map(ToExecutor::Offer),
        1 => number().prop_map(|retry_ms| ToExecutor::NoWork { retry_ms }),
        1 => (lease(), piece()).prop_map(|(key, piece)| ToExecutor::Bundle { key, piece }),
        1 => lease().prop_map(|key| ToExecutor::Withdraw { key }),
        1 => lease().prop_map(|key| ToExecutor::Cancel { key }),
        1 => lease().prop_map(|key| ToExecutor::Acked { key }),
        1 => lease().prop_map(|key| ToExecutor::Settled { key }),
        1 => prop_oneof![9 => few, 1 => many].prop_map(|keys| ToExecutor::Resume { keys }),
    ]
}

fn beacon() -> impl Strategy<Value = Beacon> {
    let counts = prop::array::uniform3(number32());
    (node(), number(), counts, any::<bool>()).prop_map(
        |(node, sequence, [free, queued, slots], paused)| Beacon {
            node,
            sequence,
            free,
            queued,
            slots,
            paused,
        },
    )
}

fn capabilities() -> impl Strategy<Value = Box<Capabilities>> {
    let profiles = vec![
        ProfileKind::Lan,
        ProfileKind::Wan,
        ProfileKind::Mobile,
        ProfileKind::Hostile,
    ];
    let stealing = vec![Stealing::Full, Stealing::ReceiveOnly, Stealing::Disabled];
    let artifacts = prop_oneof![
        Just(ArtifactLimit::Unlimited),
        number().prop_map(ArtifactLimit::AtMost),
        Just(ArtifactLimit::Inline),
        Just(ArtifactLimit::StatusOnly),
    ];
    let kind = (select(profiles), select(stealing), artifacts, any::<bool>());
    let labels = btree_set(name(), 0..=MAX_LABELS);
    (name(), kind, number(), labels, number(), name()).prop_map(
        |(name, (profile, stealing, artifacts, hidden), tick_ms, labels, memory_mb, engine)| {
            Box::new(Capabilities {
                name,
                profile,
                tick_ms,
                stealing,
                artifacts,
                hidden,
                labels,
                memory_mb,
                engine,
            })
        },
    )
}

pub(super) fn any_message() -> impl Strategy<Value = Message> {
    prop_oneof![
        4 => to_owner().prop_map(Message::ToOwner),
        4 => to_executor().prop_map(Message::ToExecutor),
        1 => beacon().prop_map(Message::Beacon),
        1 => capabilities().prop_map(Message::Capabilities),
        1 => vec(name(), 0..5).prop_map(Message::Acquaint),
    ]
}

pub(super) fn any_record() -> impl Strategy<Value = Record> {
    prop_oneof![
        (lease(), node(), number()).prop_map(|(key, peer, nonce)| Record::Offered {
            key,
            peer,
            nonce
        }),
        (lease(), sealed()).prop_map(|(key, claim)| Record::Committed { key, claim }),
        (node(), lease(), sealed()).prop_map(|(owner, key, claim)| Record::Finished {
            owner,
            key,
            claim
        }),
        (lease(), number32()).prop_map(|(key, below)| Record::Reserved {
            run: key.run,
            below: Attempt(below)
        }),
    ]
}
