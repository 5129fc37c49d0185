//! The nodes that are measured: an owner that runs pipelines and a thief that takes its tasks, each a process of the
//! product's with a home of its own, on loopback. Sets things up; measures nothing.

use std::path::{Path, PathBuf};

use sykli_tests::Project;
use sykli_tests::mesh::Machine;

use crate::trail::Trail;

/// What the thief has and the owner has not: tasks that ask for it run there alone.
pub(crate) const THERE: &str = "place = { labels = [\"thief\"] }";

/// Which way two nodes speak.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// TCP with Noise and Yamux.
    Tcp,
    /// QUIC.
    Quic,
}

impl Way {
    /// What people call it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Way::Tcp => "TCP",
            Way::Quic => "QUIC",
        }
    }

    /// Where to listen.
    pub(crate) fn listen(self) -> &'static str {
        match self {
            Way::Tcp => "/ip4/127.0.0.1/tcp/0",
            Way::Quic => "/ip4/127.0.0.1/udp/0/quic-v1",
        }
    }
}

/// Two nodes that know each other and run.
pub(crate) struct Pair {
    /// Starts runs; has one slot.
    pub(crate) owner: Machine,
    /// Takes tasks, so many at once.
    pub(crate) thief: Machine,
    /// What passed between them, as the thief saw it.
    pub(crate) trail: Trail,
}

impl Pair {
    /// Two nodes with their homes below `homes`. The thief takes `slots` tasks at once.
    pub(crate) fn new(homes: &Path, way: Way, slots: u32) -> Pair {
        let settings = |more: &str| {
            let listen = way.listen();
            format!("[mesh]\nlisten = [\"{listen}\"]\nmdns = false\n{more}")
        };
        let owner = settings("[node]\nslots = 1\n");
        let thief = settings(&format!(
            "[node]\nslots = {slots}\nlabels = [\"thief\"]\n[consent]\nmode = \"policy\"\nmax_concurrent = {slots}\n"
        ));
        let mut owner = Machine::with("owner", &owner, Project::below(homes));
        let thief = Machine::with("thief", &thief, Project::below(homes));
        let _ = owner.run(&["mesh", "create"]).expect(0);
        owner.start();
        owner.admit(&thief);
        let trail = Trail::at(thief.project().home().join("trail"));
        let log = format!(
            "SYKLI_LOG=sykli_node::meshnode::trail=trace exec \"$@\" 2>>{}",
            trail.path().display()
        );
        let mut thief = thief.inside(&["sh", "-c", &log, "sh"]);
        thief.start().said("owner is there");
        Pair {
            owner,
            thief,
            trail,
        }
    }

    /// Writes the owner's pipeline.
    pub(crate) fn pipeline(&self, tasks: &str) {
        let text = format!("schema = \"sykli-wasm/1\"\n[pipeline]\nname = \"bench\"\n{tasks}");
        self.owner.project().write("sykli.toml", text);
    }

    /// `sykli run --mesh --steal` of it, to a good end.
    pub(crate) fn run(&self) {
        let ran = self.owner.run(&["run", "--mesh", "--steal", "--no-cache"]);
        let _ = ran.expect(0);
    }
}

/// Where homes are when the disk is not to be measured: in memory, if this system has such a place.
pub(crate) fn memory() -> PathBuf {
    let shared = PathBuf::from("/dev/shm");
    match shared.is_dir() {
        true => shared,
        false => std::env::temp_dir(),
    }
}
