//! Tests of parsing and judging a pipeline: what it means, and what is said when it is wrong.
#![allow(clippy::unwrap_used, clippy::panic)]

use super::*;
use crate::diagnostic::MAX_DIAGNOSTICS;
use proptest::prelude::*;

mod mistakes;
mod schema;

const FULL: &str = r#"
schema = "sykli-wasm/1"

[pipeline]
name = "thumbnails"

[task.list]
component = "./tasks/list.wasm"
inputs    = ["photos/**/*.jpg"]
outputs   = ["index.json"]

[task.shrink]
crate     = "tasks/shrink/"
after     = ["list"]
foreach   = { glob = "photos/**/*.jpg" }
args      = ["--width", "320", "{item}"]
outputs   = ["thumbs/**"]
stdin     = "list/index.json"
export    = false
params    = { z = 1, a = { y = [true, "{item.name}"], x = 1.5 }, quote = "\"" }
env       = { LC_ALL = "C" }
limits    = { fuel = "5G", memory = "512MB", timeout = "5m", output = "100MB" }
grants    = { env = ["TZ", "LANG", "TZ"], net = ["example.org:443"], clock = false, random = true }
place     = { labels = ["gpu"], mesh = true, steal = false, verify = "quorum:3" }
retries   = 2
floats    = "portable"
"#;

fn toml(text: &str) -> Result<Pipeline, Vec<Diagnostic>> {
    parse(text, Format::Toml)
}

/// A document of the tasks given.
fn tasks(text: &str) -> String {
    format!("schema = \"sykli-wasm/1\"\n{text}")
}

/// A document with one task that has these lines.
fn task(lines: &str) -> String {
    tasks(&format!("[task.a]\ncomponent = \"a.wasm\"\n{lines}\n"))
}

/// The only mistake of a document.
fn mistake(text: &str) -> Diagnostic {
    let mut found = toml(text).map(|_| text.to_owned()).unwrap_err();
    assert_eq!(found.len(), 1, "{found:#?}");
    found.remove(0)
}

/// The code of the only mistake, and the text that it marks.
fn marked(text: &str) -> (&'static str, String) {
    let diagnostic = mistake(text);
    let span = diagnostic.span.unwrap_or(0..0);
    (
        diagnostic.code,
        text.get(span).unwrap_or("OUTSIDE").to_owned(),
    )
}

#[test]
fn every_key_is_resolved() {
    let pipeline = toml(FULL).unwrap();
    assert_eq!(pipeline.name, "thumbnails");
    let [list, shrink] = &pipeline.tasks[..] else {
        panic!("two tasks")
    };
    assert_eq!(list.program, Program::Component("tasks/list.wasm".into()));
    assert_eq!(list.inputs, [Pattern::new("photos/**/*.jpg").unwrap()]);
    assert!(
        list.export && list.after.is_empty() && list.foreach.is_none() && list.grants.is_pure()
    );
    assert_eq!(
        (list.limits, list.place.clone(), list.floats),
        (Limits::default(), Place::default(), Floats::Fast)
    );
    assert_eq!(list.params_json.as_constant(), Some("{}"));

    assert_eq!(shrink.program, Program::Crate("tasks/shrink".into()));
    assert_eq!(shrink.after, [0]);
    assert_eq!(
        shrink.foreach,
        Some(Foreach::Glob(Pattern::new("photos/**/*.jpg").unwrap()))
    );
    assert_eq!(
        shrink.args.iter().map(Template::as_str).collect::<Vec<_>>(),
        ["--width", "320", "{item}"]
    );
    assert_eq!(
        shrink.stdin.as_ref().map(Template::as_str),
        Some("list/index.json")
    );
    assert!(!shrink.export);
    assert_eq!(
        shrink.env,
        BTreeMap::from([("LC_ALL".to_owned(), "C".to_owned())])
    );
    let limits = Limits {
        fuel: 5_000_000_000,
        memory_bytes: 512_000_000,
        timeout_ms: 300_000,
        output_bytes: 100_000_000,
    };
    assert_eq!(shrink.limits, limits);
    assert_eq!(shrink.grants.env, ["LANG", "TZ"]);
    assert_eq!(shrink.grants.net, ["example.org:443"]);
    assert!(shrink.grants.random && !shrink.grants.is_pure());
    let place = Place {
        labels: vec!["gpu".into()],
        mesh: true,
        steal: false,
        verify: Verify::Quorum(3),
    };
    assert_eq!(shrink.place, place);
    assert_eq!((shrink.retries, shrink.floats), (2, Floats::Portable));
    assert_eq!(shrink.params["z"], 1);
    let bindings = crate::template::Bindings {
        item: "p/a\"b.jpg",
        index: 0,
        count: 1,
        keys: &[],
    };
    assert_eq!(
        shrink
            .params_json
            .fill(&bindings, crate::template::Escape::Json),
        r#"{"a":{"x":1.5,"y":[true,"a\"b.jpg"]},"quote":"\"","z":1}"#
    );
    assert_eq!(FULL.get(shrink.span().unwrap()), Some("shrink"));
}

