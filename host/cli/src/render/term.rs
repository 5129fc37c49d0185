//! Decides what the two output streams can show: colour, glyphs beyond ASCII, live redrawing, and how wide they are.
//! It never writes. `main` makes one [`Term`] a process from the environment; all renderers ask it.

use std::io::IsTerminal;

use anstyle::{AnsiColor, Style};

use crate::config::ColorWhen;

/// What one stream can show.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stream {
    pub(crate) color: bool,
    pub(crate) terminal: bool,
}

/// What the process's output can show.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Term {
    pub(crate) out: Stream,
    pub(crate) err: Stream,
    pub(crate) unicode: bool,
    /// Columns, at least 20.
    pub(crate) width: usize,
    /// Rows of the terminal at start.
    pub(crate) height: usize,
    /// Redrawing in place is possible on stderr.
    pub(crate) live: bool,
}

/// The environment's variables, as a function so that tests can bring their own.
pub(crate) type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

impl Term {
    /// Looks at the streams and the environment.
    pub(crate) fn detect(env: Env<'_>, when: ColorWhen) -> Term {
        let dumb = env("TERM").is_some_and(|term| term == "dumb");
        let stream = |terminal: bool| Stream {
            terminal,
            color: color(env, when, terminal && !dumb),
        };
        let (out, err) = (
            std::io::stdout().is_terminal(),
            std::io::stderr().is_terminal(),
        );
        let (width, height) = size(env);
        Term {
            out: stream(out),
            err: stream(err),
            unicode: unicode(env),
            width,
            height,
            live: err && !dumb && env("CI").is_none_or(|ci| ci.is_empty() || ci == "false"),
        }
    }

    /// A stream without abilities: what tests and pipes see.
    #[cfg(test)]
    pub(crate) fn plain(width: usize) -> Term {
        let stream = Stream {
            color: false,
            terminal: false,
        };
        Term {
            out: stream,
            err: stream,
            unicode: true,
            width,
            height: 24,
            live: false,
        }
    }
}

/// Flag and settings first, then CLICOLOR_FORCE, NO_COLOR, then whether a terminal is there.
fn color(env: Env<'_>, when: ColorWhen, terminal: bool) -> bool {
    let set = |name: &str| env(name).is_some_and(|value| !value.is_empty());
    match when {
        ColorWhen::Always => true,
        ColorWhen::Never => false,
        ColorWhen::Auto if set("NO_COLOR") => false,
        ColorWhen::Auto if env("CLICOLOR_FORCE").is_some_and(|v| !v.is_empty() && v != "0") => true,
        ColorWhen::Auto => terminal && env("CLICOLOR").is_none_or(|v| v != "0"),
    }
}

/// A locale that says it is not UTF-8 gets ASCII; one that says nothing (most containers) gets UTF-8.
fn unicode(env: Env<'_>) -> bool {
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
        .iter()
        .find_map(|name| env(name).filter(|v| !v.is_empty()));
    match locale {
        None => true,
        Some(locale) => {
            let locale = locale.to_ascii_lowercase();
            locale.contains("utf-8") || locale.contains("utf8")
        }
    }
}

fn size(env: Env<'_>) -> (usize, usize) {
    let asked = |name: &str| env(name).and_then(|v| v.parse::<usize>().ok());
    let real = rustix::termios::tcgetwinsize(std::io::stderr())
        .ok()
        .map(|size| (usize::from(size.ws_col), usize::from(size.ws_row)))
        .filter(|(columns, _)| *columns > 0);
    let (columns, rows) = real.unwrap_or((
        asked("COLUMNS").unwrap_or(100),
        asked("LINES").unwrap_or(24),
    ));
    (columns.clamp(20, 1000), rows.clamp(4, 1000))
}

/// What a piece of text means; the only place where meaning gets a colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    Good,
    Bad,
    Warn,
    Quiet,
    Strong,
    Info,
}

/// `text` in the tone's style where `color` is on.
pub(crate) fn paint(text: &str, tone: Tone, color: bool) -> String {
    if !color {
        return text.to_owned();
    }
    let style = match tone {
        Tone::Good => AnsiColor::Green.on_default(),
        Tone::Bad => AnsiColor::Red.on_default().bold(),
        Tone::Warn => AnsiColor::Yellow.on_default(),
        Tone::Quiet => Style::new().dimmed(),
        Tone::Strong => Style::new().bold(),
        Tone::Info => AnsiColor::Cyan.on_default(),
    };
    format!("{}{text}{}", style.render(), style.render_reset())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(pairs: &'static [(&'static str, &'static str)]) -> impl Fn(&str) -> Option<String> {
        move |name| {
            pairs
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| (*value).to_owned())
        }
    }

    #[test]
    fn colour_follows_flag_then_variables_then_terminal() {
        let forced = env(&[("CLICOLOR_FORCE", "1")]);
        let none = env(&[("NO_COLOR", "1"), ("CLICOLOR_FORCE", "1")]);
        let empty = env(&[("NO_COLOR", ""), ("CLICOLOR_FORCE", "0")]);
        assert!(color(&forced, ColorWhen::Auto, false));
        assert!(
            !color(&none, ColorWhen::Auto, true),
            "NO_COLOR holds against CLICOLOR_FORCE"
        );
        assert!(
            color(&none, ColorWhen::Always, false),
            "the flag holds against both"
        );
        assert!(
            color(&empty, ColorWhen::Auto, true),
            "an empty NO_COLOR says nothing"
        );
        assert!(!color(&empty, ColorWhen::Auto, false));
        assert!(!color(&forced, ColorWhen::Never, true));
    }

    #[test]
    fn ascii_only_where_the_locale_says_so() {
        assert!(unicode(&env(&[])));
        assert!(unicode(&env(&[("LANG", "de_DE.UTF-8")])));
        assert!(!unicode(&env(&[("LC_ALL", "C"), ("LANG", "de_DE.UTF-8")])));
        assert!(unicode(&env(&[("LC_ALL", ""), ("LANG", "C.utf8")])));
    }
}
