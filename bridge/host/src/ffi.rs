// SPDX-License-Identifier: Apache-2.0
//! The C structures of `gb_wasm.h` in Rust, and the conversions at the border.
//!
//! Enumerations that C hands over are read as integers: a value outside the list must be an error
//! here, never undefined behaviour.

use std::ffi::{c_char, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::fail::{Fail, FailureKind};
use crate::value::Answer;

#[repr(C)]
#[derive(Clone, Copy)]
pub struct Span {
    pub ptr: *const u8,
    pub len: usize,
}

impl Span {
    pub fn new(bytes: &[u8]) -> Span {
        Span { ptr: bytes.as_ptr(), len: bytes.len() }
    }

    /// # Safety
    /// `ptr` points to `len` readable bytes that outlive `'a`, or `len` is 0.
    pub unsafe fn bytes<'a>(self) -> &'a [u8] {
        // Safety: the caller's promise.
        unsafe { slice(self.ptr, self.len) }
    }

    /// # Safety
    /// As `bytes`.
    pub unsafe fn text<'a>(self, what: &str) -> Result<&'a str, Fail> {
        // Safety: the caller's promise.
        std::str::from_utf8(unsafe { self.bytes() })
            .map_err(|_| Fail::new(FailureKind::Config, format!("{what} is not UTF-8")))
    }
}

/// # Safety
/// `ptr` points to `len` readable values that outlive `'a`, or `len` is 0.
pub unsafe fn slice<'a, T>(ptr: *const T, len: usize) -> &'a [T] {
    if ptr.is_null() || len == 0 {
        return &[];
    }
    // Safety: not null, and the caller's promise.
    unsafe { std::slice::from_raw_parts(ptr, len) }
}

#[repr(C)]
pub struct GbwString {
    pub ptr: *mut c_char,
    pub len: usize,
    pub cap: usize,
}

impl GbwString {
    pub const EMPTY: GbwString = GbwString { ptr: std::ptr::null_mut(), len: 0, cap: 0 };

    pub fn new(text: String) -> GbwString {
        if text.is_empty() {
            return GbwString::EMPTY;
        }
        let mut bytes = text.into_bytes();
        let len = bytes.len();
        bytes.push(0);
        let mut bytes = std::mem::ManuallyDrop::new(bytes);
        GbwString { ptr: bytes.as_mut_ptr().cast(), len, cap: bytes.capacity() }
    }

    fn release(&mut self) {
        if !self.ptr.is_null() {
            // Safety: only `new` makes non-null strings: `len` bytes and a NUL, capacity `cap`.
            drop(unsafe { Vec::from_raw_parts(self.ptr.cast::<u8>(), self.len + 1, self.cap) });
        }
        *self = GbwString::EMPTY;
    }
}

/// # Safety
/// `s` is NULL or a string of the bridge's, not used by another thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gbw_string_free(s: *mut GbwString) {
    // Safety: the caller's promise.
    if let Some(s) = unsafe { s.as_mut() } {
        s.release();
    }
}

/// As `GbwString`, for bytes that are no text.
#[repr(C)]
pub struct GbwBytes {
    pub ptr: *mut u8,
    pub len: usize,
    pub cap: usize,
}

impl GbwBytes {
    pub const EMPTY: GbwBytes = GbwBytes { ptr: std::ptr::null_mut(), len: 0, cap: 0 };

    pub fn new(bytes: Vec<u8>) -> GbwBytes {
        if bytes.capacity() == 0 {
            return GbwBytes::EMPTY;
        }
        let mut bytes = std::mem::ManuallyDrop::new(bytes);
        GbwBytes { ptr: bytes.as_mut_ptr(), len: bytes.len(), cap: bytes.capacity() }
    }

    pub fn release(&mut self) {
        if !self.ptr.is_null() {
            // Safety: only `new` makes non-null ones.
            drop(unsafe { Vec::from_raw_parts(self.ptr, self.len, self.cap) });
        }
        *self = GbwBytes::EMPTY;
    }
}

