//! Base 64 as RFC 4648 has it, with padding: what envelopes and documents carry bytes in. Strict: one text for the same
//! bytes. Called by `receipts` alone.

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

pub(super) fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for part in bytes.chunks(3) {
        let mut group = [0; 4];
        if let Some(to) = group.get_mut(1..=part.len()) {
            to.copy_from_slice(part);
        }
        let group = u32::from_be_bytes(group);
        for place in 0..4 {
            let digit = DIGITS.get((group >> (18 - 6 * place)) as usize & 63);
            let is_there = place <= part.len();
            text.push(
                digit
                    .filter(|_| is_there)
                    .map_or('=', |digit| char::from(*digit)),
            );
        }
    }
    text
}

/// None where that is no such text.
pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    for part in text.as_bytes().chunks(4) {
        let digits = part.split(|byte| *byte == b'=').next().unwrap_or_default();
        let mut group = 0;
        for place in 0..4 {
            let value = match digits.get(place) {
                Some(digit) => DIGITS.iter().position(|known| known == digit)?,
                None => 0,
            };
            group = group << 6 | u32::try_from(value).ok()?;
        }
        let whole = group.to_be_bytes();
        bytes.extend_from_slice(whole.get(1..digits.len())?);
    }
    // Whatever else would mean the same is not taken.
    (encode(&bytes) == text).then_some(bytes)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    #[test]
    fn texts_are_those_of_the_standard_and_only_those() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(encode(bytes.as_bytes()), text);
            assert_eq!(decode(text).unwrap(), bytes.as_bytes());
        }
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(decode(&encode(&all)).unwrap(), all);
        for bad in [
            "Z", "Zg", "Zg=", "Zh==", "Zm9=", "Zg==Zg==", "Zm9v\n", "Zm-v", "====", "=",
        ] {
            assert_eq!(decode(bad), None, "{bad}");
        }
    }
}
