//! Signals into wishes: Ctrl-C once asks the run to end in order, twice ends this process now. A thread of its own waits
//! for the signals, so that no code of ours runs in a signal handler: that only writes a byte into a pipe. A pipe and not
//! a pair of sockets, for a run that stays on this machine opens no socket. SIGTERM and SIGHUP count as Ctrl-C. A closed
//! stdout is no signal here: Rust ignores SIGPIPE, and `render::out` takes the error for "nobody reads on".

use std::io::{self, Read};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::low_level::pipe;
use sykli_node::interrupt::Interrupt;

use crate::error::Exit;
use crate::render;

/// An interrupt that this process's signals raise. `first` is called once, when the user asks for the first time.
/// Where the system refuses the handler, the signal keeps its usual meaning: it ends the process.
pub(crate) fn watch(first: impl Fn() + Send + 'static) -> Interrupt {
    let interrupt = Interrupt::new();
    if let Err(error) = listen(interrupt.clone(), first) {
        tracing::warn!(%error, "signals are not watched");
    }
    interrupt
}

/// Has a thread raise `raised` at each signal. It ends where no handler holds the other end of its pipe.
fn listen(raised: Interrupt, first: impl Fn() + Send + 'static) -> io::Result<()> {
    let (mut signals, handler) = io::pipe()?;
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            while signals.read_exact(&mut [0]).is_ok() {
                if raised.raise() == 1 {
                    first();
                } else {
                    render::restore_terminal();
                    std::process::exit(i32::from(Exit::Interrupted.code()));
                }
            }
        })?;
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        pipe::register(signal, handler.try_clone()?)?;
    }
    Ok(())
}
