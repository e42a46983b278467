// SPDX-License-Identifier: Apache-2.0
//! A call: a future that makes a store and an instance, enters the guest and ends in an outcome,
//! polled by C.
//!
//! Waiting is a waker of C's: the guest's fiber is suspended, never the thread. Dropping the future
//! unwinds the fiber and drops the store, in `gbw_call_free`, under the tokio runtime, because
//! timers and sockets of the guest deregister themselves there.

use std::cell::Cell;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Instant;

use tokio::runtime::Handle;
use wasmtime::{Error, Result, Store, StoreContextMut, UpdateDeadline};
use wasmtime_wasi::p1::WasiP1Ctx;

use crate::fail::{AnswerTooLong, Defect, Fail, FailureKind, Stopped};
use crate::ffi::{
    CWaker, CallConfig, Failure, GbwString, Outcome, OutcomeKind, POLL_PENDING, POLL_READY,
    TICK_YIELD, guard, guard_quiet,
};
use crate::limits::{Ctx, HostRef, Limiter};
use crate::link::{GbwLinked, LinkedInner, Pre};
use crate::typed::{self, Params};
use crate::value::Answer;
use crate::{http, http_types, wasi};

/// C's waker. One reference of C's, given back when the last clone is gone.
struct HostWaker(CWaker);

// Safety: the header says that `wake` and `release` may be called on any thread.
unsafe impl Send for HostWaker {}
// Safety: as above.
unsafe impl Sync for HostWaker {}

impl Wake for HostWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if let Some(wake) = self.0.wake {
            // Safety: `ctx` is valid until `release`.
            unsafe { wake(self.0.ctx) };
        }
    }
}

impl Drop for HostWaker {
    fn drop(&mut self) {
        if let Some(release) = self.0.release {
            // Safety: `drop` runs once, and nothing uses `ctx` afterwards.
            unsafe { release(self.0.ctx) };
        }
    }
}

type Running = Pin<Box<dyn Future<Output = Outcome> + Send>>;

pub struct GbwCall {
    /// None once the outcome was handed over.
    running: Option<Running>,
    waker: Waker,
    runtime: Handle,
}

/// What a call needs of its configuration after `gbw_call_new` has returned.
struct Plan {
    linked: Arc<LinkedInner>,
    ctx: Ctx,
    argument: String,
    params: Params,
    incoming: Option<http::Incoming>,
    fuel: u64,
    hostcall_bytes_max: u64,
    answer_bytes_max: u64,
}

/// # Safety
/// `l` is from `gbw_link_new`; `config` and what it points to are readable; `f` NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gbw_call_new(
    l: *mut GbwLinked,
    config: *const CallConfig,
    f: *mut Failure,
) -> *mut GbwCall {
    // Safety: the caller's promise, here and inside.
    unsafe {
        guard(f, std::ptr::null_mut(), || {
            let Some(config) = config.as_ref() else {
                return Err(Fail::new(FailureKind::Config, "no configuration"));
            };
            // First of all, so that it is released whatever happens.
            let waker = Waker::from(Arc::new(HostWaker(config.waker)));
            let Some(l) = l.as_ref() else {
                return Err(Fail::new(FailureKind::Config, "no linked program"));
            };
            let runtime = l.inner.engine.runtime.clone();
            let running: Running = {
                let _entered = runtime.enter();
                Box::pin(run(plan(&l.inner, config)?))
            };
            Ok(Box::into_raw(Box::new(GbwCall { running: Some(running), waker, runtime })))
        })
    }
}

/// # Safety
/// The spans and arrays of `config` are readable.
unsafe fn plan(linked: &Arc<LinkedInner>, config: &CallConfig) -> Result<Plan, Fail> {
    let c = HostRef { host: linked.host.clone(), user: config.user };
    let limiter = Limiter {
        c: c.clone(),
        instances_max: config.instances_max,
        memories_max: config.memories_max,
        tables_max: config.tables_max,
    };
    // Safety: the caller's promise.
    let (wasi, argument): (WasiP1Ctx, &str) =
        unsafe { (wasi::context(&c, config)?, config.argument.text("the argument")?) };
    // Safety: the caller's promise.
    let incoming = unsafe { config.http.as_ref() }
        .map(|request| unsafe { http::Incoming::new(&c, request, config.http_chunk_bytes) })
        .transpose()?;
    let http = http_types::State::new(&c, config);
    Ok(Plan {
        linked: linked.clone(),
        argument: argument.to_owned(),
        params: Params::new(config.params, config.params_len),
        incoming,
        ctx: Ctx { c, wasi, limiter, http },
        fuel: config.fuel,
        hostcall_bytes_max: config.hostcall_bytes_max,
        answer_bytes_max: config.answer_bytes_max,
    })
}

