//! What can go wrong when a membership is made, changed or kept. Greetings that are refused are no errors of this kind:
//! they have [`Refusal`]s. Called by the membership; the command line shows it.

use std::io;
use std::path::{Path, PathBuf};

use sykli_core::membership::{FormatError, Refusal, TicketError};

use crate::identity::IdentityError;

/// What can go wrong with a membership.
#[derive(Debug, Clone, thiserror::Error)]
pub enum MembershipError {
    /// A key is missing, damaged or exposed.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// A file cannot be read or written.
    #[error("cannot use {}: {message}", path.display())]
    Unusable {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        message: String,
    },
    /// A file holds something else than it should.
    #[error("{} is damaged: {why}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// There is a membership already.
    #[error("this node belongs to the mesh {mesh} already")]
    AlreadyMember {
        /// The mesh, as a peer id.
        mesh: String,
    },
    /// There is none.
    #[error("this node belongs to no mesh")]
    NotAMember,
    /// Only an issuer can do that.
    #[error("this node issues no certificates")]
    NotAnIssuer,
    /// Only whoever holds the mesh key can do that.
    #[error("the mesh key is not here: {} does not exist", path.display())]
    NoMeshKey {
        /// Where it would be.
        path: PathBuf,
    },
    /// Leaving would leave the mesh key behind.
    #[error("the mesh key is here: {}", path.display())]
    HoldsMeshKey {
        /// Where it is.
        path: PathBuf,
    },
    /// The mesh key that is here is not this mesh's.
    #[error("{} is the key of another mesh", path.display())]
    ForeignMeshKey {
        /// Where it is.
        path: PathBuf,
    },
    /// A node cannot revoke itself.
    #[error("a node does not revoke itself")]
    OwnNode,
    /// A list is full.
    #[error("there are {max} {what}, no more fit")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// The cap.
        max: usize,
    },
    /// What was asked for does not fit into a ticket.
    #[error("no ticket can say that: {0}")]
    Unspeakable(#[from] FormatError),
    /// A text is no multiaddress.
    #[error("`{text}` is no multiaddress: {message}")]
    NotAnAddress {
        /// The text.
        text: String,
        /// What is wrong with it.
        message: String,
    },
    /// A ticket is to hold for longer than any may.
    #[error("a ticket holds for 30 days at most")]
    TooLongLived,
    /// A text is no ticket.
    #[error(transparent)]
    Ticket(#[from] TicketError),
    /// A ticket has run out.
    #[error("the ticket has expired")]
    TicketExpired,
    /// The issuer could not be reached.
    #[error("the issuer could not be reached: {message}")]
    Unreached {
        /// What the transport said.
        message: String,
    },
    /// The issuer, or this node judging its answer, said no.
    #[error("not joined: {0}")]
    Refused(Refusal),
}

impl MembershipError {
    /// The stable code of this error.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            MembershipError::Identity(error) => error.code(),
            MembershipError::Unusable { .. } => "mesh::unusable",
            MembershipError::Damaged { .. } => "mesh::damaged",
            MembershipError::AlreadyMember { .. } => "mesh::already-member",
            MembershipError::NotAMember => "mesh::not-a-member",
            MembershipError::NotAnIssuer => "mesh::not-an-issuer",
            MembershipError::NoMeshKey { .. } => "mesh::no-mesh-key",
            MembershipError::HoldsMeshKey { .. } => "mesh::holds-mesh-key",
            MembershipError::ForeignMeshKey { .. } => "mesh::foreign-mesh-key",
            MembershipError::OwnNode => "mesh::own-node",
            MembershipError::TooMany { .. } => "mesh::too-many",
            MembershipError::Unspeakable(_) => "mesh::unspeakable",
            MembershipError::NotAnAddress { .. } => "mesh::not-an-address",
            MembershipError::TooLongLived => "mesh::too-long-lived",
            MembershipError::Ticket(error) => error.code(),
            MembershipError::TicketExpired => "ticket::expired",
            MembershipError::Unreached { .. } => "mesh::unreached",
            MembershipError::Refused(refusal) => refusal.reason().code(),
        }
    }

    /// What the user can do.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            MembershipError::Identity(error) => error.hint(),
            MembershipError::Unusable { path, .. } => format!(
                "see that {} is yours and can be written, or set XDG_DATA_HOME to another folder",
                path.display()
            ),
            MembershipError::Damaged { path, .. } => format!(
                "restore {} from a backup; or move it away, and join or set it anew",
                path.display()
            ),
            MembershipError::AlreadyMember { .. } => {
                "`sykli mesh leave` first: a node belongs to one mesh".to_owned()
            }
            MembershipError::NotAMember => {
                "`sykli mesh create` makes a mesh, `sykli mesh join TICKET` joins one".to_owned()
            }
            MembershipError::NotAnIssuer => {
                "do it on an issuer: the node that made the mesh, or one invited with --role issuer"
                    .to_owned()
            }
            MembershipError::NoMeshKey { path } => format!(
                "put the mesh key back as {}, or do it where it is kept",
                path.display()
            ),
            MembershipError::HoldsMeshKey { path } => format!(
                "move {} to a safe place first: without it nobody can be revoked and no issuer be made",
                path.display()
            ),
            MembershipError::ForeignMeshKey { path } => {
                format!("move {} away, or leave this mesh", path.display())
            }
            MembershipError::OwnNode => "`sykli mesh leave` leaves".to_owned(),
            MembershipError::TooMany { what, .. } => match *what {
                "revoked nodes" => {
                    "`sykli mesh revoke --everyone` voids every certificate and begins a new list"
                        .to_owned()
                }
                "tickets that have not expired" => {
                    "wait until some expire, and give new ones a shorter --expires".to_owned()
                }
                _ => "take some off the list".to_owned(),
            },
            MembershipError::Unspeakable(_) => {
                "give fewer or shorter addresses: --address, up to eight times".to_owned()
            }
            MembershipError::NotAnAddress { .. } => {
                "as in /ip4/192.168.1.42/udp/4242/quic-v1 or /dns4/example.org/tcp/4242".to_owned()
            }
            MembershipError::TooLongLived => "as in --expires 24h".to_owned(),
            MembershipError::Ticket(error) => error.hint().to_owned(),
            MembershipError::TicketExpired => {
                "ask for a new one: `sykli mesh invite` on an issuer; or set the clock right"
                    .to_owned()
            }
            MembershipError::Unreached { .. } => {
                "is `sykli node start` running there, and can its addresses be reached from here?"
                    .to_owned()
            }
            MembershipError::Refused(refusal) => refusal.hint().to_owned(),
        }
    }

    pub(super) fn io(path: &Path, error: &io::Error) -> MembershipError {
        MembershipError::Unusable {
            path: path.to_owned(),
            message: error.to_string(),
        }
    }
}
