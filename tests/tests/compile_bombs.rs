//! Components that are small and cost the compiler dear, in a pipeline: each is refused with its place, or compiled within
//! bounds; and what is asked for next runs. What must not be is a load that takes minutes: it would hang here.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use serde_json::Value;
use sykli_tests::{Project, bombs};

#[test]
fn a_compile_bomb_is_refused_or_runs_and_the_next_run_is_as_ever() {
    for (name, bytes) in [
        ("many-live-locals", bombs::many_live_locals(5_000, 2_000)),
        ("wide-branches", bombs::wide_branches(5_000, 10)),
        ("many-functions", bombs::many_functions(260_000, 1)),
        ("huge-body", bombs::huge_body(200_000)),
        ("deep-nesting", bombs::deep_nesting(50_000)),
    ] {
        let project = Project::new();
        project.guest("hello").write("bomb.wasm", bytes).write(
            "sykli.toml",
            "schema = \"sykli-wasm/1\"\n[task.bomb]\ncomponent = \"bomb.wasm\"\n\
             [task.fine]\ncomponent = \"hello.wasm\"\n",
        );
        for args in [
            &["run", "--json", "--keep-going"][..],
            &["exec", "--json", "bomb.wasm"],
        ] {
            let ran = project.run(args);
            assert!(!ran.stderr.contains("panicked"), "{name}: {}", ran.stderr);
            let document: Value = serde_json::from_str(&ran.stdout).unwrap();
            match ran.code {
                Some(0 | 1) => {
                    assert_ne!(document["schema"], "sykli.error/1", "{name}: {document:#}")
                }
                Some(2) => {
                    assert_eq!(
                        document["code"], "component::unusable",
                        "{name}: {document:#}"
                    );
                    let message = document["message"].as_str().unwrap();
                    assert!(message.contains("bomb.wasm"), "{name}: {message}");
                    assert!(
                        !document["hints"].as_array().unwrap().is_empty(),
                        "{name}: {document:#}"
                    );
                }
                code => panic!("{name}: {code:?}: {}", ran.stderr),
            }
        }
        project.run(&["run", "--filter", "fine"]).expect(0);
    }
}
