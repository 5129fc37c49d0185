//! `cargo xtask sim …`: builds the simulator of the mesh in release and runs it; of `--scale` it makes the book's page.
//!
//! What is simulated and what is checked is core's business (`host/core/src/sim.rs`), what can be asked for its driver's
//! (`host/core/examples/sim.rs`). Only core is built, so that it starts at once. `--render FILE` makes the page of what an
//! earlier `--scale` said (`target/scale.json`). Called by developers and CI.

use crate::bench::{emit, target, write};
use crate::process::{self, Result, cargo_command, root, say};
use crate::svg::{self, Panel};
use serde_json::Value;
use std::fmt::Write;
use std::process::Stdio;

/// Runs the driver; with `--scale` writes the page too.
pub fn run(rest: &[String]) -> Result {
    let rest = process::words(rest);
    if let ["--render", file] = rest[..] {
        return write_page(&parse(&process::text(file)?)?);
    }
    let mut driver = cargo_command();
    driver.args([
        "run",
        "--release",
        "--quiet",
        "--package",
        "sykli-core",
        "--features",
        "sim",
        "--example",
        "sim",
        "--",
    ]);
    driver.args(&rest);
    if !rest.contains(&"--scale") {
        return process::run(&mut driver);
    }
    let text = process::output(driver.stderr(Stdio::inherit()))?;
    let said = parse(&text)?;
    write(&target().join("scale.json"), &text)?;
    emit(&table(&said));
    if rest.contains(&"--nodes") {
        say("the book's page is written by a run of all sizes alone");
        return Ok(());
    }
    write_page(&said)
}

fn parse(text: &str) -> Result<Value> {
    let said: Value = serde_json::from_str(text)
        .map_err(|e| format!("the simulator said something else: {e}"))?;
    if said["schema"] == "sykli.scale/1" {
        Ok(said)
    } else {
        Err(format!("what is {}?", said["schema"]))
    }
}

fn write_page(said: &Value) -> Result {
    for (name, content) in [("scale.md", page(said)), ("scale.svg", plot(said))] {
        write(&root().join("docs/src").join(name), &content)?;
        say(&format!("wrote docs/src/{name}"));
    }
    Ok(())
}

/// One swarm, as numbers.
struct Row<'a>(&'a Value);

impl Row<'_> {
    fn of(&self, name: &str) -> f64 {
        self.0[name].as_f64().unwrap_or(0.0)
    }

    /// So much of it for each task.
    fn a_task(&self, name: &str) -> f64 {
        self.of(name) / self.of("tasks").max(1.0)
    }

    /// So much of it for each node and hour of the makespan.
    fn a_node_hour(&self, name: &str) -> f64 {
        let hours = self.of("nodes") * self.of("makespan_ms") / 3.6e6;
        self.of(name) / hours.max(f64::MIN_POSITIVE)
    }

    /// How many times as long as no schedule can undercut.
    fn stretch(&self) -> f64 {
        self.of("makespan_ms") / self.of("bound_ms").max(1.0)
    }
}

fn rows(said: &Value) -> Vec<Row<'_>> {
    said["rows"]
        .as_array()
        .map_or(Vec::new(), |rows| rows.iter().map(Row).collect())
}

fn round_trips(said: &Value, row: &Row<'_>, name: &str) -> f64 {
    row.of(name) / said["rtt_ms"].as_f64().unwrap_or(1.0)
}

fn table(said: &Value) -> String {
    let mut out = String::from(
        "| nodes | owners | tasks | messages a task | of gossip | bytes a task | of gossip | bytes a node and hour \
         | steal p50 | steal p99 | makespan | ÷ bound | took |\n\
         |---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n",
    );
    for row in rows(said) {
        let bytes = row.a_node_hour("bytes") + row.a_node_hour("gossip_bytes");
        let _ = writeln!(
            out,
            "| {} | {} | {} | {:.1} | {:.1} | {:.0} | {:.0} | {:.1} MB | {:.1} | {:.1} | {:.1} s | {:.2} | {:.1} s |",
            row.of("nodes"),
            row.of("owners"),
            row.of("tasks"),
            row.a_task("messages"),
            row.a_task("gossip_messages"),
            row.a_task("bytes"),
            row.a_task("gossip_bytes"),
            bytes / 1e6,
            round_trips(said, &row, "steal_p50_ms"),
            round_trips(said, &row, "steal_p99_ms"),
            row.of("makespan_ms") / 1e3,
            row.stretch(),
            row.of("real_ms") / 1e3,
        );
    }
    out
}