#[repr(C)]
pub struct Failure {
    pub kind: u32,
    pub trap: u32,
    pub exit_status: i32,
    pub message: GbwString,
    pub backtrace: GbwString,
}

impl Failure {
    pub const NONE: Failure = Failure {
        kind: FailureKind::None as u32,
        trap: 0,
        exit_status: 0,
        message: GbwString::EMPTY,
        backtrace: GbwString::EMPTY,
    };
}

/// # Safety
/// `f` is NULL or was written by the bridge, not used by another thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gbw_failure_fini(f: *mut Failure) {
    // Safety: the caller's promise.
    if let Some(f) = unsafe { f.as_mut() } {
        f.message.release();
        f.backtrace.release();
        f.kind = FailureKind::None as u32;
    }
}

/// Runs an entry: a panic or an error becomes `*f` and `otherwise`.
///
/// # Safety
/// `f` is NULL or writable; what it held is overwritten, not freed.
pub unsafe fn guard<T>(f: *mut Failure, otherwise: T, body: impl FnOnce() -> Result<T, Fail>) -> T {
    let fail = match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(value)) => return value,
        Ok(Err(fail)) => fail,
        Err(panic) => Fail::from_panic(panic),
    };
    if !f.is_null() {
        // Safety: the caller's promise.
        unsafe { f.write(fail.into_c()) };
    }
    otherwise
}

/// For entries that have nowhere to put a failure (frees, walks): a panic ends here.
pub fn guard_quiet<T>(otherwise: T, body: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or(otherwise)
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct EngineConfig {
    pub fuel: bool,
    pub memory64: bool,
    pub pooling: bool,
    pub wasm_stack_bytes: u64,
    pub async_stack_bytes: u64,
    pub memory_reservation_bytes: u64,
    pub memory_guard_bytes: u64,
    pub component_handles_max: u32,
    pub pool_calls: u32,
    pub pool_core_instances: u32,
    pub pool_memories: u32,
    pub pool_tables: u32,
    pub core_instances_per_call_max: u32,
    pub memories_per_call_max: u32,
    pub tables_per_call_max: u32,
    pub pool_memory_bytes_max: u64,
    pub pool_table_elements_max: u32,
    pub pool_keep_resident_bytes: u64,
}

#[repr(u32)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ItemKind {
    Func = 0,
    Resource,
    Instance,
    Memory,
    Table,
    Global,
    Other,
}

#[repr(C)]
pub struct Item {
    pub kind: u32,
    pub interface: Span,
    pub name: Span,
    pub ty: Span,
}
pub type ItemFn = unsafe extern "C" fn(user: *mut c_void, item: *const Item);

pub const STDOUT: u32 = 1;
pub const STDERR: u32 = 2;
pub const TICK_YIELD: u32 = 0;
pub const TICK_STOP: u32 = 1;
pub const NN_OK: u32 = 0;
pub const NN_ERROR: u32 = 1;
pub const NN_STOP: u32 = 2;
pub const NN_PENDING: u32 = 3;

#[repr(C)]
#[derive(Clone, Copy)]
pub struct NamedTensor {
    pub name: Span,
    pub tensor: u32,
}

