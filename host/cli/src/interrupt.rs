//! Signals into wishes: Ctrl-C once asks the run to end in order, twice ends this process now. A thread of its own waits
//! for the signals, so that no code runs in a signal handler. SIGTERM and SIGHUP count as Ctrl-C. A closed stdout is no
//! signal here: Rust ignores SIGPIPE, and `render::out` takes the error for "nobody reads on".

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use sykli_node::interrupt::Interrupt;

use crate::error::Exit;
use crate::render;

/// An interrupt that this process's signals raise. `first` is called once, when the user asks for the first time.
/// Where the system refuses the handler, the signal keeps its usual meaning: it ends the process.
pub(crate) fn watch(first: impl Fn() + Send + 'static) -> Interrupt {
    let interrupt = Interrupt::new();
    let raised = interrupt.clone();
    match Signals::new([SIGINT, SIGTERM, SIGHUP]) {
        Ok(mut signals) => {
            let waiting = std::thread::Builder::new()
                .name("signals".to_owned())
                .spawn(move || {
                    for _ in signals.forever() {
                        if raised.raise() == 1 {
                            first();
                        } else {
                            render::restore_terminal();
                            std::process::exit(i32::from(Exit::Interrupted.code()));
                        }
                    }
                });
            if let Err(error) = waiting {
                tracing::warn!(%error, "signals are not watched");
            }
        }
        Err(error) => tracing::warn!(%error, "signals are not watched"),
    }
    interrupt
}
