//! The schema that is published under docs/ against the parser: they know the same keys, bounds and defaults.

use super::*;

/// The schema that is published knows the same keys and bounds as the parser.
#[test]
fn the_published_schema_says_the_same() {
    let schema: serde_json::Value = serde_json::from_str(include_str!(
        "../../../../../docs/schema/pipeline.schema.json"
    ))
    .unwrap();
    let keys = |pointer: &str| -> Vec<String> {
        let table = schema
            .pointer(pointer)
            .and_then(serde_json::Value::as_object)
            .unwrap();
        let mut keys: Vec<String> = table.keys().cloned().collect();
        keys.sort();
        keys
    };
    let known = |at: &str| -> Vec<String> {
        let wrong = if at.is_empty() {
            task("zzzzzz = 1")
        } else {
            task(&format!("{at} = {{ zzzzzz = 1 }}"))
        };
        let hint = mistake(&wrong).hints.remove(0);
        let mut known: Vec<String> = hint
            .strip_prefix("known keys: ")
            .unwrap()
            .split(", ")
            .map(str::to_owned)
            .collect();
        known.sort();
        known
    };
    let of_task = keys("/$defs/task/properties");
    assert!(
        known("").iter().all(|key| of_task.contains(key)),
        "{of_task:?}"
    );
    for table in ["limits", "grants", "place", "foreach"] {
        assert_eq!(keys(&format!("/$defs/{table}/properties")), known(table));
    }
    let number = |pointer: &str| {
        schema
            .pointer(pointer)
            .and_then(serde_json::Value::as_u64)
            .unwrap()
    };
    assert_eq!(number("/properties/task/maxProperties"), MAX_TASKS as u64);
    assert_eq!(
        number("/$defs/task/properties/retries/maximum"),
        u64::from(MAX_RETRIES)
    );
    assert_eq!(
        number("/$defs/foreach/properties/matrix/maxProperties"),
        MAX_MATRIX_KEYS as u64
    );
    assert_eq!(schema.pointer("/properties/schema/const").unwrap(), SCHEMA);
    let limits = Limits::default();
    for (key, text) in [
        ("fuel", crate::units::exact_count(limits.fuel)),
        ("memory", crate::units::exact_bytes(limits.memory_bytes)),
        (
            "timeout",
            crate::units::exact_duration_ms(limits.timeout_ms),
        ),
        ("output", crate::units::exact_bytes(limits.output_bytes)),
    ] {
        assert_eq!(
            schema
                .pointer(&format!("/$defs/limits/properties/{key}/default"))
                .unwrap(),
            &text
        );
    }
}