/// A core module's exported memory, for the time of one call of C; `ptr` is NULL without one.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Memory {
    pub ptr: *mut u8,
    pub len: usize,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct Field {
    pub key: Span,
    pub value: Span,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct HttpRequest {
    pub method: Span,
    pub scheme: Span,
    pub authority: Span,
    pub path_with_query: Span,
    pub fields: *const Field,
    pub fields_len: usize,
}

#[repr(C)]
pub struct Blob {
    pub ptr: *const u8,
    pub len: usize,
    pub owner: *mut c_void,
    pub release: Option<unsafe extern "C" fn(owner: *mut c_void)>,
}

/// The functions of C that a call may enter. Slots may be NULL; `link` refuses a table that lacks
/// one which the linked interfaces need.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Host {
    pub tick: Option<unsafe extern "C" fn(*mut c_void, u64) -> u32>,
    pub memory_growing: Option<unsafe extern "C" fn(*mut c_void, u64, u64, u64) -> bool>,
    pub memory_grow_failed: Option<unsafe extern "C" fn(*mut c_void)>,
    pub table_growing: Option<unsafe extern "C" fn(*mut c_void, u64, u64, u64) -> bool>,
    pub table_grow_failed: Option<unsafe extern "C" fn(*mut c_void)>,
    pub write: Option<unsafe extern "C" fn(*mut c_void, u32, Span) -> bool>,

    pub tensor_new:
        Option<unsafe extern "C" fn(*mut c_void, *const u32, usize, u32, Span, *mut u32) -> u32>,
    pub tensor_drop: Option<unsafe extern "C" fn(*mut c_void, u32)>,
    pub tensor_info: Option<
        unsafe extern "C" fn(*mut c_void, u32, *mut *const u32, *mut usize, *mut u32) -> u32,
    >,
    pub tensor_data: Option<unsafe extern "C" fn(*mut c_void, u32, *mut Blob) -> u32>,
    pub graph_load: Option<
        unsafe extern "C" fn(
            *mut c_void,
            *const Span,
            usize,
            u32,
            u32,
            *mut u32,
            *mut u32,
            *mut u32,
        ) -> u32,
    >,
    pub graph_loaded: Option<unsafe extern "C" fn(*mut c_void, u32) -> u32>,
    pub graph_load_by_name:
        Option<unsafe extern "C" fn(*mut c_void, Span, *mut u32, *mut u32) -> u32>,
    pub graph_drop: Option<unsafe extern "C" fn(*mut c_void, u32)>,
    pub context_new: Option<unsafe extern "C" fn(*mut c_void, u32, *mut u32, *mut u32) -> u32>,
    pub context_drop: Option<unsafe extern "C" fn(*mut c_void, u32)>,
    pub context_set_input:
        Option<unsafe extern "C" fn(*mut c_void, u32, Span, u32, *mut u32) -> u32>,
    pub context_get_output:
        Option<unsafe extern "C" fn(*mut c_void, u32, Span, *mut u32, *mut u32) -> u32>,
    pub compute_start: Option<
        unsafe extern "C" fn(
            *mut c_void,
            u32,
            bool,
            *const NamedTensor,
            usize,
            *mut u32,
            *mut u32,
        ) -> u32,
    >,
    pub compute_poll: Option<unsafe extern "C" fn(*mut c_void, u32, u64, *mut u32) -> u32>,
    pub compute_output:
        Option<unsafe extern "C" fn(*mut c_void, u32, usize, *mut NamedTensor) -> bool>,
    pub compute_end: Option<unsafe extern "C" fn(*mut c_void, u32)>,
    pub error_info: Option<unsafe extern "C" fn(*mut c_void, u32, *mut u32, *mut Span)>,
    pub error_drop: Option<unsafe extern "C" fn(*mut c_void, u32)>,
    pub error_new: Option<unsafe extern "C" fn(*mut c_void, u32, Span, *mut u32) -> u32>,

    pub witx_call: Option<
        unsafe extern "C" fn(
            *mut c_void,
            u32,
            Memory,
            *const u32,
            usize,
            *mut u32,
            *mut u32,
        ) -> u32,
    >,
    pub witx_finish: Option<
        unsafe extern "C" fn(*mut c_void, u32, Memory, *const u32, usize, u32) -> u32,
    >,
    pub witx_error: Option<unsafe extern "C" fn(*mut c_void, u32) -> u32>,

    pub metrics_counter: Option<unsafe extern "C" fn(*mut c_void, Span, u64)>,
    pub metrics_gauge: Option<unsafe extern "C" fn(*mut c_void, Span, f64)>,
    pub log: Option<unsafe extern "C" fn(*mut c_void, u32, Span, *const Field, usize)>,
    pub context_text: Option<unsafe extern "C" fn(*mut c_void, u32, *mut Span) -> bool>,
    pub context_time_us: Option<unsafe extern "C" fn(*mut c_void) -> u64>,

    pub http_request_body:
        Option<unsafe extern "C" fn(*mut c_void, *mut u8, usize, *mut usize) -> u32>,
    pub http_request_trailers:
        Option<unsafe extern "C" fn(*mut c_void, *mut *const Field, *mut usize)>,
    pub http_response_head:
        Option<unsafe extern "C" fn(*mut c_void, u32, *const Field, usize) -> u32>,
    pub http_response_body: Option<unsafe extern "C" fn(*mut c_void, Span, *mut usize) -> u32>,
    pub http_response_end: Option<unsafe extern "C" fn(*mut c_void, *const Field, usize)>,
    pub http_charge: Option<unsafe extern "C" fn(*mut c_void, u64) -> bool>,
    pub http_uncharge: Option<unsafe extern "C" fn(*mut c_void, u64)>,
    pub http_egress: Option<unsafe extern "C" fn(*mut c_void, *const HttpRequest) -> u32>,
}

