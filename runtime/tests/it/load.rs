//! What is loaded and what is refused, and the compiled code on disk.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

use sykli_runtime::{
    CancelToken, Engine, EngineConfig, Floats, LoadError, Sandbox, Silent, Status,
};

use crate::common::*;

fn refused(bytes: &[u8]) -> LoadError {
    engine().load(bytes, Floats::Fast).map(|_| ()).unwrap_err()
}

#[test]
fn what_is_not_wasm_is_refused() {
    assert!(matches!(refused(b"hello"), LoadError::NotWasm { .. }));
    assert!(matches!(refused(b""), LoadError::NotWasm { .. }));
}

#[test]
fn a_component_cut_anywhere_is_refused() {
    let whole = guest_bytes();
    for len in (0..whole.len()).step_by(whole.len() / 97) {
        let error = refused(&whole[..len]);
        assert!(
            matches!(
                error,
                LoadError::NotWasm { .. }
                    | LoadError::Truncated { .. }
                    | LoadError::Malformed { .. }
                    | LoadError::NotACommand { .. }
            ),
            "{len}: {error}"
        );
    }
    assert!(matches!(
        refused(&whole[..whole.len() / 2]),
        LoadError::Truncated { .. }
    ));
}

#[test]
fn a_flipped_byte_never_panics() {
    let whole = wat::parse_str(start("(loop $l (br_if $l (i32.const 0)))")).unwrap();
    for at in 0..whole.len() {
        for bit in 0..8 {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << bit;
            if let Ok(component) = engine().load(&bytes, Floats::Fast) {
                run(
                    &component,
                    &sykli_runtime::Grant {
                        fuel: 1_000_000,
                        ..grant()
                    },
                );
            }
        }
    }
}

#[test]
fn what_is_invalid_is_refused_with_its_place() {
    // Adds without operands. The assembler does not validate.
    for text in [
        start("i32.add drop"),
        "(component (core module (func i32.add drop)))".to_owned(),
    ] {
        let error = refused(&wat::parse_str(text).unwrap());
        assert!(
            matches!(error, LoadError::Malformed { offset: 20.., .. }),
            "{error:?}"
        );
    }
}

#[test]
fn unknown_imports_are_named() {
    let component = r#"(component
      (import "wasi:http/outgoing-handler@0.2.0" (instance))
      (import "wasi:cli/environment@0.2.0" (instance))
      (import "acme:db/query" (instance)))"#;
    let error = refused(&wat::parse_str(component).unwrap());
    let LoadError::UnknownImport { names, .. } = &error else {
        panic!("{error:?}")
    };
    assert_eq!(
        names[..],
        ["wasi:http/outgoing-handler@0.2.0", "acme:db/query"]
    );
    assert!(error.hint().unwrap().contains("HTTP"));
    let module = r#"(module (import "env" "emscripten_notify" (func)) (func (export "_start")))"#;
    let error = refused(&wat::parse_str(module).unwrap());
    assert_eq!(
        error.to_string(),
        "imports what is not provided: env.emscripten_notify"
    );
    assert!(error.hint().unwrap().contains("STANDALONE_WASM"));
}

#[test]
fn a_known_interface_with_an_unknown_function_is_refused() {
    let component = r#"(component
      (import "wasi:cli/environment@0.2.0" (instance (export "launch-missiles" (func))))
      (core module $m (func (export "run") (result i32) (i32.const 0)))
      (core instance $i (instantiate $m))
      (func $run (result (result)) (canon lift (core func $i "run")))
      (instance (export "wasi:cli/run@0.2.0") (export "run" (func $run))))"#;
    let error = refused(&wat::parse_str(component).unwrap());
    assert!(
        matches!(&error, LoadError::UnknownImport { names, .. } if names[0].contains("launch-missiles")),
        "{error}"
    );
}

#[test]
fn a_module_whose_entry_has_another_type_is_refused_before_it_is_compiled() {
    let module = r#"(module
      (import "wasi_snapshot_preview1" "proc_exit" (func (param i32)))
      (memory (export "memory") 1)
      (func (export "_start") (param i32)))"#;
    let error = refused(&wat::parse_str(module).unwrap());
    assert!(matches!(error, LoadError::Adapt(_)), "{error}");
}

#[test]
fn libraries_are_not_commands() {
    assert!(matches!(
        refused(&wat::parse_str("(component)").unwrap()),
        LoadError::NotACommand { core: false }
    ));
    assert!(matches!(
        refused(&wat::parse_str("(module)").unwrap()),
        LoadError::NotACommand { core: true }
    ));
    let wrong_type = r#"(component
      (core module $m (func (export "run") (result i32) (i32.const 0)))
      (core instance $i (instantiate $m))
      (func $run (result u32) (canon lift (core func $i "run")))
      (instance (export "wasi:cli/run@0.2.0") (export "run" (func $run))))"#;
    assert!(matches!(
        refused(&wat::parse_str(wrong_type).unwrap()),
        LoadError::NotACommand { core: false }
    ));
}

