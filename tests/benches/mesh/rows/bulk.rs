//! A large input on its way to the node that runs its task, verified while it arrives, against a libp2p stream and a
//! plain connection that carry the same bytes.

use std::fs;
use std::time::Duration;

use super::without_cpu;
use crate::measure::{Contestant, Cost, Effort, Measured, Round, race};
use crate::nodes::{self, Pair, THERE, Way};
use crate::raw::Other;
use crate::report::{Goal, Report};

const RAW: [&str; 2] = ["a libp2p stream, TCP", "a libp2p stream, QUIC"];
const RAW_FILES: [&str; 2] = [
    "a libp2p stream, TCP, from a file to a file",
    "a libp2p stream, QUIC, from a file to a file",
];
const OURS: [&str; 2] = ["a task's bundle, TCP", "a task's bundle, QUIC"];
const PLAIN: &str = "a plain TCP connection";
const WAYS: [Way; 2] = [Way::Tcp, Way::Quic];

/// See the module.
pub(super) fn bulk(effort: &Effort, report: &mut Report) {
    for compressible in [false, true] {
        one(effort, report, compressible);
    }
}

fn one(effort: &Effort, report: &mut Report, compressible: bool) {
    let megabytes: usize = if effort.quick { 50 } else { 500 };
    let bytes = content(megabytes, compressible, 0);
    let spare = tempfile::tempdir_in(nodes::memory()).expect("a temporary folder");
    let file = spare.path().join("file");
    fs::write(&file, &bytes).expect("a file");
    let others = WAYS.map(|way| Other::start(way, &spare.path().join(way.name())));
    let mut bundles = WAYS.map(|way| Bundles::new(way, megabytes, compressible));
    let [tcp, quic] = &others;
    let [ours_tcp, ours_quic] = &mut bundles;
    let contestants = vec![
        Contestant::new(RAW[0], || once(|| tcp.send(&bytes))),
        Contestant::new(RAW_FILES[0], || once(|| tcp.send_file(&file))),
        Contestant::new(OURS[0], || ours_tcp.round()),
        Contestant::new(RAW[1], || once(|| quic.send(&bytes))).at_most(1),
        Contestant::new(RAW_FILES[1], || once(|| quic.send_file(&file))).at_most(1),
        Contestant::new(OURS[1], || ours_quic.round()).at_most(1),
        Contestant::new(PLAIN, || once(|| tcp.send_plain(&bytes))),
    ];
    let times = race(effort.at_most(3), contestants);
    let times: Vec<Measured> = times.into_iter().map(without_cpu).collect();
    let kind = if compressible {
        "compressible"
    } else {
        "incompressible"
    };
    let named = |name: &str| times.iter().find(|one| one.name == name);
    for (index, way) in WAYS.iter().enumerate() {
        for (raws, how) in [
            (RAW, "bytes that are dropped"),
            (RAW_FILES, "a file to a file"),
        ] {
            if let (Some(ours), Some(raw)) = (named(OURS[index]), named(raws[index])) {
                let way = way.name();
                let what = format!("{megabytes} MB, {kind}, {way}, against {how}");
                report.goal(&what, ours, raw, Goal::Faster(0.9));
            }
        }
    }
    let base = times.first().map_or(1.0, |first| first.value);
    let lines = times.iter().map(|one| {
        vec![
            one.name.clone(),
            format!("{:.2} s", one.value / 1e9),
            format!("{:.0} MB/s", megabytes as f64 * 1e9 / one.value),
            format!("{:.2}×", base / one.value),
        ]
    });
    report.cells(
        &format!("{megabytes} MB to another node, {kind}"),
        "From the moment in which the other node accepts a task with one large input to the moment in which it has all of \
         it, verified and in its store (in memory); the raw streams bring the same bytes to another process, which counts \
         them or writes them to a file. Two processes on loopback each. The last column is speed against the first line's.",
        &["what", "time", "speed", "of the raw stream's"],
        lines.collect(),
    );
}

/// One thing that was done.
fn once(work: impl FnOnce()) -> u32 {
    work();
    1
}

/// A pair of nodes of which one sends the other large inputs.
struct Bundles {
    pair: Pair,
    megabytes: usize,
    compressible: bool,
    rounds: u32,
}

impl Bundles {
    fn new(way: Way, megabytes: usize, compressible: bool) -> Bundles {
        let pair = Pair::new(&nodes::memory(), way, 1);
        pair.owner.project().guest("noop");
        Bundles {
            pair,
            megabytes,
            compressible,
            rounds: 0,
        }
    }

    /// One bundle: a new content each time, since what a node has is not sent again.
    fn round(&mut self) -> Round {
        self.rounds += 1;
        let bytes = content(self.megabytes, self.compressible, self.rounds);
        self.pair.owner.project().write("large", bytes);
        self.pair.pipeline(&format!(
            "[task.large]\ncomponent = \"noop.wasm\"\ninputs = [\"large\"]\n{THERE}\n"
        ));
        let from = self.pair.trail.here();
        self.pair.run();
        let marks = self.pair.trail.since(from);
        let find = |what: &str| marks.iter().find(|mark| mark.what == what);
        let (Some(accepted), Some(there)) = (find("said accept"), find("took bundle")) else {
            panic!("no bundle was taken: {marks:?}");
        };
        let own = Cost {
            wall: there.since(accepted),
            cpu: Duration::ZERO,
        };
        Round {
            units: 1,
            own: Some(own),
        }
    }
}

/// So many megabytes; another seed gives another content.
fn content(megabytes: usize, compressible: bool, seed: u32) -> Vec<u8> {
    let mut bytes = vec![0; megabytes * 1_000_000];
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    match compressible {
        false => hasher.finalize_xof().fill(&mut bytes),
        true => text(&mut hasher.finalize_xof(), &mut bytes),
    }
    bytes
}

/// Lines of a log: words of a small book after numbers, which zstd makes about a third of.
fn text(random: &mut blake3::OutputReader, bytes: &mut [u8]) {
    const WORDS: [&str; 16] = [
        "accepted", "render", "tile", "of", "frame", "ended", "in", "ms", "after", "cache", "miss",
        "node", "took", "bundle", "retry", "ok",
    ];
    let mut block = [0; 4096];
    let mut at = 0;
    while at < bytes.len() {
        random.fill(&mut block);
        for word in block.chunks_exact(2) {
            let &[first, second] = word else { continue };
            let line = match first % 4 {
                0 => format!("{}\n", u16::from_le_bytes([first, second])),
                _ => format!("{} ", WORDS[usize::from(second % 16)]),
            };
            for byte in line.bytes() {
                if let Some(place) = bytes.get_mut(at) {
                    *place = byte;
                }
                at += 1;
            }
        }
    }
}
