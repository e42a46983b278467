// SPDX-License-Identifier: Apache-2.0
//! The data of a store, and Wasmtime's resource limiter as calls of C functions.
//!
//! Counts per store are plain numbers of the call; bytes and elements are C's decision, because only
//! C knows the sum over the call and the accounts above it.

use std::ffi::c_void;
use std::sync::Arc;

use wasmtime::{Error, ResourceLimiter, Result};
use wasmtime_wasi::p1::WasiP1Ctx;
use wasmtime_wasi::{WasiCtxView, WasiView};

use crate::ffi::Host;
use crate::http_types;

/// C's functions and the call they are for.
#[derive(Clone)]
pub struct HostRef {
    pub host: Arc<Host>,
    pub user: *mut c_void,
}

// Safety: C promises (in the header) that the functions may run on whichever thread polls or frees
// the call, one at a time; the bridge never touches what `user` points to.
unsafe impl Send for HostRef {}
// Safety: as above; a shared reference gives access to a number and to function pointers only.
unsafe impl Sync for HostRef {}

/// What a store carries. `wasi` is the P1 context for components too: it holds the 0.2 context and
/// the one resource table.
pub struct Ctx {
    pub c: HostRef,
    pub wasi: WasiP1Ctx,
    pub limiter: Limiter,
    pub http: http_types::State,
}

impl WasiView for Ctx {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        self.wasi.ctx()
    }
}

pub struct Limiter {
    pub c: HostRef,
    pub instances_max: u32,
    pub memories_max: u32,
    pub tables_max: u32,
}

type GrowingFn = unsafe extern "C" fn(*mut c_void, u64, u64, u64) -> bool;

impl Limiter {
    fn growing(
        &self,
        ask: Option<GrowingFn>,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> bool {
        let maximum = maximum.map_or(u64::MAX, |m| m as u64);
        // Safety: `link` checked the table; `user` is valid until the call is freed.
        ask.is_some_and(|ask| unsafe { ask(self.c.user, current as u64, desired as u64, maximum) })
    }

    fn failed(&self, tell: Option<unsafe extern "C" fn(*mut c_void)>) {
        if let Some(tell) = tell {
            // Safety: as above.
            unsafe { tell(self.c.user) };
        }
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(&mut self, now: usize, desired: usize, max: Option<usize>) -> Result<bool> {
        Ok(self.growing(self.c.host.memory_growing, now, desired, max))
    }

    fn memory_grow_failed(&mut self, _error: Error) -> Result<()> {
        self.failed(self.c.host.memory_grow_failed);
        Ok(())
    }

    fn table_growing(&mut self, now: usize, desired: usize, max: Option<usize>) -> Result<bool> {
        Ok(self.growing(self.c.host.table_growing, now, desired, max))
    }

    fn table_grow_failed(&mut self, _error: Error) -> Result<()> {
        self.failed(self.c.host.table_grow_failed);
        Ok(())
    }

    fn instances(&self) -> usize {
        self.instances_max as usize
    }

    fn memories(&self) -> usize {
        self.memories_max as usize
    }

    fn tables(&self) -> usize {
        self.tables_max as usize
    }
}
