//! Decides wasmtime's settings: what WebAssembly a guest may use, and the pool that its instances live in.
//!
//! They are fixed because they are part of what a result means (see [`Engine::class`](super::Engine::class)): relaxed SIMD,
//! 64-bit and multiple memories, tail calls, threads and garbage collection are off, so that what a guest computes does not
//! depend on the machine; NaN bits are made canonical for [`Floats::Portable`] alone, because that costs a factor of two and
//! more on floating-point code. It never makes an engine and reads no settings of a user's. Called by
//! [`engine`](super) alone; the benchmark's floor (`tests/benches/common/floor.rs`) says the same once more, and a test
//! compares the two.

use std::num::NonZeroUsize;
use std::sync::LazyLock;

use wasmtime::{Config, Enabled, PoolingAllocationConfig, WasmBacktraceDetails};

use super::Floats;
use crate::limits;

/// Elements a slot has room for: what WebAssembly permits. The bound of a guest is the meter's.
const POOL_TABLE_ELEMENTS: usize = 10_000_000;
/// Bytes of a fiber's stack that are cleared by writing zeroes; what is beyond is given back, which only guests with
/// deep stacks pay for.
const KEEP_STACK_BYTES: usize = 32 << 10;
/// Bytes of a memory and of a table that stay resident between two guests of one slot, where the kernel can say which
/// pages were touched. Where it cannot, clearing untouched pages costs more than it saves.
const KEEP_MEMORY_BYTES: usize = 4 << 20;
const KEEP_TABLE_BYTES: usize = 64 << 10;

/// The settings of an engine, but for where its instances live.
pub(super) fn config(floats: Floats) -> Config {
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
        .cranelift_nan_canonicalization(floats == Floats::Portable)
        .wasm_backtrace_details(WasmBacktraceDetails::Disable)
        // Backtraces name functions, not places in them: without that map compiled code is a third smaller.
        .generate_address_map(false)
        .wasm_backtrace_max_frames(NonZeroUsize::new(limits::BACKTRACE_FRAMES))
        // Backtraces follow frame pointers; unwind tables would only be registered at every load for native debuggers.
        .native_unwind_info(false);
    config
}

/// Room for the instances, memories, tables and stacks of so many guests.
pub(super) fn pool(slots: u32) -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(slots)
        .total_stacks(slots)
        // One at a time: what a thread gathered to give back in one call would keep the memory of guests that are gone.
        .decommit_batch_size(1)
        .total_core_instances(slots.saturating_mul(limits::INSTANCES))
        .total_memories(slots.saturating_mul(limits::MEMORIES))
        .total_tables(slots.saturating_mul(limits::TABLES))
        .max_unused_warm_slots(slots)
        // Twice what a guest may have: what is beyond its bounds is then refused when it runs, as the bound it met, and
        // only the absurd when it is loaded.
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
    if pagemap_scan_exists() {
        pool.linear_memory_keep_resident(KEEP_MEMORY_BYTES)
            .table_keep_resident(KEEP_TABLE_BYTES);
    }
    pool
}

/// Whether the kernel can tell which pages were written (Linux 6.7): without that, keeping pages costs more than it saves.
/// Asked once, by the first engine of a process: one that is made later may not be allowed to ask.
fn pagemap_scan_exists() -> bool {
    static EXISTS: LazyLock<bool> = LazyLock::new(|| is_recent(&rustix::system::uname()));
    *EXISTS
}

fn is_recent(name: &rustix::system::Uname) -> bool {
    let mut numbers = name
        .release()
        .to_str()
        .unwrap_or_default()
        .split(['.', '-'])
        .map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) >= (6, 7),
        _ => false,
    }
}
