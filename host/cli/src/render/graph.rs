//! Draws a pipeline: text, Mermaid, Graphviz, SVG. Pure functions of names and edges; names are escaped for each
//! language. Called by `cmd/graph.rs`.

use std::collections::BTreeMap;
use std::fmt::Write;

/// A declared task.
#[derive(Clone, Debug)]
pub(crate) struct Drawn {
    pub(crate) name: String,
    /// Indices of the tasks that it comes after.
    pub(crate) after: Vec<usize>,
    /// How it fans out, if it does: `16 shards`.
    pub(crate) fan: Option<String>,
}

/// One task a line, with what it needs.
pub(crate) fn text(tasks: &[Drawn], unicode: bool) -> String {
    let arrow = if unicode { "←" } else { "<-" };
    let width = tasks
        .iter()
        .map(|task| task.name.chars().count())
        .max()
        .unwrap_or(0);
    let mut out = String::new();
    for task in ordered(tasks)
        .into_iter()
        .filter_map(|index| tasks.get(index))
    {
        let after: Vec<&str> = task
            .after
            .iter()
            .filter_map(|index| tasks.get(*index))
            .map(|t| t.name.as_str())
            .collect();
        let mut line = format!("{:width$}", task.name);
        if !after.is_empty() {
            let _ = write!(line, " {arrow} {}", after.join(", "));
        }
        if let Some(fan) = &task.fan {
            let _ = write!(line, " ({fan})");
        }
        let _ = writeln!(out, "{}", line.trim_end());
    }
    out
}

/// A Mermaid flowchart.
pub(crate) fn mermaid(tasks: &[Drawn]) -> String {
    let mut out = "flowchart LR\n".to_owned();
    for (index, task) in tasks.iter().enumerate() {
        let fan = task
            .fan
            .as_ref()
            .map_or_else(String::new, |fan| format!("<br>{}", html(fan)));
        let _ = writeln!(out, "  t{index}[\"{}{fan}\"]", html(&task.name));
    }
    for (from, to) in edges(tasks) {
        let _ = writeln!(out, "  t{from} --> t{to}");
    }
    out
}

/// A Graphviz digraph.
pub(crate) fn dot(tasks: &[Drawn]) -> String {
    let quoted = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
    let mut out =
        "digraph pipeline {\n  rankdir = LR;\n  node [shape = box, style = rounded];\n".to_owned();
    for task in tasks {
        let fan = task.fan.as_ref().map_or_else(String::new, |fan| {
            format!("\\n{}", fan.replace('\\', "\\\\").replace('"', "\\\""))
        });
        let label = format!("{}{fan}\"", quoted(&task.name).trim_end_matches('"'));
        let _ = writeln!(out, "  {} [label = {label}];", quoted(&task.name));
    }
    let name = |index: usize| {
        tasks
            .get(index)
            .map_or_else(String::new, |task| quoted(&task.name))
    };
    for (from, to) in edges(tasks) {
        let _ = writeln!(out, "  {} -> {};", name(from), name(to));
    }
    out.push_str("}\n");
    out
}

const BOX_HEIGHT: usize = 44;
const ROW: usize = 64;
const GAP: usize = 56;
const MARGIN: usize = 20;
const LETTER: usize = 8;

/// A picture that reads on light and dark pages: tasks in columns by distance from a start.
pub(crate) fn svg(tasks: &[Drawn]) -> String {
    let columns = columns(tasks);
    let rows = columns.iter().map(Vec::len).max().unwrap_or(0).max(1);
    let height = MARGIN * 2 + rows * ROW;
    let mut x = MARGIN;
    let mut boxes = BTreeMap::new();
    for column in &columns {
        let letters = column
            .iter()
            .filter_map(|index| tasks.get(*index))
            .map(letters)
            .max()
            .unwrap_or(1);
        let width = letters * LETTER + 28;
        let top = (height - column.len() * ROW) / 2 + (ROW - BOX_HEIGHT) / 2;
        for (row, index) in column.iter().enumerate() {
            boxes.insert(*index, (x, top + row * ROW, width));
        }
        x += width + GAP;
    }
    let width = x.saturating_sub(GAP) + MARGIN;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\" role=\"img\">\n<style>\n\
         text {{ font: 14px ui-sans-serif, system-ui, sans-serif; fill: #1c2733; text-anchor: middle; }}\n\
         .fan {{ font-size: 11px; fill: #5b6b7c; }}\n\
         rect {{ fill: #eef3f8; stroke: #7e93a8; }}\npath {{ fill: none; stroke: #7e93a8; stroke-width: 1.5; }}\n\
         @media (prefers-color-scheme: dark) {{ text {{ fill: #e6edf3; }} .fan {{ fill: #9fb0c0; }} \
         rect {{ fill: #1f2a36; stroke: #5f748a; }} path {{ stroke: #5f748a; }} }}\n</style>\n\
         <defs><marker id=\"a\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"7\" markerHeight=\"7\" \
         orient=\"auto\"><path d=\"M0 0 L8 4 L0 8\"/></marker></defs>\n"
    );
    for (from, to) in edges(tasks) {
        if let (Some((x, y, width)), Some((to_x, to_y, _))) = (boxes.get(&from), boxes.get(&to)) {
            let (x1, y1, x2, y2) = (x + width, y + BOX_HEIGHT / 2, *to_x, to_y + BOX_HEIGHT / 2);
            let bend = x1.midpoint(x2);
            let _ = writeln!(
                out,
                "<path marker-end=\"url(#a)\" d=\"M{x1} {y1} C{bend} {y1} {bend} {y2} {x2} {y2}\"/>"
            );
        }
    }
    for (index, task) in tasks.iter().enumerate() {
        if let Some(place) = boxes.get(&index) {
            svg_box(&mut out, task, *place);
        }
    }
    out.push_str("</svg>\n");
    out
}

