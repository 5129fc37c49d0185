//! This node's place in a mesh: what it holds on disk, what it may give to others, and who is let in.
//!
//! `sykli_core::membership` has the formats and the judgement; here are the keys, the files and the clock. A mesh key
//! certifies issuers, issuers certify members, everything runs out within 30 days and is renewed in passing (`gate`).
//! A node that belongs to no mesh lets in whom its user lists, and nobody else.
//!
//! Several processes use one folder: each change is made under a lock and on the newest state, and what another process
//! has changed is seen at the next greeting. The files and what damage to them means are in `disk`.
//!
//! It never opens a connection, and never prints. Called by the mesh's transport (the [`Gate`]) and the command line.

mod disk;
mod error;
mod gate;
mod issue;
mod join;
mod live;
mod peers;
#[cfg(test)]
mod tests;
mod tickets;

pub use error::MembershipError;
pub use gate::{Admitted, Answer, Gate};
pub use join::{Joined, Rendezvous, join};
pub use peers::{MAX_PEERS, Peers};
pub use sykli_core::membership::{Instance, Refusal, Roles, Ticket, TicketError};
pub use tickets::MAX_TICKETS;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use sykli_core::id::NodeId;
use sykli_core::membership::{
    Certificate, Chain, House, MAX_LIFE_S, MAX_REVOKED, Revocations, Secret, Signed, judge_chain,
    supersedes,
};
use sykli_core::profile::ProfileKind;

use crate::durable::{Lock, Stamp};
use crate::identity::{self, Identity};
use disk::Folder;

/// The epoch that a mesh begins with.
const FIRST_EPOCH: u64 = 1;

/// Wall time in seconds since 1970.
type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// What is to be known of an invitation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invitation {
    /// Where this node can be reached, best first; multiaddresses.
    pub addresses: Vec<Arc<str>>,
    /// How long the ticket holds, in seconds; 30 days at most.
    pub expires_in_s: u64,
    /// Whether the new node may issue certificates. Needs the mesh key.
    pub issuer: bool,
    /// Whether others may reach each other through it.
    pub relay: bool,
    /// The most generous profile that it may run under.
    pub ceiling: ProfileKind,
}

/// A membership as it is now, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeshView {
    /// The mesh: its key's public half.
    pub mesh: NodeId,
    /// What this node may be in it.
    pub roles: Roles,
    /// The most generous profile that it may run under.
    pub ceiling: ProfileKind,
    /// Since when its certificate holds, in seconds since 1970.
    pub issued: u64,
    /// Until when, likewise.
    pub not_after: u64,
    /// Its epoch.
    pub epoch: u64,
    /// Who signed it; `None` for the mesh key.
    pub issuer: Option<NodeId>,
    /// Why others would refuse it now.
    pub refused: Option<Refusal>,
    /// Whether the mesh key is on this machine.
    pub holds_mesh_key: bool,
    /// The number of the newest list of revocations; 0 where there is none.
    pub revocations_version: u64,
    /// Who is on it.
    pub revoked: Vec<NodeId>,
    /// Tickets that were given out here and can still be used.
    pub open_tickets: usize,
}

/// What was last read from the disk.
#[derive(Debug, Default)]
struct Known {
    chain: Option<Chain>,
    revocations: Option<Signed<Revocations>>,
    /// By configuration or by `peers trust`, and not blocked since.
    trusted: BTreeSet<NodeId>,
    blocked: BTreeSet<NodeId>,
}

impl Known {
    fn certificate(&self) -> Option<&Certificate> {
        self.chain.as_ref().map(Chain::claimed)
    }

    fn mesh(&self) -> Option<NodeId> {
        self.certificate().map(|own| own.mesh)
    }

    /// The newest list, of this mesh.
    fn revocations(&self) -> Option<&Revocations> {
        let list = self.revocations.as_ref()?.claimed();
        (Some(list.mesh) == self.mesh()).then_some(list)
    }

    fn epoch(&self) -> u64 {
        self.revocations().map_or(FIRST_EPOCH, |list| list.epoch)
    }
}

