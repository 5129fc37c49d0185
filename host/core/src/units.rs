//! Sizes, durations and counts as people write them (`512MiB`, `1h30m`, `5G`), in and out.
//!
//! Two ways out: `exact_…` says the very number in the shortest form that parses back, for text that is pasted into a
//! pipeline; `human_…` rounds, for reading. Parsing is exact: what cannot be said as a whole number of the smallest
//! unit is refused, never rounded. Callers: [`crate::pipeline`], the command line's flags and renderers.

use std::fmt::Write as _;

/// Why a text is not a size, duration or count. Completes "… is not a size: ".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// It does not begin with a number.
    #[error("it does not begin with a number")]
    NoNumber,
    /// The number has no unit, and needs one.
    #[error("it has no unit, one of {expected}")]
    NoUnit {
        /// The units that there are.
        expected: &'static str,
    },
    /// There is no such unit.
    #[error("there is no unit `{unit}`, only {expected}")]
    UnknownUnit {
        /// What stands after the number, cut to a few characters.
        unit: String,
        /// The units that there are.
        expected: &'static str,
    },
    /// Durations go from the largest unit to the smallest, each once.
    #[error("its units are not in order: write `1h30m`")]
    Order,
    /// A fraction of the smallest unit.
    #[error("it is not a whole number of {smallest}")]
    NotWhole {
        /// The smallest unit.
        smallest: &'static str,
    },
    /// More than 64 bits hold.
    #[error("it is too large")]
    TooLarge,
}

type Units = &'static [(&'static str, u64)];

/// Largest first, so that the first that divides is the shortest.
const BYTES: Units = &[
    ("TiB", 1 << 40),
    ("TB", 1_000_000_000_000),
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("kB", 1000),
    ("B", 1),
];
const BYTES_EXPECTED: &str = "B, kB, MB, GB, TB, KiB, MiB, GiB or TiB";

const COUNTS: Units = &[
    ("P", 1_000_000_000_000_000),
    ("T", 1_000_000_000_000),
    ("G", 1_000_000_000),
    ("M", 1_000_000),
    ("k", 1000),
    ("", 1),
];
const COUNTS_EXPECTED: &str = "k, M, G, T or P";

const MILLISECONDS: Units = &[
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1000),
    ("ms", 1),
];
const MILLISECONDS_EXPECTED: &str = "ms, s, m, h or d";

/// Reads a size, in bytes: `500MB`, `1.5GiB`, `4096`. Letters may be of either case, `MB` may be short `M`.
///
/// # Errors
/// What is wrong with it.
pub fn parse_bytes(text: &str) -> Result<u64, UnitError> {
    let (number, unit) = number_and_unit(text)?;
    let lower = unit.to_ascii_lowercase();
    let full = match lower.as_str() {
        "" => "b".to_owned(),
        "k" | "m" | "g" | "t" => format!("{lower}b"),
        _ => lower,
    };
    let found = BYTES
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(&full));
    let (_, scale) = found.ok_or_else(|| unknown(unit, BYTES_EXPECTED))?;
    number.times(*scale, "bytes")
}

/// Reads a count: `5G`, `2.5M`, `1000`.
///
/// # Errors
/// What is wrong with it.
pub fn parse_count(text: &str) -> Result<u64, UnitError> {
    let (number, unit) = number_and_unit(text)?;
    let unit = if unit == "K" { "k" } else { unit };
    let found = COUNTS.iter().find(|(name, _)| *name == unit);
    let (_, scale) = found.ok_or_else(|| unknown(unit, COUNTS_EXPECTED))?;
    number.times(*scale, "units")
}

/// Reads a duration, in milliseconds: `5m`, `1h30m`, `1.5s`, `250ms`. A number alone is refused: of what?
///
/// # Errors
/// What is wrong with it.
pub fn parse_duration_ms(text: &str) -> Result<u64, UnitError> {
    let mut rest = text.trim();
    let (mut total, mut smallest) = (0u64, u64::MAX);
    loop {
        let (number, tail) = number_and_unit(rest)?;
        let end = tail
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(tail.len());
        let (unit, after) = tail.split_at(end);
        if unit.is_empty() {
            return Err(UnitError::NoUnit {
                expected: MILLISECONDS_EXPECTED,
            });
        }
        let found = MILLISECONDS.iter().find(|(name, _)| *name == unit);
        let (_, scale) = found.ok_or_else(|| unknown(unit, MILLISECONDS_EXPECTED))?;
        if *scale >= smallest {
            return Err(UnitError::Order);
        }
        smallest = *scale;
        total = total
            .checked_add(number.times(*scale, "milliseconds")?)
            .ok_or(UnitError::TooLarge)?;
        rest = after.trim_start();
        if rest.is_empty() {
            return Ok(total);
        }
    }
}

