// SPDX-License-Identifier: Apache-2.0
//! A small host in place of the C one: callbacks that count and decide, a waker with a condition
//! variable, a ticker, and a loop that drives a call to its end.

use std::ffi::c_void;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use glovebox_bridge_host::call::*;
use glovebox_bridge_host::engine::*;
use glovebox_bridge_host::fail::FailureKind;
use glovebox_bridge_host::ffi::*;
use glovebox_bridge_host::link::*;
use glovebox_bridge_host::program::*;

/// What a test decides, and what its guest did.
#[derive(Default)]
pub struct User {
    pub ticks: u32,
    pub stop_at_tick: Option<u32>,
    pub fuel_left: u64,
    pub memory: u64,
    pub memory_max: Option<u64>,
    pub memory_failures: u32,
    pub table_max: Option<u64>,
    pub out: Vec<u8>,
    pub out_max: Option<usize>,
    pub nn: crate::nn::Native,
    pub http: crate::http::Peer,
}

/// # Safety
/// `user` is the `User` of the call.
pub unsafe fn user<'a>(user: *mut c_void) -> &'a mut User {
    // Safety: the caller's promise.
    unsafe { &mut *user.cast::<User>() }
}

unsafe extern "C" fn tick(u: *mut c_void, fuel_left: u64) -> u32 {
    let u = unsafe { user(u) };
    u.ticks += 1;
    u.fuel_left = fuel_left;
    if u.stop_at_tick.is_some_and(|at| u.ticks >= at) { TICK_STOP } else { TICK_YIELD }
}

unsafe extern "C" fn memory_growing(u: *mut c_void, now: u64, desired: u64, _: u64) -> bool {
    let u = unsafe { user(u) };
    let sum = u.memory + (desired - now);
    if u.memory_max.is_some_and(|max| sum > max) {
        return false;
    }
    u.memory = sum;
    true
}

unsafe extern "C" fn memory_grow_failed(u: *mut c_void) {
    unsafe { user(u) }.memory_failures += 1;
}

unsafe extern "C" fn table_growing(u: *mut c_void, _: u64, desired: u64, _: u64) -> bool {
    unsafe { user(u) }.table_max.is_none_or(|max| desired <= max)
}

unsafe extern "C" fn table_grow_failed(_: *mut c_void) {}

unsafe extern "C" fn write(u: *mut c_void, stream: u32, bytes: Span) -> bool {
    let u = unsafe { user(u) };
    assert!(stream == STDOUT || stream == STDERR);
    u.out.extend_from_slice(unsafe { bytes.bytes() });
    u.out_max.is_none_or(|max| u.out.len() <= max)
}

pub fn host() -> Host {
    Host {
        tick: Some(tick),
        memory_growing: Some(memory_growing),
        memory_grow_failed: Some(memory_grow_failed),
        table_growing: Some(table_growing),
        table_grow_failed: Some(table_grow_failed),
        write: Some(write),
        ..crate::http::host()
    }
}

pub fn engine_config() -> EngineConfig {
    EngineConfig {
        wasm_stack_bytes: 512 << 10,
        async_stack_bytes: 2 << 20,
        memory_reservation_bytes: 64 << 20,
        memory_guard_bytes: 64 << 10,
        component_handles_max: 1000,
        ..EngineConfig::default()
    }
}

pub fn pooling_config() -> EngineConfig {
    EngineConfig {
        pooling: true,
        pool_calls: 4,
        pool_core_instances: 16,
        pool_memories: 8,
        pool_tables: 8,
        core_instances_per_call_max: 8,
        memories_per_call_max: 2,
        tables_per_call_max: 2,
        pool_memory_bytes_max: 16 << 20,
        pool_table_elements_max: 1000,
        pool_keep_resident_bytes: 64 << 10,
        ..engine_config()
    }
}

/// A failure or an outcome in Rust's terms.
#[derive(Debug)]
pub struct Failed {
    pub kind: u32,
    pub trap: u32,
    pub exit_status: i32,
    pub message: String,
    pub backtrace: String,
}

