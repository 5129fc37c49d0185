//! Two nodes of a test, without a network between them: an owner with a project, and one that runs tasks for it.
//!
//! What a connection would carry is carried by hand: blobs that the owner's closure finds go into the other's store. Only
//! tests call it.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use sykli_core::consent::Offer;
use sykli_core::id::{Attempt, Digest, LeaseKey, RunId, TaskId};
use sykli_core::manifest::Manifest;
use sykli_core::pipeline::{Format, parse};
use sykli_core::policy::{Policy, Requirements};
use sykli_core::tree::Tree;
use sykli_runtime::{CancelToken, Engine, EngineConfig, Silent, Source};

use crate::events::RunReport;
use crate::foreign::{ForeignError, ForeignResult, Host, run_foreign};
use crate::interrupt::Interrupt;
use crate::isolation::{Isolation, Needed, Program};
use crate::needs::{Bundles, SizeBook};
use crate::node::{Node, NodeSettings};
use crate::paths::Dirs;
use crate::prepare::Prepared;
use crate::run::RunRequest;
use crate::run::open::{Opened, Purpose};
use crate::store::Store;

/// See the module.
pub(crate) struct TwoNodes {
    temp: tempfile::TempDir,
    pub(crate) owner: Node,
    /// The other's.
    pub(crate) store: Store,
    isolation: Isolation,
    pub(crate) policy: Policy,
    pub(crate) sizes: Arc<SizeBook>,
}

/// A pipeline's instances as they could be offered: those whose inputs are known.
pub(crate) struct Offered {
    pub(crate) bundles: Arc<Bundles>,
    pub(crate) prepared: BTreeMap<String, Arc<Prepared>>,
}

