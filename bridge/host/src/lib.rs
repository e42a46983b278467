// SPDX-License-Identifier: Apache-2.0
//! The host's bridge to Wasmtime and to a TOML parser: plain C data in and out, no policy.
//!
//! The interface is `gb_wasm.h` and `gb_text.h` next to this crate; `ffi.rs` mirrors them and a
//! test compares the layouts. Every entry catches panics and returns a failure value. Nothing here
//! holds a lock across a callback, starts a thread of its own (one tokio runtime excepted, see
//! `engine.rs`) or reads a setting that C did not pass.

#![deny(unsafe_op_in_unsafe_fn)]

pub mod call;
pub mod code;
mod custom;
pub mod engine;
pub mod fail;
pub mod ffi;
mod hostapi;
mod http;
mod http_types;
pub mod limits;
pub mod link;
mod nn;
pub mod program;
pub mod text;
mod typed;
pub mod types;
pub mod value;
mod wasi;
mod witx;

/// The number both sides compare at start; see `GBW_ABI` in the header.
pub const ABI: u32 = 1;

#[unsafe(no_mangle)]
pub extern "C" fn gbw_abi() -> u32 {
    ABI
}

#[unsafe(no_mangle)]
pub extern "C" fn gbw_version() -> *const std::ffi::c_char {
    // The crate does not export its version; the lock file pins it and a test compares them.
    c"wasmtime 48.0.8".as_ptr()
}
