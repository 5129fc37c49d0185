//! The live view: finished lines scroll up, below them what runs now with progress bars, and one bar for the whole run.
//! Events only change the board; a thread of its own redraws at a bounded rate, so a thousand events a second cost a
//! thousand small updates and twelve drawings. Used where stderr is a terminal that can move its cursor.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use sykli_core::units;

use super::board::{Board, Running};
use super::json::{Counts, Event};
use super::term::{Term, Tone, paint};
use super::{escape, graph_line};

/// Drawings a second.
const HZ: u8 = 12;
/// Running tasks that are drawn, where the terminal is high enough.
const MAX_ROWS: usize = 12;

struct Shared {
    board: Mutex<Board>,
    bars: MultiProgress,
    stop: AtomicBool,
}

impl Shared {
    fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The terminal's settings as they were, while a live view is on.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

/// Keeps the terminal from echoing `^C`: it would wrap the last line and leave a stale one behind. Nothing else changes.
fn quiet_echo() {
    let stdin = std::io::stdin();
    let Ok(before) = tcgetattr(&stdin) else {
        return;
    };
    let mut quiet = before.clone();
    quiet.local_modes.remove(LocalModes::ECHOCTL);
    if tcsetattr(&stdin, OptionalActions::Now, &quiet).is_ok() {
        *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = Some(before);
    }
}

/// Gives the terminal back as it was; also called before this process ends in the middle of a view.
pub(crate) fn restore_terminal() {
    let before = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(before) = before {
        // Where it cannot be restored it is gone.
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &before);
    }
}

/// See the module. Cleared when finished or dropped.
pub(crate) struct Live {
    shared: Arc<Shared>,
    drawer: Mutex<Option<JoinHandle<()>>>,
}

impl Live {
    /// Starts drawing.
    pub(crate) fn start(term: Term, verbose: bool) -> Live {
        quiet_echo();
        let bars = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(HZ));
        let shared = Arc::new(Shared {
            board: Mutex::new(Board::new(term, verbose)),
            bars,
            stop: AtomicBool::new(false),
        });
        let drawer = {
            let shared = shared.clone();
            std::thread::Builder::new()
                .name("render".to_owned())
                .spawn(move || draw(&shared, &term))
                .ok()
        };
        Live {
            shared,
            drawer: Mutex::new(drawer),
        }
    }

    /// Takes an event in; its lines appear above the bars at once.
    pub(crate) fn event(&self, event: &Event) {
        let lines = self.shared.board().apply(event);
        if !lines.is_empty() {
            // A terminal that went away shows nothing; the run goes on.
            let _ = self.shared.bars.println(lines.join("\n"));
        }
    }

    /// Ends the drawing and clears it; what the graph line needs.
    pub(crate) fn finish(&self) -> Vec<graph_line::Node> {
        self.end();
        self.shared.board().nodes()
    }

    fn end(&self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        let drawer = self
            .drawer
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(drawer) = drawer {
            drawer.thread().unpark();
            let _ = drawer.join();
        }
        let _ = self.shared.bars.clear();
        restore_terminal();
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.end();
    }
}

/// The drawing thread: makes as many bars as rows are wanted and gives each its text.
fn draw(shared: &Shared, term: &Term) {
    let rows = MAX_ROWS.min(term.height.saturating_sub(4)).max(1);
    let mut lines: Vec<ProgressBar> = Vec::new();
    let overall = shared.bars.add(ProgressBar::new(1));
    let pause = Duration::from_millis(1000 / u64::from(HZ));
    let mut frame = 0usize;
    while !shared.stop.load(Ordering::SeqCst) {
        let (wanted, counts, position, began) = {
            let board = shared.board();
            (
                rows_of(&board, rows),
                board.counts(),
                board.position(),
                board.began(),
            )
        };
        while lines.len() > wanted.len() {
            if let Some(bar) = lines.pop() {
                shared.bars.remove(&bar);
            }
        }
        while lines.len() < wanted.len() {
            lines.push(shared.bars.insert_before(&overall, ProgressBar::new(1)));
        }
        for (bar, row) in lines.iter().zip(&wanted) {
            row.show(bar, term, frame);
        }
        show_overall(&overall, term, counts, position, began);
        frame = frame.wrapping_add(1);
        std::thread::park_timeout(pause);
    }
    for bar in lines {
        bar.finish_and_clear();
    }
    overall.finish_and_clear();
}

/// One line below the scrolling ones.
struct Row {
    label: String,
    since: Option<Instant>,
    done: u64,
    total: u64,
    message: String,
    /// The node that runs it; none where it is this one.
    on: Option<String>,
}

