//! Tests of what is said of each mistake: its code, the text that it marks, and its hint.

use super::*;

#[test]
fn each_mistake_has_its_code_and_place() {
    for (text, code, mark) in [
        (
            tasks("[task.a]\ncomponent = 1\n"),
            "pipeline::wrong-type",
            "1",
        ),
        (tasks("[task.a]\n"), "pipeline::missing-program", "a"),
        (
            tasks("[task.a]\ncomponent='a'\ncrate='b'\n"),
            "pipeline::two-programs",
            "'b'",
        ),
        (
            tasks("[task.'a b']\ncomponent='a'\n"),
            "pipeline::bad-name",
            "'a b'",
        ),
        (
            tasks("[task.a]\nrun = 'cargo test'\n"),
            "pipeline::shell-task",
            "run",
        ),
        (tasks(""), "pipeline::no-tasks", ""),
        (tasks("[task]\nx = 1\n"), "pipeline::wrong-type", "1"),
        (
            tasks("[[task]]\ncomponent='a'\n"),
            "pipeline::wrong-type",
            "[[task]]",
        ),
        (tasks("x = \n"), "pipeline::syntax", ""),
        (
            "schema = 'sykli-wasm/2'\n".into(),
            "pipeline::bad-schema",
            "'sykli-wasm/2'",
        ),
        (
            "[task.a]\ncomponent='a'\n".into(),
            "pipeline::missing-schema",
            "",
        ),
        (task("inptus = []"), "pipeline::unknown-key", "inptus"),
        (
            task("limits = { fule = 1 }"),
            "pipeline::unknown-key",
            "fule",
        ),
        (
            task("grants = { disk = true }"),
            "pipeline::unknown-key",
            "disk",
        ),
        (task("inputs = 'x'"), "pipeline::wrong-type", "'x'"),
        (
            task("inputs = ['a/../b']"),
            "pipeline::bad-path",
            "'a/../b'",
        ),
        (task("inputs = ['[a']"), "pipeline::bad-glob", "'[a'"),
        (
            task("inputs = ['{item}']"),
            "pipeline::bad-glob",
            "'{item}'",
        ),
        (
            task("stdin = '/etc/passwd'"),
            "pipeline::bad-path",
            "'/etc/passwd'",
        ),
        (
            task("outputs = ['/tmp/**']"),
            "pipeline::bad-path",
            "'/tmp/**'",
        ),
        (task("after = ['b']"), "pipeline::unknown-task", "'b'"),
        (task("after = ['a']"), "pipeline::cycle", "a"),
        (
            task("args = ['{item}']"),
            "pipeline::bad-placeholder",
            "{item}",
        ),
        (
            task("foreach = { shards = 4 }\nargs = ['x{item}']"),
            "pipeline::bad-placeholder",
            "{item}",
        ),
        (
            task("params = { a = '{' }"),
            "pipeline::bad-placeholder",
            "{",
        ),
        (task("params = { a = nan }"), "pipeline::bad-value", "nan"),
        (task("foreach = '*'"), "pipeline::wrong-type", "'*'"),
        (task("foreach = { }"), "pipeline::bad-foreach", "{ }"),
        (
            task("foreach = { shards = 1, values = ['a'] }"),
            "pipeline::bad-foreach",
            "values",
        ),
        (
            task("foreach = { shards = 0 }"),
            "pipeline::out-of-range",
            "0",
        ),
        (
            task("foreach = { shards = 1000001 }"),
            "pipeline::out-of-range",
            "1000001",
        ),
        (
            task("foreach = { values = [] }"),
            "pipeline::bad-foreach",
            "[]",
        ),
        (
            task("foreach = { values = ['a', 'a'] }"),
            "pipeline::duplicate-value",
            "'a'",
        ),
        (
            task("foreach = { values = [\"\\n\"] }"),
            "pipeline::bad-value",
            "\"\\n\"",
        ),
        (
            task("foreach = { matrix = { item = ['a'] } }"),
            "pipeline::bad-name",
            "item",
        ),
        (
            task("foreach = { matrix = { os = ['a,b'] } }"),
            "pipeline::bad-value",
            "['a,b']",
        ),
        (
            task("limits = { memory = '512MX' }"),
            "pipeline::bad-size",
            "'512MX'",
        ),
        (
            task("limits = { memory = '8GiB' }"),
            "pipeline::out-of-range",
            "'8GiB'",
        ),
        (task("limits = { memory = -1 }"), "pipeline::bad-size", "-1"),
        (
            task("limits = { fuel = '5Q' }"),
            "pipeline::bad-count",
            "'5Q'",
        ),
        (task("limits = { fuel = 0 }"), "pipeline::out-of-range", "0"),
        (
            task("limits = { timeout = 5 }"),
            "pipeline::bad-duration",
            "5",
        ),
        (
            task("limits = { timeout = true }"),
            "pipeline::wrong-type",
            "true",
        ),
        (
            task("grants = { env = ['A=B'] }"),
            "pipeline::bad-name",
            "'A=B'",
        ),
        (
            task("env = { A = 'x' }\ngrants = { env = ['A'] }"),
            "pipeline::duplicate-env",
            "A",
        ),
        (task("env = { A = 1 }"), "pipeline::wrong-type", "1"),
        (
            task("grants = { net = ['*:80'] }"),
            "pipeline::bad-net",
            "'*:80'",
        ),
        (
            task("grants = { net = ['a:0'] }"),
            "pipeline::bad-net",
            "'a:0'",
        ),
        (
            task("grants = { clock = 'yes' }"),
            "pipeline::wrong-type",
            "'yes'",
        ),
        (
            task("place = { verify = 'quorum:1' }"),
            "pipeline::out-of-range",
            "'quorum:1'",
        ),
        (
            task("place = { verify = 'adit' }"),
            "pipeline::bad-value",
            "'adit'",
        ),
        (
            task("place = { labels = ['a b'] }"),
            "pipeline::bad-name",
            "'a b'",
        ),
        (task("retries = 101"), "pipeline::out-of-range", "101"),
        (task("retries = '1'"), "pipeline::wrong-type", "'1'"),
        (task("floats = 'exact'"), "pipeline::bad-value", "'exact'"),
        (
            task("outputs = ['x']\ninputs = ['x']"),
            "pipeline::input-is-output",
            "'x'",
        ),
    ] {
        assert_eq!(marked(&text), (code, mark.to_owned()), "{text}");
    }
}

