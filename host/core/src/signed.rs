//! A value and a signature over its one encoding, in a domain of its own so that a signature on one kind of thing is
//! never one on another. It never makes or checks a signature itself: closures do. Called by [`crate::membership`] and
//! [`crate::receipt`], which know what is signed.

mod format;

pub use format::FormatError;
pub(crate) use format::{
    expected, read_bytes16, read_head, read_list, read_node, read_version, write_head,
    write_optional,
};

use crate::dagcbor::{Reader, Writer};
use crate::id::NodeId;

/// The length of a signature, in bytes.
pub const SIGNATURE_BYTES: usize = 64;

/// Checks a signature: whose, in which domain, over which bytes, which. See [`signing_input`].
pub type Verify<'a> = &'a dyn Fn(NodeId, &[u8], &[u8], &[u8]) -> bool;

/// What goes before everything that is signed: no other protocol's signatures of the same keys (Noise's and TLS's
/// handshakes, gossip) begin with it.
const PREFIX: &[u8] = b"sykli-signed\0";

/// The bytes that a key signs for `bytes` in `domain`: prefix, length of the domain (eight bytes, big endian), domain,
/// bytes. No two pairs give the same.
#[must_use]
pub fn signing_input(domain: &[u8], bytes: &[u8]) -> Vec<u8> {
    let length = (domain.len() as u64).to_be_bytes();
    [PREFIX, &length, domain, bytes].concat()
}

/// What can be signed. Sealed: nobody else has the types that its methods take.
#[allow(private_interfaces)]
pub trait Payload: Sized {
    /// The domain of its signatures.
    const DOMAIN: &'static [u8];
    /// The longest encoding with its signature, in bytes.
    const MAX_BYTES: usize;

    /// Writes its one encoding.
    fn write(&self, out: &mut Writer<'_>);
    /// Reads it.
    ///
    /// # Errors
    /// Whatever is not the canonical encoding.
    fn read(input: &mut Reader<'_>) -> Result<Self, FormatError>;
}

fn encoded<T: Payload>(value: &T) -> Vec<u8> {
    let mut out = Vec::new();
    value.write(&mut Writer::new(&mut out));
    out
}

/// A value with a signature, which nobody has checked yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed<T> {
    value: T,
    signature: [u8; SIGNATURE_BYTES],
}

impl<T: Payload> Signed<T> {
    /// Signs `value`; `sign` gets the domain and the bytes.
    #[must_use]
    pub fn new(value: T, sign: impl FnOnce(&[u8], &[u8]) -> [u8; SIGNATURE_BYTES]) -> Signed<T> {
        let signature = sign(T::DOMAIN, &encoded(&value));
        Signed { value, signature }
    }

    /// What was received in two parts.
    pub(crate) fn of_parts(value: T, signature: [u8; SIGNATURE_BYTES]) -> Signed<T> {
        Signed { value, signature }
    }

    /// The value, whoever may have signed it.
    #[must_use]
    pub fn claimed(&self) -> &T {
        &self.value
    }

    /// The signature, whoever may have made it.
    #[must_use]
    pub fn signature(&self) -> &[u8; SIGNATURE_BYTES] {
        &self.signature
    }

    /// Whether `signer` signed it.
    #[must_use]
    pub fn is_by(&self, signer: NodeId, verify: Verify<'_>) -> bool {
        verify(signer, T::DOMAIN, &encoded(&self.value), &self.signature)
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
    pub fn decode(bytes: &[u8]) -> Result<Signed<T>, FormatError> {
        if bytes.len() > T::MAX_BYTES {
            return Err(FormatError::TooLong {
                what: "something signed",
                max: T::MAX_BYTES,
            });
        }
        let mut input = Reader::new(bytes);
        let signed = Signed::read(&mut input)?;
        input.finish()?;
        Ok(signed)
    }

    pub(crate) fn write(&self, out: &mut Writer<'_>) {
        out.array(2);
        self.value.write(out);
        out.bytes(&self.signature);
    }

    pub(crate) fn read(input: &mut Reader<'_>) -> Result<Signed<T>, FormatError> {
        input.array_of(2, "a value and its signature")?;
        let value = T::read(input)?;
        let at = input.at();
        let signature = input.bytes()?;
        let signature = signature
            .try_into()
            .map_err(|_| expected(at, "a signature of 64 bytes"))?;
        Ok(Signed { value, signature })
    }
}
