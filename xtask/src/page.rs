//! What the bench said, for people: a table for the terminal, and the book's page with its plots. Pure: a document in,
//! texts out. Called by `bench`.

use crate::svg::{self, Bar, Mark, Panel, Scale, Tone};
use serde_json::Value;
use std::fmt::Write;

/// The page and its pictures, by their names below `docs/src`.
pub fn files(said: &Value) -> Vec<(&'static str, String)> {
    let mut files = Vec::new();
    let mut pictures = Vec::new();
    for (name, alt, picture) in [
        (
            "performance-goals.svg",
            "How far each figure is from its goal",
            goals_plot(said),
        ),
        (
            "performance-tasks.svg",
            "Time a no-op task, ours and others'",
            tasks_plot(said),
        ),
        (
            "performance-growth.svg",
            "Time and memory as a run grows",
            growth_plot(said),
        ),
    ] {
        if let Some(picture) = picture {
            files.push((name, picture));
            pictures.push((name, alt));
        }
    }
    files.push(("performance.md", markdown(said, &pictures)));
    files
}

/// A list of any kind.
fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or(f64::NAN)
}

/// For the terminal.
pub fn text(said: &Value) -> String {
    let mut out = format!("{}\n", machine(said));
    for table in list(&said["tables"]) {
        let _ = write!(out, "\n{}\n", word(&table["title"]));
        for line in list(&table["lines"]) {
            let _ = writeln!(
                out,
                "  {:<58} {:>10} {:>10} {:>9}",
                word(&line["name"]),
                shown(line),
                processor(line),
                times(number(&line["ratio"]))
            );
        }
        if table["head"].is_array() {
            for cells in list(&table["cells"]) {
                let cells: Vec<&str> = list(cells).map(word).collect();
                let heads: Vec<&str> = list(&table["head"]).map(word).collect();
                let _ = write!(out, "  {:<24}", cells.first().copied().unwrap_or_default());
                for (head, cell) in heads.iter().zip(&cells).skip(1) {
                    let _ = write!(out, "  {head}: {cell}");
                }
                out.push('\n');
            }
        }
    }
    out.push_str("\nGoals\n");
    for goal in list(&said["goals"]) {
        let against = goal["against"]["name"].as_str();
        let _ = writeln!(
            out,
            "  {} {}: {} {} {} (goal {})",
            if goal["holds"] == true {
                "holds "
            } else {
                "MISSED"
            },
            word(&goal["what"]),
            shown(&goal["ours"]),
            against.map_or_else(String::new, |name| format!(
                "against {} of {name},",
                shown(&goal["against"])
            )),
            ratio(goal, "ratio"),
            bound(goal),
        );
    }
    for note in list(&said["notes"]) {
        let _ = writeln!(out, "note: {}", word(note));
    }
    out
}

fn machine(said: &Value) -> String {
    let facts: Vec<String> = list(&said["machine"])
        .map(|fact| format!("{}: {}", word(&fact["what"]), word(&fact["is"])))
        .collect();
    facts.join(", ")
}

