// SPDX-License-Identifier: Apache-2.0
//! wasi:nn bound by hand to C's table: all revisions over the same four resource types.
//!
//! Tensor bytes are passed to C as a view of guest memory and come back as a buffer of C's that is
//! lowered with one copy. Resource handles are C's numbers; what a guest still holds when the store
//! goes is C's to clean up, since a store does not run destructors.

use std::borrow::Cow;
use std::future::Future;
use std::task::Poll;

use bytes::Bytes;
use wasmtime::component::{
    ComponentType, Lift, Linker, Lower, Resource, ResourceType, WasmList, WasmStr,
};
use wasmtime::{AsContext, Error, Result, StoreContextMut, bail};

use crate::fail::{Defect, Stopped};
use crate::ffi::{Blob, NN_ERROR, NN_OK, NN_PENDING, NN_STOP, NamedTensor, Span, slice};
use crate::limits::{Ctx, HostRef};

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Revision {
    R1028,
    R0819,
    /// As 0819, and a guest may make errors of its own.
    R0625,
}

enum TensorRes {}
enum GraphRes {}
enum ContextRes {}
pub enum ErrorRes {}

type Tensor = Resource<TensorRes>;
type Graph = Resource<GraphRes>;
type GraphContext = Resource<ContextRes>;
pub type NnError = Resource<ErrorRes>;
pub type NnResult<T> = std::result::Result<T, NnError>;

#[derive(ComponentType, Lift, Lower, Clone, Copy)]
#[component(enum)]
#[repr(u8)]
enum TensorType {
    #[component(name = "FP16")]
    Fp16,
    #[component(name = "FP32")]
    Fp32,
    #[component(name = "FP64")]
    Fp64,
    #[component(name = "BF16")]
    Bf16,
    #[component(name = "U8")]
    U8,
    #[component(name = "I32")]
    I32,
    #[component(name = "I64")]
    I64,
}

#[derive(ComponentType, Lift, Clone, Copy)]
#[component(enum)]
#[repr(u8)]
#[allow(dead_code)] // made by lifting only
enum Encoding {
    #[component(name = "openvino")]
    Openvino,
    #[component(name = "onnx")]
    Onnx,
    #[component(name = "tensorflow")]
    Tensorflow,
    #[component(name = "pytorch")]
    Pytorch,
    #[component(name = "tensorflowlite")]
    Tensorflowlite,
    #[component(name = "ggml")]
    Ggml,
    #[component(name = "autodetect")]
    Autodetect,
}

#[derive(ComponentType, Lift, Clone, Copy)]
#[component(enum)]
#[repr(u8)]
#[allow(dead_code)] // made by lifting only
enum Target {
    #[component(name = "cpu")]
    Cpu,
    #[component(name = "gpu")]
    Gpu,
    #[component(name = "tpu")]
    Tpu,
}

#[derive(ComponentType, Lift, Lower, Clone, Copy)]
#[component(enum)]
#[repr(u8)]
enum ErrorCode {
    #[component(name = "invalid-argument")]
    InvalidArgument,
    #[component(name = "invalid-encoding")]
    InvalidEncoding,
    #[component(name = "timeout")]
    Timeout,
    #[component(name = "runtime-error")]
    RuntimeError,
    #[component(name = "unsupported-operation")]
    UnsupportedOperation,
    #[component(name = "too-large")]
    TooLarge,
    #[component(name = "not-found")]
    NotFound,
    #[component(name = "security")]
    Security,
    #[component(name = "unknown")]
    Unknown,
}

const TENSOR_TYPES: [TensorType; 7] = {
    use TensorType::*;
    [Fp16, Fp32, Fp64, Bf16, U8, I32, I64]
};
const ERROR_CODES: [ErrorCode; 9] = {
    use ErrorCode::*;
    [
        InvalidArgument,
        InvalidEncoding,
        Timeout,
        RuntimeError,
        UnsupportedOperation,
        TooLarge,
        NotFound,
        Security,
        Unknown,
    ]
};

