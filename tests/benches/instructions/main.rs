//! The hot path in small pieces, for counting instructions: `instructions PART TIMES [FOLDER]` does a piece so many times.
//!
//! `cargo xtask instructions` runs it under callgrind with two counts and takes the difference, so that everything that is
//! done once cancels out. It looks at no clock and prints nothing but, for the part `guest`, where the no-op guest is.
//! Built like the tests, so CI compiles nothing for it but this file: the counts are not the release's, but as stable.

#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a benchmark is a program for the terminal"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;

use sykli_core::expand::{self, Listing, Plan};
use sykli_core::id::Digest;
use sykli_core::manifest::{Manifest, ManifestGrants, Own, SEMANTICS_VERSION, Shard, Template};
use sykli_core::pipeline::{self, Floats, Format};
use sykli_core::run::{Action, Event, Run, RunOptions, Verdict};
use sykli_core::time::Tick;
use sykli_core::tree::{Tree, TreeEntry};
use sykli_runtime::{
    CancelToken, Engine, EngineConfig, Floats as EngineFloats, Grant, Inputs, Sandbox, Silent,
    Source, Status, TaskInfo,
};

/// Tasks of a plan, and files of a tree; what is counted is a thousandth of it.
const THOUSAND: u32 = 1_000;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    // `cargo test --benches` and `cargo bench` would run this: it has nothing to say there.
    if args.is_empty() || args[0].starts_with("--") {
        return;
    }
    let times: u32 = args.get(1).map_or(1, |text| text.parse().expect("a count"));
    match args[0].as_str() {
        "guest" => println!("{}", sykli_tests::guest("noop").display()),
        "plan" => (0..times).for_each(|_| drop(black_box(plan()))),
        "run" => runs(times),
        "manifest" => manifests(times),
        "tree" => trees(times),
        "sandbox" => sandbox(times, Path::new(&args[2]), Path::new(&args[3])),
        other => panic!("no such part: {other}"),
    }
}

/// A fan-out and one task after it, read and expanded as a user's pipeline is.
fn plan() -> Arc<Plan> {
    let text = format!(
        "schema = \"sykli-wasm/1\"\n[task.many]\ncomponent = \"x.wasm\"\nargs = [\"{{index}}\"]\n\
         foreach = {{ shards = {THOUSAND} }}\n[task.last]\ncomponent = \"x.wasm\"\nafter = [\"many\"]\n"
    );
    let pipeline = pipeline::parse(&text, Format::Toml).expect("a pipeline");
    Arc::new(expand::plan(&pipeline, &Listing::default(), &BTreeMap::new()).expect("a plan"))
}

/// The run machine from its begin to its end: every instance is prepared, not cached, executed, and passes.
fn runs(times: u32) {
    let plan = plan();
    let digest = Digest::of(b"a task");
    for _ in 0..times {
        let options = RunOptions {
            slots: 2,
            hand_ahead: 64,
            prepare_ahead: 128,
            ..RunOptions::default()
        };
        let mut run = Run::new(Arc::clone(&plan), options);
        let mut pending = run.handle(Tick(0), Event::Begin);
        let mut tick = 0;
        while let Some(action) = pending.pop() {
            tick += 1;
            let event = match action {
                Action::Prepare { task } => Event::Prepared {
                    task,
                    digest,
                    hit: false,
                },
                Action::Execute { task, attempt } => Event::Finished {
                    task,
                    attempt,
                    verdict: Verdict::Passed,
                    ran_us: 10,
                },
                _ => continue,
            };
            run.handle_into(Tick(tick), event, &mut pending);
        }
        assert!(black_box(run.finished()).is_some(), "the run ends");
    }
}

/// What an instance of a fan-out is, encoded from what all of them share, and digested.
fn manifests(times: u32) {
    let component = Digest::of(b"a component");
    let template = Template::new(&Manifest {
        name: "resize".to_owned(),
        component,
        args: Vec::new(),
        env: BTreeMap::new(),
        params: "{}".to_owned(),
        item: None,
        shard: Shard::default(),
        stdin: None,
        inputs: BTreeMap::from([(String::new(), component)]),
        outputs: BTreeSet::from(["**".to_owned()]),
        fuel: 1_000_000_000_000,
        memory_bytes: 1 << 30,
        output_bytes: 1 << 30,
        grants: ManifestGrants::default(),
        floats: Floats::Fast,
        semantics: SEMANTICS_VERSION,
    });
    let mut buffer = Vec::new();
    for index in 0..times {
        let own = Own {
            shard: Shard {
                index,
                count: u32::MAX,
            },
            ..Own::default()
        };
        let number = index.to_string();
        buffer.clear();
        template.encode_into(["--width", &number].into_iter(), &own, &mut buffer);
        black_box(Digest::of(&buffer));
    }
}

/// A tree of a thousand files, checked, encoded and digested.
fn trees(times: u32) {
    let digest = Digest::of(b"a file");
    for _ in 0..times {
        let entries = (0..THOUSAND).map(|index| TreeEntry {
            path: format!("folder{:02}/file{index:04}.txt", index / 50),
            digest,
            size: u64::from(index),
            executable: false,
        });
        let tree = Tree::new(entries.collect()).expect("a tree");
        black_box(tree.digest());
    }
}

/// A sandboxed no-op. Its compiled code is in `cache` from a run before, so that no compiler is counted.
fn sandbox(times: u32, guest: &Path, cache: &Path) {
    let engine = Engine::new(EngineConfig {
        cache_dir: Some(cache.to_owned()),
        slots: 1,
        spool_dir: cache.to_owned(),
    })
    .expect("an engine");
    let bytes = std::fs::read(guest).expect("the guest");
    let component = engine
        .load(&bytes, EngineFloats::Fast)
        .expect("a component");
    let sandbox = Sandbox::new(engine);
    for _ in 0..times {
        let inputs = Inputs {
            args: vec!["noop".to_owned()],
            env: Vec::new(),
            stdin: Source::empty(),
            mounts: Vec::new(),
            seed: [7; 32],
            task: TaskInfo::default(),
        };
        let outcome = sandbox.run(
            &component,
            &Grant::default(),
            inputs,
            Arc::new(Silent),
            &CancelToken::default(),
        );
        let ended_well = matches!(outcome.status, Status::Exited(0));
        assert!(ended_well, "{:?}", outcome.status);
    }
}
