//! The files that `init` and `new task` write: a plain task crate, one that uses the SDK, the SDK itself, a pipeline.
//! Everything is in this binary; nothing is fetched. It decides contents, its callers decide places.

/// A file to write: its path, relative, and what is in it.
pub(crate) type File = (String, String);

/// The folder of the vendored SDK, beside the tasks.
pub(crate) const SDK_FOLDER: &str = "tasks/sykli-guest";

/// The SDK's files as they are in this repository, but for its manifest (which names versions of the workspace there).
const SDK: &[(&str, &str)] = &[
    (
        "src/lib.rs",
        include_str!("../../../../guest-sdk/src/lib.rs"),
    ),
    (
        "src/error.rs",
        include_str!("../../../../guest-sdk/src/error.rs"),
    ),
    (
        "src/host.rs",
        include_str!("../../../../guest-sdk/src/host.rs"),
    ),
    (
        "src/host/wasi.rs",
        include_str!("../../../../guest-sdk/src/host/wasi.rs"),
    ),
    (
        "src/inputs.rs",
        include_str!("../../../../guest-sdk/src/inputs.rs"),
    ),
    (
        "src/log.rs",
        include_str!("../../../../guest-sdk/src/log.rs"),
    ),
    (
        "src/outputs.rs",
        include_str!("../../../../guest-sdk/src/outputs.rs"),
    ),
    (
        "src/pipeline.rs",
        include_str!("../../../../guest-sdk/src/pipeline.rs"),
    ),
    (
        "src/shard.rs",
        include_str!("../../../../guest-sdk/src/shard.rs"),
    ),
    (
        "src/testing.rs",
        include_str!("../../../../guest-sdk/src/testing.rs"),
    ),
    (
        "wit/task.wit",
        include_str!("../../../../guest-sdk/wit/task.wit"),
    ),
];

const SDK_MANIFEST: &str = r#"[package]
name = "sykli-guest"
version = "@VERSION@"
edition = "2024"
license = "Apache-2.0 OR MIT"
publish = false

[dependencies]
serde = { version = "1", features = ["derive"] }
serde_json = "1"

[target.'cfg(all(target_os = "wasi", target_env = "p2"))'.dependencies]
wit-bindgen = { version = "0.61", default-features = false, features = ["macros", "realloc", "std"] }

# A workspace of its own, whatever is around it.
[workspace]
"#;

const SDK_README: &str = "The SDK for tasks in Rust, a copy made by `sykli new task`: replace it by a newer one as a whole.\n";

/// The SDK as a crate of its own.
pub(crate) fn sdk() -> Vec<File> {
    let mut files: Vec<File> = SDK
        .iter()
        .map(|(path, text)| (format!("{SDK_FOLDER}/{path}"), (*text).to_owned()))
        .collect();
    files.push((
        format!("{SDK_FOLDER}/Cargo.toml"),
        SDK_MANIFEST.replace("@VERSION@", env!("CARGO_PKG_VERSION")),
    ));
    files.push((format!("{SDK_FOLDER}/README.md"), SDK_README.to_owned()));
    files
}

const MANIFEST: &str = r#"[package]
name = "@NAME@"
version = "0.1.0"
edition = "2024"
publish = false

[dependencies]
@DEPENDENCIES@
[profile.release]
opt-level = 3

# A workspace of its own, whatever is around it.
[workspace]
"#;

const PLAIN_MAIN: &str = include_str!("template/plain_main.rs");

const SDK_MAIN: &str = include_str!("template/sdk_main.rs");

const SDK_DEPENDENCIES: &str = "serde = { version = \"1\", features = [\"derive\"] }\nsykli-guest = { path = \"../sykli-guest\" }\n";

