// SPDX-License-Identifier: Apache-2.0
//! Compiled code as bytes: made in the compile child, loaded in the host.
//!
//! Loading code is as good as running it: whoever calls `gbw_program_from_code` vouches that the
//! descriptor's bytes came from `gbw_precompile` and cannot change any more.

use std::hash::{Hash, Hasher};

use wasmtime::component::Component;
use wasmtime::{Engine, Module};

use crate::engine::{GbwEngine, wasmtime_config};
use crate::fail::{Fail, FailureKind};
use crate::ffi::{EngineConfig, Failure, GbwBytes, Span, guard, guard_quiet};
use crate::program::{Binary, Code, GbwProgram};

/// Compiles without a runtime, a pool or a thread; nothing is loaded or run.
///
/// # Safety
/// `config` and `bytes` are readable, `ret_code` and `ret_is_component` writable, `f` NULL or
/// writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gbw_precompile(
    config: *const EngineConfig,
    bytes: Span,
    ret_code: *mut GbwBytes,
    ret_is_component: *mut bool,
    f: *mut Failure,
) -> bool {
    // Safety: the caller's promise, here and inside.
    unsafe {
        guard(f, false, || {
            let Some(config) = config.as_ref() else {
                return Err(Fail::new(FailureKind::Config, "no configuration"));
            };
            let config = EngineConfig { pooling: false, ..*config };
            let engine = Engine::new(&wasmtime_config(&config)?)
                .map_err(|e| Fail::from_wasmtime(&e, FailureKind::Config))?;
            let binary = Binary::new(bytes.bytes())?;
            let is_component = binary.is_component;
            let (code, otherwise) = if is_component {
                (engine.precompile_component(&binary.bytes), FailureKind::InvalidComponent)
            } else {
                (engine.precompile_module(&binary.bytes), FailureKind::InvalidModule)
            };
            let code = code.map_err(|e| Fail::from_wasmtime(&e, otherwise))?;
            ret_is_component.write(is_component);
            ret_code.write(GbwBytes::new(code));
            Ok(true)
        })
    }
}

/// What must be equal for code to fit: target, settings, features, version. Collected byte by byte,
/// so that C can take a digest that does not depend on Rust's hashers.
///
/// # Safety
/// `e` is from `gbw_engine_new`, `ret` writable, `f` NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gbw_engine_compatibility(
    e: *const GbwEngine,
    ret: *mut GbwBytes,
    f: *mut Failure,
) -> bool {
    // Safety: the caller's promise, here and inside.
    unsafe {
        guard(f, false, || {
            let Some(e) = e.as_ref() else {
                return Err(Fail::new(FailureKind::Config, "no engine"));
            };
            let mut collected = Collector(Vec::new());
            e.inner.engine.precompile_compatibility_hash().hash(&mut collected);
            ret.write(GbwBytes::new(collected.0));
            Ok(true)
        })
    }
}

struct Collector(Vec<u8>);

impl Hasher for Collector {
    fn write(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }
    fn finish(&self) -> u64 {
        0 // nobody asks
    }
}

/// Maps the code behind `fd`, from its first byte.
///
/// # Safety
/// `e` is from `gbw_engine_new`, `f` NULL or writable. The bytes behind `fd` were made by
/// `gbw_precompile` and can never change: they are native code that guests will run.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gbw_program_from_code(
    e: *mut GbwEngine,
    fd: i32,
    is_component: bool,
    f: *mut Failure,
) -> *mut GbwProgram {
    // Safety: the caller's promise, here and inside.
    unsafe {
        guard(f, std::ptr::null_mut(), || {
            let Some(e) = e.as_ref() else {
                return Err(Fail::new(FailureKind::Config, "no engine"));
            };
            let engine = &e.inner.engine;
            // The one way to name a descriptor to both functions.
            let path = format!("/proc/self/fd/{fd}");
            let code = if is_component {
                Component::deserialize_file(engine, path).map(Code::Component)
            } else {
                Module::deserialize_file(engine, path).map(Code::Module)
            };
            let code = code.map_err(|e| Fail::from_wasmtime(&e, FailureKind::Internal))?;
            Ok(Box::into_raw(Box::new(GbwProgram { engine: e.inner.clone(), code })))
        })
    }
}

/// # Safety
/// `b` is NULL or bytes of the bridge's, not used by another thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gbw_bytes_free(b: *mut GbwBytes) {
    guard_quiet((), || {
        // Safety: the caller's promise.
        if let Some(b) = unsafe { b.as_mut() } {
            b.release();
        }
    });
}
