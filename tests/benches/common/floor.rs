//! The raw engine with nothing of ours around it: what a hand-written embedding of wasmtime and its stock WASI would pay.
//!
//! Two kinds: with the product's settings (the floor that ours is measured against), and tuned without what the product
//! adds for safety. The product's settings are said a second time here, since its own are private;
//! `tests/sandbox/inventory.rs` fails where the two differ. Only the benchmark uses it.

use std::path::Path;
use wasmtime::component::{Component, Linker, ResourceTable};
use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Store,
    WasmBacktraceDetails,
};
use wasmtime_wasi::p2::bindings::{Command, CommandPre};
use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxView, WasiView};

use std::num::NonZeroUsize;

/// As in `runtime/src/engine/config.rs`.
const POOL_TABLE_ELEMENTS: usize = 10_000_000;
const KEEP_STACK_BYTES: usize = 32 << 10;
const KEEP_MEMORY_BYTES: usize = 4 << 20;
const KEEP_TABLE_BYTES: usize = 64 << 10;

/// As in `runtime/src/limits.rs`.
mod limits {
    pub(super) const INSTANCES: u32 = 64;
    pub(super) const MEMORIES: u32 = 4;
    pub(super) const TABLES: u32 = 8;
    pub(super) const STACK_BYTES: usize = 512 << 10;
    pub(super) const FIBER_STACK_BYTES: usize = 2 << 20;
    pub(super) const YIELD_FUEL: u64 = 200_000;
    pub(super) const BACKTRACE_FRAMES: usize = 64;
}

/// How an engine is set up.
#[derive(Clone, Copy)]
pub(crate) struct Settings {
    kind: Kind,
    /// Guests that may live at once.
    pub(crate) slots: u32,
    keep: Option<Keep>,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Product,
    Uncleared,
    Tuned,
}

/// What a slot of the pool keeps between two guests, where it is not what the product says.
#[derive(Clone, Copy)]
pub(crate) struct Keep {
    /// Bytes of linear memory.
    pub(crate) memory: usize,
    /// Bytes of each table.
    pub(crate) table: usize,
    /// Whether the kernel is asked which pages were written.
    pub(crate) scan: bool,
}

impl Settings {
    /// Every setting as the product has it.
    pub(crate) const PRODUCT: Settings = Settings::of(Kind::Product);
    /// The product's settings, but for the stacks, which are not cleared between two guests.
    pub(crate) const UNCLEARED: Settings = Settings::of(Kind::Uncleared);
    /// The fastest that is known: a pool that keeps much, no fuel, no stack cleared between two guests.
    pub(crate) const TUNED: Settings = Settings::of(Kind::Tuned);

    const fn of(kind: Kind) -> Settings {
        Settings {
            kind,
            slots: 64,
            keep: None,
        }
    }

    /// The product's settings with another thing kept.
    pub(crate) fn keeping(keep: Option<Keep>, slots: u32) -> Settings {
        Settings {
            slots,
            keep,
            ..Settings::PRODUCT
        }
    }

    fn fuel(self) -> bool {
        self.kind != Kind::Tuned
    }
}

pub(crate) struct State {
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

/// An engine with stock WASI linked.
pub(crate) struct Floor {
    settings: Settings,
    engine: Engine,
    linker: Linker<State>,
}

/// A component, ready to be instantiated again and again.
pub(crate) type Ready = CommandPre<State>;

impl Floor {
    /// An engine of these settings.
    pub(crate) fn new(settings: Settings) -> wasmtime::Result<Floor> {
        let config = match settings.kind {
            Kind::Product => product(settings)?,
            Kind::Uncleared => {
                let mut config = product(settings)?;
                config.async_stack_zeroing(false);
                config
            }
            Kind::Tuned => tuned(settings),
        };
        let engine = Engine::new(&config)?;
        let mut linker = Linker::new(&engine);
        wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
        Ok(Floor {
            settings,
            engine,
            linker,
        })
    }

    /// Compiles the component at `path`.
    pub(crate) fn compile(&self, path: &Path) -> wasmtime::Result<Ready> {
        self.link(&Component::from_file(&self.engine, path)?)
    }

    /// The compiled code of the component at `path`, as a file holds it.
    pub(crate) fn precompile(&self, path: &Path) -> wasmtime::Result<Vec<u8>> {
        Component::from_file(&self.engine, path)?.serialize()
    }

    /// Loads compiled code.
    pub(crate) fn load(&self, compiled: &Path) -> wasmtime::Result<Component> {
        // SAFETY: the benchmark wrote this file itself, from `precompile` of an engine with these settings.
        #[allow(unsafe_code, reason = "it is what is measured")]
        unsafe {
            Component::deserialize_file(&self.engine, compiled)
        }
    }

