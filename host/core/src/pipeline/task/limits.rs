//! Reading a task's `limits`: figures with units, and their bounds.

use super::Context;
use crate::diagnostic::quote;
use crate::pipeline::document::{Node, Value};
use crate::pipeline::fields::{Fields, Keys};
use crate::pipeline::{Limits, MAX_FUEL, MAX_MEMORY_BYTES, MAX_OUTPUT_BYTES, MAX_TIMEOUT_MS};
use crate::units::{self, UnitError};

/// The memory of the smallest module that has any, in bytes.
const MIN_MEMORY_BYTES: u64 = 64 * 1024;

const LIMITS: Keys = Keys {
    known: &["fuel", "memory", "timeout", "output"],
    instead: &[],
};

/// What a limit is counted in.
struct Kind {
    code: &'static str,
    expected: &'static str,
    example: &'static str,
    hint: &'static str,
    parse: fn(&str) -> Result<u64, UnitError>,
    show: fn(u64) -> String,
    /// Whether a plain integer is clear enough.
    plain: bool,
    min: u64,
    max: u64,
}

const FUEL: Kind = Kind {
    code: "pipeline::bad-count",
    expected: "a count",
    example: "`\"5G\"`",
    hint: "for instance `fuel = \"5G\"`; k, M, G and T are thousands, millions and so on",
    parse: units::parse_count,
    show: units::exact_count,
    plain: true,
    min: 1,
    max: MAX_FUEL,
};
const MEMORY: Kind = Kind {
    code: "pipeline::bad-size",
    expected: "a size",
    example: "`\"512MB\"`",
    hint: "for instance `memory = \"512MB\"`; or kB, GB, KiB, MiB, GiB",
    parse: units::parse_bytes,
    show: units::exact_bytes,
    plain: true,
    min: MIN_MEMORY_BYTES,
    max: MAX_MEMORY_BYTES,
};
const OUTPUT: Kind = Kind {
    hint: "for instance `output = \"100MB\"`; or kB, GB, KiB, MiB, GiB",
    min: 0,
    max: MAX_OUTPUT_BYTES,
    ..MEMORY
};
const TIMEOUT: Kind = Kind {
    code: "pipeline::bad-duration",
    expected: "a duration",
    example: "`\"5m\"`",
    hint: "for instance `timeout = \"5m\"`; or ms, s, h, d, also `\"1h30m\"`",
    parse: units::parse_duration_ms,
    show: units::exact_duration_ms,
    plain: false,
    min: 1,
    max: MAX_TIMEOUT_MS,
};

impl Context<'_> {
    pub(super) fn limits(&mut self, fields: Fields<'_>) -> Limits {
        let mut limits = Limits::default();
        let place = format!("{}.limits", self.place);
        let Some(table) = fields
            .get("limits")
            .and_then(|node| self.reader.fields(node, &place, &LIMITS))
        else {
            return limits;
        };
        let mut read = |key: &str, kind: &Kind| {
            let node = table.get(key)?;
            self.figure(node, &format!("{place}.{key}"), kind)
        };
        limits.fuel = read("fuel", &FUEL).unwrap_or(limits.fuel);
        limits.memory_bytes = read("memory", &MEMORY).unwrap_or(limits.memory_bytes);
        limits.timeout_ms = read("timeout", &TIMEOUT).unwrap_or(limits.timeout_ms);
        limits.output_bytes = read("output", &OUTPUT).unwrap_or(limits.output_bytes);
        limits
    }

    /// A figure with a unit; a plain integer where that is clear.
    fn figure(&mut self, node: &Node, place: &str, kind: &Kind) -> Option<u64> {
        let bad = |message: String| {
            node.at
                .diagnostic(kind.code, message)
                .label(kind.expected)
                .hint(kind.hint)
        };
        let number = match &node.value {
            Value::String(text) => match (kind.parse)(text) {
                Ok(number) => number,
                Err(error) => {
                    self.reader.report(bad(format!(
                        "{} is not {}: {error}",
                        quote(text),
                        kind.expected
                    )));
                    return None;
                }
            },
            Value::Integer(number) if kind.plain => match u64::try_from(*number) {
                Ok(number) => number,
                Err(_) => {
                    self.reader
                        .report(bad(format!("{number} is not {}", kind.expected)));
                    return None;
                }
            },
            Value::Integer(number) => {
                self.reader.report(bad(format!("{number} has no unit")));
                return None;
            }
            _ => {
                self.reader.wrong_type(
                    node,
                    place,
                    &format!("{} such as {}", kind.expected, kind.example),
                );
                return None;
            }
        };
        if number < kind.min || number > kind.max {
            let (low, high) = ((kind.show)(kind.min), (kind.show)(kind.max));
            let message = format!(
                "`{place}` is {}, and must be from {low} to {high}",
                (kind.show)(number)
            );
            self.reader.report(
                node.at
                    .diagnostic("pipeline::out-of-range", message)
                    .label("out of range"),
            );
            return None;
        }
        Some(number)
    }
}
