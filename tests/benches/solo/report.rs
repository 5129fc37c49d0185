//! Collects rows and prints them: as text, as JSON, as the book's page. Measures nothing.

use std::fmt::Write;
use std::time::Duration;

/// One comparison.
pub(crate) struct Row {
    group: String,
    name: String,
    time: Duration,
    /// Time over the base's time, and the base's name.
    against: Option<(f64, String)>,
}

/// All of them, with the machine they come from.
pub(crate) struct Report {
    machine: String,
    rows: Vec<Row>,
    notes: Vec<String>,
}

impl Report {
    /// An empty report of this machine.
    pub(crate) fn new(machine: String) -> Self {
        Report {
            machine,
            rows: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Adds a group: the first time is the base of the others' ratios.
    pub(crate) fn group(&mut self, group: &str, times: Vec<(String, Duration)>) {
        let base = times.first().cloned();
        for (index, (name, time)) in times.into_iter().enumerate() {
            let against = base.as_ref().filter(|_| index > 0).map(|(base, of)| {
                (
                    time.as_secs_f64() / of.as_secs_f64().max(1e-12),
                    base.clone(),
                )
            });
            self.rows.push(Row {
                group: group.to_owned(),
                name,
                time,
                against,
            });
        }
    }

    /// Adds a line about what could not be measured here.
    pub(crate) fn note(&mut self, line: &str) {
        self.notes.push(line.to_owned());
    }

    /// A table for the terminal.
    pub(crate) fn text(&self) -> String {
        let mut out = format!("{}\n", self.machine);
        let mut group = "";
        for row in &self.rows {
            if row.group != group {
                group = &row.group;
                let _ = write!(out, "\n{group}\n");
            }
            let _ = writeln!(
                out,
                "  {:<52} {:>10}  {}",
                row.name,
                human(row.time),
                ratio(row)
            );
        }
        for note in &self.notes {
            let _ = writeln!(out, "note: {note}");
        }
        out
    }

    /// One JSON document.
    pub(crate) fn json(&self) -> String {
        let rows: Vec<_> = self
            .rows
            .iter()
            .map(|row| {
                serde_json::json!({
                    "group": row.group,
                    "name": row.name,
                    "nanoseconds": u64::try_from(row.time.as_nanos()).unwrap_or(u64::MAX),
                    "ratio": row.against.as_ref().map(|(ratio, _)| ratio),
                    "against": row.against.as_ref().map(|(_, base)| base),
                })
            })
            .collect();
        serde_json::json!({
            "schema": "sykli.bench/1", "machine": self.machine, "rows": rows, "notes": self.notes,
        })
        .to_string()
    }

    /// The book's page.
    pub(crate) fn page(&self) -> String {
        let mut out = format!(
            "# Performance\n\n<!-- Written by `cargo xtask bench`: do not edit. -->\n\nMachine: {}. Medians of interleaved \
             rounds; the first line of each table is what the others are measured against. Run `cargo xtask bench` for \
             your own.\n",
            self.machine
        );
        let mut group = "";
        for row in &self.rows {
            if row.group != group {
                group = &row.group;
                let _ = write!(
                    out,
                    "\n## {group}\n\n| what | time | ratio |\n|---|---|---|\n"
                );
            }
            let _ = writeln!(
                out,
                "| {} | {} | {} |",
                row.name,
                human(row.time),
                ratio(row)
            );
        }
        if !self.notes.is_empty() {
            out.push_str("\n## Notes\n\n");
            for note in &self.notes {
                let _ = writeln!(out, "- {note}");
            }
        }
        out
    }
}

fn ratio(row: &Row) -> String {
    row.against
        .as_ref()
        .map_or_else(String::new, |(ratio, _)| format!("{ratio:.2}×"))
}

fn human(time: Duration) -> String {
    let nanos = time.as_nanos() as f64;
    match nanos {
        n if n < 1e5 => format!("{:.2} µs", n / 1e3),
        n if n < 1e8 => format!("{:.2} ms", n / 1e6),
        n => format!("{:.2} s", n / 1e9),
    }
}
