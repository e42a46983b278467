// SPDX-License-Identifier: Apache-2.0
//! wasi:nn in both revisions against a native side of one model, "double", whose only output is its
//! only input with every byte doubled.

use std::collections::HashMap;
use std::ffi::c_void;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::Duration;

use glovebox_bridge_host::fail::FailureKind;
use glovebox_bridge_host::ffi::*;

use crate::fixture::*;

type Tensor = (Vec<u32>, u32, Vec<u8>);

/// C's side: tables of handles, counters, and what the next inference does.
#[derive(Default)]
pub struct Native {
    pub wakes: Option<Arc<Wakes>>,
    tensors: HashMap<u32, Tensor>,
    errors: HashMap<u32, (u32, String)>,
    inputs: HashMap<String, u32>,
    next: u32,
    polls: u32,
    pending: u32,
    fails: bool,
    stops: bool,
    started: u32,
    ended: u32,
    output: Option<Tensor>,
    graphs: i32,
    contexts: i32,
    blobs: Arc<AtomicU32>,
    loaded: Vec<u8>,
    asked: u32,
}

impl Native {
    fn handle(&mut self) -> u32 {
        self.next += 1;
        self.next
    }

    fn error(&mut self, code: u32, data: &str, ret: *mut u32) -> u32 {
        let handle = self.handle();
        self.errors.insert(handle, (code, data.to_owned()));
        unsafe { ret.write(handle) };
        NN_ERROR
    }
}

unsafe fn nn<'a>(u: *mut c_void) -> &'a mut Native {
    &mut unsafe { user(u) }.nn
}

unsafe extern "C" fn tensor_new(
    u: *mut c_void,
    dims: *const u32,
    dims_len: usize,
    ty: u32,
    data: Span,
    ret: *mut u32,
) -> u32 {
    let nn = unsafe { nn(u) };
    let (dims, data) = unsafe { (slice(dims, dims_len).to_vec(), data.bytes().to_vec()) };
    let handle = nn.handle();
    nn.tensors.insert(handle, (dims, ty, data));
    unsafe { ret.write(handle) };
    NN_OK
}

unsafe extern "C" fn tensor_drop(u: *mut c_void, tensor: u32) {
    unsafe { nn(u) }.tensors.remove(&tensor).expect("a tensor");
}

unsafe extern "C" fn tensor_info(
    u: *mut c_void,
    tensor: u32,
    ret_dims: *mut *const u32,
    ret_len: *mut usize,
    ret_type: *mut u32,
) -> u32 {
    let (dims, ty, _) = &unsafe { nn(u) }.tensors[&tensor];
    unsafe {
        ret_dims.write(dims.as_ptr());
        ret_len.write(dims.len());
        ret_type.write(*ty);
    }
    NN_OK
}

struct Lent(Vec<u8>, Arc<AtomicU32>);

unsafe extern "C" fn release(owner: *mut c_void) {
    let lent = unsafe { Box::from_raw(owner.cast::<Lent>()) };
    lent.1.fetch_add(1, SeqCst);
}

unsafe extern "C" fn tensor_data(u: *mut c_void, tensor: u32, ret: *mut Blob) -> u32 {
    let nn = unsafe { nn(u) };
    let lent = Box::new(Lent(nn.tensors[&tensor].2.clone(), nn.blobs.clone()));
    let (ptr, len) = (lent.0.as_ptr(), lent.0.len());
    let owner = Box::into_raw(lent).cast();
    unsafe { ret.write(Blob { ptr, len, owner, release: Some(release) }) };
    NN_OK
}

/// First to be asked again, then a job; what wakes the call comes a little later.
fn load_later(nn: &mut Native, ret_job: *mut u32) -> u32 {
    nn.asked += 1;
    unsafe { ret_job.write(if nn.asked == 1 { 0 } else { 5 }) };
    wake_later(nn);
    NN_PENDING
}

