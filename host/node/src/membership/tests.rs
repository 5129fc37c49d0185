//! What the tests of a membership share: nodes with folders of their own, one clock for all of them, and greetings
//! handed from gate to gate.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod clones;
mod greeting;
mod joining;
mod kept;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sykli_core::consent::Capabilities;
use sykli_core::id::NodeId;
use sykli_core::membership::{Certificate, Chain, Roles, Signed, Ticket};
use sykli_core::profile::{Profile, ProfileKind};

use super::*;

const NOW: u64 = 1_800_000_000;
const DAY: u64 = 24 * 60 * 60;

/// Several machines with one clock.
struct World {
    temp: tempfile::TempDir,
    clock: Arc<AtomicU64>,
}

/// One of them, with a process that runs.
struct Machine {
    data: PathBuf,
    identity: Identity,
    membership: Membership,
    gate: Gate,
}

fn capabilities(name: &str, profile: ProfileKind) -> Capabilities {
    let row = Profile::of(profile);
    Capabilities {
        name: name.into(),
        profile,
        tick_ms: row.tick_ms,
        stealing: row.stealing,
        artifacts: row.artifacts,
        hidden: false,
        labels: BTreeSet::new(),
        memory_mb: 1_024,
        engine: "test".into(),
    }
}

impl World {
    fn new() -> World {
        World {
            temp: tempfile::tempdir().unwrap(),
            clock: Arc::new(AtomicU64::new(NOW)),
        }
    }

    fn pass(&self, seconds: u64) {
        self.clock.fetch_add(seconds, Ordering::Relaxed);
    }

    fn now(&self) -> u64 {
        self.clock.load(Ordering::Relaxed)
    }

    fn membership(&self, name: &str, trust: &[NodeId]) -> Result<Membership, MembershipError> {
        let data = self.temp.path().join(name);
        let clock = Arc::clone(&self.clock);
        Membership::with_clock(
            &data,
            &Identity::open(&data)?,
            trust.iter().copied().collect(),
            Arc::new(move || clock.load(Ordering::Relaxed)),
        )
    }

    /// A process on that machine: the first one, or one after a restart.
    fn start(&self, name: &str) -> Machine {
        self.start_trusting(name, &[])
    }

    fn start_trusting(&self, name: &str, trust: &[NodeId]) -> Machine {
        let data = self.temp.path().join(name);
        let membership = self.membership(name, trust).unwrap();
        let profile = capabilities(name, ProfileKind::Lan);
        Machine {
            identity: Identity::open(&data).unwrap(),
            gate: membership.gate(profile).unwrap(),
            membership,
            data,
        }
    }

    /// A machine that has made a mesh, and one that has joined it.
    fn pair(&self) -> (Machine, Machine) {
        let (creator, member) = (self.start("creator"), self.start("member"));
        creator.membership.create().unwrap();
        joins(&creator, &member, &invite(&creator)).unwrap();
        (creator, member)
    }
}

impl Machine {
    fn id(&self) -> NodeId {
        self.identity.node_id()
    }
}

fn invitation() -> Invitation {
    Invitation {
        addresses: vec!["/ip4/127.0.0.1/tcp/4242".into()],
        expires_in_s: DAY,
        issuer: false,
        relay: false,
        ceiling: ProfileKind::Lan,
    }
}

fn invite(issuer: &Machine) -> Ticket {
    issuer.membership.invite(&invitation()).unwrap()
}

/// `joiner` shows the ticket to `issuer` and takes what it gets.
fn joins(issuer: &Machine, joiner: &Machine, ticket: &Ticket) -> Result<(), MembershipError> {
    let answer = issuer.gate.answer(joiner.id(), &joiner.gate.join(ticket));
    let concluded = joiner
        .gate
        .conclude_join(issuer.id(), ticket, &answer.reply);
    assert_eq!(answer.outcome.is_ok(), concluded.is_ok(), "{answer:?}");
    concluded
}

/// What the dialler and the listener make of each other.
fn meet(
    dialler: &Machine,
    listener: &Machine,
) -> (Result<Admitted, Refusal>, Result<Admitted, Refusal>) {
    let hello = dialler.gate.hello(listener.id());
    let answer = listener.gate.answer(dialler.id(), &hello);
    let concluded = dialler.gate.conclude(listener.id(), &answer.reply);
    (concluded, answer.outcome)
}

/// That both let each other in.
fn greet(dialler: &Machine, listener: &Machine) -> (Admitted, Admitted) {
    let (theirs, ours) = meet(dialler, listener);
    (theirs.unwrap(), ours.unwrap())
}

/// That the listener refuses for that reason, and the dialler hears it.
#[track_caller]
fn refused(dialler: &Machine, listener: &Machine, why: Refusal) {
    let (heard, said) = meet(dialler, listener);
    assert_eq!(said, Err(why));
    assert_eq!(heard, Err(why.heard()));
}

/// Puts any certificate into a machine's folder, as somebody could who has written his own.
fn plant(machine: &Machine, chain: &Chain) {
    let folder = &machine.membership.shared.folder;
    let _lock = folder.lock().unwrap();
    folder.store_chain(chain).unwrap();
}

fn signed(by: &Identity, certificate: Certificate) -> Signed<Certificate> {
    Signed::new(certificate, |domain, bytes| by.signature(domain, bytes))
}
