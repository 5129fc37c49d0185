//! The simulator itself: plays are the same each time, and a few seeds of every scenario break no rule.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;

/// Seeds of each scenario that are part of every test run; CI plays ten thousand with the driver.
const SEEDS: u64 = 6;

#[test]
fn the_same_seed_is_the_same_play() {
    for (index, name) in names().iter().enumerate() {
        let scenario = Scenario::named(name).unwrap();
        let play = |seed| attempt(&scenario, seed, Setting::default()).hash;
        assert_eq!(play(index as u64), play(index as u64), "{name}");
    }
    let scenario = Scenario::named("lan/drop").unwrap();
    let play = |seed| attempt(&scenario, seed, Setting::default()).hash;
    assert_ne!(play(1), play(2));
}

#[test]
fn no_rule_is_broken() {
    for name in names() {
        let scenario = Scenario::named(&name).unwrap();
        for seed in 0..SEEDS {
            let report = judge(&scenario, seed);
            if let Some(violation) = report.violation {
                panic!("{violation}\n{}", again(&name, seed));
            }
        }
    }
}

/// The smallest mesh: an owner, two executors, a few tasks of which each takes its whole way.
const SMALL: &str = "nodes = 3\nowners = 1\ntasks = 5\nlayers = 2\nduration_ms = 400..4000\ninput_bytes = 3000\nslots = 1\n\
    mixed = false\nmode = mesh\nfails = 0\nfaults = 0\nasks = 0\nmoods = 0\n";

/// When a node is killed after a step, and how long it is down, in milliseconds.
const DELAYS: [(u64, u64); 4] = [(0, 300), (2, 300), (2, 20_000), (5, 300)];

/// Every word that either end says, every record that it writes and everything that a run wants: the node is killed right
/// then, before it is durable or heard, or a little later, and comes back soon or when its lease is gone.
#[test]
fn a_node_may_be_killed_at_any_step() {
    let mut killed = 0;
    for impure in [0, 1000] {
        let scenario = Scenario::parse("small", &format!("{SMALL}impure = {impure}\n")).unwrap();
        for (node, nth) in (0..3).flat_map(|node| (0..60).map(move |nth| (node, nth))) {
            for (seed, (after_ms, down_ms)) in
                (0..4).flat_map(|seed| DELAYS.map(|delay| (seed, delay)))
            {
                let kill = Trap {
                    node,
                    nth,
                    after_ms,
                    down_ms,
                };
                let setting = Setting {
                    kill: Some(kill),
                    ..Setting::default()
                };
                let report = attempt(&scenario, seed, setting);
                if let Some(violation) = report.violation {
                    panic!("{kill:?}, effects {impure}: {violation}");
                }
                killed += report.stats.kills;
            }
        }
    }
    assert!(killed > 500, "{killed} kills");
}

/// What no play sees, no play checks: every word of the protocol is heard, and every kind of misfortune happens.
#[test]
fn the_matrix_sees_everything() {
    let mut heard = std::collections::BTreeMap::new();
    let mut stats = Stats::default();
    for (index, name) in matrix().iter().cycle().take(96).enumerate() {
        let scenario = Scenario::named(name).unwrap();
        let report = attempt(&scenario, index as u64, Setting::default());
        for (word, count) in report.stats.heard {
            *heard.entry(word).or_insert(0) += count;
        }
        stats.kills += report.stats.kills;
        stats.cuts += report.stats.cuts;
        stats.expelled += report.stats.expelled;
    }
    let words = [
        "Idle",
        "Accept",
        "Decline",
        "Pending",
        "Started",
        "Progress",
        "Completed",
        "Outputs",
        "Lost",
        "Offer",
        "NoWork",
        "Withdraw",
        "Cancel",
        "Acked",
        "Settled",
        "Resume",
        "Bundle",
        "Beacon",
    ];
    for word in words {
        assert!(
            heard.get(word).is_some_and(|count| *count > 10),
            "{word} is hardly heard: {heard:?}"
        );
    }
    assert!(
        stats.kills > 10 && stats.cuts > 100 && stats.expelled > 1,
        "{stats:?}"
    );
}

/// One task's way by dispatch, and a whole small run by stealing, without beacons. Where a change is meant, what is printed
/// is the new file.
#[test]
fn diagrams_are_as_they_were() {
    let run = RunId::new("run0").unwrap();
    for (name, only, golden) in [
        (
            "dispatch",
            Some((run, TaskId(2))),
            include_str!("golden/dispatch.txt"),
        ),
        ("steal", None, include_str!("golden/steal.txt")),
    ] {
        let scenario = Scenario::named(name).unwrap();
        let drawn = trace(&scenario, 0, only);
        let drawn: Vec<&str> = drawn
            .lines()
            .filter(|line| !line.contains("Beacon"))
            .collect();
        let drawn = drawn.join("\n") + "\n";
        assert!(drawn == golden, "{name} is now:\n{drawn}");
    }
}

#[test]
fn a_small_swarm_does_its_work() {
    let swarm = scale::swarm(10, 1);
    assert_eq!(swarm.report.violation, None);
    assert!(swarm.makespan_ms >= swarm.bound_ms);
}
