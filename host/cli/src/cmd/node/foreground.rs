//! A node in front of somebody: who it is, then one line for each thing that it says, questions that can be answered with
//! y or n where a person sits there, and Ctrl-C. The daemon is the same without a person: its lines have the time before
//! them, and its log is kept within bounds. Decides nothing about the node: it asks it to end and shows what it says until
//! it has. Called by [`super`].

use std::collections::VecDeque;
use std::io::{BufRead, IsTerminal};
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use sykli_core::policy::ConsentMode;
use sykli_node::control::api::AskInfo;
use sykli_node::control::{Launched, Notice, Refused, Request, Requests};

use super::daemon::Log;
use super::show;
use crate::error::{CliError, Exit, Outcome};
use crate::render::{self, escape};

/// How often the log's size is looked at while nothing is said.
const LOOK: Duration = Duration::from_secs(5);
/// Questions that are remembered for the keyboard; more can still be answered by their id.
const MAX_QUESTIONS: usize = 64;

/// The questions that stand, the oldest first.
type Questions = Arc<Mutex<VecDeque<String>>>;

/// Shows the node until it has ended.
pub(super) fn watch(launched: Launched, mode: ConsentMode, log: Option<&Log>) -> Outcome {
    let Launched {
        requests,
        notices,
        join,
    } = launched;
    let status = requests
        .ask_blocking(Request::Status)
        .map_err(|no| refused(&no))?;
    render::out(&show::greeting(&status));
    end_on_signal(&requests);
    let questions = Questions::default();
    let person = log.is_none() && std::io::stdin().is_terminal();
    if person && mode == ConsentMode::Ask {
        listen(requests.clone(), questions.clone());
    }
    // From here on the node alone keeps itself alive.
    drop(requests);
    loop {
        match notices.recv_timeout(LOOK) {
            Ok(notice) => {
                remember(&questions, &notice);
                say(&line(&notice, person, mode), log);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        if let Some(log) = log {
            log.keep_bounded();
        }
    }
    join();
    say(&format!("{} has stopped", status.name), log);
    Ok(Exit::Passed)
}

fn say(text: &str, log: Option<&Log>) {
    let text = escape::clean(text);
    match log {
        None => render::out(&format!("{text}\n")),
        Some(_) => render::out(&format!("{} {text}\n", utc(SystemTime::now()))),
    }
}

/// A notice as a line; a question with the keys that answer it.
fn line(notice: &Notice, person: bool, mode: ConsentMode) -> String {
    match notice {
        Notice::Asked(ask) if person && mode == ConsentMode::Ask => {
            format!("{} [y/n] (question {})", show::question(ask), ask.id)
        }
        other => other.to_string(),
    }
}

fn remember(questions: &Questions, notice: &Notice) {
    let mut open = questions.lock().unwrap_or_else(PoisonError::into_inner);
    match notice {
        Notice::Asked(ask) if open.len() < MAX_QUESTIONS => {
            let AskInfo { id, .. } = ask.as_ref();
            open.push_back(id.clone());
        }
        Notice::Settled { id, .. } => open.retain(|there| there != id),
        _ => {}
    }
}

/// Ctrl-C once has the node finish and end; the second one ends this process (`interrupt.rs`).
fn end_on_signal(requests: &Requests) {
    let requests = requests.clone();
    crate::interrupt::watch(move || {
        render::err("finishing what runs; once more stops at once\n");
        let requests = requests.clone();
        // Not on the signals' own thread: it has to hear the second one.
        let asking = std::thread::Builder::new().spawn(move || {
            let ask = |reply| Request::Stop { now: false, reply };
            if let Err(no) = requests.ask_blocking(ask) {
                tracing::warn!(%no, "the node does not stop");
            }
        });
        if let Err(error) = asking {
            tracing::warn!(%error, "the node was not asked to stop");
        }
    });
}

/// Answers the oldest question with what is typed. The thread ends with the process, or when input or node end.
fn listen(requests: Requests, questions: Questions) {
    let listening = std::thread::Builder::new()
        .name("answers".to_owned())
        .spawn(move || {
            for typed in std::io::stdin().lock().lines().map_while(Result::ok) {
                answer(&requests, &questions, typed.trim());
            }
        });
    if let Err(error) = listening {
        tracing::warn!(%error, "questions can be answered by `sykli node approve` alone");
    }
}

fn answer(requests: &Requests, questions: &Questions, typed: &str) {
    let oldest = || {
        let mut open = questions.lock().unwrap_or_else(PoisonError::into_inner);
        open.pop_front()
    };
    let yes = match typed.to_ascii_lowercase().as_str() {
        "" => return,
        "y" | "yes" => true,
        "n" | "no" => false,
        _ => {
            render::err("y or n?\n");
            return;
        }
    };
    let Some(id) = oldest() else {
        render::err("no question waits\n");
        return;
    };
    let decided = requests.ask_blocking(|reply| Request::Decide { id, yes, reply });
    if let Err(no) = decided {
        render::err(&format!("{}\n", escape::clean(&no.message)));
    }
}

fn refused(no: &Refused) -> CliError {
    let mut error = CliError::failed(&no.code, no.message.clone());
    error.hints.clone_from(&no.hints);
    error
}

/// A moment as `2026-11-24T20:23:05Z`.
pub(super) fn utc(at: SystemTime) -> String {
    let since = at
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let seconds = since.as_secs();
    let (year, month, day) = date(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Year, month and day of so many days after 1970-01-01, by the calendar's cycle of 400 years. Years are counted from
/// March, so that the leap day is a year's last.
fn date(days: u64) -> (u64, u64, u64) {
    const CYCLE: u64 = 146_097;
    // Days from 0000-03-01 to 1970-01-01.
    let days = days + 719_468;
    let in_cycle = days % CYCLE;
    let year = (in_cycle - in_cycle / 1460 + in_cycle / 36_524 - in_cycle / 146_096) / 365;
    let in_year = in_cycle - (365 * year + year / 4 - year / 100);
    let month = (5 * in_year + 2) / 153;
    let day = in_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = days / CYCLE * 400 + year + u64::from(month <= 2);
    (year, month, day)
}