#[test]
fn the_node_is_told_what_to_list() {
    let text = format!("{FULL}\n[task.c]\ncomponent = 'c'\nstdin = 'a.txt'\ninputs = ['b/*']\n");
    let patterns = toml(&text).unwrap().workspace_patterns();
    let texts: Vec<&str> = patterns.iter().map(Pattern::as_str).collect();
    assert_eq!(texts, ["a.txt", "b/*", "photos/**/*.jpg"]);
}

#[test]
fn the_same_document_can_be_json() {
    let pipeline = parse(
        r#"{"schema": "sykli-wasm/1", "pipeline": {"name": "p"}, "task": {
            "z": {"component": "z.wasm", "params": {"n": null, "big": 18446744073709551615}},
            "a": {"component": "a.wasm", "after": ["z"], "foreach": {"matrix": {"os": ["linux", "mac"], "bits": [32, 64]}},
                  "args": ["{os}-{bits}"]}}}"#,
        Format::Json,
    )
    .unwrap();
    assert_eq!(
        pipeline
            .tasks
            .iter()
            .map(|task| task.name.as_str())
            .collect::<Vec<_>>(),
        ["z", "a"]
    );
    assert_eq!(pipeline.tasks[1].after, [0]);
    assert_eq!(
        pipeline.tasks[0].params_json.as_constant(),
        Some(r#"{"big":18446744073709551615,"n":null}"#)
    );
    assert!(pipeline.tasks[0].span().is_none());
    let matrix = BTreeMap::from([
        ("bits".to_owned(), vec!["32".to_owned(), "64".to_owned()]),
        ("os".to_owned(), vec!["linux".to_owned(), "mac".to_owned()]),
    ]);
    assert_eq!(pipeline.tasks[1].foreach, Some(Foreach::Matrix(matrix)));
}

