//! The gate: what the transport asks about every connection, on both ends, before anything else is said on it.
//!
//! The dialler sends [`Gate::hello`]; the listener hands what came to [`Gate::answer`] and sends the reply; the dialler
//! hands that to [`Gate::conclude`]. With a ticket, [`Gate::join`] and [`Gate::conclude_join`] take the place of the
//! first and the last. `from` is always whom the transport has *proved* the other end to be.
//!
//! In passing, lists of revocations spread and certificates are renewed: an issuer that sees one in the last third of its
//! life sends a new one along, in its answer, or in its next hello where it is the one who dials.
//!
//! Frames are bounded by the caller to `MAX_FRAME_BYTES`. A greeting may write to the disk (a burnt ticket, a newer list,
//! a renewed certificate), a few synced small files; else it reads three files' times. It never sends anything
//! itself. Called by the mesh's transport from any thread.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sykli_core::consent::{Capabilities, Message};
use sykli_core::id::NodeId;
use sykli_core::membership::{
    self, Frame, Granted, Hello, Instance, Join, Refusal, Ticket, admit, within_ceiling,
};
use sykli_core::profile::ProfileKind;
use sykli_core::wire;

use super::live::{Live, Shown};
use super::{Membership, MembershipError, already};
use crate::identity;

/// A node that was let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admitted {
    /// What it says of itself.
    pub capabilities: Capabilities,
    /// A member, or listed by the user. Else a stranger in an open mesh: the lowest tier.
    pub trusted: bool,
    /// Others may be reached through it.
    pub relay: bool,
    /// Which process of it speaks: for [`Gate::up`] and [`Gate::down`].
    pub instance: Instance,
    /// The most generous profile that it may run under; [`Gate::permits`] holds it to that.
    pub ceiling: Option<ProfileKind>,
    /// Connections of another process of it still stand: drop them. It was restarted, or is cloned.
    pub supersedes: bool,
    /// It was given its first certificate just now. It greets anew, on another connection, before anything else.
    pub joined: bool,
}

/// What a listener answers, and what it makes of the other end.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The frame to send back. Also where the other end is refused: it is told why.
    pub reply: Vec<u8>,
    /// Whether it is let in. A refused one's connection is closed once the reply is out.
    pub outcome: Result<Admitted, Refusal>,
}

/// See the module. Cheap to clone.
#[derive(Clone)]
pub struct Gate {
    membership: Membership,
    own: Arc<Own>,
}

struct Own {
    instance: Instance,
    capabilities: Mutex<Capabilities>,
    live: Mutex<Live>,
}

impl std::fmt::Debug for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gate")
            .field("membership", &self.membership)
            .field("instance", &self.own.instance)
            .finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// That a frame can say them.
fn speakable(capabilities: &Capabilities) -> Result<(), MembershipError> {
    let message = Message::Capabilities(Box::new(capabilities.clone()));
    let encoded = wire::encode(&message).map(drop);
    Ok(encoded.map_err(membership::FormatError::from)?)
}

impl Membership {
    /// A gate for this process, which draws its instance. One a process.
    ///
    /// # Errors
    /// When `capabilities` exceed what a frame can say, or the system gives no random bytes.
    pub fn gate(&self, capabilities: Capabilities) -> Result<Gate, MembershipError> {
        speakable(&capabilities)?;
        let own = Own {
            instance: Instance(identity::random()?),
            capabilities: Mutex::new(capabilities),
            live: Mutex::default(),
        };
        Ok(Gate {
            membership: self.clone(),
            own: Arc::new(own),
        })
    }
}

impl Gate {
    /// What every hello says from now on.
    ///
    /// # Errors
    /// When a frame cannot say it; then nothing changes.
    pub fn set_capabilities(&self, capabilities: Capabilities) -> Result<(), MembershipError> {
        speakable(&capabilities)?;
        *lock(&self.own.capabilities) = capabilities;
        Ok(())
    }

    /// The membership that it judges by.
    #[must_use]
    pub fn membership(&self) -> &Membership {
        &self.membership
    }

    /// Which process of this node it is.
    #[must_use]
    pub fn instance(&self) -> Instance {
        self.own.instance
    }

    /// The first frame that the dialler of `to` sends.
    #[must_use]
    pub fn hello(&self, to: NodeId) -> Vec<u8> {
        self.keep_fresh();
        let seen = lock(&self.own.live)
            .shown(to)
            .and_then(|shown| shown.chain.clone());
        let renewed = seen.and_then(|chain| self.membership.renew(to, &chain));
        let known = self.membership.known();
        encode(&Frame::Hello(Box::new(Hello {
            instance: self.own.instance,
            capabilities: lock(&self.own.capabilities).clone(),
            chain: known.chain.clone(),
            revocations: known.revocations.clone(),
            renewed,
        })))
    }

