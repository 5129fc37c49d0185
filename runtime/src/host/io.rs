//! `wasi:io`: errors and streams as `wasmtime-wasi-io` has them, polling our own way.
//!
//! Polling is ours because time is: where a guest waits for nothing but virtual sleeps, nobody needs to wait. The clock
//! then jumps to the earliest of them and exactly the sleeps that end there are ready, as on a machine that is infinitely
//! quick at doing nothing. See [`clocks`](super::clocks).

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use wasmtime::StoreContextMut;
use wasmtime::component::{HasData, Linker, Resource, ResourceTable, ResourceType};
use wasmtime_wasi_io::bindings::wasi::io::poll::{Host as _, HostPollable as _};
use wasmtime_wasi_io::bindings::wasi::io::{error, streams};
use wasmtime_wasi_io::poll::DynPollable;

use super::clocks::Clock;
use crate::state::GuestState;

/// Lends the resource table to the interfaces of `wasmtime-wasi-io`.
struct Table;

impl HasData for Table {
    type Data<'a> = &'a mut ResourceTable;
}

/// Links `wasi:io`.
pub(crate) fn add_to_linker(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    error::add_to_linker::<GuestState, Table>(linker, |state| &mut state.table)?;
    streams::add_to_linker::<GuestState, Table>(linker, |state| &mut state.table)?;

    let mut poll = linker.instance(&super::wasi("io/poll"))?;
    poll.resource(
        "pollable",
        ResourceType::host::<DynPollable>(),
        |mut store, rep| store.data_mut().table.drop(Resource::new_own(rep)),
    )?;
    poll.func_wrap_async(
        "[method]pollable.ready",
        |mut store: StoreContextMut<'_, GuestState>, (pollable,): (Resource<DynPollable>,)| {
            Box::new(async move {
                sync_clock(&mut store)?;
                Ok((store.data_mut().table.ready(pollable).await?,))
            })
        },
    )?;
    poll.func_wrap_async(
        "[method]pollable.block",
        |mut store: StoreContextMut<'_, GuestState>, (pollable,): (Resource<DynPollable>,)| {
            Box::new(async move {
                let clock = sync_clock(&mut store)?;
                wait(&clock, store.data_mut().table.block(pollable)).await
            })
        },
    )?;
    poll.func_wrap_async(
        "poll",
        |mut store: StoreContextMut<'_, GuestState>,
         (pollables,): (Vec<Resource<DynPollable>>,)| {
            Box::new(async move {
                let clock = sync_clock(&mut store)?;
                Ok((wait(&clock, store.data_mut().table.poll(pollables)).await?,))
            })
        },
    )?;
    Ok(())
}

/// Tells the clock how much fuel is consumed, which is what virtual time is made of, and returns it.
pub(crate) fn sync_clock(
    store: &mut StoreContextMut<'_, GuestState>,
) -> wasmtime::Result<Arc<Clock>> {
    let left = store.get_fuel()?;
    let state = store.data();
    state.clock.consumed(state.fuel_limit.saturating_sub(left));
    Ok(Arc::clone(&state.clock))
}

/// Waits for `ready`; where only virtual sleeps can make it ready, lets them pass.
async fn wait<T>(clock: &Clock, ready: impl Future<Output = T>) -> T {
    let mut ready = pin!(ready);
    poll_fn(|context| {
        loop {
            clock.forget_sleeps();
            if let Poll::Ready(value) = ready.as_mut().poll(context) {
                return Poll::Ready(value);
            }
            if !clock.skip_to_next_sleep() {
                return Poll::Pending;
            }
        }
    })
    .await
}
