//! What says that a node belongs to a mesh, and the chain of such sayings from the mesh key down to it. It never judges
//! one ([`super::judge`] does). Called by whoever issues, shows or keeps certificates.

use std::fmt;

use super::{MAX_CHAIN, MAX_LIFE_S};
use crate::dagcbor::{Reader, Writer};
use crate::id::NodeId;
use crate::profile::ProfileKind;
use crate::signed::{
    FormatError, Payload, Signed, expected, read_head, read_list, read_node, write_head,
};

/// What a node may be in its mesh.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Roles {
    /// It may connect, offer and take work.
    pub member: bool,
    /// It may certify members. Given by the mesh key alone.
    pub issuer: bool,
    /// Others may be reached through it.
    pub relay: bool,
}

const MEMBER: u64 = 1;
const ISSUER: u64 = 2;
const RELAY: u64 = 4;

impl Roles {
    /// A member and nothing else.
    pub const MEMBER: Roles = Roles {
        member: true,
        issuer: false,
        relay: false,
    };

    fn code(self) -> u64 {
        u64::from(self.member) * MEMBER
            + u64::from(self.issuer) * ISSUER
            + u64::from(self.relay) * RELAY
    }

    fn of_code(code: u64) -> Result<Roles, FormatError> {
        if code > MEMBER + ISSUER + RELAY {
            return Err(FormatError::UnknownCode {
                what: "a role",
                code,
            });
        }
        Ok(Roles {
            member: code & MEMBER != 0,
            issuer: code & ISSUER != 0,
            relay: code & RELAY != 0,
        })
    }

    /// The names of those that are held, as they are configured and shown.
    #[must_use]
    pub fn names(self) -> Vec<&'static str> {
        [
            (self.member, "member"),
            (self.issuer, "issuer"),
            (self.relay, "relay"),
        ]
        .into_iter()
        .filter_map(|(held, name)| held.then_some(name))
        .collect()
    }
}

impl fmt::Display for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.names().join(", "))
    }
}

/// A node's place in a mesh, for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The mesh: its key's public half.
    pub mesh: NodeId,
    /// Whom it is about.
    pub peer: NodeId,
    /// What it may be.
    pub roles: Roles,
    /// The most generous profile that it may run under.
    pub ceiling: ProfileKind,
    /// When it was issued, in seconds since 1970.
    pub issued: u64,
    /// Until when it holds, in seconds since 1970; at most [`MAX_LIFE_S`] later.
    pub not_after: u64,
    /// The mesh's epoch at the time: a list of revocations with a greater one voids it.
    pub epoch: u64,
}

impl Certificate {
    /// How long it holds at all, in seconds.
    #[must_use]
    pub fn life_s(&self) -> u64 {
        self.not_after.saturating_sub(self.issued)
    }

    /// Whether less than a third of its life is left, so that an issuer should renew it.
    #[must_use]
    pub fn is_fading(&self, now: u64) -> bool {
        self.not_after.saturating_sub(now) < self.life_s().div_ceil(3)
    }

    /// The same for a new while: from `now`, until `not_after` at the latest.
    #[must_use]
    pub fn renewed(&self, now: u64, not_after: u64, epoch: u64) -> Certificate {
        Certificate {
            issued: now,
            not_after: not_after.min(now.saturating_add(MAX_LIFE_S)),
            epoch,
            ..self.clone()
        }
    }
}

#[allow(private_interfaces)] // see the trait
impl Payload for Certificate {
    const DOMAIN: &'static [u8] = b"sykli/certificate/1";
    const MAX_BYTES: usize = 256;

    fn write(&self, out: &mut Writer<'_>) {
        write_head(out, 7);
        out.bytes(&self.mesh.0);
        out.bytes(&self.peer.0);
        out.uint(self.roles.code());
        out.uint(ceiling_code(self.ceiling));
        out.uint(self.issued);
        out.uint(self.not_after);
        out.uint(self.epoch);
    }

    fn read(input: &mut Reader<'_>) -> Result<Certificate, FormatError> {
        read_head(input, "a certificate", 7)?;
        Ok(Certificate {
            mesh: read_node(input)?,
            peer: read_node(input)?,
            roles: Roles::of_code(input.uint()?)?,
            ceiling: read_ceiling(input)?,
            issued: input.uint()?,
            not_after: input.uint()?,
            epoch: input.uint()?,
        })
    }
}

fn ceiling_code(ceiling: ProfileKind) -> u64 {
    match ceiling {
        ProfileKind::Lan => 0,
        ProfileKind::Wan => 1,
        ProfileKind::Mobile => 2,
        ProfileKind::Hostile => 3,
    }
}

fn read_ceiling(input: &mut Reader<'_>) -> Result<ProfileKind, FormatError> {
    match input.uint()? {
        0 => Ok(ProfileKind::Lan),
        1 => Ok(ProfileKind::Wan),
        2 => Ok(ProfileKind::Mobile),
        3 => Ok(ProfileKind::Hostile),
        code => Err(FormatError::UnknownCode {
            what: "a profile",
            code,
        }),
    }
}

/// A node's certificate and, where the mesh key did not sign it, its issuer's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// The node's own.
    pub leaf: Signed<Certificate>,
    /// That of who signed it; `None` where the mesh key did.
    pub issuer: Option<Signed<Certificate>>,
}

impl Chain {
    /// The longest encoding, in bytes.
    pub const MAX_BYTES: usize = MAX_CHAIN * Certificate::MAX_BYTES + 1;

    /// What the node's own certificate says, whoever may have signed it.
    #[must_use]
    pub fn claimed(&self) -> &Certificate {
        self.leaf.claimed()
    }

    /// Its one encoding.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(&mut Writer::new(&mut out));
        out
    }

    /// Reads one that nothing follows.
    ///
    /// # Errors
    /// Whatever is not the canonical encoding, or too long.
    pub fn decode(bytes: &[u8]) -> Result<Chain, FormatError> {
        if bytes.len() > Chain::MAX_BYTES {
            return Err(FormatError::TooLong {
                what: "a chain of certificates",
                max: Chain::MAX_BYTES,
            });
        }
        let mut input = Reader::new(bytes);
        let chain = Chain::read(&mut input)?;
        input.finish()?;
        Ok(chain)
    }

    pub(super) fn write(&self, out: &mut Writer<'_>) {
        out.array(1 + usize::from(self.issuer.is_some()));
        self.leaf.write(out);
        if let Some(issuer) = &self.issuer {
            issuer.write(out);
        }
    }

    pub(super) fn read(input: &mut Reader<'_>) -> Result<Chain, FormatError> {
        let at = input.at();
        let len = read_list(input, "certificates of a chain", MAX_CHAIN)?;
        if len == 0 {
            return Err(expected(at, "a chain of certificates"));
        }
        let leaf = Signed::read(input)?;
        let issuer = if len == 1 {
            None
        } else {
            Some(Signed::read(input)?)
        };
        Ok(Chain { leaf, issuer })
    }
}
