//! The bounds that hold for every guest, and the meter that counts a guest's memory and tables against them.
//!
//! wasmtime's own limits are per memory and per table; fifty memories of 64 MiB pass them all. [`Meter`] sums instead.
//! It is asked by wasmtime before every growth and answers by numbers that are fixed for a run alone (never by what the
//! host has left), so that a pure guest meets the same bound everywhere.

use wasmtime::ResourceLimiter;

/// Core instances in one component. A Python component of `componentize-py` has some twenty.
pub(crate) const INSTANCES: u32 = 64;
/// Linear memories in one component.
pub(crate) const MEMORIES: u32 = 4;
/// Tables in one component.
pub(crate) const TABLES: u32 = 8;
/// Elements of one table, and of all of them together.
pub(crate) const TABLE_ELEMENTS: u32 = 200_000;
/// Open handles: component handles and entries of the resource table, each.
pub(crate) const HANDLES: u32 = 10_000;
/// Bytes that one call from guest to host may carry.
pub(crate) const CALL_DATA_BYTES: u64 = 8 << 20;
/// Bytes of stack that guest code has.
pub(crate) const STACK_BYTES: usize = 512 << 10;
/// Bytes of the fiber's stack: what the guest does not use is left for host functions.
pub(crate) const FIBER_STACK_BYTES: usize = 2 << 20;
/// Random bytes that one call may ask for.
pub(crate) const RANDOM_BYTES: u64 = 1 << 20;
/// Fuel between two looks at the deadline and the cancel token: some hundred microseconds.
pub(crate) const YIELD_FUEL: u64 = 200_000;
/// Frames kept of a backtrace.
pub(crate) const BACKTRACE_FRAMES: usize = 64;

/// Counts linear memory and table elements of one guest, over all its memories and tables.
#[derive(Debug)]
pub(crate) struct Meter {
    memory_limit: u64,
    memory: u64,
    peak_memory: u64,
    refused_memory: Option<u64>,
    elements: u64,
    refused_elements: bool,
    host_failure: Option<String>,
}

impl Meter {
    pub(crate) fn new(memory_limit: u64) -> Self {
        Self {
            memory_limit,
            memory: 0,
            peak_memory: 0,
            refused_memory: None,
            elements: 0,
            refused_elements: false,
            host_failure: None,
        }
    }

    /// The most memory at any time, in bytes.
    pub(crate) fn peak_memory(&self) -> u64 {
        self.peak_memory
    }

    /// The largest total that was refused.
    pub(crate) fn refused_memory(&self) -> Option<u64> {
        self.refused_memory
    }

    /// Whether a table was refused its growth.
    pub(crate) fn refused_elements(&self) -> bool {
        self.refused_elements
    }

    /// Why a permitted growth failed: the host has no memory left.
    pub(crate) fn host_failure(&self) -> Option<&str> {
        self.host_failure.as_deref()
    }
}

/// What a growth adds, where the maximum of the guest's own declaration permits it at all.
fn added(current: usize, desired: usize, maximum: Option<usize>) -> Option<u64> {
    if maximum.is_some_and(|maximum| desired > maximum) {
        return None;
    }
    Some(desired.saturating_sub(current) as u64)
}

impl ResourceLimiter for Meter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let Some(added) = added(current, desired, maximum) else {
            // Beyond what the module itself declared (or a 32-bit memory can be): fails whatever we say.
            return Ok(false);
        };
        let wanted = self.memory.saturating_add(added);
        if wanted > self.memory_limit {
            self.refused_memory = self.refused_memory.max(Some(wanted));
            return Ok(false);
        }
        self.memory = wanted;
        self.peak_memory = self.peak_memory.max(wanted);
        Ok(true)
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        // The guest was allowed this growth and does not get it. To answer -1 would make its result depend on this
        // host, so the run ends instead, as a fault of the host's.
        self.host_failure = Some(error.to_string());
        Err(error)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let Some(added) = added(current, desired, maximum) else {
            return Ok(false);
        };
        let wanted = self.elements.saturating_add(added);
        if wanted > u64::from(TABLE_ELEMENTS) {
            self.refused_elements = true;
            return Ok(false);
        }
        self.elements = wanted;
        Ok(true)
    }

    fn instances(&self) -> usize {
        INSTANCES as usize
    }

    fn tables(&self) -> usize {
        TABLES as usize
    }

    fn memories(&self) -> usize {
        MEMORIES as usize
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn memory_is_summed_over_all_memories() {
        let mut meter = Meter::new(100);
        assert!(meter.memory_growing(0, 60, None).unwrap());
        assert!(!meter.memory_growing(0, 60, None).unwrap());
        assert_eq!(meter.refused_memory(), Some(120));
        assert!(meter.memory_growing(60, 100, None).unwrap());
        assert_eq!(meter.peak_memory(), 100);
    }

    #[test]
    fn growth_beyond_the_declared_maximum_is_not_our_refusal() {
        let mut meter = Meter::new(100);
        assert!(!meter.memory_growing(0, 60, Some(50)).unwrap());
        assert_eq!(meter.refused_memory(), None);
    }

    #[test]
    fn table_elements_are_summed() {
        let mut meter = Meter::new(0);
        let half = TABLE_ELEMENTS as usize / 2;
        assert!(meter.table_growing(0, half, None).unwrap());
        assert!(meter.table_growing(0, half, None).unwrap());
        assert!(!meter.table_growing(half, half + 1, None).unwrap());
        assert!(meter.refused_elements());
    }
}