fn rows_of(board: &Board, rows: usize) -> Vec<Row> {
    let builds = board.builds().map(|(dir, since, line)| Row {
        label: format!("build {dir}"),
        since: Some(since),
        done: 0,
        total: 0,
        message: line.trim().to_owned(),
        on: None,
    });
    let running = board.running();
    let mut out: Vec<Row> = builds
        .chain(
            running
                .iter()
                .map(|(label, running)| task_row(label, running)),
        )
        .collect();
    if out.len() > rows {
        let more = out.len() - (rows - 1);
        out.truncate(rows - 1);
        out.push(Row {
            label: format!("and {more} more"),
            since: None,
            done: 0,
            total: 0,
            message: String::new(),
            on: None,
        });
    }
    out
}

fn task_row(label: &str, running: &Running) -> Row {
    Row {
        label: label.to_owned(),
        since: Some(running.since),
        done: running.done,
        total: running.total,
        message: running.message.clone(),
        on: running.on.clone(),
    }
}

impl Row {
    fn show(&self, bar: &ProgressBar, term: &Term, frame: usize) {
        let label = clip(&escape::clean(&self.label), 28);
        let Some(since) = self.since else {
            bar.set_style(style("  {wide_msg}", term));
            bar.set_message(label);
            return;
        };
        let time = paint(&elapsed(since), Tone::Quiet, term.err.color);
        let mut message = escape::clean(&self.message);
        if let Some(on) = &self.on {
            let place = graph_line::place(std::slice::from_ref(on), term.unicode);
            let place = paint(&clip(&place, 28), Tone::Info, term.err.color);
            message = match message.is_empty() {
                true => place,
                false => format!("{place} {message}"),
            };
        }
        bar.set_prefix(format!("{} {label:<28} ", spinner(frame, term.unicode)));
        if self.total > 0 {
            bar.set_style(style("{prefix}{bar:16.cyan/dim} {wide_msg}", term));
            bar.set_length(self.total);
            bar.set_position(self.done.min(self.total));
            bar.set_message(format!("{}/{} {message} {time}", self.done, self.total));
        } else {
            bar.set_style(style("{prefix}{wide_msg}", term));
            bar.set_message(format!(
                "{message}{}{time}",
                if message.is_empty() { "" } else { " " }
            ));
        }
    }
}

fn show_overall(
    bar: &ProgressBar,
    term: &Term,
    counts: Counts,
    (done, total): (u32, u32),
    began: Instant,
) {
    if total == 0 {
        // Crates are being built: what there is to do is not known yet.
        bar.set_style(style("{wide_msg}", term));
        bar.set_message(paint(&elapsed(began), Tone::Quiet, term.err.color));
        return;
    }
    bar.set_style(style("{bar:24.green/dim} {wide_msg}", term));
    let mut parts = vec![format!("{done}/{total}")];
    let others = [
        (counts.cached, "cached", Tone::Quiet),
        (counts.failed, "failed", Tone::Bad),
    ];
    let others = others.iter().filter(|(count, ..)| *count > 0);
    parts.extend(
        others.map(|(count, name, tone)| paint(&format!("{count} {name}"), *tone, term.err.color)),
    );
    parts.push(paint(&elapsed(began), Tone::Quiet, term.err.color));
    bar.set_length(u64::from(total.max(1)));
    bar.set_position(u64::from(done));
    bar.set_message(parts.join("  "));
}

fn style(template: &str, term: &Term) -> ProgressStyle {
    let plain = template.replace(".green/dim", "").replace(".cyan/dim", "");
    let template = if term.err.color { template } else { &plain };
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars(if term.unicode { "━━─" } else { "=>-" })
}

fn spinner(frame: usize, unicode: bool) -> &'static str {
    let glyphs: &[&str] = if unicode {
        &["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"]
    } else {
        &["|", "/", "-", "\\"]
    };
    glyphs.get(frame % glyphs.len()).copied().unwrap_or("*")
}

fn elapsed(since: Instant) -> String {
    let ms = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
    units::human_duration_ms(if ms < 60_000 { ms / 100 * 100 } else { ms })
}

/// At most `width` characters, the middle left out.
fn clip(text: &str, width: usize) -> String {
    let count = text.chars().count();
    if count <= width {
        return text.to_owned();
    }
    let keep = width.saturating_sub(2);
    let head: String = text.chars().take(keep / 2).collect();
    let tail: String = text.chars().skip(count - (keep - keep / 2)).collect();
    format!("{head}..{tail}")
}

#[cfg(test)]
mod tests {
    use super::clip;

    #[test]
    fn long_labels_keep_both_ends() {
        assert_eq!(clip("short", 10), "short");
        assert_eq!(clip("shrink[photos/2024/a.jpg]", 12), "shrin...jpg]");
    }
}
