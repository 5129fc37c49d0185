//! `sykli exec` runs what other tools made, unmodified: Rust's own standard library on wasm32-wasip2, C through clang and
//! wasi-libc as a core wasip1 module, Python through componentize-py. Real files, the real binary. Where a tool is not
//! there its test says `skipped: …`, and fails where `CI` is set.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sykli_tests::{Project, Ran, guest, native_guest, root, target_dir};

/// A project with the file that the programs of this test are about.
fn project() -> Project {
    let project = Project::new();
    project.write("data/text.txt", "one two  three\nfour\n");
    project.write("data/other.txt", "five\n");
    project
}

/// `sykli exec` with these arguments, in a project.
fn exec(project: &Project, args: &[&str], component: &Path, guest_args: &[&str]) -> Ran {
    let mut command = project.sykli();
    command.arg("exec").args(args).arg(component).arg("--");
    command.args(guest_args).output().unwrap().into()
}

/// What is to be done where a tool is not there.
fn skipped(what: &str) {
    assert!(
        std::env::var_os("CI").is_none(),
        "{what} must be there where CI is set"
    );
    eprintln!("skipped: {what} is not there; `cargo xtask test` brings it where it can");
}

fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

#[track_caller]
fn succeeds(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn rusts_standard_library_works_as_on_a_real_file_system() {
    let project = project();
    let real = tempfile::tempdir().unwrap();
    let native = Command::new(native_guest("fs-tour"))
        .arg(real.path())
        .output()
        .unwrap();
    let native = String::from_utf8(native.stdout).unwrap();
    assert!(
        native.lines().count() > 20 && !native.contains("FAILED"),
        "{native}"
    );

    let tour = guest("fs-tour");
    // On scratch space, and over a folder of the host's: both are as the real one.
    let scratch = exec(&project, &[], &tour, &[]).expect(0);
    assert_eq!(scratch.stdout, native);
    let folder = exec(&project, &["--dir", "data::/data"], &tour, &["/data"]).expect(0);
    assert_eq!(folder.stdout, native);
    assert!(
        !project.exists("data/tour"),
        "the host's folder is a snapshot"
    );
}

#[test]
fn arguments_and_environment_arrive_and_nothing_else() {
    let project = project();
    let mut command = project.sykli();
    command
        .env("PASSED_ON", "from here")
        .env("KEPT_BACK", "secret");
    command.args(["exec", "--env", "SET=to this", "--env", "PASSED_ON"]);
    command
        .arg(guest("hello"))
        .args(["--flag", "", "two words", "ü"]);
    let ran = Ran::from(command.output().unwrap()).expect(0);
    assert_eq!(
        ran.stdout,
        "hello\narg 0: hello.wasm\narg 1: --flag\narg 2: \narg 3: two words\narg 4: ü\n\
         env PASSED_ON=from here\nenv SET=to this\n"
    );
    assert_eq!(ran.stderr, "");

    let ran = exec(
        &project,
        &["--env", "A=1"],
        &guest("uses-env"),
        &["A", "HOME"],
    );
    assert_eq!(ran.expect(0).stdout, "A=1\nHOME is not set\n");
}

#[test]
fn the_guests_exit_code_and_both_its_streams_are_passed_on() {
    let project = project();
    // A component of WASI 0.2 passes on whether it went well; a wasip1 module, as C's below, its very code.
    for (code, passed_on) in [(0, 0), (1, 1), (255, 1)] {
        let component = guest("exit-code");
        let ran = exec(&project, &[], &component, &[&code.to_string()]).expect(passed_on);
        assert_eq!(ran.stdout, format!("leaving with {code}\n"));
        assert_eq!(ran.stderr, "on standard error too\n");
    }
}

#[test]
fn standard_input_is_passed_on_to_its_end() {
    let project = project();
    let bytes: Vec<u8> = (0..300_000u32).map(|i| (i * 7 % 251) as u8).collect();
    project.write("input.bin", &bytes);
    let mut command = project.sykli();
    command.arg("exec").arg(guest("echo-stdin"));
    command.stdin(fs::File::open(project.path().join("input.bin")).unwrap());
    let output = command.output().unwrap();
    assert_eq!(output.stdout, bytes);
    assert_eq!(output.stderr, b"300000 bytes\n");
}

#[test]
fn a_folder_is_read_and_what_is_left_in_out_is_brought_home() {
    let project = project();
    let ran = exec(
        &project,
        &["--dir", "data"],
        &guest("read-one-of-many"),
        &["data/text.txt"],
    );
    assert_eq!(ran.expect(0).stdout, "20 bytes: one two  three\n");

    let pairs = [
        "/in/text.txt",
        "/out/deep/copy.txt",
        "/in/other.txt",
        "/in/new.txt",
    ];
    let args = ["--dir", "data::/in", "--out", "results"];
    exec(&project, &args, &guest("copy"), &pairs).expect(0);
    assert_eq!(
        project.read("results/deep/copy.txt"),
        project.read("data/text.txt")
    );
    assert!(!project.exists("data/new.txt"), "not asked to write back");

    let args = ["--dir", "data::/in", "--write-back"];
    exec(&project, &args, &guest("copy"), &pairs).expect(0);
    assert_eq!(project.read_text("data/new.txt"), "five\n");
}

#[test]
fn a_guest_that_fails_writes_nothing_back() {
    let project = project();
    let pairs = ["/in/text.txt", "/in/new.txt", "/in/missing", "/in/x"];
    let args = ["--dir", "data::/in", "--write-back"];
    let ran = exec(&project, &args, &guest("copy"), &pairs).expect(1);
    assert!(ran.stderr.contains("/in/missing"), "{}", ran.stderr);
    assert!(!project.exists("data/new.txt"));
}

/// The target that this machine's wasi-libc is for, where there is one.
fn c_target() -> Option<&'static str> {
    on_path("clang")?;
    on_path("wasm-ld")?;
    ["wasm32-wasi", "wasm32-wasip1"]
        .into_iter()
        .find(|target| Path::new("/usr/lib").join(target).join("libc.a").is_file())
}