impl Failed {
    pub fn is(&self, kind: FailureKind) -> bool {
        self.kind == kind as u32
    }
}

#[derive(Debug)]
pub struct Ended {
    pub kind: u32,
    pub exit_status: i32,
    pub text: String,
    pub failure: Failed,
    pub fuel_left: u64,
    pub instantiate_us: u64,
    pub polls: u32,
}

impl Ended {
    #[track_caller]
    pub fn expect(&self, kind: OutcomeKind) -> &str {
        assert_eq!(self.kind, kind as u32, "{self:?}");
        &self.text
    }

    #[track_caller]
    pub fn expect_failure(&self, kind: FailureKind) {
        assert_eq!(self.kind, OutcomeKind::Failed as u32, "{self:?}");
        assert_eq!(self.failure.kind, kind as u32, "{:?}", self.failure);
        assert!(!self.failure.message.is_empty());
        assert!(!self.failure.message.contains('\n'));
    }
}

fn string(s: &GbwString) -> String {
    if s.ptr.is_null() {
        return String::new();
    }
    // With the NUL behind it.
    let bytes = unsafe { slice(s.ptr.cast::<u8>().cast_const(), s.len + 1) };
    let (nul, text) = bytes.split_last().expect("a NUL");
    assert_eq!(*nul, 0);
    std::str::from_utf8(text).expect("UTF-8").to_owned()
}

fn take_failure(f: &mut Failure) -> Failed {
    let failed = Failed {
        kind: f.kind,
        trap: f.trap,
        exit_status: f.exit_status,
        message: string(&f.message),
        backtrace: string(&f.backtrace),
    };
    unsafe { gbw_failure_fini(f) };
    failed
}

fn made<T>(made: *mut T, f: &mut Failure) -> Result<*mut T, Failed> {
    if made.is_null() {
        assert_ne!(f.kind, 0, "a NULL without a failure");
        return Err(take_failure(f));
    }
    assert_eq!(f.kind, 0, "a failure without a NULL");
    Ok(made)
}

pub struct Engine {
    pub runtime: *mut GbwRuntime,
    pub raw: *mut GbwEngine,
    ticking: Arc<AtomicBool>,
    ticker: Option<JoinHandle<()>>,
}

impl Engine {
    pub fn new(config: &EngineConfig) -> Engine {
        Engine::try_new(config).expect("an engine")
    }

    pub fn try_new(config: &EngineConfig) -> Result<Engine, Failed> {
        let mut f = Failure::NONE;
        let runtime = made(unsafe { gbw_runtime_new(2, &mut f) }, &mut f)?;
        let raw = match made(unsafe { gbw_engine_new(runtime, config, &mut f) }, &mut f) {
            Ok(raw) => raw,
            Err(failed) => {
                unsafe { gbw_runtime_free(runtime) };
                return Err(failed);
            }
        };
        let ticking = Arc::new(AtomicBool::new(true));
        let (on, address) = (ticking.clone(), raw as usize);
        let ticker = std::thread::spawn(move || {
            while on.load(SeqCst) {
                std::thread::sleep(Duration::from_millis(1));
                unsafe { gbw_engine_tick(address as *const GbwEngine) };
            }
        });
        Ok(Engine { runtime, raw, ticking, ticker: Some(ticker) })
    }

    pub fn program(&self, bytes: impl AsRef<[u8]>) -> Result<Program, Failed> {
        let mut f = Failure::NONE;
        let raw = unsafe { gbw_program_new(self.raw, Span::new(bytes.as_ref()), &mut f) };
        made(raw, &mut f).map(Program)
    }

    /// Compiles and links, which must succeed.
    #[track_caller]
    pub fn linked(&self, wat: &str, flags: u32, entry: u32) -> Linked {
        let program = self.program(wat).unwrap_or_else(|f| panic!("compile: {f:?}"));
        program.link(flags, entry).unwrap_or_else(|f| panic!("link: {f:?}"))
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.ticking.store(false, SeqCst);
        self.ticker.take().expect("a ticker").join().expect("the ticker");
        unsafe {
            gbw_engine_free(self.raw);
            gbw_runtime_free(self.runtime);
        }
    }
}