fn wake_later(nn: &Native) {
    let wakes = nn.wakes.clone().expect("a waker");
    std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(2));
        wakes.wake();
    });
}

unsafe extern "C" fn graph_loaded(u: *mut c_void, job: u32) -> u32 {
    assert_eq!(job, 5);
    unsafe { nn(u) }.graphs += 1;
    77
}

unsafe extern "C" fn graph_load(
    u: *mut c_void,
    builders: *const Span,
    len: usize,
    encoding: u32,
    target: u32,
    _: *mut u32,
    ret_job: *mut u32,
    ret_error: *mut u32,
) -> u32 {
    let nn = unsafe { nn(u) };
    if unsafe { slice(builders, len) }.iter().any(|b| unsafe { b.bytes() } == b"later") {
        return load_later(nn, ret_job);
    }
    nn.loaded = vec![encoding as u8, target as u8];
    for builder in unsafe { slice(builders, len) } {
        nn.loaded.extend_from_slice(unsafe { builder.bytes() });
        nn.loaded.push(b'|');
    }
    nn.error(7, "models come from the registry", ret_error)
}

unsafe extern "C" fn graph_load_by_name(
    u: *mut c_void,
    name: Span,
    ret: *mut u32,
    ret_error: *mut u32,
) -> u32 {
    let nn = unsafe { nn(u) };
    let name = String::from_utf8(unsafe { name.bytes() }.to_vec()).unwrap();
    match name.as_str() {
        "double" => {
            nn.graphs += 1;
            unsafe { ret.write(77) };
            NN_OK
        }
        "stop" => NN_STOP,
        "nonsense" => 99,
        _ => nn.error(6, &format!("no model {name:?}"), ret_error),
    }
}

unsafe extern "C" fn graph_drop(u: *mut c_void, graph: u32) {
    assert_eq!(graph, 77);
    unsafe { nn(u) }.graphs -= 1;
}

unsafe extern "C" fn context_new(u: *mut c_void, _: u32, ret: *mut u32, _: *mut u32) -> u32 {
    unsafe { nn(u) }.contexts += 1;
    unsafe { ret.write(88) };
    NN_OK
}

unsafe extern "C" fn context_drop(u: *mut c_void, context: u32) {
    assert_eq!(context, 88);
    unsafe { nn(u) }.contexts -= 1;
}

unsafe extern "C" fn set_input(u: *mut c_void, _: u32, name: Span, t: u32, _: *mut u32) -> u32 {
    let name = String::from_utf8(unsafe { name.bytes() }.to_vec()).unwrap();
    unsafe { nn(u) }.inputs.insert(name, t);
    NN_OK
}

unsafe extern "C" fn get_output(
    u: *mut c_void,
    _: u32,
    name: Span,
    ret: *mut u32,
    ret_error: *mut u32,
) -> u32 {
    let nn = unsafe { nn(u) };
    if unsafe { name.bytes() } != b"y" {
        return nn.error(0, "no such output", ret_error);
    }
    let output = nn.output.take().expect("an output");
    let handle = nn.handle();
    nn.tensors.insert(handle, output);
    unsafe { ret.write(handle) };
    NN_OK
}

unsafe extern "C" fn compute_start(
    u: *mut c_void,
    context: u32,
    with_inputs: bool,
    inputs: *const NamedTensor,
    len: usize,
    ret_job: *mut u32,
    _: *mut u32,
) -> u32 {
    assert_eq!(context, 88);
    let nn = unsafe { nn(u) };
    for input in unsafe { slice(inputs, len) } {
        assert!(with_inputs);
        let name = String::from_utf8(unsafe { input.name.bytes() }.to_vec()).unwrap();
        nn.inputs.insert(name, input.tensor);
    }
    let (_, tensor) = nn.inputs.drain().next().expect("an input");
    let (dims, ty, data) = nn.tensors.remove(&tensor).expect("an input tensor");
    nn.output = Some((dims, ty, data.iter().map(|b| b * 2).collect()));
    nn.started += 1;
    unsafe { ret_job.write(5) };
    NN_OK
}

