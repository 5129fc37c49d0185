//! `wasi:clocks`: time that is virtual unless the grant says otherwise.
//!
//! Virtual time is what the guest itself did: one nanosecond a unit of fuel, plus what it slept. Sleeping never blocks;
//! it moves the clock. The wall clock starts at 2000-01-01T00:00:00Z. So time flows, loops that wait for it end, and two
//! runs of one guest see the same instants.
//!
//! With the `clock` grant both clocks are the host's and a sleep takes its time, ended early by deadline or cancel.
//! With the `net` grant alone the clocks stay virtual but a sleep takes real time too, because the answer that the guest
//! sets a timeout for does; the virtual clock then moves by what was asked, not by what it took.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi::p2::bindings::clocks::wall_clock::Datetime;
use wasmtime_wasi_io::async_trait;
use wasmtime_wasi_io::poll::{DynPollable, Pollable, subscribe};

use super::io::sync_clock;
use crate::state::GuestState;

/// 2000-01-01T00:00:00Z in seconds since 1970.
const VIRTUAL_EPOCH_SECONDS: u64 = 946_684_800;
const NO_SLEEP: u64 = u64::MAX;

/// Which time a guest sees and whether its sleeps take any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TimeMode {
    /// Virtual, and sleeps pass at once.
    Virtual,
    /// Virtual, but sleeps take real time.
    VirtualWaiting,
    /// The host's.
    Real,
}

/// The clocks of one run. Shared with its sleeps, which live in the resource table.
#[derive(Debug)]
pub(crate) struct Clock {
    mode: TimeMode,
    started: Instant,
    /// Nanoseconds: fuel consumed when last told.
    fuel: AtomicU64,
    /// Nanoseconds slept beyond the fuel.
    slept: AtomicU64,
    /// The earliest sleep that was polled and has not ended: nanoseconds of the clock it waits on.
    next_sleep: AtomicU64,
}

impl Clock {
    pub(crate) fn new(mode: TimeMode, started: Instant) -> Self {
        Self {
            mode,
            started,
            fuel: AtomicU64::new(0),
            slept: AtomicU64::new(0),
            next_sleep: AtomicU64::new(NO_SLEEP),
        }
    }

    /// Takes note of the fuel consumed so far.
    pub(crate) fn consumed(&self, fuel: u64) {
        self.fuel.store(fuel, Ordering::Relaxed);
    }

    /// Nanoseconds since the run began, on the clock that the guest sees.
    fn now(&self) -> u64 {
        match self.mode {
            TimeMode::Real => self.elapsed(),
            TimeMode::Virtual | TimeMode::VirtualWaiting => {
                let (fuel, slept) = (
                    self.fuel.load(Ordering::Relaxed),
                    self.slept.load(Ordering::Relaxed),
                );
                fuel.saturating_add(slept)
            }
        }
    }

    /// Nanoseconds since the run began, on the host's clock.
    fn elapsed(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Nanoseconds on the clock that decides when a sleep has ended.
    fn waiting_now(&self) -> u64 {
        match self.mode {
            TimeMode::Virtual => self.now(),
            TimeMode::VirtualWaiting | TimeMode::Real => self.elapsed(),
        }
    }

    /// Moves virtual time forward to `instant`; never back.
    fn advance_to(&self, instant: u64) {
        let now = self.now();
        if instant > now {
            self.slept.fetch_add(instant - now, Ordering::Relaxed);
        }
    }

    /// Forgets the sleeps polled so far: only those polled from now on are waited for.
    pub(crate) fn forget_sleeps(&self) {
        self.next_sleep.store(NO_SLEEP, Ordering::Relaxed);
    }

    /// Where time is virtual and a sleep is waited for, moves time to its end and says so.
    pub(crate) fn skip_to_next_sleep(&self) -> bool {
        let next = self.next_sleep.load(Ordering::Relaxed);
        if self.mode != TimeMode::Virtual || next == NO_SLEEP {
            return false;
        }
        self.advance_to(next);
        true
    }

    /// When the earliest sleep that takes real time ends.
    pub(crate) fn next_wake(&self) -> Option<Instant> {
        let next = self.next_sleep.load(Ordering::Relaxed);
        if self.mode == TimeMode::Virtual || next == NO_SLEEP {
            return None;
        }
        self.started.checked_add(Duration::from_nanos(next))
    }

    fn wall(&self) -> Datetime {
        if self.mode == TimeMode::Real {
            let now = SystemTime::now()
                .duration_since(SystemTime::UNIX_EPOCH)
                .unwrap_or_default();
            return Datetime {
                seconds: now.as_secs(),
                nanoseconds: now.subsec_nanos(),
            };
        }
        let now = Duration::from_nanos(self.now());
        Datetime {
            seconds: VIRTUAL_EPOCH_SECONDS.saturating_add(now.as_secs()),
            nanoseconds: now.subsec_nanos(),
        }
    }
}

/// A sleep that a guest may wait for.
struct Sleep {
    clock: Arc<Clock>,
    /// When it ends, on the clock that the guest sees.
    until: u64,
    /// When it ends, on the clock that decides.
    waiting_until: u64,
}

impl Sleep {
    fn new(clock: Arc<Clock>, until: u64) -> Self {
        let left = until.saturating_sub(clock.now());
        // `NO_SLEEP` is the very end of time: one nanosecond earlier is as good.
        let waiting_until = clock.waiting_now().saturating_add(left).min(NO_SLEEP - 1);
        Self {
            clock,
            until: until.min(NO_SLEEP - 1),
            waiting_until,
        }
    }