pub struct Program(pub *mut GbwProgram);

impl Program {
    pub fn link(&self, flags: u32, entry: u32) -> Result<Linked, Failed> {
        self.link_host(flags, entry, &host())
    }

    pub fn link_host(&self, flags: u32, entry: u32, host: &Host) -> Result<Linked, Failed> {
        self.link_more(flags, entry, std::ptr::null(), host)
    }

    pub fn link_more(
        &self,
        flags: u32,
        entry: u32,
        more: *const LinkMore,
        host: &Host,
    ) -> Result<Linked, Failed> {
        let mut f = Failure::NONE;
        let raw = unsafe { gbw_link_new(self.0, flags, entry, more, host, &mut f) };
        made(raw, &mut f).map(Linked)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        unsafe { gbw_program_free(self.0) };
    }
}

pub struct Linked(pub *mut GbwLinked);

impl Drop for Linked {
    fn drop(&mut self) {
        unsafe { gbw_link_free(self.0) };
    }
}

/// The waker's other half; counts wakes and releases.
#[derive(Default)]
pub struct Wakes {
    pub wakes: AtomicU64,
    pub releases: AtomicU64,
    woken: Mutex<bool>,
    condition: Condvar,
}

impl Wakes {
    pub fn wake(&self) {
        self.wakes.fetch_add(1, SeqCst);
        *self.woken.lock().unwrap() = true;
        self.condition.notify_all();
    }

    /// True when woken within the time.
    pub fn wait(&self, time: Duration) -> bool {
        let woken = self.woken.lock().unwrap();
        let (mut woken, _) = self.condition.wait_timeout_while(woken, time, |w| !*w).unwrap();
        std::mem::take(&mut *woken)
    }
}

unsafe extern "C" fn waker_wake(ctx: *mut c_void) {
    unsafe { &*ctx.cast::<Wakes>() }.wake();
}

unsafe extern "C" fn waker_release(ctx: *mut c_void) {
    let wakes = unsafe { Arc::from_raw(ctx.cast::<Wakes>().cast_const()) };
    wakes.releases.fetch_add(1, SeqCst);
}

pub fn call_config(user: &mut User, wakes: &Arc<Wakes>) -> CallConfig {
    CallConfig {
        user: (user as *mut User).cast(),
        waker: CWaker {
            ctx: Arc::into_raw(wakes.clone()).cast_mut().cast(),
            wake: Some(waker_wake),
            release: Some(waker_release),
        },
        argument: Span::new(b""),
        params: std::ptr::null(),
        params_len: 0,
        args: std::ptr::null(),
        args_len: 0,
        env: std::ptr::null(),
        env_len: 0,
        preopens: std::ptr::null(),
        preopens_len: 0,
        inherit_stdin: false,
        inherit_network: false,
        fuel: 1_000_000,
        hostcall_bytes_max: 1 << 20,
        random_bytes_max: 1 << 16,
        answer_bytes_max: 1 << 16,
        handles_max: 100,
        instances_max: 20,
        memories_max: 4,
        tables_max: 4,
        http: std::ptr::null(),
        http_fields_bytes_max: 1 << 16,
        http_chunk_bytes: 1 << 16,
    }
}

pub struct Call {
    pub raw: *mut GbwCall,
    pub wakes: Arc<Wakes>,
}

impl Call {
    pub fn new(
        linked: &Linked,
        user: &mut User,
        change: impl FnOnce(&mut CallConfig),
    ) -> Result<Call, Failed> {
        let wakes = Arc::new(Wakes::default());
        user.nn.wakes = Some(wakes.clone());
        let mut config = call_config(user, &wakes);
        change(&mut config);
        let mut f = Failure::NONE;
        let raw = unsafe { gbw_call_new(linked.0, &config, &mut f) };
        match made(raw, &mut f) {
            Ok(raw) => Ok(Call { raw, wakes }),
            Err(failed) => {
                assert_eq!(wakes.releases.load(SeqCst), 1, "a waker kept after a failure");
                Err(failed)
            }
        }
    }