fn page(said: &Value) -> String {
    let growth = growth(said);
    format!(
        "# At scale\n\n\
         <!-- Written by `cargo xtask sim --scale`: do not edit. -->\n\n\
         What the protocol costs as a mesh grows, simulated: the product's machines in virtual time, every message \
         encoded. A swarm on one network of {} ms round trip, a slot a node, an owner for every 50 nodes, ten tasks for \
         each node, {} s each on average and exponentially distributed. Up to 50 nodes all are connected; in larger \
         swarms executors dial the owner that they ask, idle connections are dropped after a minute, and owners with \
         work gossip their state. A beacon reaches every node after one to three hops and is counted once for each node \
         that it reaches. Bundles and outputs are not counted.\n\n\
         ![messages a task and steal latency, by nodes](scale.svg)\n\n{}\n\
         *Steal*: from an idle node's question until the owner hears that the work has begun, in round trips; it holds the \
         record that is made durable before an offer, the bundle's way and the guest's start. *Bound*: all work divided by \
         all slots; tasks are not cut, so the longest of them alone may take more. *Took*: real time of the simulation on \
         the machine that wrote this page.\n\n{growth}",
        said["rtt_ms"],
        said["mean_task_ms"].as_f64().unwrap_or(0.0) / 1e3,
        table(said),
    )
}

/// From the smallest swarm to the largest.
fn growth(said: &Value) -> String {
    let rows = rows(said);
    let (Some(first), Some(last)) = (rows.first(), rows.last()) else {
        return String::new();
    };
    let times = |name: &str| last.of(name) / first.of(name).max(1.0);
    format!(
        "From {} to {} nodes, {:.0} times as many: messages {:.0} times, makespan {:.2} times, steal p50 {:.2} times.\n",
        first.of("nodes"),
        last.of("nodes"),
        times("nodes"),
        times("messages"),
        times("makespan_ms"),
        times("steal_p50_ms"),
    )
}

fn plot(said: &Value) -> String {
    let series = |name: &str, value: &dyn Fn(&Row<'_>) -> f64| {
        let points = rows(said)
            .iter()
            .map(|row| (row.of("nodes"), value(row)))
            .filter(|(_, value)| *value > 0.0)
            .collect::<Vec<_>>();
        (name.to_owned(), points)
    };
    let traffic = Panel {
        title: "messages a task".into(),
        x: "nodes".into(),
        y: "messages".into(),
        series: vec![
            series("direct", &|row| row.a_task("messages")),
            series("gossip", &|row| row.a_task("gossip_messages")),
        ],
    };
    let latency = Panel {
        title: "from asking to running".into(),
        x: "nodes".into(),
        y: "round trips".into(),
        series: vec![
            series("p50", &|row| round_trips(said, row, "steal_p50_ms")),
            series("p99", &|row| round_trips(said, row, "steal_p99_ms")),
        ],
    };
    svg::curves("A swarm as it grows", &[traffic, latency])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said() -> Value {
        let text = r#"{"schema":"sykli.scale/1","rtt_ms":20,"mean_task_ms":2000,"rows":[
            {"nodes":10,"owners":1,"tasks":100,"messages":1800,"bytes":90000,"gossip_messages":0,"gossip_bytes":0,
             "makespan_ms":30000,"bound_ms":20000,"steal_p50_ms":60,"steal_p99_ms":160,"real_ms":5},
            {"nodes":1000,"owners":20,"tasks":10000,"messages":150000,"bytes":11000000,"gossip_messages":360000,
             "gossip_bytes":18000000,"makespan_ms":33000,"bound_ms":20000,"steal_p50_ms":60,"steal_p99_ms":160,
             "real_ms":3000}]}"#;
        parse(text).unwrap()
    }

    #[test]
    fn the_page_says_what_was_said() {
        let page = page(&said());
        assert!(page.contains(
            "| 10 | 1 | 100 | 18.0 | 0.0 | 900 | 0 | 1.1 MB | 3.0 | 8.0 | 30.0 s | 1.50 | 0.0 s |"
        ));
        assert!(page.contains("From 10 to 1000 nodes, 100 times as many: messages 83 times"));
        assert!(plot(&said()).ends_with("</svg>\n"));
        assert!(parse("{\"schema\":\"other\"}").is_err());
    }
}