unsafe extern "C" fn compute_poll(u: *mut c_void, job: u32, _: u64, ret_error: *mut u32) -> u32 {
    assert_eq!(job, 5);
    let nn = unsafe { nn(u) };
    nn.polls += 1;
    if nn.polls <= nn.pending {
        wake_later(nn); // the answer comes from elsewhere
        return NN_PENDING;
    }
    match (nn.stops, nn.fails) {
        (true, _) => NN_STOP,
        (_, true) => nn.error(3, "the worker died", ret_error),
        _ => NN_OK,
    }
}

unsafe extern "C" fn compute_output(
    u: *mut c_void,
    _: u32,
    index: usize,
    ret: *mut NamedTensor,
) -> bool {
    let nn = unsafe { nn(u) };
    if index > 0 {
        return false;
    }
    let output = nn.output.take().expect("an output");
    let tensor = nn.handle();
    nn.tensors.insert(tensor, output);
    unsafe { ret.write(NamedTensor { name: Span::new(b"y"), tensor }) };
    true
}

unsafe extern "C" fn compute_end(u: *mut c_void, job: u32) {
    assert_eq!(job, 5);
    unsafe { nn(u) }.ended += 1;
}

unsafe extern "C" fn error_info(u: *mut c_void, error: u32, code: *mut u32, data: *mut Span) {
    let (c, text) = &unsafe { nn(u) }.errors[&error];
    unsafe {
        code.write(*c);
        data.write(Span::new(text.as_bytes()));
    }
}

unsafe extern "C" fn error_drop(u: *mut c_void, error: u32) {
    unsafe { nn(u) }.errors.remove(&error).expect("an error");
}

pub fn host() -> Host {
    Host {
        tensor_new: Some(tensor_new),
        tensor_drop: Some(tensor_drop),
        tensor_info: Some(tensor_info),
        tensor_data: Some(tensor_data),
        graph_load: Some(graph_load),
        graph_loaded: Some(graph_loaded),
        graph_load_by_name: Some(graph_load_by_name),
        graph_drop: Some(graph_drop),
        context_new: Some(context_new),
        context_drop: Some(context_drop),
        context_set_input: Some(set_input),
        context_get_output: Some(get_output),
        compute_start: Some(compute_start),
        compute_poll: Some(compute_poll),
        compute_output: Some(compute_output),
        compute_end: Some(compute_end),
        error_info: Some(error_info),
        error_drop: Some(error_drop),
        ..Host::default()
    }
}

