//! A play as a sequence diagram in text: a column a node, an arrow a message, a note what happens at a node.
//!
//! Arrows stand where they are heard, and with a cross where they were lost. Made from the tape's lines after the play;
//! [`super::trace`] is the door. The golden files in `golden/` are such diagrams.

use std::fmt::Write;

use super::tape::{Drawn, Line};
use crate::consent::{LostWhy, Message, Piece, ToExecutor, ToOwner};
use crate::id::{LeaseKey, RunId, TaskId};
use crate::machine::{Action, Event};

/// From one column to the next.
const WIDTH: usize = 34;
/// What is left of the first column.
const GUTTER: usize = 12;

/// A message in a few words.
pub(super) fn short(message: &Message) -> String {
    match message {
        Message::ToOwner(message) => to_owner(message),
        Message::ToExecutor(message) => to_executor(message),
        Message::Beacon(beacon) => format!("Beacon free {} queued {}", beacon.free, beacon.queued),
        Message::Capabilities(_) => "Capabilities".into(),
        Message::Acquaint(_) => "Acquaint".into(),
    }
}

fn to_owner(message: &ToOwner) -> String {
    match message {
        ToOwner::Idle { free } => format!("Idle {free}"),
        ToOwner::Accept { key, have } if have.is_empty() => format!("Accept {}", brief(key)),
        ToOwner::Accept { key, have } => format!("Accept {} have {have:?}", brief(key)),
        ToOwner::Decline { key, reason } => format!("Decline {} {reason:?}", brief(key)),
        ToOwner::Pending { key, .. } => format!("Pending {}", brief(key)),
        ToOwner::Started { key } => format!("Started {}", brief(key)),
        ToOwner::Progress {
            key, done, total, ..
        } => format!("Progress {} {done}/{total}", brief(key)),
        ToOwner::Output { key, bytes, .. } => format!("Output {} {}", brief(key), bytes.len()),
        ToOwner::Completed { key, outputs, .. } => {
            format!("Completed {}{}", brief(key), inline(outputs))
        }
        ToOwner::Outputs { key, piece } => format!("Outputs {}{}", brief(key), inline(piece)),
        ToOwner::Lost { key, why } => format!("Lost {} {}", brief(key), lost(*why)),
    }
}

fn to_executor(message: &ToExecutor) -> String {
    match message {
        ToExecutor::Offer(offer) => format!("Offer {}", brief(&offer.key)),
        ToExecutor::NoWork { retry_ms } => format!("NoWork {retry_ms}"),
        ToExecutor::Withdraw { key } => format!("Withdraw {}", brief(key)),
        ToExecutor::Cancel { key } => format!("Cancel {}", brief(key)),
        ToExecutor::Acked { key } => format!("Acked {}", brief(key)),
        ToExecutor::Settled { key } => format!("Settled {}", brief(key)),
        ToExecutor::Bundle { key, piece } => format!("Bundle {}{}", brief(key), inline(piece)),
        ToExecutor::Resume { keys } => {
            let keys: Vec<String> = keys.iter().map(brief).collect();
            format!("Resume {}", keys.join(" "))
        }
    }
}

/// What goes in a message.
fn inline(piece: &Piece) -> String {
    match piece.of {
        0 => String::new(),
        of => format!(" {}/{of}", piece.at + piece.bytes.len() as u64),
    }
}

fn brief(key: &LeaseKey) -> String {
    format!("{}#{}", key.task, key.attempt)
}

fn lost(why: LostWhy) -> String {
    format!("{why:?}").to_lowercase()
}

/// What is drawn of an event that a machine is told; nothing of most.
pub(super) fn of_event(at: u64, node: usize, event: &Event) -> Option<Line> {
    let (key, text) = match event {
        Event::BundleArrived { key, .. } => (key, "has the bundle of"),
        Event::BundleFailed { key, .. } => (key, "gets no bundle of"),
        Event::Fetched { key, .. } => (key, "has the outputs of"),
        Event::FetchFailed { key, .. } => (key, "gets no outputs of"),
        _ => return None,
    };
    Some(note(at, node, key, text))
}

/// What is drawn of an action; what has a line of its own elsewhere is not.
pub(super) fn of_action(at: u64, node: usize, action: &Action) -> Option<Line> {
    let (key, text) = match action {
        Action::SendBundle { key, .. } => (key, "sends the bundle of"),
        Action::FetchOutputs { key, piece, .. } if piece.at == 0 => (key, "takes the outputs of"),
        Action::StopTransfer { key, .. } => (key, "moves nothing more of"),
        Action::DropForeign { key, .. } => (key, "drops"),
        Action::Ask { offer, .. } => (&offer.key, "asks its user about"),
        _ => return None,
    };
    Some(note(at, node, key, text))
}

fn note(at: u64, node: usize, key: &LeaseKey, text: &str) -> Line {
    Line {
        at,
        task: Some((key.run.clone(), key.task)),
        what: Drawn::Note {
            node,
            text: format!("{text} {}", brief(key)),
        },
    }
}

/// Draws what is about one task, or everything.
pub(super) fn draw(names: &[String], lines: &[Line], only: Option<&(RunId, TaskId)>) -> String {
    let mut out = String::new();
    let mut head = " ".repeat(GUTTER);
    for name in names {
        let _ = write!(head, "{name:<WIDTH$}");
    }
    out.push_str(head.trim_end());
    out.push('\n');
    let mut before = None;
    for line in lines {
        if only.is_some_and(|only| line.task.as_ref() != Some(only)) {
            continue;
        }
        let time = if before == Some(line.at) {
            String::new()
        } else {
            format!("{} ms", line.at)
        };
        before = Some(line.at);
        let row: String = row(names.len(), &line.what).into_iter().collect();
        let _ = writeln!(out, "{time:>10}  {}", row.trim_end());
    }
    out
}

fn row(columns: usize, what: &Drawn) -> Vec<char> {
    let mut row = vec![' '; WIDTH * columns];
    for column in 0..columns {
        row[column * WIDTH] = '│';
    }
    match what {
        Drawn::Note { node, text } => {
            put(&mut row, node * WIDTH + 2, text);
        }
        Drawn::Arrow {
            from,
            to,
            text,
            lost,
        } => {
            let (start, end) = (from * WIDTH, to * WIDTH);
            let (left, right) = (start.min(end) + 1, start.max(end));
            row[left..right].fill('─');
            let head = if from < to { right - 1 } else { left };
            row[head] = match (lost, from < to) {
                (true, _) => '✗',
                (false, true) => '▶',
                (false, false) => '◀',
            };
            let room = (right - left).saturating_sub(4);
            let text: String = match text.chars().count() > room {
                true => text
                    .chars()
                    .take(room.saturating_sub(1))
                    .chain(['…'])
                    .collect(),
                false => text.clone(),
            };
            let text = format!(" {text} ");
            let middle = left + (right - left).saturating_sub(text.chars().count()) / 2;
            put(&mut row, middle.max(left + 1), &text);
        }
    }
    row
}

fn put(row: &mut Vec<char>, at: usize, text: &str) {
    for (offset, character) in text.chars().enumerate() {
        let at = at + offset;
        if at >= row.len() {
            row.resize(at + 1, ' ');
        }
        row[at] = character;
    }
}