fn markdown(said: &Value, pictures: &[(&str, &str)]) -> String {
    let picture = |name: &str| {
        pictures
            .iter()
            .find(|(have, _)| *have == name)
            .map_or_else(String::new, |(name, alt)| format!("\n![{alt}]({name})\n"))
    };
    let mut out = String::from(
        "# Performance\n\n<!-- Written by `cargo xtask bench`: do not edit. -->\n\nWhat sandboxing a task costs, what \
         running many of them costs, and what it costs to have another node run them, each against its floor (the same \
         engine, or the same network, with nothing of ours around it) or against what a user would pick instead. Everything on this page was measured in one run on one machine: rounds of all \
         sides of a row take turns and their medians are compared, so read the ratios and not the times. Run \
         `cargo xtask bench` for your own; [Where the time goes](profile.md) takes a task's time apart. No test looks at \
         time: CI counts the hot path's instructions instead (`cargo xtask instructions`).\n",
    );
    if said["effort"] == "quick" {
        out.push_str(
            "\n**These figures are of a quick run, which is there to see that the bench works.**\n",
        );
    }
    out.push_str("\n## Goals\n\n");
    out.push_str(
        "The first ratio is of time on the clock, which another tenant of the machine can spoil; the second, where it \
         means something, is of processor time (user and system, children included).\n",
    );
    out.push_str(&picture("performance-goals.svg"));
    goals_table(said, &mut out);
    out.push_str("\n## What others need for a task\n");
    out.push_str(&picture("performance-tasks.svg"));
    let mut growth = picture("performance-growth.svg");
    out.push_str("\nAll figures follow; the first line of each table is what the others are measured against.\n");
    for table in list(&said["tables"]) {
        let _ = write!(
            out,
            "\n## {}\n\n{}\n",
            word(&table["title"]),
            word(&table["about"])
        );
        if table["row"] == "growth" {
            out.push_str(&std::mem::take(&mut growth));
        }
        figures(table, &mut out);
    }
    if list(&said["notes"]).next().is_some() {
        out.push_str("\n## Notes\n\n");
        for note in list(&said["notes"]) {
            let _ = writeln!(out, "- {}", word(note));
        }
    }
    out.push_str("\n## The machine\n\n| what | is |\n|---|---|\n");
    for fact in list(&said["machine"]) {
        let _ = writeln!(out, "| {} | {} |", word(&fact["what"]), word(&fact["is"]));
    }
    out
}

fn goals_table(said: &Value, out: &mut String) {
    out.push_str(
        "\n| what | measured | floor or peer | ratio | by processor time | goal | holds |\n|---|---|---|---|---|---|---|\n",
    );
    for goal in list(&said["goals"]) {
        let against = match goal["against"]["name"].as_str() {
            Some(name) => format!("{name}: {}", shown(&goal["against"])),
            None => "–".to_owned(),
        };
        let _ = writeln!(
            out,
            "| {} | {} | {against} | {} | {} | {} | {} |",
            word(&goal["what"]),
            shown(&goal["ours"]),
            ratio(goal, "ratio"),
            ratio(goal, "cpu_ratio"),
            bound(goal),
            verdict(goal),
        );
    }
}

/// Whether a goal holds on the clock; where it does not, whether it does by processor time.
fn verdict(goal: &Value) -> &'static str {
    match (goal["holds"] == true, goal["cpu_holds"] == true) {
        (true, _) => "yes",
        (false, true) => "**no** (by processor time: yes)",
        (false, false) => "**no**",
    }
}

fn figures(table: &Value, out: &mut String) {
    if table["head"].is_array() {
        let row = |cells: &Value| {
            let cells: Vec<&str> = list(cells).map(word).collect();
            format!("| {} |\n", cells.join(" | "))
        };
        let columns = list(&table["head"]).count();
        let _ = write!(
            out,
            "\n{}|{}\n",
            row(&table["head"]),
            "---|".repeat(columns)
        );
        list(&table["cells"]).for_each(|cells| out.push_str(&row(cells)));
        return;
    }
    let is_memory = list(&table["lines"]).all(|line| line["unit"] == "bytes");
    out.push_str(if is_memory {
        "\n| what | memory | ratio |\n|---|---|---|\n"
    } else {
        "\n| what | time | processor time | ratio |\n|---|---|---|---|\n"
    });
    for (index, line) in list(&table["lines"]).enumerate() {
        let _ = write!(out, "| {} | {} |", word(&line["name"]), shown(line));
        if !is_memory {
            let _ = write!(out, " {} |", processor(line));
        }
        let against = if index == 0 {
            String::new()
        } else {
            times(number(&line["ratio"]))
        };
        let _ = writeln!(out, " {against} |");
    }
}

/// The goal of each row as a bar: measured over allowed, so that what is left of the line holds.
fn goals_plot(said: &Value) -> Option<String> {
    let bars: Vec<Bar> = list(&said["goals"])
        .map(|goal| {
            let limit = number(&goal["bound"]);
            let part = match word(&goal["kind"]) {
                "faster" => limit / number(&goal["ratio"]),
                "below" => number(&goal["ours"]["value"]) / limit,
                _ => number(&goal["ratio"]) / limit,
            };
            let shown = match word(&goal["kind"]) {
                "below" => shown(&goal["ours"]),
                _ => ratio(goal, "ratio"),
            };
            Bar {
                label: shortened(&word(&goal["what"]).replace('`', ""), 60),
                value: part,
                shown: format!("{shown} (goal {})", bound(goal)),
                tone: if goal["holds"] == true {
                    Tone::Good
                } else {
                    Tone::Bad
                },
            }
        })
        .collect();
    let mark = Mark {
        at: 1.0,
        label: "the goal",
    };
    (!bars.is_empty()).then(|| {
        svg::bars(
            "How far each figure is from its goal",
            "measured, as a part of what the goal allows (logarithmic; left of the line it holds)",
            Scale::Log,
            &bars,
            Some(&mark),
        )
    })
}