#[test]
fn hints_can_be_pasted() {
    for (text, hint) in [
        (task("inptus = []"), "did you mean `inputs`?"),
        (task("needs = ['x']"), "write `after = [\"…\"]`"),
        (
            task("memory = '1GB'"),
            "write `limits = { memory = \"512MB\" }`",
        ),
        (task("inputs = 'x'"), "write a list: `inputs = [\"x\"]`"),
        (task("inputs = ['x/']"), "everything in a folder: `x/**`"),
        (
            task("foreach = 'a/*'"),
            "write `foreach = { glob = \"a/*\" }`",
        ),
        (task("floats = 'portabel'"), "did you mean `\"portable\"`?"),
        (
            task("foreach = { values = ['a'] }\nargs = ['{itme}']"),
            "did you mean `{item}`?",
        ),
        (
            tasks("[task.build]\ncomponent='a'\n[task.test]\ncomponent='b'\nafter=['biuld']\n"),
            "did you mean `build`?",
        ),
        (
            "[task.a]\ncomponent='a'\n".into(),
            "write `schema = \"sykli-wasm/1\"` as its first line",
        ),
    ] {
        let diagnostic = mistake(&text);
        assert_eq!(
            diagnostic.hints.first().map(String::as_str),
            Some(hint),
            "{text}"
        );
    }
}

#[test]
fn shell_pipelines_are_refused_as_such() {
    for (text, format) in [
        (
            r#"{"version": "1", "tasks": [{"name": "test", "command": "cargo test"}]}"#,
            Format::Json,
        ),
        ("[[task]]\nname = 'x'\nrun = 'make'\n", Format::Toml),
        ("[tasks.test]\nrun = 'cargo test'\n", Format::Toml),
    ] {
        let found = parse(text, format).unwrap_err();
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].code, "pipeline::shell-task");
        assert!(
            found[0].hints[0].contains("a component, not a shell line")
                || found[0].hints[0].contains("not a shell line")
        );
    }
}
