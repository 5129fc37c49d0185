//! What the formats of membership hold besides: what a node says of itself. Called by the files that know a format's shape.

use crate::consent::{Capabilities, Message};
use crate::dagcbor::{Reader, Writer};
use crate::signed::{FormatError, expected};
use crate::wire;

/// As the byte string of the frame that the consent protocol has for them: one shape, which knows how to grow.
pub(super) fn write_capabilities(
    capabilities: &Capabilities,
    out: &mut Writer<'_>,
) -> Result<(), FormatError> {
    let message = Message::Capabilities(Box::new(capabilities.clone()));
    out.bytes(&wire::encode(&message)?);
    Ok(())
}

pub(super) fn read_capabilities(input: &mut Reader<'_>) -> Result<Capabilities, FormatError> {
    let at = input.at();
    match wire::decode(input.bytes()?)? {
        Message::Capabilities(capabilities) => Ok(*capabilities),
        _ => Err(expected(at, "a node's capabilities")),
    }
}