    fn has_ended(&self) -> bool {
        if self.clock.waiting_now() < self.waiting_until {
            return false;
        }
        if self.clock.mode != TimeMode::Real {
            self.clock.advance_to(self.until);
        }
        true
    }
}

#[async_trait]
impl Pollable for Sleep {
    async fn ready(&mut self) {
        std::future::poll_fn(|_| {
            if self.has_ended() {
                return std::task::Poll::Ready(());
            }
            // No waker is kept: whoever drives the run asks the clock for the earliest sleep when it parks.
            self.clock
                .next_sleep
                .fetch_min(self.waiting_until, Ordering::Relaxed);
            std::task::Poll::Pending
        })
        .await;
    }
}

/// Links `wasi:clocks`.
pub(crate) fn add_to_linker(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    let mut monotonic = linker.instance(&super::wasi("clocks/monotonic-clock"))?;
    monotonic.func_wrap(
        "now",
        |mut store: StoreContextMut<'_, GuestState>, (): ()| Ok((sync_clock(&mut store)?.now(),)),
    )?;
    monotonic.func_wrap(
        "resolution",
        |_: StoreContextMut<'_, GuestState>, (): ()| Ok((1u64,)),
    )?;
    monotonic.func_wrap(
        "subscribe-instant",
        |mut store: StoreContextMut<'_, GuestState>, (when,): (u64,)| {
            let clock = sync_clock(&mut store)?;
            Ok((sleep(store.data_mut(), clock, when)?,))
        },
    )?;
    monotonic.func_wrap(
        "subscribe-duration",
        |mut store: StoreContextMut<'_, GuestState>, (duration,): (u64,)| {
            let clock = sync_clock(&mut store)?;
            let until = clock.now().saturating_add(duration);
            Ok((sleep(store.data_mut(), clock, until)?,))
        },
    )?;

    let mut wall = linker.instance(&super::wasi("clocks/wall-clock"))?;
    wall.func_wrap(
        "now",
        |mut store: StoreContextMut<'_, GuestState>, (): ()| Ok((sync_clock(&mut store)?.wall(),)),
    )?;
    wall.func_wrap(
        "resolution",
        |_: StoreContextMut<'_, GuestState>, (): ()| {
            Ok((Datetime {
                seconds: 0,
                nanoseconds: 1,
            },))
        },
    )?;
    Ok(())
}

fn sleep(
    state: &mut GuestState,
    clock: Arc<Clock>,
    until: u64,
) -> wasmtime::Result<Resource<DynPollable>> {
    let sleep = state.table.push(Sleep::new(clock, until))?;
    subscribe(&mut state.table, sleep)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn virtual_time_is_fuel_and_sleep() {
        let clock = Arc::new(Clock::new(TimeMode::Virtual, Instant::now()));
        clock.consumed(1_000);
        assert_eq!(clock.now(), 1_000);
        let sleep = Sleep::new(Arc::clone(&clock), 5_000);
        assert!(!sleep.has_ended());
        clock.advance_to(5_000);
        assert!(sleep.has_ended());
        clock.consumed(1_500);
        assert_eq!(clock.now(), 5_500);
    }

    #[test]
    fn time_has_an_end_but_never_turns_round() {
        let clock = Arc::new(Clock::new(TimeMode::Virtual, Instant::now()));
        let sleep = Sleep::new(Arc::clone(&clock), u64::MAX);
        clock.advance_to(sleep.until);
        assert!(sleep.has_ended());
        clock.consumed(100);
        assert_eq!(clock.now(), u64::MAX);
        assert!(Sleep::new(Arc::clone(&clock), u64::MAX).has_ended());
    }

    #[test]
    fn a_waiting_sleep_ends_by_the_hosts_clock_and_moves_the_virtual_one() {
        let clock = Arc::new(Clock::new(TimeMode::VirtualWaiting, Instant::now()));
        let far = Sleep::new(Arc::clone(&clock), 3_600_000_000_000);
        assert!(!far.has_ended());
        clock
            .next_sleep
            .fetch_min(far.waiting_until, Ordering::Relaxed);
        assert!(
            !clock.skip_to_next_sleep(),
            "must not skip what the network may end"
        );
        assert!(clock.next_wake().is_some());
        assert!(Sleep::new(Arc::clone(&clock), 0).has_ended());
    }
}