/// Calls a function of C's table. `link` has checked that the slot is filled.
macro_rules! enter {
    ($c:expr, $name:ident ( $($arg:expr),* )) => {{
        let c: &$crate::limits::HostRef = $c;
        match c.host.$name {
            // Safety: C's table is of the type that `ffi` mirrors, `user` is valid until the call
            // is freed, and every pointer argument is to a live local or to guest memory that
            // cannot move while C runs.
            Some(function) => unsafe { Ok(function(c.user, $($arg),*)) },
            None => Err($crate::nn::defect(concat!("the host has no ", stringify!($name)))),
        }
    }};
}

pub(crate) use enter;

pub fn defect(what: impl Into<String>) -> Error {
    Defect(what.into()).into()
}

pub fn link(linker: &mut Linker<Ctx>, revision: Revision) -> Result<()> {
    let version = match revision {
        Revision::R1028 => "0.2.0-rc-2024-10-28",
        Revision::R0819 => "0.2.0-rc-2024-08-19",
        Revision::R0625 => "0.2.0-rc-2024-06-25",
    };
    link_errors(linker, version)?;
    if revision == Revision::R0625 {
        let mut errors = linker.instance(&format!("wasi:nn/errors@{version}"))?;
        errors.func_wrap("[constructor]error", error_new)?;
    }
    link_tensor(linker, version)?;
    link_graph(linker, version)?;
    let mut i = linker.instance(&format!("wasi:nn/inference@{version}"))?;
    i.resource("graph-execution-context", ResourceType::host::<ContextRes>(), |store, rep| {
        enter!(&store.data().c, context_drop(rep))
    })?;
    match revision {
        Revision::R1028 => i.func_wrap_async(
            "[method]graph-execution-context.compute",
            |store, (this, inputs): (GraphContext, Vec<(WasmStr, Tensor)>)| {
                Box::new(compute_named(store, this, inputs))
            },
        ),
        Revision::R0819 | Revision::R0625 => {
            let name = |method: &str| format!("[method]graph-execution-context.{method}");
            i.func_wrap(&name("set-input"), set_input)?;
            i.func_wrap(&name("get-output"), get_output)?;
            i.func_wrap_async(&name("compute"), |store, (this,): (GraphContext,)| {
                Box::new(compute_set(store, this))
            })
        }
    }
}

fn link_errors(linker: &mut Linker<Ctx>, version: &str) -> Result<()> {
    let mut i = linker.instance(&format!("wasi:nn/errors@{version}"))?;
    i.resource("error", ResourceType::host::<ErrorRes>(), |store, rep| {
        enter!(&store.data().c, error_drop(rep))
    })?;
    i.func_wrap("[method]error.code", |store: StoreContextMut<Ctx>, (this,): (NnError,)| {
        let (code, _) = error_info(&store.data().c, this.rep())?;
        Ok((ERROR_CODES.get(code as usize).copied().unwrap_or(ErrorCode::Unknown),))
    })?;
    i.func_wrap("[method]error.data", |store: StoreContextMut<Ctx>, (this,): (NnError,)| {
        let (_, data) = error_info(&store.data().c, this.rep())?;
        Ok((data,))
    })
}

fn error_new(
    store: StoreContextMut<Ctx>,
    (code, data): (ErrorCode, WasmStr),
) -> Result<(NnError,)> {
    let data = data.to_str(store.as_context())?;
    let data = Span::new(data.as_bytes());
    let mut error = 0;
    // A constructor has no way to fail in WIT: all but success ends the call.
    match enter!(&store.data().c, error_new(code as u32, data, &mut error))? {
        NN_OK => Ok((NnError::new_own(error),)),
        _ => Err(Stopped.into()),
    }
}

fn error_info(c: &HostRef, error: u32) -> Result<(u32, String)> {
    let (mut code, mut data) = (0, Span::new(&[]));
    enter!(c, error_info(error, &mut code, &mut data))?;
    // Safety: C keeps the span valid until the next function of its table is entered.
    let data = unsafe { data.bytes() };
    Ok((code, String::from_utf8_lossy(data).into_owned()))
}