pub const LINK_WASI: u32 = 1 << 0;
pub const LINK_SOCKETS: u32 = 1 << 1;
pub const LINK_P1: u32 = 1 << 2;
pub const LINK_NN_1028: u32 = 1 << 3;
pub const LINK_NN_0819: u32 = 1 << 4;
pub const LINK_NN_0625: u32 = 1 << 5;
pub const LINK_WITX: u32 = 1 << 6;
pub const LINK_HOST: u32 = 1 << 7;
pub const LINK_HTTP: u32 = 1 << 8;
pub const LINK_EGRESS: u32 = 1 << 9;

pub const IO_OK: u32 = 0;
pub const IO_PENDING: u32 = 1;
pub const IO_END: u32 = 2;
pub const IO_ERROR: u32 = 3;

pub const WITX_LOAD: u32 = 0;
pub const WITX_LOAD_BY_NAME: u32 = 1;
pub const WITX_INIT_EXECUTION_CONTEXT: u32 = 2;
pub const WITX_SET_INPUT: u32 = 3;
pub const WITX_COMPUTE: u32 = 4;
pub const WITX_GET_OUTPUT: u32 = 5;

pub const LOG_FIELDS_MAX: usize = 32;
pub const CONTEXT_CALL_ID: u32 = 0;
pub const CONTEXT_TENANT: u32 = 1;
pub const CONTEXT_TRACEPARENT: u32 = 2;

pub const ENTRY_AGENT: u32 = 0;
pub const ENTRY_COMMAND: u32 = 1;
pub const ENTRY_START: u32 = 2;
pub const ENTRY_CALL: u32 = 3;
pub const ENTRY_HTTP: u32 = 4;

// The data of `glovebox/value.h`.

#[repr(C)]
#[derive(Clone, Copy)]
pub struct Text {
    pub ptr: *const c_char,
    pub len: usize,
}

impl Text {
    pub fn new(bytes: &[u8]) -> Text {
        Text { ptr: bytes.as_ptr().cast(), len: bytes.len() }
    }