/// What one no-op task takes: ours and everybody else's.
fn tasks_plot(said: &Value) -> Option<String> {
    let mut bars: Vec<Bar> = list(&said["tables"])
        .filter(|table| table["row"] == "independent" || table["row"] == "cached")
        .flat_map(|table| list(&table["lines"]))
        .map(|line| Bar {
            label: shortened(word(&line["name"]), 60),
            value: number(&line["value"]) / 1e3,
            shown: shown(line),
            tone: if word(&line["name"]).starts_with("sykli") {
                Tone::Plain
            } else {
                Tone::Other
            },
        })
        .collect();
    bars.sort_by(|a, b| a.value.total_cmp(&b.value));
    (bars.len() > 1).then(|| {
        svg::bars(
            "Time a no-op task, of many",
            "µs a task, two at once (logarithmic)",
            Scale::Log,
            &bars,
            None,
        )
    })
}

fn growth_plot(said: &Value) -> Option<String> {
    let panels: Vec<Panel> = list(&said["curves"])
        .map(|curve| Panel {
            title: word(&curve["title"]).to_owned(),
            x: word(&curve["x"]).to_owned(),
            y: word(&curve["y"]).to_owned(),
            series: list(&curve["series"])
                .map(|series| {
                    let points = list(&series["points"])
                        .map(|point| (number(&point[0]), number(&point[1])))
                        .collect();
                    (word(&series["name"]).to_owned(), points)
                })
                .collect(),
        })
        .collect();
    (!panels.is_empty()).then(|| {
        svg::curves(
            "Time and memory as a run grows (both axes logarithmic)",
            &panels,
        )
    })
}

fn shortened(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let kept: String = text.chars().take(most - 1).collect();
    format!("{}…", kept.trim_end())
}

/// A figure with its unit.
fn shown(figure: &Value) -> String {
    let value = number(&figure["value"]);
    match word(&figure["unit"]) {
        "bytes" => bytes(value),
        _ => time(value),
    }
}

fn processor(figure: &Value) -> String {
    figure["cpu_ns"].as_f64().map_or_else(String::new, time)
}

fn bytes(value: f64) -> String {
    match value {
        v if v < 10_240.0 => format!("{v:.0} B"),
        v if v < 10.0 * 1_048_576.0 => format!("{:.1} KiB", v / 1024.0),
        v => format!("{:.0} MiB", v / 1_048_576.0),
    }
}

/// Nanoseconds in the unit that suits them.
pub fn time(nanos: f64) -> String {
    match nanos {
        n if n < 1e5 => format!("{} µs", plain(n / 1e3)),
        n if n < 1e6 => format!("{:.0} µs", n / 1e3),
        n if n < 1e9 => format!("{} ms", plain(n / 1e6)),
        n => format!("{} s", plain(n / 1e9)),
    }
}

/// A count with commas: 10,000.
pub fn grouped(count: u32) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Two digits after the point, none where they would be zeroes.
fn plain(value: f64) -> String {
    let text = format!("{value:.2}");
    text.strip_suffix(".00").map_or(text.clone(), str::to_owned)
}

fn ratio(goal: &Value, which: &str) -> String {
    let value = goal[which].as_f64();
    value.map_or_else(|| "–".to_owned(), times)
}

fn times(value: f64) -> String {
    if value >= 100.0 {
        format!("{value:.0}×")
    } else {
        format!("{value:.2}×")
    }
}

fn bound(goal: &Value) -> String {
    let limit = number(&goal["bound"]);
    match word(&goal["kind"]) {
        "faster" => format!("≥ {limit}×"),
        "below" => format!("≤ {}", time(limit)),
        _ => format!("≤ {limit}×"),
    }
}
