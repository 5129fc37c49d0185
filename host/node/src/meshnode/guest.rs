//! The executor's hands: bundles that are taken, foreign guests that run, results that wait to be fetched.
//!
//! Each guest has a thread to itself; core bounds how many there are. Decides nothing. Called by the loop.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use sykli_core::consent::{Claim, LostWhy, MAX_OUTPUT_BYTES, Offer, Piece, RemoteOutcome};
use sykli_core::id::{Digest, LeaseKey, NodeId};
use sykli_core::machine::Event;
use sykli_core::receipt::{Receipt, SignedClaim};
use sykli_runtime::{CancelToken, LogLevel, Observer};
use tokio::sync::mpsc;

use super::fetch::Fetch;
use super::hub::Hub;
use super::inline::outputs_of;
use super::{Done, Shared};
use crate::control::Notice;
use crate::foreign::{self, ForeignResult};
use crate::transfer::{Request, Root, Serving, What};

/// Progress of a guest is passed on this often, at most.
const PROGRESS_EVERY: Duration = Duration::from_millis(200);

/// Bytes of a guest's output that are passed on at once, and then for each millisecond.
const FIRST_BYTES: u64 = 64 << 10;
const BYTES_PER_MS: u64 = 64;

/// A foreign guest that runs here.
pub(super) struct Guest {
    pub(super) label: Arc<str>,
    pub(super) since: Instant,
    pub(super) watch: Arc<Watch>,
    cancel: CancelToken,
}

impl Guest {
    pub(super) fn cancel(&self) {
        self.cancel.cancel();
    }
}

/// Listens to a foreign guest.
pub(super) struct Watch {
    owner: NodeId,
    key: LeaseKey,
    done: mpsc::UnboundedSender<Done>,
    began: Instant,
    /// When progress was passed on last, in milliseconds since the guest began; one more, so that 0 is never.
    told: AtomicU64,
    progress: Mutex<(u64, u64)>,
    /// Bytes of output that were passed on.
    said: AtomicU64,
}

impl Watch {
    /// Passes on what the guest writes, at a rate that leaves the link to others; the rest only comes with the result.
    fn wrote(&self, stderr: bool, bytes: &[u8]) {
        let elapsed = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let earned = FIRST_BYTES.saturating_add(elapsed.saturating_mul(BYTES_PER_MS));
        for part in bytes.chunks(MAX_OUTPUT_BYTES) {
            let spent = self.said.fetch_add(part.len() as u64, Ordering::Relaxed);
            if spent >= earned {
                self.said.fetch_sub(part.len() as u64, Ordering::Relaxed);
                return;
            }
            let event = Event::ForeignOutput {
                owner: self.owner,
                key: self.key.clone(),
                stderr,
                bytes: part.to_vec(),
            };
            // Nobody listens only when the node has ended.
            let _ = self.done.send(Done::Core(event));
        }
    }