    /// Where the mesh key is here, this node's own certificate never runs out while it runs.
    fn keep_fresh(&self) {
        if let Err(error) = self.membership.keep_own_fresh() {
            tracing::warn!(%error, "this node's own certificate cannot be renewed");
        }
    }

    /// The listener's judgement of the first frame of `from`, and its answer.
    #[must_use]
    pub fn answer(&self, from: NodeId, frame: &[u8]) -> Answer {
        let answered = match membership::decode(frame) {
            Ok(Frame::Hello(hello)) => self.answer_hello(from, &hello),
            Ok(Frame::Join(join)) => self.answer_join(from, &join),
            Ok(_) => Err(Refusal::Malformed),
            Err(error) if error.is_newer() => Err(Refusal::Newer),
            Err(_) => Err(Refusal::Malformed),
        };
        match answered {
            Ok((admitted, frame)) => Answer {
                reply: encode(&frame),
                outcome: Ok(admitted),
            },
            Err(refusal) => Answer {
                reply: encode(&Frame::Refused(refusal)),
                outcome: Err(refusal),
            },
        }
    }

    fn answer_hello(&self, from: NodeId, hello: &Hello) -> Result<(Admitted, Frame), Refusal> {
        let admitted = self.let_in(from, hello)?;
        self.keep_fresh();
        let renewed = hello
            .chain
            .as_ref()
            .and_then(|chain| self.membership.renew(from, chain));
        let known = self.membership.known();
        // The other end has said which list it knows: only a newer one is worth its bytes.
        let theirs = hello.revocations.as_ref().map(|list| list.claimed());
        let newer = known.revocations().is_some_and(|own| {
            theirs.is_none_or(|theirs| theirs.mesh != own.mesh || theirs.version < own.version)
        });
        let reply = Hello {
            instance: self.own.instance,
            capabilities: lock(&self.own.capabilities).clone(),
            chain: known.chain.clone(),
            revocations: known.revocations.clone().filter(|_| newer),
            renewed,
        };
        Ok((admitted, Frame::Admitted(Box::new(reply))))
    }

    fn answer_join(&self, from: NodeId, join: &Join) -> Result<(Admitted, Frame), Refusal> {
        let chain = self.membership.grant(from, &join.secret)?;
        let certificate = chain.claimed();
        let admitted = Admitted {
            capabilities: join.capabilities.clone(),
            trusted: true,
            relay: certificate.roles.relay,
            instance: join.instance,
            ceiling: Some(certificate.ceiling),
            supersedes: false,
            joined: true,
        };
        let granted = Granted {
            chain,
            revocations: self.membership.known().revocations.clone(),
        };
        Ok((admitted, Frame::Granted(Box::new(granted))))
    }

    /// The dialler's judgement of the answer of `from`.
    ///
    /// # Errors
    /// Why it is not let in; [`Refusal::ByPeer`] where it refused this node.
    pub fn conclude(&self, from: NodeId, frame: &[u8]) -> Result<Admitted, Refusal> {
        match answer(frame)? {
            Frame::Admitted(hello) => self.let_in(from, &hello),
            _ => Err(Refusal::Malformed),
        }
    }

    /// What both ends make of a hello.
    fn let_in(&self, from: NodeId, hello: &Hello) -> Result<Admitted, Refusal> {
        let membership = &self.membership;
        if from == membership.node_id() {
            return Err(if hello.instance == self.own.instance {
                Refusal::Malformed
            } else {
                Refusal::Clone
            });
        }
        // A list proves itself, whoever brings it; it may be about the one who does.
        if let Some(list) = &hello.revocations {
            note(membership.adopt(list), "a newer list of revocations");
        }
        let (known, now) = (membership.known(), membership.now());
        let house = membership.house(&known);
        let standing = admit(&house, from, hello, now, &identity::verify)?;
        let shown = Shown {
            capabilities: hello.capabilities.clone(),
            chain: hello.chain.clone(),
        };
        let supersedes = lock(&self.own.live).greet(from, hello.instance, shown, now)?;
        if let Some(chain) = &hello.renewed {
            note(
                membership.take_renewed(chain),
                "this node's new certificate",
            );
        }
        Ok(Admitted {
            capabilities: hello.capabilities.clone(),
            trusted: standing.trusted,
            relay: standing.relay,
            instance: hello.instance,
            ceiling: standing.ceiling,
            supersedes,
            joined: false,
        })
    }