#[test]
fn features_that_would_make_results_differ_are_off() {
    for (fields, feature) in [
        ("(memory i64 1)", "64"),
        ("(memory 1) (memory 1)", "mem"),
        ("(func $f (return_call $f))", "tail call"),
        ("(memory 1 1 shared)", "shared"),
        (
            "(func (drop (f32x4.relaxed_min (v128.const i64x2 0 0) (v128.const i64x2 0 0))))",
            "relaxed",
        ),
    ] {
        let component = format!(
            "(component (core module $m {fields} (func (export \"run\") (result i32) (i32.const 0)))
             (core instance $i (instantiate $m))
             (func $run (result (result)) (canon lift (core func $i \"run\")))
             (instance (export \"wasi:cli/run@0.2.0\") (export \"run\" (func $run))))"
        );
        let error = refused(&wat::parse_str(&component).unwrap());
        assert!(
            matches!(&error, LoadError::Compile(message) if message.contains(feature)),
            "{feature}: {error}"
        );
    }
}

fn engine_at(dir: &Path) -> Engine {
    Engine::new(EngineConfig {
        cache_dir: Some(dir.to_owned()),
        slots: 2,
        spool_dir: scratch(),
    })
    .unwrap()
}

fn only_entry(dir: &Path) -> std::path::PathBuf {
    let mut entries: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert_eq!(entries.len(), 1);
    entries.remove(0)
}

#[test]
fn compiled_code_is_found_again_and_the_bytes_not_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = wat::parse_str(start("")).unwrap();
    let first = engine_at(dir.path()).load(&bytes, Floats::Fast).unwrap();
    assert!(first.adapted());
    let engine = engine_at(dir.path());
    let again = engine
        .load_by_digest(first.digest(), Floats::Fast, || panic!("not needed"))
        .unwrap();
    assert!(
        again.adapted() && again.imports() == first.imports() && again.digest() == first.digest()
    );
    let outcome = Sandbox::new(engine).run(
        &again,
        &grant(),
        inputs(&[]),
        Arc::new(Silent),
        &CancelToken::default(),
    );
    assert_eq!(outcome.status, Status::Exited(0));
    let mode = std::fs::metadata(only_entry(dir.path()))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn damaged_compiled_code_is_compiled_anew() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = wat::parse_str(start("")).unwrap();
    engine_at(dir.path()).load(&bytes, Floats::Fast).unwrap();
    let entry = only_entry(dir.path());
    let good = std::fs::read(&entry).unwrap();
    // Every region: header, description, the code's own header, its middle, its end.
    let places = (0..200)
        .chain((200..good.len()).step_by(good.len() / 23))
        .chain([good.len() - 1]);
    for at in places {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        std::fs::write(&entry, bad).unwrap();
        let mut asked = false;
        let component = engine_at_once(&dir, &bytes, &mut asked);
        assert!(asked, "byte {at}: the damaged entry was used");
        assert_eq!(component, Status::Exited(0), "byte {at}");
        assert_eq!(
            std::fs::read(&entry).unwrap().len(),
            good.len(),
            "byte {at}: the entry is good again"
        );
    }
}

/// Loads with an engine that knows only the disk and runs; says whether the bytes were asked for.
fn engine_at_once(dir: &tempfile::TempDir, bytes: &[u8], asked: &mut bool) -> Status {
    let engine = engine_at(dir.path());
    let digest = *blake3::hash(bytes).as_bytes();
    let component = engine
        .load_by_digest(digest, Floats::Fast, || {
            *asked = true;
            Ok(bytes.to_vec())
        })
        .unwrap();
    Sandbox::new(engine)
        .run(
            &component,
            &grant(),
            inputs(&[]),
            Arc::new(Silent),
            &CancelToken::default(),
        )
        .status
}

#[test]
fn the_bytes_must_be_those_of_the_digest() {
    let bytes = wat::parse_str(start("")).unwrap();
    let error = engine()
        .load_by_digest([3; 32], Floats::Fast, || Ok(bytes))
        .map(|_| ())
        .unwrap_err();
    assert!(matches!(error, LoadError::Io(_)), "{error}");
}

#[test]
fn an_unusable_cache_folder_costs_only_time() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("file"), b"").unwrap();
    let engine = engine_at(&dir.path().join("file"));
    assert!(
        engine
            .load(&wat::parse_str(start("")).unwrap(), Floats::Fast)
            .is_ok()
    );
}

#[test]
fn the_two_kinds_of_floats_are_two_classes() {
    let (fast, portable) = (Engine::class(Floats::Fast), Engine::class(Floats::Portable));
    assert_ne!(fast, portable);
    assert!(fast.contains(std::env::consts::ARCH) && !portable.contains(std::env::consts::ARCH));
    let component = engine().load(guest_bytes(), Floats::Portable).unwrap();
    let outcome = run_with(&component, &grant(), inputs(&["float"]));
    assert_eq!(
        stdout(&outcome),
        "7ff8000000000000\n",
        "canonical: positive, quiet, without payload"
    );
}