/// A decimal number: its digits as an integer, and how many of them stand after the point.
struct Number {
    digits: u128,
    decimals: u32,
}

impl Number {
    fn times(&self, scale: u64, smallest: &'static str) -> Result<u64, UnitError> {
        let product = self
            .digits
            .checked_mul(scale.into())
            .ok_or(UnitError::TooLarge)?;
        let divisor = 10u128.pow(self.decimals);
        if !product.is_multiple_of(divisor) {
            return Err(UnitError::NotWhole { smallest });
        }
        u64::try_from(product / divisor).map_err(|_| UnitError::TooLarge)
    }
}

/// Splits a text after its number. White space around both parts is dropped.
fn number_and_unit(text: &str) -> Result<(Number, &str), UnitError> {
    const MAX_DIGITS: usize = 20;
    const MAX_DECIMALS: usize = 9;
    let text = text.trim();
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let (whole, decimals) = number.split_once('.').unwrap_or((number, ""));
    let lone_point = number.contains('.') && decimals.is_empty();
    if whole.is_empty() || lone_point || decimals.contains('.') {
        return Err(UnitError::NoNumber);
    }
    let whole = whole.trim_start_matches('0');
    let decimals = decimals.trim_end_matches('0');
    if whole.len() > MAX_DIGITS {
        return Err(UnitError::TooLarge);
    }
    if decimals.len() > MAX_DECIMALS {
        return Err(UnitError::NotWhole {
            smallest: "the smallest unit",
        });
    }
    let digits = format!("0{whole}{decimals}")
        .parse()
        .map_err(|_| UnitError::TooLarge)?;
    Ok((
        Number {
            digits,
            decimals: u32::try_from(decimals.len()).unwrap_or(0),
        },
        unit.trim_start(),
    ))
}

fn unknown(unit: &str, expected: &'static str) -> UnitError {
    UnitError::UnknownUnit {
        unit: unit.chars().filter(|c| !c.is_control()).take(12).collect(),
        expected,
    }
}

/// The largest unit that divides the number.
fn exact(number: u64, units: Units) -> String {
    let divides = |scale: u64| number != 0 && number.is_multiple_of(scale);
    let (name, scale) = units
        .iter()
        .find(|(_, scale)| divides(*scale))
        .copied()
        .unwrap_or_else(|| smallest(units));
    format!("{}{name}", number / scale)
}

fn smallest(units: Units) -> (&'static str, u64) {
    units.last().copied().unwrap_or(("", 1))
}

/// A size that parses back to the same number: `512MiB`, `500MB`, `1025B`.
#[must_use]
pub fn exact_bytes(bytes: u64) -> String {
    exact(bytes, BYTES)
}

/// A count that parses back to the same number: `5G`, `1234`.
#[must_use]
pub fn exact_count(count: u64) -> String {
    exact(count, COUNTS)
}

/// A duration that parses back to the same number: `1h30m`, `250ms`, `0ms`.
#[must_use]
pub fn exact_duration_ms(ms: u64) -> String {
    if ms == 0 {
        return "0ms".to_owned();
    }
    let (mut rest, mut text) = (ms, String::new());
    for (name, scale) in MILLISECONDS {
        if rest >= *scale {
            // Writing to a String cannot fail.
            let _ = write!(text, "{}{name}", rest / scale);
            rest %= scale;
        }
    }
    text
}

/// Three digits and a unit.
fn rounded(number: u64, units: &[(&str, u64)]) -> String {
    for (name, scale) in units {
        if number < *scale && *scale > 1 {
            continue;
        }
        if *scale <= 1 {
            return format!("{number}{name}");
        }
        let tenths = u128::from(number) * 10 / u128::from(*scale);
        return if tenths < 1000 && tenths % 10 != 0 {
            format!("{}.{}{name}", tenths / 10, tenths % 10)
        } else {
            format!("{}{name}", tenths / 10)
        };
    }
    number.to_string()
}

/// A size for reading, rounded down: `1.5 GB`, `12 kB`, `7 B`.
#[must_use]
pub fn human_bytes(bytes: u64) -> String {
    rounded(
        bytes,
        &[
            (" TB", 1_000_000_000_000),
            (" GB", 1_000_000_000),
            (" MB", 1_000_000),
            (" kB", 1000),
            (" B", 1),
        ],
    )
}

/// A count for reading, rounded down: `1.5G`, `12k`, `7`.
#[must_use]
pub fn human_count(count: u64) -> String {
    rounded(count, COUNTS)
}