    /// # Safety
    /// `ptr` points to `len` readable bytes that outlive `'a`, or `len` is 0.
    pub unsafe fn bytes<'a>(self) -> &'a [u8] {
        // Safety: the caller's promise.
        unsafe { slice(self.ptr.cast::<u8>(), self.len) }
    }
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct Items {
    pub items: *const Value,
    pub len: usize,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub union ValueOf {
    pub boolean: u8,
    pub integer: i64,
    pub natural: u64,
    pub f32: f32,
    pub f64: f64,
    pub text: Text,
    pub list: Items,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct Value {
    pub kind: u32,
    pub which: u32,
    pub of: ValueOf,
}

// Safety: plain data; whoever keeps a value says how long and on which threads its pointers hold.
unsafe impl Send for Value {}
// Safety: as above.
unsafe impl Sync for Value {}

pub const NO_TYPE: u32 = u32::MAX;

#[repr(C)]
pub struct Member {
    pub name: Text,
    pub ty: u32,
}

#[repr(C)]
pub struct TypeNode {
    pub kind: u32,
    pub first: u32,
    pub len: u32,
}

#[repr(C)]
pub struct Signature {
    pub types: *const TypeNode,
    pub types_len: usize,
    pub members: *const Member,
    pub members_len: usize,
    pub params: u32,
    pub params_len: u32,
    pub result: u32,
}

impl Signature {
    pub const EMPTY: Signature = Signature {
        types: std::ptr::null(),
        types_len: 0,
        members: std::ptr::null(),
        members_len: 0,
        params: 0,
        params_len: 0,
        result: NO_TYPE,
    };
}

pub type CustomFn = unsafe extern "C" fn(
    user: *mut c_void,
    data: *mut c_void,
    args: *const Value,
    args_len: usize,
    ret: *mut Value,
) -> bool;

#[repr(C)]
#[derive(Clone, Copy)]
pub struct Custom {
    pub interface: Span,
    pub name: Span,
    pub call: Option<CustomFn>,
    pub data: *mut c_void,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct LinkMore {
    pub call_interface: Span,
    pub call_name: Span,
    pub customs: *const Custom,
    pub customs_len: usize,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct Preopen {
    pub host_path: Span,
    pub guest_path: Span,
    pub writable: bool,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct CWaker {
    pub ctx: *mut c_void,
    pub wake: Option<unsafe extern "C" fn(ctx: *mut c_void)>,
    pub release: Option<unsafe extern "C" fn(ctx: *mut c_void)>,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct CallConfig {
    pub user: *mut c_void,
    pub waker: CWaker,
    pub argument: Span,
    pub params: *const Value,
    pub params_len: usize,
    pub args: *const Span,
    pub args_len: usize,
    pub env: *const Span,
    pub env_len: usize,
    pub preopens: *const Preopen,
    pub preopens_len: usize,
    pub inherit_stdin: bool,
    pub inherit_network: bool,
    pub fuel: u64,
    pub hostcall_bytes_max: u64,
    pub random_bytes_max: u64,
    pub answer_bytes_max: u64,
    pub handles_max: u32,
    pub instances_max: u32,
    pub memories_max: u32,
    pub tables_max: u32,
    pub http: *const HttpRequest,
    pub http_fields_bytes_max: u64,
    pub http_chunk_bytes: u32,
}

pub const POLL_PENDING: u32 = 0;
pub const POLL_READY: u32 = 1;

#[repr(u32)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OutcomeKind {
    Ok = 0,
    Err,
    Exit,
    Failed,
}

#[repr(C)]
pub struct Outcome {
    pub kind: u32,
    pub exit_status: i32,
    pub text: GbwString,
    pub value: *const Value,
    pub answer: *mut Answer,
    pub answer_bytes: u64,
    pub failure: Failure,
    pub fuel_left: u64,
    pub instantiate_us: u64,
}

/// # Safety
/// `o` is NULL or was written by `gbw_call_poll`, not used by another thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gbw_outcome_fini(o: *mut Outcome) {
    // Safety: the caller's promise.
    if let Some(o) = unsafe { o.as_mut() } {
        o.text.release();
        o.value = std::ptr::null();
        // Safety: fields of the caller's outcome.
        unsafe {
            gbw_answer_free(std::mem::replace(&mut o.answer, std::ptr::null_mut()));
            gbw_failure_fini(&mut o.failure);
        }
    }
}

/// # Safety
/// `a` is NULL or from an outcome, and not used afterwards.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gbw_answer_free(a: *mut Answer) {
    guard_quiet((), || {
        if !a.is_null() {
            // Safety: the caller's promise; `Box::into_raw` made it.
            drop(unsafe { Box::from_raw(a) });
        }
    });
}