fn compile_c(target: &str, module: &Path) {
    let mut clang = Command::new("clang");
    clang.arg(format!("--target={target}")).arg("-O1");
    clang.arg(root().join("tests/fixtures/c/words.c"));
    succeeds(clang.arg("-o").arg(module));
}

#[test]
fn c_through_clang_and_wasi_libc_runs_as_it_is() {
    let Some(target) = c_target() else {
        return skipped("clang with wasm-ld and wasi-libc");
    };
    let project = project();
    let module = project.path().join("words.wasm");
    compile_c(target, &module);
    assert_eq!(
        fs::read(&module).unwrap().get(4..8),
        Some(&[1, 0, 0, 0][..]),
        "a core module, not a component"
    );

    let args = [
        "--dir",
        "data::.",
        "--out",
        "results",
        "--env",
        "GREETING=hi",
    ];
    let ran = exec(&project, &args, &module, &["text.txt", "."]).expect(0);
    assert_eq!(
        ran.stdout,
        "text.txt: 4 words, 20 bytes, greeting hi\noutside: not there\nfound other.txt\nfound text.txt\n"
    );
    assert_eq!(
        project.read_text("results/report.txt"),
        "0004 words\nof text.txt\n"
    );
    assert!(!project.exists("results/draft.txt"), "it was renamed");

    let ran = exec(&project, &["--dir", "data::."], &module, &["missing"]).expect(1);
    assert_eq!(ran.stderr, "missing: No such file or directory\n");
    exec(&project, &[], &module, &[]).expect(2);
}

#[test]
fn c_is_a_task_like_any_other() {
    let Some(target) = c_target() else {
        return skipped("clang with wasm-ld and wasi-libc");
    };
    let project = project();
    compile_c(target, &project.path().join("words.wasm"));
    project.write(
        "sykli.toml",
        "schema = \"sykli-wasm/1\"\n\
         [task.words]\ncomponent = \"words.wasm\"\ninputs = [\"data/*.txt\"]\n\
         args = [\"/in/data/text.txt\", \"/in/data\"]\noutputs = [\"report.txt\"]\n",
    );
    for sign in ["words ✓", "words ○"] {
        let ran = project.run(&["run"]).expect(0);
        assert!(ran.stderr.contains(sign), "{}", ran.stderr);
        let report = project.read_text("report.txt");
        assert_eq!(report, "0004 words\nof /in/data/text.txt\n");
    }
}

fn componentize_py() -> Option<PathBuf> {
    let own = target_dir().join("tools/python/bin/componentize-py");
    let shared = root().join("target/tools/python/bin/componentize-py");
    [own, shared]
        .into_iter()
        .find(|path| path.is_file())
        .or_else(|| on_path("componentize-py"))
}

#[test]
fn python_through_componentize_py_runs_as_it_is() {
    let Some(componentize) = componentize_py() else {
        return skipped("componentize-py");
    };
    let project = project();
    let component = project.path().join("app.wasm");
    let source = root().join("tests/fixtures/python");
    let mut command = Command::new(componentize);
    // Where it runs it leaves compiled Python: not in the repository.
    fs::copy(source.join("app.py"), project.path().join("app.py")).unwrap();
    command.current_dir(project.path());
    command.arg("-d").arg(source.join("script.wit"));
    command.args(["-w", "script", "componentize", "app", "-o"]);
    succeeds(command.arg(&component));

    let args = [
        "--dir",
        "data::.",
        "--out",
        "results",
        "--env",
        "GREETING=hi",
    ];
    let ran = exec(&project, &args, &component, &["text.txt"]).expect(0);
    let told = r#"{"arguments": ["text.txt"], "greeting": "hi", "words": 4}"#;
    assert_eq!(
        ran.stdout,
        format!("{told}\n['other.txt', 'text.txt']\nFileNotFoundError\n")
    );
    assert_eq!(ran.stderr, "done\n");
    assert_eq!(project.read_text("results/report.json"), told);

    let ran = exec(&project, &["--dir", "data::."], &component, &["missing"]);
    assert_ne!(ran.code, Some(0), "{}", ran.stdout);
    assert!(ran.stderr.contains("FileNotFoundError"), "{}", ran.stderr);
}
