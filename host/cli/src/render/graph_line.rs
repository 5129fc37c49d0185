//! The line of a run's graph, with each task's sign: what it is at, and where. Pure functions of names, edges and what the
//! terminal can show; never a colour alone. Called by the summary of a run and by `sykli status`.

use std::collections::BTreeMap;

use super::escape;
use super::json::State;
use super::term::{Term, Tone, paint};
use super::text::sign;

/// A declared task in the graph line.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) after: Vec<String>,
    pub(crate) instances: u32,
    pub(crate) mark: Mark,
}

/// What a task's sign in the graph line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    /// No sign: nothing is said about a run.
    Planned,
    /// Not begun.
    Waiting,
    /// It goes on: on these nodes, else here.
    Running(Vec<String>),
    /// It has ended, at these other nodes as far as it was not here.
    Ended(State, Vec<String>),
}

impl Mark {
    /// The sign, how wide it is drawn, and what it means.
    fn sign(&self, unicode: bool) -> Option<(String, usize, Tone)> {
        let (sign, tone) = match (self, unicode) {
            (Mark::Planned, _) => return None,
            // Both glyphs are two columns wide.
            (Mark::Waiting, true) => return Some(("⏳".to_owned(), 2, Tone::Quiet)),
            (Mark::Waiting, false) => ("waiting".to_owned(), Tone::Quiet),
            (Mark::Running(on), _) => {
                let on = place(on, unicode);
                let width = on.chars().count() + usize::from(unicode);
                return Some((on, width, Tone::Info));
            }
            (Mark::Ended(state, on), _) => {
                let (sign, tone) = sign(*state, unicode);
                let (mut sign, mut width) = (sign.to_owned(), sign.chars().count());
                if !on.is_empty() {
                    let there = ran_on(on, unicode);
                    width += 1 + there.chars().count() + usize::from(unicode);
                    sign = format!("{sign} {there}");
                }
                return Some((sign, width, tone));
            }
        };
        let width = sign.chars().count();
        Some((sign, width, tone))
    }
}

/// `⚡dave-macbook`: running there; `⚡here` where it is this machine.
pub(crate) fn place(on: &[String], unicode: bool) -> String {
    let names = match on {
        [] => "here".to_owned(),
        [one] => escape::clean(one),
        [one, rest @ ..] => format!("{}+{}", escape::clean(one), rest.len()),
    };
    match unicode {
        true => format!("⚡{names}"),
        false => format!("running@{names}"),
    }
}

/// `⚡dave-macbook`: ran there, all of it or some.
fn ran_on(on: &[String], unicode: bool) -> String {
    match unicode {
        true => place(on, unicode),
        false => place(on, unicode).replace("running@", "ran@"),
    }
}

/// `lint ✓ → test ✓ → build ✓ → deploy ✓`, tasks that can run side by side joined by commas, wrapped at arrows.
pub(crate) fn graph_lines(nodes: &[Node], term: &Term) -> Vec<String> {
    let (arrow, arrow_width) = if term.unicode { ("→", 1) } else { ("->", 2) };
    let mut lines = vec![String::new()];
    let mut width = 0;
    for (index, level) in levels(nodes).iter().enumerate() {
        for (position, node) in level.iter().enumerate() {
            let (plain_width, shown) = node_text(node, term);
            // A line that ends within a level ends with a comma.
            let comma = usize::from(position + 1 < level.len());
            let (joint, joint_width) = match (index, position) {
                (0, 0) => (String::new(), 0),
                (_, 0) => (format!(" {arrow} "), arrow_width + 2),
                _ => (", ".to_owned(), 2),
            };
            if width > 0 && width + joint_width + plain_width + comma > term.width {
                let lead = if position == 0 {
                    format!("  {arrow} ")
                } else {
                    "    ".to_owned()
                };
                if position > 0
                    && let Some(last) = lines.last_mut()
                {
                    last.push(',');
                }
                width = 4 + plain_width;
                lines.push(format!("{lead}{shown}"));
            } else {
                width += joint_width + plain_width;
                if let Some(last) = lines.last_mut() {
                    last.push_str(&joint);
                    last.push_str(&shown);
                }
            }
        }
    }
    lines
}

