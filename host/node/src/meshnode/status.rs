//! The node as it is, for people and programs: peers, runs, foreign tasks, questions that wait.
//!
//! Fills the documents of [`crate::control::api`] from what the loop knows; changes nothing. What peers said of themselves
//! is in their words: escape sequences are the renderer's to strip. Called by the loop.

use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;
use sykli_core::consent::Offer;
use sykli_core::id::{LeaseKey, NodeId, RunId};
use sykli_core::roster::Entry;

use super::hub::Hub;
use super::node_ref;
use super::owner::RunSide;
use crate::control::api::{
    AskInfo, Counters, ForeignView, HostView, NodeStatus, PeerView, Progress, RunView,
    STATUS_SCHEMA,
};

impl Hub {
    pub(super) fn status(&self) -> NodeStatus {
        let shared = &self.shared;
        let listening = shared.mesh.listening();
        let (given_up, fault) = match shared.isolation.confinement() {
            None => (None, None),
            Some(Ok(given_up)) => (Some(given_up), None),
            Some(Err(why)) => (None, Some(why)),
        };
        NodeStatus {
            schema: STATUS_SCHEMA.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            id: node_ref(shared.me, "").id,
            name: shared.name.clone(),
            profile: shared.profile.name().to_owned(),
            consent: shared.policy.mode.name().to_owned(),
            listening: listening.iter().map(Multiaddr::to_string).collect(),
            labels: shared
                .labels
                .iter()
                .map(|label| label.to_string())
                .collect(),
            slots: shared.slots,
            memory_mb: shared.memory_mb,
            paused: self.host.paused,
            draining: self.host.draining,
            up_ms: self.now.0,
            host: self.report.as_ref().map(HostView::from).unwrap_or_default(),
            isolation: given_up,
            isolation_fault: fault,
            peers: self.peers(),
            runs: self
                .runs
                .iter()
                .map(|(id, run)| self.run(id, run))
                .collect(),
            foreign: self.foreign(),
            asks: self.questions(),
            counters: self.counters(),
        }
    }

    fn counters(&self) -> Counters {
        let transport = self.shared.mesh.counters();
        let mut counters = self.counters.clone();
        counters.connects = transport.connects;
        // At the door, in the handshake, in the greeting.
        counters.refused = transport
            .denied
            .saturating_add(transport.failed_incoming)
            .saturating_add(transport.ungreeted)
            .saturating_add(transport.refused);
        counters.dropped_notices = self.shared.notices.dropped();
        counters
    }

    pub(super) fn peers(&self) -> Vec<PeerView> {
        let roster = self.machine.roster();
        roster
            .iter()
            .map(|(node, entry)| self.peer(node, entry))
            .chain(self.offenders())
            .collect()
    }

    fn peer(&self, node: NodeId, entry: &Entry) -> PeerView {
        let by = self.named(node);
        let said = entry.capabilities.as_ref();
        let met = self.met.get(&node);
        let since = entry.away_since.or(met.map(|met| met.since));
        let of_theirs = self.guests.keys().filter(|(owner, _)| *owner == node);
        PeerView {
            id: by.id,
            name: said.map_or(String::new(), |said| said.name.to_string()),
            profile: said.map_or(String::new(), |said| said.profile.name().to_owned()),
            connected: entry.connected,
            for_ms: since.map_or(0, |since| self.now.ms_since(since)),
            hidden: entry.is_hidden(),
            trusted: entry.trusted,
            blocked: self.machine.roster().is_expelled(node),
            relayed: met.is_some_and(|met| met.relayed),
            addresses: met.map(|met| met.address.clone()).into_iter().collect(),
            rtt_ms: entry.connected.then_some(entry.link.rtt_ms),
            has_of_ours: entry.outstanding,
            has_of_theirs: u32::try_from(of_theirs.count()).unwrap_or(u32::MAX),
            offences: 0,
        }
    }

    fn run(&self, id: &RunId, run: &RunSide) -> RunView {
        let (pipeline, mode) = run.about();
        let picture = self.machine.snapshot(id, self.now);
        let counts = picture
            .as_ref()
            .map(|picture| picture.counts)
            .unwrap_or_default();
        let elsewhere = run.elsewhere();
        RunView {
            run: id.to_string(),
            pipeline: pipeline.to_owned(),
            reach: mode.into(),
            detached: false,
            ended: None,
            elapsed_ms: picture.map_or(0, |picture| picture.elapsed_ms),
            total: counts.total,
            settled: counts.settled.settled(),
            failed: counts.settled.failed,
            here: counts.running.saturating_sub(elsewhere),
            elsewhere,
        }
    }

    fn foreign(&self) -> Vec<ForeignView> {
        let running = self.guests.iter().map(|((owner, key), guest)| {
            let (done, total) = guest.watch.progress();
            ForeignView {
                state: "running".to_owned(),
                label: guest.label.to_string(),
                elapsed_ms: millis(guest.since.elapsed()),
                progress: Progress {
                    done,
                    total,
                    message: String::new(),
                },
                ..self.of_lease(*owner, key)
            }
        });
        let fetching = self
            .taking
            .iter()
            .map(|((owner, key), (since, offer))| ForeignView {
                state: "fetching".to_owned(),
                label: offer.needs.label.to_string(),
                elapsed_ms: millis(since.elapsed()),
                ..self.of_lease(*owner, key)
            });
        running.chain(fetching).collect()
    }

    fn of_lease(&self, owner: NodeId, key: &LeaseKey) -> ForeignView {
        let by = self.named(owner);
        ForeignView {
            owner: by.id,
            owner_name: by.name.to_string(),
            run: key.run.to_string(),
            attempt: key.attempt.0,
            ..ForeignView::default()
        }
    }

    pub(super) fn questions(&self) -> Vec<AskInfo> {
        let mut asks: Vec<_> = self.asks.iter().collect();
        asks.sort_by_key(|(_, ask)| ask.id);
        let info = |((owner, _), ask): (&(NodeId, LeaseKey), &super::hub::Question)| {
            self.question(ask.id, *owner, &ask.offer, ask.since.elapsed())
        };
        asks.into_iter().map(info).collect()
    }

    pub(super) fn question(
        &self,
        id: u64,
        owner: NodeId,
        offer: &Offer,
        waited: std::time::Duration,
    ) -> AskInfo {
        let by = self.named(owner);
        let texts =
            |texts: &[std::sync::Arc<str>]| texts.iter().map(|text| text.to_string()).collect();
        AskInfo {
            id: id.to_string(),
            owner: by.id,
            owner_name: by.name.to_string(),
            run: offer.key.run.to_string(),
            label: offer.needs.label.to_string(),
            memory_mb: offer.needs.memory_mb,
            timeout_ms: offer.needs.timeout_ms,
            estimate_ms: offer.needs.estimate_ms,
            bytes: offer.needs.bundle_bytes(),
            grants: texts(&offer.needs.grants),
            labels: texts(&offer.needs.labels),
            remaining_ms: self
                .shared
                .policy
                .ask_timeout_ms
                .saturating_sub(millis(waited)),
        }
    }
}

fn millis(span: std::time::Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// An address as people read it: the IP address or name, else the whole of it.
pub(super) fn readable(address: &Multiaddr) -> String {
    let part = address.iter().find_map(|part| match part {
        Protocol::Ip4(ip) => Some(ip.to_string()),
        Protocol::Ip6(ip) => Some(ip.to_string()),
        Protocol::Dns(name) | Protocol::Dns4(name) | Protocol::Dns6(name) => Some(name.to_string()),
        _ => None,
    });
    part.unwrap_or_else(|| address.to_string())
}
