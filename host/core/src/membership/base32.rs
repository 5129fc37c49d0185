//! Base 32 in Crockford's alphabet: no letter looks like a digit, case does not matter, a double click selects it, and a
//! QR code holds it in its dense mode. No padding, and one reading only: bits left over are zero. Called by the ticket.

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// Appends the digits of `bytes`.
pub(super) fn encode(bytes: &[u8], out: &mut String) {
    let (mut held, mut bits) = (0u32, 0u32);
    let mut digit = |five: u32| {
        let at = (five & 31) as usize;
        out.push(char::from(ALPHABET.get(at).copied().unwrap_or_default()));
    };
    for byte in bytes {
        held = (held << 8 | u32::from(*byte)) & 0xfff;
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            digit(held >> bits);
        }
    }
    if bits > 0 {
        digit(held << (5 - bits));
    }
}

/// The bytes of `digits`, in either case, with `o` read as 0 and `i` and `l` as 1. `None` where they are none.
pub(super) fn decode(digits: impl Iterator<Item = char>) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let (mut held, mut bits) = (0u32, 0u32);
    for c in digits {
        held = (held << 5 | value(c)?) & 0xfff;
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            bytes.push((held >> bits & 0xff) as u8);
        }
    }
    let left_over = held & ((1 << bits) - 1);
    (bits < 5 && left_over == 0).then_some(bytes)
}

fn value(c: char) -> Option<u32> {
    let c = match c.to_ascii_lowercase() {
        'o' => '0',
        'i' | 'l' => '1',
        c => c,
    };
    let at = ALPHABET.iter().position(|digit| char::from(*digit) == c)?;
    u32::try_from(at).ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn any_bytes_come_back() {
        for len in 0..40u8 {
            let bytes: Vec<u8> = (0..len).map(|n| n.wrapping_mul(151) ^ len).collect();
            let mut text = String::new();
            encode(&bytes, &mut text);
            assert_eq!(text.len(), (bytes.len() * 8).div_ceil(5));
            assert_eq!(decode(text.chars()), Some(bytes.clone()));
            assert_eq!(decode(text.to_ascii_uppercase().chars()), Some(bytes));
        }
    }

    #[test]
    fn what_looks_alike_reads_alike_and_the_rest_is_refused() {
        assert_eq!(decode("0o1l".chars()), decode("OOiI".chars()));
        for bad in ["u0", "é0", "0", "000", "01", "0!"] {
            assert_eq!(decode(bad.chars()), None, "{bad}");
        }
    }
}