    /// Links a component.
    pub(crate) fn link(&self, component: &Component) -> wasmtime::Result<Ready> {
        CommandPre::new(self.linker.instantiate_pre(component)?)
    }

    /// Context, store, instance, run, drop, on the calling thread. Returns whether the guest ended well.
    pub(crate) fn run(&self, component: &Ready, args: &[&str]) -> wasmtime::Result<bool> {
        self.run_with(component, WasiCtx::builder().args(args).build())
    }

    /// As `run`, with the host's `folder` as the guest's `/in`.
    pub(crate) fn run_reading(
        &self,
        component: &Ready,
        args: &[&str],
        folder: &Path,
    ) -> wasmtime::Result<bool> {
        let mut wasi = WasiCtx::builder();
        // Blocking calls on this very thread, as ours makes them: the quicker of the two ways it offers.
        wasi.args(args).allow_blocking_current_thread(true);
        wasi.preopened_dir(folder, "/in", FsPerms::ReadOnly)?;
        self.run_with(component, wasi.build())
    }

    fn run_with(&self, component: &Ready, wasi: WasiCtx) -> wasmtime::Result<bool> {
        thread_local! {
            static RUNTIME: tokio::runtime::Runtime = executor();
        }
        RUNTIME.with(|runtime| runtime.block_on(self.future(component, wasi)))
    }

    /// One run as a future, for guests that live at once on one thread.
    pub(crate) async fn future(&self, component: &Ready, wasi: WasiCtx) -> wasmtime::Result<bool> {
        let mut store = Store::new(
            &self.engine,
            State {
                table: ResourceTable::new(),
                wasi,
            },
        );
        if self.settings.fuel() {
            store.set_fuel(1_000_000_000_000)?;
            store.fuel_async_yield_interval(Some(limits::YIELD_FUEL))?;
        }
        let command: Command = component.instantiate_async(&mut store).await?;
        Ok(command.wasi_cli_run().call_run(&mut store).await?.is_ok())
    }
}

/// One executor a thread; it has a clock, since guests may sleep.
pub(crate) fn executor() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("an executor")
}

/// The lines of this function and of [`pool`] are those of the product's.
fn product(settings: Settings) -> wasmtime::Result<Config> {
    let mut config = Config::new();
    config
        .consume_fuel(true)
        .concurrency_support(false)
        .max_wasm_stack(limits::STACK_BYTES)
        .async_stack_size(limits::FIBER_STACK_BYTES)
        .async_stack_zeroing(true)
        .wasm_relaxed_simd(false)
        .wasm_memory64(false)
        .wasm_multi_memory(false)
        .wasm_tail_call(false)
        .wasm_custom_page_sizes(false)
        .wasm_wide_arithmetic(false)
        .wasm_backtrace_details(WasmBacktraceDetails::Disable)
        .generate_address_map(false)
        .wasm_backtrace_max_frames(NonZeroUsize::new(limits::BACKTRACE_FRAMES))
        .native_unwind_info(false);
    let mut pool = pool(settings.slots);
    if let Some(keep) = settings.keep {
        pool.linear_memory_keep_resident(keep.memory)
            .table_keep_resident(keep.table)
            .pagemap_scan(if keep.scan {
                Enabled::Auto
            } else {
                Enabled::No
            });
    }
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    Ok(config)
}

fn pool(slots: u32) -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(slots)
        .total_stacks(slots)
        .decommit_batch_size(1)
        .total_core_instances(slots.saturating_mul(limits::INSTANCES))
        .total_memories(slots.saturating_mul(limits::MEMORIES))
        .total_tables(slots.saturating_mul(limits::TABLES))
        .max_unused_warm_slots(slots)
        .max_core_instances_per_component(limits::INSTANCES * 16)
        .max_memories_per_component(limits::MEMORIES * 16)
        .max_tables_per_component(limits::TABLES * 16)
        .max_tables_per_module(limits::TABLES)
        .max_memories_per_module(1)
        .async_stack_keep_resident(KEEP_STACK_BYTES)
        .max_core_instance_size(4 << 20)
        .max_component_instance_size(4 << 20)
        .table_elements(POOL_TABLE_ELEMENTS)
        .pagemap_scan(Enabled::Auto);
    if scan_exists() {
        pool.linear_memory_keep_resident(KEEP_MEMORY_BYTES)
            .table_keep_resident(KEEP_TABLE_BYTES);
    }
    pool
}

fn tuned(settings: Settings) -> Config {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_stacks(settings.slots)
        .total_component_instances(settings.slots)
        .linear_memory_keep_resident(4 << 20)
        .table_keep_resident(4 << 20)
        .pagemap_scan(Enabled::Auto);
    let mut config = Config::new();
    config
        .concurrency_support(false)
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    config
}

/// Whether the kernel can say which pages were written.
pub(crate) fn scan_exists() -> bool {
    PoolingAllocationConfig::is_pagemap_scan_available()
}