#[test]
fn a_json_mistake_names_its_place() {
    let found = parse(
        r#"{"schema": "sykli-wasm/1", "task": {"a": {"component": "a.wasm", "args": ["x", 1]}}}"#,
        Format::Json,
    )
    .unwrap_err();
    assert_eq!(found[0].code, "pipeline::wrong-type");
    assert_eq!(
        found[0].message,
        "`task.a.args[1]` must be a string, found an integer (at `/task/a/args/1`)"
    );
    assert!(found[0].span.is_none());
    let text = "{\n  \"schema\": x\n}";
    let found = parse(text, Format::Json).unwrap_err();
    assert_eq!(
        (found[0].code, found[0].span.clone()),
        ("pipeline::syntax", Some(14..14))
    );
    let found = parse(r#"{"task": {}, "task": {}}"#, Format::Json).unwrap_err();
    assert!(
        found[0].message.contains("the key `task` is there twice"),
        "{}",
        found[0].message
    );
}

#[test]
fn several_mistakes_are_told_at_once_but_not_endlessly() {
    let found = toml(&task("inptus = []\nretries = 'x'\nfloats = 'y'")).unwrap_err();
    assert_eq!(found.len(), 3);
    assert!(found.is_sorted_by_key(|one| one.span.clone().map(|span| span.start)));
    let many: String = (0..1000).map(|n| format!("key{n} = 1\n")).collect();
    assert_eq!(toml(&task(&many)).unwrap_err().len(), MAX_DIAGNOSTICS);
}

#[test]
fn cycles_are_named_in_full() {
    let text = tasks(
        "[task.a]\ncomponent='x'\nafter=['c']\n[task.b]\ncomponent='x'\nafter=['a', 'd']\n\
         [task.c]\ncomponent='x'\nafter=['b']\n[task.d]\ncomponent='x'\n[task.e]\ncomponent='x'\nafter=['a']\n\
         [task.f]\ncomponent='x'\nafter=['g']\n[task.g]\ncomponent='x'\nafter=['f']\n",
    );
    let found = toml(&text).unwrap_err();
    let messages: Vec<&str> = found.iter().map(|one| one.message.as_str()).collect();
    assert_eq!(
        messages,
        [
            "tasks wait for each other in a circle: a → b → c → a",
            "tasks wait for each other in a circle: f → g → f",
        ]
    );
    assert_eq!(found[0].label, "comes after `c`");
}

#[test]
fn a_long_chain_is_no_cycle_and_a_long_cycle_is_one() {
    let chain = |first: &str| {
        let mut text = tasks(&format!("[task.t0]\ncomponent='x'\nafter=[{first}]\n"));
        for n in 1..MAX_TASKS {
            text.push_str(&format!(
                "[task.t{n}]\ncomponent='x'\nafter=['t{}']\n",
                n - 1
            ));
        }
        text
    };
    assert_eq!(toml(&chain("")).unwrap().tasks.len(), MAX_TASKS);
    let found = toml(&chain("'t9999'")).unwrap_err();
    assert_eq!(found.len(), 1);
    assert!(found[0].message.contains("t0 → t1 → ") && found[0].message.ends_with("… → t0"));
}

#[test]
fn outputs_that_meet_are_refused() {
    let two = |first: &str, second: &str| {
        tasks(&format!(
            "[task.a]\ncomponent='x'\noutputs=[{first}]\n[task.b]\ncomponent='x'\noutputs=[{second}]\n"
        ))
    };
    for (first, second) in [
        ("'x'", "'x'"),
        ("'out/x'", "'out/**'"),
        ("'*.txt'", "'a.txt'"),
        ("'out/**'", "'out/**'"),
        ("'x'", "'./x'"),
    ] {
        let (code, mark) = marked(&two(first, second));
        assert_eq!(
            (code, mark.as_str()),
            ("pipeline::duplicate-output", second),
            "{first} {second}"
        );
    }
    for (first, second) in [
        ("'x'", "'y'"),
        ("'a*'", "'*b'"),
        ("'out/x'", "'out/*/*'"),
        ("'x', 'x*'", "'y'"),
    ] {
        assert!(toml(&two(first, second)).is_ok(), "{first} {second}");
    }
    assert!(toml(&two("'x'", "'x']\nexport = false\nargs = [")).is_ok());
}

#[test]
fn a_folder_cannot_hide_behind_a_task() {
    let text = |input: &str| {
        tasks(&format!(
            "[task.list]\ncomponent='x'\n[task.b]\ncomponent='x'\nafter=['list']\ninputs=['{input}']\n"
        ))
    };
    assert_eq!(
        marked(&text("list/*.txt")),
        ("pipeline::shadowed-input", "'list/*.txt'".to_owned())
    );
    assert_eq!(marked(&text("list/a")).0, "pipeline::shadowed-input");
    assert!(toml(&text("list")).is_ok() && toml(&text("lists/*")).is_ok());
}

#[test]
fn documents_are_bounded() {
    let long = format!("#{}", "x".repeat(MAX_DOCUMENT_BYTES));
    assert_eq!(mistake(&long).code, "pipeline::too-large");
    let many: String = (0..=MAX_TASKS)
        .map(|n| format!("[task.t{n}]\ncomponent='x'\n"))
        .collect();
    assert_eq!(mistake(&tasks(&many)).code, "pipeline::too-large");
    let names: Vec<String> = (0..400).map(|n| format!("'t{n}'")).collect();
    let after = names.join(",");
    let dense: String = (0..400)
        .map(|n| format!("[task.t{n}]\ncomponent='x'\nafter=[{after}]\n"))
        .collect();
    assert_eq!(mistake(&tasks(&dense)).code, "pipeline::too-large");
}

#[test]
fn deep_nesting_ends_in_a_message() {
    for depth in [70, 100, 1000, 100_000] {
        let (open, close) = ("[".repeat(depth), "]".repeat(depth));
        let found = toml(&task(&format!("params = {{ a = {open}{close} }}"))).unwrap_err();
        assert!(
            ["pipeline::too-large", "pipeline::syntax"].contains(&found[0].code),
            "{found:?}"
        );
        let inline = format!("params = {}1{}", "{a=".repeat(depth), "}".repeat(depth));
        assert!(toml(&task(&inline)).is_err());
        assert!(toml(&format!("{}=1", vec!["a"; depth].join("."))).is_err());
        assert!(toml(&format!("[{}]", vec!["a"; depth].join("."))).is_err());
        let found = parse(&format!("{{\"a\":{open}{close}}}"), Format::Json).unwrap_err();
        assert!(
            ["pipeline::too-large", "pipeline::syntax"].contains(&found[0].code),
            "{found:?}"
        );
        assert!(
            parse(&open, Format::Json).is_err()
                && parse(&"{\"a\":".repeat(depth), Format::Json).is_err()
        );
    }
}

/// Every diagnostic can be rendered: its span is inside the text, its texts are bounded.
fn check(text: &str, format: Format) {
    if let Err(found) = parse(text, format) {
        assert!(!found.is_empty() && found.len() <= MAX_DIAGNOSTICS);
        for one in found {
            assert!(one.code.starts_with("pipeline::"));
            assert!(
                !one.message.is_empty() && one.message.len() < 20_000,
                "{}",
                one.message
            );
            if let Some(span) = one.span {
                assert!(text.get(span.clone()).is_some(), "{span:?} in {text:?}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_a_pipeline_or_an_error(text in "\\PC{0,200}", lines in "([a-z.\\[\\]{}=\"', \n0-9]{0,12}){0,20}") {
        for format in [Format::Toml, Format::Json] {
            check(&text, format);
            check(&lines, format);
            check(&tasks(&lines), format);
        }
    }

    #[test]
    fn a_valid_document_with_damage_is_a_pipeline_or_an_error(
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0usize..3, "[\\[\\]{}'\"=,.a*\n0é-]{1,3}"), 1..6),
        swap in any::<(prop::sample::Index, prop::sample::Index)>(),
    ) {
        let mut lines: Vec<&str> = FULL.lines().collect();
        let (a, b) = (swap.0.index(lines.len()), swap.1.index(lines.len()));
        lines.swap(a, b);
        let mut chars: Vec<char> = lines.join("\n").chars().collect();
        for (at, kind, with) in edits {
            let at = at.index(chars.len());
            match kind {
                0 => { chars.remove(at); }
                1 => { chars.splice(at..at, with.chars()); }
                _ => { let end = (at + 9).min(chars.len()); chars.drain(at..end); }
            }
        }
        check(&chars.into_iter().collect::<String>(), Format::Toml);
    }
}

#[test]
fn a_harness_is_a_crates() {
    let task = |body: &str| {
        let text =
            format!("schema = \"sykli-wasm/1\"\n[pipeline]\nname = \"x\"\n[task.t]\n{body}\n");
        toml(&text)
    };
    let program = |body: &str| task(body).unwrap().tasks[0].program.clone();
    assert_eq!(
        program("crate = 'p'\nharness = true"),
        Program::Tests("p".into())
    );
    assert_eq!(
        program("crate = 'p'\nharness = false"),
        Program::Crate("p".into())
    );
    let found = task("component = 'p.wasm'\nharness = true").unwrap_err();
    assert_eq!(found[0].code, "pipeline::harness-without-crate");
}