/// An agent that loads the model named by its argument, feeds it the bytes "abcd" (tensor type U8,
/// dimensions 2 and 2) and answers with the output's bytes; an error's data is its err. Both styles.
fn guest(version: &str, named: bool, body: &str) -> String {
    let methods = if named {
        r#"(export "[method]graph-execution-context.compute" (func (param "self" (borrow $c))
             (param "inputs" (list (tuple string (own $t))))
             (result (result (list (tuple string (own $t))) (error (own $e))))))"#
    } else {
        r#"(export "[method]graph-execution-context.set-input" (func (param "self" (borrow $c))
             (param "name" string) (param "tensor" (own $t)) (result (result (error (own $e))))))
           (export "[method]graph-execution-context.compute" (func (param "self" (borrow $c))
             (result (result (error (own $e))))))
           (export "[method]graph-execution-context.get-output" (func (param "self" (borrow $c))
             (param "name" string) (result (result (own $t) (error (own $e))))))"#
    };
    let lowered = if named {
        r#"(core func $compute (canon lower (func $inference "[method]graph-execution-context.compute")
             (memory (core memory $libc "memory")) (realloc (core func $libc "realloc"))))
           (core instance $style (export "compute" (func $compute)))"#
    } else {
        r#"(core func $set (canon lower (func $inference "[method]graph-execution-context.set-input")
             (memory (core memory $libc "memory"))))
           (core func $compute (canon lower (func $inference "[method]graph-execution-context.compute")
             (memory (core memory $libc "memory"))))
           (core func $get (canon lower (func $inference "[method]graph-execution-context.get-output")
             (memory (core memory $libc "memory"))))
           (core instance $style (export "set" (func $set)) (export "compute" (func $compute))
             (export "get" (func $get)))"#
    };
    // $infer returns the output tensor, or 0 with the error's handle at 64.
    let infer = if named {
        r#"(import "style" "compute" (func $compute (param i32 i32 i32 i32)))
        (func $infer (param $c i32) (param $t i32) (result i32)
          (i32.store (i32.const 96) (i32.const 52)) (i32.store (i32.const 100) (i32.const 1))
          (i32.store (i32.const 104) (local.get $t))
          (call $compute (local.get $c) (i32.const 96) (i32.const 1) (i32.const 120))
          (if (i32.load8_u (i32.const 120)) (then
            (i32.store (i32.const 64) (i32.load (i32.const 124))) (return (i32.const 0))))
          (if (i32.ne (i32.load (i32.const 128)) (i32.const 1)) (then unreachable))
          (if (i32.ne (i32.load8_u (i32.load (i32.load (i32.const 124)))) (i32.const 121))
            (then unreachable))
          (i32.load offset=8 (i32.load (i32.const 124))))"#
    } else {
        r#"(import "style" "set" (func $set (param i32 i32 i32 i32 i32)))
        (import "style" "compute" (func $compute (param i32 i32)))
        (import "style" "get" (func $get (param i32 i32 i32 i32)))
        (func $infer (param $c i32) (param $t i32) (result i32)
          (call $set (local.get $c) (i32.const 52) (i32.const 1) (local.get $t) (i32.const 120))
          (if (i32.load8_u (i32.const 120)) (then unreachable))
          (call $compute (local.get $c) (i32.const 120))
          (if (i32.load8_u (i32.const 120)) (then
            (i32.store (i32.const 64) (i32.load (i32.const 124))) (return (i32.const 0))))
          (call $get (local.get $c) (i32.const 53) (i32.const 1) (i32.const 120))
          (if (i32.load8_u (i32.const 120)) (then unreachable))
          (i32.load (i32.const 124)))"#
    };
    let imports = format!(
        r#"
  (import "wasi:nn/errors@{version}" (instance $errors
    (export "error" (type $e (sub resource)))
    (type $code0 (enum "invalid-argument" "invalid-encoding" "timeout" "runtime-error"
      "unsupported-operation" "too-large" "not-found" "security" "unknown"))
    (export "error-code" (type $code (eq $code0)))
    (export "[method]error.code" (func (param "self" (borrow $e)) (result $code)))
    (export "[method]error.data" (func (param "self" (borrow $e)) (result string)))))
  (alias export $errors "error" (type $error))
  (import "wasi:nn/tensor@{version}" (instance $tensor
    (export "tensor" (type $t (sub resource)))
    (type $ty0 (enum "FP16" "FP32" "FP64" "BF16" "U8" "I32" "I64"))
    (export "tensor-type" (type $ty (eq $ty0)))
    (export "[constructor]tensor" (func (param "dimensions" (list u32)) (param "ty" $ty)
      (param "data" (list u8)) (result (own $t))))
    (export "[method]tensor.dimensions" (func (param "self" (borrow $t)) (result (list u32))))
    (export "[method]tensor.ty" (func (param "self" (borrow $t)) (result $ty)))
    (export "[method]tensor.data" (func (param "self" (borrow $t)) (result (list u8))))))
  (alias export $tensor "tensor" (type $ten))
  (import "wasi:nn/inference@{version}" (instance $inference
    (alias outer 1 $error (type $e0)) (export "error" (type $e (eq $e0)))
    (alias outer 1 $ten (type $t0)) (export "tensor" (type $t (eq $t0)))
    (export "graph-execution-context" (type $c (sub resource)))
    {methods}))
  (alias export $inference "graph-execution-context" (type $context))
  (import "wasi:nn/graph@{version}" (instance $graph
    (alias outer 1 $error (type $e0)) (export "error" (type $e (eq $e0)))
    (alias outer 1 $context (type $c0)) (export "graph-execution-context" (type $c (eq $c0)))
    (export "graph" (type $g (sub resource)))
    (type $enc0 (enum "openvino" "onnx" "tensorflow" "pytorch" "tensorflowlite" "ggml" "autodetect"))
    (export "graph-encoding" (type $enc (eq $enc0)))
    (type $tgt0 (enum "cpu" "gpu" "tpu"))
    (export "execution-target" (type $tgt (eq $tgt0)))
    (export "[method]graph.init-execution-context" (func (param "self" (borrow $g))
      (result (result (own $c) (error (own $e))))))
    (export "load" (func (param "builder" (list (list u8))) (param "encoding" $enc)
      (param "target" $tgt) (result (result (own $g) (error (own $e))))))
    (export "load-by-name" (func (param "name" string)
      (result (result (own $g) (error (own $e))))))))
  (alias export $graph "graph" (type $gr))"#
    );
    let with = format!(
        r#"
  (core func $data (canon lower (func $errors "[method]error.data") (memory (core memory $libc "memory"))
    (realloc (core func $libc "realloc"))))
  (core func $code (canon lower (func $errors "[method]error.code")))
  (core func $drop_e (canon resource.drop $error))
  (core func $tensor_new (canon lower (func $tensor "[constructor]tensor") (memory (core memory $libc "memory"))))
  (core func $tensor_dims (canon lower (func $tensor "[method]tensor.dimensions")
    (memory (core memory $libc "memory")) (realloc (core func $libc "realloc"))))
  (core func $tensor_ty (canon lower (func $tensor "[method]tensor.ty")))
  (core func $tensor_data (canon lower (func $tensor "[method]tensor.data") (memory (core memory $libc "memory"))
    (realloc (core func $libc "realloc"))))
  (core func $drop_t (canon resource.drop $ten))
  (core func $drop_g (canon resource.drop $gr))
  (core func $drop_c (canon resource.drop $context))
  (core func $init (canon lower (func $graph "[method]graph.init-execution-context")
    (memory (core memory $libc "memory"))))
  (core func $load (canon lower (func $graph "load") (memory (core memory $libc "memory"))))
  (core func $by_name (canon lower (func $graph "load-by-name") (memory (core memory $libc "memory"))))
  {lowered}
  (core instance $host
    (export "data" (func $data)) (export "code" (func $code)) (export "drop_e" (func $drop_e))
    (export "tensor_new" (func $tensor_new)) (export "tensor_dims" (func $tensor_dims))
    (export "tensor_ty" (func $tensor_ty)) (export "tensor_data" (func $tensor_data))
    (export "drop_t" (func $drop_t)) (export "drop_g" (func $drop_g))
    (export "drop_c" (func $drop_c)) (export "init" (func $init)) (export "load" (func $load))
    (export "by_name" (func $by_name)))"#
    );
    let module = format!(
        r#"
    (import "host" "data" (func $data (param i32 i32)))
    (import "host" "code" (func $code (param i32) (result i32)))
    (import "host" "drop_e" (func $drop_e (param i32)))
    (import "host" "tensor_new" (func $tensor_new (param i32 i32 i32 i32 i32) (result i32)))
    (import "host" "tensor_dims" (func $tensor_dims (param i32 i32)))
    (import "host" "tensor_ty" (func $tensor_ty (param i32) (result i32)))
    (import "host" "tensor_data" (func $tensor_data (param i32 i32)))
    (import "host" "drop_t" (func $drop_t (param i32)))
    (import "host" "drop_g" (func $drop_g (param i32)))
    (import "host" "drop_c" (func $drop_c (param i32)))
    (import "host" "init" (func $init (param i32 i32)))
    (import "host" "load" (func $load (param i32 i32 i32 i32 i32)))
    (import "host" "by_name" (func $by_name (param i32 i32 i32)))
    {infer}
    (data (i32.const 48) "abcdxy")
    (data (i32.const 80) "\02\00\00\00\02\00\00\00")
    (func $fail (param $e i32) (result i32)
      (call $data (local.get $e) (i32.const 120))
      (i32.store8 (i32.load (i32.const 120))
        (i32.add (call $code (local.get $e)) (i32.const 48)))
      (call $drop_e (local.get $e))
      (call $err (i32.load (i32.const 120)) (i32.load (i32.const 124))))"#
    );
    let text = agent_with(&imports, &module, &with, body);
    text.replace(
        r#"(with "host" (instance $host))"#,
        r#"(with "host" (instance $host)) (with "style" (instance $style))"#,
    )
}