/// A task crate in `tasks/NAME`.
pub(crate) fn task(name: &str, plain: bool) -> Vec<File> {
    let (main, dependencies) = if plain {
        (PLAIN_MAIN, "")
    } else {
        (SDK_MAIN, SDK_DEPENDENCIES)
    };
    let manifest = MANIFEST
        .replace("@NAME@", &package(name))
        .replace("@DEPENDENCIES@", dependencies);
    vec![
        (format!("tasks/{name}/Cargo.toml"), manifest),
        (
            format!("tasks/{name}/src/main.rs"),
            main.replace("@OUTPUT@", &output(name)),
        ),
        (format!("tasks/{name}/.gitignore"), "/target\n".to_owned()),
    ]
}

/// What the task of this name writes.
fn output(name: &str) -> String {
    format!("{name}.txt")
}

/// Names that cargo does not take for a package.
fn package(name: &str) -> String {
    let words = "abstract alloc as async await become box break build const continue core crate deps do dyn else enum \
                 examples extern false final fn for gen if impl in incremental let loop macro match mod move mut \
                 override priv proc-macro pub ref return self static std struct super test trait true try type typeof \
                 unsafe unsized use virtual where while yield";
    if words.split_whitespace().any(|word| word == name) {
        format!("{name}-task")
    } else {
        name.to_owned()
    }
}

/// The lines of a pipeline for this task.
pub(crate) fn declaration(name: &str, plain: bool) -> String {
    let given = if plain {
        "args    = [\"world\"]"
    } else {
        "params  = { name = \"world\" }"
    };
    format!(
        "[task.{name}]\ncrate   = \"tasks/{name}\"\n{given}\noutputs = [\"{}\"]\n",
        output(name)
    )
}

/// A pipeline with one task.
pub(crate) fn pipeline(project: &str, task: &str, plain: bool) -> String {
    format!(
        "schema = \"sykli-wasm/1\"\n\n[pipeline]\nname = \"{project}\"\n\n\
         # A task is a crate that is built for wasm32-wasip2, or a ready `component = \"task.wasm\"`.\n\
         # It sees `inputs` (patterns, such as [\"texts/**/*.txt\"]) below /in and nothing else;\n\
         # `after = [\"other\"]` adds what another task left, below /in/other/.\n{}",
        declaration(task, plain)
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::path::Path;

    fn files_below(folder: &Path, prefix: &str, out: &mut Vec<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
            if entry.file_type().unwrap().is_dir() {
                files_below(&entry.path(), &format!("{name}/"), out);
            } else {
                out.push(name);
            }
        }
    }

    #[test]
    fn the_whole_sdk_is_vendored() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../guest-sdk");
        let mut there = Vec::new();
        files_below(&folder.join("src"), "src/", &mut there);
        files_below(&folder.join("wit"), "wit/", &mut there);
        there.sort();
        let mut listed: Vec<&str> = SDK.iter().map(|(path, _)| *path).collect();
        listed.sort_unstable();
        assert_eq!(there, listed);
    }

    #[test]
    fn the_vendored_sdk_asks_for_what_the_sdk_asks_for() {
        let own: toml::Table = include_str!("../../../../guest-sdk/Cargo.toml")
            .parse()
            .unwrap();
        let copy: toml::Table = SDK_MANIFEST.parse().unwrap();
        assert_eq!(own["target"], copy["target"]);
        let names = |table: &toml::Table| {
            table["dependencies"]
                .as_table()
                .unwrap()
                .keys()
                .cloned()
                .collect::<Vec<_>>()
        };
        assert_eq!(names(&own), names(&copy));
    }

    #[test]
    fn what_is_written_is_valid() {
        for plain in [true, false] {
            let text = pipeline("demo", "hello", plain);
            let parsed = sykli_core::pipeline::parse(&text, sykli_core::pipeline::Format::Toml);
            assert_eq!(parsed.unwrap().tasks.len(), 1);
            for (path, text) in task("test", plain) {
                assert!(!text.contains('@'), "{path}: {text}");
            }
        }
        assert!(task("test", true)[0].1.contains("name = \"test-task\""));
    }
}