fn svg_box(out: &mut String, task: &Drawn, (x, y, width): (usize, usize, usize)) {
    let middle = x + width / 2;
    let base = y + if task.fan.is_some() { 20 } else { 27 };
    let _ = writeln!(
        out,
        "<rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{BOX_HEIGHT}\" rx=\"8\"/>"
    );
    let _ = writeln!(
        out,
        "<text x=\"{middle}\" y=\"{base}\">{}</text>",
        html(&task.name)
    );
    if let Some(fan) = &task.fan {
        let _ = writeln!(
            out,
            "<text class=\"fan\" x=\"{middle}\" y=\"{}\">{}</text>",
            base + 15,
            html(fan)
        );
    }
}

fn letters(task: &Drawn) -> usize {
    task.name.chars().count().max(
        task.fan
            .as_ref()
            .map_or(0, |fan| fan.chars().count() * 4 / 5),
    )
}

fn edges(tasks: &[Drawn]) -> impl Iterator<Item = (usize, usize)> {
    tasks
        .iter()
        .enumerate()
        .flat_map(|(to, task)| task.after.iter().map(move |from| (*from, to)))
}

/// Longest distance from a start, for each task. Pipelines are valid before they are drawn: there is no cycle.
fn columns(tasks: &[Drawn]) -> Vec<Vec<usize>> {
    let mut depth = vec![0usize; tasks.len()];
    let mut waiting: Vec<usize> = tasks.iter().map(|task| task.after.len()).collect();
    let mut after = vec![Vec::new(); tasks.len()];
    for (from, to) in edges(tasks) {
        if let Some(list) = after.get_mut(from) {
            list.push(to);
        }
    }
    let mut ready: Vec<usize> = waiting
        .iter()
        .enumerate()
        .filter(|(_, n)| **n == 0)
        .map(|(index, _)| index)
        .collect();
    while let Some(index) = ready.pop() {
        let next = depth.get(index).copied().unwrap_or(0) + 1;
        for to in after.get(index).cloned().unwrap_or_default() {
            if let (Some(own), Some(left)) = (depth.get_mut(to), waiting.get_mut(to)) {
                *own = (*own).max(next);
                *left = left.saturating_sub(1);
                if *left == 0 {
                    ready.push(to);
                }
            }
        }
    }
    let mut columns = vec![Vec::new(); depth.iter().max().map_or(0, |deepest| deepest + 1)];
    for (index, depth) in depth.into_iter().enumerate() {
        if let Some(column) = columns.get_mut(depth) {
            column.push(index);
        }
    }
    columns
}

/// Running order: by column, then as declared.
fn ordered(tasks: &[Drawn]) -> Vec<usize> {
    columns(tasks).concat()
}

fn html(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn diamond() -> Vec<Drawn> {
        let task = |name: &str, after: &[usize], fan: Option<&str>| Drawn {
            name: name.to_owned(),
            after: after.to_vec(),
            fan: fan.map(str::to_owned),
        };
        vec![
            task("sheet", &[1, 2], None),
            task("shrink", &[3], Some("each of photos/**/*.jpg")),
            task("a\"b<c", &[3], None),
            task("list", &[], None),
        ]
    }

    #[test]
    fn text_is_in_running_order() {
        assert_eq!(
            text(&diamond(), true),
            "list\nshrink ← list (each of photos/**/*.jpg)\na\"b<c  ← list\nsheet  ← shrink, a\"b<c\n"
        );
    }

    #[test]
    fn names_are_escaped_for_each_language() {
        assert!(
            mermaid(&diamond()).contains("t2[\"a&quot;b&lt;c\"]"),
            "{}",
            mermaid(&diamond())
        );
        assert!(mermaid(&diamond()).contains("t3 --> t1"));
        assert!(
            dot(&diamond()).contains("\"list\" -> \"a\\\"b<c\";"),
            "{}",
            dot(&diamond())
        );
        let svg = svg(&diamond());
        assert!(
            svg.contains(">a&quot;b&lt;c</text>") && svg.ends_with("</svg>\n"),
            "{svg}"
        );
        assert_eq!(svg.matches("<rect").count(), 4);
        assert_eq!(svg.matches("marker-end").count(), 4);
    }
}
