//! Which nodes are connected, and which process of each: how a cloned identity is told from a node that was restarted.
//!
//! Each process of a node draws an instance at random when it starts and never takes an older one up. So a new
//! instance while another's connection still stands is a restart whose end nobody noticed, or a clone; the new one takes
//! its place. An instance that comes *back* after another was heard is a clone for certain: from then on both are
//! refused for [`CLONED_REST_S`]. A late greeting of a process that died can look the same, therefore the end.
//!
//! Bounded: [`MAX_NODES`] nodes, [`MAX_PAST`] instances each. It knows no clock and no file. Called by the gate.

use std::collections::{BTreeMap, VecDeque};

use sykli_core::consent::Capabilities;
use sykli_core::id::NodeId;
use sykli_core::membership::{Chain, Instance, Refusal};

/// Most nodes that are remembered; those without a connection go first.
const MAX_NODES: usize = 1_024;
/// Most earlier instances that are remembered of a node.
const MAX_PAST: usize = 8;
/// For how long a cloned identity is refused, in seconds.
pub(super) const CLONED_REST_S: u64 = 600;

/// A node that was let in.
#[derive(Debug)]
struct Entry {
    current: Instance,
    /// The earlier ones, oldest first.
    past: VecDeque<Instance>,
    /// Connections that stand, by instance.
    connections: BTreeMap<Instance, u32>,
    cloned_until: Option<u64>,
    shown: Shown,
}

/// What a node showed when it was let in: enough to judge it again.
#[derive(Clone, Debug)]
pub(super) struct Shown {
    pub(super) capabilities: Capabilities,
    pub(super) chain: Option<Chain>,
}

/// The table.
#[derive(Debug, Default)]
pub(super) struct Live {
    nodes: BTreeMap<NodeId, Entry>,
}

impl Live {
    /// Notes a greeting of a node that is otherwise let in. Whether connections of an earlier instance still stand,
    /// which are then to be dropped.
    pub(super) fn greet(
        &mut self,
        node: NodeId,
        instance: Instance,
        shown: Shown,
        now: u64,
    ) -> Result<bool, Refusal> {
        let Some(entry) = self.nodes.get_mut(&node) else {
            self.make_room();
            let entry = Entry {
                current: instance,
                past: VecDeque::new(),
                connections: BTreeMap::new(),
                cloned_until: None,
                shown,
            };
            self.nodes.insert(node, entry);
            return Ok(false);
        };
        match entry.cloned_until {
            Some(until) if now < until => return Err(Refusal::Clone),
            Some(_) => {
                entry.cloned_until = None;
                entry.past.clear();
            }
            None => {}
        }
        if entry.past.contains(&instance) {
            entry.cloned_until = Some(now.saturating_add(CLONED_REST_S));
            return Err(Refusal::Clone);
        }
        if entry.current != instance {
            if entry.past.len() == MAX_PAST {
                entry.past.pop_front();
            }
            entry.past.push_back(entry.current);
            entry.current = instance;
        }
        entry.shown = shown;
        Ok(entry.connections.keys().any(|other| *other != instance))
    }

    fn make_room(&mut self) {
        if self.nodes.len() < MAX_NODES {
            return;
        }
        let idle = self.nodes.iter().find(|(_, e)| e.connections.is_empty());
        let gone = idle.or(self.nodes.iter().next()).map(|(node, _)| *node);
        if let Some(node) = gone {
            self.nodes.remove(&node);
        }
    }

    /// A connection of that instance stands.
    pub(super) fn up(&mut self, node: NodeId, instance: Instance) {
        if let Some(entry) = self.nodes.get_mut(&node) {
            let count = entry.connections.entry(instance).or_default();
            *count = count.saturating_add(1);
        }
    }

    /// One of them is gone.
    pub(super) fn down(&mut self, node: NodeId, instance: Instance) {
        let Some(entry) = self.nodes.get_mut(&node) else {
            return;
        };
        if let Some(count) = entry.connections.get_mut(&instance) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                entry.connections.remove(&instance);
            }
        }
    }

    /// What that node showed last.
    pub(super) fn shown(&self, node: NodeId) -> Option<&Shown> {
        self.nodes.get(&node).map(|entry| &entry.shown)
    }

    /// It says something else of itself now.
    pub(super) fn changed(&mut self, node: NodeId, capabilities: &Capabilities) {
        if let Some(entry) = self.nodes.get_mut(&node) {
            entry.shown.capabilities = capabilities.clone();
        }
    }

    /// The nodes with a connection: what each showed, its instance, and whether it is taken for cloned.
    pub(super) fn connected(&self, now: u64) -> Vec<(NodeId, Shown, Instance, bool)> {
        let connected = self.nodes.iter().filter(|(_, e)| !e.connections.is_empty());
        connected
            .map(|(node, entry)| {
                let cloned = entry.cloned_until.is_some_and(|until| now < until);
                (*node, entry.shown.clone(), entry.current, cloned)
            })
            .collect()
    }
}