const INFER: &str = r#"(local $g i32) (local $c i32) (local $t i32) (local $o i32)
  (call $by_name (local.get $p) (local.get $n) (i32.const 120))
  (if (i32.load8_u (i32.const 120)) (then (return (call $fail (i32.load (i32.const 124))))))
  (local.set $g (i32.load (i32.const 124)))
  (call $init (local.get $g) (i32.const 120))
  (if (i32.load8_u (i32.const 120)) (then unreachable))
  (local.set $c (i32.load (i32.const 124)))
  (call $drop_g (local.get $g))
  (local.set $t (call $tensor_new (i32.const 80) (i32.const 2) (i32.const 4) (i32.const 48) (i32.const 4)))
  (if (i32.ne (call $tensor_ty (local.get $t)) (i32.const 4)) (then unreachable))
  (call $tensor_dims (local.get $t) (i32.const 120))
  (if (i32.ne (i32.load (i32.const 124)) (i32.const 2)) (then unreachable))
  (if (i64.ne (i64.load (i32.load (i32.const 120))) (i64.const 0x200000002)) (then unreachable))
  (local.set $o (call $infer (local.get $c) (local.get $t)))
  (if (i32.eqz (local.get $o)) (then (return (call $fail (i32.load (i32.const 64))))))
  (call $drop_c (local.get $c))
  (call $tensor_data (local.get $o) (i32.const 120))
  (call $drop_t (local.get $o))
  ;; The bytes are above 127: answer with their halves.
  (i64.store (i32.const 200) (i64.and (i64.shr_u
    (i64.load32_u (i32.load (i32.const 120))) (i64.const 1)) (i64.const 0x7f7f7f7f)))
  (call $ok (i32.const 200) (i32.load (i32.const 124)))"#;

