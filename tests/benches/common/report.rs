//! Collects what the rows measured and says it as one JSON document (`sykli.bench/2`), which `cargo xtask bench` turns
//! into text, the book's page and its plots. Measures nothing, prints nothing.

use crate::measure::{Measured, Unit};
use serde_json::{Value, json};

/// What a goal asks for.
#[derive(Clone, Copy)]
pub(crate) enum Goal {
    /// Ours takes at most so many times what the other takes.
    AtMost(f64),
    /// Ours is at least so many times faster, or more, than the other.
    Faster(f64),
    /// Ours takes at most so much, in its own unit.
    Below(f64),
}

/// All of it, with the machine it comes from.
pub(crate) struct Report {
    row: &'static str,
    goals: Vec<Value>,
    tables: Vec<Value>,
    curves: Vec<Value>,
    notes: Vec<String>,
}

impl Report {
    /// An empty report.
    pub(crate) fn new() -> Self {
        Report {
            row: "",
            goals: Vec::new(),
            tables: Vec::new(),
            curves: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// What follows is of this row.
    pub(crate) fn begin(&mut self, row: &'static str) {
        self.row = row;
    }

    /// Adds a table; the first line is what the others are measured against.
    pub(crate) fn table(&mut self, title: &str, about: &str, lines: &[Measured]) {
        let base = lines.first().map_or(1.0, |first| first.value);
        let lines: Vec<Value> = lines
            .iter()
            .map(|line| {
                let mut value = figure(line);
                value["ratio"] = json!(line.value / base.max(1e-9));
                value
            })
            .collect();
        self.tables
            .push(json!({"row": self.row, "title": title, "about": about, "lines": lines}));
    }

    /// Adds a table whose cells are text already: `head` names the columns.
    pub(crate) fn cells(
        &mut self,
        title: &str,
        about: &str,
        head: &[&str],
        lines: Vec<Vec<String>>,
    ) {
        self.tables.push(
            json!({"row": self.row, "title": title, "about": about, "head": head, "cells": lines}),
        );
    }

    /// Adds a goal: `ours` against `other`.
    pub(crate) fn goal(&mut self, what: &str, ours: &Measured, other: &Measured, goal: Goal) {
        let ratio = |ours: f64, other: f64| match goal {
            Goal::AtMost(_) => ours / other.max(1e-9),
            Goal::Faster(_) => other / ours.max(1e-9),
            Goal::Below(_) => ours,
        };
        let of_cpu = ours
            .cpu
            .zip(other.cpu)
            .map(|(ours, other)| ratio(ours, other));
        let ratio = ratio(ours.value, other.value);
        let (kind, bound) = match goal {
            Goal::AtMost(bound) => ("at-most", bound),
            Goal::Faster(bound) => ("faster", bound),
            Goal::Below(bound) => ("below", bound),
        };
        let holds = |ratio: f64| match goal {
            Goal::AtMost(bound) | Goal::Below(bound) => ratio <= bound,
            Goal::Faster(bound) => ratio >= bound,
        };
        // Processor time of several threads is no latency, so a goal in microseconds is judged on the clock alone.
        let cpu_holds = of_cpu.filter(|_| kind != "below").map(holds);
        let holds = holds(ratio);
        let against = (!matches!(goal, Goal::Below(_))).then(|| figure(other));
        let (ratio, cpu_ratio) = match against {
            Some(_) => (Some(ratio), of_cpu),
            None => (None, None),
        };
        self.goals.push(json!({
            "row": self.row, "what": what, "ours": figure(ours), "against": against, "ratio": ratio,
            "cpu_ratio": cpu_ratio, "kind": kind, "bound": bound, "holds": holds, "cpu_holds": cpu_holds,
        }));
    }

    /// Adds curves over one x axis; both axes are logarithmic when they are plotted.
    pub(crate) fn curves(
        &mut self,
        title: &str,
        x: &str,
        y: &str,
        series: &[(&str, Vec<(f64, f64)>)],
    ) {
        let series: Vec<Value> = series
            .iter()
            .map(|(name, points)| json!({"name": name, "points": points}))
            .collect();
        self.curves
            .push(json!({"row": self.row, "title": title, "x": x, "y": y, "series": series}));
    }

    /// Adds a line about what could not be measured, or how it was.
    pub(crate) fn note(&mut self, line: &str) {
        if !self.notes.iter().any(|known| known == line) {
            self.notes.push(line.to_owned());
        }
    }

    /// The document.
    pub(crate) fn json(&self, machine: &[(&str, String)], quick: bool) -> Value {
        let machine: Vec<Value> = machine
            .iter()
            .map(|(what, is)| json!({"what": what, "is": is}))
            .collect();
        json!({
            "schema": "sykli.bench/2", "effort": if quick { "quick" } else { "full" }, "machine": machine,
            "goals": self.goals, "tables": self.tables, "curves": self.curves, "notes": self.notes,
        })
    }
}

/// A count with commas: 10,000.
pub(crate) fn grouped(count: u32) -> String {
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

fn figure(measured: &Measured) -> Value {
    let unit = match measured.unit {
        Unit::Time => "ns",
        Unit::Bytes => "bytes",
    };
    json!({"name": measured.name, "unit": unit, "value": measured.value, "cpu_ns": measured.cpu})
}