    pub fn poll(&mut self) -> Option<Ended> {
        let mut outcome = MaybeUninit::<Outcome>::uninit();
        if unsafe { gbw_call_poll(self.raw, outcome.as_mut_ptr()) } == POLL_PENDING {
            return None;
        }
        let mut o = unsafe { outcome.assume_init() };
        let ended = Ended {
            kind: o.kind,
            exit_status: o.exit_status,
            text: string(&o.text),
            failure: take_failure(&mut o.failure),
            fuel_left: o.fuel_left,
            instantiate_us: o.instantiate_us,
            polls: 0,
        };
        unsafe { gbw_outcome_fini(&mut o) };
        Some(ended)
    }

    /// Drives the call as a loop of C's would: sleep until woken, then poll.
    #[track_caller]
    pub fn finish(&mut self) -> Ended {
        let end = Instant::now() + Duration::from_secs(20);
        for polls in 1.. {
            if let Some(ended) = self.poll() {
                return Ended { polls, ..ended };
            }
            let left = end.saturating_duration_since(Instant::now());
            assert!(self.wakes.wait(left), "not woken in time");
        }
        unreachable!()
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        unsafe { gbw_call_free(self.raw) };
    }
}

/// Runs a linked program once.
#[track_caller]
pub fn run(linked: &Linked, user: &mut User, change: impl FnOnce(&mut CallConfig)) -> Ended {
    let mut call = Call::new(linked, user, change).unwrap_or_else(|f| panic!("call: {f:?}"));
    let ended = call.finish();
    let wakes = call.wakes.clone();
    drop(call);
    // A blocking job may still be letting go of its clone.
    let end = Instant::now() + Duration::from_secs(5);
    while wakes.releases.load(SeqCst) == 0 && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(wakes.releases.load(SeqCst), 1, "the waker is released exactly once");
    ended
}

/// The text of an agent around the body of its `run(ptr, len) -> result record at 16`.
pub fn agent(body: &str) -> String {
    agent_with("", "", "", body)
}

/// As `agent`, with `imports` of the component, `module` fields of the core module and `with`
/// arguments of its instantiation.
pub fn agent_with(imports: &str, module: &str, with: &str, body: &str) -> String {
    format!(
        r#"(component
  {imports}
  (core module $libc
    (memory (export "memory") 1)
    (global $next (mut i32) (i32.const 4096))
    (func (export "realloc") (param $p i32) (param $old i32) (param $align i32) (param $n i32)
      (result i32) (local $at i32)
      (local.set $at (i32.and (i32.add (global.get $next) (i32.const 7)) (i32.const -8)))
      (global.set $next (i32.add (local.get $at) (local.get $n)))
      (block $done (loop $grow
        (br_if $done (i32.le_u (global.get $next) (i32.mul (memory.size) (i32.const 65536))))
        (if (i32.eq (memory.grow (i32.const 16)) (i32.const -1)) (then unreachable))
        (br $grow)))
      (local.get $at)))
  (core instance $libc (instantiate $libc))
  (core module $m
    (import "libc" "memory" (memory 1))
    {module}
    (func $ok (param $p i32) (param $n i32) (result i32)
      (i32.store8 (i32.const 16) (i32.const 0))
      (i32.store (i32.const 20) (local.get $p))
      (i32.store (i32.const 24) (local.get $n))
      (i32.const 16))
    (func $err (param $p i32) (param $n i32) (result i32)
      (drop (call $ok (local.get $p) (local.get $n)))
      (i32.store8 (i32.const 16) (i32.const 1))
      (i32.const 16))
    (func (export "run") (param $p i32) (param $n i32) (result i32)
      {body}))
  {with}
  (core instance $i (instantiate $m
    (with "libc" (instance $libc))
    {with_arg}))
  (func (export "run") (param "argument" string) (result (result string (error string)))
    (canon lift (core func $i "run") (memory (core memory $libc "memory"))
      (realloc (core func $libc "realloc")))))"#,
        with_arg = if with.is_empty() { "" } else { r#"(with "host" (instance $host))"# },
    )
}

pub const ECHO: &str = "(call $ok (local.get $p) (local.get $n))";
