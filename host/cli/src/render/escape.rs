//! Decides what of a guest's text may reach a terminal: letters, tabs, nothing that moves a cursor, sets a clipboard
//! or a title. It never guesses at meaning. Every renderer that shows guest text calls [`clean`]; `exec` streams through
//! a [`Filter`]. JSON needs neither, because it escapes control characters itself.

/// Bytes of one control sequence that are looked at; a longer one is none that we pass on.
const MAX_SEQUENCE: usize = 64;

/// `text` without escape sequences, control characters and characters that reorder a line. Tabs stay.
pub(crate) fn clean(text: &str) -> String {
    if text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        return text.to_owned();
    }
    let mut filter = Filter {
        lines: false,
        ..Filter::default()
    };
    let mut out = String::with_capacity(text.len());
    text.chars().for_each(|c| filter.step(c, &mut out));
    out
}

/// A stream's filter: keeps line ends and colours, drops everything else that drives a terminal. Sequences and
/// characters may be cut anywhere between two pieces.
#[derive(Debug)]
pub(crate) struct Filter {
    state: State,
    sequence: String,
    pending: Vec<u8>,
    /// Line ends, carriage returns and colours stay.
    lines: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Ground,
    /// After ESC.
    Escape,
    /// ESC and intermediates: one final character ends it.
    Intermediate,
    /// CSI: parameters and intermediates, then one final character.
    Csi,
    /// OSC, DCS, SOS, PM, APC: up to BEL or ST, or the line's end, so that an open one swallows no more than a line.
    Text,
    /// ESC within such a string.
    TextEscape,
}

impl Default for Filter {
    fn default() -> Filter {
        Filter {
            state: State::Ground,
            sequence: String::new(),
            pending: Vec::new(),
            lines: true,
        }
    }
}

impl Filter {
    /// What of `bytes` may be shown; bytes that are not UTF-8 become U+FFFD.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> String {
        self.pending.extend_from_slice(bytes);
        let pending = std::mem::take(&mut self.pending);
        let mut out = String::with_capacity(pending.len());
        for (at, chunk) in chunks(&pending) {
            chunk.valid().chars().for_each(|c| self.step(c, &mut out));
            let invalid = chunk.invalid();
            if invalid.is_empty() {
                continue;
            }
            let is_tail = at + chunk.valid().len() + invalid.len() == pending.len();
            if is_tail && may_continue(invalid) {
                self.pending = invalid.to_vec();
            } else {
                self.step(char::REPLACEMENT_CHARACTER, &mut out);
            }
        }
        out
    }

    fn step(&mut self, c: char, out: &mut String) {
        match (self.state, c) {
            (State::Text, '\u{7}' | '\u{9c}') | (State::TextEscape, '\\') => {
                self.state = State::Ground
            }
            (State::Text | State::TextEscape, '\n') => {
                self.state = State::Ground;
                self.step(c, out);
            }
            (State::Text | State::TextEscape, '\u{1b}') => self.state = State::TextEscape,
            (State::Text | State::TextEscape, _) => self.state = State::Text,
            (_, '\u{1b}') => self.state = State::Escape,
            (State::Escape, '[') => self.begin_csi(),
            (State::Escape, ']' | 'P' | 'X' | '^' | '_') => self.state = State::Text,
            (State::Escape | State::Intermediate, ' '..='/') => self.state = State::Intermediate,
            (State::Escape | State::Intermediate, '0'..='~') => self.state = State::Ground,
            (State::Escape | State::Intermediate, _) => {
                self.state = State::Ground;
                self.step(c, out);
            }
            (State::Csi, ' '..='?') if self.sequence.len() < MAX_SEQUENCE => self.sequence.push(c),
            (State::Csi, ' '..='?') => {}
            (State::Csi, '@'..='~') => self.end_csi(c, out),
            (State::Csi, _) => {
                self.state = State::Ground;
                self.step(c, out);
            }
            (State::Ground, _) => self.ground(c, out),
        }
    }

    fn ground(&mut self, c: char, out: &mut String) {
        match c {
            '\u{9b}' => self.begin_csi(),
            '\u{90}' | '\u{98}' | '\u{9d}' | '\u{9e}' | '\u{9f}' => self.state = State::Text,
            '\t' => out.push(c),
            '\n' | '\r' if self.lines => out.push(c),
            c if c.is_control() => {}
            '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {}
            c => out.push(c),
        }
    }

    fn begin_csi(&mut self) {
        self.state = State::Csi;
        self.sequence.clear();
    }

    /// Only colours and weights (`m` with plain parameters) pass, and only in a stream.
    fn end_csi(&mut self, last: char, out: &mut String) {
        self.state = State::Ground;
        let plain = self
            .sequence
            .chars()
            .all(|c| c.is_ascii_digit() || c == ';' || c == ':');
        if self.lines && last == 'm' && plain && self.sequence.len() < MAX_SEQUENCE {
            out.push_str("\u{1b}[");
            out.push_str(&self.sequence);
            out.push('m');
        }
    }
}

/// UTF-8 chunks with the offset at which each begins.
fn chunks(bytes: &[u8]) -> impl Iterator<Item = (usize, std::str::Utf8Chunk<'_>)> {
    let mut at = 0;
    bytes.utf8_chunks().map(move |chunk| {
        let begin = at;
        at += chunk.valid().len() + chunk.invalid().len();
        (begin, chunk)
    })
}

/// Whether more bytes could still make a character of these.
fn may_continue(bytes: &[u8]) -> bool {
    matches!(std::str::from_utf8(bytes), Err(error) if error.error_len().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_drives_a_terminal_survives() {
        assert_eq!(clean("\x1b[31mred\x1b[0m"), "red");
        assert_eq!(clean("a\x1b]52;c;aGVsbG8=\x07b"), "ab", "clipboard");
        assert_eq!(clean("a\x1b]0;title\x1b\\b"), "ab", "title");
        assert_eq!(clean("a\u{9b}2Jb\u{9d}0;t\u{9c}c"), "abc", "C1 forms");
        assert_eq!(
            clean("a\x1bPq#0\x1b\\b\x1b(0c\x1bcd"),
            "abcd",
            "DCS, charset, reset"
        );
        assert_eq!(clean("over\rwrite\x08\x7f\0"), "overwrite");
        assert_eq!(clean("x\u{202e}evil"), "xevil");
        assert_eq!(clean("tab\there é ✓"), "tab\there é ✓");
        assert_eq!(clean("\x1b"), "");
        assert_eq!(clean("\x1b["), "");
        assert_eq!(clean("a\x1b\x1b]52;x\x07b"), "ab", "an escape starts anew");
    }

    #[test]
    fn a_stream_keeps_colours_and_lines_wherever_it_is_cut() {
        let bytes = "a\x1b[1;31mé✓\x1b[0m\r\nb\x1b]52;c;aGk=\x07c\x1b[2Jd\x1b[?25le\n".as_bytes();
        let whole = "a\x1b[1;31mé✓\x1b[0m\r\nbcde\n";
        for size in 1..bytes.len() {
            let mut filter = Filter::default();
            let out: String = bytes.chunks(size).map(|piece| filter.push(piece)).collect();
            assert_eq!(out, whole, "in pieces of {size}");
        }
        assert_eq!(Filter::default().push(b"a\xff\xfeb"), "a\u{fffd}\u{fffd}b");
    }

    #[test]
    fn an_open_string_swallows_a_line_at_most() {
        let mut filter = Filter::default();
        assert_eq!(filter.push(b"a\x1b]0;title\nb"), "a\nb");
    }
}