fn link_tensor(linker: &mut Linker<Ctx>, version: &str) -> Result<()> {
    let mut i = linker.instance(&format!("wasi:nn/tensor@{version}"))?;
    i.resource("tensor", ResourceType::host::<TensorRes>(), |store, rep| {
        enter!(&store.data().c, tensor_drop(rep))
    })?;
    i.func_wrap("[constructor]tensor", tensor_new)?;
    i.func_wrap("[method]tensor.dimensions", |store: StoreContextMut<Ctx>, (t,): (Tensor,)| {
        Ok((tensor_info(&store.data().c, t.rep())?.0,))
    })?;
    i.func_wrap("[method]tensor.ty", |store: StoreContextMut<Ctx>, (t,): (Tensor,)| {
        let (_, ty) = tensor_info(&store.data().c, t.rep())?;
        let ty = TENSOR_TYPES.get(ty as usize).copied();
        Ok((ty.ok_or_else(|| defect("the host named an unknown tensor type"))?,))
    })?;
    i.func_wrap("[method]tensor.data", tensor_data)
}

fn tensor_new(
    store: StoreContextMut<Ctx>,
    (dims, ty, data): (WasmList<u32>, TensorType, WasmList<u8>),
) -> Result<(Tensor,)> {
    let dims = dims.as_le_slice(store.as_context());
    let data = Span::new(data.as_le_slice(store.as_context()));
    let mut tensor = 0;
    let c = &store.data().c;
    let status = enter!(c, tensor_new(dims.as_ptr(), dims.len(), ty as u32, data, &mut tensor))?;
    // A constructor has no way to fail in WIT: all but success ends the call.
    if status == NN_OK { Ok((Tensor::new_own(tensor),)) } else { Err(Stopped.into()) }
}

fn tensor_info(c: &HostRef, tensor: u32) -> Result<(Vec<u32>, u32)> {
    let (mut dims, mut dims_len, mut ty) = (std::ptr::null(), 0, 0);
    let status = enter!(c, tensor_info(tensor, &mut dims, &mut dims_len, &mut ty))?;
    if status != NN_OK {
        return Err(Stopped.into());
    }
    // Safety: C keeps the array valid until the next function of its table is entered.
    Ok((unsafe { slice(dims, dims_len) }.to_vec(), ty))
}

/// A buffer of C's, given back when the last reader is gone.
struct OwnedBlob(Blob);

// Safety: the header says that the bytes do not change and that `release` may run on any thread.
unsafe impl Send for OwnedBlob {}

impl AsRef<[u8]> for OwnedBlob {
    fn as_ref(&self) -> &[u8] {
        // Safety: the bytes are C's until `release`.
        unsafe { slice(self.0.ptr, self.0.len) }
    }
}

impl Drop for OwnedBlob {
    fn drop(&mut self) {
        if let Some(release) = self.0.release {
            // Safety: once, and nothing reads the bytes afterwards.
            unsafe { release(self.0.owner) };
        }
    }
}

fn tensor_data(store: StoreContextMut<Ctx>, (tensor,): (Tensor,)) -> Result<(Bytes,)> {
    let mut blob =
        Blob { ptr: std::ptr::null(), len: 0, owner: std::ptr::null_mut(), release: None };
    let status = enter!(&store.data().c, tensor_data(tensor.rep(), &mut blob))?;
    if status != NN_OK {
        return Err(Stopped.into());
    }
    Ok((Bytes::from_owner(OwnedBlob(blob)),))
}

fn link_graph(linker: &mut Linker<Ctx>, version: &str) -> Result<()> {
    let mut i = linker.instance(&format!("wasi:nn/graph@{version}"))?;
    i.resource("graph", ResourceType::host::<GraphRes>(), |store, rep| {
        enter!(&store.data().c, graph_drop(rep))
    })?;
    i.func_wrap_async("load", |store, (builders, encoding, target)| {
        Box::new(graph_load(store, builders, encoding, target))
    })?;
    i.func_wrap("load-by-name", graph_load_by_name)?;
    i.func_wrap(
        "[method]graph.init-execution-context",
        |store: StoreContextMut<Ctx>, (graph,): (Graph,)| {
            let (mut context, mut error) = (0, 0);
            let c = &store.data().c;
            let status = enter!(c, context_new(graph.rep(), &mut context, &mut error))?;
            Ok((nn_result(status, error, || GraphContext::new_own(context))?,))
        },
    )
}

