// SPDX-License-Identifier: Apache-2.0
//! What single decisions cost, each against the same code without it: `cargo bench --bench prices`.
//! Loops with neither, either and both of epochs and fuel; a list of bytes to the host and back as
//! dynamic values, as `Vec<u8>`, and as we do it (a view in, one copy, one copy out). Each time is
//! the best of several rounds, the variants in turn, so that a busy machine hits all of them alike.
//! Prints lines of `name number` for bench/measure.py.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use wasmtime::component::{Component, Linker, Val, WasmList};
use wasmtime::{
    AsContext, Config, Engine, Instance, Module, OptLevel, Result, Store, StoreContextMut,
    UpdateDeadline,
};

const ROUNDS: usize = 9;
const TICK: Duration = Duration::from_millis(1);

/// `tight` does nothing but count, the worst case; `work` sums 64 KiB, byte by byte.
const LOOPS: &str = r#"(module
  (memory 1)
  (func (export "tight") (param $n i64) (result i64)
    (loop $again
      (br_if $again (i64.ne (i64.const 0)
        (local.tee $n (i64.sub (local.get $n) (i64.const 1))))))
    (local.get $n))
  (func (export "work") (param $n i64) (result i64)
    (local $at i32) (local $sum i64)
    (loop $again
      (local.set $sum (i64.xor (i64.rotl (local.get $sum) (i64.const 5))
        (i64.add (local.get $sum)
          (i64.load8_u (i32.and (local.get $at) (i32.const 65535))))))
      (local.set $at (i32.add (local.get $at) (i32.const 1)))
      (br_if $again (i64.ne (i64.const 0)
        (local.tee $n (i64.sub (local.get $n) (i64.const 1))))))
    (local.get $sum)))"#;

/// Gives `bytes` bytes to the host and takes them back, `times` times.
const COPIES: &str = r#"(component
  (import "copy" (func $copy (param "data" (list u8)) (result (list u8))))
  (core module $memory
    (memory (export "memory") 2100)
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 68157440)))
  (core instance $i (instantiate $memory))
  (alias core export $i "memory" (core memory $bytes))
  (alias core export $i "realloc" (core func $realloc))
  (core func $lowered (canon lower (func $copy) (memory $bytes) (realloc $realloc)))
  (core module $m
    (import "host" "copy" (func $copy (param i32 i32 i32)))
    (func (export "run") (param $bytes i32) (param $times i32)
      (loop $again
        (call $copy (i32.const 65536) (local.get $bytes) (i32.const 1024))
        (br_if $again (local.tee $times (i32.sub (local.get $times) (i32.const 1)))))))
  (core instance $n (instantiate $m (with "host" (instance (export "copy" (func $lowered))))))
  (alias core export $n "run" (core func $run))
  (func (export "run") (param "bytes" u32) (param "times" u32) (canon lift (core func $run))))"#;

fn config(epoch: bool, fuel: bool) -> Config {
    let mut config = Config::new();
    config
        .epoch_interruption(epoch)
        .consume_fuel(fuel)
        .cranelift_opt_level(OptLevel::Speed)
        .memory_reservation(4 << 30)
        .memory_guard_size(32 << 20);
    config
}

struct Looper {
    name: &'static str,
    engine: Engine,
    store: Store<()>,
    instance: Instance,
    best: f64,
}

impl Looper {
    fn new(name: &'static str, epoch: bool, fuel: bool) -> Result<Looper> {
        let engine = Engine::new(&config(epoch, fuel))?;
        let mut store = Store::new(&engine, ());
        if epoch {
            store.set_epoch_deadline(1);
            store.epoch_deadline_callback(|_| Ok(UpdateDeadline::Continue(1)));
        }
        if fuel {
            store.set_fuel(u64::MAX)?;
        }
        let module = Module::new(&engine, LOOPS)?;
        let instance = Instance::new(&mut store, &module, &[])?;
        Ok(Looper { name, engine, store, instance, best: f64::MAX })
    }

