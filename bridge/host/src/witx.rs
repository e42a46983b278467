// SPDX-License-Identifier: Apache-2.0
//! The core interface `wasi_ephemeral_nn`: six functions of numbers, passed to C as they are
//! together with the guest's memory. Every check of a pointer is C's.
//!
//! The memory is looked up anew for each entry into C, because it may move when the guest grows it.

use wasmtime::{AsContextMut, Caller, Extern, FuncType, Linker, Result, Val, ValType};

use crate::fail::Stopped;
use crate::ffi::{
    Memory, NN_OK, NN_PENDING, NN_STOP, WITX_COMPUTE, WITX_GET_OUTPUT, WITX_INIT_EXECUTION_CONTEXT,
    WITX_LOAD, WITX_LOAD_BY_NAME, WITX_SET_INPUT,
};
use crate::limits::Ctx;
use crate::nn::{Job, defect, enter, finished, woken};

const MODULE: &str = "wasi_ephemeral_nn";
const PARAMS_MAX: usize = 5;
/// Name, number for C, parameters (all i32; the result is an errno).
const FUNCTIONS: [(&str, u32, usize); 6] = [
    ("load", WITX_LOAD, 5),
    ("load_by_name", WITX_LOAD_BY_NAME, 3),
    ("init_execution_context", WITX_INIT_EXECUTION_CONTEXT, 2),
    ("set_input", WITX_SET_INPUT, 3),
    ("compute", WITX_COMPUTE, 1),
    ("get_output", WITX_GET_OUTPUT, 5),
];

pub fn link(linker: &mut Linker<Ctx>) -> Result<()> {
    for (name, function, params) in FUNCTIONS {
        let ty = FuncType::new(linker.engine(), vec![ValType::I32; params], [ValType::I32]);
        linker.func_new_async(MODULE, name, ty, move |mut caller, args, results| {
            Box::new(async move {
                results[0] = Val::I32(enter_c(&mut caller, function, args).await? as i32);
                Ok(())
            })
        })?;
    }
    Ok(())
}

/// What C may touch during one call: nothing where there is no memory of the usual name and kind.
fn memory(caller: &mut Caller<'_, Ctx>) -> Memory {
    match caller.get_export("memory") {
        Some(Extern::Memory(memory)) => {
            let data = memory.data_mut(caller);
            Memory { ptr: data.as_mut_ptr(), len: data.len() }
        }
        _ => Memory { ptr: std::ptr::null_mut(), len: 0 },
    }
}

async fn enter_c(caller: &mut Caller<'_, Ctx>, function: u32, args: &[Val]) -> Result<u32> {
    let mut raw = [0; PARAMS_MAX];
    for (raw, arg) in raw.iter_mut().zip(args) {
        *raw = arg.i32().ok_or_else(|| defect("an argument is not an i32"))? as u32;
    }
    let c = caller.data().c.clone();
    loop {
        let (mut errno, mut job) = (0, 0);
        let status = {
            let memory = memory(caller);
            enter!(&c, witx_call(function, memory, raw.as_ptr(), args.len(), &mut errno, &mut job))?
        };
        match status {
            NN_OK => return Ok(errno),
            NN_PENDING if job == 0 => woken().await,
            NN_PENDING => {
                let job = Job { c, job };
                return match finished(&mut caller.as_context_mut(), &job).await? {
                    Ok(()) => finish(caller, function, &raw[..args.len()], &job),
                    Err(error) => enter!(&job.c, witx_error(error.rep())),
                };
            }
            NN_STOP => return Err(Stopped.into()),
            other => return Err(defect(format!("the host answered with the status {other}"))),
        }
    }
}

fn finish(caller: &mut Caller<'_, Ctx>, function: u32, args: &[u32], job: &Job) -> Result<u32> {
    let memory = memory(caller);
    enter!(&job.c, witx_finish(function, memory, args.as_ptr(), args.len(), job.job))
}