const STYLES: [(&str, bool, u32); 2] =
    [("0.2.0-rc-2024-10-28", true, LINK_NN_1028), ("0.2.0-rc-2024-08-19", false, LINK_NN_0819)];

fn infer(linked: &Linked, user: &mut User, model: &str) -> Ended {
    run(linked, user, |c| c.argument = Span::new(model.as_bytes()))
}

#[test]
fn an_agent_infers_in_both_styles() {
    let engine = Engine::new(&engine_config());
    for (version, named, flag) in STYLES {
        let linked = engine.linked(&guest(version, named, INFER), flag | LINK_WASI, ENTRY_AGENT);
        for pending in [0, 1, 5] {
            let mut user = User::default();
            user.nn.pending = pending;
            let ended = infer(&linked, &mut user, "double");
            assert_eq!(ended.expect(OutcomeKind::Ok), "abcd");
            assert!(ended.polls > pending && ended.polls < pending + 20, "{ended:?}");
            let nn = &user.nn;
            assert_eq!((nn.started, nn.ended), (1, 1));
            assert!(nn.tensors.is_empty() && nn.errors.is_empty());
            assert_eq!((nn.graphs, nn.contexts, nn.blobs.load(SeqCst)), (0, 0, 1));
        }
    }
}

#[test]
fn a_tensor_cannot_be_lent_where_it_is_given() {
    let engine = Engine::new(&engine_config());
    for (version, named, flag) in STYLES {
        let text = guest(version, named, INFER)
            .replace(r#"(param "inputs" (list (tuple string (own $t))))"#,
                r#"(param "inputs" (list (tuple string (borrow $t))))"#)
            .replace(r#"(param "tensor" (own $t))"#, r#"(param "tensor" (borrow $t))"#);
        let linked = engine.linked(&text, flag, ENTRY_AGENT);
        let mut user = User::default();
        let ended = infer(&linked, &mut user, "double");
        ended.expect_failure(FailureKind::Trap);
        assert!(ended.failure.message.contains("a tensor is lent"), "{ended:?}");
        assert_eq!((user.nn.started, user.nn.tensors.len()), (0, 1));
    }
}

#[test]
fn errors_reach_the_guest_with_code_and_text() {
    let engine = Engine::new(&engine_config());
    for (version, named, flag) in STYLES {
        let linked = engine.linked(&guest(version, named, INFER), flag, ENTRY_AGENT);
        let mut user = User::default();
        assert_eq!(
            infer(&linked, &mut user, "nosuch").expect(OutcomeKind::Err),
            "6o model \"nosuch\""
        );
        assert!(user.nn.errors.is_empty());
        let mut user = User::default();
        user.nn.fails = true;
        assert_eq!(infer(&linked, &mut user, "double").expect(OutcomeKind::Err), "3he worker died");
        assert_eq!((user.nn.started, user.nn.ended), (1, 1));
        // Ends of the call and answers that no header allows.
        infer(&linked, &mut User::default(), "stop").expect_failure(FailureKind::Stopped);
        let ended = infer(&linked, &mut User::default(), "nonsense");
        ended.expect_failure(FailureKind::Internal);
        assert!(ended.failure.message.contains("99"), "{ended:?}");
        let mut user = User::default();
        user.nn.stops = true;
        infer(&linked, &mut user, "double").expect_failure(FailureKind::Stopped);
        assert_eq!(user.nn.ended, 1);
    }
}

#[test]
fn a_call_dropped_during_an_inference_ends_it_once() {
    let engine = Engine::new(&engine_config());
    for (version, named, flag) in STYLES {
        let linked = engine.linked(&guest(version, named, INFER), flag, ENTRY_AGENT);
        let mut user = User::default();
        user.nn.pending = u32::MAX;
        let mut call =
            Call::new(&linked, &mut user, |c| c.argument = Span::new(b"double")).unwrap();
        while call.wakes.wakes.load(SeqCst) < 3 {
            assert!(call.poll().is_none());
            call.wakes.wait(Duration::from_secs(5));
        }
        drop(call);
        assert_eq!((user.nn.started, user.nn.ended), (1, 1));
        // What the guest still held is C's to clean up: no destructor ran.
        assert_eq!(user.nn.contexts, 1);
        std::thread::sleep(Duration::from_millis(5)); // late wakes find a waker that is theirs
    }
}

#[test]
fn the_parts_of_a_model_arrive_as_they_lie() {
    let engine = Engine::new(&engine_config());
    let body = r#"
      (i32.store (i32.const 96) (i32.const 48)) (i32.store (i32.const 100) (i32.const 2))
      (i32.store (i32.const 104) (i32.const 50)) (i32.store (i32.const 108) (i32.const 4))
      (call $load (i32.const 96) (i32.const 2) (i32.const 5) (i32.const 1) (i32.const 120))
      (if (i32.eqz (i32.load8_u (i32.const 120))) (then unreachable))
      (call $fail (i32.load (i32.const 124)))"#;
    let linked = engine.linked(&guest(STYLES[0].0, true, body), LINK_NN_1028, ENTRY_AGENT);
    let mut user = User::default();
    let ended = run(&linked, &mut user, |_| ());
    assert_eq!(ended.expect(OutcomeKind::Err), "7odels come from the registry");
    assert_eq!(user.nn.loaded, b"\x05\x01ab|cdxy|");
}

#[test]
fn a_load_that_waits_suspends_the_guest() {
    let engine = Engine::new(&engine_config());
    let body = r#"
      (i32.store (i32.const 40) (i32.const 0x6574616c)) (i32.store8 (i32.const 44) (i32.const 0x72))
      (i32.store (i32.const 96) (i32.const 40)) (i32.store (i32.const 100) (i32.const 5))
      (call $load (i32.const 96) (i32.const 1) (i32.const 1) (i32.const 0) (i32.const 120))
      (if (i32.load8_u (i32.const 120)) (then (return (call $fail (i32.load (i32.const 124))))))
      (if (i32.ne (i32.load (i32.const 124)) (i32.const 0)) (then (call $drop_g (i32.load (i32.const 124)))))
      (call $ok (local.get $p) (local.get $n))"#;
    for (version, named, flag) in STYLES {
        let linked = engine.linked(&guest(version, named, body), flag, ENTRY_AGENT);
        let mut user = User::default();
        user.nn.pending = 2;
        run(&linked, &mut user, |_| ()).expect(OutcomeKind::Ok);
        assert_eq!((user.nn.asked, user.nn.polls, user.nn.ended, user.nn.graphs), (2, 3, 1, 0));
        let mut user = User::default();
        user.nn.fails = true;
        assert_eq!(run(&linked, &mut user, |_| ()).expect(OutcomeKind::Err), "3he worker died");
        assert_eq!((user.nn.ended, user.nn.graphs), (1, 0));
    }
}

#[test]
fn a_tensor_longer_than_a_host_call_may_be_has_its_own_kind() {
    let engine = Engine::new(&engine_config());
    let body = "(drop (call $tensor_new (i32.const 80) (i32.const 2) (i32.const 4) (i32.const 0)
        (i32.const 60000))) (call $ok (local.get $p) (local.get $n))";
    let linked = engine.linked(&guest(STYLES[0].0, true, body), LINK_NN_1028, ENTRY_AGENT);
    run(&linked, &mut User::default(), |_| ()).expect(OutcomeKind::Ok);
    run(&linked, &mut User::default(), |c| c.hostcall_bytes_max = 50_000)
        .expect_failure(FailureKind::LimitHostcall);
    // Too many handles.
    let body = "(loop $l (drop (call $tensor_new (i32.const 80) (i32.const 2) (i32.const 4)
        (i32.const 0) (i32.const 0))) (br $l)) unreachable";
    let linked = engine.linked(&guest(STYLES[0].0, true, body), LINK_NN_1028, ENTRY_AGENT);
    run(&linked, &mut User::default(), |_| ()).expect_failure(FailureKind::LimitHandles);
    // A list that lies outside the guest's memory.
    let body = "(drop (call $tensor_new (i32.const 80) (i32.const 2) (i32.const 4)
        (i32.const -16) (i32.const 60000))) unreachable";
    let linked = engine.linked(&guest(STYLES[0].0, true, body), LINK_NN_1028, ENTRY_AGENT);
    run(&linked, &mut User::default(), |_| ()).expect_failure(FailureKind::Trap);
}

#[test]
fn calls_of_the_older_style_under_the_newer_version_do_not_link() {
    let engine = Engine::new(&engine_config());
    let program = engine.program(guest(STYLES[0].0, false, INFER)).unwrap();
    let failed = program.link(LINK_NN_1028 | LINK_NN_0819, ENTRY_AGENT).err().expect("a failure");
    assert!(failed.is(FailureKind::Link), "{failed:?}");
    assert!(failed.message.contains("graph-execution-context"), "{failed:?}");
}