/// C refuses a graph of more parts than this without looking at them, so no more are taken.
const GRAPH_PARTS_MAX: usize = 16;

/// What C said of a load, or that it wants to be asked again.
enum Load {
    Done(NnResult<Graph>),
    Waits(Job),
    Later,
}

async fn graph_load(
    mut store: StoreContextMut<'_, Ctx>,
    builders: WasmList<WasmList<u8>>,
    encoding: Encoding,
    target: Target,
) -> Result<(NnResult<Graph>,)> {
    let parts = builders.iter(&mut store)?.take(GRAPH_PARTS_MAX + 1).collect::<Result<Vec<_>>>()?;
    loop {
        match start_load(&store, &parts, encoding, target)? {
            Load::Done(graph) => return Ok((graph,)),
            Load::Later => woken().await,
            Load::Waits(job) => {
                if let Err(error) = finished(&mut store, &job).await? {
                    return Ok((Err(error),));
                }
                let graph = enter!(&job.c, graph_loaded(job.job))?;
                return Ok((Ok(Graph::new_own(graph)),));
            }
        }
    }
}

fn start_load(
    store: &StoreContextMut<'_, Ctx>,
    parts: &[WasmList<u8>],
    encoding: Encoding,
    target: Target,
) -> Result<Load> {
    let spans: Vec<Span> =
        parts.iter().map(|part| Span::new(part.as_le_slice(store.as_context()))).collect();
    let (mut graph, mut job, mut error) = (0, 0, 0);
    let c = &store.data().c;
    let status = enter!(
        c,
        graph_load(
            spans.as_ptr(),
            spans.len(),
            encoding as u32,
            target as u32,
            &mut graph,
            &mut job,
            &mut error
        )
    )?;
    match status {
        NN_PENDING if job == 0 => Ok(Load::Later),
        NN_PENDING => Ok(Load::Waits(Job { c: c.clone(), job })),
        _ => Ok(Load::Done(nn_result(status, error, || Graph::new_own(graph))?)),
    }
}

/// Suspends the guest until the next time that the call is polled.
pub async fn woken() {
    let mut asked = false;
    std::future::poll_fn(|_| {
        let before = std::mem::replace(&mut asked, true);
        if before { Poll::Ready(()) } else { Poll::Pending }
    })
    .await
}

fn graph_load_by_name(
    store: StoreContextMut<Ctx>,
    (name,): (WasmStr,),
) -> Result<(NnResult<Graph>,)> {
    let name = name.to_str(store.as_context())?;
    let (mut graph, mut error) = (0, 0);
    let c = &store.data().c;
    let name = Span::new(name.as_bytes());
    let status = enter!(c, graph_load_by_name(name, &mut graph, &mut error))?;
    Ok((nn_result(status, error, || Graph::new_own(graph))?,))
}

fn set_input(
    store: StoreContextMut<Ctx>,
    (this, name, tensor): (GraphContext, WasmStr, Tensor),
) -> Result<(NnResult<()>,)> {
    given(&tensor)?;
    let name = name.to_str(store.as_context())?;
    let mut error = 0;
    let c = &store.data().c;
    let name = Span::new(name.as_bytes());
    let status = enter!(c, context_set_input(this.rep(), name, tensor.rep(), &mut error))?;
    Ok((nn_result(status, error, || ())?,))
}

fn get_output(
    store: StoreContextMut<Ctx>,
    (this, name): (GraphContext, WasmStr),
) -> Result<(NnResult<Tensor>,)> {
    let name = name.to_str(store.as_context())?;
    let (mut tensor, mut error) = (0, 0);
    let c = &store.data().c;
    let name = Span::new(name.as_bytes());
    let status = enter!(c, context_get_output(this.rep(), name, &mut tensor, &mut error))?;
    Ok((nn_result(status, error, || Tensor::new_own(tensor))?,))
}

/// Linking takes a guest that declares an argument as lent where it is to be given. It would keep
/// its handle to what C then frees, and hold whatever C makes there next.
fn given(tensor: &Tensor) -> Result<()> {
    if tensor.owned() { Ok(()) } else { bail!("a tensor is lent to a function that keeps it") }
}