    /// The first frame of a node that joins with `ticket`. To be sent to nobody but [`Ticket::issuer`], proved: it
    /// holds the secret.
    #[must_use]
    pub fn join(&self, ticket: &Ticket) -> Vec<u8> {
        encode(&Frame::Join(Box::new(Join {
            secret: ticket.secret.clone(),
            instance: self.own.instance,
            capabilities: lock(&self.own.capabilities).clone(),
        })))
    }

    /// Judges what the issuer answered, and keeps the certificate, durably.
    ///
    /// # Errors
    /// When the issuer refused, gave what does not hold, or it cannot be kept; or this node belongs to a mesh already.
    pub fn conclude_join(
        &self,
        from: NodeId,
        ticket: &Ticket,
        frame: &[u8],
    ) -> Result<(), MembershipError> {
        let refused = MembershipError::Refused;
        if from != ticket.issuer {
            return Err(refused(Refusal::BadTicket));
        }
        match answer(frame).map_err(refused)? {
            Frame::Granted(granted) => self.membership.take_granted(ticket.mesh, &granted),
            _ => Err(refused(Refusal::Malformed)),
        }
    }

    /// A connection of a node that was let in stands.
    pub fn up(&self, node: NodeId, instance: Instance) {
        lock(&self.own.live).up(node, instance);
    }

    /// It is gone.
    pub fn down(&self, node: NodeId, instance: Instance) {
        lock(&self.own.live).down(node, instance);
    }

    /// Whether a connected node may say that of itself, after its hello.
    ///
    /// # Errors
    /// [`Refusal::AboveCeiling`] where its certificate does not allow it: its connection is to be closed.
    pub fn permits(&self, from: NodeId, capabilities: &Capabilities) -> Result<(), Refusal> {
        let mut live = lock(&self.own.live);
        let chain = live.shown(from).and_then(|shown| shown.chain.as_ref());
        let ceiling = chain
            .map(|chain| chain.claimed())
            .filter(|own| Some(own.mesh) == self.membership.mesh())
            .map(|own| own.ceiling);
        if ceiling.is_some_and(|ceiling| !within_ceiling(ceiling, capabilities)) {
            return Err(Refusal::AboveCeiling);
        }
        live.changed(from, capabilities);
        Ok(())
    }

    /// The connected nodes that would not be let in now: revoked, blocked, expired, cloned since. To be asked now and
    /// then, and after each greeting; their connections are to be closed.
    #[must_use]
    pub fn fallen(&self) -> Vec<(NodeId, Refusal)> {
        let membership = &self.membership;
        let (known, now) = (membership.known(), membership.now());
        let house = membership.house(&known);
        let connected = lock(&self.own.live).connected(now);
        connected
            .into_iter()
            .filter_map(|(node, shown, instance, cloned)| {
                if cloned {
                    return Some((node, Refusal::Clone));
                }
                let hello = Hello {
                    instance,
                    capabilities: shown.capabilities,
                    chain: shown.chain,
                    revocations: None,
                    renewed: None,
                };
                let judged = admit(&house, node, &hello, now, &identity::verify);
                judged.err().map(|refusal| (node, refusal))
            })
            .collect()
    }
}

impl Membership {
    fn take_granted(&self, mesh: NodeId, granted: &Granted) -> Result<(), MembershipError> {
        let chain = &granted.chain;
        let judged = membership::judge_chain(
            mesh,
            self.node_id(),
            chain,
            None,
            self.now(),
            &identity::verify,
        );
        judged.map_err(MembershipError::Refused)?;
        let folder = &self.shared.folder;
        let lock = folder.lock()?;
        if let Some(mesh) = self.fresh(&lock)?.mesh() {
            return Err(already(mesh));
        }
        folder.store_chain(chain)?;
        drop(lock);
        if let Some(list) = &granted.revocations {
            self.adopt(list)?;
        }
        Ok(())
    }
}

/// A frame that answers one of this node's.
fn answer(frame: &[u8]) -> Result<Frame, Refusal> {
    match membership::decode(frame) {
        Ok(Frame::Refused(refusal)) => Err(refusal.heard()),
        Ok(frame) => Ok(frame),
        Err(error) if error.is_newer() => Err(Refusal::Newer),
        Err(_) => Err(Refusal::Malformed),
    }
}

/// What could not be kept is asked for again by the next greeting: no reason to refuse this one.
fn note(kept: Result<bool, MembershipError>, what: &'static str) {
    match kept {
        Ok(false) => {}
        Ok(true) => tracing::info!(what, "taken in"),
        Err(error) => tracing::warn!(what, %error, "cannot be kept"),
    }
}

/// Every part was held to its cap when it came in, so that a frame always fits; an empty one would be refused.
fn encode(frame: &Frame) -> Vec<u8> {
    membership::encode(frame).unwrap_or_else(|error| {
        tracing::error!(%error, "a greeting cannot be written");
        Vec::new()
    })
}