/// A node's membership. Cheap to clone.
#[derive(Clone)]
pub struct Membership {
    shared: Arc<Shared>,
}

struct Shared {
    identity: Identity,
    folder: Folder,
    /// By configuration.
    trust: BTreeSet<NodeId>,
    /// Strangers are let in, untrusted.
    open: bool,
    clock: Clock,
    cached: Mutex<([Stamp; 3], Arc<Known>)>,
}

impl std::fmt::Debug for Membership {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Membership")
            .field("identity", &self.shared.identity)
            .field("mesh", &self.known().mesh())
            .finish_non_exhaustive()
    }
}

impl Membership {
    /// Reads what is in `data`; `trust` lists the nodes that the user's configuration trusts. Writes only where this node
    /// holds the mesh key and its own certificate is running out.
    ///
    /// # Errors
    /// When a file cannot be read or is damaged.
    pub fn open(
        data: &Path,
        identity: &Identity,
        trust: BTreeSet<NodeId>,
    ) -> Result<Membership, MembershipError> {
        Membership::with_clock(data, identity, trust, Arc::new(crate::store::now_secs))
    }

    fn with_clock(
        data: &Path,
        identity: &Identity,
        trust: BTreeSet<NodeId>,
        clock: Clock,
    ) -> Result<Membership, MembershipError> {
        let folder = Folder::new(data);
        let stamps = folder.stamps();
        let known = Arc::new(read(&folder, &trust)?);
        let membership = Membership {
            shared: Arc::new(Shared {
                identity: identity.clone(),
                folder,
                trust,
                open: false,
                clock,
                cached: Mutex::new((stamps, known)),
            }),
        };
        membership.keep_own_fresh()?;
        Ok(membership)
    }

    /// The same, letting strangers in as the lowest tier where `open` says so: untrusted, never offered anything that
    /// needs trust.
    #[must_use]
    pub fn open_to_strangers(self, open: bool) -> Membership {
        let shared = &self.shared;
        let cached = shared.cached.lock().unwrap_or_else(PoisonError::into_inner);
        let shared = Shared {
            identity: shared.identity.clone(),
            folder: shared.folder.clone(),
            trust: shared.trust.clone(),
            open,
            clock: Arc::clone(&shared.clock),
            cached: Mutex::new(cached.clone()),
        };
        Membership {
            shared: Arc::new(shared),
        }
    }

    /// This node.
    #[must_use]
    pub fn node_id(&self) -> NodeId {
        self.shared.identity.node_id()
    }

    /// The mesh that it belongs to.
    #[must_use]
    pub fn mesh(&self) -> Option<NodeId> {
        self.known().mesh()
    }

    fn now(&self) -> u64 {
        (self.shared.clock)()
    }

    /// The state on disk, read again where it has changed. What cannot be read now is kept as it was: a greeting must
    /// not be judged by nothing.
    fn known(&self) -> Arc<Known> {
        let shared = &self.shared;
        let mut cached = shared.cached.lock().unwrap_or_else(PoisonError::into_inner);
        let stamps = shared.folder.stamps();
        if cached.0 != stamps {
            match read(&shared.folder, &shared.trust) {
                Ok(known) => *cached = (stamps, Arc::new(known)),
                Err(error) => tracing::warn!(%error, "the membership on disk cannot be read again"),
            }
        }
        Arc::clone(&cached.1)
    }

    /// The same where it is about to be changed, under the lock: what cannot be read must not be written over.
    fn fresh(&self, _lock: &Lock) -> Result<Known, MembershipError> {
        read(&self.shared.folder, &self.shared.trust)
    }

    /// Makes a mesh: its key, and this node's certificate as member, issuer and relay. The mesh's name.
    ///
    /// # Errors
    /// When this node belongs to a mesh already, or cannot write.
    pub fn create(&self) -> Result<NodeId, MembershipError> {
        let folder = &self.shared.folder;
        let lock = folder.lock()?;
        if let Some(mesh) = self.fresh(&lock)?.mesh() {
            return Err(already(mesh));
        }
        let key = Identity::open_file(&folder.mesh_key_file())?;
        let now = self.now();
        let own = Certificate {
            mesh: key.node_id(),
            peer: self.node_id(),
            roles: Roles {
                member: true,
                issuer: true,
                relay: true,
            },
            ceiling: ProfileKind::Lan,
            issued: now,
            not_after: now.saturating_add(MAX_LIFE_S),
            epoch: FIRST_EPOCH,
        };
        folder.store_chain(&issue::by_mesh_key(&key, own))?;
        Ok(key.node_id())
    }