/// # Safety
/// `c` is from `gbw_call_new` and not used by another thread; `ret_outcome` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gbw_call_poll(c: *mut GbwCall, ret_outcome: *mut Outcome) -> u32 {
    // Safety: the caller's promise.
    let Some(call) = (unsafe { c.as_mut() }) else { return POLL_PENDING };
    let polled = catch_unwind(AssertUnwindSafe(|| {
        let _entered = call.runtime.enter();
        let Some(running) = call.running.as_mut() else {
            return Poll::Ready(failed(Fail::new(FailureKind::Internal, "the call has ended")));
        };
        running.as_mut().poll(&mut Context::from_waker(&call.waker))
    }));
    let outcome = match polled {
        Ok(Poll::Pending) => return POLL_PENDING,
        Ok(Poll::Ready(outcome)) => outcome,
        Err(panic) => failed(Fail::from_panic(panic)),
    };
    // The store goes now, not in `gbw_call_free`: its slot and its memory are needed elsewhere.
    drop_running(call);
    if !ret_outcome.is_null() {
        // Safety: the caller's promise.
        unsafe { ret_outcome.write(outcome) };
    }
    POLL_READY
}

/// # Safety
/// `c` is NULL or from `gbw_call_new`, not used by another thread, and not used afterwards.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gbw_call_free(c: *mut GbwCall) {
    if !c.is_null() {
        // Safety: the caller's promise; `Box::into_raw` made it.
        let mut call = unsafe { Box::from_raw(c) };
        drop_running(&mut call);
        guard_quiet((), move || drop(call));
    }
}

fn drop_running(call: &mut GbwCall) {
    let running = call.running.take();
    guard_quiet((), || {
        let _entered = call.runtime.enter();
        drop(running);
    });
}

thread_local! {
    static PANIC_AT_TICK: Cell<bool> = const { Cell::new(false) };
}

/// For the bridge's own tests: the next tick on this thread panics, under a guest's fiber.
#[doc(hidden)]
pub fn panic_at_next_tick() {
    PANIC_AT_TICK.set(true);
}

fn failed(fail: Fail) -> Outcome {
    Outcome {
        kind: OutcomeKind::Failed as u32,
        exit_status: 0,
        text: GbwString::EMPTY,
        value: std::ptr::null(),
        answer: std::ptr::null_mut(),
        answer_bytes: 0,
        failure: fail.into_c(),
        fuel_left: 0,
        instantiate_us: 0,
    }
}

/// How the guest ended when it ended by itself.
pub enum Done {
    Ok(String),
    Err(String),
    Exit(i32),
    Answer(Box<Answer>),
}

async fn run(plan: Plan) -> Outcome {
    let start = Instant::now();
    let Plan {
        linked,
        ctx,
        argument,
        params,
        incoming,
        fuel,
        hostcall_bytes_max,
        answer_bytes_max,
    } = plan;
    let mut store = match store(&linked, ctx, fuel, hostcall_bytes_max) {
        Ok(store) => store,
        Err(e) => return failed(Fail::from_wasmtime(&e, FailureKind::Internal)),
    };
    if let Pre::Http { pre } = &linked.pre {
        let Some(incoming) = incoming else {
            return failed(Fail::new(FailureKind::Config, "no request"));
        };
        let ran = http::run(store, pre, incoming, start).await;
        return settled(ran.done, false, ran.fuel_left, ran.ready_us);
    }
    let mut ready_us = None;
    let mut ready = || ready_us = Some(start.elapsed().as_micros() as u64);
    let done = match &linked.pre {
        Pre::Agent { pre, run } => {
            async {
                let instance = pre.instantiate_async(&mut store).await?;
                ready();
                // Copied while it is lifted: post-return, which follows, frees it in the guest.
                type Answer = (Result<String, String>,);
                let run = instance.get_typed_func::<(&str,), Answer>(&mut store, run)?;
                let (answer,) = run
                    .call_async(&mut store, (&argument,))
                    .await
                    .map_err(|e| answer_error(e, answer_bytes_max))?;
                Ok(match answer {
                    Ok(text) => Done::Ok(answer_text(text, answer_bytes_max)?),
                    Err(text) => Done::Err(answer_text(text, answer_bytes_max)?),
                })
            }
            .await
        }
        Pre::Command { pre, run } => {
            async {
                let instance = pre.instantiate_async(&mut store).await?;
                ready();
                let run = instance.get_typed_func::<(), (Result<(), ()>,)>(&mut store, run)?;
                let (result,) = run.call_async(&mut store, ()).await?;
                Ok(Done::Exit(if result.is_ok() { 0 } else { 1 }))
            }
            .await
        }
        Pre::Start { pre } => {
            async {
                let instance = pre.instantiate_async(&mut store).await?;
                ready();
                let start = instance.get_typed_func::<(), ()>(&mut store, "_start")?;
                start.call_async(&mut store, ()).await?;
                Ok(Done::Exit(0))
            }
            .await
        }
        Pre::Call { pre, index, types } => {
            async {
                let instance = pre.instantiate_async(&mut store).await?;
                ready();
                let answer =
                    typed::call(&mut store, instance, index, types, params, hostcall_bytes_max)
                        .await?;
                Ok(Done::Answer(Box::new(answer)))
            }
            .await
        }
        Pre::Core { pre, name, types, initialize } => {
            async {
                let instance = pre.instantiate_async(&mut store).await?;
                ready();
                if *initialize {
                    let start = instance.get_typed_func::<(), ()>(&mut store, "_initialize")?;
                    start.call_async(&mut store, ()).await?;
                }
                let answer =
                    typed::call_core(&mut store, instance, name, types, params).await?;
                Ok(Done::Answer(Box::new(answer)))
            }
            .await
        }
        Pre::Http { .. } => Err(Defect("handled before".into()).into()),
    };
    let command = matches!(linked.pre, Pre::Command { .. } | Pre::Start { .. });
    settled(done, command, store.get_fuel().unwrap_or(0), ready_us)
}