/// C's status as a WIT result; anything unknown is a defect and ends the call.
fn nn_result<T>(status: u32, error: u32, ok: impl FnOnce() -> T) -> Result<NnResult<T>> {
    match status {
        NN_OK => Ok(Ok(ok())),
        NN_ERROR => Ok(Err(NnError::new_own(error))),
        NN_STOP => Err(Stopped.into()),
        other => Err(defect(format!("the host answered with the unknown status {other}"))),
    }
}

/// An inference or a load under way; C is told once that it is over, also when the call is dropped.
pub struct Job {
    pub c: HostRef,
    pub job: u32,
}

impl Drop for Job {
    fn drop(&mut self) {
        // The slot was checked when the program was linked; there is nobody to tell otherwise.
        let _ = enter!(&self.c, compute_end(self.job));
    }
}

fn start(c: &HostRef, context: u32, inputs: Option<&[NamedTensor]>) -> Result<NnResult<Job>> {
    let with_inputs = inputs.is_some();
    let inputs = inputs.unwrap_or(&[]);
    let (mut job, mut error) = (0, 0);
    let status = enter!(
        c,
        compute_start(context, with_inputs, inputs.as_ptr(), inputs.len(), &mut job, &mut error)
    )?;
    nn_result(status, error, || Job { c: c.clone(), job })
}

/// Waits for the job: C is asked each time the call is polled, and wakes the call by its own means.
pub fn finished<'a>(
    store: &'a mut StoreContextMut<'_, Ctx>,
    job: &'a Job,
) -> impl Future<Output = Result<NnResult<()>>> + Send + 'a {
    std::future::poll_fn(move |_| {
        let fuel_left = store.get_fuel().unwrap_or(0);
        let mut error = 0;
        let status = match enter!(&job.c, compute_poll(job.job, fuel_left, &mut error)) {
            Ok(NN_PENDING) => return Poll::Pending,
            Ok(status) => status,
            Err(e) => return Poll::Ready(Err(e)),
        };
        Poll::Ready(nn_result(status, error, || ()))
    })
}

async fn compute_set(
    mut store: StoreContextMut<'_, Ctx>,
    this: GraphContext,
) -> Result<(NnResult<()>,)> {
    let c = store.data().c.clone();
    let job = match start(&c, this.rep(), None)? {
        Ok(job) => job,
        Err(error) => return Ok((Err(error),)),
    };
    Ok((finished(&mut store, &job).await?,))
}

type Outputs = Vec<(String, Tensor)>;

async fn compute_named(
    mut store: StoreContextMut<'_, Ctx>,
    this: GraphContext,
    inputs: Vec<(WasmStr, Tensor)>,
) -> Result<(NnResult<Outputs>,)> {
    let c = store.data().c.clone();
    let job = match start_named(&store, &c, &this, inputs)? {
        Ok(job) => job,
        Err(error) => return Ok((Err(error),)),
    };
    if let Err(error) = finished(&mut store, &job).await? {
        return Ok((Err(error),));
    }
    let mut outputs = Outputs::new();
    loop {
        let mut output = NamedTensor { name: Span::new(&[]), tensor: 0 };
        if !enter!(&c, compute_output(job.job, outputs.len(), &mut output))? {
            return Ok((Ok(outputs),));
        }
        // Safety: C keeps the span valid until the next function of its table is entered.
        let name = String::from_utf8_lossy(unsafe { output.name.bytes() }).into_owned();
        outputs.push((name, Tensor::new_own(output.tensor)));
    }
}

fn start_named(
    store: &StoreContextMut<'_, Ctx>,
    c: &HostRef,
    this: &GraphContext,
    inputs: Vec<(WasmStr, Tensor)>,
) -> Result<NnResult<Job>> {
    inputs.iter().try_for_each(|(_, tensor)| given(tensor))?;
    let names = inputs
        .iter()
        .map(|(name, _)| name.to_str(store.as_context()))
        .collect::<Result<Vec<Cow<str>>>>()?;
    let named: Vec<NamedTensor> = names
        .iter()
        .zip(&inputs)
        .map(|(name, (_, tensor))| NamedTensor {
            name: Span::new(name.as_bytes()),
            tensor: tensor.rep(),
        })
        .collect();
    start(c, this.rep(), Some(&named))
}