    /// Gives out a ticket. Only the hash of its secret stays here.
    ///
    /// # Errors
    /// When this node is no issuer (for an issuer's ticket: has no mesh key), the invitation does not fit into a ticket,
    /// there are too many tickets, or it cannot write.
    pub fn invite(&self, invitation: &Invitation) -> Result<Ticket, MembershipError> {
        let lock = self.shared.folder.lock()?;
        let known = self.fresh(&lock)?;
        let own = known.certificate().ok_or(MembershipError::NotAMember)?;
        if !own.roles.issuer {
            return Err(MembershipError::NotAnIssuer);
        }
        if invitation.issuer {
            self.mesh_key(own.mesh)?;
        }
        if invitation.expires_in_s > MAX_LIFE_S {
            return Err(MembershipError::TooLongLived);
        }
        let now = self.now();
        let ticket = Ticket {
            mesh: own.mesh,
            issuer: self.node_id(),
            secret: Secret::new(identity::random()?),
            expires: now.saturating_add(invitation.expires_in_s),
            addresses: invitation.addresses.clone(),
        };
        ticket.check()?;
        let grant = tickets::Grant {
            roles: Roles {
                member: true,
                issuer: invitation.issuer,
                relay: invitation.relay,
            },
            ceiling: invitation.ceiling,
        };
        let file = self.shared.folder.tickets_file();
        tickets::add(&file, ticket.secret.digest(), ticket.expires, grant, now)?;
        Ok(ticket)
    }

    /// Puts `node` on the list of revocations; the list's new number, or the old one's where it is on it already.
    ///
    /// # Errors
    /// When the mesh key is not here, `node` is this one, the list is full, or it cannot write.
    pub fn revoke(&self, node: NodeId) -> Result<u64, MembershipError> {
        if node == self.node_id() {
            return Err(MembershipError::OwnNode);
        }
        self.change_revocations(|list| {
            if !list.nodes.insert(node) {
                return Ok(false);
            }
            if list.nodes.len() > MAX_REVOKED {
                return Err(MembershipError::TooMany {
                    what: "revoked nodes",
                    max: MAX_REVOKED,
                });
            }
            Ok(true)
        })
    }

    /// Voids every certificate given so far, but this node's own, which is made anew: everybody else is to be invited
    /// again. The list begins empty. Its new number.
    ///
    /// # Errors
    /// When the mesh key is not here, or it cannot write.
    pub fn revoke_everyone(&self) -> Result<u64, MembershipError> {
        self.change_revocations(|list| {
            list.nodes.clear();
            list.epoch = list.epoch.saturating_add(1);
            Ok(true)
        })
    }

    fn change_revocations(
        &self,
        change: impl FnOnce(&mut Revocations) -> Result<bool, MembershipError>,
    ) -> Result<u64, MembershipError> {
        let folder = &self.shared.folder;
        let lock = folder.lock()?;
        let known = self.fresh(&lock)?;
        let mesh = known.mesh().ok_or(MembershipError::NotAMember)?;
        let key = self.mesh_key(mesh)?;
        let mut list = known.revocations().cloned().unwrap_or(Revocations {
            mesh,
            version: 0,
            epoch: FIRST_EPOCH,
            nodes: BTreeSet::new(),
        });
        if !change(&mut list)? {
            return Ok(list.version);
        }
        list.version = list.version.saturating_add(1);
        let (version, epoch) = (list.version, list.epoch);
        let signed = Signed::new(list, |domain, bytes| key.signature(domain, bytes));
        // This node's own certificate first: with the list alone it would have revoked itself.
        if let Some(own) = known.certificate().filter(|own| own.epoch < epoch) {
            folder.store_chain(&issue::renewed_by_mesh_key(&key, own, self.now(), epoch))?;
        }
        folder.store_revocations(&signed)?;
        // Seen by this process from here on, whatever becomes of the file.
        self.known();
        Ok(version)
    }

