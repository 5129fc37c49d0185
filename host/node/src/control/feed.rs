//! Lines that somebody produces and any number of readers follow: a run's events, a task's output.
//!
//! The producer never waits. The last lines are kept, up to [`MAX_LINES`] and [`MAX_BYTES`]; a reader that comes late or is
//! slow is told how many it missed and goes on with what is there. It knows nothing of what the lines say. Written by the
//! mesh node, read by [`super::server`].

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tokio::sync::watch;

use crate::db::lock;

/// Lines that are kept.
pub const MAX_LINES: usize = 10_000;
/// Bytes that are kept.
pub const MAX_BYTES: usize = 8 << 20;
/// The longest line; a longer one is left out, and readers are told so.
pub const MAX_LINE_BYTES: usize = 1 << 20;

/// Lines with their readers. Clones are the same lines; when the last one is dropped, the lines have ended.
#[derive(Clone, Debug)]
pub struct Feed {
    source: Arc<Source>,
}

/// The end that lines come from. Readers hold [`Shared`] alone, so that this is dropped when no producer is left.
#[derive(Debug)]
struct Source {
    shared: Arc<Shared>,
}

impl Source {
    fn end(&self) {
        lock(&self.shared.kept).ended = true;
        self.shared.changed.send_replace(());
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.end();
    }
}

#[derive(Debug)]
struct Shared {
    kept: Mutex<Kept>,
    /// Raised with each line and at the end.
    changed: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct Kept {
    /// `None` for a line that was too long.
    lines: VecDeque<Option<Bytes>>,
    bytes: usize,
    /// The number of the first line in `lines`.
    first: u64,
    ended: bool,
}

impl Kept {
    fn next(&self) -> u64 {
        self.first + self.lines.len() as u64
    }
}

impl Default for Feed {
    fn default() -> Feed {
        Feed::new()
    }
}

impl Feed {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Feed {
        let shared = Arc::new(Shared {
            kept: Mutex::default(),
            changed: watch::channel(()).0,
        });
        Feed {
            source: Arc::new(Source { shared }),
        }
    }

    /// One more line, without its line end. Lines after the end are dropped.
    pub fn push(&self, line: impl Into<Bytes>) {
        let line: Bytes = line.into();
        let shared = &self.source.shared;
        let mut kept = lock(&shared.kept);
        if kept.ended {
            return;
        }
        let fits = line.len() <= MAX_LINE_BYTES;
        kept.bytes += if fits { line.len() } else { 0 };
        kept.lines.push_back(fits.then_some(line));
        while kept.lines.len() > MAX_LINES || kept.bytes > MAX_BYTES {
            let gone = kept.lines.pop_front().flatten();
            kept.bytes -= gone.map_or(0, |line| line.len());
            kept.first += 1;
        }
        drop(kept);
        shared.changed.send_replace(());
    }

    /// No line follows.
    pub fn end(&self) {
        self.source.end();
    }

    /// Reads from the oldest line that is kept, and waits for more until the end.
    #[must_use]
    pub fn follow(&self) -> Follower {
        self.follower(None)
    }

    /// Reads what is there now.
    #[must_use]
    pub fn so_far(&self) -> Follower {
        self.follower(Some(lock(&self.source.shared.kept).next()))
    }

    fn follower(&self, until: Option<u64>) -> Follower {
        Follower {
            changed: self.source.shared.changed.subscribe(),
            shared: self.source.shared.clone(),
            next: 0,
            until,
        }
    }
}

/// What a reader gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A line, without its line end.
    Line(Bytes),
    /// So many lines are missing here.
    Skipped(u64),
}

/// A reader of a [`Feed`].
#[derive(Debug)]
pub struct Follower {
    shared: Arc<Shared>,
    changed: watch::Receiver<()>,
    next: u64,
    until: Option<u64>,
}

impl Follower {
    /// The next line, once there is one; nothing after the last.
    pub async fn next(&mut self) -> Option<Item> {
        loop {
            self.changed.mark_unchanged();
            match self.take() {
                Taken::Item(item) => return Some(item),
                Taken::End => return None,
                Taken::Nothing => {}
            }
            // Its sender lives as long as `shared`.
            self.changed.changed().await.ok()?;
        }
    }

    fn take(&mut self) -> Taken {
        let kept = lock(&self.shared.kept);
        if self.until.is_some_and(|until| self.next >= until) {
            return Taken::End;
        }
        if self.next < kept.first {
            let skipped = kept.first - self.next;
            self.next = kept.first;
            return Taken::Item(Item::Skipped(skipped));
        }
        let place = usize::try_from(self.next - kept.first).unwrap_or(usize::MAX);
        match kept.lines.get(place) {
            Some(line) => {
                self.next += 1;
                Taken::Item(line.clone().map_or(Item::Skipped(1), Item::Line))
            }
            None if kept.ended => Taken::End,
            None => Taken::Nothing,
        }
    }
}

enum Taken {
    Item(Item),
    Nothing,
    End,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.build().unwrap().block_on(future)
    }

    async fn all(mut follower: Follower) -> Vec<Item> {
        let mut items = Vec::new();
        while let Some(item) = follower.next().await {
            items.push(item);
        }
        items
    }

    fn line(text: &str) -> Item {
        Item::Line(Bytes::copy_from_slice(text.as_bytes()))
    }

    #[test]
    fn every_reader_gets_every_line_until_the_end() {
        block_on(async {
            let feed = Feed::new();
            feed.push("a");
            let early = tokio::spawn(all(feed.follow()));
            tokio::task::yield_now().await;
            feed.push("b");
            assert_eq!(all(feed.so_far()).await, [line("a"), line("b")]);
            feed.end();
            feed.push("late");
            assert_eq!(early.await.unwrap(), [line("a"), line("b")]);
            assert_eq!(all(feed.follow()).await, [line("a"), line("b")]);
            let forgotten = Feed::new();
            let reader = forgotten.clone().follow();
            drop(forgotten);
            assert!(all(reader).await.is_empty(), "its producer is gone");
        });
    }

    #[test]
    fn what_is_kept_is_bounded_and_missing_lines_are_counted() {
        let feed = Feed::new();
        for n in 0..MAX_LINES + 5 {
            feed.push(n.to_string());
        }
        feed.push(vec![b'x'; MAX_LINE_BYTES + 1]);
        feed.end();
        let items = block_on(all(feed.follow()));
        assert_eq!(items.first(), Some(&Item::Skipped(6)));
        assert_eq!(items.get(1), Some(&line("6")));
        assert_eq!(items.last(), Some(&Item::Skipped(1)), "too long");
        let big = Feed::new();
        for _ in 0..20 {
            big.push(vec![b'x'; MAX_LINE_BYTES]);
        }
        assert_eq!(
            block_on(all(big.so_far())).first(),
            Some(&Item::Skipped(12)),
            "eight lines of a MiB are kept"
        );
    }
}
