//! Every message through the wire's code: what is heard is what was decoded, and sizes are real bytes.
//!
//! One door, so that the simulator exercises the codec with everything that machines say. Called by [`super::net`].

use crate::consent::Message;
use crate::wire::v1;

/// A message as it is on the way: its bytes, and what they say.
///
/// # Errors
/// What is wrong with the codec: it refuses a machine's message, or what it wrote says something else.
pub(super) fn transit(message: &Message) -> Result<(Message, Vec<u8>), String> {
    let bytes = v1::encode(message).map_err(|e| format!("{message:?} is not encoded: {e:?}"))?;
    let heard = v1::decode(&bytes).map_err(|e| format!("{message:?} is not decoded: {e:?}"))?;
    if heard == *message {
        Ok((heard, bytes))
    } else {
        Err(format!("{message:?} became {heard:?}"))
    }
}

/// What a peer makes of bytes that may be no message.
pub(super) fn heard(bytes: &[u8]) -> Option<Message> {
    v1::decode(bytes).ok()
}