fn settled(done: Result<Done>, command: bool, fuel_left: u64, ready_us: Option<u64>) -> Outcome {
    // Once the guest runs, an error of no known type is its own: an answer that points outside its
    // memory, say.
    let otherwise = ready_us.map_or(FailureKind::Internal, |_| FailureKind::Trap);
    let mut outcome = outcome(done, command, otherwise);
    outcome.fuel_left = fuel_left;
    outcome.instantiate_us = ready_us.map_or(0, |us| us.max(1));
    outcome
}

fn store(linked: &LinkedInner, ctx: Ctx, fuel: u64, hostcall_bytes_max: u64) -> Result<Store<Ctx>> {
    let mut store = Store::new(&linked.engine.engine, ctx);
    store.limiter(|ctx| &mut ctx.limiter);
    store.set_hostcall_fuel(usize::try_from(hostcall_bytes_max).unwrap_or(usize::MAX));
    store.set_max_component_handles(linked.engine.component_handles_max as usize);
    if linked.engine.fuel {
        store.set_fuel(fuel)?;
    }
    store.epoch_deadline_callback(on_tick);
    store.set_epoch_deadline(1);
    Ok(store)
}

fn on_tick(store: StoreContextMut<'_, Ctx>) -> Result<UpdateDeadline> {
    if PANIC_AT_TICK.replace(false) {
        panic!("a panic asked for by a test");
    }
    let fuel_left = store.get_fuel().unwrap_or(0);
    let c = &store.data().c;
    let Some(tick) = c.host.tick else { return Err(Stopped.into()) };
    // Safety: `link` checked the table; `user` is valid until the call is freed.
    match unsafe { tick(c.user, fuel_left) } {
        TICK_YIELD => Ok(UpdateDeadline::Yield(1)),
        _ => Err(Stopped.into()),
    }
}

/// Host-call bytes run out without guest frames only while the answer itself is lifted.
fn answer_error(error: Error, bytes_max: u64) -> Error {
    let fail = Fail::from_wasmtime(&error, FailureKind::Internal);
    if fail.kind == FailureKind::LimitHostcall && fail.backtrace.is_empty() {
        return AnswerTooLong { bytes_max }.into();
    }
    error
}

/// What lifting may copy is bounded by the host-call bytes, which it charges first.
fn answer_text(text: String, bytes_max: u64) -> Result<String> {
    if text.len() as u64 > bytes_max {
        return Err(AnswerTooLong { bytes_max }.into());
    }
    Ok(text)
}

fn outcome(done: Result<Done>, command: bool, otherwise: FailureKind) -> Outcome {
    let (kind, exit_status, text) = match done {
        Ok(Done::Ok(text)) => (OutcomeKind::Ok, 0, text),
        Ok(Done::Err(text)) => (OutcomeKind::Err, 0, text),
        Ok(Done::Exit(0)) => (OutcomeKind::Ok, 0, String::new()),
        Ok(Done::Exit(status)) => (OutcomeKind::Exit, status, String::new()),
        Ok(Done::Answer(answer)) => {
            let mut outcome = ended(OutcomeKind::Ok, 0, String::new());
            outcome.value = answer.value();
            outcome.answer_bytes = answer.bytes();
            outcome.answer = Box::into_raw(answer);
            return outcome;
        }
        Err(error) => {
            let fail = Fail::from_wasmtime(&error, otherwise);
            match (fail.kind, fail.exit_status) {
                (FailureKind::Exit, 0) if command => (OutcomeKind::Ok, 0, String::new()),
                (FailureKind::Exit, status) if command => {
                    (OutcomeKind::Exit, status, String::new())
                }
                _ => return failed(fail),
            }
        }
    };
    ended(kind, exit_status, text)
}

fn ended(kind: OutcomeKind, exit_status: i32, text: String) -> Outcome {
    Outcome {
        kind: kind as u32,
        exit_status,
        text: GbwString::new(text),
        value: std::ptr::null(),
        answer: std::ptr::null_mut(),
        answer_bytes: 0,
        failure: Failure::NONE,
        fuel_left: 0,
        instantiate_us: 0,
    }
}