    /// Nanoseconds for one turn of the loop.
    fn turn(&mut self, function: &str, turns: i64) -> Result<()> {
        let f = self.instance.get_typed_func::<i64, i64>(&mut self.store, function)?;
        let start = Instant::now();
        f.call(&mut self.store, turns)?;
        self.best = self.best.min(start.elapsed().as_nanos() as f64 / turns as f64);
        Ok(())
    }
}

fn loops() -> Result<()> {
    let mut all = vec![
        Looper::new("plain", false, false)?,
        Looper::new("epoch", true, false)?,
        Looper::new("fuel", false, true)?,
        Looper::new("both", true, true)?,
    ];
    let stop = Arc::new(AtomicBool::new(false));
    let engines: Vec<Engine> = all.iter().map(|l| l.engine.clone()).collect();
    let stopped = stop.clone();
    let ticker = std::thread::spawn(move || {
        while !stopped.load(Ordering::Relaxed) {
            std::thread::sleep(TICK);
            engines.iter().for_each(Engine::increment_epoch);
        }
    });
    for (function, turns) in [("tight", 20_000_000), ("work", 10_000_000)] {
        for _ in 0..ROUNDS {
            for l in &mut all {
                l.turn(function, turns)?;
            }
        }
        for l in &mut all {
            println!("{function}_{}_ns {:.3}", l.name, l.best);
            l.best = f64::MAX;
        }
    }
    stop.store(true, Ordering::Relaxed);
    ticker.join().expect("the ticker does not panic");
    Ok(())
}

/// The host's memory of a tensor: written once, read once.
type Tensor = Arc<Vec<u8>>;

fn linker(engine: &Engine, way: &str) -> Result<Linker<()>> {
    let mut linker = Linker::new(engine);
    let mut root = linker.root();
    match way {
        "dynamic" => root.func_new("copy", |_, _, params: &[Val], results: &mut [Val]| {
            results[0] = params[0].clone();
            Ok(())
        })?,
        "vec" => root.func_wrap("copy", |_, (data,): (Vec<u8>,)| Ok((data,)))?,
        _ => {
            let kept: Mutex<Tensor> = Mutex::default();
            root.func_wrap(
                "copy",
                move |store: StoreContextMut<()>, (data,): (WasmList<u8>,)| -> Result<(Tensor,)> {
                    let bytes = data.as_le_slice(store.as_context());
                    let mut kept = kept.lock().expect("one thread");
                    let tensor = Arc::make_mut(&mut kept);
                    tensor.resize(bytes.len(), 0);
                    tensor.copy_from_slice(bytes);
                    Ok((kept.clone(),))
                },
            )?
        }
    }
    Ok(linker)
}

fn copies(bytes: u32) -> Result<()> {
    let engine = Engine::new(&config(true, false))?;
    let component = Component::new(&engine, COPIES)?;
    let mut best = [("dynamic", f64::MAX), ("vec", f64::MAX), ("ours", f64::MAX)];
    let rounds = if bytes > 16 << 20 { 2 } else { ROUNDS };
    for _ in 0..rounds {
        for (way, best) in &mut best {
            // A dynamic value takes 40 bytes and more for each.
            let slow = *way == "dynamic";
            if slow && bytes > 16 << 20 {
                continue;
            }
            let mut store = Store::new(&engine, ());
            store.set_epoch_deadline(u64::MAX / 2);
            store.set_hostcall_fuel(usize::MAX);
            let instance = linker(&engine, way)?.instantiate(&mut store, &component)?;
            let run = instance.get_typed_func::<(u32, u32), ()>(&mut store, "run")?;
            run.call(&mut store, (bytes, 1))?;
            let times = (if slow { 2 << 20 } else { 128 << 20 } / bytes).clamp(1, 20_000);
            let start = Instant::now();
            run.call(&mut store, (bytes, times))?;
            *best = best.min(start.elapsed().as_nanos() as f64 / 1e3 / f64::from(times));
        }
    }
    for (way, us) in best.into_iter().filter(|(_, us)| *us < f64::MAX) {
        println!("copy_{bytes}_{way}_us {us:.3}");
    }
    Ok(())
}

fn main() -> Result<()> {
    loops()?;
    for bytes in [12, 602_112, 8 << 20, 64 << 20] {
        copies(bytes)?;
    }
    Ok(())
}