    /// Leaves the mesh: certificate, list and tickets are removed. The mesh that was left.
    ///
    /// # Errors
    /// When this node belongs to none, still holds the mesh key, or cannot write.
    pub fn leave(&self) -> Result<NodeId, MembershipError> {
        let folder = &self.shared.folder;
        let lock = folder.lock()?;
        let mesh = self.fresh(&lock)?.mesh();
        let mesh = mesh.ok_or(MembershipError::NotAMember)?;
        let path = folder.mesh_key_file();
        if path.exists() {
            return Err(MembershipError::HoldsMeshKey { path });
        }
        folder.clear()?;
        Ok(mesh)
    }

    /// The membership as it is now; `None` where this node belongs to no mesh.
    #[must_use]
    pub fn view(&self) -> Option<MeshView> {
        let known = self.known();
        let chain = known.chain.as_ref()?;
        let (own, list, now) = (chain.claimed(), known.revocations(), self.now());
        let judged = judge_chain(
            own.mesh,
            self.node_id(),
            chain,
            list,
            now,
            &identity::verify,
        );
        let folder = &self.shared.folder;
        Some(MeshView {
            mesh: own.mesh,
            roles: own.roles,
            ceiling: own.ceiling,
            issued: own.issued,
            not_after: own.not_after,
            epoch: own.epoch,
            issuer: chain.issuer.as_ref().map(|issuer| issuer.claimed().peer),
            refused: judged.err(),
            holds_mesh_key: folder.mesh_key_file().exists(),
            revocations_version: list.map_or(0, |list| list.version),
            revoked: list.map_or_else(Vec::new, |list| list.nodes.iter().copied().collect()),
            open_tickets: tickets::open(&folder.tickets_file(), now),
        })
    }

    /// Takes a list that somebody showed in, where it is newer; whether it did.
    fn adopt(&self, offered: &Signed<Revocations>) -> Result<bool, MembershipError> {
        let newer = |known: &Known| {
            known.mesh().is_some_and(|mesh| {
                supersedes(mesh, known.revocations(), offered, &identity::verify)
            })
        };
        if !newer(&self.known()) {
            return Ok(false);
        }
        let folder = &self.shared.folder;
        let lock = folder.lock()?;
        // Another process may have been quicker.
        if !newer(&self.fresh(&lock)?) {
            return Ok(false);
        }
        folder.store_revocations(offered)?;
        self.known();
        Ok(true)
    }

    fn house<'a>(&self, known: &'a Known) -> House<'a> {
        House {
            mesh: known.mesh(),
            revocations: known.revocations(),
            trusted: &known.trusted,
            blocked: &known.blocked,
            open: self.shared.open,
        }
    }
}

/// A multiaddress as a ticket says it: what the user wrote, without this node's own name at its end.
///
/// # Errors
/// When it is none.
pub fn address(text: &str) -> Result<Arc<str>, MembershipError> {
    let parsed = text.trim().parse::<libp2p::Multiaddr>();
    let mut address = parsed.map_err(|error| MembershipError::NotAnAddress {
        text: text.chars().take(80).collect(),
        message: error.to_string(),
    })?;
    // A ticket names its issuer once.
    if let Some(libp2p::multiaddr::Protocol::P2p(_)) = address.iter().last() {
        address.pop();
    }
    Ok(address.to_string().into())
}

fn already(mesh: NodeId) -> MembershipError {
    MembershipError::AlreadyMember {
        mesh: identity::show(mesh),
    }
}

fn read(folder: &Folder, trust: &BTreeSet<NodeId>) -> Result<Known, MembershipError> {
    let Peers { trusted, blocked } = Peers::open(folder.data())?;
    Ok(Known {
        chain: folder.chain()?,
        revocations: folder.revocations()?,
        trusted: trusted.union(trust).copied().collect(),
        blocked,
    })
}
