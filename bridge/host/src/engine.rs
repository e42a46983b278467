// SPDX-License-Identifier: Apache-2.0
//! The process's tokio runtime and Wasmtime engines.
//!
//! WASI's clocks, files and sockets need a tokio runtime entered on the thread that polls; without
//! one they panic or start one thread per core. So there is exactly one, with one worker thread,
//! that C makes and frees. Guest code never runs on it.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};
use wasmtime::{Config, OptLevel, PoolingAllocationConfig, WasmBacktraceDetails};

use crate::fail::{Fail, FailureKind};
use crate::ffi::{EngineConfig, Failure, guard, guard_quiet};

pub struct GbwRuntime {
    runtime: Runtime,
}

/// # Safety
/// `f` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gbw_runtime_new(
    blocking_threads_max: u32,
    f: *mut Failure,
) -> *mut GbwRuntime {
    // Safety: the caller's promise.
    unsafe {
        guard(f, std::ptr::null_mut(), || {
            let runtime = Builder::new_multi_thread()
                .worker_threads(1)
                .max_blocking_threads(blocking_threads_max.max(1) as usize)
                .thread_name("gb-wasi")
                .enable_time()
                .enable_io()
                .build()
                .map_err(|e| Fail::new(FailureKind::Internal, format!("WASI runtime: {e}")))?;
            Ok(Box::into_raw(Box::new(GbwRuntime { runtime })))
        })
    }
}

/// # Safety
/// `r` is NULL or from `gbw_runtime_new`; every engine and call of it is gone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gbw_runtime_free(r: *mut GbwRuntime) {
    guard_quiet((), || {
        if !r.is_null() {
            // Safety: the caller's promise; `Box::into_raw` made it.
            let r = unsafe { Box::from_raw(r) };
            // A blocking job (a read of a pipe, say) cannot be aborted: leave it behind.
            r.runtime.shutdown_timeout(Duration::from_millis(100));
        }
    });
}

/// What programs and calls share of an engine.
pub struct EngineInner {
    pub engine: wasmtime::Engine,
    pub runtime: Handle,
    pub fuel: bool,
    pub component_handles_max: u32,
}

pub struct GbwEngine {
    pub inner: Arc<EngineInner>,
}

/// # Safety
/// `r` is from `gbw_runtime_new`, `config` readable, `f` NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gbw_engine_new(
    r: *mut GbwRuntime,
    config: *const EngineConfig,
    f: *mut Failure,
) -> *mut GbwEngine {
    // Safety: the caller's promise, here and inside.
    unsafe {
        guard(f, std::ptr::null_mut(), || {
            let (Some(r), Some(c)) = (r.as_ref(), config.as_ref()) else {
                return Err(Fail::new(FailureKind::Config, "no runtime or no configuration"));
            };
            let engine = wasmtime::Engine::new(&wasmtime_config(c)?)
                .map_err(|e| Fail::from_wasmtime(&e, FailureKind::Config))?;
            let inner = EngineInner {
                engine,
                runtime: r.runtime.handle().clone(),
                fuel: c.fuel,
                component_handles_max: c.component_handles_max,
            };
            Ok(Box::into_raw(Box::new(GbwEngine { inner: Arc::new(inner) })))
        })
    }
}

/// # Safety
/// `e` is NULL or from `gbw_engine_new`, and not used afterwards.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gbw_engine_free(e: *mut GbwEngine) {
    guard_quiet((), || {
        if !e.is_null() {
            // Safety: the caller's promise; `Box::into_raw` made it.
            drop(unsafe { Box::from_raw(e) });
        }
    });
}

/// One atomic addition: no lock, no allocation, so a timer thread or a signal handler may do it.
///
/// # Safety
/// `e` is from `gbw_engine_new` and not freed yet.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gbw_engine_tick(e: *const GbwEngine) {
    // Safety: the caller's promise.
    if let Some(e) = unsafe { e.as_ref() } {
        e.inner.engine.increment_epoch();
    }
}

/// What the pool keeps in slots that no call has now: the parts of memories and tables that stay
/// resident. Each call's end changes it, so asking must be cheap: two locks, no system call.
///
/// # Safety
/// `e` is from `gbw_engine_new` and not freed yet.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gbw_engine_kept_bytes(e: *const GbwEngine) -> u64 {
    guard_quiet(0, || {
        // Safety: the caller's promise.
        let metrics = unsafe { e.as_ref() }.and_then(|e| e.inner.engine.pooling_allocator_metrics());
        metrics.map_or(0, |m| {
            (m.unused_memory_bytes_resident() + m.unused_table_bytes_resident()) as u64
        })
    })
}

fn size(value: u64, what: &str) -> Result<usize, Fail> {
    usize::try_from(value).map_err(|_| Fail::new(FailureKind::Config, format!("{what} too large")))
}

pub fn wasmtime_config(c: &EngineConfig) -> Result<Config, Fail> {
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        .consume_fuel(c.fuel)
        .max_wasm_stack(size(c.wasm_stack_bytes, "the wasm stack")?)
        .async_stack_size(size(c.async_stack_bytes, "the async stack")?)
        .memory_reservation(c.memory_reservation_bytes)
        .memory_guard_size(c.memory_guard_bytes)
        .cranelift_opt_level(OptLevel::Speed)
        // The default asks the environment.
        .wasm_backtrace_details(WasmBacktraceDetails::Disable)
        // WASI 0.2 guests need no concurrency; without it calls are cheaper and the surface smaller.
        .concurrency_support(false);
    // What agents need is on; the rest is off, whatever Wasmtime's defaults become.
    config
        .wasm_simd(true)
        .wasm_bulk_memory(true)
        .wasm_multi_value(true)
        .wasm_reference_types(true)
        .wasm_tail_call(true)
        .wasm_extended_const(true)
        // Needed by the adapters that Wasmtime makes between components (it panics without); the
        // limiter counts a guest's own.
        .wasm_multi_memory(true)
        .wasm_relaxed_simd(false)
        .wasm_threads(false)
        .wasm_gc(false)
        .wasm_function_references(false)
        .wasm_exceptions(false)
        .gc_support(false)
        .wasm_custom_page_sizes(false)
        .wasm_wide_arithmetic(false)
        .wasm_stack_switching(false)
        .wasm_memory64(c.memory64);
    if c.pooling {
        config.allocation_strategy(pool(c)?);
    }
    Ok(config)
}

fn pool(c: &EngineConfig) -> Result<PoolingAllocationConfig, Fail> {
    let keep = size(c.pool_keep_resident_bytes, "the resident part of a slot")?;
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(c.pool_calls)
        .total_stacks(c.pool_calls)
        .total_core_instances(c.pool_core_instances)
        .total_memories(c.pool_memories)
        .total_tables(c.pool_tables)
        .total_gc_heaps(0)
        .max_core_instances_per_component(c.core_instances_per_call_max)
        .max_memories_per_component(c.memories_per_call_max)
        .max_tables_per_component(c.tables_per_call_max)
        .max_memories_per_module(c.memories_per_call_max)
        .max_tables_per_module(c.tables_per_call_max)
        .max_memory_size(size(c.pool_memory_bytes_max, "the memory of a slot")?)
        .table_elements(c.pool_table_elements_max as usize)
        .linear_memory_keep_resident(keep)
        .table_keep_resident(keep.min(64 << 10));
    Ok(pool)
}