impl TwoNodes {
    pub(crate) fn new() -> TwoNodes {
        let temp = tempfile::tempdir().unwrap();
        fs::create_dir(temp.path().join("project")).unwrap();
        let settings = NodeSettings {
            dirs: Dirs::under(&temp.path().join("home")),
            jobs: 2,
            offline: true,
        };
        let store = Store::open(&temp.path().join("there")).unwrap();
        let engine = Engine::new(EngineConfig {
            cache_dir: None,
            slots: 2,
            spool_dir: store.spool_dir(),
        });
        let cache = temp.path().join("there");
        let wanted = Needed::BestEffort;
        let isolation = Isolation::new(&engine.unwrap(), &cache, Program::this(), wanted);
        TwoNodes {
            owner: Node::open(settings).unwrap(),
            isolation: isolation.unwrap(),
            store,
            policy: Policy::default(),
            sizes: Arc::new(SizeBook::new(1)),
            temp,
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.temp.path().join("project").join(name)
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// Puts guests of `tests/guests` into the project.
    pub(crate) fn guests(&self, names: &[&str]) {
        for name in names {
            let path = self.path(&format!("{name}.wasm"));
            fs::copy(sykli_tests::guest(name), path).unwrap();
        }
    }

    fn request(&self, tasks: &str) -> RunRequest {
        let text = format!("schema = \"sykli-wasm/1\"\n[pipeline]\nname = \"p\"\n{tasks}");
        let pipeline = parse(&text, Format::Toml).unwrap_or_else(|found| panic!("{found:?}"));
        RunRequest {
            keep_going: true,
            ..RunRequest::new(pipeline, self.path("sykli.toml"), self.path(""))
        }
    }

    /// The owner runs it itself.
    pub(crate) fn run(&self, tasks: &str) -> RunReport {
        let request = self.request(tasks);
        let run = self.owner.run(request, &|_| {}, &Interrupt::new());
        run.unwrap()
    }

    /// What the owner could offer of it, with what is in its cache settled.
    pub(crate) fn open(&self, tasks: &str) -> Offered {
        let request = self.request(tasks);
        let opened = self.owner.open_run(&request, Purpose::Look).unwrap();
        let components = opened.load(self.owner.engine().unwrap(), 1).unwrap();
        let survey = self.owner.survey(&opened, true).unwrap();
        let label = |id: TaskId| opened.context.instance(id).unwrap().0.label.to_string();
        let prepared = survey
            .into_iter()
            .filter_map(|seen| Some((label(seen.id), Arc::new(seen.prepared?))))
            .collect();
        let Opened {
            context, programs, ..
        } = opened;
        let context = Arc::new(context);
        let bundles = Bundles::new(&context, &components, &programs, &self.sizes);
        Offered {
            bundles: Arc::new(bundles),
            prepared,
        }
    }

    /// Carries the bundle of an instance over, blob by blob. Answers with their names.
    pub(crate) fn carry(&self, offered: &Offered, label: &str) -> Vec<Digest> {
        self.carry_but(offered, label, &Digest::of(b""))
    }

    /// The same, but for one blob that gets lost on the way.
    pub(crate) fn carry_but(&self, offered: &Offered, label: &str, lost: &Digest) -> Vec<Digest> {
        let prepared = &offered.prepared[label];
        let find = offered.bundles.closure(prepared);
        let mut carried = Vec::new();
        let mut carry = |digest: Digest| {
            let source = find(&digest).unwrap_or_else(|| panic!("{label}: no {digest}"));
            assert_eq!(Digest(source.blake3().unwrap()), digest);
            if digest != *lost && !source.is_empty() {
                assert_eq!(self.store.put_source(&source).unwrap().0, digest);
                carried.push(digest);
            }
            source
        };
        let mut read = |digest: Digest| {
            let source = carry(digest);
            let mut bytes = vec![0; usize::try_from(source.len()).unwrap()];
            source.read_exact_at(&mut bytes, 0).unwrap();
            bytes
        };
        let manifest = Manifest::decode(&read(prepared.digest)).unwrap();
        read(manifest.component);
        manifest.stdin.map(&mut read);
        for tree in manifest.inputs.into_values() {
            for entry in Tree::decode(&read(tree)).unwrap().into_entries() {
                read(entry.digest);
            }
        }
        carried.sort();
        carried.dedup();
        carried
    }

    /// The other node runs what is asked for, from what is in its store.
    pub(crate) fn run_there(&self, needs: Requirements) -> Result<ForeignResult, ForeignError> {
        self.run_as(needs, 1, &CancelToken::default())
    }

    /// The same, as some attempt, until it is cancelled.
    pub(crate) fn run_as(
        &self,
        needs: Requirements,
        attempt: u32,
        cancel: &CancelToken,
    ) -> Result<ForeignResult, ForeignError> {
        let host = Host {
            store: &self.store,
            isolation: &self.isolation,
            policy: &self.policy,
            sizes: &self.sizes,
        };
        run_foreign(host, &offer(needs, attempt), &Silent, cancel)
    }

    /// Puts a manifest into the other's store that is like an instance's but for `change`. Answers with what it asks for.
    pub(crate) fn forged(
        &self,
        offered: &Offered,
        label: &str,
        change: impl FnOnce(&mut Manifest),
    ) -> Requirements {
        let mut manifest = offered.prepared[label].manifest().unwrap();
        change(&mut manifest);
        let digest = self.store.put_bytes(manifest.encode()).unwrap();
        Requirements {
            digest,
            ..offered.needs(label)
        }
    }
}

impl Offered {
    pub(crate) fn needs(&self, label: &str) -> Requirements {
        let needs = self.bundles.needs(&self.prepared[label], 0, u64::MAX);
        needs.unwrap_or_else(|not_ready| panic!("{label}: {}", not_ready.report.message))
    }

    pub(crate) fn find(&self, label: &str, digest: &Digest) -> Option<Source> {
        self.bundles.closure(&self.prepared[label])(digest)
    }
}

fn offer(needs: Requirements, attempt: u32) -> Offer {
    Offer {
        key: LeaseKey {
            run: RunId::new("a-run").unwrap(),
            task: TaskId(0),
            attempt: Attempt(attempt),
        },
        nonce: 1,
        needs: Arc::new(needs),
        min_memory_mb: 0,
        lease_ms: 60_000,
        mesh: None,
    }
}
