//! `sykli exec` as cargo's runner: `cargo test --target wasm32-wasip2` of a crate whose tests read files, write files and ask
//! cargo's variables passes, fails where a test fails, and takes the harness's own arguments. The crate is
//! `tests/fixtures/readers`.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use sykli_tests::{Project, Ran, cargo, root, sykli, target_dir};

/// `cargo test` of the crate with this runner.
fn cargo_test(project: &Project, runner_args: &str, args: &[&str]) -> Ran {
    let mut cargo = cargo();
    project.settle(&mut cargo);
    let folder = root().join("tests/fixtures/readers");
    cargo.args(["test", "--locked", "--target", "wasm32-wasip2"]);
    cargo.arg("--target-dir").arg(target_dir().join("readers"));
    cargo.current_dir(folder).args(args);
    let runner = format!("{} exec{runner_args}", sykli().display());
    cargo.env("CARGO_TARGET_WASM32_WASIP2_RUNNER", runner);
    cargo.output().unwrap().into()
}

#[test]
fn tests_that_read_files_pass() {
    let project = Project::new();
    // The folder alone, by the runner's own choice or by the user's, comes to the same.
    for runner_args in ["", " --dir ."] {
        let ran = cargo_test(&project, runner_args, &[]).expect(0);
        let passed = [
            "test tests::relative_to_the_package ... ok",
            "test tests::by_the_path_that_was_compiled_in ... ok",
            "test tests::by_the_path_that_the_variable_names ... ok",
            "test tests::what_cargo_says_of_the_package ... ok",
            "test tests::a_file_that_the_test_writes ... ok",
            "test every_file_of_the_folder_is_there ... ok",
            "6 passed; 0 failed; 1 ignored",
        ];
        for line in passed {
            assert!(ran.stdout.contains(line), "{line}\n{}", ran.stdout);
        }
        let folder = root().join("tests/fixtures/readers");
        assert!(!folder.join("left-behind.txt").exists(), "{runner_args}");
    }
}

#[test]
fn a_failing_test_fails_cargo() {
    let project = Project::new();
    // A panic ends the program on wasm, and what the harness had captured of the test with it: cargo says how to see it.
    let ran = cargo_test(&project, "", &["--lib", "--", "--ignored"]).expect(1);
    assert!(
        ran.stderr.contains("a panic or abort of the guest"),
        "{}",
        ran.stderr
    );
    assert!(!ran.stdout.contains("test result: ok"), "{}", ran.stdout);

    let args = ["--lib", "--", "--ignored", "--nocapture"];
    let ran = cargo_test(&project, "", &args).expect(1);
    assert!(ran.stdout.contains("about to read"), "{}", ran.stdout);
    assert!(
        ran.stderr.contains("not a number: twenty"),
        "{}",
        ran.stderr
    );
}

#[test]
fn the_harness_gets_its_own_arguments() {
    let project = Project::new();
    let args = ["--lib", "--", "--nocapture", "missing", "variable"];
    let ran = cargo_test(&project, "", &args).expect(0);
    assert!(ran.stdout.contains("2 passed; 0 failed"), "{}", ran.stdout);
    assert!(ran.stdout.contains("5 filtered out"), "{}", ran.stdout);

    let ran = cargo_test(&project, "", &["--lib", "--", "--list"]).expect(0);
    assert!(
        ran.stdout.contains("7 tests, 0 benchmarks"),
        "{}",
        ran.stdout
    );

    // A filter that reads like one of our own flags is the harness's all the same.
    let ran = cargo_test(
        &project,
        "",
        &["--lib", "--", "--exact", "--skip", "tests::x"],
    );
    assert!(ran.expect(0).stdout.contains("6 passed"));
}
