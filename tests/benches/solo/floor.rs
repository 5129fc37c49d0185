//! The raw engine, tuned like ours but with nothing of ours around it: what a hand-written embedding of wasmtime and its
//! stock WASI would pay. Only the benchmark uses it.

use std::path::Path;
use wasmtime::component::{Component, Linker, ResourceTable};
use wasmtime::{Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Store};
use wasmtime_wasi::p2::bindings::{Command, CommandPre};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

/// What is metered.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Metering {
    /// Fuel with a yield interval, as ours.
    Fuel,
    /// Nothing: plain wasmtime.
    None,
}

struct State {
    table: ResourceTable,
    wasi: WasiCtx,
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

/// A component, ready to be instantiated again and again.
pub(crate) struct Floor {
    engine: Engine,
    pre: CommandPre<State>,
    metering: Metering,
    runtime: tokio::runtime::Runtime,
}

impl Floor {
    /// Compiles `path`.
    pub(crate) fn new(path: &Path, metering: Metering) -> wasmtime::Result<Self> {
        let mut pool = PoolingAllocationConfig::new();
        pool.linear_memory_keep_resident(4 << 20)
            .table_keep_resident(4 << 20);
        if PoolingAllocationConfig::is_pagemap_scan_available() {
            pool.pagemap_scan(wasmtime::Enabled::Yes);
        }
        let mut config = Config::new();
        config
            .concurrency_support(false)
            .consume_fuel(metering == Metering::Fuel)
            .allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
        let engine = Engine::new(&config)?;
        let mut linker = Linker::new(&engine);
        wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
        let component = Component::from_file(&engine, path)?;
        let pre = CommandPre::new(linker.instantiate_pre(&component)?)?;
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        Ok(Floor {
            engine,
            pre,
            metering,
            runtime,
        })
    }

    /// Context, store, instance, run, drop. Returns whether the guest ended well.
    pub(crate) fn run(&self, args: &[&str]) -> wasmtime::Result<bool> {
        let wasi = WasiCtx::builder().args(args).build();
        let mut store = Store::new(
            &self.engine,
            State {
                table: ResourceTable::new(),
                wasi,
            },
        );
        if self.metering == Metering::Fuel {
            store.set_fuel(1_000_000_000_000)?;
            store.fuel_async_yield_interval(Some(10_000_000))?;
        }
        self.runtime.block_on(async {
            let command: Command = self.pre.instantiate_async(&mut store).await?;
            Ok(command.wasi_cli_run().call_run(&mut store).await?.is_ok())
        })
    }
}
