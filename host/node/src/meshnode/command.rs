//! What the loop is told from within this process: by runs, by the control socket, by the command line.
//!
//! Decides nothing. Called by the loop.

use std::sync::Arc;
use std::time::Instant;

use sykli_core::consent::LostWhy;
use sykli_core::machine::Event;
use sykli_core::policy::HostState;

use super::Command;
use super::hub::Hub;

impl Hub {
    pub(super) fn command(&mut self, command: Command) {
        match command {
            Command::Submit(submission, side) => {
                self.runs.insert(submission.run.clone(), *side);
                self.feed(Event::Submit(submission));
            }
            Command::Own(event) => self.feed(event),
            Command::Prepared { event, prepared } => {
                if let (Event::Prepared { run, needs, .. }, Some(prepared)) = (&event, prepared)
                    && let Some(side) = self.runs.get_mut(run)
                {
                    side.prepared(prepared, Arc::clone(needs));
                }
                self.feed(event);
            }
            // Whoever asked may have gone.
            Command::Status(answer) => drop(answer.send(Box::new(self.status()))),
            Command::Pause(paused) => {
                let host = HostState {
                    paused,
                    ..self.host
                };
                self.set_host(host);
            }
            Command::Drain => {
                let host = HostState {
                    draining: true,
                    ..self.host
                };
                self.set_host(host);
            }
            Command::Decide { id, yes, answer } => {
                let asked = self.asks.iter().find(|(_, ask)| ask.id == id);
                let asked = asked.map(|((owner, key), _)| (*owner, key.clone()));
                let _ = answer.send(asked.is_some());
                if let Some((owner, key)) = asked {
                    self.asks.remove(&(owner, key.clone()));
                    self.feed(Event::Decided { owner, key, yes });
                }
            }
            Command::Stop { now: true } => self.stop(),
            Command::Stop { now: false } => {
                self.ends_when_idle = true;
                self.command(Command::Drain);
            }
        }
    }

    /// Guests are given up, and their owners told; runs are interrupted.
    fn stop(&mut self) {
        if self.stopping.is_some() {
            return;
        }
        self.stopping = Some(Instant::now());
        let host = HostState {
            draining: true,
            ..self.host
        };
        self.set_host(host);
        let guests: Vec<_> = self.guests.keys().cloned().collect();
        for (owner, key) in guests {
            if let Some(guest) = self.guests.remove(&(owner, key.clone())) {
                guest.cancel();
            }
            let outcome = Err(LostWhy::Drained);
            self.feed(Event::ForeignEnded {
                owner,
                key,
                outcome,
            });
        }
        let fetching: Vec<_> = self.fetching.keys().cloned().collect();
        for (peer, key) in fetching {
            self.stop_fetching(peer, &key);
            let why = LostWhy::Drained;
            self.feed(Event::BundleFailed {
                owner: peer,
                key,
                why,
            });
        }
        let runs: Vec<_> = self.runs.keys().cloned().collect();
        for run in runs {
            self.feed(Event::Interrupt { run });
        }
    }
}