/// A duration for reading: `7ms`, `1.2s`, `2m 5s`, `1h 30m`, `3d 4h`.
#[must_use]
pub fn human_duration_ms(ms: u64) -> String {
    const MINUTE: u64 = 60;
    const HOUR: u64 = 60 * MINUTE;
    const DAY: u64 = 24 * HOUR;
    let seconds = ms / 1000;
    match seconds {
        0 => format!("{ms}ms"),
        1..MINUTE => format!("{seconds}.{}s", ms % 1000 / 100),
        MINUTE..HOUR => format!("{}m {}s", seconds / MINUTE, seconds % MINUTE),
        HOUR..DAY => format!("{}h {}m", seconds / HOUR, seconds % HOUR / MINUTE),
        _ => format!("{}d {}h", seconds / DAY, seconds % DAY / HOUR),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes_are_read() {
        for (text, bytes) in [
            ("0", 0),
            ("4096", 4096),
            ("500MB", 500_000_000),
            ("500 mb", 500_000_000),
            ("512MiB", 512 << 20),
            ("1.5GiB", 3 << 29),
            ("2G", 2_000_000_000),
            ("0.001kB", 1),
            ("18446744073709551615B", u64::MAX),
        ] {
            assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
        }
        let unknown = |unit: &str| UnitError::UnknownUnit {
            unit: unit.into(),
            expected: BYTES_EXPECTED,
        };
        for (text, error) in [
            ("", UnitError::NoNumber),
            ("MB", UnitError::NoNumber),
            ("-1", UnitError::NoNumber),
            (".5GB", UnitError::NoNumber),
            ("5.GB", UnitError::NoNumber),
            ("1.2.3B", UnitError::NoNumber),
            ("5 XB", unknown("XB")),
            ("5MBs", unknown("MBs")),
            ("1.5B", UnitError::NotWhole { smallest: "bytes" }),
            ("18446744073709551616", UnitError::TooLarge),
            (
                "99999999999999999999999999999999999999999999",
                UnitError::TooLarge,
            ),
            ("99999999TB", UnitError::TooLarge),
        ] {
            assert_eq!(parse_bytes(text), Err(error), "{text}");
        }
    }

    #[test]
    fn counts_and_durations_are_read() {
        assert_eq!(parse_count("5G"), Ok(5_000_000_000));
        assert_eq!(parse_count("2.5K"), Ok(2500));
        assert!(parse_count("5g").is_err());
        for (text, ms) in [
            ("5m", 300_000),
            ("1h30m", 5_400_000),
            ("1h 30m", 5_400_000),
            ("250ms", 250),
            ("1.5s", 1500),
            ("0s", 0),
        ] {
            assert_eq!(parse_duration_ms(text), Ok(ms), "{text}");
        }
        assert_eq!(
            parse_duration_ms("5"),
            Err(UnitError::NoUnit {
                expected: MILLISECONDS_EXPECTED
            })
        );
        assert_eq!(parse_duration_ms("30m1h"), Err(UnitError::Order));
        assert_eq!(parse_duration_ms("1m1m"), Err(UnitError::Order));
        assert_eq!(
            parse_duration_ms("0.5ms"),
            Err(UnitError::NotWhole {
                smallest: "milliseconds"
            })
        );
        assert!(parse_duration_ms("5 minutes").is_err());
        assert!(parse_duration_ms("99999999999999999d").is_err());
    }

    #[test]
    fn figures_are_written_for_people() {
        assert_eq!(human_bytes(7), "7 B");
        assert_eq!(human_bytes(1_550_000_000), "1.5 GB");
        assert_eq!(human_bytes(999_999), "999 kB");
        assert_eq!(human_bytes(2000), "2 kB");
        assert_eq!(human_count(0), "0");
        assert_eq!(human_count(12_345), "12.3k");
        assert_eq!(human_duration_ms(999), "999ms");
        assert_eq!(human_duration_ms(1234), "1.2s");
        assert_eq!(human_duration_ms(125_000), "2m 5s");
        assert_eq!(human_duration_ms(5_400_000), "1h 30m");
        assert_eq!(human_duration_ms(u64::MAX), "213503982334d 14h");
        assert_eq!(exact_bytes(512 << 20), "512MiB");
        assert_eq!(exact_bytes(0), "0B");
        assert_eq!(exact_count(1_000_000_000_000), "1T");
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_is_written_exactly_is_read_back(shift in 0u32..64, low in any::<u64>()) {
            for number in [low >> shift, (low >> shift) / 1000 * 1000, low >> shift << shift] {
                prop_assert_eq!(parse_bytes(&exact_bytes(number)), Ok(number));
                prop_assert_eq!(parse_count(&exact_count(number)), Ok(number));
                prop_assert_eq!(parse_duration_ms(&exact_duration_ms(number)), Ok(number));
                let _ = (human_bytes(number), human_count(number), human_duration_ms(number));
            }
        }

        #[test]
        fn any_text_is_a_figure_or_an_error(text in "[0-9. a-zA-Z\\PC]{0,30}") {
            let _ = (parse_bytes(&text), parse_count(&text), parse_duration_ms(&text));
        }
    }
}
