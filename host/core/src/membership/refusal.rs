//! Why a node is not let in: what the one says and the other hears, and what a person reads. Codes and numbers are public
//! and never used for something else. Called by the judge and the node's gate.

use crate::signed::FormatError;

/// Why a node is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Refusal {
    /// It shows no certificate, and nobody lists it.
    #[error("it is not a member, and not listed as trusted")]
    Stranger,
    /// The user has blocked it.
    #[error("it is blocked here")]
    Blocked,
    /// The mesh has revoked it, its issuer, or everything of its time.
    #[error("it is revoked")]
    Revoked,
    /// Its certificate, or its issuer's, has run out.
    #[error("its certificate has expired")]
    Expired,
    /// Its certificate, or its issuer's, begins later.
    #[error("its certificate is not valid yet")]
    NotYetValid,
    /// A signature is not by whom it must be, or the certificate is about somebody else.
    #[error("its certificate is not genuine")]
    Forged,
    /// Its certificate gives what its signer may not give.
    #[error("its certificate gives more than its signer may give")]
    Escalated,
    /// Its certificate would hold for longer than any may.
    #[error("its certificate holds for longer than 30 days")]
    TooLongLived,
    /// It belongs to another mesh.
    #[error("it belongs to another mesh")]
    WrongMesh,
    /// It runs under a more generous profile than its certificate allows.
    #[error("its profile is more generous than its certificate allows")]
    AboveCeiling,
    /// Two processes use one identity at the same time.
    #[error("its identity is used by two processes at once")]
    Clone,
    /// The ticket is unknown, used by another node, expired, or of another issuer.
    #[error("the ticket is unknown, used, expired or meant for another issuer")]
    BadTicket,
    /// It was asked for a certificate and issues none.
    #[error("it issues no certificates")]
    NotAnIssuer,
    /// No greeting, or not the one that was due.
    #[error("it does not greet as it should")]
    Malformed,
    /// A newer node's greeting, which is not understood here.
    #[error("it speaks a newer protocol")]
    Newer,
    /// The refusing node could not keep what it had to keep first.
    #[error("it cannot write to its disk")]
    Unavailable,
    /// The other end refused, for the reason of this number ([`Refusal::of_number`]). Never sent.
    #[error("it refused this node: {}", Refusal::told(*.0))]
    ByPeer(u8),
}

/// All that are sent, with their numbers and codes.
const TABLE: [(Refusal, u8, &str); 16] = [
    (Refusal::Stranger, 1, "hello::stranger"),
    (Refusal::Blocked, 2, "hello::blocked"),
    (Refusal::Revoked, 3, "hello::revoked"),
    (Refusal::Expired, 4, "hello::expired"),
    (Refusal::NotYetValid, 5, "hello::not-yet-valid"),
    (Refusal::Forged, 6, "hello::forged"),
    (Refusal::Escalated, 7, "hello::escalated"),
    (Refusal::TooLongLived, 8, "hello::too-long-lived"),
    (Refusal::WrongMesh, 9, "hello::wrong-mesh"),
    (Refusal::AboveCeiling, 10, "hello::above-ceiling"),
    (Refusal::Clone, 11, "hello::clone"),
    (Refusal::BadTicket, 12, "hello::bad-ticket"),
    (Refusal::NotAnIssuer, 13, "hello::not-an-issuer"),
    (Refusal::Malformed, 14, "hello::malformed"),
    (Refusal::Newer, 15, "hello::newer"),
    (Refusal::Unavailable, 16, "hello::unavailable"),
];

impl Refusal {
    fn row(self) -> Option<&'static (Refusal, u8, &'static str)> {
        TABLE.iter().find(|(refusal, _, _)| *refusal == self)
    }

    /// Its stable code.
    #[must_use]
    pub fn code(self) -> &'static str {
        self.row().map_or("hello::refused", |(_, _, code)| code)
    }

    /// Its number in a frame. What the other end said is passed on as it was.
    #[must_use]
    pub fn number(self) -> u64 {
        match (self, self.row()) {
            (Refusal::ByPeer(number), _) => number.into(),
            (_, row) => row.map_or(0, |(_, number, _)| (*number).into()),
        }
    }

    /// The reason of that number.
    ///
    /// # Errors
    /// [`FormatError::UnknownCode`] for one that a newer node may know.
    pub fn of_number(number: u64) -> Result<Refusal, FormatError> {
        TABLE
            .iter()
            .find(|(_, known, _)| u64::from(*known) == number)
            .map(|(refusal, _, _)| *refusal)
            .ok_or(FormatError::UnknownCode {
                what: "a refusal",
                code: number,
            })
    }

    /// What the other end says by refusing so.
    #[must_use]
    pub fn heard(self) -> Refusal {
        Refusal::ByPeer(u8::try_from(self.number()).unwrap_or_default())
    }

    /// The reason of the other end's, where it is this node's to know; else itself.
    #[must_use]
    pub fn reason(self) -> Refusal {
        match self {
            Refusal::ByPeer(number) => Refusal::of_number(number.into()).unwrap_or(self),
            other => other,
        }
    }

    fn told(number: u8) -> String {
        match Refusal::of_number(number.into()) {
            Ok(refusal) => format!("{} ({refusal})", refusal.code()),
            Err(_) => format!("reason {number}"),
        }
    }

    /// What the user can do, at the end that reads this.
    #[must_use]
    pub fn hint(self) -> &'static str {
        match self.reason() {
            Refusal::Stranger => {
                "invite it (`sykli mesh invite`), or list it on both ends: `sykli peers trust PEER`"
            }
            Refusal::Blocked => "`sykli peers trust PEER` takes a block back",
            Refusal::Revoked => {
                "a revoked identity stays out; a new one can be invited by an issuer"
            }
            Refusal::Expired => {
                "connect it to an issuer before its certificate runs out, or invite it again; check both clocks"
            }
            Refusal::NotYetValid => "check the clocks of both machines",
            Refusal::Forged | Refusal::Escalated | Refusal::TooLongLived => {
                "no honest node shows such a certificate: find out whose machine that is"
            }
            Refusal::WrongMesh => "`sykli mesh show` on both ends says which mesh each belongs to",
            Refusal::AboveCeiling => {
                "set a narrower node.profile there, or invite it again with a wider --ceiling"
            }
            Refusal::Clone => {
                "two machines hold the same identity.key: delete it on one of them and join anew from there"
            }
            Refusal::BadTicket => "ask for a new ticket: `sykli mesh invite` on an issuer",
            Refusal::NotAnIssuer => "take a ticket from an issuer of the mesh",
            Refusal::Malformed => "see that it runs sykli, and a version that fits",
            Refusal::Newer => "update sykli on the older of the two",
            Refusal::Unavailable => "free some space on that machine, and try again",
            Refusal::ByPeer(_) => {
                "update sykli here: the other end gives a reason that is not known yet"
            }
        }
    }
}
