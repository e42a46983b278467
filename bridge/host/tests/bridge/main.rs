// SPDX-License-Identifier: Apache-2.0
//! Tests of the bridge through its C entries. One binary, because linking Wasmtime takes longer
//! than all of the tests.

mod abi;
mod calls;
mod fixture;
mod http;
mod limits;
mod nn;
mod programs;
mod toml;
mod wasi;
