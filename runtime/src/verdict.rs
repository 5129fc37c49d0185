//! What the error that ended a guest means: its exit, a trap, a bound of its grant, or a fault of the host's.
//!
//! Errors are told apart by type. Some of wasmtime's have none and are told apart by their text; a test of each fails when a
//! new wasmtime words them differently.

use wasmtime::component::ResourceTableError;
use wasmtime::{PoolConcurrencyLimitError, Trap, WasmBacktrace};

use crate::grant::Grant;
use crate::limits::{self, Meter};
use crate::outcome::{Limit, Status, TrapKind};
use crate::state::End;

/// Bytes kept of one line of a backtrace, and of a message.
const LINE_BYTES: usize = 512;
const HANDLES_TEXT: &str = "handle limit exceeded";
const CALL_DATA_TEXT: &str = "fuel allocated for hostcalls has been exhausted";
const INSTANCES_TEXT: &str = "instance count too high";
const DISCRIMINANT_TEXT: &str = "invalid expected discriminant";

/// The status of a run that ended with `error`.
pub(crate) fn of(error: &wasmtime::Error, grant: &Grant, meter: &Meter) -> Status {
    if let Some(message) = meter.host_failure() {
        return Status::HostFault {
            message: format!("memory cannot grow: {message}"),
        };
    }
    match error.downcast_ref::<End>() {
        Some(End::Exit(code)) => return Status::Exited(*code),
        Some(End::Limit(limit)) => return Status::Limit(limit.clone()),
        None => {}
    }
    if let Some(limit) = bound(error) {
        return Status::Limit(limit);
    }
    let trap = error.downcast_ref::<Trap>().copied();
    match trap {
        Some(Trap::OutOfFuel) => return Status::Limit(Limit::Fuel { limit: grant.fuel }),
        Some(Trap::StackOverflow) => {
            return Status::Limit(Limit::Stack {
                limit: limits::STACK_BYTES as u64,
            });
        }
        _ => {}
    }
    let backtrace = error.downcast_ref::<WasmBacktrace>();
    // A guest that is refused memory traps, by its allocator's abort or by the null pointer it did not check; one that
    // asks for too much from the start never begins to run.
    let gives_up = match trap {
        None => backtrace.is_none(),
        Some(trap) => matches!(trap, Trap::UnreachableCodeReached | Trap::MemoryOutOfBounds),
    };
    if let Some(wanted) = meter.refused_memory().filter(|_| gives_up) {
        return Status::Limit(Limit::Memory {
            limit: grant.memory_bytes,
            wanted,
        });
    }
    if meter.refused_elements() && gives_up {
        let (limit, elements) = (limits::TABLES, limits::TABLE_ELEMENTS);
        return Status::Limit(Limit::Tables { limit, elements });
    }
    // What the guest's `run` returned is looked at when it has ended: an error then is the guest's, and has no frames.
    let returned = trap.is_none() && error.root_cause().to_string().contains(DISCRIMINANT_TEXT);
    match (trap, backtrace) {
        (None, None) if !returned => Status::HostFault {
            message: shorten(format!("{error:#}")),
        },
        _ => Status::Trapped {
            kind: trap.map_or(TrapKind::HostCall, kind),
            message: shorten(match trap {
                Some(trap) => trap.to_string(),
                None => error.root_cause().to_string(),
            }),
            backtrace: backtrace.map(frames).unwrap_or_default(),
        },
    }
}

/// The bound, other than fuel and memory, that an error says was met.
fn bound(error: &wasmtime::Error) -> Option<Limit> {
    if matches!(
        error.downcast_ref::<ResourceTableError>(),
        Some(ResourceTableError::Full)
    ) {
        return Some(Limit::Handles {
            limit: limits::HANDLES,
        });
    }
    if error.is::<PoolConcurrencyLimitError>() {
        return None;
    }
    let text = error.root_cause().to_string();
    if text.contains(HANDLES_TEXT) {
        return Some(Limit::Handles {
            limit: limits::HANDLES,
        });
    }
    if text.contains(CALL_DATA_TEXT) {
        return Some(Limit::CallData {
            limit: limits::CALL_DATA_BYTES,
        });
    }
    text.contains(INSTANCES_TEXT).then_some(Limit::Instances {
        limit: limits::INSTANCES,
    })
}

fn kind(trap: Trap) -> TrapKind {
    match trap {
        Trap::UnreachableCodeReached => TrapKind::Unreachable,
        Trap::MemoryOutOfBounds | Trap::HeapMisaligned => TrapKind::MemoryOutOfBounds,
        Trap::TableOutOfBounds => TrapKind::TableOutOfBounds,
        Trap::IndirectCallToNull | Trap::BadSignature | Trap::NullReference => {
            TrapKind::BadIndirectCall
        }
        Trap::IntegerOverflow | Trap::IntegerDivisionByZero | Trap::BadConversionToInteger => {
            TrapKind::Arithmetic
        }
        Trap::CannotLeaveComponent
        | Trap::CannotEnterComponent
        | Trap::StringOutOfBounds
        | Trap::ListOutOfBounds
        | Trap::InvalidChar
        | Trap::InvalidDiscriminant
        | Trap::UnalignedPointer => TrapKind::HostCall,
        _ => TrapKind::Other,
    }
}

/// The frames, innermost first, with the names that wasmtime demangles when it prints them.
fn frames(backtrace: &WasmBacktrace) -> Vec<String> {
    let text = backtrace.to_string();
    // Numbering is the reader's: a list says by itself which frame is the how-manieth.
    let unnumbered = |line: &str| {
        let line = line.trim();
        let rest = line.trim_start_matches(|c: char| c.is_ascii_digit());
        rest.strip_prefix(':').unwrap_or(line).trim().to_owned()
    };
    let lines = text.lines().skip(1).map(|line| shorten(unnumbered(line)));
    lines.take(limits::BACKTRACE_FRAMES).collect()
}

fn shorten(mut text: String) -> String {
    if text.len() > LINE_BYTES {
        text.truncate(text.floor_char_boundary(LINE_BYTES));
    }
    text
}