/// A task with its sign, and how wide that is without its colours.
fn node_text(node: &Node, term: &Term) -> (usize, String) {
    // Beside a sign the count would be read as part of it; how many ran is in the task's own line.
    let count = match (&node.mark, node.instances, term.unicode) {
        (Mark::Planned, 2.., true) => format!(" ×{}", node.instances),
        (Mark::Planned, 2.., false) => format!(" x{}", node.instances),
        _ => String::new(),
    };
    let name = format!("{}{count}", node.name);
    let width = name.chars().count();
    match node.mark.sign(term.unicode) {
        None => (width, name),
        Some((sign, sign_width, tone)) => (
            width + 1 + sign_width,
            format!("{name} {}", paint(&sign, tone, term.err.color)),
        ),
    }
}

/// Tasks by their longest distance from a start. `nodes` are in running order, so one pass is enough.
fn levels(nodes: &[Node]) -> Vec<Vec<&Node>> {
    let mut depth = BTreeMap::<&str, usize>::new();
    let mut levels: Vec<Vec<&Node>> = Vec::new();
    for node in nodes {
        let level = node
            .after
            .iter()
            .filter_map(|name| depth.get(name.as_str()))
            .max()
            .map_or(0, |deepest| deepest + 1);
        depth.insert(&node.name, level);
        if levels.len() <= level {
            levels.resize_with(level + 1, Vec::new);
        }
        if let Some(level) = levels.get_mut(level) {
            level.push(node);
        }
    }
    levels
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, after: &[&str], state: State) -> Node {
        let after = after.iter().map(|name| (*name).to_owned()).collect();
        Node {
            name: name.to_owned(),
            after,
            instances: 1,
            mark: Mark::Ended(state, Vec::new()),
        }
    }

    fn ci() -> Vec<Node> {
        vec![
            node("lint", &[], State::Cached),
            node("test", &["lint"], State::Passed),
            node("build", &["test"], State::Failed),
            node("deploy", &["build"], State::Skipped),
        ]
    }

    #[test]
    fn a_chain_is_one_line_with_a_sign_each() {
        assert_eq!(
            graph_lines(&ci(), &Term::plain(80)),
            ["lint ○ → test ✓ → build ✗ → deploy ⊘"]
        );
        let ascii = Term {
            unicode: false,
            ..Term::plain(80)
        };
        assert_eq!(
            graph_lines(&ci(), &ascii),
            ["lint cached -> test ok -> build FAILED -> deploy skipped"]
        );
    }

    #[test]
    fn a_run_that_goes_on_says_where_each_task_is() {
        let mut nodes = ci();
        nodes[2].mark = Mark::Running(vec!["dave-\u{1b}[2Jmacbook".to_owned()]);
        nodes[3].mark = Mark::Waiting;
        assert_eq!(
            graph_lines(&nodes, &Term::plain(80)),
            ["lint ○ → test ✓ → build ⚡dave-macbook → deploy ⏳"]
        );
        let ascii = Term {
            unicode: false,
            ..Term::plain(80)
        };
        assert_eq!(
            graph_lines(&nodes, &ascii),
            ["lint cached -> test ok -> build running@dave-macbook -> deploy waiting"]
        );
        nodes[2].mark = Mark::Running(Vec::new());
        assert_eq!(
            graph_lines(&nodes[2..], &Term::plain(12)),
            ["build ⚡here", "  → deploy ⏳"]
        );
    }

    #[test]
    fn long_graphs_wrap_at_arrows_and_stay_within_the_width() {
        let mut nodes = ci();
        nodes.push(node("deploy-to-mars", &["build"], State::Skipped));
        let lines = graph_lines(&nodes, &Term::plain(22));
        assert_eq!(
            lines,
            [
                "lint ○ → test ✓",
                "  → build ✗",
                "  → deploy ⊘,",
                "    deploy-to-mars ⊘"
            ]
        );
    }

    #[test]
    fn side_by_side_tasks_share_a_level_and_fans_are_counted_until_they_ran() {
        let mut fan = node("shrink", &["list"], State::Passed);
        fan.instances = 16;
        let nodes = [
            node("list", &[], State::Passed),
            fan,
            node("count", &["list"], State::Passed),
        ];
        let mut planned = nodes.clone();
        planned
            .iter_mut()
            .for_each(|node| node.mark = Mark::Planned);
        let term = Term::plain(80);
        assert_eq!(graph_lines(&nodes, &term), ["list ✓ → shrink ✓, count ✓"]);
        assert_eq!(graph_lines(&planned, &term), ["list → shrink ×16, count"]);
    }
}