    /// Units done, and in all.
    pub(super) fn progress(&self) -> (u64, u64) {
        *self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for Watch {
    fn stdout(&self, bytes: &[u8]) {
        self.wrote(false, bytes);
    }

    fn stderr(&self, bytes: &[u8]) {
        self.wrote(true, bytes);
    }

    fn progress(&self, done: u64, total: u64, message: &str) {
        *self.progress.lock().unwrap_or_else(PoisonError::into_inner) = (done, total);
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let told = self.told.load(Ordering::Relaxed);
        let every = u64::try_from(PROGRESS_EVERY.as_millis()).unwrap_or(u64::MAX);
        // A guest may say more than anybody wants to hear; the last word of a burst may stay unsaid.
        if told != 0 && now.saturating_sub(told - 1) < every {
            return;
        }
        self.told.store(now.saturating_add(1), Ordering::Relaxed);
        let event = Event::ForeignProgress {
            owner: self.owner,
            key: self.key.clone(),
            done,
            total,
            message: message.into(),
        };
        let _ = self.done.send(Done::Core(event));
    }

    fn log(&self, _: LogLevel, _: &str, _: &[(String, String)]) {}
}

impl Hub {
    pub(super) fn take_bundle(&mut self, owner: NodeId, offer: Arc<Offer>, piece: Piece, cap: u64) {
        let key = offer.key.clone();
        self.taking
            .insert((owner, key.clone()), (Instant::now(), Arc::clone(&offer)));
        let fetched = Fetch {
            peer: owner,
            request: Request {
                key: key.clone(),
                what: What::Bundle,
            },
            root: Root::Manifest(offer.needs.digest),
            cap,
            inline: Vec::new(),
        };
        self.take_piece(fetched, piece, move |ended| match ended {
            Ok(()) => Event::BundleArrived { owner, key },
            Err(why) => Event::BundleFailed { owner, key, why },
        });
    }

    /// Hands a guest to a thread. It has started then: nothing more is waited for.
    pub(super) fn start_foreign(&mut self, owner: NodeId, offer: Arc<Offer>, inline: u64) {
        let id = (owner, offer.key.clone());
        let watch = Arc::new(Watch {
            owner,
            key: offer.key.clone(),
            done: self.done.clone(),
            began: Instant::now(),
            told: AtomicU64::new(0),
            progress: Mutex::default(),
            said: AtomicU64::new(0),
        });
        let cancel = CancelToken::default();
        let guest = Guest {
            label: offer.needs.label.clone(),
            since: Instant::now(),
            watch: Arc::clone(&watch),
            cancel: cancel.clone(),
        };
        let (shared, done) = (self.shared.clone(), self.done.clone());
        let begun = self.crew.begin(move || {
            let outcome = run(&shared, &offer, &watch, &cancel);
            let outputs = match &outcome {
                Ok(claim) if claim.output_bytes <= inline => shared.packed_outputs(claim, inline),
                _ => Vec::new(),
            };
            let key = offer.key.clone();
            let event = Event::ForeignEnded {
                owner,
                key,
                outcome,
            };
            // Nobody listens only when the node has ended.
            let _ = done.send(Done::Ended(event, outputs));
        });
        let (owner, key) = id.clone();
        let event = match begun {
            Ok(()) => {
                self.guests.insert(id, guest);
                Event::ForeignStarted { owner, key }
            }
            Err(_) => Event::ForeignEnded {
                owner,
                key,
                outcome: Err(LostWhy::HostFault),
            },
        };
        self.soon.push_back(Done::Core(event));
    }

    /// A guest has started.
    pub(super) fn tell_started(&self, id: &(NodeId, LeaseKey)) {
        if let Some(guest) = self.guests.get(id) {
            self.shared.notices.say(Notice::Accepted {
                label: guest.label.to_string(),
                owner: self.named(id.0).name.to_string(),
            });
        }
    }

    /// A guest has ended: what it made may be fetched from now on.
    pub(super) fn guest_ended(
        &mut self,
        owner: NodeId,
        key: &LeaseKey,
        outcome: &Result<Box<SignedClaim>, LostWhy>,
    ) {
        // Without one its lease was given up meanwhile.
        let Some(guest) = self.guests.remove(&(owner, key.clone())) else {
            return;
        };
        let how = match outcome {
            Ok(claim) => match &claim.outcome {
                RemoteOutcome::Passed => "passed".to_owned(),
                RemoteOutcome::Failed { code, .. } => format!("failed: {code}"),
            },
            Err(why) => format!("no result: {why:?}"),
        };
        self.shared.notices.say(Notice::Finished {
            label: guest.label.to_string(),
            owner: self.named(owner).name.to_string(),
            how,
        });
        if let Ok(claim) = outcome {
            let serving = self.shared.outputs(claim);
            self.permits
                .grant(owner, key.clone(), What::Outputs, serving);
        }
    }

    pub(super) fn drop_foreign(&mut self, owner: NodeId, key: &LeaseKey) {
        self.stop_fetching(owner, key);
        self.taking.remove(&(owner, key.clone()));
        self.permits.withdraw(owner, key, What::Outputs);
        self.arriving.take(&(owner, key.clone()));
        self.outgoing.take(&(owner, key.clone()));
        if let Some(guest) = self.guests.remove(&(owner, key.clone())) {
            guest.cancel();
        }
    }
}

impl Shared {
    /// A result's outputs for its message; nothing where they do not fit into it.
    fn packed_outputs(&self, claim: &Claim, inline: u64) -> Vec<u8> {
        let closure = self.outputs(claim).closure;
        self.packed(outputs_of(claim), &closure, |_| false, inline)
    }

    /// What the owner of a result may fetch: its output tree, the files in it, what the guest wrote on its streams.
    pub(super) fn outputs(&self, claim: &Claim) -> Serving {
        let mut wanted = std::collections::BTreeSet::from([claim.stdout, claim.stderr]);
        if claim.outcome == RemoteOutcome::Passed {
            wanted.insert(claim.output);
            let tree = self.store.tree(&claim.output);
            wanted.extend(
                tree.iter()
                    .flat_map(|tree| tree.entries())
                    .map(|entry| entry.digest),
            );
        }
        let store = self.store.clone();
        Serving {
            closure: Arc::new(move |digest: &Digest| {
                wanted.contains(digest).then(|| store.get(digest)).flatten()
            }),
            cap: u64::MAX,
            level: self.level,
        }
    }
}

fn run(
    shared: &Shared,
    offer: &Offer,
    watch: &Watch,
    cancel: &CancelToken,
) -> Result<Box<SignedClaim>, LostWhy> {
    let host = foreign::Host {
        store: &shared.store,
        isolation: &shared.isolation,
        policy: &shared.policy,
        sizes: &shared.sizes,
    };
    let ran = foreign::run_foreign(host, offer, watch, cancel);
    let result = ran.map_err(|error| error.lost())?;
    Ok(Box::new(signed(shared, offer, result)))
}

/// What came of a task, with this node's signature, in the mesh that its owner named.
fn signed(shared: &Shared, offer: &Offer, result: ForeignResult) -> SignedClaim {
    let receipt = Receipt {
        mesh: offer.mesh,
        key: offer.key.clone(),
        claim: Claim {
            executor: shared.me,
            task_digest: offer.needs.digest,
            nonce: offer.nonce,
            outcome: result.outcome,
            output: result.output,
            output_bytes: result.output_bytes,
            stdout: result.stdout,
            stderr: result.stderr,
            fuel: result.fuel,
            wall_ms: result.wall_ms,
        },
        engine: foreign::engine_class(),
        at_s: SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs()),
    };
    SignedClaim::seal(receipt, |domain, bytes| {
        shared.identity.signature(domain, bytes)
    })
}
